"""Read a torch pickle without running it: a machine follows its opcodes and only describes its values.

Texts, numbers, lists, tuples, dicts and tensors become what they are. Other objects (a Namespace, a NumPy
array, the author's own class) become an `Inert`: the name of its class, and what the pickle would give it.
The machine never imports, calls or builds an object that the pickle chooses. It refuses a pickle that names
what can run code (`securitynet_hub.weights.reading.globals`), is malformed, or exceeds its budget.

The budget counts operations and bytes, and both are spent before anything is allocated. So a pickle of n
bytes takes at most `BYTES_EACH` * n bytes of memory, and never more than `MAX_HELD`.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading.globals import MEMBER, why_refused
from securitynet_hub.weights.reading.layout import (
    ITEM_SIZES,
    STORAGES,
    UNTYPED,
    Storage,
    View,
    require_inside,
)

MAX_PICKLE = 64 << 20
MAX_STEPS = 600_000
"""Number of opcodes, and of items that calls copy, which are at most as many as the opcodes before."""

MAX_HELD = 192 << 20
"""Bytes that all values of a pickle may take, as `_COSTS` counts them."""

MAX_DEPTH = 64
MAX_TEXT = 1 << 16
"""Bytes of a text that is kept; a longer one becomes an `Inert`."""

MAX_TEXTS = 16 << 20
"""Bytes of all texts that are kept; later ones become `Inert`."""

MAX_KEY_TEXT = 1024
"""Characters of a text that is a key; a longer one becomes an `Inert`, because equal ones are compared."""

SHARING, SHARED = 2, 10_000
"""A value that is used twice counts twice: the values are at most so many times the opcodes, and so many."""

MAX_NAME = 256
"""Bytes of the name of a global's module, and of its own name."""

MAX_NAMES = 10_000
"""Number of different globals."""

MAX_KEY = 1 << 60
"""Larger integers can be chosen to collide in their hash, which makes a dict of them quadratic."""

PROTOCOLS = range(2, 6)


@dataclass(frozen=True, slots=True)
class Global:
    """The name of an importable object: a dtype, a class, or a function."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """An object that a pickle describes and that nobody builds.

    Attributes:
        name: of its class, or of the function that would make it.
        arguments: with which that would be called.
        items: what would be put into it, by key; some classes are dicts.
        state: what it would be given as its attributes.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None

    def __str__(self) -> str:
        return self.name


def _unsaved(state: dict[Any, Any]) -> list[Any] | tuple[Any, ...]:
    """Return the names of a module's buffers that ``state_dict`` leaves out."""
    unsaved = state.get("_non_persistent_buffers_set")
    names = unsaved.arguments[0] if type(unsaved) is Inert and unsaved.arguments else ()
    return names if isinstance(names, (list, tuple)) else ()


class Budget:
    """What reading one file may cost: operations and bytes, spent before anything is done or allocated."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.held = MAX_HELD
        self.texts = MAX_TEXTS

    def require(self) -> None:
        """Refuse what the budget does not cover.

        Raises:
            WeightsError: it is spent.
        """
        if self.steps < 0:
            raise WeightsError(f"its pickle has more than {MAX_STEPS:,} opcodes and copied items")
        if self.held < 0:
            raise WeightsError(f"its pickle describes more than {MAX_HELD:,} bytes of values")


class Walk(NamedTuple):
    """What a pickle describes, and where it ends.

    Attributes:
        value: what it describes.
        end: the position behind its last byte.
        storages: that it names, by their keys.
        names: the globals that it names and that this reader does not know, sorted.
    """

    value: Any
    end: int
    storages: dict[str, Storage]
    names: tuple[str, ...] = ()


def walk(data: bytes, start: int = 0, budget: Budget | None = None) -> Walk:
    """Describe the pickle that starts at ``data[start]``; several of one file share a budget.

    Raises:
        WeightsError: the pickle is malformed, names what can run code, or exceeds a bound.

    >>> import argparse, pickle
    >>> found = walk(pickle.dumps({"epoch": 3, "args": argparse.Namespace(lr=0.1)}, protocol=2))
    >>> found.value["epoch"], str(found.value["args"]), found.names
    (3, 'argparse.Namespace', ('argparse.Namespace',))
    """
    machine = _Machine(data, start, Budget() if budget is None else budget)
    try:
        value = machine.run()
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise machine.blocked(f"is malformed ({type(error).__name__})") from error
    _measure(value, SHARING * machine.opcodes + SHARED)
    return Walk(value, machine.position, machine.storages, tuple(sorted(machine.names)))


def parts(value: Any) -> Collection[tuple[Any, Any]] | None:
    """Return the keys and values of a container, None for any other value.

    Dicts, lists, tuples and objects of classes that are dicts are containers; so is a module, whose keys are
    the names of its parameters, of its buffers that are saved, and of the modules within it.
    """
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return [*enumerate(value)]
    if type(value) is Inert:
        if is_module(value):
            return list(_module_parts(value.state))
        return value.items.items() or None
    return None


def values(value: Any) -> Collection[Any] | None:
    """Return what a container holds, without the keys; None for any other value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value
    within = parts(value)
    return None if within is None else [held for _, held in within]


def is_module(value: Any) -> bool:
    """Return whether a value is a torch module that was saved whole."""
    state = value.state if type(value) is Inert else None
    return isinstance(state, dict) and all(isinstance(state.get(part), dict) for part in _OF_MODULES)


_OF_MODULES = ("_parameters", "_buffers", "_modules")


def _module_parts(state: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield what ``state_dict`` of the module would have, and the modules within it."""
    left_out = {name for name in _unsaved(state) if type(name) is str}
    for part in _OF_MODULES:
        for name, value in state[part].items():
            if value is not None and not (part == "_buffers" and name in left_out):
                yield name, value


class _Machine:
    def __init__(self, data: bytes, start: int, budget: Budget) -> None:
        self.data = data
        self.start = self.position = self.opcode_at = start
        self.budget = budget
        self.opcodes = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.names: set[str] = set()
        self.known: dict[str, Global] = {}
        self.copied = 0

    def run(self) -> Any:
        data, budget, end = self.data, self.budget, min(len(self.data), self.start + MAX_PICKLE)
        if data[self.start : self.start + 1] not in (b"\x80", b""):
            raise self.blocked("does not state its protocol first")
        while (at := self.position) < end:
            self.opcode_at, opcode = at, data[at]
            self.position = at + 1
            self.opcodes += 1
            budget.steps -= 1
            budget.held -= _COSTS[opcode]
            if budget.steps < 0 or budget.held < 0:
                budget.require()
            handler = _HANDLERS[opcode]
            if handler is not None:
                handler(self)
            elif opcode == _STOP:
                (value,) = self.stack
                if self.below:
                    raise self.blocked("ends inside a group")
                return value
            else:
                name = _opcode_name(data[at : at + 1])
                raise self.blocked(f"has the opcode {name}, which torch.save does not write")
        self.skip(1)
        raise AssertionError("unreachable: nothing lies behind the end")

    def spend(self, *, steps: int = 0, held: int = 0) -> None:
        """Take from the budget what an opcode costs beside `_COSTS`, before it is done."""
        self.budget.steps -= steps
        self.budget.held -= held
        self.budget.require()

    def blocked(self, what: str) -> WeightsError:
        return WeightsError(f"its pickle {what}, at byte {self.opcode_at - self.start:,}")

    def skip(self, count: int) -> None:
        end = self.position + count
        if end > len(self.data) or end - self.start > MAX_PICKLE:
            raise self.blocked("breaks off" if end > len(self.data) else f"exceeds {MAX_PICKLE:,} bytes")
        self.position = end

    def take(self, count: int) -> bytes:
        begin = self.position
        self.skip(count)
        return self.data[begin : self.position]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def frame(self) -> None:
        """Pass over the length of a frame, beyond whose end other readers would stop."""
        if self.number("<Q") > len(self.data) - self.position:
            raise self.blocked("has a frame that is longer than the rest of it")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + MAX_NAME)
        if end < 0:
            raise self.blocked("has a global without an end")
        piece, self.position = self.data[self.position : end], end + 1
        return piece.decode("ascii")

    def text(self, form: str) -> None:
        length = self.number(form)
        if length > min(MAX_TEXT, self.budget.texts):
            self.skip(length)
            self.stack.append(Inert("str"))
        else:
            raw = self.take(length)
            self.budget.texts -= length
            self.spend(held=length if raw.isascii() else 4 * length)
            self.stack.append(raw.decode("utf-8"))

    def old_text(self, form: str) -> None:
        """Read what Python 2 wrote: a text or bytes."""
        at = self.position
        try:
            self.text(form)
        except UnicodeDecodeError:
            self.position = at
            self.raw(form)

    def raw(self, form: str) -> None:
        self.skip(self.number(form))
        self.stack.append(Inert("bytes"))

    def protocol(self) -> None:
        if self.opcode_at != self.start:
            raise self.blocked("states its protocol in the middle")
        if (protocol := self.number("B")) not in PROTOCOLS:
            raise self.blocked(f"is of protocol {protocol}; 2 to 5 are read")

    def integer(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number("B")), "little", signed=True))

    def put(self, form: str) -> None:
        self.memo[self.number(form)] = self.stack[-1]

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, form: str) -> None:
        self.stack.append(self.memo[self.number(form)])

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def group(self) -> list[Any]:
        group, self.stack = self.stack, self.below.pop()
        return group

    def discard(self) -> None:
        """Take the topmost value away, which is the mark where nothing lies above it."""
        if self.stack:
            self.stack.pop()
        else:
            self.group()

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise self.blocked("takes from an empty stack")
        group = self.stack[-count:]
        del self.stack[-count:]
        return group

    def bundle(self, items: list[Any]) -> None:
        self.spend(held=_SLOT * len(items))
        self.stack.append(tuple(items))

    def frozen(self) -> None:
        items = self.group()
        self.spend(held=_SLOT * len(items))
        self.stack.append(Inert("frozenset", (items,)))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            self.spend(held=_SLOT * len(items))
            target.extend(items)
        elif type(target) is not Inert:
            raise self.blocked("appends to what is no list")

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter, Inert):
            raise self.blocked("sets items of what is no dict")
        self.spend(held=_PAIR * len(items))
        into = target.items if type(target) is Inert else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            into[self.key(key)] = value

    def key(self, key: Any) -> Any:
        """Return a key that is cheap to hash and to compare: any but short ones become an `Inert`."""
        if (type(key) is str and len(key) <= MAX_KEY_TEXT) or (type(key) is int and abs(key) <= MAX_KEY):
            return key
        return Inert(_kind(key))

    def find(self) -> None:
        self.push_global(self.line(), self.line())

    def find_on_stack(self) -> None:
        module, name = self.pop(2)
        if type(module) is not str or type(name) is not str or max(len(module), len(name)) > MAX_NAME:
            raise self.blocked("has a global without a name")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        whole = f"{module}.{name}"
        if whole not in self.known:
            if whole not in _CALLS and whole not in STORAGES and not _is_dtype_name(whole):
                if (reason := why_refused(whole)) is not None:
                    raise self.blocked(f"asks for {whole!r}: {reason}")
                self.names.add(whole)
                if len(self.names) > MAX_NAMES:
                    raise self.blocked(f"names more than {MAX_NAMES:,} globals")
            self.known[whole] = Global(whole)
        self.stack.append(self.known[whole])

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        if type(function) is not Global or type(arguments) is not tuple:
            raise self.blocked(f"calls a {_kind(function)}")
        name = function.name
        if name in STORAGES or _is_dtype_name(name):
            raise self.blocked(f"calls a {_kind(function)}")
        if name in _RESERVING and type((*arguments, None)[0]) is int:
            raise self.blocked(f"reserves {arguments[0]:,} bytes")
        if name in MEMBER:
            self.stack.append(self.member(*arguments))
        elif name in _CALLS:
            self.stack.append(_CALLS[name](self, *arguments))
        else:
            self.stack.append(Inert(_made_by(name, arguments), arguments))

    def new(self) -> None:
        self.make(*self.pop(2))

    def new_with_keywords(self) -> None:
        kind, arguments, keywords = self.pop(3)
        if type(keywords) is not dict:
            raise self.blocked("makes an object with what are no keywords")
        self.make(kind, arguments)

    def make(self, kind: Any, arguments: Any) -> None:
        if type(kind) is not Global or type(arguments) is not tuple:
            raise self.blocked(f"makes an object of a {_kind(kind)}")
        self.stack.append(Inert(kind.name, arguments))

    def empty_set(self) -> None:
        self.stack.append(Inert("set", ([],)))

    def add_items(self) -> None:
        items, target = self.group(), self.stack[-1]
        if type(target) is not Inert or target.name != "set":
            raise self.blocked("adds to what is no set")
        self.spend(held=_SLOT * len(items))
        target.arguments[0].extend(items)

    def member(self, kind: Any, name: Any) -> Inert:
        """Return the member of an enumeration; nothing else is an attribute of a class in capital letters."""
        is_class = type(kind) is Global and kind.name.rpartition(".")[2].lstrip("_")[:1].isupper()
        if not is_class or type(name) is not str or not name.isidentifier() or name.startswith("_"):
            raise self.blocked(f"asks for an attribute of a {_kind(kind)}")
        return Inert(kind.name)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Inert:
            target.state = state
        elif type(target) is not OrderedDict or type(state) is not dict or set(state) - {"_metadata"}:
            raise self.blocked(f"sets the state of a {_kind(target)}")

    def persistent(self) -> None:
        identity = self.stack.pop()
        form = (str, Global, str, str, int)
        kinds = tuple(map(type, identity)) if type(identity) is tuple else ()
        if kinds[:2] == form[:2] and len(kinds) == 4 and identity[0] == "module":
            self.stack.append(identity[1])  # torch before 1.6 added a class's file and source code
            return
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
        count = len(items) if isinstance(items, (list, tuple, dict)) else 0
        self.copied += count
        if self.copied > self.opcodes:
            raise self.blocked(f"grows beyond {self.opcodes:,} values, by calls that copy the same ones")
        self.spend(steps=count, held=_CONTAINER + 2 * _PAIR * count)

    def ordered(self, items: Any = ()) -> OrderedDict[Any, Any]:
        """Return an OrderedDict; Python 2 wrote its items into the call, as a list of pairs."""
        self.copy(items)
        if type(items) not in (list, tuple) or any(
            type(item) not in (list, tuple) or len(item) != 2 for item in items
        ):
            raise self.blocked("calls OrderedDict with what are no pairs")
        return OrderedDict((self.key(key), value) for key, value in items)

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

    def parameter(self, data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> View | Inert:
        if type(data) not in (View, Inert) or type(requires_grad) is not bool or hooks:
            raise self.blocked("has a parameter with hooks, or of what is no tensor")
        found: View | Inert = data
        return found

    def typed(self, rebuild: Any, kind: Any, arguments: Any, state: Any) -> View | Inert:
        """Follow ``_rebuild_from_type_v2``: a tensor with attributes of its own, or of a class of its own."""
        known = type(rebuild) is Global and rebuild.name in _TENSORS and type(arguments) is tuple
        if type(kind) is not Global:
            raise self.blocked(f"has a tensor of a {_kind(kind)}")
        if known and kind.name in _PLAIN:
            found: View | Inert = _CALLS[rebuild.name](self, *arguments)
            return found
        return Inert(kind.name)

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> View | Inert:
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
    ) -> View | Inert:
        if type(storage) is not Storage or storage.dtype != UNTYPED or type(dtype) is not Global:
            raise self.blocked("gives a dtype to what is no untyped storage")
        name = dtype.name.removeprefix("torch.")
        return self.view(storage, name, offset, shape, stride, (grad, hooks, *rest))

    def view(
        self, storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any, rest: tuple[Any, ...]
    ) -> View | Inert:
        if type(storage) is not Storage or dtype not in ITEM_SIZES:
            raise self.blocked("builds a tensor on what is no storage of a known dtype")
        missing: tuple[Any, ...] = (False, None, None)[len(rest) :]
        grad, hooks, metadata = rest + missing
        if type(grad) is not bool or hooks:
            raise self.blocked("has a tensor with hooks")
        (start,) = self.integers((offset,))
        view = View(storage, dtype, start, self.integers(shape), self.integers(stride))
        if len(view.shape) != len(view.stride):
            raise self.blocked(f"has a tensor of shape {view.shape} with strides {view.stride}")
        require_inside(view)
        return Inert("tensor that is conjugated or negated when it is read") if metadata else view

    def integers(self, values: Any) -> tuple[int, ...]:
        if type(values) is not tuple or len(values) > MAX_DEPTH:
            raise self.blocked("has a tensor's shape that is no short tuple")
        if any(type(value) is not int or not 0 <= value < 1 << 48 for value in values):
            raise self.blocked("has a tensor's shape with what is no size")
        return values


def _measure(root: Any, most: int) -> None:
    """Refuse values that contain themselves, are nested too deep, or grow too large when copied."""
    done: dict[int, tuple[int, int]] = {}  # id -> nodes, depth
    open_: set[int] = set()
    looked_at = 0  # many modules may share one long list of names, or of parameters
    todo: list[tuple[Any, bool]] = [(root, False)]
    while todo:
        value, seen = todo.pop()
        # Asked first: a list of a thousand references to one list must not look into that a thousand times.
        if not seen and id(value) in done:
            continue
        within = values(value)
        if within is None:
            continue
        looked_at += len(within) + (len(_unsaved(value.state)) if is_module(value) else 0)
        if looked_at > 2 * most:
            raise WeightsError(f"its pickle grows beyond {most:,} values")
        children = [child for child in within if isinstance(child, HOLDING)]
        if seen:
            counts = [done.get(id(child), (1, 0)) for child in children]
            nodes = 1 + len(within) - len(children) + sum(n for n, _ in counts)
            done[id(value)] = nodes, 1 + max((depth for _, depth in counts), default=0)
            open_.discard(id(value))
            if done[id(value)][0] > most or done[id(value)][1] > MAX_DEPTH:
                raise WeightsError(
                    f"its pickle grows beyond {most:,} values or {MAX_DEPTH} levels of nesting"
                )
        elif id(value) in open_:
            raise WeightsError("its pickle has a value that holds itself")
        else:
            open_.add(id(value))
            todo.append((value, True))
            # An empty container is a leaf: a million of them should cost no more than they must.
            todo.extend((child, False) for child in children if child)


HOLDING = (dict, list, tuple, Inert)
"""The types of values that may hold others."""


def _is_dtype_name(name: str) -> bool:
    return name.startswith("torch.") and name.removeprefix("torch.") in ITEM_SIZES


def is_dtype(value: Any) -> bool:
    """Return whether a value is a dtype of torch's."""
    return type(value) is Global and _is_dtype_name(value.name)


def _made_by(name: str, arguments: tuple[Any, ...]) -> str:
    """Return the name of the class whose object a call makes, where that is known."""
    if name.rpartition(".")[0] in ("copyreg", "copy_reg") and arguments and type(arguments[0]) is Global:
        return arguments[0].name
    return _SHORT.get(name, name)


_SHORT = {
    "_codecs.encode": "bytes",
    "__builtin__.set": "set",
    "builtins.set": "set",
    "__builtin__.frozenset": "frozenset",
    "__builtin__.bytearray": "bytearray",
    "__builtin__.complex": "complex",
    "numpy.core.multiarray.scalar": "numpy scalar",
    "numpy._core.multiarray.scalar": "numpy scalar",
    "numpy.core.multiarray._reconstruct": "numpy.ndarray",
    "numpy._core.multiarray._reconstruct": "numpy.ndarray",
    "torch._utils._rebuild_sparse_tensor": "sparse tensor",
    "torch._utils._rebuild_qtensor": "quantised tensor",
}
"""What calls make, where their own names do not say it."""


_RESERVING = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("bytearray", "bytes")}
"""What reserves memory, where it is called with a number."""


def _kind(value: Any) -> str:
    return f"global {value.name!r}" if type(value) is Global else type(value).__name__


def _opcode_name(opcode: bytes) -> str:
    import pickletools  # only needed for a refusal

    known = {o.code: o.name for o in pickletools.opcodes}
    return known.get(opcode.decode("latin-1"), repr(opcode))


_TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_tensor_v3": _Machine.tensor_of_dtype,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch._utils._rebuild_parameter_with_state": _Machine.parameter,
}

_PLAIN = {"torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
"""The classes of tensors that are nothing but their numbers."""

_CALLS: dict[str, Callable[..., Any]] = {
    **_TENSORS,
    "collections.OrderedDict": _Machine.ordered,
    "collections.Counter": _Machine.counter,
    "torch.Size": _Machine.size,
    "torch.device": _Machine.device,
    "torch._tensor._rebuild_from_type_v2": _Machine.typed,
}

_OPCODES: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _Machine.protocol,
    b"\x95": lambda m: m.frame(),
    b"c": _Machine.find,
    b"\x93": _Machine.find_on_stack,
    b"R": _Machine.reduce,
    b"\x81": _Machine.new,
    b"\x92": _Machine.new_with_keywords,
    b"b": _Machine.build,
    b"Q": _Machine.persistent,
    b"(": _Machine.mark,
    b"0": _Machine.discard,
    b"1": lambda m: m.group(),
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"K": lambda m: m.stack.append(m.number("B")),
    b"M": lambda m: m.stack.append(m.number("<H")),
    b"J": lambda m: m.stack.append(m.number("<i")),
    b"G": lambda m: m.stack.append(m.number(">d")),
    b"\x8a": _Machine.integer,
    b"X": lambda m: m.text("<I"),
    b"\x8c": lambda m: m.text("B"),
    b"\x8d": lambda m: m.text("<Q"),
    b"U": lambda m: m.old_text("B"),
    b"T": lambda m: m.old_text("<I"),
    b"B": lambda m: m.raw("<I"),
    b"C": lambda m: m.raw("B"),
    b"\x8e": lambda m: m.raw("<Q"),
    b"\x96": lambda m: m.raw("<Q"),
    b"]": lambda m: m.stack.append([]),
    b"}": lambda m: m.stack.append({}),
    b")": lambda m: m.stack.append(()),
    b"\x8f": _Machine.empty_set,
    b"\x90": _Machine.add_items,
    b"\x91": _Machine.frozen,
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
    b"\x94": _Machine.memoize,
    b"h": lambda m: m.get("B"),
    b"j": lambda m: m.get("<I"),
}
"""The opcodes of protocols 2 to 5, without the extension registry and buffers outside the pickle."""

_STOP = ord(".")
_HANDLERS = [_OPCODES.get(bytes([opcode])) for opcode in range(256)]

_SLOT, _PAIR, _CONTAINER = 16, 100, 400
"""Bytes of an item of a list and of half an item of a dict, and of what holds others, with their copies."""

_COSTS = [
    _CONTAINER if opcode in b"]})t\x85\x86\x87\x8f\x91R\x81\x92QBC\x8e\x96"
    else 120 if opcode in b"qr\x94(XTU\x8c\x8d\x8ac\x93" else 48
    for opcode in range(256)
]  # fmt: skip
"""Bytes that an opcode takes at most: of its value, its place on the stack, and what looking at it takes."""

BYTES_EACH = 512
"""Bytes of memory that a byte of a pickle costs at most."""
