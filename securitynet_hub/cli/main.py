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

from rich.box import SIMPLE_HEAD
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
    rows = _filtered(list(load_annotations(options.config).values()), options)
    if options.json:
        _print_json([asdict(row) for row in rows])
        return
    table = _table(
        f"{len(rows)} models in {options.config!r}",
        caption="?: flagged, not to be relied on; `securitynet show ID` says why",
    )
    table.add_column("id", overflow="fold")
    for heading in ("test\naccuracy", "overfit\ngap", "membership\nAUC", "stealing\nagreement"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = ("test_accuracy", "overfit_gap", "mia_modified_entropy_auc", "stealing_agreement")
        table.add_row(escape(row.id), *(_figure(row, name) for name in figures))
    _console().print(table)


def show_model(options: argparse.Namespace) -> None:
    """Print everything known of one model, each flag with its meaning."""
    from securitynet_hub.models.loading import find_annotation

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
            f"corrected {correction.column}: upstream says {escape(repr(correction.upstream))} "
            f"({correction.flag})"
        )


def audit_models(options: argparse.Namespace) -> None:
    """Audit one model, or the whole embedded zoo, and print a table of the figures."""
    from securitynet_hub.attacks.audit import attack_names, audit
    from securitynet_hub.attacks.backdoor.audit import KIND as BACKDOORS
    from securitynet_hub.attacks.backdoor.audit import why_not_run
    from securitynet_hub.attacks.backdoor.examined import read_inputs
    from securitynet_hub.attacks.membership.audit import KIND as MEMBERSHIP
    from securitynet_hub.attacks.membership.audit import MAX_QUERIES
    from securitynet_hub.attacks.membership.running import runnable
    from securitynet_hub.attacks.stealing.audit import KIND as STEALING
    from securitynet_hub.attacks.subject import find_data, known_data
    from securitynet_hub.data.augmentations import VIEWS
    from securitynet_hub.models.loading import find_annotation, load_target
    from securitynet_hub.weights.fetch import cache_folder
    from securitynet_hub.zoo.shadows import shadow_counts, train_zoo_shadows

    ids = list(load_annotations(ZOO)) if options.id == ZOO else [options.id]
    fewest = [shadow_counts(id, options.shadows) for id in ids] if options.shadows else [(0, 0)]
    attacks = list(dict.fromkeys(options.attacks))
    if "all" in attacks:
        named = [name for name in attacks if name != "all"]
        attacks = list(dict.fromkeys([*runnable(min(fewest)), *named]))
    for name in attacks:
        if name not in attack_names():
            raise UnknownNameError("attack", name, attack_names())
    for name in options.views:
        if name not in VIEWS:
            raise UnknownNameError("view", name, VIEWS)
    settings = _settings(options.setting)
    # Load everything before the first record is written: a damaged file is found out first.
    data = [
        known_data(find_annotation(id)) if options.data is None else find_data(options.data) for id in ids
    ]
    targets = [load_target(id) for id in ids]
    suspected = [
        read_inputs(options.inputs, known.images.pixels.shape[1:]) if options.inputs else None
        for known in data
    ]
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
        for target, known, inputs in zip(targets, data, suspected, strict=True):
            progress.update(task, description=escape(target.id))
            shadows = (
                train_zoo_shadows(
                    target.id,
                    options.shadows,
                    cache_folder() / "shadows" / target.id,
                    views=[VIEWS[name] for name in options.views],
                    on_model=lambda _: progress.advance(task),
                )
                if options.shadows
                else None
            )
            records = audit(
                target,
                attacks=attacks,
                data=known,
                settings=settings,
                class_wise=options.class_wise,
                slices=options.slices,
                shadows=shadows,
                max_queries=MAX_QUERIES if options.max_queries is None else options.max_queries,
                budgets=options.budgets,
                inputs=inputs,
                keep=cache_folder() / "stealing" / target.id,
                out=options.out,
                samples=options.samples,
            )
            audited.append((target.annotation, records))
            progress.advance(task)
    if options.json:
        _print_json([record.as_dict() for _, records in audited for record in records])
        return
    console = _console()

    def of_kind(kind: str) -> list[tuple[Annotation, list[Record]]]:
        return [(row, [r for r in records if r.attack["kind"] == kind]) for row, records in audited]

    inferred, stolen, searched = (of_kind(kind) for kind in (MEMBERSHIP, STEALING, BACKDOORS))
    names = [record.attack["name"] for record in inferred[0][1]]
    fitting = max(1, (console.width - 44) // 18)
    for start in range(0, len(names), fitting):
        console.print(_audit_table(inferred, names, slice(start, start + fitting)))
    if stolen[0][1]:
        console.print(_stealing_table(stolen))
    for judges, table in ((None, _backdoor_table), ("inputs", _inputs_table), ("training", _inputs_table)):
        part = [(row, [r for r in found if r.result.get("judges") == judges]) for row, found in searched]
        if any(found for _, found in part):
            console.print(table(part))
    if BACKDOORS in attacks:
        for target, known, inputs in zip(targets, data, suspected, strict=True):
            for name, reason in why_not_run(target, known, inputs).items():
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
        table = _table(
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
                escape(str(path)),
                "[green]safe[/green]" if verdict.safe else "[red]refused[/red]",
                verdict.format,
                *(f"{count:,}" if verdict.safe else "-" for count in (verdict.tensors, verdict.parameters)),
                f"{verdict.bytes:,}",
                escape(verdict.reason or "-"),
            )
        _console().print(table)
    if not all(verdict.safe for _, verdict in verdicts):
        raise SystemExit(FAILURE)


def _audit_table(audited: list[tuple[Annotation, list[Record]]], attacks: list[str], shown: slice) -> Table:
    level = audited[0][1][0].result["confidence_level"]
    table = _table(
        f"Membership inference: AUC and its {level:.0%} interval",
        caption="0.5: nothing leaks. Red: above 0.5 beyond the interval. Gap: train - test accuracy.",
    )
    table.add_column("model", overflow="fold")
    for heading in ("members/\nothers", "acc.\ngap", *(f"{name}\nAUC" for name in attacks[shown])):
        table.add_column(heading.replace("_", " "), justify="right", no_wrap=True)
    for annotation, records in audited:
        result = records[0].result
        table.add_row(
            escape(annotation.id.removeprefix("zoo/fashion-mnist/")),
            f"{result['n_members']}/{result['n_nonmembers']}",
            _gap(annotation, records[0]),
            *(_auc(record.result) for record in records[shown]),
        )
    return table


def _gap(annotation: Annotation, record: Record) -> str:
    """Return the annotated gap between training and test accuracy, else the one that was measured."""
    counts = record.counts
    if annotation.overfit_gap is not None or "members_right" not in counts:
        return _figure(annotation, "overfit_gap")
    members, others = ((counts[f"{side}_right"], counts[side]) for side in ("members", "nonmembers"))
    return f"{members[0] / members[1] - others[0] / others[1]:.3f}"


def _backdoor_table(audited: list[tuple[Annotation, list[Record]]]) -> Table:
    table = _table(
        "Backdoor detection: which class a trigger would lead to",
        caption="Score: higher = more likely poisoned; of one detector on networks of one kind alone. Clean\n"
        "networks are flagged, too: docs/backdoors.md says how often.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("score", "suspect", "flagged"):
        table.add_column(heading, justify="right")
    for annotation, records in audited:
        for record in records:
            result = record.result
            table.add_row(
                escape(annotation.id.removeprefix("zoo/fashion-mnist/")),
                record.attack["name"],
                "-" if result["score"] is None else f"{result['score']:.2f}",
                "-" if result["suspect"] is None else str(result["suspect"]),
                ", ".join(map(str, result.get("flagged_classes", []))) or "-",
            )
    return table


def _inputs_table(audited: list[tuple[Annotation, list[Record]]]) -> Table:
    inputs = any(record.result["judges"] == "inputs" for _, records in audited for record in records)
    table = _table(
        "Backdoored inputs: which images a detector flags"
        if inputs
        else "Poisoned training images: among those that were told as the target's",
        caption="Flagged: beyond what 5 % of other clean images reach. AUC, and poisoned images that pass,\n"
        "where it is known which are poisoned; 0.5 is chance."
        if inputs
        else "AUC where it is known which are poisoned; 0.5 is chance, far below it the wrong side.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("images", *(("flagged",) if inputs else ()), "AUC", *(("pass",) if inputs else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, cells = record.result, []
            if inputs:
                missed = [
                    a["far"] for a in result.get("acceptance", []) if a["target_frr"] == result["target_frr"]
                ]
                flagged = "-" if result["threshold"] is None else str(result["n_flagged"])
                cells = [flagged, _auc_text(result), f"{missed[0]:.0%}" if missed else "-"]
            table.add_row(
                escape(annotation.id.removeprefix("zoo/fashion-mnist/")),
                record.attack["name"],
                str(record.counts["images"]),
                *(cells or [_auc_text(result)]),
            )
    return table


def _stealing_table(audited: list[tuple[Annotation, list[Record]]]) -> Table:
    level = audited[0][1][0].result["confidence_level"]
    table = _table(
        f"Model stealing: agreement with the target and its {level:.0%} interval",
        caption="Queries: images that the target was asked about. Accuracy: of surrogate and target.",
    )
    table.add_column("model", overflow="fold")
    headings = ("queries", "seed", "agreement", "where the\ntarget errs", "accuracy", "target\naccuracy")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, errors = record.result, record.result["agreement_on_target_errors"]
            low, high = result["agreement_ci"]
            table.add_row(
                escape(annotation.id.removeprefix("zoo/fashion-mnist/")),
                str(record.attack["budget"]),
                str(record.attack["seed"]),
                f"{result['agreement']:.3f} ({low:.3f}-{high:.3f})",
                "-" if errors is None else f"{errors:.3f}",
                f"{result['accuracy']:.3f}",
                f"{result['target_accuracy']:.3f}",
            )
    return table


def _auc(result: dict[str, Any]) -> str:
    text = _auc_text(result)
    return f"[red]{text}[/red]" if result["auc_ci"][0] > 0.5 else text


def _auc_text(result: dict[str, Any]) -> str:
    if "auc" not in result:
        return "-"
    low, high = result["auc_ci"]
    return f"{result['auc']:.3f} ({low:.3f}-{high:.3f})".replace("(0.", "(.").replace("-0.", "-.")


def _figure(row: Annotation, column: str) -> str:
    value = getattr(row, column)
    return "-" if value is None else f"{value:.3f}{'' if row.trusted(column) is not None else '?'}"


def _table(title: str, caption: str) -> Table:
    left = {"title_justify": "left", "caption_justify": "left"}
    shape = {"box": SIMPLE_HEAD, "padding": 0, "show_edge": False}
    return Table(title=title, caption=caption, **shape, **left)  # type: ignore[arg-type]


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
    Console(stderr=True, highlight=False).print(f"[bold red]securitynet:[/bold red] {escape(message)}")
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
