"""What records say, in words: the sentences in which a report opens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.present import Verdict, consequence
from securitynet_hub.core.text import printable
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record

LONGEST = 4000
"""Characters of a sentence that are shown."""


def verdicts(records: Iterable[Record]) -> dict[str, list[Verdict]]:
    """Return what the records of each model say, by its id, the most consequential first.

    Of several records of one measurement the last counts. Kinds of attack that are not installed say nothing.
    """
    # Beside no file: a verdict shows no pictures.
    models = by_model(Entry(record, Path()) for record in records)
    found: dict[str, list[Verdict]] = {}
    for id, entries in models.items():
        own: list[Verdict] = []
        for name, kind in kinds().items():
            if these := [entry for entry in entries if entry.kind == name]:
                own += kind.present.summarise(these, ()).verdicts
        found[id] = sorted(own, key=lambda each: consequence(each.tone, each.severity), reverse=True)
    return found


def verdict(records: Record | Iterable[Record]) -> str:
    """Return in words what records say of each model, the most consequential first.

    Args:
        records: one, or several, such as what `audit` returns or `read_records` reads.

    Returns:
        For each model its id and, for each kind of attack, what was found, what it means, and how sure that
        is. Empty if there are no records.

    >>> from securitynet_hub import audit
    >>> print(verdict(audit("zoo/fashion-mnist/bn-cnn-overfitted-500/1", attacks="modified_entropy"))[:82])
    zoo/fashion-mnist/bn-cnn-overfitted-500/1
      Leaks membership (severe): given a tra
    """
    return "\n".join(
        "\n".join([printable(id), *map(_told, said)])
        for id, said in verdicts([records] if isinstance(records, Record) else records).items()
    )


def _told(verdict: Verdict) -> str:
    """Write a verdict: its title, and what it means and rests on below it."""
    more = " ".join(filter(None, (verdict.text, *verdict.points, verdict.basis)))
    lines = [f"  {verdict.title}", *([f"    {more}"] if more else [])]
    return "\n".join(printable(line.replace("\u00a0", " "), limit=LONGEST) for line in lines)
