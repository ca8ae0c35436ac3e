"""A million scores: the `evaluate` metric beside the bare function, and the function beside scikit-learn.

Run with ``make bench``. Each pair is timed in turn, so that both see the same machine; the ratio is of
medians.
"""

import statistics
import time

import evaluate
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from securitynet_hub import load_metric
from securitynet_hub.attacks.membership.measures import measure_membership

N = 1_000_000
rng = np.random.default_rng(0)
MEMBERS = rng.random(N) < 0.5
SCORES = rng.normal(size=N) + MEMBERS


def ratio(ours, peer, rounds=7):
    """Return the median time of ours over that of the peer, timed in turn after one warm-up each."""
    ours(), peer()
    times = {ours: [], peer: []}
    for _ in range(rounds):
        for function in (ours, peer):
            started = time.perf_counter()
            function()
            times[function].append(time.perf_counter() - started)
    first, second = (statistics.median(times[f]) for f in (ours, peer))
    print(f"\n  {first * 1e3:.1f} ms against {second * 1e3:.1f} ms: {first / second:.2f}")
    return first / second


def test_compute_costs_little_more_than_the_function():
    metric = load_metric("membership_inference")
    assert (
        ratio(
            lambda: metric.compute(predictions=SCORES, references=MEMBERS),
            lambda: measure_membership(SCORES, MEMBERS),
        )
        < 1.5
    )


def test_all_figures_with_intervals_against_scikit_learn_s_without():
    """Ours adds the interval of the AUC, the advantage, and two TPRs with theirs."""

    def peer():
        roc_curve(MEMBERS, SCORES)
        return roc_auc_score(MEMBERS, SCORES)

    assert measure_membership(SCORES, MEMBERS)["auc"] == pytest.approx(peer(), abs=1e-12)
    assert ratio(lambda: measure_membership(SCORES, MEMBERS), peer) < 1.5


def test_evaluate_s_own_path_is_what_we_avoid():
    """The same metric fed through Arrow, as every other `evaluate` metric is, on a tenth of the scores."""
    metric = load_metric("membership_inference")
    some, members = SCORES[: N // 10], MEMBERS[: N // 10].astype(int)
    assert (
        ratio(
            lambda: metric.compute(predictions=some, references=members),
            lambda: evaluate.Metric.compute(metric, predictions=some, references=members),
            rounds=3,
        )
        < 0.5
    )
