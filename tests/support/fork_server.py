"""Run Python programs in forks of a process that has imported the libraries which take seconds to import.

``fork_server.py FD`` serves the socket of that number: each line is a program, in JSON, and comes with its
four open files (its standard streams, and a pipe for its process id and its exit code).
``support.processes`` asks it.
What is tested is not imported ahead, nor what reads the environment when it is imported (Hugging Face's).
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import warnings
from types import ModuleType

LIBRARIES = [
    "anyio.to_thread", "filelock", "httpx", "httpx2", "jinja2", "matplotlib.pyplot", "numpy", "pandas",
    "PIL.Image", "pyarrow.dataset", "pyarrow.parquet", "pydantic.main", "requests", "rich.console",
    "safetensors.torch", "scipy.io", "scipy.optimize", "scipy.stats", "sklearn.datasets", "sklearn.ensemble",
    "sklearn.linear_model", "sklearn.neural_network", "torch", "torch._dynamo", "tqdm.auto", "yaml",
]  # fmt: skip


def serve(control):
    """Fork for each program that is asked for, and return it in the fork."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked, who then ends this
    # The other thread is an allocator's, which knows of forks.
    warnings.filterwarnings("ignore", ".* is multi-threaded, use of fork", DeprecationWarning)
    while True:
        message, files = b"", []
        while not message.endswith(b"\n"):
            part, received, _, _ = socket.recv_fds(control, 1 << 16, 4)
            if not part:  # whoever asked has ended
                os._exit(0)
            message, files = message + part, files + received
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    control.close()
    *streams, reply = files
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        os.write(reply, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.close(reply)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return json.loads(message)


def execute(arguments, folder, environment):
    """Do what ``python ARGUMENTS`` does: of its options, -c, -m and -W error."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[:2] == ["-W", "error"]:
        warnings.simplefilter("error")
        arguments = arguments[2:]
    first, *rest = arguments
    named = first in ("-c", "-m")
    added = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = ["" if named else os.path.dirname(first), *added]
    sys.argv = [first, *rest[1:]] if named else arguments
    if first == "-c":
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


def end(code):
    """End as Python does, but leave the memory as it is: to take it apart is to copy it, for a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    program = vars(sys.modules["__main__"])
    if program is not globals():
        program.clear()
    gc.collect()  # which closes what it left open
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)  # which tells what could not be written


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    gc.disable()  # all that is imported stays: the search for garbage takes a sixth of the time
    for library in LIBRARIES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(library)
    gc.freeze()  # forks would copy what they look through for garbage
    gc.enable()
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        execute(*program)
    except SystemExit as leave:
        if not isinstance(leave.code, int | None):
            raise
        code = leave.code or 0
    else:
        code = 0
    end(code)
