"""The four attacks of AutoAttack, as the package pyautoattack has them, on the target's own pixels.

Nothing is changed in them: the same images, seed and batch give the same adversarial examples as the
package alone gives for the same classifier.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.threat import Threat
from securitynet_hub.core.errors import MissingPackageError

PACKAGE = "pyautoattack"
RHO = 0.75
SQUARE = 0.8
"""AutoAttack's own constants: when APGD halves its step, and the share of pixels in Square's first square."""

LOG = logging.getLogger(__name__)


def apgd_ce(
    classifier: PixelClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
) -> torch.Tensor:
    """Run APGD on the cross-entropy: PGD with momentum that halves its step where it stops to gain.

    ``x_(k+1) = P(x_k + 3/4 (z - x_k) + 1/4 (x_k - x_(k-1)))``, ``z = P(x_k + step sign(grad CE))`` (Croce &
    Hein 2020, arXiv 2003.01690, algorithm 1).

    Args:
        classifier: maps pixels of 0 to 1 to logits.
        images: shape (n, channels, height, width).
        labels: shape (n,), the right classes.
        threat: what the attacker may do.
        steps: number of steps.
        restarts: number of starts.
        seed: decides the starts.

    Raises:
        MissingPackageError: the package pyautoattack is not installed.

    >>> from securitynet_hub import load_images, load_target
    >>> classifier, images = PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1")), load_images()
    >>> x, y = classifier.as_pixels(images.pixels[2000:2002]), torch.tensor(images.labels[2000:2002])
    >>> changed = apgd_ce(classifier, x, y, threat=Threat(norm="Linf", eps=0.1), steps=3)
    >>> bool((changed - x).abs().max() <= 0.1 + 1e-6)
    True
    """
    attack = _part("autopgd_base").APGDAttack(
        classifier, n_iter=steps, n_restarts=restarts, loss="ce", rho=RHO, **_common(classifier, threat, seed)
    )
    return _run(attack, classifier, images, labels)


def apgd_t(
    classifier: PixelClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    steps: int = 100,
    targets: int = 9,
    seed: int = 0,
) -> torch.Tensor:
    """Run APGD on the targeted difference of logits ratio, towards the likeliest wrong classes in turn.

    ``DLR(x, y, t) = -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)`` with the logits in descending order
    (Croce & Hein 2020, arXiv 2003.01690, section 4). It is maximised, and does not change with the logits'
    scale.

    Args:
        classifier: as for `apgd_ce`, as are the next three.
        images: likewise.
        labels: likewise.
        threat: likewise.
        steps: number of steps towards each class.
        targets: number of classes; all wrong ones where there are fewer.
        seed: decides the starts.

    Raises:
        MissingPackageError: the package pyautoattack is not installed.

    >>> from securitynet_hub import load_images, load_target
    >>> classifier, images = PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1")), load_images()
    >>> x, y = classifier.as_pixels(images.pixels[2000:2002]), torch.tensor(images.labels[2000:2002])
    >>> changed = apgd_t(classifier, x, y, threat=Threat(norm="L2", eps=0.5), steps=3, targets=2)
    >>> bool(((changed - x) ** 2).sum((1, 2, 3)).max() <= 0.25 + 1e-6)
    True
    """
    attack = _part("autopgd_base").APGDAttack_targeted(
        classifier,
        n_iter=steps,
        n_restarts=1,
        n_target_classes=_targets(targets, classifier),
        rho=RHO,
        **_common(classifier, threat, seed),
    )
    return _run(attack, classifier, images, labels)


def fab_t(
    classifier: PixelClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    steps: int = 100,
    targets: int = 9,
    seed: int = 0,
) -> torch.Tensor:
    """Run FAB: look for the smallest change that leads to each of the likeliest wrong classes.

    ``x_(i+1) = (1 - a) (x_i + 1.05 d_i) + a (x + 1.05 d_x)``: d_i and d_x are projections onto the linearised
    boundary of x_i and of the image (Croce & Hein 2020, arXiv 1907.02044, algorithm 1).

    Args:
        classifier: as for `apgd_ce`, as are the next three.
        images: likewise.
        labels: likewise.
        threat: likewise; a smallest change that is longer than eps is no success.
        steps: number of steps towards each class.
        targets: as for `apgd_t`.
        seed: decides the starts of restarts; there is one start, the image.

    Raises:
        MissingPackageError: the package pyautoattack is not installed.

    >>> from securitynet_hub import load_images, load_target
    >>> classifier, images = PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1")), load_images()
    >>> x, y = classifier.as_pixels(images.pixels[2000:2002]), torch.tensor(images.labels[2000:2002])
    >>> changed = fab_t(classifier, x, y, threat=Threat(norm="Linf", eps=0.1), steps=3, targets=2)
    >>> bool((changed - x).abs().max() <= 0.1 + 1e-6)
    True
    """
    common = _common(classifier, threat, seed)
    common.pop("logger")
    attack = _part("fab_pt").FABAttack_PT(classifier, n_iter=steps, n_restarts=1, targeted=True, **common)
    attack.n_target_classes = _targets(targets, classifier)
    return _run(attack, classifier, images, labels)


def square(
    classifier: PixelClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    budget: int = 5000,
    seed: int = 0,
) -> torch.Tensor:
    """Run Square: random squares that are kept where they lower the margin, from scores alone.

    ``margin = z_y - max_(k != y) z_k``; a square of random colour and place becomes smaller with time
    (Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 1).

    Args:
        classifier: as for `apgd_ce`, as are the next three.
        images: likewise; in L2 their sides must be 5 pixels or longer.
        labels: likewise.
        threat: likewise.
        budget: most images that are asked about for one image.
        seed: decides the squares.

    Raises:
        MissingPackageError: the package pyautoattack is not installed.
        ValueError: images are too small for squares in L2.

    >>> from securitynet_hub import load_images, load_target
    >>> classifier, images = PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1")), load_images()
    >>> x, y = classifier.as_pixels(images.pixels[2000:2002]), torch.tensor(images.labels[2000:2002])
    >>> changed = square(classifier, x, y, threat=Threat(norm="Linf", eps=0.1), budget=5)
    >>> bool((changed - x).abs().max() <= 0.1 + 1e-6)
    True
    """
    if threat.norm == "L2" and min(images.shape[2:]) < 5:
        raise ValueError(f"square needs images of 5 pixels or more in L2; got {tuple(images.shape[2:])}.")
    common = _common(classifier, threat, seed)
    common.pop("logger")
    attack = _part("square").SquareAttack(
        classifier, n_queries=budget, n_restarts=1, p_init=SQUARE, resc_schedule=False, **common
    )
    return _run(attack, classifier, images, labels)


def apgd_ce_cost(*, steps: int, restarts: int) -> int:
    """Return the passes for one image."""
    return 1 + 2 * restarts * (steps + 1)


def apgd_t_cost(*, steps: int, targets: int) -> int:
    """Return the passes for one image."""
    return 1 + targets * (2 * (steps + 1) + 1)


def fab_t_cost(*, steps: int, targets: int) -> int:
    """Return the passes for one image."""
    return 1 + targets * (3 * steps + 3)


def square_cost(*, budget: int) -> int:
    """Return the passes for one image."""
    return budget + 3


def _targets(asked: int, classifier: PixelClassifier) -> int:
    return min(asked, classifier.target.num_classes - 1)


def _common(classifier: PixelClassifier, threat: Threat, seed: int) -> dict[str, Any]:
    return {
        "norm": threat.norm,
        "eps": threat.eps,
        "seed": seed,
        "device": classifier.device,
        "verbose": False,
        "logger": LOG,
    }


def _run(
    attack: Any, classifier: PixelClassifier, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    with _own_random_state(classifier.device), torch.no_grad():
        changed: torch.Tensor = attack.perturb(images.clone(), labels.clone())
    return changed


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Restore the random states that the package seeds."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _part(name: str) -> Any:
    """Import a module of the package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except ImportError as error:
        raise MissingPackageError(
            f"the attacks of AutoAttack need the package {PACKAGE}, which cannot be imported ({error}): pip "
            "install 'securitynet-hub[evasion]'"
        ) from error


ATTACKS = (
    Attack(
        name="apgd_ce",
        run=apgd_ce,
        summary="PGD with momentum and its own choice of steps, on the cross-entropy",
        formula="CE(f(x), y), maximised",
        source="Croce & Hein 2020, alg. 1",
        weights=True,
        order=4,
        package="pyautoattack",
        cost=apgd_ce_cost,
    ),
    Attack(
        name="apgd_t",
        run=apgd_t,
        summary="the same towards each of the likeliest wrong classes",
        formula="targeted DLR, maximised",
        source="Croce & Hein 2020, section 4",
        weights=True,
        order=5,
        package="pyautoattack",
        min_classes=4,
        cost=apgd_t_cost,
    ),
    Attack(
        name="fab_t",
        run=fab_t,
        summary="the smallest change that leads to each of the likeliest wrong classes",
        formula="length of the change, minimised",
        source="Croce & Hein 2020 (FAB), alg. 1",
        weights=True,
        order=6,
        package="pyautoattack",
        cost=fab_t_cost,
    ),
    Attack(
        name="square",
        run=square,
        summary="random squares, from scores alone",
        formula="z_y - largest other logit, minimised",
        source="Andriushchenko et al. 2020, alg. 1",
        order=7,
        package="pyautoattack",
        black_box=True,
        cost=square_cost,
    ),
)
