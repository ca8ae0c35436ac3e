"""Fill a template as one HTML file that needs no network, escapes every text and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.text import LONGEST_CELL, printable

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
UNBROKEN = "\u00a0"
"""The space that no line break separates: it does not print, and this package's own sentences have it."""

CODE = re.compile("`([^`\n]+)`")
"""What a sentence marks as code."""


def render(
    template: Path, *, scripts: Sequence[Path] = (), styles: Sequence[Path] = (), **content: Any
) -> str:
    """Fill a template, which extends ``base.html``.

    Every text passes `shown` and is then escaped, except the page's own styles, scripts and plots.

    Args:
        template: the template's file.
        scripts: files of this package to run instead of the one that sorts and filters tables.
        styles: files to add to the style of all pages.
        content: what the template names.
    """
    from markupsafe import Markup

    style = "".join(path.read_text(encoding="utf-8") for path in (HERE / "page.css", *styles))
    texts = [path.read_text(encoding="utf-8") for path in scripts or [HERE / "page.js"]]
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return _environment(template.parent).get_template(template.name).render(
        css=Markup(style),
        scripts=[Markup(text) for text in texts],
        script_hashes=" ".join(f"'sha256-{digest}'" for digest in hashes),
        version=metadata.version("securitynet-hub"),
        **content,
    )  # fmt: skip


def write_page(out: Path, html: str) -> Path:
    """Write a page.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {out}: {error.strerror or error}.") from error
    return out


def shown(value: Any) -> Any:
    r"""Return text with every character visible but for spaces that do not break; what is no text as it is.

    >>> shown("50\u00a0%"), shown("\u202egnp.exe"), shown(3)
    ('50\xa0%', '\\u202egnp.exe', 3)
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    if value.isprintable() and len(value) <= LONGEST_CELL:
        return value
    parts = value[: LONGEST_CELL + 1].split(UNBROKEN)
    return UNBROKEN.join(printable(part, limit=LONGEST_CELL, lines=True) for part in parts)


def coded(value: Any) -> Any:
    """Return a text as HTML, escaped, in which what stands between backticks is code.

    >>> coded("`rmia` & <b>")
    Markup('<code>rmia</code> &amp; &lt;b&gt;')
    """
    from markupsafe import Markup, escape

    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(shown(value)))))


@lru_cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters["coded"] = coded
    return made
