"""Adversarial robustness as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet_hub.attacks.evasion.eps import read_eps
from securitynet_hub.attacks.kind import Described, Kind, option
from securitynet_hub.core.arrays import is_real, require_count, shortened
from securitynet_hub.core.atlas import ADVERSARIAL
from securitynet_hub.core.errors import UnknownNameError

EPS = "8/255"
"""Largest change, unless another is asked for: that of most published figures of small images."""

BALLS = ("image", "crop")
"""What the attacker changes."""

IMAGES = 200
"""Images that are attacked at most, unless another number is asked for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of adversarial robustness.

    Attributes:
        norm: ``Linf`` or ``L2``: the norm in which a change is small.
        eps: largest change in that norm, black to white being 1; a fraction such as ``8/255`` or a number.
        ball: ``image``: the attacker changes the image before the model's own resize and crop; ``crop``:
            after them, as published figures of ImageNet models have it.
        robust_images: largest number of images that are attacked, drawn by the seed from the non-members;
            None for 200, or for all where a width says when to stop.
        width: width of the interval at which an audit of `worst_case` stops; None attacks every image.
        passes: largest number of passes, forward and backward, of an audit of `worst_case`; None for no
            limit.
        published: a file of RobustBench's ``model_info`` that describes the model, whose figure stands beside
            ours; None looks it up for the models where it is known.
    """

    norm: str = option(
        "Linf", "norm in which a change is small, Linf or L2", metavar="NORM", commands=("audit", "sweep")
    )
    eps: str = option(
        EPS, "largest change in that norm, black to white being 1", metavar="EPS", commands=("audit", "sweep")
    )
    ball: str = option(
        "image",
        "what the attacker changes: image (before the model's own resize and crop) or crop (after them)",
        metavar="WHAT",
        commands=("audit", "sweep"),
    )
    robust_images: int | None = option(
        None,
        f"largest number of images that are attacked (default: {IMAGES}, or all with --width)",
        metavar="N",
        commands=("audit", "sweep"),
    )
    width: float | None = option(
        None,
        "width of the interval of robust accuracy at which the attacks stop",
        metavar="WIDTH",
        commands=("audit", "sweep"),
    )
    passes: int | None = option(
        None,
        "largest number of passes, forward and backward, that the attacks make",
        metavar="N",
        commands=("audit", "sweep"),
    )
    published: Path | None = option(
        None, "RobustBench's model_info of the model, whose figure stands beside ours", metavar="FILE"
    )

    def __post_init__(self) -> None:
        """Refuse values that no model and no images could make possible.

        >>> Options(eps="9/0")
        Traceback (most recent call last):
        ...
        ValueError: eps must be a number or a fraction such as 8/255; got '9/0'.
        """
        read_eps(self.norm, self.eps)
        if self.robust_images is not None:
            require_count(self.robust_images, "robust_images")
        if self.width is not None and not (is_real(self.width) and 0 < self.width <= 1):
            raise ValueError(f"width must lie above 0 and be 1 at most; got {shortened(self.width)}.")
        if self.passes is not None:
            require_count(self.passes, "passes")
        if self.ball not in BALLS:
            raise UnknownNameError("choice of what is changed", self.ball, BALLS)


def describe(literal: Mapping[str, Any]) -> Described:
    """Say what an attack needs, as tables have it; those that cost least come first.

    >>> describe({"order": 3, "weights": True, "package": "pyautoattack"}).needs
    ('gradients', 'the package pyautoattack')
    """
    package, norms = literal.get("package"), literal.get("norms")
    words = (
        *(("gradients",) if literal.get("weights") else ()),
        *((f"the package {package}",) if package else ()),
        *((f"the norm {norms[0]}",) if norms and len(norms) == 1 else ()),
    )
    return Described(needs=words, order=(literal.get("order", 0),))


KIND = Kind(
    name="evasion",
    title="Adversarial robustness",
    package="securitynet_hub.attacks.evasion",
    order=4,
    question="how often a small change of an image changes the answer",
    needs="images that the model was not trained on",
    group="evasion",
    headline=("robust_accuracy", "corruption_accuracy"),
    falling=frozenset({"robust_accuracy", "corruption_accuracy", "accuracy"}),
    options=Options,
    describe=describe,
    incidental=frozenset({"published"}),
    incidental_counts=frozenset({"forwarded", "gradients", "images"}),
    atlas=(ADVERSARIAL,),
)
