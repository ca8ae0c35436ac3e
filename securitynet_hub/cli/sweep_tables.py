"""What a sweep prints: the plan, and its outcome."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.tables import model_cell
from securitynet_hub.cli.json_output import print_json
from securitynet_hub.core.printing import PlainConsole
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup
from securitynet_hub.records.entries import read_entries

if TYPE_CHECKING:
    from securitynet_hub.attacks.present import Verdict
    from securitynet_hub.sweeps.estimate import Cost
    from securitynet_hub.sweeps.launch import Prepared
    from securitynet_hub.sweeps.plan import Job

SHOWN = 10
"""How many failures are named below the last table."""


Row = tuple["Job", int, "Cost"]
"""A job, how many of its units are left, and what they cost."""


def show_plan(prepared: Prepared, *, as_json: bool) -> None:
    """Print what is to be done, what is left of it, and what it may cost."""
    from securitynet_hub.sweeps.estimate import estimate

    retry, ledger = prepared.options.retry_failed, prepared.ledger
    failed_before = time.time() if retry else 0.0
    left = [len(ledger.pending(job, failed_before=failed_before)) for job in prepared.jobs]
    costs = estimate(prepared.jobs, ledger, retry=retry)
    rows = list(zip(prepared.jobs, left, costs, strict=True))
    if as_json:
        keys = ("model", "data", "images", "units", "left", "download_bytes", "seconds")
        plan = [
            (job.annotation.id, job.data.images.name, job.num_images, len(job.units), count, *cost)
            for job, count, cost in rows
        ]
        print_json([dict(zip(keys, values, strict=True)) for values in plan])
        return
    console = _console()
    console.print(_plan_table(rows, len(prepared.units)))
    _print_costs(console, rows, prepared.processes)


def _plan_table(rows: Sequence[Row], units: int) -> Table:
    models = _by_model(rows)
    table = Table(box=None, title=f"{len(models)} models, {units} units", title_justify="left")
    table.add_column("model", overflow="fold")
    for heading in ("images", "units", "left", "download", "seconds"):
        table.add_column(heading, justify="right")
    for id, own in models.items():
        downloads = [cost.download for _, _, cost in own]
        known = [cost.seconds for _, _, cost in own if cost.seconds is not None]
        # One model's attacks may be several jobs, of which some have a known length.
        parts = [*([f"{sum(known):.1f}"] if known else []), *(["?"] if len(known) < len(own) else [])]
        table.add_row(
            model_cell(id),
            f"{max(job.num_images for job, _, _ in own):,}",
            str(sum(len(job.units) for job, _, _ in own)),
            str(sum(count for _, count, _ in own)),
            _megabytes(None if None in downloads else sum(size or 0 for size in downloads)),
            " + ".join(parts),
        )
    return table


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group jobs by their models, in the order of the plan."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0].annotation.id, []).append(row)
    return found


def _print_costs(console: PlainConsole, rows: Sequence[Row], processes: int) -> None:
    costs = [cost for _, _, cost in rows]
    models = _by_model(rows).values()
    unknown = sum(any(cost.download is None for _, _, cost in own) for own in models)
    untold = sum(any(cost.seconds is None for _, _, cost in own) for own in models)
    console.print(
        f"{sum(left for _, left, _ in rows)} units left; "
        f"{_megabytes(sum(cost.download or 0 for cost in costs))} to download"
        + (f", {unknown} models of unknown size not counted" if unknown else "")
    )
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    several = f", {duration(sum(known) / processes)} in {processes}" if processes > 1 else ""
    console.print(
        f"about {duration(sum(known))} in one process{several}"
        + (f"; attacks of unknown length on {untold} models not counted" if untold else "")
        + ". Without records this is a guess from the networks' operations; it may take several times longer."
    )


def show_outcome(prepared: Prepared, *, seconds: float, as_json: bool) -> None:
    """Print the figures of each attack, and which units failed."""
    failures = prepared.failed()
    done = prepared.count_settled() - len(failures)
    units, records = len(prepared.units), prepared.ledger.records
    if as_json:
        verdicts = {model: [verdict.in_short for verdict in found] for model, found in _verdicts(prepared)}
        print_json(
            {"units": units, "done": done, "failed": failures, "records": str(records), "verdicts": verdicts}
        )
        return
    console = _console()
    console.print(_figures_table(prepared, failures))
    _print_verdicts(console, _verdicts(prepared))
    console.print(
        f"{done} of {units} units done, {len(failures)} failed, in {duration(seconds)}"
        + (f" by {prepared.processes} processes" if prepared.processes > 1 else "")
        + f"; records are below {printable_markup(str(records))}/"
    )
    for failure in failures[:SHOWN]:
        console.print(
            f"[red]failed[/red] {printable_markup(failure['model'])} {failure['attack']}: "
            f"{printable_markup(failure['error'])}: {printable_markup(failure['message'])}"
        )
    if len(failures) > SHOWN:
        console.print(
            f"and {len(failures) - SHOWN} more, in {printable_markup(str(prepared.ledger.failures))}/"
        )
    if failures:
        console.print("--retry-failed does them again")


def _verdicts(prepared: Prepared) -> list[tuple[str, list[Verdict]]]:
    """Return each model's verdicts, one for each kind of attack, the models that do worst first."""
    found: list[tuple[float, str, list[Verdict]]] = []
    for job in prepared.jobs:
        paths = [path for unit in job.units if (path := prepared.ledger.record_of(unit)).exists()]
        entries = read_entries(paths) if paths else []
        worst = -math.inf
        verdicts: list[Verdict] = []
        for name, kind in kinds().items():
            if own := [entry for entry in entries if entry.kind == name]:
                summary = kind.present.summarise(own, ())
                worst, verdicts = max(worst, summary.severity), [*verdicts, *summary.verdicts[:1]]
        if verdicts:
            found.append((-worst, job.annotation.id, verdicts))
    return [(model, verdicts) for _, model, verdicts in sorted(found, key=lambda each: each[:2])]


def _print_verdicts(console: PlainConsole, verdicts: list[tuple[str, list[Verdict]]]) -> None:
    """Print the verdicts of the models that do worst, and how often each verdict was given."""
    if not verdicts:
        return
    table = plain_table("Verdicts, the worst first", caption="`securitynet report` has the reasons.")
    table.add_column("model", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for model, found in verdicts[:SHOWN]:
        table.add_row(model_cell(model), printable_markup("; ".join(each.in_short for each in found)))
    console.print(table)
    if len(verdicts) > SHOWN:
        counts = Counter(each.in_short for _, found in verdicts for each in found)
        shown = ", ".join(f"{count} {title}" for title, count in counts.most_common())
        console.print(f"of all {len(verdicts)}: {printable_markup(shown)}")


def _figures_table(prepared: Prepared, failures: Sequence[dict[str, Any]]) -> Table:
    ledger = prepared.ledger
    table = Table(box=None)
    table.add_column("attack")
    for heading in ("done", "failed", "figure", "median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for attack in dict.fromkeys(unit.attack for unit in prepared.units):
        units = [unit for unit in prepared.units if unit.attack == attack]
        name, figures = ledger.figures(units)
        failed = sum(failure["attack"] == attack for failure in failures)
        shown = (
            [f"{figure:.3f}" for figure in (statistics.median(figures), min(figures), max(figures))]
            if figures
            else ["", "", ""]
        )
        finished = sum(ledger.record_of(unit).exists() for unit in units)
        table.add_row(printable_markup(attack), str(finished), str(failed), name, *shown)
    return table


def _console() -> PlainConsole:
    """Print as wide as the terminal; no number is coloured."""
    return PlainConsole(highlight=False, emoji=False)


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit of which it has two.

    >>> duration(90), duration(5400), duration(3e5)
    ('90.0 s', '90.0 min', '3.5 days')
    """
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
