"""What an ONNX file holds, read from its bytes without any runtime, and what is refused in it.

An ONNX file is a protocol buffer: nested messages of numbered fields (onnx/onnx.proto, version 1.17). Here
only the fields that matter are followed: nodes, their operators, and where tensors lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from securitynet_hub.core.errors import WeightsError

MAX_BYTES = 2 << 30
"""Largest file: a protocol buffer holds no more."""

MAX_NODES, MAX_DEPTH = 50_000, 16
"""Largest number of nodes, and of messages within one another."""

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""The operators' domains that belong to ONNX itself."""

UNBOUNDED = frozenset({"Loop", "Scan"})
"""Operators that may run without end; no image classifier needs one."""

EXTERNAL = 1
"""The data location of a tensor whose values lie in another file."""

# For each kind of message the fields that are messages to follow, by their numbers.
PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 12: "output", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "output": {},
    "entry": {},
}
OPERATOR, NODE_OUTPUT, NODE_DOMAIN, FUNCTION_DOMAIN = 4, 2, 7, 10
EXTERNAL_DATA, DATA_LOCATION = 13, 14
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class OnnxFacts(NamedTuple):
    """What is known of a file before a runtime sees it.

    Attributes:
        nodes: number of nodes, those of subgraphs included.
        final: the operator that makes the first output; empty where it is not found.
        metadata: the file's own entries.
    """

    nodes: int
    final: str
    metadata: dict[str, str]


def read_onnx(content: bytes, name: str) -> OnnxFacts:
    """Return what an ONNX file holds.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        WeightsError: it is no ONNX file or too large, its tensors lie in other files, or it asks for
            operators that are not ONNX's own or that may run without end.
    """
    if len(content) > MAX_BYTES:
        raise WeightsError(f"{name} has {len(content):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        return _walk(memoryview(content), name)
    except (IndexError, ValueError) as error:
        raise WeightsError(f"{name} is not a readable ONNX file: {error}.") from error


def _walk(content: memoryview, name: str) -> OnnxFacts:
    nodes = 0
    outputs: list[str] = []
    makers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    used: dict[str, str] = {}
    local: set[str] = set()
    graphs = 0
    todo: list[tuple[str, memoryview, int]] = [("model", content, 0)]
    while todo:
        kind, message, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise WeightsError(f"{name} has more than {MAX_DEPTH} messages within one another.")
        own = list(_fields(message))
        for n, value in own:
            if isinstance(value, memoryview) and n in PARTS[kind]:
                todo.append((PARTS[kind][n], value, depth + 1))
        if kind == "graph":
            graphs += 1
        elif kind == "node":
            nodes += 1
            operator, domain = _text(own, OPERATOR), _text(own, NODE_DOMAIN)
            used.setdefault(domain, operator)
            if nodes > MAX_NODES:
                raise WeightsError(f"{name} has more than {MAX_NODES:,} nodes.")
            if operator in UNBOUNDED:
                raise WeightsError(
                    f"{name} has a {operator}, which may run without end; no image classifier needs one."
                )
            makers |= {_decoded(value): operator for n, value in own if n == NODE_OUTPUT}
        elif kind == "function":
            local.add(_text(own, FUNCTION_DOMAIN))
        elif kind == "output" and depth == 2:
            outputs.append(_text(own, 1))
        elif kind == "entry":
            metadata[_text(own, 1)] = _text(own, 2)
        elif kind == "tensor":
            places = [value for n, value in own if n == DATA_LOCATION]
            if EXTERNAL in places or any(n == EXTERNAL_DATA for n, _ in own):
                raise WeightsError(
                    f"{name} keeps tensors in other files, which are not read: save it as one file."
                )
    if not graphs or not nodes:
        raise WeightsError(f"{name} is not an ONNX file: it has no graph.")
    strange = sorted(used.keys() - DOMAINS - local)
    if strange:
        raise WeightsError(
            f"{name} asks for operators that are not ONNX's own, such as {used[strange[0]]} of "
            f"{strange[0]!r}; those are never loaded."
        )
    # The walk takes the last message first.
    return OnnxFacts(nodes, makers.get(outputs[-1], "") if outputs else "", metadata)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the number and value of each field: bytes, or a whole number."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, value
        elif wire == BYTES:
            size, place = _varint(message, place)
            if place + size > len(message):
                raise ValueError("a field is longer than its message")
            yield number, message[place : place + size]
            place += size
        elif wire in (FIXED32, FIXED64):
            place += 4 if wire == FIXED32 else 8
            if place > len(message):
                raise ValueError("a number is cut off")
        else:
            raise ValueError(f"a field has the unknown type {wire}")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return a whole number in seven bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number has more than ten bytes")


def _text(fields: list[tuple[int, memoryview | int]], number: int) -> str:
    return next((_decoded(value) for n, value in fields if n == number and not isinstance(value, int)), "")


def _decoded(value: memoryview | int) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else ""
