"""Run one backdoor detector: what it needs, and what it finds."""

from __future__ import annotations

from typing import Any

from securitynet_hub.attacks.backdoor.attack import Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.registry import detectors, find
from securitynet_hub.models.target import Target


def run_detector(name: str, target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run a detector.

    Args:
        name: of the detector.
        target: the classifier; it is left as it was.
        inputs: what may be used beside it.
        settings: of the function behind the detector, such as ``restarts`` of `neural_cleanse`.

    Raises:
        UnknownNameError: no such detector or setting; the closest names are given.
        ValueError: something that the detector needs is missing; the sentence says what.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> finding = run_detector("mm_bd", target, DetectorInputs(), images_per_class=2, steps=5)
    >>> finding.score is not None, finding.suspect in range(10)
    (True, True)
    """
    detector = find(name)
    detector.require_settings(settings)
    reason = detector.why_not(target, inputs)
    if reason is not None:
        raise ValueError(f"{name} cannot judge {target.id}: {reason}.")
    found: Finding = detector.run(target, inputs, **settings)
    return found


def runnable(target: Target, inputs: DetectorInputs) -> dict[str, str | None]:
    """Return for every detector None if it can run, else the reason why it cannot.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> reasons = runnable(target, DetectorInputs())
    >>> reasons["neural_cleanse"], reasons["mm_bd"]
    ('it needs clean images', None)
    """
    return {name: detector.why_not(target, inputs) for name, detector in detectors().items()}
