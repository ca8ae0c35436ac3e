"""Rank models by the result of one attack, among models that were measured in the same way."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import Kind, kinds
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.records.figures import number
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import Figure, find_figure

NEVER_DECIDING = frozenset({"name", "kind", "seed"})
"""Parts of every attack's description by which results are not told apart here: `Board` names the first two,
and seeds are meant to differ."""


FALSE_ORDERS = 0.05
"""Share of boards of equal models that may hold a false order."""


class Ends(NamedTuple):
    """A figure and the ends of its interval, the more exposed the higher."""

    value: float
    low: float
    high: float


class Unranked(NamedTuple):
    """A record that stands on no board, and why."""

    id: str
    reason: str


class Standing(NamedTuple):
    """One model on a board.

    Attributes:
        best: the first place that the intervals allow: 1 + the models that are certainly more exposed.
        worst: the last place that they allow: the number of models but those certainly less exposed.
        runs: records of this model; the latest is shown.
        disputed: whether the intervals of two of them do not overlap.
    """

    best: int
    worst: int
    target: str
    figure: Figure
    runs: int
    disputed: bool
    record: Record

    @property
    def place(self) -> str:
        """Return the places that the interval allows.

        Models that share one are tied as far as these measurements can tell.
        """
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


class Board(NamedTuple):
    """Models under one attack, with the same settings, on the same images, split into as many samples."""

    kind: str
    attack: str
    by: str
    data: str
    samples: dict[str, int]
    settings: dict[str, Any]
    standings: list[Standing]

    @property
    def title(self) -> str:
        """Return what is ranked, in a line."""
        samples = ", ".join(f"{name.removeprefix('n_')} {count}" for name, count in self.samples.items())
        return f"{self.attack} on {self.data}{f' ({samples})' if samples else ''}: {self.by}"


def leaderboards(
    records: Iterable[Record],
    *,
    by: str | None = None,
    dataset: str | None = None,
    kind: str | None = None,
    attack: str | None = None,
) -> list[Board]:
    """Rank models, the most exposed first, on one board for each set of comparable results.

    Two results are comparable if attack, its settings but for seeds, the images, the numbers of samples and
    of helping models, and the precision of the arithmetic are the same. Nothing is pooled over data sets.
    Where the intervals of two models do not part them (`parted`), the measurements do not tell which is more
    exposed: they share places. A figure without an interval parts no models.

    Args:
        records: as read or fetched.
        by: name of the figure, as `results.find_figure`; each kind's own unless given.
        dataset: only results on these images.
        kind: only this kind of attack.
        attack: only this attack.

    Raises:
        UnknownNameError: no record has such images, kind, attack or figure.
    """
    chosen = _choose(records, dataset, kind, attack)
    groups: dict[str, list[tuple[Record, Figure]]] = defaultdict(list)
    for record in chosen:
        if found := _find(record, by):
            name, figure = found
            groups[json.dumps([name, comparable(record)], sort_keys=True)].append((record, figure))
    known = [record for record in chosen if record.attack["kind"] in kinds()]
    if by is not None and known and not groups:
        raise UnknownNameError("figure", by, {name for record in known for name in _figures(record.result)})
    boards = []
    for key, entries in groups.items():
        name, alike = json.loads(key)
        boards.append(
            Board(
                alike["kind"],
                alike["attack"],
                name,
                alike["data"],
                alike["samples"],
                alike["settings"],
                _rank(entries, -1 if name in kinds()[alike["kind"]].falling else 1),
            )
        )
    return sorted(boards, key=lambda board: (board.kind, board.data, board.attack, str(board[4:6])))


def unranked(
    records: Iterable[Record],
    *,
    by: str | None = None,
    dataset: str | None = None,
    kind: str | None = None,
    attack: str | None = None,
) -> list[Unranked]:
    """List the records that `leaderboards` has no place for, and why; arguments as there."""
    left_out = []
    for record in _choose(records, dataset, kind, attack):
        if _find(record, by) is None:
            known = kinds().get(record.attack["kind"])
            reason = (
                f"{record.attack['kind']} is no kind of attack that this version can rank; a newer one may"
                if known is None
                else f"{record.attack['name']} gives no {by or ' or '.join(known.headline)} here to rank by"
            )
            left_out.append(Unranked(record.id, reason))
    return left_out


def _choose(
    records: Iterable[Record], dataset: str | None, kind: str | None, attack: str | None
) -> list[Record]:
    chosen = list(records)
    filters: tuple[tuple[str, str | None, Callable[[Record], str]], ...] = (
        ("data set", dataset, lambda record: record.data["name"]),
        ("kind", kind, lambda record: record.attack["kind"]),
        ("attack", attack, lambda record: record.attack["name"]),
    )
    for what, wanted, of in filters:
        if wanted is not None:
            known = {of(record) for record in chosen}
            if wanted not in known:
                raise UnknownNameError(what, wanted, known)
            chosen = [record for record in chosen if of(record) == wanted]
    return chosen


def _find(record: Record, by: str | None) -> tuple[str, Figure] | None:
    """Return the figure by which a record is ranked; None for what has none or is of an unknown kind."""
    kind = kinds().get(record.attack["kind"])
    if kind is None or by is None:
        return None if kind is None else kind.headline_of(record.result)
    figure = find_figure(record.result, by)
    return None if figure is None else (by, figure)


def comparable(record: Record) -> dict[str, Any]:
    """Return what two results of one known kind of attack must have in common to be compared."""
    kind = kinds()[record.attack["kind"]]
    passed_over = NEVER_DECIDING | kind.incidental
    settings = {key: _seedless(value) for key, value in record.attack.items() if key not in passed_over}
    helping = {
        f"n_{key}" if key in settings else key: value
        for key, value in record.counts.items()
        if key not in kind.incidental_counts
    }
    precision = record.target.get("precision")
    return {
        "kind": record.attack["kind"],
        "attack": record.attack["name"],
        "data": record.data["name"],
        "data_sha256": record.data.get("sha256"),
        "samples": {name: record.result[name] for name in kind.sizes if name in record.result},
        "settings": _nameless(settings, kind, record.target["id"])
        | helping
        | ({} if precision is None else {"precision": precision}),
    }


def _nameless(settings: dict[str, Any], kind: Kind, id: str) -> dict[str, Any]:
    """Return settings in which the model's own id does not stand: its own network is one and the same."""
    own = {name: value for name, value in settings.items() if name in kind.naming and isinstance(value, str)}
    return settings | {name: value.replace(id, "the target's own") for name, value in own.items()}


def _seedless(value: Any) -> Any:
    """Return a setting without the seeds in it, such as that of a recipe."""
    if isinstance(value, dict):
        return {key: _seedless(part) for key, part in value.items() if key != "seed"}
    return value


def _figures(result: dict[str, Any]) -> Iterator[str]:
    """Yield the names of a result's figures, as `find_figure` knows them."""
    yield from (name for name in result if find_figure(result, name) is not None)
    rates = result.get("tpr_at_fpr")
    for entry in rates if isinstance(rates, list) else ():
        name = f"tpr@{entry.get('target_fpr')}" if isinstance(entry, dict) else ""
        if find_figure(result, name) is not None:
            yield name


def _rank(entries: list[tuple[Record, Figure]], sign: int) -> list[Standing]:
    """Rank the latest run of each model; the sign is -1 of a figure whose lowest stands first."""
    models: dict[tuple[str, str | None], list[tuple[Record, Figure]]] = defaultdict(list)
    for record, figure in entries:
        models[record.target["id"], record.target.get("weights_hash")].append((record, figure))
    latest = {model: max(runs, key=lambda run: (run[0].created, run[0].id)) for model, runs in models.items()}
    figures = [_oriented(figure, sign) for _, figure in latest.values()]
    level = next(number(record.result.get("confidence_level")) for record, _ in latest.values())
    above = parted(figures, 0.95 if level is None else level)
    best, worst = 1 + above.sum(0), len(figures) - above.sum(1)
    standings = []
    for place, (model, (record, figure)) in enumerate(latest.items()):
        runs = [_oriented(run, sign) for _, run in models[model]]
        disputed = max(run.low for run in runs) > min(run.high for run in runs)
        ends = int(best[place]), int(worst[place])
        standings.append(Standing(*ends, model[0], figure, len(runs), disputed, record))
    return sorted(standings, key=lambda s: (s.best, s.worst, -sign * s.figure.value, s.target, s.record.id))


def parted(figures: Sequence[Ends], level: float) -> npt.NDArray[np.bool_]:
    """Return which figures certainly lie above which; shape (figures, figures), True where row above column.

    A difference is told from 0 by the intervals of its two sides: its error below is the root of the sum of
    the squares of the upper one's lower part and the lower one's upper part (Zou & Donner 2008). Of K models
    there are K (K - 1) / 2 pairs, and all are judged at once: the errors are widened to a level of ``1 - 0.05
    / pairs`` (Bonferroni), so that of boards of equal models at most one in twenty holds a false order. The
    intervals themselves must not overlap either. Models measured on the same images share errors, which
    makes their differences smaller than this allows for: the order is on the safe side.

    >>> parted([Ends(0.9, 0.85, 0.95), Ends(0.8, 0.7, 0.9), Ends(0.5, 0.45, 0.55)], 0.95).sum(1).tolist()
    [1, 1, 0]
    """
    value, low, high = np.array(figures).T
    pairs = max(1, len(figures) * (len(figures) - 1) // 2)
    wider, usual = (NormalDist().inv_cdf(1 - alpha / 2) for alpha in (FALSE_ORDERS / pairs, 1 - level))
    error = np.hypot((value - low)[:, None], (high - value)[None]) * max(1.0, wider / usual)
    above: npt.NDArray[np.bool_] = (value[:, None] - value > error) & (low[:, None] > high)
    return above


def _oriented(figure: Figure, sign: int) -> Ends:
    """Return a figure, the more exposed the higher; without an interval nothing tells it from another."""
    if figure.low is None or figure.high is None:
        return Ends(sign * figure.value, -math.inf, math.inf)
    low, high = sorted((sign * figure.low, sign * figure.high))
    return Ends(sign * figure.value, low, high)
