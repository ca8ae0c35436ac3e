"""What is tested is what a user installs; a checkout works as well."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.processes import run_python

import securitynet_hub

ROOT = Path(__file__).parents[2]
INSTALLED = distribution("securitynet-hub")


def is_editable():
    origin = json.loads(INSTALLED.read_text("direct_url.json") or "{}")
    return origin.get("dir_info", {}).get("editable", False)


@pytest.mark.skipif(is_editable(), reason="an editable install is for development")
def test_the_installed_wheel_is_what_is_tested():
    assert Path(securitynet_hub.__file__).parent != ROOT / "securitynet_hub"
    shipped = {str(file) for file in INSTALLED.files or ()}
    for folder, package in (("securitynet_hub", ""), ("metrics", "metrics/"), ("loaders", "loaders/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"securitynet_hub/{package}{path.relative_to(ROOT / folder)}" in shipped


def test_licences_travel_with_the_data():
    texts = [file.read_text() for file in INSTALLED.files or () if file.name == "LICENSE"]
    for owner in ("TrustAIRLab", "Zalando", "SecurityNet Hub developers"):
        assert any(owner in text for text in texts), owner


def test_a_checkout_works_from_its_own_folder():
    code = (
        "import securitynet_hub as hub; print(hub.__file__);"
        "hub.load_target('zoo/fashion-mnist/cnn-clean/1'); hub.load_metric('membership_inference')"
    )
    done = run_python("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parents[1] == ROOT


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == INSTALLED.version
