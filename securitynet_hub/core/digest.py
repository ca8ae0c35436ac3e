"""A name for content: the same content has the same digest in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

ODD_EXPONENT = re.compile(r"e(?:[0-9]|-[0-9][],}])")
"""Exponents that `to_json` writes in another way than `json`, at least: those that are not -10 to -99."""


def json_digest(content: Any) -> str:
    """Return 16 hexadecimal digits that name a value of JSON, whatever the order of its keys.

    They are the start of the sha256 of the value as compact JSON with sorted keys.

    Raises:
        ValueError: the value holds NaN or an infinite number.
        TypeError: JSON has no such value.

    >>> json_digest({"b": 1, "a": [2]}) == json_digest({"a": [2], "b": 1})
    True
    >>> json_digest({})
    '44136fa355b3678a'
    """
    return _digest(canonical(content))


def canonical(content: Any) -> str:
    """Return a value as compact JSON with sorted keys; errors as `json_digest`.

    >>> canonical({"b": 1, "a": [2]})
    '{"a":[2],"b":1}'
    """
    return ENCODER.encode(content)


def canonical_of_read(content: Any) -> str:
    """Return `canonical` of a value that JSON was read into, in a third of the time; errors as there.

    >>> [canonical_of_read(each) == canonical(each) for each in ([1e-5, 1e-14], {"b": 1e16, "a": "\u00e9"})]
    [True, True]
    """
    text = to_json(_in_order(content)).decode()
    plain = text.isascii() and not any(part in text for part in WRITTEN_OTHERWISE)
    return text if plain and not ODD_EXPONENT.search(text) else canonical(content)


WRITTEN_OTHERWISE = ("\\", "\x7f", "Infinity", "NaN", "0.0000")
"""What `to_json` writes in another way than `json`, beside exponents and what is not ASCII."""


def _in_order(value: Any) -> Any:
    """Return a value with the keys of every map sorted."""
    if type(value) is dict:
        ordered = {}
        for key in sorted(value):
            part = value[key]
            ordered[key] = _in_order(part) if type(part) in NESTING else part
        return ordered
    if type(value) is list:
        for part in value:
            if type(part) in NESTING:
                return [_in_order(part) for part in value]
    return value


NESTING = (dict, list)


def digest_of_parts(parts: Mapping[str, str]) -> str:
    """Return the `json_digest` of a map whose values are given as `canonical` texts, which may be reused.

    >>> digest_of_parts({"b": canonical(1), "a": canonical([2])}) == json_digest({"a": [2], "b": 1})
    True
    """
    return _digest(f"{{{','.join([f'{_quoted(name)}:{parts[name]}' for name in sorted(parts)])}}}")


@lru_cache(maxsize=1000)
def _quoted(name: str) -> str:
    return json.dumps(name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
