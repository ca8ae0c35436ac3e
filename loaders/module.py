"""Models that the caller holds in memory: a network, one of transformers or timm, or a pipeline.

``module:package.module:factory`` names a function of the user's own that returns such a model, or the model
and its preprocessing. Weights are hashed for the record. A target has a copy of the network that shares its
weights: whatever an audit does, the caller's network stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from securitynet_hub.annotations.schema import Annotation, plain_name, unlisted
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.data.per_image import as_preprocessing
from securitynet_hub.models.class_count import answers_plainly, tried_classes
from securitynet_hub.models.factories import as_pair, find_factory
from securitynet_hub.models.loading import find_loader
from securitynet_hub.models.outputs import Classifier, Outputs, Reduce, require_outputs
from securitynet_hub.models.state_digest import state_digest, tensors_of
from securitynet_hub.models.target import Preprocessing, Target

WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
"""What torch wraps a network in, and the attribute under which the network lies."""


def annotate(reference: str, **options: Any) -> Annotation:
    """Describe the model that a factory of the user's own makes; arguments as for `find`."""
    return find(reference, **options).annotation


def load(annotation: Annotation, **options: Any) -> Target:
    """Return the target that `annotate` described; arguments as for `find`."""
    return find((annotation.weights_url or "").removeprefix("module:"), **options)


def find(
    reference: str,
    *,
    transform: Any = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    name: str | None = None,
) -> Target:
    """Return the target of ``package.module:factory``, a function of the user's own.

    Args:
        reference: names a function or class that returns a model, or a model and its preprocessing.
        transform: as for `adopt`, as are the others.
        num_classes: also given to a factory with such a parameter.
        outputs: as for `adopt`.
        reduce: as for `adopt`.
        name: as for `adopt`; the factory's name, unless given.
    """
    model, own = as_pair(find_factory(reference, num_classes=num_classes)())
    target = adopt(
        model,
        name=name or reference.rpartition(":")[2],
        transform=own if transform is None else transform,
        num_classes=num_classes,
        outputs=outputs,
        reduce=reduce,
    )
    return replace(target, annotation=replace(target.annotation, weights_url=f"module:{reference}"))


def adopt(
    model: Any,
    *,
    name: str | None = None,
    transform: Any = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    build: Callable[[], torch.nn.Module] | None = None,
) -> Target:
    """Return the target of a model in memory.

    The target shares the weights: load it again after they have changed.

    Args:
        model: a `torch.nn.Module`, a model of transformers or timm, or a pipeline for image classification.
        name: what records and reports call it; the name of its class, unless given.
        transform: its preprocessing: a `Transform`, an image processor of transformers, torchvision's
            transforms, or a `PerImage`. A pipeline and a model of timm know theirs.
        num_classes: number of classes; found by a forward pass of black images, unless given.
        outputs: what the model answers with: ``logits``, ``posteriors``, ``log-posteriors`` or ``labels``.
            Logits, unless given; then answers that look like posteriors give a warning.
        reduce: picks the answers out of what the model returns, where they are not found by themselves.
        build: makes the network anew, with initial weights, for attacks that train such networks. Unless
            given, its class is called, if it needs no arguments and makes the same layers; otherwise a copy
            draws its weights anew, if all of its layers know how (``reset_parameters``).

    Raises:
        ModelError: the model is not there (on the meta device), cannot forward images of this preprocessing,
            or its answers are not found in what it returns.
        ValueError: it is no model, or its preprocessing is not known.

    >>> from securitynet_hub.data.transforms import Transform
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> target = adopt(net, transform=Transform(height=2, width=2, channels=1))
    >>> target.num_classes, target.id.startswith("module/"), target.annotation.weights_hash_kind
    (3, True, 'sha256-of-tensors')
    """
    require_outputs(outputs)
    with plain_torch():
        own = _recognised(model, transform)
        digest = state_digest(own.network)
        network = _shared_copy(own.network)
        module = Classifier(
            own.face(network), num_classes=num_classes or own.num_classes, outputs=outputs, reduce=reduce
        )
        if network is own.network:
            module.borrowed = True  # type: ignore[assignment]
        own_name = type(own.network).__name__
        classes = tried_classes(module, own.transform, name or own_name)
        plain = reduce is None and outputs in (None, "logits")
        plain = plain and answers_plainly(network, own.transform, classes, own_name)
    make = build or _builder(own.network)

    def answering() -> torch.nn.Module:
        """Make the network anew, with its answers as logits, which training needs."""
        assert make is not None
        return Classifier(own.face(make()), num_classes=classes, outputs=outputs, reduce=reduce)

    annotation = unlisted(
        "module",
        digest.hexdigits[:12],
        plain_name(name or own_name),
        architecture=own_name,
        num_classes=classes,
        input_dims=len(own.transform.shape) - 1,
        weights_hash_kind=digest.kind,
        weights_hash=digest.hexdigits,
    )
    return Target(
        annotation=annotation,
        module=module,
        transform=own.transform,
        num_classes=classes,
        outputs=outputs or "logits",
        build=make if plain or make is None else answering,
    )


def _builder(network: torch.nn.Module) -> Callable[[], torch.nn.Module] | None:
    """Return what makes a network anew, with initial weights, where that is known.

    >>> _builder(torch.nn.Sequential(torch.nn.Linear(2, 1))) is not None
    True
    """
    made_by = type(network)
    shapes = {
        name: tuple(value.shape) for name, value in tensors_of(network).items() if hasattr(value, "shape")
    }
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # layers without values cost nothing
            fresh = made_by().state_dict()
        if shapes and {name: tuple(value.shape) for name, value in fresh.items()} == shapes:
            return made_by
    except Exception:  # the caller's class may need arguments
        pass
    parts = [part for part in network.modules() if part._parameters or part._buffers]
    if not parts or not all(hasattr(part, "reset_parameters") for part in parts):
        return None

    def build() -> torch.nn.Module:
        copied = copy.deepcopy(network).cpu()
        for part in copied.modules():
            reset: Any = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
        return copied.requires_grad_(True)

    return build


class _Recognised(NamedTuple):
    """What is known of a caller's model: the network, what to put around it, preprocessing and classes."""

    network: torch.nn.Module
    transform: Preprocessing
    num_classes: int | None = None
    face: Callable[[torch.nn.Module], torch.nn.Module] = lambda network: network


def _recognised(model: Any, transform: Any) -> _Recognised:
    """Say what a caller's model is, and find its preprocessing."""
    transformers: Any = find_loader("transformers")
    timm: Any = find_loader("timm")
    if transformers.is_own(model):
        network, processor = transformers.model_and_processor(model, transform)
        _require_present(network)
        classes = getattr(network.config, "num_labels", None)
        return _Recognised(network, processor, classes, transformers.Logits)
    network = _unwrapped(model)
    _require_present(network)
    if transform is None and timm.is_own(network):
        return _Recognised(network, timm.transform_of(network))
    if transform is None:
        raise ValueError(
            f"the preprocessing of {type(network).__name__} is not known here: pass transform=, such as "
            "transform=Transform(height=32, width=32, resize=(32, 32), mean=(0.5, 0.5, 0.5), "
            "std=(0.2, 0.2, 0.2)) from securitynet_hub (hub.Transform)."
        )
    if transformers.is_processor(transform):
        return _Recognised(network, transformers.as_processor(transform, None))
    return _Recognised(network, as_preprocessing(transform))


def _unwrapped(model: Any) -> torch.nn.Module:
    """Return the network itself out of `torch.compile`, DataParallel or DistributedDataParallel."""
    if not isinstance(model, torch.nn.Module):
        raise ValueError(
            "a model must be a torch.nn.Module, a model or pipeline of transformers, or be named by its id "
            f"or source:reference; got a {type(model).__name__}. What answers in another way (a function, an "
            "estimator of scikit-learn, a service) becomes a target by hub.black_box(function, "
            "num_classes=...)."
        )
    network: torch.nn.Module = model
    while type(network).__name__ in WRAPPERS:
        network = getattr(network, WRAPPERS[type(network).__name__])
    return network


def _require_present(network: torch.nn.Module) -> None:
    """Refuse a network whose weights are not in this process."""
    name = type(network).__name__
    if name.startswith(("FullyShardedDataParallel", "FSDP")):
        raise ModelError(
            f"{name} holds a share of the weights in each process. Gather them first, and load the whole "
            "network in each process."
        )
    if any(
        isinstance(value, (UninitializedParameter, UninitializedBuffer))
        for value in [*network.parameters(), *network.buffers()]
    ):
        raise ModelError(
            f"{name} has lazy layers without weights: forward a batch, or load its weights, first."
        )
    missing = [key for key, value in network.named_parameters() if value.is_meta]
    if missing and not hasattr(network, "hf_device_map"):
        raise ModelError(
            f"the weights of {name} are not there: {missing[0]} and {len(missing) - 1} more lie on the meta "
            "device, without values. Load its weights first."
        )


def _shared_copy(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy that shares the parameters' memory, but neither flags, nor gradients, nor the device.

    Buffers, which BatchNorm might change, are copied. A network that cannot be copied, or whose layers are
    spread over devices by hooks, is returned itself.
    """
    if hasattr(network, "hf_device_map"):
        return network
    shared: dict[int, Any] = {}
    for part in network.modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue  # whose parameters are made anew whenever they are looked at
        for value in part.__dict__.values():
            if isinstance(value, torch.Tensor):
                shared[id(value)] = value.detach()
        for parameter in part._parameters.values():
            if type(parameter) is torch.nn.Parameter:
                values = parameter.clone() if parameter.is_inference() else parameter
                shared[id(parameter)] = torch.nn.Parameter(values.detach(), parameter.requires_grad)
            elif parameter is not None:
                shared[id(parameter)] = parameter
        for buffer in part._buffers.values():
            if buffer is not None:
                shared[id(buffer)] = buffer.detach().clone()
    try:
        with torch.no_grad():
            found = copy.deepcopy(network, shared)
    except Exception:  # an attribute of the caller's may refuse to be copied
        return network
    for one, own in zip(found.parameters(), network.parameters(), strict=True):
        if one.data_ptr() != own.data_ptr() and not own.is_inference():  # of a scripted network
            one.data = own.data
            one.requires_grad_(own.requires_grad)
    return found
