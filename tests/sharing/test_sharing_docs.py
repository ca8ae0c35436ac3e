"""What the tutorial and docs/sharing.md tell users to type about sharing works, in that order, on one Hub."""

import re
import shlex
import shutil
import subprocess
from glob import glob
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.cli.main import build_parser
from securitynet_hub.cli.publish import WHAT
from securitynet_hub.records.record import read_records
from securitynet_hub.records.rows import FOLDER

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"),
]

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8").partition("\n## 7. Share it\n")[2]
PAGE = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")


def commands(text):
    lines = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ").splitlines()
    return [shlex.split(line[2:], comments=True) for line in lines]


@pytest.fixture
def prepared(whole_hub, tmp_path, monkeypatch):
    """The Hub, a surrogate in the working folder, and the model lab/net."""
    monkeypatch.chdir(tmp_path)
    save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "model.safetensors")
    whole_hub.add("model", "lab/net")
    monkeypatch.setenv("HOME", str(tmp_path))
    key = tmp_path / ".ssh/id_ed25519"
    key.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "signers.txt").write_text(f"me {key.with_suffix('.pub').read_text()}")
    return whole_hub


def test_the_cycle_of_the_tutorial(prepared, run, tmp_path):
    first, *others = commands(TUTORIAL)
    assert first == ["hf", "auth", "login"]
    assert len(others) < 10
    told = [run(*command[1:]) for command in others]
    assert [code for code, _, _ in told] == [0] * len(others), told
    assert len(prepared.dataset("alice/securitynet").commits) == 4  # made, the data set, eval.yaml, records
    own, fetched = (set(read_records(tmp_path / name)) for name in ("records", "results"))
    assert own < fetched
    board = told[-2][1]
    assert all(record.id in board for record in own if record.attack["name"] == "modified_entropy")
    assert ": TPR at 1 % FPR\n" in board
    assert (tmp_path / "leaderboard.html").read_text().count("<table") > 1


@pytest.mark.slow
def test_the_commands_of_the_page(prepared, run, tmp_path):
    for command in commands(PAGE):
        typed = [match for word in command[1:] for match in glob(str(Path(word).expanduser())) or [word]]
        code, _, err = run(*typed)
        assert code == 0, (command, err)
    repo = prepared.dataset("lab/securitynet")
    assert len([path for path in repo.files if path.startswith(f"{FOLDER}/")]) == 3
    assert repo.pull_requests == []  # nothing was new
    assert ".eval_results/securitynet.yaml" in prepared.repositories["model", "lab/net"].files
    assert (tmp_path / "board.csv").read_text().startswith("kind,")


def test_every_command_has_its_row():
    rows = re.findall(r"^\| `((?:publish|fetch|leaderboard)[a-z ]*)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted([*(f"publish {what}" for what in WHAT), "fetch results", "leaderboard"])
    for command in commands(PAGE) + commands(TUTORIAL):
        if command[1] in ("publish", "fetch", "leaderboard"):
            build_parser().parse_args(command[1:])


def test_the_number_of_leaderboards_is_right():
    tasks = [
        task["id"].split(".") for task in yaml.safe_load((HUB_DATASET / "eval.yaml").read_text())["tasks"]
    ]
    attacks, datasets = ({task[n] for task in tasks} for n in (0, 1))
    assert f"each of {len(attacks)} attacks and {len(datasets)} data sets" in PAGE
