"""Text of unknown origin, made safe to print: it can neither steer a terminal nor fill it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rich.markup import escape

LONGEST, LONGEST_CELL = 300, 4000
"""Characters that are printed of a text within a sentence, and of one on its own, by default."""


def printable(text: object, *, limit: int = LONGEST, lines: bool = False) -> str:
    r"""Return text with every character escaped that does not print, and cut off where it is long.

    Escape sequences of terminals, line breaks, characters that reverse the direction of writing and bytes
    that are not UTF-8 all become visible.

    Args:
        text: the text, or whatever `str` turns into one.
        limit: how many characters, after escaping, are kept.
        lines: keep line breaks as they are.

    >>> printable("a\nb\u202ec")
    'a\\nb\\u202ec'
    >>> printable("\x1b[2J" + "x" * 9, limit=10)
    '\\x1b[2Jxxx...'
    """
    shown = escaped(str(text)[: limit + 1], keep="\n" if lines else "")
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


def escaped(text: str, *, keep: str = "\n\t") -> str:
    r"""Return text with every character escaped that does not print, but for those to keep.

    A space that breaks no line, as before a percent sign, becomes a plain one.

    >>> escaped("a\tb\x9b2J\n"), escaped("5\xa0%")
    ('a\tb\\x9b2J\n', '5 %')
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else ascii(letter)[1:-1]
        for letter in text.replace("\xa0", " ")
    )


def csv_cell(value: object) -> object:
    """Return a cell of a CSV file: text is `printable` and never what a spreadsheet takes for a formula.

    Some take the wide forms of these characters as well, and where numbers have a decimal comma, a cell ends
    at a semicolon.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("a;=1"), csv_cell(-0.5)
    ("'=HYPERLINK(1)", "a;'=1", -0.5)
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"(^|;)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])", r"\1'", printable(value, limit=LONGEST_CELL))


def markdown_text(value: object) -> str:
    r"""Return text for Markdown: what could act in it is escaped: links, emphasis, tables, tags, addresses.

    >>> markdown_text("[x](y) <b> `z`")
    '\\[x\\](y) &lt;b&gt; \\`z\\`'
    """
    # An underscore within a word is one; parentheses make no link without brackets.
    escaped = re.sub(r"([\\`*{}\[\]#!|~$@]|(?<!\w)_|_(?!\w))", r"\\\1", printable(value))
    for text, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("://", ":&#47;/")):
        escaped = escaped.replace(text, shown)
    return re.sub(r"(?i)www\.", lambda found: f"{found[0][:-1]}&#46;", escaped)


def markdown_code(value: object) -> str:
    """Return text as code within a line of Markdown, which it cannot end.

    >>> markdown_code("a` <b>")
    "`a' <b>`"
    """
    return f"`{printable(value).replace('`', chr(39))}`"


def printable_markup(text: object, *, limit: int = LONGEST_CELL, lines: bool = False) -> str:
    r"""Return `printable` text for a rich table or console, with its own markup escaped.

    >>> printable_markup("[bold]x")
    '\\[bold]x'
    """
    return escape(printable(text, limit=limit, lines=lines))


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it.

    >>> duration(30), duration(300), duration(9000)
    ('30 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_words(value: object, *, depth: int = 8) -> str:
    """Write settings, or the value of one, as people do: names with spaces, and no brackets of a language.

    Settings come by their names; what is not set is left out, and of a digest the beginning is shown.
    What lies deeper than `depth` is left out.

    >>> in_words({"batch_size": 64, "attacks": ["fgsm", "pgd"], "width": None, "from_logits": True})
    'attacks (fgsm, pgd), batch size 64, from logits yes'
    >>> in_words({"recipe": {"epochs": 5, "augment": "none"}, "settings": {"fgsm": {}, "pgd": {"steps": 20}}})
    'recipe (augment none, epochs 5), settings (fgsm, pgd (steps 20))'
    """
    if depth < 0:
        return "…"
    if isinstance(value, Mapping):
        parts = [
            (str(name).replace("_", " "), each) for name, each in sorted(value.items()) if each is not None
        ]
        return ", ".join(f"{name} {_within(each, depth - 1)}".rstrip() for name, each in parts)
    if isinstance(value, (list, tuple)):
        return ", ".join(_within(each, depth - 1) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return f"{text[:12]}…" if re.fullmatch("[0-9a-f]{32,}", text) else text


def _within(value: object, depth: int) -> str:
    """Write a value beside its name: what has several parts stands in parentheses."""
    if isinstance(value, Mapping):
        return f"({in_words(value, depth=depth)})" if value else ""
    if isinstance(value, (list, tuple)):
        words = in_words(value, depth=depth)
        return "none" if not value else words if len(value) == 1 else f"({words})"
    return in_words(value, depth=depth)
