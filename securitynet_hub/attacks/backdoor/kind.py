"""Backdoor detection as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet_hub.attacks.kind import Kind, option

if TYPE_CHECKING:
    from securitynet_hub.attacks.backdoor.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen for backdoor detection.

    Attributes:
        inputs: images to test for a trigger, or a folder with them, as `read_inputs` reads it. Default for
            models whose trigger is known, as for the zoo: clean images, half of them stamped with it.
        num_images: clean images for detectors of models, drawn by the seed, as evenly from the classes as
            can be.
    """

    inputs: Inputs | Path | str | None = option(
        None,
        "images to test for a trigger, in subfolders 'clean' and 'poisoned' where it is known which are; "
        "default for zoo models with a known trigger: clean images are stamped with it",
        metavar="DIR",
    )
    num_images: int = 40


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
)
