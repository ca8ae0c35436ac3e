"""A name for content: the same content has the same digest in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


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
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
