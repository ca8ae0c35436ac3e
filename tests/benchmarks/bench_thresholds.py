"""Class-wise thresholds by one sort beside a loop over classes and candidates, as the authors' code makes.

Run with ``make bench``. One thread each; both see the same machine in turn; the ratio is of medians.
"""

import statistics
import time

import numpy as np

from securitynet_hub.attacks.thresholds import fit_thresholds

N, CLASSES = 20_000, 100
rng = np.random.default_rng(0)
LABELS, MEMBER = rng.integers(0, CLASSES, N), rng.random(N) < 0.5
SCORES = rng.normal(size=N) + MEMBER


def one_by_one():
    thresholds = np.empty(CLASSES)
    for label in range(CLASSES):
        inside = SCORES[(label == LABELS) & MEMBER]
        outside = SCORES[(label == LABELS) & ~MEMBER]
        best = -1.0
        for value in np.sort(np.concatenate([inside, outside])):
            accuracy = ((inside >= value).mean() + (outside < value).mean()) / 2
            if accuracy >= best - 1e-12:
                best, thresholds[label] = accuracy, value
    return thresholds


def seconds(function, rounds):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def test_one_sort_against_every_candidate():
    def ours():
        return fit_thresholds(SCORES, LABELS, MEMBER, num_classes=CLASSES).per_class

    np.testing.assert_array_equal(ours(), one_by_one())
    fast, slow = seconds(ours, 20), seconds(one_by_one, 3)
    print(f"\nclass-wise thresholds, {N:,} x {CLASSES}: {1e3 * fast:.1f} ms, loop {1e3 * slow:.0f} ms, "
          f"{slow / fast:.0f}x")  # fmt: skip
    assert slow > 20 * fast
