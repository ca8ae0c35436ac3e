"""Files that are here already: bounded in size, and checked against a hash before they are used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from securitynet_hub.core.errors import WeightsError

MAX_BYTES = 8 << 30
"""Files above this size are refused unread."""


def max_bytes() -> int:
    """Return the size above which files are refused: ``SECURITYNET_MAX_BYTES``, else 8 GiB."""
    stated = os.environ.get("SECURITYNET_MAX_BYTES")
    if stated is None:
        return MAX_BYTES
    if not (stated.isascii() and stated.isdigit() and int(stated)):
        raise WeightsError(
            f"SECURITYNET_MAX_BYTES must be a number of bytes, like 1000000000; got {stated!r}."
        )
    return int(stated)


def verified_bytes(path: Path, sha256: str) -> bytes:
    """Read a file and return its bytes if, and only if, their hash is the expected one.

    The very bytes that were hashed are returned, so that nothing can change in between.
    """
    try:
        _require_moderate(path)
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    _require_same(path, hashlib.sha256(content).hexdigest(), sha256)
    return content


def _require_moderate(path: Path) -> None:
    try:
        size, limit = path.stat().st_size, max_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    if size > limit:
        raise WeightsError(f"{path} has {size:,} bytes; at most {limit:,} are read.")


def _require_same(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise WeightsError(
            f"{path} is damaged or was replaced: its sha256 is {found}, {expected} was expected. "
            "Get the file, or install the package, anew."
        )
