"""Print results as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command."""
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def print_json(content: Any) -> None:
    """Print content as JSON; a figure that is no number is an error, never ``NaN``."""
    print(json.dumps(content, indent=1, allow_nan=False))
