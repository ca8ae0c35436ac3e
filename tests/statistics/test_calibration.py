"""Calibration: by hand, by brute force over bins, and on samples drawn from the posteriors themselves."""

import numpy as np
import pytest
import torch

from securitynet_hub.statistics.calibration import measure_calibration

RNG = np.random.default_rng(4)
LOGITS = RNG.normal(0, 2, (300, 5))
P = torch.from_numpy(LOGITS).softmax(1).numpy()
LABELS = RNG.integers(0, 5, 300)


def test_brute_force():
    result = measure_calibration(LOGITS, LABELS, from_logits=True, bins=7)
    ece = brier = 0.0
    for b in range(7):
        rows = [i for i in range(300) if b / 7 < P[i].max() <= (b + 1) / 7]
        if rows:
            right = np.mean([P[i].argmax() == LABELS[i] for i in rows])
            ece += len(rows) / 300 * abs(right - np.mean([P[i].max() for i in rows]))
    for p, y in zip(P, LABELS, strict=True):
        brier += sum((p[k] - (k == y)) ** 2 for k in range(5)) / 300
    assert result["ece"] == pytest.approx(ece)
    assert result["brier"] == pytest.approx(brier)
    low, high = result["brier_ci"]
    assert low < brier < high


def test_probabilities_and_logits_tell_the_same_whatever_the_order():
    order = RNG.permutation(300)
    told = measure_calibration(LOGITS, LABELS, from_logits=True)
    moved = measure_calibration(P[order], LABELS[order], from_logits=False)
    assert moved["ece"] == pytest.approx(told["ece"])
    assert moved["brier_ci"] == pytest.approx(told["brier_ci"])


def test_labels_drawn_from_the_posteriors_are_calibrated_and_sharpened_ones_are_not():
    logits = np.repeat(LOGITS, 40, axis=0)
    p = np.repeat(P, 40, axis=0)
    labels = (RNG.random((len(p), 1)) > p.cumsum(1)).sum(1).clip(0, 4)
    calibrated = measure_calibration(logits, labels, from_logits=True)
    sharpened = measure_calibration(3 * logits, labels, from_logits=True)
    assert calibrated["ece"] < 0.02 < 0.1 < sharpened["ece"]
    assert calibrated["brier_ci"].high < sharpened["brier_ci"].low


def test_extremes():
    sure_and_right = measure_calibration(np.eye(3), [0, 1, 2], from_logits=False)
    assert (sure_and_right["ece"], sure_and_right["brier"]) == (0, 0)
    assert measure_calibration(np.eye(3), [1, 2, 0], from_logits=False)["brier"] == 2
    one = measure_calibration([[0.0, 0.0]], [0], from_logits=True)  # a tie counts for the first class
    assert (one["ece"], one["brier"], one["brier_ci"]) == (0.5, 0.5, None)


@pytest.mark.parametrize("changes", [{"bins": 0}, {"labels": LABELS[1:]}, {"outputs": LOGITS * np.nan}])
def test_refusals(changes):
    with pytest.raises(ValueError, match=r"bins must|must have|NaN"):
        measure_calibration(**{"outputs": LOGITS, "labels": LABELS, "from_logits": True} | changes)
