"""The command line, ``securitynet``: find the commands, run one, and end with its exit status."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from securitynet_hub.cli.console import errors, notes_for_warnings
from securitynet_hub.cli.parsing import Parser, in_flags
from securitynet_hub.core.errors import SecurityNetError
from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.core.text import printable_markup

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130

INTERRUPTION = "Interrupted; the records written so far are whole, and the same command goes on."

GREETING = """\
securitynet audits image classifiers: do they give their training images away, how cheaply are they
copied, do they hide a backdoor? Every figure has an interval, and a verdict in words comes first.

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
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        print(GREETING)
        return
    options = build_parser(*words[:1]).parse_args(words)
    try:
        with notes_for_warnings(vars(options)):
            options.run(options)
    except KeyboardInterrupt:
        _fail(INTERRUPTION, INTERRUPTED)
    except BrokenPipeError:  # the reader of `securitynet list | head` has left
        sys.stderr.close()
    except ValueError as error:
        _fail(in_flags(str(error), vars(options)), USAGE_ERROR)
    except (SecurityNetError, OSError) as error:
        _fail(in_flags(str(error), vars(options)), FAILURE)


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


class _Version(argparse.Action):
    """Print the version, which takes a look at what is installed, only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"securitynet-hub {metadata.version('securitynet-hub')}")
        parser.exit()


def _fail(message: str, status: int) -> None:
    errors().print(f"[bold red]securitynet:[/bold red] {printable_markup(message, lines=True)}")
    raise SystemExit(status)
