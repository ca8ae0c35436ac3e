import threading
import time

import pytest

from securitynet_hub.core.stages import profiled, stage


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_moment_counts_for_the_innermost_stage(clock):
    @stage("disk")
    def fail_after(seconds):
        clock[0] += seconds
        raise OSError("full")

    with profiled() as spent:
        clock[0] += 1  # in no stage
        with stage("attack"):
            clock[0] += 2
            with stage("forward"):
                clock[0] += 4
            clock[0] += 8
            with pytest.raises(OSError, match="full"):
                fail_after(16)
        clock[0] += 32
        with stage("forward"):
            clock[0] += 64
    assert spent == {"attack": 10, "forward": 68, "disk": 16}


def test_threads_are_summed_and_do_not_mix(clock):
    def decode():
        with stage("decode"):
            clock[0] += 1

    with profiled() as spent, stage("wait"):
        for _ in range(3):
            thread = threading.Thread(target=decode)
            thread.start()
            thread.join()
    assert spent == {"decode": 3, "wait": 3}


def test_nothing_is_counted_outside(clock):
    with profiled() as spent:
        pass
    with stage("forward"):
        clock[0] += 1
    assert not spent
