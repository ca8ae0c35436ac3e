"""Rank models by what an attack found, only against models that were measured alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any, NamedTuple

from securitynet_hub.errors import UnknownNameError
from securitynet_hub.records import Record
from securitynet_hub.results import FIGURES, Figure, find_figure

SIZES = ("n", "n_members", "n_nonmembers")
"""Counts of a result that say how many samples its figures are over."""

INCIDENTAL_SETTINGS = {"name", "kind", "target_fprs", "shadows_sha256"}
"""Parts of an attack's description that do not decide its figures, or are a name for what does."""

INCIDENTAL_COUNTS = {"forwarded", "fewest_in", "fewest_out", "members_right", "nonmembers_right"}


class Standing(NamedTuple):
    """One model on a board.

    Attributes:
        best: 1 + how many models surely stand above: whose interval lies above this one's.
        worst: the last place that its interval allows: how many do not surely stand below.
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
        return f"{self.attack} on {self.data} ({samples}): {self.by}"


def leaderboards(
    records: Iterable[Record],
    *,
    by: str | None = None,
    dataset: str | None = None,
    kind: str | None = None,
    attack: str | None = None,
) -> list[Board]:
    """Rank models, the most exposed first, on one board for each thing that they can be compared by.

    Two results are comparable if attack, its settings, the images, the numbers of samples and of helping
    models are the same. Nothing is pooled over data sets. Where the intervals of two models overlap, the
    measurements do not tell which is more exposed: they share places. (Intervals that do not overlap are
    stronger than a test at their level; of many models some will still part by chance.)

    Args:
        records: as read or fetched.
        by: name of the figure, as `results.find_figure`; each kind's own unless given.
        dataset: only results on these images.
        kind: only this kind of attack.
        attack: only this attack.

    Raises:
        UnknownNameError: no record has such images, kind, attack or figure.
    """
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
    groups: dict[str, list[tuple[Record, Figure]]] = defaultdict(list)
    for record in chosen:
        name = by or FIGURES.get(record.attack["kind"], "")
        figure = find_figure(record.result, name)
        if figure is not None:
            groups[json.dumps([name, comparable(record)], sort_keys=True)].append((record, figure))
    if by is not None and chosen and not groups:
        raise UnknownNameError("figure", by, {name for record in chosen for name in record.result})
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
                _rank(entries),
            )
        )
    return sorted(boards, key=lambda board: (board.kind, board.data, board.attack, str(board[4:6])))


def comparable(record: Record) -> dict[str, Any]:
    """Return what two results must have in common to be compared."""
    settings = {key: value for key, value in record.attack.items() if key not in INCIDENTAL_SETTINGS}
    helping = {key: value for key, value in record.counts.items() if key not in INCIDENTAL_COUNTS}
    return {
        "kind": record.attack["kind"],
        "attack": record.attack["name"],
        "data": record.data["name"],
        "data_sha256": record.data.get("sha256"),
        "samples": {name: record.result[name] for name in SIZES if name in record.result},
        "settings": settings | helping,
    }


def _rank(entries: list[tuple[Record, Figure]]) -> list[Standing]:
    models: dict[tuple[str, str | None], list[tuple[Record, Figure]]] = defaultdict(list)
    for record, figure in entries:
        models[record.target["id"], record.target.get("weights_hash")].append((record, figure))
    latest = {model: max(runs, key=lambda run: (run[0].created, run[0].id)) for model, runs in models.items()}
    standings = []
    for model, (record, figure) in latest.items():
        above = sum(_surely_above(other, figure) for _, other in latest.values())
        below = sum(_surely_above(figure, other) for _, other in latest.values())
        runs = [run for _, run in models[model]]
        disputed = any(_surely_above(a, b) or _surely_above(b, a) for a, b in combinations(runs, 2))
        standings.append(
            Standing(1 + above, len(latest) - below, model[0], figure, len(runs), disputed, record)
        )
    return sorted(standings, key=lambda s: (s.best, s.worst, -s.figure.value, s.target, s.record.id))


def _surely_above(a: Figure, b: Figure) -> bool:
    """Tell whether a's interval lies above b's; a figure without one is its own."""
    return (a.value if a.low is None else a.low) > (b.value if b.high is None else b.high)
