"""``securitynet check-links``: whether the annotated models' weights are still where their links say."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.parsing import count

ORDER = 25


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "check-links", help="ask whether the annotated weights are still there", description=run.__doc__
    )
    parser.add_argument(
        "--sample",
        type=count,
        metavar="N",
        help="links to ask about, the next ones of a random order (default: all)",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="between two requests to one host (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("links.tsv"),
        metavar="FILE",
        help="table of the answers with their dates; what is in it is not asked again (default: %(default)s)",
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Ask the servers of the annotated models' weights for headers alone, slowly, and keep what they answer.

    A run that was stopped is gone on with. Exit status 0, whatever is found.
    """
    from securitynet_hub.annotations.schema import load_annotations
    from securitynet_hub.importer.links import check_links, links_of

    if options.pause < 0:
        raise ValueError(f"--pause should be at least 0 seconds; got {options.pause}.")
    found = check_links(
        options.out,
        options.sample,
        pause=options.pause,
        on_link=lambda link: None if options.json else print(f"{link.status:8} {link.url}", flush=True),
    )
    if options.json:
        print_json([asdict(link) for link in found.values()])
        return
    counts = Counter(link.status for link in found.values())
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "none checked"
    total = len(links_of(load_annotations("extended").values()))
    print(f"{len(found)} of {total} links in {options.out}: {told}")
