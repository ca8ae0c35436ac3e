"""Neural Cleanse (Wang et al., IEEE S&P 2019): the smallest trigger that leads any image to a class.

For each class t a mask m, shape (height, width), and a pattern d, shape (channels, height, width), minimise

    mean over x of CE(f((1 - m) x + m d), t) + cost * |m|_1        (equations 3 and 4)

in pixels, with the preprocessing behind them. A backdoor is a shortcut: its class needs a much smaller mask
than the others. m and d are tanh(theta) / (2 - 1e-7) + 1/2, found by Adam; the cost follows `Schedule`.

Many classes share each forward and backward pass: each has its own cost, its own Adam state and its own end,
and the next waiting class takes the place of a finished one. A model of many classes is screened first, as in
K-Arm (Shen et al., ICML 2021): every class gets a few steps; only the most promising classes, and control
classes drawn at random with which they are compared, get all steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.expected_size import GAP, adjusted_figures
from securitynet_hub.attacks.backdoor.inversion import Inversion
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_clean, needs_pixel_space
from securitynet_hub.attacks.backdoor.schedule import Arms, Numbers, Progress, Schedule
from securitynet_hub.attacks.backdoor.stamping import TriggerStamp
from securitynet_hub.attacks.backdoor.unlearning import as_figures, covering, unlearn
from securitynet_hub.core.progress import tell
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target

FAST = Schedule(steps=200, batches=0, stop_threshold=0.99)
"""One step is one pass over all images, so that a success rate is exact and no draw of batches matters."""

BATCH_SIZE = 256
ROUNDING = 1e-7
EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Screening:
    """How a model with more than `keep + controls` classes is searched.

    Attributes:
        steps: first steps for every class.
        images: maximum number of images in these steps.
        keep: number of classes, those with the smallest triggers after these steps, that are searched to the
            end.
        controls: number of classes drawn at random that are searched to the end as well, for comparison.
        likely: number of classes that get the first steps: those that rank highest in the model's answers to
            the images, by their median rank, because a shortcut lifts its class a little everywhere. None
            for every class. Use it for models whose forward pass is expensive. (The idea is that of K-Arm,
            Shen et al. 2021, which keeps a class by two thresholds: among the top quarter of the classes for
            95 % of the images.)
    """

    steps: int = 20
    images: int = 20
    keep: int = 8
    controls: int = 16
    likely: int | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.images, self.keep) < 1 or self.controls < 3:
            raise ValueError(f"steps, images and keep must be at least 1, controls 3; got {self}.")
        if self.likely is not None and self.likely < self.keep:
            raise ValueError(f"likely must be at least keep, {self.keep}; got {self.likely}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)


SCREENING = Screening()


def neural_cleanse(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    schedule: Schedule = FAST,
    restarts: int = 3,
    screening: Screening | None = SCREENING,
    unlearning_steps: int = 0,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda count: None,
) -> Inversion:
    """Search the smallest trigger of every class.

    Wang et al. 2019, equations 3 and 4: for each class t the mask m and pattern d that minimise

        mean over x of CE(f((1 - m) x + m d), t) + cost * |m|_1,      s = log2(median norm / smallest norm),

    with the norms |m|_1 of all classes; higher = more likely poisoned (`Inversion.measure`).

    All classes start from the same random mask and pattern, one for each restart, so that neither their order
    nor their number matters. Images that the model already assigns to a class are not used for it, so no
    labels are needed. A mask counts only if it turns `schedule.success_threshold` of all other images. This
    is the one difference to the authors' schedule, which relies on the success in the mini-batches.

    Args:
        target: the classifier; parameters, flags and the random state are left as they were.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        schedule: steps and costs; `REFERENCE` is the authors'.
        restarts: number of searches from different random masks; their spread shows the method's noise.
        screening: how a model of many classes is searched; None to search every class to the end.
        unlearning_steps: steps of training against the smallest trigger, to see whether that takes away the
            trigger and nothing else (`unlearn`); 0 for none.
        batch_size: images in one forward pass.
        seed: decides first masks, mini-batches and controls.
        on_step: called after each step with the number of triggers that it optimised.

    Returns:
        Norms, success rates, masks and patterns, shape (restarts, classes, ...).

    Raises:
        ValueError: no images, images that the target does not take, or a preprocessing that gradients cannot
            pass; `restarts` or `batch_size` below 1.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-corner-patch/7")
    >>> found = neural_cleanse(target, load_images().pixels[2000:2016], restarts=1)
    >>> int(np.nanargmin(found.norms[0])), target.annotation.target_class
    (0, 0)
    """
    if restarts < 1 or batch_size < 1:
        raise ValueError(f"restarts and batch_size must be at least 1; got {restarts} and {batch_size}.")
    rng = np.random.default_rng(seed)
    with frozen(target.module):
        stamping = TriggerStamp.from_target(target, images, batch_size)
        first = _first_thetas(stamping, restarts, rng)
        classes = np.arange(target.num_classes)
        controls = np.ones(len(classes), np.bool_)
        if screening is not None and len(classes) > screening.keep + screening.controls:
            classes, controls = _screened(stamping, first, schedule, screening, rng, on_step)
        labels, starts = np.tile(classes, restarts), np.repeat(np.arange(restarts), len(classes))
        found = _invert(stamping, labels, first, starts, schedule, rng, on_step)
    shape = restarts, len(classes)
    inversion = Inversion(
        classes=classes,
        controls=controls,
        norms=np.where(found.converged, found.norms, np.nan).reshape(shape),
        success_rates=found.success_rates.reshape(shape),
        steps=found.steps.reshape(shape),
        masks=found.triggers[..., 0].reshape(*shape, *found.triggers.shape[1:-1]),
        patterns=found.triggers[..., 1:].reshape(*shape, *target.transform.shape),
        gaps=stamping.gaps[classes],
    )
    suspect = inversion.measure()["smallest_class"]
    if not unlearning_steps or suspect is None or len(images) < 2:
        return inversion
    stamp = covering(*inversion.best(suspect))
    unlearning = unlearn(target, images, stamp, suspect, steps=unlearning_steps)
    return replace(inversion, unlearning=unlearning)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The result of each arm: its smallest successful trigger, or its last trigger if none succeeded."""

    triggers: npt.NDArray[np.float32]
    norms: Numbers
    success_rates: Numbers
    converged: npt.NDArray[np.bool_]
    steps: Arms


def _first_thetas(stamping: TriggerStamp, restarts: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw mask and pattern uniformly from [0, 1), one pair for each restart."""
    channels, *sides = stamping.inputs.shape[1:]
    drawn = torch.from_numpy(rng.random((restarts, 1 + channels, *sides)))
    return torch.atanh((drawn - 0.5) * (2 - ROUNDING)).to(stamping.inputs)


def _screened(
    stamping: TriggerStamp,
    first: torch.Tensor,
    schedule: Schedule,
    screening: Screening,
    rng: np.random.Generator,
    on_step: Callable[[int], None],
) -> tuple[Arms, npt.NDArray[np.bool_]]:
    """Return the most promising classes together with the controls, and which are controls."""
    labels = np.lexsort((np.arange(stamping.num_classes), stamping.ranks))[: screening.likely]
    few = rng.permutation(len(stamping.inputs))[: screening.images]
    # A cost that follows every step: in so few of them the authors' has hardly begun to press on the masks.
    short = replace(schedule, steps=screening.steps, batches=0, patience=1, stop_patience=None)
    starts = np.zeros(len(labels), np.int64)
    tried = _invert(stamping.on(few), labels, first, starts, short, rng, on_step)
    sizes = np.where(tried.converged, tried.norms, np.inf)
    promising = labels[np.lexsort((-tried.success_rates, sizes))[: screening.keep]]
    drawn = rng.choice(stamping.num_classes, screening.controls, replace=False)
    classes = np.union1d(promising, drawn)
    return classes, np.isin(classes, drawn)


def _invert(
    stamping: TriggerStamp,
    labels: Arms,
    first: torch.Tensor,
    starts: Arms,
    schedule: Schedule,
    rng: np.random.Generator,
    on_step: Callable[[int], None],
) -> _Found:
    """Optimise a trigger for each arm: its label, shape (n,), from its own of the ``first`` thetas."""
    n, at_once = len(labels), stamping.at_once(schedule)
    progress, rates = Progress(schedule, n), np.zeros(n)
    batches = _draw_batches(len(stamping.inputs), schedule, rng)
    kept = np.empty((n, *first.shape[2:], first.shape[1]), np.float32)
    active, waiting = np.split(np.arange(n), [at_once])
    state = _State.of(first[starts[active]])
    while len(active):
        success, norm = np.zeros(len(active)), np.zeros(len(active))
        for batch in range(batches.shape[1]):
            rows = batches[progress.steps[active], batch] if schedule.batches else None
            triggers = state.triggers()
            slope, succeeded = stamping.gradient(labels[active], triggers, rows)
            success += succeeded / batches.shape[1]
            norm += _norms(triggers) / batches.shape[1]
            state.descend(slope, progress.cost[active], schedule)
        better = progress.candidates(active, success, norm)
        if schedule.batches and better.any():
            # The mask has moved since the batches were measured: what counts is measured on all images.
            triggers = state.triggers()
            measured = stamping.success(labels[active[better]], triggers[torch.from_numpy(better)])
            success_now = success.copy()
            success_now[better] = measured
            better &= success_now >= schedule.success_threshold
        else:
            success_now = success
        finished = progress.update(active, success, norm, better)
        shown = better | (finished & ~np.isfinite(progress.best[active]))
        rates[active[shown]] = success_now[shown]
        kept[active[shown]] = _as_images(triggers[torch.from_numpy(shown)])
        on_step(len(active))
        settled = n - len(active) - len(waiting)
        tell(
            "steps of all triggers",
            int(progress.steps[active].sum()) + settled * schedule.steps,
            n * schedule.steps,
        )
        if finished.any():
            new, waiting = np.split(waiting, [int(finished.sum())])
            active = np.concatenate([active[~finished], new])
            state = state.renewed(~finished, first[starts[new]])
    return _Found(
        triggers=kept,
        norms=kept[..., 0].reshape(n, -1).sum(1, dtype=np.float64),
        success_rates=rates,
        converged=np.isfinite(progress.best),
        steps=progress.steps,
    )


def _draw_batches(images: int, schedule: Schedule, rng: np.random.Generator) -> Arms:
    """Return the images of every mini-batch, shape (steps, batches, batch_size), shuffled anew when used up.

    Of a schedule without mini-batches, an empty array of one batch.
    """
    if not schedule.batches:
        return np.empty((schedule.steps, 1, 0), np.int64)
    shape = schedule.steps, schedule.batches, schedule.batch_size
    rounds = -(-int(np.prod(shape)) // images)
    order = np.concatenate([rng.permutation(images) for _ in range(rounds)])
    return order[: np.prod(shape)].reshape(shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """What is optimised, thetas of masks and patterns, and Adam's moments and steps: a row for each arm."""

    theta: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    count: Arms

    @classmethod
    def of(cls, theta: torch.Tensor) -> _State:
        zeros = torch.zeros_like(theta)
        return cls(theta=theta, mean=zeros, square=zeros.clone(), count=np.zeros(len(theta), np.int64))

    def triggers(self) -> torch.Tensor:
        """Return masks and patterns, 0 to 1, shape (arms, 1 + channels, height, width)."""
        return torch.tanh(self.theta) / (2 - ROUNDING) + 0.5

    def descend(self, slope: torch.Tensor, cost: Numbers, schedule: Schedule) -> None:
        """Take a step of Adam (Kingma & Ba 2015), each arm with its own cost of the mask's norm."""
        self.count[:] += 1
        slope[:, :1] += self._column(cost)
        slope *= (1 - torch.tanh(self.theta).square_()) / (2 - ROUNDING)
        first, second = schedule.betas
        self.mean.lerp_(slope, 1 - first)
        self.square.mul_(second).addcmul_(slope, slope, value=1 - second)
        length = self._column(schedule.learning_rate / (1 - first**self.count))
        root = (self.square / self._column(1 - second**self.count)).sqrt_().add_(EPSILON)
        self.theta.sub_(length * self.mean / root)

    def renewed(self, stay: npt.NDArray[np.bool_], started: torch.Tensor) -> _State:
        """Return the rows that stay, followed by arms that start."""
        rows, others = torch.from_numpy(stay), _State.of(started)
        pairs = {
            name: (getattr(self, name)[rows], getattr(others, name)) for name in ("theta", "mean", "square")
        }
        return _State(
            **{name: torch.cat(pair) for name, pair in pairs.items()},
            count=np.concatenate([self.count[stay], others.count]),
        )

    def _column(self, values: npt.NDArray[np.floating[Any]]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.theta).reshape(-1, *[1] * (self.theta.ndim - 1))


def _norms(triggers: torch.Tensor) -> Numbers:
    norms: Numbers = triggers[:, 0].flatten(1).double().sum(1).cpu().numpy()
    return norms


def _as_images(triggers: torch.Tensor) -> npt.NDArray[np.float32]:
    """Put channels last, mask before pattern; tanh rounds to a hair beyond 0 and 1."""
    return triggers.float().clamp(0, 1).movedim(1, -1).cpu().numpy()


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `neural_cleanse`; the score is ``log2(median norm / smallest norm)``.

    The norms are those of the masks that solve equations 3 and 4 of Wang et al. 2019.
    """
    found = neural_cleanse(target, given(inputs.clean), seed=inputs.seed, **settings)
    measured = found.measure()
    ratio = measured["norm_ratio"]
    return Finding(
        score=None if ratio is None else -math.log2(max(ratio, 1e-9)),
        suspect=measured["smallest_class"],
        figures={
            **measured,
            "classes": found.classes.tolist(),
            "controls": found.controls.tolist(),
            "norms": [[None if math.isnan(n) else n for n in row] for row in found.norms.tolist()],
            "success_rates": found.success_rates.tolist(),
            "steps": found.steps.tolist(),
            **({} if found.gaps is None else adjusted_figures(found.norms, found.gaps, found.classes)),
            **as_figures(found.unlearning),
        },
        inversion=found,
    )


ATTACK = Attack(
    name="neural_cleanse",
    run=run,
    configured_by=neural_cleanse,
    summary="a class that a small mask and pattern lead to",
    formula="log2(median norm / smallest norm)",
    source="Wang et al. 2019, eq. 3 and 4",
    needs=(needs_clean, needs_classes(3), needs_pixel_space),
    per_class={
        "norms": "size of the smallest trigger",
        "gaps": GAP,
    },
    ranked=True,
)
