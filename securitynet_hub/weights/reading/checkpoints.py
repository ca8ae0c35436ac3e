"""Read untrusted weights files without running code and within bounds, or refuse them with the reason.

The library safetensors parses its own format. A torch file is read in three steps, without an unpickler:
check the layout and checksums (:mod:`~securitynet_hub.weights.reading.zip_layout`), follow the opcodes to
find the tensors (:mod:`~securitynet_hub.weights.reading.pickle_walk`), and build the tensors from their bytes
(:mod:`~securitynet_hub.weights.reading.build`).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import safetensors
import torch

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import MAX_BYTES
from securitynet_hub.core.text import printable
from securitynet_hub.weights.reading.build import build_tensors
from securitynet_hub.weights.reading.layout import UNTYPED, View
from securitynet_hub.weights.reading.pickle_walk import MAX_PICKLE, Global, walk
from securitynet_hub.weights.reading.zip_layout import read_archive, read_member
from securitynet_hub.weights.tensors import require_finite

MAX_HEADER = 16 << 20
MAX_GROWTH = 4
"""Bytes of a safetensors header; factor by which tensors that share bytes may exceed the file."""

LONGEST_REASON = 1000
"""Characters of a refusal, which can quote names from the file."""

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
_LEGACY = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
SAFETENSORS, ZIPPED, LEGACY, UNKNOWN = "safetensors", "torch zip", "torch legacy", "unknown"


class Verdict(NamedTuple):
    """Whether a weights file is safe and complete, and if not, why.

    Attributes:
        safe: whether the file is safe and every tensor was read.
        format: ``safetensors``, ``torch zip``, ``torch legacy`` or ``unknown``.
        reason: what was refused and where; None for a safe file.
        tensors: number of tensors; tensors with the same bytes count once.
        parameters: number of elements in them.
        bytes: size of the file.
    """

    safe: bool
    format: str
    reason: str | None
    tensors: int
    parameters: int
    bytes: int


def read_checkpoint(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the content of a safetensors, zipped torch or legacy torch file: dicts, lists, numbers, tensors.

    Ordered dicts become dicts, parameters and CUDA tensors become CPU tensors, and dtypes and devices become
    their names. Tied weights stay tied; other tensors never share memory. Only the zipped format has
    checksums. A changed number in the other two formats goes unnoticed, so compare the file's hash with the
    publisher's first.

    Raises:
        WeightsError: the file cannot be read, is damaged, or holds something that is not accepted.
    """
    try:
        with _opened(path, max_bytes) as (file, size):
            return _read(file, size, path, _sniff(file, size))
    except WeightsError as error:
        raise WeightsError(f"{path} is refused: {printable(error, limit=LONGEST_REASON)}.") from error


def judge(path: Path, *, max_bytes: int = MAX_BYTES) -> Verdict:
    """Return whether a weights file is safe and complete, by the rules of :func:`read_checkpoint`."""
    kind, size = UNKNOWN, 0
    try:
        with _opened(path, max_bytes) as (file, size):
            kind = _sniff(file, size)
            leaves = _leaves(_read(file, size, path, kind))
            tensors = {id(leaf): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}
    except WeightsError as error:
        return Verdict(False, kind, printable(error, limit=LONGEST_REASON), 0, 0, size)
    return Verdict(True, kind, None, len(tensors), sum(t.numel() for t in tensors.values()), size)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file of a bounded size; refuse a file that changes while it is open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise WeightsError(f"it cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise WeightsError("it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if found.st_size > max_bytes:
            raise WeightsError(f"it has {found.st_size:,} bytes; at most {max_bytes:,} are read")
        try:
            yield file, found.st_size
            after = os.stat(path)  # noqa: PTH116
        except OSError as error:
            raise WeightsError(f"it cannot be read ({error.strerror or error})") from error
        identity = [(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in (found, after)]
        if identity[0] != identity[1]:
            raise WeightsError("it was changed while it was read")


def _sniff(file: BinaryIO, size: int) -> str:
    """Return the format, which is recognised by the first bytes; the file's name is ignored."""
    head = file.read(512)
    if head.startswith(b"PK"):
        return ZIPPED
    if head.startswith(_LEGACY[:5]):
        return LEGACY
    if head[8:9] == b"{":
        return SAFETENSORS
    page = head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    packed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf"))
    looks = {
        "is empty": not head,
        "is a page of HTML, such as a server sends in place of a file": page,
        "is a Git LFS pointer, not the file that it points to": head.startswith(b"version https://git-lfs"),
        "is a tar archive": head[257:262] == b"ustar",
        "is compressed": packed,
        "is HDF5": head.startswith(b"\x89HDF"),
        "is a pickle that torch.save did not write": head[:1] == b"\x80" and head[1:2] <= b"\x05",
    }  # fmt: skip
    found = next((look for look, true in looks.items() if true), "is of no known format")
    raise WeightsError(f"it {found}; safetensors or a file of torch.save was expected")


def _read(file: BufferedReader, size: int, path: Path, kind: str) -> dict[str, Any]:
    if kind == SAFETENSORS:
        return _read_safetensors(file, size, path)
    content, places = (_walk_zipped if kind == ZIPPED else _walk_legacy)(file, size)
    if not isinstance(content, dict) or any(type(key) is not str for key in content):
        raise WeightsError(f"it holds a {type(content).__name__}, not a dict of named values")
    views = [leaf for leaf in _leaves(content) if isinstance(leaf, View)]
    total = sum(view.bytes for view in views)  # a view under two names counts twice, as it is stored twice
    if total > MAX_GROWTH * size:
        raise WeightsError(f"its tensors would take {total:,} bytes, the file has {size:,}")
    found: dict[str, Any] = _fill(content, build_tensors(file, dict.fromkeys(views), places))
    return found


def _fill(value: Any, tensors: dict[View, torch.Tensor]) -> Any:
    """Replace each view in the content by its tensor."""
    if isinstance(value, dict):
        return {key: _fill(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_fill(item, tensors) for item in value)
    if isinstance(value, View):
        return tensors[value]
    return value.name if isinstance(value, Global) else value


def _read_safetensors(file: BinaryIO, size: int, path: Path) -> dict[str, Any]:
    file.seek(0)
    (header,) = struct.unpack("<Q", file.read(8))
    if header > min(MAX_HEADER, size - 8):
        raise WeightsError(f"its safetensors header would have {header:,} bytes")
    tensors = {}
    try:
        with safetensors.safe_open(path, "pt") as content:
            for name in content.keys():  # noqa: SIM118 (not a dict)
                tensor = content.get_tensor(name)
                require_finite(tensor, f", under the name {name!r}")
                tensors[name] = tensor.clone()  # off the mapped file
    except (
        safetensors.SafetensorError,
        OSError,
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
    ) as error:
        raise WeightsError(f"it is not whole safetensors ({error})") from error
    return tensors


def _walk_zipped(file: BinaryIO, size: int) -> tuple[Any, dict[str, int]]:
    """Return what the pickle describes, and where each storage's bytes start."""
    members = read_archive(file, size)
    pickled = members["data.pkl"]
    found = walk(read_member(file, pickled, MAX_PICKLE))
    if found.end != pickled.size:
        raise WeightsError(f"its pickle has {pickled.size - found.end:,} bytes behind its end")
    held = {
        name.removeprefix("data/"): member for name, member in members.items() if name.startswith("data/")
    }
    for key, storage in found.storages.items():
        if key not in held or held[key].size != storage.bytes:
            size_ = f"{held[key].size:,}" if key in held else "no"
            raise WeightsError(f"its storage {key!r} has {size_} bytes, {storage.bytes:,} were announced")
    if strays := set(held) - set(found.storages):
        raise WeightsError(f"its member 'data/{min(strays)}' belongs to no tensor")
    return found.value, {key: member.start for key, member in held.items()}


def _walk_legacy(file: BinaryIO, size: int) -> tuple[Any, dict[str, int]]:
    """Do the same for the legacy format: five pickles, followed by the storages with their sizes."""
    file.seek(0)
    data = file.read(min(size, MAX_PICKLE))
    magic = walk(data)
    version = walk(data, magic.end)
    system = walk(data, version.end)
    found = walk(data, system.end)
    keys = walk(data, found.end)
    if (magic.value, version.value) != (MAGIC, VERSION):
        raise WeightsError("its magic number or version is not that of torch.save")
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise WeightsError("it was not written in little-endian byte order")
    named = keys.value if type(keys.value) is list else []
    if any(type(key) is not str for key in named) or sorted(named) != sorted(found.storages):
        raise WeightsError("its list of storages is not the one that its pickle names")
    position, places = keys.end, {}
    for key in named:
        storage = found.storages[key]
        file.seek(position)
        stated = file.read(8)
        if storage.dtype == UNTYPED:
            raise WeightsError(f"its storage {key!r} is of no stated dtype, which this format cannot hold")
        if stated != struct.pack("<q", storage.count):
            raise WeightsError(f"its storage {key!r} is not of the announced size")
        places[key] = position + 8
        position += 8 + storage.bytes
    if position != size:
        raise WeightsError(f"it has {size:,} bytes, its storages end at {position:,}")
    return found.value, places


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value
