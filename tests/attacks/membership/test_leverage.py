"""Leverages against linear algebra, and the likelihood ratio against its two normal distributions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from securitynet_hub import audit, black_box, load_target
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.leverage import (
    feature_leverages,
    generalised_leverages,
    leverage_scores,
)
from securitynet_hub.attacks.membership.registry import find
from securitynet_hub.attacks.membership.running import measure_attack
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.features import predict_with_features
from securitynet_hub.engine.processes import multiply
from securitynet_hub.statistics.rates import roc_auc

N, D = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
ALL = np.arange(N)


def inputs(features, logits, labels, **changes):
    given = {
        "outputs": logits, "labels": labels, "is_member": ALL % 2 == 0, "from_logits": True,
        "calibration": ALL < N // 2, "penultimate": features,
    }  # fmt: skip
    return MembershipInputs(**{**given, **changes})


def test_without_weights_they_are_the_diagonal_of_the_hat_matrix():
    design = np.hstack([X, np.ones((N, 1))])
    hat = design @ np.linalg.pinv(design)
    found = feature_leverages(X, np.ones(N), ALL, ALL, ridge=1e-12)
    np.testing.assert_allclose(found, np.diag(hat), rtol=1e-6)
    assert found.sum() == pytest.approx(D + 1)


def test_a_linear_models_residual_shrinks_by_one_plus_the_leverage_when_the_sample_is_trained_on():
    """The two variances of the derivation: s^2 (1 + h) outside, and s^2 / (1 + h) inside."""
    h = feature_leverages(X, np.ones(N), ALL[1:], ALL[:1], ridge=1e-12)[0]
    design = np.hstack([X, np.ones((N, 1))])
    outside = design[0] @ np.linalg.pinv(design[1:])
    assert 1 + (outside**2).sum() == pytest.approx(1 + h)  # of y_0 - prediction, for unit noise
    assert 1 - (design @ np.linalg.pinv(design))[0, 0] == pytest.approx(1 / (1 + h))


def test_two_classes_have_the_leverages_of_logistic_regression():
    logits = np.stack([X @ RNG.normal(size=D), np.zeros(N)], 1)
    posteriors, labels = softmax(logits, 1), RNG.integers(0, 2, N)
    design = np.hstack([X / np.sqrt((X**2).mean()), np.ones((N, 1))])
    half = design * np.sqrt(posteriors[:, 0] * posteriors[:, 1])[:, None]
    pregibon = np.diag(half @ np.linalg.pinv(half))
    found = generalised_leverages(X, posteriors, labels, ALL, ALL, ridge=1e-12)
    np.testing.assert_allclose(found, pregibon, rtol=1e-6)
    assert ((found > 0) & (found < 1)).all()


def test_the_score_is_the_log_ratio_of_two_normal_densities():
    logits, labels = RNG.normal(size=(N, 3)), RNG.integers(0, 3, N)
    rows, known = ALL[N // 2 :], ALL[: N // 2 : 2]
    scores = leverage_scores(inputs(X, logits, labels), rows)
    p = softmax(logits, 1)[ALL, labels]
    weights = p * (1 - p)
    g = weights[rows] * feature_leverages(X, weights, known, rows)
    residual = (1 - p[rows]) / np.sqrt(weights[rows])
    inside = norm.logpdf(residual, scale=(1 + g) ** -0.5)
    np.testing.assert_allclose(scores, inside - norm.logpdf(residual, scale=(1 + g) ** 0.5), rtol=1e-9)


def test_it_finds_the_members_of_a_fitted_logistic_regression():
    """Two features for every three samples, noisy labels: members are fitted, in directions of their own."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(600, 100)), rng.integers(0, 2, 600)
    model = LogisticRegression(C=0.1).fit(x[:300], labels[:300])
    margin = model.decision_function(x)
    given = inputs(
        x,
        np.stack([-margin, margin], 1) / 2,
        labels,
        is_member=np.arange(600) < 300,
        calibration=np.arange(600) % 2 == 0,
    )
    rows = np.flatnonzero(~given.calibrated_on)
    scores = leverage_scores(given, rows)
    found, by_loss = (roc_auc(s, given.membership[rows]) for s in (scores, given.score("loss")[rows]))
    assert found > 0.62, found
    assert found > by_loss - 0.02, by_loss


def test_neither_unit_nor_axes_nor_order_matter():
    logits, labels = RNG.normal(size=(N, 3)), RNG.integers(0, 3, N)
    rows = ALL[N // 2 :]
    plain = leverage_scores(inputs(X, logits, labels), rows)
    turn = np.linalg.qr(RNG.normal(size=(D, D)))[0]
    turned = leverage_scores(inputs(1000 * X @ turn, logits, labels), rows)
    np.testing.assert_allclose(turned, plain, rtol=1e-8)
    order = RNG.permutation(N)
    moved = inputs(
        X[order],
        logits[order],
        labels[order],
        is_member=(ALL % 2 == 0)[order],
        calibration=(ALL < N // 2)[order],
    )
    places = np.argsort(order)[rows]
    np.testing.assert_allclose(leverage_scores(moved, places), plain, rtol=1e-10)


def test_a_thousand_classes_and_a_file_of_features_are_no_matter(tmp_path):
    logits, labels = RNG.normal(size=(N, 1000)), RNG.integers(0, 1000, N)
    held = np.memmap(tmp_path / "features", np.float32, "w+", shape=X.shape)
    held[:] = X
    rows = ALL[N // 2 :]
    found = leverage_scores(inputs(held, logits, labels), rows)
    np.testing.assert_array_equal(found, leverage_scores(inputs(X.astype(np.float32), logits, labels), rows))


def test_what_is_certain_of_everything_has_finite_scores():
    logits = np.full((N, 2), 1e5)
    logits[:, 1] *= -1
    labels = np.r_[np.zeros(N - 1, int), 1]
    scores = leverage_scores(inputs(X, logits, labels), ALL[N // 2 :])
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[:-1].min()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"penultimate": X[:-1]}, "one row of features for each of 60"),
        ({"penultimate": np.full_like(X, np.nan)}, "penultimate"),
        ({"is_member": ALL >= N // 2 + 5}, "known members"),
    ],
)
def test_what_cannot_be_scored_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        leverage_scores(inputs(X, np.zeros((N, 2)), np.zeros(N, int), **changes), ALL[N // 2 :])


def test_products_of_another_device_give_the_same_to_rounding():
    """On the CPU, for want of a GPU here: tensors of a device in place of NumPy's arrays."""
    weights = RNG.random(N) + 0.1
    expected = feature_leverages(X, weights, ALL, ALL)
    assert np.array_equal(feature_leverages(X, weights, ALL, ALL, multiply=multiply), expected)
    on_device = partial(multiply, device=torch.device("cpu"))
    found = feature_leverages(X, weights, ALL, ALL, multiply=on_device)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_ridge_of_zero_is_refused():
    with pytest.raises(ValueError, match="ridge must be above 0; got 0"):
        leverage_scores(inputs(X, np.zeros((N, 2)), np.zeros(N, int)), ALL[N // 2 :], ridge=0)


def test_leverage_of_wrong_samples_counts_against_them():
    """Of two samples with wrong labels, the one whose features are far scores lower."""
    logits = np.zeros((N, 2))
    logits[:, 0] = 2.0
    labels = np.zeros(N, int)
    labels[-2:] = 1
    far = X.copy()
    far[-1] = 50 * X[-2]
    scores = leverage_scores(inputs(far, logits, labels), ALL[N // 2 :])
    assert scores[-1] < scores[-2] < scores[:-2].min()


def test_an_audit_takes_the_features_from_its_own_forward_pass():
    target = load_target("zoo/fashion-mnist/cnn-overfitted-250/1")
    known = known_data(target.annotation)
    split = Split(members=known.split.members[:60], nonmembers=known.split.nonmembers[:60])
    small, rows = replace(known, split=split), split.indices
    logits, features = predict_with_features(target, small.images.select(rows))
    held = MembershipInputs(
        outputs=logits, labels=small.images.labels[rows], is_member=small.split.is_member, from_logits=True,
        calibration=0.5, penultimate=features,
    )  # fmt: skip
    for batch_size in (256, 7):
        (record,) = audit(target, attacks=["leverage"], data=small, batch_size=batch_size)
        assert record.result["auc"] == pytest.approx(measure_attack("leverage", held)["auc"], abs=1e-3)
        assert record.counts["forwarded"] == 120


def test_a_target_that_only_answers_is_refused_in_a_sentence():
    box = black_box(lambda images: images.mean((1, 2))[:, :1] * np.ones(3), num_classes=3, outputs="logits")
    assert find("leverage").unanswerable(box) == f"it needs the model's weights, and {box.id} only answers"
