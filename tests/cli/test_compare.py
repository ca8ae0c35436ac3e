"""``securitynet compare``: two models, one table, and a verdict in words."""

import json

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
