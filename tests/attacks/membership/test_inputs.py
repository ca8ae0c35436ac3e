"""MembershipInputs in several views, what stands beside an attack's figures, and the label-only configs."""

import numpy as np
import pytest
import torch
from support.membership_inputs import ATTACKS, NEEDS

from securitynet_hub import load_metric
from securitynet_hub.attacks.membership import inputs as membership_inputs
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.label_only import label_only_scores
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.privacy import choose_threshold, epsilon_lower_bound, one_run_epsilon
from securitynet_hub.attacks.membership.rmia import rmia_scores, tune_offline_a
from securitynet_hub.attacks.membership.running import measure_attack, run_attack
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.comparison import auc_difference, paired_auc_difference
from securitynet_hub.statistics.signals import logit_margin, loss

N, M, MODELS, VIEWS, CLASSES = 60, 40, 6, 3, 4
RNG = np.random.default_rng(0)
LABELS, Z_LABELS = RNG.integers(0, CLASSES, N), RNG.integers(0, CLASSES, M)
MEMBERS = np.arange(N) % 2 == 0
INSIDE = RNG.random((MODELS, N)).argsort(0) < MODELS // 2


def answer(labels, trained):
    """Answers in several views, the label's logit lifted where a model was trained on the sample."""
    logits = RNG.normal(size=(*trained.shape, VIEWS, CLASSES))
    lift = 2.0 * trained[..., None, None] * np.eye(CLASSES)[labels][:, None]
    return logits + lift


MANY = {
    "outputs": answer(LABELS, MEMBERS),
    "labels": LABELS,
    "is_member": MEMBERS,
    "from_logits": True,
    "calibration": 0.5,
    "reference_outputs": answer(LABELS, INSIDE),
    "reference_in": INSIDE,
    "population_outputs": answer(Z_LABELS, np.zeros(M)),
    "population_labels": Z_LABELS,
    "reference_population_outputs": answer(Z_LABELS, np.zeros((MODELS, M))),
    "features": RNG.normal(size=(N, 2)),
    "base_features": RNG.normal(size=(N, 3)),
}


def with_views(chosen):
    """The same world seen in these views alone; a number drops the axis."""
    return {key: value[..., chosen, :] if key.endswith("outputs") else value for key, value in MANY.items()}


FIRST, ONE = with_views(0), with_views([0])
SINGLE = ["modified_entropy", "logistic", "attack_p", "attack_r", "difficulty_calibration"]
SEVERAL = [name for name in ATTACKS if ATTACKS[name].augmented]
NAMES = [*SINGLE, pytest.param("quantile", marks=pytest.mark.slow), *SEVERAL]


class TestViews:
    @pytest.mark.parametrize("name", NAMES)
    def test_one_view_is_none(self, name):
        np.testing.assert_array_equal(
            run_attack(name, MembershipInputs(**ONE)).scores,
            run_attack(name, MembershipInputs(**FIRST)).scores,
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_what_looks_at_one_view_looks_at_the_first(self, name):
        many, first = (run_attack(name, MembershipInputs(**world)).scores for world in (MANY, FIRST))
        assert np.array_equal(many, first) != ATTACKS[name].augmented

    @pytest.mark.parametrize("name", SEVERAL)
    def test_the_order_of_views_does_not_matter(self, name):
        turned = run_attack(name, MembershipInputs(**with_views([2, 0, 1]))).scores
        np.testing.assert_allclose(
            turned, run_attack(name, MembershipInputs(**MANY)).scores, rtol=1e-12, atol=1e-12
        )

    def test_those_that_score_every_view_are_named(self):
        assert {"lira_offline", "lira_offline_two_sided", "lira", "rmia", "rmia_online"} <= set(SEVERAL)
        assert not set(SEVERAL) & set(SINGLE)

    def test_each_is_the_function_behind_it(self):
        def each_view(signal, answers, labels):
            rows = answers.reshape(-1, *answers.shape[-3:])
            found = [[signal(own[:, v], labels, from_logits=True) for v in range(VIEWS)] for own in rows]
            return np.moveaxis(np.array(found), 1, 2).reshape(answers.shape[:-1])

        phi, ref_phi = (
            each_view(logit_margin, MANY[key], LABELS) for key in ("outputs", "reference_outputs")
        )
        np.testing.assert_array_equal(
            run_attack("lira", MembershipInputs(**MANY)).scores, lira_scores(phi, ref_phi, INSIDE)
        )
        x, ref_x = (each_view(loss, MANY[key], LABELS) for key in ("outputs", "reference_outputs"))
        keys = ("population_outputs", "reference_population_outputs")
        z, ref_z = (each_view(loss, MANY[key], Z_LABELS) for key in keys)
        for name, mode in (("rmia", "offline"), ("rmia_online", "online")):
            np.testing.assert_array_equal(
                run_attack(name, MembershipInputs(**MANY)).scores,
                rmia_scores(x, ref_x, INSIDE, z, ref_z, mode=mode),
            )

    def test_answers_in_a_file_are_read_a_few_at_a_time(self, tmp_path, monkeypatch):
        monkeypatch.setattr(membership_inputs, "ROWS", 3)
        kept = {}
        for key in ("outputs", "population_outputs"):
            np.save(tmp_path / f"{key}.npy", MANY[key])
            kept[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r")
        for name in ("loss", "entropy", "lira", "rmia"):
            expected = run_attack(name, MembershipInputs(**MANY)).scores
            assert np.array_equal(run_attack(name, MembershipInputs(**MANY | kept)).scores, expected)

    @pytest.mark.parametrize("name", ["loss", "lira", "rmia", "logistic", "attack_r"])
    def test_tensors_and_lists_give_the_same(self, name):
        expected = run_attack(name, MembershipInputs(**MANY)).scores
        for convert in (torch.from_numpy, np.ndarray.tolist):
            world = {key: convert(value) if key.endswith("outputs") else value for key, value in MANY.items()}
            np.testing.assert_array_equal(run_attack(name, MembershipInputs(**world)).scores, expected)

    def test_views_that_differ_are_refused(self):
        for key in ("reference_outputs", "population_outputs"):
            with pytest.raises(ValueError, match=r"must be of the same views.*'outputs': 3"):
                MembershipInputs(**{**MANY, key: MANY[key][..., :2, :]})
            with pytest.raises(ValueError, match=rf"must be of the same views.*'{key}': None"):
                MembershipInputs(**{**MANY, key: FIRST[key]})

    def test_bad_rows_are_named_as_the_caller_counts_them(self):
        broken = MANY["outputs"].copy()
        broken[17, 2, 1] = np.nan
        with pytest.raises(ValueError, match=r"1 row\(s\) \(17\)"):
            run_attack("lira", MembershipInputs(**{**MANY, "outputs": broken}))

    @pytest.mark.parametrize("name", ["lira", "rmia", "modified_entropy"])
    def test_the_metric_takes_them_at_once_and_in_batches(self, name):
        beside = {key: MANY[key] for key in NEEDS[name]}
        expected = measure_attack(name, MembershipInputs(**MANY))
        metric = load_metric("membership_inference", name)
        told = {"predictions": MANY["outputs"], "references": LABELS, "membership": MEMBERS}
        assert metric.compute(**told, from_logits=True, **beside) == expected
        for rows in (slice(0, 25), slice(25, N)):
            metric.add_batch(**{key: value[rows] for key, value in told.items()})
        assert metric.compute(from_logits=True, **beside) == expected


class TestTuned:
    def test_rmia_finds_its_own_coefficient(self):
        inputs = MembershipInputs(**MANY)
        x, z = (
            signal("loss", views=True)
            for signal in (inputs.reference_scores, inputs.reference_population_scores)
        )
        for gamma in (1.0, 2.0):
            a = tune_offline_a(x, INSIDE, z, gamma=gamma).a
            run = run_attack("rmia", inputs, a="tuned", gamma=gamma)
            assert run.tuned == {"a": a}
            np.testing.assert_array_equal(run.scores, run_attack("rmia", inputs, a=a, gamma=gamma).scores)
            assert measure_attack("rmia", inputs, a="tuned", gamma=gamma)["tuned"] == {"a": a}

    def test_it_says_nothing_where_nothing_was_tuned(self):
        assert "tuned" not in measure_attack("rmia", MembershipInputs(**MANY), a=0.5)


SCORES = RNG.normal(size=N) + MEMBERS
OTHERS = RNG.normal(size=N) + 0.5 * MEMBERS


class TestComparison:
    def test_two_attacks_on_the_same_samples(self):
        metric = load_metric("membership_inference")
        given = {"predictions": SCORES, "references": MEMBERS}
        found = metric.compute(**given, compare_with=OTHERS, confidence_level=0.9)["comparison"]
        assert found == paired_auc_difference(SCORES, OTHERS, MEMBERS, confidence_level=0.9)._asdict()
        turned = metric.compute(predictions=OTHERS, references=MEMBERS, compare_with=SCORES)["comparison"]
        assert turned["difference"] == -found["difference"]
        assert turned["p_value"] == found["p_value"]
        assert "comparison" not in metric.compute(**given)

    def test_two_models_on_samples_of_their_own(self):
        other = {"compare_with": OTHERS[:31], "compare_with_members": MEMBERS[:31]}
        metric = load_metric("membership_inference")
        found = metric.compute(predictions=SCORES, references=MEMBERS, **other)["comparison"]
        assert found == auc_difference(SCORES, MEMBERS, *other.values())._asdict()
        inputs = MembershipInputs(**FIRST)
        found = measure_attack("loss", inputs, **other)["comparison"]
        assert found == auc_difference(inputs.score("loss"), MEMBERS, *other.values())._asdict()

    def test_attacks_by_their_names_or_scores(self):
        inputs = MembershipInputs(**FIRST)
        signals = [inputs.score(name) for name in ("loss", "hinge")]
        expected = paired_auc_difference(*signals, MEMBERS)._asdict()
        metric = load_metric("membership_inference", "loss")
        told = {"predictions": FIRST["outputs"], "references": LABELS, "membership": MEMBERS}
        for other in ("hinge", signals[1]):
            assert measure_attack("loss", inputs, compare_with=other)["comparison"] == expected
            result = metric.compute(**told, from_logits=True, compare_with=other)
            assert result["comparison"] == expected

    def test_a_calibrated_attack_is_compared_on_what_it_judged(self):
        inputs = MembershipInputs(**FIRST)
        judged = ~inputs.calibrated_on
        run = run_attack("logistic", inputs)
        expected = paired_auc_difference(run.scores, inputs.score("loss")[judged], MEMBERS[judged])
        for other in ("loss", inputs.score("loss")):
            found = measure_attack("logistic", inputs, compare_with=other)["comparison"]
            assert found == expected._asdict()
        turned = measure_attack("loss", inputs, compare_with="logistic")["comparison"]
        assert turned["difference"] == -expected.difference

    def test_what_is_refused(self):
        inputs = MembershipInputs(**FIRST)
        with pytest.raises(ValueError, match=r"one score for each of 60 samples; got shape \(59,\)"):
            measure_attack("loss", inputs, compare_with=OTHERS[1:])
        with pytest.raises(UnknownNameError, match="'hinge'"):
            measure_attack("loss", inputs, compare_with="hing")
        with pytest.raises(ValueError, match="compare_with_members is given without compare_with"):
            measure_membership(SCORES, MEMBERS, compare_with_members=MEMBERS)


class TestEpsilon:
    def test_rates_choose_on_one_half_and_measure_on_the_other(self):
        scores, members = np.append(np.ones(400), np.zeros(400)), np.arange(800) < 400
        result = measure_membership(scores, members, epsilon="rates", delta=1e-5)["epsilon_bound"]
        # Of 200 members and as many others in the other half none is mistaken.
        tail = 0.025 ** (1 / 200)
        assert result["epsilon"] == pytest.approx(np.log((tail - 1e-5) / (1 - tail)), rel=1e-12)
        assert (result["method"], result["delta"], result["threshold"]) == ("rates", 1e-5, 1.0)

    def test_the_halves_are_disjoint_and_the_figures_the_functions(self):
        chosen = MembershipInputs(**{**FIRST, "is_member": MEMBERS}, seed=5).calibrated_on  # drawn alike
        threshold = choose_threshold(SCORES[chosen], MEMBERS[chosen])
        expected = epsilon_lower_bound(SCORES[~chosen], MEMBERS[~chosen], thresholds=threshold)
        found = load_metric("membership_inference").compute(
            predictions=SCORES, references=MEMBERS, epsilon="rates", seed=5
        )["epsilon_bound"]
        assert found == {"method": "rates", "delta": 0.0, **expected._asdict()}
        found = measure_attack("loss", MembershipInputs(**FIRST), epsilon="one_run", delta=1e-6)[
            "epsilon_bound"
        ]
        scores = MembershipInputs(**FIRST).score("loss")
        expected = one_run_epsilon(scores, MEMBERS, k_plus=6, k_minus=6, delta=1e-6)
        assert found == {"method": "one_run", "delta": 1e-6, **expected._asdict()}

    @pytest.mark.parametrize("method", ["rates", "one_run"])
    def test_noise_is_bounded_by_zero(self, method):
        """Of 300 attacks by noise at most 5 % may claim a leak; more than 26 have a chance of 1 in 400."""
        rng = np.random.default_rng(8)
        claims = 0
        for seed in range(300):
            scores, members = rng.normal(size=200), rng.random(200) < 0.5
            found = measure_membership(scores, members, epsilon=method, seed=seed)["epsilon_bound"]
            claims += found["epsilon"] > 0
        assert claims <= 26

    def test_what_is_refused(self):
        with pytest.raises(UnknownNameError, match="'one_run'"):
            measure_membership(SCORES, MEMBERS, epsilon="onerun")
        with pytest.raises(
            ValueError, match="a fair coin made members; got 500 members and 1500 non-members"
        ):
            measure_membership(np.zeros(2000), np.arange(2000) < 500, epsilon="one_run")
        with pytest.raises(ValueError, match="two members and two non-members at least; got 1 of one"):
            measure_membership([1, 2, 3], [1, 0, 0], epsilon="rates")
        with pytest.raises(ValueError, match="delta must be a probability"):
            measure_membership(SCORES, MEMBERS, epsilon="rates", delta=1)


class TestLabelOnly:
    ANSWERS = RNG.integers(0, CLASSES, (N, 5))

    @pytest.mark.parametrize("name", ["translation", "rotation", "noise"])
    def test_the_metric_counts_right_answers(self, name):
        by_hand = [
            sum(own == label for own in row) / 5 for row, label in zip(self.ANSWERS, LABELS, strict=True)
        ]
        np.testing.assert_array_equal(label_only_scores(self.ANSWERS, LABELS), by_hand)
        metric = load_metric("membership_inference", name)
        told = {"predictions": self.ANSWERS, "references": LABELS, "membership": MEMBERS}
        expected = measure_membership(by_hand, MEMBERS, compare_with=SCORES)
        assert metric.compute(**told, compare_with=SCORES) == expected
        metric.add_batch(**told)
        assert metric.compute(compare_with=SCORES) == expected

    def test_distances_are_scores(self):
        metric, distances = load_metric("membership_inference", "boundary"), np.abs(SCORES)
        found = metric.compute(predictions=distances, references=MEMBERS)
        assert found == measure_membership(distances, MEMBERS)
        with pytest.raises(ValueError, match="predictions of boundary must be at least 0; the smallest is -"):
            metric.compute(predictions=-distances, references=MEMBERS)

    @pytest.mark.parametrize(
        ("answers", "labels", "sentence"),
        [
            (ANSWERS / 2, LABELS, "answers must be integers"),
            (ANSWERS, LABELS + 0.5, "labels must be integers"),
            (ANSWERS[0], LABELS, r"got \(5,\) and \(60,\)"),
            (ANSWERS, LABELS[1:], r"got \(60, 5\) and \(59,\)"),
            (ANSWERS[:, :0], LABELS, "at least one of each"),
        ],
    )
    def test_what_is_refused(self, answers, labels, sentence):
        with pytest.raises(ValueError, match=sentence):
            label_only_scores(answers, labels)
