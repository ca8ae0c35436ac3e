"""The smallest change that all images share and that leads them to a class, in pixels or in features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Finding
from securitynet_hub.attacks.backdoor.descent import Adam
from securitynet_hub.attacks.backdoor.expected_size import adjusted_figures, as_list
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.attacks.backdoor.mm_bd import MIN_CLASSES, judge_margins
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.models.target import Target

Classify = Callable[[torch.Tensor], torch.Tensor]
"""A function from points (n, ...) to logits (n, classes)."""

FIRST_COST = 3.0
COST_FACTOR = 1.5
PATIENCE = 3
HALVINGS = 6
BETAS = (0.5, 0.9)
EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Clean images as points of a space, and the rest of the network from there.

    Attributes:
        values: shape (n, ...), pixels of 0 to 1, or features.
        classify: the network's answers for such points.
        predicted: shape (n,), its answers for these.
        floor: smallest value that a point can have.
        ceiling: largest value.
    """

    values: torch.Tensor = field(repr=False)
    classify: Classify = field(repr=False)
    predicted: torch.Tensor = field(repr=False)
    floor: float = -math.inf
    ceiling: float = math.inf

    @property
    def spread(self) -> float:
        """How far the points lie from their mean, as the root of the mean square over all values.

        Raises:
            ValueError: all points are the same.
        """
        spread = float((self.values - self.values.mean(0)).square().mean().sqrt())
        if not spread > 0:
            raise ValueError("the clean images must differ; the network takes all of them for the same.")
        return spread


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the smallest change is searched.

    Attributes:
        steps: of Adam.
        learning_rate: of Adam, in spreads of the points.
        success: share of the images that a change must lead to the class.
        batch_size: images in one forward pass.
        seed: decides the first change, which all classes share.
    """

    steps: int = 80
    learning_rate: float = 0.06
    success: float = 0.9
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or not self.learning_rate > 0 or not 0 < self.success <= 1:
            raise ValueError(
                "steps and batch_size must be at least 1, learning_rate above 0, success above 0 and at most "
                f"1; got {self}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Changes:
    """The smallest change found for each class, or pair of classes.

    Attributes:
        sizes: shape (k,), in spreads of the points; NaN where no change reached the share of success.
        success_rates: shape (k,), share of the images that the change leads to the class.
        values: shape (k, ...), what is added to each point.
    """

    sizes: Scores
    success_rates: Scores
    values: npt.NDArray[np.float32] = field(repr=False)


class PairChanges(NamedTuple):
    """The sizes of the smallest changes between classes.

    Attributes:
        classes: shape (k,), the classes that were searched.
        sizes: shape (k, k), from each source (row) to each target (column), in spreads of the points; NaN on
            the diagonal, where no image is answered with the source, and where no change succeeded.
        gaps: of the same shape, by how much the target loses the source's images
            (`expected_size.source_gaps`); None where nobody asked.
    """

    classes: npt.NDArray[np.int64]
    sizes: Scores
    gaps: Scores | None = None


class SharedChanges(NamedTuple):
    """The smallest shared changes of a model's classes.

    Attributes:
        classes: shape (k,), the classes that were searched.
        changes: for each of them, the smallest change, in pixels of 0 to 1 or in features.
        gaps: shape (k,), by how much each class loses clean images (`expected_size.class_gaps`).
        pairs: the smallest changes between classes, where they were searched.
    """

    classes: npt.NDArray[np.int64]
    changes: Changes
    gaps: Scores | None = None
    pairs: PairChanges | None = None


def pixel_points(
    target: Target, images: npt.NDArray[np.uint8], *, batch_size: int = 256
) -> tuple[Points, torch.Tensor]:
    """Return clean images as points of pixels from 0 to 1, and the network's logits for them.

    The target's module should be frozen meanwhile (`models.eval_mode.frozen`).

    Args:
        target: the classifier.
        images: shape (n, height, width, channels), uint8.
        batch_size: images in one forward pass.

    Raises:
        ValueError: no images, or a preprocessing that gradients cannot pass.
        ModelError: the model answers NaN or infinities.
    """
    space, inputs = PixelSpace.from_target(target), network_inputs(target, images)
    module = for_input_gradients(target.module, inputs)

    def classify(pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module(space.inputs(pixels))
        return logits

    with torch.no_grad():
        logits = torch.cat([module(part) for part in torch.split(inputs, batch_size)])
    pixels = (inputs - space.black.to(inputs)) / space.range.to(inputs)
    points = Points(
        values=pixels.clamp(0, 1), classify=classify, predicted=checked(target, logits), floor=0, ceiling=1
    )
    return points, logits


def checked(target: Target, logits: torch.Tensor) -> torch.Tensor:
    """Return the classes of logits, shape (n,).

    Raises:
        ModelError: the logits are not finite, or not one for each class.
    """
    if logits.shape[1:] != (target.num_classes,) or not torch.isfinite(logits).all():
        raise ModelError(
            f"{target.id} must answer each image with {target.num_classes} finite numbers; it gave "
            f"{tuple(logits.shape[1:])}, of which {int((~torch.isfinite(logits)).sum())} are not finite."
        )
    return logits.argmax(1)


def likely_classes(logits: torch.Tensor, count: int) -> npt.NDArray[np.int64]:
    """Return the classes that rank highest in the logits by their median rank, ascending.

    >>> likely_classes(torch.tensor([[5.0, 1.0, 3.0], [4.0, 2.0, 3.0]]), 2)
    array([0, 2])
    """
    ranks = np.median(logits.argsort(1, descending=True).argsort(1).cpu().numpy(), axis=0)
    chosen: npt.NDArray[np.int64] = np.sort(np.lexsort((np.arange(len(ranks)), ranks))[: max(count, 1)])
    return chosen


def finding(found: SharedChanges) -> Finding:
    """Return what the sizes say of the model."""
    score, p_value, place = judge_sizes(found.changes.sizes)
    return Finding(
        score=score,
        suspect=None if place is None else int(found.classes[place]),
        figures={
            "p_value": p_value,
            "classes": found.classes.tolist(),
            "sizes": as_list(found.changes.sizes),
            "success_rates": found.changes.success_rates.tolist(),
            **(
                {} if found.gaps is None else adjusted_figures(found.changes.sizes, found.gaps, found.classes)
            ),
        },
    )


def smallest_changes(
    points: Points,
    labels: npt.NDArray[np.int64],
    search: Search,
    *,
    sources: npt.NDArray[np.int64] | None = None,
    on_step: Callable[[int], None] = lambda count: None,
) -> Changes:
    """Search, for each class t, the smallest v that turns x into clip(x + v) of class t for most images x.

    By Adam on

        mean over x of CE(f(clip(x + v)), t) + cost * size,
        size = rms over x of (clip(x + v) - x) / spread,

    where an image counts unless it is of class t already. The cost rises after three steps of success and
    falls after three without, as Neural Cleanse adjusts that of its masks (Wang et al. 2019). The smallest
    successful change is then shortened by bisection as long as it succeeds.

    Args:
        points: the images.
        labels: shape (k,), where each change leads.
        search: steps, step size and success.
        sources: shape (k,), the class whose images each change starts from; None for all other classes.
        on_step: called after each step with the number of changes that it optimised.

    >>> weight = torch.eye(2)
    >>> values = torch.tensor([[4.0, 0.0], [2.0, 0.0]])
    >>> points = Points(values=values, classify=lambda x: x @ weight, predicted=torch.zeros(2))
    >>> search = Search(steps=300, success=1.0)  # towards (-2, 2), of size 2 / .71
    >>> found = smallest_changes(points, np.array([1]), search)
    >>> found.values[0].round().tolist(), round(float(found.sizes[0]), 1)
    ([-2.0, 2.0], 2.8)
    """
    spread, shape = points.spread, points.values.shape[1:]
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(search.seed))
    first = (search.learning_rate * drawn).to(points.values)
    rows, weights = _rows(points, labels, sources)
    parts: list[Changes] = []
    at_once = max(1, search.batch_size // rows.shape[1])
    for start in range(0, len(labels), at_once):
        few = slice(start, start + at_once)
        arms = _Arms(
            points, torch.from_numpy(labels[few]), rows[few], weights[few], spread, search.batch_size
        )
        parts.append(_searched(arms, first, search, on_step))
    names = "sizes", "success_rates", "values"
    return Changes(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def judge_sizes(sizes: Scores) -> tuple[float | None, float | None, int | None]:
    """Return score, p-value and suspect of a model from the sizes of its classes' changes.

    ``s = -log10(1 - F(1 / smallest) ** classes)``, F the gamma distribution fitted to the reciprocals of all
    other sizes: the test of Xiang, Miller & Kesidis 2020 (arXiv 1908.10498) for one change for each class.
    Without four sizes there is no score.

    >>> score, p_value, suspect = judge_sizes(np.array([1.0, 1.1, 0.9, 1.05, 0.2, np.nan]))
    >>> score > 3, suspect
    (True, 4)
    >>> judge_sizes(np.array([1.0, np.nan, np.nan, 2.0]))
    (None, None, 0)
    """
    found = np.flatnonzero(np.isfinite(sizes))
    if len(found) < MIN_CLASSES:
        return None, None, int(np.nanargmin(sizes)) if len(found) else None
    judged = judge_margins(1 / np.maximum(sizes[found], 1e-9))
    return judged.score, judged.p_value, int(found[judged.suspect])


def _rows(
    points: Points, labels: npt.NDArray[np.int64], sources: npt.NDArray[np.int64] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of each change, shape (k, m), and their weights, 0 for those that only fill up."""
    predicted = points.predicted.cpu().numpy()
    used = predicted != labels[:, None]
    if sources is not None:
        used &= predicted == sources[:, None]
    order = np.argsort(~used, axis=1, kind="stable")[:, : max(1, int(used.sum(1).max(initial=1)))]
    counted = np.take_along_axis(used, order, 1)
    weights = counted / np.maximum(counted.sum(1, keepdims=True), 1)
    place = points.values.device
    return torch.from_numpy(order).to(place), torch.from_numpy(weights).to(points.values)


@dataclass(frozen=True)
class _Arms:
    """Some changes that are searched side by side."""

    points: Points
    labels: torch.Tensor
    rows: torch.Tensor
    weights: torch.Tensor
    spread: float
    batch_size: int

    def measure(
        self, changes: torch.Tensor, *, slopes: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return success and size of each change, and the slopes of its cross-entropy and of its size."""
        k = len(changes)
        success, square = self.weights.new_zeros(k), self.weights.new_zeros(k)
        of_error, of_square = torch.zeros_like(changes), torch.zeros_like(changes)
        goals = self.labels.to(changes.device)[:, None]
        at_once = max(1, self.batch_size // k)
        for rows, weights in zip(
            torch.split(self.rows, at_once, 1), torch.split(self.weights, at_once, 1), strict=True
        ):
            clean = self.points.values[rows]
            free = clean + changes[:, None]
            moved = free.clamp(self.points.floor, self.points.ceiling)
            share = weights.reshape(*weights.shape, *[1] * (clean.ndim - 2))
            distance = (moved - clean) * share
            square += (distance * (moved - clean)).flatten(1).sum(1)
            moved.requires_grad_(slopes)
            with torch.set_grad_enabled(slopes):
                logits = self.points.classify(moved.flatten(0, 1)).reshape(*rows.shape, -1)
                if slopes:
                    wrong = (
                        logits.logsumexp(2)
                        - logits.gather(2, goals[..., None].expand(*rows.shape, 1))[..., 0]
                    )
                    (slope,) = torch.autograd.grad((wrong * weights).sum(), moved)
                    inside = (free >= self.points.floor) & (free <= self.points.ceiling)
                    of_error += (slope * inside).sum(1)
                    of_square += (distance * inside).sum(1)
            success += ((logits.argmax(2) == goals) * weights).sum(1)
        size = (square / changes[0].numel()).sqrt() / self.spread
        column = size.reshape(-1, *[1] * (changes.ndim - 1)).clamp(min=EPSILON)
        return success, size, of_error, of_square / (changes[0].numel() * self.spread**2 * column)


def _searched(arms: _Arms, first: torch.Tensor, search: Search, on_step: Callable[[int], None]) -> Changes:
    k = len(arms.labels)
    theta = first.repeat(k, *[1] * first.ndim)  # changes in spreads
    adam = Adam(search.learning_rate, BETAS)
    cost, up, down = (theta.new_full((k,), value) for value in (FIRST_COST, 0, 0))
    best, kept = theta.new_full((k,), math.inf), theta.clone()
    for step in range(search.steps):
        success, size, of_error, of_size = arms.measure(theta * arms.spread, slopes=True)
        reached = success >= search.success - 1e-6
        better = reached & (size < best)
        best, kept = torch.where(better, size, best), torch.where(_column(better, theta), theta, kept)
        slope = (of_error + _column(cost, theta) * of_size) * arms.spread
        theta = adam.step(theta, slope)
        up, down = torch.where(reached, up + 1, 0 * up), torch.where(reached, 0 * down, down + 1)
        cost = torch.where(up >= PATIENCE, cost * COST_FACTOR, cost)
        cost = torch.where(down >= PATIENCE, cost / COST_FACTOR**1.5, cost)
        up[up >= PATIENCE], down[down >= PATIENCE] = 0, 0
        on_step(k)
        tell("steps", step + 1, search.steps)
    return _shortened(arms, torch.where(_column(best.isfinite(), theta), kept, theta) * arms.spread, search)


def _shortened(arms: _Arms, changes: torch.Tensor, search: Search) -> Changes:
    """Shorten each change as long as it succeeds, by bisection of its factor."""
    low, high = changes.new_zeros(len(changes)), changes.new_ones(len(changes))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        success, *_ = arms.measure(changes * _column(middle, changes), slopes=False)
        reached = success >= search.success - 1e-6
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    changes = changes * _column(high, changes)
    success, size, *_ = arms.measure(changes, slopes=False)
    size = torch.where(success >= search.success - 1e-6, size, math.nan)
    return Changes(
        sizes=size.double().cpu().numpy(),
        success_rates=success.double().cpu().numpy(),
        values=changes.float().cpu().numpy(),
    )


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
