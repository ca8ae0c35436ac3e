"""The interval of a mean: Student's where values are even, wider to the right where a few are large."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t

from securitynet_hub.statistics.means import MIN_SAMPLES, mean_interval, resolvable_interval


def hall_end(values, share, freedom):
    """The mu whose transform g(T) = T + c (2 T^2 + 1) / (6 sqrt n) + c^2 T^3 / (27 n) is a quantile."""
    n, skewness = len(values), ((values - values.mean()) ** 3).mean() / values.std() ** 3
    scale = skewness / n**0.5

    def transform(mu):
        T = (values.mean() - mu) / values.std(ddof=1) * n**0.5
        return T + scale * T**2 / 3 + scale**2 * T**3 / 27 + scale / 6

    wide = 9 * values.std()
    return brentq(
        lambda mu: transform(mu) - t.ppf(share, freedom), values.mean() - wide, values.mean() + wide
    )


@pytest.mark.parametrize("values", [np.r_[:50.0, -49:1.0], np.random.default_rng(0).lognormal(size=40)])
def test_each_end_is_the_outer_one_of_hall_s_with_and_without_one_more_extreme_value(values):
    low, high = mean_interval(values, confidence_level=0.9)
    both = [
        [hall_end(each, share, len(values) - 1) for each in (values, np.r_[values, edge])]
        for share, edge in ((0.95, values.min()), (0.05, values.max()))
    ]
    assert (low, high) == pytest.approx((min(both[0]), max(both[1])))
    assert low == pytest.approx(-mean_interval(-values, confidence_level=0.9).high)


def test_of_few_values_nothing_is_claimed():
    values = np.random.default_rng(0).random(MIN_SAMPLES)
    assert resolvable_interval(values[1:]) is None
    assert resolvable_interval(values, bounds=(0, 1)) == mean_interval(values, bounds=(0, 1))


@pytest.mark.parametrize(("spread", "n", "least"), [(1.0, 100, 0.95), (1.0, 200, 0.95), (1.5, 200, 0.935)])
def test_covers_where_a_percentile_bootstrap_does_not(spread, n, least):
    rng = np.random.default_rng(1)
    truth = np.exp(spread**2 / 2)
    covered = 0
    for _ in range(600):
        low, high = mean_interval(rng.lognormal(0, spread, n), bounds=(0, np.inf))
        covered += low <= truth <= high
    assert covered / 600 >= least


def test_stays_in_its_bounds_and_does_not_depend_on_the_order():
    values = np.r_[np.zeros(30), 1.0]
    low, high = mean_interval(values, bounds=(0, 1))
    assert 0 <= low < 1 / 31 < high <= 1
    assert mean_interval(values[::-1], bounds=(0, 1)) == (low, high)


def test_equal_values_have_no_spread():
    assert mean_interval([0.25] * 3) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]], [1.0, np.nan]])
def test_refuses(values):
    with pytest.raises(ValueError, match="values"):
        mean_interval(values)
