"""Start Python programs as `subprocess` does, without the seconds that each takes to import its libraries.

They are forks of a process that has imported those (see fork_server.py), one for all tests of a process.
Where the start itself is tested, or the loading of libraries, `subprocess` it is.
"""

import atexit
import functools
import json
import os
import select
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SERVER = Path(__file__).with_name("fork_server.py")


@functools.cache
def _server():
    ours, theirs = socket.socketpair()
    program = [sys.executable, str(SERVER), str(theirs.fileno())]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(program, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # before that: it tells the server to end
    return ours


class Program:
    """What is used of `subprocess.Popen`, with pipes for the standard streams, of text."""

    def __init__(self, arguments, *, cwd=None, env=None):
        self.args = [str(argument) for argument in arguments]
        self.returncode = None
        asked = json.dumps([self.args, str(cwd or os.getcwd()), dict(os.environ if env is None else env)])
        message = asked.encode() + b"\n"
        pipes = [os.pipe() for _ in range(4)]
        theirs = [pipes[0][0], *(write for _, write in pipes[1:])]
        sent = socket.send_fds(_server(), [message], theirs)
        _server().sendall(message[sent:])
        for file in theirs:
            os.close(file)
        self.stdin = os.fdopen(pipes[0][1], "w")
        self.stdout, self.stderr, self._reply = (os.fdopen(read) for read, _ in pipes[1:])
        self.pid = int(self._reply.readline())

    def poll(self):
        if self.returncode is None and select.select([self._reply], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self):
        if self.returncode is None:
            with self._reply:
                self.returncode = int(self._reply.readline())
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, given=""):
        """Give it text, wait for its end and return what it wrote."""
        with self.stdin, self.stdout, self.stderr, ThreadPoolExecutor(2) as readers:
            written = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.stdin.write(given)
                self.stdin.close()
            except BrokenPipeError:  # it has ended without having read
                pass
            texts = tuple(future.result() for future in written)
        self.wait()
        return texts


def run_python(*arguments, input="", **options):
    """Return what `subprocess.run` does for ``python ARGUMENTS``: of its options, -c, -m and ``-W error``."""
    program = Program(arguments, **options)
    texts = program.communicate(input)
    return subprocess.CompletedProcess(program.args, program.returncode, *texts)
