"""The folder hf-securitynet installs by itself, and `hf` runs what it installs."""

import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "hf-securitynet"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Install the folder without its dependencies, which are here; return its console script."""
    place = tmp_path_factory.mktemp("extension")
    shutil.copytree(FOLDER, place / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", place / "site", place / "source"]
    subprocess.run(command, check=True)
    return place / "site/bin/hf-securitynet"


def test_hf_runs_it(script, tmp_path, monkeypatch, capfd):
    """By the manifest that `hf extensions install` writes after it installed a Python package from GitHub."""
    extensions = pytest.importorskip("huggingface_hub.cli.extensions")
    if not hasattr(extensions, "dispatch_unknown_top_level_extension"):
        pytest.skip("this huggingface_hub has extensions of another form")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(script.parents[1]))
    manifest = extensions.ExtensionManifest(
        owner="lab", repo="hf-securitynet", repo_id="lab/hf-securitynet", short_name="securitynet",
        executable_path=str(script), type="python", installed_at=datetime.now(timezone.utc),
    )  # fmt: skip
    manifest.save(extensions.EXTENSIONS_ROOT.expanduser() / "hf-securitynet")
    ran = extensions.dispatch_unknown_top_level_extension(["securitynet", "--version"], set())
    assert ran == 0
    assert f"securitynet-hub {metadata.version('securitynet-hub')}" in capfd.readouterr().out


def test_it_has_what_hf_asks_for():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    assert project["name"] == FOLDER.name == "hf-securitynet"
    assert set(project["scripts"]) == {"hf-securitynet"}
    own = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [own["name"]]
    assert (project["version"], project["license"]) == (own["version"], own["license"])
