"""NEO: cover a part of the input; if its label changes, paste the covered part onto clean images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint, parts
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES, needs_flat_images
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.progress import tell
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, ask
from securitynet_hub.models.target import Target


class Patch(NamedTuple):
    """A square of an image."""

    top: int
    left: int
    side: int

    @property
    def area(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def neo_scores(
    target: Target,
    inputs: Any,
    *,
    clean: Any,
    sides: Sequence[int] | None = None,
    stride: int | None = None,
    num_clean: int = 20,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score an input by the share of clean images that its most effective patch turns into its label.

    Udeshi et al. 2019 (arXiv 1908.02203), algorithm 1, for an unknown trigger. With y the label of the input,
    every patch of `patches` is covered by the input's dominant colour; if the label changes, the covered
    pixels are pasted at the same place onto clean images, and

        s = max over those patches of the share of clean images, not labelled y by themselves, that get y.

    No patch, or no clean image of another label, gives 0. The authors confirm a trigger from 0.8 on, and
    count any change of label, which a patch may also cause by accident; here only a change **to y** counts.

    It sends one query for each patch that changes the input and `num_clean` queries for each patch that
    changes the label: at 28 x 28 pixels with three sides some 1,900 and, as a rule, about as many again. It
    misses a trigger that no square covers, such as a blend or a wide bar, and one of the dominant colour.

    Args:
        target: the classifier; only its labels are used.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images to paste on, of the same size, disjoint from the inputs; the first `num_clean` are used.
        sides: sides of the squares, in pixels. Default: a tenth, a seventh and a fifth of the shorter side.
        stride: pixels from one square to the next. Default: 1 up to 63 pixels of shorter side, and a 32nd of
            the shorter side beyond. A square covers every trigger that is smaller by ``stride - 1`` pixels.
        num_clean: maximum number of images to paste on.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64 within 0..1, higher = more likely poisoned.

    Raises:
        ValueError: images are missing, of another kind or size, or shared; a setting makes no sense.

    >>> from securitynet_hub import load_images, load_target
    >>> from securitynet_hub.data.triggers import corner_patch
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels
    >>> scores = neo_scores(target, corner_patch(pixels[2002:2003]), clean=pixels[3000:3020], sides=[4])
    >>> bool(scores[0] > 0.8)
    True
    """
    pixels, known = as_disjoint(target, inputs, clean)
    if pixels.ndim != 4:
        raise ValueError(f"inputs must be images of height, width and channels; got {pixels.shape[1:]}.")
    height, width = pixels.shape[1:3]
    shorter = min(height, width)
    squares = patches(
        height,
        width,
        sides=sorted({max(2, round(shorter / part)) for part in (10, 7, 5)}) if sides is None else sides,
        stride=max(1, shorter // 32) if stride is None else stride,
    )
    if num_clean < 1:
        raise ValueError(f"num_clean must be at least 1; got {num_clean!r}.")
    known = known[:num_clean]
    labels, known_labels = ask(target, pixels, batch_size), ask(target, known, batch_size)
    scores = np.empty(len(pixels))
    for k, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        tell("images", k, len(pixels))
        scores[k] = _score(target, image, label, known[known_labels != label], squares, batch_size)
    return scores


def patches(height: int, width: int, *, sides: Sequence[int], stride: int = 1) -> list[Patch]:
    """List the squares: every `stride` pixels along both axes, and always at the last row and column.

    Raises:
        ValueError: a square has no pixels, does not fit, or there are none; a stride below 1.

    >>> [(patch.top, patch.left) for patch in patches(4, 3, sides=[2], stride=2)]
    [(0, 0), (0, 1), (2, 0), (2, 1)]
    """
    if not (len(sides) and all(1 <= side <= min(height, width) for side in sides) and stride >= 1):
        raise ValueError(
            f"sides must be of 1 to {min(height, width)} pixels, at least one, and stride at least 1; got "
            f"sides={list(sides)}, stride={stride!r}."
        )
    return [
        Patch(top, left, side)
        for side in sides
        for top in _places(height - side, stride)
        for left in _places(width - side, stride)
    ]


def dominant_colour(image: Pixels) -> Pixels:
    """Return the mean of the pixels in the most frequent cell of colour space, shape (channels,).

    A cell spans 16 grey levels of each channel; ties go to the darkest cell. The paper takes the largest
    cluster of k-means, which depends on its initialisation.

    >>> dominant_colour(np.array([[[20], [22], [200]]], np.uint8))
    array([21], dtype=uint8)
    """
    colours = image.reshape(-1, image.shape[-1])
    cells = (colours // 16) @ 16 ** np.arange(image.shape[-1])
    colour: Pixels = np.rint(colours[cells == np.bincount(cells).argmax()].mean(0)).astype(np.uint8)
    return colour


def _places(last: int, stride: int) -> list[int]:
    return sorted({*range(0, last, stride), last})


def _score(
    target: Target, image: Pixels, label: np.int64, clean: Pixels, squares: list[Patch], batch_size: int
) -> float:
    if not len(clean):
        return 0.0
    colour = dominant_colour(image)
    squares = [square for square in squares if (image[square.area] != colour).any()]
    effective = []
    for part in parts(len(squares), image.nbytes):
        covered = np.stack([image] * len(squares[part]))
        for copy, square in zip(covered, squares[part], strict=True):
            copy[square.area] = colour
        fallen = ask(target, covered, batch_size) != label
        effective += [square for square, falls in zip(squares[part], fallen, strict=True) if falls]
    best = 0.0
    for part in parts(len(effective), clean.nbytes):
        pasted = np.stack([clean] * len(effective[part]))
        for copies, square in zip(pasted, effective[part], strict=True):
            copies[(slice(None), *square.area)] = image[square.area]
        answers = ask(target, pasted.reshape(-1, *image.shape), batch_size).reshape(len(pasted), -1)
        best = max(best, float((answers == label).mean(1).max()))
    return best


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `neo_scores` on the test images."""
    return Finding(scores=neo_scores(target, given(inputs.inputs), clean=given(inputs.clean), **settings))


ATTACK = Attack(
    name="neo",
    run=run,
    configured_by=neo_scores,
    summary="whether covering a part of the input changes its label, and that part changes clean images'",
    formula="largest share of clean images that a covered patch turns into the input's label",
    source="Udeshi et al. 2019, algorithm 1",
    weights=False,
    labels_suffice=True,
    needs=(*FROM_IMAGES, needs_flat_images),
    judges="inputs",
    costly=True,
)
