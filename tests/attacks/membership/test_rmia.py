import math

import numpy as np
import pytest
import torch

from securitynet_hub.attacks.membership import reference_models, rmia
from securitynet_hub.attacks.membership.rmia import rmia_scores, tune_offline_a
from securitynet_hub.core.errors import FewModelsWarning, UnknownNameError
from securitynet_hub.statistics.rates import roc_auc


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def world(seed, n, m, models, gap=1.0, queries=None):
    """Draw log-probabilities of samples of unlike difficulty; members lie `gap` higher on the logit scale."""
    rng = np.random.default_rng(seed)
    tail = () if queries is None else (queries,)
    wide = (..., *[None] * len(tail))
    hard_x, hard_z = rng.normal(0, 2, n)[wide], rng.normal(0, 2, m)[wide]
    is_in, member = rng.random((models, n)) < 0.5, rng.random(n) < 0.5
    is_in[0], is_in[1] = True, False

    def noise(*shape):
        return rng.normal(0, 0.7, (*shape, *tail))

    arrays = (
        hard_x + gap * member[wide] + noise(n),
        hard_x + gap * is_in[wide] + noise(models, n),
        hard_z + noise(m),
        hard_z + noise(models, m),
    )
    target_x, ref_x, target_z, ref_z = (log_sigmoid(a) for a in arrays)
    return (target_x, ref_x, is_in, target_z, ref_z), member


def by_hand(target_x, ref_x, ref_in, target_z, ref_z, gamma, a, mode):
    """Compare every x with every z, on probabilities; without queries."""

    def ratio(target, reference, is_in):
        p = np.exp(reference)
        outside = np.array([q[~i].mean() for q, i in zip(p.T, is_in.T, strict=True)])
        if mode == "offline":
            return np.exp(target) / (((1 + a) * outside + (1 - a)) / 2)
        inside = [q[i].mean() if i.any() else o for q, i, o in zip(p.T, is_in.T, outside, strict=True)]
        return np.exp(target) / ((np.array(inside) + outside) / 2)

    z = ratio(target_z, ref_z, np.zeros(ref_z.shape, bool))
    return (ratio(target_x, ref_x, ref_in)[:, None] / z >= gamma).mean(1)


@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize(("gamma", "a"), [(1, 0.3), (2, 0.0), (1.5, 1.0)])
def test_equals_the_definition_pair_by_pair(mode, gamma, a, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 6 * 7)  # seven samples at a time
    arrays, _ = world(0, 60, 90, 6)
    scores = rmia_scores(*arrays, gamma=gamma, a=a, mode=mode)
    assert np.array_equal(scores, by_hand(*arrays, gamma, a, mode))
    assert 0 < scores.mean() < 1


@pytest.mark.parametrize("gamma", [1, 2, 4])
def test_ties_count_and_are_exact(gamma):
    """Powers of two, whose ratios tie in float64 as they do on paper; one model, a = 1."""
    target_x, target_z = np.log([[0.5, 0.25, 1.0], [1.0, 0.5, 0.125]])
    one_x, one_z = np.log([[[0.25, 0.25, 0.25]], [[0.5, 0.5, 0.5]]])
    scores = rmia_scores(target_x, one_x, np.zeros((1, 3), bool), target_z, one_z, gamma=gamma, a=1)
    # Ratios 2, 1, 4 against 2, 1, 1/4.
    expected = {1: [1, 2 / 3, 1], 2: [2 / 3, 1 / 3, 1], 4: [1 / 3, 1 / 3, 2 / 3]}
    assert scores == pytest.approx(expected[gamma], abs=0)


def test_a_pair_counts_where_more_than_half_of_the_queries_say_so(monkeypatch):
    for queries in (1, 2, 3, 5):
        (target_x, ref_x, ref_in, target_z, ref_z), _ = world(1, 40, 70, 4, queries=queries)
        ratio = [
            target[:, None] - np.log(0.65 * np.exp(reference[1]) + 0.35)[:, None]
            for target, reference in ((target_x, ref_x), (target_z, ref_z))
        ]
        x, z = (r[:, 0] for r in ratio)
        votes = (z[None] <= x[:, None] - math.log(2)).sum(-1)
        arrays = (target_x, ref_x[1:2], ref_in[1:2], target_z, ref_z[1:2])
        monkeypatch.setattr(rmia, "PAIRS", 70 * 9)  # nine samples at a time
        assert np.array_equal(rmia_scores(*arrays), (2 * votes > queries).mean(1))


@pytest.mark.parametrize("probability", [1.0, 0.3, 1e-5, 1e-200])
def test_out_models_that_agree_give_one_average_however_many_there_are(probability):
    """What the IN models say, and how many of them there are, must not show in the offline score."""
    rng = np.random.default_rng(0)
    n, models = 40, 8
    ref_in = rng.random((models, n)) < 0.5
    ref_in[0] = False
    ref_x = np.where(ref_in, rng.uniform(-5, 0, (models, n)), math.log(probability))
    target_x = np.full(n, -0.1)
    target_z, ref_z = np.log(rng.random(50)), np.log(rng.random((models, 50)))
    scores = rmia_scores(target_x, ref_x, ref_in, target_z, ref_z)
    assert len(set(scores)) == 1
    references = reference_models.check_references(target_x, ref_x, ref_in)
    assert set(rmia.log_mean(references, inside=False).ravel()) == {math.log(probability)}


def test_members_of_the_target_score_higher_and_gap_zero_is_chance():
    arrays, member = world(2, 4000, 1000, 8)
    for mode in ("offline", "online"):
        assert roc_auc(rmia_scores(*arrays, mode=mode), member) > 0.65
    for seed in range(3):
        arrays, member = world(seed, 4000, 1000, 8, gap=0)
        assert abs(roc_auc(rmia_scores(*arrays), member) - 0.5) < 0.035  # 3.8 deviations


def test_beats_the_loss_on_samples_of_unlike_difficulty():
    arrays, member = world(3, 4000, 1000, 8)
    assert roc_auc(rmia_scores(*arrays), member) > roc_auc(arrays[0], member) + 0.05


def test_gamma_changes_no_order_on_one_target():
    arrays, _ = world(4, 300, 400, 6)
    small, large = (rmia_scores(*arrays, gamma=g) for g in (1, 3))
    order = np.lexsort((large, small))
    assert (np.diff(large[order]) >= 0).all()
    assert (large <= small).all()


@pytest.mark.parametrize("queries", [None, 3])
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_order_of_models_samples_and_population_does_not_matter(mode, queries, monkeypatch):
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 100)
    (target_x, ref_x, ref_in, target_z, ref_z), _ = world(5, 80, 90, 9, queries=queries)
    scores = rmia_scores(target_x, ref_x, ref_in, target_z, ref_z, mode=mode)
    rng = np.random.default_rng(0)
    model, x, z = (rng.permutation(k) for k in (9, 80, 90))
    moved = rmia_scores(
        target_x[x], ref_x[model][:, x], ref_in[model][:, x], target_z[z], ref_z[model][:, z], mode=mode
    )
    assert np.array_equal(moved, scores[x])


@pytest.mark.parametrize("queries", [None, 3])
@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize(("block", "chunk"), [(1, 1), (7, 60), (1000, 60)])
def test_samples_in_blocks_of_any_size_score_the_same(mode, queries, block, chunk, monkeypatch, tmp_path):
    (target_x, ref_x, is_in, target_z, ref_z), _ = world(3, 50, 40, 6, queries=queries)
    expected = rmia_scores(target_x, ref_x, is_in, target_z, ref_z, mode=mode)
    np.save(tmp_path / "x.npy", ref_x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(reference_models, "BLOCK", block)
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", chunk)
    for x, z in ((mapped, ref_z), (list(mapped), list(ref_z))):
        assert np.array_equal(rmia_scores(target_x, x, is_in, target_z, z, mode=mode), expected)


def test_a_is_tuned_alike_on_files_and_in_blocks(monkeypatch):
    (_, ref_x, is_in, _, ref_z), _ = world(5, 40, 30, 7, queries=2)
    ref_x, is_in, ref_z = ref_x[2:], is_in[2:], ref_z[2:]
    expected = rmia.tune_offline_a(ref_x, is_in, ref_z)
    monkeypatch.setattr(reference_models, "BLOCK", 7)
    monkeypatch.setattr(reference_models, "CHUNK_ELEMENTS", 60)
    assert rmia.tune_offline_a(list(ref_x), is_in, list(ref_z)) == expected


@pytest.mark.parametrize("models", [1, 3, 64, 100])
def test_averages_do_not_depend_on_the_order_of_models_to_the_bit(models):
    rng = np.random.default_rng(0)
    reference, is_in = np.log(rng.random((models, 500))), rng.random((models, 500)) < 0.3
    order = rng.permutation(models)
    means, moved = (
        rmia.log_mean(reference_models.check_references(reference[0], r, i), inside=False)[:, 0]
        for r, i in ((reference, is_in), (reference[order], is_in[order]))
    )
    assert np.array_equal(moved, means)
    exact = [math.fsum(p[~i]) / max(1, (~i).sum()) for p, i in zip(np.exp(reference).T, is_in.T, strict=True)]
    np.testing.assert_allclose(np.exp(means), exact, rtol=1e-13)


def test_probabilities_that_underflow_keep_their_ratios():
    for drop in (0.0, -2000.0):
        x, z = np.log([0.5, 0.1]) + drop, np.log([0.2, 0.4]) + drop
        reference = np.log([[0.25, 0.25]]) + drop
        scores = rmia_scores(x, reference, np.zeros((1, 2), bool), z, reference, a=1, gamma=1)
        assert scores.tolist() == [1.0, 0.0]


def test_a_population_that_models_saw_is_averaged_over_the_others():
    arrays, _ = world(6, 50, 60, 6)
    seen = np.zeros((6, 60), bool)
    seen[:2] = True
    four = [arrays[0], arrays[1], arrays[2], arrays[3], arrays[4].copy()]
    four[4][:2] = -30.0  # what the models that saw it say must not matter offline
    assert np.array_equal(rmia_scores(*four, ref_in_z=seen), rmia_scores(*arrays, ref_in_z=seen))
    assert not np.array_equal(rmia_scores(*four), rmia_scores(*arrays))
    with pytest.raises(ValueError, match=r"1 OUT model\(s\) at least; 60 row\(s\)"):
        rmia_scores(*arrays, ref_in_z=np.ones((6, 60), bool))


def planted(a, models=8, n=600, seed=0):
    """Reference models whose members obey p_in = a p_out + 1 - a exactly, and others p_out."""
    rng = np.random.default_rng(seed)
    outside = rng.uniform(0.02, 0.98, n)
    ref_in = rng.random((models, n)) < 0.5
    ref_x = np.log(np.where(ref_in, a * outside + 1 - a, outside) * rng.uniform(0.9, 1, (models, n)))
    ref_z = np.log(
        np.broadcast_to(rng.uniform(0.02, 0.98, 500), (models, 500)) * rng.uniform(0.9, 1, (models, 500))
    )
    return ref_x, ref_in, ref_z


@pytest.mark.parametrize("a", [0.2, 0.6, 0.9])
def test_tuning_finds_what_attacks_held_out_models_best(a):
    ref_x, ref_in, ref_z = planted(a)
    tuned = tune_offline_a(ref_x, ref_in, ref_z, gamma=1)
    assert tuned.aucs[tuned.a] == max(tuned.aucs.values())
    # The truth is the model's own membership: taking each in the target's place by hand gives the same.
    for candidate in (0.0, tuned.a):
        aucs = []
        for i in range(len(ref_x)):
            others = [j for j in range(len(ref_x)) if j != i]
            rows = ~ref_in[others].all(0)
            scores = rmia_scores(
                ref_x[i, rows], ref_x[others][:, rows], ref_in[others][:, rows], ref_z[i], ref_z[others],
                gamma=1, a=candidate,
            )  # fmt: skip
            aucs.append(roc_auc(scores, ref_in[i, rows]))
        assert tuned.aucs[candidate] == pytest.approx(np.mean(aucs), abs=1e-12)
    fresh_x, fresh_in, fresh_z = planted(a, models=9, seed=1)
    rows = ~fresh_in[1:].all(0)
    fresh_x, fresh_in = fresh_x[:, rows], fresh_in[:, rows]
    aucs = {
        candidate: roc_auc(
            rmia_scores(fresh_x[0], fresh_x[1:], fresh_in[1:], fresh_z[0], fresh_z[1:], gamma=1, a=candidate),
            fresh_in[0],
        )
        for candidate in tuned.aucs
    }
    assert aucs[tuned.a] > max(aucs.values()) - 0.01


def test_tuning_leaves_out_what_a_model_saw_of_the_population():
    """What a model answers to a z that it was trained on is no non-member's answer, for it or for others."""
    rng = np.random.default_rng(0)
    ref_x, ref_z = np.log(rng.uniform(0.2, 0.9, (4, 50))), np.log(rng.uniform(0.2, 0.9, (4, 30)))
    ref_in, ref_in_z = rng.random((4, 50)) < 0.5, rng.random((4, 30)) < 0.4
    ref_in[:, :2] = [[True, False], [False, True]] * 2  # each model has a member and a non-member
    sure = np.where(ref_in_z, -1e-3, ref_z)
    plain, changed = (tune_offline_a(ref_x, ref_in, z, gamma=1.5, ref_in_z=ref_in_z) for z in (ref_z, sure))
    assert plain == changed
    assert tune_offline_a(ref_x, ref_in, sure, gamma=1.5) != plain


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_figures_hold_for_few_members_and_for_few_non_members(share):
    """Reference models that saw few of the samples, or most, and a target likewise."""
    ref_x, _, ref_z = planted(0.5, models=8, n=300)
    rng = np.random.default_rng(1)
    ref_in = rng.random((8, 300)) < share
    outside = rng.uniform(0.02, 0.98, 300)
    noise = rng.uniform(0.9, 1, (8, 300))
    ref_x = np.log(np.where(ref_in, 0.5 * outside + 0.5, outside) * noise)
    tuned = tune_offline_a(ref_x, ref_in, ref_z, gamma=1)
    aucs = []
    for i in range(8):
        others = np.arange(8) != i
        rows = ~ref_in[others].all(0)
        scores = rmia_scores(
            ref_x[i, rows], ref_x[others][:, rows], ref_in[others][:, rows], ref_z[i], ref_z[others],
            gamma=1, a=tuned.a,
        )  # fmt: skip
        aucs.append(roc_auc(scores, ref_in[i, rows]))
    assert tuned.aucs[tuned.a] == pytest.approx(np.mean(aucs), abs=1e-12)


def test_tuning_would_not_take_another_model_s_membership():
    ref_x, ref_in, ref_z = planted(0.3)
    assert max(tune_offline_a(ref_x, ref_in, ref_z, gamma=1).aucs.values()) > 0.9
    strange = np.roll(ref_in, 1, 0)
    assert max(tune_offline_a(ref_x, strange, ref_z, gamma=1).aucs.values()) < 0.6


def test_tensors_and_read_only_arrays():
    arrays, _ = world(7, 30, 40, 6)
    copies = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    expected = rmia_scores(*arrays, mode="online")
    assert expected.dtype == np.float64
    assert all(np.array_equal(a, c) for a, c in zip(arrays, copies, strict=True))
    tensors = [torch.from_numpy(c) for c in copies]
    assert np.array_equal(rmia_scores(*tensors, mode="online"), expected)


GOOD = dict(zip(("target_x", "ref_x", "ref_in", "target_z", "ref_z"), world(8, 5, 6, 4)[0], strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_x": np.full(5, 0.5)}, r"target_x must be log-probabilities, at most 0; 5 row\(s\)"),
        ({"ref_x": np.full((4, 5), 0.5)}, r"ref_x must be log-probabilities, at most 0; 5 row\(s\)"),
        ({"target_z": np.full(6, 0.5)}, "target_z must be log-probabilities"),
        ({"ref_z": np.full((4, 6), np.nan)}, r"ref_z must be finite.*6 row\(s\)"),
        ({"ref_z": np.full((3, 6), -1.0)}, "same models"),
        ({"ref_in": np.ones((4, 5), bool)}, r"1 OUT model\(s\) at least; 5 row\(s\)"),
        ({"ref_in": np.zeros((4, 5), bool), "mode": "online"}, r"1 IN model\(s\) at least; 5 row\(s\)"),
        ({"ids_x": range(5), "ids_z": range(4, 10)}, "must not share a sample; 1 are in both, such as 4"),
        ({"gamma": 0.5}, "gamma must be"),
        ({"gamma": math.inf}, "gamma must be"),
        ({"a": 1.1}, "a must lie in"),
        ({"a": math.nan}, "a must lie in"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        rmia_scores(**(GOOD | change))


def test_names_and_counts_are_told():
    with pytest.raises(UnknownNameError, match="no RMIA mode"):
        rmia_scores(**GOOD, mode="both")
    with pytest.warns(FewModelsWarning, match="4 reference models were given where 5"):
        rmia_scores(**GOOD, requested_models=5)
    with pytest.raises(ValueError, match="two reference models"):
        tune_offline_a(GOOD["ref_x"][:1], GOOD["ref_in"][:1], GOOD["ref_z"][:1])
    with pytest.raises(ValueError, match="one row for each model"):
        tune_offline_a(GOOD["ref_x"], GOOD["ref_in"], GOOD["ref_z"][:3])
    with pytest.raises(ValueError, match="a must lie in"):
        tune_offline_a(GOOD["ref_x"], GOOD["ref_in"], GOOD["ref_z"], candidates=[2.0])
