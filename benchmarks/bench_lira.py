"""LiRA on 20,000 samples and 64 shadow models beside a loop over the samples, as the authors' code makes.

Run with ``make bench``. One thread each, in turn; the ratio is of medians of the processor's time.
"""

import numpy as np
import pytest
from scipy.stats import norm
from support.speed_comparison import in_turn, tell

from securitynet_hub.attacks.membership.lira import lira_scores

N, MODELS = 20_000, 64
rng = np.random.default_rng(0)
SHADOW_IN = np.stack([rng.permutation(MODELS) < MODELS // 2 for _ in range(N)], 1)
SHADOW = rng.normal(size=N) + SHADOW_IN + rng.normal(size=(MODELS, N))
TARGET = rng.normal(size=N)


def with_scipy(rows):
    """Fit and score one sample after another, the densities by SciPy."""
    scores = np.empty(len(rows))
    for place, j in enumerate(rows):
        inside, outside = SHADOW[SHADOW_IN[:, j], j], SHADOW[~SHADOW_IN[:, j], j]
        scores[place] = norm.logpdf(TARGET[j], np.median(inside), np.std(inside) + 1e-30) - norm.logpdf(
            TARGET[j], np.median(outside), np.std(outside) + 1e-30
        )
    return scores


def bare(rows):
    """Do the same with the density written out, which is as fast as such a loop gets."""
    scores = np.empty(len(rows))
    for place, j in enumerate(rows):
        sides = SHADOW[SHADOW_IN[:, j], j], SHADOW[~SHADOW_IN[:, j], j]
        logs = []
        for side in sides:
            scale = side.std() + 1e-30
            logs.append(-(((TARGET[j] - np.median(side)) / scale) ** 2) / 2 - np.log(scale))
        scores[place] = logs[0] - logs[1]
    return scores


@pytest.mark.parametrize(("loop", "least"), [(with_scipy, 100), (bare, 50)])
def test_all_samples_at_once_against_one_by_one(loop, least):
    few = range(0, N, 10)  # a tenth of the loop, whose time is as many times as long
    np.testing.assert_allclose(lira_scores(TARGET, SHADOW, SHADOW_IN)[::10], loop(few), rtol=1e-9, atol=1e-9)
    ours, tenth = in_turn(lambda: lira_scores(TARGET, SHADOW, SHADOW_IN), lambda: loop(few))
    assert tell("LiRA", ours, 10 * tenth, f"a loop ({loop.__name__})") > least
