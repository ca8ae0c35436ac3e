"""The bill of materials: valid CycloneDX 1.7, with every figure and its interval."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from support import plain_records

from securitynet_hub.core.atlas import TECHNIQUES
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import write_record
from securitynet_hub.sharing.bom import bill_of_materials

DAY = datetime(2026, 1, 2, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def validator():
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    return validation.JsonStrictValidator(schema.SchemaVersion.V1_7)


@pytest.fixture
def bom(validator):
    """Make the bill of some records and validate it."""

    def made(*records):
        bill = bill_of_materials([Entry(record, Path("x.json")) for record in records], created=DAY)
        assert validator.validate_str(json.dumps(bill)) is None
        return bill

    return made


def record(id="zoo/fashion-mnist/cnn-clean/1", *, name="rmia", kind="membership-inference", **result):
    return plain_records.make(
        target={"id": id, "weights_hash_kind": "sha256", "weights_hash": "ab" * 32},
        data={
            "name": "fashion_mnist_4k",
            "sha256": "cd" * 32,
            "check": {"accuracy": 0.9, "accuracy_ci": [0.85, 0.95], "n": 100, "status": "as expected"},
        },
        attack={"name": name, "kind": kind},
        result={"auc": 0.5, "auc_ci": [0.4, 0.6], "confidence_level": 0.95, "n_members": 7, **result},
    )


def test_figures_carry_their_intervals(bom):
    rate = {"target_fpr": 0.01, "tpr": 0.25, "ci": [0.125, 0.5], "tpr_at_threshold": 0.26}
    one = record(tpr_at_fpr=[rate], slices={"Bag": {"auc": 1.0}}, blind_baseline={"auc": 0.5})
    (model, *_) = bom(one)["components"]
    about = f"fashion_mnist_4k; n_members 7; record {one.id}; confidence level 0.95"
    prefix = "membership-inference rmia"
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.9", "slice": "fashion_mnist_4k; n 100",
         "confidenceInterval": {"lowerBound": "0.85", "upperBound": "0.95"}},
        {"type": f"{prefix} auc", "value": "0.5", "slice": about,
         "confidenceInterval": {"lowerBound": "0.4", "upperBound": "0.6"}},
        {"type": f"{prefix} tpr@0.01", "value": "0.25", "slice": about,
         "confidenceInterval": {"lowerBound": "0.125", "upperBound": "0.5"}},
        {"type": f"{prefix} auc", "value": "1.0", "slice": f"class Bag; {about}"},
        {"type": f"{prefix} blind_baseline.auc", "value": "0.5", "slice": about},
    ]  # fmt: skip


def test_a_model_names_weights_licence_data_and_techniques(bom):
    stolen = record(name="model_stealing", kind="model-stealing", agreement=0.5)
    model, images, trained_on = bom(record(), stolen)["components"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert model["licenses"] == [{"license": {"id": "MIT", "acknowledgement": "declared"}}]
    assert model["tags"] == ["ATLAS/AML.T0024.000", "ATLAS/AML.T0024.002"]
    refs = [each["ref"] for each in model["modelCard"]["modelParameters"]["datasets"]]
    assert refs == [images["bom-ref"], trained_on["bom-ref"]]
    assert (images["name"], trained_on["name"]) == ("fashion_mnist_4k", "Fashion-MNIST")
    assert images["properties"] == [{"name": "securitynet:images sha256", "value": "cd" * 32}]


def test_other_weights_are_another_model(bom):
    target = {"id": "lab/net", "weights_hash_kind": "sha256"}
    one, other = (
        plain_records.make(
            target={**target, "weights_hash": digest * 32}, attack={"name": "loss", "seed": seed}
        )
        for seed, digest in enumerate(("ab", "cd"))
    )
    models = bom(one, other)["components"][:2]
    assert [model["hashes"][0]["content"][:2] for model in models] == ["ab", "cd"]
    assert len({model["bom-ref"] for model in models}) == 2


def test_the_same_records_give_the_same_bill(bom):
    one, other = record(), record(auc=0.55)
    assert bom(one) == bom(one)
    assert bom(one)["serialNumber"] != bom(other)["serialNumber"]


@pytest.mark.parametrize(
    ("kind", "digest", "hashes"),
    [
        ("sha1-of-member", "ab" * 20, ["SHA-1"]),
        ("git-blob-sha1", "ab" * 20, []),
        ("sha256+sha256-of-shard", "ab" * 32 + "+" + "cd" * 32, []),
        ("sha256", "no hash", []),
        (None, None, []),
    ],
)
def test_only_hashes_of_the_one_file_are_hashes_of_the_model(kind, digest, hashes, bom):
    target = {"id": "lab/net", "weights_hash_kind": kind, "weights_hash": digest}
    model = bom(plain_records.make(target=target))["components"][0]
    assert [each["alg"] for each in model.get("hashes", [])] == hashes


@pytest.mark.parametrize("text", ["\x1b[2J", "=1+1", "\u202e", "", "urn:cdx:x", "a\nb", "\ud800"])
def test_hostile_names_are_text(text, bom):
    one = plain_records.make(
        target={"id": text, "weights_hash": text}, data={"name": text, "sha256": text},
        attack={"name": text, "kind": text}, result={text: 0.5, "slices": {text: {text: 0.5}}},
    )  # fmt: skip
    assert "\x1b" not in json.dumps(bom(one), ensure_ascii=False)


def test_every_annotated_licence_is_one_of_spdx(bom):
    from securitynet_hub.annotations.schema import load_annotations

    first = {row.license: row.id for row in load_annotations("extended").values()}
    bill = bom(*map(record, first.values()))
    licences = [part["licenses"][0]["license"]["id"] for part in bill["components"] if "licenses" in part]
    assert sorted(licences) == sorted(filter(None, first))


def test_every_technique_has_a_name():
    from securitynet_hub.attacks.listing import listed_attacks
    from securitynet_hub.weights.findings import RULES

    used = {tag for attack in listed_attacks() for tag in attack.atlas}
    used |= {tag for rule in RULES for tag in rule.tags}
    assert used == set(TECHNIQUES)
    assert all(attack.atlas for attack in listed_attacks())


def test_the_command_writes_what_can_be_believed(run, tmp_path):
    write_record(record(), tmp_path / "records")  # another hash of the weights than the annotated model's
    code, out, err = run("bom", tmp_path / "records")
    assert (code, out) == (1, "")
    assert "left out" in err
    assert "there is no record" in err


def test_the_command(run, tmp_path):
    unknown = plain_records.make(attack={"name": "new", "kind": "new-kind"})
    path = write_record(unknown, tmp_path / "records")
    code, out, _ = run("bom", tmp_path / "records")
    assert code == 0
    assert json.loads(out)["components"][0]["name"] == "zoo/x/1"
    written = tmp_path / "bom.json"
    assert run("bom", path, "--out", written)[:2] == (0, f"bill of materials: {written.resolve()}\n")
    stated = json.loads((tmp_path / "bom.json").read_text())["metadata"]
    assert stated["tools"]["components"][0]["name"] == "securitynet-hub"
