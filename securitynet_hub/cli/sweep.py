"""``securitynet sweep``: audit many models, in many processes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from securitynet_hub.cli.console import errors
from securitynet_hub.cli.early import refuse_early
from securitynet_hub.cli.json_output import add_json_flag
from securitynet_hub.cli.kind_flags import add_kind_flags, kind_options
from securitynet_hub.cli.parsing import (
    ZOO,
    Several,
    add_author_flag,
    add_engine_flag,
    add_profile_flag,
    max_memory,
    shard,
)
from securitynet_hub.cli.progress import reading_bars
from securitynet_hub.core.interrupts import heed_interrupts
from securitynet_hub.core.text import printable_markup

ORDER = 60

ALONE = (
    "The launch was made for several processes, but there is only this one: `accelerate launch --cpu` starts "
    "no others. For N on one CPU: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N ..."
)


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "sweep", help="audit many models, in many processes", description=run.__doc__
    )
    _add_work(parser)
    _add_ways(parser)
    add_engine_flag(parser)
    add_profile_flag(parser)
    add_author_flag(parser)
    add_json_flag(parser)
    add_kind_flags(parser, "sweep")
    parser.set_defaults(run=run)


def _add_work(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what to measure."""
    parser.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="ids of models, * for anything: 'pytorchcv/cifar10/*'; 'zoo' for the embedded zoo",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="TOML file with a table [[target]] for each model of your own: model, data, module, transform, "
        "outputs, num_classes, name (docs/models.md)",
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="condition on the tables' columns, as pandas takes it: 'test_accuracy > 0.9'",
    )
    parser.add_argument(
        "--attacks",
        action=Several,
        required=True,
        metavar="ATTACK",
        help="names from `securitynet attacks`; the name of a group stands for its attacks that need only "
        "the model, images and split",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="DATASET=REFERENCE",
        help="images for the models of a data set: a folder with train/CLASS/* and test/CLASS/*, or a data "
        "set of the Hub; ?limit=1000&size=32&channels=3&members=train&nonmembers=test may follow",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of what attacks draw (default: 0)")


def _add_ways(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how and where to do it."""
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
        "--shard",
        type=shard,
        metavar="I/N",
        help="part of the models to do, where N machines share no folder: 1/64 to 64/64; their folders are "
        "put into one afterwards (docs/sweeps.md)",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in one forward pass")
    parser.add_argument(
        "--max-memory",
        nargs="*",
        metavar="DEVICE=SIZE",
        help="memory that each model's weights may take on each device, the CPU's memory and the disk, in "
        "this order: 0=20GB cpu=60GB (default: what is free). For one process and attacks that only ask the "
        "model",
    )
    parser.add_argument(
        "--offload", type=Path, metavar="DIR", help="folder for the layers on disk, with --max-memory"
    )
    parser.add_argument("--retry-failed", action="store_true", help="do again what failed before")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")


def run(options: argparse.Namespace) -> None:
    """Plan a sweep, show the plan or run what is left of it, and print the outcome."""
    chosen = kind_options(options, "sweep")
    refuse_early(attacks=options.attacks, options=chosen, seed=options.seed)
    for pattern in options.models:
        if not set(pattern) & set("*?[") and pattern != ZOO:
            refuse_early(model=pattern)
    from securitynet_hub.cli.sweep_progress import SweepProgress
    from securitynet_hub.cli.sweep_tables import show_outcome, show_plan
    from securitynet_hub.engine import processes
    from securitynet_hub.sweeps.launch import SweepOptions, prepare

    console = errors()
    if processes.is_left_alone():
        console.print(f"[yellow]note:[/yellow] {printable_markup(ALONE)}")
    own = {name: value for name, value in vars(options).items() if name in SweepOptions.__dataclass_fields__}
    own |= {"max_memory": max_memory(options.max_memory), "kind_options": chosen}
    with reading_bars() as show:
        prepared = prepare(SweepOptions(**own), on_progress=show)
    for path in prepared.damaged:
        console.print(
            f"[yellow]damaged:[/yellow] {printable_markup(str(path))} was set aside; it is measured again"
        )
    if options.dry_run:
        if prepared.is_main:
            show_plan(prepared, as_json=options.json)
        return
    prepared.join()
    heed_interrupts()  # what ends it, ends it like Ctrl-C
    began = time.monotonic()
    with SweepProgress(prepared, console) as progress:
        prepared.run(progress)
    if not prepared.is_main:
        return
    show_outcome(prepared, seconds=time.monotonic() - began, as_json=options.json)
    if prepared.failed():
        raise SystemExit(1)
