"""``securitynet power``: what leak an audit could find, and how many samples find a smaller one."""

from __future__ import annotations

import argparse
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json

ORDER = 45


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "power", help="plan an audit: what leak so many samples could find", description=run.__doc__
    )
    parser.add_argument("--members", type=int, required=True, metavar="N", help="number of members")
    parser.add_argument("--nonmembers", type=int, required=True, metavar="N", help="number of non-members")
    parser.add_argument(
        "--fpr",
        type=float,
        nargs="+",
        default=[0.001, 0.01],
        metavar="RATE",
        help="false-positive rates (default: 0.001 0.01)",
    )
    parser.add_argument("--auc", type=float, metavar="AUC", help="AUC to find; 0.55 unless given")
    parser.add_argument(
        "--tpr", type=float, metavar="RATE", help="TPR to find at each --fpr; twice the rate unless given"
    )
    parser.add_argument(
        "--power",
        type=float,
        default=0.8,
        metavar="SHARE",
        help="how often such a leak must be found (default: %(default)s)",
    )
    parser.add_argument(
        "--level", type=float, default=0.95, help="level of the intervals (default: %(default)s)"
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Say what leak of membership an audit of so many samples could find, and how many samples find another.

    A leak is found where the interval of its figure lies above guessing.
    """
    from securitynet_hub.cli.console import output
    from securitynet_hub.core.tables import plain_table
    from securitynet_hub.statistics.power import plan

    found = plan(
        options.members,
        options.nonmembers,
        options.fpr,
        auc=options.auc,
        tpr=options.tpr,
        confidence_level=options.level,
        power=options.power,
    )
    if options.json:
        print_json([figure._asdict() for figure in found])
        return
    table = plain_table(
        f"What {options.members:,} members and {options.nonmembers:,} non-members can find",
        caption=f"Found: in {options.power:.0%} of audits the {options.level:.0%} interval lies above "
        "guessing. Scores of members and of non-members are taken to be normal.",
    )
    for heading in ("figure", "guessing", "smallest leak found", "to find", "takes members", "non-members"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for each in found:
        smallest = "none" if each.smallest is None else each.shown(each.smallest)
        members, nonmembers = map("{:,}".format, each.sizes or ()) if each.sizes else ("-", "-")
        table.add_row(
            each.figure, each.shown(each.guessing), smallest, each.shown(each.wanted), members, nonmembers
        )
    output().print(table)
