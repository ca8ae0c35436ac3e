"""What a checkpoint holds: its largest set of named tensors, and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from securitynet_hub.core.text import printable
from securitynet_hub.weights.tensors import is_finite, is_mask

LONGEST_NAME, MOST_NAMES = 80, 50

TRAINING = re.compile(r"(opt|optim|optimi[sz]er|scheduler|scaler)s?", re.IGNORECASE)
"""A word of a key below which lies the state of training, such as ``optimizer_states``."""

TRAINING_ALONE = "the state of an optimiser or the like"


class Found(NamedTuple):
    """The largest set of named tensors.

    Attributes:
        place: the keys that lead to it, joined by ``/``.
        reason: why it cannot be loaded; None if it can.
        ignored: what stands beside it, each with its type.
    """

    place: str
    reason: str | None
    ignored: tuple[str, ...]


def find_weights(content: Mapping[str, Any]) -> Found:
    """Return the set of named tensors with the most numbers, whose numbers must be finite.

    The state of an optimiser, a scheduler or a scaler is passed over: Adam's state of one wide layer can be
    larger than the network, and no network can be loaded from it.

    Of sets of the same size, such as weights and their moving average, the first is taken whose numbers are
    finite. A mask of attention (zeros and minus infinity) may be in it.

    >>> find_weights({"epoch": 3, "net": {"weight": torch.zeros(2)}, "loss": torch.tensor(float("inf"))})
    Found(place='net', reason=None, ignored=('epoch (int)', 'loss (tensor)'))
    """
    every = [
        (path, named, training)
        for path, mapping, training in _mappings(content, (), False)
        if (named := _tensors(mapping))
    ]
    if not every:
        return Found("", "it holds no named tensors", _beside(content, ()))
    sets = [(path, named) for path, named, training in every if not training]
    if not sets:
        place = "/".join(max(every, key=_count_numbers)[0])
        where = f" (under {printable(place, limit=LONGEST_NAME)!r})" if place else ""
        held = f"it holds {TRAINING_ALONE}{where}, and no weights of a network"
        return Found("", held, _beside(content, ()))
    sizes = [sum(tensor.numel() for tensor in named.values()) for _, named in sets]
    most = max(sizes)
    path, bad = _first_finite([found for found, size in zip(sets, sizes, strict=True) if size == most])
    where = f" under {'/'.join(path)!r}" if path else ""
    reason = f"its weights{where} hold NaN or infinity: {_listed(bad)}" if bad else None
    return Found("/".join(path), reason, _beside(content, path))


def _count_numbers(found: tuple[tuple[str, ...], dict[str, torch.Tensor], bool]) -> int:
    return sum(tensor.numel() for tensor in found[1].values())


def described(value: Any) -> str:
    """Return the type of a value, and how many tensors it holds."""
    if isinstance(value, torch.Tensor):
        return "tensor"
    count = _count_tensors(value)
    kind = (
        type(value).__name__
        if type(value).__module__ == "builtins"
        else str(getattr(value, "name", "tensor"))
    )
    return f"{printable(kind, limit=LONGEST_NAME)}, {count:,} tensor{'s' * (count != 1)}" if count else kind


def _first_finite(
    sets: list[tuple[tuple[str, ...], dict[str, torch.Tensor]]],
) -> tuple[tuple[str, ...], list[str]]:
    """Return the first set of finite numbers, or else the first set, with the names of its other tensors."""
    first: tuple[tuple[str, ...], list[str]] | None = None
    for path, named in sets:
        found = path, [name for name, tensor in named.items() if not _usable(tensor)]
        first = first or found
        if not found[1]:
            return found
    return first or ((), [])


def _usable(tensor: torch.Tensor) -> bool:
    return is_finite(tensor) or is_mask(tensor)


def _mappings(
    value: Any, path: tuple[str, ...], training: bool
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any], bool]]:
    """Yield each dict with the keys that lead to it, and whether it is part of the state of training."""
    if isinstance(value, Mapping):
        training = training or {"state", "param_groups"} <= value.keys()  # as of torch.optim.Optimizer
        yield path, value, training
        for key, item in value.items():
            yield from _mappings(item, (*path, str(key)), training or _is_training(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _mappings(item, (*path, str(number)), training)


def is_of_training(path: Sequence[str]) -> bool:
    """Return whether tensors below these keys are the state of training, as an optimiser's of a parameter.

    >>> is_of_training(("state", "0")), is_of_training(("optimizer", "m")), is_of_training(("state", "net"))
    (True, True, False)
    """
    numbered = any(key == "state" and after.isdigit() for key, after in pairwise(path))
    return numbered or any(map(_is_training, path))


def _is_training(key: Any) -> bool:
    words = re.findall("[A-Z]?[a-z]+|[A-Z]+", key) if isinstance(key, str) else ()
    return any(TRAINING.fullmatch(word) for word in words)


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {
        key: value
        for key, value in mapping.items()
        if isinstance(value, torch.Tensor) and isinstance(key, str)
    }


def _beside(content: Mapping[Any, Any], path: tuple[str, ...]) -> tuple[str, ...]:
    """Describe what lies beside a set of tensors, and beside each dict on the way to it."""
    found: list[str] = []
    rest = 0
    level: Any = content
    for depth in range(len(path) + 1):
        on_the_way = path[depth] if depth < len(path) else None
        items = level.items() if isinstance(level, Mapping) else enumerate(level)
        prefix, below = "".join(f"{key}/" for key in path[:depth]), None
        for key, value in items:
            if on_the_way is not None and str(key) == on_the_way:
                below = value
            elif on_the_way is None and isinstance(value, torch.Tensor):
                continue
            elif len(found) == MOST_NAMES:
                rest += 1
            else:
                name = printable(f"{prefix}{key}", limit=LONGEST_NAME)
                found.append(f"{name} ({described(value)})")
        level = below
    return (*found, *([f"{rest:,} more"] if rest else []))


def _count_tensors(root: Any) -> int:
    count, todo = 0, [root]
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor):
            count += 1
        elif isinstance(value, (Mapping, list, tuple)):
            todo.extend(value.values() if isinstance(value, Mapping) else value)
    return count


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(printable(name, limit=LONGEST_NAME)) for name in names[:3])
    return f"{shown}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''}"
