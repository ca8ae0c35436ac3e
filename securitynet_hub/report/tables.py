"""The tables of a report, cell by cell: the comparison of models, and of each one its attacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from securitynet_hub.plots.plot import words_of
from securitynet_hub.report.figures import Measured
from securitynet_hub.report.models import Model
from securitynet_hub.report.placement import WORDS, Placement
from securitynet_hub.report.reading import Entry, figures_of, interval, number, varying
from securitynet_hub.report.verdicts import measured, percent

COPY = {
    "agreement": "agreement",
    "agreement_on_target_errors": "where the model errs",
    "accuracy": "accuracy of the copy",
    "target_accuracy": "accuracy of the model",
}
"""The figures of a stolen copy that its table shows, with their headings."""

SHOWN = {"score", "suspect", "n_classes", "n_restarts", "smallest_class", "target_class"}
"""Figures of a detector that have a column of their own, or say no more than the record's settings."""


class Line(NamedTuple):
    """A line of a table: its heading and its figures."""

    name: str
    figures: list[Measured | None]


class Comparison(NamedTuple):
    """Every model's figures by column.

    Attributes:
        columns: in the order of the table.
        figures: by model and column; what was not measured is missing.
        beginning: what all ids begin with, which the table leaves out.
    """

    columns: list[str]
    figures: dict[str, dict[str, Measured]]
    beginning: str


class Tables:
    """What the tables of one model show."""

    def __init__(self, model: Model) -> None:
        results = [entry.record.result for entry in model.membership]
        rates = [_rates(result) for result in results]
        self.rates = sorted({rate for found in rates for rate in found})
        self.membership = [
            Line(
                entry.attack,
                [measured(entry, name) for name in ("auc", "advantage")]
                + [_rate(entry, found.get(rate)) for rate in self.rates],
            )
            for entry, found in zip(model.membership, rates, strict=True)
        ]
        self.counts = _counts(results)
        few = sorted(
            {rate for found in rates for rate, known in found.items() if not known.get("resolvable")}
        )
        self.unresolved = (
            f"Too few non-members to resolve {', '.join(f'{100 * rate:g} %' for rate in few)}: the figure "
            "there is the TPR at no false alarm."
            if few
            else ""
        )
        self.copy = list(COPY.values())
        self.stealing = [
            Line(
                ", ".join(filter(None, (_queries(entry), settings))),
                [measured(entry, name) for name in COPY],
            )
            for entry, settings in zip(model.stealing, varying(model.stealing), strict=True)
        ]
        self.detectors = [
            (
                entry.attack,
                Measured(model.id, score, None)
                if (score := number(entry.record.result.get("score"))) is not None
                else None,
                _class(entry.record.result.get("suspect")),
                ", ".join(map(str, entry.record.result.get("flagged_classes") or ())) or "none"
                if isinstance(entry.record.result.get("flagged_classes"), list)
                else "-",
                "; ".join(
                    f"{words_of(name)} {text_of(value)}"
                    for name, value, _ in figures_of(entry.record.result)
                    if name not in SHOWN
                ),
            )
            for entry in model.backdoor
        ]
        self.others = [
            (entry, [(n, Measured(model.id, v, ci)) for n, v, ci in figures_of(entry.record.result)])
            for entry in model.others
        ]
        self.placed = _sentences(model.placements)
        caveats = [caveat for placement in model.placements for caveat in placement.caveats]
        self.caveats = [*model.notes, *dict.fromkeys(caveats)]


def compare(models: Sequence[Model]) -> Comparison:
    """Gather every model's figures for the comparison; of two records of one attack the surer counts."""
    figures: dict[str, dict[str, Measured]] = {}
    order: dict[str, int] = {}
    for model in models:
        row = figures.setdefault(model.id, {})
        for rank, (entries, candidates) in enumerate((
            (model.membership, {"auc": "AUC"}),
            (model.stealing[::-1], {"agreement": "agreement"}),
            (model.backdoor, {"anomaly_index": "anomaly index", "score": "score"}),
        )):  # fmt: skip
            for entry in entries:
                known = [
                    (words, found) for name, words in candidates.items() if (found := measured(entry, name))
                ]
                for words, found in known[:1]:
                    row.setdefault(f"{words_of(entry.attack)} {words}", found)
                    order.setdefault(f"{words_of(entry.attack)} {words}", rank)
    for model in models:
        for placement in model.placements[::-1]:
            comparable = placement.peers.startswith(f"models of {model.dataset}")
            if placement.percentile is not None and comparable:
                name = f"percentile, {WORDS[placement.column]}"
                figures[model.id][name] = Measured(model.id, placement.percentile, placement.percentile_ci)
                order.setdefault(name, 3)
    columns = sorted(
        order, key=lambda name: order[name]
    )  # stable: the strongest attack of the leakiest first
    return Comparison(columns, figures, _beginning([model.id for model in models]))


def summarise(models: Sequence[Model]) -> list[tuple[str, int]]:
    """Count the models by what is said of their members, the most alarming first."""
    titles = Counter(verdict.title for model in models for verdict in model.verdicts[:1] if model.membership)
    return list(titles.items())


def text_of(value: float) -> str:
    """Write a figure: whole numbers as they are, others with three decimals, or two digits where tiny.

    >>> text_of(5.0), text_of(0.25), text_of(0.00021660), text_of(12345.678)
    ('5', '0.250', '0.00022', '12,345.678')
    """
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) >= 0.001 else f"{value:.2g}"


def _sentences(placements: Sequence[Placement]) -> list[str]:
    """Say where a model stands: a sentence for each percentile, and one for each group of too few peers."""
    said, lacking = [], defaultdict(list)
    for placement in placements:
        figure = f"{WORDS[placement.column]}, {placement.value:.3f}"
        left = ", ".join(f"{count} {reason}" for reason, count in placement.left_out.items())
        left = f" Left out: {left}." if left else ""
        if placement.percentile is None:
            lacking[placement.peers, left].append(figure)
            continue
        over = placement.percentile_ci
        extent = f" ({over.low:.0f} to {percent(over.high / 100, 0)} over its interval)" if over else ""
        said.append(
            f"{_capital(figure)}: higher than that of {percent(placement.percentile / 100, 0)}{extent} of "
            f"SecurityNet's {len(placement.figures)} {placement.peers}.{left}"
        )
    return said + [
        f"{_capital('; '.join(figures))}: no percentile among SecurityNet's {peers}.{left}"
        for (peers, left), figures in lacking.items()
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _beginning(ids: Sequence[str]) -> str:
    """Return the folders that all ids begin with.

    >>> _beginning(["zoo/a/x", "zoo/a/y/1"]), _beginning(["a/x", "b/x"]), _beginning(["a/x"])
    ('zoo/a/', '', '')
    """
    if len(ids) < 2:
        return ""
    shared = []
    for parts in zip(*(id.split("/")[:-1] for id in ids), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}/" for part in shared)


def _queries(entry: Entry) -> str:
    budget = number(entry.record.attack.get("budget"))
    return "unknown" if budget is None else f"{budget:,.0f}"


def _class(value: Any) -> str:
    return str(value) if type(value) is int else "-"


def _rates(result: Mapping[str, Any]) -> dict[float, dict[str, Any]]:
    listed = result.get("tpr_at_fpr")
    rates = [rate for rate in listed if isinstance(rate, dict)] if isinstance(listed, list) else []
    return {float(rate["target_fpr"]): rate for rate in rates if number(rate.get("target_fpr")) is not None}


def _rate(entry: Entry, rate: dict[str, Any] | None) -> Measured | None:
    value = number(rate.get("tpr")) if rate else None
    return None if rate is None or value is None else Measured(entry.model, value, interval(rate.get("ci")))


def _counts(results: Sequence[Mapping[str, Any]]) -> str:
    sizes = {(number(r.get("n_members")), number(r.get("n_nonmembers"))) for r in results}
    known = sorted((int(m), int(n)) for m, n in sizes if m is not None and n is not None)
    levels = sorted({level for r in results if (level := number(r.get("confidence_level"))) is not None})
    over = " or ".join(f"{members:,} members against {others:,} non-members" for members, others in known)
    at = " and ".join(percent(level, 0) for level in levels)
    return f"{over or 'Unknown numbers of images'}; intervals at {at or 'an unknown level'}."
