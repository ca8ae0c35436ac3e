"""Exact intervals, and confidence sequences: by hand, and how often they hold whenever one stops."""

import numpy as np
import pytest
from scipy import stats

from securitynet_hub.statistics.sequences import (
    Trials,
    clopper_pearson_interval,
    log_evidence,
    product_sequence,
)


class TestExact:
    @pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 36), (7, 20), (199, 200), (20, 20)])
    def test_it_is_scipys(self, successes, n):
        expected = stats.binomtest(successes, n).proportion_ci(0.9, method="exact")
        found = clopper_pearson_interval(successes, n, confidence_level=0.9)
        np.testing.assert_allclose(found, [expected.low, expected.high], atol=1e-12)

    @pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3), (0.5, 3), (0, 0)])
    def test_it_refuses_what_are_no_counts(self, successes, n):
        with pytest.raises(ValueError, match=r"trial"):
            clopper_pearson_interval(successes, n)


class TestEvidence:
    def test_it_is_the_mean_likelihood_ratio(self):
        """By numerical integration over the mixture."""
        trials, p = Trials(7, 10, 4.0), 0.3
        q = (np.arange(200_000) + 0.5) / 200_000
        ratio = (q / p) ** 7 * ((1 - q) / (1 - p)) ** 3
        mean = np.mean(stats.beta(4 * p, 4 * (1 - p)).pdf(q) * ratio)
        assert log_evidence(trials, p).item() == pytest.approx(np.log(mean), abs=1e-4)

    @pytest.mark.parametrize("n", [1, 2, 5])
    @pytest.mark.parametrize("concentration", [0.5, 3.0, 100.0])
    def test_it_is_a_martingale(self, n, concentration):
        """Its mean under the tested proportion is 1, after any number of trials."""
        p = 0.35
        counts = np.arange(n + 1)
        evidence = [np.exp(log_evidence(Trials(int(k), n, concentration), p).item()) for k in counts]
        assert np.dot(stats.binom(n, p).pmf(counts), evidence) == pytest.approx(1, rel=1e-9)


class TestSequence:
    def test_one_proportion_by_its_definition(self):
        trials = Trials(31, 40, 10.0)
        grid = np.linspace(1e-4, 1 - 1e-4, 20_001)
        inside = grid[log_evidence(trials, grid) < np.log(20)]
        low, high = product_sequence([trials])
        assert low == pytest.approx(inside[0], abs=2e-3)
        assert high == pytest.approx(inside[-1], abs=2e-3)
        assert low <= inside[0]
        assert high >= inside[-1]

    def test_a_product_by_its_definition(self):
        stages = [Trials(45, 80, 10.0), Trials(30, 35, 3.0)]
        grid = np.linspace(1e-3, 1 - 1e-6, 1500)
        sums = log_evidence(stages[0], grid)[:, None] + log_evidence(stages[1], grid)
        inside = (grid[:, None] * grid)[sums < np.log(10)]
        low, high = product_sequence(stages, confidence_level=0.9)
        assert low == pytest.approx(inside.min(), abs=4e-3)
        assert high == pytest.approx(inside.max(), abs=4e-3)
        assert low <= inside.min()
        assert high >= inside.max()

    def test_a_stage_without_trials_refutes_nothing(self):
        alone = product_sequence([Trials(50, 100, 10.0)])
        both = product_sequence([Trials(50, 100, 10.0), Trials(0, 0)])
        assert both.low == 0
        assert both.high == pytest.approx(alone.high, abs=2e-3)
        assert product_sequence([Trials(0, 0)]) == (0, 1)

    @pytest.mark.parametrize(
        "stages", [[Trials(0, 50)], [Trials(0, 50), Trials(0, 0)], [Trials(9, 9), Trials(0, 9)]]
    )
    def test_no_success_has_no_lower_end(self, stages):
        low, high = product_sequence(stages)
        assert low == 0
        assert 0 < high < 0.5

    def test_it_narrows_with_trials_and_widens_with_the_level(self):
        widths = [np.diff(product_sequence([Trials(n // 2, n, 25.0)])).item() for n in (20, 200, 2000)]
        assert widths == sorted(widths, reverse=True)
        narrow, wide = (
            np.diff(product_sequence([Trials(60, 100, 10.0)], confidence_level=level)).item()
            for level in (0.8, 0.99)
        )
        assert narrow < wide

    def test_it_refuses_nothing_at_all(self):
        with pytest.raises(ValueError, match="one of them or more"):
            product_sequence([])


class TestCoverage:
    @pytest.mark.parametrize(("p", "concentration"), [(0.5, 25.0), (0.03, 25.0), (0.97, 3.0)])
    def test_it_holds_at_all_numbers_of_trials_at_once(self, p, concentration):
        """Of 500 runs of 500 looks each, about 25 may ever miss; an exact interval misses in far more."""
        rng, runs, looks = np.random.default_rng(1), 500, 500
        counts = (rng.random((runs, looks)) < p).cumsum(1)
        n = np.broadcast_to(np.arange(1, looks + 1), counts.shape)
        evidence = log_evidence(Trials(counts, n, concentration), p)
        missed = int((evidence >= np.log(20)).any(1).sum())
        assert stats.binomtest(missed, runs, 0.05, alternative="greater").pvalue > 1e-3
        tails = stats.binom.sf(counts - 1, n, p), stats.binom.cdf(counts, n, p)
        exact = (np.minimum(*tails) < 0.025).any(1).sum()
        assert exact > 3 * max(missed, 25)

    def test_stages_that_take_turns_as_the_outcomes_have_it(self):
        """Whoever always goes on with the worse-looking stage, and stops at will, is not rewarded for it."""
        rng, truth, missed, runs = np.random.default_rng(2), (0.6, 0.9), 0, 150
        for _ in range(runs):
            n, k = np.zeros(2, int), np.zeros(2, int)
            for _ in range(60):
                stage = int(np.argmax((k + 1) / (n + 2)))
                k[stage] += rng.binomial(5, truth[stage])
                n[stage] += 5
                evidence = sum(
                    log_evidence(Trials(int(k[i]), int(n[i]), c), truth[i]).item()
                    for i, c in enumerate((25.0, 3.0))
                )
                if evidence >= np.log(20):
                    missed += 1
                    break
        assert stats.binomtest(missed, runs, 0.05, alternative="greater").pvalue > 1e-3
