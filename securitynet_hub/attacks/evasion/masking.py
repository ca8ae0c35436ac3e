"""Signs that gradients lead nowhere, so that attacks along them say little: gradient masking.

After Athalye, Carlini & Wagner 2018, arXiv 1802.00420, section 3.1, and Carlini et al. 2019, arXiv
1902.06705, section 5. None of these proves that a model is robust; each says that a high robust accuracy
may not be believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Planned, Tally
from securitynet_hub.models.perturbations import fgsm, loss_slopes, pgd

IMAGES = 16
"""Images of one size that are looked at."""

STEPS = 10
"""Steps of PGD in these checks."""

WIDER = (1, 2, 4)
"""Multiples of eps that are tried."""

NO_LIMIT = 0.95
"""Share of images that an attack without a limit should break."""

RANDOM = 1e-4
"""Largest relative difference of logits between two equal passes."""

FEW = 0.002
"""Share of images that attacks without gradients may break beyond the others, as AutoAttack has it."""


def check_masking(subject: Subject) -> tuple[list[dict[str, Any]], Tally]:
    """Look at the gradients of some correctly classified images; return the checks and their cost.

    - ``zero gradients``: no image's loss has a gradient of zeros alone.
    - ``one step``: one step breaks no more images than many steps do.
    - ``larger changes``: a larger eps breaks no fewer images.
    - ``no limit``: changes without a limit break nearly every image.
    - ``same answers``: two equal passes give the same logits.

    Each check holds ``name``, ``passed``, ``found`` in words, ``n`` and its figures.
    """
    classifier, threat = subject.classifier, subject.threat
    before = classifier.forwarded, classifier.gradients
    checks: list[dict[str, Any]] = []
    with classifier.attacked():
        chosen = _right_ones(subject)
        if chosen is not None:
            images, labels = chosen
            n = len(images)
            first, second = classifier(images), classifier(images)
            apart = float((first - second).abs().max() / (1e-3 + first.abs().max()))
            checks.append(
                _check("same answers", apart <= RANDOM, f"logits differ by {apart:.1e} between two passes", n)
            )
            zero = int((loss_slopes(classifier, images, labels).flatten(1) == 0).all(1).sum())
            checks.append(
                _check("zero gradients", zero == 0, f"{zero} of {n} gradients are zero", n, zero=zero)
            )

            def broken_at(radius: float, steps: int = STEPS) -> int:
                changed = pgd(
                    classifier,
                    images,
                    labels,
                    norm=threat.norm,
                    radius=radius,
                    steps=steps,
                    step_size=2.5 * radius / steps,
                    generator=torch.Generator().manual_seed(subject.seed),
                )
                return int((classifier.labels(changed) != labels).sum())

            once = fgsm(classifier, images, labels, norm=threat.norm, radius=threat.eps)
            one = int((classifier.labels(once) != labels).sum())
            by_radius = [broken_at(factor * threat.eps) for factor in WIDER]
            checks.append(
                _check(
                    "one step",
                    one <= by_radius[0],
                    f"one step breaks {one} of {n}, {STEPS} steps break {by_radius[0]}",
                    n,
                    one_step=one,
                    many_steps=by_radius[0],
                )
            )
            shown = ", ".join(str(count) for count in by_radius)
            checks.append(
                _check(
                    "larger changes",
                    bool((np.diff(by_radius) >= 0).all()),
                    f"1, 2 and 4 times eps break {shown} of {n}",
                    n,
                    broken=by_radius,
                )
            )
            whole = broken_at(1.0 if threat.norm == "Linf" else math.sqrt(images[0].numel()))
            checks.append(
                _check(
                    "no limit",
                    whole >= NO_LIMIT * n,
                    f"changes without a limit break {whole} of {n}",
                    n,
                    broken=whole,
                )
            )
    forwarded, gradients = classifier.forwarded - before[0], classifier.gradients - before[1]
    return checks, Tally(n=0 if chosen is None else len(images), forwarded=forwarded, gradients=gradients)


def check_black_box(
    planned: Sequence[Planned], rows: Sequence[Mapping[str, Any]], n: int
) -> list[dict[str, Any]]:
    """Check that attacks on answers alone break hardly any image that gradients have left.

    Args:
        planned: the attacks that were run.
        rows: for each its name, how many images it was tried on, and how many it broke.
        n: how many images were attacked in all.
    """
    along = any(each.attack.weights for each in planned)
    names = [each.attack.name for each in planned if each.attack.black_box]
    blind = [row for row in rows if row["attack"] in names and row["n"]]
    tried = max((row["n"] for row in blind), default=0)
    if not along or not tried:
        return []
    broken = sum(row["n_broken"] for row in blind)
    who = ", ".join(row["attack"] for row in blind)
    found = f"{who} broke {broken} of {tried} images that attacks along gradients had left"
    return [_check("black box", broken <= FEW * n, found, tried, broken=broken)]


def _check(name: str, passed: bool, found: str, n: int, **figures: Any) -> dict[str, Any]:
    return {"name": name, "passed": bool(passed), "found": found, "n": n, **figures}


def _right_ones(subject: Subject) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the first images of the first one's size that the model classifies correctly."""
    images, labels = subject.read(subject.rows[: 2 * IMAGES])
    alike = [place for place, image in enumerate(images) if image.shape == images[0].shape]
    pixels = subject.classifier.as_pixels([images[place] for place in alike])
    truth = torch.from_numpy(labels[np.array(alike)].astype(np.int64)).to(pixels.device)
    right = torch.nonzero(subject.classifier.labels(pixels) == truth).flatten()[:IMAGES]
    return (pixels[right], truth[right]) if len(right) else None
