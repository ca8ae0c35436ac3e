"""Networks whose computation torch.fx can follow: folded for speed, and cut in two.

Copies that searches send thousands of images through answer as their originals up to rounding: each BatchNorm
that alone follows a convolution is folded into it, and a depthwise convolution with a stride computes every
place and then leaves some out, because processors take the gradient of the former many times more slowly (22
times in half precision, for 96 channels of 112 x 112 places). Whether the copy answers alike is tried; where
it does not, or where a network cannot be followed, the original stays.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, cast

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.outputs import Classifier

TOLERANCE = 1e-2
"""Largest difference of a copy's logits from the original's, relative to the largest logit."""


class Cut(NamedTuple):
    """A network in two parts: ``tail(body(inputs))`` is what it answers."""

    body: nn.Module
    tail: nn.Module


def fused(network: nn.Module, sample: torch.Tensor) -> nn.Module:
    """Return a frozen network as a copy that gives gradients for inputs faster, or itself if that fails.

    Args:
        network: in eval mode, frozen.
        sample: a few inputs to try the copy with.
    """
    inner = network.network if isinstance(network, Classifier) else network
    if not any(isinstance(part, nn.BatchNorm2d) or _is_slow(part) for part in inner.modules()):
        return network
    try:
        folded = _apart(_folded(copy.deepcopy(inner).eval()))
        folded.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = _within(network, folded)
        return found if _alike(found, network, sample) else network
    except Exception:  # a network that computes in a way that cannot be followed
        return network


def cut_before(network: nn.Module, parameters: set[int], sample: torch.Tensor) -> Cut | None:
    """Cut a network in two at the last place before any of some parameters counts; None where that fails.

    The place is one tensor, with a row for each image, through which everything goes that the rest needs.
    The parts share their parameters with the network.

    Args:
        network: maps inputs to logits, in eval mode.
        parameters: the ids of parameters that the tail must hold.
        sample: two or more inputs to try the parts with.

    >>> layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> found = cut_before(layers, {id(layers[3].weight)}, torch.ones(2, 1, 2, 2))
    >>> found.body(torch.ones(5, 1, 2, 2)).shape, found.tail(torch.ones(5, 3)).shape
    (torch.Size([5, 3]), torch.Size([5, 2]))
    """
    inner = network.network if isinstance(network, Classifier) else network
    try:
        graph = _Tracer().trace(inner)
        place = _place(graph, inner, parameters)
        if place is None:
            return None
        body, tail = (fx.GraphModule(inner, part).eval() for part in _halves(graph, place))
        found = Cut(body, _within(network, tail))
        whole = nn.Sequential(found.body, found.tail)
        return found if all(_alike(whole, network, part) for part in (sample, sample[:1])) else None
    except Exception:  # a network that computes in a way that cannot be followed
        return None


class _Tracer(fx.Tracer):
    """Follow a network down to its layers, of which convolutions of one's own making are some, too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)

    def trace(self, *given: Any, **settings: Any) -> fx.Graph:
        """Follow a network; its ``view`` becomes ``reshape``, which takes images with their channels last."""
        graph = super().trace(*given, **settings)
        for node in graph.find_nodes(op="call_method", target="view"):
            if not node.kwargs and not any(isinstance(given, torch.dtype) for given in node.args):
                node.target = "reshape"
        for node in graph.find_nodes(op="call_method", target="view_as"):
            node.target = "reshape_as"
        return graph


class _Subsampled(nn.Module):
    """A convolution with a stride, as one without whose places are left out afterwards."""

    def __init__(self, original: nn.Conv2d) -> None:
        super().__init__()
        self.stride = original.stride
        self.original = copy.deepcopy(original)
        self.original.stride = (1, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        down, right = self.stride
        every: torch.Tensor = self.original(inputs)
        return every[:, :, ::down, ::right].contiguous(memory_format=torch.channels_last)


def _is_slow(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and max(part.stride) > 1 and 1 < part.groups == part.in_channels


def _within(network: nn.Module, inner: nn.Module) -> nn.Module:
    """Return an inner network as the network holds it: behind what reads its answers."""
    if not isinstance(network, Classifier):
        return inner.eval()
    outer = copy.deepcopy(network)
    outer.network = inner
    return outer.eval()


def _alike(found: nn.Module, network: nn.Module, sample: torch.Tensor) -> bool:
    with plain_torch(), torch.no_grad():
        mine, its = found(sample).float(), network(sample).float()
    return mine.shape == its.shape and bool((mine - its).abs().max() <= TOLERANCE * (1e-6 + its.abs().max()))


def _apart(network: nn.Module) -> nn.Module:
    """Replace depthwise convolutions with a stride by such as compute every place."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if _is_slow(part):
                setattr(parent, name, _Subsampled(cast(nn.Conv2d, part)))
    return network


def _folded(network: nn.Module) -> nn.Module:
    """Return what a network computes, with each BatchNorm that alone follows a convolution folded into it."""
    traced = fx.GraphModule(network, _Tracer().trace(network))
    parts = dict(traced.named_modules())
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    for node in list(traced.graph.nodes):
        before: Any = node.args[0] if node.args else None
        if node.op != "call_module" or type(parts[node.target]) is not nn.BatchNorm2d:
            continue
        if getattr(before, "op", "") != "call_module" or len(before.users) > 1:
            continue
        name = before.target
        if not isinstance(parts[name], nn.Conv2d) or called.count(name) > 1:
            continue
        parts[name] = fuse_conv_bn_eval(parts[name], parts[node.target])
        parent, _, child = name.rpartition(".")
        setattr(traced.get_submodule(parent), child, parts[name])
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _place(graph: fx.Graph, network: nn.Module, parameters: set[int]) -> int | None:
    """Return the number of the last node through which everything goes before one of the parameters."""
    nodes = list(graph.nodes)
    number = {node: k for k, node in enumerate(nodes)}
    parts, tensors = dict(network.named_modules()), dict(network.named_parameters())

    def holds(node: fx.Node) -> bool:
        if node.op == "call_module":
            return any(id(p) in parameters for p in parts[str(node.target)].parameters())
        return node.op == "get_attr" and id(tensors.get(str(node.target))) in parameters

    first = next((k for k, node in enumerate(nodes) if holds(node)), None)
    if first is None:
        return None
    passing = {node for node in nodes if node.op == "get_attr" or _is_batch_size(node)}
    for k in range(first - 1, 0, -1):
        later = {a for node in nodes[k + 1 :] if node not in passing for a in node.all_input_nodes}
        before = {a for a in later if number[a] <= k and a not in passing}
        if before == {nodes[k]} and nodes[k].op.startswith("call"):
            return k
    return None


def _is_batch_size(node: fx.Node) -> bool:
    """Whether a node asks the network's inputs how many they are."""
    if node.op != "call_method" or node.target != "size" or node.args[1:] != (0,):
        return False
    asked = node.args[0]
    return isinstance(asked, fx.Node) and asked.op == "placeholder"


def _halves(graph: fx.Graph, place: int) -> tuple[fx.Graph, fx.Graph]:
    nodes = list(graph.nodes)
    body, tail = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes[: place + 1]:
        copies[node] = body.node_copy(node, lambda given: copies[given])
    body.output(copies[nodes[place]])
    start = tail.placeholder("features")
    known = {nodes[place]: start}

    def find(given: fx.Node) -> fx.Node:
        if given not in known and _is_batch_size(given):
            known[given] = tail.call_method("size", (start, 0))
        elif given not in known:  # a parameter or buffer
            known[given] = tail.node_copy(given)
        return known[given]

    for node in nodes[place + 1 :]:
        if node.op != "get_attr" and not _is_batch_size(node):
            known[node] = tail.node_copy(node, find)
    for half in (body, tail):
        half.lint()
    return body, tail
