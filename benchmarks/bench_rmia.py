"""RMIA of 20,000 samples against a population of 10,000 beside the matrix of all pairs.

Run with ``make bench``, in turn; ratios are of medians of the processor's time, as each runs on one thread.
Where PrivacyGuard is installed (``pip install --no-deps privacyguard-platform==0.0.2``) it runs, too.

The ratio to PrivacyGuard is that of the machine's memory as much as of the code: 545 on a quiet day, 70 to
150 beside other work. What is asserted holds on all of them.

Ours spends a third of its time on exponentials, as it takes log-probabilities, and a third on ranks.
"""

import tracemalloc

import numpy as np
import pytest
from support.speed_comparison import in_turn, tell

from securitynet_hub.attacks.membership.rmia import _Population, rmia_scores

N, POPULATION, MODELS = 20_000, 10_000, 4
rng = np.random.default_rng(0)
TARGET_X, TARGET_Z = rng.uniform(0.01, 1, N), rng.uniform(0.01, 1, POPULATION)
REF_X, REF_Z = rng.uniform(0.01, 1, (MODELS, N)), rng.uniform(0.01, 1, (MODELS, POPULATION))
REF_IN = np.zeros((MODELS, N), bool)  # all OUT, where PrivacyGuard's average is the mean over OUT models
LOGS = np.log(TARGET_X), np.log(REF_X), REF_IN, np.log(TARGET_Z), np.log(REF_Z)


def ours():
    return rmia_scores(*LOGS, gamma=1, a=0.3)


def all_pairs(rows=1000):
    """Divide every ratio of x by every one of z, a thousand x at a time."""
    ratio_x = TARGET_X / (0.65 * REF_X.mean(0) + 0.35)
    ratio_z = TARGET_Z / (0.65 * REF_Z.mean(0) + 0.35)
    return np.concatenate(
        [(ratio_x[i : i + rows, None] / ratio_z >= 1).mean(1) for i in range(0, len(ratio_x), rows)]
    )


def privacy_guard():
    module = pytest.importorskip("privacy_guard.attacks.rmia_attack")
    attack = module.RmiaAttack.__new__(module.RmiaAttack)  # the scoring needs nothing of the constructor's
    return attack._compute_membership_scores(TARGET_X, REF_X.T, REF_IN.T, TARGET_Z, REF_Z.T, 0.3, MODELS)


@pytest.mark.parametrize(("peer", "least"), [(all_pairs, 30), (privacy_guard, 50)])
def test_bisection_against_the_matrix(peer, least):
    # Ratios within 1e-10 of a tie may fall on either side.
    np.testing.assert_allclose(ours(), peer(), atol=2 / POPULATION)
    fast, slow = in_turn(ours, peer)
    assert tell("RMIA", fast, slow, peer.__name__) > least


def test_the_ranks_alone_against_the_matrix_alone():
    x, z = rng.normal(size=N), rng.normal(size=POPULATION)

    def matrix():
        return (np.exp(x)[:, None] / np.exp(z) >= 1).mean(1)

    def ranks():
        return _Population(z[:, None]).share_below(x[:, None])

    np.testing.assert_allclose(ranks(), matrix(), atol=2 / POPULATION)
    assert tell("RMIA's ranks", *in_turn(ranks, matrix), "the matrix") > 200


def test_memory_is_linear():
    """NumPy reports its arrays to tracemalloc, so the peak is exact."""
    tracemalloc.start()
    ours()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    given = sum(array.nbytes for array in LOGS)
    print(f"\n  {peak / 2**20:.1f} MiB beside {given / 2**20:.1f} MiB of input")
    assert peak < 3 * given
