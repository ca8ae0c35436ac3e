"""Check files against the kinds of hash that publishers give, all in one pass over the file."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from securitynet_hub.core.errors import WeightsError

CHUNK = 1 << 20
FILE, ARCHIVE, SHARD = "file", "archive", "shard"


class Check(NamedTuple):
    """An expected hash of the file, of the archive that it comes from, or of one shard."""

    algorithm: str
    of: str
    digest: str

    @property
    def strong(self) -> bool:
        """Whether an attacker cannot make another file with this hash.

        SHA-1 counts as strong: no second preimage is known. CRC32 and the eight digits that some publishers
        put into a file name detect only accidents.
        """
        return self.algorithm in {"sha256", "sha1", "git-blob-sha1"}


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _git_blob(size: int) -> _Digest:
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % size)
    return digest


ALGORITHMS: dict[str, tuple[int, Callable[[int], _Digest]]] = {
    "sha256": (64, lambda size: hashlib.sha256()),
    "sha256-prefix": (0, lambda size: hashlib.sha256()),
    "sha1": (40, lambda size: hashlib.sha1(usedforsecurity=False)),
    "git-blob-sha1": (40, _git_blob),
    "md5": (32, lambda size: hashlib.md5(usedforsecurity=False)),
    "crc32": (8, lambda size: _Crc32()),
}
"""Name -> length in hexadecimal digits (0: 8 or more), and a function from the file size to a new digest."""


def parse_checks(kind: str | None, digest: str | None) -> tuple[Check, ...]:
    """Read an annotation's hash: kinds and digests, several of them joined by ``+``.

    A kind is an algorithm, alone or with ``-of-member`` (the file that is read) or ``-of-archive``. For
    sharded weights, the first hash is the index's; one ``-of-shard`` per shard follows, sorted by name.

    Raises:
        WeightsError: the kind is unknown, or the digest does not fit the kind.

    >>> parse_checks("sha1-of-member", "A9993E364706816ABA3E25717850C26C9CD0D89D")
    (Check(algorithm='sha1', of='file', digest='a9993e364706816aba3e25717850c26c9cd0d89d'),)
    >>> [check.of for check in parse_checks("md5-of-archive+crc32-of-member", "0" * 32 + "+352441c2")]
    ['archive', 'file']
    >>> parse_checks(None, None)
    ()
    """
    if kind is None and digest is None:
        return ()
    kinds, digests = (kind or "").split("+"), (digest or "").lower().split("+")
    if len(kinds) != len(digests):
        raise WeightsError(f"{len(kinds)} kinds of hash ({kind}) came with {len(digests)} hashes ({digest}).")
    return tuple(_parse(*pair) for pair in zip(kinds, digests, strict=True))


def _parse(kind: str, digest: str) -> Check:
    algorithm, _, of = kind.partition("-of-")
    if algorithm not in ALGORITHMS or of not in {"", "member", ARCHIVE, SHARD}:
        known = ", ".join(ALGORITHMS)
        raise WeightsError(
            f"a hash of kind {kind!r} cannot be checked; known: {known}, with -of-archive or -of-shard."
        )
    length, _ = ALGORITHMS[algorithm]
    right = len(digest) == length if length else 8 <= len(digest) <= 64
    if not right or set(digest) - set("0123456789abcdef"):
        raise WeightsError(f"{digest!r} is not a hash of kind {kind}: wrong length or not hexadecimal.")
    return Check(algorithm, of if of in (ARCHIVE, SHARD) else FILE, digest)


def describe_checks(checks: tuple[Check, ...]) -> str:
    """Describe in a sentence how a file is verified.

    >>> describe_checks(parse_checks("sha1-of-member", "a9993e364706816aba3e25717850c26c9cd0d89d"))
    "the publisher's sha1 of the file, before it is read"
    >>> describe_checks(parse_checks("sha1+sha1-of-shard+sha1-of-shard", "+".join(["0" * 40] * 3)))
    "the publisher's sha1 of the index and sha1 of each of 2 files, before it is read"
    >>> describe_checks(())
    'no hash is published: the sha256 of the first download is remembered, others are refused'
    """
    if not checks:
        return "no hash is published: the sha256 of the first download is remembered, others are refused"
    shards = sum(check.of == SHARD for check in checks)
    of = {
        FILE: "the index" if shards else "the file",
        ARCHIVE: "the archive",
        SHARD: f"each of {shards} files",
    }
    names = " and ".join(dict.fromkeys(f"{check.algorithm} of {of[check.of]}" for check in checks))
    if any(check.strong and check.of == FILE for check in checks):
        return f"the publisher's {names}, before it is read"
    return f"the publisher's {names}, which can be forged; so the first download's sha256 is remembered"


def file_digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Hash a file with several algorithms in one pass of bounded memory."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digests = {name: ALGORITHMS[name][1](size) for name in sorted(algorithms)}
            while chunk := file.read(CHUNK):
                for digest in digests.values():
                    digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    return {name: digest.hexdigest() for name, digest in digests.items()}


def check_file(path: Path, checks: tuple[Check, ...], origin: str) -> str:
    """Return a file's sha256 if it passes every check.

    Raises:
        WeightsError: a hash differs; `origin` says where the file came from.
    """
    found = file_digests(path, {check.algorithm for check in checks} | {"sha256"})
    for algorithm, _, expected in checks:
        digest = found[algorithm]
        if algorithm == "sha256-prefix":
            digest = digest[: len(expected)]
        if digest != expected:
            raise WeightsError(
                f"the file from {origin} is damaged or was replaced: its {algorithm} is {digest}, {expected} "
                "was expected. Nothing of it was kept."
            )
    return found["sha256"]
