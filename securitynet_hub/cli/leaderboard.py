"""``securitynet leaderboard``: rank models by results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.tables import model_cell
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag
from securitynet_hub.cli.refused import print_refused, read_valid
from securitynet_hub.cli.signers_flag import add_signers_flag
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from securitynet_hub.records.record import Record
    from securitynet_hub.sharing.leaderboard import Board

ORDER = 110


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("leaderboard", help="rank models by results", description=run.__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "folders",
        nargs="*",
        default=[],
        type=Path,
        metavar="RECORDS",
        help="folders of records, from `securitynet audit --out`; all of them together are ranked",
    )
    source.add_argument("--repo", metavar="OWNER/NAME", help="dataset repository with results")
    source.add_argument("--records", nargs="+", type=Path, metavar="DIR", help="the same as RECORDS")
    headlines = " or ".join(dict.fromkeys(name for kind in kinds().values() for name in kind.headline))
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="folder that `audit --samples` wrote: models on the same images are compared image by image",
    )
    parser.add_argument(
        "--by",
        metavar="FIGURE",
        help=f"figure to rank by, such as advantage or tpr@0.01 (default, by kind: {headlines})",
    )
    for name in ("dataset", "kind", "attack"):
        parser.add_argument(f"--{name}", help=f"{name} of the results to rank")
    parser.add_argument(
        "--format",
        choices=("table", "markdown", "csv", "html", "json"),
        help="format of the tables (default: table in a terminal, else markdown)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write instead of printing")
    add_signers_flag(parser)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Rank models, the most exposed first; only results that were measured alike are compared."""
    from securitynet_hub.sharing.export import FORMATS
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.leaderboard import leaderboards, unranked

    folders = options.records or options.folders
    records, signers, notes = read_results(options.repo, folders, options.signers)
    choice = {name: getattr(options, name) for name in ("by", "dataset", "kind", "attack")}
    boards = leaderboards(records, **choice, samples=options.samples, signers=signers, notes=notes)
    print_refused([Refused(*each) for each in unranked(records, **choice, notes=notes)])
    if not boards:
        print("there are no results to rank", file=sys.stderr)
    shown = options.out is None and sys.stdout.isatty()
    format = "json" if options.json else options.format or ("table" if shown else "markdown")
    if format == "table":
        if options.out is not None:
            raise ValueError(
                "a table is for a terminal: name --format markdown, csv, html or json for --out."
            )
        _print_tables(boards)
        return
    text = FORMATS[format](boards)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
        print(f"leaderboard: {options.out.resolve()}")


def _print_tables(boards: Sequence[Board]) -> None:
    """Print the boards for a terminal."""
    from securitynet_hub.sharing.export import HEADER, about, cells

    for board in boards:
        table = plain_table(printable_markup(board.title), caption=printable_markup(about(board)))
        for heading in HEADER[:-1]:  # the record's name is for files
            number = heading in ("place", "figure", "interval")
            table.add_column(
                heading, justify="right" if number else "left", no_wrap=number or heading == "model"
            )
        for standing in board.standings:
            place, model, *others, _ = cells(standing)
            table.add_row(place, model_cell(model), *map(printable_markup, others))
        output().print(table)
        output().print()


class Results(NamedTuple):
    """Valid records.

    Attributes:
        signers: who signed them by their ids, of those whom the reader allows.
        notes: what ranking asks of them by their ids, of those in a folder.
    """

    records: list[Record]
    signers: dict[str, set[str]]
    notes: dict[str, str]


def read_results(repo: str | None, folders: Sequence[Path], allowed: Path | None) -> Results:
    """Return the valid records of a repository, or else of folders; one that lies in several counts once.

    Args:
        repo: OWNER/NAME of a data set of the Hub.
        folders: where records lie.
        allowed: file of the signers who count.
    """
    from securitynet_hub.sharing.fetching import fetch_results, record_path, signatures_at
    from securitynet_hub.sharing.repositories import repository
    from securitynet_hub.sharing.signatures import signatures_beside, signers_by_record

    if repo:
        where = repository("dataset", repo)
        fetched = fetch_results(where)
        print_refused(fetched.refused)
        if allowed is None:
            return Results(fetched.records, {}, {})
        signatures = signatures_at(where, fetched.commit)
        return Results(fetched.records, signers_by_record(fetched.records, signatures, allowed), {})
    found: dict[str, Record] = {}
    notes: dict[str, str] = {}
    for folder in folders:
        valid = read_valid(folder)
        for record in valid.records:
            found.setdefault(record.id, record)
        notes |= valid.notes
    records = list(found.values())
    if allowed is None:
        return Results(records, {}, notes)
    signatures = [
        signature
        for record in records
        for folder in folders
        for signature in signatures_beside(record_path(record, folder), record.id)
    ]
    return Results(records, signers_by_record(records, signatures, allowed), notes)
