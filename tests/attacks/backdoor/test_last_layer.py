"""Aversions by hand, and the zoo's target classes from weights alone."""

import numpy as np
import pytest

from securitynet_hub import load_target
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.last_layer import aversions, judge_last_layer
from securitynet_hub.attacks.backdoor.running import run_detector, runnable
from securitynet_hub.zoo.recipes import zoo_models


def test_aversions_are_minus_the_mean_cosine_with_the_others():
    rows = np.random.default_rng(0).normal(size=(7, 5))
    cosines = np.array(
        [
            [a @ b / np.sqrt((a @ a) * (b @ b)) for k, b in enumerate(rows) if k != i]
            for i, a in enumerate(rows)
        ]
    )
    np.testing.assert_allclose(aversions(rows), -cosines.mean(1))
    np.testing.assert_allclose(aversions(rows * np.arange(1, 8)[:, None]), -cosines.mean(1))


def test_a_row_of_zeros_counts_as_orthogonal():
    assert aversions([[0, 0], [1, 0], [1, 0]]).tolist() == [0.0, -0.5, -0.5]


@pytest.mark.parametrize("weights", [[[1.0, 2.0]], [1.0, 2.0], [[1.0, np.nan], [1.0, 2.0]]])
def test_other_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        aversions(weights)


def test_equal_classes_have_no_score():
    assert judge_last_layer(np.eye(5)).score is None


def test_it_names_the_target_of_every_backdoored_network_of_the_zoo():
    named = [
        run_detector("last_layer", load_target(model.id), DetectorInputs()).suspect == model.target_class
        for model in zoo_models()
        if model.kind == "backdoored"
    ]
    assert named == [True] * 12


def test_it_needs_no_images():
    reasons = runnable(load_target("zoo/fashion-mnist/cnn-clean/1"), DetectorInputs())
    assert reasons["last_layer"] is None
