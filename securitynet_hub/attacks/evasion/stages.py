"""Robust accuracy in stages: cheap attacks on all images, costly ones on as many of the rest as needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from securitynet_hub.attacks.evasion.units import TOGETHER, Done, Planned, Tally
from securitynet_hub.core.arrays import Rows
from securitynet_hub.core.errors import BudgetError
from securitynet_hub.statistics.sequences import Trials, product_sequence

CHEAP = 100
"""Passes for an image up to which an attack belongs to the first stage, which most images go through."""

ROUND = 4
"""Units of work between two looks at the interval, for processes to share."""

FIRST, LATER = 25.0, 3.0
"""Concentrations of the mixtures of the first stage, unless a width is asked for, and of later stages."""

DoAll = Callable[[Sequence["Work"]], list[Done]]
"""Does units of work and returns what they found, in order."""


@dataclass(frozen=True)
class Work:
    """A unit of work: the attacks of one stage on some images."""

    stage: int
    rows: tuple[int, ...]


@dataclass(kw_only=True)
class Stage:
    """Attacks that are run one after the other on images that all earlier stages have left.

    Attributes:
        planned: the attacks.
        concentration: of the mixture behind its confidence sequence.
        n: images that were attacked.
        robust: those that withstood.
        right: those that the model classified correctly before any attack.
        passes: what that took.
        waiting: images that are left by the stage before and not attacked yet.
    """

    planned: Sequence[Planned]
    concentration: float = LATER
    n: int = 0
    robust: int = 0
    right: int = 0
    passes: int = 0
    waiting: deque[int] = field(default_factory=deque)

    @property
    def trials(self) -> Trials:
        """The stage as trials of one proportion."""
        return Trials(self.robust, self.n, self.concentration)

    @property
    def most(self) -> int:
        """The most passes for one image."""
        return 1 + sum(each.cost for each in self.planned)

    @property
    def expected(self) -> float:
        """The passes for one image that are to be expected."""
        return (self.passes + self.most) / (self.n + 1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What attacks in stages found.

    Attributes:
        stages: with their counts.
        tallies: what each attack did.
        done: every unit, in order.
        stopped: ``width``, ``passes`` or ``images``: what the attacks stopped for.
    """

    stages: list[Stage]
    tallies: dict[str, Tally]
    done: list[Done]
    stopped: str


def divide(planned: Sequence[Planned], width: float | None) -> list[Stage]:
    """Put the cheap attacks into a first stage and the costly ones into a second.

    The first stage has most images; the concentration of its mixture is that which suits as many as the width
    will need. More stages would save passes where the last attacks break nothing more, but each of them costs
    width: in simulations two were best.
    """
    ordered = sorted(planned, key=lambda each: each.attack.order)
    cheap = [each for each in ordered if each.cost <= CHEAP] or ordered[:1]
    first = FIRST if width is None else 1 / min(max(width, 0.01), 1.0) ** 2
    return [
        Stage(planned=cheap, concentration=first),
        *([Stage(planned=costly)] if (costly := [each for each in ordered if each not in cheap]) else ()),
    ]


def attack_all(planned: Sequence[Planned], rows: Rows, do_all: DoAll) -> Found:
    """Attack every image with one attack after the other, until one has broken it."""
    ordered = sorted(planned, key=lambda each: each.attack.order)
    stage = Stage(planned=ordered)
    parts = [tuple(map(int, rows[start : start + TOGETHER])) for start in range(0, len(rows), TOGETHER)]
    done = do_all([Work(0, part) for part in parts])
    for each in done:
        _count(stage, each)
    return _sum_up([stage], done, "images")


def attack_in_stages(
    planned: Sequence[Planned],
    rows: Rows,
    do_all: DoAll,
    *,
    width: float | None,
    passes: int | None,
    confidence_level: float,
) -> Found:
    """Attack images until the interval is narrow enough, the budget is spent, or there are no images left.

    Robust accuracy is the product of the shares that withstand each stage, of those that the stage before
    has left. Which stage goes on is decided by what narrows the interval most for its passes: with a share
    q of n images, a stage adds about ``(1 - q) / (q n)`` to the squared relative error of the product.
    Costly attacks that break nothing more are therefore run on few images. The interval is that of
    `product_sequence`, which such choices and stopping do not harm.

    Args:
        planned: the attacks.
        rows: the images, in random order.
        do_all: does units of work.
        width: of the interval, at which the attacks stop.
        passes: the most passes, forward and backward.
        confidence_level: of the interval.

    Raises:
        BudgetError: the passes do not suffice for the first unit of each stage.
    """
    stages = divide(planned, width)
    stages[0].waiting.extend(map(int, rows))
    spent, finished = 0, list[Done]()
    while True:
        interval = product_sequence([stage.trials for stage in stages], confidence_level=confidence_level)
        if width is not None and interval.high - interval.low <= width:
            return _sum_up(stages, finished, "width")
        batch = _next_round(stages)
        if not batch:
            return _sum_up(stages, finished, "images")
        if passes is not None:
            batch = _affordable(batch, stages, passes - spent)
            if not batch:
                _require_begun(stages, passes, spent)
                return _sum_up(stages, finished, "passes")
        taken = {work.stage: 0 for work in batch}
        for work in batch:
            taken[work.stage] += len(work.rows)
        for number, count in taken.items():
            for _ in range(count):
                stages[number].waiting.popleft()
        for work, done in zip(batch, do_all(batch), strict=True):
            spent += _count(stages[work.stage], done)
            finished.append(done)
            if work.stage + 1 < len(stages):
                stages[work.stage + 1].waiting.extend(int(row) for row in done.rows[done.robust])


def _next_round(stages: Sequence[Stage]) -> list[Work]:
    """Choose the next units, each where it narrows the interval most for its passes."""
    planned: list[Work] = []
    n, taken = [stage.n for stage in stages], [0] * len(stages)
    for _ in range(ROUND):
        best, gain = None, 0.0
        for number, stage in enumerate(stages):
            size = min(TOGETHER, len(stage.waiting) - taken[number])
            if size <= 0:
                continue
            share = (stage.robust + 1) / (stage.n + 2)
            saved = (1 - share) / share * (1 / (n[number] + 1) - 1 / (n[number] + 1 + size))
            if saved / (size * stage.expected) > gain:
                best, gain = number, saved / (size * stage.expected)
        if best is None:
            break
        rows = list(stages[best].waiting)[taken[best] : taken[best] + TOGETHER]
        planned.append(Work(best, tuple(rows)))
        n[best] += len(rows)
        taken[best] += len(rows)
    return planned


def _affordable(batch: Sequence[Work], stages: Sequence[Stage], left: int) -> list[Work]:
    """Return the first units that certainly fit into the budget."""
    fitting = []
    for work in batch:
        left -= stages[work.stage].most * len(work.rows)
        if left < 0:
            break
        fitting.append(work)
    return fitting


def _require_begun(stages: Sequence[Stage], passes: int, spent: int) -> None:
    """Refuse a budget at whose end a stage has not begun although images are waiting for it."""
    for stage in stages:
        if not stage.n and stage.waiting:
            names = ", ".join(each.attack.name for each in stage.planned)
            size = min(TOGETHER, len(stage.waiting))
            raise BudgetError(
                f"passes={passes:,} are too few: {spent:,} were made, and {names} may take "
                f"{stage.most * size:,} for its first {size} images. Allow more, or name fewer attacks."
            )


def _count(stage: Stage, done: Done) -> int:
    """Count what a unit found towards its stage; return the passes that it took."""
    cost = sum(tally.forwarded + tally.gradients for tally in done.tallies.values())
    stage.n += len(done.rows)
    stage.robust += int(done.robust.sum())
    stage.right += int(done.right.sum())
    stage.passes += cost
    return cost


def _sum_up(stages: list[Stage], finished: list[Done], stopped: str) -> Found:
    tallies: dict[str, Tally] = {}
    for done in finished:
        for name, tally in done.tallies.items():
            tallies.setdefault(name, Tally()).add(tally)
    return Found(stages=stages, tallies=tallies, done=finished, stopped=stopped)
