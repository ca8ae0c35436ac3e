"""The smallest changes that all images share, in pixels and in features, against what is known by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.linear_targets import IMAGES, NORMALISED, Normalise, as_target, linear
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.additive_trigger import additive_triggers
from securitynet_hub.attacks.backdoor.ban import ban
from securitynet_hub.attacks.backdoor.bti_dbf import bti_dbf
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.feature_trigger import feature_triggers
from securitynet_hub.attacks.backdoor.head import Head, decouple
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
from securitynet_hub.attacks.backdoor.neuron_noise import neuron_noise
from securitynet_hub.attacks.backdoor.present import model_verdict
from securitynet_hub.attacks.backdoor.running import run_detector, runnable
from securitynet_hub.attacks.backdoor.shared_change import (
    Points,
    Search,
    judge_sizes,
    likely_classes,
    smallest_changes,
)
from securitynet_hub.attacks.backdoor.unlearning import covering, unlearn
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.transforms import Transform

PLAIN_GREY = Transform(height=8, width=8, channels=1)


def plane(values, weight, **limits):
    """Points of a linear classifier without bias."""
    values, weight = torch.tensor(values).double(), torch.tensor(weight).double()
    return Points(
        values=values,
        classify=lambda x: x @ weight.T,
        predicted=(values @ weight.T).argmax(1),
        **limits,
    )


class TestSmallestChanges:
    @pytest.mark.parametrize(("success", "needed"), [(1.0, 3.0), (0.5, 2.0)])
    def test_a_linear_classifier_s_is_the_distance_to_its_plane(self, success, needed):
        """Margins 1, 2 and 3 along the first axis: the change must close the largest of those that count."""
        points = plane([[1.0, 0.4], [2.0, -0.3], [3.0, 0.1]], [[1.0, 0.0], [0.0, 0.0]])
        found = smallest_changes(
            points, np.array([1]), Search(success=success, steps=300, learning_rate=0.02)
        )
        expected = needed / math.sqrt(2) / points.spread
        assert found.sizes[0] == pytest.approx(expected, rel=0.05)
        assert found.values[0] == pytest.approx([-needed, 0], abs=0.15)
        assert found.success_rates[0] >= success

    def test_limits_of_the_values_hold_and_what_they_cut_off_does_not_count(self):
        points = plane([[1.0, 0.0], [1.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]], floor=0.0)
        found = smallest_changes(points, np.array([1]), Search(success=1.0, steps=200))
        moved = np.maximum(points.values.numpy() + found.values[0], 0)
        assert (moved[:, 1] > moved[:, 0]).all()
        size = np.sqrt(np.square(moved - points.values.numpy()).mean()) / points.spread
        assert found.sizes[0] == pytest.approx(size, rel=1e-3)

    def test_sources_choose_the_images_and_a_pair_without_images_has_no_size(self):
        points = plane([[3.0, 0, 0], [5.0, 0, 0], [0, 1.0, 0]], np.eye(3).tolist())
        search = Search(success=1.0, steps=200)
        labels, sources = np.array([2, 2, 0, 0]), np.array([0, 1, 1, 2])
        found = smallest_changes(points, labels, search, sources=sources)
        assert np.isnan(found.sizes).tolist() == [False, False, False, True]
        assert found.sizes[0] > 3 * found.sizes[1]
        assert found.sizes[1] == pytest.approx(found.sizes[2], rel=0.05)

    def test_neither_company_nor_batches_matter(self):
        points = plane(np.random.default_rng(0).normal(size=(9, 4)), np.eye(4).tolist())
        together = smallest_changes(points, np.arange(4), Search(steps=60))
        alone = smallest_changes(points, np.array([3]), Search(steps=60, batch_size=2))
        assert alone.sizes[0] == pytest.approx(together.sizes[3], rel=1e-6)
        assert alone.values[0] == pytest.approx(together.values[3], rel=1e-5)

    def test_what_never_succeeds_has_no_size(self):
        never = Points(
            values=torch.rand(4, 3),
            classify=lambda x: x[:, :2] * 0 + torch.tensor([1.0, 0]),
            predicted=torch.zeros(4),
        )
        assert np.isnan(smallest_changes(never, np.array([1]), Search(steps=3)).sizes).all()

    def test_refuses(self):
        with pytest.raises(ValueError, match="must differ"):
            smallest_changes(plane([[1.0], [1.0]], [[1.0], [0.0]]), np.array([1]), Search())
        with pytest.raises(ValueError, match="steps"):
            Search(steps=0)

    def test_the_p_value_is_the_margins_test_of_the_reciprocals(self):
        sizes = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 0.1])
        score, p_value, suspect = judge_sizes(sizes)
        assert (suspect, score) == (5, pytest.approx(-math.log10(p_value)))
        assert p_value < 1e-3 < judge_sizes(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 0.93]))[1]
        assert judge_sizes(np.full(3, np.nan)) == (None, None, None)


class TestTriggers:
    def test_a_feature_that_sleeps_in_clean_images_is_the_smallest_change(self):
        rng = np.random.default_rng(0)
        values, weight = np.abs(rng.normal(size=(20, 6))), rng.normal(size=(5, 6))
        values[:, 5], weight[:, 5] = 0, 0
        weight[2, 5] = 20
        found = smallest_changes(plane(values, weight, floor=0.0), np.arange(5), Search(steps=60))
        assert int(np.nanargmin(found.sizes)) == 2

    def test_a_shortcut_s_change_lies_where_it_was_planted(self):
        change = additive_triggers(as_target(linear(planted=4)), IMAGES[:12], steps=40).changes.values[4]
        assert np.unravel_index(np.abs(change).argmax(), change.shape)[1:] == (7, 7)

    def test_normalisation_does_not_matter(self):
        outside = additive_triggers(as_target(linear(), NORMALISED), IMAGES, steps=15)
        within = additive_triggers(as_target(nn.Sequential(Normalise(), linear())), IMAGES, steps=15)
        assert within.changes.sizes == pytest.approx(outside.changes.sizes, rel=1e-3)

    def test_features_may_be_scaled_where_the_last_layer_is_scaled_back(self):
        """What the network computes is the same, so a class's size must be."""
        clean = load_target("zoo/fashion-mnist/cnn-clean/1")
        module = nn.Sequential(*list(clean.module)[:-1], Scale(4.0), nn.Linear(800, 10))
        with torch.no_grad():
            module[-1].weight.copy_(clean.module[-1].weight / 4)
            module[-1].bias.copy_(clean.module[-1].bias)
        images = load_images().pixels[2000:2012]
        scaled, plain = (
            feature_triggers(as_target(part, clean.transform), images, steps=20).changes.sizes
            for part in (module, clean.module)
        )
        assert scaled == pytest.approx(plain, rel=1e-3)

    def test_only_the_likely_classes_of_many_are_searched(self):
        found = feature_triggers(as_target(linear(classes=9)), IMAGES, steps=5, max_classes=4)
        assert len(found.classes) == len(found.changes.sizes) == 4
        assert likely_classes(torch.tensor([[0.0, 3, 2, 1]]), 2).tolist() == [1, 2]

    @pytest.mark.parametrize("name", ["additive_trigger", "feature_trigger"])
    def test_the_finding_names_the_class_and_its_p_value(self, name):
        target = as_target(linear(classes=8, planted=3))
        found = run_detector(name, target, DetectorInputs(clean=IMAGES), steps=60)
        assert found.suspect == 3
        assert found.score == pytest.approx(-math.log10(found.figures["p_value"]))
        assert len(found.figures["sizes"]) == len(found.figures["classes"]) == 8

    def test_a_network_without_a_last_linear_layer_is_refused_in_words(self):
        target = as_target(nn.Sequential(linear(precision=torch.float32), nn.Tanh()))
        reason = runnable(target, DetectorInputs(clean=IMAGES))["feature_trigger"]
        assert reason == "its logits are not those of one linear layer"
        with pytest.raises(ModelError, match="one linear layer"):
            Head.from_target(target)


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, values):
        return self.factor * values


class TestDecoupling:
    def test_the_mask_keeps_what_answers_rest_on_and_no_feature_against_them(self):
        """Features 0 and 1 say the class, 2 says another one, 3 says nothing."""
        weight = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
        head = Head(body=nn.Identity(), weight=weight, bias=torch.zeros(3))
        features = torch.tensor([[3.0, 0, 2, 1], [0, 3, 2, 1]])
        mask = decouple(head, features, torch.tensor([0, 1]))
        assert (mask[:2] > 0.9).all()
        assert mask[2] < 0.1

    def test_sparsity_closes_features_that_do_not_matter(self):
        head = Head(body=nn.Identity(), weight=torch.eye(2, 5), bias=torch.zeros(2))
        features = torch.tensor([[3.0, 0, 1, 1, 1], [0, 3, 1, 1, 1]])
        labels = torch.tensor([0, 1])
        plain, sparse = (decouple(head, features, labels, sparsity=s) for s in (0.0, 0.75))
        assert plain[2:].sum() > 5 * sparse[2:].sum()
        assert sparse[:2].min() > 0.9


class TestDecoupledDetectors:
    """BTI-DBF and BAN on a network with one benign and one sleeping feature, where the answer is known."""

    @staticmethod
    def network():
        """The brighter half decides between classes 0 and 1; a bright lower right pixel leads to 2."""
        head = nn.Linear(3, 3)
        layer = nn.Conv2d(1, 3, 8)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[0, 0, :6, :4] = 0.2
            layer.weight[1, 0, :6, 4:] = 0.2
            layer.weight[2, 0, 7, 7] = 20.0
            layer.bias.copy_(torch.tensor([0.0, 0.0, 0.1]))  # a ReLU at 0 has no slope
            head.weight.copy_(torch.eye(3))
            head.bias.zero_()
        return nn.Sequential(layer, nn.ReLU(), nn.Flatten(), head)

    @staticmethod
    def images():
        images = np.zeros((8, 8, 8, 1), np.uint8)
        images[:4, :6, :4], images[4:, :6, 4:] = 250, 250
        return images

    def test_bti_dbf_wakes_the_sleeping_feature(self):
        target = as_target(self.network(), PLAIN_GREY)
        found = bti_dbf(target, self.images(), steps=60)
        assert found.suspect == 2
        assert found.score > 0.9
        assert 0 < found.changed <= 0.3 + 1e-6

    def test_without_a_feature_to_wake_images_stay(self):
        module = self.network()
        with torch.no_grad():
            module[0].weight[2] = 0
        found = bti_dbf(as_target(module, PLAIN_GREY), self.images(), steps=40)
        assert found.shares[2] == 0

    def test_ban_without_sparsity_or_noise_shows_what_benign_features_hide(self):
        """A constant feature for class 2 is outweighed by the benign ones, until they are masked."""
        module = self.network()
        with torch.no_grad():
            module[0].weight[2] = 0
            module[0].bias[2] = 1.0
        target = as_target(module, PLAIN_GREY)
        assert neuron_noise(target, self.images(), epsilon=1e-3, steps=2).changed == 0
        found = ban(target, self.images(), epsilon=1e-3, steps=2)
        assert (found.suspect, found.score, found.changed) == (2, 1.0, 1.0)


class TestUnlearning:
    def test_a_planted_pixel_is_unlearnt_and_the_model_stays_as_it_was(self):
        module = linear(planted=4)
        target = as_target(module)
        mask, pattern = np.zeros((8, 8), np.float32), np.ones((8, 8, 2), np.float32)
        mask[7, 7] = 1
        weight = module[1].weight.detach().clone()
        images = IMAGES.copy()
        images[:, 7, 7] = 60
        found = unlearn(target, images, covering(mask, pattern), 4, steps=300, learning_rate=0.2)
        assert found.success_before > 0.8
        assert found.success_after < 0.2
        assert torch.equal(module[1].weight, weight)
        assert unlearn(target, images, covering(mask, pattern), 4, steps=0).agreement == 1

    def test_neural_cleanse_tells_it_on_request(self):
        target = as_target(linear(planted=4))
        settings = {"restarts": 1, "schedule": replace(FAST, steps=20)}
        plain = run_detector("neural_cleanse", target, DetectorInputs(clean=IMAGES), **settings)
        assert not any(name.startswith("unlearning") for name in plain.figures)
        found = run_detector(
            "neural_cleanse", target, DetectorInputs(clean=IMAGES), unlearning_steps=3, **settings
        )
        assert found.inversion.unlearning is not None
        assert 0 <= found.figures["unlearning_agreement"] <= 1
        entry = SimpleNamespace(attack="neural_cleanse", record=SimpleNamespace(result=found.figures))
        text = model_verdict([entry]).text
        assert ("training against the trigger" in text) == (
            found.inversion.unlearning.success_before is not None
        )
