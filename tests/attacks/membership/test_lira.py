import math
import warnings

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from securitynet_hub.attacks.membership import lira as likelihood_ratio
from securitynet_hub.attacks.membership import reference_models
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.reference_models import count_models
from securitynet_hub.core.errors import FewModelsWarning, UnknownNameError
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval

MODES = ("online", "offline", "offline_two_sided")
VARIANCES = ("per_example", "global_centred", "reference", "bayesian")
each_mode = pytest.mark.parametrize("mode", MODES)
each_variance = pytest.mark.parametrize("variance", VARIANCES)


def world(seed, n, models, gap=1.0, sigma=None, queries=None, balanced=True):
    """Draw normal signals whose mean and spread differ by sample; members lie `gap` higher."""
    rng = np.random.default_rng(seed)
    shape = (n,) if queries is None else (n, queries)
    hard = rng.normal(0, 3, n).reshape(-1, *[1] * (len(shape) - 1))
    spread = np.exp(rng.normal(0, 0.5, n)).reshape(hard.shape) if sigma is None else sigma
    is_in = np.stack([rng.permutation(models) < models // 2 for _ in range(n)], 1)
    if not balanced:
        is_in ^= rng.random(is_in.shape) < 0.1
    member = rng.random(n) < 0.5
    wide = (..., *[None] * (len(shape) - 1))
    shadow = hard + gap * is_in[wide] + spread * rng.normal(size=(models, *shape))
    return hard + gap * member[wide] + spread * rng.normal(size=shape), shadow, is_in, member


def by_hand(target, shadow, is_in, mode, variance, centre):
    """Loop over samples and queries, as the definitions say; the variance of three kinds."""
    middle = np.median if centre == "median" else np.mean
    n, queries = target.shape
    sides = [
        [[shadow[m == side, i, k] for k in range(queries)] for i, m in enumerate(is_in.T)] for side in (1, 0)
    ]
    scales = []
    for side in sides:
        if variance == "per_example":
            scales.append([[np.std(v) for v in row] for row in side])
        else:
            shifted = [v - middle(v) if variance == "global_centred" else v for row in side for v in row]
            pooled = np.concatenate(shifted)
            spread = math.sqrt(np.mean(pooled**2)) if variance == "global_centred" else np.std(pooled)
            scales.append([[spread] * queries] * n)
    if variance == "reference" and mode == "online":
        scales[1] = scales[0]
    scores = np.empty((n, queries))
    for i in range(n):
        for k in range(queries):
            inside, outside = (
                stats.norm(middle(side[i][k]), scale[i][k]) for side, scale in zip(sides, scales, strict=True)
            )
            scores[i, k] = {
                "online": lambda phi: inside.logpdf(phi) - outside.logpdf(phi),  # noqa: B023
                "offline": lambda phi: -outside.logsf(phi),  # noqa: B023
                "offline_two_sided": lambda phi: -outside.logpdf(phi),  # noqa: B023
            }[mode](target[i, k])
    return scores.mean(1)


@each_mode
@pytest.mark.parametrize("variance", VARIANCES[:3])
@pytest.mark.parametrize("centre", ["median", "mean"])
def test_equals_the_definition_sample_by_sample(mode, variance, centre, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 12 * 3 * 7)  # seven samples at a time
    target, shadow, is_in, _ = world(0, 40, 12, queries=3, balanced=False)
    scores = lira_scores(target, shadow, is_in, mode=mode, variance=variance, centre=centre)
    np.testing.assert_allclose(scores, by_hand(target, shadow, is_in, mode, variance, centre), rtol=1e-9)


@each_mode
@each_variance
def test_cut_uses_the_first_models_as_many_as_the_sample_with_the_fewest_has(mode, variance):
    """As the authors' code does: the same as giving each side of every sample that many models."""
    target, shadow, is_in, _ = world(5, 40, 12, queries=2, balanced=False)
    fewest_in, fewest_out = is_in.sum(0).min(), (~is_in).sum(0).min()
    assert is_in.sum(0).max() > fewest_in >= 2
    own = [
        np.r_[np.flatnonzero(column)[:fewest_in], np.flatnonzero(~column)[:fewest_out]] for column in is_in.T
    ]
    few = np.stack([shadow[models, sample] for sample, models in enumerate(own)], 1)
    few_in = np.repeat(np.arange(len(few))[:, None] < fewest_in, 40, axis=1)
    cut = lira_scores(target, shadow, is_in, mode=mode, variance=variance, cut=True)
    np.testing.assert_allclose(cut, lira_scores(target, few, few_in, mode=mode, variance=variance))
    assert not np.allclose(cut, lira_scores(target, shadow, is_in, mode=mode, variance=variance))


def test_bayesian_is_the_student_predictive_under_its_prior(monkeypatch):
    """Against the integral over the variance: density of phi given it, times its posterior."""
    monkeypatch.setattr(likelihood_ratio, "_variance_prior", lambda *_: (5.0, 0.7))
    draws, phi = np.array([1.0, 1.4, 2.1]), 2.5
    variance = np.geomspace(1e-3, 1e3, 20001)
    prior = stats.invgamma(5 / 2, scale=5 * 0.7 / 2).pdf(variance)
    squares = ((draws - draws.mean()) ** 2).sum()
    evidence = prior * variance ** (-(len(draws) - 1) / 2) * np.exp(-squares / (2 * variance))
    density = stats.norm(draws.mean(), np.sqrt(variance * (1 + 1 / 3))).pdf(phi)
    tail = stats.norm(draws.mean(), np.sqrt(variance * (1 + 1 / 3))).sf(phi)
    for mode, value in (("offline_two_sided", density), ("offline", tail)):
        expected = -np.log(
            integrate.trapezoid(evidence * value, variance) / integrate.trapezoid(evidence, variance)
        )
        scores = lira_scores([phi], draws[:, None], np.zeros((3, 1), bool), mode=mode, variance="bayesian")
        assert scores[0] == pytest.approx(expected, rel=1e-5)


def test_bayesian_learns_the_prior_that_variances_were_drawn_from():
    rng = np.random.default_rng(0)
    degrees, variance, n, models = 6.0, 2.5, 40_000, 4
    true = degrees * variance / rng.chisquare(degrees, n)
    squares = true * rng.chisquare(models - 1, n)
    counts = np.full((n, 1), models)
    found = likelihood_ratio._variance_prior(counts, squares[:, None])
    np.testing.assert_allclose(found, (degrees, variance), rtol=0.05)
    same = likelihood_ratio._variance_prior(counts, variance * rng.chisquare(models - 1, (n, 1)))
    assert same[0] > 100
    assert same[1] == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("value", [1e-7, 0.01, 1.0, 1.6449340668482264, 300.0, 1e6])
def test_inverse_trigamma(value):
    from scipy.special import polygamma

    assert polygamma(1, likelihood_ratio._inverse_trigamma(value)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("degrees", [1.5, 8.0, 1e6])
def test_the_student_tail_continues_smoothly_where_it_underflows(degrees):
    z = np.geomspace(1, 1e80, 4000)[:, None]
    tail = likelihood_ratio._log_tail(
        z, likelihood_ratio._Fit(np.zeros((1, 1)), np.ones((1, 1)), degrees * np.ones((1, 1)))
    )
    assert np.isfinite(tail).all()
    assert (np.diff(tail[:, 0]) < 0).all()
    plain = stats.t(degrees).logsf(z[z < 1e3])
    np.testing.assert_allclose(tail[z < 1e3][plain > -600], plain[plain > -600], rtol=1e-9)
    far = likelihood_ratio._log_tail(
        np.array([[60.0]]), likelihood_ratio._Fit(np.zeros((1, 1)), np.ones((1, 1)), np.full((1, 1), 1e6))
    )
    # The normal's tail at 60, to which a t with a million degrees adds z^4 / 4e6.
    assert far[0, 0] == pytest.approx(stats.norm.logsf(60) + 60**4 / 4e6, abs=0.02)


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0])
def test_reaches_the_bayes_optimum_with_many_models(gap):
    target, shadow, is_in, member = world(1, 3000, 256, gap=gap, sigma=1.0)
    optimum = stats.norm.cdf(gap / math.sqrt(2))
    low, high = roc_auc_interval(lira_scores(target, shadow, is_in), member, confidence_level=0.999)
    assert low <= optimum + 0.005
    assert high >= optimum
    # One-sided, OUT models alone: as good here, where members and others differ in the mean alone.
    low, high = roc_auc_interval(
        lira_scores(target, shadow, is_in, mode="offline"), member, confidence_level=0.999
    )
    assert low <= optimum + 0.005
    assert high >= optimum - 0.005


def test_two_sided_offline_takes_hard_samples_for_members():
    target, shadow, is_in, _ = world(2, 50, 20)
    target[0] = -1000.0
    two, one = (lira_scores(target, shadow, is_in, mode=mode) for mode in ("offline_two_sided", "offline"))
    assert two.argmax() == 0
    assert one[0] == min(one)


def test_one_sided_offline_rises_with_the_paper_s_and_goes_on_where_that_is_one():
    shadow, is_in = np.array([[-1.0] * 6, [1.0] * 6]), np.zeros((2, 6), bool)
    target = np.array([-3.0, 0.0, 3.0, 12.0, 40.0, 1e6])
    scores = lira_scores(target, shadow, is_in, mode="offline")
    np.testing.assert_allclose(-np.expm1(-scores[:3]), stats.norm.cdf(target[:3]), rtol=1e-9)
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("models", [4, 8])
def test_bayesian_beats_per_example_with_few_models(models):
    for seed in range(4):
        target, shadow, is_in, member = world(seed, 2000, models)
        plain, bayesian = (
            roc_auc(lira_scores(target, shadow, is_in, variance=v), member)
            for v in ("per_example", "bayesian")
        )
        assert bayesian > plain + 0.01


def test_bayesian_makes_do_with_one_model_on_a_side():
    target, shadow, is_in, _ = world(3, 100, 6)
    is_in[:, 0] = [True, False, False, False, False, False]
    with pytest.raises(
        ValueError, match=r"2 IN model\(s\) at least; 1 row\(s\) \(0\) have fewer, the first 1 of 6"
    ):
        lira_scores(target, shadow, is_in)
    assert np.isfinite(lira_scores(target, shadow, is_in, variance="bayesian")).all()


@pytest.mark.parametrize("variance", ["per_example", "global_centred", "bayesian"])
def test_swapping_in_and_out_negates(variance):
    target, shadow, is_in, _ = world(4, 200, 16, balanced=False)
    scores = lira_scores(target, shadow, is_in, variance=variance)
    assert np.array_equal(lira_scores(target, shadow, ~is_in, variance=variance), -scores)


@each_mode
@each_variance
def test_the_order_of_models_and_samples_does_not_matter(mode, variance, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 300)
    target, shadow, is_in, _ = world(5, 101, 14, queries=2, balanced=False)
    scores = lira_scores(target, shadow, is_in, mode=mode, variance=variance)
    rng = np.random.default_rng(0)
    models, rows = rng.permutation(14), rng.permutation(101)
    moved = lira_scores(
        target[rows], shadow[models][:, rows], is_in[models][:, rows], mode=mode, variance=variance
    )
    assert np.array_equal(moved, scores[rows])


@each_mode
@each_variance
@pytest.mark.parametrize(("block", "chunk"), [(1, 1), (7, 60), (1000, 60)])
def test_samples_in_blocks_of_any_size_score_the_same(mode, variance, block, chunk, monkeypatch, tmp_path):
    """To the bit, from memory, from a memory-mapped file, and from one file for each model."""
    target, shadow, is_in, _ = world(12, 50, 10, queries=2, balanced=False)
    settings = {"mode": mode, "variance": variance}
    expected = lira_scores(target, shadow, is_in, **settings)
    for name, array in (("shadow", shadow), ("in", is_in), *((str(i), own) for i, own in enumerate(shadow))):
        np.save(tmp_path / name, array)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.glob("*.npy")}
    monkeypatch.setattr(reference_models, "BLOCK", block)
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", chunk)
    for signals in (shadow, mapped["shadow"], [mapped[str(i)] for i in range(10)]):
        assert np.array_equal(lira_scores(target, signals, mapped["in"], **settings), expected)


def test_an_error_in_a_later_block_names_the_sample(monkeypatch):
    monkeypatch.setattr(reference_models, "BLOCK", 3)
    target, shadow, is_in, _ = world(12, 10, 8)
    shadow[2, 7] = np.nan
    for signals in (shadow, list(shadow)):
        with pytest.raises(ValueError, match=r"shadow_phi must be finite.*1 row\(s\) \(7\)"):
            lira_scores(target, signals, is_in)


def test_models_of_unequal_lengths_are_refused():
    target, shadow, is_in, _ = world(12, 10, 8)
    with pytest.raises(ValueError, match="shadow_phi must be a rectangular array"):
        lira_scores(target, [*shadow[:-1], shadow[-1, :-1]], is_in)


@each_variance
def test_equal_samples_tie(variance):
    target, shadow, is_in, _ = world(6, 60, 10)
    target[7], shadow[:, 7], is_in[:, 7] = target[50], shadow[:, 50], is_in[:, 50]
    scores = lira_scores(target, shadow, is_in, variance=variance)
    assert scores[7] == scores[50]


@each_variance
@pytest.mark.parametrize("shift", [100.0, -7.5])
def test_moving_and_scaling_every_signal_of_a_sample_keeps_the_order(variance, shift):
    target, shadow, is_in, _ = world(7, 200, 10)
    scores = lira_scores(target, shadow, is_in, variance=variance)
    moved = lira_scores(2 * target + shift, 2 * shadow + shift, is_in, variance=variance)
    np.testing.assert_allclose(moved, scores, rtol=1e-7, atol=1e-9)


@each_mode
@each_variance
def test_constant_signals_stay_finite_and_ordered(mode, variance):
    """A saturated signal, 0.1 in every model, whose mean of three is not 0.1 in float64."""
    shadow = np.full((6, 5), 0.1)
    is_in = np.array([[True] * 5] * 3 + [[False] * 5] * 3)
    shadow[:3] = 0.3
    target = np.array([-1.0, 0.1, 0.2, 0.3, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = lira_scores(target, shadow, is_in, mode=mode, variance=variance)
    assert np.isfinite(scores).all()
    if mode == "online":
        assert scores[1] < scores[3]
    elif mode == "offline":
        assert (np.diff(scores) >= 0).all()
        assert scores[1] < scores[2] < scores[4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_and_lists_of_any_precision(dtype):
    target, shadow, is_in, _ = world(8, 30, 8)
    tensors = [torch.from_numpy(v).to(dtype).requires_grad_() for v in (target, shadow)]
    widened = [t.detach().double().numpy() for t in tensors]
    expected = lira_scores(*widened, is_in)
    assert expected.dtype == np.float64
    assert np.array_equal(lira_scores(*tensors, torch.from_numpy(is_in)), expected)
    assert np.array_equal(lira_scores(*[w.tolist() for w in widened], is_in.tolist()), expected)


@each_mode
@each_variance
def test_the_caller_s_arrays_are_left_alone(mode, variance):
    arrays = world(9, 30, 8)[:3]
    copies = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    lira_scores(*arrays, mode=mode, variance=variance)
    assert all(np.array_equal(a, c) for a, c in zip(arrays, copies, strict=True))


def test_queries_are_averaged():
    target, shadow, is_in, _ = world(10, 30, 8, queries=3)
    single = [lira_scores(target[:, k], shadow[..., k], is_in) for k in range(3)]
    np.testing.assert_allclose(lira_scores(target, shadow, is_in), np.mean(single, 0), rtol=1e-12)


@pytest.mark.parametrize(
    ("mean", "spread"), [(1, 0.5), (1, 2), (1, 1), (-1, 1), (0, 0.5), (0, 1), (3, 1e-3), (-8, 1.5), (40, 0.5)]
)
def test_calibrated_is_how_often_a_signal_of_out_models_is_as_likely_a_member_s(mean, spread):
    """By the ratios at ten thousand quantiles of the OUT normal; the models have exact moments."""
    quantiles = stats.norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    phi = np.array([-3.0, -1.0, 0.0, 0.31, 1.0, 1.34, 2.5, 9.0])

    def scores(target, **settings):
        signals = np.array([[mean - spread], [mean + spread], [-1.0], [1.0]]) * np.ones(len(target))
        is_in = np.array([[True], [True], [False], [False]]) & np.ones(len(target), bool)
        return lira_scores(target, signals, is_in, **settings)

    ratios, rates = scores(quantiles), np.exp(-scores(phi, calibrated=True))
    np.testing.assert_allclose(rates, [(ratios >= ratio).mean() for ratio in scores(phi)], atol=2e-4)


@pytest.mark.parametrize("variance", VARIANCES[:2])
def test_calibrated_accuses_each_sample_s_non_members_at_one_rate(variance):
    """Samples whose members differ from others in their own way; one threshold accuses some far too often."""
    rng = np.random.default_rng(0)
    n, models = 4000, 200
    kinds = rng.integers(0, 2, n)
    gap = np.array([1.0, 6.0])[kinds]
    is_in = np.repeat(np.arange(models) % 2 == 0, n).reshape(models, n)
    shadow, target = gap * is_in + rng.normal(size=(models, n)), rng.normal(size=n)
    plain, calibrated = (lira_scores(target, shadow, is_in, variance=variance, calibrated=c) for c in (0, 1))
    limit = np.sort(plain)[-n // 20]
    shares = [(plain[kinds == kind] >= limit).mean() for kind in (0, 1)]
    assert max(shares) > 3 * min(shares)
    shares = [(calibrated[kinds == kind] >= -math.log(0.05)).mean() for kind in (0, 1)]
    assert shares == pytest.approx([0.05, 0.05], abs=0.017)
    assert lira_scores(target - 1e3, shadow, is_in, variance=variance, calibrated=True).min() >= 0
    assert np.isfinite(lira_scores(target + 1e3, shadow, is_in, variance=variance, calibrated=True)).all()


@pytest.mark.parametrize("change", [{"mode": "offline"}, {"variance": "bayesian"}])
def test_calibrated_is_for_the_online_normal(change):
    with pytest.raises(ValueError, match="calibrated=True is for mode='online' with a normal"):
        lira_scores(*world(0, 10, 4)[:3], calibrated=True, **change)


def test_fewer_models_than_requested_are_told():
    target, shadow, is_in, _ = world(11, 30, 8)
    with pytest.warns(FewModelsWarning, match="8 reference models were given where 16 were requested"):
        lira_scores(target, shadow, is_in, requested_models=16)
    lira_scores(target, shadow, is_in, requested_models=8)
    assert count_models(is_in) == (8, 4, 4)
    assert count_models(torch.tensor([[True, False], [True, True], [True, False]])) == (3, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_phi": np.zeros(3)}, r"shadow_phi must hold \(3,\) signals"),
        ({"target_phi": np.zeros(0)}, "target_phi must be numbers of shape"),
        ({"shadow_in": np.zeros((4, 2), bool)}, "shadow_in must have one column for each of the 4 samples"),
        ({"shadow_in": np.zeros((4, 4))}, "shadow_in must be booleans"),
        ({"shadow_phi": np.full((4, 4), np.nan)}, r"shadow_phi must be finite.*4 row\(s\) \(0, 1, 2, 3\)"),
        ({"target_phi": [0, 1, np.inf, 2]}, r"target_phi must be finite.*1 row\(s\) \(2\)"),
        ({"shadow_phi": np.full((4, 4), "a")}, "shadow_phi must be real numbers"),
        ({"shadow_in": np.ones((4, 4), bool)}, r"2 OUT model\(s\) at least; 4 row\(s\)"),
        ({"variance": "bayesian", "shadow_in": np.eye(4, dtype=bool)[:2]}, "shadow_phi must hold"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    good = {
        "target_phi": np.zeros(4),
        "shadow_phi": np.zeros((4, 4)),
        "shadow_in": np.array([[True] * 4] * 2 + [[False] * 4] * 2),
    }
    with pytest.raises(ValueError, match=message):
        lira_scores(**(good | change))


@pytest.mark.parametrize("argument", ["mode", "variance", "centre"])
def test_an_unknown_name_is_refused(argument):
    with pytest.raises(UnknownNameError, match=f"no LiRA {argument} 'strange'"):
        lira_scores([0.0], [[0.0]], [[False]], **{argument: "strange"})


def test_bayesian_needs_two_variances():
    with pytest.raises(ValueError, match="learns its prior from samples with two models"):
        lira_scores([0.0], [[0.0]], [[False]], mode="offline", variance="bayesian")
