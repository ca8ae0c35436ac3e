"""MM-BD (Wang, Xiang, Miller & Kesidis, IEEE S&P 2024): the class with by far the largest possible margin.

For each class t, images of noise are driven to the largest margin z_t - max over i != t of z_i that pixels
allow. A backdoor's target class is overfitted to its trigger and reaches a far larger one, whatever the
trigger is. No images are needed: the null distribution is a gamma fitted to the other classes' margins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_pixel_space
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.models.eval_mode import frozen, some_parameter
from securitynet_hub.models.target import Target

MIN_CLASSES = 4
"""Minimum number of classes: a gamma has three parameters, which are fitted to all margins but one."""


class MarginResult(NamedTuple):
    """What the largest margins say of a model.

    Attributes:
        score: -log10 of the p-value, higher = more likely poisoned.
        p_value: the probability that the largest of so many draws from the fitted gamma is as large.
        suspect: the class of the largest margin.
        margins: shape (classes,), in logits.
    """

    score: float
    p_value: float
    suspect: int
    margins: Scores


def mm_bd(
    target: Target,
    *,
    images_per_class: int = 30,
    steps: int = 300,
    learning_rate: float = 0.01,
    batch_size: int = 256,
    seed: int = 0,
) -> MarginResult:
    """Maximise each class's margin over images of noise, and test whether the largest one is an outlier.

    Wang et al. 2024 (IEEE S&P): with z the logits, x an image and n the number of classes,

        r_t = max over x of (z_t(x) - max over i != t of z_i(x)),      s = -log10 (1 - F(max_t r_t)^n),

    F the gamma distribution fitted to all r_t but the largest (`judge_margins`).

    The authors' settings: 30 images for each class, uniform noise, 300 steps of gradient ascent at 0.01 on
    pixels of 0 to 1, clamped before the module sees them; the largest margin of a class's images counts. All
    classes start from the same noise.

    Args:
        target: the classifier; parameters, flags and the random state are left as they were.
        images_per_class: number of noise images.
        steps: steps of gradient ascent.
        learning_rate: step size of gradient ascent.
        batch_size: images in one pass.
        seed: decides the noise.

    Returns:
        The score s, higher = more likely poisoned, its p-value, the suspected class and all r_t, shape
        (classes,).

    Raises:
        ValueError: fewer than four classes, or a preprocessing that gradients cannot pass.
        ModelError: the model answers NaN or infinities.

    >>> from securitynet_hub import load_target
    >>> found = mm_bd(load_target("zoo/fashion-mnist/cnn-clean/1"), images_per_class=2, steps=5)
    >>> found.margins.shape, 0 <= found.p_value <= 1
    ((10,), True)
    """
    if target.num_classes < MIN_CLASSES:
        raise ValueError(
            f"MM-BD compares a class with the others: it needs {MIN_CLASSES} or more; {target.id} has "
            f"{target.num_classes}."
        )
    space, like = PixelSpace.from_target(target), some_parameter(target.module)
    *sides, channels = target.transform.shape
    shape = images_per_class, channels, *sides
    noise = torch.from_numpy(np.random.default_rng(seed).random(shape)).to(like)
    labels = torch.arange(target.num_classes, device=like.device).repeat_interleave(images_per_class)
    rows = torch.arange(images_per_class, device=like.device).repeat(target.num_classes)
    margins: list[Scores] = []
    with frozen(target.module):
        module = for_input_gradients(target.module, space.inputs(noise))
        for part, row in zip(torch.split(labels, batch_size), torch.split(rows, batch_size), strict=True):
            pixels = noise[row]
            for step in range(steps):
                slope, margin = _ascend(module, space, pixels, part)
                pixels += learning_rate * slope
                tell("steps", len(margins) * steps + step + 1, -(-len(labels) // batch_size) * steps)
            margins.append(margin.double().cpu().numpy())
    largest = np.concatenate(margins).reshape(target.num_classes, images_per_class).max(1)
    if not np.isfinite(largest).all():
        raise ModelError(f"{target.id} gave NaN or infinite logits for noise.")
    return judge_margins(largest)


def judge_margins(margins: Scores) -> MarginResult:
    """Return the p-value of the largest margin: 1 - F(largest) ** classes.

    F is the distribution function of the gamma (shape, location and scale) of greatest likelihood for all
    margins but the largest.

    Args:
        margins: shape (classes,), at least four, finite.

    Raises:
        ValueError: another shape, or NaN or infinite entries.

    >>> plain = judge_margins(np.array([5.0, 6, 7, 5.5, 6.5, 7.1]))
    >>> planted = judge_margins(np.array([5.0, 6, 7, 5.5, 6.5, 30]))
    >>> plain.p_value > 0.05 > planted.p_value, planted.suspect
    (True, 5)
    """
    values = as_array(margins, "margins")
    if values.ndim != 1 or len(values) < MIN_CLASSES:
        raise ValueError(
            f"margins must be one for each of {MIN_CLASSES} or more classes; got {values.shape}."
        )
    require_finite(values, "margins")
    values = values.astype(np.float64)
    suspect = int(values.argmax())
    others = np.delete(values, suspect)
    if np.ptp(others) == 0:  # no spread to fit
        exceeds = bool(values[suspect] > others[0])
        p_value = 0.0 if exceeds else 1.0
    else:
        fitted = scipy.stats.gamma.fit(others)
        # 1 - F ** n without cancellation where F is close to 1
        beyond = float(scipy.stats.gamma.sf(values[suspect], *fitted))
        p_value = float(-np.expm1(len(values) * np.log1p(-beyond))) if beyond < 1 else 1.0
    score = float(-np.log10(max(p_value, np.finfo(np.float64).tiny)))
    return MarginResult(score=score, p_value=p_value, suspect=suspect, margins=values)


def _ascend(
    module: torch.nn.Module, space: PixelSpace, pixels: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of each image's margin, and the margins, shape (n,)."""
    leaf = pixels.detach().requires_grad_()
    logits = module(space.inputs(leaf.clamp(0, 1)))
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    margin = logits.gather(1, labels[:, None])[:, 0] - others
    (slope,) = torch.autograd.grad(margin.sum(), leaf)
    return slope, margin.detach()


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `mm_bd`; the score is -log10 of its p-value.

    ``score = -log10(1 - F(m) ** classes)`` with m the largest margin and F the gamma fitted to the other
    classes' margins (Wang et al. 2024, arXiv 2205.06900).
    """
    found = mm_bd(target, seed=inputs.seed, **settings)
    figures = {"p_value": found.p_value, "margins": found.margins.tolist()}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


ATTACK = Attack(
    name="mm_bd",
    run=run,
    configured_by=mm_bd,
    summary="a class whose margin noise can raise far above that of all other classes",
    formula="-log10 of the p-value of the largest margin",
    source="Wang et al. 2024",
    needs=(needs_classes(MIN_CLASSES), needs_pixel_space),
    per_class={"margins": "largest margin reached"},
    ranked=True,
)
