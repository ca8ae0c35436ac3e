"""Every backdoor detector under one name: what it needs, and what it finds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.inversion import Inversion
from securitynet_hub.attacks.backdoor.mm_bd import FEWEST, mm_bd
from securitynet_hub.attacks.backdoor.neural_cleanse import neural_cleanse
from securitynet_hub.attacks.backdoor.neuron_noise import neuron_noise
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.errors import UnknownNameError
from securitynet_hub.targets import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Clues:
    """What a detector may use beside the model.

    Attributes:
        clean: shape (n, height, width, channels), uint8: clean images of the model's domain.
        inputs: of the same form: images of which some may carry a trigger; for detectors of inputs.
        seed: of everything that a detector draws.
    """

    clean: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    inputs: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What a detector says of a model, or of each of its inputs.

    Attributes:
        score: higher = more likely poisoned; None where nothing could be told.
        suspect: the class that a backdoor would lead to; None where the detector names none.
        figures: everything else that belongs into a record.
        inversion: the triggers, of a detector that recovers them.
        scores: shape (inputs,), higher = more likely poisoned, of a detector of inputs.
    """

    score: float | None
    suspect: int | None
    figures: dict[str, Any]
    inversion: Inversion | None = None
    scores: npt.NDArray[np.float64] | None = None


Need = Callable[[Target, Clues], "str | None"]
"""Why a detector cannot run, or None."""


class Detector(NamedTuple):
    """A row of `DETECTORS`.

    Attributes:
        run: (target, clues, settings) -> finding.
        takes: the function whose keyword arguments are the detector's settings.
        needs: what must hold.
        judges: ``model``, or each of the ``inputs``.
    """

    run: Callable[..., Finding]
    takes: Callable[..., Any]
    needs: tuple[Need, ...] = ()
    judges: Literal["model", "inputs"] = "model"


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

    >>> from securitynet_hub.targets import load_target
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

    >>> from securitynet_hub.targets import load_target
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


_FIXED = {"seed", "on_step"}
"""Arguments that the clues or the caller decide."""


def needs_clean(target: Target, clues: Clues) -> str | None:
    """Tell that clean images are missing."""
    return None if clues.clean is not None and len(clues.clean) else "it needs clean images"


def needs_inputs(target: Target, clues: Clues) -> str | None:
    """Tell that there are no inputs to judge."""
    return None if clues.inputs is not None and len(clues.inputs) else "it needs inputs to judge"


def needs_classes(fewest: int) -> Need:
    """Return the need for so many classes."""

    def need(target: Target, clues: Clues) -> str | None:
        enough = target.num_classes >= fewest
        return None if enough else f"it needs {fewest} or more classes, the model has {target.num_classes}"

    return need


def needs_batch_norm(target: Target, clues: Clues) -> str | None:
    """Tell that the model has no BatchNorm."""
    import torch

    kinds = torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d
    found = any(isinstance(part, kinds) for part in target.module.modules())
    return None if found else "it needs a model with BatchNorm"


def needs_pixel_space(target: Target, clues: Clues) -> str | None:
    """Tell that gradients cannot reach the pixels."""
    try:
        PixelSpace.of(target)
    except ValueError as error:
        return str(error).removesuffix(".")
    return None


def _neural_cleanse(target: Target, clues: Clues, **settings: Any) -> Finding:
    found = neural_cleanse(target, _given(clues.clean), seed=clues.seed, **settings)
    measured = found.measure()
    ratio = measured["norm_ratio"]
    return Finding(
        score=None if ratio is None else -math.log2(max(ratio, 1e-9)),
        suspect=measured["smallest_class"],
        figures={
            **measured,
            "classes": found.classes.tolist(),
            "controls": found.controls.tolist(),
            "norms": [[None if math.isnan(n) else n for n in row] for row in found.norms.tolist()],
            "success_rates": found.success_rates.tolist(),
            "steps": found.steps.tolist(),
        },
        inversion=found,
    )


def _mm_bd(target: Target, clues: Clues, **settings: Any) -> Finding:
    found = mm_bd(target, seed=clues.seed, **settings)
    figures = {"p_value": found.p_value, "margins": found.margins.tolist()}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


def _neuron_noise(target: Target, clues: Clues, **settings: Any) -> Finding:
    found = neuron_noise(target, _given(clues.clean), **settings)
    figures = {"shares": found.shares.tolist(), "changed": found.changed}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


def _given(images: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    assert images is not None  # what `needs_clean` and `needs_inputs` are for
    return images


DETECTORS: dict[str, Detector] = {
    "neural_cleanse": Detector(
        _neural_cleanse, neural_cleanse, (needs_clean, needs_classes(3), needs_pixel_space)
    ),
    "mm_bd": Detector(_mm_bd, mm_bd, (needs_classes(FEWEST), needs_pixel_space)),
    "neuron_noise": Detector(_neuron_noise, neuron_noise, (needs_clean, needs_classes(3))),
}
"""Every detector by its public name."""
