"""Everything the README tells a user to type works."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from support.processes import run_python

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.listing import fill_tables, listed_attacks
from securitynet_hub.cli.main import build_parser, main
from securitynet_hub.records.record import read_records

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
MOST_WORDS = 900


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)```", text, re.DOTALL | re.MULTILINE)


def output_after(code):
    """Return the lines that the README shows below a block."""
    return re.search(r"\A```\n+```\n(.*?)```", README.partition(code)[2], re.DOTALL)[1].splitlines()


COMMANDS = [
    line[2:]
    for block in blocks("console", COMMANDS_PAGE)
    for line in block.splitlines()
    # Shadow models train for a minute (run by test_cli, for less); own models need files of their own.
    if "securitynet " in line and not {"--shadows", "pictures"} & set(line.split())
]


def test_it_is_short():
    assert len(README.split()) < MOST_WORDS


@pytest.mark.parametrize("code", blocks("python"))
def test_python_prints_what_stands_below(code, tmp_path):
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.rstrip() for line in done.stdout.splitlines()] == output_after(code)


def test_a_public_model_is_judged_as_it_says(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("console") if "zoo/" in block)
    audit, report = (shlex.split(line[2:])[1:] for line in block.splitlines())
    code, shown, _ = run(*audit)
    assert code == 0
    assert " ".join(" ".join(output_after(block)).split()) in " ".join(shown.split())
    assert run(*report)[0] == 0
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path):
    arguments = shlex.split(command, comments=True)
    if "report" in arguments:
        audit = ["audit", "zoo/fashion-mnist/cnn-clean/1", "--out", "records", "--samples", "samples"]
        assert run_python("-m", "securitynet_hub", *audit, cwd=tmp_path).returncode == 0
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pth")
    environment = os.environ | {"COLUMNS": "200"}
    done = run_python("-m", "securitynet_hub", *arguments[1:], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "zoo" in arguments:  # all of it
        for id in load_annotations("zoo"):
            assert id.removeprefix("zoo/fashion-mnist/") in done.stdout
        assert len(list(read_records(tmp_path / "records"))) == 2 * 44


def test_every_command_is_named():
    commands = build_parser()._subparsers._group_actions[0].choices
    assert [name for name in commands if f"securitynet {name}" not in COMMANDS_PAGE] == []


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([\w-]+)", README)) - {"are"}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", ["docs/membership.md", "docs/backdoors.md"])
def test_the_tables_of_attacks_are_what_the_attacks_say(page):
    """`make tables` writes them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill_tables(text) == text
    assert "<!-- attacks: " in text


def test_the_attack_tables_name_every_attack():
    """Those of model stealing have a section without a table."""
    named = [
        name
        for page in sorted((ROOT / "docs").glob("*.md"))
        for table in re.findall(
            r"<!-- attacks: [\w-]+ -->(.*?)<!-- /attacks -->", page.read_text(), re.DOTALL
        )
        for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    ]
    expected = [attack.name for attack in listed_attacks() if attack.kind != "model-stealing"]
    assert sorted(named) == sorted(expected)


def test_the_table_of_figures_is_what_the_audit_prints(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stated = re.findall(r"^(\S+/\d) +(\d+/\d+ .*)$", README, re.MULTILINE)
    assert len(stated) == 5
    for name, figures in stated:
        main(["audit", f"zoo/fashion-mnist/{name}", "--attacks", "correctness", "modified_entropy"])
        (printed,) = re.findall(rf"^{name} (.*)$", capsys.readouterr().out, re.MULTILINE)
        assert printed.split() == figures.split()


def test_the_numbers_of_models_are_right():
    assert f"{len(load_annotations())} annotated models" in README
    assert f"{len(load_annotations('zoo'))} small Fashion-MNIST classifiers" in " ".join(README.split())


def test_the_project_speaks_for_itself():
    """No path of a developer's machine in what is shipped."""
    for path in ROOT.rglob("*"):
        made = path.relative_to(ROOT).parts[0].startswith((".", "build", "records"))
        if path.suffix in {".py", ".md", ".toml", ".json", ".cff"} and not made:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(work|root|home)/\w", text), path


@pytest.mark.slow
def test_the_stolen_copies_of_the_page_agree_as_it_says(tmp_path):
    page = (ROOT / "docs/stealing.md").read_text(encoding="utf-8")
    (code,) = (block for block in blocks("py", page) if "BlackBox(" in block)
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    agreements = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert agreements == pytest.approx([0.27, 0.80], abs=0.03)
