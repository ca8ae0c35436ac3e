"""The jobs of examples/jobs are what their runners read, and their commands are ours."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from securitynet_hub.cli.main import build_parser

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parents[2]
SCRIPT, TASK = ROOT / "examples/jobs/hf_job.py", ROOT / "examples/jobs/skypilot.yaml"
BLOCK = r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
"""Of PEP 723, where it says how a header is found."""


def header():
    (found,) = re.finditer(BLOCK, SCRIPT.read_text(encoding="utf-8"))
    return tomllib.loads("".join(line[2:] for line in found["content"].splitlines(keepends=True)))


def parsed(command):
    return build_parser("sweep").parse_args(command)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_the_header_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [Requirement(text).name for text in header()["dependencies"]] == [project["name"]]
    assert SpecifierSet(header()["requires-python"]) == SpecifierSet(project["requires-python"])


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
def test_uv_reads_the_header(tmp_path):
    find = ["uv", "--offline", "python", "find", "--no-python-downloads", "--script"]
    good = subprocess.run([*find, str(SCRIPT)], capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    broken = tmp_path / "broken.py"
    text = SCRIPT.read_text(encoding="utf-8")
    broken.write_text(text.replace(">=3.10", ">=9.10"), encoding="utf-8")
    assert subprocess.run([*find, str(broken)], capture_output=True).returncode != 0


def test_the_script_sweeps_its_part_and_uploads_records(monkeypatch):
    spec = importlib.util.spec_from_file_location("hf_job", SCRIPT)
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    commands, uploads = [], []

    class Api:
        def upload_folder(self, **settings):
            uploads.append(settings)

    def run(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(job, "HfApi", Api)
    monkeypatch.setattr(job.subprocess, "run", run)
    with pytest.raises(SystemExit) as ended:
        job.main("3/64", "you/your-records")
    assert ended.value.code == 1  # what failed is told, after what was measured is safe
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "securitynet_hub"]
    options = parsed(command[3:])
    assert options.shard == (3, 64)
    assert uploads == [
        {
            "repo_id": "you/your-records",
            "repo_type": "dataset",
            "folder_path": options.out / "records",
            "path_in_repo": "records",
        }
    ]


def test_the_task_sweeps_its_part():
    task = yaml.safe_load(TASK.read_text(encoding="utf-8"))
    command = task["run"].replace("\\\n", " ")
    for name, value in sorted(task["envs"].items(), reverse=True):  # PARTS before PART
        command = command.replace(f"${name}", str(value))
    assert "$" not in command
    (line,) = [line for line in command.splitlines() if "securitynet_hub" in line]
    words = shlex.split(line)
    options = parsed(words[words.index("sweep") :])
    assert str(options.out).startswith("/swept/")
    assert any(place == "/swept" for place in task["file_mounts"])


@pytest.mark.slow
def test_skypilot_accepts_the_task(monkeypatch, tmp_path):
    sky = pytest.importorskip("sky", reason="needs skypilot")
    monkeypatch.setenv("HOME", str(tmp_path))
    task = sky.Task.from_yaml(str(TASK))
    assert task.envs["PARTS"] == "64"
