"""What attacks on robustness may take: images, passes and a rough time, told before they begin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from securitynet_hub.attacks.evasion.kind import Options
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import TOGETHER, Planned
from securitynet_hub.core.text import duration
from securitynet_hub.engine.processes import find_place

SHORT = 10.0
"""Seconds that need no word in advance."""

TIMED = 8
"""Images whose pass is timed."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What attacks on some images take.

    Attributes:
        images: how many are attacked at most.
        least: passes, forward and backward, where the first attack misleads the model on every image.
        most: passes where every image withstands all attacks; no more than are allowed.
        seconds: for one pass of one image; None where that is not known.
    """

    images: int
    least: int
    most: int
    seconds: float | None

    def sentence(self, attacks: Sequence[str], options: Options) -> str:
        """Say how many images, passes and about how much time it is.

        >>> cost = Cost(images=200, least=800, most=90_000, seconds=0.01)
        >>> cost.sentence(["fgsm", "pgd"], Options())
        'fgsm, pgd: 200 images, 800 passes (about 8 s) where the first attack misleads the model on all of \
them, at most 90,000 (about 15 min) where all withstand every attack. robust_images= (--robust-images), \
width= (--width) and passes= (--passes) limit that.'
        """
        several = len(attacks) > 1
        named = ", ".join(attacks[:3]) + (f" and {len(attacks) - 3} more" if len(attacks) > 3 else "")
        most = f"at most {self.most:,} passes{self._time(self.most)}"
        if several and self.least < self.most:
            most = (
                f"{self.least:,} passes{self._time(self.least)} where the first attack misleads the model on "
                f"all of them, at most {self.most:,}{self._time(self.most)} where all withstand every attack"
            )
        if options.width is not None:
            most += f"; it ends earlier once the interval is {options.width:g} wide"
        limits = "robust_images= (--robust-images)"
        if several:
            limits += ", width= (--width) and passes= (--passes)"
        verb = "limit" if several else "limits"
        return f"{named}: {self.images:,} images, {most}. {limits} {verb} that."

    def _time(self, passes: int) -> str:
        return "" if self.seconds is None else f" (about {duration(passes * self.seconds)})"


def find_cost(planned: Sequence[Planned], images: int, options: Options, seconds: float | None) -> Cost:
    """Return what planned attacks take, the cheapest first, each on the images that the others have left.

    >>> from securitynet_hub.attacks.evasion.kind import KIND
    >>> both = [Planned(attack=KIND.attacks[name]) for name in ("fgsm", "pgd")]
    >>> cost = find_cost(both, 10, Options(), None)
    >>> cost.least == 10 * (1 + 3), cost.most == 10 * (1 + 3 + 41)  # the image, FGSM, 20 steps there and back
    (True, True)
    """
    most = images * (1 + sum(each.cost for each in planned))
    least = images * (1 + min(planned, key=lambda each: each.attack.order).cost)
    if options.passes is not None:
        least, most = min(least, options.passes), min(most, options.passes)
    return Cost(images=images, least=least, most=most, seconds=seconds)


def say_cost(subject: Subject, planned: Sequence[Planned], options: Options) -> str | None:
    """Say what planned attacks may take; None where they are surely done in a few seconds.

    A few images are asked about to time a pass; a function or a service is not, as it may count its queries.
    """
    cost = find_cost(planned, len(subject.rows), options, None)
    names = [each.attack.name for each in planned]
    if not subject.classifier.target.has_weights:
        return cost.sentence(names, options)
    processes = find_place().of
    once = _time_passes(subject, 1)
    if once * cost.most / processes < SHORT:
        return None
    seconds = _time_passes(subject, min(TIMED, TOGETHER, len(subject.rows))) / processes
    cost = find_cost(planned, cost.images, options, seconds)
    return None if seconds * cost.most < SHORT else cost.sentence(names, options)


def _time_passes(subject: Subject, count: int) -> float:
    """Return the seconds that one image takes where some of one size are forwarded together."""
    classifier = subject.classifier
    images, _ = subject.read(subject.rows[:count])
    alike = [image for image in images if image.shape == images[0].shape]
    before = classifier.forwarded, classifier.gradients
    with classifier.attacked():
        pixels = classifier.as_pixels(alike)
        spent = []
        for _ in range(2):  # the first one may prepare things
            began = time.perf_counter()
            classifier.labels(pixels).cpu()
            spent.append(time.perf_counter() - began)
    classifier.forwarded, classifier.gradients = before
    return min(spent) / len(alike)
