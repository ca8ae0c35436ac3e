"""Every attack under its name: fed as it needs to be, equal to the function behind it."""

import dataclasses

import numpy as np
import pytest
import torch
from support.membership_inputs import CLASSES, LABELLED, NAMES, NEEDS, world

from securitynet_hub import load_metric
from securitynet_hub.attacks.membership.learned import LEARNED, fit_learned_attack
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.population import (
    attack_p_scores,
    attack_r_scores,
    difficulty_calibrated_scores,
)
from securitynet_hub.attacks.membership.registry import find
from securitynet_hub.attacks.membership.rmia import rmia_scores
from securitynet_hub.attacks.membership.running import (
    MembershipInputs,
    measure_attack,
    missing_inputs,
    run_attack,
)
from securitynet_hub.attacks.membership.thresholds import fit_thresholds, measure_threshold_attack
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import SIGNALS, logit_margin, loss

WORLD = world()


@pytest.mark.parametrize("name", NAMES)
class TestEveryAttack:
    def test_it_finds_members(self, name):
        if name == "inverse_hessian":
            pytest.skip("it takes a layer that was trained; its own tests train one")
        inputs = MembershipInputs(**WORLD)
        run = run_attack(name, inputs)
        auc = roc_auc(run.scores, inputs.membership[run.rows])
        assert auc > (0.65 if name in LABELLED - {"correctness"} else 0.5)
        if NEEDS[name] and "calibration" not in NEEDS[name] and name not in ("attack_p", "base_calibration"):
            assert auc > roc_auc(inputs.score("loss"), inputs.membership) + 0.1  # reference models help

    def test_swapping_members_turns_it_round(self, name):
        """The truth alone, for attacks that do not see it; what they were fitted on, for the others."""
        inputs = MembershipInputs(**WORLD)
        swapped = dataclasses.replace(inputs, is_member=~WORLD["is_member"])
        found, turned = (measure_attack(name, e)["auc"] for e in (inputs, swapped))
        if not NEEDS[name] or "calibration" not in NEEDS[name]:
            assert turned == pytest.approx(1 - found, abs=1e-12)
        elif name in LEARNED:  # fitted on the swapped truth, they find the members of that
            assert min(found, turned) > 0.5
        else:  # non-members of the swapped truth have the high signals
            assert turned < 0.5 < found

    def test_containers_precision_and_arrays(self, name):
        """Torch, float32 and lists give what NumPy gives; nothing that was passed is changed."""
        narrow = {
            key: value.astype(np.float32) if getattr(value, "dtype", None) == np.float64 else value
            for key, value in WORLD.items()
        }
        copies = {key: np.copy(value) for key, value in narrow.items()}
        expected = run_attack(name, MembershipInputs(**narrow)).scores
        tensors = {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for key, value in narrow.items()
        }
        np.testing.assert_array_equal(run_attack(name, MembershipInputs(**tensors)).scores, expected)
        for key, value in copies.items():
            np.testing.assert_array_equal(narrow[key], value)

    def test_a_constant_on_all_logits_changes_nothing(self, name):
        moved = {key: value + 7.0 if key.endswith("outputs") else value for key, value in WORLD.items()}
        np.testing.assert_allclose(
            run_attack(name, MembershipInputs(**moved)).scores,
            run_attack(name, MembershipInputs(**WORLD)).scores,
            rtol=1e-6,
            atol=1e-8,
        )

    def test_calibration_samples_are_never_judged(self, name):
        inputs = MembershipInputs(**WORLD)
        run = run_attack(name, inputs)
        if "calibration" in NEEDS[name]:
            np.testing.assert_array_equal(run.rows, np.flatnonzero(~inputs.calibrated_on))
            assert inputs.calibrated_on.sum() == 200
        else:
            np.testing.assert_array_equal(run.rows, np.arange(400))
        assert run.scores.shape == run.rows.shape
        assert run.scores.dtype == np.float64

    def test_the_metric_gives_the_same_to_the_bit(self, name):
        inputs = MembershipInputs(**WORLD)
        expected = measure_attack(name, inputs, target_fprs=[0.05])
        given = {key: WORLD[key] for need in NEEDS[name] for key in [need]}
        found = load_metric("membership_inference", name).compute(
            predictions=WORLD["outputs"],
            references=WORLD["labels"],
            membership=WORLD["is_member"],
            from_logits=True,
            target_fprs=[0.05],
            **given,
        )
        assert found == expected

    def test_equal_samples_tie_wherever_they_stand(self, name):
        same = {
            key: np.broadcast_to(value[..., :1, :], value.shape) if key.endswith("outputs") else value
            for key, value in WORLD.items()
        }
        same |= {"labels": np.zeros(400, int), "population_labels": np.zeros(300, int)}
        same |= {
            "features": np.zeros((400, 1)),
            "penultimate": np.ones((400, 3)),
            "base_features": np.zeros((400, 1)),
            "reference_in": np.repeat(WORLD["reference_in"][:, :1], 400, 1),
        }
        run = run_attack(name, MembershipInputs(**same))
        assert len(set(run.scores.tolist())) == 1

    def test_row_order_does_not_matter(self, name):
        order = np.random.default_rng(1).permutation(400)
        known = np.random.default_rng(2).random(400) < 0.5
        moved = {
            key: value[:, order] if key in ("reference_outputs", "reference_in") else value[order]
            for key, value in WORLD.items()
            if key
            in (
                "outputs",
                "labels",
                "is_member",
                "reference_outputs",
                "reference_in",
                "features",
                "penultimate",
                "base_features",
            )
        }
        scores = np.full((2, 400), np.nan)
        for row, (world_, mask) in enumerate(((WORLD, known), ({**WORLD, **moved}, known[order]))):
            run = run_attack(name, MembershipInputs(**{**world_, "calibration": mask}))
            scores[row, run.rows] = run.scores
        if name == "pinball":  # its halves are drawn by place among sorted samples
            np.testing.assert_allclose(scores[1], scores[0][order], atol=1e-9)
        else:
            np.testing.assert_allclose(scores[1], scores[0][order], rtol=1e-8, atol=1e-9)

    def test_what_it_needs_is_asked_for(self, name):
        bare = MembershipInputs(
            **{key: WORLD[key] for key in ("outputs", "labels", "is_member", "from_logits")}
        )
        missing = missing_inputs(name, bare)
        assert missing == list(NEEDS[name])
        if missing:
            with pytest.raises(ValueError, match=f"{name} needs {' and '.join(missing)}"):
                run_attack(name, bare)


def test_each_is_the_function_behind_it():
    inputs = MembershipInputs(**WORLD)
    labels = WORLD["labels"]
    phi, reference_phi = (
        logit_margin(WORLD["outputs"], labels, from_logits=True),
        np.stack([logit_margin(z, labels, from_logits=True) for z in WORLD["reference_outputs"]]),
    )
    log_p, reference_log_p = (
        loss(WORLD["outputs"], labels, from_logits=True),
        np.stack([loss(z, labels, from_logits=True) for z in WORLD["reference_outputs"]]),
    )
    z_labels, inside = WORLD["population_labels"], WORLD["reference_in"]
    log_pz = loss(WORLD["population_outputs"], z_labels, from_logits=True)
    reference_log_pz = np.stack(
        [loss(z, z_labels, from_logits=True) for z in WORLD["reference_population_outputs"]]
    )
    known = inputs.calibrated_on
    learned = fit_learned_attack(
        "logistic", WORLD["outputs"][known], labels[known], WORLD["is_member"][known], from_logits=True
    )
    expected = {
        "lira": lira_scores(phi, reference_phi, inside),
        "lira_offline": lira_scores(phi, reference_phi, inside, mode="offline"),
        "attack_r": attack_r_scores(log_p, reference_log_p, inside),
        "difficulty_calibration": difficulty_calibrated_scores(log_p, reference_log_p, inside),
        "attack_p": attack_p_scores(log_p, log_pz),
        "rmia": rmia_scores(log_p, reference_log_p, inside, log_pz, reference_log_pz),
        "rmia_online": rmia_scores(log_p, reference_log_p, inside, log_pz, reference_log_pz, mode="online"),
        "logistic": learned.score(WORLD["outputs"][~known], labels[~known], from_logits=True),
    }
    for name, scores in expected.items():
        np.testing.assert_array_equal(run_attack(name, inputs).scores, scores, err_msg=name)
    for name, signal in SIGNALS.items():
        scores = signal(WORLD["outputs"], labels, from_logits=True)
        np.testing.assert_array_equal(run_attack(name, inputs).scores, scores)


def test_known_non_members_do_for_a_population():
    """Attack-P ranks among them where it has no others; none of them is judged."""
    bare = {key: value for key, value in WORLD.items() if "population" not in key}
    inputs = MembershipInputs(**bare)
    run = run_attack("attack_p", inputs)
    known, signals = inputs.calibrated_on, inputs.score("loss")
    np.testing.assert_array_equal(run.rows, np.flatnonzero(~known))
    expected = attack_p_scores(signals[~known], signals[known & ~WORLD["is_member"]])
    np.testing.assert_array_equal(run.scores, expected)
    with pytest.raises(ValueError, match="attack_p needs population_outputs and population_labels"):
        run_attack("attack_p", MembershipInputs(**{**bare, "calibration": None}))


class TestWhatDoesNotFit:
    def test_reference_models_of_other_classes(self):
        with pytest.raises(ValueError, match="all outputs must be of the same classes"):
            MembershipInputs(**{**WORLD, "reference_outputs": WORLD["reference_outputs"][..., :3]})

    def test_samples_that_are_in_the_population(self):
        with pytest.raises(ValueError, match="ids and population_ids must not share a sample; 10 are"):
            MembershipInputs(**WORLD, ids=np.arange(400), population_ids=np.arange(390, 690))

    def test_other_lengths(self):
        with pytest.raises(ValueError, match="is_member must hold one entry for each of 400 rows"):
            run_attack("loss", MembershipInputs(**{**WORLD, "is_member": WORLD["is_member"][:-1]}))
        with pytest.raises(ValueError, match="features must have one row for each of 400 samples"):
            run_attack("quantile", MembershipInputs(**{**WORLD, "features": WORLD["features"][:-1]}))

    @pytest.mark.parametrize("name", ["entropy", "mlp_top3_unlabelled"])
    def test_labels_are_not_needed_by_all(self, name):
        blind = MembershipInputs(**{**WORLD, "labels": None})
        np.testing.assert_array_equal(
            run_attack(name, blind).scores, run_attack(name, MembershipInputs(**WORLD)).scores
        )
        with pytest.raises(ValueError, match="loss needs labels"):
            run_attack("loss", blind)

    def test_probabilities_give_the_same(self):
        def softmax(z):
            return np.exp(z) / np.exp(z).sum(-1, keepdims=True)

        world_ = {key: softmax(value) if key.endswith("outputs") else value for key, value in WORLD.items()}
        for name in ("loss", "lira", "rmia", "attack_p", "logistic", "mlp_top3"):
            np.testing.assert_allclose(
                run_attack(name, MembershipInputs(**{**world_, "from_logits": False})).scores,
                run_attack(name, MembershipInputs(**WORLD)).scores,
                rtol=1e-5,
                atol=1e-6,
            )


class TestSettings:
    def test_they_reach_the_function(self):
        inputs = MembershipInputs(**WORLD)
        plain, global_ = (
            run_attack("lira", inputs, **s).scores for s in ({}, {"variance": "global_centred"})
        )
        assert not np.array_equal(plain, global_)

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("loss", ()),
            ("mlp_full", ()),
            ("lira_offline", ("variance", "centre", "calibrated", "cut", "requested_models")),
            ("rmia", ("gamma", "a", "requested_models")),
            ("attack_r", ("smoothing", "requested_models")),
            ("quantile", ("hidden", "epochs", "learning_rate", "weight_decay")),
        ],
    )
    def test_they_are_known(self, name, settings):
        assert tuple(find(name).settings) == settings

    def test_others_are_refused(self):
        with pytest.raises(UnknownNameError, match=r"setting of rmia 'gama'.*'gamma'"):
            run_attack("rmia", MembershipInputs(**WORLD), gama=2)
        with pytest.raises(UnknownNameError, match=r"membership attack 'lyra'.*'lira'"):
            run_attack("lyra", MembershipInputs(**WORLD))


class TestClassWise:
    @pytest.mark.parametrize("name", SIGNALS)
    def test_scores_stand_against_their_classes_thresholds(self, name):
        inputs = MembershipInputs(**WORLD)
        known, labels = inputs.calibrated_on, WORLD["labels"]
        scores = inputs.score(name)
        thresholds = fit_thresholds(
            scores[known], labels[known], WORLD["is_member"][known], num_classes=CLASSES
        )
        run = run_attack(name, inputs, class_wise=True)
        np.testing.assert_array_equal(run.scores, thresholds.centred(scores[~known], labels[~known]))
        result = measure_attack(name, inputs, class_wise=True)
        accused, truth = thresholds.predict(scores[~known], labels[~known]), WORLD["is_member"][~known]
        assert result.pop("accusations") == measure_threshold_attack(accused, truth)
        assert result == measure_membership(run.scores, truth)

    def test_a_class_absent_from_calibration(self):
        known = WORLD["labels"] != 2
        known[::3] = False
        run = run_attack("loss", MembershipInputs(**{**WORLD, "calibration": known}), class_wise=True)
        assert np.isfinite(run.scores).all()
        assert (WORLD["labels"][run.rows] == 2).any()

    def test_it_is_for_metric_based_attacks(self):
        with pytest.raises(ValueError, match="class-wise thresholds are for correctness"):
            run_attack("lira", MembershipInputs(**WORLD), class_wise=True)

    def test_it_needs_calibration(self):
        with pytest.raises(ValueError, match="loss needs calibration"):
            run_attack("loss", MembershipInputs(**{**WORLD, "calibration": None}), class_wise=True)


class TestCalibration:
    def test_the_share_is_drawn_from_either_side_by_the_seed(self):
        masks = [
            MembershipInputs(**{**WORLD, "calibration": 0.3}, seed=seed).calibrated_on for seed in (0, 0, 1)
        ]
        np.testing.assert_array_equal(masks[0], masks[1])
        assert (masks[0] != masks[2]).any()
        assert masks[0][WORLD["is_member"]].sum() == masks[0][~WORLD["is_member"]].sum() == 60

    @pytest.mark.parametrize(
        ("calibration", "sentence"),
        [
            (0, "between 0 and 1; got 0"),
            (1.0, "between 0 and 1"),
            (np.ones(400), "400 booleans; got float64"),
            (np.ones(3, bool), r"got bool of \(3,\)"),
            (True, "got bool"),
            (np.ones(400, bool), "it has 400 of 400 samples, 200 of them members"),
            (WORLD["is_member"], "it has 200 of 400 samples, 200 of them members"),
            (np.arange(400) == 1, "both members and non-members"),
        ],
    )
    def test_what_is_refused(self, calibration, sentence):
        with pytest.raises(ValueError, match=sentence):
            run_attack("mlp_top3", MembershipInputs(**{**WORLD, "calibration": calibration}))


class TestMetric:
    def test_samples_can_be_added_in_batches(self):
        metric = load_metric("membership_inference", "modified_entropy")
        for start in range(0, 400, 150):
            rows = slice(start, start + 150)
            metric.add_batch(
                predictions=WORLD["outputs"][rows],
                references=WORLD["labels"][rows],
                membership=WORLD["is_member"][rows],
            )
        assert metric.compute(from_logits=True) == measure_attack(
            "modified_entropy", MembershipInputs(**WORLD)
        )

    def test_what_is_missing_is_told(self):
        metric = load_metric("membership_inference", "loss")
        metric.add_batch(
            predictions=WORLD["outputs"],
            references=WORLD["labels"] + 0.5,
            membership=WORLD["is_member"],
        )
        with pytest.raises(ValueError, match="references must be integers"):
            metric.compute(from_logits=True)
        metric = load_metric("membership_inference", "loss")
        with pytest.raises(ValueError, match="got no membership"):
            metric.compute(predictions=WORLD["outputs"], references=WORLD["labels"], from_logits=True)
        with pytest.raises(ValueError, match="from_logits must be True or False"):
            metric.compute(
                predictions=WORLD["outputs"], references=WORLD["labels"], membership=WORLD["is_member"]
            )

    def test_unknown_configs_get_the_closest(self):
        with pytest.raises(UnknownNameError, match=r"config 'rmai'.*'rmia'"):
            load_metric("membership_inference", "rmai")


@pytest.mark.parametrize("name", ["loss", "lira", "rmia", "logistic"])
def test_bad_rows_are_named(name):
    broken = WORLD["outputs"].copy()
    broken[17, 0] = np.nan
    with pytest.raises(ValueError, match="17"):
        run_attack(name, MembershipInputs(**{**WORLD, "outputs": broken}))
