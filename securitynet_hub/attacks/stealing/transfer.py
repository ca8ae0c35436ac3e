"""Adversarial examples crafted on a surrogate, and how many of them fool the target too."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Labels, Pixels
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import BATCH_SIZE, predict, predict_module
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.perturbations import fgsm, pgd
from securitynet_hub.models.target import Preprocessing, Target
from securitynet_hub.statistics.rates import Interval, wilson_interval

Method = Literal["fgsm", "pgd"]

WHITE = 255.0
"""Grey level of a white pixel."""


class TransferResult(TypedDict):
    """Rates among `n` images; see `measure_transfer`."""

    transfer_rate: float | None
    transfer_rate_ci: Interval | None
    target_error: float | None
    target_error_ci: Interval | None
    noise_error: float | None
    noise_error_ci: Interval | None
    n: int
    n_fooling: int
    method: str
    epsilon: int
    confidence_level: float


def craft(
    module: torch.nn.Module,
    transform: Preprocessing,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    method: Method = "pgd",
    epsilon: int = 8,
    steps: int = 10,
    step_size: float = 2.0,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Pixels:
    """Change images by at most `epsilon` grey levels so that a network errs; pixels stay whole levels.

    - ``fgsm``: ``x + epsilon sign(grad_x CE(f(x), y))``, one step (Goodfellow et al. 2015, arXiv 1412.6572,
      section 4).
    - ``pgd``: from a uniformly drawn point of the ball, `steps` steps of ``step_size sign(grad)``, each
      followed by the projection onto the ball (Madry et al. 2018, arXiv 1706.06083, section 2.1).

    Gradients pass through resizing and normalisation to the published pixels, 0..255; the last point is
    rounded, which does not leave the ball. Parameters, their gradients, training flags and the random state
    are left as they were.

    Args:
        module: the network.
        transform: its preprocessing, a `transforms.Transform`: another publisher's code has no gradient.
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), the classes to lead away from.
        method: ``fgsm`` or ``pgd``.
        epsilon: the largest change of a pixel, in grey levels, 0..255.
        steps: of ``pgd``.
        step_size: of ``pgd``, in grey levels.
        seed: of the start of ``pgd``.
        batch_size: images in one pass.

    Raises:
        UnknownNameError: no such method.
        ValueError: the preprocessing has no gradient, epsilon or steps are no such counts, or there is not
            one label for each image.
    """
    require_perturbation(method, epsilon, steps, step_size)
    if not isinstance(transform, Transform):
        raise ValueError(
            f"adversarial examples need a preprocessing with a gradient, a Transform; got {transform!r}."
        )
    truth = np.asarray(labels)
    if truth.shape != (len(pixels),):
        raise ValueError(f"there must be {len(pixels)} labels, one for each image; got {truth.shape}.")
    generator = torch.Generator().manual_seed(seed)
    crafted = np.empty_like(pixels)
    device = next(module.parameters()).device
    with evaluating(module):
        for start in range(0, len(pixels), batch_size):
            part = slice(start, start + batch_size)
            x = torch.from_numpy(np.moveaxis(pixels[part], -1, 1).astype(np.float32, "C")).to(device)
            y = torch.from_numpy(truth[part].astype(np.int64)).to(device)
            network = partial(_answer, module, transform)
            if method == "fgsm":
                moved = fgsm(network, x, y, radius=epsilon, white=WHITE)
            else:
                how = {"steps": steps, "step_size": step_size, "white": WHITE, "generator": generator}
                moved = pgd(network, x, y, radius=epsilon, **how)  # type: ignore[arg-type]
            whole = moved.round().to(torch.uint8).cpu().numpy()
            crafted[part] = np.moveaxis(whole, 1, -1)
    return crafted


def measure_transfer(
    surrogate: torch.nn.Module,
    transform: Preprocessing,
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    method: Method = "pgd",
    epsilon: int = 8,
    steps: int = 10,
    step_size: float = 2.0,
    seed: int = 0,
    confidence_level: float = 0.95,
) -> TransferResult:
    """Measure how many adversarial examples crafted on a surrogate fool its target (Papernot et al. 2017).

    The attacker crafts adversarial examples (`craft`) from the `n` images that target and surrogate both
    classify correctly; the surrogate errs on `n_fooling` of them. Each rate has a Wilson interval, and is
    None where it has no samples:

        transfer_rate  share of those `n_fooling` examples on which the target errs too
        target_error   share of all `n` examples on which the target errs
        noise_error    the same for copies with every pixel moved by +epsilon or -epsilon at random

    A target that errs no more often than under this noise was not fooled by anything that the surrogate has
    learnt. The auditor asks the target here, outside the attacker's budget.

    Args:
        surrogate: the network that examples are crafted on.
        transform: its preprocessing.
        target: the target; only its labels are used.
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), the true classes.
        method: as for `craft`.
        epsilon: as for `craft`.
        steps: as for `craft`.
        step_size: as for `craft`.
        seed: as for `craft`; also decides the noise.
        confidence_level: of every interval.

    Raises:
        UnknownNameError: as `craft`.
        ValueError: as `craft`.
    """
    truth = np.asarray(labels)
    own = predict_module(surrogate, transform, pixels).argmax(1)
    right = (_labels(target, pixels) == truth) & (own == truth)
    x, y = pixels[right], truth[right]
    settings = {"epsilon": epsilon, "steps": steps, "step_size": step_size, "seed": seed}
    crafted = craft(surrogate, transform, x, y, method=method, **settings)  # type: ignore[arg-type]
    n = len(x)
    fooling = np.zeros(0, np.bool_)
    fooled = noisy = fooling
    if n:
        fooling = predict_module(surrogate, transform, crafted).argmax(1) != y
        fooled, noisy = _labels(target, crafted) != y, _labels(target, _shaken(x, epsilon, seed)) != y

    def rate(hits: npt.NDArray[np.bool_]) -> tuple[float | None, Interval | None]:
        if not len(hits):
            return None, None
        count = int(hits.sum())
        return count / len(hits), wilson_interval(count, len(hits), confidence_level=confidence_level)

    transfer_rate, transfer_rate_ci = rate(fooled[fooling])
    target_error, target_error_ci = rate(fooled)
    noise_error, noise_error_ci = rate(noisy)
    return TransferResult(
        transfer_rate=transfer_rate,
        transfer_rate_ci=transfer_rate_ci,
        target_error=target_error,
        target_error_ci=target_error_ci,
        noise_error=noise_error,
        noise_error_ci=noise_error_ci,
        n=n,
        n_fooling=int(fooling.sum()),
        method=method,
        epsilon=int(epsilon),
        confidence_level=confidence_level,
    )


def require_perturbation(method: str, epsilon: int, steps: int = 10, step_size: float = 2.0) -> None:
    """Refuse settings that `craft` does not take.

    Raises:
        UnknownNameError: no such method; the closest names are given.
        ValueError: epsilon is no whole grey level, `steps` is below 1, or `step_size` is not above 0.

    >>> require_perturbation("pgd", 8)
    """
    if method not in get_args(Method):
        raise UnknownNameError("adversarial method", method, get_args(Method))
    if not (isinstance(epsilon, (int, np.integer)) and 0 <= epsilon <= 255 and steps >= 1 and step_size > 0):
        raise ValueError(
            "epsilon must be whole grey levels in 0..255, steps 1 or more and step_size above 0; got "
            f"epsilon={epsilon!r}, steps={steps!r}, step_size={step_size!r}."
        )


def _answer(module: torch.nn.Module, transform: Transform, levels: torch.Tensor) -> torch.Tensor:
    """Return a network's outputs for pixels of 0 to 255."""
    outputs: torch.Tensor = module(transform.differentiable(levels))
    return outputs


def _shaken(pixels: Pixels, epsilon: int, seed: int) -> Pixels:
    signs = np.random.default_rng(seed).choice([-1, 1], pixels.shape)
    shaken: Pixels = np.clip(pixels + epsilon * signs, 0, 255).astype(np.uint8)
    return shaken


def _labels(target: Target, pixels: Pixels) -> Labels:
    labels: Labels = predict(target, pixels).argmax(1)
    return labels
