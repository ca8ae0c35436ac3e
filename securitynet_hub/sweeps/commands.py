"""``securitynet sweep``: plan, show, run and resume."""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from securitynet_hub.errors import UnknownNameError

if TYPE_CHECKING:
    from securitynet_hub.sweeps.ledger import Ledger
    from securitynet_hub.sweeps.plan import Job

SHOWN = 10
"""How many failures the last table names."""

REFRESH = 2.0
"""Seconds between two looks at what the other processes have done."""


def add_command(commands: Any) -> None:
    """Add ``sweep`` to the command line."""
    parser = commands.add_parser("sweep", help="audit many models, in many processes", description=__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="PATTERN",
        help="ids, * for anything: 'pytorchcv/cifar10/*'; 'zoo' for the embedded zoo",
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="a condition on the tables' columns, as pandas takes it: 'test_accuracy > 0.9'",
    )
    parser.add_argument("--attacks", nargs="+", required=True, metavar="ATTACK", help="names of attacks")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="DATASET=REFERENCE",
        help="images for the models of a data set: a folder with train/CLASS/* and test/CLASS/*, or a data "
        "set of the Hub; ?limit=1000&size=32&channels=3&members=train&nonmembers=test may follow",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the records; a sweep into the same folder goes on where it ended",
    )
    parser.add_argument(
        "--spread",
        choices=("auto", "models", "images"),
        default="auto",
        help="what the processes of a launch share: each takes models of its own, or all take one and split "
        "its images (default: models if there are as many as processes)",
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        type=int,
        metavar="N",
        default=[100, 500],
        help="of model_stealing: images to ask about (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in one forward pass")
    parser.add_argument("--seed", type=int, default=0, help="of what attacks draw (default: 0)")
    parser.add_argument("--retry-failed", action="store_true", help="do again what failed before")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=sweep_models)


def sweep_models(options: argparse.Namespace) -> None:
    """Plan a sweep, show it or run what is left of it, and print what came of it."""
    from securitynet_hub import processes

    place = processes.find_place()
    jobs = _plan(options)
    together = options.spread == "images" or (options.spread == "auto" and len(jobs) < place.of)
    if not together:
        processes.part()  # before anything else asks Accelerate

    from securitynet_hub.sweeps.ledger import Ledger

    ledger = Ledger(options.out)
    damaged = ledger.set_damaged_aside() if place.is_main else []
    console = Console(stderr=True, highlight=False)
    for path in damaged:
        console.print(f"[yellow]damaged:[/yellow] {escape(str(path))} was set aside; it is measured again")
    if options.dry_run:
        if place.is_main:
            _show_plan(jobs, ledger, options)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends it, ends it like Ctrl-C
    _run(jobs, ledger, options, together=together, is_main=place.is_main)
    if place.is_main:
        _report(jobs, ledger, options)
    if ledger.failed(unit for job in jobs for unit in job.units):
        raise SystemExit(1)


def _plan(options: argparse.Namespace) -> list[Job]:
    from securitynet_hub.attacks.backdoor.detectors import DETECTORS
    from securitynet_hub.auditing import attack_names
    from securitynet_hub.audits.backdoor import KIND as BACKDOORS
    from securitynet_hub.sweeps.plan import find_models, parse_data, plan_jobs

    attacks = list(dict.fromkeys(options.attacks))
    if BACKDOORS in attacks:
        attacks.remove(BACKDOORS)
        attacks += [name for name in DETECTORS if DETECTORS[name].judges == "model" and name not in attacks]
    for name in attacks:
        if name not in attack_names():
            raise UnknownNameError("attack", name, attack_names())
    settings: dict[str, Any] = {"seed": options.seed}
    if options.batch_size is not None:
        settings["batch_size"] = options.batch_size
    data = dict(parse_data(text) for text in options.data)
    rows = find_models(options.models, options.where)
    return plan_jobs(rows, attacks, data, settings, options.budgets)


def _run(
    jobs: Sequence[Job], ledger: Ledger, options: argparse.Namespace, *, together: bool, is_main: bool
) -> None:
    from securitynet_hub.sweeps.run import sweep

    every = [unit for job in jobs for unit in job.units]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not is_main,
    ) as progress:
        whole = progress.add_task("sweep", total=len(every), completed=ledger.count_settled(every))
        current = progress.add_task("", total=None)
        seen = time.monotonic()

        def on_job(job: Job) -> None:
            progress.update(current, description=escape(job.annotation.id), total=len(job.units), completed=0)

        def on_unit(unit: Any, done: bool) -> None:
            nonlocal seen
            progress.advance(current)
            if time.monotonic() - seen > REFRESH:
                progress.update(whole, completed=ledger.count_settled(every))
                seen = time.monotonic()

        sweep(jobs, ledger, together=together, retry=options.retry_failed, on_job=on_job, on_unit=on_unit)


def _show_plan(jobs: Sequence[Job], ledger: Ledger, options: argparse.Namespace) -> None:
    """Print what is to be done, what is left of it, and what it may cost."""
    from securitynet_hub.sweeps.estimate import estimate

    failed_before = time.time() if options.retry_failed else 0.0
    left = [len(ledger.pending(job, failed_before=failed_before)) for job in jobs]
    costs = [estimate(job, ledger) for job in jobs]
    rows = list(zip(jobs, left, costs, strict=True))
    if options.json:
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
    console.print(
        f"about {sum(known):,.0f} s in one process for {len(known)} of {len(jobs)} models, by their records"
        if known
        else "how long it takes is known once the first records are there"
    )


def _report(jobs: Sequence[Job], ledger: Ledger, options: argparse.Namespace) -> None:
    """Print how many units are done, and which failed."""
    every = [unit for job in jobs for unit in job.units]
    failures = ledger.failed(every)
    done = ledger.count_settled(every) - len(failures)
    if options.json:
        summary = {"units": len(every), "done": done, "failed": failures, "records": str(ledger.records)}
        print(json.dumps(summary, indent=1))
        return
    console = Console(highlight=False)
    console.print(
        f"{done} of {len(every)} units done, {len(failures)} failed; records are below "
        f"{escape(str(ledger.records))}/"
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
