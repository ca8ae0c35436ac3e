"""``securitynet compare``: two models, one table, and a verdict in words."""

import json

import pytest

import securitynet_hub as hub
from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.record import write_record

CLEAN = "zoo/fashion-mnist/cnn-clean"


def test_two_models_are_compared_and_recorded(run, tmp_path):
    words = ("compare", f"{CLEAN}/1", f"{CLEAN}/2", "--beside", f"{CLEAN}/3", "--queries", "60")
    code, out, _ = run(*words, "--out", tmp_path)
    assert code == 0
    assert "Cannot tell" in " ".join(out.split())
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    assert {record["target"]["id"] for record in records} == {f"{CLEAN}/2"}
    assert {record["attack"]["reference"]["id"] for record in records} == {f"{CLEAN}/1"}
    assert {len(record["attack"]["beside"]) for record in records} == {1}


def test_an_unknown_model_is_refused_with_the_closest(run):
    code, _, err = run("compare", f"{CLEAN}/1", f"{CLEAN}s/2")
    assert code == 2
    assert f"{CLEAN}/2" in err


def test_help_names_no_flag_of_shadow_models(run):
    code, out, _ = run("compare", "--help")
    assert code == 0
    assert "--module" in out
    assert "--recipe" not in out
    assert "--shadows" not in out


def interrupted_after(monkeypatch, count):
    """Interrupt the work when so many records were written."""
    from securitynet_hub.attacks import audit as module

    written = []

    def write(record, folder):
        path = write_record(record, folder)
        written.append(path)
        if len(written) == count:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(module, "write_record", write)


def test_an_interrupted_comparison_goes_on_from_its_records(run, tmp_path, monkeypatch):
    words = ("compare", f"{CLEAN}/1", f"{CLEAN}/2", "--beside", f"{CLEAN}/3", "--queries", "60")
    with monkeypatch.context() as patch:
        interrupted_after(patch, 2)
        code, _, err = run(*words, "--out", tmp_path)
    assert code == 130
    assert "Interrupted; 1 sign is recorded" in err or "Interrupted; 2 signs are recorded" in err
    assert "The same command takes" in err
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(before) == 2
    code, out, _ = run(*words, "--out", tmp_path)
    assert code == 0
    assert "2 records of an earlier comparison found below" in out
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert before.items() <= after.items()
    signs = [json.loads(content)["attack"]["name"] for content in after.values()]
    assert len(signs) == len(set(signs)) > 2
    _, alone, _ = run(*words)  # with nothing to go on from: the same figures
    assert out.split("earlier comparison")[0].rsplit("\n", 1)[0].split() == alone.split()
    with monkeypatch.context() as patch:
        patch.setattr("securitynet_hub.attacks.provenance.audit.predict", interrupt)
        code, _, err = run(*words)
    assert code == 130
    assert "without --out nothing is kept, and the same command begins anew" in " ".join(err.split())


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_other_settings_and_seeds_are_measured_anew(run, tmp_path):
    words = ("compare", f"{CLEAN}/1", f"{CLEAN}/2", "--beside", f"{CLEAN}/3", "--queries", "40")
    words += ("--out", tmp_path)
    run(*words)
    count = len(list(tmp_path.rglob("*.json")))
    _, out, _ = run(*words, "--seed", "1")
    assert "earlier comparison" not in out
    assert len(list(tmp_path.rglob("*.json"))) == 2 * count


def test_folders_that_take_no_records_are_refused_before_any_work(run, monkeypatch):
    monkeypatch.setattr("securitynet_hub.models.loading.load_target", interrupt)
    code, _, err = run("compare", f"{CLEAN}/1", f"{CLEAN}/2", "--out", "/proc/self/x")
    assert code == 1
    assert "cannot write records into /proc/self/x" in " ".join(err.split())
    with pytest.raises(RecordError, match="cannot write records into /proc/self/x"):
        hub.compare_leakage(f"{CLEAN}/1", f"{CLEAN}/2", out="/proc/self/x")


def test_an_interrupted_comparison_of_leaks_says_what_is_left(tmp_path):
    def stop(record):
        if record.target["id"] == f"{CLEAN}/2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="at the second of two models: the first model's record is"):
        hub.compare_leakage(f"{CLEAN}/1", f"{CLEAN}/2", out=tmp_path, on_record=stop)
    assert {record.target["id"] for record in hub.read_records(tmp_path)} == {f"{CLEAN}/1", f"{CLEAN}/2"}
    with pytest.raises(KeyboardInterrupt, match="at the first of two models: the same call measures both"):
        hub.compare_leakage(f"{CLEAN}/1", f"{CLEAN}/2", on_attack=interrupt)
