"""Weights in a file of one's own, for a network that the caller builds: ``file:<path>``.

The file is judged and read as a stranger's is: `weights.reading.checkpoints` says what is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation, plain_name, unlisted
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.per_image import as_preprocessing
from securitynet_hub.models.class_count import answers_plainly, count_classes, width_of_answer
from securitynet_hub.models.factories import Factory, as_pair, find_factory
from securitynet_hub.models.outputs import Classifier, Outputs, Reduce, require_outputs
from securitynet_hub.models.state_digest import state_digest
from securitynet_hub.models.target import Preprocessing, Target
from securitynet_hub.weights.hashes import check_file, parse_checks
from securitynet_hub.weights.shards import is_index, read_index


def annotate(
    reference: str,
    *,
    module: torch.nn.Module | Factory | str | None = None,
    transform: Any = None,
    key_prefix: str | None = None,
    sha256: str | None = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    name: str | None = None,
) -> Annotation:
    """Describe the file at a path, which is hashed now and must have the same hash when it is read.

    Args:
        reference: path of a safetensors file, of one that torch.save wrote, or of the index
            (``model.safetensors.index.json``) of several.
        module: the network that the weights belong to, which is filled in place; or a function of the
            caller's that builds it, or the name of one, ``package.module:factory``. A function may return the
            network and its preprocessing.
        transform: the preprocessing, as for a model in memory; None if the function returns it.
        key_prefix: the key that the state dict lies under (``net``, ``state_dict_ema``), a prefix of its keys
            (``module.``), or both (``net/module.``); None to find the place where the tensors fit.
        sha256: the hash that the file must have; None to take it as it is.
        num_classes: number of classes; None to count the numbers that the network answers an image with.
        outputs: what the network answers with: ``logits`` (default), ``posteriors``, ``log-posteriors`` or
            ``labels``.
        reduce: picks the answers out of what the network returns.
        name: what records call it; the file's name, unless given.

    Raises:
        WeightsError: the file cannot be read, or its hash differs.
        ValueError: the module is none, its preprocessing is not known, or the number of classes no count.
    """
    if num_classes is not None and (type(num_classes) is not int or num_classes < 2):
        raise ValueError(f"num_classes must be a whole number of 2 or more; got {num_classes!r}.")
    require_outputs(outputs)
    network, preprocessing = _made(module, transform, num_classes)
    path = Path(reference).expanduser().resolve()
    digest = check_file(path, parse_checks("sha256", sha256) if sha256 is not None else (), reference)
    shards = [path.with_name(name) for name in read_index(path)] if is_index(path.name) else []
    # The hash makes the name unique: two files of one name are two models.
    return unlisted(
        "file",
        digest[:12],
        plain_name(name or path.stem, "weights"),
        architecture=type(network).__name__,
        num_classes=num_classes or _count(network, preprocessing, outputs, reduce),
        weights_url=f"file:{path}",
        weights_hash_kind="+".join(["sha256", *["sha256-of-shard"] * len(shards)]),
        weights_hash="+".join([digest, *(check_file(shard, (), str(shard)) for shard in shards)]),
        weights_key_prefix=key_prefix,
    )


def _made(
    module: torch.nn.Module | Factory | str | None, transform: Any, num_classes: int | None
) -> tuple[torch.nn.Module, Preprocessing]:
    """Return the caller's network and its preprocessing."""
    if module is None:
        raise ValueError(
            "the file holds weights alone: say which network they belong to with module= (--module "
            "nets.py:build), the network itself, a function that builds it, or its name as "
            "package.module:factory."
        )
    own = None
    made: Any = module
    if isinstance(module, str):
        made, own = as_pair(find_factory(module, num_classes=num_classes)())
    elif callable(module) and not isinstance(module, torch.nn.Module):
        made, own = as_pair(module())
    if not isinstance(made, torch.nn.Module):
        raise ValueError(
            "module must be the network that the weights belong to, or a function that builds it, or the "
            f"name of one as package.module:factory (--module); got {made!r}."
        )
    chosen = own if transform is None else transform
    if chosen is None:
        first = next((part for part in made.modules() if isinstance(part, torch.nn.Conv2d)), None)
        channels = 3 if first is None else first.in_channels
        mean, std = (",".join([number] * channels) for number in ("0.5", "0.2"))
        raise ValueError(
            f"the preprocessing of {type(made).__name__} is not known here: pass transform=Transform(...) as "
            f"it was trained (such as --transform height=32,width=32,resize=32,32,mean={mean},std={std}), or "
            "let the factory return the network and its Transform."
        )
    preprocessing: Preprocessing = as_preprocessing(chosen)
    return made, preprocessing


def _count(
    module: torch.nn.Module, transform: Preprocessing, outputs: Outputs | None, reduce: Reduce | None
) -> int:
    """Return the width of the network's answer, or of its last layer if it does not answer."""
    if outputs == "labels":
        raise ValueError("a model that answers with labels needs num_classes= (--num-classes).")
    if reduce is not None:
        return width_of_answer(Classifier(module, outputs=outputs, reduce=reduce), transform)
    try:
        return width_of_answer(module, transform)
    except ModelError:
        return count_classes(module)  # `finish` says what is wrong, if the weights fit at all


def build(
    annotation: Annotation,
    *,
    module: torch.nn.Module | Factory | str | None = None,
    transform: Any = None,
    num_classes: int | None = None,
    **_: object,
) -> tuple[torch.nn.Module, Preprocessing]:
    """Return the caller's network and preprocessing."""
    return _made(module, transform, num_classes)


def finish(
    target: Target,
    *,
    module: torch.nn.Module | Factory | str | None = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    **_: object,
) -> Target:
    """Return the target with its answers as logits, and with what builds its network anew.

    Raises:
        ModelError: the network, with its weights, cannot forward images of this preprocessing.
    """

    def classifier(network: torch.nn.Module) -> Classifier:
        return Classifier(network, num_classes=target.num_classes, outputs=outputs, reduce=reduce)

    def fresh() -> torch.nn.Module:
        return classifier(_made(module, target.transform, num_classes)[0])

    plain = answers_plainly(
        target.module, target.transform, target.num_classes, f"the network of {target.id}"
    )
    plain = plain and reduce is None and outputs in (None, "logits")
    return replace(
        target,
        module=target.module if plain else classifier(target.module),
        outputs=outputs or "logits",
        weights_digest=state_digest(target.module),
        build=None if isinstance(module, torch.nn.Module) else fresh,
    )
