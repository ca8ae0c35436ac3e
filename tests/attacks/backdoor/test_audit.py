"""An audit's detectors of inputs and training images: what they judge, what is recorded, who is left out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from support.linear_targets import as_target, linear

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.backdoor.audit import left_out
from securitynet_hub.attacks.backdoor.inputs import Inputs, find_inputs, find_training, read_inputs
from securitynet_hub.attacks.backdoor.kind import Options
from securitynet_hub.attacks.backdoor.measures import measure_input_detection, rejection_threshold
from securitynet_hub.attacks.backdoor.registry import detectors
from securitynet_hub.attacks.backdoor.spectral import spectral_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.cli.main import main
from securitynet_hub.data.images import read_pictures
from securitynet_hub.data.pixels import image_digests
from securitynet_hub.data.splits import Split
from securitynet_hub.data.triggers import corner_patch
from securitynet_hub.statistics.rates import roc_auc

PIXELS = load_images().pixels
FEW = {"strip": {"num_overlays": 5}}


@pytest.fixture(scope="module")
def target():
    return load_target("zoo/fashion-mnist/bn-cnn-corner-patch/7")


@pytest.fixture(scope="module")
def data(target):
    return known_data(target.annotation)


@pytest.fixture
def folder(tmp_path):
    """Six pictures, the last three of them stamped, by side."""
    for k, pixels in enumerate(np.concatenate([PIXELS[3000:3003], corner_patch(PIXELS[3010:3013])])):
        path = tmp_path / "suspects" / ("clean" if k < 3 else "poisoned") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
    return tmp_path / "suspects"


class TestInputSets:
    def test_no_image_is_in_two_sets(self, target, data):
        found = find_inputs(target, data, None, seed=0)
        poisoned = found.inputs.is_poisoned
        assert poisoned.sum() == 100 == (~poisoned).sum()
        stamped = data.images.pixels[[int(file) for file in np.array(found.inputs.files)[poisoned]]]
        assert np.array_equal(found.inputs.pixels[poisoned], corner_patch(stamped))
        sets = [found.inputs.pixels[~poisoned], stamped, found.calibration, found.reference]
        assert [len(each) for each in sets] == [100, 100, 100, 300]
        digests = [digest for each in sets for digest in image_digests(each)]
        assert len(set(digests)) == len(digests)
        members = set(image_digests(data.images.pixels[data.split.members]))
        assert members.isdisjoint(digests)

    def test_none_of_the_stamped_is_of_the_target_class(self, target, data):
        found = find_inputs(target, data, None, seed=3)
        rows = [int(file) for file in np.array(found.inputs.files)[found.inputs.is_poisoned]]
        assert (data.images.labels[rows] != target.annotation.target_class).all()

    def test_the_classes_of_the_threshold_s_images_are_those_of_the_clean_ones(self, target, data):
        """The stamped images leave out the target class, and must not leave more of it to the threshold."""
        rows = data.split.nonmembers[:60]
        few = replace(data, split=Split(members=data.split.members, nonmembers=rows))
        digests = image_digests(data.images.pixels[rows])
        is_target = dict(
            zip(digests, data.images.labels[rows] == target.annotation.target_class, strict=True)
        )
        drawn = [
            is_target[digest]
            for seed in range(200)
            for digest in image_digests(find_inputs(target, few, None, seed=seed).calibration)
        ]
        share = float(np.mean(list(is_target.values())))
        assert binomtest(int(np.sum(drawn)), len(drawn), share).pvalue > 1e-3

    def test_clean_images_that_are_suspected_are_left_out(self, target, data):
        rows = data.split.nonmembers[:50]
        inputs = Inputs(name="some", pixels=data.images.pixels[rows], files=tuple(map(str, rows)))
        found = find_inputs(target, data, inputs, seed=0)
        beside = [*image_digests(found.calibration), *image_digests(found.reference)]
        assert set(image_digests(inputs.pixels)).isdisjoint(beside)

    def test_few_images_are_shared_out(self, target, data):
        few = replace(data, split=Split(members=data.split.members, nonmembers=data.split.nonmembers[:60]))
        found = find_inputs(target, few, None, seed=0)
        assert (len(found.inputs.pixels), len(found.calibration), len(found.reference)) == (20, 13, 27)
        few = replace(data, split=Split(members=data.split.members, nonmembers=data.split.nonmembers[:5]))
        assert find_inputs(target, few, None, seed=0) is None

    def test_a_clean_model_has_none(self, data):
        assert find_inputs(load_target("zoo/fashion-mnist/cnn-clean/1"), data, None, seed=0) is None

    def test_refuses(self, target, data):
        wrong = Inputs(name="some", pixels=PIXELS[:2, :14], files=("a", "b"))
        with pytest.raises(ValueError, match="inputs must be uint8 images"):
            find_inputs(target, data, wrong, seed=0)
        with pytest.raises(ValueError, match="one name each"):
            Inputs(name="some", pixels=PIXELS[:2], files=("a",))
        two = replace(data, split=Split(members=data.split.members, nonmembers=data.split.nonmembers[:2]))
        with pytest.raises(ValueError, match="three or more non-members"):
            find_inputs(target, two, replace(wrong, pixels=PIXELS[:2]), seed=0)


class TestTraining:
    def test_of_a_zoo_model_a_share_is_stamped_and_told_to_be_the_target_s(self, target, data):
        found = find_training(target, data, seed=0)
        assert found.is_poisoned.sum() == round(target.annotation.poison_rate * len(data.split.members))
        assert (found.labels[found.is_poisoned] == target.annotation.target_class).all()
        pixels = data.images.pixels[found.positions]
        assert np.array_equal(found.pixels[found.is_poisoned], corner_patch(pixels[found.is_poisoned]))
        assert np.array_equal(found.pixels[~found.is_poisoned], pixels[~found.is_poisoned])

    def test_of_another_nothing_is_known(self, data):
        found = find_training(load_target("zoo/fashion-mnist/cnn-clean/1"), data, seed=0)
        assert found.is_poisoned is None
        assert np.array_equal(found.labels, data.images.labels[data.split.members])


class TestPictures:
    def test_folders_say_which_are_poisoned(self, folder):
        found = read_inputs(folder, (28, 28, 1))
        assert found.files == tuple(f"{'clean' if k < 3 else 'poisoned'}/{k}.png" for k in range(6))
        assert found.is_poisoned.tolist() == [False] * 3 + [True] * 3
        assert np.array_equal(found.pixels[3:], corner_patch(PIXELS[3010:3013]))
        assert found.name == "suspects"

    def test_one_of_the_two_alone_says_nothing(self, folder):
        assert read_inputs(folder / "clean", (28, 28, 1)).is_poisoned is None

    def test_other_sizes_are_brought_to_the_models(self, tmp_path):
        Image.new("RGB", (60, 30), (200, 0, 0)).save(tmp_path / "wide.png")
        (tmp_path / ".hidden").write_text("no picture")
        (name,), pixels = read_pictures(tmp_path, (28, 28, 3))
        assert (name, pixels.shape) == ("wide.png", (1, 28, 28, 3))
        assert (pixels == [200, 0, 0]).all()
        with pytest.raises(ValueError, match="30 x 60 pixels; 28 x 20 were expected"):
            read_pictures(tmp_path, (28, 20, 3))

    def test_refuses(self, tmp_path):
        with pytest.raises(ValueError, match="must be a folder of pictures"):
            read_pictures(tmp_path / "none", (28, 28, 1))
        (tmp_path / "text.png").write_text("no picture")
        with pytest.raises(ValueError, match=r"text\.png cannot be read as a picture"):
            read_pictures(tmp_path, (28, 28, 1))


class TestRecords:
    def test_scores_are_measured_against_the_truth(self, target, data):
        (record,) = audit(target, data=data, attacks="strip", settings=FEW)
        found, judged = record.result, find_inputs(target, data, None, seed=0)
        both = np.concatenate([judged.inputs.pixels, judged.calibration])
        scores = strip_scores(target, both, clean=judged.reference, num_overlays=5)
        assert found["scores"] == pytest.approx(scores[:200])
        measured = measure_input_detection(scores[:200], judged.inputs.is_poisoned, calibration=scores[200:])
        for key, value in json.loads(json.dumps(measured)).items():
            assert found[key] == pytest.approx(value) if key != "acceptance" else found[key] == value
        assert found["auc"] > 0.95
        assert found["threshold"] == rejection_threshold(scores[200:], 0.05)
        flagged = np.array(judged.inputs.files)[scores[:200] > found["threshold"]]
        assert found["flagged"] == flagged.tolist()
        assert (found["n_flagged"], record.counts) == (len(flagged), {"images": 200, "calibration": 100})
        assert record.attack["inputs"] == "corner-patch"

    def test_a_user_s_inputs_are_judged_without_the_truth(self, target, data, folder, tmp_path):
        inputs = read_inputs(folder, (28, 28, 1))
        unknown = replace(inputs, is_poisoned=None)
        known, told = (
            audit(target, data=data, attacks="strip", inputs=each, settings=FEW)[0].result
            for each in (inputs, unknown)
        )
        assert known["auc"] == 1
        assert "auc" not in told
        assert told["scores"] == known["scores"]
        assert set(inputs.files[3:]) <= set(told["flagged"])
        assert told["flagged_share_ci"][0] <= told["flagged_share"] <= told["flagged_share_ci"][1]

    def test_costly_detectors_get_few(self, target, data):
        settings = {"neo": {"sides": [4], "stride": 12, "num_clean": 2}}
        (record,) = audit(target, data=data, attacks="neo", settings=settings)
        assert (record.result["n_poisoned"], record.result["n_clean"]) == (19, 19)
        assert record.counts == {"images": 38, "calibration": 19}
        assert record.result["threshold"] is not None

    def test_training_images_are_compared_within_the_target_class(self, target, data):
        (record,) = audit(target, data=data, attacks="spectral_signatures")
        found = find_training(target, data, seed=0)
        scores = spectral_scores(target, found.pixels, found.labels)
        own = found.labels == found.target_class
        assert record.result["auc"] == pytest.approx(roc_auc(scores[own], found.is_poisoned[own]))
        assert record.result["n_poisoned"] == found.is_poisoned.sum()
        assert len(record.result["most_suspicious"]) == 20
        assert np.isin(record.result["most_suspicious"], data.split.members).all()

    # The network knows nothing of these images, and the check before the attacks says so.
    @pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")
    def test_every_detector_that_applies_is_run_and_the_others_have_a_reason(self, folder):
        target = as_target(linear(planted=4, precision=torch.float32))
        images = replace(load_images(), pixels=np.repeat(PIXELS[:900, :8, 10:18], 2, -1),
                         labels=load_images().labels[:900] % 6, class_names=tuple("abcdef"))  # fmt: skip
        data = AuditData(images=images, split=Split(members=np.arange(40), nonmembers=np.arange(40, 900)))
        inputs = Inputs(name="some", pixels=255 - images.pixels[:5], files=tuple("12345"))
        quick = {
            "neural_cleanse": {"restarts": 1, "screening": None},
            "mm_bd": {"images_per_class": 2, "steps": 5},
            "neuron_noise": {"steps": 2},
            "additive_trigger": {"steps": 3},
            "feature_trigger": {"steps": 3},
            "bti_dbf": {"steps": 2, "mask_steps": 3},
            "ban": {"steps": 2, "mask_steps": 3},
            "strip": {"num_overlays": 3},
            "twins": {"number": 1, "passes": 64},
        }
        of_inputs = {name for name, detector in detectors().items() if detector.judges == "inputs"}
        for given, judged in ((inputs, {"ibd_psc"}), (None, of_inputs)):
            settings = quick if given else {**quick, "strip": {}}
            records = audit(target, attacks="backdoor-detection", data=data, inputs=given, settings=settings)
            names = {record.attack["name"] for record in records}
            reasons = left_out(target, data, Options(inputs=given))
            assert (set(reasons), names) == (judged, set(detectors()) - judged)
        assert "none are suspected" in reasons["ted"]
        assert "BatchNorm" in left_out(target, data, Options(inputs=inputs))["ibd_psc"]

    def test_the_same_seed_gives_the_same_record(self, target, data):
        twice = [audit(target, data=data, attacks="strip", settings=FEW, seed=2)[0] for _ in range(2)]
        assert twice[0].result == twice[1].result
        assert twice[0].unit == twice[1].unit


class TestCommand:
    def test_shows_who_is_flagged_and_what_passes(self, folder, capsys):
        id = "zoo/fashion-mnist/bn-cnn-corner-patch/7"
        quick = ["--setting", "strip.num_overlays=5"]
        main(["audit", id, "--attacks", "strip", "spectral_signatures", "--inputs", str(folder), *quick])
        shown = " ".join(capsys.readouterr().out.split())
        assert "bn-cnn-corner-patch/7 strip 6 3 1.000" in shown
        assert "spectral_signatures 1000" in shown

    def test_refuses_a_folder_without_pictures(self, tmp_path, capsys):
        id = "zoo/fashion-mnist/cnn-clean/1"
        with pytest.raises(SystemExit):
            main(["audit", id, "--attacks", "strip", "--inputs", str(tmp_path)])
        assert "must be a folder of pictures" in " ".join(capsys.readouterr().err.split())

    def test_says_that_a_clean_model_has_no_suspects(self, capsys):
        with pytest.raises(SystemExit):
            main(["audit", "zoo/fashion-mnist/cnn-clean/1", "--attacks", "strip"])
        assert "none are suspected" in " ".join(capsys.readouterr().err.split())
