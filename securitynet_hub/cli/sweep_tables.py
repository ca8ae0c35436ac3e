"""What a sweep prints: the plan, and what came of it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from securitynet_hub.sweeps.estimate import estimate
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job

SHOWN = 10
"""How many failures are named below the last table."""


def show_plan(jobs: Sequence[Job], ledger: Ledger, *, retry: bool, processes: int, as_json: bool) -> None:
    """Print what is to be done, what is left of it, and what it may cost."""
    failed_before = time.time() if retry else 0.0
    left = [len(ledger.pending(job, failed_before=failed_before)) for job in jobs]
    costs = estimate(jobs, ledger, retry=retry)
    rows = list(zip(jobs, left, costs, strict=True))
    if as_json:
        keys = ("model", "data", "images", "units", "left", "download_bytes", "seconds")
        plan = [
            (job.annotation.id, job.data.images.name, job.num_images, len(job.units), count, *cost)
            for job, count, cost in rows
        ]
        print(json.dumps([dict(zip(keys, values, strict=True)) for values in plan], indent=1))
        return
    units = sum(len(job.units) for job in jobs)
    table = Table(box=None, title=f"{len(jobs)} models, {units} units", title_justify="left")
    table.add_column("model", overflow="fold")
    for heading in ("images", "units", "left", "download", "seconds"):
        table.add_column(heading, justify="right")
    for job, count, cost in rows:
        table.add_row(
            escape(job.annotation.id),
            f"{job.num_images:,}",
            str(len(job.units)),
            str(count),
            _megabytes(cost.download),
            "?" if cost.seconds is None else f"{cost.seconds:.1f}",
        )
    console = Console(highlight=False)
    console.print(table)
    unknown = sum(cost.download is None for cost in costs)
    console.print(
        f"{sum(left)} units left; {_megabytes(sum(cost.download or 0 for cost in costs))} to download"
        + (f", {unknown} models of unknown size not counted" if unknown else "")
    )
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    several = f", {duration(sum(known) / processes)} in {processes}" if processes > 1 else ""
    console.print(
        f"about {duration(sum(known))} in one process{several}"
        + (f"; {len(costs) - len(known)} models not counted" if len(known) < len(costs) else "")
        + ". Without records it is a guess by the networks' operations, and may be several times as much."
    )


def show_outcome(
    jobs: Sequence[Job], ledger: Ledger, *, seconds: float, processes: int, as_json: bool
) -> None:
    """Print what came of each attack, and which units failed."""
    every = [unit for job in jobs for unit in job.units]
    failures = ledger.failed(every)
    done = ledger.count_settled(every) - len(failures)
    if as_json:
        summary = {"units": len(every), "done": done, "failed": failures, "records": str(ledger.records)}
        print(json.dumps(summary, indent=1))
        return
    console = Console(highlight=False)
    table = Table(box=None)
    table.add_column("attack")
    for heading in ("done", "failed", "figure", "median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for attack in dict.fromkeys(unit.attack for unit in every):
        units = [unit for unit in every if unit.attack == attack]
        name, figures = ledger.figures(units)
        failed = sum(failure["attack"] == attack for failure in failures)
        shown = (
            [f"{figure:.3f}" for figure in (statistics.median(figures), min(figures), max(figures))]
            if figures
            else ["", "", ""]
        )
        finished = sum(ledger.record_of(unit).exists() for unit in units)
        table.add_row(escape(attack), str(finished), str(failed), name, *shown)
    console.print(table)
    console.print(
        f"{done} of {len(every)} units done, {len(failures)} failed, in {duration(seconds)}"
        + (f" by {processes} processes" if processes > 1 else "")
        + "; records are "
        f"below {escape(str(ledger.records))}/"
    )
    for failure in failures[:SHOWN]:
        console.print(
            f"[red]failed[/red] {escape(failure['model'])} {failure['attack']}: "
            f"{escape(failure['error'])}: {escape(failure['message'])}"
        )
    if len(failures) > SHOWN:
        console.print(f"and {len(failures) - SHOWN} more, in {escape(str(ledger.failures))}/")
    if failures:
        console.print("--retry-failed does them again")


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
