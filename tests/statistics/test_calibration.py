"""Calibration: by hand, by brute force over bins, and on samples drawn from the posteriors themselves."""

import numpy as np
import pytest
import torch

from securitynet_hub.statistics.calibration import estimate_ece, measure_calibration

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
    assert moved["debiased_ece"] == pytest.approx(told["debiased_ece"])
    assert moved["debiased_ece_ci"] == pytest.approx(told["debiased_ece_ci"])
    assert moved["brier_ci"] == pytest.approx(told["brier_ci"])


def test_labels_drawn_from_the_posteriors_are_calibrated_and_sharpened_ones_are_not():
    logits = np.repeat(LOGITS, 40, axis=0)
    p = np.repeat(P, 40, axis=0)
    labels = (RNG.random((len(p), 1)) > p.cumsum(1)).sum(1).clip(0, 4)
    calibrated = measure_calibration(logits, labels, from_logits=True)
    sharpened = measure_calibration(3 * logits, labels, from_logits=True)
    assert calibrated["ece"] < 0.02 < 0.1 < sharpened["ece"]
    assert calibrated["brier_ci"].high < sharpened["brier_ci"].low


def test_the_ece_of_few_samples_is_biased_and_its_estimate_is_not():
    """Right with the probability of its confidence, or always 0.2 less: the population's ECE is 0, or 0.2."""
    rng = np.random.default_rng(0)
    for gap in (0.0, 0.2):
        found, plain = [], []
        for _ in range(100):
            confidences = rng.uniform(0.4, 1, 200)
            right = rng.random(200) < confidences - gap
            found.append(estimate_ece(confidences, right))
            place = np.ceil(confidences * 15)
            plain.append(sum(abs((right - confidences)[place == b].sum()) for b in range(16)) / 200)
        estimates, ends = zip(*found, strict=True)
        low, high = np.array(ends).T
        assert np.mean((low - 1e-12 <= gap) & (gap <= high)) >= 0.92
        if not gap:
            assert np.mean(estimates) < np.mean(plain) / 2
        else:
            assert abs(np.mean(estimates) - gap) < 0.02


def test_of_fewer_than_a_hundred_samples_no_interval_is_claimed():
    few, enough = (measure_calibration(P[:n], LABELS[:n], from_logits=False) for n in (99, 100))
    assert few["debiased_ece_ci"] is None
    assert enough["debiased_ece_ci"].low <= enough["debiased_ece"] <= enough["debiased_ece_ci"].high
    assert enough["debiased_ece"] <= enough["ece"]


def test_a_hundred_sure_answers_without_an_error_prove_little():
    low, high = estimate_ece([0.9999] * 100, [1] * 100).ci
    assert low == 0
    assert 0.02 < high < 0.06
    low, _ = estimate_ece([1.0] * 100, [0] + [1] * 99).ci  # an error that a calibrated one never makes
    assert low > 0


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


@pytest.mark.parametrize(
    ("confidences", "right"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([[0.5]], [[1]]), ([np.nan], [1])]
)
def test_an_estimate_refuses(confidences, right):
    with pytest.raises(ValueError, match="confidences"):
        estimate_ece(confidences, right)
