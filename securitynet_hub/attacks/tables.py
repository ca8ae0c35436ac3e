"""Verdicts in words, and the cells of tables, that several kinds of attack show in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.attacks.present import Summary, Tone
from securitynet_hub.core.tables import Name
from securitynet_hub.core.text import printable
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record

Audited = Sequence[tuple[Annotation, Sequence[Record]]]
"""The records of one kind of attack, by model."""

COLOURS = {"alarm": "bold red", "calm": "bold green", "open": "bold yellow"}
"""Colours of the verdicts in a terminal, by tone."""


def in_words(tone: Tone, title: str, text: str) -> Text:
    """Write a verdict for a terminal: its title, and below it what it means."""
    lines = [printable(part, limit=4000) for part in (title, text)]
    return Text.assemble((lines[0], COLOURS[tone]), f"\n{lines[1]}\n")


def verdicts_of_one(
    audited: Audited, summarise: Callable[[Sequence[Entry], Sequence[Path]], Summary]
) -> Iterator[Text]:
    """Yield the verdicts on the model that was audited, in words; nothing of several."""
    every = [records for _, records in audited if records]
    for found in every if len(every) == 1 else ():
        for each in summarise([Entry(record, Path()) for record in found], ()).verdicts:
            yield in_words(each.tone, each.title, each.whole)


def auc_text(result: dict[str, Any]) -> str:
    """Write an AUC with its interval.

    >>> auc_text({"auc": 0.75, "auc_ci": [0.5, 0.9]}), auc_text({})
    ('0.750 (.500-.900)', '-')
    """
    if "auc" not in result:
        return "-"
    return share_cell(result["auc"], *result["auc_ci"])


def share_cell(value: float, low: float, high: float) -> str:
    """Write a share with its interval.

    >>> share_cell(0.75, 0.5, 1.0)
    '0.750 (.500-1.000)'
    """
    return f"{value:.3f} ({low:.3f}-{high:.3f})".replace("(0.", "(.").replace("-0.", "-.")


def annotated(row: Annotation, column: str) -> str:
    """Write a figure of an annotation, followed by ``?`` where it is not to be relied on."""
    value = getattr(row, column)
    return "-" if value is None else f"{value:.3f}{'' if row.trusted(column) is not None else '?'}"


def short(id: str) -> str:
    """Return a model's id without what all models of the zoo share."""
    return id.removeprefix("zoo/fashion-mnist/")


def model_cell(id: str) -> Name:
    """Write a model's id for a cell of a table: a long one goes on in another line after a slash.

    >>> model_cell("zoo/fashion-mnist/bn-cnn-overfitted-1000/1").text
    'bn-cnn-overfitted-1000/1'
    """
    return Name(printable(short(id)))
