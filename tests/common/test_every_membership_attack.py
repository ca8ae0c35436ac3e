"""What must not matter to any attack of the suite: precision, container, scale, copies, a class unseen."""

from functools import cache

import datasets
import numpy as np
import pytest
import torch
from support.membership_inputs import CLASSES, LABELLED, NAMES, NEEDS, SLOW, world

from securitynet_hub import load_metric
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import MembershipInputs, run_attack
from securitynet_hub.statistics.rates import roc_auc

N = 240
WORLD = world(N, m=60)
# Multiples of 1/16 below 16 are exact in every precision that a network may answer in.
WORLD |= {key: np.round(WORLD[key].clip(-15.5, 15.5) * 16) / 16 for key in WORLD if key.endswith("outputs")}
WORLD["calibration"] = np.arange(N) < N // 2
OUTPUTS = [key for key in WORLD if key.endswith("outputs")]
COLUMNS = [*OUTPUTS, "labels", "population_labels", "is_member", "features", "penultimate", "base_features"]
OF_SAMPLES = ["outputs", "labels", "is_member", "features", "penultimate", "base_features", "calibration"]

each_attack = pytest.mark.parametrize("name", NAMES)


def each_that_needs(field):
    return pytest.mark.parametrize("name", [n for n in NAMES if field in NEEDS[n.values[0]]])


def column(values):
    return datasets.Dataset.from_dict({"x": values.tolist()})["x"]


def outputs_as(kind):
    if isinstance(kind, torch.dtype):
        return {key: torch.from_numpy(WORLD[key]).to(kind) for key in OUTPUTS}
    if kind is column:
        return {key: column(WORLD[key]) for key in COLUMNS}
    return {key: WORLD[key].astype(kind) for key in OUTPUTS}


def scores_of(name, **changes):
    return run_attack(name, MembershipInputs(**{**WORLD, **changes})).scores


@cache
def expected(name):
    return scores_of(name)


# All read their outputs through the same two functions: few attacks take the kinds that differ in size alone.
KINDS = [column, torch.bfloat16, np.float32, np.float16, torch.float16, torch.float32, torch.float64]
ALL_KINDS = {"loss", "lira", "rmia", "mlp_top3"}


def kinds_for(name):
    return KINDS if name in ALL_KINDS else KINDS[: 2 if name in SLOW else 3]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(*name.values, kind, marks=name.marks)
        for name in NAMES
        for kind in kinds_for(*name.values)
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_precision_and_container_gives_the_same_to_the_bit(name, kind):
    scores = scores_of(name, **outputs_as(kind))
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, expected(name))


@each_attack
def test_float64_arrays_that_cannot_be_written_are_enough(name):
    """Arrays in float64 need no conversion, so that a careless attack would write into the caller's."""
    locked = {key: np.copy(value) for key, value in WORLD.items() if isinstance(value, np.ndarray)}
    for value in locked.values():
        value.flags.writeable = False
    np.testing.assert_array_equal(scores_of(name, **locked), expected(name))


@each_attack
def test_logits_of_ten_thousand_stay_finite_and_ordered(name):
    huge = {key: WORLD[key] * (1e4 / 15.5) for key in OUTPUTS}
    run = run_attack(name, MembershipInputs(**{**WORLD, **huge}))
    assert np.isfinite(run.scores).all()
    # Posteriors that are all zeros and ones tell nothing without the label, and gradients nothing more.
    if name in LABELLED and name != "inverse_hessian":
        assert roc_auc(run.scores, WORLD["is_member"][run.rows]) > 0.5


@each_attack
def test_copies_of_judged_samples_score_as_they_do_and_move_no_other(name):
    half = N // 2
    twice = np.concatenate([np.arange(N), np.arange(half, N)])
    copied = {key: WORLD[key][twice] for key in OF_SAMPLES}
    copied |= {key: WORLD[key][:, twice] for key in ("reference_outputs", "reference_in")}
    judged = half if "calibration" in NEEDS[name] else N
    scores = scores_of(name, **copied)
    np.testing.assert_array_equal(scores[judged:], scores[judged - half : judged])
    np.testing.assert_allclose(scores[:judged], expected(name), rtol=1e-12)


@each_that_needs("population_outputs")
def test_a_population_given_twice_says_the_same(name):
    double = {key: np.concatenate([WORLD[key]] * 2) for key in ("population_outputs", "population_labels")}
    reference = WORLD["reference_population_outputs"]
    scores = scores_of(name, **double, reference_population_outputs=np.concatenate([reference] * 2, 1))
    np.testing.assert_allclose(scores, expected(name), rtol=1e-12)


@each_attack
def test_figures_know_the_order_of_the_scores_alone(name):
    truth = WORLD["is_member"][run_attack(name, MembershipInputs(**WORLD)).rows]
    ranks = np.unique(expected(name), return_inverse=True)[1]
    plain, ranked = (measure_membership(scores, truth) for scores in (expected(name), np.exp(ranks / 20)))
    for figures in (plain, ranked):
        for rate in figures["tpr_at_fpr"]:
            rate.pop("threshold")
    assert plain == ranked


@each_that_needs("calibration")
def test_a_class_absent_from_calibration_is_judged(name):
    known = WORLD["calibration"] & (WORLD["labels"] != CLASSES - 1)
    run = run_attack(name, MembershipInputs(**{**WORLD, "calibration": known}))
    assert (WORLD["labels"][run.rows] == CLASSES - 1).any()
    assert np.isfinite(run.scores).all()
    assert len(set(run.scores.tolist())) > 1


@pytest.mark.parametrize("name", ["loss", "lira", "rmia", "mlp_full"])
def test_figures_of_logits_probabilities_and_scores_agree(name):
    """Whatever a caller holds is enough: the two kinds of outputs, or the scores alone."""

    def softmax(z):
        weights = np.exp(z - z.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    run = run_attack(name, MembershipInputs(**WORLD))
    truth = WORLD["is_member"][run.rows]
    probabilities = {key: softmax(WORLD[key]) for key in OUTPUTS}
    of_probabilities = scores_of(name, **probabilities, from_logits=False)
    metric = load_metric("membership_inference")
    of_scores = metric.compute(predictions=run.scores, references=truth)["auc"]
    assert roc_auc(run.scores, truth) == of_scores
    assert roc_auc(of_probabilities, truth) == pytest.approx(of_scores, abs=1e-3)
