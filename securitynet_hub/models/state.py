"""Find a network's tensors in a checkpoint, however it is nested and prefixed, and copy them into it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import CheckpointWarning, WeightsError
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.core.text import LONGEST, printable
from securitynet_hub.weights.reading.summary import TRAINING_ALONE, is_of_training
from securitynet_hub.weights.tensors import is_finite, is_mask

SHOWN = 5
"""Number of keys that an error message lists."""

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of keys that DataParallel, torch.compile, FSDP and activation checkpointing add, at any level."""

DECIDE_NOTHING = {"num_batches_tracked", "n_averaged", "total_ops", "total_params"}
"""Names of counters that do not change the outputs: of BatchNorm, `AveragedModel` and the package thop."""

COPIES = re.compile(r"ema|swa|averag|avg|teacher|target|momentum|mean|shadow|encoder_k|_k$|best|attacker")
"""Names of sets of weights that are copies of the trained ones, averaged or older."""


class Chosen(NamedTuple):
    """A network's tensors, found in a checkpoint.

    Attributes:
        tensors: under the network's own keys.
        place: where they lay: keys joined by ``/``, then the prefix of their own keys, as `key_prefix` takes
            it.
        notes: sentences on how they were found and what was ignored.
    """

    tensors: dict[str, torch.Tensor]
    place: str
    notes: tuple[str, ...] = ()


class _Fit(NamedTuple):
    """A set of tensors under one prefix, and how it differs from what a network expects."""

    place: str
    tensors: dict[str, torch.Tensor]
    beside: list[str]
    missing: list[str]
    unexpected: list[str]
    differing: list[str]

    @property
    def wrong(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.differing)


def choose_state(
    module: torch.nn.Module, checkpoint: Mapping[str, Any], key_prefix: str | None, *, name: str
) -> Chosen:
    """Find a network's tensors in a nested checkpoint.

    Every dict of tensors in the checkpoint is a candidate, with every prefix under which it holds a key of
    the network. The candidate is taken that has all keys of the network in their shapes, and no others. The
    parts of keys that wrappers add (`WRAPPERS`) are ignored on both sides.

    Where several candidates fit that differ, the one is taken, with a warning, whose name is not that of a
    copy (``state_dict_ema``, ``teacher``, ``encoder_k``); if that leaves several, none is.

    Args:
        module: the network.
        checkpoint: as `securitynet_hub.weights.tensors.nest` returns it.
        key_prefix: where to look: a key that the tensors lie under (``state_dict_ema``), several joined by
            ``/``, a prefix of their own keys (``module.``), or both (``net/module.``); None for everywhere.
        name: of the model, for messages.

    Raises:
        WeightsError: no candidate fits, or several do; the message says what would.

    >>> net = torch.nn.Linear(2, 1)
    >>> saved = {"net": {f"module.{key}": value for key, value in net.state_dict().items()}}
    >>> choose_state(net, saved, None, name="x").place
    'net/module.'
    """
    expected = _Expected(module)
    root, path, prefix = _narrowed(checkpoint, key_prefix, name)
    candidates = [
        fit for place, tensors in _sets(root, path) for fit in expected.fits(place, tensors, prefix)
    ]
    fitting = [fit for fit in candidates if not fit.wrong]
    if not fitting:
        raise WeightsError(f"{name}: {_why_none(candidates, root, path, expected)}")
    chosen, notes = _decided(fitting, name)
    if chosen.place not in ("", key_prefix):
        notes.insert(0, f"The weights are those under {chosen.place!r}.")
    if chosen.beside:
        notes.append(f"Ignored beside the weights: {listed(chosen.beside)}.")
    if filled := expected.filled(chosen.tensors):
        notes.append(f"Tied tensors that the file holds once: {listed(filled)}.")
    return Chosen(expected.complete(chosen.tensors), chosen.place, tuple(notes))


class _Expected:
    """The keys of a network, without the parts that wrappers add, and which of them are one tensor."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.state: dict[str, torch.Tensor] = module.state_dict(keep_vars=True)
        self.own = _bared(self.state)
        """The network's own key for each key as it is compared."""
        self.needed = {key for key in self.own if _decides(key)}
        groups: dict[int, list[str]] = {}
        for key, own in self.own.items():
            groups.setdefault(id(self.state[own]), []).append(key)
        self.tied = {key: group for group in groups.values() if len(group) > 1 for key in group}

    def fits(self, place: tuple[str, ...], tensors: dict[str, torch.Tensor], prefix: str) -> Iterator[_Fit]:
        """Compare the tensors whose keys start with `prefix` with the network.

        That is done for each longer prefix under which they have the most of the network's keys.
        """
        keys = _bared([key[len(prefix) :] for key in tensors if key.startswith(prefix)])
        deepest = max((key.count(".") for key in self.needed), default=0)
        under = Counter(start for key in keys for start, rest in _splits(key, deepest) if rest in self.needed)
        for start in [start for start, count in under.items() if count == max(under.values())]:
            named = {key[len(start) :]: prefix + own for key, own in keys.items() if key.startswith(start)}
            ends = {
                own[: len(own) - len(key)]
                for key, own in named.items()
                if key in self.own and own.endswith(key)
            }
            shown = ends.pop() if len(ends) == 1 else prefix + start
            yield self._compare(
                "/".join([*place, *([shown] if shown else [])]),
                {key: tensors[own] for key, own in named.items()},
                [key for key in tensors if key not in named.values()],
            )

    def _compare(self, place: str, found: dict[str, torch.Tensor], beside: list[str]) -> _Fit:
        missing = [
            own
            for key, own in self.own.items()
            if key in self.needed and not found.keys() & {key, *self.tied.get(key, ())}
        ]
        unexpected = [key for key in found if key not in self.own and _decides(key)]
        differing = [
            f"{own} is {described(found[key])} instead of {described(self.state[own])}"
            for key, own in self.own.items()
            if key in found and key in self.needed and described(found[key]) != described(self.state[own])
        ]
        return _Fit(place, found, beside, missing, unexpected, differing)

    def filled(self, found: Mapping[str, torch.Tensor]) -> list[str]:
        """List the network's keys that are filled from a tensor that they are tied to."""
        return [self.own[key] for key in self.own if key in self.needed and key not in found]

    def complete(self, found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors under the network's keys, with those that are tied."""
        complete = {}
        for key, own in self.own.items():
            source = next((k for k in (key, *self.tied.get(key, ())) if k in found), None)
            if source is not None:
                complete[own] = found[source]
        return complete


def _decides(key: str) -> bool:
    """Return whether a tensor may change a network's outputs, by its name.

    >>> _decides("bn.weight"), _decides("bn.num_batches_tracked"), _decides("head.my_total_params")
    (True, False, True)
    """
    return key.rpartition(".")[2] not in DECIDE_NOTHING


def _bared(keys: Iterable[str]) -> dict[str, str]:
    """Return each key by itself without the parts that wrappers add; by itself where two would be one."""
    own = list(keys)
    bare = {".".join(part for part in key.split(".") if part not in WRAPPERS): key for key in own}
    return bare if len(bare) == len(own) else {key: key for key in own}


def _splits(key: str, dots: int) -> list[tuple[str, str]]:
    """Return each way to split a key into a prefix, which is empty or ends in a dot, and the rest.

    Only rests with at most `dots` dots are asked for: a stranger's key may have thousands.

    >>> _splits("net.fc.bias", 1)
    [('net.', 'fc.bias'), ('net.fc.', 'bias')]
    """
    found: list[tuple[str, str]] = []
    at = len(key)
    while at > 0 and len(found) <= dots:
        at = key.rfind(".", 0, at - 1 if found else at) + 1
        found.append((key[:at], key[at:]))
    return found[::-1]


def _narrowed(
    checkpoint: Mapping[str, Any], key_prefix: str | None, name: str
) -> tuple[Mapping[str, Any], tuple[str, ...], str]:
    """Return the part of a checkpoint that a caller names, the keys that lead to it, and a prefix of keys."""
    root: Any = checkpoint
    if key_prefix and isinstance(checkpoint.get(key_prefix), Mapping):  # a key may hold a slash itself
        return checkpoint[key_prefix], (key_prefix,), ""
    path: list[str] = []
    *outer, last = (key_prefix or "").split("/")
    prefix = last if last.endswith(".") else ""
    for key in [*outer, *([last] if last and not prefix else [])]:
        below = root.get(key) if isinstance(root, Mapping) else None
        if not isinstance(below, Mapping):
            dotted = f"{'.'.join([key, *outer[len(path) + 1 :]])}."
            if isinstance(root, Mapping) and any(str(k).startswith(dotted) for k in root):
                return root, tuple(path), dotted
            raise WeightsError(
                f"{name}: the weights should lie under {key_prefix!r}; there are {listed(root)}."
            )
        path.append(key)
        root = below
    return root, tuple(path), prefix


def _sets(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """Yield every dict of named tensors, with the keys that lead to it."""
    if not isinstance(value, Mapping):
        return
    tensors = {key: item for key, item in value.items() if isinstance(item, torch.Tensor)}
    if tensors:
        yield path, tensors
    for key, item in value.items():
        yield from _sets(item, (*path, key))


def _decided(fitting: list[_Fit], name: str) -> tuple[_Fit, list[str]]:
    """Return the candidate to take, and a note; those that are equal to an earlier one do not count.

    Raises:
        WeightsError: nothing tells which of several different ones is meant.
    """
    different: list[_Fit] = []
    for fit in fitting:
        if not any(_equal(fit.tensors, other.tensors) for other in different):
            different.append(fit)
    if len(different) == 1:
        return different[0], []
    meant = [fit for fit in different if not COPIES.search(fit.place.lower())]
    if len(meant) != 1:
        places = ", ".join(repr(fit.place) for fit in different)
        raise WeightsError(
            f"{name}: the weights under {places} all fit this network, and differ. Choose, such as with "
            f"key_prefix={different[0].place!r}."
        )
    others = " or ".join(repr(fit.place) for fit in different if fit is not meant[0])
    note = (
        f"Other weights in this checkpoint fit, too: those under {others}, which key_prefix= chooses; those "
        f"under {meant[0].place!r} were taken."
    )
    warn_caller(f"{name}: {note}", CheckpointWarning)
    return meant[0], [note]


def _equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    shared = one.keys() & other.keys()
    return len(shared) == len(one) == len(other) and all(torch.equal(one[key], other[key]) for key in shared)


def _why_none(
    candidates: list[_Fit], root: Mapping[str, Any], path: tuple[str, ...], expected: _Expected
) -> str:
    """Say how the closest candidate differs from the network."""
    places = [place for place, _ in _sets(root, path)]
    if places and all(map(is_of_training, places)):
        return (
            f"the file holds {TRAINING_ALONE}, and no weights of a network. Name the file with the network's "
            "own state_dict."
        )
    if not candidates:
        needed = [own for key, own in expected.own.items() if key in expected.needed]
        there = listed([key for _, tensors in _sets(root, path) for key in tensors]) or "none"
        return (
            f"the weights are not those of this network. missing: {listed(needed)}; named tensors that are "
            f"there: {there}."
        )
    best = min(candidates, key=lambda fit: (fit.wrong, len(fit.place)))
    found = {"missing": best.missing, "not the network's": best.unexpected, "of another form": best.differing}
    text = "; ".join(f"{kind}: {listed(keys)}" for kind, keys in found.items() if keys)
    where = (
        f" Those under {best.place!r} come closest (key_prefix={best.place!r})."
        if 0 < len(best.place) <= LONGEST
        else ""
    )
    return f"the weights are not those of this network. {text}.{where}"


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Pick the tensors out of a checkpoint whose place is known exactly, for a loader that renames them.

    A prefix that ends in a dot is removed from every key. Any other prefix is the key under which the tensors
    lie; entries beside it (an epoch, an accuracy) are ignored.

    Raises:
        WeightsError: a key lacks the prefix, there is nothing under it, or an entry is not a tensor.
    """
    prefix = annotation.weights_key_prefix or ""
    tensors: Any = checkpoint
    if prefix.endswith("."):
        strange = sorted(key for key in checkpoint if not key.startswith(prefix))
        if strange:
            raise WeightsError(
                f"{annotation.id}: every key should start with {prefix!r}; these do not: {listed(strange)}."
            )
        tensors = {key.removeprefix(prefix): tensor for key, tensor in checkpoint.items()}
    elif prefix:
        tensors = checkpoint.get(prefix)
        if not isinstance(tensors, Mapping):
            raise WeightsError(
                f"{annotation.id}: the weights should lie under {prefix!r}; there are {listed(checkpoint)}."
            )
    strange = sorted(key for key, value in tensors.items() if not isinstance(value, torch.Tensor))
    if strange:
        raise WeightsError(f"{annotation.id}: these entries are not tensors: {listed(strange)}.")
    return dict(tensors)


def load_state(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, name: str) -> None:
    """Copy tensors into a network: every key, shape and kind of number must match.

    Counters that do not change the network's outputs (`DECIDE_NOTHING`) may be missing, as BatchNorm's is in
    files from before torch 0.4.1, and of any kind, as in the average of several networks. All other numbers
    must be finite; a mask of zeros and minus infinity, which is no parameter, may be among them.

    Raises:
        WeightsError: keys are missing or unexpected, or tensors have another shape, or hold NaN or infinity;
            the message names them.
    """
    expected = module.state_dict()
    needed = [key for key in expected if _decides(key)]
    missing = [key for key in needed if key not in tensors]
    unexpected = [key for key in tensors if key not in expected and _decides(key)]
    differing = [
        f"{key} is {described(tensors[key])} instead of {described(expected[key])}"
        for key in needed
        if key in tensors and described(tensors[key]) != described(expected[key])
    ]
    found = {"missing": missing, "not the network's": unexpected, "of another form": differing}
    if any(found.values()):
        text = "; ".join(f"{kind}: {listed(keys)}" for kind, keys in found.items() if keys)
        raise WeightsError(f"{name}: the weights are not those of this network. {text}.")
    parameters = {key for key, _ in module.named_parameters(remove_duplicate=False)}
    infinite = [
        key
        for key in needed
        if not is_finite(tensors[key]) and (key in parameters or not is_mask(tensors[key]))
    ]
    if infinite:
        raise WeightsError(f"{name}: the weights hold NaN or infinity: {listed(infinite)}.")
    tied: dict[int, str] = {}
    for key in expected.keys() & tensors.keys():
        place = expected[key].data_ptr()  # 0 for a tensor without memory
        first = tied.setdefault(place, key) if place else key
        if first != key and not torch.equal(tensors[first], tensors[key]):
            raise WeightsError(f"{name}: {first} and {key} are one tensor of the network, but differ.")
    # Unlike a plain dict, `expected` has the versions of the layers' formats.
    for key in expected.keys() & tensors.keys():
        if _is_expanded(expected[key]) and torch.equal(expected[key], tensors[key]):
            del expected[key]  # torch cannot write to it, and need not
            continue
        counter = not _decides(key) and described(tensors[key]) != described(expected[key])
        expected[key] = _counted(tensors[key], expected[key]) if counter else tensors[key]
    try:
        module.load_state_dict(expected, strict=False)  # the keys were compared above
    except RuntimeError as error:
        raise WeightsError(f"{name}: the weights cannot be copied into this network: {error}.") from error


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Return whether several elements of a tensor are one place in memory."""
    return any(size > 1 and not stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _counted(counter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a counter in the form of the network's own, which is kept where it has no number to give."""
    if counter.numel() != like.numel() or not is_finite(counter):
        return like
    return (
        counter.reshape(like.shape).round().to(like.dtype)
        if counter.is_floating_point()
        else counter.to(like)
    )


def listed(keys: Collection[str]) -> str:
    """List the first keys and count the rest."""
    rest = len(keys) - SHOWN
    return ", ".join(islice(map(printable, keys), SHOWN)) + (f" and {rest} more" if rest > 0 else "")


def described(tensor: torch.Tensor) -> str:
    """Describe shape and kind of number; precision may differ."""
    kind = "floating-point" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"
