from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import beta, binomtest, mannwhitneyu
from sklearn.metrics import roc_auc_score
from support.scores import few_distinct, gaussian

from securitynet_hub.core.arrays import in_order
from securitynet_hub.statistics import rates as statistics
from securitynet_hub.statistics.rates import (
    advantage,
    advantage_interval,
    anomaly_index,
    roc_auc,
    roc_auc_interval,
    split_scores,
    wilson_interval,
)
from securitynet_hub.statistics.roc import tpr_at_fpr

PHI = NormalDist().cdf
PHI_INVERSE = NormalDist().inv_cdf


def brute_auc(scores, is_member):
    members, others = scores[is_member], scores[~is_member]
    return np.mean([(m > o) + 0.5 * (m == o) for m in members for o in others])


class TestAuc:
    @given(few_distinct)
    def test_equals_counting_pairs_and_the_peers(self, rows):
        scores, is_member = map(np.array, zip(*rows, strict=True))
        assert roc_auc(scores, is_member) == pytest.approx(brute_auc(scores, is_member), abs=1e-12)
        assert roc_auc(scores, is_member) == pytest.approx(roc_auc_score(is_member, scores), abs=1e-12)
        u = mannwhitneyu(scores[is_member], scores[~is_member]).statistic
        assert roc_auc(scores, is_member) == pytest.approx(u / is_member.sum() / (~is_member).sum())

    @pytest.mark.parametrize("distance", [0.0, 0.5, 2.0])
    def test_gaussian_truth(self, distance):
        scores, is_member = gaussian(distance, 200_000, 150_000)
        assert roc_auc(scores, is_member) == pytest.approx(PHI(distance / 2**0.5), abs=0.003)

    @given(few_distinct)
    def test_swapped_sides_mirror_everything(self, rows):
        scores, is_member = map(np.array, zip(*rows, strict=True))
        assert roc_auc(scores, ~is_member) == pytest.approx(1 - roc_auc(scores, is_member))
        low, high = roc_auc_interval(scores, is_member)
        assert roc_auc_interval(scores, ~is_member) == pytest.approx((1 - high, 1 - low))
        assert roc_auc(-scores, is_member) == pytest.approx(1 - roc_auc(scores, is_member))

    def test_rows_in_any_order_and_any_increasing_transform_change_no_bit(self):
        scores, is_member = gaussian(0.7, 500, 300)
        order = np.random.default_rng(1).permutation(len(scores))
        for a, b in [(scores[order], is_member[order]), (np.exp(scores) * 1000 + 100, is_member)]:
            assert roc_auc(a, b) == roc_auc(scores, is_member)
            assert roc_auc_interval(a, b) == roc_auc_interval(scores, is_member)
            assert tpr_at_fpr(a, b, 0.1)[:3] == tpr_at_fpr(scores, is_member, 0.1)[:3]
            assert advantage(a, b) == advantage(scores, is_member)

    def test_constant_scores_say_nothing(self):
        assert roc_auc([1.0] * 10, [1, 0] * 5) == 0.5
        low, high = roc_auc_interval([1.0] * 10, [1, 0] * 5)
        assert low == pytest.approx(1 - high)
        assert low < 0.5 < high

    def test_binary_scores_give_the_gap_identity(self):
        """Correctness AUC = 1/2 + (member accuracy - non-member accuracy) / 2, exactly."""
        rng = np.random.default_rng(0)
        right = np.concatenate([rng.random(300) < 0.9, rng.random(200) < 0.6])
        is_member = np.arange(500) < 300
        gap = right[is_member].mean() - right[~is_member].mean()
        assert roc_auc(right.astype(float), is_member) == pytest.approx(0.5 + gap / 2, abs=1e-15)


class TestAucInterval:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("distance", "n_members", "n_nonmembers"),
        [(0.0, 300, 300), (0.3, 50, 200), (1.0, 30, 30), (2.5, 100, 100), (1.0, 1000, 40)],
    )
    def test_covers_the_truth_as_often_as_it_says(self, distance, n_members, n_nonmembers):
        rng = np.random.default_rng(7)
        is_member = np.arange(n_members + n_nonmembers) < n_members
        hits, trials = 0, 2000
        for _ in range(trials):
            scores = rng.normal(size=len(is_member)) + distance * is_member
            low, high = roc_auc_interval(scores, is_member)
            hits += low <= PHI(distance / 2**0.5) <= high
        assert 0.93 <= hits / trials <= 0.97

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("auc", "n_members", "n_nonmembers", "worst"),
        [(0.99, 10, 1000, 0.93), (0.99, 20, 2000, 0.93), (0.9, 10, 1000, 0.93), (0.9, 5, 500, 0.93)],
    )
    def test_covers_where_plain_delong_does_not(self, auc, n_members, n_nonmembers, worst):
        """Few members against many non-members: DeLong's own interval covers in 71 to 89 %."""
        rng = np.random.default_rng(17)
        is_member = np.arange(n_members + n_nonmembers) < n_members
        distance = PHI_INVERSE(auc) * 2**0.5
        intervals = [
            roc_auc_interval(rng.normal(size=len(is_member)) + distance * is_member, is_member)
            for _ in range(1000)
        ]
        assert np.mean([low <= auc <= high for low, high in intervals]) >= worst

    @pytest.mark.parametrize(
        ("auc", "spread", "n_members", "n_nonmembers"),
        [(0.99, 3, 500, 1500), (0.999, 3, 1000, 1000), (0.99, 1, 300, 300), (0.7, 3, 200, 200)],
    )
    def test_covers_near_one_with_members_of_another_spread(self, auc, spread, n_members, n_nonmembers):
        """Some members then lie far below; on the logit scale the interval covers 72 % of the first case."""
        rng = np.random.default_rng(19)
        is_member = np.arange(n_members + n_nonmembers) < n_members
        mean = PHI_INVERSE(auc) * np.hypot(1, spread)
        hits = 0
        for _ in range(300):
            scores = rng.normal(size=len(is_member)) * np.where(is_member, spread, 1) + mean * is_member
            low, high = roc_auc_interval(scores, is_member)
            hits += low <= auc <= high
        assert hits / 300 >= 0.92

    @pytest.mark.parametrize(
        ("levels", "n_members", "n_nonmembers"), [(5, 500, 20), (5, 300, 300), (2, 40, 40)]
    )
    def test_covers_with_few_levels(self, levels, n_members, n_nonmembers):
        rng = np.random.default_rng(31)
        weights = np.arange(1, levels + 1) / np.arange(1, levels + 1).sum()
        truth = (weights * (np.arange(levels) + 0.5) / levels).sum()
        is_member = np.arange(n_members + n_nonmembers) < n_members
        hits = 0
        for _ in range(400):
            members = rng.choice(levels, n_members, p=weights)
            scores = np.r_[members, rng.integers(0, levels, n_nonmembers)]
            low, high = roc_auc_interval(scores, is_member)
            hits += low <= truth <= high
        assert hits / 400 >= 0.92

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("member_accuracy", "other_accuracy", "n_members", "n_nonmembers"),
        [(0.9, 0.7, 200, 200), (0.99, 0.95, 20, 2000), (1.0, 0.9, 30, 30)],
    )
    def test_covers_with_ties(self, member_accuracy, other_accuracy, n_members, n_nonmembers):
        """Correctness scores are 0 or 1; the truth is 1/2 + half the gap of the accuracies."""
        rng = np.random.default_rng(3)
        is_member = np.arange(n_members + n_nonmembers) < n_members
        truth = 0.5 + (member_accuracy - other_accuracy) / 2
        hits, trials = 0, 2000
        for _ in range(trials):
            right = rng.random(len(is_member)) < np.where(is_member, member_accuracy, other_accuracy)
            low, high = roc_auc_interval(right, is_member)
            hits += low <= truth <= high
        assert hits / trials >= 0.93

    @pytest.mark.slow
    def test_complete_separation_is_not_certainty(self):
        """With five on each side and a true AUC of 0.9 samples are often separated completely."""
        rng = np.random.default_rng(5)
        distance = PHI_INVERSE(0.9) * 2**0.5
        is_member = np.arange(10) < 5
        separated = covered = 0
        for _ in range(2000):
            scores = rng.normal(size=10) + distance * is_member
            low, high = roc_auc_interval(scores, is_member)
            assert 0 <= low <= roc_auc(scores, is_member) <= high <= 1
            if roc_auc(scores, is_member) == 1:
                separated += 1
                covered += low <= 0.9 <= high
        assert separated > 200
        assert covered == separated

    @pytest.mark.parametrize(("n", "k"), [(40, 40), (15, 60), (60, 15)])
    def test_equals_the_beta_distribution_of_delong_s_moments(self, n, k):
        """The placements counted pair by pair, and two pseudo-samples on each side, at 0 and at 1."""
        scores, is_member = gaussian(0.8, n, k)
        scores = scores.round(1)  # ties
        wins = np.array([[(m > o) + 0.5 * (m == o) for o in scores[~is_member]] for m in scores[is_member]])
        mean, variance = wins.mean(), 0.0
        for axis, other in ((1, k), (0, n)):
            placements = np.r_[wins.mean(axis), 0, 1]
            pseudo = 0.4 * other / (n + k)
            weights = np.r_[np.ones(len(placements) - 2), pseudo, pseudo]
            centre = np.average(placements, weights=weights)
            mean += centre - wins.mean()
            variance += np.average((placements - centre) ** 2, weights=weights) / (weights.sum() + 1)
        size = mean * (1 - mean) / variance - 1
        expected = beta.ppf([0.05, 0.95], mean * size, (1 - mean) * size)
        assert roc_auc_interval(scores, is_member, confidence_level=0.9) == pytest.approx(tuple(expected))

    @pytest.mark.parametrize(("n", "k"), [(5, 5), (5, 8), (8, 5)])
    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_separated_completely_the_smaller_class_bounds_the_auc(self, n, k, level):
        """Five disjoint pairs are ordered rightly with a probability of alpha / 2 at that AUC."""
        scores, is_member = np.arange(n + k), np.arange(n + k) >= k
        low = ((1 - level) / 2) ** (1 / 5)
        assert roc_auc_interval(scores, is_member, confidence_level=level) == pytest.approx((low, 1))
        assert roc_auc_interval(-scores, is_member, confidence_level=level) == pytest.approx((0, 1 - low))

    def test_a_class_of_one_sample_proves_nothing(self):
        assert roc_auc_interval([1, 2, 3], [0, 0, 1]) == (0, 1)


class TestAdvantage:
    @given(few_distinct)
    def test_equals_trying_every_threshold(self, rows):
        scores, is_member = map(np.array, zip(*rows, strict=True))
        gaps = [np.mean(scores[is_member] >= t) - np.mean(scores[~is_member] >= t) for t in [*scores, np.inf]]
        assert advantage(scores, is_member) == pytest.approx(max(gaps), abs=1e-12)

    def test_is_signed(self):
        scores, is_member = gaussian(3.0, 1000, 700)
        assert advantage(scores, is_member) > 0.8
        assert advantage(-scores, is_member) < 0.01

    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_interval_by_hand(self, level):
        """50 of 100 members above all 200 non-members: TPR 1/2 at FPR 0, with two pseudo-samples each."""
        scores = np.r_[np.ones(50), np.zeros(250)]
        value, interval = advantage_interval(split_scores(scores, np.arange(300) < 100), level)
        error = (0.25 / 100 + (1 / 202) * (201 / 202) / 200) ** 0.5
        alpha = 1 - level
        below = min((np.log(2 / alpha) / 2 * 0.015) ** 0.5, (2 * np.log(3 / alpha)) ** 0.5 * error)
        assert value == 0.5
        assert interval == pytest.approx((0.5 - below, 0.5 + PHI_INVERSE(1 - alpha / 2) * error))

    def test_interval_of_unequal_sides(self):
        """The error of few members counts for more than that of many non-members, and the other way round."""
        scores, is_member = gaussian(1.0, 50, 5000)
        few, many = (
            np.diff(advantage_interval(split_scores(s, m), 0.95)[1])
            for s, m in ((scores, is_member), gaussian(1.0, 5000, 5000))
        )
        assert few > 5 * many

    @pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
    def test_interval_covers_the_truth_and_is_narrow(self, distance):
        rng = np.random.default_rng(13)
        is_member = np.arange(300) < 100
        truth = 2 * PHI(distance / 2) - 1  # the best threshold is half way
        hits, widths = 0, []
        for _ in range(400):
            ranking = split_scores(rng.normal(size=300) + distance * is_member, is_member)
            _, (low, high) = advantage_interval(ranking, 0.95)
            hits += low <= truth <= high
            widths.append(high - low)
        assert hits / 400 >= 0.93
        assert np.mean(widths) < 0.3  # of two Dvoretzky-Kiefer-Wolfowitz bands: 0.3 to 0.5


class TestWilson:
    @pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (50, 100), (999, 1000), (5, 5)])
    @pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
    def test_equals_scipy(self, successes, trials, level):
        expected = binomtest(successes, trials).proportion_ci(level, "wilson")
        assert wilson_interval(successes, trials, confidence_level=level) == pytest.approx(
            tuple(expected), abs=1e-12
        )

    @pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0), (1.5, 3)])
    def test_refuses_impossible_counts(self, successes, trials):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(successes, trials)


class TestAnomalyIndex:
    def test_hand_computed(self):
        norms = [
            10.0,
            50.0,
            60.0,
            70.0,
            80.0,
            90.0,
        ]  # median 65; deviations 55 15 5 5 15 25: MAD 15
        assert anomaly_index(norms) == pytest.approx(55 / (1.4826 * 15))

    def test_even_counts_take_the_middle_of_two(self):
        """torch.median would take the lower one, 2, and give another index."""
        assert anomaly_index([0.0, 2.0, 4.0, 6.0]) == pytest.approx(3 / (1.4826 * 2))

    def test_is_one_sided(self):
        assert anomaly_index([50, 51, 52, 53, 5000]) < 2
        assert anomaly_index([5, 50, 51, 52, 53]) > 2

    def test_order_and_scale_do_not_matter(self):
        norms = np.random.default_rng(0).gamma(5, 10, 43)
        assert anomaly_index(norms[::-1] * 7) == pytest.approx(anomaly_index(norms))

    def test_without_a_mad_the_mean_deviation_serves(self):
        mean_deviation = 40 / 5
        expected = 40 / (np.sqrt(np.pi / 2) * mean_deviation)
        assert anomaly_index([10, 50, 50, 50, 50]) == pytest.approx(expected)
        assert anomaly_index([50, 50, 50]) == 0

    @pytest.mark.parametrize("norms", [[], [1, 2], [1, np.nan, 3], [1, 2, -3], [[1, 2, 3]], ["a"] * 3])
    def test_refuses(self, norms):
        with pytest.raises(ValueError, match="norms"):
            anomaly_index(norms)


class TestRefusals:
    @pytest.mark.parametrize(
        ("scores", "is_member", "sentence"),
        [
            ([], [], "empty"),
            ([1.0, np.nan, np.inf], [1, 0, 0], r"2 row\(s\) \(1, 2\) hold NaN or an infinite"),
            ([1.0, 2.0], [1, 1], "all 2 samples are members"),
            ([1.0, 2.0], [0, 0], "all 2 samples are non-members"),
            ([1.0, 2.0, 3.0], [1, 0], "3 scores and 2 memberships"),
            ([[1.0], [2.0]], [1, 0], "one dimension"),
            ([1.0, 2.0], [1, 2], "booleans or 0/1"),
            ([1.0, 2.0], [1, np.nan], "booleans or 0/1"),
            (["high", "low"], [1, 0], "real numbers"),
            ([None, 1.0], [1, 0], "real numbers"),
            ([[1.0], [2.0, 3.0]], [1, 0], "rectangular"),
            (np.ma.masked_invalid([1.0, np.nan]), [1, 0], "masked"),
        ],
    )
    @pytest.mark.parametrize("measure", [roc_auc, roc_auc_interval, advantage])
    def test_each_with_its_sentence(self, measure, scores, is_member, sentence):
        with pytest.raises(ValueError, match=sentence):
            measure(scores, is_member)

    @pytest.mark.parametrize("level", [0, 1, -1, 95, 1 - 1e-16, "x", float("nan")])
    def test_confidence_levels_that_are_none(self, level):
        with pytest.raises(ValueError, match="confidence_level"):
            roc_auc_interval([1, 0], [1, 0], confidence_level=level)

    def test_arguments_come_back_untouched(self):
        scores, is_member = gaussian(1.0, 50)
        before = scores.copy(), is_member.copy()
        for measure in (roc_auc, roc_auc_interval, advantage):
            measure(scores, is_member)
        tpr_at_fpr(scores, is_member, 0.1)
        assert np.array_equal(scores, before[0])
        assert np.array_equal(is_member, before[1])


def test_knows_nothing_of_models_files_or_the_hub():
    names = {name.split(".")[0] for name in vars(statistics)}
    assert not names & {"torch", "datasets", "evaluate", "Path"}


class TestIntegersBeyondFloats:
    """float64 has no odd whole numbers beyond 2^53."""

    @pytest.mark.parametrize("dtype", [np.int64, np.uint64])
    @pytest.mark.parametrize("start", [2**53, 2**60, -(2**60)])
    def test_scores_keep_their_order(self, dtype, start):
        if start < 0 and dtype is np.uint64:
            start = 2**63
        scores = np.array([start, start + 1, start + 2, start + 3], dtype)
        assert statistics.roc_auc(scores, [0, 1, 0, 1]) == 0.75
        assert statistics.roc_auc(scores, [0, 0, 1, 1]) == 1
        assert (
            statistics.roc_auc(np.array([start, start, start + 1], dtype), [0, 1, 1]) == 0.75
        )  # a tie is one

    def test_smaller_ones_stay_as_they_are(self):
        assert in_order(np.array([2**53, -5, 7])).tolist() == [2**53, -5, 7]
