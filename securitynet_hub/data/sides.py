"""The two sides of an audit, members and non-members, become one source of images and a split."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.core.errors import DataWarning, UnknownNameError
from securitynet_hub.data.decoding import Decoding
from securitynet_hub.data.encoded import EncodedImages, Inspection, Joined, Store, inspect
from securitynet_hub.data.splits import Split

BROKEN = ("refuse", "skip")
"""What to do with a picture that cannot be read."""

MOST_CLASSES = 1_000_000
"""Largest number of classes; larger class numbers are probably ids of something else."""

OVERLAP = ("refuse", "allow", "drop")
"""What to do with a picture on both sides: nothing is audited; it stays; it is no non-member."""

OnProgress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much is done, and how much there is (None where this is unknown)."""


def silent(doing: str, done: int, total: int | None) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """The pictures of one split.

    Attributes:
        name: the split's.
        store: the pictures.
        labels: shape (n,), places among the class names; below 0 for a picture without a label.
        class_names: one name for each class.
        numbered: whether labels are class numbers by themselves, and names only repeat them.
    """

    name: str
    store: Store = field(repr=False)
    labels: Labels = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    numbered: bool = False


class Sides(NamedTuple):
    """One source of images, which of them are members, and why an audit on them is refused, if it is."""

    images: EncodedImages
    split: Split
    refusal: str | None


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names: whole numbers by value, everything else as text.

    >>> order_classes(["10", "9", "1"]), order_classes(["b", "a10", "a9"])
    (('1', '9', '10'), ('a10', 'a9', 'b'))
    """
    found = sorted(set(names))
    return tuple(sorted(found, key=int)) if are_numbers(found) else tuple(found)


def number_classes(highest: int, name: str) -> tuple[str, ...]:
    """Return a name for each class up to the highest class number.

    Raises:
        ValueError: there would be more than `MOST_CLASSES`.

    >>> number_classes(2, "the column 'label'")
    ('0', '1', '2')
    """
    if highest >= MOST_CLASSES:
        raise ValueError(
            f"{name}: the class number {highest:,} is not below {MOST_CLASSES:,}. If these are "
            "ids of something else, name another column of labels with ?label=COLUMN (label=)."
        )
    return tuple(map(str, range(highest + 1)))


def are_numbers(names: Iterable[str]) -> bool:
    """Return whether every name is a whole number without sign, none of them twice (7 and 07)."""
    found = list(names)
    return all(re.fullmatch(r"[0-9]{1,9}", name) for name in found) and len(set(map(int, found))) == len(
        found
    )


def join_sides(
    members: Side,
    nonmembers: Side,
    *,
    source: str,
    limit: int | None = None,
    seed: int = 0,
    decoding: Decoding,
    broken: str = "refuse",
    overlap: str = "refuse",
    on_progress: OnProgress = silent,
) -> Sides:
    """Draw pictures of both sides, look at their bytes, and make one source of them.

    Args:
        members: the pictures that a model was trained on.
        nonmembers: pictures that it was not trained on.
        source: the name of both together in records.
        limit: number of pictures to draw from each side; None for all.
        seed: decides the draw.
        decoding: how pictures become pixels.
        broken: one of `BROKEN`.
        overlap: one of `OVERLAP`, for pictures with the same bytes on both sides.
        on_progress: called while pictures are looked at.

    Raises:
        UnknownNameError: `broken` or `overlap` is unknown.
        PictureError: a picture cannot be read; it is named.
        ValueError: a side is empty, classes differ, or a label is missing.
    """
    for name, value, known in (("broken", broken, BROKEN), ("overlap", overlap, OVERLAP)):
        if value not in known:
            raise UnknownNameError(f"value of {name}", value, known)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or all; got {limit}.")
    if seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more; got {seed}.")
    classes = _common_classes(members, nonmembers, source)
    sides = (members, nonmembers)
    drawn = [_draw(side, limit, seed, source) for side in sides]
    store = Joined([(side.store, rows) for side, rows in zip(sides, drawn, strict=True)])
    total = len(store)
    done = 0

    def looked(count: int) -> None:
        nonlocal done
        done += count
        on_progress("reading images", done, total)

    found = inspect(store, decoding, skip_broken=broken == "skip", on_images=looked)
    labels = np.concatenate([side.labels[rows] for side, rows in zip(sides, drawn, strict=True)])
    is_member = np.arange(total) < len(drawn[0])
    kept = np.ones(total, np.bool_)
    kept[list(found.broken)] = False
    facts: dict[str, Any] = {}
    if broken == "skip":
        facts["skipped"] = len(found.broken)
        _tell_broken(found, total)
    shared = _shared(found, is_member & kept, ~is_member & kept)
    refusal = decide_overlap(overlap, shared, source, store.place)
    if len(shared):
        facts["on_both_sides"] = len(shared)
        if overlap == "drop":
            kept[shared] = False
    if not (kept & is_member).any() or not (kept & ~is_member).any():
        raise ValueError(f"{source} has no picture left for one of the sides, members and non-members.")
    rows = np.flatnonzero(kept)
    images = EncodedImages(
        name=source,
        store=store if kept.all() else Joined([(store, rows)]),
        labels=labels[rows].astype(np.int64),
        class_names=classes,
        decoding=decoding,
        inspection=Inspection(digests=found.digests[rows], sizes=found.sizes[rows]),
        facts=facts,
        numbered=members.numbered and nonmembers.numbered,
    )
    truth = is_member[rows]
    split = Split(members=np.flatnonzero(truth), nonmembers=np.flatnonzero(~truth))
    return Sides(images, split, refusal)


def one_side(
    side: Side,
    *,
    source: str,
    limit: int | None = None,
    seed: int = 0,
    decoding: Decoding,
) -> EncodedImages:
    """Draw pictures of one side, and make a source of them; arguments and errors as for `join_sides`."""
    rows = _draw(side, limit, seed, source)
    store = Joined([(side.store, rows)])
    return EncodedImages(
        name=source,
        store=store,
        labels=side.labels[rows],
        class_names=side.class_names,
        decoding=decoding,
        inspection=inspect(store, decoding),
        numbered=side.numbered,
    )


def _draw(side: Side, limit: int | None, seed: int, source: str) -> Rows:
    """Return the rows of a side that are audited, ascending."""
    size = len(side.labels)
    if not size:
        raise ValueError(
            f"{source} has no pictures in {side.name!r}; members and non-members need some each."
        )
    rows = np.arange(size)
    if limit is not None and limit < size:
        rows = np.sort(np.random.default_rng(seed).choice(size, limit, replace=False))
    unlabelled = np.flatnonzero(side.labels[rows] < 0)
    if len(unlabelled):
        raise ValueError(
            f"{source}:{side.name} has {len(unlabelled)} image(s) without a label, such as "
            f"{side.store.place(int(rows[unlabelled[0]]))}."
        )
    return rows


def _common_classes(members: Side, nonmembers: Side, source: str) -> tuple[str, ...]:
    """Return the classes of both sides.

    Raises:
        ValueError: they have different ones.
    """
    if members.numbered and nonmembers.numbered:
        return max(members.class_names, nonmembers.class_names, key=len)
    if members.class_names != nonmembers.class_names:
        own, other = set(members.class_names), set(nonmembers.class_names)
        told = [
            f"only in {side.name!r}: {', '.join(sorted(names)[:5])}{' and others' if len(names) > 5 else ''}"
            for side, names in ((members, own - other), (nonmembers, other - own))
            if names
        ]
        raise ValueError(
            f"members and non-members of {source} must have the same classes in the same order; "
            f"{members.name!r} has {len(members.class_names)}, {nonmembers.name!r} "
            f"{len(nonmembers.class_names)}{'; ' if told else ''}{'; '.join(told)}."
        )
    return members.class_names


def _shared(found: Inspection, members: np.ndarray[Any, Any], nonmembers: np.ndarray[Any, Any]) -> Rows:
    """Return the rows of non-members whose bytes are those of a member."""
    digests = np.ascontiguousarray(found.digests).view("V32").reshape(-1)
    known = set(digests[members].tolist())
    return np.array([row for row in np.flatnonzero(nonmembers) if digests[row].item() in known], np.int64)


def decide_overlap(overlap: str, shared: Rows, source: str, place: Callable[[int], str]) -> str | None:
    """Return why an audit on images that are on both sides is refused, or warn of what is done with them.

    Args:
        overlap: one of `OVERLAP`.
        shared: rows of the non-members that are members, too.
        source: names the images.
        place: names the image of a row.

    Raises:
        UnknownNameError: `overlap` is unknown.
    """
    if overlap not in OVERLAP:
        raise UnknownNameError("value of overlap", overlap, OVERLAP)
    if not len(shared):
        return None
    which = f"{len(shared)} picture(s) of {source} are on both sides, among members and among non-members"
    if overlap == "refuse":
        return (
            f"{which}, such as {place(int(shared[0]))}: a model that was trained on it would count as one "
            "that was not. Leave them out of the non-members with ?overlap=drop, or keep them with "
            "?overlap=allow; records count them."
        )
    what = "they are left out of the non-members" if overlap == "drop" else "they are kept"
    warnings.warn(f"{which}; {what}.", DataWarning, stacklevel=2)
    return None


def _tell_broken(found: Inspection, total: int) -> None:
    if found.broken:
        first = next(iter(found.broken.values())).partition(". ")[0]
        warnings.warn(
            f"{len(found.broken)} of {total} pictures are left out, because they cannot be read: {first}.",
            DataWarning,
            stacklevel=2,
        )
