"""Everything the README tells a user to type works."""

import hashlib
import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.processes import run_python

from securitynet_hub.annotations.schema import load_annotations, unlisted
from securitynet_hub.attacks.listing import fill_tables, listed_attacks
from securitynet_hub.cli.main import main
from securitynet_hub.models import loading as targets
from securitynet_hub.records.record import read_records

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    line[2:]
    for block in blocks("console")
    for line in block.splitlines()
    # Shadow models train for a minute (run by test_cli, for less); sharing needs a Hub (test_sharing_docs).
    # Own models need files of their own (test_own_models).
    if "securitynet " in line and not {"--shadows", "--repo", "results", "pictures"} & set(line.split())
]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path):
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "modified_entropy" in done.stdout


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


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([\w-]+)", README)) - {"are"}
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", ["README.md", "docs/membership.md", "docs/backdoors.md"])
def test_the_tables_of_attacks_are_what_the_attacks_say(page):
    """`make tables` writes them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill_tables(text) == text
    assert "<!-- attacks: " in text


def test_the_attack_tables_name_every_attack():
    """Those of model stealing have a section without a table."""
    named = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert named == [attack.name for attack in listed_attacks() if attack.kind != "model-stealing"]


def test_the_table_of_figures_is_what_the_audit_prints(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stated = re.findall(r"^(\S+/\d) +(\d+/\d+ .*)$", README, re.MULTILINE)
    assert len(stated) == 5
    for name, figures in stated:
        main(["audit", f"zoo/fashion-mnist/{name}"])
        (printed,) = re.findall(rf"^{name} (.*)$", capsys.readouterr().out, re.MULTILINE)
        assert printed.split() == figures.split()


def test_the_numbers_of_models_are_right():
    assert f"{len(load_annotations())} annotated models" in README
    assert f"{len(load_annotations('zoo'))} small Fashion-MNIST classifiers" in README


def test_the_project_speaks_for_itself():
    """No path of a developer's machine in what is shipped."""
    for path in ROOT.rglob("*"):
        made = path.relative_to(ROOT).parts[0].startswith((".", "build", "records"))
        if path.suffix in {".py", ".md", ".toml", ".json", ".cff"} and not made:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(work|root|home)/\w", text), path


def test_the_loader_of_the_readme_loads(tmp_path, monkeypatch):
    """Its file and a row are all that a new source needs."""
    import securitynet_hub.loaders

    (loader,) = (block for block in blocks("py") if "def build" in block)
    (tmp_path / "my_lab.py").write_text(loader)
    monkeypatch.setattr(
        securitynet_hub.loaders, "__path__", [*securitynet_hub.loaders.__path__, str(tmp_path)]
    )
    targets.known_loaders.cache_clear()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    save_file(network.state_dict(), tmp_path / "linear.safetensors")
    digest = hashlib.sha256((tmp_path / "linear.safetensors").read_bytes()).hexdigest()
    row = unlisted(
        "my_lab",
        "cifar10",
        "linear",
        architecture="linear",
        num_classes=10,
        image_size=32,
        weights_url=f"file:{tmp_path / 'linear.safetensors'}",
        weights_hash_kind="sha256",
        weights_hash=digest,
    )
    target = targets.load_target(row)
    targets.known_loaders.cache_clear()
    assert target.transform.shape == (32, 32, 3)
    assert torch.equal(target.module[1].weight, network[1].weight)


@pytest.mark.slow
def test_the_stolen_copies_of_the_readme_agree_as_it_says(tmp_path):
    (code,) = (block for block in blocks("py") if "BlackBox(" in block)
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    agreements = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert agreements == pytest.approx([0.27, 0.80], abs=0.03)


def test_no_placeholder_is_left():
    assert "@@" not in README
