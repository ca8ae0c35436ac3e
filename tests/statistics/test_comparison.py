from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import norm

from securitynet_hub.statistics.comparison import auc_difference, paired_auc_difference
from securitynet_hub.statistics.rates import roc_auc

SIDES = np.arange(200) < 100
FEW_MEMBERS, FEW_NONMEMBERS = np.arange(130) < 30, np.arange(130) < 100
each_balance = pytest.mark.parametrize(
    "sides", [SIDES, FEW_MEMBERS, FEW_NONMEMBERS], ids=["100/100", "30/100", "100/30"]
)


def paired_scores(rng, first, second, sides=SIDES, shared=0.6):
    """Two attacks whose scores share part of their noise; members lie ``first`` and ``second`` higher."""
    common = rng.normal(size=len(sides)) * shared**0.5
    noise = rng.normal(size=(2, len(sides))) * (1 - shared) ** 0.5
    return common + noise[0] + first * sides, common + noise[1] + second * sides


class TestPaired:
    @each_balance
    def test_equals_delong_by_definition(self, sides):
        """Each pair of member and non-member counted by itself, then the covariance of the components."""
        a, b = (
            scores.round(1) for scores in paired_scores(np.random.default_rng(0), 1.0, 0.4, sides)
        )  # ties
        wins = [np.array([[(m > o) + 0.5 * (m == o) for o in s[~sides]] for m in s[sides]]) for s in (a, b)]
        by_member = np.cov([w.mean(1) for w in wins])
        by_nonmember = np.cov([w.mean(0) for w in wins])
        covariance = by_member / sides.sum() + by_nonmember / (~sides).sum()
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        found = paired_auc_difference(a, b, sides, confidence_level=0.9)
        difference = wins[0].mean() - wins[1].mean()
        assert found.difference == pytest.approx(difference)
        assert found.p_value == pytest.approx(2 * norm.sf(abs(difference) / variance**0.5))
        half = NormalDist().inv_cdf(0.95) * variance**0.5
        assert found.ci == pytest.approx((difference - half, difference + half))

    @each_balance
    def test_exchanged_attacks_mirror_and_exchanged_sides_too(self, sides):
        a, b = paired_scores(np.random.default_rng(1), 1.0, 0.4, sides)
        found, mirrored, swapped = (
            paired_auc_difference(a, b, sides),
            paired_auc_difference(b, a, sides),
            paired_auc_difference(a, b, ~sides),
        )
        for other in (mirrored, swapped):
            assert other.difference == pytest.approx(-found.difference)
            assert other.ci == pytest.approx((-found.ci.high, -found.ci.low))
            assert other.p_value == pytest.approx(found.p_value)

    def test_row_order_and_increasing_transforms_change_nothing(self):
        a, b = paired_scores(np.random.default_rng(2), 1.0, 0.4)
        order = np.random.default_rng(3).permutation(len(a))
        found = paired_auc_difference(a, b, SIDES)
        assert paired_auc_difference(np.exp(a), b * 7 + 1, SIDES) == found
        again = paired_auc_difference(a[order], b[order], SIDES[order])
        assert again.difference == found.difference
        assert again.p_value == pytest.approx(found.p_value)
        assert found.difference == pytest.approx(roc_auc(a, SIDES) - roc_auc(b, SIDES))

    def test_attacks_that_rank_alike_do_not_differ(self):
        a, _ = paired_scores(np.random.default_rng(4), 1.0, 0.0)
        for b in (a, a.copy(), np.exp(a)):
            assert paired_auc_difference(a, b, SIDES) == (0, (0, 0), 1)

    def test_without_a_variance_nothing_is_certain(self):
        """Two attacks that part five from five in other orders, and one that parts them the wrong way."""
        sides = [1] * 5 + [0] * 5
        perfect, other = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
        found = paired_auc_difference(perfect, other, sides)
        assert (found.difference, found.p_value) == (0, 1)
        assert found.ci.low < -0.5
        inverted = paired_auc_difference(perfect, [-score for score in other], sides)
        assert inverted.difference == 1
        assert inverted.p_value == pytest.approx(2 * np.exp(-5 / 2))
        assert inverted.ci == pytest.approx((1 - (2 * np.log(40) / 5) ** 0.5, 1))

    def test_without_a_variance_the_smaller_class_counts(self):
        """Three members above or below five non-members: three disjoint pairs, whichever class has three."""
        perfect, wrong = [8, 7, 6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7, 8]
        for sides in ([1] * 3 + [0] * 5, [1] * 5 + [0] * 3):
            found = paired_auc_difference(perfect, wrong, sides)
            assert (found.difference, found.p_value) == pytest.approx((1, 2 * np.exp(-3 / 2)))
            assert found.ci == pytest.approx((1 - (2 * np.log(40) / 3) ** 0.5, 1))

    def test_a_class_of_one_proves_nothing(self):
        found = paired_auc_difference([1, 2, 3], [3, 2, 1], [0, 0, 1])
        assert (found.difference, found.p_value) == (1, 1)
        assert found.ci.low < 0

    @pytest.mark.slow
    def test_no_difference_is_rejected_as_often_as_it_should_be(self):
        rng = np.random.default_rng(5)
        p_values = [paired_auc_difference(*paired_scores(rng, 1, 1), SIDES).p_value for _ in range(2000)]
        assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.07

    def test_power_grows_with_samples_and_with_pairing(self):
        rng = np.random.default_rng(6)
        rejected = {}
        for n in (50, 400):
            sides = np.arange(2 * n) < n
            runs = [paired_scores(rng, 1.0, 0.7, sides) for _ in range(200)]
            rejected[n] = np.mean([paired_auc_difference(a, b, sides).p_value < 0.05 for a, b in runs])
            unpaired = np.mean([auc_difference(a, sides, b, sides).p_value < 0.05 for a, b in runs])
            assert unpaired < rejected[n]
        assert rejected[50] + 0.3 < rejected[400]

    def test_refusals(self):
        with pytest.raises(ValueError, match="2 scores and 3 memberships"):
            paired_auc_difference([1, 2, 3], [1, 2], [0, 1, 1])
        with pytest.raises(ValueError, match="NaN"):
            paired_auc_difference([1, 2, 3], [1, np.nan, 2], [0, 1, 1])
        with pytest.raises(ValueError, match="confidence_level"):
            paired_auc_difference([1, 2], [1, 2], [0, 1], confidence_level=2)


class TestUnpaired:
    @pytest.mark.slow
    @pytest.mark.parametrize(("n", "k"), [(100, 100), (60, 300)])
    def test_no_difference_is_rejected_as_often_as_it_should_be(self, n, k):
        rng = np.random.default_rng(7)
        sides = [np.arange(2 * size) < size for size in (n, k)]
        p_values = []
        for _ in range(2000):
            a, b = (rng.normal(size=len(side)) + side for side in sides)
            p_values.append(auc_difference(a, sides[0], b, sides[1]).p_value)
        assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.07

    @pytest.mark.parametrize(
        ("sides", "others"), [(SIDES, SIDES), (FEW_MEMBERS, SIDES), (FEW_MEMBERS, FEW_NONMEMBERS)]
    )
    def test_the_variances_of_both_aucs_add(self, sides, others):
        """Each variance by definition: pairs counted one by one, drawn towards A (1 - A) by one sample."""
        rng = np.random.default_rng(11)
        samples = [(rng.normal(size=len(side)).round(1) + side, side) for side in (sides, others)]
        aucs, variance = [], 0.0
        for scores, side in samples:
            members, nonmembers = scores[side], scores[~side]
            wins = np.array([[(m > o) + 0.5 * (m == o) for o in nonmembers] for m in members])
            aucs.append(auc := wins.mean())
            for axis, n in ((1, len(members)), (0, len(nonmembers))):
                variance += (n * wins.mean(axis).var(ddof=1) + auc * (1 - auc)) / (n + 1) / n
        found = auc_difference(*samples[0], *samples[1])
        half = norm.ppf(0.975) * variance**0.5
        assert found.difference == pytest.approx(aucs[0] - aucs[1])
        assert found.ci == pytest.approx((found.difference - half, found.difference + half))

    def test_p_value_and_interval_agree_with_the_normal_distribution(self):
        rng = np.random.default_rng(8)
        a, b = rng.normal(size=200) + SIDES, rng.normal(size=200) + 0.5 * SIDES
        found = auc_difference(a, SIDES, b, SIDES)
        assert found.difference == pytest.approx(roc_auc(a, SIDES) - roc_auc(b, SIDES))
        error = (found.ci.high - found.ci.low) / 2 / norm.ppf(0.975)
        assert found.p_value == pytest.approx(2 * norm.sf(abs(found.difference) / error))
        edge = auc_difference(a, SIDES, b, SIDES, confidence_level=1 - found.p_value)
        assert min(map(abs, edge.ci)) == pytest.approx(0, abs=1e-9)

    def test_a_perfect_auc_has_no_variance_and_gets_a_wide_interval(self):
        rng = np.random.default_rng(9)
        found = auc_difference(SIDES.astype(int), SIDES, rng.normal(size=200) + SIDES, SIDES)
        assert found.ci.high - found.difference <= (np.log(40) / 2 * 2 / 100) ** 0.5
        assert found.ci.low == pytest.approx(found.difference - (np.log(40) / 2 * 2 / 100) ** 0.5)

    def test_of_unequal_classes_the_smaller_ones_count(self):
        """30 disjoint pairs of the first model and 100 of the second."""
        rng = np.random.default_rng(12)
        perfect, other = FEW_MEMBERS.astype(int), rng.normal(size=200) + SIDES
        found = auc_difference(perfect, FEW_MEMBERS, other, SIDES)
        slack = (np.log(40) / 2 * (1 / 30 + 1 / 100)) ** 0.5
        assert found.ci.low == pytest.approx(found.difference - slack)

    def test_exchanged_models_mirror(self):
        rng = np.random.default_rng(10)
        a, b = rng.normal(size=200) + SIDES, rng.normal(size=200)
        found, mirrored = auc_difference(a, SIDES, b, SIDES), auc_difference(b, SIDES, a, SIDES)
        assert mirrored.difference == -found.difference
        assert mirrored.p_value == found.p_value
