"""Every example runs, from any folder, and prints what it is about."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "query_the_dataset": ["pytorchcv/cub-200-2011/", "CIFAR-100 benchmark"],
    "audit_a_hub_model": ["modified_entropy   AUC 0.628 (0.604 to 0.652)", "report.html"],
    "compare_two_models": ["cnn-overfitted-500/1: AUC 0.628", "paired:", "p_value="],
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
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for text in PRINTED[name]:
        assert " ".join(text.split()) in " ".join(done.stdout.split()), done.stdout
