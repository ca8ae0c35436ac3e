"""The blind baseline: how well images alone distinguish members from non-members.

If they differ before any training, in brightness, compression or classes, an attack that succeeds may have
found that difference and nothing about the training. Das, Zhang & Tramer (2024, arXiv 2406.16201) show it for
eight published evaluations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.arrays import Flags, Labels, Rows, Scores
from securitynet_hub.data.duplicates import Duplicates, Fingerprint, count_duplicates, fingerprint
from securitynet_hub.data.encoded import EncodedImages
from securitynet_hub.data.file_statistics import FAMILIES as OF_FILES
from securitynet_hub.data.file_statistics import file_statistics
from securitynet_hub.data.image_statistics import FAMILIES, image_statistics
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval
from securitynet_hub.statistics.weighted import stratified_auc, weighted_auc

SAMPLE = 1000
"""Most images of a side that are looked at."""

FOLDS = 5
"""Parts of the images; the score of an image comes from a classifier fitted on the other parts."""

PENALTY = 0.1
"""Weight of the squared coefficients for each image."""

MOST_CLASSES = 64
"""Classes up to which the label is one of the classifier's inputs."""

INFLATION = 2.0
"""What a cross-fitted AUC's variance is multiplied by.

Where nothing distinguishes the sides, the score of image a is ``sum_b K_ab y_b`` over the images b of other
folds, and the AUC sums ``y_a K_ab y_b`` over pairs. With a symmetric K each pair comes twice, so that the
variance is twice that of scores which do not depend on the sample. Simulated: 1.5 to 1.9 times.
"""

UNBALANCED = 0.01
"""p-value of equal shares of the classes below which members and non-members differ in their classes."""

FEWEST_EXPECTED = 5
"""Images of a class that each side must be expected to have; smaller classes are tested as one."""

FEWEST_EFFECTIVE = 10
"""Effective numbers of members and of non-members that a matched figure needs."""

UNMATCHED = 0.05
"""Distance of the classifier's weighted AUC from one half above which the weights fail to match the sides."""

KEPT = 16
"""Baselines that are kept: more than the embedded zoo has splits."""

_KEPT: dict[tuple[Any, ...], BlindBaseline] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class BlindBaseline:
    """What can be told about membership without the model.

    Attributes:
        auc: of a classifier of pixels and labels, cross-fitted.
        auc_ci: its interval.
        looked_at: what the classifier looks at.
        n_members: members that it looked at.
        n_nonmembers: non-members that it looked at.
        confidence_level: of the interval.
        class_balance: p-value of the hypothesis that both sides have the classes in equal shares; None with
            a single class.
        duplicates: non-members that are members, too.
        rows: shape (k,), positions in the split's `indices` of the images looked at.
        propensity: shape (k,), their chances of being members by the classifier, where both sides are as
            large as they are here.
        labels: shape (k,), their classes.
    """

    auc: float
    auc_ci: Interval
    looked_at: tuple[str, ...]
    n_members: int
    n_nonmembers: int
    confidence_level: float
    class_balance: float | None
    duplicates: Duplicates
    rows: Rows
    propensity: Scores
    labels: Labels

    @property
    def differs(self) -> bool:
        """Whether the sides certainly differ: verdicts about the model are withheld."""
        unbalanced = self.class_balance is not None and self.class_balance < UNBALANCED
        return self.auc_ci.low > 0.5 or unbalanced

    def as_result(self) -> dict[str, Any]:
        """Return it as a record has it."""
        return {
            "auc": self.auc,
            "auc_ci": self.auc_ci,
            "looked_at": list(self.looked_at),
            "n_members": self.n_members,
            "n_nonmembers": self.n_nonmembers,
            "confidence_level": self.confidence_level,
            "class_balance_p_value": self.class_balance,
            "duplicates": self.duplicates._asdict(),
            "differs": self.differs,
        }

    def match(self, scores: Scores, rows: Rows, is_member: Flags) -> dict[str, Any]:
        """Measure an attack where members and non-members look alike.

        Args:
            scores: shape (n,), an attack's, higher = more likely a member.
            rows: shape (n,), ascending, the positions in the split's `indices` that it scored.
            is_member: shape (n,).

        Returns:
            ``overlap_weights``: the AUC with weights ``1 - e(x)`` of members and ``e(x)`` of non-members,
            e(x) the propensity, so that both sides look alike to the classifier (Li, Morgan & Zaslavsky
            2018). ``within_class``: the AUC over pairs of one class. Each with its interval, the (effective)
            numbers of images and ``blind_auc``, the classifier's own AUC over the same pairs; None where that
            is not near one half, since the sides still differ, or too few images are left.
        """
        _, own, looked = np.intersect1d(rows, self.rows, assume_unique=True, return_indices=True)
        level = {"confidence_level": self.confidence_level}
        found: dict[str, Any] = {"overlap_weights": None, "within_class": None}
        scores, membership, e = scores[own], is_member[own], self.propensity[looked]
        if membership.all() or not membership.any():
            return found
        weights = np.where(membership, 1 - e, e)
        matched = weighted_auc(scores, membership, weights, **level)
        blind = weighted_auc(e, membership, weights, **level).auc
        enough = min(matched.effective_members, matched.effective_nonmembers) >= FEWEST_EFFECTIVE
        if enough and abs(blind - 0.5) <= UNMATCHED:
            found["overlap_weights"] = {
                "auc": matched.auc,
                "auc_ci": matched.ci,
                "effective_members": matched.effective_members,
                "effective_nonmembers": matched.effective_nonmembers,
                "blind_auc": blind,
            }
        classes = self.labels[looked]
        within, alone = (stratified_auc(values, membership, classes, **level) for values in (scores, e))
        if within is not None and alone is not None and abs(alone.auc - 0.5) <= UNMATCHED:
            found["within_class"] = {
                "auc": within.auc,
                "auc_ci": within.ci,
                "n_members": round(within.effective_members),
                "n_nonmembers": round(within.effective_nonmembers),
                "blind_auc": alone.auc,
            }
        return found


def find_baseline(
    data: AuditData, *, seed: int = 0, confidence_level: float = CONFIDENCE_LEVEL
) -> BlindBaseline:
    """Measure the blind baseline of an audit's data, on at most 1,000 members and 1,000 non-members.

    The last ones are kept, since models are often audited with the same data.

    Args:
        data: images and split.
        seed: draws the images and the folds.
        confidence_level: of the interval.
    """
    key = (data.images.sha256, data.split.sha256, seed, confidence_level)
    if key not in _KEPT:
        rng = np.random.default_rng(seed)
        is_member, positions = data.split.is_member, data.split.indices
        sides = [rng.permutation(np.flatnonzero(is_member == side))[:SAMPLE] for side in (True, False)]
        rows = np.sort(np.concatenate(sides))
        images, chosen = data.images, positions[rows].tolist()
        files = None
        if isinstance(images, EncodedImages):
            files = np.stack([file_statistics(images.store.content(position)) for position in chosen])
        found = measure_baseline(
            (images.read(position) for position in chosen),
            data.images.labels[positions[rows]],
            is_member[rows],
            files=files,
            rows=rows,
            seed=seed,
            confidence_level=confidence_level,
        )
        while len(_KEPT) >= KEPT:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = found
    return _KEPT[key]


def measure_baseline(
    images: Iterable[Pixels],
    labels: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    files: npt.ArrayLike | None = None,
    rows: npt.ArrayLike | None = None,
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> BlindBaseline:
    """Measure how well a classifier that never asks the model tells members from non-members.

    Ridge regression of membership on `image_statistics`, `file_statistics` and the label, each replaced by
    the normal quantile of its rank. It is cross-fitted: each image's score, its rank in its fold, comes from
    a fit on the other folds. The interval of its AUC is `weighted_auc`'s, the variance doubled (`INFLATION`).

    Args:
        images: n images, uint8, each of shape (height, width, 1 or 3), of any sizes; each is read once.
        labels: shape (n,), integers.
        is_member: shape (n,), booleans or 0/1.
        files: shape (n, k), statistics of the files that the images are stored in, where there are such.
        rows: shape (n,), names of the images; 0..n-1 unless given.
        seed: draws the folds.
        confidence_level: of the interval.

    >>> rng = np.random.default_rng(0)
    >>> images = list(rng.integers(0, 100, (80, 8, 8, 1), np.uint8))
    >>> lighter = [image + 40 if member else image for image, member in zip(images, [1, 0] * 40)]
    >>> measure_baseline(images, [0] * 80, [1, 0] * 40).differs
    False
    >>> measure_baseline(lighter, [0] * 80, [1, 0] * 40).auc > 0.95
    True
    """
    membership, classes = np.asarray(is_member, np.bool_), np.asarray(labels)
    members, nonmembers = (np.flatnonzero(membership == side).tolist() for side in (True, False))
    prints: list[Fingerprint] = []

    def read() -> Iterator[Pixels]:
        for image in images:
            prints.append(fingerprint(image))
            yield image

    looked_at = FAMILIES if files is None else (*FAMILIES, *OF_FILES)
    if len(np.unique(classes)) <= MOST_CLASSES:
        looked_at = (*looked_at, "label")
    statistics = image_statistics(read())
    if files is not None:
        statistics = np.concatenate([statistics, np.asarray(files, np.float64)], axis=1)
    ranks, raw = _cross_fit(_inputs(statistics, classes), membership, seed)
    found = weighted_auc(
        ranks, membership, np.ones(len(ranks)), confidence_level=confidence_level, inflation=INFLATION
    )
    return BlindBaseline(
        auc=found.auc,
        auc_ci=found.ci,
        looked_at=looked_at,
        n_members=len(members),
        n_nonmembers=len(nonmembers),
        confidence_level=confidence_level,
        class_balance=_class_balance(classes, membership),
        duplicates=count_duplicates([prints[i] for i in members], [prints[i] for i in nonmembers]),
        rows=np.arange(len(prints)) if rows is None else np.asarray(rows, np.int64),
        propensity=_propensity(raw, membership),
        labels=classes,
    )


def _inputs(found: Scores, classes: Labels) -> Scores:
    """Return the classifier's inputs, each of mean 0 and standard deviation 1 or constant 0."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    known = np.unique(classes)
    if len(known) <= MOST_CLASSES:
        found = np.concatenate([found, classes[:, None] == known], axis=1)
    normal = ndtri((rankdata(found, axis=0) - 0.5) / len(found))
    normal -= normal.mean(0)
    inputs: Scores = normal / np.maximum(normal.std(0), 1e-9)
    return inputs


def _cross_fit(inputs: Scores, membership: Flags, seed: int) -> tuple[Scores, Scores]:
    """Return each image's rank within its fold, in 0..1, and its score there."""
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    fold = np.empty(len(membership), np.int64)
    for side in (True, False):
        own = np.flatnonzero(membership == side)
        fold[rng.permutation(own)] = np.arange(len(own)) % FOLDS
    ranks, scores = np.full(len(fold), 0.5), np.zeros(len(fold))
    for number in range(FOLDS):
        fitted, judged = fold != number, fold == number
        sides = membership[fitted]
        if not judged.any() or sides.all() or not sides.any():
            continue
        x, y = inputs[fitted], sides - sides.mean()
        x = x - x.mean(0)
        penalty = PENALTY * len(x) * np.eye(x.shape[1])
        scores[judged] = (inputs[judged] - inputs[fitted].mean(0)) @ np.linalg.solve(
            x.T @ x + penalty, x.T @ y
        )
        ranks[judged] = rankdata(scores[judged]) / (judged.sum() + 1)
    return ranks, scores


def _propensity(scores: Scores, membership: Flags) -> Scores:
    """Return each image's chance of being a member, a logistic function of its score."""
    from sklearn.linear_model import LogisticRegression

    spread = scores.std()
    if not spread or membership.sum() < 2 or (~membership).sum() < 2:
        return np.full(len(scores), membership.mean())
    column = (scores / spread)[:, None]
    chances: Scores = LogisticRegression(C=100.0).fit(column, membership).predict_proba(column)[:, 1]
    return chances


def _class_balance(classes: Labels, membership: Flags) -> float | None:
    """Return the p-value of equal shares of the classes on both sides, by the chi-squared test."""
    from scipy.stats import chi2_contingency

    known, place = np.unique(classes, return_inverse=True)
    counts = np.stack(
        [np.bincount(place[membership == side], minlength=len(known)) for side in (True, False)]
    )
    smaller = min(counts.sum(1)) / counts.sum()
    rare = counts.sum(0) * smaller < FEWEST_EXPECTED
    table = np.c_[counts[:, ~rare], counts[:, rare].sum(1)] if rare.any() else counts
    table = table[:, table.sum(0) > 0]
    return float(chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else None
