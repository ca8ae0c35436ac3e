"""``securitynet study``: SecurityNet's findings, derived again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json

ORDER = 80


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("study", help="derive SecurityNet's findings again", description=run.__doc__)
    parser.add_argument(
        "--records",
        nargs="+",
        type=Path,
        default=[],
        metavar="RECORDS",
        help="records of further models, which extend the study",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for study.md, study.html, study.csv and figures"
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Derive SecurityNet's findings again from its annotations, and from records where some are given."""
    from securitynet_hub.records.entries import read_entries
    from securitynet_hub.reports.frames import record_frame
    from securitynet_hub.reports.study import write_study
    from securitynet_hub.study.securitynet import derive_findings

    records = [entry.record for entry in read_entries(options.records)]
    findings = write_study(options.out, records) if options.out else derive_findings(record_frame(records))
    if options.json:
        print_json(
            [
                {"name": each.name, "title": each.title, "verdict": each.verdict, "reason": each.reason}
                for each in findings
            ]
        )
        return
    width = max(len(finding.title) for finding in findings)
    for finding in findings:
        print(f"{finding.title:<{width}}  {finding.verdict:<18}  {finding.reason}")
    if options.out:
        print(f"study: {(options.out / 'study.html').resolve()}")
