"""Every backdoor detector under one name: what it needs, and what it finds."""

from __future__ import annotations

import inspect
from typing import Any

from securitynet_hub.attacks.backdoor.detector import Clues, Finding
from securitynet_hub.attacks.backdoor.registry import DETECTORS
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.models.target import Target


def run_detector(name: str, target: Target, clues: Clues, **settings: Any) -> Finding:
    """Run a detector.

    Args:
        name: of `DETECTORS`.
        target: the classifier; it is left as it was.
        clues: what may be used beside it.
        settings: of the function behind the detector, such as ``restarts`` of `neural_cleanse`.

    Raises:
        UnknownNameError: no such detector or setting; the closest names are given.
        ValueError: something that the detector needs is missing; the sentence says what.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> finding = run_detector("mm_bd", target, Clues(), images_per_class=2, steps=5)
    >>> finding.score is not None, finding.suspect in range(10)
    (True, True)
    """
    if name not in DETECTORS:
        raise UnknownNameError("backdoor detector", name, DETECTORS)
    detector = DETECTORS[name]
    for setting in settings:
        if setting not in known_settings(name):
            raise UnknownNameError(f"setting of {name}", setting, known_settings(name))
    reason = why_not(name, target, clues)
    if reason is not None:
        raise ValueError(f"{name} cannot judge {target.id}: {reason}.")
    return detector.run(target, clues, **settings)


def runnable(target: Target, clues: Clues) -> dict[str, str | None]:
    """Return for every detector None if it can run, else the reason why it cannot.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> runnable(target, Clues())["neural_cleanse"], runnable(target, Clues())["mm_bd"]
    ('it needs clean images', None)
    """
    return {name: why_not(name, target, clues) for name in DETECTORS}


def why_not(name: str, target: Target, clues: Clues) -> str | None:
    """Return the first reason why a detector cannot run, or None."""
    return next(filter(None, (need(target, clues) for need in DETECTORS[name].needs)), None)


def known_settings(name: str) -> dict[str, Any]:
    """Return the settings of a detector and what they are by default.

    >>> known_settings("neuron_noise")["steps"]
    30
    """
    parameters = inspect.signature(DETECTORS[name].takes).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _FIXED}


_FIXED = {"clean", "seed", "on_step"}
"""Arguments that the clues or the caller decide."""
