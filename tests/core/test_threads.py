"""Threads are as many as the cores that a process was given."""

import os
import threading

import pytest

from securitynet_hub.core.threads import in_threads, usable_cores


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
