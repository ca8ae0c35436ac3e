import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from securitynet_hub.attacks.membership.privacy import (
    choose_threshold,
    epsilon_lower_bound,
    one_run_bound,
    one_run_epsilon,
    one_run_p_value,
)


def randomised_response(rng, epsilon, n, n_nonmembers=None):
    """Scores 0 or 1 that tell the truth as often as epsilon-differential privacy allows."""
    is_member = np.arange(n + (n_nonmembers or n)) < n
    truthful = rng.random(len(is_member)) < 1 / (1 + math.exp(-epsilon))
    return (is_member == truthful).astype(float), is_member


class TestEpsilon:
    @pytest.mark.parametrize("delta", [0.0, 0.01])
    @pytest.mark.parametrize(("hits", "false_alarms"), [(80, 5), (99, 90), (100, 0), (0, 0), (50, 50)])
    def test_equals_scipy_s_clopper_pearson(self, hits, false_alarms, delta):
        scores = [1] * hits + [0] * (100 - hits) + [1] * false_alarms + [0] * (200 - false_alarms)
        found = epsilon_lower_bound(scores, np.arange(300) < 100, thresholds=1, delta=delta)
        tpr = binomtest(hits, 100, alternative="greater").proportion_ci(0.975).low
        fpr = binomtest(false_alarms, 200, alternative="less").proportion_ci(0.975).high
        assert found.tpr_low == pytest.approx(tpr)
        assert found.fpr_high == pytest.approx(fpr)
        ratios = [(tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr)]
        assert found.epsilon == pytest.approx(math.log(max(1, *ratios)))
        assert found.epsilon >= 0

    @pytest.mark.parametrize(("n", "k"), [(20, 20), (200, 200), (30, 300), (300, 30)])
    @pytest.mark.parametrize("epsilon", [0.0, 1.0])
    def test_is_above_the_truth_in_no_more_than_one_of_twenty(self, n, k, epsilon):
        """Randomised response attains epsilon exactly; at 0 nothing leaks at all."""
        rng = np.random.default_rng(n)
        wrong = [
            epsilon_lower_bound(*randomised_response(rng, epsilon, n, k), thresholds=1).epsilon > epsilon
            for _ in range(1000)
        ]
        assert binomtest(sum(wrong), 1000, 0.05, alternative="greater").pvalue > 0.01

    @pytest.mark.parametrize("n", [50, 500])
    def test_a_grid_is_paid_for(self, n):
        rng, wrong = np.random.default_rng(n), 0
        grid = np.linspace(-2, 2, 41)
        is_member = np.arange(2 * n) < n
        for _ in range(500):
            found = epsilon_lower_bound(rng.normal(size=2 * n), is_member, thresholds=grid)
            assert found.epsilon >= 0
            wrong += found.epsilon > 0
        assert wrong <= 25
        assert found.comparisons == 41

    def test_a_threshold_from_the_other_half(self):
        rng, wrong = np.random.default_rng(3), 0
        is_member = np.arange(400) % 2 == 0
        half = np.arange(400) < 200
        for _ in range(500):
            scores = rng.normal(size=400)
            threshold = choose_threshold(scores[half], is_member[half])
            wrong += epsilon_lower_bound(scores[~half], is_member[~half], thresholds=threshold).epsilon > 0
        assert wrong <= 25
        leaking = scores + 3 * is_member
        threshold = choose_threshold(leaking[half], is_member[half])
        assert epsilon_lower_bound(leaking[~half], is_member[~half], thresholds=threshold).epsilon > 1

    def test_tightens_with_samples_and_loosens_with_delta_level_and_grid(self):
        def bound(n, **settings):
            scores = np.repeat([1, 0, 1, 0], [8 * n, 2 * n, n, 9 * n])
            return epsilon_lower_bound(
                scores, np.arange(20 * n) < 10 * n, **{"thresholds": [1], **settings}
            ).epsilon

        assert bound(1) < bound(10) < bound(1000) < math.log(8)
        assert bound(1000) == pytest.approx(math.log(8), abs=0.1)
        assert bound(10, delta=0.1) < bound(10)
        assert bound(10, confidence_level=0.99) < bound(10)
        assert bound(10, thresholds=[1, 5]) < bound(10)

    def test_row_order_and_swapped_sides(self):
        rng = np.random.default_rng(4)
        scores, is_member = randomised_response(rng, 2.0, 60, 140)
        order = rng.permutation(200)
        found = epsilon_lower_bound(scores, is_member, thresholds=1)
        assert epsilon_lower_bound(scores[order], is_member[order], thresholds=1) == found
        # To exchange both the sides and the scores is to exchange the two inequalities.
        assert epsilon_lower_bound(-scores, ~is_member, thresholds=0).epsilon == pytest.approx(found.epsilon)
        assert epsilon_lower_bound(scores, ~is_member, thresholds=1).epsilon == 0

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"thresholds": []}, "one number or a list"),
            ({"thresholds": [math.nan]}, "finite"),
            ({"thresholds": 1, "delta": 1}, r"\[0, 1\)"),
            ({"thresholds": 1, "delta": -0.1}, r"\[0, 1\)"),
            ({"thresholds": 1, "confidence_level": 95}, "confidence_level"),
        ],
    )
    def test_refusals(self, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            epsilon_lower_bound([1, 2], [0, 1], **settings)


class TestOneRun:
    @pytest.mark.parametrize(
        ("counts", "delta", "published"),
        [((1000, 100, 75), 1e-4, 0.673), ((100_000, 1510, 1439), 1e-5, 2.675)],
    )
    def test_equals_the_paper_s_printed_values(self, counts, delta, published):
        assert one_run_bound(*counts, delta=delta) == pytest.approx(published, abs=1e-3)

    @pytest.mark.parametrize(("guesses", "correct"), [(10, 10), (100, 75), (1000, 530)])
    def test_without_delta_it_is_the_odds_of_a_one_sided_clopper_pearson_bound(self, guesses, correct):
        rate = binomtest(correct, guesses, alternative="greater").proportion_ci(0.95).low
        expected = max(0, math.log(rate / (1 - rate)))
        assert one_run_bound(guesses, guesses, correct) == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (1.0, 1e-3)])
    def test_p_value_by_definition(self, epsilon, delta):
        m, r, v = 50, 30, 22
        q = 1 / (1 + math.exp(-epsilon))
        tail = sum(binom.pmf(k, r, q) for k in range(v, r + 1))
        share = max(sum(binom.pmf(k, r, q) for k in range(v - i, v)) / i for i in range(1, v + 1))
        expected = min(1, tail + 2 * m * delta * share)
        assert one_run_p_value(epsilon, m, r, v, delta=delta) == pytest.approx(expected)

    @pytest.mark.parametrize("epsilon", [0.0, 1.0])
    def test_is_above_the_truth_in_no_more_than_one_of_twenty(self, epsilon):
        rng, wrong = np.random.default_rng(5), 0
        for _ in range(500):
            is_member = rng.random(200) < 0.5
            truthful = rng.random(200) < 1 / (1 + math.exp(-epsilon))
            scores = (is_member == truthful) + 0.1 * rng.random(200)
            wrong += one_run_epsilon(scores, is_member, k_plus=40, k_minus=40).epsilon > epsilon
        assert binomtest(wrong, 500, 0.05, alternative="greater").pvalue > 0.01

    def test_guesses_and_abstentions_counted_by_hand(self):
        scores, is_member = [9, 8, 7, 6, 5, 4, 3, 2], [1, 0, 1, 1, 0, 1, 0, 0]
        for k_plus, k_minus, correct in [(3, 2, 4), (3, 3, 4 + 0), (8, 0, 4), (0, 8, 4), (1, 0, 1)]:
            found = one_run_epsilon(scores, is_member, k_plus=k_plus, k_minus=k_minus)
            assert (found.correct, found.guesses, found.canaries) == (correct, k_plus + k_minus, 8)

    def test_ties_do_not_know_the_rows_order(self):
        """Members first, one score for all: the rows' order would guess everything right, or wrong."""
        is_member = np.arange(200) < 100
        for sides in (is_member, ~is_member):
            found = [
                one_run_epsilon(np.zeros(200), sides, k_plus=50, k_minus=50, seed=seed) for seed in range(200)
            ]
            assert np.mean([bound.epsilon > 0 for bound in found]) <= 0.1
            assert np.mean([bound.correct for bound in found]) == pytest.approx(50, abs=2)

    def test_more_delta_and_more_abstained_canaries_loosen(self):
        assert one_run_bound(1000, 100, 90, delta=1e-4) < one_run_bound(1000, 100, 90)
        assert one_run_bound(5000, 100, 90, delta=1e-4) < one_run_bound(1000, 100, 90, delta=1e-4)
        assert one_run_bound(1000, 100, 80) < one_run_bound(1000, 100, 90)
        assert one_run_bound(1000, 100, 0) == 0

    @pytest.mark.parametrize(("k_plus", "k_minus"), [(0, 0), (-1, 2), (2, 2)])
    def test_impossible_guesses(self, k_plus, k_minus):
        with pytest.raises(ValueError, match="k_plus and k_minus"):
            one_run_epsilon([1, 2, 3], [0, 1, 1], k_plus=k_plus, k_minus=k_minus)

    @pytest.mark.parametrize("counts", [(10, 20, 5), (10, 5, 6), (10, 0, 0), (10, 5, -1)])
    def test_impossible_counts(self, counts):
        with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
            one_run_bound(*counts)
