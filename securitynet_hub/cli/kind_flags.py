"""Flags made from the options of the kinds of attack: a new kind's options need no line here."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from securitynet_hub.attacks.kind import Kind, flags_of, kinds
from securitynet_hub.cli.parsing import Several, count

READERS: dict[str, Any] = {"int": count, "float": float, "Path": Path, "str": str}
"""What reads a value of each type."""

OWN = {"help", "commands", "name", "idle"}
"""What `option` takes beside the arguments of `argparse`."""


def add_kind_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the flags that a command has for the kinds' options, those of each kind below its title.

    An option that kinds share stands below the first, and says what it is to the others.
    """
    every = [(kind, part) for kind in kinds().values() for part in _flags(kind, command)]
    groups: dict[str, Any] = {}
    added: set[str] = set()
    for kind, part in every:
        if part.name in added:
            continue
        added.add(part.name)
        if kind.title not in groups:
            groups[kind.title] = parser.add_argument_group(kind.title.lower())
        argument = _argument(part)
        for other, same in every:
            if same.name == part.name and other is not kind:
                argument["help"] += f"; {other.title.lower()}: {same.metadata['help']}"
        groups[kind.title].add_argument(*flags_of(part), dest=part.name, **argument)


def kind_options(options: argparse.Namespace, command: str) -> dict[str, Any]:
    """Return the kinds' options that a command's flags give, by their names.

    An optional number of 0 stands for none.
    """
    chosen: dict[str, Any] = {}
    for kind in kinds().values():
        for part in _flags(kind, command):
            value = getattr(options, part.name)
            if isinstance(value, list):
                value = tuple(value)
            elif part.default is None and value == 0:
                value = None
            chosen[part.name] = value
    return chosen


def _flags(kind: Kind, command: str) -> Iterator[Field[Any]]:
    for part in fields(kind.options):
        if part.metadata.get("help") and command in part.metadata.get("commands", ("audit",)):
            yield part


def _argument(part: Field[Any]) -> dict[str, Any]:
    """Return the arguments of `add_argument` for one option, by the annotation of its field."""
    given = {key: value for key, value in part.metadata.items() if key not in OWN}
    help_text: str = part.metadata["help"]
    default: Any = part.default
    types = [text.strip() for text in str(part.type).split("|")]
    if types == ["bool"]:
        return {"action": "store_true", "default": default, "help": help_text, **given}
    several = re.fullmatch(r"tuple\[(\w+), \.\.\.\]", types[0])
    if several:
        types, default = [several[1]], list(default)
    if default not in (None, []) and "default" not in help_text:
        help_text += f" (default: {' '.join(map(str, default)) if several else default})"
    reader = next(READERS[name] for name in types if name in READERS)
    values = {"action": Several, "read": reader} if several else {"type": reader}
    return {"default": default, "help": help_text, **values, **given}
