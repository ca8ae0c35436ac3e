"""Text of unknown origin, as it may be printed."""

from __future__ import annotations

LONGEST = 300


def plain(text: str) -> str:
    r"""Return text in one line: what cannot be printed escaped, the end cut off where it is long.

    >>> plain("a\nb\u202ec")
    'a\\nb\\u202ec'
    """
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
