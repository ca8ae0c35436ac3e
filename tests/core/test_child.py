"""What is tried in a child process is bounded, unseen here, and ends with whoever waits for it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from securitynet_hub.core.child import tried_in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

GIB = 1 << 30


def children():
    own = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return {int(number) for number in own}


def test_what_it_does_is_not_seen_here(capfd):
    changed = []

    def action():
        changed.append(1)
        print("seen")
        os.write(2, b"seen")
        os.environ["SEEN"] = "1"

    before = children()
    assert tried_in_child(action, seconds=5, memory=GIB) is None
    assert (changed, "SEEN" in os.environ, children()) == ([], False, before)
    assert capfd.readouterr() == ("", "")


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (lambda: fail(ValueError("no \u202e such")), "no \u202e such"),
        (lambda: fail(KeyError()), "KeyError"),
        (lambda: fail(ValueError("x" * 10**6)), "x" * 4000),
        (lambda: bytearray(4 * GIB), "it needs more than 1,073,741,824 bytes of memory"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "it ends the process that tries it (status 11)"),
        (lambda: os._exit(3), "it ends the process that tries it (status 768)"),
    ],
)
def test_why_it_fails(action, reason):
    assert tried_in_child(action, seconds=5, memory=GIB) == reason


def test_torch_s_own_want_of_memory():
    import torch

    told = tried_in_child(lambda: torch.ones(GIB), seconds=5, memory=GIB)
    assert told == "it needs more than 1,073,741,824 bytes of memory"


def test_the_time():
    def action():
        while True:
            pass

    assert tried_in_child(action, seconds=0.3, memory=GIB) == "it takes more than 0 s"


def test_a_child_that_a_lock_holds_is_tried_here():
    """A fork takes the locks of other threads along, but not the threads."""
    lock, parent = threading.Lock(), os.getpid()

    def action():
        if os.getpid() != parent:
            lock.acquire()  # for ever
        raise ValueError("tried here")

    lock.acquire()
    assert tried_in_child(action, seconds=0.5, memory=GIB) == "tried here"


def test_an_interrupt_ends_both():
    before = children()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        tried_in_child(lambda: time.sleep(60), seconds=60, memory=GIB)
    assert children() == before
