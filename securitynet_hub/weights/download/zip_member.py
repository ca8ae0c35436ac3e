"""Extract one member of a remote zip into a file; if possible, download only that member."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import requests

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.http import RangesIgnoredError
from securitynet_hub.weights.download.ranges import MAX_DIRECTORY, RemoteFile
from securitynet_hub.weights.download.resume import Span, discard, download, require_space, require_within
from securitynet_hub.weights.hashes import ARCHIVE, Check, check_file

WORTHWHILE = 0.8
"""If a member makes up more than this share of its archive, the whole archive is downloaded."""

BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What the standard library raises for damaged or malicious archives."""

ZIP_ERRORS = (WeightsError, *BROKEN_ZIP)

HEADER_ROOM = 30 + 2 * 0xFFFF
"""The most bytes between the start of a member's header and its data."""


def fetch_member(
    session: requests.Session,
    url: str,
    name: str,
    folder: Path,
    checks: tuple[Check, ...],
    *,
    limit: int,
    progress: bool = False,
) -> Path:
    """Extract the member `name` of the zip at `url` into a file below `folder` and return its path.

    The whole archive is downloaded if the annotation has no other hash than the archive's, if the server does
    not support ranges, or if the member makes up most of the archive.

    Raises:
        WeightsError: as `download`; or the member is missing, ambiguous, encrypted or damaged, or its name
            leads out of the archive.
    """
    target, part = folder / "member.part", folder / "archive.part"
    target.unlink(missing_ok=True)
    of_archive = tuple(check for check in checks if check.of == ARCHIVE)
    needs_all = bool(of_archive) and len(of_archive) == len(checks)
    if not needs_all and not part.exists():
        try:
            if _fetch_span(session, url, name, folder / "span.part", target, limit, progress):
                return target
        except RangesIgnoredError:
            pass
    download(session, url, part, limit=limit, progress=progress)
    with _kept_only_if_right(part, target):
        check_file(part, of_archive, url)
        with _Careful(part) as local, _opened(local, url) as archive:
            _extract(archive, find_member(archive, name, url), target, url, limit)
    return target


def _fetch_span(
    session: requests.Session, url: str, name: str, part: Path, target: Path, limit: int, progress: bool
) -> bool:
    """Extract a member from the span of the archive that holds it; return False if the span is too large."""
    remote = RemoteFile(session, url)
    with _opened(remote, url) as archive:
        member = find_member(archive, name, url)
        require_within(member.file_size, limit, f"{url}!{printable(member.filename)}")
        span = _span(archive, member, remote)
        if span.stop - span.start > WORTHWHILE * remote.size:
            return False
        download(session, url, part, limit=limit, span=span, progress=progress)
        with _kept_only_if_right(part, target), remote.overlay(span.start, part):
            _extract(archive, member, target, url, limit)
    return True


@contextmanager
def _kept_only_if_right(part: Path, target: Path) -> Iterator[None]:
    """Remove the download once it is extracted or found to be wrong; keep it after an interruption."""
    try:
        yield
    except ZIP_ERRORS:
        discard(part)
        target.unlink(missing_ok=True)
        raise
    discard(part)


def find_member(archive: zipfile.ZipFile, name: str, origin: str) -> zipfile.ZipInfo:
    """Return the one member with that path, or else the one whose file name is that name.

    Raises:
        WeightsError: no member or several match, or it is not an ordinary stored or deflated file.
    """
    files = [info for info in archive.infolist() if not info.is_dir()]
    found = [info for info in files if info.filename == name] or [
        info for info in files if info.filename.rpartition("/")[2] == name
    ]
    if len(found) != 1:
        names = ", ".join(repr(info.filename) for info in (found or files)[:5])
        raise WeightsError(
            f"{origin} has {len(found) or 'no'} members named {name!r} where one was expected; "
            f"{'they are' if found else 'it has'} {names or 'none'}."
        )
    member = found[0]
    path = PurePosixPath(member.orig_filename)
    reason = None
    if member.orig_filename != member.filename or "\\" in member.filename:
        reason = "has a name with characters that no file name has"
    elif path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        reason = "has a name that leads out of the archive"
    elif member.flag_bits & 0x41:
        reason = "is encrypted"
    elif stat.S_IFMT(member.external_attr >> 16) not in {0, stat.S_IFREG}:
        reason = "is a link or a device, not a file"
    elif member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        reason = f"is compressed by method {member.compress_type}; only stored and deflated ones are read"
    if reason is not None:
        raise WeightsError(f"the member {member.orig_filename!r} of {origin} {reason}; it is refused.")
    return member


def _span(archive: zipfile.ZipFile, member: zipfile.ZipInfo, remote: RemoteFile) -> Span:
    """Return the span of a member's header and data, which ends before the next member."""
    start = member.header_offset
    stops = [info.header_offset for info in archive.infolist() if info.header_offset > start]
    stop = min([*stops, archive.start_dir, start + HEADER_ROOM + member.compress_size])
    if start < 0 or stop - start < member.compress_size:
        raise WeightsError(f"the directory of {remote.url} contradicts itself; the archive is refused.")
    return Span(start, stop, remote.version)


def _extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, origin: str, limit: int
) -> None:
    """Write a member to `target`; the standard library compares its CRC32 at the end."""
    require_within(member.file_size, limit, f"{origin}!{printable(member.filename)}")
    require_space(target.parent, member.file_size, origin)
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
        size = file.tell()
    if size != member.file_size:
        raise WeightsError(
            f"the member {member.filename!r} of {origin} has {size:,} bytes; its directory states "
            f"{member.file_size:,}."
        )


@contextmanager
def _opened(file: io.RawIOBase, origin: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip and turn whatever a damaged one raises into a `WeightsError`."""
    try:
        with zipfile.ZipFile(cast(BinaryIO, file)) as archive:
            yield archive
    except BROKEN_ZIP as error:
        raise WeightsError(
            f"{origin} is not a whole zip archive: {printable(str(error) or type(error).__name__)}."
        ) from error


class _Careful(io.FileIO):
    """A file that refuses reads of more than `MAX_DIRECTORY` bytes, whatever the zip's directory claims."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, self._size - self.tell())
        if size > MAX_DIRECTORY:
            raise WeightsError(f"{self.name} has a directory of more than {MAX_DIRECTORY:,} bytes.")
        return super().read(size) or b""
