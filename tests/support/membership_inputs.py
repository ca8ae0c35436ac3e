"""A made-up target with reference models, on which every membership attack must work."""

import numpy as np
import pytest

from securitynet_hub.attacks.membership.registry import attacks

CLASSES, MODELS = 4, 12

ATTACKS = {name: attack for name, attack in attacks().items() if attack.shares_pass}
"""Every attack that works on answers."""

NEEDS = {name: tuple(need for need in ATTACKS[name].needs if need != "labels") for name in ATTACKS}
"""The fields that each needs beyond outputs and labels."""

LABELLED = {name for name, attack in ATTACKS.items() if attack.labelled}

SLOW = {"mlp_full", "mlp_full_unlabelled", "mlp_top3_unlabelled", "quantile", "pinball"}

NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ATTACKS]


def world(n=400, seed=0, *, lift=3.5, m=300):
    """A target and reference models that lift the label's logit of what they were trained on.

    Samples differ in difficulty, so that reference models help.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=(n + m, 1)) * 3
    labels = rng.integers(0, CLASSES, n + m)
    is_member = np.arange(n) % 2 == 0
    trained = np.zeros((MODELS + 1, n + m), bool)
    trained[:, :n] = rng.random((MODELS + 1, n)).argsort(0) < (MODELS + 1) // 2
    trained[0, :n] = is_member
    trained[1, :n], trained[2, :n] = True, False  # every sample is in one model and out of another
    logits = 0.5 * rng.normal(size=(MODELS + 1, n + m, CLASSES))
    margin = difficulty[:, 0] + lift * trained
    np.put_along_axis(logits, np.broadcast_to(labels[:, None], (MODELS + 1, n + m, 1)), margin[..., None], 2)
    return {
        "outputs": logits[0, :n],
        "labels": labels[:n],
        "is_member": is_member,
        "from_logits": True,
        "calibration": 0.5,
        "reference_outputs": logits[1:, :n],
        "reference_in": trained[1:, :n],
        "population_outputs": logits[0, n:],
        "population_labels": labels[n:],
        "reference_population_outputs": logits[1:, n:],
        "features": difficulty[:n],
        "penultimate": rng.normal(size=(n, 3)),
        "base_features": (difficulty * np.eye(CLASSES)[labels] + rng.normal(size=(n + m, CLASSES)))[:n],
    }
