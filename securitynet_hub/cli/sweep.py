"""``securitynet sweep``: plan, show, run and resume."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from securitynet_hub.core.errors import UnknownNameError

if TYPE_CHECKING:
    from securitynet_hub.sweeps.ledger import Ledger
    from securitynet_hub.sweeps.plan import Job

REFRESH, LINES = 2.0, 60.0
"""Seconds between two looks at what the other processes have done, and between two lines of a log."""

HALF_HOUR = 1800.0
"""Seconds of the past by which the rest is estimated: models may take minutes each."""

ALONE = (
    "The launch was made for several processes, but there is only this one: `accelerate launch --cpu` starts "
    "no others. For N on one CPU: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N ..."
)


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
    parser.add_argument(
        "--max-memory",
        nargs="*",
        metavar="DEVICE=SIZE",
        help="spread each model over devices, the CPU's memory and the disk, in this order; what its weights "
        "may take of each: 0=20GB cpu=60GB (default: what is free). For one process and attacks that only "
        "ask the model",
    )
    parser.add_argument(
        "--offload", type=Path, metavar="DIR", help="with --max-memory: folder for the layers on disk"
    )
    parser.add_argument("--retry-failed", action="store_true", help="do again what failed before")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=sweep_models)


def sweep_models(options: argparse.Namespace) -> None:
    """Plan a sweep, show it or run what is left of it, and print what came of it."""
    from securitynet_hub.engine import processes

    place = processes.find_place()
    console = Console(stderr=True, highlight=False)
    if processes.is_left_alone():
        console.print(f"[yellow]note:[/yellow] {escape(ALONE)}")
    max_memory = _max_memory(options.max_memory)
    if max_memory is not None and place.of > 1:
        raise ValueError(
            f"--max-memory spreads a model over all devices of one process; this launch has {place.of}."
        )
    jobs = _plan(options)
    together = options.spread == "images" or (options.spread == "auto" and len(jobs) < place.of)
    if options.dry_run or not together:
        processes.shutdown()  # before anything else asks Accelerate

    from securitynet_hub.cli.sweep_tables import show_outcome, show_plan
    from securitynet_hub.sweeps.ledger import Ledger

    ledger = Ledger(options.out)
    damaged = ledger.set_damaged_aside() if place.is_main else []
    for path in damaged:
        console.print(f"[yellow]damaged:[/yellow] {escape(str(path))} was set aside; it is measured again")
    if options.dry_run:
        if place.is_main:
            show_plan(jobs, ledger, retry=options.retry_failed, processes=place.of, as_json=options.json)
        return
    met = processes.init_processes().num_processes  # what the launch asks of the device is refused here, once
    if together and met != place.of:
        raise ValueError(
            f"--spread images needs the processes to meet; this one of {place.of} found {met}. Start them "
            "with accelerate launch."
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends it, ends it like Ctrl-C
    began = time.monotonic()
    _run(jobs, ledger, options, max_memory, together=together, is_main=place.is_main)
    if not place.is_main:
        return
    show_outcome(jobs, ledger, seconds=time.monotonic() - began, processes=place.of, as_json=options.json)
    if ledger.failed(unit for job in jobs for unit in job.units):
        raise SystemExit(1)


def _max_memory(texts: Sequence[str] | None) -> dict[int | str, str] | None:
    """Read ``DEVICE=SIZE`` for each device; an empty dictionary stands for what is free."""
    if texts is None:
        return None
    pairs = [text.partition("=") for text in texts]
    for text, (device, _, size) in zip(texts, pairs, strict=True):
        if not size or not (device.isdecimal() or device == "cpu"):
            raise ValueError(f"--max-memory takes DEVICE=SIZE, like 0=20GB cpu=60GB; got {text!r}.")
    return {int(device) if device.isdecimal() else device: size for device, _, size in pairs}


def _plan(options: argparse.Namespace) -> list[Job]:
    from securitynet_hub.attacks.backdoor.kind import KIND
    from securitynet_hub.attacks.backdoor.registry import detectors
    from securitynet_hub.attacks.kind import attack_names
    from securitynet_hub.sweeps.plan import find_models, parse_data, plan_jobs

    attacks = list(dict.fromkeys(options.attacks))
    if KIND.group in attacks:
        attacks.remove(KIND.group)
        attacks += [n for n, found in detectors().items() if found.judges == "model" and n not in attacks]
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
    jobs: Sequence[Job],
    ledger: Ledger,
    options: argparse.Namespace,
    max_memory: dict[int | str, str] | None,
    *,
    together: bool,
    is_main: bool,
) -> None:
    from securitynet_hub.cli.sweep_tables import duration
    from securitynet_hub.sweeps.run import load_job, sweep

    every = [unit for job in jobs for unit in job.units]
    console = Console(stderr=True, highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not is_main,
        speed_estimate_period=HALF_HOUR,
    ) as progress:
        before = ledger.count_settled(every)
        whole = progress.add_task("units", total=len(every), completed=before)
        current = progress.add_task("", total=None)
        began = seen = told = time.monotonic()

        def load(job: Job) -> Any:
            target = load_job(job)
            if max_memory is not None:
                from securitynet_hub.engine.device_maps import place

                place(target, max_memory=max_memory or None, folder=options.offload)
            return target

        def on_job(job: Job) -> None:
            progress.reset(current, description=escape(job.annotation.id), total=job.num_images)

        def on_unit(unit: Any, done: bool) -> None:
            nonlocal seen, told
            now = time.monotonic()
            if now - seen < REFRESH:
                return
            seen, settled = now, ledger.count_settled(every)
            progress.update(whole, completed=settled)
            if is_main and not console.is_terminal and now - told > LINES:
                told = now
                rest = (len(every) - settled) * (now - began) / max(1, settled - before)
                console.print(f"{settled} of {len(every)} units, about {duration(rest)} left")

        sweep(
            jobs,
            ledger,
            together=together,
            retry=options.retry_failed,
            load=load,
            on_job=on_job,
            on_unit=on_unit,
            on_batch=lambda size: progress.advance(current, size),
        )
