"""TPR at the population's FPR: what it estimates, how often its interval holds it, what it cannot tell."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from support.scores import brute_tpr, few_distinct, gaussian

from securitynet_hub.statistics.rates import advantage, split_scores
from securitynet_hub.statistics.roc import (
    beta_mixture_quantiles,
    estimate_tpr,
    rates_at_threshold,
    tpr_at_fpr,
    tpr_at_threshold,
)

PHI = NormalDist().cdf
PHI_INVERSE = NormalDist().inv_cdf

rates = st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 1.0])


class TestEstimate:
    @pytest.mark.parametrize("target", [0.001, 0.01, 0.1])
    def test_gaussian_truth(self, target):
        scores, is_member = gaussian(1.0, 300_000, 400_000)
        found = tpr_at_fpr(scores, is_member, target)
        assert found.tpr == pytest.approx(PHI(1.0 + PHI_INVERSE(target)), rel=0.05)
        assert found.ci.low < PHI(1.0 + PHI_INVERSE(target)) < found.ci.high

    def test_by_hand(self):
        """Above the k-th largest of the nine non-members 1..9 lies a share k / 10 of all."""
        scores = np.r_[9.5, 8.5, 8.2, 0.5, np.arange(1, 10)]
        is_member = np.arange(13) < 4
        assert tpr_at_fpr(scores, is_member, 0.1).tpr == pytest.approx(1 / 4)
        assert tpr_at_fpr(scores, is_member, 0.15).tpr == pytest.approx((1 / 4 + 3 / 4) / 2)
        assert tpr_at_fpr(scores, is_member, 0.05).tpr == pytest.approx(1 / 8)  # half of the first gap
        assert tpr_at_fpr(scores, is_member, 0.95).tpr == pytest.approx((3 / 4 + 1) / 2)

    @pytest.mark.parametrize("target", [0.0, 0.001, 0.2, 0.5, 1.0])
    def test_one_score_for_all_says_nothing(self, target):
        found = tpr_at_fpr([1.0] * 100, [1, 0] * 50, target)
        assert found.tpr == pytest.approx(target, abs=1e-12)
        assert found.ci.low <= target <= found.ci.high

    @pytest.mark.parametrize("levels", [None, 5, 50])
    def test_is_unbiased_where_nothing_leaks(self, levels):
        """At one allowed false alarm, where the rate at the sample's threshold is twice as large."""
        rng, is_member = np.random.default_rng(0), np.arange(400) < 200
        found, at_threshold = [], []
        for _ in range(2000):
            scores = rng.random(400) if levels is None else rng.integers(0, levels, 400).astype(float)
            ranking = split_scores(scores, is_member)
            found.append(estimate_tpr(ranking, 0.005))
            at_threshold.append(rates_at_threshold(ranking, 0.005, 0.95).tpr)
        assert np.mean(found) == pytest.approx(0.005, rel=0.1)
        if levels is None:
            assert np.mean(at_threshold) == pytest.approx(2 / 201, rel=0.1)

    @given(few_distinct, rates)
    def test_lies_in_its_interval_and_no_more_than_the_advantage_above_guessing(self, rows, target):
        scores, is_member = map(np.array, zip(*rows, strict=True))
        found = tpr_at_fpr(scores, is_member, target)
        assert 0 <= found.ci.low <= found.tpr <= found.ci.high <= 1
        # The curve is read at the rank f (n + 1) of n, up to 1 / (n + 1) right of f.
        step = 1 / (np.count_nonzero(is_member == 0) + 1)
        assert found.tpr - target <= advantage(scores, is_member) + step + 1e-9


class TestInterval:
    @pytest.mark.parametrize(
        ("distance", "n_members", "n_nonmembers", "target"),
        [
            (0.0, 250, 250, 0.01),
            (1.0, 500, 1500, 0.01),
            (1.0, 500, 500, 0.01),
            (2.5, 1000, 1000, 0.001),
            (2.5, 100, 100, 0.1),
        ],
    )
    def test_covers_the_rate_of_the_population(self, distance, n_members, n_nonmembers, target):
        """Where Wilson's at the sample's threshold covers 20 to 93 %."""
        rng = np.random.default_rng(23)
        is_member = np.arange(n_members + n_nonmembers) < n_members
        truth = PHI(distance + PHI_INVERSE(target))
        covered, own = [], []
        for _ in range(300):
            found = tpr_at_fpr(rng.normal(size=len(is_member)) + distance * is_member, is_member, target)
            covered.append(found.ci.low <= truth <= found.ci.high)
            own.append(found.ci_at_threshold.low <= truth <= found.ci_at_threshold.high)
        assert found.resolvable
        assert np.mean(covered) >= 0.92
        assert np.mean(own) <= np.mean(covered)

    @pytest.mark.parametrize(("levels", "target"), [(2, 0.05), (5, 0.01), (5, 0.1), (50, 0.01)])
    def test_covers_with_few_levels(self, levels, target):
        """The population's curve is straight between its corners: members of weight 1, 2, ... by level."""
        rng = np.random.default_rng(29)
        weights = np.arange(1, levels + 1) / np.arange(1, levels + 1).sum()
        corners = np.r_[0, np.cumsum(weights[::-1])]
        truth = np.interp(target, np.arange(levels + 1) / levels, corners)
        is_member = np.arange(1300) < 300
        covered = 0
        for _ in range(300):
            scores = np.where(is_member, rng.choice(levels, 1300, p=weights), rng.integers(0, levels, 1300))
            low, high = tpr_at_fpr(scores, is_member, target).ci
            covered += low <= truth <= high
        assert covered / 300 >= 0.92

    @pytest.mark.parametrize(
        ("n", "target", "resolvable"), [(999, 0.001, False), (1000, 0.001, True), (100, 0.29, True)]
    )
    def test_says_what_the_sample_can_resolve(self, n, target, resolvable):
        scores, is_member = gaussian(2.0, 40, n)  # the number of members resolves no false alarm
        found = tpr_at_fpr(scores, is_member, target)
        assert found.resolvable is resolvable
        assert (found.ci.low > 0) is resolvable
        assert found.achieved_fpr == pytest.approx(int(target * n + 1e-9) / n)

    def test_needs_no_seed_and_no_order(self):
        scores, is_member = gaussian(1.0, 300, 200)
        order = np.random.default_rng(1).permutation(500)
        assert tpr_at_fpr(scores, is_member, 0.01) == tpr_at_fpr(scores[order], is_member[order], 0.01)

    def test_many_nonmembers_make_it_the_binomial_interval(self):
        """With the threshold known, the members above it alone decide: Jeffreys' interval."""
        scores, is_member = gaussian(1.0, 100, 1_000_000)
        found = tpr_at_fpr(scores, is_member, 0.1)
        hits = round(found.tpr_at_threshold * 100)
        assert found.ci == pytest.approx(beta.ppf([0.025, 0.975], hits + 0.5, 100.5 - hits), abs=0.01)

    def test_quantiles_of_a_mixture(self):
        weights, a, b = np.array([1.0, 3.0]), np.array([2.0, 50.0]), np.array([30.0, 5.0])
        for share, found in zip((0.1, 0.6), beta_mixture_quantiles(weights, a, b, (0.1, 0.6)), strict=True):
            assert weights @ beta.cdf(found, a, b) / 4 == pytest.approx(share)

    @pytest.mark.parametrize("target", [-0.1, 1.1, float("nan"), "a", None])
    def test_refuses_what_is_no_rate(self, target):
        with pytest.raises(ValueError, match="rate between 0 and 1"):
            tpr_at_fpr([1, 0], [1, 0], target)


class TestTprAtThreshold:
    @given(few_distinct, st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 1.0]))
    def test_equals_trying_every_threshold(self, rows, target):
        scores, is_member = map(np.array, zip(*rows, strict=True))
        found = tpr_at_threshold(scores, is_member, target)
        assert found.achieved_fpr <= target
        assert found.tpr == pytest.approx(brute_tpr(scores, is_member, target))
        if found.threshold is not None:
            assert found.tpr == np.mean(scores[is_member] > found.threshold)
            assert found.achieved_fpr == np.mean(scores[~is_member] > found.threshold)

    def test_tied_nonmembers_fall_together(self):
        found = tpr_at_threshold([1, 1, 1, 1], [1, 1, 0, 0], 0.5)
        assert (found.tpr, found.achieved_fpr) == (0, 0)

    def test_a_member_at_the_cut_is_not_accused(self):
        """Five non-members, one of which may be accused: the cut is the second largest, 4."""
        found = tpr_at_threshold([9, 5, 4, 4, 6, 4, 3, 2, 1], [1, 1, 1, 1, 0, 0, 0, 0, 0], 0.2)
        assert (found.threshold, found.tpr, found.achieved_fpr) == (4, 0.5, 0.2)

    @pytest.mark.slow
    def test_interval_covers_the_rate_at_its_threshold(self):
        rng = np.random.default_rng(11)
        is_member = np.arange(800) < 300
        hits, trials = 0, 2000
        for _ in range(trials):
            found = tpr_at_threshold(rng.normal(size=800) + is_member, is_member, 0.05)
            hits += found.ci.low <= PHI(1 - found.threshold) <= found.ci.high
        assert 0.93 <= hits / trials <= 0.97

    @pytest.mark.parametrize("target", [-0.1, 1.1, float("nan"), "a", None])
    def test_refuses_what_is_no_rate(self, target):
        with pytest.raises(ValueError, match="rate between 0 and 1"):
            tpr_at_threshold([1, 0], [1, 0], target)
