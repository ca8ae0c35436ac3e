"""What records say, in words: the sentences in which a report opens."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from securitynet_hub.attacks.kind import Kind, kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.present import Summary, Verdict, consequence
from securitynet_hub.core.text import printable
from securitynet_hub.records.entries import Entry, read_entries
from securitynet_hub.records.record import Record

LONGEST = 4000
"""Characters of a sentence that are shown."""

WIDTH, NARROWEST = 100, 40
"""Characters of a line where there is no terminal, and at least."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a kind raises where a record's figures are of another form than those that it writes."""

T = TypeVar("T")


def shown_of(entries: Sequence[Entry], show: Callable[[Sequence[Entry]], T]) -> tuple[T | None, list[Entry]]:
    """Return what is made of all records together, and the records that nothing can be made of.

    A record of a stranger or of another version may hold anything; one such must not hide all others.

    >>> shown_of([], len)
    (0, [])
    """
    try:
        return show(entries), []
    except UNREADABLE:
        fit, unfit = [], []
        for entry in entries:
            try:
                show([entry])
                fit.append(entry)
            except UNREADABLE:
                unfit.append(entry)
        return (show(fit) if fit and unfit else None), unfit or list(entries)


def summary_of(
    kind: Kind, entries: Sequence[Entry], samples: Sequence[Path] = ()
) -> tuple[Summary, list[Entry]]:
    """Return a kind's summary of one model's records, and the records that it cannot read.

    A verdict of its own names those.
    """
    summary, unread = shown_of(entries, lambda these: kind.present.summarise(these, samples))
    summary = summary or Summary(entries=())
    if unread:
        names = ", ".join(dict.fromkeys(str(entry.record.attack.get("name")) for entry in unread))
        count = "One record" if len(unread) == 1 else f"{len(unread)} records"
        refusal = Verdict(
            tone="open",
            title=f"{count} of {kind.title[0].lower()}{kind.title[1:]} cannot be read",
            text=f"Its figures are not of the form that this version knows: {printable(names)}.",
        )
        summary = replace(summary, verdicts=[*summary.verdicts, refusal])
    return summary, unread


def verdicts(records: Iterable[Record]) -> dict[str, list[Verdict]]:
    """Return what the records of each model say, by its id, the most consequential first.

    Of several records of one measurement the last counts. Kinds of attack that are not installed say nothing.
    """
    return {id: ordered(own) for id, own in summaries(records).items()}


def summaries(records: Iterable[Record]) -> dict[str, list[Summary]]:
    """Return for each model, by its id, what each kind of attack says of it; see `verdicts`."""
    # Beside no file: a verdict shows no pictures.
    return {
        id: [
            summary_of(kind, these)[0]
            for name, kind in kinds().items()
            if (these := [entry for entry in entries if entry.kind == name])
        ]
        for id, entries in by_model(Entry(record, Path()) for record in records).items()
    }


def ordered(summaries: Iterable[Summary]) -> list[Verdict]:
    """Return the verdicts of a model's summaries, the most consequential first."""
    own = [verdict for summary in summaries for verdict in summary.verdicts]
    return sorted(own, key=lambda each: consequence(each.tone, each.severity), reverse=True)


def verdict(records: Record | Iterable[Record] | str | Path) -> str:
    """Return in words what records say of each model, the most consequential first.

    Args:
        records: one, or several, such as what `audit` returns, or a file or folder of records.

    Returns:
        For each model its id and, for each kind of attack, what was found, what it means, and how sure that
        is. Empty if there are no records. Lines are as wide as the terminal (or as COLUMNS says), else 100
        letters.

    Raises:
        RecordError: there is no such file or folder, or no whole record in it.

    >>> from securitynet_hub import audit
    >>> print(verdict(audit("zoo/fashion-mnist/bn-cnn-overfitted-500/1", attacks="modified_entropy"))[:82])
    zoo/fashion-mnist/bn-cnn-overfitted-500/1
      Leaks membership (severe): given a tra
    """
    if isinstance(records, (str, Path)):
        records = [entry.record for entry in read_entries([records])]
    return "\n".join(
        "\n".join([printable(id), *map(_told, said)])
        for id, said in verdicts([records] if isinstance(records, Record) else records).items()
    )


def _told(verdict: Verdict) -> str:
    """Write a verdict: its title, and what it means and rests on below it."""
    parts = [("  ", verdict.title), *([("    ", verdict.whole)] if verdict.whole else [])]
    return "\n".join(line for indent, text in parts for line in _wrapped(text, indent))


def _wrapped(text: str, indent: str) -> list[str]:
    """Break a text into lines, all indented; a word stays whole, and a number with its unit."""
    width = max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns) - len(indent)
    lines = textwrap.wrap(text[:LONGEST], width, break_long_words=False, break_on_hyphens=False)
    return [indent + printable(line, limit=LONGEST) for line in lines]
