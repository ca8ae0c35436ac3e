"""The description of a tensor: a strided view into a storage of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from securitynet_hub.core.errors import WeightsError

ITEM_SIZES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "uint16": 2, "uint32": 4, "uint64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip
"""Bytes per element of every supported dtype."""

UNTYPED = "untyped"
STORAGES = {
    "torch.BoolStorage": "bool", "torch.ByteStorage": "uint8", "torch.CharStorage": "int8",
    "torch.ShortStorage": "int16", "torch.IntStorage": "int32", "torch.LongStorage": "int64",
    "torch.HalfStorage": "float16", "torch.BFloat16Storage": "bfloat16", "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64", "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128", "torch.storage.UntypedStorage": UNTYPED,
    "torch.QInt8Storage": "qint8", "torch.QUInt8Storage": "quint8", "torch.QInt32Storage": "qint32",
}  # fmt: skip
"""The dtype of each class of storages."""

STORED_SIZES = {**ITEM_SIZES, UNTYPED: 1, "qint8": 1, "quint8": 1, "qint32": 4}
"""The same for storages; tensors of the last three are not built."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of ``count`` elements that the file stores under ``key``."""

    key: str
    dtype: str
    count: int

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.count * STORED_SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as the pickle describes it: a strided view into a storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __hash__(self) -> int:
        # Numbers can be chosen so that tuples of them collide; the hash of a text has a secret in it.
        return hash(f"{self.storage.key} {self.dtype} {self.offset} {self.shape} {self.stride}")

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of a copy in bytes."""
        return self.elements * ITEM_SIZES[self.dtype]


def require_inside(view: View) -> None:
    """Refuse a view that reaches outside its storage.

    >>> require_inside(View(Storage("0", "float32", 6), "float32", 0, (2, 3), (1, 2)))  # a transposed matrix
    """
    if not view.elements:
        return
    last = view.offset + sum(
        stride * (size - 1) for stride, size in zip(view.stride, view.shape, strict=True)
    )
    held = view.storage.bytes // ITEM_SIZES[view.dtype]
    if last >= held:
        raise WeightsError(
            f"a tensor of shape {view.shape}, strides {view.stride} at {view.offset:,} reaches outside its "
            f"storage of {held:,} elements"
        )
