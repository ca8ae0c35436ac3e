"""BASE and RMIA's ratio: their formulas, and that they order samples as RMIA does, without its ties."""

import numpy as np
import pytest

from securitynet_hub.attacks.membership.base import base_scores, ratio_scores
from securitynet_hub.attacks.membership.rmia import rmia_scores
from securitynet_hub.core.errors import UnknownNameError

RNG = np.random.default_rng(3)
N, MODELS = 200, 8
IS_IN = np.stack([np.r_[half, ~half] for half in (RNG.random((N, MODELS // 2)) < 0.5)]).T
REFERENCE = np.log(RNG.uniform(0.01, 0.99, (MODELS, N)))
TARGET = np.log(RNG.uniform(0.01, 0.99, N))
POPULATION = np.log(RNG.uniform(0.3, 0.7, 50)), np.log(RNG.uniform(0.3, 0.7, (MODELS, 50)))


def test_the_formulas():
    p = np.exp(REFERENCE)
    out = np.array([values[~inside].mean() for values, inside in zip(p.T, IS_IN.T, strict=True)])
    online = base_scores(TARGET, REFERENCE, IS_IN, mode="online")
    np.testing.assert_allclose(online, TARGET - np.log(p.mean(0)))
    np.testing.assert_allclose(base_scores(TARGET, REFERENCE, IS_IN, scale=0.5), TARGET - 0.5 * np.log(out))
    ratio = ratio_scores(TARGET, REFERENCE, IS_IN, a=0.4)
    np.testing.assert_allclose(ratio, TARGET - np.log((1.4 * out + 0.6) / 2))


def test_rmia_has_the_same_order_but_ties_at_both_ends():
    """Where half of the models were trained on each sample, RMIA's average is that of all models."""
    for ours, mode in (
        (base_scores(TARGET, REFERENCE, IS_IN, mode="online"), "online"),
        (ratio_scores(TARGET, REFERENCE, IS_IN), "offline"),
    ):
        ranked = rmia_scores(TARGET, REFERENCE, IS_IN, *POPULATION, mode=mode, gamma=1.0)
        assert (np.diff(ranked[np.argsort(ours)]) >= 0).all()
        assert (ranked == 0).sum() > 5
        assert (ranked == 1).sum() > 5
        assert len(set(ours.tolist())) == N


def test_augmentations_are_averaged():
    target, reference = np.stack([TARGET, TARGET - 1], 1), np.stack([REFERENCE, REFERENCE], -1)
    expected = base_scores(TARGET, REFERENCE, IS_IN) - 0.5
    np.testing.assert_allclose(base_scores(target, reference, IS_IN), expected)


def test_online_needs_no_model_without_the_sample():
    everywhere = np.ones_like(IS_IN)
    assert np.isfinite(base_scores(TARGET, REFERENCE, everywhere, mode="online")).all()
    for scores in (base_scores, ratio_scores):
        with pytest.raises(ValueError, match="every sample needs 1 OUT model"):
            scores(TARGET, REFERENCE, everywhere)


@pytest.mark.parametrize(
    ("scores", "changes", "message"),
    [
        (base_scores, {"scale": 1.5}, "scale must lie in 0..1"),
        (ratio_scores, {"a": -0.1}, "a must lie in 0..1"),
        (base_scores, {"target": -TARGET}, "must be log-probabilities"),
        (base_scores, {"reference": -REFERENCE}, "must be log-probabilities"),
    ],
)
def test_refusals(scores, changes, message):
    arguments = {"target": TARGET, "reference": REFERENCE, "reference_in": IS_IN}
    with pytest.raises(ValueError, match=message):
        scores(**{**arguments, **changes})
    with pytest.raises(UnknownNameError, match="online"):
        base_scores(TARGET, REFERENCE, IS_IN, mode="on")
