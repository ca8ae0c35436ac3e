"""The interval of a mean: Student's where values are even, wider to the right where a few are large."""

import numpy as np
import pytest
from scipy.stats import t

from securitynet_hub.statistics.means import mean_interval


def test_of_even_values_it_is_student_s():
    values = np.r_[np.arange(50.0), -np.arange(50.0)]
    half = t.ppf(0.95, 99) * values.std(ddof=1) / 10
    assert mean_interval(values, confidence_level=0.9) == pytest.approx((-half, half))


def test_its_ends_are_the_roots_of_the_transform():
    """g(T) = T + c (2 T^2 + 1) / (6 sqrt n) + c^2 T^3 / (27 n) is a quantile of Student's at either end."""
    values = np.random.default_rng(0).lognormal(size=40)
    n, skewness = 40, ((values - values.mean()) ** 3).mean() / values.std() ** 3
    for end, side in zip(mean_interval(values), (1, -1), strict=True):
        T = (values.mean() - end) / values.std(ddof=1) * n**0.5
        scale = skewness / n**0.5
        assert T + scale * T**2 / 3 + scale**2 * T**3 / 27 + scale / 6 == pytest.approx(
            side * t.ppf(0.975, 39)
        )


@pytest.mark.parametrize(("spread", "n", "least"), [(1.0, 50, 0.9), (1.0, 200, 0.92), (1.5, 200, 0.9)])
def test_covers_where_a_percentile_bootstrap_does_not(spread, n, least):
    rng = np.random.default_rng(1)
    truth = np.exp(spread**2 / 2)
    covered = 0
    for _ in range(1000):
        low, high = mean_interval(rng.lognormal(0, spread, n), bounds=(0, np.inf))
        covered += low <= truth <= high
    assert covered / 1000 >= least


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
