"""Every backdoor detector by its name: what it is called with, and what must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from securitynet_hub.attacks.backdoor.activation_clustering import activation_clusters
from securitynet_hub.attacks.backdoor.detector import (
    Clues,
    Detector,
    Finding,
    needs_batch_norm,
    needs_classes,
    needs_clean,
    needs_flat_images,
    needs_inputs,
    needs_layers,
    needs_more_images_than_classes,
    needs_pixel_space,
    needs_training,
)
from securitynet_hub.attacks.backdoor.ibd_psc import ibd_psc_scores
from securitynet_hub.attacks.backdoor.mm_bd import FEWEST, mm_bd
from securitynet_hub.attacks.backdoor.neo import neo_scores
from securitynet_hub.attacks.backdoor.neural_cleanse import neural_cleanse
from securitynet_hub.attacks.backdoor.neuron_noise import neuron_noise
from securitynet_hub.attacks.backdoor.scale_up import scale_up_scores
from securitynet_hub.attacks.backdoor.spectral import spectral_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.attacks.backdoor.ted import ted_scores
from securitynet_hub.core.arrays import Scores
from securitynet_hub.models.target import Target


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


def _strip(target: Target, clues: Clues, **settings: Any) -> Finding:
    scores = strip_scores(
        target, _given(clues.inputs), clean=_given(clues.clean), seed=clues.seed, **settings
    )
    return Finding(scores=scores)


def _of_inputs(scores: Callable[..., Scores]) -> Callable[..., Finding]:
    def run(target: Target, clues: Clues, **settings: Any) -> Finding:
        return Finding(scores=scores(target, _given(clues.inputs), clean=_given(clues.clean), **settings))

    return run


def _spectral(target: Target, clues: Clues, **settings: Any) -> Finding:
    return Finding(scores=spectral_scores(target, _given(clues.training), _given(clues.told), **settings))


def _clusters(target: Target, clues: Clues, **settings: Any) -> Finding:
    found = activation_clusters(target, _given(clues.training), _given(clues.told), **settings)
    return Finding(scores=found.scores, figures={"clusters": [each._asdict() for each in found.classes]})


def _given(images: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    assert images is not None  # what `needs_clean`, `needs_inputs` and `needs_training` are for
    return images


_INPUTS = (needs_inputs, needs_clean)
_TRAINING = (needs_training, needs_layers)

DETECTORS: dict[str, Detector] = {
    "neural_cleanse": Detector(
        _neural_cleanse, neural_cleanse, (needs_clean, needs_classes(3), needs_pixel_space)
    ),
    "mm_bd": Detector(_mm_bd, mm_bd, (needs_classes(FEWEST), needs_pixel_space)),
    "neuron_noise": Detector(_neuron_noise, neuron_noise, (needs_clean, needs_classes(3))),
    "strip": Detector(_strip, strip_scores, _INPUTS, "inputs"),
    "neo": Detector(
        _of_inputs(neo_scores), neo_scores, (*_INPUTS, needs_flat_images), "inputs", costly=True
    ),
    "scale_up": Detector(_of_inputs(scale_up_scores), scale_up_scores, _INPUTS, "inputs"),
    "ibd_psc": Detector(_of_inputs(ibd_psc_scores), ibd_psc_scores, (*_INPUTS, needs_batch_norm), "inputs"),
    "ted": Detector(
        _of_inputs(ted_scores), ted_scores,
        (*_INPUTS, needs_layers, needs_more_images_than_classes), "inputs",
    ),
    "spectral_signatures": Detector(_spectral, spectral_scores, _TRAINING, "training"),
    "activation_clustering": Detector(_clusters, activation_clusters, _TRAINING, "training"),
}  # fmt: skip
"""Every detector by its public name."""
