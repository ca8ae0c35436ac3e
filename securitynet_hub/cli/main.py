"""The command line, ``securitynet``: the commands for one model; sweeps, reports and sharing add theirs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import Annotation, columns, load_annotations
from securitynet_hub.cli.report import add_commands as add_reports
from securitynet_hub.cli.share import add_commands as add_sharing
from securitynet_hub.cli.sweep import add_command as add_sweep
from securitynet_hub.core.errors import SecurityNetError, UnknownNameError
from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup
from securitynet_hub.weights.hashes import describe_checks, parse_checks

if TYPE_CHECKING:
    from securitynet_hub.records.record import Record

PAPER_ATTACKS = ("correctness", "modified_entropy")
"""SecurityNet's two score-based attacks, whose AUCs the annotations give for the public models."""

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130
ZOO = "zoo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit 0: done, 2: a wrong request, 1: the work failed, 130: Ctrl-C."""
    keep_freed_memory()
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
    except (SecurityNetError, OSError) as error:
        _fail(str(error), FAILURE)


def list_models(options: argparse.Namespace) -> None:
    """Print the annotated models that pass every filter."""
    from securitynet_hub.attacks.tables import annotated

    rows = _filtered(list(load_annotations(options.config).values()), options)
    if options.json:
        _print_json([asdict(row) for row in rows])
        return
    table = plain_table(
        f"{len(rows)} models in {options.config!r}",
        caption="?: flagged, not to be relied on; `securitynet show ID` says why",
    )
    table.add_column("id", overflow="fold")
    for heading in ("test\naccuracy", "overfit\ngap", "membership\nAUC", "stealing\nagreement"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = ("test_accuracy", "overfit_gap", "mia_modified_entropy_auc", "stealing_agreement")
        table.add_row(escape(row.id), *(annotated(row, name) for name in figures))
    _console().print(table)


def show_model(options: argparse.Namespace) -> None:
    """Print everything known of one model, each flag with its meaning."""
    from securitynet_hub.models.loading import find_annotation

    annotation = find_annotation(options.id)
    if options.json:
        _print_json(asdict(annotation))
        return
    table = Table(title=printable_markup(annotation.id), title_justify="left")
    table.add_column("column")
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold", style="dim")
    for column in columns(type(annotation)):
        value = getattr(annotation, column.name)
        if column.name not in ("flags", "corrections") and value not in (None, ()):
            unit = f" ({column.unit})" if column.unit else ""
            table.add_row(column.name, printable_markup(_text(value)), escape(column.meaning + unit))
    console = _console()
    console.print(table)
    checks = parse_checks(annotation.weights_hash_kind, annotation.weights_hash)
    console.print(f"[bold]verified by[/bold]: {escape(describe_checks(checks))}")
    if annotation.flags:
        console.print("[bold]uncertain or to be known[/bold]:")
    for flag in annotation.flags:
        console.print(f"[bold]{flag}[/bold]: {escape(FLAGS[flag].meaning)}")
    for correction in annotation.corrections:
        console.print(
            f"corrected {correction.column}: upstream says {printable_markup(repr(correction.upstream))} "
            f"({correction.flag})"
        )


def audit_models(options: argparse.Namespace) -> None:
    """Audit one model, or the whole embedded zoo, and print a table of the figures."""
    from securitynet_hub.attacks.audit import audit, find_names
    from securitynet_hub.attacks.kind import kinds, split_options
    from securitynet_hub.attacks.subject import find_data, known_data
    from securitynet_hub.models.loading import find_annotation, load_target
    from securitynet_hub.weights.fetch import cache_folder
    from securitynet_hub.zoo.shadows import trainer

    ids = list(load_annotations(ZOO)) if options.id == ZOO else [options.id]
    attacks = find_names(options.attacks)
    settings = _settings(options.setting)
    chosen = {
        name: getattr(options, name)
        for name in ("class_wise", "slices", "max_queries", "views", "samples", "budgets", "inputs")
        if getattr(options, name) is not None
    }
    chosen |= {"views": tuple(chosen["views"]), "shadows": options.shadows or None}
    own_options = split_options(chosen)
    # Load everything before the first record is written: a damaged file is found out first.
    data = [
        known_data(find_annotation(id)) if options.data is None else find_data(options.data) for id in ids
    ]
    targets = [load_target(id) for id in ids]
    audited: list[tuple[Annotation, list[Record]]] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("auditing", total=len(targets) * (1 + options.shadows))
        for target, known in zip(targets, data, strict=True):
            progress.update(task, description=escape(target.id))
            records = audit(
                target,
                attacks=attacks,
                data=known,
                settings=settings,
                keep=cache_folder() / "stealing" / target.id,
                out=options.out,
                trainer=trainer(cache_folder() / "shadows", on_model=lambda _: progress.advance(task)),
                **chosen,
            )
            audited.append((target.annotation, records))
            progress.advance(task)
    if options.json:
        _print_json([record.as_dict() for _, records in audited for record in records])
        return
    console = _console()

    for kind in kinds().values():
        own = [(row, [r for r in records if r.attack["kind"] == kind.name]) for row, records in audited]
        if any(found for _, found in own):
            for table in kind.present.tables(own, console.width):
                console.print(table)
    for kind in kinds().values():
        for target, known in zip(targets, data, strict=True) if kind.group in attacks else ():
            for name, reason in kind.audits.left_out(target, known, own_options[kind.name]).items():
                console.print(f"{escape(target.id)}: {name} was not run: {reason}.")
    if options.out:
        count = sum(len(records) for _, records in audited)
        console.print(f"{count} records written below {escape(str(options.out))}/")


def verify_files(options: argparse.Namespace) -> None:
    """Judge weights files: exit 0 only if all are safe to load and whole. No code of theirs is run."""
    from securitynet_hub.core.files import max_bytes
    from securitynet_hub.weights.reading.checkpoints import judge

    limit = max_bytes()
    verdicts = [(path, judge(path, max_bytes=limit)) for path in options.files]
    if options.json:
        _print_json([{"file": str(path), **verdict._asdict()} for path, verdict in verdicts])
    else:
        safe = sum(verdict.safe for _, verdict in verdicts)
        table = plain_table(
            f"{safe} of {len(verdicts)} files are safe and whole",
            caption="Refused files were not loaded." if safe < len(verdicts) else "",
        )
        table.add_column("file", overflow="fold")
        table.add_column("verdict")
        table.add_column("format")
        for heading in ("tensors", "parameters", "bytes"):
            table.add_column(heading, justify="right")
        table.add_column("why", overflow="fold")
        for path, verdict in verdicts:
            table.add_row(
                printable_markup(path),
                "[green]safe[/green]" if verdict.safe else "[red]refused[/red]",
                verdict.format,
                *(f"{count:,}" if verdict.safe else "-" for count in (verdict.tensors, verdict.parameters)),
                f"{verdict.bytes:,}",
                printable_markup(verdict.reason or "-"),
            )
        _console().print(table)
    if not all(verdict.safe for _, verdict in verdicts):
        raise SystemExit(FAILURE)


def _filtered(every: list[Annotation], options: argparse.Namespace) -> list[Annotation]:
    rows = every
    for name in ("dataset", "source", "purpose"):
        wanted = getattr(options, name)
        if wanted is not None:
            known = {_folded(getattr(row, name)): getattr(row, name) for row in every}
            if _folded(wanted) not in known:
                raise UnknownNameError(name, wanted, known.values())
            rows = [row for row in rows if _folded(getattr(row, name)) == _folded(wanted)]
    for flag in options.flag:
        if flag not in FLAGS:
            raise UnknownNameError("flag", flag, FLAGS)
        rows = [row for row in rows if flag in row.flags]
    return rows


def _folded(name: str) -> str:
    """Return a name's letters and digits alone: CIFAR-10, cifar10 and cifar_10 are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _console() -> Console:
    """Print for a terminal as wide as it is, and for a pipe or a log wide enough for a table."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, allow_nan=False))


def _fail(message: str, status: int) -> None:
    shown = printable_markup(message, lines=True)
    Console(stderr=True, highlight=False).print(f"[bold red]securitynet:[/bold red] {shown}")
    raise SystemExit(status)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 and above; got {text!r}")
    return int(text)


def _settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of ATTACK.NAME=VALUE, the value JSON or else a word."""
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        attack, dot, name = place.partition(".")
        if not (equals and dot and attack and name and value):
            raise ValueError(f"a setting must be ATTACK.NAME=VALUE, such as rmia.gamma=1.0; got {text!r}.")
        try:
            settings.setdefault(attack, {})[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[attack][name] = value
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="securitynet",
        description="Audit public image classifiers, with intervals beside every rate.",
    )
    version = metadata.version("securitynet-hub")
    parser.add_argument("--version", action="version", version=f"securitynet-hub {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="list annotated models", description=list_models.__doc__)
    listing.add_argument(
        "--config", choices=("models", "extended", ZOO), default="models", help="which models"
    )
    for name in ("dataset", "source", "purpose"):
        listing.add_argument(f"--{name}", help=f"only models of this {name}")
    listing.add_argument("--flag", action="append", default=[], metavar="FLAG",
                         help="only models with this flag; may be repeated")  # fmt: skip
    listing.set_defaults(run=list_models)

    showing = commands.add_parser("show", help="show one model", description=show_model.__doc__)
    showing.add_argument("id", help="source/dataset/name[/seed], as `securitynet list` prints it")
    showing.set_defaults(run=show_model)

    auditing = commands.add_parser("audit", help="audit a model", description=audit_models.__doc__)
    auditing.add_argument("id", help="a model's id, or 'zoo' for every model of the embedded zoo")
    auditing.add_argument("--attacks", nargs="+", metavar="ATTACK", default=list(PAPER_ATTACKS),
                          help="names of attacks; 'all' membership attacks that need no further queries; "
                          "model_stealing; backdoor-detection (default: %(default)s)")  # fmt: skip
    auditing.add_argument("--data", metavar="REFERENCE",
                          help="images of models that are not of the zoo: a folder with train/CLASS/* and "
                          "test/CLASS/*, or a data set of the Hub; "
                          "?limit=1000&size=32&channels=3&members=train... may follow")  # fmt: skip
    auditing.add_argument("--setting", action="append", default=[], metavar="ATTACK.NAME=VALUE",
                          help="set something of one attack, such as rmia.gamma=1.0, rmia.a=tuned or "
                          "boundary.budget=200; may be repeated")  # fmt: skip
    auditing.add_argument("--class-wise", action="store_true",
                          help="judge by one threshold for each class (metric-based attacks)")  # fmt: skip
    auditing.add_argument("--slices", action="store_true", help="measure within each class, too")
    auditing.add_argument("--max-queries", type=_count, metavar="N",
                          help="most images that one label-only attack may forward (default: a "
                          "million)")  # fmt: skip
    auditing.add_argument("--budgets", nargs="+", type=_count, metavar="N", default=[100, 500],
                          help="of model_stealing: images to ask about (default: %(default)s)")  # fmt: skip
    auditing.add_argument("--inputs", type=Path, metavar="DIR",
                          help="of backdoor-detection: folder of pictures that may carry a trigger; folders "
                          "'clean' and 'poisoned' in it say which do. Of zoo models with a known trigger "
                          "pictures are stamped with it otherwise")  # fmt: skip
    auditing.add_argument("--shadows", type=_count, default=0, metavar="N",
                          help="train N shadow models for the attacks that compare with some (zoo models of "
                          "250 to 1,000 members); they are kept for the next time")  # fmt: skip
    auditing.add_argument("--views", nargs="+", metavar="VIEW", default=["identity"],
                          help="views of an image that LiRA and RMIA ask about: identity first, then mirror, "
                          "shift_up, shift_down, shift_left, shift_right")  # fmt: skip
    auditing.add_argument("--samples", type=Path, metavar="DIR",
                          help="folder for all scores and pictures of the most exposed members")  # fmt: skip
    auditing.add_argument("--out", type=Path, metavar="DIR", help="folder for the records")
    auditing.set_defaults(run=audit_models)

    verifying = commands.add_parser("verify", help="judge weights files", description=verify_files.__doc__)
    verifying.add_argument("files", nargs="+", type=Path, metavar="FILE",
                           help="safetensors or what torch.save wrote: .pt, .pth, .ckpt, .bin")  # fmt: skip
    verifying.set_defaults(run=verify_files)

    add_sweep(commands)
    add_reports(commands)
    for command in (listing, showing, auditing, verifying):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_sharing(commands)
    return parser
