"""Learned attacks: features as defined, fitted on calibration samples alone, higher = member."""

import numpy as np
import pytest
import torch

from securitynet_hub.attacks.membership.learned import LEARNED, fit_learned_attack, posterior_features
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval

RNG = np.random.default_rng(5)
NAMES = [pytest.param(name, marks=pytest.mark.slow if "unlabelled" in name else ()) for name in LEARNED]


def world(n, seed, *, lift=2.0, classes=5):
    """Members' labels get `lift` more logit: the best attack ranks by the posterior of the label."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(0, classes, n), rng.random(n) < 0.5
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 2 + lift * is_member
    return logits, labels, is_member


class TestFeatures:
    def test_by_hand(self):
        features = posterior_features([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]], [2, 0], from_logits=False, top=2)
        expected = [[np.log(0.6), np.log(0.3), np.log(0.3), 0], [np.log(0.5), np.log(0.25), np.log(0.5), 1]]
        np.testing.assert_allclose(features, expected, rtol=1e-12)

    def test_fewer_classes_than_asked_for(self):
        features = posterior_features([[0.4, 0.6]], None, from_logits=False, top=3)
        np.testing.assert_allclose(features, [[np.log(0.6), np.log(0.4), np.log(1e-30)]])

    def test_logits_and_their_probabilities_agree(self):
        logits, labels, _ = world(50, 1)
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(
            posterior_features(logits, labels, from_logits=True),
            posterior_features(probabilities, labels, from_logits=False),
            rtol=1e-9,
        )

    @pytest.mark.parametrize("change", [lambda z: z + 100, torch.from_numpy, lambda z: z.tolist()])
    def test_shifts_and_containers_change_nothing(self, change):
        logits, labels, _ = world(50, 1)
        given = posterior_features(change(logits), labels, from_logits=True)
        np.testing.assert_allclose(given, posterior_features(logits, labels, from_logits=True), atol=1e-12)

    def test_extreme_logits_stay_finite(self):
        features = posterior_features([[1e4, -1e4, 0.0]], [1], from_logits=True)
        assert np.isfinite(features).all()

    @pytest.mark.parametrize(
        ("outputs", "sentence"),
        [
            ([[np.nan, 0.0]], "hold NaN"),
            ([[0.9, 0.9]], "summing to one"),
            ([], "shape"),
            ([[1.0]], "two classes"),
        ],
    )
    def test_bad_outputs_are_refused(self, outputs, sentence):
        with pytest.raises(ValueError, match=sentence):
            posterior_features(outputs, None, from_logits=False)


@pytest.mark.parametrize("name", NAMES)
class TestAttacks:
    def test_it_nears_the_best_attack_on_other_samples(self, name):
        logits, labels, is_member = world(1500, 1)
        attack = fit_learned_attack(name, logits, labels, is_member, from_logits=True)
        assert (attack.n_members, attack.n_nonmembers) == (is_member.sum(), (~is_member).sum())
        others, their_labels, truth = world(3000, 2)
        found = roc_auc(attack.score(others, their_labels, from_logits=True), truth)
        best = roc_auc(others[np.arange(3000), their_labels] - np.log(np.exp(others).sum(1)), truth)
        assert best > 0.8
        assert found > best - (0.1 if "unlabelled" in name else 0.03)

    def test_without_a_difference_there_is_nothing_to_learn(self, name):
        attack = fit_learned_attack(name, *world(500, 1, lift=0), from_logits=True)
        others, their_labels, truth = world(1000, 2, lift=0)
        low, high = roc_auc_interval(
            attack.score(others, their_labels, from_logits=True), truth, confidence_level=0.999
        )
        assert low <= 0.5 <= high

    def test_swapped_membership_turns_the_scores_round(self, name):
        logits, labels, is_member = world(300, 1)
        others, their_labels, truth = world(600, 2)
        for membership, above in ((is_member, True), (~is_member, False)):
            attack = fit_learned_attack(name, logits, labels, membership, from_logits=True)
            assert (roc_auc(attack.score(others, their_labels, from_logits=True), truth) > 0.5) == above

    def test_the_seed_decides_and_nothing_is_left_behind(self, name):
        logits, labels, is_member = world(300, 1)
        copies = logits.copy(), labels.copy(), is_member.copy()
        state = torch.random.get_rng_state()
        others, their_labels, _ = world(40, 2)
        scores = [
            fit_learned_attack(name, logits, labels, is_member, from_logits=True, seed=3).score(
                others, their_labels, from_logits=True
            )
            for _ in range(2)
        ]
        np.testing.assert_array_equal(*scores)
        assert torch.equal(torch.random.get_rng_state(), state)
        for copy, given in zip(copies, (logits, labels, is_member), strict=True):
            np.testing.assert_array_equal(copy, given)

    def test_every_seed_that_an_audit_takes_is_one(self, name):
        others, their_labels, _ = world(40, 2)
        attack = fit_learned_attack(name, *world(300, 1), from_logits=True, seed=2**63 - 1)
        assert np.isfinite(attack.score(others, their_labels, from_logits=True)).all()

    def test_rows_are_scored_alone(self, name):
        attack = fit_learned_attack(name, *world(300, 1), from_logits=True)
        others, their_labels, _ = world(64, 2)
        together = attack.score(others, their_labels, from_logits=True)
        alone = [
            attack.score(others[[i]], their_labels[[i]], from_logits=True)[0] for i in range(len(others))
        ]
        np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_only_calibration_samples_set_the_scale():
    """Scores of one sample do not depend on what else is scored."""
    attack = fit_learned_attack("logistic", *world(300, 1), from_logits=True)
    others, their_labels, _ = world(10, 2)
    extreme = np.concatenate([others, 1e3 * others])
    both = attack.score(extreme, np.concatenate([their_labels, their_labels]), from_logits=True)
    np.testing.assert_allclose(both[:10], attack.score(others, their_labels, from_logits=True))


def test_a_class_absent_from_calibration_is_scored():
    logits, labels, is_member = world(400, 1)
    kept = labels != 3
    attack = fit_learned_attack("mlp_top3", logits[kept], labels[kept], is_member[kept], from_logits=True)
    assert np.isfinite(attack.score(logits, labels, from_logits=True)).all()


def test_what_is_refused():
    logits, labels, is_member = world(40, 1)
    with pytest.raises(UnknownNameError, match=r"learned attack 'mlp'.*'mlp_full'"):
        fit_learned_attack("mlp", logits, labels, is_member, from_logits=True)
    with pytest.raises(ValueError, match="needs labels; mlp_full_unlabelled works without them"):
        fit_learned_attack("mlp_full", logits, None, is_member, from_logits=True)
    with pytest.raises(ValueError, match="both members and non-members"):
        fit_learned_attack("logistic", logits, labels, np.ones(40), from_logits=True)
    with pytest.raises(ValueError, match="one entry per sample"):
        fit_learned_attack("logistic", logits, labels, is_member[:-1], from_logits=True)
    attack = fit_learned_attack("logistic", logits, labels, is_member, from_logits=True)
    with pytest.raises(ValueError, match="fitted on 7 features; these outputs have 6"):
        attack.score(logits[:, :4], np.zeros(40, int), from_logits=True)
