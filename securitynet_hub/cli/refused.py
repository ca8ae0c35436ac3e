"""Print which results fail validation, and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securitynet_hub.sharing.fetching import Refused

SHOWN = 20
"""Refused results that are printed before the rest is only counted."""


def print_refused(refused: list[Refused]) -> None:
    """Print the first refused results on standard error, and how many more there are."""
    for place, reason in refused[:SHOWN]:
        print(f"left out: {place}: {reason}", file=sys.stderr)
    if len(refused) > SHOWN:
        print(f"left out: {len(refused) - SHOWN} more", file=sys.stderr)
