"""``securitynet explore``: a page to sift the annotated models and results with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.leaderboard import Results, read_results
from securitynet_hub.cli.signers_flag import add_signers_flag

ORDER = 115


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "explore", help="write a page to sift models and results with", description=run.__doc__
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--repo", metavar="OWNER/NAME", help="dataset repository with results to show")
    source.add_argument("--records", type=Path, metavar="DIR", help="folder with records to show")
    add_signers_flag(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("explorer.html"),
        metavar="FILE",
        help="the page; replaces an older one (default: %(default)s)",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write one page with every annotated model: table, scatter plots, leaderboards. It needs no network."""
    import webbrowser

    from securitynet_hub.pages.page import write_page
    from securitynet_hub.sharing.explorer.page import explorer_page

    folders = [options.records] if options.records else []
    known = (
        read_results(options.repo, folders, options.signers)
        if options.repo or folders
        else Results([], {}, {})
    )
    records = known.records
    out = write_page(options.out, explorer_page(records, signers=known.signers))
    if options.json:
        print_json({"explorer": str(out.resolve()), "records": len(records)})
    else:
        print(f"{out}: open it in a browser" if not options.open else str(out))
    if options.open:
        webbrowser.open(out.resolve().as_uri())
