"""Read a torch pickle without running it: a machine follows its opcodes and only describes its values.

The machine knows the opcodes that ``torch.save`` writes and ``torch.load(weights_only=True)`` reads, and
the few calls that state dicts need. It refuses everything else and names it with its position. The machine
never imports, calls or builds an object that the pickle chooses.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading.layout import ITEM_SIZES, STORAGES, UNTYPED, Storage, View, require_dense

MAX_PICKLE = 64 << 20
MAX_OPCODES = 1_000_000
MAX_NODES = 2_000_000
"""Number of values; a value that is used twice counts twice."""

MAX_DEPTH = 64
MAX_TEXT = 1 << 16
MAX_INTEGER = 16
"""Bytes of a text, and of a number."""

MAX_KEY = 1 << 60
"""Larger integers can be chosen to collide in their hash, which makes a dict of them quadratic."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of an importable object: a dtype, a storage class, or one of the known calls."""

    name: str


class Walk(NamedTuple):
    """The value that a pickle describes, the position behind its last byte, and the storages it names."""

    value: Any
    end: int
    storages: dict[str, Storage]


def walk(data: bytes, start: int = 0) -> Walk:
    """Describe the pickle that starts at ``data[start]``.

    Raises:
        WeightsError: the pickle has an opcode, a global or a value that no state dict needs, or exceeds a
            bound.

    >>> import pickle
    >>> walk(pickle.dumps({"epoch": 3}, protocol=2)).value
    {'epoch': 3}
    """
    machine = _Machine(data, start)
    try:
        value = machine.run()
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise machine.blocked(f"is malformed ({type(error).__name__})") from error
    _measure(value)
    return Walk(value, machine.position, machine.storages)


class _Machine:
    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.start = self.position = self.opcode_at = start
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def run(self) -> Any:
        if self.data[self.start : self.start + 1] not in (b"\x80", b""):
            raise self.blocked("does not state its protocol first")
        for _ in range(MAX_OPCODES):
            self.opcode_at = self.position
            opcode = self.take(1)
            if opcode == b".":
                (value,) = self.stack
                if self.below:
                    raise self.blocked("ends inside a group")
                return value
            handler = _OPCODES.get(opcode)
            if handler is None:
                raise self.blocked(f"has the opcode {_opcode_name(opcode)}, which torch.save does not write")
            handler(self)
        raise self.blocked(f"has more than {MAX_OPCODES:,} opcodes")

    def blocked(self, what: str) -> WeightsError:
        return WeightsError(f"its pickle {what}, at byte {self.opcode_at - self.start:,}")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data) or end - self.start > MAX_PICKLE:
            raise self.blocked("breaks off" if end > len(self.data) else f"exceeds {MAX_PICKLE:,} bytes")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 256)
        if end < 0:
            raise self.blocked("has a global without an end")
        piece, self.position = self.data[self.position : end], end + 1
        return piece.decode("ascii")

    def text(self, form: str) -> None:
        length = self.number(form)
        if length > MAX_TEXT:
            raise self.blocked(f"has a text of {length:,} bytes")
        self.stack.append(self.take(length).decode("utf-8"))

    def protocol(self) -> None:
        if self.opcode_at != self.start:
            raise self.blocked("states its protocol in the middle")
        if (protocol := self.number("B")) != 2:
            raise self.blocked(f"is of protocol {protocol}; torch.save writes 2")

    def integer(self) -> None:
        if (length := self.number("B")) > MAX_INTEGER:
            raise self.blocked(f"has a number of {length} bytes")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def put(self, form: str) -> None:
        self.memo[self.number(form)] = self.stack[-1]

    def get(self, form: str) -> None:
        self.stack.append(self.memo[self.number(form)])

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def group(self) -> list[Any]:
        group, self.stack = self.stack, self.below.pop()
        return group

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise self.blocked("takes from an empty stack")
        group = self.stack[-count:]
        del self.stack[-count:]
        return group

    def bundle(self, items: Iterable[Any]) -> None:
        self.stack.append(tuple(items))

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise self.blocked("appends to what is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter):
            raise self.blocked("sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: Any) -> Any:
        if type(key) not in (str, int):
            raise self.blocked(f"has a dict key that is no text or number but a {_kind(key)}")
        if type(key) is int and abs(key) > MAX_KEY:
            raise self.blocked(f"has the dict key {key:,}")
        return key

    def find(self) -> None:
        name = f"{self.line()}.{self.line()}"
        if name not in _CALLS and name not in STORAGES and name.removeprefix("torch.") not in ITEM_SIZES:
            raise self.blocked(f"asks for the global {name!r}, which no state dict needs")
        self.stack.append(Global(name))

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        call = _CALLS.get(function.name) if type(function) is Global else None
        if call is None or type(arguments) is not tuple:
            raise self.blocked(f"calls a {_kind(function)}")
        self.stack.append(call(self, *arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict or set(state) - {"_metadata"}:
            raise self.blocked(f"sets the state of a {_kind(self.stack[-1])}")

    def persistent(self) -> None:
        identity = self.stack.pop()
        form = (str, Global, str, str, int)
        kinds = tuple(map(type, identity)) if type(identity) is tuple else ()
        if kinds not in (form, (*form, type(None))) or identity[0] != "storage":
            raise self.blocked("has a persistent id that names no storage")
        _, kind, key, _, count = identity[:5]
        if kind.name not in STORAGES or not 0 <= count < 1 << 48:
            raise self.blocked(f"has a storage of {count:,} elements of {kind.name}")
        storage = Storage(key, STORAGES[kind.name], count)
        if self.storages.setdefault(key, storage) != storage:
            raise self.blocked(f"describes the storage {key!r} twice, differently")
        self.stack.append(storage)

    def copy(self, items: Any) -> None:
        """Count the values that a call copies, because any number of calls may copy the same list."""
        self.copied += len(items) if isinstance(items, (list, tuple, dict)) else 0
        if self.copied > MAX_NODES:
            raise self.blocked(f"grows beyond {MAX_NODES:,} values")

    def ordered(self, items: Any = ()) -> OrderedDict[Any, Any]:
        """Return an OrderedDict; Python 2 wrote its items into the call, as a list of pairs."""
        self.copy(items)
        pairs = [tuple(item) for item in items if type(item) in (list, tuple)]
        if type(items) not in (list, tuple) or len(pairs) != len(items):
            raise self.blocked("calls OrderedDict with what are no pairs")
        return OrderedDict((self.key(key), value) for key, value in pairs)

    def counter(self, counts: Any = None) -> Counter[Any]:
        self.copy(counts)
        if type(counts or {}) is not dict or any(type(count) is not int for count in (counts or {}).values()):
            raise self.blocked("calls Counter with what are no counts")
        return Counter(counts)

    def size(self, shape: Any = ()) -> tuple[int, ...]:
        return self.integers(shape)

    def device(self, name: Any, index: Any = None) -> str:
        if type(name) is not str or type(index) not in (int, type(None)):
            raise self.blocked("calls torch.device with what is no name")
        return name if index is None else f"{name}:{index}"

    def parameter(self, data: Any, requires_grad: Any, hooks: Any) -> View:
        if type(data) is not View or type(requires_grad) is not bool or hooks:
            raise self.blocked("has a parameter with hooks, or of what is no tensor")
        return data

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> View:
        """Follow ``_rebuild_tensor`` and its second version: (..., requires_grad, hooks, metadata)."""
        return self.view(storage, getattr(storage, "dtype", None), offset, shape, stride, rest)

    def tensor_of_dtype(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        stride: Any,
        grad: Any,
        hooks: Any,
        dtype: Any,
        *rest: Any,
    ) -> View:
        if type(storage) is not Storage or storage.dtype != UNTYPED or type(dtype) is not Global:
            raise self.blocked("gives a dtype to what is no untyped storage")
        name = dtype.name.removeprefix("torch.")
        return self.view(storage, name, offset, shape, stride, (grad, hooks, *rest))

    def view(self, storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any, rest: Any) -> View:
        if type(storage) is not Storage or dtype not in ITEM_SIZES:
            raise self.blocked("builds a tensor on what is no storage of a known dtype")
        if len(rest) > 3 or type((*rest, False)[0]) is not bool or any(rest[1:]):
            raise self.blocked("has a tensor with hooks or with flags that are not known")
        (start,) = self.integers((offset,))
        view = View(storage, dtype, start, self.integers(shape), self.integers(stride))
        if len(view.shape) != len(view.stride):
            raise self.blocked(f"has a tensor of shape {view.shape} with strides {view.stride}")
        require_dense(view)
        return view

    def integers(self, values: Any) -> tuple[int, ...]:
        if type(values) is not tuple or len(values) > MAX_DEPTH:
            raise self.blocked("has a tensor's shape that is no short tuple")
        if any(type(value) is not int or not 0 <= value < 1 << 48 for value in values):
            raise self.blocked("has a tensor's shape with what is no size")
        return values


def _measure(root: Any) -> None:
    """Refuse values that contain themselves, are nested too deep, or grow too large when copied."""
    done: dict[int, tuple[int, int]] = {}  # id -> nodes, depth
    open_: set[int] = set()
    todo: list[tuple[Any, bool]] = [(root, False)]
    while todo:
        value, seen = todo.pop()
        if type(value) not in _CONTAINERS:
            if type(value) in (Storage, Global) and not _is_dtype(value):
                raise WeightsError(f"its pickle holds a {_kind(value)} as a value")
            continue
        children = value.values() if isinstance(value, dict) else value
        if seen:
            counts = [done.get(id(child), (1, 0)) for child in children]
            done[id(value)] = (1 + sum(n for n, _ in counts), 1 + max((d for _, d in counts), default=0))
            open_.discard(id(value))
            if done[id(value)][0] > MAX_NODES or done[id(value)][1] > MAX_DEPTH:
                raise WeightsError(
                    f"its pickle grows beyond {MAX_NODES:,} values or {MAX_DEPTH} levels of nesting"
                )
        elif id(value) in open_:
            raise WeightsError("its pickle has a value that holds itself")
        elif id(value) not in done:
            open_.add(id(value))
            todo.append((value, True))
            todo.extend((child, False) for child in children)


_CONTAINERS = (dict, OrderedDict, Counter, list, tuple)


def _is_dtype(value: Any) -> bool:
    return type(value) is Global and value.name.removeprefix("torch.") in ITEM_SIZES


def _kind(value: Any) -> str:
    return f"global {value.name!r}" if type(value) is Global else type(value).__name__


def _opcode_name(opcode: bytes) -> str:
    import pickletools  # only needed for a refusal

    known = {o.code: o.name for o in pickletools.opcodes}
    return known.get(opcode.decode("latin-1"), repr(opcode))


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Machine.ordered,
    "collections.Counter": _Machine.counter,
    "torch.Size": _Machine.size,
    "torch.device": _Machine.device,
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_tensor_v3": _Machine.tensor_of_dtype,
    "torch._utils._rebuild_parameter": _Machine.parameter,
}

_OPCODES: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _Machine.protocol,
    b"c": _Machine.find,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"Q": _Machine.persistent,
    b"(": _Machine.mark,
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"K": lambda m: m.stack.append(m.number("B")),
    b"M": lambda m: m.stack.append(m.number("<H")),
    b"J": lambda m: m.stack.append(m.number("<i")),
    b"G": lambda m: m.stack.append(m.number(">d")),
    b"\x8a": _Machine.integer,
    b"X": lambda m: m.text("<I"),
    b"U": lambda m: m.text("B"),
    b"]": lambda m: m.stack.append([]),
    b"}": lambda m: m.stack.append({}),
    b")": lambda m: m.stack.append(()),
    b"t": lambda m: m.bundle(m.group()),
    b"\x85": lambda m: m.bundle(m.pop(1)),
    b"\x86": lambda m: m.bundle(m.pop(2)),
    b"\x87": lambda m: m.bundle(m.pop(3)),
    b"a": lambda m: m.extend(m.pop(1)),
    b"e": lambda m: m.extend(m.group()),
    b"s": lambda m: m.update(m.pop(2)),
    b"u": lambda m: m.update(m.group()),
    b"q": lambda m: m.put("B"),
    b"r": lambda m: m.put("<I"),
    b"h": lambda m: m.get("B"),
    b"j": lambda m: m.get("<I"),
}
"""The opcodes that ``torch.load(weights_only=True)`` reads, without those for new objects and sets."""
