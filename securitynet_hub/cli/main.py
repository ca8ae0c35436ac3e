"""The command line, ``securitynet``: find the commands, run one, and end with its exit status."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from securitynet_hub.cli.console import Told, notes_for_warnings, set_told, step
from securitynet_hub.cli.parsing import Parser, in_flags
from securitynet_hub.core.errors import SecurityNetError
from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.core.printing import PlainConsole, plain_streams
from securitynet_hub.core.stages import Spent, profiled
from securitynet_hub.core.text import printable_markup
from securitynet_hub.core.threads import share_threads, thread_budget
from securitynet_hub.engine.engine_choice import require_engine

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130

AUTHOR, ENGINE = "SECURITYNET_AUTHOR", "SECURITYNET_ENGINE"
INTERRUPTION = "Interrupted; the records written so far are whole, and the same command goes on."

GREETING = """\
securitynet audits image classifiers: do they give their training images away, how cheaply are they
copied, do they hide a backdoor, do small changes of an image mislead them, was one derived from
another? Every figure has an interval, and a verdict in words comes first.

A model that ships with the package, one of your own, and what a folder of images is read as:
  securitynet audit zoo/fashion-mnist/cnn-overfitted-500/1
  securitynet audit file:net.pth --module nets.py:build --data pictures
  securitynet data pictures

Whether a weights file is safe and whole, the public models of SecurityNet, every attack:
  securitynet verify net.pth
  securitynet list --dataset CIFAR-10
  securitynet attacks

`securitynet --help` lists all commands, `securitynet COMMAND --help` what one takes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit status 0: done, 2: a wrong request, 1: the work failed, 130: Ctrl-C."""
    keep_freed_memory()
    share_threads()
    words = sys.argv[1:] if arguments is None else arguments
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if not words:
        print(GREETING)
        return
    try:
        with plain_streams():
            _run(words)
    except KeyboardInterrupt:  # while the command was being found, or while its end was being told
        _fail(INTERRUPTION, INTERRUPTED)


def _run(words: Sequence[str]) -> None:
    _require_command(words[0])
    parser = build_parser(*words[:1])
    options = parser.parse_args(words)
    set_told(quiet=options.quiet, verbose=options.verbose)
    began = time.monotonic()
    try:
        with notes_for_warnings(vars(options)), _set(AUTHOR, getattr(options, "author", None)):
            _require_engine(getattr(options, "engine", None))
            with _set(ENGINE, getattr(options, "engine", None)):
                if getattr(options, "profile", False):
                    _run_profiled(options)
                else:
                    options.run(options)
        step(f"done in {time.monotonic() - began:.1f} s")
    except KeyboardInterrupt:
        _fail(getattr(options, "interruption", INTERRUPTION), INTERRUPTED)
    except BrokenPipeError:  # the reader of `securitynet list | head` has left
        sys.stderr.close()
    except ValueError as error:
        _fail(in_flags(str(error), vars(options)), USAGE_ERROR)
    except (SecurityNetError, OSError) as error:
        _fail(in_flags(str(error), vars(options)), FAILURE)


def _run_profiled(options: argparse.Namespace) -> None:
    """Run a command, and print how long it was in each stage, whatever ends it."""
    began = time.perf_counter()
    with profiled() as spent:
        try:
            options.run(options)
        finally:
            whole = time.perf_counter() - began
            for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
                line = f"profile: {name:<16} {seconds:10.2f} s, {seconds / whole:6.1%} of {whole:.1f} s"
                print(line, file=sys.stderr)
            print(f"profile: {_busy(spent)}", file=sys.stderr)


def _busy(spent: Spent) -> str:
    """Say what decoded and forwarded images, and how busy the threads were that do so on a CPU."""
    summed = "decode, transform and wait for threads are summed over threads"
    reading = spent.get("decode", 0.0) + spent.get("transform", 0.0)
    passes = spent.get("wait for images", 0.0) + spent.get("forward", 0.0)
    if "decode" not in spent or not passes:
        return summed
    threads = thread_budget()
    parts = f"decode and transform {reading / threads / passes:.0%}, forward {spent['forward'] / passes:.0%}"
    return f"{summed}; of the time of passes on {threads} thread{'s' * (threads > 1)}: {parts}"


@contextmanager
def _set(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable within the block, for processes that it starts as well; None leaves it."""
    held = os.environ.get(name)
    if value:
        os.environ[name] = value
    try:
        yield
    finally:
        if value and held is None:
            del os.environ[name]
        elif value and held is not None:
            os.environ[name] = held


def _require_engine(name: str | None) -> None:
    """Refuse an engine that is not installed, before anything is read."""
    if name is not None:
        require_engine(name)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of one, if there is a command of that name.

    A command is a module of this folder with ``ORDER``, ``add`` and ``run``, and is named after it (with
    hyphens for underscores).
    """
    parser = Parser(
        prog="securitynet",
        description="Audit public image classifiers, with intervals beside every rate.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="the installed version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in _commands(only):
        module.add(commands)
    for each in commands.choices.values():
        told = each.add_mutually_exclusive_group()
        told.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress bars")
        told.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            help="tell each step, and where in the code an error arose",
        )
    return parser


def _commands(only: str | None) -> list[Any]:
    package = importlib.import_module("securitynet_hub.cli")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules: list[Any] = [
        importlib.import_module(f"{package.__name__}.{name}")
        for name in names
        if only in (None, name.replace("_", "-"))
    ]
    found = sorted((module for module in modules if hasattr(module, "ORDER")), key=lambda m: m.ORDER)
    return found if found or only is None else _commands(None)


def _is_command(word: str) -> bool:
    return len(_commands(word)) == 1


def _complete() -> None:
    """Answer a shell that completes a command line, if argcomplete is installed, and end."""
    import argcomplete

    words = os.environ["COMP_LINE"].split()[1:2]
    argcomplete.autocomplete(build_parser(*words))


def _require_command(word: str) -> None:
    """Refuse a command that there is not, with the closest ones."""
    if word.startswith("-") or _is_command(word):
        return
    names = [module.__name__.rpartition(".")[2].replace("_", "-") for module in _commands(None)]
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(map(repr, close))}?" if close else f"There are {', '.join(names)}."
    _fail(f"There is no command {word!r}. {hint}", USAGE_ERROR)


class _Version(argparse.Action):
    """Print the version, which takes a look at what is installed, only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"securitynet-hub {metadata.version('securitynet-hub')}")
        parser.exit()


def _fail(message: str, status: int) -> None:
    if Told.verbose and sys.exc_info()[0] is not None:
        traceback.print_exc()
    console = PlainConsole(stderr=True, highlight=False, emoji=False)
    console.print(f"[bold red]securitynet:[/bold red] {printable_markup(message, lines=True)}")
    raise SystemExit(status)
