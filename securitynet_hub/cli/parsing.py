"""Read the values of flags from their texts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any


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
