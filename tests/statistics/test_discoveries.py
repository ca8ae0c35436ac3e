import numpy as np
import pytest
from scipy.stats import hypergeom

from securitynet_hub import statistics
from securitynet_hub.statistics.discoveries import (
    benjamini_hochberg,
    conformal_p_values,
    estimate_nonmembers,
    member_list,
    most_wrong,
    nonmembers_needed,
)


class TestPValues:
    def test_ties_count_against_the_candidate(self):
        assert conformal_p_values([2, 3, 0], [1, 2, 2]).tolist() == [3 / 4, 1 / 4, 1.0]

    @pytest.mark.parametrize("levels", [None, 4])
    def test_those_of_nonmembers_are_no_smaller_than_uniform(self, levels):
        rng = np.random.default_rng(0)
        scores = rng.normal(size=(4000, 20))
        scores = scores if levels is None else np.round(scores * levels / 4)
        p = np.array([conformal_p_values(row[:1], row[1:])[0] for row in scores])
        for t in (0.05, 0.1, 0.5):
            assert (p <= t).mean() <= t + 4 * np.sqrt(t / 4000)
        if levels is None:
            np.testing.assert_allclose([(p <= t).mean() for t in (0.1, 0.5)], [0.1, 0.5], atol=0.03)

    def test_large_integers_stay_apart(self):
        assert conformal_p_values([2**60 + 1], [2**60, 2**60 + 2]).tolist() == [2 / 3]

    @pytest.mark.parametrize("scores", [[], [[1.0]], [np.nan], [np.inf]])
    def test_other_scores_are_refused(self, scores):
        for given in ((scores, [0.0]), ([0.0], scores)):
            with pytest.raises(ValueError, match=r"candidates|nonmembers"):
                conformal_p_values(*given)


class TestBenjaminiHochberg:
    def test_it_is_the_definition(self):
        rng = np.random.default_rng(1)
        for _ in range(50):
            p = rng.beta(0.5, 1, 30)
            fits = [r for r in range(31) if (p <= 0.2 * r / 30).sum() >= r]
            assert benjamini_hochberg(p, fdr=0.2) == max(fits)

    def test_a_p_value_that_equals_its_bound_counts(self):
        # 0.1 * 3 / 1 is above 0.3 in floats, 0.3 * 3 / 3 is not
        assert benjamini_hochberg([0.1, 0.2, 0.3], fdr=0.3) == 3
        assert benjamini_hochberg([0.03] * 3, fdr=0.1, nonmembers=10) == 3

    def test_fewer_nonmembers_accuse_more(self):
        p = [0.02, 0.06, 0.09, 0.7]
        assert [benjamini_hochberg(p, fdr=0.1, nonmembers=m0) for m0 in (4, 2, 1)] == [1, 3, 3]

    def test_the_estimate(self):
        # n = 4: l = ceil(5 / 2) / 5 = 0.6; two of the p-values are there or above: (1 + 2) / 0.4
        assert estimate_nonmembers([0.2, 0.4, 0.6, 1.0], 4) == pytest.approx(7.5)


class TestBound:
    def test_by_hand(self):
        # One candidate, 19 known non-members: it is the highest of 20 with probability 1 / 20. The grid has 8
        # steps: 1, 2, 3, 5, 8, 12, 18, 19; at 0.05 / 8 nothing can be told, at 8 * 0.06 it can.
        assert most_wrong([1.0], range(-19, 0), confidence_level=0.95).tolist() == [0, 1]
        assert most_wrong([1.0], range(-19, 0), confidence_level=1 - 8 * 0.06).tolist() == [0, 0]

    def test_the_law_of_the_counts(self):
        # Of 3 non-members and 4 known ones: the number above the second highest known one.
        rng = np.random.default_rng(2)
        drawn = rng.random((20_000, 7))
        above = (drawn[:, :3] > np.sort(drawn[:, 3:])[:, [-2]]).sum(1)
        for b in range(3):
            assert (above > b).mean() == pytest.approx(hypergeom.cdf(1, 7, 4, b + 2), abs=0.015)

    def test_longer_lists_have_no_fewer_wrong(self):
        rng = np.random.default_rng(3)
        for scale in (1, 4):
            scores = np.round(rng.normal(size=300) * scale)
            found = most_wrong(scores[:100], scores[100:])
            steps = np.diff(found)
            assert found[0] == 0
            assert set(steps.tolist()) <= {0, 1}

    def test_members_make_it_no_worse(self):
        # Candidates that surely are members bound the number of non-members among all.
        rng = np.random.default_rng(4)
        found = most_wrong(np.r_[np.full(400, 9.0), rng.normal(size=100)], rng.normal(size=500))
        assert found[400] <= 12
        assert 100 <= found[-1] <= 130

    def test_ties_at_the_end_of_a_list_are_whole(self):
        # All equal: any part of the list may be wrong.
        assert most_wrong([1, 1, 1], [1] * 50).tolist() == [0, 1, 2, 3]


DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "tied": lambda rng, n: np.round(rng.normal(size=n)),
    "heavy tail": lambda rng, n: rng.standard_cauchy(n),
}


@pytest.mark.parametrize(
    ("name", "members"), [("normal", 0), ("normal", 15), ("tied", 15), ("heavy tail", 15)]
)
def test_the_rate_and_the_bound_hold(name, members):
    rng = np.random.default_rng(5)
    wrong, held = [], []
    for _ in range(200):
        nonmembers = DRAWS[name](rng, 140 - members)
        judged = np.r_[DRAWS[name](rng, members) + rng.choice([0, 4], members), nonmembers[100:]]
        found = member_list(judged, nonmembers[:100])
        count = np.append(0, np.cumsum(found.order >= members))
        wrong.append(count[found.listed] / max(1, found.listed))
        held.append((count <= found.most_wrong).all())
    assert np.mean(wrong) <= 0.1 + 3 * np.std(wrong) / np.sqrt(200)
    assert np.mean(held) >= 0.91  # at 0.95 a lower share has a chance of 0.5 %


def test_the_list_is_of_the_highest_scores():
    rng = np.random.default_rng(6)
    scores, known = rng.normal(size=200) + np.repeat([3, 0], 100), rng.normal(size=400)
    found = member_list(scores, known)
    assert 20 < found.listed < 130
    assert sorted(scores[found.rows]) == sorted(scores)[-found.listed :]
    assert found.at_most_wrong == found.most_wrong[found.listed] == most_wrong(scores, known)[found.listed]
    np.testing.assert_array_equal(found.p_values, conformal_p_values(scores, known))
    assert member_list(scores, known, adaptive=False).listed <= found.listed
    order = rng.permutation(200)
    again = member_list(scores[order], rng.permutation(known))
    assert set(order[again.rows]) == set(found.rows)
    assert statistics.member_list is member_list


def test_too_few_known_nonmembers_are_refused():
    assert [nonmembers_needed(fdr) for fdr in (0.5, 0.3, 0.1, 0.05, 0.001)] == [1, 3, 9, 19, 999]
    with pytest.raises(ValueError, match=r"8 known non-members are too few .* 0.1, .* it takes 9 or more"):
        member_list([9.0], range(8))
    assert member_list(np.full(10, 9.0), range(9)).listed == 10
    for fdr in (0, 1, 10):
        with pytest.raises(ValueError, match="between 0 and 1"):
            member_list([9.0], range(99), fdr=fdr)
