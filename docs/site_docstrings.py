"""Docstrings as the site shows them: their examples, which begin with >>>, become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!>>>)\S.*\n?|^\.\.\..*\n?)*)+", re.MULTILINE)


class Examples(griffe.Extension):
    """Put every example of a docstring between fences."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    r"""Return a docstring with its examples between fences.

    >>> fenced("Add.")
    'Add.'
    >>> fenced("A.\n\n>>> 1\n1").count("```")
    2
    """
    return EXAMPLE.sub(lambda example: f"```pycon\n{example[0].rstrip()}\n```\n", text)
