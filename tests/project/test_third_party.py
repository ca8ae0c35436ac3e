"""The example of a package that adds an attack and a loader: installed, found by name, used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import run_python

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party"

USE = """
import json, sys, torch
from safetensors.torch import save_file
import securitynet_hub as hub
from securitynet_hub.attacks.kind import attack_names
from securitynet_hub.attacks.listing import listed_attacks
from securitynet_hub.models.loading import find_loader, known_loaders

assert "label_rank" in attack_names()
assert "label_rank" in {attack.name for attack in listed_attacks()}
(record,) = hub.audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks="label_rank")
assert record.result["auc_ci"][0] > 0.5
metric = hub.load_metric("membership_inference", "label_rank")
found = metric.compute(predictions=[[2.0, 0.0], [0.0, 2.0]], references=[0, 0], membership=[1, 0],
                       from_logits=True)
assert found["auc"] == 1.0

assert "example_lab" in known_loaders()
assert find_loader("zoo").__name__ == "securitynet_hub.loaders.zoo"
save_file({"1.weight": torch.zeros(10, 784), "1.bias": torch.arange(10.0)}, "linear.safetensors")
target = hub.load_target("example_lab:linear.safetensors")
assert (target.id, target.num_classes) == ("example_lab/local/linear", 10)
assert int(target.module(torch.zeros(1, 1, 28, 28)).argmax()) == 9
print("done")
"""

FAULTY = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from securitynet_hub.attacks.kind import attack_names, find_attack
    from securitynet_hub.attacks.listing import listed_attacks
    from securitynet_hub.models.loading import find_loader, known_loaders
    names = attack_names()
    assert [attack.name for attack in listed_attacks()].count("loss") == 1
    assert find_attack("loss").summary == "the negative cross-entropy loss"
    assert find_loader("zoo").__name__ == "securitynet_hub.loaders.zoo"
    assert "wreck" not in known_loaders() and "hollow" not in known_loaders()
texts = "\\n".join(str(warning.message) for warning in caught)
for expected in ("the attack absent_module:ATTACK cannot be loaded: ModuleNotFoundError",
                 "the attack json:dumps cannot be loaded: TypeError",
                 "an installed package offers an attack named 'loss', which exists already",
                 "the loader absent_module for 'wreck' cannot be loaded: ModuleNotFoundError",
                 "the loader json for 'hollow' cannot be loaded: TypeError"):
    assert expected in texts, (expected, texts)
print("done")
"""


def python(folder, code, path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    done = run_python("-c", code, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


@pytest.mark.slow
def test_it_is_installed_and_used(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "source")  # building leaves files beside it
    install = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
        "--disable-pip-version-check", "--target", tmp_path / "site", tmp_path / "source",
    ]  # fmt: skip
    done = subprocess.run(install, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    python(tmp_path, USE, tmp_path / "site")


@pytest.mark.slow
def test_what_cannot_be_used_is_left_out_with_a_warning(tmp_path):
    """Broken entry points, objects of another type, and names that this package has already."""
    info = tmp_path / "site" / "faulty-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[securitynet_hub.attacks]\nabsent = absent_module:ATTACK\nfunction = json:dumps\n"
        "double = double_attack:ATTACK\n"
        "[securitynet_hub.loaders]\nwreck = absent_module\nhollow = json\nzoo = absent_module\n"
    )
    (tmp_path / "site" / "double_attack.py").write_text(
        "from securitynet_hub.attacks.membership.attack import Attack\n"
        "ATTACK = Attack(name='loss', run=print, summary='another', formula='f', source='none')\n"
    )
    python(tmp_path, FAULTY, tmp_path / "site")
