"""One verdict on one model: indicators combined, and calibrated on networks whose truth is known.

Networks of one *kind*, an architecture with its data, score alike, and a stranger's network is of another
kind than any that was seen. So each calibration network is scored with weights that were learnt without its
kind, and kinds are what the p-value and the probability count. All of these constants lie in
``resources/backdoor_verdict.json``, which ``benchmarks/measure_verdict.py`` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from securitynet_hub.core.arrays import Scores

Word = Literal["backdoor", "no sign", "cannot tell"]

LEVEL = 0.05
"""Largest p-value of a verdict "backdoor": about this share of clean networks may be accused."""

MIN_AGREEMENT = 0.6
"""Least share of other clean images on which twins, or clean models beside, must give the suspect's class, on
average over them."""

FEW = 0.02
"""A share of disagreement so small that smaller ones mean the same."""

PRIOR = 0.5
"""The share of backdoored networks that the probability assumes."""

DRAWS = 100
"""Bootstrap draws of the calibration kinds behind the probability's interval."""

LARGEST = 1e100
"""Largest size of an indicator's value: beyond it, differences of values overflow."""

FAITHLESS = "the twins do not stand for the model: they give its answers to too few of the clean images"
STRANGE = (
    "the clean models beside it do not stand for the model: they give its answers to too few of the images"
)
UNSURE = (
    "the model scores too low to be called backdoored and too high to be called inconspicuous: too many "
    "clean networks score as high, and too many backdoored ones as low"
)
FOREIGN = (
    "the model has more classes than any network that the verdict was calibrated on, and not all were looked "
    "at: in the one such network that was tried, a backdoor that always works was found with one seed, "
    "and missed with another"
)
UNLIKE = (
    "on the model's ordinary classes, model and twins differ as those of no network that the verdict was "
    "calibrated on: it says nothing about such a model"
)
LOPSIDED = (
    "the model gives nearly all of these images few of its classes, as no network that the verdict was "
    "calibrated on: it failed to train, or the images are of few classes or not of its domain"
)
"""The reasons why a verdict cannot tell."""

LEAST_VARIETY = 0.5
"""Least `variety` of a model's answers to clean images; the calibration networks have .72 and more."""

MARGIN = 0.25
"""How far beyond the calibration networks a model's ordinary classes may lie, in units of their range."""


class Term(BaseModel):
    """What one indicator contributes.

    Attributes:
        name: one of `twin_indicators.INDICATORS`.
        floor: what is added to the deviation over classes, so that equal classes do not look certain.
        middle: what every class's value is compared with.
        spread: the unit in which it is.
        weight: of the value compared with the network's other classes.
        raw_weight: of the value compared with clean networks.
        seen: the least and the largest median over a network's classes among the calibration networks; None
            where that does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    floor: float = Field(gt=0)
    middle: float
    spread: float = Field(gt=0)
    weight: float
    raw_weight: float
    seen: tuple[float, float] | None = None


class Whole(BaseModel):
    """What a number for the model as a whole contributes: ``weight * asinh((x - middle) / spread)``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    middle: float
    spread: float = Field(gt=0)
    weight: float


class Disagreement(BaseModel):
    """What it adds to all scores that twins disagree on a share d of the images.

    ``weight * (log(d + FEW) - middle)``: where they agree on nearly all images, classes differ little, and a
    small difference looks large.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    middle: FiniteFloat
    weight: FiniteFloat

    def adds(self, agreement: float) -> float:
        """Return what an agreement adds to every score."""
        return self.weight * (log_disagreement(agreement) - self.middle)


class Calibration(BaseModel):
    """The constants of the verdict, and the networks that it is calibrated on.

    Attributes:
        made_by: how this file was made.
        intercept: of the class scores.
        terms: one for each indicator.
        sharpness: k below: how much more the class that stands out counts than the others.
        rearrangement: how a backdoor that leads each class to another one is scored; None where it is not.
        disagreement: what twins that disagree add to every score; None for nothing.
        clean: scores of the clean calibration networks.
        backdoored: scores of the backdoored ones.
        clean_kinds: the kind of each clean one, architecture and data; empty if each is of a kind of its own.
        backdoored_kinds: the same of the backdoored ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: str
    intercept: float
    terms: tuple[Term, ...]
    sharpness: float = Field(default=1.0, gt=0)
    rearrangement: Whole | None = None
    disagreement: Disagreement | None = None
    clean: tuple[float, ...] = Field(min_length=2)
    backdoored: tuple[float, ...] = Field(min_length=2)
    clean_kinds: tuple[str, ...] = ()
    backdoored_kinds: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_has_a_kind(self) -> Calibration:
        for scores, kinds in ((self.clean, self.clean_kinds), (self.backdoored, self.backdoored_kinds)):
            if kinds and len(kinds) != len(scores):
                raise ValueError(f"{len(scores)} scores need as many kinds; got {len(kinds)}")
        return self

    @property
    def sizes(self) -> tuple[int, int]:
        """How many kinds the clean and the backdoored networks are of."""
        return (
            len(set(self.clean_kinds)) or len(self.clean),
            len(set(self.backdoored_kinds)) or len(self.backdoored),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What all indicators say of one model together.

    Attributes:
        word: ``backdoor``, ``no sign`` or ``cannot tell``.
        reason: why the verdict cannot tell; empty where it can.
        score: S of `judge`, the log-odds of all classes together; higher = more suspicious.
        p_value: share of clean networks that score as high, each kind counting alike, and counted with this
            one: conformal.
        probability: of a backdoor, if half of such networks had one.
        probability_ci: its 95 % interval over the calibration kinds.
        suspect: the class with the highest score.
        all_to_all: whether a backdoor that leads each class to another one scores above 0, and above one
            that leads all to the suspect.
        class_scores: shape (classes,), the log-odds of each class.
        evidence: what each indicator adds to the suspect's score, largest first, without the intercept and
            `Disagreement`; among them the whole score of a backdoor that leads each class to another one.
    """

    word: Word
    reason: str
    score: float
    p_value: float
    probability: float
    probability_ci: tuple[float, float]
    suspect: int
    all_to_all: bool
    class_scores: Scores = field(repr=False)
    evidence: dict[str, float]


@cache
def load_calibration(beside: bool = False) -> Calibration:
    """Read the constants that ship with the package: for twins, or for clean models beside the suspect.

    >>> load_calibration().sizes[0] >= 19  # fewer kinds could not resolve 5 %
    True
    """
    name = "backdoor_verdict_beside.json" if beside else "backdoor_verdict.json"
    path = files("securitynet_hub") / "resources" / name
    return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))


def judge(
    indicators: Mapping[str, npt.ArrayLike],
    *,
    rearrangement: float | None = None,
    scattered: bool = True,
    agreement: float | None = None,
    agree: bool = True,
    varied: bool = True,
    calibration: Calibration | None = None,
    level: float = LEVEL,
) -> Verdict:
    """Combine indicators into one verdict.

    With x_ic indicator i of class c, z_ic = asinh((x_ic - median_c) / (1.4826 MAD_c + floor_i)) and
    u_ic = asinh((x_ic - middle_i) / spread_i),

        s_c = b + sum_i (v_i z_ic + w_i u_ic) + w_d (log(d + FEW) - m),      S = log(mean_c exp(k s_c)) / k,

    d the share of clean images on which twins do not give the suspect's class (`Disagreement`: w_d, m).

    A backdoor that leads each class to another one has a score of its own, s_0 = w asinh((r - middle) /
    spread) of the rearrangement r and the same for d, and then S = log((mean_c exp(k s_c) + exp(k s_0)) / 2)
    / k. Where r is not known, exp(k s_0) counts as 0.

    The p-value is `conformal_p` over the kinds of the clean calibration networks: a clean network of a kind
    exchangeable with these gets p <= a with a probability of at most a. The probability is that of a logistic
    regression on the calibration networks' scores, both groups weighted alike, and the kinds of each (Platt
    1999), cut to what the number of kinds allows (`most_certain`).

    A model of whose classes the median lies beyond those of all calibration networks by more than `MARGIN` of
    their range is unlike them, and gets no verdict.

    Args:
        indicators: for each name one value for each class, all of the same length; those that are not given
            add nothing.
        rearrangement: the largest likeness of `probing.rearranged`; None where it is not known.
        scattered: whether that probe leads to many classes; if to one, no backdoor is called all-to-all.
        agreement: share of clean images on which twins give the suspect's class; None where it is not known,
            which adds nothing.
        agree: whether the twins agree with the suspect; where not, the word is ``cannot tell``.
        varied: whether its answers to clean images are as varied as `LEAST_VARIETY`; likewise.
        calibration: the constants; None for those of the package.
        level: largest p-value of a ``backdoor``.

    Raises:
        ValueError: no indicator, different lengths, a value that is not finite or beyond `LARGEST`, or an
            agreement that is no share.
    """
    known = calibration or load_calibration()
    contributions = _contributions(indicators, known)
    unlike = _unlike(indicators, known)
    apart = 0.0
    if known.disagreement is not None and agreement is not None:
        apart = known.disagreement.adds(agreement)
    class_scores: Scores = known.intercept + apart + np.sum(list(contributions.values()), axis=0)
    suspect = int(np.argmax(class_scores))
    score, of_whole = _together(class_scores, known.sharpness), -np.inf
    if known.rearrangement is not None:
        if rearrangement is not None:
            of_whole = apart + _of_whole(rearrangement, known.rearrangement)
        score = float(np.logaddexp(known.sharpness * score, known.sharpness * of_whole) - np.log(2))
        score /= known.sharpness
    p_value = conformal_p(score, known.clean, known.clean_kinds)
    probability, ends = _probability(score, known)
    word: Word = "backdoor" if p_value <= level else "no sign" if ends[1] < 0.5 else "cannot tell"
    if not (agree and varied) or unlike:
        word = "cannot tell"
    doubts = (not varied, LOPSIDED), (not agree, FAITHLESS), (unlike, UNLIKE), (word == "cannot tell", UNSURE)
    reason = next((said for doubted, said in doubts if doubted), "")
    evidence = {name: float(values[suspect]) for name, values in contributions.items()}
    if np.isfinite(of_whole):
        evidence["rearrangement"] = of_whole
    all_to_all = scattered and of_whole > max(0.0, class_scores[suspect])
    return Verdict(
        word=word,
        reason=reason,
        score=score,
        p_value=p_value,
        probability=probability,
        probability_ci=ends,
        suspect=suspect,
        all_to_all=bool(all_to_all),
        class_scores=class_scores,
        evidence=dict(sorted(evidence.items(), key=lambda pair: -pair[1])),
    )


def log_disagreement(agreement: float) -> float:
    """Return ``log(1 - agreement + FEW)``.

    >>> round(log_disagreement(1.0), 2), round(log_disagreement(0.5), 2)
    (-3.91, -0.65)
    """
    if not 0 <= agreement <= 1:
        raise ValueError(f"agreement must be a share from 0 to 1; got {agreement:g}.")
    return float(np.log(1 - agreement + FEW))


def variety(labels: npt.ArrayLike, classes: int) -> float:
    """Return how evenly labels are spread: the exponential of their entropy, as a share of the classes.

    >>> variety([0, 1, 2, 3], 4), variety([0, 0, 0, 0], 4)
    (1.0, 0.25)
    """
    shares = np.bincount(np.asarray(labels), minlength=classes) / max(1, np.size(labels))
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))) / classes)


def standardised(values: npt.ArrayLike, floor: float) -> Scores:
    """Compare a network's classes: ``asinh((x - median) / (1.4826 MAD + floor))``.

    The inverse hyperbolic sine is linear near 0 and logarithmic far from it: no indicator decides alone.

    >>> np.sinh(standardised([1.0, 2.0, 3.0, 4.0, 5.0], 0.5174)).round(3).tolist()
    [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    numbers = np.asarray(values, np.float64)
    apart = numbers - np.median(numbers)
    found: Scores = np.arcsinh(apart / (1.4826 * np.median(np.abs(apart)) + floor))
    return found


def against_clean(values: npt.ArrayLike, middle: float, spread: float) -> Scores:
    """Compare classes with those of clean networks: ``asinh((x - middle) / spread)``."""
    found: Scores = np.arcsinh((np.asarray(values, np.float64) - middle) / spread)
    return found


def conformal_p(score: float, clean: npt.ArrayLike, kinds: Sequence[str] = ()) -> float:
    """Return ``(1 + sum over k of the share of kind k's scores that are at least as high) / (K + 1)``.

    With K kinds whose networks are exchangeable within, and which are exchangeable with a new one's, this is
    at most a with a probability of at most a (Lee, Barber & Willett 2023, arXiv 2306.06342, hierarchical
    conformal prediction). With one network of each kind it is the p-value of Vovk et al. 2005.

    Args:
        score: of the network that is judged.
        clean: scores of clean networks.
        kinds: the kind of each; empty if each is of its own.

    >>> conformal_p(5.0, [1, 2, 3, 4]), conformal_p(3.0, [1, 2, 3, 4])
    (0.2, 0.6)
    >>> conformal_p(3.0, [1, 2, 3, 4], ["a", "a", "b", "b"])  # of the new kind, and of b
    0.6666666666666666
    """
    scores = np.asarray(clean, np.float64)
    shares = kind_weights(kinds, len(scores)) * (scores >= score)
    number = len(set(kinds)) or len(scores)
    return float((1 + number * shares.sum()) / (1 + number))


def kind_weights(kinds: Sequence[str], count: int) -> Scores:
    """Return weights of networks, 1 in total, with which each kind weighs alike.

    >>> kind_weights(["a", "b", "a"], 3)
    array([0.25, 0.5 , 0.25])
    """
    if not kinds:
        return np.full(count, 1 / count)
    _, places, counts = np.unique(np.asarray(kinds), return_inverse=True, return_counts=True)
    weights: Scores = 1 / (len(counts) * counts[places])
    return weights


def platt(
    clean: Scores,
    backdoored: Scores,
    clean_kinds: Sequence[str] = (),
    backdoored_kinds: Sequence[str] = (),
) -> tuple[float, float]:
    """Fit ``P(backdoor | S) = 1 / (1 + exp(-(a S + b)))`` with both groups weighted alike; return (a, b).

    By Newton's method, with the targets (n + 1) / (n + 2) and 1 / (n + 2) of Platt 1999 (section 2.2), so
    that groups that do not overlap have a finite slope; n is the number of a group's kinds, which weigh
    alike.

    >>> slope, offset = platt(np.array([-1.0, 0.0]), np.array([2.0, 3.0]))
    >>> slope > 0, round(-offset / slope, 6)
    (True, 1.0)
    """
    scores = np.concatenate([clean, backdoored])
    shift, scale = scores.mean(), max(float(scores.std()), 1e-9)
    x = np.stack([(scores - shift) / scale, np.ones(len(scores))], 1)
    sizes = len(clean), len(backdoored)
    numbers = len(set(clean_kinds)) or sizes[0], len(set(backdoored_kinds)) or sizes[1]
    wanted = np.repeat([1 / (numbers[0] + 2), (numbers[1] + 1) / (numbers[1] + 2)], sizes)
    weights = np.concatenate(
        [
            (1 - PRIOR) * kind_weights(clean_kinds, sizes[0]),
            PRIOR * kind_weights(backdoored_kinds, sizes[1]),
        ]
    )
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        slope = x.T @ (weights * (p - wanted))
        curve = (x * (weights * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        beta -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0] / scale), float(beta[1] - beta[0] * shift / scale)


def most_certain(opposed: int) -> tuple[float, float]:
    """Return how certain a probability can be if no one of n kinds of the other group scores so far out.

    With even odds, and p = 1 / (n + 1) the smallest conformal p-value, the probability is at most
    ``1 / (1 + p) = (n + 1) / (n + 2)``, which is also Platt's target (1999, section 2.2). The lower end of
    its 95 % interval is at most ``1 / (1 + q)``, q = 1 - .025^(1/n) the upper end of Clopper and Pearson's
    interval of 0 in n (1934).

    >>> [round(share, 3) for share in most_certain(36)]
    [0.974, 0.911]
    """
    return (opposed + 1) / (opposed + 2), 1 / (2 - 0.025 ** (1 / opposed))


def _contributions(indicators: Mapping[str, npt.ArrayLike], known: Calibration) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for term in known.terms:
        if term.name not in indicators:
            continue
        values = np.asarray(indicators[term.name], np.float64)
        if values.ndim != 1 or not len(values):
            raise ValueError(f"{term.name} must be one number for each class; got the shape {values.shape}.")
        if not (np.abs(values) <= LARGEST).all():
            raise ValueError(
                f"{term.name} must be finite numbers of a size up to {LARGEST:g}; got "
                f"{float(values[~(np.abs(values) <= LARGEST)][0]):g}."
            )
        apart = against_clean(values, term.middle, term.spread)
        found[term.name] = term.weight * standardised(values, term.floor) + term.raw_weight * apart
    sizes = {len(values) for values in found.values()}
    if len(sizes) != 1:
        raise ValueError(
            "a verdict needs indicators of one number of classes, of "
            f"{', '.join(t.name for t in known.terms)}; got {', '.join(indicators) or 'none'} for "
            f"{sorted(sizes)} classes."
        )
    return found


def _of_whole(value: float, term: Whole) -> float:
    if not abs(value) <= LARGEST:
        raise ValueError(f"rearrangement must be a finite number; got {value:g}.")
    return float(term.weight * against_clean([value], term.middle, term.spread)[0])


def _unlike(indicators: Mapping[str, npt.ArrayLike], known: Calibration) -> bool:
    """Return whether the median over classes of any indicator is unlike those of calibration networks."""
    for term in known.terms:
        if term.seen is not None and term.name in indicators:
            low, high = term.seen
            middle = float(np.median(np.asarray(indicators[term.name], np.float64)))
            if not low - MARGIN * (high - low) <= middle <= high + MARGIN * (high - low):
                return True
    return False


def _together(class_scores: Scores, sharpness: float) -> float:
    largest = class_scores.max()
    return float(largest + np.log(np.exp(sharpness * (class_scores - largest)).mean()) / sharpness)


def _probability(score: float, known: Calibration) -> tuple[float, tuple[float, float]]:
    """Return the probability of a backdoor, and its 95 % interval over draws of the calibration kinds."""
    groups = [
        _by_kind(known.clean, known.clean_kinds),
        _by_kind(known.backdoored, known.backdoored_kinds),
    ]
    rng = np.random.default_rng(0)
    fits = [_fit(groups)]
    for _ in range(DRAWS):
        fits.append(_fit([[group[k] for k in rng.integers(len(group), size=len(group))] for group in groups]))
    found = np.array([1 / (1 + np.exp(-np.clip(a * score + b, -50, 50))) for a, b in fits])
    low, high = np.quantile(found[1:], [0.025, 0.975])
    (most, most_low), (least, least_high) = (most_certain(number) for number in known.sizes)
    probability = min(max(float(found[0]), 1 - least), most)
    ends = min(float(low), most_low, probability), max(float(high), 1 - least_high, probability)
    return probability, ends


def _by_kind(scores: Sequence[float], kinds: Sequence[str]) -> list[Scores]:
    """Return the scores of each kind, or each score alone."""
    names = list(kinds) or [str(place) for place in range(len(scores))]
    return [
        np.array([score for score, name in zip(scores, names, strict=True) if name == kind])
        for kind in dict.fromkeys(names)
    ]


def _fit(groups: Sequence[Sequence[Scores]]) -> tuple[float, float]:
    """Fit `platt` on the scores of the kinds of clean and of backdoored networks."""
    names = [[str(place) for place, part in enumerate(kinds) for _ in part] for kinds in groups]
    return platt(np.concatenate(groups[0]), np.concatenate(groups[1]), *names)


def as_result(verdict: Verdict) -> dict[str, Any]:
    """Return what a record holds of a verdict."""
    return {
        "verdict": verdict.word,
        **({"reason": verdict.reason} if verdict.reason else {}),
        "score": verdict.score,
        "suspect": verdict.suspect,
        "all_to_all": verdict.all_to_all,
        "conformal_p": verdict.p_value,
        "probability": verdict.probability,
        "probability_ci": list(verdict.probability_ci),
        "class_scores": verdict.class_scores.tolist(),
        "evidence": verdict.evidence,
    }
