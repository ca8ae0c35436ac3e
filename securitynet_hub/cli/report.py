"""``securitynet report``: one HTML page of records."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json

ORDER = 70


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("report", help="write an HTML report of records", description=run.__doc__)
    parser.add_argument(
        "records",
        nargs="+",
        type=Path,
        metavar="RECORDS",
        help="records or folders of them, from `securitynet audit --out`",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page; replaces an older one (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        action="append",
        type=Path,
        metavar="DIR",
        help="folder from `securitynet audit --samples`, for ROC curves and pictures; may be repeated, one "
        "for each audit (default: the folders `samples` in RECORDS)",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder for each figure as SVG, PNG and CSV")
    parser.add_argument(
        "--details",
        type=int,
        default=12,
        metavar="N",
        help="number of models to show in full, those with the worst results (default: %(default)s)",
    )
    parser.add_argument("--title", help="heading of the page (default: what was audited)")
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write one self-contained HTML page: findings, validity, figures with intervals, plots."""
    from securitynet_hub.records.entries import read_entries

    beside = [place / "samples" for place in options.records if (place / "samples").is_dir()]
    entries = read_entries(options.records)
    from securitynet_hub.reports.page import write_report  # after what can be refused: it takes seconds

    out = write_report(
        entries,
        options.out,
        samples=options.samples or beside,
        data=options.data,
        details=options.details,
        title=options.title,
    )
    if options.json:
        print_json({"report": str(out.resolve()), "records": len(entries)})
    else:
        print(f"report: {out.resolve()}")
