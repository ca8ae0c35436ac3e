"""What is tried in a child process is bounded, unseen here, and ends with whoever waits for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from securitynet_hub.core.child import tried_in_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

GIB = 1 << 30


@pytest.fixture(autouse=True)
def plain_interrupts():
    """Python's own handler: the command line's remembers an interrupt for the rest of the process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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

    assert tried_in_child(action, seconds=1, memory=GIB) == "it takes more than 1 s"


def test_a_child_that_a_lock_holds_is_tried_here():
    """A fork takes the locks of other threads along, but not the threads."""
    lock, parent = threading.Lock(), os.getpid()

    def action():
        if os.getpid() != parent:
            lock.acquire()  # for ever
        raise ValueError("tried here")

    lock.acquire()
    assert tried_in_child(action, seconds=1, memory=GIB) == "tried here"


def test_an_interrupt_ends_both():
    before = children()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        tried_in_child(lambda: time.sleep(60), seconds=60, memory=GIB)
    assert children() == before


def test_an_interrupt_while_it_forks_leaves_nothing(monkeypatch):
    """Also where another thread takes the signal, which is blocked in this one."""

    def interrupted(fork=os.fork):
        child = fork()
        if child:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # until the other thread has taken it
        return child

    monkeypatch.setattr(os, "fork", interrupted)
    before, files = children(), len(os.listdir("/proc/self/fd"))
    end = threading.Event()
    threading.Thread(target=end.wait).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            tried_in_child(lambda: time.sleep(60), seconds=60, memory=GIB)
    finally:
        end.set()
    assert (children(), len(os.listdir("/proc/self/fd"))) == (before, files)


def test_no_room_for_a_child_leaves_signals_and_files_as_they_were(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: fail(BlockingIOError("no room")))
    files, blocked = len(os.listdir("/proc/self/fd")), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(BlockingIOError):
        tried_in_child(lambda: None, seconds=5, memory=GIB)
    assert (len(os.listdir("/proc/self/fd")), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == (
        files,
        blocked,
    )


def test_a_child_that_is_killed_at_once_is_not_tried_here():
    """As where the system ends it for want of memory: this process would be the next."""
    told = tried_in_child(lambda: os.kill(os.getpid(), signal.SIGKILL), seconds=20, memory=GIB)
    assert told == "it ends the process that tries it (status 9)"


def test_a_process_that_ignores_the_ends_of_its_children():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert tried_in_child(lambda: None, seconds=5, memory=GIB) is None
        assert tried_in_child(lambda: fail(ValueError("why")), seconds=5, memory=GIB) == "why"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_many_open_files():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 1200:
        pytest.skip("so many files may not be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 1200), limits[1]))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
    try:
        assert tried_in_child(lambda: None, seconds=5, memory=GIB) is None
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_closed_standard_streams():
    code = (
        "import os\nfrom securitynet_hub.core.child import tried_in_child\n"
        "told = os.dup(2)\nos.close(0)\nos.close(1)\n"
        "os.write(told, repr(tried_in_child(lambda: None, seconds=20, memory=1 << 28)).encode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"None"
