"""A name for content: the same content has the same digest in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


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
