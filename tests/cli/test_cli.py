import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from rich.console import Console
from support.processes import Program

from securitynet_hub import audit
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.membership.running import runnable
from securitynet_hub.cli.sweep_progress import SweepProgress
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.records.record import read_records
from securitynet_hub.statistics.signals import SIGNALS
from securitynet_hub.weights.fetch import load_weights

OVERFITTED = "zoo/fashion-mnist/cnn-overfitted-500/1"


class TestList:
    def test_all_models(self, run):
        code, out, _ = run("list", "--json")
        assert code == 0
        assert [row["id"] for row in json.loads(out)] == list(load_annotations())

    @pytest.mark.parametrize(
        ("filters", "count"),
        [
            (["--dataset", "svhn"], 40),
            (["--source", "medmnist"], 174),
            (["--purpose", "security"], 92),
            (["--flag", "evaluation-broken"], 36),
            (["--dataset", "CIFAR-10", "--purpose", "security"], 72),
            (["--config", "zoo"], 44),
            (["--dataset", "cifar10"], 119),
            (["--dataset", "CIFAR-10", "--source", "medmnist"], 0),
            (["--config", "extended"], 1037),
            (["--config", "extended", "--source", "torchvision"], 114),
        ],
    )
    def test_filters(self, run, filters, count):
        _, out, _ = run("list", "--json", *filters)
        assert len(json.loads(out)) == count
        _, out, _ = run("list", *filters)
        assert f"{count} models" in out

    @pytest.mark.parametrize("flag", ["stealing-failed", "evaluation-broken"])
    def test_figures_that_are_not_to_be_relied_on_are_marked(self, run, flag):
        """Those, in their rows, and no others."""
        columns = ("test_accuracy", "overfit_gap", "mia_modified_entropy_auc", "stealing_agreement")
        out = run("list", "--flag", flag)[1]
        lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if "/" in line}
        marked = 0
        for row in load_annotations().values():
            if flag not in row.flags:
                continue
            known = [getattr(row, name) for name in columns]
            marks = ["" if row.trusted(name) is not None else "?" for name in columns]
            expected = ["-" if v is None else f"{v:.3f}{m}" for v, m in zip(known, marks, strict=True)]
            assert lines[row.id] == expected
            marked += sum(cell.endswith("?") for cell in expected)
        assert marked

    @pytest.mark.parametrize(
        ("filters", "hint"),
        [
            (["--dataset", "cifar"], "CIFAR-10"),
            (["--source", "medmist"], "medmnist"),
            (["--flag", "evaluation-brokn"], "evaluation-broken"),
            (["--dataset", "nope"], "CUB-200-2011"),
        ],
    )
    def test_unknown_filters_get_the_closest(self, run, filters, hint):
        code, out, err = run("list", *filters)
        assert (code, out) == (2, "")
        assert hint in err


class TestShow:
    def test_tells_where_the_weights_are_and_what_to_distrust(self, run):
        id = next(id for id in load_annotations() if "svhn" in id)
        code, out, _ = run("show", id)
        assert code == 0
        row = load_annotations()[id]
        assert row.weights_hash in out
        assert "train-accuracy-placeholder: " in out
        assert "upstream says" in out
        assert "verified by: the publisher's sha1 of the file, before it is read" in out

    @pytest.mark.parametrize("columns", ["40", "80", "120"])
    def test_addresses_and_hashes_can_be_copied(self, run, columns, monkeypatch):
        monkeypatch.setenv("COLUMNS", columns)
        for id in ("pytorchcv/cifar10/resnet20", OVERFITTED):
            _, out, _ = run("show", id)
            row = load_annotations()[id] if id in load_annotations() else load_annotations("zoo")[id]
            for value in (row.weights_url, row.weights_hash, row.paper_url):
                assert value is None or value in out
        _, out, _ = run("show", "pytorchcv/cifar10/resnet20")
        assert load_annotations()["pytorchcv/cifar10/resnet20"].weights_url in out.splitlines()

    def test_as_json(self, run):
        _, out, _ = run("show", OVERFITTED, "--json")
        assert json.loads(out)["kind"] == "overfitted"

    def test_unknown_ids_get_the_closest(self, run):
        code, out, err = run("show", "pytorchcv/cifar10/resnet21")
        assert (code, out) == (2, "")
        assert "pytorchcv/cifar10/resnet20" in err


class TestAudit:
    def test_prints_a_table_and_writes_records(self, run, tmp_path):
        code, out, _ = run("audit", OVERFITTED, "--attacks", "all", "--out", tmp_path)
        assert code == 0
        assert "cnn-overfitted-500/1" in out
        assert "500/1500" in out
        records = list(read_records(tmp_path))
        assert {record.attack["name"] for record in records} == set(runnable())
        for record in records:
            low, high = record.result["auc_ci"]
            assert f"{record.result['auc']:.3f} ({low:.3f}-{high:.3f})".replace("0.", ".") in out.replace(
                "0.", "."
            )
        told = re.findall(rf"{OVERFITTED}: left out: (.*?) \((.*?)\)", " ".join(out.split()))
        assert [reason for _, reason in told] == [
            "it needs the public model that the target was fine-tuned from: pass --base-model MODEL",
            "it needs reference models: pass --shadows N",
            "it makes queries of its own, up to --max-queries images: name it in --attacks",
        ]
        left_out = [name for names, _ in told for name in names.split(", ")]
        names = set(kinds()["membership-inference"].attacks)
        assert sorted(left_out) == sorted(names - set(runnable()))

    def test_the_default_attacks_are_those_of_python_and_are_named(self, run):
        _, out, err = run("audit", OVERFITTED, "--json")
        names = [record["attack"]["name"] for record in json.loads(out)]
        assert names == [record.attack["name"] for record in audit(OVERFITTED)]
        assert ", ".join(names) in " ".join(err.split())

    def test_as_json(self, run):
        _, out, _ = run("audit", OVERFITTED, "--attacks", "loss", "--json")
        (record,) = json.loads(out)
        assert record["attack"]["name"] == "loss"

    def test_a_seed_decides_what_attacks_draw(self, run):
        few = ("audit", OVERFITTED, "--attacks", "mlp_top3", "--json")
        found = [json.loads(run(*few, "--seed", seed)[1])[0] for seed in (0, 3, 3)]
        assert [record["attack"]["seed"] for record in found] == [0, 3, 3]
        assert found[0]["result"] != found[1]["result"] == found[2]["result"]

    def test_detectors_of_models_have_a_table(self, run):
        few = ("--setting", "mm_bd.steps=3", "--setting", "mm_bd.images_per_class=2")
        code, out, _ = run("audit", OVERFITTED, "--attacks", "mm_bd", *few)
        assert code == 0
        (record,) = json.loads(run("audit", OVERFITTED, "--attacks", "mm_bd", *few, "--json")[1])
        (line,) = (line.split() for line in out.splitlines() if "mm_bd" in line)
        result = record["result"]
        assert line[1:4] == ["mm_bd", f"{result['score']:.2f}", str(result["suspect"])]
        assert line[0] == OVERFITTED.removeprefix("zoo/fashion-mnist/")
        assert "Membership" not in out

    def test_every_attack_fits_a_narrow_terminal(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        _, out, _ = run("audit", OVERFITTED, "--attacks", *SIGNALS)
        assert len(re.findall(r"0\.\d{3} \(\.\d{3}-\.\d{3}\)", out)) == len(SIGNALS)
        assert max(map(len, out.splitlines())) <= 80

    def test_no_attack_s_name_is_broken_in_a_narrow_terminal(self, run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        _, out, _ = run("attacks")
        assert max(map(len, out.splitlines())) <= 80
        listed = {attack["name"] for attack in json.loads(run("attacks", "--json")[1])}
        assert "lira_offline_two_sided" in listed <= set(out.split())

    def test_shadow_models_are_trained_and_kept(self, run, tmp_path, monkeypatch, short_recipes):
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        model = "zoo/fashion-mnist/cnn-regularised-1000/1"
        arguments = (
            "audit", model, "--attacks", "rmia", "--shadows", "2", "--views", "identity", "shift_left",
            "--setting", "rmia.gamma=1.5", "--setting", "rmia.a=0.6", "--slices", "--json",
        )  # fmt: skip
        kept = tmp_path / "home/securitynet/shadows" / model
        with short_recipes():
            code, first, _ = run(*arguments, "--samples", tmp_path / "samples")
        assert code == 0
        trained = {path: path.stat().st_mtime_ns for path in kept.glob("*.safetensors")}
        assert len(trained) == 2
        with short_recipes():
            _, second, _ = run(*arguments)
        assert {path: path.stat().st_mtime_ns for path in kept.glob("*.safetensors")} == trained
        results = [json.loads(text)[0] for text in (first, second)]
        assert results[0]["result"] == results[1]["result"]
        assert results[0]["unit"] == results[1]["unit"]
        assert results[0]["attack"]["views"] == ["identity", "shift_left"]
        assert (results[0]["attack"]["gamma"], results[0]["attack"]["a"]) == (1.5, 0.6)
        assert results[0]["counts"]["forwarded"] == 8000
        assert len(results[0]["result"]["slices"]) == 10
        assert (tmp_path / "samples" / model / "exposed-rmia.png").is_file()

    def test_label_only_attacks_and_class_wise_thresholds(self, run):
        code, out, _ = run("audit", OVERFITTED, "--attacks", "translation", "--json")
        assert code == 0
        assert json.loads(out)[0]["counts"]["forwarded"] == 10_000
        code, out, _ = run("audit", OVERFITTED, "--attacks", "loss", "--class-wise", "--json")
        assert code == 0
        assert json.loads(out)[0]["result"]["accusations"]["n_members"] == 250

    def test_what_needs_shadow_models_says_so(self, run):
        code, _, err = run("audit", OVERFITTED, "--attacks", "lira")
        assert code == 2
        assert "lira needs reference models: pass --shadows N; their pool" in err
        assert "--shadows" in err
        code, _, err = run("audit", OVERFITTED, "--attacks", "rmia", "--shadows", "many")
        assert code == 2
        assert "must be a whole number" in err

    def test_a_damaged_model_is_found_before_the_first_record(self, run, tmp_path, monkeypatch):
        def damaged(annotation):
            if annotation.id.endswith("cnn-regularised-500/2"):
                raise WeightsError("damaged")
            return load_weights(annotation)

        monkeypatch.setattr("securitynet_hub.models.loading.load_weights", damaged)
        code, out, err = run("audit", "zoo", "--out", tmp_path)
        assert (code, out) == (1, "")
        assert "damaged" in err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (["zoo/fashion-mnist/cnn-overfited-500/1"], 2, "Did you mean"),
            ([OVERFITTED, "--attacks", "los"], 2, "'loss'"),
            (["pytorchcv/cifar10/resnet20"], 2, "name some with --data"),
            ([OVERFITTED, "--out", "/proc/self/x"], 1, "cannot write records"),
            ([OVERFITTED, "--setting", "gamma=1"], 2, "must be ATTACK.NAME=VALUE"),
            (
                [OVERFITTED, "--setting", "rmia.gamma=1"],
                2,
                "name it, too (--attacks rmia)",
            ),
            ([OVERFITTED, "--views", "miror"], 2, "'mirror'"),
            (
                [OVERFITTED, "--attacks", "boundary", "--max-queries", "0"],
                2,
                "boundary may forward 1,000,000",
            ),
        ],
    )
    def test_refusals_are_one_sentence(self, run, arguments, code, sentence):
        found, out, err = run("audit", *arguments)
        assert (found, out) == (code, "")
        assert sentence in " ".join(err.split())
        assert "Traceback" not in err


def test_wrong_usage_exits_with_2(run):
    assert run("no-such-command")[0] == 2
    assert run("list", "--no-such-option")[0] == 2


def test_a_misspelt_flag_is_refused_by_its_command_with_the_closest(run):
    code, _, told = run("audit", OVERFITTED, "--sampels", "x", "--jsn=1")
    assert code == 2
    assert told.startswith("`securitynet audit --help` says what it takes.\nsecuritynet audit: error: ")
    assert told.endswith("unrecognized arguments: --sampels x --jsn=1; did you mean --samples, --json?\n")
    assert "did you mean" not in run("list", "--zzzzzz")[2]


@pytest.mark.slow
def test_ctrl_c_keeps_the_records_that_are_there(tmp_path):
    command = ["-m", "securitynet_hub", "audit", "zoo", "--attacks", "all", "--out", tmp_path]
    process = Program(command, env={**os.environ, "COLUMNS": "200"})
    while process.poll() is None and len(list(tmp_path.rglob("*.json"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    records = list(read_records(tmp_path))
    assert 3 <= len(records) < 44 * 5


def test_a_table_is_named_and_a_data_set_of_another_one_found(run):
    assert "44 models in 'zoo'" in run("list", "zoo")[1]
    code, _, told = run("list", "--dataset", "Fashion-MNIST")
    assert code == 2
    assert "no dataset 'Fashion-MNIST' in the table 'models'; `--config zoo` has it" in " ".join(told.split())
    assert "two tables" in run("list", "zoo", "--config", "extended")[2]
    assert "Did you mean" in run("list", "--dataset", "CIFAR-11")[2]


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt, "2 of 5 units are done."), (OSError, "")])
def test_an_interrupted_sweep_says_how_far_it_came(error, told):
    prepared = SimpleNamespace(is_main=True, units=range(5), count_settled=lambda: 2)
    console = Console(file=io.StringIO(), width=100)
    with pytest.raises(error), SweepProgress(prepared, console):
        raise error
    assert re.findall(r".*are done\.", console.file.getvalue()) == [told][: bool(told)]


def test_listing_does_not_wait_for_pytorch():
    code = (
        "import sys, securitynet_hub.cli.main as cli; cli.main(['list', '--dataset', 'SVHN']);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_full_disk_is_a_sentence():
    done = subprocess.run(
        f"{sys.executable} -m securitynet_hub list --json > /dev/full",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "No space left" in done.stderr


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m securitynet_hub list | head -1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


def test_what_is_named_beside_all_attacks_is_not_swallowed(run):
    code, _, err = run("audit", "zoo/fashion-mnist/cnn-clean/1", "--attacks", "all", "model_stealin")
    assert code != 0
    assert "model_stealing" in err


@pytest.mark.parametrize("place", ["build_parser", "_run"])
def test_an_interrupt_before_a_command_has_begun_is_told(place, run, monkeypatch):
    """Whoever presses Ctrl-C at once sees a sentence, no traceback."""

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"securitynet_hub.cli.main.{place}", interrupted)
    code, out, err = run("attacks")
    assert (code, out) == (130, "")
    assert "Interrupted" in err
