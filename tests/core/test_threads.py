"""Threads are as many as the cores that a process was given."""

import os
import subprocess
import sys
import threading

import pytest

from securitynet_hub.core.threads import in_threads, usable_cores, wait_passively


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_a_process_uses_the_cores_that_it_was_given():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
        names = set(in_threads(lambda item: threading.current_thread().name, range(20)))
        assert len(names) == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


@pytest.mark.parametrize(("given", "kept"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_command_line_lets_threads_sleep_before_torch_is_imported(given, kept):
    program = (
        "import os, sys\n"
        "from securitynet_hub.cli.main import main\n"
        "main([])\n"
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == f"False {kept}"


def test_threads_that_run_already_are_left_alone(monkeypatch):
    import torch  # noqa: F401

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert not wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ
