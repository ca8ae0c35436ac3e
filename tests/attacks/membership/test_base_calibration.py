"""Calibration by the base model: what is expected of a sample never depends on that sample."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from securitynet_hub import audit, black_box, load_target
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.membership.audit import applicable
from securitynet_hub.attacks.membership.base_calibration import (
    PENALTIES,
    base_calibrated_scores,
    describe_features,
    find_base,
    probe_margins,
)
from securitynet_hub.attacks.membership.kind import Options
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.cli.main import build_parser
from securitynet_hub.core.errors import AccuracyWarning, WeightsError
from securitynet_hub.data.images import load_images
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.zoo_networks import TRANSFORM
from securitynet_hub.statistics.rates import roc_auc

TARGET, BASE = "zoo/fashion-mnist/cnn-overfitted-250/1", "zoo/fashion-mnist/bn-cnn-clean/1"


def own_network(classes=10):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, classes))


def fine_tuned(n=300, seed=0):
    """Features that tell most samples' class, and margins that are higher by 3 for the target's members."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(0, 3, n), rng.random(n) < 0.5
    features = 2 * np.eye(3)[labels] + rng.normal(size=(n, 3))
    hard = 3 * features[np.arange(n), labels] - features.sum(1)
    margin = hard + 3 * is_member + 0.5 * rng.normal(size=n)
    return margin, features, labels, is_member


def refitted(features, labels):
    """The margin of each label by a ridge regression that is fitted anew to all other samples."""
    one_hot, n = np.eye(labels.max() + 1)[labels], len(labels)
    squares = np.linalg.svd(features - features.mean(0), compute_uv=False)[: n - 1] ** 2
    candidates = []
    for penalty in PENALTIES:
        shares = np.empty(one_hot.shape)
        for i in range(n):
            others = np.arange(n) != i
            # The intercept is free, and centring is by all samples: a column of ones without a penalty.
            x = np.column_stack([np.ones(n), features])
            weight = np.diag([0.0, *[penalty * squares.mean()] * features.shape[1]])
            own = x[others]
            shares[i] = x[i] @ np.linalg.solve(own.T @ own + weight, own.T @ one_hot[others])
        candidates.append(shares)
    best = min(candidates, key=lambda shares: ((shares - one_hot) ** 2).sum())

    def log_loss(scale):
        return -log_softmax(np.exp(scale) * best, axis=1)[np.arange(n), labels].mean()

    logits = best * np.exp(minimize_scalar(log_loss, bounds=np.log([0.1, 200]), method="bounded").x)
    rest = np.where(one_hot == 1, -np.inf, logits)
    return logits[np.arange(n), labels] - np.log(np.exp(rest).sum(1))


@pytest.mark.parametrize("columns", [3, 60])
def test_the_probe_is_one_that_was_fitted_without_the_sample(columns):
    _, features, labels, _ = fine_tuned(40)
    wide = np.hstack([features, np.random.default_rng(1).normal(size=(40, columns - 3))])
    np.testing.assert_allclose(probe_margins(wide, labels), refitted(wide, labels), rtol=1e-5, atol=1e-6)


def test_a_sample_s_own_signal_does_not_move_what_is_expected_of_it():
    signals, features, labels, _ = fine_tuned()
    before = base_calibrated_scores(signals, features, labels)
    for row in (0, 7, 299):
        moved = signals.copy()
        moved[row] += 5
        after = base_calibrated_scores(moved, features, labels)
        assert after[row] - before[row] == pytest.approx(5)
        assert (after != before).sum() > 200  # of others more is expected


def test_members_that_are_hard_stand_out():
    for seed in range(3):
        signals, features, labels, is_member = fine_tuned(600, seed)
        scores = base_calibrated_scores(signals, features, labels)
        assert roc_auc(scores, is_member) > roc_auc(signals, is_member) + 0.05


def test_without_a_leak_scores_tell_nothing():
    signals, features, labels, _ = fine_tuned(2000)
    other = np.random.default_rng(5).random(2000) < 0.5
    assert roc_auc(base_calibrated_scores(signals, features, labels), other) == pytest.approx(0.5, abs=0.04)


def test_a_base_to_which_all_samples_are_alike_keeps_the_order_within_a_class():
    signals, _, labels, _ = fine_tuned()
    scores = base_calibrated_scores(signals, np.ones((300, 4)), labels)
    for label in range(3):
        own = labels == label
        assert np.array_equal(scores[own].argsort(), signals[own].argsort())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_features": np.zeros((20, 0))}, r"base_features \(n, d\); got .*\(20, 0\)"),
        ({"base_features": np.zeros((19, 2))}, "one row for each of 20 samples.*got 19 rows"),
        ({"base_features": np.full((20, 2), np.nan)}, r"base_features must be finite; 20 row\(s\)"),
        ({"labels": np.zeros(20)}, "labels be integers; got 20 rows, and labels of float64"),
        (
            {"signals": [0.0] * 9, "base_features": [[0.0]] * 9, "labels": [0] * 9},
            "takes 10 samples at least",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {"signals": np.zeros(20), "base_features": np.zeros((20, 2)), "labels": np.arange(20)}
    with pytest.raises(ValueError, match=message):
        base_calibrated_scores(**(good | change))


@pytest.fixture(scope="module")
def data():
    """Two hundred of the samples that the target was, or was not, trained on."""
    whole = known_data(load_target(TARGET).annotation)
    sides = {"members": whole.split.members[:100], "nonmembers": whole.split.nonmembers[:100]}
    return replace(whole, split=Split(**sides))


class TestAudit:
    def test_the_record_names_the_base(self, data):
        record, other = audit(TARGET, attacks=["base_calibration", "loss"], base=BASE, data=data)
        assert record.attack["base"]["id"] == BASE
        assert record.attack["base"]["weights_hash"] == load_target(BASE).annotation.weights_hash
        assert "base" not in other.attack
        assert record.counts["base_forwarded"] == record.counts["forwarded"] == 200

    def test_it_is_the_function_behind_it(self):
        data, target, base = (
            known_data(load_target(TARGET).annotation),
            load_target(TARGET),
            load_target(BASE),
        )
        rows = data.split.indices
        labels = data.images.labels[rows].astype(int)
        logits = predict(target, data.images.pixels[rows]).astype(np.float64)
        signals = logits[np.arange(len(rows)), labels] - np.logaddexp.reduce(logits, 1)
        features = describe_features(base, data.images.select(rows))
        (record,) = audit(target, attacks=["base_calibration"], base=base, data=data)
        scores = base_calibrated_scores(signals, features, labels)
        assert record.result["auc"] == pytest.approx(roc_auc(scores, data.split.is_member), abs=1e-4)

    def test_a_group_takes_it_where_a_base_is_named(self, data):
        for base in (None, BASE):
            found = applicable(load_target(TARGET), data, Options(base=base), Context())
            assert ("base_calibration" in found) == (base is not None)
        with pytest.raises(ValueError, match=r"with the public model .* name it with base="):
            audit(TARGET, attacks=["base_calibration"], data=data)

    def test_the_target_is_no_base_of_itself(self, data):
        with pytest.raises(ValueError, match="the base model must be another model than the target"):
            audit(TARGET, attacks=["base_calibration"], base=TARGET, data=data)

    def test_a_base_that_only_answers_is_described_by_its_logits(self):
        base = black_box(lambda x: x.mean((1, 2)) * np.arange(10.0), num_classes=10, outputs="logits")
        images = load_images()
        features = describe_features(base, images.select(np.arange(4)))
        np.testing.assert_allclose(features, predict(base, images.pixels[:4]))


class TestOwnCheckpoint:
    """A base of one's own is a file of weights for the network that the target's weights are in."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        """Files of a target, of its base, of a base with another head, and of one below another key."""
        folder = tmp_path_factory.mktemp("own")
        torch.manual_seed(0)
        for name in ("target", "base"):
            save_file(own_network().state_dict(), folder / f"{name}.safetensors")
        save_file(own_network(3).state_dict(), folder / "other.safetensors")
        for name in ("target", "base"):
            torch.save(
                {"net": own_network().state_dict(), "ema": own_network().state_dict()}, folder / f"{name}.pt"
            )
        return folder

    def test_it_gets_the_target_s_network_and_preprocessing(self, folder):
        target = load_target(f"file:{folder}/target.safetensors", module=own_network, transform=TRANSFORM)
        base = find_base(f"file:{folder}/base.safetensors", target)
        assert base.transform == target.transform
        saved = load_file(folder / "base.safetensors")
        for name, tensor in base.module.state_dict().items():
            assert torch.equal(tensor, saved[name.removeprefix("network.")])
        pixels = load_images().select(np.arange(6))
        assert describe_features(base, pixels).shape == (6, 784)

    def test_its_weights_lie_where_the_target_s_do(self, folder):
        target = load_target(
            f"file:{folder}/target.pt", module=own_network, transform=TRANSFORM, key_prefix="ema"
        )
        base = find_base(f"file:{folder}/base.pt", target)
        assert base.annotation.weights_key_prefix == "ema"
        plain = find_base(f"file:{folder}/base.safetensors", target)  # and where they lie elsewhere
        assert not plain.annotation.weights_key_prefix

    def test_another_network_is_told_with_the_way_out(self, folder):
        target = load_target(f"file:{folder}/target.safetensors", module=own_network, transform=TRANSFORM)
        with pytest.raises(WeightsError, match=r"read into the target's network.*module:FILE.py:FACTORY"):
            find_base(f"file:{folder}/other.safetensors", target)


class TestNames:
    def test_base_model_and_base_are_one_flag(self):
        parser = build_parser("audit")
        for flag in ("--base-model", "--base"):
            assert parser.parse_args(["audit", "x", flag, "timm:y"]).base == "timm:y"
        with pytest.raises(SystemExit):
            parser.parse_args(["audit", "x", "--base", "y", "--base-model", "z"])

    def test_the_attacks_that_can_are_those_that_have_what_they_need(self, data):
        answers = black_box(lambda x: x.mean((1, 2)) * np.arange(10.0), num_classes=10, outputs="logits")
        with pytest.raises(ValueError, match="These can: ") as found:
            audit(answers, attacks=["leverage"], data=data)
        named = str(found.value).partition("These can: ")[2].rstrip(".").split(", ")
        assert {"loss", "attack_p", "boundary"} <= set(named)
        assert not {"base", "lira", "rmia", "base_calibration", "leverage"} & set(named)
        names, told = ["leverage", "base_calibration"], {}
        with pytest.warns(AccuracyWarning, match="near chance"):
            audit(answers, attacks=names, data=data, base=BASE, on_skipped=told.__setitem__)
        assert list(told) == ["leverage"]
        assert re.search("These can: .*base_calibration", str(told["leverage"]))

    def test_options_of_a_kind_of_which_nothing_is_run_are_refused(self, data):
        for options, flag in (
            ({"list_members": True}, "--list-members"),
            ({"candidates": "somewhere"}, "--candidates"),
            ({"base": BASE}, "--base-model"),
        ):
            with pytest.raises(ValueError, match=rf"\({flag}\) belongs to membership inference"):
                audit(TARGET, attacks=["model_stealing"], data=data, **options)
        with pytest.raises(ValueError, match=r"\(--budgets\) belongs to model stealing"):
            audit(TARGET, attacks=["loss"], data=data, budgets=(5,))
