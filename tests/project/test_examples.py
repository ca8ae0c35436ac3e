"""Every example runs, from any folder, and prints what it is about."""

import os
import re
from pathlib import Path

import pytest
from support.processes import run_python

from securitynet_hub.cli.main import build_parser
from securitynet_hub.study.securitynet import derive_findings

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "query_the_dataset": ["pytorchcv/cub-200-2011/", "CIFAR-100 benchmark"],
    "audit_a_hub_model": ["modified_entropy   AUC 0.628 (0.604 to 0.652)", "report.html"],
    "compare_two_models": ["cnn-overfitted-500/1: AUC 0.628", "paired:", "p_value="],
    "audit_a_function": [
        "function/own/forest: modified_entropy AUC 0.9",
        "function/own/service: modified_entropy AUC 0.9",
        "800 images asked about",
    ],
    "add_a_source": ["my_lab/fashion-mnist/linear (28, 28, 1) answers class 9"],
    "add_a_metric": ["'precision': 0.666"],
}


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
    }
    done = run_python(EXAMPLES / f"{name}.py", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    for text in PRINTED[name]:
        assert " ".join(text.split()) in " ".join(done.stdout.split()), done.stdout


GALLERY = EXAMPLES.parent / "docs/gallery.md"


def test_the_gallery_shows_every_picture_and_each_is_small():
    shown = set(re.findall(r"!\[[^\]]{10,}\]\((gallery/[\w.-]+\.png)\)", GALLERY.read_text(encoding="utf-8")))
    pictures = {f"gallery/{path.name}": path for path in (GALLERY.parent / "gallery").iterdir()}
    assert shown == set(pictures)
    assert all(path.stat().st_size < 60_000 for path in pictures.values())


def test_the_gallery_says_what_the_study_finds():
    (low, high) = re.search(
        r"by (0\.\d+) to (0\.\d+) in agreement", GALLERY.read_text(encoding="utf-8")
    ).groups()
    found = {finding.name: finding for finding in derive_findings()}["out-of-distribution-queries"]
    drops = [-row.estimates[0].value for row in found.rows if "agreement" in row.quantity]
    assert (f"{min(drops):.2f}", f"{max(drops):.2f}") == (low, high)


@pytest.mark.parametrize(
    "command", re.findall(r"^\$ (securitynet .*?)(?: +#.*)?$", GALLERY.read_text(), re.MULTILINE)
)
def test_the_gallery_s_commands_are_understood(command):
    build_parser().parse_args(command.split()[1:])
