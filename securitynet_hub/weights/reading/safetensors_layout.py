"""Read the header of a safetensors file: which tensors it holds, and where their bytes lie.

The format: eight bytes with the header's length, the header (JSON: name -> dtype, shape, offsets), the bytes
(https://huggingface.co/docs/safetensors, "Format"). The library would read it, too. But Ctrl-C while it runs
becomes an error of the format, it takes the last of two tensors with the same name, and 280,000 empty tensors
keep it busy for a minute.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, BinaryIO, NamedTuple

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading.layout import ITEM_SIZES, Storage, View

MAX_HEADER = 8 << 20
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 64

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""The names of dtypes in a header, and torch's."""

METADATA = "__metadata__"


class Header(NamedTuple):
    """What a header says.

    Attributes:
        tensors: by their names, sorted.
        places: the position of each one's bytes.
        about: texts that the writer added, by name.
    """

    tensors: dict[str, View]
    places: dict[str, int]
    about: dict[str, str]


def read_header(file: BinaryIO, size: int) -> Header:
    """Check a header and return its tensors; every byte behind it must belong to exactly one of them.

    Raises:
        WeightsError: the header is damaged, too long, or names a tensor twice; or tensors overlap, leave a
            hole, or do not fill the file.
    """
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(MAX_HEADER, size - 8):
        raise WeightsError(f"its safetensors header would have {length:,} bytes")
    try:
        content = json.loads(
            file.read(length).decode("utf-8"), object_pairs_hook=_unambiguous, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise _broken(f"its header is no proper JSON: {error}") from error
    if type(content) is not dict:
        raise _broken("its header is no JSON object")
    about = content.pop(METADATA, {})
    if type(about) is not dict or not all(type(text) is str for text in about.values()):
        raise _broken(f"its {METADATA} is no map of texts")
    if len(content) > MAX_TENSORS:
        raise WeightsError(f"it names {len(content):,} tensors; at most {MAX_TENSORS:,} are read")
    spans = sorted((*_span(name, entry), name) for name, entry in content.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise _broken(f"the bytes of {name[:80]!r} overlap others or leave a hole")
        position = end
    if 8 + length + position != size:
        raise _broken(f"its tensors end at byte {8 + length + position:,} of {size:,}")
    places = {name: 8 + length + begin for begin, _, name in spans}
    return Header({name: _view(name, content[name]) for name in sorted(content)}, places, about)


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's bytes begin and end, after checking its entry."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(f"{name[:80]!r} is not described by dtype, shape and data_offsets")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _broken("it has a name that is no text")  # half of a surrogate pair
    shape, offsets = entry["shape"], entry["data_offsets"]
    if type(entry["dtype"]) is not str or entry["dtype"] not in DTYPES:
        raise _broken(f"{name[:80]!r} has a dtype that is not known")
    if not (_are_counts(shape) and _are_counts(offsets)) or len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise _broken(f"{name[:80]!r} has a shape or offsets that are no counts")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_SIZES[DTYPES[entry["dtype"]]]:
        raise _broken(f"{name[:80]!r} has {end - begin:,} bytes, which is not the size of its shape")
    return begin, end


def _view(name: str, entry: dict[str, Any]) -> View:
    shape = tuple(entry["shape"])
    dtype = DTYPES[entry["dtype"]]
    stride = tuple(math.prod(shape[dimension + 1 :]) for dimension in range(len(shape)))
    return View(Storage(name, dtype, math.prod(shape)), dtype, 0, shape, stride)


def _are_counts(values: Any) -> bool:
    return type(values) is list and all(type(value) is int and 0 <= value < 1 << 48 for value in values)


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _broken(what: str) -> WeightsError:
    return WeightsError(f"it is not whole safetensors ({what})")
