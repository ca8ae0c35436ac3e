"""A record's measurement is run again from the record alone, and its figure compared."""

import json
from dataclasses import replace

import pytest
from support.every_record import few_samples, quickly
from support.published_results import changed

from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.record import read_records, write_record
from securitynet_hub.sharing.reproduction import reproduce

NAMES = ["modified_entropy", "quantile", "model_stealing", "neural_cleanse", "strip"]


@pytest.fixture(scope="module")
def records():
    """Records of attacks with settings of every type: numbers, tuples, recipes, schedules, none at all."""
    return {record.attack["name"]: record for record in quickly(NAMES)}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_settings_and_seed_give_the_same_figure(records, name):
    done = reproduce(records[name], data=few_samples())
    assert (done.reproduced, done.differences) == (True, ())
    assert done.new.value == pytest.approx(done.figure.value, abs=1e-9)
    assert done.again.attack == records[name].attack
    assert "reproduced" in done.sentence()


def test_a_figure_beyond_the_interval_is_not_reproduced(records):
    record = records["modified_entropy"]
    claimed = replace(record, result={**record.result, "auc": 0.9, "auc_ci": [0.8, 0.95]})
    done = reproduce(claimed, data=few_samples())
    assert done.reproduced is False
    assert done.sentence().endswith("the record has 0.9000, 0.8000 to 0.9500: not reproduced.")


@pytest.mark.parametrize(
    ("part", "name", "value"), [("data", "sha256", "ab" * 32), ("attack", "temperament", 3)]
)
def test_what_cannot_be_measured_alike_is_not_judged(records, part, name, value):
    done = reproduce(changed(records["modified_entropy"], **{part: {name: value}}), data=few_samples())
    assert done.reproduced is None
    assert f"{name} differ from the record's" in done.sentence()


def test_an_unknown_attack_is_told(records):
    newer = changed(records["modified_entropy"], attack={"name": "brand_new"})
    with pytest.raises(RecordError, match="brand_new, an attack of membership-inference that this version"):
        reproduce(newer)


def test_the_command(run, tmp_path):
    """A zoo model's own record, with its whole data, from its file alone."""
    from securitynet_hub import audit

    target = "zoo/fashion-mnist/cnn-overfitted-500/1"
    (record,) = audit(target, attacks=["modified_entropy"], out=tmp_path / "records")
    (path,) = (tmp_path / "records").rglob("*.json")
    code, out, _ = run("reproduce", path, "--out", tmp_path / "again", "--json")
    told = json.loads(out)
    assert (code, told["reproduced"], told["record"]) == (0, True, record.id)
    (again,) = read_records(tmp_path / "again")
    assert (again.id, again.unit) == (told["again"], record.unit)
    wrong = replace(record, result={**record.result, "auc": 0.1, "auc_ci": [0.0, 0.2]})
    code, out, _ = run("reproduce", write_record(wrong, tmp_path / "wrong"))
    assert code == 1
    assert ": not reproduced." in " ".join(out.split())
