"""A bootstrap interval of the AUC beside the usual loop over scikit-learn, on the very same resamples.

Run with ``make bench``, one thread each; ratios are of the processor's time. The loop is given its resamples
drawn beforehand.
"""

import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.speed_comparison import in_turn, tell

from securitynet_hub.statistics.bootstrap import auc_bootstrap_interval, resampled_counts
from securitynet_hub.statistics.rates import split_scores

RESAMPLES = 500


@pytest.mark.parametrize("n", [1_000, 10_000])
def test_beside_a_loop_over_scikit_learn(n):
    rng = np.random.default_rng(0)
    is_member = np.arange(n) < n // 2
    scores = rng.normal(size=n) + is_member
    values = np.unique(scores)
    drawn = [
        (np.repeat(values, members), np.repeat(values, nonmembers))
        for block in resampled_counts(split_scores(scores, is_member), RESAMPLES, 0)
        for members, nonmembers in zip(*block, strict=True)
    ]
    resamples = [rng.permutation(np.concatenate(pair)) for pair in drawn]  # unsorted, as indexing leaves them
    resamples = [(resample, np.isin(resample, scores[is_member])) for resample in resamples]

    started = time.process_time()
    aucs = [roc_auc_score(sides, resample) for resample, sides in resamples]
    peer = time.process_time() - started

    ours = auc_bootstrap_interval(scores, is_member, resamples=RESAMPLES)
    assert ours == pytest.approx(tuple(np.quantile(aucs, [0.025, 0.975])), abs=1e-12)
    (own,) = in_turn(lambda: auc_bootstrap_interval(scores, is_member, resamples=RESAMPLES))
    assert tell(f"bootstrap of {n:,} samples", own, peer, "a loop over scikit-learn") > 20
