"""The commands ``securitynet report`` and ``securitynet study``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add both commands to the parser's."""
    reporting = commands.add_parser(
        "report", help="write an HTML report of records", description=report_records.__doc__
    )
    reporting.add_argument("records", nargs="+", type=Path, metavar="RECORDS",
                           help="records or folders of them, from `securitynet audit --out`")  # fmt: skip
    reporting.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE",
                           help="the page; replaces an older one (default: %(default)s)")  # fmt: skip
    reporting.add_argument("--samples", type=Path, metavar="DIR",
                           help="from `securitynet audit --samples`: for ROC curves, pictures (default: a "
                           "folder `samples` in RECORDS, if there is one)")  # fmt: skip
    reporting.add_argument("--data", type=Path, metavar="DIR",
                           help="folder for each figure as SVG, PNG and CSV")  # fmt: skip
    reporting.add_argument("--details", type=int, default=12, metavar="N",
                           help="number of models to show in full, those with the worst results (default: "
                           "%(default)s)")  # fmt: skip
    reporting.add_argument("--title", default="SecurityNet Hub: report", help="heading of the page")
    reporting.set_defaults(run=report_records)

    studying = commands.add_parser(
        "study", help="derive SecurityNet's findings again", description=study_models.__doc__
    )
    studying.add_argument("--records", nargs="+", type=Path, default=[], metavar="RECORDS",
                          help="records of further models, which extend the study")  # fmt: skip
    studying.add_argument("--out", type=Path, metavar="DIR",
                          help="folder for study.md, study.html, study.csv and figures")  # fmt: skip
    studying.set_defaults(run=study_models)


def report_records(options: argparse.Namespace) -> None:
    """Write one self-contained HTML page: verdicts, figures with intervals, place among the public models."""
    from securitynet_hub.records.entries import read_entries
    from securitynet_hub.report.page import write_report

    beside = (place / "samples" for place in options.records if (place / "samples").is_dir())
    out = write_report(
        read_entries(options.records),
        options.out,
        samples=options.samples or next(beside, None),
        data=options.data,
        details=options.details,
        title=options.title,
    )
    print(f"report: {out.resolve()}")


def study_models(options: argparse.Namespace) -> None:
    """Derive SecurityNet's findings again from its annotations, and from records where some are given."""
    from securitynet_hub.records.entries import read_entries
    from securitynet_hub.report.frames import record_frame
    from securitynet_hub.report.study import write_study
    from securitynet_hub.study.securitynet import derive_findings

    records = [entry.record for entry in read_entries(options.records)]
    findings = write_study(options.out, records) if options.out else derive_findings(record_frame(records))
    width = max(len(finding.title) for finding in findings)
    for finding in findings:
        print(f"{finding.title:<{width}}  {finding.verdict:<18}  {finding.reason}")
    if options.out:
        print(f"study: {(options.out / 'study.html').resolve()}")
