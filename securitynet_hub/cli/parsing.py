"""Read the values of flags from their texts."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn

from securitynet_hub.engine.engine_choice import ENGINES

ZOO = "zoo"
"""Stands for every model of the embedded zoo."""


MODEL = "MODEL"
"""What stands in the help for the values of a flag that takes models."""

NO_ID = "the following arguments are required: id"
"""What argparse says where a model's id is lacking, or was taken for a value of a flag."""

SHORT = 4
"""Lines of a usage that is printed above an error."""


class Parser(argparse.ArgumentParser):
    """A parser that finds a model's id wherever it stands, and the flag that a misspelt one is close to."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words, as the base class does; a command refuses flags that it does not have by itself."""
        if args is not None and any(action.dest == "id" for action in self._actions):
            several = {
                flag
                for action in self._actions
                if action.nargs == "+" and action.metavar != MODEL
                for flag in action.option_strings
            }
            args = id_first(args, several)
        self._refuse_repeated(args or ())
        found, left = super().parse_known_args(args, namespace)
        if left and self._subparsers is None:
            self._refuse_unknown(left)
        return found, left

    def error(self, message: str) -> NoReturn:
        """End with status 2 and say what is wrong; a usage of many lines would hide it."""
        usage = self.format_usage()
        if message == NO_ID:
            message += "; it comes before the flags"
        shown = usage if usage.count("\n") <= SHORT else f"`{self.prog} --help` says what it takes.\n"
        self.exit(2, f"{shown}{self.prog}: error: {message}\n")

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Refuse words that are left over, with the closest flags."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = [
            difflib.get_close_matches(word.partition("=")[0], flags, n=1)
            for word in words
            if word.startswith("-")
        ]
        close = list(dict.fromkeys(flag for found in near for flag in found))
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")

    def _refuse_repeated(self, words: Sequence[str]) -> None:
        """Refuse a flag that is given again, where its first value would be lost without a word."""
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        for action in self._actions:
            flags = [flag for flag in given if flag in action.option_strings]
            adds = action.nargs == 0 or isinstance(action, (argparse._AppendAction, Several))
            if len(flags) > 1 and not adds:
                self.error(f"{flags[0]} is given {len(flags)} times; say all of it once")


def id_first(words: Sequence[str], several: set[str]) -> list[str]:
    """Bring a model's id before the flags if it stands among the values of one that takes several.

    An id has a slash or a colon, or is ``zoo``; no value of these flags does.

    >>> id_first(["--attacks", "loss", "entropy", "zoo"], {"--attacks"})
    ['zoo', '--attacks', 'loss', 'entropy']
    """
    flag = ""
    for place, word in enumerate(words):
        if word.startswith("--"):
            flag = word
        elif flag in several and (word == ZOO or "/" in word or ":" in word):
            return [word, *words[:place], *words[place + 1 :]]
    return list(words)


def completes(action: argparse.Action, names: Callable[[], Iterable[str]]) -> None:
    """Let a shell complete an argument by names, which are looked up only then."""

    def complete(prefix: str, **_: Any) -> list[str]:
        return [name for name in names() if name.startswith(prefix)]

    action.completer = complete  # type: ignore[attr-defined]


class Several(argparse.Action):
    """Values apart by spaces or commas; a flag that is given again adds its values.

    Args:
        read: reads one value.
    """

    def __init__(self, *args: Any, read: Callable[[str], Any] = str, **options: Any) -> None:
        super().__init__(*args, **{"nargs": "+", **options})
        self.read = read

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Add the values of one flag."""
        before = getattr(namespace, self.dest)
        try:
            new = [self.read(text) for value in values for text in value.split(",") if text]
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise argparse.ArgumentError(self, str(error)) from error
        setattr(namespace, self.dest, ([] if before is self.default else before) + new)


def in_flags(message: str, flags: Collection[str]) -> str:
    """Return a message that speaks of arguments of Python in the words of the command line.

    Where it names both, the argument is left out.

    >>> in_flags("Pass outputs='posteriors', or more with max_queries=5 (--max-queries).", ["outputs"])
    'Pass --outputs posteriors, or more with --max-queries.'
    >>> in_flags("Read them with ?channels=1 (channels=1).", [])
    'Read them with ?channels=1.'
    >>> in_flags("Pass transform=height=32,width=32.", ["transform", "width"])  # a part of a value is no flag
    'Pass --transform height=32,width=32.'
    """
    message = re.sub(r"(\?[\w=&%.-]+) \(\w+=[^()]*\)", r"\1", message)
    message = re.sub(r"\b\w+=(?:[\w.,]*|\w+\([^()]*\)) \((--[^()]*)\)", r"\1", message)

    def flag(found: re.Match[str]) -> str:
        return " ".join(filter(None, (f"--{found[1].replace('_', '-')}", found[2] or found[3])))

    names = "|".join(map(re.escape, flags)) or "(?!)"
    return re.sub(rf"(?<![\w?&.,-])({names})=(?:'([^']*)'|([\w./:-]*\w)?)", flag, message)


def add_author_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--author``, which goes before the environment variable SECURITYNET_AUTHOR."""
    parser.add_argument(
        "--author",
        metavar="NAME",
        help="who measures, as records and leaderboards say (default: SECURITYNET_AUTHOR)",
    )


def add_engine_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``, which goes before the environment variable SECURITYNET_ENGINE."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="what answers for networks on a CPU; where it is further from torch than rounding, torch does, "
        "and a note says so (default: SECURITYNET_ENGINE, else torch)",
    )


def add_profile_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile``, which `cli.main` obeys."""
    parser.add_argument(
        "--profile",
        action="store_true",
        help="print where the time went: decoding, transform, forward pass, attacks, disk",
    )


def shard(text: str) -> tuple[int, int]:
    """Read which part of how many, such as ``3/64``, counted from one.

    >>> shard("3/64")
    (3, 64)
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"must be a part of so many, from 1/64 to 64/64; got {text!r}")
    return int(found[1]), int(found[2])


def count(text: str) -> int:
    """Read a whole number of 0 and above.

    >>> count("25")
    25
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 and above; got {text!r}")
    return int(text)


def settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read ``ATTACK.NAME=VALUE`` of each text; the value is JSON, or else a word.

    Raises:
        ValueError: a text has another form.

    >>> settings(["rmia.a=tuned", "rmia.gamma=1.0"])
    {'rmia': {'a': 'tuned', 'gamma': 1.0}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        attack, dot, name = place.partition(".")
        if not (equals and dot and attack and name and value):
            raise ValueError(f"a setting must be ATTACK.NAME=VALUE, such as rmia.gamma=1.0; got {text!r}.")
        own = found.setdefault(attack, {})
        try:
            own[name] = json.loads(value)
        except json.JSONDecodeError:
            own[name] = value
    return found


def named_values(text: str) -> dict[str, Any]:
    """Read ``NAME=VALUE,NAME=VALUE``; values are numbers or words, and several of one name a list.

    Raises:
        ValueError: the text has another form.

    >>> named_values("height=32,mean=0.5,0.4,0.3,interpolation=bicubic")
    {'height': 32, 'mean': [0.5, 0.4, 0.3], 'interpolation': 'bicubic'}
    """
    found: dict[str, list[Any]] = {}
    name = ""
    for part in text.split(","):
        before, equals, after = part.partition("=")
        name, value = (before.strip(), after) if equals else (name, part)
        if not name or not value.strip():
            raise ValueError(
                f"settings must be NAME=VALUE,NAME=VALUE, such as height=32,width=32; got {text!r}."
            )
        try:
            found.setdefault(name, []).append(json.loads(value))
        except json.JSONDecodeError:
            found.setdefault(name, []).append(value.strip())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def max_memory(texts: Sequence[str] | None) -> dict[int | str, str] | None:
    """Read ``DEVICE=SIZE`` for each device; an empty dictionary stands for the memory that is free.

    Raises:
        ValueError: a text has another form.

    >>> max_memory(["0=20GB", "cpu=60GB"])
    {0: '20GB', 'cpu': '60GB'}
    """
    if texts is None:
        return None
    pairs = [text.partition("=") for text in texts]
    for text, (device, _, size) in zip(texts, pairs, strict=True):
        if not size or not (device.isdecimal() or device == "cpu"):
            raise ValueError(f"--max-memory takes DEVICE=SIZE, like 0=20GB cpu=60GB; got {text!r}.")
    return {int(device) if device.isdecimal() else device: size for device, _, size in pairs}
