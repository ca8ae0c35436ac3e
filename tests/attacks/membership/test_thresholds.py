import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from securitynet_hub.attacks.membership.thresholds import fit_thresholds, measure_threshold_attack
from securitynet_hub.statistics.rates import roc_auc

samples = st.lists(
    st.tuples(st.integers(-3, 3).map(float), st.integers(0, 3), st.booleans()), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(member for *_, member in rows) < len(rows))


def brute_force(scores, is_member):
    """Try every score as a threshold; of the best keep the highest."""

    def balanced(threshold):
        found, cleared = scores[is_member] >= threshold, scores[~is_member] < threshold
        return found.mean() / 2 + cleared.mean() / 2

    best = max(balanced(v) for v in scores)
    return max(v for v in scores if balanced(v) > best - 1e-12), best


def drawn(n=4000, classes=5, seed=0):
    """Scores whose level differs by class, members one higher: no single threshold serves all classes."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(0, classes, n), rng.random(n) < 0.5
    return rng.normal(size=n) + 3 * labels + 2 * is_member, labels, is_member


class TestFit:
    @given(samples)
    def test_equals_trying_every_threshold_in_every_class(self, rows):
        scores, labels, is_member = map(np.array, zip(*rows, strict=True))
        found = fit_thresholds(scores, labels, is_member, num_classes=5)
        assert found.overall == brute_force(scores, is_member)[0]
        for c in range(5):
            inside = labels == c
            assert found.members[c] == (inside & is_member).sum()
            assert found.nonmembers[c] == (inside & ~is_member).sum()
            assert found.fallbacks[c] == (len(set(is_member[inside])) < 2)
            if found.fallbacks[c]:
                assert found.per_class[c] == found.overall
            else:
                assert found.per_class[c] == brute_force(scores[inside], is_member[inside])[0]

    @given(samples)
    def test_is_never_worse_than_chance_where_it_was_calibrated(self, rows):
        scores, labels, is_member = map(np.array, zip(*rows, strict=True))
        for classes in (labels, 0 * labels):
            found = fit_thresholds(scores, classes, is_member, num_classes=5)
            calls = found.predict(scores, classes)
            for c in np.flatnonzero(~found.fallbacks):
                inside = classes == c
                result = measure_threshold_attack(calls[inside], is_member[inside])
                assert result["balanced_accuracy"] == pytest.approx(
                    brute_force(scores[inside], is_member[inside])[1]
                )
                assert result["balanced_accuracy"] >= 0.5

    def test_a_loss_is_not_a_score(self):
        """A score of the wrong orientation is no better than chance, and never worse when calibrated."""
        scores, labels, is_member = drawn()
        calls = fit_thresholds(-scores, labels, is_member, num_classes=5).predict(-scores, labels)
        assert 0.5 <= measure_threshold_attack(calls, is_member)["balanced_accuracy"] < 0.52

    def test_thresholds_of_gaussians_lie_between_them(self):
        found = fit_thresholds(*drawn(200_000), num_classes=5)
        np.testing.assert_allclose(found.per_class, 3 * np.arange(5) + 1, atol=0.2)

    def test_classes_absent_from_calibration(self):
        scores, labels, is_member = drawn()
        seen = labels != 0
        found = fit_thresholds(scores[seen], labels[seen], is_member[seen], num_classes=7)
        assert found.fallbacks.tolist() == [True, False, False, False, False, True, True]
        assert found.predict([found.overall] * 2, [0, 6]).all()

    def test_row_order_and_increasing_maps(self):
        scores, labels, is_member = drawn(300)
        order = np.random.default_rng(1).permutation(300)
        found = fit_thresholds(scores, labels, is_member, num_classes=5)
        again = fit_thresholds(scores[order], labels[order], is_member[order], num_classes=5)
        mapped = fit_thresholds(np.exp(scores / 9), labels, is_member, num_classes=5)
        assert np.array_equal(again.per_class, found.per_class)
        assert np.array_equal(mapped.per_class, np.exp(found.per_class / 9))

    def test_duplicated_samples_change_nothing(self):
        scores, labels, is_member = drawn(300)
        twice = fit_thresholds(np.tile(scores, 2), np.tile(labels, 2), np.tile(is_member, 2), num_classes=5)
        once = fit_thresholds(scores, labels, is_member, num_classes=5)
        assert np.array_equal(twice.per_class, once.per_class)
        assert np.array_equal(twice.members, 2 * once.members)

    def test_arguments_come_back_untouched(self):
        arrays = drawn(100)
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        fit_thresholds(*arrays, num_classes=5)
        assert all(map(np.array_equal, arrays, before))


class TestUse:
    def test_centred_scores_have_one_roc_for_all_classes(self):
        calibration, evaluation = drawn(seed=1), drawn(seed=2)
        found = fit_thresholds(*calibration, num_classes=5)
        scores, labels, is_member = evaluation
        centred = found.centred(scores, labels)
        assert np.array_equal(centred >= 0, found.predict(scores, labels))
        assert roc_auc(centred, is_member) > roc_auc(scores, is_member) + 0.2
        assert roc_auc(centred, is_member) == pytest.approx(0.92, abs=0.02)  # Phi(2 / sqrt 2)

    def test_calibrated_samples_are_not_judged(self):
        scores, labels, is_member = drawn(100)
        found = fit_thresholds(scores, labels, is_member, num_classes=5, indices=np.arange(100))
        for use in (found.predict, found.centred):
            with pytest.raises(ValueError, match="1 of 3 were, the first has index 99"):
                use(scores[:3], labels[:3], indices=[99, 100, 101])
            assert len(use(scores[:3], labels[:3], indices=[100, 101, 102])) == 3

    @pytest.mark.parametrize(
        ("scores", "labels", "settings", "sentence"),
        [
            ([1.0, np.nan], [0, 0], {}, r"1 row\(s\) \(1\)"),
            ([1.0, 2.0], [0, 5], {}, r"0\.\.4"),
            ([1.0, 2.0], [0, -1], {}, r"0\.\.4"),
            ([1.0, 2.0], [0], {}, "one for each score"),
            ([1.0, 2.0], [0.0, 1.0], {}, "labels must be integers"),
            ([1.0, 2.0], [0, 1], {"indices": [1]}, "indices must be integers"),
        ],
    )
    def test_refusals(self, scores, labels, settings, sentence):
        found = fit_thresholds(*drawn(100), num_classes=5)
        for use in (found.predict, found.centred):
            with pytest.raises(ValueError, match=sentence):
                use(scores, labels, **settings)
        with pytest.raises(ValueError, match=sentence):
            fit_thresholds(scores, labels, [0, 1], num_classes=5, **settings)

    def test_one_sided_calibration(self):
        with pytest.raises(ValueError, match="all 2 samples are members"):
            fit_thresholds([1, 2], [0, 1], [1, 1], num_classes=2)


class TestMeasure:
    def test_a_table_computed_by_hand(self):
        """8 of 10 members accused, 15 of 50 others."""
        predictions = [1] * 8 + [0] * 2 + [1] * 15 + [0] * 35
        result = measure_threshold_attack(predictions, [1] * 10 + [0] * 50)
        assert result["accuracy"] == 43 / 60
        assert result["balanced_accuracy"] == pytest.approx(0.75)
        assert result["precision"] == 8 / 23
        assert result["recall"] == 0.8
        assert (result["true_positives"], result["false_positives"]) == (8, 15)
        assert (result["n_members"], result["n_nonmembers"]) == (10, 50)
        for name, counts in {"accuracy": (43, 60), "precision": (8, 23), "recall": (8, 10)}.items():
            expected = binomtest(*counts).proportion_ci(method="wilson")
            assert result[f"{name}_ci"] == pytest.approx(tuple(expected))

    def test_no_accusations_have_no_precision(self):
        result = measure_threshold_attack([0, 0], [1, 0])
        assert result["precision"] is None
        assert result["precision_ci"] is None
        assert (result["accuracy"], result["balanced_accuracy"]) == (0.5, 0.5)

    def test_exchanged_sides_mirror_the_balanced_accuracy(self):
        rng = np.random.default_rng(0)
        calls, is_member = rng.random(80) < 0.6, rng.random(80) < 0.3
        one, other = (measure_threshold_attack(calls, sides) for sides in (is_member, ~is_member))
        assert other["balanced_accuracy"] == pytest.approx(1 - one["balanced_accuracy"])
        low, high = one["balanced_accuracy_ci"]
        assert other["balanced_accuracy_ci"] == pytest.approx((1 - high, 1 - low))

    def test_balanced_accuracy_s_interval_covers(self):
        rng = np.random.default_rng(1)
        is_member = np.arange(330) < 30
        hits = 0
        for _ in range(1000):
            calls = rng.random(330) < np.where(is_member, 0.9, 0.3)
            low, high = measure_threshold_attack(calls, is_member)["balanced_accuracy_ci"]
            hits += low <= 0.8 <= high
        assert 0.93 <= hits / 1000 <= 0.98

    @pytest.mark.parametrize("predictions", [[0.5, 1], [2, 0]])
    def test_scores_are_no_predictions(self, predictions):
        with pytest.raises(ValueError, match=r"1 row\(s\) \(0\)"):
            measure_threshold_attack(predictions, [0, 1])
