"""Rank models by the result of one attack, among models that were measured in the same way."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import Kind, kinds
from securitynet_hub.attacks.latest import model_ids
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.memory import without_collection
from securitynet_hub.records.figures import figure_words, number
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import Figure, agrees, find_figure

NEVER_DECIDING = frozenset({"name", "kind", "seed"})
"""Settings that may differ between two results of one board: `Board` has fields for the first two, and seeds
differ on purpose."""


Models = dict[tuple[str, str | None], list[tuple[Record, Figure]]]
Signers = Mapping[str, Collection[str]]
"""Who signed a record, by its id."""

Correlations = npt.NDArray[np.float64]

ALL = slice(None)

PAIRS_AT_A_TIME = 1 << 16
"""How many pairs of models are compared at once; this bounds the memory of a large board."""

ALL_PAIRS = 1000
"""Models up to which each is compared with each other one, which takes no longer for so few."""

FALSE_ORDERS = 0.05
"""Share of boards of equal models that may hold a false order."""


class Ends(NamedTuple):
    """A figure and the ends of its interval; a higher figure means a more exposed model."""

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
        best: the highest place that the intervals allow: 1 + the number of surely more exposed models.
        worst: the lowest place that they allow: the number of models that are not surely less exposed.
        runs: records of this model; the latest is shown.
        disputed: whether the intervals of two of them do not overlap, or two signers' figures disagree.
        verified: whether the shown run is signed, another signer's run agrees, and no run is disputed.
        signed: the allowed signers who signed the record that is shown.
    """

    best: int
    worst: int
    target: str
    figure: Figure
    runs: int
    disputed: bool
    record: Record
    verified: bool = False
    signed: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Return the places that the interval allows.

        Models that share one are tied as far as these measurements can tell.
        """
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


class Board(NamedTuple):
    """Models that one attack measured with the same settings, on the same images and numbers of samples.

    Attributes:
        paired: the number of pairs of models that were compared image by image.
        why: why other pairs were not, although scores of single images were given.
    """

    kind: str
    attack: str
    by: str
    data: str
    samples: dict[str, int]
    settings: dict[str, Any]
    standings: list[Standing]
    paired: int = 0
    why: str = ""

    @property
    def pairs(self) -> int:
        """The number of pairs of models."""
        return len(self.standings) * (len(self.standings) - 1) // 2

    @property
    def comparison(self) -> str:
        """Say whether models were compared by the scores of the same images; empty for a single model."""
        if not self.pairs:
            return ""
        if self.paired == self.pairs:
            return "paired: compared image by image"
        if not self.paired and all(standing.figure.low is None for standing in self.standings):
            return "not ranked: the figures have no intervals, and only these show which of two is higher"
        some = f"{self.paired} of {self.pairs} pairs of models compared image by image, the rest"
        why = f" ({self.why})" if self.why else ""
        return f"{some if self.paired else 'unpaired: compared'} by their intervals alone{why}"

    @property
    def title(self) -> str:
        """Return what is ranked, in a line: the attack by its name, the rest in words."""
        samples = ", ".join(f"{count:,} {_sort_of(name)}" for name, count in self.samples.items())
        return f"{self.attack} on {self.data}{f' ({samples})' if samples else ''}: {figure_words(self.by)}"


def _sort_of(count: str) -> str:
    """Say what a count of a result counts.

    >>> _sort_of("n_nonmembers"), _sort_of("n")
    ('non-members', 'images')
    """
    name = count.removeprefix("n_")
    return {"nonmembers": "non-members", "n": "images"}.get(name, name.replace("_", " "))


def leaderboards(
    records: Iterable[Record],
    *,
    by: str | None = None,
    dataset: str | None = None,
    kind: str | None = None,
    attack: str | None = None,
    samples: Path | None = None,
    signers: Signers = MappingProxyType({}),
    notes: Mapping[str, str] = MappingProxyType({}),
) -> list[Board]:
    """Rank models, the most exposed first, on one board for each set of comparable results.

    Two results are comparable if they have the same attack, settings (but for seeds), images, numbers of
    samples and of helping models, and precision of the arithmetic. Nothing is pooled over data sets. Two
    models share places unless their intervals show which one is more exposed (`parted`); a figure without an
    interval shows nothing.

    Records hold no scores of single images, because these say more about the images than a figure does. If
    ``samples`` has them, and two models were measured on the same images with the same members, the models
    are compared image by image, which cancels the errors that both share.

    Args:
        records: as read or fetched.
        by: name of the figure, as `results.find_figure`; each kind's own unless given.
        dataset: only results on these images.
        kind: only this kind of attack.
        attack: only this attack.
        samples: folder to which audits wrote the scores of single images (``--samples``).
        signers: for the id of each record, the allowed signers who signed it; without them nothing is
            verified.
        notes: for the id of each record, its `ranking_note`, where it is known; then its figures are not
            read.

    Raises:
        UnknownNameError: no record has such images, kind, attack or figure.
        RecordError: a file of scores is damaged.
    """
    with without_collection():
        return _boards(_choose(records, dataset, kind, attack), by, samples, signers, notes)


def _boards(
    chosen: Sequence[Record], by: str | None, samples: Path | None, signers: Signers, notes: Mapping[str, str]
) -> list[Board]:
    groups: dict[str, list[tuple[Record, Figure]]] = defaultdict(list)
    names: dict[str, str] = {}
    keys: dict[tuple[object, ...], str] = {}
    for record in chosen:
        if by is None and (note := notes.get(record.id)):
            name, *known_of = json.loads(note)
            if name is None:
                continue
            *ends, key = known_of
            figure = Figure(*ends)
        else:
            read = record.apart()  # or what is read for the figure would fill the memory
            if not (found := _find(read, by)):
                continue
            name, figure = found
            alike_to = name, *_deciding(read)
            if alike_to not in keys:
                keys[alike_to] = _key(name, read)
            key = keys[alike_to]
        names[key] = name
        groups[key].append((record, figure))
    known = [record for record in chosen if record.attack["kind"] in kinds()]
    if by is not None and known and not groups:
        raise UnknownNameError("figure", by, {name for record in known for name in _figures(record.result)})
    boards = []
    for key, entries in groups.items():
        name = names[key]
        alike = json.loads(json.dumps(comparable(entries[0][0].apart()), sort_keys=True))
        kind_of = kinds()[alike["kind"]]
        latest = _latest(entries)
        last = [runs[-1][0] for runs in latest.values()]
        shared = _correlations(kind_of, last, name, samples)
        paired = 0 if shared is None else int(np.isfinite(shared[np.triu_indices(len(shared), 1)]).sum())
        boards.append(
            Board(
                alike["kind"],
                alike["attack"],
                name,
                alike["data"],
                alike["samples"],
                alike["settings"],
                _rank(latest, -1 if name in kind_of.falling else 1, shared, signers),
                paired,
                _why_unpaired(kind_of, last, name, samples),
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
    notes: Mapping[str, str] = MappingProxyType({}),
) -> list[Unranked]:
    """List the records that `leaderboards` has no place for, and why; arguments as there."""
    left_out = []
    for record in _choose(records, dataset, kind, attack):
        if by is None and (note := notes.get(record.id)):
            name, reason, *_ = json.loads(note)
        else:
            name, reason = None, _reason(record.apart(), by)
        if name is None and reason is not None:
            left_out.append(Unranked(record.id, reason))
    return left_out


def _reason(record: Record, by: str | None) -> str | None:
    """Say why a record has no figure to rank by; None where it has one."""
    if _find(record, by) is not None:
        return None
    known = kinds().get(record.attack["kind"])
    if known is None:
        return f"{record.attack['kind']} is no kind of attack that this version can rank; a newer one may"
    if lack := known.vacuous(record.result):
        return f"{record.attack['name']} {lack}"
    return f"{record.attack['name']} gives no {by or ' or '.join(known.headline)} here to rank by"


def ranking_note(record: Record) -> str:
    """Return what `leaderboards` asks of a record's figures by default, as text that can be kept.

    It holds as long as the code of this package and the installed kinds of attack stay the same
    (`validation.rules_identity`).
    """
    found = _find(record, None)
    if found is None:
        return json.dumps([None, _reason(record, None)])
    name, figure = found
    return json.dumps([name, *figure, _key(name, record)])


def _key(name: str, record: Record) -> str:
    """Return a name for the board on which a figure of a record stands."""
    alike = json.dumps([name, comparable(record)], sort_keys=True)
    return hashlib.sha256(alike.encode()).hexdigest()[:32]


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
    if kind is None or by is None or (by in kind.headline and kind.vacuous(record.result)):
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


def _deciding(record: Record) -> tuple[object, ...]:
    """Return what decides `comparable`, faster: records read together share the object of their settings."""
    kind = kinds()[record.attack["kind"]]
    others = [record.result.get(name) for name in kind.sizes if name in record.result]
    about = record.counts, others, record.target.get("precision"), [*record.result.keys() & set(kind.sizes)]
    images = record.data["name"], record.data.get("sha256"), record.target["id"] if kind.naming else ""
    return id(record.attack), repr((about, images))


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


def _latest(entries: list[tuple[Record, Figure]]) -> Models:
    """Return the runs of each model, the latest last; the same weights under two ids are one model."""
    models: Models = defaultdict(list)
    runs = sorted(entries, key=lambda run: (run[0].created, run[0].id))
    ids = model_ids(record for record, _ in runs)
    for record, figure in runs:
        weights = record.weights or record.target.get("weights_hash")
        models[ids[record.target["id"]], weights].append((record, figure))
    return models


def _correlations(
    kind: Kind, records: Sequence[Record], by: str, samples: Path | None
) -> Correlations | None:
    """Return how far the errors of models are shared, NaN where they were not measured on the same images.

    None where no scores of single images are at hand.
    """
    correlations = None if samples is None else getattr(kind.present, "correlations", None)
    if samples is None or correlations is None:
        return None
    found: Correlations = correlations(records, by, samples)
    return found


def _why_unpaired(kind: Kind, records: Sequence[Record], by: str, samples: Path | None) -> str:
    """Say why models are not compared image by image although there is a folder of scores."""
    if samples is None:
        return ""
    unpaired = getattr(kind.present, "unpaired", None)
    return (
        "this kind of attack keeps no scores of single images"
        if unpaired is None
        else str(unpaired(records, by, samples))
    )


def _rank(models: Models, sign: int, shared: Correlations | None, signers: Signers) -> list[Standing]:
    """Rank the latest run of each model; the sign is -1 of a figure whose lowest stands first."""
    figures = [_oriented(runs[-1][1], sign) for runs in models.values()]
    level = next(number(runs[-1][0].result.get("confidence_level")) for runs in models.values())
    best, worst = _places(figures, 0.95 if level is None else level, shared)
    standings = []
    for place, (model, known) in enumerate(models.items()):
        record, figure = known[-1]
        runs = [_oriented(run, sign) for _, run in known]
        disputed = max(run.low for run in runs) > min(run.high for run in runs)
        verified, contradicted = _second_opinions(known, signers)
        disputed = disputed or contradicted
        ends = int(best[place]), int(worst[place])
        signed = tuple(sorted(signers.get(record.id, ())))
        confirmed = verified and not disputed
        standings.append(Standing(*ends, model[0], figure, len(runs), disputed, record, confirmed, signed))
    return sorted(standings, key=lambda s: (s.best, s.worst, -sign * s.figure.value, s.target, s.record.id))


def _second_opinions(runs: Sequence[tuple[Record, Figure]], signers: Signers) -> tuple[bool, bool]:
    """Return whether another signer's run agrees with the latest, and whether those of any two disagree.

    Of each signer the latest run counts, and only runs with the same members among the same images compare.
    """
    if not signers:
        return False, False
    latest: dict[str, tuple[Record, Figure]] = {}
    for run in runs:
        latest |= dict.fromkeys(signers.get(run[0].id, ()), run)
    pairs = [
        (one, other)
        for one, other in combinations({run[0].id: run for run in latest.values()}.values(), 2)
        if one[0].data.get("split_sha256") == other[0].data.get("split_sha256")
    ]
    found = {
        frozenset((one[0].id, other[0].id)): agrees(one[1], other[1], pairs=len(pairs))
        for one, other in pairs
    }
    shown = runs[-1][0].id
    return any(agree for ids, agree in found.items() if shown in ids), False in found.values()


def _places(
    figures: Sequence[Ends], level: float, shared: Correlations | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last place that the intervals allow each figure."""
    ends, count = np.array(figures), len(figures)
    if shared is None and count > ALL_PAIRS and not (np.diff(ends[:, [1, 0, 2]]) < 0).any():
        times = _times(count, level)
        mirrored = -ends[:, [0, 2, 1]]  # what lies below lies above then
        return 1 + _count_below(mirrored, times), count - _count_below(ends, times)
    below, above = np.zeros(count, np.int64), np.zeros(count, np.int64)
    step = max(1, PAIRS_AT_A_TIME // count)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        certain = parted(ends, level, shared, rows)
        above += certain.sum(0)
        below[rows] = certain.sum(1)
    return 1 + above, count - below


def _count_below(ends: npt.NDArray[np.float64], times: float) -> npt.NDArray[np.int64]:
    """Return for each figure how many certainly lie below it, as `parted` says where no correlation is known.

    It takes some n^1.5 steps instead of n^2. The lower ones are gathered by the upper part of their interval.
    Within a group these parts are nearly alike, so that the group's values tell, once sorted, which lie
    certainly below and which do not. Only those between are looked at one by one.

    Args:
        ends: shape (n, 3): value, low, high, in which ``low <= value <= high``.
        times: what errors are multiplied by.
    """
    value, low, high = ends.T
    below, above = value - low, high - value
    counts = np.zeros(len(ends), np.int64)
    upper = np.flatnonzero(np.isfinite(below))
    upper = upper[np.argsort(value[upper])]  # searching in order is quicker
    lower = np.flatnonzero(np.isfinite(above))
    lower = lower[np.argsort(above[lower])]
    if not len(upper) or not len(lower):
        return counts
    v, part = value[upper], below[upper]
    slack = 1e-9 * (np.abs(v) + np.abs(value[lower]).max() + part + above[lower].max())  # more than rounding
    for alike in np.array_split(lower, max(1, math.isqrt(len(lower)) // 3)):
        group = alike[np.argsort(value[alike])]
        least, most = (
            np.maximum(times * np.sqrt(part**2 + end**2), part + end)
            for end in (above[group].min(), above[group].max())
        )
        sure = np.searchsorted(value[group], v - most - slack)
        maybe = np.searchsorted(value[group], v - least + slack, "right")
        counts[upper] += sure
        open_ = np.flatnonzero(maybe > sure)
        step = max(1, PAIRS_AT_A_TIME // len(group))
        for start in range(0, len(open_), step):
            rows = open_[start : start + step]
            each = maybe[rows] - sure[rows]
            one = np.repeat(upper[rows], each)
            place = (
                np.arange(len(one)) - np.repeat(np.cumsum(each) - each, each) + np.repeat(sure[rows], each)
            )
            other = group[place]
            error = np.sqrt(below[one] ** 2 + above[other] ** 2) * times
            certain = (value[one] - value[other] > error) & (low[one] > high[other])
            counts += np.bincount(one[certain], minlength=len(counts))
    return counts


def _times(count: int, level: float) -> float:
    """Return by what errors are multiplied, so that all pairs of figures can be judged at once."""
    pairs = max(1, count * (count - 1) // 2)
    wider, usual = (NormalDist().inv_cdf(1 - alpha / 2) for alpha in (FALSE_ORDERS / pairs, 1 - level))
    return max(1.0, wider / usual)


def parted(
    figures: Sequence[Ends] | npt.NDArray[np.float64],
    level: float,
    shared: Correlations | None = None,
    rows: slice = ALL,
) -> npt.NDArray[np.bool_]:
    """Return which figures certainly lie above which; shape (rows, figures), True where row above column.

    A difference is told from 0 by the intervals of its two sides: with l the upper one's lower part, u the
    lower one's upper part and r the correlation of their errors, its error below is ``sqrt(l^2 + u^2 - 2 r l
    u)`` (Zou & Donner 2008; Zou 2007, eq. 15, with r). Of K models there are K (K - 1) / 2 pairs, and all are
    judged at once: the errors are widened to a level of ``1 - 0.05 / pairs`` (Bonferroni), so that of boards
    of equal models at most one in twenty holds a false order.

    Where r is not known, it counts as 0, and the intervals themselves must not overlap either. Models
    measured on the same images share errors, which makes their differences smaller than this allows for: the
    order is on the safe side.

    Args:
        figures: with their intervals.
        level: of the intervals.
        shared: shape (figures, figures), the correlations r; NaN where they are not known.
        rows: of which figures; all of them unless given.

    >>> parted([Ends(0.9, 0.85, 0.95), Ends(0.8, 0.7, 0.9), Ends(0.5, 0.45, 0.55)], 0.95).sum(1).tolist()
    [1, 1, 0]
    >>> same = np.full((2, 2), 0.99)
    >>> parted([Ends(0.75, 0.7, 0.8), Ends(0.7, 0.65, 0.75)], 0.95, same).sum(1).tolist()
    [1, 0]
    """
    value, low, high = np.asarray(figures).T
    below, above = (value - low)[rows, None], (high - value)[None]
    squares = below**2 + above**2
    known = np.zeros((), np.bool_)
    if shared is not None:
        r = shared[rows]
        known = np.isfinite(r) & np.isfinite(below) & np.isfinite(above)
        both = np.multiply(np.where(known, r, 0), np.where(known, below * above, 0))
        squares = np.maximum(squares - 2 * both, 0)
    error = np.sqrt(squares) * _times(len(value), level)
    certain: npt.NDArray[np.bool_] = (value[rows, None] - value > error) & (known | (low[rows, None] > high))
    return certain


def _oriented(figure: Figure, sign: int) -> Ends:
    """Return a figure, the more exposed the higher; without an interval nothing tells it from another."""
    if figure.low is None or figure.high is None:
        return Ends(sign * figure.value, -math.inf, math.inf)
    low, high = sorted((sign * figure.low, sign * figure.high))
    return Ends(sign * figure.value, low, high)
