"""Commands that only read the tables and the literals of attacks answer without the heavy libraries."""

import os
import subprocess
import sys

import pytest

HEAVY = {"accelerate", "datasets", "matplotlib", "pandas", "scipy", "sklearn", "torch", "transformers"}

PROGRAM = """
import sys
from securitynet_hub.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as leave:
    assert not leave.code, leave.code
print(*sys.modules, file=sys.stderr)
"""

COMMANDS = [
    "--help",
    "--version",
    "list",
    "list --config zoo --json",
    "show pytorchcv/svhn/resnet20",
    "show zoo/fashion-mnist/cnn-clean/1 --json",
    "attacks",
    "attacks --json",
    "audit --help",
    "sweep --help",
    "report --help",
    "study --help",
    "power --help",
    "bom --help",
    "verify --help",
    "publish --help",
    "fetch --help",
    "leaderboard --help",
]


def imported(command, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


REFUSED = {
    "audit zoo/fashion-mnist/cnn-cleen/1": "Did you mean",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks losss": "'loss'",
    "audit zoo/fashion-mnist/cnn-clean/1 --data nowhere": "no folder or table nowhere",
    "audit zoo/fashion-mnist/cnn-clean/1 --data uoft-cs/cifar10?limmit=3": "'limit'",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks rmia --setting rmia.gama=1": "'gamma'",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks rmia --setting rmia.gamma=high": "must be a number",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks pgd --eps 9": "eps must be 1 at most",
    "audit zoo/fashion-mnist/cnn-clean/1 --list-members --fdr 2": "must lie between 0 and 1",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks evasion --width 3": "width must lie",
    "audit zoo/fashion-mnist/cnn-clean/1 --attacks provenance --significance 1": "significance must be",
    "audit zoo/fashion-mnist/cnn-clean/1 --expected-accuracy 93": "write 0.93",
    "compare zoo/fashion-mnist/cnn-clean/1 zoo/fashion-mnist/cnn-clean/2 --queries 0": "queries must be",
    "sweep --models zoo --attacks loss --out . --seed -1": "seed must be a whole number",
    "audit file:nowhere.pth --module nets.py:build --data .": "no file nowhere.pth",
    "audit tim:resnet18": "'timm'",
    "data nowhere": "no folder or table nowhere",
    "sweep --models nothing-like-it --attacks loss --out .": "nothing-like-it",
    "reproduce nowhere.json": "not a readable record",
    "report nowhere": "no file or folder nowhere",
    "bom nowhere": "no file or folder nowhere",
}

REFUSALS = """
import sys
from securitynet_hub.cli.main import main
for command in sys.argv[1:]:
    try:
        main(command.split())
    except SystemExit as leave:
        assert leave.code in (1, 2), leave.code
    else:
        raise AssertionError(command)
    print("\\n===", file=sys.stderr)
print(*sys.modules)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_heavy_library_is_imported(command):
    assert not HEAVY & imported(command)


def test_help_in_a_launch_of_several_processes_imports_none_either():
    launch = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "ACCELERATE_MIXED_PRECISION": "no"}
    assert not HEAVY & imported("sweep --help", **launch)


def test_what_is_refused_is_refused_before_a_heavy_library_is_imported():
    """A model, an attack, images or records that are not there: no one waits for torch to hear of it."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSALS, *REFUSED], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    for said, (command, words) in zip(done.stderr.split("==="), REFUSED.items(), strict=False):
        assert words in " ".join(said.split()), command
    assert not HEAVY & set(done.stdout.split())
