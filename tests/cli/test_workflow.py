"""The workflow of docs/verify.md fails a pull request that adds an unsafe weights file, and no other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / "examples/workflows/weights.yml").read_text(encoding="utf-8")


def test_the_page_shows_the_file():
    page = (ROOT / "docs/verify.md").read_text(encoding="utf-8")
    assert "".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)) in WORKFLOW


def git(folder, *arguments):
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a"}
    own = {**os.environ, **names, "GIT_COMMITTER_EMAIL": "a", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=own).stdout.strip()


@pytest.fixture
def checked(tmp_path):
    """Run the steps of the workflow and of the action on a pull request that adds files; give the outcome."""
    (step,) = [step for step in yaml.safe_load(WORKFLOW)["jobs"]["verify"]["steps"] if "run" in step]
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"][-1]["run"]
    assert "${{" not in step["run"] + action  # nothing of a pull request becomes shell code
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "securitynet").write_text(f'#!/bin/sh\nexec {sys.executable} -m securitynet_hub "$@"\n')
    (tools / "securitynet").chmod(0o755)
    repository = tmp_path / "repository"
    git(tmp_path, "init", "-q", str(repository))
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    base = git(repository, "rev-parse", "HEAD")

    def run(files):
        for name, content in files.items():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_bytes(content)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "second")
        found = {"PATH": f"{tools}:{os.environ['PATH']}", "BASE": base, "FILES": "", "LIST": "changed"}
        own = {**os.environ, **found, "SARIF": "weights.sarif"}
        for script in (step["run"], action):
            command = [shutil.which("bash"), "-eo", "pipefail", "-c", script]
            done = subprocess.run(command, cwd=repository, env=own, capture_output=True, text=True)
        return done, repository

    return run


EVIL = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x0ctouch marker\x94\x85\x94R\x94."


@pytest.mark.slow
def test_an_unsafe_file_fails_a_pull_request(checked):
    good = safetensors.torch.save({"a": torch.ones(2)})
    done, folder = checked({"a.safetensors": good, "models/$(touch marker); -x.PTH": EVIL, "b.txt": EVIL})
    assert done.returncode == 1
    assert "1 of 2 files are safe" in done.stdout
    assert "SNW001" in (folder / "weights.sarif").read_text()
    assert not list(folder.rglob("marker"))


def test_without_weights_it_passes(checked):
    done, _ = checked({"b.txt": EVIL})
    assert (done.returncode, done.stdout) == (0, "no weights files to check\n")
