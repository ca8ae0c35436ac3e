"""What a threshold chosen on other clean images rejects and lets pass; its metric."""

import numpy as np
import pytest
import torch

from securitynet_hub import load_metric
from securitynet_hub.attacks.backdoor.measures import measure_input_detection, rejection_threshold
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval, wilson_interval

RNG = np.random.default_rng(0)
POISONED = np.arange(300) < 100
SCORES = RNG.normal(size=300) + POISONED
CALIBRATION = RNG.normal(size=150)


class TestThreshold:
    @pytest.mark.parametrize("count", [1, 19, 20, 99, 100, 250])
    @pytest.mark.parametrize("target", [0.0, 0.01, 0.05, 0.1, 0.5, 1.0])
    def test_is_the_lowest_that_may_be_promised(self, count, target):
        """Of count + 1 exchangeable images the new one is rejected in as many orders as scores lie above."""
        calibration = RNG.permutation(count).astype(float)
        found = rejection_threshold(calibration, target)
        promised = {
            threshold: (np.sum(calibration > threshold) + 1) / (count + 1) for threshold in calibration
        }
        kept = [threshold for threshold, rate in promised.items() if rate <= target + 1e-12]
        assert found == min(kept, default=None)

    def test_keeps_its_promise_on_average_whatever_the_distribution(self):
        rates = []
        for draw in (RNG.normal, RNG.exponential, RNG.standard_cauchy):
            for _ in range(300):
                threshold = rejection_threshold(draw(size=59), 0.05)
                rates.append(np.mean(draw(size=200) > threshold))
        assert 0.045 < np.mean(rates) < 0.055  # 3 of 60 is 0.05 exactly

    def test_ties_are_rejected_together_or_not_at_all(self):
        assert rejection_threshold([1.0] * 50 + [2.0] * 50, 0.2) == 2
        assert rejection_threshold([1.0] * 90 + [2.0] * 10, 0.2) == 1

    @pytest.mark.parametrize(
        ("calibration", "target", "sentence"),
        [
            ([], 0.1, "at least one"),
            ([[1.0]], 0.1, "one score for each"),
            ([1.0, np.nan], 0.1, "NaN"),
            ([1.0], 1.5, "between 0 and 1"),
            ([1.0], -0.1, "between 0 and 1"),
        ],
    )
    def test_refusals(self, calibration, target, sentence):
        with pytest.raises(ValueError, match=sentence):
            rejection_threshold(calibration, target)


class TestMeasure:
    def test_figures_are_counts_at_the_threshold(self):
        found = measure_input_detection(
            SCORES, POISONED, calibration=CALIBRATION, target_frrs=[0.1], confidence_level=0.9
        )
        (rates,) = found["acceptance"]
        threshold = np.sort(CALIBRATION)[136 - 1]  # ceil(0.9 * 151)
        missed, alarms = (SCORES[POISONED] <= threshold).sum(), (SCORES[~POISONED] > threshold).sum()
        assert rates["threshold"] == threshold
        assert (rates["far"], rates["frr"]) == (missed / 100, alarms / 200)
        assert rates["far_ci"] == wilson_interval(missed, 100, confidence_level=0.9)
        assert rates["frr_ci"] == wilson_interval(alarms, 200, confidence_level=0.9)
        assert rates["resolvable"]
        assert found["auc"] == roc_auc(SCORES, POISONED)
        assert found["auc_ci"] == roc_auc_interval(SCORES, POISONED, confidence_level=0.9)
        assert (found["n_poisoned"], found["n_clean"], found["n_calibration"]) == (100, 200, 150)

    def test_at_the_cut_an_image_is_accepted(self):
        """Of 1..9 one in five may be rejected: the cut is 8, which poisoned and clean images reach."""
        found = measure_input_detection(
            [8, 9, 8, 0, 9], [1, 1, 0, 0, 0], calibration=range(1, 10), target_frrs=[0.2]
        )
        (rates,) = found["acceptance"]
        assert (rates["threshold"], rates["far"], rates["frr"]) == (8, 1 / 2, 1 / 3)

    def test_what_is_judged_does_not_move_the_threshold(self):
        once, twice = (
            measure_input_detection(scores, POISONED, calibration=CALIBRATION)
            for scores in (SCORES, SCORES * 9)
        )
        for one, two in zip(once["acceptance"], twice["acceptance"], strict=True):
            assert one["threshold"] == two["threshold"]

    def test_too_few_calibration_images_reject_nothing_and_say_so(self):
        found = measure_input_detection(SCORES, POISONED, calibration=CALIBRATION[:50], target_frrs=[0.01])
        (rates,) = found["acceptance"]
        assert (rates["threshold"], rates["far"], rates["frr"], rates["resolvable"]) == (None, 1, 0, False)

    def test_without_calibration_there_is_no_rate(self):
        assert measure_input_detection(SCORES, POISONED)["acceptance"] is None

    def test_swapped_sides_mirror_and_order_does_not_matter(self):
        auc = measure_input_detection(SCORES, POISONED)["auc"]
        assert auc > 0.7
        assert measure_input_detection(SCORES, ~POISONED)["auc"] == pytest.approx(1 - auc)
        order = RNG.permutation(300)
        one, other = (
            measure_input_detection(SCORES[rows], POISONED[rows], calibration=CALIBRATION)
            for rows in (np.arange(300), order)
        )
        assert one == other

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"is_poisoned": np.ones(300)}, "is_poisoned must name both poisoned and clean; all 300"),
            ({"is_poisoned": [1, 0]}, "300 scores and 2 marks"),
            ({"scores": [], "is_poisoned": []}, "poisoned and clean are needed"),
            ({"scores": np.where(POISONED, np.nan, SCORES)}, "NaN"),
            ({"calibration": [np.inf]}, "calibration must be finite"),
            ({"ids": range(300), "calibration_ids": range(299, 449)}, r"1 row\(s\) \(299\) of ids"),
            ({"ids": range(300)}, "must name 300 and 150 images"),
            ({"ids": ["a"] * 299, "calibration_ids": ["b"] * 150}, "must name 300 and 150 images"),
            ({"calibration": None, "ids": range(300)}, "no calibration scores"),
            ({"target_frrs": [2]}, "between 0 and 1"),
        ],
    )
    def test_refusals(self, changes, sentence):
        settings = {"scores": SCORES, "is_poisoned": POISONED, "calibration": CALIBRATION, **changes}
        with pytest.raises(ValueError, match=sentence):
            measure_input_detection(**settings)

    def test_other_images_are_let_through(self):
        found = measure_input_detection(
            SCORES, POISONED, calibration=CALIBRATION, ids=range(300), calibration_ids=range(300, 450)
        )
        assert found == measure_input_detection(SCORES, POISONED, calibration=CALIBRATION)


class TestMetric:
    @pytest.fixture
    def metric(self):
        return load_metric("backdoor_input_detection")

    @pytest.mark.parametrize("as_type", [np.asarray, list, torch.tensor])
    def test_gives_the_library_s_figures_to_the_bit(self, metric, as_type):
        found = metric.compute(
            predictions=as_type(SCORES), references=POISONED.tolist(), calibration=as_type(CALIBRATION)
        )
        assert found == measure_input_detection(SCORES, POISONED, calibration=CALIBRATION)

    def test_batches_collected_one_by_one_give_the_same(self, metric):
        for start in range(0, 300, 70):
            part = slice(start, start + 70)
            metric.add_batch(predictions=SCORES[part], references=POISONED[part].astype(int))
        found = metric.compute(calibration=CALIBRATION, target_frrs=[0.05])
        assert found == measure_input_detection(SCORES, POISONED, calibration=CALIBRATION, target_frrs=[0.05])

    def test_collected_fractions_of_a_mark_are_not_cut_off(self, metric):
        metric.add_batch(predictions=[0.9, 0.1, 0.5], references=[0.5, 1, 0])
        with pytest.raises(ValueError, match="references must hold booleans or 0/1"):
            metric.compute()
