"""What strangers name cannot steer the terminal: no control character but a line break is printed."""

import sys
import zipfile
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.text import printable, printable_markup

CLEAR = "\x1b[2J"
HOSTILE = f"{CLEAR}\x1b]0;title\x07\r\b\x9b2J\u202e\u2028[bold]x"


@pytest.fixture
def run_safely(run, monkeypatch):
    """Run one command line; fail if it prints a control character; give its exit code and all it printed."""

    monkeypatch.setenv("COLUMNS", "1000")

    def command(*arguments):
        code, out, err = run(*arguments)
        strange = {letter for letter in out + err if not letter.isprintable() and letter != "\n"}
        assert strange == set()
        return code, out + err

    return command


@pytest.mark.parametrize(
    "name", [CLEAR, f"owner/{HOSTILE}", f"file:{CLEAR}", f"{CLEAR}:x", f"zoo/{'x' * 9999}"]
)
@pytest.mark.parametrize("command", ["show", "audit"])
def test_unknown_models(run_safely, command, name):
    code, printed = run_safely(command, name)
    assert code in (1, 2)
    assert len(printed) < 6000
    if not name.startswith(("file:", "zoo/")):
        assert r"\x1b[2J" in printed


@pytest.mark.parametrize("option", ["--dataset", "--flag"])
def test_unknown_filters(run_safely, option):
    assert run_safely("list", option, HOSTILE)[0] == 2


@pytest.mark.parametrize("column", ["dataset", "architecture", "paper_url", "weights_url", "id"])
def test_values_of_an_annotation(run_safely, monkeypatch, column):
    row = next(iter(load_annotations("extended").values()))
    row = replace(row, **{column: HOSTILE})
    monkeypatch.setattr("securitynet_hub.models.loading.find_annotation", lambda _: row)
    code, printed = run_safely("show", "file:any")  # of an open source, whose loader describes it
    assert code == 0
    assert r"\x1b[2J\x1b]0;title\x07\r\x08\x9b2J\u202e\u2028[bold]x" in printed.replace("\n", "")


@pytest.mark.parametrize("name", [f"{CLEAR}.pt", "\x1b]0;title\x07.pt", "line\nbreak.pt", "[red]x[!red].pt"])
def test_names_of_files(run_safely, tmp_path, name):
    good, bad, absent = tmp_path / name, tmp_path / f"bad{name}", tmp_path / f"absent{name}"
    safetensors.torch.save_file({"a": torch.ones(2)}, good)
    bad.write_text("no weights")
    code, printed = run_safely("verify", good, bad, absent)
    assert code == 1
    assert printed.count("refused") == 2
    assert printed.count(printable(name)) >= 3


def test_names_inside_a_file(run_safely, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr(HOSTILE, b"")
    code, printed = run_safely("verify", tmp_path / "x.pt")
    assert code == 1
    assert "refused" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_a_name_that_is_no_utf_8(run_safely, tmp_path):
    code, printed = run_safely("verify", str(tmp_path / "x\udcff.pt"))
    assert code == 1
    assert r"\udcff" in printed


def test_markup_of_others_is_shown_not_obeyed():
    assert printable_markup("[red]x") == r"\[red]x"


def test_long_text_is_cut():
    assert printable("x" * 400) == "x" * 300 + "..."
    assert len(printable("\x1b" * 10**7, limit=50)) == 53
