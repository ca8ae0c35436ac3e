"""What every command has: how much is told, JSON, who measured, completion, and near names."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.cli.main import build_parser
from securitynet_hub.records.record import read_records

REGULARISED = "zoo/fashion-mnist/cnn-regularised-500/1"
ID = "zoo/fashion-mnist/cnn-overfitted-250/1"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["audti"], "Did you mean 'audit'?"),
        (["zzz"], "There are "),
        (["attacks", "lirra"], "Did you mean 'lira'?"),
    ],
)
def test_a_near_name_is_suggested(run, words, hint):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert hint in err


def test_one_attack_is_shown_in_full(run):
    code, out, _ = run("attacks", "lira")
    assert code == 0
    assert "Carlini et al. 2022" in out
    assert "--attacks lira" in out
    assert "loss" not in out
    assert "on the features of mlp_full " in run("attacks", "logistic")[1]
    assert [each["name"] for each in json.loads(run("attacks", "lira", "loss", "--json")[1])] == [
        "lira",
        "loss",
    ]


def test_every_command_takes_json_and_says_more_or_less(capsys):
    for name, parser in build_parser()._subparsers._group_actions[0].choices.items():
        flags = {flag for action in parser._actions for flag in action.option_strings}
        assert {"-q", "-v"} <= flags, name
        # Those write formats of their own, or serve a page.
        assert "--json" in flags or name in ("bom", "check-links", "explore"), name


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Two audits of one model, into the same folders."""
    from securitynet_hub.cli.main import main

    folder = tmp_path_factory.mktemp("audited")
    where = ["--out", str(folder / "records"), "--samples", str(folder / "samples")]
    main(["audit", ID, "--attacks", "loss", "-q", "--author", "Ann", *where])
    main(["audit", ID, "--attacks", "entropy", "loss", "-q", *where])
    return folder


def test_a_second_audit_adds_to_the_samples(audited):
    table = pd.read_parquet(audited / "samples" / ID / "scores.parquet")
    assert set(table.columns) == {"position", "label", "is_member", "loss", "entropy"}
    assert table[["loss", "entropy"]].notna().all().all()
    assert {path.name for path in (audited / "samples" / ID).iterdir()} == {
        "scores.parquet", "exposed-loss.png", "exposed-entropy.png",
    }  # fmt: skip
    assert len(list(read_records(audited / "records"))) == 3


def test_an_audit_without_scores_leaves_the_samples_as_they_are(audited, run):
    path = audited / "samples" / ID / "scores.parquet"
    before = path.read_bytes()
    code, out, err = run(
        "audit", ID, "--attacks", "fgsm", "--robust-images", "5", "--samples", audited / "samples"
    )
    assert (code, "fgsm" in out) == (0, True)
    assert " ".join(err.split()).count("note: --samples: no attack on membership is run") == 1
    assert path.read_bytes() == before


def test_what_could_not_run_is_told_last_and_by_the_exit_status(run):
    code, out, err = run("audit", ID, "--attacks", "lira", "loss", "boundary", "--max-queries", "9", "-q")
    assert code == 1
    assert "AUC" in out
    first, *reasons = err.splitlines()
    assert first == "securitynet: not everything that was asked for was run."
    assert [reason.partition(":")[0] for reason in reasons] == [
        f"{name} was not run on {ID}" for name in ("lira", "boundary")
    ]
    assert "pass --shadows N" in reasons[0]
    code, out, err = run("audit", ID, "--attacks", "lira", "rmia")
    assert (code, out) == (2, "")
    assert "rmia was not run: rmia needs reference models and population: pass --shadows N" in err
    assert "securitynet: lira needs reference models: pass --shadows N" in err
    code, out, err = run("audit", ID, "--attacks", "lira", "loss", "--json")
    assert (code, [each["attack"]["name"] for each in json.loads(out)]) == (1, ["loss"])
    assert "lira was not run" in err


def test_records_of_earlier_audits_are_pointed_at(run, tmp_path):
    first = run("audit", ID, "--attacks", "loss", "entropy", "--out", tmp_path)[1]
    assert "Earlier records" not in first
    second = " ".join(run("audit", ID, "--attacks", "loss", "hinge", "--out", tmp_path)[1].split())
    assert "Earlier records of the same model are there, too: `securitynet report" in second


def test_one_model_that_cannot_be_audited_keeps_no_other_back(run, monkeypatch):
    few = {id: load_annotations("zoo")[id] for id in (ID, REGULARISED)}
    monkeypatch.setattr("securitynet_hub.cli.audit.load_annotations", lambda config: few)
    ask = ("audit", "zoo", "--attacks", "error_agreement", "--queries", "100", "--json", "-q", "--reference")
    code, out, err = run(*ask, REGULARISED)
    assert (code, [each["target"]["id"] for each in json.loads(out)]) == (1, [ID])
    assert f"error_agreement was not run on {REGULARISED}: {REGULARISED} is compared with itself" in err
    monkeypatch.setattr(
        "securitynet_hub.cli.audit.load_annotations", lambda config: {REGULARISED: few[REGULARISED]}
    )
    code, out, err = run(*ask, REGULARISED)
    assert (code, out) == (2, "")


def test_who_measured_stands_in_the_record(audited):
    assert "Ann" in {record.author for record in read_records(audited / "records")}


def test_other_samples_are_refused_before_any_work(audited, run):
    path = audited / "samples" / ID / "scores.parquet"
    pd.read_parquet(path).assign(is_member=False).to_parquet(path)
    code, out, err = run("audit", ID, "--attacks", "all", "--samples", audited / "samples", "--shadows", "32")
    assert (code, out) == (1, "")
    assert "has the scores of other members" in " ".join(err.split())
    assert "--samples" in err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--setting", "los.x=1"], "no attack with settings among those to be run 'los'"),
        (["--shadows", "4", "--attacks", "lira"], "say it with --recipe FILE"),
        (["--budgets", "9"], "--budgets"),
        (["--out", "/dev/null/x"], "cannot write records"),
    ],
)
def test_what_can_be_refused_is_refused_before_a_model_is_read(run, words, hint, tmp_path):
    """The file is empty, which would be told as soon as it is read."""
    (tmp_path / "empty.pth").touch()
    code, out, err = run("audit", f"file:{tmp_path / 'empty.pth'}", *words)
    assert (code > 0, out) == (True, "")
    assert hint in " ".join(err.split())


def test_json_of_commands_that_write(audited, run):
    records = audited / "records"
    code, out, _ = run("report", records, "--out", audited / "x.html", "--json")
    assert json.loads(out) == {"report": str((audited / "x.html").resolve()), "records": 3}
    code, out, _ = run("leaderboard", "--records", records, "--json")
    assert code == 0
    assert {board["attack"] for board in json.loads(out)} == {"loss", "entropy"}
    assert json.loads(out)[0]["standings"][0]["model"] == ID


def test_several_folders_make_one_leaderboard(audited, run, tmp_path):
    run("audit", REGULARISED, "--attacks", "loss", "-q", "--out", tmp_path / "other")
    for folders in (
        (audited / "records", tmp_path / "other", audited / "records"),
        ("--records", audited / "records", tmp_path / "other"),
    ):
        code, out, _ = run("leaderboard", *folders, "--attack", "loss", "--by", "tpr@0.01")
        assert code == 0
        assert out.count("## ") == 2  # the models have other numbers of members
        assert "## loss on fashion_mnist_4k (250 members, 1,750 non-members): TPR at 1 % FPR" in out
        assert "## loss on fashion_mnist_4k (500 members, 1,500 non-members): TPR at 1 % FPR" in out
        assert re.findall(r"\| 1 \| (\S+) \| \S+ \| \S+ \| (\d)", out) == [(ID, "2"), (REGULARISED, "1")]
    code, out, err = run("leaderboard")
    assert (code, out) == (2, "")
    assert "one of the arguments RECORDS --repo --records is required" in " ".join(err.split())
    assert run("leaderboard", tmp_path, "--repo", "a/b")[0] == 2


def test_less_and_more_is_told(run):
    _, _, quiet = run("audit", ID, "--attacks", "loss", "-q")
    _, out, told = run("audit", ID, "--attacks", "loss", "-v")
    assert quiet == ""
    assert f"loss on {ID}: " in told
    assert "done in " in told
    assert "done in " not in out
    assert "Traceback" in run("audit", "nope/x", "-v")[2]
    assert "Traceback" not in run("audit", "nope/x")[2]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("nowhere", "is named OWNER/NAME"),
        ("{0}/pictrues", "Did you mean {0}/pictures?"),
        ("a/b/c", "no folder"),
    ],
)
def test_a_path_that_is_not_there_is_asked_of_no_network(run, tmp_path, monkeypatch, reference, hint):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "pictures").mkdir()
    code, _, err = run("data", reference.format(tmp_path))
    assert code == 2
    assert hint.format(tmp_path) in " ".join(err.split())
    monkeypatch.chdir(tmp_path)
    code, _, err = run("data", "pictures/trian")  # not OWNER/NAME: there is such a folder
    assert "no folder or table pictures/trian" in " ".join(err.split())


def test_a_sweep_prints_its_verdicts(run, tmp_path):
    code, out, err = run("sweep", "--models", ID, "--attacks", "loss", "--out", tmp_path)
    assert code == 0, err
    assert "Leaks membership" in out
    code, out, _ = run("sweep", "--models", ID, "--attacks", "loss", "--out", tmp_path, "--json")
    assert json.loads(out)["verdicts"] == {ID: ["Leaks membership (moderate)"]}


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("securitynet lea", {"leaderboard "}),
        ("securitynet audit zoo/fashion-mnist/cnn-cl", {"zoo/fashion-mnist/cnn-clean/1"}),
        ("securitynet attacks lira_offline_", {"lira_offline_two_sided "}),
    ],
)  # fmt: skip
def test_a_shell_completes(line, completed, tmp_path):
    pytest.importorskip("argcomplete")
    answer = Path(tmp_path / "answer")
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line,
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "COMP_TYPE": "9",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "securitynet_hub"], env=os.environ | asked, check=True)
    assert completed <= set(answer.read_text().split("\n"))
