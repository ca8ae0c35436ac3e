from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from securitynet_hub.statistics import bootstrap
from securitynet_hub.statistics.bootstrap import (
    auc_bootstrap_interval,
    resampled_counts,
    tpr_bootstrap_interval,
)
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval, split_scores
from securitynet_hub.statistics.roc import tpr_at_threshold

PHI = NormalDist().cdf


def gaussian(rng, n_members, n_nonmembers, distance=1.0):
    is_member = np.arange(n_members + n_nonmembers) < n_members
    return rng.normal(size=len(is_member)) + distance * is_member, is_member


def unrolled(ranking, resamples, seed):
    """The same draws as lists of scores."""
    values = np.unique(np.concatenate(ranking))
    for members, nonmembers in resampled_counts(ranking, resamples, seed):
        for row in zip(members, nonmembers, strict=True):
            scores = np.concatenate([np.repeat(values, counts) for counts in row])
            yield scores, np.arange(len(scores)) < row[0].sum()


@pytest.mark.parametrize("decimals", [0, 1, 8])
@pytest.mark.parametrize("block", [100, 1 << 18])
def test_equals_scoring_every_resample_by_itself(decimals, block, monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK_ELEMENTS", block)
    scores, is_member = gaussian(np.random.default_rng(0), 40, 60)
    scores = scores.round(decimals)
    drawn = list(unrolled(split_scores(scores, is_member), 60, 3))
    assert {(int(sides.sum()), len(sides)) for _, sides in drawn} == {(40, 100)}
    aucs = [roc_auc_score(sides, values) for values, sides in drawn]
    found = auc_bootstrap_interval(scores, is_member, resamples=60, seed=3, confidence_level=0.9)
    assert found == pytest.approx(tuple(np.quantile(aucs, [0.05, 0.95])), abs=1e-12)
    for target in (0, 0.1, 0.29, 1):
        rates = [tpr_at_threshold(values, sides, target).tpr for values, sides in drawn]
        found = tpr_bootstrap_interval(scores, is_member, target, resamples=60, seed=3)
        assert found == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])), abs=1e-12)


def test_every_sample_is_drawn_as_often_as_every_other():
    ranking = split_scores(np.arange(50), np.arange(50) < 20)
    members, nonmembers = (
        np.concatenate(side) for side in zip(*resampled_counts(ranking, 4000, 0), strict=True)
    )
    np.testing.assert_allclose(members.mean(0), np.arange(50) < 20, atol=0.08)
    np.testing.assert_allclose(nonmembers.mean(0), np.arange(50) >= 20, atol=0.08)


def test_is_close_to_delong_s():
    scores, is_member = gaussian(np.random.default_rng(1), 500, 500)
    assert auc_bootstrap_interval(scores, is_member) == pytest.approx(
        roc_auc_interval(scores, is_member), abs=0.005
    )


def test_seed_decides_and_row_order_and_scale_do_not():
    scores, is_member = gaussian(np.random.default_rng(2), 50, 70)
    order = np.random.default_rng(3).permutation(120)
    found = auc_bootstrap_interval(scores, is_member, resamples=99)
    assert auc_bootstrap_interval(np.exp(scores[order]), is_member[order], resamples=99) == found
    assert auc_bootstrap_interval(scores, is_member, resamples=99, seed=1) != found
    low, high = found
    assert low < roc_auc(scores, is_member) < high


def test_leaves_the_global_random_state_and_the_arguments_alone():
    scores, is_member = gaussian(np.random.default_rng(4), 10, 10)
    before, state = scores.copy(), np.random.get_state()[1].copy()
    auc_bootstrap_interval(scores, is_member, resamples=10)
    assert np.array_equal(scores, before)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("scores", "is_member"), [([3, 2, 1, 0], [1, 1, 0, 0]), ([0, 1, 2], [1, 1, 0]), ([1, 2, 3], [1, 0, 0])]
)
def test_what_cannot_be_resampled_gets_the_exact_interval(scores, is_member):
    assert auc_bootstrap_interval(scores, is_member) == roc_auc_interval(scores, is_member)


@pytest.mark.slow
@pytest.mark.parametrize(("n_members", "n_nonmembers", "distance"), [(100, 100, 1.0), (80, 200, 0.3)])
def test_auc_interval_covers(n_members, n_nonmembers, distance):
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(500):
        low, high = auc_bootstrap_interval(
            *gaussian(rng, n_members, n_nonmembers, distance), resamples=400, seed=seed
        )
        hits += low <= PHI(distance / 2**0.5) <= high
    assert 0.93 <= hits / 500 <= 0.97


@pytest.mark.slow
def test_tpr_interval_covers_with_the_threshold_s_uncertainty():
    """At an FPR of 10 % the TPR is Phi(1 + Phi^-1(0.1)); Wilson's interval holds the threshold fixed."""
    rng, truth = np.random.default_rng(6), PHI(1 + NormalDist().inv_cdf(0.1))
    hits = fixed = 0
    for seed in range(400):
        scores, is_member = gaussian(rng, 200, 200)
        low, high = tpr_bootstrap_interval(scores, is_member, 0.1, resamples=400, seed=seed)
        hits += low <= truth <= high
        low, high = tpr_at_threshold(scores, is_member, 0.1).ci
        fixed += low <= truth <= high
    assert 0.92 <= hits / 400 <= 0.98
    assert fixed < hits


def test_refusals():
    with pytest.raises(ValueError, match="resamples"):
        auc_bootstrap_interval([1, 2, 1, 2], [0, 1, 1, 0], resamples=0)
    with pytest.raises(ValueError, match="rate between"):
        tpr_bootstrap_interval([1, 2, 1, 2], [0, 1, 1, 0], 2)
    with pytest.raises(ValueError, match="confidence_level"):
        auc_bootstrap_interval([1, 2, 1, 2], [0, 1, 1, 0], confidence_level=95)
