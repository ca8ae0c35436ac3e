"""Read a remote file at any position by HTTP ranges, as if it were on the disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import requests

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.retry import TransientError
from securitynet_hub.weights.download.http import RangesIgnoredError, open_url, retry_download

BLOCK = 1 << 16
MAX_DIRECTORY = 4 << 20
"""Largest number of bytes that are read to find the members of an archive."""


class RemoteFile(io.RawIOBase):
    """A seekable remote file, read by HTTP ranges in blocks, at most `MAX_DIRECTORY` bytes in all.

    Args:
        session: to ask with.
        url: where the file is.
        worthwhile: number of bytes beyond which reading parts is given up, in place of that bound.

    Raises:
        RangesIgnoredError: the server does not support ranges, or more than `worthwhile` bytes are asked for.
    """

    def __init__(self, session: requests.Session, url: str, *, worthwhile: int | None = None) -> None:
        self.url = url
        self.size = 0
        self.version: str | None = None
        self._session = session
        self.worthwhile = worthwhile
        self._position = 0
        self.fetched = 0
        self._blocks: dict[int, bytes] = {}
        self._overlay: tuple[int, int, BinaryIO] | None = None
        self._get(0, 1)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to another position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise OSError(22, "seek before the start")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, fewer only at the end."""
        stop = self.size if size is None or size < 0 else min(self._position + size, self.size)
        start, self._position = self._position, max(stop, self._position)
        if stop <= start:
            return b""
        if self._overlay is not None and self._overlay[0] <= start and stop <= self._overlay[1]:
            file = self._overlay[2]
            file.seek(start - self._overlay[0])
            return file.read(stop - start)
        return self._read_blocks(start, stop)

    @contextmanager
    def overlay(self, start: int, path: Path) -> Iterator[None]:
        """Read from a local file instead, which holds the bytes from `start` on."""
        with path.open("rb") as file:
            self._overlay = (start, start + path.stat().st_size, file)
            try:
                yield
            finally:
                self._overlay = None

    def _read_blocks(self, start: int, stop: int) -> bytes:
        # Blocks are counted from the end, where a zip's directory lies, so that it is often one block.
        first, last = (self.size - stop) // BLOCK, (self.size - start - 1) // BLOCK
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if missing:
            bottom = max(0, self.size - (missing[-1] + 1) * BLOCK)
            data = self._get(bottom, self.size - missing[0] * BLOCK)
            for number in range(missing[0], missing[-1] + 1):
                begin = max(0, self.size - (number + 1) * BLOCK) - bottom
                self._blocks[number] = data[begin : self.size - number * BLOCK - bottom]
        joined = b"".join(self._blocks[number] for number in range(last, first - 1, -1))
        offset = start - max(0, self.size - (last + 1) * BLOCK)
        return joined[offset : offset + stop - start]

    def _get(self, start: int, stop: int) -> bytes:
        self.fetched += stop - start
        if self.worthwhile is not None and self.fetched > self.worthwhile:
            raise RangesIgnoredError
        if self.worthwhile is None and self.fetched > MAX_DIRECTORY:
            raise WeightsError(f"{self.url} has a directory of more than {MAX_DIRECTORY:,} bytes.")

        def attempt() -> bytes:
            with open_url(self._session, self.url, start, stop, self.version) as reply:
                if not reply.partial or (self.size and reply.total != self.size):
                    raise RangesIgnoredError
                data = bytearray()
                for chunk in reply.chunks:
                    data += chunk
                    if len(data) > stop - start:
                        raise WeightsError(
                            f"{self.url} sends more than the {stop - start:,} bytes that were requested."
                        )
            if len(data) < stop - start:
                raise TransientError(f"the connection ended after {len(data):,} bytes.")
            self.size, self.version = reply.total or 0, reply.version
            return bytes(data)

        return retry_download(self.url, attempt)
