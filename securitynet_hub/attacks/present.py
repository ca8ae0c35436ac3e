"""What a kind of attack shows to readers: the parts that its module ``present`` returns.

A report shows them without knowing the kind. Their texts are plain text; a page escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.pictures import Picture
from securitynet_hub.plots.plot import Plot
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import interval, number

if TYPE_CHECKING:
    import pandas as pd

Tone = Literal["alarm", "calm", "open"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One or two sentences in plain words.

    Attributes:
        tone: ``alarm`` where an attack certainly succeeds, ``calm`` where none does, else ``open``.
        title: what was found, in one line.
        text: what it means, and the figures behind it, with their uncertainty.
        short: the title where there is little room; the title itself, unless given.
        counted: whether a comparison counts the models that have this (short) title.
        severity: of what is certain, how bad it is: 1 slight, 2 moderate, 3 severe; 0 if nothing is graded.
        points: what else was found, the most serious first: each can be read alone.
        basis: how sure all this is, and what it rests on.
    """

    tone: Tone
    title: str
    text: str
    short: str = ""
    counted: bool = False
    severity: int = 0
    points: Sequence[str] = ()
    basis: str = ""

    @property
    def in_short(self) -> str:
        """The title as a comparison of models shows it."""
        return self.short or self.title

    @property
    def whole(self) -> str:
        """All that there is to know beside the title."""
        return " ".join(filter(None, (self.text, *self.points, self.basis)))


class Column(NamedTuple):
    """A column of figures.

    Attributes:
        name: its heading.
        digits: decimals of its figures.
        guessing: the value that guessing reaches; None where there is no such value.
        prose: whether it holds text to read rather than figures.
        measure: what is measured, where other attacks measure it, too: a share, such as "AUC". An overview
            draws these on one scale.
        attack: the attack that is measured, which a page explains; empty where the column is of several.
    """

    name: str
    digits: int = 3
    guessing: float | None = None
    prose: bool = False
    measure: str = ""
    attack: str = ""


Cell = Measured | str | None
"""A figure, a text as it is, or None for what was not measured."""


class Line(NamedTuple):
    """A line of a table: its heading, a cell for each column, and the attack that a page explains, if any."""

    name: str
    cells: Sequence[Cell]
    attack: str = ""


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table of a section.

    Attributes:
        label: what the table shows, for readers who do not see it.
        heading: heading of the lines' names.
        columns: of the cells.
        lines: of the table.
        caption: above it.
        note: below it.
    """

    label: str
    heading: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    caption: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Plots and pictures side by side.

    Attributes:
        plots: come first.
        pictures: come after them.
        heading: above them, where they need one.
        small: whether they are small pictures, such as triggers.
    """

    plots: Sequence[Plot] = ()
    pictures: Sequence[Picture] = ()
    heading: str = ""
    small: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a report shows of one kind of attack on one model.

    Attributes:
        title: its heading.
        parts: in the order of the page; empty figures are left out.
        missing: what cannot be shown, and how to get it: whole sentences.
        atlas: techniques of MITRE ATLAS that the attacks carry out or look for; the report fills them in.
    """

    title: str
    parts: Sequence[PageTable | Figures] = ()
    missing: Sequence[str] = ()
    atlas: Sequence[str] = ()


class Ground(NamedTuple):
    """What must hold for the figures to mean anything.

    Attributes:
        name: in a few words, as it should be: "enough images".
        holds: None where that is not known.
        text: what was found.
    """

    name: str
    holds: bool | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A figure that SecurityNet also gives for public models, so that the model can be placed among them.

    Attributes:
        column: the column of the annotations that holds it.
        words: the figure's name for readers.
        measured: the model's own figure.
        across_data: whether models of other data compare, as an orientation, if their overfit gap is similar.
        caveats: takes the rows of the public models; returns what a reader should know about them.
    """

    column: str
    words: str
    measured: Measured
    across_data: bool = False
    caveats: Callable[[pd.DataFrame], Sequence[str]] = lambda peers: ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one kind's records say of one model. Everything beside the entries may be left out.

    Attributes:
        entries: the records in the order in which the section shows them.
        verdicts: in plain words.
        severity: how badly the model does, higher = worse; models are sorted by it.
        accuracy: the model's, as measured on images that it was not trained on.
        images: how many these are.
        gap: accuracy on training images less accuracy on other images.
        standings: figures to place among the public models'.
        compared: figures for the comparison of models, by column; of one measure the worst first.
        grounds: what must hold for the figures to mean anything, and whether it does.
        meanings: explains the figures, by their names.
    """

    entries: Sequence[Entry]
    verdicts: Sequence[Verdict] = ()
    severity: float = -math.inf
    accuracy: float | None = None
    images: int | None = None
    gap: float | None = None
    standings: Sequence[Standing] = ()
    compared: Mapping[Column, Measured] = field(default_factory=lambda: MappingProxyType({}))
    grounds: Sequence[Ground] = ()
    meanings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def consequence(tone: Tone, severity: int) -> tuple[int, int]:
    """Return what verdicts are ordered by: the most consequential is the largest.

    An attack that certainly succeeds, by severity; then what is open, such as an audit that cannot be judged;
    then what is calm.

    >>> max(("calm", 0), ("open", 0), ("alarm", 1), key=lambda found: consequence(*found))
    ('alarm', 1)
    """
    return ("calm", "open", "alarm").index(tone), severity


def measured(entry: Entry, name: str) -> Measured | None:
    """Return a figure of a record with its interval, None where the record has none."""
    value = number(entry.record.result.get(name))
    if value is None:
        return None
    return Measured(entry.model, value, interval(entry.record.result.get(f"{name}_ci")))


def measured_on(entries: Sequence[Entry], name: str) -> tuple[float | None, int | None]:
    """Return a model's accuracy by the record that has most images, and how many these are."""
    found = [
        (int(number(entry.record.result.get("n")) or 0), value)
        for entry in entries
        if (value := number(entry.record.result.get(name))) is not None
    ]
    images, accuracy = max(found, key=lambda each: each[0], default=(None, None))
    return accuracy, images


def listed(names: Sequence[str], word: str = "and") -> str:
    """Join names as a sentence does.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b"], "or")
    ('a', 'a, b and c', 'a or b')
    """
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(clauses: Sequence[str]) -> str:
    """Join clauses into one sentence.

    >>> sentence(["strip flags no image", "neo flags one"])
    'Strip flags no image; neo flags one.'
    """
    joined = "; ".join(clauses)
    return f"{joined[:1].upper()}{joined[1:]}."
