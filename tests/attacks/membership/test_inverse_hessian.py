"""The inverse-Hessian attack against a Hessian by automatic differentiation, inverted by its eigenvectors."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.inverse_hessian import inverse_hessian_scores
from securitynet_hub.statistics.rates import roc_auc

N, D, CLASSES = 40, 4, 3
RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(N, D)), RNG.normal(size=(CLASSES, D)), RNG.normal(size=CLASSES)
LABELS = RNG.integers(0, CLASSES, N)
ALL = np.arange(N)
ROWS = ALL[N // 2 :]


def inputs(**changes):
    given = {
        "outputs": X @ W.T + B, "labels": LABELS, "is_member": ALL % 2 == 0, "from_logits": True,
        "calibration": ALL < N // 2, "penultimate": X,
    }  # fmt: skip
    return MembershipInputs(**{**given, **changes})


def by_eigenvectors(damping=0.2, learning_rate=0.1, momentum=0.9):
    """The same from the definition: autograd's Hessian and gradients of a linear model with a bias."""
    known = ALL[: N // 2 : 2]
    parameters = torch.from_numpy(np.hstack([W, B[:, None]])).flatten()
    features, labels = torch.from_numpy(np.hstack([X, np.ones((N, 1))])), torch.from_numpy(LABELS)

    def loss(weights, rows):
        logits = features[rows] @ weights.view(CLASSES, -1).T
        return torch.nn.functional.cross_entropy(logits, labels[rows])

    def gradient(weights, rows):
        weights = weights.clone().requires_grad_()
        return torch.autograd.grad(loss(weights, rows), weights)[0]

    hessian = torch.autograd.functional.hessian(lambda weights: loss(weights, known), parameters)
    values, vectors = torch.linalg.eigh(hessian)
    inverse = vectors @ torch.diag(1 / (values + damping)) @ vectors.T
    towards = inverse @ gradient(parameters, known)
    scores = []
    for row in ROWS:
        step = inverse @ gradient(parameters, [row])
        i2, i3 = step @ step / len(known), 2 * towards @ step
        scores.append(loss(parameters, [row]) / (1 + momentum) - (i2 + i3) / learning_rate)
    return np.array(scores)


def test_it_is_the_authors_formula_with_the_exact_inverse():
    found = inverse_hessian_scores(inputs(), ROWS, tolerance=1e-10, probes=0)
    np.testing.assert_allclose(found.scores, by_eigenvectors(), rtol=1e-7)
    assert found.settings == {"probes": 0}
    other = {"damping": 0.05, "learning_rate": 1.5, "momentum": 0.5}
    found = inverse_hessian_scores(inputs(), ROWS, tolerance=1e-10, probes=0, **other)
    np.testing.assert_allclose(found.scores, by_eigenvectors(**other), rtol=1e-7)


def test_the_default_tolerance_changes_little():
    loose, tight = (inverse_hessian_scores(inputs(), ROWS, tolerance=t).scores for t in (1e-3, 1e-10))
    np.testing.assert_allclose(loose, tight, atol=1e-3 * np.ptp(tight))


def test_the_sketch_converges_to_the_solutions_and_says_so():
    # The squares alone: with a loss of no weight, and a training set so small that they outweigh the rest.
    own = {"learning_rate": 1e-6, "training_size": 1e-6, "tolerance": 1e-8}
    exact = inverse_hessian_scores(inputs(), ROWS, probes=0, **own).scores
    found = inverse_hessian_scores(inputs(), ROWS, probes=2000, **own)
    np.testing.assert_allclose(found.scores, exact, rtol=0.15)
    assert found.settings == {"probes": 2000}


def test_axes_and_classes_and_order_do_not_matter():
    plain = inverse_hessian_scores(inputs(), ROWS, tolerance=1e-9).scores
    turn = np.linalg.qr(RNG.normal(size=(D, D)))[0]
    np.testing.assert_allclose(
        inverse_hessian_scores(inputs(penultimate=X @ turn), ROWS, tolerance=1e-9).scores, plain, rtol=1e-6
    )
    renamed = inputs(outputs=(X @ W.T + B)[:, ::-1], labels=CLASSES - 1 - LABELS)
    np.testing.assert_allclose(inverse_hessian_scores(renamed, ROWS, tolerance=1e-9).scores, plain, rtol=1e-6)
    order = RNG.permutation(N)
    given = inputs()
    moved = inputs(
        outputs=given.outputs[order], labels=LABELS[order], penultimate=X[order],
        is_member=given.membership[order], calibration=given.calibrated_on[order],
    )  # fmt: skip
    found = inverse_hessian_scores(moved, np.argsort(order)[ROWS], members=5, tolerance=1e-9).scores
    few = inverse_hessian_scores(given, ROWS, members=5, tolerance=1e-9).scores
    np.testing.assert_allclose(found, few, rtol=1e-6)
    assert not np.allclose(few, plain, rtol=1e-3)


def test_posteriors_give_what_logits_give():
    logits = X @ W.T + B
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = inverse_hessian_scores(inputs(outputs=posteriors, from_logits=False), ROWS).scores
    np.testing.assert_allclose(found, inverse_hessian_scores(inputs(), ROWS).scores, rtol=1e-6)


def test_it_finds_the_members_of_a_fitted_logistic_regression():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(600, 100)), rng.integers(0, 2, 600)
    model = LogisticRegression(C=0.1).fit(x[:300], labels[:300])
    margin = model.decision_function(x)
    given = MembershipInputs(
        outputs=np.stack([-margin, margin], 1) / 2, labels=labels, is_member=np.arange(600) < 300,
        from_logits=True, calibration=np.arange(600) % 2 == 0, penultimate=x,
    )  # fmt: skip
    rows = np.flatnonzero(~given.calibrated_on)
    assert roc_auc(inverse_hessian_scores(given, rows).scores, given.membership[rows]) > 0.6


@pytest.mark.parametrize(
    "wrong",
    [{"damping": 0}, {"learning_rate": 0}, {"momentum": 1.0}, {"tolerance": 0}, {"members": 0}],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="damping and learning_rate must be above 0"):
        inverse_hessian_scores(inputs(), ROWS, **wrong)


def test_without_known_members_there_is_no_hessian():
    with pytest.raises(ValueError, match="known members"):
        inverse_hessian_scores(inputs(is_member=ALL > N // 2), ROWS)
