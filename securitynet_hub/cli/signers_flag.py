"""The flag that says whose signatures count."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_signers_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--signers``."""
    parser.add_argument(
        "--signers",
        type=Path,
        metavar="FILE",
        help="whose signatures count, one line NAME KEYTYPE KEY each, as ssh-keygen's allowed signers; "
        "without it no record counts as signed",
    )
