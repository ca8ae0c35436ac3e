"""Power: what is called the smallest leak is found in four of five audits, and less is found less often."""

from statistics import NormalDist

import numpy as np
import pytest

from securitynet_hub.statistics.power import (
    plan,
    sizes_for_auc,
    sizes_for_tpr,
    smallest_auc,
    smallest_tpr,
)
from securitynet_hub.statistics.rates import roc_auc_interval
from securitynet_hub.statistics.roc import tpr_at_fpr

NORMAL = NormalDist()


def found(distance, members, nonmembers, lies_above, audits=300):
    """Share of audits of N(distance, 1) against N(0, 1) in which a figure's interval lies above guessing."""
    rng = np.random.default_rng(5)
    is_member = np.arange(members + nonmembers) < members
    return np.mean(
        [lies_above(rng.normal(size=len(is_member)) + distance * is_member, is_member) for _ in range(audits)]
    )


@pytest.mark.parametrize(("members", "nonmembers"), [(50, 50), (500, 1500), (1000, 100)])
def test_the_smallest_auc_is_found_in_four_of_five_audits(members, nonmembers):
    distance = NORMAL.inv_cdf(smallest_auc(members, nonmembers)) * 2**0.5
    share = found(distance, members, nonmembers, lambda s, m: roc_auc_interval(s, m).low > 0.5)
    assert 0.73 <= share <= 0.87


@pytest.mark.parametrize(("members", "nonmembers", "fpr"), [(500, 1500, 0.01), (300, 300, 0.1)])
def test_the_smallest_tpr_is_found_in_four_of_five_audits(members, nonmembers, fpr):
    distance = NORMAL.inv_cdf(smallest_tpr(members, nonmembers, fpr)) - NORMAL.inv_cdf(fpr)
    share = found(distance, members, nonmembers, lambda s, m: tpr_at_fpr(s, m, fpr).ci.low > fpr)
    assert 0.73 <= share <= 0.87


def test_more_samples_find_less_and_a_higher_level_finds_more():
    for smallest in (smallest_auc, lambda *sizes, **rest: smallest_tpr(*sizes, 0.01, **rest)):
        assert smallest(1500, 1500) < smallest(300, 300) < smallest(300, 300, confidence_level=0.995)
        assert smallest(300, 300) < smallest(300, 300, power=0.95)


def test_what_the_samples_cannot_resolve_is_never_found():
    assert smallest_tpr(500, 999, 0.001) is None
    assert smallest_tpr(500, 1000, 0.001) is not None
    assert smallest_auc(1, 1000) is None


def test_the_sizes_find_what_they_are_for():
    sizes = sizes_for_auc(0.53, 100, 300)
    assert smallest_auc(*sizes) == pytest.approx(0.53, abs=1e-3)
    assert sizes.nonmembers == pytest.approx(3 * sizes.members, abs=3)
    sizes = sizes_for_tpr(0.03, 0.01, 100, 300)
    assert smallest_tpr(*sizes, 0.01) == pytest.approx(0.03, rel=0.03)


def test_a_plan_names_the_figure_its_smallest_leak_and_the_samples_for_another():
    auc, tpr = plan(500, 1500, [0.01], tpr=0.05)
    assert (auc.figure, tpr.figure) == ("AUC", "TPR at 1 % FPR")
    assert auc.guessing == 0.5 < auc.smallest < auc.wanted
    assert tpr.guessing == 0.01 < tpr.smallest < tpr.wanted
    assert tpr.sizes.members < 500


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: smallest_auc(0, 5),
        lambda: smallest_auc(5, 5, power=1),
        lambda: smallest_auc(5, 5, confidence_level=95),
        lambda: smallest_tpr(5, 5, 2),
        lambda: sizes_for_auc(0.5, 5, 5),
        lambda: sizes_for_tpr(0.01, 0.01, 5, 5),
    ],
)
def test_impossible_wishes_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        wrong()
