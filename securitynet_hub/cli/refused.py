"""Results that fail validation: leave them out, and print which they are and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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


class Valid(NamedTuple):
    """Valid records of a folder, and what ranking asks of them by their ids (`leaderboard.ranking_note`)."""

    records: list[Record]
    notes: dict[str, str]


def read_valid(folder: Path) -> Valid:
    """Read the valid records below a folder; print which files are damaged and which records not valid."""
    from functools import partial

    from securitynet_hub.core.memory import without_collection
    from securitynet_hub.core.text import printable
    from securitynet_hub.records.index import read_folder
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.leaderboard import ranking_note
    from securitynet_hub.sharing.validation import problems, rules_identity

    damaged: list[Refused] = []
    found = read_folder(
        folder,
        on_damaged=lambda path, error: damaged.append(Refused(printable(path), printable(error))),
        judge=partial(problems, read=True),
        judged_by=rules_identity(),
        note=ranking_note,
    )
    wrong: list[Refused] = []
    valid = Valid([], {})
    with without_collection():
        for each in found:
            if each.wrong:
                wrong.append(Refused(each.record.id, "; ".join(each.wrong)))
            else:
                valid.records.append(each.record)
                valid.notes[each.record.id] = each.note
    print_refused([*damaged, *wrong])
    return valid
