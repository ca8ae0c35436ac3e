"""Additive triggers (Xiang et al., IEEE TNNLS 2020): the smallest change of pixels that all images share.

Neural Cleanse looks for a patch, which covers a few pixels. Blends, sinusoids, warps and colour shifts change
every pixel a little; what they have in common is that one small change, added to any image, leads to the
target class. Its size is the figure here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.class_pairs import MAX_CLASSES, pair_finding, smallest_pair_changes
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.expected_size import GAP, class_gaps, source_gaps
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_clean, needs_pixel_space
from securitynet_hub.attacks.backdoor.shared_change import (
    Search,
    SharedChanges,
    finding,
    likely_classes,
    pixel_points,
    smallest_changes,
)
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target


def additive_triggers(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    steps: int = 80,
    learning_rate: float = 0.06,
    success: float = 0.9,
    max_images: int = 40,
    max_classes: int = 64,
    pairs: bool = False,
    batch_size: int = 256,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda count: None,
) -> SharedChanges:
    """Search, for each class, the smallest change of pixels that leads most images there.

    Xiang et al. 2020 (arXiv 1908.10498): for each class t the v of least norm with

        P[f(clip(x + v)) = t | f(x) != t] >= success,      s = -log10(1 - F(max 1 / size) ** classes),

    F the gamma distribution fitted to the reciprocals of the other classes' sizes (`judge_sizes`); a size is
    the root of the mean square of the change over pixels and images, relative to how far clean images lie
    from their mean. The authors search a change for each pair of a source and a target class, as `pairs`
    does, by gradient descent on the error alone, and stop at the first that succeeds; here the change starts
    from all other classes, and the search presses on its size. Classes are searched side by side; no labels
    are needed.

    Args:
        target: the classifier; parameters, flags and the random state are left as they were.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        steps: steps of Adam.
        learning_rate: of Adam, relative to the spread of the images.
        success: share of the other classes' images that a change must lead to its class.
        max_images: images that are used, the first ones.
        max_classes: classes that are searched; of more, those that rank highest in the answers to the images.
        pairs: whether a change is searched for each pair of a source and a target class as well, as the
            authors do, for at most `class_pairs.MAX_CLASSES` classes, those that rank highest. A pair's
            images are those that are answered with its source: four of 40 images of ten classes, so that
            more images (`max_images`) are worth their time.
        batch_size: images in one forward pass.
        seed: decides the first change.
        on_step: called after each step with the number of changes that it optimised.

    Raises:
        ValueError: no images, or a preprocessing that gradients cannot pass; a setting out of its range.
        ModelError: the model answers NaN or infinities.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-blended-noise/9")
    >>> found = additive_triggers(target, load_images().pixels[2000:2012], steps=30)
    >>> int(np.nanargmin(found.changes.sizes)), target.annotation.target_class
    (3, 3)
    """
    search = Search(
        steps=steps, learning_rate=learning_rate, success=success, batch_size=batch_size, seed=seed
    )
    with frozen(target.module):
        points, logits = pixel_points(target, images[:max_images], batch_size=batch_size)
        answers, classes = logits.double().cpu().numpy(), likely_classes(logits, max_classes)
        changes = smallest_changes(points, classes, search, on_step=on_step)
        found = SharedChanges(classes, changes, class_gaps(answers, classes))
        if not pairs:
            return found
        few = likely_classes(logits, min(max_classes, MAX_CLASSES))
        between = smallest_pair_changes(points, few, search, on_step=on_step)
        return found._replace(pairs=between._replace(gaps=source_gaps(answers, few)))


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `additive_triggers`; the score is -log10 of the p-value of the smallest change.

    ``score = -log10(1 - F(1 / smallest) ** classes)`` (Xiang et al. 2020, arXiv 1908.10498); with
    ``pairs=True`` that of the pairs of classes (`judge_pairs`), as in the paper.
    """
    found = additive_triggers(target, given(inputs.clean), seed=inputs.seed, **settings)
    of_classes = finding(found)
    return of_classes if found.pairs is None else pair_finding(found.pairs, of_classes)


ATTACK = Attack(
    name="additive_trigger",
    run=run,
    configured_by=additive_triggers,
    summary="a class that one small change of all pixels leads to",
    formula="-log10 of the p-value of the smallest change",
    source="Xiang et al. 2020, section 4",
    needs=(needs_clean, needs_classes(4), needs_pixel_space),
    per_class={
        "sizes": "size of the smallest shared change",
        "gaps": GAP,
        "pair_sizes": "size of the smallest change from each other class",
    },
)
