"""The command line: ``securitynet list``, ``show``, ``audit``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from securitynet_hub.annotations import FLAGS, Annotation, ZooAnnotation, columns, load_annotations

if TYPE_CHECKING:
    from securitynet_hub.records import Record

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130
ZOO = "zoo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit 0 when done, 2 for a wrong request, 1 where the work failed, 130 on Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        _fail("Interrupted; the records written so far are whole.", INTERRUPTED)
    except BrokenPipeError:  # the reader of `securitynet list | head` has left
        sys.stderr.close()
    except ValueError as error:
        _fail(str(error), USAGE_ERROR)
    except Exception as error:
        if type(error).__name__ not in ("WeightsError", "RecordError"):
            raise
        _fail(str(error), FAILURE)


def list_models(options: argparse.Namespace) -> None:
    """Print the annotated models that pass every filter."""
    rows = [row for row in load_annotations(options.config).values() if _passes(row, options)]
    if options.json:
        _print_json([asdict(row) for row in rows])
        return
    table = Table(title=f"{len(rows)} models in {options.config!r}", title_justify="left")
    for heading in ("id", "dataset", "test accuracy", "overfit gap", "MIA AUC", "stealing", "flags"):
        table.add_column(heading, overflow="fold", justify="left" if heading in ("id", "dataset") else "right")
    for row in rows:
        table.add_row(
            escape(row.id),
            row.dataset,
            *(
                _figure(value)
                for value in (
                    row.test_accuracy,
                    row.overfit_gap,
                    row.mia_modified_entropy_auc,
                    row.stealing_agreement,
                )
            ),
            str(len(row.flags)),
        )
    Console().print(table)


def show_model(options: argparse.Namespace) -> None:
    """Print everything known of one model, each flag with its meaning."""
    from securitynet_hub.targets import find_annotation

    annotation = find_annotation(options.id)
    if options.json:
        _print_json(asdict(annotation))
        return
    table = Table(title=escape(annotation.id), title_justify="left")
    table.add_column("column")
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold", style="dim")
    for column in columns(type(annotation)):
        value = getattr(annotation, column.name)
        if column.name not in ("flags", "corrections") and value not in (None, ()):
            unit = f" ({column.unit})" if column.unit else ""
            table.add_row(column.name, escape(_text(value)), escape(column.meaning + unit))
    console = Console()
    console.print(table)
    for flag in annotation.flags:
        console.print(f"[bold]{flag}[/bold]: {escape(FLAGS[flag].meaning)}")
    for correction in annotation.corrections:
        console.print(
            f"corrected {correction.column}: upstream says {escape(repr(correction.upstream))} ({correction.flag})"
        )


def audit_models(options: argparse.Namespace) -> None:
    """Audit one model, or the whole embedded zoo, and print a table of the figures."""
    from securitynet_hub.auditing import ATTACKS, audit
    from securitynet_hub.targets import find_annotation

    attacks = options.attacks or list(ATTACKS)
    annotations: list[Annotation] = (
        list(load_annotations(ZOO).values()) if options.id == ZOO else [find_annotation(options.id)]
    )
    console = Console()
    records: list[Record] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("auditing", total=len(annotations))
        for annotation in annotations:
            progress.update(task, description=escape(annotation.id))
            records += audit(annotation.id, attacks=attacks, out=options.out)
            progress.advance(task)
    if options.json:
        _print_json([record.as_dict() for record in records])
        return
    console.print(_audit_table(annotations, records, attacks))
    if options.out:
        console.print(f"{len(records)} records written below {escape(str(options.out))}")


def _audit_table(annotations: list[Annotation], records: list[Record], attacks: list[str]) -> Table:
    level = records[0].result["confidence_level"]
    table = Table(
        title=f"Membership inference: AUC and its {level:.0%} interval (0.5 = nothing leaks)",
        title_justify="left",
        caption="members v non-members: images the model was trained on, and images it never saw",
        caption_justify="left",
    )
    table.add_column("model", overflow="fold")
    for heading in ("members v non-members", "train acc.", "test acc.", *attacks):
        table.add_column(heading.replace("_", " "), justify="right")
    for row, annotation in enumerate(annotations):
        results = [record.result for record in records[row * len(attacks) : (row + 1) * len(attacks)]]
        table.add_row(
            escape(annotation.id.removeprefix("zoo/")),
            f"{results[0]['n_members']} v {results[0]['n_nonmembers']}",
            _figure(annotation.train_accuracy),
            _figure(annotation.test_accuracy),
            *(_auc(result) for result in results),
        )
    return table


def _auc(result: dict[str, Any]) -> str:
    low, high = result["auc_ci"]
    leaks = low > 0.5
    text = f"{result['auc']:.3f} ({low:.3f}-{high:.3f})"
    return f"[bold red]{text}[/bold red]" if leaks else text


def _passes(row: Annotation, options: argparse.Namespace) -> bool:
    wanted = (("dataset", row.dataset), ("source", row.source), ("purpose", row.purpose))
    return all(
        getattr(options, name) is None or getattr(options, name).lower() == value.lower()
        for name, value in wanted
    ) and all(flag in row.flags for flag in options.flag)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, allow_nan=False))


def _fail(message: str, status: int) -> None:
    Console(stderr=True, highlight=False).print(f"[bold red]securitynet:[/bold red] {escape(message)}")
    raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="securitynet", description="Audit public image classifiers, with intervals beside every rate."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="list annotated models", description=list_models.__doc__)
    listing.add_argument("--config", choices=("models", ZOO), default="models", help="which models")
    for name in ("dataset", "source", "purpose"):
        listing.add_argument(f"--{name}", help=f"only models of this {name}")
    listing.add_argument("--flag", action="append", default=[], choices=sorted(FLAGS), metavar="FLAG",
                         help="only models with this flag; may be repeated")  # fmt: skip
    listing.set_defaults(run=list_models)

    showing = commands.add_parser("show", help="show one model", description=show_model.__doc__)
    showing.add_argument("id", help="source/dataset/name[/seed], as `securitynet list` prints it")
    showing.set_defaults(run=show_model)

    auditing = commands.add_parser("audit", help="audit a model", description=audit_models.__doc__)
    auditing.add_argument("id", help="a model's id, or 'zoo' for every model of the embedded zoo")
    auditing.add_argument("--attacks", nargs="+", metavar="ATTACK", help="membership attacks (default: all)")
    auditing.add_argument("--out", type=Path, metavar="DIR", help="folder for the records")
    auditing.set_defaults(run=audit_models)

    for command in (listing, showing, auditing):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser
