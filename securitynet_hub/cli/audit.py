"""``securitynet audit``: attack one model, or the whole embedded zoo."""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.annotations.schema import Annotation, ZooAnnotation, load_annotations
from securitynet_hub.attacks.kind import kinds, split_options
from securitynet_hub.attacks.listing import default_attacks, known_names, listed_attacks
from securitynet_hub.cli.console import errors, output, step
from securitynet_hub.cli.early import refuse_early
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.kind_flags import add_kind_flags, kind_options
from securitynet_hub.cli.own_flags import add_own_flags, own_options
from securitynet_hub.cli.parsing import (
    ZOO,
    Several,
    add_author_flag,
    add_engine_flag,
    add_profile_flag,
    completes,
    in_flags,
    settings,
)
from securitynet_hub.cli.progress import StepLines, progress_bars, reading_bars
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.core.printing import PlainConsole
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from securitynet_hub.attacks.membership.member_lists import NamedMembers
    from securitynet_hub.attacks.subject import AuditData
    from securitynet_hub.attacks.validity import Check
    from securitynet_hub.engine.training import Recipe
    from securitynet_hub.models.target import Target
    from securitynet_hub.records.record import Record

ORDER = 40

INTERRUPTION = (
    "Interrupted; without --out no record was written. Reference models, surrogates and finished units of "
    "attacks on robustness are kept: the same command goes on from there."
)
"""Said of an interrupted audit whose records go nowhere."""

INCOMPLETE = 1
"""Exit status where an attack that was asked for could not run, and others did."""

DEFAULT_NOTE = (
    "Attacks that need only answers and labels, which share one forward pass: {}. "
    "`securitynet attacks` lists the others; --attacks all runs those that apply."
)

Subjects = list[tuple["Target", "AuditData"]]
"""The models to audit, each with its images."""

Skipped = list[tuple[str, str, Exception]]
"""Attacks that could not run: the model's id, the attack's name, and why."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("audit", help="audit a model", description=run.__doc__)
    model = parser.add_argument(
        "id",
        help="a model's id; 'zoo' for every model of the embedded zoo; or one of your own: file:WEIGHTS, "
        "module:MODULE:FACTORY, onnx:FILE or :hf://OWNER/NAME/FILE, transformers:FOLDER or :REPOSITORY, "
        "timm:NAME (docs/models.md)",
    )
    completes(model, known_models)
    groups = ", ".join(kind.group for kind in kinds().values())
    names = parser.add_argument(
        "--attacks",
        action=Several,
        metavar="ATTACK",
        default=None,
        help="names from `securitynet attacks`; one of a group stands for all its attacks that apply: "
        f"{groups} (default: the attacks that need only answers and labels, and share one forward pass: "
        f"{' '.join(default_attacks())})",
    )
    completes(names, known_names)
    parser.add_argument(
        "--data",
        metavar="REFERENCE",
        help="images, for models outside the zoo: a folder with train/CLASS/* and test/CLASS/*, or a data "
        "set of the Hub; ?limit=1000&members=train&nonmembers=val&channels=1&label=fine... may follow "
        "(docs/data.md)",
    )
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="ATTACK.NAME=VALUE",
        help="setting of one attack, such as rmia.gamma=1.0, rmia.a=tuned or boundary.budget=200; may be "
        "repeated",
    )
    parser.add_argument(
        "--expected-accuracy",
        type=float,
        metavar="SHARE",
        help="accuracy that the model should have on images that it was not trained on, such as 0.93; the "
        "measured one is compared with it before any attack (default: the published one, if any)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="decides what attacks draw: another one shows how much a figure rests on that (default: 0)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the records")
    add_engine_flag(parser)
    add_profile_flag(parser)
    add_author_flag(parser)
    add_json_flag(parser)
    add_kind_flags(parser, "audit")
    add_own_flags(parser)
    parser.set_defaults(run=run)


def known_models() -> list[str]:
    """List the ids of the tables, and the name of the embedded zoo."""
    return [ZOO, *load_annotations(ZOO), *load_annotations("extended")]


def run(options: argparse.Namespace) -> None:
    """Audit one model, or the whole embedded zoo, and print a table of the figures."""
    own_settings, chosen = settings(options.setting), kind_options(options, "audit")
    refuse_early(
        model=None if options.id == ZOO else options.id,
        attacks=options.attacks,
        data=options.data,
        settings=own_settings,
        options=chosen,
        seed=options.seed,
        expected_accuracy=options.expected_accuracy,
    )
    from securitynet_hub.attacks.audit import find_idle, require_possible
    from securitynet_hub.engine.processes import find_place

    if options.out is None:
        options.interruption = INTERRUPTION
    # Before a model is fetched or an image read.
    require_possible(options.attacks, own_settings, out=options.out, **chosen)
    for name, idle in find_idle(options.attacks, chosen).items():
        setattr(options, name, None)
        errors().print(f"[yellow]note:[/yellow] {printable_markup(in_flags(idle, [name]))}")
    recipe = _recipe(options)
    if options.attacks is None and find_place().is_main:
        errors().print(DEFAULT_NOTE.format(", ".join(default_attacks())))
    subjects = _load(options)
    skipped: Skipped = []
    lists: list[NamedMembers] = []
    try:
        records = _audit(options, subjects, skipped, lists, recipe)
    except ValueError:  # nothing could run: the first reason is the error, and these are the others
        for name, told in dict.fromkeys((name, str(error)) for _, name, error in skipped[1:]):
            reason = printable_markup(in_flags(told, vars(options)), lines=True)
            errors().print(f"{name} was not run: {reason}")
        raise
    if not find_place().is_main:  # of processes that share the work, one writes and prints
        return
    if options.json:
        print_json([record.as_dict() for found in records for record in found])
    else:
        _print_tables(subjects, records)
        _print_lists(lists)
        _print_left_out(options, subjects, records, skipped)
        if options.out:
            _print_written(options.out, [record for found in records for record in found])
            _print_earlier(options.out, records)
    if skipped:
        _print_skipped(skipped, vars(options))
        raise SystemExit(INCOMPLETE)


def _print_written(folder: Path, records: Sequence[Record]) -> None:
    """Say how many records lie below a folder, and how many pictures beside them."""
    one = len(records) == 1
    count = sum(
        len(list((folder / str(record.target["id"])).glob(f"*{record.id}*.png"))) for record in records
    )
    pictures = (
        f", {count} picture{'s' if count > 1 else ''} beside {'it' if one else 'them'}" if count else ""
    )
    said = f"{len(records)} record{'' if one else 's'} written below {printable_markup(str(folder))}/"
    output().print(said + pictures)


def _print_earlier(folder: Path, records: list[list[Record]]) -> None:
    """Say where other records of the same models lie: the verdict above does not count them."""
    units = {record.id for found in records for record in found}
    models = {str(record.target["id"]) for found in records for record in found}
    earlier = {path for id in models for path in (folder / id).glob("*.json")}
    if any(not any(id in path.name for id in units) for path in earlier):
        whose = "models" if len(models) > 1 else "model"
        command = f"`securitynet report {printable_markup(str(folder))}`"
        output().print(
            f"Earlier records of the same {whose} are there, too: {command} shows all, and of those with "
            "the same settings the newest."
        )


def _load(options: argparse.Namespace) -> Subjects:
    """Load every model and its images, so that a damaged file is found before the first record."""
    from securitynet_hub.models.loading import find_annotation, load_target

    ids = list(load_annotations(ZOO)) if options.id == ZOO else [options.id]
    loading = own_options(options)
    if options.data is None:
        data = [_known_data(find_annotation(id, **loading)) for id in ids]
    else:
        for id in ids:
            find_annotation(id, **loading)  # a wrong id is told before the images are read
        data = [_read_data(options.data)] * len(ids)
    targets = [load_target(id, **loading) for id in ids]
    return [(target, known.matched_to(target)) for target, known in zip(targets, data, strict=True)]


def _read_data(reference: str) -> AuditData:
    from securitynet_hub.attacks.subject import find_data

    with reading_bars() as show:
        return find_data(reference, on_progress=show)


def _known_data(annotation: Annotation) -> AuditData:
    from securitynet_hub.attacks.subject import known_data

    if not isinstance(annotation, ZooAnnotation):
        raise ValueError(
            f"which images {annotation.id} was trained on is not known here: name some with --data, such as "
            "--data uoft-cs/cifar10, or a folder with train/CLASS/* and test/CLASS/*."
        )
    return known_data(annotation)


def _recipe(options: argparse.Namespace) -> Recipe | None:
    """Return how the shadow models of an own network are trained."""
    if options.recipe is None:
        if options.shadows and options.id != ZOO and not options.id.startswith(f"{ZOO}/"):
            raise ValueError(
                f"how {options.id} was trained is not known here: say it with --recipe FILE, a TOML "
                "file with a line such as epochs = 20 (docs/models.md)."
            )
        return None
    from securitynet_hub.attacks.membership.own_shadows import as_recipe
    from securitynet_hub.models.own_targets import read_toml

    if options.shadows is None:
        raise ValueError("--recipe says how shadow models are trained: say how many with --shadows N.")
    return as_recipe(read_toml(options.recipe))


def _audit(
    options: argparse.Namespace,
    subjects: Subjects,
    skipped: Skipped,
    lists: list[NamedMembers],
    recipe: Recipe | None,
) -> list[list[Record]]:
    """Return the records of each model; note which attacks could not run, and what they name as members."""
    from securitynet_hub.attacks.audit import audit
    from securitynet_hub.attacks.membership.own_shadows import own_trainer
    from securitynet_hub.engine.processes import find_place
    from securitynet_hub.weights.fetch import cache_folder
    from securitynet_hub.zoo.shadows import trainer

    own_settings, chosen = settings(options.setting), kind_options(options, "audit")
    records: list[list[Record]] = []
    failures: list[ValueError] = []
    prints = find_place().is_main
    with progress_bars(disable=not prints) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # `_print_check` says the same
        several = len(subjects) > 1
        task = progress.add_task("auditing", total=len(subjects) if several else _count(options.attacks))
        images = progress.add_task("images asked about", total=None, visible=False)
        of_zoo = trainer(cache_folder() / "shadows")

        def train(target: Target, count: int, **asked: Any) -> Any:
            if recipe is None:
                return of_zoo(target, count, **asked)
            return own_trainer(data, recipe, cache_folder() / "shadows" / target.id)(target, count, **asked)

        def note(id: str, name: str, error: Exception) -> None:
            skipped.append((id, name, error))

        def about() -> str:
            asked = int(progress.tasks[images].completed)
            return running[0] + (f", {asked:,} images asked about" if asked else "")

        running, begun = [""], itertools.count()
        steps = StepLines(progress, about)

        def begin(id: str, name: str = "") -> None:
            running[0] = f"{id} {name}".rstrip()
            steps.restart()
            progress.update(task, description=printable_markup(running[0] if several else name or id))
            if name and not several:
                progress.update(task, completed=next(begun))

        def count(size: int) -> None:
            progress.update(images, advance=size, visible=True)
            steps.say()

        def tell_cost(told: str) -> None:
            told = in_flags(told, vars(options))
            progress.console.print(printable_markup(told, lines=True), highlight=False)

        for target, data in subjects:
            begin(target.id)
            measure = partial(
                audit,
                target,
                attacks=options.attacks,
                data=data,
                settings=own_settings,
                seed=options.seed,
                keep=cache_folder() / "stealing" / target.id,
                out=options.out,
                trainer=train,
                on_attack=partial(begin, target.id),
                on_batch=count,
                on_step=steps,
                on_estimate=tell_cost if prints else lambda told: None,
                expected_accuracy=options.expected_accuracy,
                on_check=partial(_print_check, target.id, quiet=options.json or len(subjects) > 1)
                if prints
                else lambda check: None,
                on_skipped=partial(note, target.id),
                on_list=lists.append,
                on_record=_tell,
                **chosen,
            )
            try:
                records.append(measure())
            except ValueError as error:  # such as of a model that would be compared with itself
                if not several or find_place().of > 1:
                    raise
                records.append([])
                failures.append(error)
                if all(id != target.id for id, _, _ in skipped):
                    skipped.append((target.id, "the audit", error))
            if several:
                progress.advance(task)
    if failures and not any(records):
        raise failures[0]
    return records


def _count(attacks: Sequence[str] | None) -> int | None:
    """Return how many attacks are named; None where a group is: how many of it apply, the model decides."""
    names = set(default_attacks() if attacks is None else attacks)
    return len(names) if names <= {each.name for each in listed_attacks()} else None


def _tell(record: Record) -> None:
    """Say with ``-v`` what was run and how long it took."""
    seconds, images = sum(record.timings.values()), record.counts.get("forwarded", 0)
    step(f"{record.attack['name']} on {record.target['id']}: {seconds:.1f} s, {images:,} images forwarded")


def _print_check(id: str, check: Check, *, quiet: bool) -> None:
    """Print before the attacks whether images, labels and preprocessing are the model's."""
    if check.is_doubtful or check.is_low:
        errors().print(f"[bold red]{printable_markup(f'{id} is {check.sentence()}')}[/bold red]")
    elif not quiet:
        # Not where the figures go: their first line is the verdict.
        errors().print(f"{printable_markup(id)}: {printable_markup(check.sentence())}", highlight=False)


def _print_tables(subjects: Subjects, records: list[list[Record]]) -> None:
    console = output()
    for kind in kinds().values():
        own = [
            (target.annotation, [record for record in found if record.attack["kind"] == kind.name])
            for (target, _), found in zip(subjects, records, strict=True)
        ]
        if any(found for _, found in own):
            for table in kind.present.tables(own, console.width):
                console.print(table)


def _print_lists(lists: list[NamedMembers]) -> None:
    """Print which images the attacks name as members: no record holds them."""
    from securitynet_hub.attacks.membership.present import list_tables

    models = {named.model for named in lists}
    for named in lists:
        if len(models) > 1:
            output().print(printable_markup(named.model))
        for part in list_tables([named]):
            output().print(part)


def _print_left_out(
    options: argparse.Namespace, subjects: Subjects, records: list[list[Record]], skipped: Skipped
) -> None:
    """Print which attacks of a group were not run, and why; models that share a line of it share one."""
    chosen, models = split_options(kind_options(options, "audit")), dict[str, list[str]]()
    tried = {(id, name) for id, name, _ in skipped}
    for kind in kinds().values():
        if kind.group not in (options.attacks or ()):
            continue
        for (target, data), found in zip(subjects, records, strict=True):
            ran = {record.attack["name"] for record in found}
            reasons = {
                name: reason
                for name, reason in kind.audits.left_out(target, data, chosen[kind.name]).items()
                if name not in ran and (target.id, name) not in tried
            }
            for line in left_out_lines(reasons):
                models.setdefault(line, []).append(target.id)
    for line, ids in models.items():
        output().print(f"{printable_markup(_where(ids))}: {printable_markup(line)}", highlight=False)


def _where(ids: Sequence[str]) -> str:
    """Name models in a few words.

    >>> _where(["a"]), _where(["a", "b"])
    ('a', '2 models, such as a')
    """
    return ids[0] if len(ids) == 1 else f"{len(ids)} models, such as {ids[0]}"


def _print_skipped(skipped: Skipped, flags: Collection[str]) -> None:
    """Print after all results what could not run, and why; models that share a reason share a line."""
    models: dict[tuple[str, str], list[str]] = {}
    for id, name, error in skipped:
        models.setdefault((name, in_flags(str(error), flags)), []).append(id)
    console = PlainConsole(stderr=True, highlight=False, emoji=False)  # also with -q: it is an error
    console.print("[bold red]securitynet:[/bold red] not everything that was asked for was run.")
    for (name, reason), ids in models.items():
        told = f"{name} was not run on {_where(ids)}: {reason}"
        console.print(printable_markup(told, lines=True), soft_wrap=True)


def left_out_lines(reasons: Mapping[str, str]) -> list[str]:
    """Write a line for each reason that attacks were left out for.

    >>> left_out_lines({"fgsm": "see worst_case", "square": "it needs scores", "pgd": "see worst_case"})
    ['left out: fgsm, pgd (see worst_case)', 'left out: square (it needs scores)']
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"left out: {', '.join(same)} ({reason})" for reason, same in names.items()]
