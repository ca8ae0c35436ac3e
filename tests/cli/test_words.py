"""The command line takes words in any order, refuses what it would lose, and speaks of its own flags."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from securitynet_hub.cli.main import build_parser
from securitynet_hub.core.errors import UnknownNameError

ID = "zoo/fashion-mnist/cnn-clean/1"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two classes: three members and two others, of two sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                side = 8 + 4 * (number % 2)
                image = Image.fromarray(random.integers(0, 256, (side, 8, 3), np.uint8))
                image.save(folder / split / name / f"{number}.png")
    return folder


def test_alone_it_says_what_it_is_and_where_to_begin(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.startswith("securitynet audits image classifiers")
    for line in out.splitlines():
        if line.startswith("  securitynet "):
            words = line.split("   ")[0].split()[1:]
            assert build_parser().parse_args(words)  # each is a command that is understood


@pytest.mark.parametrize(
    "words",
    [
        [ID, "--attacks", "loss", "entropy"],
        ["--attacks", "loss", "entropy", ID],
        ["--attacks", "loss,entropy", ID],
        ["--attacks", "loss", "--attacks", "entropy", "--", ID],
        ["--attacks=loss,entropy", ID],
    ],
)
def test_an_id_stands_anywhere_and_names_are_apart_by_commas_or_spaces(words):
    options = build_parser().parse_args(["audit", *words])
    assert (options.id, options.attacks) == (ID, ["loss", "entropy"])


def test_numbers_too(capsys):
    options = build_parser().parse_args(["audit", "--budgets", "25,100", "400", "zoo"])
    assert (options.id, options.budgets) == ("zoo", [25, 100, 400])
    with pytest.raises(SystemExit):
        build_parser().parse_args(["audit", "zoo", "--budgets", "some"])
    assert "--budgets: must be a whole number of 0 and above; got 'some'" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--samples", "--out", "--data"])
def test_a_flag_of_one_value_is_not_given_twice(run, flag):
    code, _, err = run("audit", ID, flag, "a", flag, "b")
    assert code == 2
    assert f"{flag} is given 2 times; say all of it once" in err


@pytest.mark.parametrize(
    ("model", "lead"),
    [
        ("microsoft/resnet-50", "transformers:microsoft/resnet-50"),
        ("nets/model.pth", "There is no file or folder nets/model.pth here"),
        ("./gone", "There is no file or folder ./gone here"),
        ("PyTorchCV/CIFAR10/ResNet20", "Did you mean 'pytorchcv/cifar10/resnet20'"),
    ],
)
def test_an_unknown_model_leads_somewhere(run, model, lead):
    code, _, err = run("audit", model)
    assert code == 2
    assert lead in " ".join(err.split())


def test_errors_name_flags(run, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"")
    _, _, err = run("audit", path)
    assert f"name it file:{path}, with its network as --module PACKAGE:FACTORY." in " ".join(err.split())


def test_warnings_are_notes(run, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "more")
    (tmp_path / "more" / "train" / "cat" / "notes.txt").write_text("")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, err = run("data", tmp_path / "more")
    assert code == 0
    assert err.startswith("note: 1 file(s) of ")
    assert "DataWarning" not in err


def test_data_shows_what_is_read(run, pictures):
    code, out, _ = run("data", pictures, "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["classes"] == {"cat": [3, 2], "dog": [3, 2]}
    assert (shown["members"], shown["nonmembers"], shown["channels"]) == (6, 4, 3)
    assert shown["sizes"] == [[12, 8], [8, 8]]
    assert shown["labels"].endswith("by their names where the model has names, else in order")
    _, out, _ = run("data", f"{pictures}?channels=1&classes=order&limit=2")
    assert "2 images as members, 2 as non-members, 1 channel(s)" in " ".join(out.split())
    assert "classes are taken in this order" in " ".join(out.split())


def test_data_says_where_no_audit_runs(run, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "twice")
    shutil.copy(pictures / "train" / "cat" / "0.png", tmp_path / "twice" / "test" / "cat" / "0.png")
    code, out, _ = run("data", tmp_path / "twice")
    assert code == 0
    assert "No audit runs on them:" in out


def test_an_unknown_name_is_close_in_any_case():
    assert UnknownNameError("colour", "Gren", ["green", "RED"]).closest == ["green"]
    assert UnknownNameError("colour", "x", ["green"], "Lead.").args[3] == "Lead."


def test_a_flag_of_several_values_is_not_given_twice_where_it_would_not_add(run, tmp_path):
    sweep = ("sweep", "--attacks", "loss", "--out", tmp_path, "--dry-run")
    code, _, err = run(*sweep, "--models", ID, "--models", "zoo")
    assert code == 2
    assert "--models is given 2 times; say all of it once" in err
