"""Download a link into a file: resume where an earlier attempt stopped, and bound the size."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.printing import PlainConsole
from securitynet_hub.core.retry import TransientError
from securitynet_hub.core.text import printable_markup
from securitynet_hub.weights.download.http import MIN_RATE, RangesIgnoredError, open_url, retry_download

SPARE_DISK = 64 << 20
"""Bytes that a download leaves free on the disk."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Span(NamedTuple):
    """The bytes from `start` to `stop` of a remote file, in a known version."""

    start: int
    stop: int
    version: str | None


def download(
    session: requests.Session,
    url: str,
    part: Path,
    *,
    limit: int,
    span: Span | None = None,
    progress: bool = False,
    any_content: bool = False,
) -> None:
    """Download a URL, or a span of it, into `part`.

    A note beside the part records the version of the remote file. However a process ends, the next call
    resumes where the part ends, if the server still has that version and supports ranges; otherwise it starts
    over.

    With `any_content` the file may be empty or a web page, because its hash is compared next.

    Raises:
        WeightsError: the download fails, the file is larger than `limit` bytes or than the free disk space,
            or the server sent a web page or a Git-LFS pointer instead of the file.
        RangesIgnoredError: a span was requested, but the server does not support ranges.
    """
    farthest, since = _resumable(part, url, span), time.monotonic()

    def attempt() -> None:
        try:
            _go_on(session, url, part, _resumable(part, url, span), limit, span, show)
        except RangesIgnoredError:
            discard(part)
            if span is not None:
                raise
            raise TransientError("the file changed while it was downloaded.") from None

    def progressed() -> bool:
        # Only bytes beyond the previous maximum count as progress; otherwise a server that starts over at
        # every request would be asked for ever; so would one that sends a byte at each.
        nonlocal farthest, since
        before, farthest = farthest, max(farthest, _resumable(part, url, span))
        began, since = since, time.monotonic()
        return farthest - before > MIN_RATE * (since - began)

    with _progress_bar(part.stem, progress) as show:
        retry_download(url, attempt, progressed=progressed)
    if span is None and not any_content:
        _refuse_stand_ins(part, url)


def discard(part: Path) -> None:
    """Remove a partial download and its note."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def require_space(folder: Path, size: int, url: str) -> None:
    """Refuse a file that would fill the disk."""
    free = shutil.disk_usage(folder).free
    if size + SPARE_DISK > free:
        raise WeightsError(
            f"{url} needs {size:,} bytes; the disk of {folder} has {free:,} free, of which "
            f"{SPARE_DISK:,} stay reserved. Make room, or set HF_HOME to another disk."
        )


def require_within(size: int, limit: int, what: str) -> None:
    """Refuse a size above the limit."""
    if size > limit:
        raise WeightsError(
            f"{what} has {size:,} bytes; at most {limit:,} are accepted. Set SECURITYNET_MAX_BYTES to "
            "allow more."
        )


def _go_on(
    session: requests.Session,
    url: str,
    part: Path,
    have: int,
    limit: int,
    span: Span | None,
    show: Callable[[int, int | None], None],
) -> None:
    """Request the missing bytes once and append them."""
    base, stop, version = span or (0, None, None)
    noted = _read_note(part)
    if have:
        version = noted["version"]
        if have == noted["size"]:
            return
    with open_url(session, url, base + have, stop, version) as reply:
        if not reply.partial:
            if span is not None:
                raise RangesIgnoredError
            have = 0
        end = reply.total if stop is None else stop
        size = None if end is None else end - base
        if have and size != noted["size"]:
            raise RangesIgnoredError
        require_within(size or 0, limit, url)
        require_space(part.parent, (size or 0) - have, url)
        if not have:
            discard(part)
            note = {"url": url, "base": base, "stop": stop, "version": reply.version, "size": size}
            _note(part).write_text(json.dumps(note), encoding="utf-8")
        # Unbuffered: bytes that have arrived are in the file even if this process is killed.
        with part.open("ab", buffering=0) as file:
            show(have, size)
            for chunk in reply.chunks:
                have += len(chunk)
                if have > (limit if size is None else size):
                    file.close()
                    discard(part)
                    stated = f"the {size:,} bytes it stated" if size is not None else f"{limit:,} bytes"
                    raise WeightsError(f"{url} sends more than {stated}; the download was stopped.")
                _write(file, chunk, url)
                show(have, size)
    if size is not None and have < size:
        raise TransientError(f"the connection ended after {have:,} of {size:,} bytes.")


def _write(file: Any, chunk: bytes, url: str) -> None:
    view = memoryview(chunk)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise WeightsError(f"{url} cannot be stored as {file.name}: {error.strerror}.") from error


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _resumable(part: Path, url: str, span: Span | None) -> int:
    """Return how many bytes of a part can be kept; remove a part that cannot be continued and return 0."""
    note = _read_note(part)
    base, stop, version = span or (0, None, note.get("version"))
    have = part.stat().st_size if part.is_file() else 0
    same = (note.get("url"), note.get("base"), note.get("stop")) == (url, base, stop)
    # Without a version it is unknown whether the rest would come from the same file.
    if not same or version is None or note.get("version") != version:
        have = 0
    size = note.get("size")
    if have and (not isinstance(size, int) or have > size):
        have = 0
    if not have:
        discard(part)
    return have


def _refuse_stand_ins(part: Path, url: str) -> None:
    """Refuse what servers send instead of a file, with a clearer message than a differing hash."""
    with part.open("rb") as file:
        head = file.read(512)
    sentence = None
    if not head:
        sentence = "is empty"
    elif head.startswith(LFS_POINTER):
        sentence = "is a Git-LFS pointer, not the file it points to"
    elif head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        sentence = "is a web page, not weights"
    if sentence is not None:
        discard(part)
        raise WeightsError(f"{url} {sentence}. Check the link.")


@contextmanager
def _progress_bar(name: str, wanted: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress on standard error if it is a terminal."""
    console = PlainConsole(stderr=True)
    if not (wanted and console.is_terminal):
        yield lambda have, size: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable_markup(name), total=None)
        yield lambda have, size: bar.update(task, completed=have, total=size)
