"""Threads are as many as the cores that a process was given."""

import os
import subprocess
import sys
import threading
import time

import pytest

from securitynet_hub.core.threads import Turns, in_threads, share_threads, thread_budget, usable_cores


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
    share_threads()
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize(
    ("asked", "budget"),
    [("3", 3), ("03", 3), ("+2", 2), (" 2,1 ", 2), ("0", None), ("many", None), ("-1", None), (None, None)],
)
def test_the_budget_is_what_the_environment_asks_for_or_the_cores_shared_by_processes(
    monkeypatch, asked, budget
):
    monkeypatch.setenv("OMP_NUM_THREADS", asked or "")
    cores = usable_cores()
    assert thread_budget() == (budget or cores)
    assert thread_budget(2) == (budget or max(1, cores // 2))


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "max 1"}, 2),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("0::/../x\nodd", {"cpu.max": "no number", "x/cpu.max": "1 0"}, 64),
        ("0::/\udcff\n", {"cpu.max": "100000 100000"}, 64),
        ("", {}, 64),
    ],
)
def test_a_container_has_the_share_of_its_control_groups(monkeypatch, tmp_path, group, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for name, content in {"../../../proc/self/cgroup": group, **files}.items():
        path = (tmp_path / "sys/fs/cgroup" / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(errors="surrogateescape"))
    assert usable_cores(tmp_path) == cores


class TestTurns:
    def test_no_more_run_at_once_and_who_comes_first_is_not_kept_waiting(self):
        turns, running, most = Turns(3), [], []

        def work(number):
            with turns.taken():
                for _ in range(5):
                    running.append(number)
                    most.append(len(running))
                    time.sleep(0.001)
                    running.remove(number)
                    turns.pass_on()

        with turns.taken():
            results = in_threads(work, range(20), threads=6)
            for _ in range(10):
                with turns.taken(2, first=True):
                    assert not running  # all turns are held here
                with turns.given():
                    next(results)
            assert 1 < max(most) <= 3
            turns.end()
            assert len(list(results)) == 10

    def test_after_the_end_nobody_waits(self):
        turns = Turns(1)
        with turns.taken():
            turns.end()
            assert list(in_threads(lambda item: turns.taken().__enter__(), range(4))) == [None] * 4

    def test_more_turns_than_there_are_are_all(self):
        turns = Turns(2)
        with turns.taken(5), pytest.raises(ZeroDivisionError), turns.taken(0):
            1 / 0  # noqa: B018
        with turns.taken(2):
            pass
