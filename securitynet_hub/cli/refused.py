"""Results that fail validation: leave them out, and print which they are and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securitynet_hub.records.record import Record
    from securitynet_hub.sharing.fetching import Refused

SHOWN = 20
"""Refused results that are printed before the rest is only counted."""


def print_refused(refused: list[Refused]) -> None:
    """Print the first refused results on standard error, and how many more there are."""
    for place, reason in refused[:SHOWN]:
        print(f"left out: {place}: {reason}", file=sys.stderr)
    if len(refused) > SHOWN:
        print(f"left out: {len(refused) - SHOWN} more", file=sys.stderr)


def read_valid(folder: Path) -> list[Record]:
    """Read the valid records below a folder; print which files are damaged and which records not valid."""
    from functools import partial

    from securitynet_hub.core.memory import without_collection
    from securitynet_hub.core.text import printable
    from securitynet_hub.records.index import read_folder
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.validation import problems, rules_identity

    damaged: list[Refused] = []
    found = read_folder(
        folder,
        on_damaged=lambda path, error: damaged.append(Refused(str(path), printable(error))),
        judge=partial(problems, read=True),
        judged_by=rules_identity(),
    )
    with without_collection():
        judged = [(each.record, each.wrong) for each in found]
    print_refused([*damaged, *(Refused(record.id, "; ".join(wrong)) for record, wrong in judged if wrong)])
    return [record for record, wrong in judged if not wrong]
