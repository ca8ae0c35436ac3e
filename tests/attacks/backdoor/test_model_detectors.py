"""Judging models for backdoors: indices, margins, noise, calibration, scores, the registry and the audit."""

import json
import math
import runpy
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from support.linear_targets import IMAGES, NORMALISED, PLAIN, Normalise, as_target, linear
from torch import nn

from securitynet_hub import audit, load_metric, load_target
from securitynet_hub.attacks.backdoor.audit import draw_evenly, left_out
from securitynet_hub.attacks.backdoor.calibration import calibrate_norms
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.inversion import (
    Inversion,
    measure_inversion,
    save_triggers,
    trigger_overlap,
)
from securitynet_hub.attacks.backdoor.kind import Options
from securitynet_hub.attacks.backdoor.mm_bd import judge_margins, mm_bd
from securitynet_hub.attacks.backdoor.model_measures import measure_model_detection
from securitynet_hub.attacks.backdoor.needs import needs_batch_norm, needs_clean
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
from securitynet_hub.attacks.backdoor.neuron_noise import neuron_noise
from securitynet_hub.attacks.backdoor.registry import detectors
from securitynet_hub.attacks.backdoor.running import run_detector, runnable
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import ModelError, UnknownNameError
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.splits import Split
from securitynet_hub.records.record import read_records
from securitynet_hub.statistics.rates import anomaly_index, roc_auc

LABELLED = LabelledImages(
    name="noise", pixels=IMAGES, labels=np.arange(len(IMAGES)) % 2, class_names=("a", "b")
)
DATA = AuditData(images=LABELLED, split=Split(members=np.arange(3), nonmembers=np.arange(3, len(IMAGES))))


class TestIndex:
    @pytest.mark.parametrize("count", [3, 4, 10, 43])
    def test_is_that_of_the_definition(self, count):
        norms = np.random.default_rng(count).gamma(4, 10, count)
        median = np.median(norms)
        mad = 1.4826 * np.median(np.abs(norms - median))
        found = measure_inversion(norms)
        assert found["anomaly_index"] == pytest.approx((median - norms.min()) / mad)
        assert found["anomaly_index"] == pytest.approx(anomaly_index(norms))
        assert found["flagged_classes"] == [k for k in range(count) if (median - norms[k]) / mad > 2]
        assert found["norm_ratio"] == pytest.approx(norms.min() / median)
        assert found["smallest_class"] == norms.argmin()
        assert found["log_anomaly_index"] == pytest.approx(
            np.ptp([np.log(norms).min(), np.median(np.log(norms))])
            / (1.4826 * np.median(np.abs(np.log(norms) - np.median(np.log(norms)))))
        )

    def test_what_did_not_converge_is_left_out_and_never_small(self):
        norms = [10, 50, 60, 70, 80]
        assert measure_inversion([*norms, None]) == {**measure_inversion(norms), "n_classes": 6}
        assert measure_inversion([None, 60, 61, 59])["smallest_class"] == 3
        assert measure_inversion([np.nan] * 5)["smallest_class"] is None

    def test_order_of_classes(self):
        norms = np.array([10.0, 55, np.nan, 70])
        expected = measure_inversion(norms)["anomaly_index"]
        for order in permutations(range(4)):
            found = measure_inversion(norms[list(order)])
            assert found["anomaly_index"] == pytest.approx(expected)
            assert found["smallest_class"] == order.index(0)

    def test_restarts_give_medians_and_ranges_and_flag_by_majority(self):
        rows = np.array([[10, 50, 60, 70, 80], [45, 50, 60, 70, 80], [12, 50, 60, 70, 80]], float)
        found, single = measure_inversion(rows), [anomaly_index(row) for row in rows]
        assert found["anomaly_index"] == pytest.approx(np.median(single))
        assert found["anomaly_index_range"] == pytest.approx((min(single), max(single)))
        assert found["flagged_classes"] == [0]
        assert measure_inversion(rows[[0, 1]])["flagged_classes"] == []

    def test_controls_are_what_others_are_compared_with(self):
        norms, controls = [10, 12, 14, 50, 60, 70], [False, False, False, True, True, True]
        found = measure_inversion(norms, controls=controls, classes=[7, 3, 9, 1, 2, 5])
        assert found["norm_ratio"] == pytest.approx(10 / 60)
        assert found["anomaly_index"] == pytest.approx(50 / (1.4826 * 10))
        assert found["flagged_classes"] == [7, 3, 9]

    def test_equal_norms_are_no_anomaly(self):
        assert measure_inversion([5, 5, 5])["anomaly_index"] == 0
        assert json.dumps(measure_inversion([5, 5, 5]), allow_nan=False)

    @pytest.mark.parametrize("norms", [[], [[[1.0]]], [1, -2, 3], [1, np.inf, 3], ["a"] * 3])
    def test_refuses(self, norms):
        with pytest.raises(ValueError, match="norms"):
            measure_inversion(norms)

    def test_is_the_metric_s(self):
        norms = [[10, 50, 60, 70, None], [11, 50, 60, 70, 80]]
        found = load_metric("backdoor_trigger_inversion").compute(predictions=norms)
        assert found == measure_inversion(norms)


class TestOverlap:
    def test_by_hand(self):
        assert trigger_overlap([[1, 0.25]], [[1, 0.5]]) == pytest.approx(1.25 / 1.5)
        assert trigger_overlap([[0.0]], [[0.0]]) == 1

    @pytest.mark.parametrize("mask", [[[1.0, 2.0]], [[np.nan, 0.0]], [[1.0]]])
    def test_refuses(self, mask):
        with pytest.raises(ValueError, match="masks"):
            trigger_overlap(mask, [[True, False]])

    def test_pictures_show_mask_and_pattern(self, tmp_path):
        masks = np.zeros((2, 1, 4, 5), np.float32)
        masks[1, 0, 0, 1], patterns = 0.5, np.full((2, 1, 4, 5, 3), 0.8, np.float32)
        inversion = Inversion(
            classes=np.array([6]), controls=np.array([True]), norms=np.array([[np.nan], [0.5]]),
            success_rates=np.ones((2, 1)), steps=np.ones((2, 1), np.int64), masks=masks, patterns=patterns,
        )  # fmt: skip
        paths = save_triggers(inversion, [6], tmp_path)
        assert [path.name for path in paths] == [f"class-6-{n}.png" for n in ("mask", "pattern", "trigger")]
        mask, _, trigger = (np.asarray(Image.open(path)) for path in paths)
        assert mask.shape == (4, 5)
        assert mask[0, 1] == 128
        assert trigger[0, 1].tolist() == [102] * 3
        with pytest.raises(ValueError, match="class 5"):
            save_triggers(inversion, [5], tmp_path)


class TestMarginMaximisation:
    def test_the_p_value_is_the_fitted_gamma_s(self):
        margins = np.array([5.0, 6, 7, 5.5, 6.5, 9])
        fitted = scipy.stats.gamma.fit(margins[:-1])
        assert judge_margins(margins).p_value == pytest.approx(1 - scipy.stats.gamma.cdf(9, *fitted) ** 6)

    def test_a_linear_model_is_driven_to_the_corners_of_pixel_space(self):
        """With one rival, z_t - z_i is linear: the largest is where each pixel is 0 or 1."""
        module = linear(classes=5, planted=2)
        with torch.no_grad():
            module[1].weight[[1, 3, 4]] = 0
            module[1].bias[[1, 3, 4]] = -1e4
        found = mm_bd(as_target(module), images_per_class=3, steps=200, learning_rate=0.5)
        difference = module[1].weight[2] - module[1].weight[0]
        largest = difference.clamp(min=0).sum() + module[1].bias[2] - module[1].bias[0]
        assert found.margins[2] == pytest.approx(largest.item(), rel=1e-3)

    def test_a_planted_class_stands_out_and_others_do_not(self):
        planted = mm_bd(
            as_target(linear(classes=8, planted=3)), images_per_class=4, steps=40, learning_rate=0.1
        )
        plain = mm_bd(as_target(linear(classes=8)), images_per_class=4, steps=40, learning_rate=0.1)
        assert planted.suspect == 3
        assert planted.p_value < 0.05 < plain.p_value

    def test_normalisation_batch_size_and_order_of_classes(self):
        few = {"images_per_class": 3, "steps": 10, "learning_rate": 0.1}
        outside = mm_bd(as_target(linear(), NORMALISED), **few).margins
        within = mm_bd(as_target(nn.Sequential(Normalise(), linear())), **few).margins
        assert within == pytest.approx(outside, rel=1e-5)
        assert mm_bd(as_target(linear(), NORMALISED), batch_size=4, **few).margins == pytest.approx(outside)
        order = np.array([3, 5, 0, 4, 2, 1])
        moved = mm_bd(as_target(linear(order=order), NORMALISED), **few).margins
        assert moved == pytest.approx(outside[order])

    @pytest.mark.parametrize("margins", [[1, 2, 3], [1, 2, 3, np.nan], [[1, 2, 3, 4]]])
    def test_refuses(self, margins):
        with pytest.raises(ValueError, match="margins"):
            judge_margins(np.array(margins))
        with pytest.raises(ValueError, match="4 or more"):
            mm_bd(as_target(linear(classes=3)))


class TestNeuronNoise:
    def test_one_step_moves_every_neuron_by_epsilon_against_the_answer(self):
        """A hand-computed case: two classes, weights +-1 on one pixel, whose margin the noise must close."""
        module = linear(classes=3)
        with torch.no_grad():
            module[1].weight.zero_()
            module[1].weight[:, 0] = torch.tensor([1.0, 0.9, 0.0])
            module[1].bias.zero_()
        images = np.full((1, 8, 8, 2), 255, np.uint8)
        target = as_target(module)
        assert neuron_noise(target, images, epsilon=0.04, steps=1).changed == 0  # .96 against .936
        found = neuron_noise(target, images, epsilon=0.06, steps=1)  # .94 against .954
        assert (found.changed, found.suspect, found.score) == (1, 1, 1)

    def test_leaves_the_model_as_it_was_and_needs_no_batch_size(self):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)
        ).double()
        target = as_target(module)
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        found = neuron_noise(target, IMAGES, epsilon=0.2, steps=5)
        assert found.shares == pytest.approx(
            neuron_noise(target, IMAGES, epsilon=0.2, steps=5, batch_size=7).shares
        )
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
        assert found.changed > 0

    def test_refuses(self):
        with pytest.raises(ValueError, match="above 0"):
            neuron_noise(as_target(linear()), IMAGES, epsilon=0)
        module = linear()
        with torch.no_grad():
            module[1].bias[0] = torch.nan
        with pytest.raises(ModelError, match="NaN"):
            neuron_noise(as_target(module), IMAGES)


class TestCalibration:
    clean = np.random.default_rng(0).normal(np.linspace(4, 7, 10), 0.1, (30, 10))

    def test_a_class_small_by_nature_is_no_suspect(self):
        known = calibrate_norms(2**self.clean)
        assert not known.judge(2 ** np.linspace(4, 7, 10)).flagged  # class 0 is 8 times smaller than class 9
        unusual = np.linspace(4, 7, 10)
        unusual[9] -= 1.5
        verdict = known.judge(2**unusual)
        assert (verdict.suspect, verdict.flagged) == (9, True)
        assert verdict.score == pytest.approx(1.5, abs=0.1)

    def test_false_alarms_are_what_was_asked_for(self):
        rng = np.random.default_rng(1)
        rates = []
        for _ in range(15):
            logs = rng.normal(5, 0.3, (60, 10))
            known = calibrate_norms(2 ** logs[:20], false_alarms=0.1, least=0)
            rates.append(np.mean([known.judge(2**row).flagged for row in logs[20:]]))
        assert 0.04 < np.mean(rates) < 0.13  # 2 / 21, and 3.5 deviations

    @pytest.mark.parametrize(
        ("models", "false_alarms", "let_through"),
        [(20, 0.1, 1), (19, 0.05, 0), (20, 0.05, 0), (18, 0.05, 0), (39, 0.1, 3), (20, 0.0, 0)],
    )
    def test_the_cut_is_the_lowest_that_keeps_the_promise(self, models, false_alarms, let_through):
        """A further clean model is flagged with a probability of (let through + 1) / (models + 1)."""
        norms = 2 ** np.random.default_rng(0).normal(5, 0.3, (models, 10))
        found = calibrate_norms(norms, false_alarms=false_alarms, least=0)
        assert found.threshold == np.sort(found.scores)[-1 - let_through]
        assert np.sum(found.scores > found.threshold) == let_through

    def test_a_score_at_the_cut_is_no_alarm(self):
        norms = np.array([[32.0, 64, 16], [32, 64, 16], [32, 64, 16]])
        known = calibrate_norms(norms, least=1)
        assert known.judge([16, 64, 16]) == (1, 0, False)
        assert known.judge([15.9, 64, 16]).flagged

    def test_each_model_is_scored_against_the_others(self):
        norms = 2 ** self.clean[:5]
        known = calibrate_norms(norms, least=0)
        for k in range(5):
            others = np.median(self.clean[:5][np.arange(5) != k], 0)
            assert known.scores[k] == pytest.approx((others - self.clean[k]).max())
        assert known.threshold == known.scores.max() < 1 == calibrate_norms(norms).threshold

    @pytest.mark.parametrize("clean", [[[1, 2]] * 2, [1, 2, 3], [[1, -2]] * 3, [[1, np.inf]] * 3])
    def test_refuses(self, clean):
        with pytest.raises(ValueError, match="norms"):
            calibrate_norms(clean)


class TestModelDetection:
    scores, truth = np.array([0.9, 0.2, 0.6, 0.4, 1.0, 0.0]), np.array([1, 0, 1, 1, 1, 0])

    def test_by_hand(self):
        found = measure_model_detection(self.scores, self.truth, probabilities=True)
        errors = -np.log(np.clip([0.9, 0.8, 0.6, 0.4, 1, 1], 1e-12, 1 - 1e-12))
        squares = np.array([0.1, 0.2, 0.4, 0.6, 0, 0]) ** 2
        for name, values in (("cross_entropy", errors), ("brier", squares)):
            half = 1.959963984540054 * values.std() / np.sqrt(6)
            assert found[name] == pytest.approx(values.mean())
            assert found[f"{name}_ci"] == pytest.approx((max(0, values.mean() - half), values.mean() + half))
        assert found["auc"] == roc_auc(self.scores, self.truth)
        assert (found["n_backdoored"], found["n_clean"]) == (4, 2)

    def test_swapped_sides_mirror(self):
        swapped = measure_model_detection(self.scores, 1 - self.truth, probabilities=True)
        assert swapped["auc"] == pytest.approx(1 - roc_auc(self.scores, self.truth))
        assert swapped["cross_entropy"] == pytest.approx(
            measure_model_detection(1 - self.scores, self.truth, probabilities=True)["cross_entropy"]
        )

    def test_a_sure_error_is_bounded(self):
        found = measure_model_detection([1, 0], [0, 1], probabilities=True)
        assert found["cross_entropy"] == pytest.approx(12 * math.log(10), rel=1e-4)

    def test_other_scores_have_an_auc_alone(self):
        found = measure_model_detection(100 * self.scores, self.truth, probabilities=False)
        assert (found["cross_entropy"], found["brier"]) == (None, None)
        with pytest.raises(ValueError, match=r"5 row\(s\)"):
            measure_model_detection(100 * self.scores, self.truth, probabilities=True)

    def test_is_the_metric_s(self):
        metric = load_metric("backdoor_model_detection")
        expected = measure_model_detection(self.scores, self.truth, probabilities=True)
        assert metric.compute(predictions=self.scores, references=self.truth, probabilities=True) == expected
        metric.add_batch(predictions=self.scores, references=self.truth)
        assert metric.compute(probabilities=True) == expected


class TestTables:
    """What the benchmark of detectors of models makes of findings; no detector is run."""

    BENCHMARK = SimpleNamespace(
        **runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "measure_backdoored_models.py"))
    )

    @classmethod
    def row(cls, id, trigger, score, **figures):
        names = (*cls.BENCHMARK.model_detectors(), *cls.BENCHMARK.CALIBRATED)
        found = {name: {"score": score, "suspect": 3, **figures} for name in names}
        return {"id": id, "architecture": "cnn", "trigger": trigger, "target_class": 3, **found}

    def test_every_detector_of_models_has_a_line(self):
        rows = [self.row("zoo/1", None, 0), self.row("zoo/2", "patch", 1)]
        names = [line.split("|")[1].strip() for line in self.BENCHMARK.table(rows).splitlines()[2:]]
        judging = [name for name, detector in detectors().items() if detector.judges == "model"]
        assert names == [*judging, "calibrated_norms", "calibrated_margins"]

    def test_a_trigger_s_auc_is_of_its_own_models_and_the_clean_ones(self):
        rows = [self.row("zoo/1", None, 0), self.row("zoo/2", None, 1)]
        rows += [self.row("zoo/3", "bar", -1), self.row("zoo/4", "patch", 2)]
        line = self.BENCHMARK.table(rows).splitlines()[2]
        cells = [cell.strip().split()[0] for cell in line.split("|")[2:5]]
        assert cells == ["0.50", "0.00", "1.00"]  # all, bar, patch
        assert line.endswith("| 2 of 2 |")

    def test_cuts_are_learnt_from_other_clean_models_that_are_known(self):
        ids = ["zoo/1", "zoo/2", "reference/3", "reference/4", "fresh/5", "fresh/6", "zoo/7"]
        norms = [[8, 8, 8], [16, 8, 8], [8, 16, 8], [8, 8, 8], [2, 8, 8], [8, 8, 4], [1, 1, 1]]
        rows = [
            self.row(id, "patch" if id == "zoo/7" else None, 0, norms=[own], margins=[1, 2, 3])
            for id, own in zip(ids, norms, strict=True)
        ]
        self.BENCHMARK.add_calibrated(rows)
        known = [[own] for own in norms[:4]]
        for k in range(4):
            expected = calibrate_norms(known[:k] + known[k + 1 :]).judge(norms[k])
            assert rows[k]["calibrated_norms"]["score"] == pytest.approx(expected.score)
        expected = calibrate_norms(known)
        for row, own in zip(rows[4:], norms[4:], strict=True):
            assert row["calibrated_norms"]["score"] == pytest.approx(expected.judge(own).score)
        assert rows[4]["calibrated_norms"] == {"score": 2.0, "suspect": 0, "flagged": True}
        assert not rows[5]["calibrated_norms"]["flagged"]


class TestSuite:
    def test_says_what_is_missing(self):
        class Gamma:
            shape = PLAIN.shape

            def __call__(self, pixels):
                return PLAIN(pixels) ** 2

            def as_dict(self):
                return {}

        two = runnable(as_target(linear(classes=2)), DetectorInputs(clean=IMAGES))
        assert two["neural_cleanse"] == "it needs 3 or more classes, the model has 2"
        assert two["mm_bd"] == "it needs 4 or more classes, the model has 2"
        assert runnable(as_target(linear()), DetectorInputs())["neuron_noise"] == "it needs clean images"
        curved = runnable(as_target(linear(), Gamma()), DetectorInputs(clean=IMAGES))
        assert "not one affine map" in curved["mm_bd"]
        assert curved["neuron_noise"] is None
        assert needs_batch_norm(as_target(linear()), DetectorInputs()) == "it needs a model with BatchNorm"
        given = {"clean": IMAGES, "inputs": IMAGES, "training": IMAGES, "labels": np.zeros(len(IMAGES), int)}
        reasons = runnable(as_target(linear()), DetectorInputs(**given))
        assert {name for name, reason in reasons.items() if reason} == {"ibd_psc", "twins"}
        judging = {
            judges: {name for name, detector in detectors().items() if detector.judges == judges}
            for judges in ("model", "inputs", "training")
        }
        for missing, names in {
            "clean": {name for name, detector in detectors().items() if needs_clean in detector.needs},
            "inputs": judging["inputs"],
            "training": judging["training"],
            "labels": judging["training"],
        }.items():
            found = runnable(as_target(linear()), DetectorInputs(**{**given, missing: None}))
            assert {name for name, reason in found.items() if reason} == {*names, "ibd_psc", "twins"}
        few = DetectorInputs(clean=IMAGES[:6], inputs=IMAGES[6:])
        assert "6 images and 6 classes" in runnable(as_target(linear()), few)["ted"]

    def test_refuses(self):
        target = as_target(linear())
        with pytest.raises(UnknownNameError, match="neural_cleanse"):
            run_detector("neural-cleanse", target, DetectorInputs())
        with pytest.raises(UnknownNameError, match="restarts"):
            run_detector("neural_cleanse", target, DetectorInputs(clean=IMAGES), restart=2)
        with pytest.raises(ValueError, match="needs clean images"):
            run_detector("neural_cleanse", target, DetectorInputs())


QUICK = {
    "neural_cleanse": {"restarts": 1, "schedule": replace(FAST, steps=30, patience=2)},
    "mm_bd": {"images_per_class": 2, "steps": 5},
    "neuron_noise": {"steps": 3},
    "additive_trigger": {"steps": 3},
    "feature_trigger": {"steps": 3},
    "bti_dbf": {"steps": 2, "mask_steps": 3},
    "ban": {"steps": 2, "mask_steps": 3},
}
TRAINING = [name for name, detector in detectors().items() if detector.judges == "training"]
ALL = "backdoor-detection"


@pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")  # its labels are drawn
class TestAudit:
    def test_a_record_for_each_detector(self, tmp_path):
        target = as_target(linear(planted=4, precision=torch.float32))
        records = audit(target, data=DATA, attacks=ALL, num_images=12, settings=QUICK, out=tmp_path)
        by_name = {record.attack["name"]: record for record in records}
        few = {name for name, each in detectors().items() if each.judges != "inputs" and not each.many}
        assert set(by_name) == few  # twins need more images than there are
        assert len(records) == len(by_name)
        assert {record.attack["kind"] for record in records} == {"backdoor-detection"}
        found = by_name["neural_cleanse"]
        assert found.result["suspect"] == 4
        assert found.result["score"] == pytest.approx(-math.log2(found.result["norm_ratio"]))
        assert found.attack["schedule"]["steps"] == 30
        assert {record.id for record in read_records(tmp_path)} == {record.id for record in records}

    def test_recovered_triggers_lie_beside_the_record_and_the_true_one_is_compared(self, tmp_path):
        target = load_target("zoo/fashion-mnist/cnn-corner-patch/7")
        short = {"neural_cleanse": {"restarts": 1, "schedule": replace(FAST, steps=12, patience=1)}}
        (record,) = audit(target, attacks="neural_cleanse", num_images=10, settings=short, out=tmp_path)
        folder = tmp_path / target.id
        pictures = {path.name for path in folder.glob("*.png")}
        label = record.result["suspect"]
        assert f"neural_cleanse-{record.id}-class-{label}-mask.png" in pictures
        assert len(pictures) == 3 * len({label, *record.result["flagged_classes"]})
        assert record.result["target_class"] == 0
        assert 0 < record.result["trigger_overlap"] < 1

    def test_the_same_seed_gives_the_same_record(self):
        twice = [
            audit(
                as_target(linear(precision=torch.float32)),
                data=DATA,
                attacks=ALL,
                num_images=12,
                settings=QUICK,
                seed=3,
            )
            for _ in range(2)
        ]
        assert [a.result for a in twice[0]] == [b.result for b in twice[1]]
        assert [a.unit for a in twice[0]] == [b.unit for b in twice[1]]

    def test_only_what_applies_and_a_sentence_for_what_was_asked_for(self):
        target = as_target(linear(classes=2, precision=torch.float32))
        records = audit(target, data=DATA, attacks=ALL, num_images=12)
        assert [record.attack["name"] for record in records] == TRAINING
        with pytest.raises(ValueError, match=r"mm_bd cannot judge .*4 or more classes"):
            audit(target, data=DATA, attacks="mm_bd", num_images=12)
        assert "4 or more classes" in left_out(target, DATA, Options())["mm_bd"]

    def test_images_are_drawn_evenly_from_the_rows(self):
        rows = np.arange(3, 24)
        drawn = draw_evenly(LABELLED, rows, 13, seed=1)
        assert np.isin(drawn, rows).all()
        assert len(np.unique(drawn)) == 13
        assert sorted(np.bincount(LABELLED.labels[drawn])) == [6, 7]
        with pytest.raises(ValueError, match="at least 22 positions"):
            draw_evenly(LABELLED, rows, 22, seed=1)
