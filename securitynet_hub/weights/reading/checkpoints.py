"""Read untrusted weights files without running code and within bounds, or refuse them with the reason.

A torch file is read in three steps, without an unpickler: check the layout and checksums
(:mod:`~securitynet_hub.weights.reading.zip_layout`), follow the opcodes to find the tensors
(:mod:`~securitynet_hub.weights.reading.pickle_walk`), and build the tensors from their bytes
(:mod:`~securitynet_hub.weights.reading.build`). Of a safetensors file the header
(:mod:`~securitynet_hub.weights.reading.safetensors_layout`) says where the tensors lie.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

import torch

from securitynet_hub.core.errors import NoWeightsError, WeightsError
from securitynet_hub.core.files import MAX_BYTES
from securitynet_hub.core.text import printable
from securitynet_hub.weights.reading.build import build_tensors, describe_tensors
from securitynet_hub.weights.reading.foreign import foreign, is_other_archive
from securitynet_hub.weights.reading.layout import UNTYPED, Storage, View
from securitynet_hub.weights.reading.pickle_walk import (
    HOLDING,
    MAX_KEY_TEXT,
    MAX_PICKLE,
    Budget,
    Global,
    Inert,
    Walk,
    is_dtype,
    is_module,
    parts,
    values,
    walk,
)
from securitynet_hub.weights.reading.safetensors_layout import MAX_TENSORS, read_header
from securitynet_hub.weights.reading.summary import described, find_weights
from securitynet_hub.weights.reading.zip_layout import (
    Member,
    read_archive,
    read_listed_archive,
    read_member,
)
from securitynet_hub.weights.shards import is_index, read_index, why_not_shard

T = TypeVar("T")

MAX_GROWTH, ALLOWED = 4, 64 << 20
"""Tensors that share bytes may exceed the file by this factor, and by this many bytes."""

LONGEST_REASON = 1000
"""Characters of a refusal, which can quote names from the file."""

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
_LEGACY = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
SAFETENSORS, ZIPPED, LEGACY, UNKNOWN = "safetensors", "torch zip", "torch legacy", "unknown"


class Verdict(NamedTuple):
    """Whether a weights file is safe and complete, whether weights can be loaded from it, and if not, why.

    Attributes:
        safe: whether the file was read whole, and holds nothing that runs code when another reader reads it.
        format: ``safetensors``, ``torch zip``, ``torch legacy`` or ``unknown``; an index adds ``, sharded``.
        reason: what was refused and where, or why nothing can be loaded; None if neither.
        tensors: number of tensors; tensors with the same bytes count once.
        parameters: number of elements in them.
        bytes: size of the file, or of all that an index names.
        loadable: whether it is safe and holds weights, all of them finite.
        weights: the keys that lead to the largest set of named tensors, joined by ``/``; "" for the top. The
            state of an optimiser is none.
        ignored: what stands beside that set, with its type; none of it was built.
        names: the classes and functions that another reader would import for it, sorted.
    """

    safe: bool
    format: str
    reason: str | None
    tensors: int
    parameters: int
    bytes: int
    loadable: bool = False
    weights: str = ""
    ignored: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Content(NamedTuple):
    """What a file holds, and the names of the classes and functions that another reader would import."""

    values: dict[str, Any]
    names: tuple[str, ...]


def read_checkpoint(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the content of a safetensors, zipped torch or legacy torch file: dicts, lists, numbers, tensors.

    Ordered dicts become dicts, parameters and CUDA tensors become CPU tensors, and dtypes and devices become
    their names. A module that was saved whole becomes its state dict. Any other object becomes an
    `Inert`, which names its class. Tied weights stay tied; other tensors never share memory. Only the zipped
    format has checksums. A changed number in the other two formats goes unnoticed, so compare the file's hash
    with the publisher's first. Tensors may hold NaN and infinity.

    Raises:
        NoWeightsError: the file is safe, but holds no dict of named values.
        WeightsError: the file cannot be read, is damaged, or holds something that is not accepted.
    """
    try:
        with _opened(path, max_bytes) as (file, size):
            return _read(file, size, _sniff(file, size)).values
    except NoWeightsError as error:
        raise NoWeightsError(f"{path} cannot be loaded: {printable(error, limit=LONGEST_REASON)}.") from error
    except WeightsError as error:
        raise WeightsError(f"{path} is refused: {printable(error, limit=LONGEST_REASON)}.") from error


def judge_parts(file: BinaryIO, size: int) -> Verdict | None:
    """Judge an opened file by what can run code, without reading its numbers; None for a form that needs all.

    Of safetensors the header is read, of torch's zipped form the directory, the pickle and the few small
    members. The verdict tells no NaN and no changed number.

    Args:
        file: can be read and sought; what is asked of it is little, whatever its size.
        size: its size in bytes.
    """
    kind = UNKNOWN
    try:
        kind = _sniff(file, size)
        return None if kind == LEGACY else _verdict(_read(file, size, kind, numbers=False), kind, size)
    except WeightsError as error:
        return _refusal(error, kind, size)


def judge(path: Path, *, max_bytes: int = MAX_BYTES) -> Verdict:
    """Return whether a weights file is safe and complete, by the rules of :func:`read_checkpoint`.

    The index of sharded weights stands for all of its files.
    """
    if is_index(path.name):
        return _judge_index(path, max_bytes)
    kind, size = UNKNOWN, 0
    try:
        with _opened(path, max_bytes) as (file, size):
            kind = _sniff(file, size)
            return _verdict(_read(file, size, kind), kind, size)
    except WeightsError as error:
        return _refusal(error, kind, size)


def _refusal(error: WeightsError, kind: str, size: int) -> Verdict:
    safe = isinstance(error, NoWeightsError)
    return Verdict(safe, kind, printable(error, limit=LONGEST_REASON), 0, 0, size)


def _verdict(content: Content, kind: str, size: int) -> Verdict:
    tensors = {id(leaf): leaf for leaf in _leaves(content.values, torch.Tensor)}
    found = find_weights(content.values)
    return Verdict(
        True,
        kind,
        None if found.reason is None else printable(found.reason, limit=LONGEST_REASON),
        len(tensors),
        sum(tensor.numel() for tensor in tensors.values()),
        size,
        loadable=found.reason is None,
        weights=found.place,
        ignored=found.ignored,
        names=content.names,
    )


def _judge_index(path: Path, max_bytes: int) -> Verdict:
    """Judge every file that an index names; each must hold exactly the tensors placed there."""
    try:
        shards = read_index(path)
    except WeightsError as error:
        return Verdict(False, UNKNOWN, printable(error, limit=LONGEST_REASON), 0, 0, 0)
    verdicts: list[Verdict] = []
    for name, expected in shards.items():
        shard, left = path.with_name(name), max_bytes - sum(verdict.bytes for verdict in verdicts)
        verdict = judge(shard, max_bytes=max(0, left))
        verdicts.append(verdict)
        if verdict.loadable:
            reason = why_not_shard(read_checkpoint(shard, max_bytes=max(0, left)), expected, path.name)
            verdict = verdict if reason is None else verdict._replace(safe=False, reason=f"it {reason}")
        if not verdict.loadable or not verdict.safe:
            reason = printable(f"{name}: {verdict.reason}", limit=LONGEST_REASON)
            return verdict._replace(reason=reason, loadable=False)
    return Verdict(
        True,
        f"{verdicts[0].format}, sharded",
        None,
        sum(verdict.tensors for verdict in verdicts),
        sum(verdict.parameters for verdict in verdicts),
        sum(verdict.bytes for verdict in verdicts),
        loadable=True,
        names=tuple(sorted({name for verdict in verdicts for name in verdict.names})),
    )


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
    if head.startswith(b"PK") and not is_other_archive(head):
        return ZIPPED
    if head.startswith(_LEGACY[:5]):
        return LEGACY
    if head[8:9] == b"{":
        return SAFETENSORS
    raise WeightsError(f"it {foreign(head)}; safetensors or a file of torch.save was expected")


def _read(file: BinaryIO, size: int, kind: str, *, numbers: bool = True) -> Content:
    """Return what a file holds; without the numbers, tensors are on the meta device."""
    try:
        if kind == SAFETENSORS:
            header = read_header(file, size)
            tensors = _tensors(file, header.tensors.values(), header.places, numbers)
            return Content({name: tensors[view] for name, view in header.tensors.items()}, ())
        return _read_torch(file, size, kind, numbers)
    except MemoryError as error:
        raise WeightsError("it needs more memory than there is") from error


def _tensors(
    file: BinaryIO, views: Iterable[View], places: Mapping[str, int], numbers: bool
) -> dict[View, torch.Tensor]:
    return build_tensors(cast(BufferedReader, file), views, places) if numbers else describe_tensors(views)


def _read_torch(file: BinaryIO, size: int, kind: str, numbers: bool) -> Content:
    if kind == ZIPPED:
        found, places = _walk_zipped(file, (read_archive if numbers else read_listed_archive)(file, size))
    else:
        found, places = _walk_legacy(file, size)
    views = list(_leaves(found.value, View))
    if len(views) > MAX_TENSORS:
        raise WeightsError(f"it names {len(views):,} tensors; at most {MAX_TENSORS:,} are read")
    total = sum(view.bytes for view in views)  # a view under two names counts twice, as it is stored twice
    if total > MAX_GROWTH * size + ALLOWED:
        raise WeightsError(f"its tensors would take {total:,} bytes, the file has {size:,}")
    if not isinstance(found.value, (dict, Inert)) or parts(found.value) is None:
        raise NoWeightsError(f"it holds {described(found.value)}, not a dict of named values")
    content = _fill(found.value, _tensors(file, dict.fromkeys(views), places, numbers))
    return Content({key: value for key, value in content.items() if type(key) is not Inert}, found.names)


def _fill(value: Any, tensors: dict[View, torch.Tensor]) -> Any:
    """Replace each view in the content by its tensor, and each module by its state dict."""
    if not isinstance(value, (*HOLDING, View, Global, Storage)):
        return value
    if isinstance(value, View):
        return tensors[value]
    if isinstance(value, Global):
        return value.name if is_dtype(value) else Inert(value.name)
    if isinstance(value, Storage):
        return Inert("storage")
    if is_module(value):
        return dict(_state_dict(value, tensors, ""))
    within = parts(value)
    if within is None:
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_fill(item, tensors) for item in value)
    return {key: _fill(item, tensors) for key, item in within}


def _state_dict(module: Any, tensors: dict[View, torch.Tensor], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in parts(module) or ():
        if len(prefix) + len(str(name)) > MAX_KEY_TEXT:
            raise WeightsError(
                f"it has a module whose parameter has a name of more than {MAX_KEY_TEXT:,} characters"
            )
        if is_module(value):
            yield from _state_dict(value, tensors, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _fill(value, tensors)


def _walk_zipped(file: BinaryIO, members: Mapping[str, Member]) -> tuple[Walk, dict[str, int]]:
    """Return what the pickle describes, and where each storage's bytes start."""
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
    return found, {key: member.start for key, member in held.items()}


def _walk_legacy(file: BinaryIO, size: int) -> tuple[Walk, dict[str, int]]:
    """Do the same for the legacy format: five pickles, followed by the storages with their sizes."""
    file.seek(0)
    data = file.read(min(size, MAX_PICKLE))
    budget = Budget()
    magic = walk(data, budget=budget)
    version = walk(data, magic.end, budget)
    system = walk(data, version.end, budget)
    found = walk(data, system.end, budget)
    keys = walk(data, found.end, budget)
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
    return found, places


def _leaves(root: Any, kind: type[T]) -> Iterator[T]:
    """Yield every value of a kind, in order; one that stands in several places, several times."""
    todo: list[Iterator[Any]] = [iter((root,))]
    while todo:
        for value in todo[-1]:
            if isinstance(value, kind):
                yield value
            elif isinstance(value, HOLDING) and (within := values(value)) is not None:
                todo.append(iter(within))
                break
        else:
            todo.pop()
