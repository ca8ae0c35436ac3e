"""The classes of images and those of a model: which is which, by name, by synset, by number or in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from securitynet_hub.core.arrays import Labels
from securitynet_hub.data.sides import are_numbers

SYNSETS = Path(__file__).parents[1] / "resources" / "imagenet" / "synsets.txt"


class Match(NamedTuple):
    """The model's class for each class of the images, and how it was found."""

    positions: Labels
    how: str


@lru_cache(maxsize=1)
def imagenet_synsets() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet-1k's classes (ILSVRC 2012), in the classes' order, which is sorted.

    >>> synsets = imagenet_synsets()
    >>> len(synsets), synsets[0], synsets == tuple(sorted(synsets))
    (1000, 'n01440764', True)
    """
    return tuple(SYNSETS.read_text(encoding="ascii").split())


def match_classes(
    names: Sequence[str], num_classes: int, model_names: Sequence[str] | None = None, *, data: str, model: str
) -> Match:
    """Find the model's class for each class of images.

    By name where the model says its classes' names and has one of each of these; by synset where names are
    WordNet ids and the model has ImageNet's 1,000 classes; by number where names are whole numbers below the
    number of classes; in order where there are as many classes as the model's.

    Args:
        names: of the images' classes.
        num_classes: of the model.
        model_names: of the model's classes, in their order; None where it does not say them.
        data: names the images in errors.
        model: names the model in errors.

    Raises:
        ValueError: none of these tells; the message says what would.

    >>> known = ["tench, Tinca tinca", "goldfish, Carassius auratus", "white shark"]
    >>> match_classes(["white_shark", "goldfish"], 3, known, data="pictures", model="fish")
    Match(positions=array([2, 1]), how='by name')
    >>> match_classes(["2", "10"], 12, data="pictures", model="digits")
    Match(positions=array([ 2, 10]), how='by number')
    """
    places = _by_name(model_names) if model_names is not None and len(model_names) == num_classes else {}
    found = [places.get(_plain(name)) for name in names]
    if None not in found and len(set(found)) == len(found):
        return Match(np.array(found, np.int64), "by name")
    synsets = {synset: place for place, synset in enumerate(imagenet_synsets())}
    if num_classes == len(synsets) and synsets.keys() >= set(names):
        return Match(np.array([synsets[name] for name in names], np.int64), "by synset")
    if are_numbers(names) and max(map(int, names)) < num_classes:
        return Match(np.array([int(name) for name in names], np.int64), "by number")
    moved = [name for place, name in enumerate(names) if found[place] not in (None, place)]
    if len(names) == num_classes and not moved:
        return Match(np.arange(num_classes), "in order")
    known = (
        "" if not places else f" The model's are {', '.join(map(repr, list(model_names or ())[:3]))}, ...;"
    )
    strange = [name for name, place in zip(names, found, strict=True) if place is None]
    raise ValueError(
        f"which of the {num_classes} classes of {model} the {len(names)} classes of {data} are cannot be "
        f"told.{known} {', '.join(map(repr, (strange or moved)[:3]))} "
        f"{'are none of its names' if places and strange else 'say nothing of the place'}. Name the class "
        "folders as the model names its classes, by WordNet ids, or by the model's class numbers (0, 1, "
        "...); ?classes=order takes them in their order."
    )


def _by_name(model_names: Sequence[str]) -> Mapping[str, int]:
    """Return the class of each name and each synonym ("tench, Tinca tinca"); those of two classes of none."""
    whole = {_plain(name): place for place, name in enumerate(model_names)}
    if len(whole) < len(model_names):
        whole = {}
    parts: dict[str, set[int]] = {}
    for place, name in enumerate(model_names):
        for part in name.split(","):
            parts.setdefault(_plain(part), set()).add(place)
    return {part: places.copy().pop() for part, places in parts.items() if len(places) == 1} | whole


def _plain(name: str) -> str:
    """Return a name without case, and with one space for anything between its words."""
    return re.sub(r"[\W_]+", " ", name).strip().lower()
