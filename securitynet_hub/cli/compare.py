"""``securitynet compare``: is one model derived from another one?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import Kind, kinds
from securitynet_hub.cli.audit import known_models
from securitynet_hub.cli.console import errors, output
from securitynet_hub.cli.early import refuse_early
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.kind_flags import add_kind_flags, kind_options
from securitynet_hub.cli.own_flags import add_own_flags, own_options
from securitynet_hub.cli.parsing import add_author_flag, completes, settings
from securitynet_hub.cli.progress import reading_bars
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from securitynet_hub.attacks.subject import AuditData
    from securitynet_hub.records.record import Record

ORDER = 45


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "compare", help="tell whether a model is derived from another one", description=run.__doc__
    )
    for name, words in (
        ("reference", "the model that may have been copied"),
        ("suspect", "the model that may be a copy"),
    ):
        model = parser.add_argument(
            name, metavar=name.upper(), help=f"{words}, named as `securitynet audit` takes it"
        )
        completes(model, known_models)
    parser.add_argument(
        "--data",
        metavar="REFERENCE",
        help="images, as `securitynet audit` takes them; those that neither model was trained on are asked "
        "about "
        "(default for a suspect of the zoo: its own)",
    )
    parser.add_argument(
        "--setting", action="append", default=[], metavar="SIGN.NAME=VALUE",
        help="setting of one sign, such as adversarial_overlap.examples=200; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides which images are drawn (default: 0)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the records")
    add_author_flag(parser)
    add_json_flag(parser)
    add_kind_flags(parser, "compare")
    add_own_flags(parser, shadows=False)
    parser.set_defaults(run=run)


def comparing() -> list[Kind]:
    """Return the kinds of attack that compare two models."""
    return [kind for kind in kinds().values() if kind.compares]


def run(options: argparse.Namespace) -> None:
    """Compare a suspect with a reference, and print how likely an independent model is as similar, and a
    verdict.

    Flags of a model of your own say how the suspect is loaded; a reference file:WEIGHTS fills its network.
    Which of two models reveals more of its training images is another question: audit both, and report both.
    """
    chosen, own_settings = kind_options(options, "compare"), settings(options.setting)
    refuse_early(data=options.data, settings=own_settings, options=chosen, seed=options.seed)
    from securitynet_hub.attacks.audit import audit, require_possible
    from securitynet_hub.models.loading import load_target

    groups = [kind.group for kind in comparing()]
    named = {kind.compares: options.reference for kind in comparing() if kind.compares}
    require_possible(groups, own_settings, out=options.out, **chosen, **named)
    data: AuditData | None = None
    if options.data is not None:
        from securitynet_hub.attacks.subject import find_data

        with reading_bars() as show:
            data = find_data(options.data, on_progress=show)
    suspect = load_target(options.suspect, **own_options(options))
    written: list[Record] = []

    def count(record: Record) -> None:
        written.append(record)
        options.interruption = interruption(options.out, len(written))

    options.interruption = interruption(options.out, 0)
    records = audit(
        suspect,
        attacks=groups,
        data=data,
        settings=own_settings,
        seed=options.seed,
        out=options.out,
        resume=True,
        on_record=count,
        on_skipped=lambda name, error: errors().print(
            f"{name} was not looked for: {printable_markup(str(error))}"
        ),
        **chosen,
        **named,
    )
    if options.json:
        print_json([record.as_dict() for record in records])
        return
    for kind in comparing():
        found = [record for record in records if record.attack["kind"] == kind.name]
        for table in kind.present.tables([(suspect.annotation, found)], output().width):
            output().print(table)
    if options.out:
        below = f"below {printable_markup(str(options.out))}/"
        if earlier := len(records) - len(written):
            output().print(f"{_records(earlier)} of an earlier comparison found {below}, not measured again")
        if written or not earlier:
            output().print(f"{_records(len(written))} written {below}")


def _records(count: int) -> str:
    return f"{count} record{'' if count == 1 else 's'}"


def interruption(out: Path | None, written: int) -> str:
    """Say what is left of an interrupted comparison, and how to go on.

    >>> interruption(None, 2)
    'Interrupted; without --out nothing is kept, and the same command begins anew.'
    >>> interruption(Path("records"), 1)
    'Interrupted; 1 sign is recorded below records/. The same command takes it from there and measures the \
rest.'
    """
    if out is None:
        return "Interrupted; without --out nothing is kept, and the same command begins anew."
    if not written:
        return "Interrupted before the first sign was recorded; the same command begins anew."
    signs, them = ("1 sign is", "it") if written == 1 else (f"{written} signs are", "them")
    return (
        f"Interrupted; {signs} recorded below {out}/. The same command takes {them} from there and measures "
        "the rest."
    )
