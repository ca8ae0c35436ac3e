"""A membership attack: the literal that ends its file, and the types that its function returns."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks import kind
from securitynet_hub.core.arrays import Scores

if TYPE_CHECKING:
    from securitynet_hub.models.target import Target

Rows = npt.NDArray[np.int64]


class Tuned(NamedTuple):
    """Scores of an attack that chose some of its settings itself, and these settings."""

    scores: Scores
    settings: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryScores:
    """Scores of an attack by queries, which asks about images that it makes, and the number of queries.

    Attributes:
        scores: shape (n,), higher = more likely a member; with `rows` one for each of them.
        queries: shape (n,), the number of images that were forwarded for each sample.
        rows: the samples that are scored, where the attack learned from the others; None for all.
    """

    scores: Scores
    queries: npt.NDArray[np.int64]
    rows: Rows | None = None

    @property
    def total_queries(self) -> int:
        """The number of images that were forwarded, over all samples."""
        return int(self.queries.sum())


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One membership attack.

    An attack from answers has ``run(inputs, rows, **settings)``, which returns one score for each of the rows
    of `MembershipInputs`, or `Tuned`. An attack by queries has `cost`, and
    ``run(target, pixels, labels, seed=..., batch_size=..., **settings)``, which returns `QueryScores`.

    Attributes:
        needs: fields of `MembershipInputs` beyond ``outputs``.
        alternatives: fields accepted in place of `needs`; labels are needed in any case.
        min_references: minimum number of reference models trained with, and without, each sample, for the
            default settings.
        augmented: whether it scores every augmentation of a sample; other attacks score the first.
        class_wise: whether one threshold for each class can be fitted to its scores.
        cost: (an image, settings) -> the largest number of images forwarded for one sample; None for an
            attack that uses only the answers of the shared forward pass.
        starts: whether an attack by queries takes images to start from, as the argument ``starts``.
        learns: whether an attack by queries takes what is known of the samples' membership, as the argument
            ``known``: 1 member, 0 non-member, -1 not known. It scores no sample that it learns from.
        score_answers: (predicted labels of shape (n, queries), labels) -> scores, for an attack by queries
            whose score depends only on the predicted labels.
        minimum: the lowest possible score of an attack by queries, where there is one.
    """

    kind: ClassVar[str] = "membership-inference"
    supplied: ClassVar[frozenset[str]] = frozenset(
        {"mode", "ref_in_z", "ids", "ids_x", "ids_z", "population_ids", "calibration_ids", "classes",
         "population_classes", "seed", "batch_size", "starts", "known", "kind", "share"}
    )  # fmt: skip

    alternatives: tuple[str, ...] = ()
    min_references: tuple[int, int] = (0, 0)
    augmented: bool = False
    class_wise: bool = False
    cost: Callable[..., int] | None = field(default=None, repr=False)
    starts: bool = False
    learns: bool = False
    score_answers: Callable[..., Scores] | None = field(default=None, repr=False)
    minimum: float | None = None

    @property
    def shares_pass(self) -> bool:
        """Whether it reads only the answers of one forward pass over the samples."""
        return self.cost is None

    @property
    def labelled(self) -> bool:
        """Whether it needs the samples' labels."""
        return "labels" in self.needs

    def unanswerable(self, target: Target) -> str | None:
        """Return why a target cannot be attacked so, or None: it answers with too little, or has no layer."""
        if reason := super().unanswerable(target):
            return reason
        if "penultimate" in self.needs:
            from securitynet_hub.engine.features import without_features  # torch is slow to import

            return without_features(target)
        return None

    def needed(self, held: Container[str]) -> tuple[str, ...]:
        """Return the fields that the attack uses if these fields are given: `needs`, or the alternatives.

        >>> from securitynet_hub.attacks.membership.population import ATTACKS
        >>> ATTACKS[0].name, ATTACKS[0].needed({"labels", "calibration"})
        ('attack_p', ('labels', 'calibration'))
        """
        if not self.alternatives or all(need in held for need in self.needs):
            return self.needs
        instead = ("labels", *self.alternatives)
        return instead if all(need in held for need in instead) else self.needs
