"""Compute the decompressed size of a Parquet file from its page headers.

Readers rely on these headers; the sums in the file's footer may be forged.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

BOOLEANS, BYTE, VARINTS, DOUBLE, BINARY, LISTS, STRUCT = {1, 2}, 3, {4, 5, 6}, 7, 8, {9, 10}, 12
"""Field types of Thrift's compact protocol, in which Parquet writes its headers."""

MAX_NESTED = 8
MAX_PAGES = 100_000
MAX_STEPS = 5_000_000
"""Fields and items of lists in all page headers together."""

MAX_FOOTER = 4 << 20
"""Bytes of the largest footer; one of our shards has some 10,000."""


class _Steps:
    """What is left of a budget of steps: headers may lie over one another, and be read again and again."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"its page headers have more than {MAX_STEPS:,} fields")


def require_small_footer(path: Path) -> None:
    """Refuse a Parquet file whose footer, which is read before anything else, is larger than `MAX_FOOTER`.

    Raises:
        ValueError: it is, or there is none.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        end = file.read()
    stated = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or stated > size - 8:
        raise ValueError("it has no footer")
    if stated > MAX_FOOTER:
        raise ValueError(f"its footer has {stated:,} bytes; at most {MAX_FOOTER:,} are read")


def unpacked_size(path: Path) -> int:
    """Return the sum of the decompressed sizes of all pages of a Parquet file.

    A reader allocates the size that a page's header states. (Apache Parquet,
    format/src/main/thrift/parquet.thrift, PageHeader: 1 type, 2 uncompressed_page_size, 3
    compressed_page_size.)

    Raises:
        ValueError: the pages do not follow the format.
    """
    content = path.read_bytes()
    metadata = pq.read_metadata(path)
    total = pages = 0
    steps = _Steps(MAX_STEPS)
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            starts = (column.data_page_offset, column.dictionary_page_offset)
            place = min(start for start in starts if start)
            end = place + column.total_compressed_size
            while place < end:
                pages += 1
                if pages > MAX_PAGES:
                    raise ValueError(f"there are more than {MAX_PAGES:,} pages")
                unpacked, packed, place = _page(content, place, steps)
                total += unpacked
                place += packed
    return total


def _page(content: bytes, place: int, steps: _Steps) -> tuple[int, int, int]:
    """Return a page's decompressed and compressed size, and the position behind its header."""
    try:
        sizes, place = _struct(content, place, 0, steps)
        unpacked, packed = sizes[2], sizes[3]
    except (IndexError, KeyError) as error:
        raise ValueError("a page has no header") from error
    if unpacked < 0 or packed < 0:
        raise ValueError("a page has a negative size")
    return unpacked, packed, place


def _struct(content: bytes, place: int, depth: int, steps: _Steps) -> tuple[dict[int, int], int]:
    """Return the integers in a struct by the ids of their fields, and the position behind it."""
    if depth > MAX_NESTED:
        raise ValueError("a page's header is nested too deep")
    numbers, field = {}, 0
    while content[place]:
        steps.take()
        delta, kind = content[place] >> 4, content[place] & 15
        place += 1
        if delta:
            field += delta
        else:
            field, place = _zigzag(content, place)
        if kind in VARINTS:
            numbers[field], place = _zigzag(content, place)
        elif kind not in BOOLEANS:  # the type of a boolean is its value
            place = _skip(content, place, kind, depth, steps)
    return numbers, place + 1


def _skip(content: bytes, place: int, kind: int, depth: int, steps: _Steps) -> int:
    """Return the position behind a value."""
    if kind in VARINTS:
        return _varint(content, place)[1]
    if kind == BINARY:
        length, place = _varint(content, place)
        return place + length
    if kind == STRUCT:
        return _struct(content, place, depth + 1, steps)[1]
    if kind in LISTS:
        count, inner = content[place] >> 4, content[place] & 15
        place += 1
        if count == 15:
            count, place = _varint(content, place)
        for _ in range(count):
            steps.take()
            place = _skip(content, place, inner, depth + 1, steps)
            content[place]  # the end of the file is the end of the list
        return place
    if kind in {BYTE, *BOOLEANS}:
        return place + 1
    if kind == DOUBLE:
        return place + 8
    raise ValueError(f"a page's header has a field of type {kind}")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        shift += 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number in a page's header does not end")


def _zigzag(content: bytes, place: int) -> tuple[int, int]:
    value, place = _varint(content, place)
    return (value >> 1) ^ -(value & 1), place
