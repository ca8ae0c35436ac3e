"""The explorer's page: every annotated model, what records say of it, leaderboards, a script to sift them.

The page has the data twice: as plain tables, for readers without JavaScript, and as JSON for its script.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import Annotation, Column, ZooAnnotation, columns, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import model_ids
from securitynet_hub.attacks.measured_accuracy import Accuracies, Share, measured_accuracies
from securitynet_hub.attacks.present import Summary, Verdict
from securitynet_hub.attacks.verdicts import LONGEST, ordered, summaries
from securitynet_hub.core.text import printable
from securitynet_hub.pages.page import render
from securitynet_hub.records.figures import number
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import find_figure
from securitynet_hub.sharing.leaderboard import Board, Signers, leaderboards
from securitynet_hub.statistics.power import auc_deviation
from securitynet_hub.statistics.rates import wilson_interval
from securitynet_hub.study.frames import column_words, dataset_named

HERE = Path(__file__).parent
CARD = HERE / "space.md"
"""The card of the Space."""

ENDS = NormalDist().inv_cdf(0.975)

TRIALS = {
    "train_accuracy": "train_eval_size",
    "test_accuracy": "test_eval_size",
    "stealing_accuracy": "stealing_eval_size",
    "stealing_agreement": "stealing_eval_size",
    "wrn_stealing_accuracy": "stealing_eval_size",
    "wrn_stealing_agreement": "stealing_eval_size",
    "imagenet_stealing_accuracy": "stealing_eval_size",
    "imagenet_stealing_agreement": "stealing_eval_size",
}
"""Columns that are shares of a known number of images, which gives them an interval (Wilson 1927)."""

WORDS = {
    "kind": "kind of zoo model",
    "trigger": "trigger",
    "target_class": "trigger's class",
    "poison_rate": "share of poisoned images",
    "attack_success_rate": "share that the trigger turns",
} | {"id": "model", "dataset": "data set", "num_parameters": "parameters", "num_classes": "classes"}

FIRST = (
    "id", "dataset", "architecture", "source", "num_parameters", "train_accuracy", "test_accuracy",
    "overfit_gap", "stealing_agreement", "mia_correctness_auc", "mia_modified_entropy_auc",
)  # fmt: skip
"""The columns of the table; a model's own view has all."""


OF_THE_FILES = ("images", "members_file", "members_sha256", "recipe")
"""Columns of the embedded zoo that say where its files are and how it was trained, not what a model is."""


class Found(NamedTuple):
    """What is known of a model of the reader's own in a column: a value, and its interval if there is one."""

    value: Any
    ends: tuple[float, float] | None = None


NOTHING = Found(None)


class Figures(NamedTuple):
    """A column of figures: its name and words, a value and an interval for each model, None where unknown."""

    name: str
    words: str
    values: list[float | None]
    ends: list[tuple[float, float] | None] | None


def explorer_page(
    records: Iterable[Record] = (),
    *,
    signers: Signers = MappingProxyType({}),
    title: str = "SecurityNet explorer",
) -> str:
    """Return the page as HTML.

    Args:
        records: results to show beside the annotations, and to rank; as `read_records` and `fetch_results`
            give them, checked by `validation.problems`.
        signers: as `leaderboards` takes it.
        title: its heading.
    """
    known = list(records)
    boards = leaderboards(known, signers=signers)
    content = explorer_data(known, boards)
    return render(
        HERE / "explorer.html",
        title=title,
        scripts=[HERE / "vendor" / "vega.min.js", HERE / "explorer.js"],
        styles=[HERE / "explorer.css"],
        data=_embedded(content),
        boards=content["boards"],
        names=[column["words"] for column in content["columns"] if column["first"]],
        rows=list(_plain_rows(content)),
        count=len(content["models"]) - content["unlisted"],
        listed=_listed(),
        unlisted=content["unlisted"],
    )


def _listed() -> str:
    """Say how many models each of the tables adds."""
    published, whole, zoo = (len(load_annotations(config)) for config in ("models", "extended", "zoo"))
    return f"{published:,} of SecurityNet, {whole - published:,} added to them, {zoo:,} of the embedded zoo"


def explorer_data(records: Sequence[Record], boards: Sequence[Board]) -> dict[str, Any]:
    """Return what the page's script reads: columns, models, their results, and boards.

    A figure that a flag of its row says not to use is left out of ``figures``, so of plots and percentiles;
    it stands in the table, marked, and in the model's own view with the flag.
    """
    rows: list[Annotation] = [*load_annotations("extended").values(), *load_annotations("zoo").values()]
    ids = [row.id for row in rows]
    said = summaries(records)
    own = _own_models(records, set(ids), said)
    ids += [str(model["id"].value) for model in own]
    results = _results(records)
    figures = [*_annotated(rows, own), *_measured(boards, ids)]
    described = [
        {
            "name": column.name,
            "words": WORDS.get(column.name) or column_words(column.name),
            "meaning": printable(column.meaning),
            "number": column.type in (int, float),
            "first": column.name in FIRST,
        }
        for column in _columns()
        if column.name not in ("corrections", "flags")
    ]
    described.sort(key=lambda column: FIRST.index(column["name"]) if column["first"] else len(FIRST))
    return {
        "columns": described,
        "models": [
            *([_cell(getattr(row, str(column["name"]), None)) for column in described] for row in rows),
            *(
                [_cell(model.get(str(column["name"]), NOTHING).value) for column in described]
                for model in own
            ),
        ],
        "unlisted": len(ids) - len(rows),
        "flags": [*(list(row.flags) for row in rows), *([] for _ in own)],
        "meanings": {name: flag.meaning for name, flag in FLAGS.items()},
        "figures": [
            {
                "name": figure.name,
                "words": figure.words,
                "values": [_rounded(value) for value in figure.values],
                "ends": figure.ends and [ends and [*map(_rounded, ends)] for ends in figure.ends],
            }
            for figure in figures
            if any(value is not None for value in figure.values)
        ],
        "results": results,
        "verdicts": {id: [_verdict(each) for each in ordered(own)] for id, own in said.items()},
        "boards": [_board(board) for board in boards],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    texts = {"title": verdict.title, "text": verdict.whole}
    return {
        "tone": f"{verdict.tone} s{verdict.severity}",
        **{name: printable(text, limit=LONGEST) for name, text in texts.items()},
    }


def _columns() -> list[Column]:
    """Return the columns of all annotations, then those that only the embedded zoo has."""
    known = {column.name for column in columns(Annotation)}
    zoo = [c for c in columns(ZooAnnotation) if c.name not in known and c.name not in OF_THE_FILES]
    return [*columns(Annotation), *zoo]


def _own_models(
    records: Sequence[Record], listed: set[str], said: Mapping[str, Sequence[Summary]]
) -> list[dict[str, Found]]:
    """Return, for each model that no table lists, what its records say in the columns of the annotations.

    The same weights under two ids are one model; the last created record that gives a figure counts.
    """
    latest = sorted(records, key=lambda each: (each.created, each.id))
    ids = model_ids(latest)
    models: dict[str, list[Record]] = {}
    for record in latest:
        id = str(record.target.get("id", "unnamed"))
        if id not in listed:
            models.setdefault(ids[id], []).append(record)
    return [_own_model(id, models[id], said.get(id, ())) for id in sorted(models)]


def _own_model(id: str, records: Sequence[Record], summaries: Sequence[Summary]) -> dict[str, Found]:
    last = records[-1]
    found = {
        "id": Found(id),
        "dataset": Found(dataset_named(str(last.data.get("name")))),
        "source": Found(id.partition("/")[0]),
        "num_classes": Found(number(last.target.get("num_classes"))),
    }
    found |= _accuracies(measured_accuracies(summaries, records))
    for name, kind in kinds().items():
        own = [record for record in records if record.attack.get("kind") == name]
        for column, value in kind.present.frame(own).items() if own else ():
            if value is not None and column not in found:
                found[column] = Found(value, _ends_in(own, value))
    return found


def _accuracies(measured: Accuracies) -> dict[str, Found]:
    """Return the accuracies and the overfit gap that audits measured, as a report has them."""
    shares = {"train_accuracy": measured.train, "test_accuracy": measured.test}
    found = {
        name: Found(share.value, _share_interval(share.value, share.images))
        for name, share in shares.items()
        if share.value is not None
    }
    if measured.gap is not None:
        train, test = measured.pair or (Share(), Share())
        found["overfit_gap"] = Found(measured.gap, _gap_interval(*train, *test))
    return found


def _ends_in(records: Sequence[Record], value: float) -> tuple[float, float] | None:
    """Return the interval of a figure that stands in one of the records, of the last one that has it."""
    for record in reversed(records):
        for name in record.result:
            figure = find_figure(record.result, name)
            if figure is not None and figure.value == value and figure.low is not None:
                assert figure.high is not None
                return figure.low, figure.high
    return None


def _annotated(rows: Sequence[Annotation], own: Sequence[dict[str, Found]]) -> Iterator[Figures]:
    """Yield the columns of numbers that may be plotted, without what flags distrust."""
    for column in _columns():
        name = column.name
        if column.type not in (int, float) or name in ("upstream_row", "input_dims", "seed", "target_class"):
            continue
        known = [row if hasattr(row, name) else None for row in rows]
        values = [None if row is None else row.trusted(name) for row in known]
        ends = [
            None if row is None or value is None else _interval(row, name)
            for row, value in zip(known, values, strict=True)
        ]
        values += [model.get(name, NOTHING).value for model in own]
        ends += [model.get(name, NOTHING).ends for model in own]
        yield Figures(name, column_words(name), values, ends if any(ends) else None)


def _interval(row: Annotation, name: str) -> tuple[float, float] | None:
    """Return the 95 % interval of an annotated figure; None where the numbers of images are not known.

    Of a share Wilson's (1927); of the overfit gap Newcombe's of a difference (1998, method 10); of an AUC the
    figure and 1.96 deviations by Hanley & McNeil (1982), which needs no scores.
    """
    value = getattr(row, name)
    if name in TRIALS:
        return _share_interval(value, getattr(row, TRIALS[name]))
    if name == "overfit_gap":
        return _gap_interval(row.train_accuracy, row.train_eval_size, row.test_accuracy, row.test_eval_size)
    if name.endswith("_auc") and row.mia_members and row.mia_nonmembers:
        reach = ENDS * auc_deviation(value, row.mia_members, row.mia_nonmembers)
        return max(0.0, value - reach), min(1.0, value + reach)
    return None


def _gap_interval(
    train: float | None, n_train: int | None, test: float | None, n_test: int | None
) -> tuple[float, float] | None:
    """Return the interval of a difference of two shares (Newcombe 1998, method 10); None where unknown."""
    one, other = _share_interval(train, n_train), _share_interval(test, n_test)
    if train is None or test is None or one is None or other is None:
        return None
    below, above = math.hypot(train - one[0], other[1] - test), math.hypot(one[1] - train, test - other[0])
    return train - test - below, train - test + above


def _share_interval(share: float | None, trials: int | None) -> tuple[float, float] | None:
    """Return the interval of a share of so many images; None where either is not known."""
    if share is None or not trials or not 0 <= share <= 1:
        return None
    low, high = wilson_interval(round(share * trials), trials)
    return low, high


def _results(records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """Return the headline figure of every record by its model's id, the latest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda each: (each.created, each.id), reverse=True):
        kind = kinds().get(str(record.attack.get("kind")))
        headline = None if kind is None else kind.headline_of(record.result)
        if headline is None:
            continue
        name, figure = headline
        found.setdefault(str(record.target.get("id")), []).append(
            {
                "kind": _cell(record.attack["kind"]),
                "attack": _cell(record.attack.get("name")),
                "images": _cell(record.data.get("name")),
                "figure": name,
                "value": _rounded(figure.value),
                "ends": None if figure.low is None else [_rounded(figure.low), _rounded(figure.high)],
                "created": _cell(record.created[:10]),
                "author": _cell(record.author),
                "record": record.id,
            }
        )
    return found


def _measured(boards: Sequence[Board], ids: Sequence[str]) -> Iterator[Figures]:
    """Yield one column for each board: figures of one attack on the same images with the same settings."""
    titles = Counter(board.title for board in boards)
    for board in boards:
        settings = f"; {_settings(board)}" if titles[board.title] > 1 else ""
        words = printable(f"{board.title}, from records{settings}", limit=300)
        standings = {standing.target: standing.figure for standing in board.standings}
        found = [standings.get(id) for id in ids]
        yield Figures(
            words,
            words,
            [None if figure is None else figure.value for figure in found],
            [
                None
                if figure is None or figure.low is None or figure.high is None
                else (figure.low, figure.high)
                for figure in found
            ],
        )


def _board(board: Board) -> dict[str, Any]:
    return {
        "title": printable(board.title),
        "kind": board.kind,
        "comparison": board.comparison,
        "settings": printable(_settings(board), limit=400),
        "rows": [
            {
                "place": standing.place,
                "model": printable(standing.target),
                "value": _rounded(standing.figure.value),
                "ends": None
                if standing.figure.low is None
                else [_rounded(standing.figure.low), _rounded(standing.figure.high)],
                "runs": standing.runs,
                "opinion": "disputed" if standing.disputed else "verified" if standing.verified else "",
                "created": printable(standing.record.created[:10]),
                "author": printable(standing.record.author or "-"),
                "record": standing.record.id,
            }
            for standing in board.standings
        ],
    }


def _settings(board: Board) -> str:
    return ", ".join(f"{name} {value}" for name, value in board.settings.items())


def _plain_rows(content: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of the plain table, as text."""
    shown = sum(column["first"] for column in content["columns"])
    for row in content["models"]:
        yield [
            "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
            for value in row[:shown]
        ]


def _cell(value: Any) -> Any:
    """Return a value for JSON: text with no character that acts, numbers rounded, lists as text."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(printable, value)) or None
    if isinstance(value, str):
        return printable(value, limit=1000)
    return _rounded(value)


def _rounded(value: Any) -> Any:
    """Return a number with six digits, and None for what is none or is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if isinstance(value, int) else None


def _embedded(content: dict[str, Any]) -> str:
    """Return JSON that may stand within a page: nothing in it ends the element, or begins a comment."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
