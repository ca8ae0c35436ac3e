"""Read YAML of strangers: cards and results in repositories that anyone may write to."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_EVENTS, MAX_DEPTH = 20_000, 20
"""Values and ends of lists in a text, and levels of lists and maps within one another."""

FRONT_MATTER = re.compile(r"\s*---[\r\n]+(.*?)[\r\n]+---(?:\r\n|\n|$)", re.DOTALL)
"""The metadata of a card, as huggingface_hub looks for it."""


def load_plain_yaml(text: str) -> Any:
    """Return the value of a YAML text that costs no more than its length to read.

    Raises:
        ValueError: the text is no YAML, or not plain, as `require_plain_yaml` says.

    >>> load_plain_yaml("a: [1, 2]")
    {'a': [1, 2]}
    """
    require_plain_yaml(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not YAML ({type(error).__name__})") from error


def require_plain_yaml(text: str) -> None:
    r"""Refuse aliases and merged maps, which a few lines make endless, tags, deep nesting and many values.

    Raises:
        ValueError: what it is; the message is a sentence without its full stop.

    >>> require_plain_yaml("a: &x [1]\nb: *x")
    Traceback (most recent call last):
    ...
    ValueError: it has an alias (*), which is not read
    """
    depth = 0
    try:
        for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias (*), which is not read")
            if getattr(event, "tag", None) is not None:
                raise ValueError("it has a tag (!), which is not read")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH or number > MAX_EVENTS:
                raise ValueError(f"it has more than {MAX_EVENTS:,} values, or more than {MAX_DEPTH} levels")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > 1000 and _is_number(event.value):
                raise ValueError("it has a number of more than 1,000 digits")
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML ({type(error).__name__})") from error


def require_plain_card(card: str) -> None:
    """Refuse a card whose metadata are not plain YAML; raises as `require_plain_yaml`."""
    found = FRONT_MATTER.match(card)
    if found is not None:
        require_plain_yaml(found[1])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+0-9_:.xobA-Fa-f]+", text) is not None
