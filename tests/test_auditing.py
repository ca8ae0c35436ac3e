import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import securitynet_hub
from securitynet_hub import audit, load_images, load_target, read_records
from securitynet_hub.annotations import load_annotations
from securitynet_hub.audits.subject import AuditData, known_data
from securitynet_hub.errors import RecordError, UnknownNameError, WeightsError
from securitynet_hub.inference import predict
from securitynet_hub.signals import SIGNALS
from securitynet_hub.splits import Split
from securitynet_hub.statistics import roc_auc
from securitynet_hub.targets import find_annotation

OVERFITTED = "zoo/fashion-mnist/cnn-overfitted-500/1"


@pytest.fixture(scope="module")
def records():
    return audit(OVERFITTED)


def test_one_record_for_each_attack_with_everything_a_reader_needs(records):
    assert [record.attack["name"] for record in records] == list(SIGNALS)
    for record in records:
        assert record.target["id"] == OVERFITTED
        assert record.target["weights_hash"] == load_annotations("zoo")[OVERFITTED].weights_hash
        assert record.target["transform"]["mean"]
        assert record.data["sha256"] == load_images().sha256
        assert record.counts == {"forwarded": 2000}
        assert (record.result["n_members"], record.result["n_nonmembers"]) == (500, 1500)
        assert record.environment["device"]
        low, high = record.result["auc_ci"]
        assert 0.5 < low < record.result["auc"] < high


def test_correctness_is_the_accuracy_gap(records):
    """The identity every build checks: AUC = 1/2 + (member accuracy - non-member accuracy) / 2."""
    target, data = load_target(OVERFITTED), known_data(find_annotation(OVERFITTED))
    logits = predict(target, data.images.pixels[data.split.indices])
    right = logits.argmax(1) == data.images.labels[data.split.indices]
    members = data.split.is_member
    expected = 0.5 + (right[members].mean() - right[~members].mean()) / 2
    assert records[0].attack["name"] == "correctness"
    assert records[0].result["auc"] == pytest.approx(expected, abs=1e-12)


def test_the_figures_are_those_of_the_library_functions(records):
    target, data = load_target(OVERFITTED), known_data(find_annotation(OVERFITTED))
    logits = predict(target, data.images.pixels[data.split.indices])
    for record in records:
        signal = SIGNALS[record.attack["name"]]
        scores = signal(logits, data.images.labels[data.split.indices], from_logits=True)
        assert record.result["auc"] == roc_auc(scores, data.split.is_member)


def test_every_overfitted_model_leaks_beyond_its_interval_and_its_twin_leaks_less():
    zoo = load_annotations("zoo")
    for id, row in zoo.items():
        if row.kind != "overfitted":
            continue
        overfitted, twin = (
            audit(each, attacks=["correctness", "modified_entropy"])
            for each in (id, id.replace("overfitted", "regularised"))
        )
        for leaking, regular in zip(overfitted, twin, strict=True):
            assert leaking.result["auc_ci"][0] > 0.5
            assert leaking.result["auc"] > regular.result["auc"]


def test_models_trained_on_sixty_thousand_images_hardly_leak():
    """Twelve clean models: their mean modified-entropy AUC has a standard error of about 0.004."""
    zoo = load_annotations("zoo")
    aucs = [
        audit(id, attacks=["modified_entropy"])[0].result["auc"]
        for id, row in zoo.items()
        if row.kind == "clean"
    ]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.02)


def test_exchanging_members_and_nonmembers_mirrors_the_figures(records):
    data = known_data(find_annotation(OVERFITTED))
    swapped = AuditData(
        images=data.images,
        split=Split(members=data.split.nonmembers, nonmembers=data.split.members),
    )
    for record, mirrored in zip(records, audit(OVERFITTED, data=swapped), strict=True):
        assert mirrored.result["auc"] == pytest.approx(1 - record.result["auc"], abs=1e-12)


def test_records_are_written_and_come_back(tmp_path):
    written = audit(OVERFITTED, attacks=["loss", "entropy"], out=tmp_path)
    read = list(read_records(tmp_path))
    assert {record.id for record in read} == {record.id for record in written}
    audit(OVERFITTED, attacks=["loss"], out=tmp_path)
    assert len(list(read_records(tmp_path))) == 3
    assert len({record.unit for record in read_records(tmp_path)}) == 2


def test_records_equal_their_files(tmp_path):
    (written,) = audit(OVERFITTED, attacks="loss", target_fprs=[np.float32(0.5)], out=tmp_path)
    (read,) = read_records(str(tmp_path))
    assert read == written
    assert len({read, written}) == 1


def test_an_attack_named_twice_is_run_once_and_any_iterable_will_do():
    records = audit(OVERFITTED, attacks=(name for name in ("loss", "entropy", "loss")))
    assert [record.attack["name"] for record in records] == ["loss", "entropy"]


def test_needs_no_cache_folder(tmp_path):
    (tmp_path / "file").touch()
    code = f"import securitynet_hub as hub; print(len(hub.audit({OVERFITTED!r})))"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(len(SIGNALS)), done.stderr


def test_records_are_plain_json(records):
    text = json.dumps(records[0].as_dict(), allow_nan=False)
    assert json.loads(text)["result"]["tpr_at_fpr"][0]["target_fpr"] == 0.001


class TestRefusals:
    """Each is one sentence, and nothing is written."""

    @pytest.fixture(autouse=True)
    def nothing_written(self, tmp_path):
        yield
        assert list(tmp_path.rglob("*.json")) == []

    def test_unknown_attack(self, tmp_path):
        with pytest.raises(UnknownNameError, match="modified_entropy"):
            audit(OVERFITTED, attacks=["modified-entropy"], out=tmp_path)

    def test_no_attacks(self, tmp_path):
        with pytest.raises(ValueError, match="at least one attack"):
            audit(OVERFITTED, attacks=[], out=tmp_path)

    def test_unknown_model(self, tmp_path):
        with pytest.raises(UnknownNameError, match=OVERFITTED):
            audit("zoo/fashion-mnist/cnn-overfitted-50/1", out=tmp_path)

    def test_public_models_need_data(self):
        target = load_target(OVERFITTED)
        public = next(iter(load_annotations().values()))
        with pytest.raises(ValueError, match="pass data=AuditData"):
            audit(replace(target, annotation=replace(public, num_classes=10)))

    def test_no_weights_are_downloaded_for_a_model_without_data(self, monkeypatch):
        monkeypatch.setattr("securitynet_hub.auditing.load_target", lambda id: pytest.fail("loaded"))
        with pytest.raises(ValueError, match="pass data=AuditData"):
            audit("pytorchcv/cifar10/resnet20")

    def test_unwritable_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RecordError, match="cannot write records"):
            audit(OVERFITTED, out=tmp_path / "file")

    def test_no_target(self, tmp_path):
        with pytest.raises(ValueError, match="a model's id or a Target"):
            audit(None, out=tmp_path)

    def test_members_of_another_model(self, tmp_path):
        """A swapped members file would make an overfitted model look as if nothing leaked."""
        target = load_target(OVERFITTED)
        row = replace(target.annotation, members_file="splits/members-500-2.json")
        with pytest.raises(WeightsError, match=r"members-500-2\.json is damaged or was replaced"):
            audit(replace(target, annotation=row), out=tmp_path)

    def test_damaged_weights(self, tmp_path):
        row = load_annotations("zoo")[OVERFITTED]
        damaged = replace(row, weights_hash="0" * 64)
        with pytest.raises(WeightsError, match="damaged"):
            audit(load_target(damaged), out=tmp_path)

    def test_positions_that_are_not_there(self):
        with pytest.raises(ValueError, match="only 4000 images"):
            AuditData(
                images=load_images(),
                split=Split(members=np.array([0]), nonmembers=np.array([4000])),
            )

    @pytest.mark.parametrize("setting", [{"target_fprs": [2]}, {"confidence_level": 95}])
    def test_settings_that_are_no_rates(self, setting, tmp_path):
        with pytest.raises(ValueError, match="between 0 and 1"):
            audit(OVERFITTED, attacks=["loss", "entropy"], out=tmp_path, **setting)


def test_every_public_name_is_there_and_documented():
    for name in securitynet_hub.__all__:
        assert getattr(securitynet_hub, name).__doc__
        assert name in dir(securitynet_hub)
    with pytest.raises(AttributeError, match="no attribute 'attack'"):
        securitynet_hub.attack  # noqa: B018
