"""What adversarial robustness shows in a terminal and in a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from securitynet_hub.attacks.evasion.kind import KIND
from securitynet_hub.attacks.present import (
    Cell,
    Column,
    Figures,
    Ground,
    Line,
    PageTable,
    Section,
    Summary,
    Tone,
    Verdict,
    measured,
    measured_on,
)
from securitynet_hub.attacks.tables import Audited, model_cell, share_cell, verdicts_of_one
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup
from securitynet_hub.plots.measured import Measured, percent, percent_with_interval, share_with_interval
from securitynet_hub.plots.pictures import Picture, pictures_beside
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import interval, number
from securitynet_hub.records.record import Record

ROBUST, CORRUPTED = "robust_accuracy", "corruption_accuracy"

MEANINGS = {
    "Robust accuracy": "The share of images that the model classifies correctly whatever the attacks did "
    "within eps. It is what these attacks leave: a stronger attack can only lower it. Black to white is 1; "
    "the norm Linf bounds the change of every value, L2 the root of the sum of their squares.",
    "Corruption accuracy": "The mean accuracy over common corruptions (noise, blur, weather, compression) in "
    "five severities. They are this project's, after ImageNet-C: compare with models measured here.",
}

AUTO_ATTACK = ("apgd_ce", "apgd_t", "fab_t", "square")
"""The attacks of AutoAttack (Croce & Hein 2020): without them a model may only seem to withstand."""

LOW, HALF = 0.05, 0.5
"""Shares of the accuracy that are left: at most so much counts as not robust; at least so much as robust."""


def tables(audited: Audited, width: int) -> Iterator[Table | Text]:
    """Yield robust accuracy by attack, and accuracy under corruptions; of one model the verdict first."""
    yield from verdicts_of_one(audited, summarise)
    for figure, table in ((ROBUST, _robust_table), (CORRUPTED, _corrupted_table)):
        part = [(row, [record for record in found if figure in record.result]) for row, found in audited]
        if any(found for _, found in part):
            yield table(part)


def _robust_table(audited: Audited) -> Table:
    level = next(r for _, records in audited for r in records).result["confidence_level"]
    table = plain_table(
        f"Adversarial robustness: accuracy under attack and its {level:.0%} interval",
        caption="Acc.: accuracy without an attack. Robust: share of images that withstand every attack. "
        "Passes: forward and backward.",
    )
    table.add_column("model", overflow="fold", no_wrap=True)
    table.add_column("attack", no_wrap=True)
    table.add_column("threat")
    for heading in ("acc.", "robust", "images", "passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, (low, high) = record.result, record.result["robust_accuracy_ci"]
            table.add_row(
                model_cell(annotation.id),
                record.attack["name"],
                printable_markup(threat_of(record)),
                f"{result['accuracy']:.3f}",
                share_cell(result[ROBUST], low, high),
                str(result["n"]),
                f"{record.counts['forwarded'] + record.counts['gradients']:,}",
            )
    return table


def _corrupted_table(audited: Audited) -> Table:
    table = plain_table(
        "Common corruptions: mean accuracy over kinds and severities",
        caption="Worst: the corruption with the lowest accuracy.",
    )
    table.add_column("model", overflow="fold")
    for heading in ("accuracy", "corrupted", "worst", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, (low, high) = record.result, record.result["corruption_accuracy_ci"]
            worst = min(result["corruptions"], key=lambda each: float(each["accuracy"]))
            table.add_row(
                model_cell(annotation.id),
                f"{result['accuracy']:.3f}",
                f"{result[CORRUPTED]:.3f} ({low:.3f}-{high:.3f})",
                printable_markup(f"{worst['name']} {worst['accuracy']:.3f}"),
                str(result["n"]),
            )
    return table


def threat_of(record: Record) -> str:
    """Return what the attacker may change, as a table has it: ``Linf 8/255``."""
    return f"{record.attack.get('norm', '')} {record.attack.get('eps', '')}".strip()


def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
    """Sum up one model's records: the lowest robust accuracy first."""
    ordered = sorted(entries, key=_rank)
    robust = [entry for entry in ordered if measured(entry, ROBUST)]
    corrupted = [entry for entry in ordered if measured(entry, CORRUPTED)]
    compared: dict[Column, Measured] = {}
    for entry in robust:
        if found := measured(entry, ROBUST):
            name = f"{words_of(entry.attack)} {threat_of(entry.record)}".strip()
            compared.setdefault(Column(name, measure="robust accuracy", attack=entry.attack), found)
    for entry in corrupted:
        if found := measured(entry, CORRUPTED):
            column = Column("corruptions", measure="accuracy under corruptions", attack=entry.attack)
            compared.setdefault(column, found)
    verdicts = [
        *([robust_verdict(robust[0])] if robust else ()),
        *([corrupted_verdict(corrupted[0])] if corrupted else ()),
    ]
    if not verdicts:
        verdicts = [Verdict(tone="open", title="Robustness: not known", text="The records state none.")]
    accuracy, images = measured_on(ordered, "accuracy")
    return Summary(
        entries=ordered,
        verdicts=verdicts,
        accuracy=accuracy,
        images=images,
        compared=compared,
        grounds=[ground for entry in robust[:1] for ground in grounds_of(entry)],
        meanings=MEANINGS,
    )


def _rank(entry: Entry) -> tuple[int, float, int, int]:
    """Put the lowest first; of equal ones that of most checks, then of most attacks."""
    robust, result = measured(entry, ROBUST), entry.record.result
    checks, attacks = len(_rows(result, "checks")), len(_rows(result, "attacks"))
    return (0, robust.value, -checks, -attacks) if robust else (1, 0.0, 0, 0)


def robust_verdict(entry: Entry) -> Verdict:
    """Say which share of images withstands, and whether that can be believed."""
    robust = measured(entry, ROBUST)
    assert robust is not None
    record, result = entry.record, entry.record.result
    accuracy = number(result.get("accuracy"))
    names = [row["attack"] for row in _rows(result, "attacks")]
    by = (
        f"{len(names)} attacks ({', '.join(map(words_of, names))})"
        if len(names) > 1
        else words_of(entry.attack)
    )
    text = (
        f"Within {threat_of(record) or 'the threat'}, {percent_with_interval(robust)} of images are "
        f"classified correctly whatever {by} did"
    )
    text += f"; unchanged, {percent(accuracy)} are." if accuracy is not None else "."
    points = [f"Gradient masking is possible: {each['found']}." for each in _failed(result)]
    checked = bool(_rows(result, "checks"))
    if not checked:
        points.append("One attack alone shows little: worst_case runs all, and checks the model's gradients.")
    missing = _lacks_package(record)
    if missing:
        points.append(
            f"Not run: {', '.join(map(words_of, AUTO_ATTACK))}, which often mislead on more images and need "
            f"the package pyautoattack: pip install 'securitynet-hub[{KIND.name}]'."
        )
    if record.attack.get("width") is not None and result.get("stopped") != "width":
        limit = "passes" if result.get("stopped") == "passes" else "images"
        points.append(f"The {limit} ended before the interval was as narrow as --width asks.")
    if published := beside_published(result):
        points.append(published)
    tone, short, severity = _judged(robust, accuracy, doubted=not checked or missing or bool(_failed(result)))
    return Verdict(
        tone=tone,
        title=f"{short}: {share_with_interval(robust.value, robust.ci)} of images are still right",
        text=text,
        short=short,
        counted=True,
        severity=severity,
        points=points,
        basis="Attacks show where a model fails; they never prove that it withstands all others.",
    )


def _lacks_package(record: Record) -> bool:
    """Return whether the model's gradients were followed, and by none of AutoAttack's attacks."""
    run = record.attack.get("attacks")
    return isinstance(run, list) and "pgd" in run and not set(AUTO_ATTACK) & set(run)


def _judged(robust: Measured, accuracy: float | None, *, doubted: bool) -> tuple[Tone, str, int]:
    """Return tone, title in short and severity."""
    low, high = robust.ci or (robust.value, robust.value)
    if accuracy == 0:
        return "open", "The model is wrong on every image as it is", 1
    whole = 1.0 if accuracy is None else accuracy
    if high <= LOW * whole:
        return "alarm", "Small changes fool the model on nearly every image", 3
    if high < HALF * whole:
        return "alarm", "Small changes fool the model on most images that it gets right", 2
    if low >= HALF * whole and not doubted:
        return "calm", "Most images withstand these attacks", 0
    return "open", "How much withstands these attacks is in doubt", 1


def corrupted_verdict(entry: Entry) -> Verdict:
    """Say how accurate the model is under common corruptions."""
    found, accuracy = measured(entry, CORRUPTED), number(entry.record.result.get("accuracy"))
    assert found is not None
    rows = _rows(entry.record.result, "corruptions")
    worst = min(rows, key=lambda row: number(row.get("accuracy")) or 0.0) if rows else None
    text = f"Under common corruptions {percent_with_interval(found)} of images are classified correctly"
    text += f"; unchanged, {percent(accuracy)}" if accuracy is not None else ""
    if worst is not None and (low := number(worst.get("accuracy"))) is not None:
        text += f". {words_of(str(worst.get('name'))).capitalize()} harms most: {percent(low)} are left"
    return Verdict(
        tone="open",
        title=f"Corrupted images: {share_with_interval(found.value, found.ci)} right",
        text=f"{text}.",
        short=f"Corrupted images: {percent(found.value)} right",
        counted=False,
    )


def beside_published(result: Mapping[str, Any]) -> str:
    """Say what RobustBench has published of the model; empty where it is not known."""
    published, ends = result.get("published"), result.get("robust_accuracy_ci")
    value = number(published.get("robust_accuracy")) if isinstance(published, dict) else None
    if value is None or not isinstance(published, dict):
        return ""
    threat = f"{published.get('norm')} {published.get('eps')}"
    text = f"{published.get('source')} has {percent(value)} within {threat}"
    if not published.get("same_threat"):
        return f"{text}: another threat."
    if isinstance(ends, list) and len(ends) == 2:
        inside = ends[0] <= value <= ends[1]
        text += ", which lies in our interval" if inside else ", which lies outside our interval"
    return f"{text}."


def grounds_of(entry: Entry) -> list[Ground]:
    """Return what must hold for robust accuracy to mean anything: gradients that lead somewhere."""
    checks = _rows(entry.record.result, "checks")
    if not checks:
        return []
    failed = _failed(entry.record.result)
    text = "; ".join(str(each.get("found")) for each in failed or checks)
    return [Ground("Gradients lead attacks", not failed, f"{text}.")]


def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
    """Show robust accuracy, what each attack broke, the checks, corruptions, and pictures."""
    robust = [entry for entry in entries if measured(entry, ROBUST)]
    corrupted = [entry for entry in entries if measured(entry, CORRUPTED)]
    parts: list[PageTable | Figures] = []
    if robust:
        parts.append(_robust_page(robust))
        parts += [table for entry in robust for table in _attacks_page(entry)]
    parts += [_corruptions_page(entry) for entry in corrupted]
    pictures = [picture for entry in robust for picture in _pictures(entry)]
    parts.append(Figures(pictures=pictures, heading="Adversarial examples", small=True))
    missing = []
    if robust and not pictures:
        missing.append("There are no pictures of adversarial examples beside the records.")
    return Section(title=KIND.title, parts=parts, missing=missing)


def _robust_page(entries: Sequence[Entry]) -> PageTable:
    names = ("accuracy", "robust accuracy", "images", "published")
    lines = []
    for entry in entries:
        published = entry.record.result.get("published")
        value = number(published.get("robust_accuracy")) if isinstance(published, dict) else None
        cells: list[Cell] = [
            measured(entry, "accuracy"),
            measured(entry, ROBUST),
            str(entry.record.result.get("n", "-")),
            None if value is None or not published else f"{value:.3f} ({published.get('eps')})",
        ]
        heading = f"{words_of(entry.attack)}, {threat_of(entry.record)}".strip(", ")
        lines.append(Line(heading, cells, entry.attack))
    return PageTable(
        label=f"Robust accuracy of {entries[0].model}",
        heading="attack",
        columns=[Column(name) for name in names],
        lines=lines,
        caption="Share of images that are classified correctly whatever the attacks did.",
    )


def _attacks_page(entry: Entry) -> Iterator[PageTable]:
    rows, checks = _rows(entry.record.result, "attacks"), _rows(entry.record.result, "checks")
    if len(rows) > 1:
        yield PageTable(
            label=f"What each attack broke of {entry.model}",
            heading="attack",
            columns=[Column("images"), Column("broken"), Column("passes")],
            lines=[
                Line(
                    words_of(str(row.get("attack"))),
                    [
                        str(row.get("n", "-")),
                        str(row.get("n_broken", "-")),
                        f"{(number(row.get('forwarded')) or 0) + (number(row.get('gradients')) or 0):,.0f}",
                    ],
                    str(row.get("attack")),
                )
                for row in rows
            ],
            caption="In the order in which they ran: each had the images that those before had left, or as "
            "many of them as the interval needed.",
        )
    if checks:
        yield PageTable(
            label=f"Signs of gradient masking in {entry.model}",
            heading="check",
            columns=[Column("passed"), Column("found", prose=True)],
            lines=[
                Line(str(row.get("name")), ["yes" if row.get("passed") else "no", str(row.get("found"))])
                for row in checks
            ],
            caption="Where a check fails, attacks along gradients say little.",
        )


def _corruptions_page(entry: Entry) -> PageTable:
    rows = _rows(entry.record.result, "corruptions")
    lines = []
    for row in rows:
        value, ends = number(row.get("accuracy")), row.get("accuracy_ci")
        own = None if value is None else Measured(entry.model, value, interval(ends))
        rates = row.get("per_severity")
        listed = rates if isinstance(rates, list) else []
        shown = ", ".join(f"{rate:.2f}" for rate in listed if number(rate) is not None)
        lines.append(Line(words_of(str(row.get("name"))), [own, shown]))
    return PageTable(
        label=f"Accuracy of {entry.model} under corruptions",
        heading="corruption",
        columns=[Column("accuracy"), Column("by severity", prose=True)],
        lines=lines,
        caption="Common corruptions: mean accuracy over severities.",
    )


def frame(records: Sequence[Record]) -> dict[str, float | None]:
    """Return nothing: the annotations have no figure of robustness."""
    return {}


def _rows(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = result.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _failed(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in _rows(result, "checks") if row.get("passed") is False]


def _pictures(entry: Entry) -> list[Picture]:
    """Read the adversarial examples beside a record."""

    def about(name: str) -> tuple[str, str]:
        found = re.fullmatch(r"example-(\d+)-(\w+)-(\d+)-(\d+)-(original|adversarial|difference)", name)
        if found is None:
            words = f"{words_of(entry.attack)}: {name or 'picture'}"
            return words, words
        counted, attack, label, predicted, part = found.groups()
        meaning = {
            "original": f"image {int(counted) + 1} of class {label}",
            "adversarial": f"changed by {words_of(attack)}: the model answers {predicted}",
            "difference": "the change, enlarged",
        }[part]
        return f"Adversarial example {int(counted) + 1}: {meaning}.", f"{meaning[:1].upper()}{meaning[1:]}."

    order = {"original": 0, "adversarial": 1, "difference": 2}

    def place(picture: Picture) -> tuple[str, int]:
        words = picture.alt.partition(":")
        kind = 0 if "of class" in words[2] else 1 if "the model answers" in words[2] else order["difference"]
        return words[0], kind

    return sorted(pictures_beside(entry.path, about), key=place)
