import numpy as np
import pytest
import torch
from scipy import stats

from securitynet_hub.attacks.membership import reference_models
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.population import (
    attack_p_scores,
    attack_r_scores,
    difficulty_calibrated_scores,
)
from securitynet_hub.core.errors import FewModelsWarning, UnknownNameError
from securitynet_hub.statistics.rates import roc_auc

by_reference = pytest.mark.parametrize(
    "attack",
    [
        attack_r_scores,
        lambda *arrays, **settings: attack_r_scores(*arrays, smoothing="linear", **settings),
        difficulty_calibrated_scores,
    ],
    ids=["rank", "linear", "calibrated"],
)


def world(seed, n=200, models=8, gap=1.0, queries=None):
    """Draw minus losses, in tenths so that some tie; samples differ in difficulty more than members do."""
    rng = np.random.default_rng(seed)
    tail = () if queries is None else (queries,)
    wide = (..., *[None] * len(tail))
    hard, member = rng.uniform(2, 20, n), rng.random(n) < 0.5
    is_in = rng.random((models, n)) < 0.5
    is_in[0] = False
    target = -hard[wide] + gap * member[wide] + rng.normal(0, 0.5, (n, *tail))
    reference = -hard[wide] + gap * is_in[wide] + rng.normal(0, 0.5, (models, n, *tail))
    return np.minimum(target.round(1), 0), np.minimum(reference.round(1), 0), is_in, member


def test_attack_p_is_the_share_of_larger_losses_with_ties_a_half():
    rng = np.random.default_rng(0)
    target, population = rng.integers(-9, 0, 50) / 2, rng.integers(-9, 0, 70) / 2
    expected = [((population < x) + (population == x) / 2).mean() for x in target]
    np.testing.assert_allclose(attack_p_scores(target, population), expected, rtol=1e-15)
    assert attack_p_scores([1.0, 1.0], [1.0, 1.0, 1.0]).tolist() == [0.5, 0.5]


def test_attack_p_accuses_as_many_non_members_as_its_threshold_says():
    rng = np.random.default_rng(1)
    scores = attack_p_scores(rng.normal(size=20_000), rng.normal(size=20_000))
    for alpha in (0.01, 0.1, 0.5):
        assert (scores > 1 - alpha).mean() == pytest.approx(alpha, abs=0.015)


def test_attack_p_within_classes():
    target, classes = [0.0, 0.0, 0.0], [0, 1, 7]
    population, of = [-1.0, -2.0, 1.0, 2.0, 3.0], [0, 0, 1, 1, 1]
    scores = attack_p_scores(target, population, classes=classes, population_classes=of)
    assert scores.tolist() == [1.0, 0.0, 0.4]  # no 7 in the population: ranked within all of it
    # A class that is harder throughout must not look like non-members.
    rng = np.random.default_rng(2)
    classes, of = rng.integers(0, 2, 2000), rng.integers(0, 2, 2000)
    member = rng.random(2000) < 0.5
    target, population = rng.normal(size=2000) + 5 * classes + member, rng.normal(size=2000) + 5 * of
    plain = attack_p_scores(target, population)
    parted = attack_p_scores(target, population, classes=classes, population_classes=of)
    assert roc_auc(parted, member) > roc_auc(plain, member) + 0.05


@pytest.mark.parametrize("queries", [None, 3])
def test_the_references_attacks_by_hand(queries, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 100)
    target, reference, is_in, _ = world(3, n=40, queries=queries)
    rank, linear, calibrated = np.empty((3, *target.shape))
    for place in np.ndindex(target.shape):
        out = np.sort(reference[(~is_in[:, place[0]], *place)])
        x, k = target[place], len(out)
        rank[place] = ((out < x) + (out == x) / 2).mean()
        ends = np.concatenate([[-1000.0], out, [0.0]])
        # Below and above x by a hair, for the middle of places that tie.
        linear[place] = np.mean(np.interp([x - 1e-9, x + 1e-9], ends, np.arange(k + 2) / (k + 1)))
        calibrated[place] = x - out.mean()
    rank, linear, calibrated = (s if queries is None else s.mean(1) for s in (rank, linear, calibrated))
    arrays = target, reference, is_in
    np.testing.assert_allclose(attack_r_scores(*arrays), rank, rtol=1e-12)
    np.testing.assert_allclose(attack_r_scores(*arrays, smoothing="linear"), linear, atol=1e-7)
    np.testing.assert_allclose(difficulty_calibrated_scores(*arrays), calibrated, atol=1e-12)


def test_linear_smoothing_at_the_ends_and_at_ties():
    reference, is_in = np.array([[-4.0] * 6, [-2.0] * 6, [-2.0] * 6]), np.zeros((3, 6), bool)
    scores = attack_r_scores([-1000.0, -4.0, -3.0, -2.0, -1.0, 0.0], reference, is_in, smoothing="linear")
    np.testing.assert_allclose(scores, [0, 1 / 4, 3 / 8, 5 / 8, 7 / 8, 1], rtol=1e-12)
    low = np.array([[-1000.0, 0.0]])
    assert attack_r_scores([-1000.0, 0.0], low, low > 0, smoothing="linear").tolist() == [0.5, 0.5]


def test_the_normal_variant_is_offline_lira():
    """What the docstring sends readers to: the normal's distribution function at the target's margin."""
    rng = np.random.default_rng(4)
    target, reference = rng.normal(size=20), rng.normal(size=(6, 20))
    cdf = stats.norm.cdf(target, reference.mean(0), reference.std(0))
    scores = lira_scores(target, reference, np.zeros((6, 20), bool), mode="offline", centre="mean")
    np.testing.assert_allclose(-np.expm1(-scores), cdf, rtol=1e-9)


@by_reference
def test_beats_the_bare_signal_on_samples_of_unlike_difficulty(attack):
    target, reference, is_in, member = world(5, n=3000)
    assert roc_auc(attack(target, reference, is_in), member) > roc_auc(target, member) + 0.2
    target, reference, is_in, member = world(6, n=3000, gap=0)
    assert abs(roc_auc(attack(target, reference, is_in), member) - 0.5) < 0.04  # 3.8 deviations


@by_reference
def test_in_models_and_the_order_of_models_and_samples_do_not_matter(attack, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 150)
    target, reference, is_in, _ = world(7, n=90, models=9, queries=2)
    scores = attack(target, reference, is_in)
    rng = np.random.default_rng(0)
    models, rows = rng.permutation(9), rng.permutation(90)
    moved = attack(target[rows], reference[models][:, rows], is_in[models][:, rows])
    assert np.array_equal(moved, scores[rows])
    changed = np.where(is_in[..., None], -1.0, reference)
    assert np.array_equal(attack(target, changed, is_in), scores)


@by_reference
def test_tensors_and_read_only_arrays(attack):
    arrays = world(8, n=30)[:3]
    copies = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    scores = attack(*arrays)
    assert all(np.array_equal(a, c) for a, c in zip(arrays, copies, strict=True))
    assert np.array_equal(attack(*[torch.from_numpy(c) for c in copies]), scores)


@by_reference
def test_what_every_reference_attack_refuses(attack):
    target, reference, is_in, _ = world(9, n=10)
    with pytest.raises(ValueError, match=r"1 OUT model\(s\) at least; 1 row\(s\) \(3\)"):
        attack(target, reference, is_in | (np.arange(10) == 3))
    with pytest.raises(ValueError, match=r"reference must be finite.*1 row\(s\) \(4\)"):
        attack(target, np.where(np.arange(10) == 4, np.nan, reference), is_in)
    with pytest.warns(FewModelsWarning, match="8 reference models"):
        attack(target, reference, is_in, requested_models=9)


def test_what_the_rank_attacks_refuse():
    target, reference, is_in, _ = world(10, n=10)
    with pytest.raises(UnknownNameError, match="no smoothing 'cubic'"):
        attack_r_scores(target, reference, is_in, smoothing="cubic")
    with pytest.raises(ValueError, match=r"minus a loss, in -1000..0; 10 row\(s\).* of target"):
        attack_r_scores(-target, reference, is_in, smoothing="linear")
    with pytest.raises(ValueError, match="of reference are not"):
        attack_r_scores(target, reference - 1000, is_in, smoothing="linear")
    for change, message in (
        ({"target": []}, "target must have one dimension"),
        ({"population": [[1.0]]}, "population must have one dimension"),
        ({"population": [np.inf]}, "population must be finite"),
        ({"classes": [0, 1]}, "together or not at all"),
        ({"classes": [0, 1], "population_classes": [0]}, "population_classes must be 2 integers"),
        ({"classes": [0.0, 1.0], "population_classes": [0, 1]}, "classes must be 2 integers"),
        (
            {"ids": ["a", "b"], "population_ids": ["b", "c"]},
            "must not share a sample; 1 are in both, such as b",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            attack_p_scores(**({"target": [0.0, 1.0], "population": [0.0, 1.0]} | change))
