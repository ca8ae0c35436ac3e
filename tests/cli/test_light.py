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


@pytest.mark.parametrize("command", COMMANDS)
def test_no_heavy_library_is_imported(command):
    assert not HEAVY & imported(command)


def test_help_in_a_launch_of_several_processes_imports_none_either():
    launch = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "ACCELERATE_MIXED_PRECISION": "no"}
    assert not HEAVY & imported("sweep --help", **launch)
