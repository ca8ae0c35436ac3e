import functools

import numpy as np
import pytest
import torch
from scipy import stats

from securitynet_hub.attacks.membership.quantile import (
    conditional_quantiles,
    gaussian_quantile_scores,
    pinball_quantile_scores,
)
from securitynet_hub.statistics.rates import roc_auc


def world(seed, n, gap=0.0):
    """Draw features and normal signals whose mean and log deviation are linear in the features."""
    rng = np.random.default_rng(seed)
    x, member = rng.normal(size=(n, 3)), rng.random(n) < 0.5
    mu, sigma = 10 + 4 * x[:, 0] - 2 * x[:, 1], np.exp(0.5 * x[:, 2])
    return x, mu + sigma * (gap * member + rng.normal(size=n)), member, (mu, sigma)


LINEAR = {"hidden": (), "learning_rate": 0.05, "epochs": 20}
FIT_X, FIT_H, *_ = world(0, 1500)
briefly = functools.partial(gaussian_quantile_scores, epochs=5)
each_head = pytest.mark.parametrize("head", [briefly, pinball_quantile_scores], ids=["gaussian", "pinball"])


def test_a_linear_network_finds_the_mean_and_the_deviation():
    x, h, _, (mu, sigma) = world(1, 300)
    scores = gaussian_quantile_scores(x, h, FIT_X, FIT_H, **LINEAR)
    assert np.corrcoef(scores, (h - mu) / sigma)[0, 1] > 0.97
    assert scores.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("settings", [LINEAR, {"hidden": (32,), "learning_rate": 0.01, "epochs": 30}])
def test_comes_near_the_optimum_where_the_bare_signal_does_not(settings):
    x, h, member, _ = world(2, 3000, gap=1.0)
    auc = roc_auc(gaussian_quantile_scores(x, h, FIT_X, FIT_H, **settings), member)
    assert auc > stats.norm.cdf(1 / np.sqrt(2)) - 0.025
    assert auc > roc_auc(h, member) + 0.15
    x, h, member, _ = world(3, 3000, gap=0.0)
    assert abs(roc_auc(gaussian_quantile_scores(x, h, FIT_X, FIT_H, **settings), member) - 0.5) < 0.04


def test_a_quantile_is_exceeded_by_alpha_of_the_non_members():
    x, h, *_ = world(4, 2000)
    fit_x, fit_h, *_ = world(5, 3000)
    for alpha in (0.01, 0.05, 0.5):
        scores = pinball_quantile_scores(x, h, fit_x[:2000], fit_h[:2000], alpha=alpha)
        # Of 2,000 samples against 1,000 held out: three deviations of the two together.
        spread = 3 * np.sqrt(alpha * (1 - alpha) * (1 / 2000 + 1 / 1000))
        assert (scores > 0).mean() == pytest.approx(alpha, abs=spread)
    x, h, member, _ = world(6, 3000, gap=1.0)
    assert roc_auc(pinball_quantile_scores(x, h, fit_x, fit_h, alpha=0.3), member) > roc_auc(h, member) + 0.1


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_of_groups_that_scatter_unlike_each_is_accused_as_often(alpha):
    """One amount for all mends any quantile on average; the right one is alpha in either group."""
    rng = np.random.default_rng(0)
    groups, fit_groups = rng.integers(0, 2, (2, 4000))
    h, fit_h = (rng.normal(size=4000) * np.where(group == 1, 5, 1) for group in (groups, fit_groups))
    accused = pinball_quantile_scores(groups[:, None], h, fit_groups[:, None], fit_h, alpha=alpha) > 0
    for group in (0, 1):
        assert accused[groups == group].mean() == pytest.approx(alpha, abs=0.04)


def test_quantiles_do_not_cross():
    x = world(7, 200)[0]
    few_x, few_h, *_ = world(8, 80)  # so few that trees of one level cross those of the next
    levels = [0.4, 0.45, 0.5, 0.55]
    quantiles = conditional_quantiles(x, few_x, few_h, levels)
    assert quantiles.shape == (200, 4)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    single = [conditional_quantiles(x, few_x, few_h, [level])[:, 0] for level in levels]
    assert (np.diff(single, axis=0) < 0).any()


def test_the_quantile_is_moved_by_one_amount_for_all():
    """A group whose calibration signals all lie 100 higher: its quantile does, and no other score moves."""
    rng = np.random.default_rng(1)
    fit_x = rng.integers(0, 2, (400, 1)).astype(float)
    noise = rng.exponential(size=400)
    x, h = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0.0, 7.0, 0.0, 7.0])
    low, high = (
        pinball_quantile_scores(x, h, fit_x, noise + distance * fit_x[:, 0], alpha=0.2)
        for distance in (100, 200)
    )
    assert high - low == pytest.approx([0, 0, -100, -100], abs=0.02)
    assert low[1] - low[0] == low[3] - low[2] == 7
    assert low[2] - low[0] == pytest.approx(-100, abs=0.5)
    x, h, *_ = world(7, 200)
    with pytest.raises(ValueError, match="takes 200 calibration samples; got 100"):
        pinball_quantile_scores(x, h, FIT_X[:100], FIT_H[:100], alpha=0.01)


@each_head
def test_every_seed_that_an_audit_takes_is_one(head):
    x, h, *_ = world(9, 50)
    assert np.isfinite(head(x, h, FIT_X[:300], FIT_H[:300], seed=2**63 - 1)).all()


@each_head
def test_a_seed_decides_and_order_does_not(head):
    x, h, *_ = world(9, 50)
    fit_x, fit_h = FIT_X[:300], FIT_H[:300]
    state = torch.random.get_rng_state()
    scores = head(x, h, fit_x, fit_h, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(head(x, h, fit_x, fit_h, seed=3), scores)
    rng = np.random.default_rng(0)
    rows, fit_rows = rng.permutation(50), rng.permutation(300)
    moved = head(x[rows], h[rows], fit_x[fit_rows], fit_h[fit_rows], seed=3)
    np.testing.assert_allclose(moved, scores[rows], rtol=1e-9)
    if head is briefly:
        assert not np.array_equal(head(x, h, fit_x, fit_h, seed=4), scores)


def test_scaling_features_and_signals_changes_no_gaussian_score():
    x, h, *_ = world(10, 50)
    scores = briefly(x, h, FIT_X[:300], FIT_H[:300])
    scaled = briefly(8 * x - 1, 4 * h + 2, 8 * FIT_X[:300] - 1, 4 * FIT_H[:300] + 2)
    np.testing.assert_allclose(scaled, scores, rtol=1e-6, atol=1e-9)


@each_head
def test_constant_features_and_signals_stay_finite_and_ordered(head):
    scores = head(np.zeros((3, 2)), [-1.0, 0.0, 1.0], np.zeros((50, 2)), np.zeros(50))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()


@each_head
def test_tensors_and_read_only_arrays(head):
    arrays = [*world(11, 20)[:2], FIT_X[:100].copy(), FIT_H[:100].copy()]
    copies = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    scores = head(*arrays)
    assert scores.dtype == np.float64
    assert all(np.array_equal(a, c) for a, c in zip(arrays, copies, strict=True))
    assert np.array_equal(head(*[torch.from_numpy(c) for c in copies]), scores)


@each_head
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros(5)}, "features must be numbers of shape"),
        ({"features": np.zeros((5, 3))}, "as many columns; got 3 and 2"),
        ({"features": np.full((5, 2), np.nan)}, r"features must be finite; 5 row\(s\)"),
        ({"signals": np.zeros(4)}, "signals must hold 5 signals"),
        ({"calibration_signals": np.full(30, np.inf)}, "calibration_signals must be finite"),
        ({"calibration_features": np.zeros((0, 2))}, "calibration_features must be numbers"),
        ({"ids": range(5), "calibration_ids": range(4, 34)}, "must not share a sample; 1 are in both"),
    ],
)
def test_input_that_does_not_fit_is_refused(head, change, message):
    good = {
        "features": np.zeros((5, 2)),
        "signals": np.zeros(5),
        "calibration_features": np.zeros((30, 2)),
        "calibration_signals": np.zeros(30),
    }
    with pytest.raises(ValueError, match=message):
        head(**(good | change))


@pytest.mark.parametrize("levels", [[], [0.0], [1.0], [0.5, 0.4], [0.3, 0.3], [np.nan]])
def test_levels_must_rise_between_zero_and_one(levels):
    with pytest.raises(ValueError, match="levels must rise"):
        conditional_quantiles([[0.0]], [[0.0]], [0.0], levels)
