"""Sizes relative to what clean answers predict, against lines and classifiers that are known by hand."""

import numpy as np
import pytest
from support.linear_targets import IMAGES, as_target, linear

from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.expected_size import (
    MOST_CLASSES,
    adjust_sizes,
    adjusted_figures,
    class_gaps,
    source_gaps,
)
from securitynet_hub.attacks.backdoor.results import ModelResult
from securitynet_hub.attacks.backdoor.running import run_detector

GAPS = 2.0 ** np.arange(9)


class TestGaps:
    def test_a_linear_classifier_loses_images_by_the_difference_of_its_rows(self):
        """Each image is the unit vector of its class: a class loses it by the difference of two weights."""
        weight = np.random.default_rng(0).normal(size=(5, 5)) + 9 * np.eye(5)
        gaps = source_gaps(weight.T, np.arange(5))  # row s holds the logits of the image of class s
        expected = np.diag(weight)[:, None] - weight.T
        off = ~np.eye(5, dtype=bool)
        assert gaps[off] == pytest.approx(expected[off])
        assert np.isnan(np.diag(gaps)).all()
        assert class_gaps(weight.T, np.arange(5)) == pytest.approx(np.nanmean(gaps, 0))

    def test_what_no_image_tells_is_nan(self):
        logits = [[3.0, 1.0, 2.0], [4.0, 0.0, 0.0]]
        assert np.isnan(class_gaps(logits, [0, 1])).tolist() == [True, False]
        assert np.isnan(source_gaps(logits, [0, 1, 2])).all(1).tolist() == [False, True, True]

    def test_refuses(self):
        with pytest.raises(ValueError, match="shape"):
            class_gaps([1.0, 2.0], [0])
        with pytest.raises(ValueError, match="whole numbers"):
            class_gaps([[1.0, 2.0]], [0.5])


class TestAdjustedSizes:
    def test_each_class_is_predicted_by_a_line_through_the_others(self):
        """Least squares by `polyfit`, its slope times n / (n + 8), through the median."""
        sizes = 3 * GAPS**0.7 * np.exp(np.random.default_rng(1).normal(size=9) / 4)
        u, v = np.log2(GAPS), np.log2(sizes)
        for label, below in enumerate(adjust_sizes(sizes, GAPS).below):
            x, y = np.delete(u, label), np.delete(v, label)
            slope = np.polyfit(x, y, 1)[0] / 2
            assert below == pytest.approx(np.median(y - slope * x) + slope * u[label] - v[label])

    def test_a_planted_class_is_named_though_others_are_nearer(self):
        """The class of gap 1 has the smallest size by nature; that of gap 64 is as small, and planted."""
        sizes = np.sqrt(GAPS)
        sizes[6] = 1.0
        assert int(sizes.argmin()) == 0
        assert adjust_sizes(sizes, GAPS).suspect == 6

    def test_a_class_s_own_size_has_no_part_in_its_prediction(self):
        sizes = np.sqrt(GAPS)
        smaller = sizes.copy()
        smaller[3] /= 8
        apart = adjust_sizes(smaller, GAPS).below[3] - adjust_sizes(sizes, GAPS).below[3]
        assert apart == pytest.approx(3.0)

    def test_units_do_not_matter(self):
        sizes = np.random.default_rng(2).uniform(1, 9, 9)
        assert adjust_sizes(5 * sizes, GAPS / 7).below == pytest.approx(adjust_sizes(sizes, GAPS).below)

    def test_order_of_classes(self):
        sizes, order = np.random.default_rng(3).uniform(1, 9, 9), np.random.default_rng(4).permutation(9)
        below = adjust_sizes(sizes, GAPS).below
        assert adjust_sizes(sizes[order], GAPS[order]).below == pytest.approx(below[order])

    def test_where_gaps_are_alike_the_median_is_predicted(self):
        sizes = np.array([1.0, 4, 8, 16, 32])
        assert adjust_sizes(sizes, np.ones(5)).score == pytest.approx(np.log2(np.sqrt(8 * 16)))

    def test_a_class_without_a_size_is_left_out_and_too_few_say_nothing(self):
        found = adjust_sizes([[1.0, 4, np.nan, 8, 16, 32]], GAPS[:6])
        assert np.isnan(found.below).tolist() == [False, False, True, False, False, False]
        assert adjust_sizes([1.0, 2, 3, 4], GAPS[:4])[:2] == (None, None)

    def test_refuses(self):
        with pytest.raises(ValueError, match="for 9 classes"):
            adjust_sizes(GAPS, GAPS[:5])


@pytest.mark.parametrize(
    ("name", "settings"), [("neural_cleanse", {"restarts": 1}), ("additive_trigger", {})]
)
def test_a_finding_has_the_adjusted_score_beside_the_plain_one(name, settings):
    found = run_detector(name, as_target(linear(planted=4)), DetectorInputs(clean=IMAGES), **settings)
    figures = found.figures
    adjusted = adjust_sizes(
        np.array(figures["norms" if name == "neural_cleanse" else "sizes"], float), figures["gaps"]
    )
    assert (found.suspect, figures["adjusted_suspect"]) == (4, 4)
    assert figures["adjusted_score"] == pytest.approx(adjusted.score)
    assert ModelResult(score=found.score, suspect=4, **figures).adjusted_score == figures["adjusted_score"]
    with pytest.raises(ValueError, match="adjusted_score"):
        ModelResult(score=found.score, suspect=4, **{**figures, "adjusted_score": 9.0})
    with pytest.raises(ValueError, match="adjusted_suspect"):
        ModelResult(score=found.score, suspect=4, **{**figures, "adjusted_suspect": 1})


def test_a_record_is_adjusted_for_so_many_classes_that_reading_it_takes_no_time():
    many = np.arange(1.0, MOST_CLASSES + 2)
    assert adjusted_figures(many, many, np.arange(len(many))) == {}
    with pytest.raises(ValueError, match="at most 1000"):
        ModelResult(score=1.0, sizes=many.tolist(), gaps=many.tolist())
