"""Backdoor detection as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.backdoor import needs
from securitynet_hub.attacks.backdoor.needs import Need
from securitynet_hub.attacks.kind import Decorated, Described, Kind, option
from securitynet_hub.core.arrays import require_count
from securitynet_hub.core.atlas import POISONED_DATA, POISONED_MODEL, TRIGGER

if TYPE_CHECKING:
    from securitynet_hub.attacks.backdoor.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of backdoor detection.

    Attributes:
        inputs: images to test for a trigger, or a folder with them, as `read_inputs` reads it. Default for
            zoo models with a known trigger: clean images, half of them stamped with it.
        beside: clean models of the same classes and images, named as models are, or loaded: `twins` compares
            with them instead of distilled copies.
        num_images: number of clean images for detectors of models, drawn by the seed, as evenly from the
            classes as possible.
    """

    inputs: Inputs | Path | str | None = option(
        None,
        "images to test for a trigger, in subfolders 'clean' and 'poisoned' where it is known which are; "
        "default for zoo models with a known trigger: clean images are stamped with it",
        metavar="DIR",
    )
    beside: tuple[str, ...] = option(
        (),
        "clean models of the same classes and images, best of the same architecture: twins compares the "
        "audited model with these instead of copies of itself, and trains nothing",
        metavar="MODEL",
    )
    num_images: int = 40

    def __post_init__(self) -> None:
        """Refuse values that no model and no images could make possible."""
        require_count(self.num_images, "num_images")


JUDGES = ("model", "inputs", "training")
"""What a detector may judge, in the order of the tables."""

LOOKS_FOR = {"inputs": (TRIGGER,), "training": (POISONED_DATA,)}
"""What it looks for beside a poisoned model, by what it judges."""


def describe(literal: Mapping[str, Any]) -> Described:
    """Say what a detector needs, as tables have it.

    >>> describe({"needs": ("needs_clean", "needs_classes(3)")}).needs
    ('clean images', '3 or more classes')
    """
    words = tuple(part for need in literal.get("needs", ()) for part in _words(need))
    judges = literal.get("judges", "model")
    order = (JUDGES.index(judges), len(words))
    return Described(needs=words, order=order, atlas=LOOKS_FOR.get(judges, ()))


def _words(need: Need | str) -> tuple[str, ...]:
    """Return the words of an imported detector's need, or of those that the source text of a literal names.

    Raises:
        ValueError: the text names no need of `needs`, and none of the detector's own.
    """
    if isinstance(need, Need):
        return (need.words,)
    if isinstance(need, Decorated):
        return (need.words,)
    name, _, argument = need.partition("(")
    found = getattr(needs, name, None)
    if found is None:
        raise ValueError(
            f"a detector needs {name}, which is neither in attacks/backdoor/needs.py nor a function of the "
            'detector\'s own file under @need("...").'
        )
    if argument:
        found = found(int(argument.rstrip(")")))
    return tuple(part.words for part in (found if isinstance(found, tuple) else (found,)))


KIND = Kind(
    name="backdoor-detection",
    title="Backdoor detection",
    package="securitynet_hub.attacks.backdoor",
    order=3,
    question="which class a trigger would lead to, or which images carry one",
    needs="some clean images",
    group="backdoor-detection",
    headline=("score", "auc"),
    falling=frozenset({"norm_ratio", "p_value"}),
    options=Options,
    sizes=("n_poisoned", "n_clean"),
    describe=describe,
    atlas=(POISONED_MODEL,),
)
