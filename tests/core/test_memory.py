"""In processes of their own: how a process allocates is never put back."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that gives memory back"),
]

FAULTS = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):  # until the heap has holes that fit
    make()
before = faults()
for _ in range(10):
    make()
print(faults() - before)
"""
"""Prints how many pages the system had to find for ten times 40 MiB, of which none outlives the next.

Blocks of up to 32 MiB glibc keeps by itself.
"""

TENSOR = "import torch\ndef make(): torch.ones(10 << 20)\n"
BYTES = "def make(): b'x' * (40 << 20)\n"


def faults(first="", make=BYTES, **environment):
    program = [sys.executable, "-c", first + "\n" + make + FAULTS]
    ended = subprocess.run(program, env=os.environ | environment, check=True, capture_output=True, text=True)
    return int(ended.stdout.split()[-1])


@pytest.fixture(scope="module")
def left():
    """How many there are where nobody asks for anything."""
    return faults()


def test_freed_memory_is_used_again():
    first = "from securitynet_hub.core.memory import *; assert keep_freed_memory()"
    assert 10 * faults(first, TENSOR) < faults("", TENSOR)


def test_the_command_line_keeps_it(left):
    assert 10 * faults("from securitynet_hub.cli.main import main; main(['list', '--config', 'zoo'])") < left


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_what_was_set_stays(name):
    first = "from securitynet_hub.core.memory import *; assert not keep_freed_memory()"
    assert faults(first, **{name: "131072"}) > 10
