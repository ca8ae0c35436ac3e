"""Every signal of 50,000 x 1,000 float32 logits in one pass, beside one logsumexp of the same logits.

Run with ``make bench``, in turn; ratios are of medians of the processor's time, as each runs on one thread.
The peers give one number a row, in float64 as ours; ours gives seven.
"""

import statistics
import time
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from securitynet_hub.statistics.signals import SIGNALS, score_all

pytestmark = pytest.mark.usefixtures("one_thread")

rng = np.random.default_rng(0)
LOGITS = rng.standard_normal((50_000, 1_000), np.float32) * 3
LABELS = rng.integers(0, 1_000, 50_000)


def ours():
    return score_all(LOGITS, LABELS, from_logits=True)


def torch_logsumexp():
    return torch.from_numpy(LOGITS).double().logsumexp(1)


def torch_logsumexp_in_chunks():
    """What one would write to hold no second copy of the logits."""
    return torch.cat([part.double().logsumexp(1) for part in torch.from_numpy(LOGITS).split(64)])


def scipy_logsumexp():
    return logsumexp(LOGITS.astype(np.float64), 1)


@pytest.mark.parametrize(
    ("peer", "rounds", "most"),
    [(torch_logsumexp, 5, 3), (torch_logsumexp_in_chunks, 5, 8), (scipy_logsumexp, 1, 1)],
)
def test_all_signals_beside_one_logsumexp(peer, rounds, most):
    times = {ours: [], peer: []}
    for _ in range(rounds):
        for function in (ours, peer):
            started = time.process_time()
            function()
            times[function].append(time.process_time() - started)
    first, second = (statistics.median(times[function]) for function in (ours, peer))
    print(f"\n  {first:.2f} s against {second:.2f} s of {peer.__name__}: {first / second:.2f}")
    assert first / second < most


def test_one_pass_beside_the_single_functions():
    def singly():
        return {name: signal(LOGITS, LABELS, from_logits=True) for name, signal in SIGNALS.items()}

    started = time.process_time()
    single = singly()
    between = time.process_time()
    together = ours()
    ended = time.process_time()
    assert all(np.array_equal(single[name], together[name]) for name in SIGNALS)
    print(
        f"\n  {ended - between:.2f} s against {between - started:.2f} s: "
        f"{(ended - between) / (between - started):.2f}"
    )
    assert ended - between < between - started


def test_memory_beside_the_input():
    """NumPy reports its arrays to tracemalloc, so the peak is exact."""
    tracemalloc.start()
    ours()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\n  {peak / 2**20:.1f} MiB beside {LOGITS.nbytes / 2**20:.0f} MiB of logits")
    assert peak < 0.5 * LOGITS.nbytes
