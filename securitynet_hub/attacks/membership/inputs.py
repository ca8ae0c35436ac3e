"""What an attacker holds: answers of the target and of other models, and the membership of some samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.measures import draw_share
from securitynet_hub.attacks.membership.model_answers import FROM_MARGIN, ModelAnswers
from securitynet_hub.attacks.membership.reference_models import Unread, require_disjoint
from securitynet_hub.core.arrays import Scores, as_array, require_plain, require_seed
from securitynet_hub.core.shares import Share, alone
from securitynet_hub.statistics.rates import check_scores
from securitynet_hub.statistics.signals import SIGNALS, Outputs

ROWS = 1 << 15
"""Rows of answers in a file of which signals are computed at a time."""

AXES = {"outputs": 2, "reference_outputs": 3, "population_outputs": 2, "reference_population_outputs": 3}
"""Number of axes of each field of answers, without the axis of augmentations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MembershipInputs:
    """What an attacker holds. All outputs are logits, or all are probabilities, as `from_logits` says.

    If the models were asked about several augmentations of each sample (the image itself, mirrored, shifted),
    all outputs have an axis of augmentations before the axis of classes, as `Shadows.logits` has. LiRA and
    RMIA score every augmentation; the other attacks score the first.

    Attributes:
        outputs: shape (n, [augmentations,] classes), the target's answers.
        labels: shape (n,), integers; None for an attacker who does not know them.
        is_member: shape (n,), the membership: booleans or 0/1. Attacks see it for calibration samples only;
            for all other samples it is used only to measure the attack.
        from_logits: whether outputs are logits; nothing is guessed.
        calibration: the samples whose membership the attacker knows: shape (n,), booleans, or the share of
            members and of non-members to draw by `seed`.
        reference_outputs: shape (models, n, [augmentations,] classes), answers of reference models.
        reference_in: shape (models, n), True where the sample was in that model's training set.
        population_outputs: shape (m, [augmentations,] classes), the target's answers for samples outside its
            training set and outside the n. Without them Attack-P ranks each sample among the calibration
            non-members.
        population_labels: shape (m,).
        reference_population_outputs: shape (models, m, [augmentations,] classes).
        reference_population_in: shape (models, m); None if no reference model was trained on the population.
        features: shape (n, columns), a description of each sample: embeddings, or another model's logits.
        penultimate: shape (n, d), what the target's last linear layer reads for each sample.
        base_features: shape (n, d), features of each sample by the public model that the target was
            fine-tuned from.
        ids: shape (n,), a unique identifier of each sample.
        population_ids: shape (m,), likewise; if both are given, a sample in both is refused.
        seed: decides everything that an attack draws.
        share: who does which part of the scoring; by default this process does all.
        multiply: multiplies large matrices; by default NumPy does, on the CPU.
    """

    outputs: Outputs = field(repr=False)
    labels: Outputs | None = field(repr=False)
    is_member: Outputs = field(repr=False)
    from_logits: bool
    calibration: Any = field(default=None, repr=False)
    reference_outputs: Outputs | None = field(default=None, repr=False)
    reference_in: Outputs | None = field(default=None, repr=False)
    population_outputs: Outputs | None = field(default=None, repr=False)
    population_labels: Outputs | None = field(default=None, repr=False)
    reference_population_outputs: Outputs | None = field(default=None, repr=False)
    reference_population_in: Outputs | None = field(default=None, repr=False)
    features: Outputs | None = field(default=None, repr=False)
    penultimate: Outputs | None = field(default=None, repr=False)
    base_features: Outputs | None = field(default=None, repr=False)
    ids: Outputs | None = field(default=None, repr=False)
    population_ids: Outputs | None = field(default=None, repr=False)
    seed: int = 0
    share: Share = field(default=alone, repr=False)
    multiply: Callable[[Scores, Scores], Scores] = field(default=np.matmul, repr=False)

    def __post_init__(self) -> None:
        shapes = {name: _shape(getattr(self, name), name) for name in AXES if getattr(self, name) is not None}
        classes = {name: shape[-1] for name, shape in shapes.items() if shape}
        if len(set(classes.values())) > 1:
            raise ValueError(
                f"all outputs must be of the same classes; the numbers of classes are {classes}."
            )
        views = {name: shape[-2] if len(shape) > AXES[name] else None for name, shape in shapes.items()}
        if len(set(views.values())) > 1:
            raise ValueError(
                "all outputs must be of the same views (augmentations), or have no axis of them; the numbers "
                f"of views are {views}."
            )
        require_disjoint(self.ids, self.population_ids, ("ids", "population_ids"))
        require_seed(self.seed)

    @cached_property
    def membership(self) -> npt.NDArray[np.bool_]:
        """The membership of every sample, checked."""
        truth = as_array(self.is_member, "is_member")
        if truth.shape != (len(self.outputs),):
            raise ValueError(
                f"is_member must hold one entry for each of {len(self.outputs)} rows of outputs; got shape "
                f"{truth.shape}."
            )
        return check_scores(np.zeros(len(truth)), truth)[1]

    @cached_property
    def calibrated_on(self) -> npt.NDArray[np.bool_]:
        """Shape (n,), True for the samples whose membership the attacker knows.

        Raises:
            ValueError: the share is outside 0..1, the mask has another shape or type, or the mask leaves no
                members or no non-members to score, or no non-members to calibrate on.
        """
        chosen = _calibration_mask(self.calibration, self.membership, self.seed)
        judged = self.membership[~chosen]
        if judged.all() or not judged.any() or self.membership[chosen].all():
            raise ValueError(
                "calibration must have non-members, and leave members and non-members to score; it has "
                f"{np.count_nonzero(chosen)} of {len(chosen)} samples, "
                f"{np.count_nonzero(self.membership[chosen])} of them members."
            )
        return chosen

    @property
    def outsiders(self) -> npt.NDArray[np.bool_]:
        """Shape (n,), True for the samples that the attacker knows to be non-members."""
        return self.calibrated_on & ~self.membership

    @property
    def held(self) -> set[str]:
        """The names of the fields that are not None."""
        return {field.name for field in fields(self) if getattr(self, field.name) is not None}

    @property
    def first_view(self) -> Outputs:
        """The target's answers for the first augmentation of each sample, shape (n, classes)."""
        return self.outputs if np.ndim(self.outputs) < 3 else as_array(self.outputs, "outputs")[:, 0]

    def score(self, signal: str, *, views: bool = False) -> Scores:
        """Return a signal of `SIGNALS` of the target's answers, shape (n,).

        With `views`, return it for every augmentation, shape (n, augmentations) if outputs have that axis.
        """
        logits = (
            isinstance(self.from_logits, bool | np.bool_) and self.from_logits
        )  # others are refused below
        if logits and signal in FROM_MARGIN:
            several = views and np.ndim(self.outputs) > 2
            if several not in self._margins:
                self._margins[several] = self._own("logit_margin", several)
            return FROM_MARGIN[signal](self._margins[several].copy())
        return self._own(signal, views)

    @cached_property
    def _margins(self) -> dict[bool, Scores]:
        """The margins of the target's logits, for all augmentations and for the first, once computed."""
        return {}

    def _own(self, signal: str, views: bool) -> Scores:
        labels = np.zeros(len(self.outputs), np.int64) if self.labels is None else self.labels
        return self._signal(signal, self.outputs, labels, views)

    def reference_scores(self, signal: str, *, views: bool = False) -> Scores:
        """Return the signal of each reference model's answers, shape (models, n[, augmentations])."""
        return np.asarray(self.reference_signals(signal, views=views))

    def reference_signals(self, signal: str, *, views: bool = False) -> Scores | Unread:
        """Return what `reference_scores` does, read a part at a time if the outputs are `ModelAnswers`."""
        return self._each_model(signal, self.reference_outputs, self.labels, views)

    def population_scores(self, signal: str, *, views: bool = False) -> Scores:
        """Return the signal of the target's answers for the population, shape (m[, augmentations])."""
        return self._signal(signal, self.population_outputs, self.population_labels, views)

    def reference_population_scores(self, signal: str, *, views: bool = False) -> Scores:
        """Return the signal of each reference model's answers for the population.

        Its shape is (models, m[, augmentations]).
        """
        return np.asarray(self.reference_population_signals(signal, views=views))

    def reference_population_signals(self, signal: str, *, views: bool = False) -> Scores | Unread:
        """Return what `reference_population_scores` does, as `reference_signals` does."""
        return self._each_model(signal, self.reference_population_outputs, self.population_labels, views)

    def _each_model(self, signal: str, outputs: Any, labels: Outputs, views: bool) -> Scores | Unread:
        if isinstance(outputs, ModelAnswers):
            if (found := outputs.signals(signal, views=views)) is not None:
                return found
            outputs = np.asarray(outputs)
        return np.stack([self._signal(signal, own, labels, views) for own in outputs])

    def _signal(self, signal: str, outputs: Any, labels: Outputs, views: bool) -> Scores:
        score = SIGNALS[signal]
        if isinstance(outputs, np.memmap):  # more than fits into memory several times

            def scored(start: int) -> Scores:
                part = slice(start, start + ROWS)
                return self._signal(signal, np.asarray(outputs[part]), labels[part], views)

            return np.concatenate(self.share(scored, range(0, len(outputs), ROWS)))
        if np.ndim(outputs) < 3:
            return score(outputs, labels, from_logits=self.from_logits)
        outputs = outputs if hasattr(outputs, "detach") else as_array(outputs, "outputs")
        if not views:
            return score(outputs[:, 0], labels, from_logits=self.from_logits)
        # One augmentation at a time, so that errors name rows as the caller counts them.
        each = (outputs[:, view] for view in range(outputs.shape[1]))
        return np.stack([score(own, labels, from_logits=self.from_logits) for own in each], 1)


def _shape(values: Outputs, name: str) -> tuple[int, ...]:
    if hasattr(values, "detach"):
        require_plain(values, name)
    try:
        shape = tuple(np.shape(values))
    except ValueError as error:  # ragged lists
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error
    if not shape or not shape[0]:
        raise ValueError(f"{name} must hold an answer at least; got shape {shape}.")
    return shape


def _calibration_mask(calibration: Any, is_member: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.bool_]:
    if isinstance(calibration, (int, float, np.number)) and not isinstance(calibration, (bool, np.bool_)):
        if not 0 < calibration < 1:
            raise ValueError(f"the share of calibration samples must lie between 0 and 1; got {calibration}.")
        return draw_share(float(calibration), is_member, seed)
    mask = as_array(calibration, "calibration")
    if mask.shape != is_member.shape or mask.dtype != np.bool_:
        raise ValueError(
            f"calibration must be a share or {len(is_member)} booleans; got {mask.dtype} of {mask.shape}."
        )
    return mask
