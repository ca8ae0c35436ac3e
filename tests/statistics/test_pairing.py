"""Correlations of the errors of models on the same samples, against DeLong's test and against simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.comparison import paired_auc_difference
from securitynet_hub.statistics.pairing import figure_correlations
from securitynet_hub.statistics.rates import advantage, roc_auc
from securitynet_hub.statistics.roc import tpr_at_fpr


def models(count, m, n, *, alike, distance, rng):
    """Scores of which a share `alike` of the variance is the sample's, the rest the model's own."""
    truth = np.arange(m + n) < m
    own = np.sqrt(1 - alike) * rng.normal(size=(count, m + n))
    return np.sqrt(alike) * rng.normal(size=m + n) + own + distance * truth, truth


@pytest.mark.parametrize("ties", [False, True])
def test_of_aucs_it_gives_delong_s_variance_of_the_difference(ties):
    scores, truth = models(3, 70, 50, alike=0.6, distance=1, rng=np.random.default_rng(0))
    scores = np.round(2 * scores) if ties else scores
    r = figure_correlations(scores, truth, "auc")
    wins = [(row[truth][:, None] > row[~truth]) + (row[truth][:, None] == row[~truth]) / 2 for row in scores]
    errors = [np.sqrt(w.mean(1).var(ddof=1) / 70 + w.mean(0).var(ddof=1) / 50) for w in wins]
    for a, b in ((0, 1), (1, 2)):
        low, high = paired_auc_difference(scores[a], scores[b], truth).ci
        expected = ((high - low) / 2 / norm.ppf(0.975)) ** 2
        found = errors[a] ** 2 + errors[b] ** 2 - 2 * r[a, b] * errors[a] * errors[b]
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alike", [0.0, 0.7, 0.95])
@pytest.mark.parametrize(("figure", "fpr"), [("auc", 0.0), ("tpr", 0.1), ("advantage", 0.0)])
def test_is_that_of_repeated_measurements_or_less(figure, fpr, alike):
    rng = np.random.default_rng(5)
    measure = {
        "auc": roc_auc, "advantage": advantage, "tpr": lambda s, t: tpr_at_fpr(s, t, fpr).tpr,
    }[figure]  # fmt: skip
    values, found = [], []
    for _ in range(150):
        scores, truth = models(2, 150, 250, alike=alike, distance=1.5, rng=rng)
        values.append([measure(row, truth) for row in scores])
        found.append(figure_correlations(scores, truth, figure, fpr=fpr)[0, 1])
    truth = np.corrcoef(np.array(values).T)[0, 1]
    error = (1 - truth**2) / np.sqrt(150)
    assert np.mean(found) < truth + 3 * error
    if figure == "auc":
        assert np.mean(found) > truth - 3 * error
    elif alike > 0.5:
        assert np.mean(found) > 0.6 * truth


def test_models_that_rank_alike_share_all_errors():
    scores, truth = models(1, 40, 60, alike=0, distance=1, rng=np.random.default_rng(1))
    both = np.stack([scores[0], np.exp(scores[0])])
    np.testing.assert_allclose(figure_correlations(both, truth, "auc"), 1)
    few = figure_correlations(both, truth, "tpr", fpr=0.05)[0, 1]
    assert 0.3 < few < 1  # three non-members lie above the threshold: what they share may be luck


def test_what_has_no_spread_shares_nothing():
    apart = np.array([[4.0, 3, 1, 2], [2, 1, 4, 3], [9, 9, 0, 0]])
    for figure in ("auc", "advantage", "tpr"):
        found = figure_correlations(apart, [1, 1, 0, 0], figure, fpr=0.01)
        np.testing.assert_array_equal(found, np.eye(3))
    assert figure_correlations([[1.0, 0.0], [1.0, 0.0]], [1, 0], "auc")[0, 1] == 0


def test_refusals():
    with pytest.raises(UnknownNameError, match="advantage"):
        figure_correlations([[1.0, 0.0]], [1, 0], "accuracy")
    with pytest.raises(ValueError, match="NaN"):
        figure_correlations([[np.nan, 0.0]], [1, 0], "auc")
