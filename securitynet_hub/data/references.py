"""Names of images: ``REFERENCE?limit=1000&label=fine``, as the command line takes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from securitynet_hub.core.errors import UnknownNameError

TABLES = (".csv", ".tsv", ".parquet")
"""What names of tables of paths and labels end in."""


def _limit(text: str) -> int | None:
    return None if text == "all" else int(text)


def _range(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"(-?[\d.]+)(?:-|,|\.\.)(-?[\d.]+)", text)
    if found is None:
        raise ValueError("a range is its lowest and highest value, such as 0-65535")
    return float(found[1]), float(found[2])


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("it is yes or no")
    return text == "yes"


def _parsed(name: str, parse: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    return lambda text: (name, parse(text))


NUMBERS = ("seed", "channels", "size")
TEXTS = ("members", "nonmembers", "config", "revision", "image", "label", "classes", "broken", "overlap")

SETTINGS = {
    "limit": _parsed("limit", _limit),
    **{name: _parsed(name, int) for name in NUMBERS},
    **{name: _parsed(name, str) for name in TEXTS},
    "range": _parsed("value_range", _range),
    "streaming": _parsed("streaming", _yes),
}
"""Arguments of `read_data` that a reference may have, and how each is read."""


def parse_reference(
    text: str, known: Mapping[str, Callable[[str], tuple[str, Any]]] = SETTINGS
) -> tuple[str, dict[str, Any]]:
    """Divide ``REFERENCE?key=value&...`` into the reference and the arguments that it has.

    Args:
        text: from the command line.
        known: for each key what reads its value, and returns the argument's name and the value.

    Raises:
        UnknownNameError: a key is not known.
        ValueError: a key has no value, or one that cannot be read.
    """
    reference, _, query = text.partition("?")
    arguments: dict[str, Any] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = (unquote(part) for part in pair.partition("="))
        if key not in known:
            raise UnknownNameError("setting of data", key, known)
        if not equals or not value:
            raise ValueError(f"the setting {key} of data needs a value, such as {key}=...; got {pair!r}.")
        try:
            name, parsed = known[key](value)
        except ValueError as error:
            raise ValueError(f"the setting {key} of data cannot be {value!r}: {error}.") from error
        arguments[name] = parsed
    return reference, arguments


def require_place(reference: str) -> None:
    """Refuse a path at which there is nothing, so that no network is asked for it as a data set of the Hub.

    >>> require_place("uoft-cs/cifar10")
    >>> require_place("pictures")
    Traceback (most recent call last):
    ...
    ValueError: there is no folder or table pictures here. A data set of the Hub is named OWNER/NAME, such \
as uoft-cs/cifar10.
    """
    if Path(reference).expanduser().exists():
        return
    owner, slash, name = reference.partition("/")
    is_path = (
        reference.startswith(("/", "~", ".")) or "\\" in reference or "/" in name or (slash and not name)
    )
    if not is_path and slash and not Path(owner).is_dir() and Path(name).suffix.lower() not in TABLES:
        return
    place = Path(reference).expanduser().parent
    beside = [path.name for path in place.iterdir()] if place.is_dir() else []
    close = difflib.get_close_matches(Path(reference).name, beside, n=1)
    hint = f" Did you mean {place / close[0]}?" if close else ""
    named = "" if is_path or slash else " A data set of the Hub is named OWNER/NAME, such as uoft-cs/cifar10."
    raise ValueError(f"there is no folder or table {reference} here.{hint}{named}")
