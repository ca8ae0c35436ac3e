"""Pairs of a source and a target class, against distances and p-values that are known by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from support.linear_targets import IMAGES, as_target, linear

from securitynet_hub.attacks.backdoor.additive_trigger import additive_triggers
from securitynet_hub.attacks.backdoor.class_pairs import judge_pairs, judge_reach, smallest_pair_changes
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.expected_size import source_gaps
from securitynet_hub.attacks.backdoor.present import model_verdict
from securitynet_hub.attacks.backdoor.results import ModelResult
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.attacks.backdoor.shared_change import Points, Search

OFF = ~np.eye(6, dtype=bool)


def drawn(seed=0):
    """Sizes between six classes, around 1."""
    sizes = np.random.default_rng(seed).uniform(0.8, 1.2, (6, 6))
    np.fill_diagonal(sizes, np.nan)
    return sizes


def drawn_gaps(seed=1):
    """Gaps between six classes, which differ from the way back."""
    gaps = np.random.default_rng(seed).uniform(1, 4, (6, 6))
    np.fill_diagonal(gaps, np.nan)
    return gaps


class TestSearch:
    def test_a_pair_s_change_leads_half_of_the_way_between_two_corners(self):
        """From a corner at distance a along axis s to class t of the identity: a / sqrt 2."""
        lengths = np.array([2.0, 4.0, 8.0])
        values = torch.diag(torch.from_numpy(lengths))
        points = Points(values=values, classify=lambda x: x, predicted=values.argmax(1))
        search = Search(steps=400, success=1.0, learning_rate=0.03)
        found = smallest_pair_changes(points, np.arange(3), search)
        expected = np.broadcast_to(lengths[:, None] / np.sqrt(2), (3, 3)) / points.spread / np.sqrt(3)
        off = ~np.eye(3, dtype=bool)
        assert found.sizes[off] == pytest.approx(expected[off], rel=0.05)
        assert np.isnan(np.diag(found.sizes)).all()

    def test_a_source_without_images_has_no_sizes(self):
        values = torch.diag(torch.tensor([2.0, 4.0, 8.0]))[:2]
        points = Points(values=values, classify=lambda x: x, predicted=values.argmax(1))
        found = smallest_pair_changes(points, np.arange(3), Search(steps=60))
        assert np.isfinite(found.sizes).tolist() == [[False, True, True], [True, False, True], [False] * 3]


class TestPairs:
    def test_two_order_statistics_as_the_authors_compute_them(self):
        sizes = drawn()
        sizes[1, 4] = 0.5
        p_values = []
        for label in range(6):
            others = OFF.copy()
            others[:, label] = False
            shape, loc, scale = scipy.stats.gamma.fit(1 / sizes[others])
            largest = 1 / np.nanmin(sizes[:, label])
            p_values.append(1 - scipy.stats.gamma.cdf(largest, shape, loc=loc, scale=scale) ** 5)
        found = judge_pairs(sizes)
        assert found.p_value == pytest.approx(1 - (1 - min(p_values)) ** 6, rel=1e-6)
        assert found.score == pytest.approx(-np.log10(found.p_value))
        assert (found.source, found.target) == (1, 4)

    def test_order_of_classes(self):
        sizes, order = drawn(), np.array([3, 5, 0, 4, 2, 1])
        sizes[1, 4] = 0.5
        moved = judge_pairs(sizes[np.ix_(order, order)])
        assert (order[moved.source], order[moved.target]) == (1, 4)
        assert moved.p_value == pytest.approx(judge_pairs(sizes).p_value, rel=1e-3)

    def test_missing_sizes_are_left_out_and_too_few_say_nothing(self):
        sizes = drawn()
        sizes[2], sizes[1, 4] = np.nan, 0.4
        assert judge_pairs(sizes).target == 4
        assert judge_pairs(np.full((6, 6), np.nan)) == (None, None, None, None)

    def test_sizes_without_spread(self):
        sizes = np.where(OFF, 1.0, np.nan)
        assert judge_pairs(sizes).p_value == 1.0
        sizes[0, 1] = 0.5
        assert judge_pairs(sizes)[1:] == (0.0, 0, 1)

    def test_refuses(self):
        with pytest.raises(ValueError, match="shape"):
            judge_pairs(np.ones((2, 3)))
        with pytest.raises(ValueError, match="not negative"):
            judge_pairs(-np.ones((4, 4)))


class TestReach:
    def test_what_clean_answers_or_the_way_back_explain_does_not_count(self):
        gaps, mutual = drawn_gaps(), drawn() * drawn().T
        assert judge_reach(3 * gaps**0.5, gaps).score == pytest.approx(0, abs=1e-9)
        assert judge_reach(mutual, gaps).score == pytest.approx(0, abs=1e-9)

    def test_a_class_that_is_nearer_from_everywhere_stands_out_by_that(self):
        """Sizes of one octave less towards class 2, from all; the way back stays."""
        gaps = drawn_gaps()
        sizes = gaps**0.5
        sizes[:, 2] /= 2
        found = judge_reach(sizes, gaps)
        assert (found.target, found.score) == (2, pytest.approx(1.0))

    def test_a_class_near_from_one_source_alone_stands_out_by_its_share(self):
        gaps = drawn_gaps()
        sizes = gaps**0.5
        sizes[3, 2] /= 2
        assert judge_reach(sizes, gaps).below[2] == pytest.approx(1 / 5)

    def test_order_of_classes(self):
        sizes, gaps, order = drawn(), drawn_gaps(), np.array([3, 5, 0, 4, 2, 1])
        below = judge_reach(sizes, gaps).below
        moved = judge_reach(sizes[np.ix_(order, order)], gaps[np.ix_(order, order)]).below
        assert moved == pytest.approx(below[order])

    def test_refuses_and_leaves_out(self):
        sizes, gaps = drawn(), drawn_gaps()
        with pytest.raises(ValueError, match="gaps"):
            judge_reach(sizes, gaps[:3, :3])
        sizes[:, 2] = np.nan
        assert np.isnan(judge_reach(sizes, gaps).below).tolist() == [False, False, True] + [False] * 3
        assert judge_reach(np.full((6, 6), np.nan), gaps)[:2] == (None, None)


class TestAdditiveTrigger:
    def test_pairs_are_an_addition_and_name_source_and_target(self):
        target, inputs = as_target(linear(planted=4)), DetectorInputs(clean=IMAGES)
        plain = run_detector("additive_trigger", target, inputs)
        found = run_detector("additive_trigger", target, inputs, pairs=True)
        sizes = np.array(found.figures["pair_sizes"], float)
        verdict = judge_pairs(sizes)
        assert {name: found.figures[name] for name in ("sizes", "gaps", "adjusted_score")} == {
            name: plain.figures[name] for name in ("sizes", "gaps", "adjusted_score")
        }
        assert (found.score, found.suspect) == (verdict.score, verdict.target)
        assert found.figures["suspect_source"] == int(np.nanargmin(sizes[:, found.suspect]))
        assert found.figures["reach_suspect"] == plain.suspect == 4
        ModelResult(score=found.score, suspect=found.suspect, **found.figures)
        entry = SimpleNamespace(attack="additive_trigger", record=SimpleNamespace(result=found.figures))
        assert "most easily to class 4, compared with" in model_verdict([entry]).text
        with pytest.raises(ValueError, match="suspect_source"):
            ModelResult(
                score=found.score,
                suspect=found.suspect,
                **{**found.figures, "suspect_source": found.suspect},
            )

    def test_the_reach_is_of_the_gaps_of_its_images(self):
        module = linear(planted=4)
        found = additive_triggers(as_target(module), IMAGES, steps=20, pairs=True).pairs
        with torch.no_grad():
            logits = module(torch.from_numpy(IMAGES).movedim(-1, 1).double() / 255).numpy()
        gaps = source_gaps(logits, found.classes)
        assert np.nan_to_num(found.gaps) == pytest.approx(np.nan_to_num(gaps), rel=1e-5)

    def test_only_the_likeliest_of_many_classes_are_paired(self):
        target = as_target(linear(classes=30))
        found = additive_triggers(target, IMAGES[:8], steps=1, pairs=True)
        assert (len(found.classes), found.pairs.sizes.shape) == (30, (24, 24))
        few = additive_triggers(target, IMAGES[:8], steps=1, pairs=True, max_classes=4)
        assert few.pairs.classes.tolist() == few.classes.tolist()
