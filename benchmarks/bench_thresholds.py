"""Class-wise thresholds by one sort beside a loop over classes and candidates, as the authors' code makes.

Run with ``make bench``. One thread each, in turn; the ratio is of medians of the processor's time.
"""

import numpy as np
from support.speed_comparison import in_turn, tell

from securitynet_hub.attacks.membership.thresholds import fit_thresholds

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


def test_one_sort_against_every_candidate():
    def ours():
        return fit_thresholds(SCORES, LABELS, MEMBER, num_classes=CLASSES).per_class

    np.testing.assert_array_equal(ours(), one_by_one())
    assert tell("class-wise thresholds", *in_turn(ours, one_by_one), "a loop") > 20
