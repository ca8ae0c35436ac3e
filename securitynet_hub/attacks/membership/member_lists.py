"""Member lists: the images that an attack names as members, and how many of them are wrong at most.

An attack's scores of known non-members give each candidate a p-value; `statistics.discoveries` says which
candidates may be named. No candidate is among the known non-members, and an attack was fitted on neither.
Where an audit is given no candidates, they are its members and half of its non-members, so that the truth is
known and counted beside.

Several attacks share the rate: each list is made at the rate / number of attacks. The share of wrongly named
images in any of the lists, chosen after a look at all, and in all together, is at most the sum of the lists'
shares, so that its expectation keeps the whole rate. They share the bounds' error as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from securitynet_hub.attacks.membership.attack import Rows
from securitynet_hub.attacks.membership.kind import require_fdr
from securitynet_hub.core.arrays import Flags, Scores
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.statistics.discoveries import MemberList, member_list, nonmembers_needed

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 40
"""Most images in a picture of a list."""

SIDE = 48
"""Longest side in pixels of an image in such a picture."""

STREAM = 18
"""Tells the draw of known non-members from other draws by the same seed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the lists of one audit are made.

    Attributes:
        fdr: the false-discovery rate of all lists together.
        attacks: number of attacks that share it.
        confidence_level: of the bounds of all lists together.
        seed: draws the known non-members where the candidates are the audit's own samples.
    """

    fdr: float
    attacks: int
    confidence_level: float
    seed: int

    @property
    def share(self) -> float:
        """The false-discovery rate of each list."""
        return self.fdr / self.attacks

    def list_of(self, candidates: Scores, nonmembers: Scores) -> MemberList:
        """Return one attack's list from its scores of candidates and of known non-members."""
        level = 1 - (1 - self.confidence_level) / self.attacks
        return member_list(candidates, nonmembers, fdr=self.share, confidence_level=level)

    def require_enough(self, name: str, nonmembers: int, *, halved: bool) -> None:
        """Refuse a rate that so few non-members cannot show.

        Args:
            name: the attack's.
            nonmembers: how many it may score.
            halved: whether half of them are candidates.

        Raises:
            ValueError: the rate is outside 0..1, or its smallest p-value is above it.
        """
        require_fdr(self.fdr)
        known = -(-nonmembers // 2) if halved else nonmembers
        needed = nonmembers_needed(self.share)
        if known < needed:
            shared = f", of which {name} has one of {self.attacks} equal parts," if self.attacks > 1 else ""
            of = f", half of the {nonmembers:,} that it may judge" if halved else ""
            raise ValueError(
                f"a list with a false-discovery rate of {self.fdr:g}{shared} needs {needed:,} or more known "
                f"non-members; {name} has {known:,}{of}. Give more non-members or allow a higher rate (--fdr)"
                f"{', or run fewer attacks' if self.attacks > 1 else ''}."
            )

    def halve(self, rows: Rows, is_member: Flags) -> tuple[Rows, Rows]:
        """Divide an audit's samples into known non-members, half of them all, and candidates.

        Args:
            rows: shape (k,), the samples that an attack scored.
            is_member: shape (k,).

        Returns:
            Places in `rows`, ascending: known non-members, candidates.
        """
        rest = np.flatnonzero(~is_member)
        drawn = np.random.default_rng([STREAM, self.seed]).permutation(rest)
        known = np.sort(drawn[: -(-len(rest) // 2)])
        return known, np.setdiff1d(np.arange(len(rows)), known)


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedMembers:
    """One attack's list.

    Attributes:
        model: the target's id.
        attack: the attack's name.
        found: the list.
        scores: shape (m,), of the candidates.
        images: where the candidates are.
        positions: shape (m,), their rows in `images`.
        plan: how the list was made.
        known: number of known non-members.
        is_member: shape (m,), the truth; None where it is not known.
        differs: whether candidates and known non-members certainly differ by their images alone, so that
            nothing is named.
        candidates: the images in question; None where they are the audit's own.
    """

    model: str
    attack: str
    found: MemberList = field(repr=False)
    scores: Scores = field(repr=False)
    images: ImageSource = field(repr=False)
    positions: Rows = field(repr=False)
    plan: Plan
    known: int
    is_member: Flags | None = field(default=None, repr=False)
    differs: bool = False
    candidates: ImageSource | None = field(default=None, repr=False)

    @property
    def rows(self) -> Rows:
        """The rows of the named candidates, the highest score first."""
        return self.found.order[: 0 if self.differs else self.found.listed]

    @property
    def result(self) -> dict[str, Any]:
        """The counts, as a record has them under ``listed``; nothing in them is about a single image."""
        rows, judged = self.rows, self.candidates
        return {
            "fdr": self.plan.fdr,
            "attacks": self.plan.attacks,
            "confidence_level": self.plan.confidence_level,
            "candidates": len(self.scores),
            "known_nonmembers": self.known,
            "listed": len(rows),
            "at_most_wrong": int(self.found.most_wrong[len(rows)]),
            "wrong": None if self.is_member is None else int((~self.is_member[rows]).sum()),
            "shortest": self.found.shortest,
            "differs": self.differs,
            "images": None if judged is None else {"name": judged.name, "sha256": judged.sha256},
        }

    @cached_property
    def table(self) -> pd.DataFrame:
        """All candidates, the highest score first: file, score, p-value, and whether each is named.

        ``at_most_wrong`` bounds the number of non-members from the first row to this one, wherever a reader
        ends the list; ``is_member`` is there where it is known.
        """
        import pandas as pd

        order = self.found.order
        columns: dict[str, Any] = {
            "rank": np.arange(1, len(order) + 1),
            "file": [self.images.place(int(row)) for row in self.positions[order]],
            "score": self.scores[order],
            "p_value": self.found.p_values[order],
            "at_most_wrong": self.found.most_wrong[1:],
            "named": np.arange(len(order)) < len(self.rows),
        }
        if self.is_member is not None:
            columns["is_member"] = self.is_member[order]
        return pd.DataFrame(columns)

    def thumbnails(self) -> Pixels:
        """Return the first `SHOWN` named images, shape (n, height, width, 3), no side longer than `SIDE`."""
        small = [_thumbnail(self.images.read(int(row))) for row in self.positions[self.rows[:SHOWN]]]
        height, width = (max((image.shape[axis] for image in small), default=0) for axis in (0, 1))
        sheet = np.full((len(small), height, width, 3), 255, np.uint8)
        for place, image in zip(sheet, small, strict=True):
            place[: image.shape[0], : image.shape[1]] = image
        return sheet


def describe(attack: str, listed: Mapping[str, Any]) -> str:
    """Say what a record's ``listed`` means, in two or three sentences.

    >>> counts = {"candidates": 900, "known_nonmembers": 300, "listed": 40, "at_most_wrong": 9, "wrong": 2}
    >>> rates = {"fdr": 0.1, "attacks": 1, "confidence_level": 0.95}
    >>> for part in describe("loss", {**counts, **rates}).split(". "):
    ...     print(part)
    loss names 40 of 900 images as members
    At most 9 of these 40 are wrongly accused (95 % confidence), on average over such lists 10 % or less are
    In truth: 2.
    """
    named, candidates = listed["listed"], f"{listed['candidates']:,}"
    of = f" of {listed['images']['name']}" if listed.get("images") else ""
    if listed.get("differs"):
        return (
            f"{attack} names no image: the {candidates} candidates{of} differ from the known non-members by "
            "the images alone, so that what stands out need not come from the training."
        )
    if not named:
        return (
            f"{attack} names none of {candidates} images{of} as a member: with "
            f"{listed['known_nonmembers']:,} known non-members, {listed.get('shortest', 1):,} or more would "
            "have to exceed them all."
        )
    bound, level = listed["at_most_wrong"], f"{100 * listed['confidence_level']:g} % confidence"
    text = f"{attack} names {named:,} of {candidates} images{of} as members. "
    if bound < named:
        text += f"At most {bound:,} of these {named:,} are wrongly accused ({level}), on average "
    else:
        text += f"All of these {named:,} may be wrongly accused: so few say nothing with {level}. On average "
    text += f"over such lists {100 * listed['fdr'] / listed['attacks']:.3g} % or less are."
    return text if listed.get("wrong") is None else f"{text} In truth: {listed['wrong']:,}."


def _thumbnail(image: Pixels) -> Pixels:
    found = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    found.thumbnail((SIDE, SIDE))
    return np.asarray(found)
