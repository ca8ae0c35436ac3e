"""``securitynet bom``: records as a CycloneDX bill of materials."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ORDER = 75


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "bom", help="write a bill of materials (CycloneDX) of records", description=run.__doc__
    )
    parser.add_argument(
        "records",
        nargs="+",
        type=Path,
        metavar="RECORDS",
        help="records or folders of them, from `securitynet audit --out`",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write instead of printing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write models, data sets and figures with their intervals as a bill of materials, CycloneDX 1.7 JSON."""
    from securitynet_hub.core.errors import RecordError
    from securitynet_hub.core.files import atomic_path
    from securitynet_hub.records.entries import read_entries

    read = read_entries(options.records)
    # After what can be refused: these take seconds.
    from securitynet_hub.cli.refused import print_refused
    from securitynet_hub.sharing.bom import bill_of_materials
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.validation import problems

    entries, refused = [], []
    for entry in read:
        if wrong := problems(entry.record):
            refused.append(Refused(str(entry.path), "; ".join(wrong)))
        else:
            entries.append(entry)
    print_refused(refused)
    if not entries:
        raise RecordError("there is no record to write a bill of materials of.")
    text = json.dumps(bill_of_materials(entries), indent=1) + "\n"
    if options.out is None:
        print(text, end="")
        return
    try:
        with atomic_path(options.out) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {options.out}: {error.strerror or error}.") from error
    print(f"bill of materials: {options.out.resolve()}")
