"""What model stealing shows in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from securitynet_hub.attacks.present import (
    Cell,
    Column,
    Figures,
    Ground,
    Line,
    PageTable,
    Section,
    Standing,
    Summary,
    Verdict,
    measured,
    measured_on,
)
from securitynet_hub.attacks.stealing.kind import KIND
from securitynet_hub.attacks.tables import Audited, model_cell, verdicts_of_one
from securitynet_hub.core.tables import plain_table
from securitynet_hub.plots.budgets import budgets_plot
from securitynet_hub.plots.measured import Measured, percent, percent_with_interval, share_with_interval
from securitynet_hub.plots.plot import Plot, words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import interval, number
from securitynet_hub.records.record import Record

FIGURES = {
    "agreement": "agreement",
    "agreement_on_target_errors": "where the model errs",
    "independent": "independent networks there",
    "accuracy": "accuracy of the copy",
    "target_accuracy": "accuracy of the model",
    "debiased_ece": "calibration error of the copy",
}
"""The figures of a stolen copy that its table shows, with their headings."""

WIDE = 110
"""Columns of a terminal that has room for the figures beside the agreement."""

NOTE = (
    " Independent networks: clean ones of the target's architecture and training images. Calibration error: "
    "of the surrogate."
)
"""What the caption adds for these."""

FRAMED = {
    "accuracy": "stealing_accuracy",
    "agreement": "stealing_agreement",
    "target_accuracy": "test_accuracy",
}
"""The columns of the annotations that a stolen copy's figures fill in."""

DERIVED = {"budget", "surrogate_parameters", "surrogate_transform"}
"""Settings that do not name a line of the plot: its axis, and what the copy's network decides."""

AGREEMENT = "agreement of a stolen copy"
"""What the comparison of models calls it."""

INDEPENDENT = (0.63, 0.80)
"""Shares of each other's errors on which independent networks agree: clean zoo networks of one kind.

The smallest and the largest of 60 pairs; the median is 0.70. Of two architectures it is 0.46 to 0.64. They
stand for a model of which a record names no independent networks.
"""

COARSE = 0.2
"""Widest interval of an agreement that still tells something: with some 100 images it is so wide."""

MEANINGS = {
    "Agreement": "The share of test images that a stolen copy answers as its target does. Where the model "
    "errs, independent networks agree, too. The table shows on how much: the least and the most of the "
    "networks that the record names, of the model's architecture and trained on the same images with other "
    "random numbers. Without such networks it shows none; those of the zoo agree on "
    f"{percent(INDEPENDENT[0], 0)} to {percent(INDEPENDENT[1], 0)} of each other's errors, other networks on "
    "other images perhaps not. Only a copy that "
    "agrees on more has surely learnt the model and not just the task.",
    "Calibration error": "The distance between how sure a network is and how often it is right (the expected "
    "calibration error of bins), without the bias that few images give it.",
}


def tables(audited: Audited, width: int) -> Iterator[Table | Text]:
    """Yield the agreement by model and query budget for a terminal; of one model the verdict first."""
    yield from verdicts_of_one(audited, summarise)
    level = next(r for _, records in audited for r in records).result["confidence_level"]
    wide = width >= WIDE
    table = plain_table(
        f"Model stealing: agreement with the target and its {level:.0%} interval",
        caption="Queries: images that the target was asked about. Accuracy: of surrogate and target."
        + (NOTE if wide else ""),
    )
    lines = [(annotation, _line(record, wide)) for annotation, records in audited for record in records]
    table.add_column("model", overflow="fold")
    for heading in lines[0][1]:
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, line in lines:
        table.add_row(model_cell(annotation.id), *line.values())
    yield table


def _line(record: Record, wide: bool) -> dict[str, str]:
    """Return the cells of one copy by their headings."""
    result, errors = record.result, record.result["agreement_on_target_errors"]
    low, high = result["agreement_ci"]
    line = {
        "queries": str(record.attack["budget"]),
        "seed": str(record.attack["seed"]),
        "agreement": f"{result['agreement']:.3f} ({low:.3f}-{high:.3f})",
        "where the\ntarget errs": "-" if errors is None else f"{errors:.3f}",
        "accuracy": f"{result['accuracy']:.3f}",
        "target\naccuracy": f"{result['target_accuracy']:.3f}",
    }
    if wide:
        others, ece = independent_shares(record), measured_ece(record)
        line["independent\nnetworks there"] = f"{min(others):.3f}-{max(others):.3f}" if others else "-"
        ends = f" ({ece.ci[0]:.3f}-{ece.ci[1]:.3f})" if ece and ece.ci else ""
        line["calibration\nerror"] = f"{ece.value:.3f}{ends}" if ece else "-"
    return line


def _cell(entry: Entry, name: str) -> Cell:
    if name == "independent":
        shares = independent_shares(entry.record)
        return f"{min(shares):.3f} to {max(shares):.3f}" if shares else None
    return measured_ece(entry.record) if name == "debiased_ece" else measured(entry, name)


def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
    """Sum up the copies of one model, the smallest budget first."""
    ordered = sorted(entries, key=lambda entry: budget(entry.record) or 0.0)
    largest = ordered[-1]
    agreement = measured(largest, "agreement")
    accuracy, images = measured_on(ordered, "target_accuracy")
    compared: dict[Column, Measured] = {}
    for entry in reversed(ordered):
        if found := measured(entry, "agreement"):
            name = f"{words_of(entry.attack)} agreement"
            compared.setdefault(Column(name, measure=AGREEMENT, attack=entry.attack), found)
    return Summary(
        entries=ordered,
        verdicts=[verdict(ordered)],
        accuracy=accuracy,
        images=images,
        standings=[_standing(agreement)] if agreement else [],
        compared=compared,
        grounds=grounds(ordered),
        meanings=MEANINGS,
    )


def grounds(ordered: Sequence[Entry]) -> list[Ground]:
    """Say whether there were enough images to tell how well the copy of the largest budget agrees."""
    found, images = measured(ordered[-1], "agreement"), number(ordered[-1].record.counts.get("evaluated"))
    if found is None or found.ci is None:
        return []
    low, high = found.ci
    seen = "" if images is None else f"{images:,.0f} images that neither was trained on; "
    text = f"{seen}the interval of the agreement is {percent(low)} to {percent(high)}."
    enough = high - low <= COARSE
    text = text if enough else f"{text} They are too few to tell."
    return [Ground("Enough images for the copy", enough, f"{text[:1].upper()}{text[1:]}")]


def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
    """Show agreement by budget, and each copy's figures."""
    ways = varying(entries)
    table = PageTable(
        label=f"Stolen copies of {entries[0].model}",
        heading="queries",
        columns=[Column(name) for name in FIGURES.values()],
        lines=[
            Line(", ".join(filter(None, (_queries(entry), way))), [_cell(entry, name) for name in FIGURES])
            for entry, way in zip(entries, ways, strict=True)
        ],
        caption="One copy for each budget of queries, compared with the model on images that neither was "
        "trained on.",
    )
    return Section(title=KIND.title, parts=[Figures(plots=_plots(entries, ways)), table])


def frame(records: Sequence[Record]) -> dict[str, float | None]:
    """Return the figures of the copy with the largest budget; of equal budgets the last created counts."""
    columns: dict[str, float | None] = {}
    for record in sorted(records, key=lambda record: budget(record) or 0.0):
        found = {column: number(record.result.get(name)) for name, column in FRAMED.items()}
        columns |= {column: value for column, value in found.items() if value is not None}
    return columns


def verdict(entries: Sequence[Entry]) -> Verdict:
    """Say how faithful the copy of the largest budget is, which stands last."""
    best = entries[-1]
    agreement, queries = measured(best, "agreement"), budget(best.record)
    if agreement is None:
        return Verdict(tone="open", title="Stealing: not known", text="The records state no agreement.")
    made = f" made with {queries:,.0f} queries" if queries else ""
    text = f"A stolen copy{made} answers as the model does on {percent_with_interval(agreement)} of images"
    if errors := measured(best, "agreement_on_target_errors"):
        text += f", and on {percent_with_interval(errors)} of those that the model gets wrong. "
        text += _beside_independent(errors, best.record)
    share = share_with_interval(agreement.value, agreement.ci)
    return Verdict(
        tone="open",
        title=f"A stolen copy agrees with the model on {share} of images",
        text=f"{text}.",
        short=f"A copy agrees on {percent(agreement.value)}",
    )


def _beside_independent(errors: Measured, record: Record) -> str:
    """Say how often networks agree on a model's errors that never saw its answers, as far as it is known."""
    own = independent_shares(record)
    missing = "No independent networks of its architecture and training images were at hand"
    if not own and not str(record.target.get("id")).startswith("zoo/"):
        return f"{missing}, and no range is known for these images: whether it copied mistakes cannot be said"
    low, high = (min(own), max(own)) if own else INDEPENDENT
    whose = (
        f"{len(own)} clean networks of the same architecture and training images, which never saw this "
        "model's answers, agree there"
        if own
        else f"{missing}; the zoo's clean ones agree, where one of them errs,"
    )
    more = errors.ci is not None and errors.ci[0] > high
    means = "more than that is learnt from this model" if more else "this is no sign of copied mistakes"
    return f"{whose} on {percent(low, 0)} to {percent(high, 0)}: {means}"


def independent_shares(record: Record) -> list[float]:
    """Return how often each of a record's independent networks agrees where the target errs."""
    found = record.result.get("independent")
    shares = found.get("agreement_on_target_errors") if isinstance(found, dict) else None
    rates = [number(share) for share in shares] if isinstance(shares, list) else []
    known = [rate for rate in rates if rate is not None and 0 <= rate <= 1]
    return known if len(known) == len(rates) else []


def measured_ece(record: Record) -> Measured | None:
    """Return the debiased calibration error of a record's surrogate; None of a record without one."""
    calibration = record.result.get("calibration")
    own = calibration.get("surrogate") if isinstance(calibration, dict) else None
    if not isinstance(own, dict) or (value := number(own.get("debiased_ece"))) is None:
        return None
    return Measured("surrogate", value, interval(own.get("debiased_ece_ci")))


def budget(record: Record) -> float | None:
    """Return how many queries the attacker made; None if the record holds no such number."""
    queries = number(record.attack.get("budget"))
    return queries if queries is not None and queries > 0 else None


def varying(entries: Sequence[Entry]) -> list[str]:
    """Name each entry by the settings that not all entries share, without the budget.

    Hashes, lists and what follows from other settings are left out. Where all settings are shared, the names
    are empty.
    """
    settings = [
        {
            name: _in_a_word(value)
            for name, value in entry.record.attack.items()
            if name not in DERIVED and not name.endswith("_sha256") and not isinstance(value, list)
        }
        for entry in entries
    ]
    names = [name for name in dict.fromkeys(n for own in settings for n in own)
             if len({own.get(name) for own in settings}) > 1]  # fmt: skip
    return [", ".join(f"{words_of(name)} {own.get(name, '-')}" for name in names) for own in settings]


def _plots(entries: Sequence[Entry], ways: Sequence[str]) -> list[Plot]:
    points: dict[str, list[tuple[float, Measured]]] = {}
    for entry, way in zip(entries, ways, strict=True):
        queries, agreement = budget(entry.record), measured(entry, "agreement")
        if queries and agreement:
            points.setdefault(f"{entry.attack}, {way}" if way else entry.attack, []).append(
                (queries, agreement)
            )
    return [budgets_plot(points)] if points else []


def _standing(agreement: Measured) -> Standing:
    unknown = "How the public models were attacked, and with how many queries, was not released."
    return Standing(
        column="stealing_agreement",
        words="agreement of the stolen copy",
        measured=agreement,
        caveats=lambda peers: [unknown],
    )


def _queries(entry: Entry) -> str:
    queries = budget(entry.record)
    return "unknown" if queries is None else f"{queries:,.0f}"


def _in_a_word(value: Any) -> str:
    """Shorten a setting to what fits into a legend; a recipe's seed is a setting of its own."""
    if isinstance(value, dict):
        value = value.get("kind") or {name: own for name, own in value.items() if name != "seed"}
    return str(value)[:40]
