"""Weights in a file of one's own, for a network that the caller builds: ``file:<path>``.

The file is judged and read as a stranger's is: `weights.reading.checkpoints` says what is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from securitynet_hub.annotations.schema import Annotation, unlisted
from securitynet_hub.core.errors import ModelError
from securitynet_hub.models.loading import count_classes, width_of_answer
from securitynet_hub.models.target import Preprocessing
from securitynet_hub.weights.hashes import check_file, parse_checks
from securitynet_hub.weights.shards import is_index, read_index

NAME = re.compile(r"[^\w.+-]+", re.ASCII)


def annotate(
    reference: str,
    *,
    module: torch.nn.Module,
    transform: Preprocessing,
    key_prefix: str | None = None,
    sha256: str | None = None,
    num_classes: int | None = None,
) -> Annotation:
    """Describe the file at a path, which is hashed now and must have the same hash when it is read.

    Args:
        reference: path of a safetensors file, of one that torch.save wrote, or of the index
            (``model.safetensors.index.json``) of several.
        module: the network that the weights belong to; it is filled in place.
        transform: its preprocessing.
        key_prefix: the key that the state dict lies under (``net``, ``state_dict_ema``), a prefix of its keys
            (``module.``), or both (``net/module.``); None to find the place where the tensors fit.
        sha256: the hash that the file must have; None to take it as it is.
        num_classes: number of classes; None to count the numbers that the network answers an image with.

    Raises:
        WeightsError: the file cannot be read, or its hash differs.
        ValueError: the module is none, or the number of classes no count.
    """
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"module must be the network that the weights belong to; got {module!r}.")
    if num_classes is not None and (type(num_classes) is not int or num_classes < 2):
        raise ValueError(f"num_classes must be a whole number of 2 or more; got {num_classes!r}.")
    path = Path(reference).expanduser().resolve()
    digest = check_file(path, parse_checks("sha256", sha256) if sha256 is not None else (), reference)
    shards = [path.with_name(name) for name in read_index(path)] if is_index(path.name) else []
    # The hash makes the name unique: two files of one name are two models.
    return unlisted(
        "file",
        digest[:12],
        NAME.sub("-", path.stem).strip("-.+")[:100] or "weights",
        architecture=type(module).__name__,
        num_classes=_count(module, transform) if num_classes is None else num_classes,
        weights_url=f"file:{path}",
        weights_hash_kind="+".join(["sha256", *["sha256-of-shard"] * len(shards)]),
        weights_hash="+".join([digest, *(check_file(shard, (), str(shard)) for shard in shards)]),
        weights_key_prefix=key_prefix,
    )


def _count(module: torch.nn.Module, transform: Preprocessing) -> int:
    """Return the width of the network's answer, or of its last layer if it does not answer."""
    try:
        return width_of_answer(module, transform)
    except ModelError:
        return count_classes(module)  # `predict` says what is wrong, if the weights fit at all


def build(
    annotation: Annotation, *, module: torch.nn.Module, transform: Preprocessing, **_: object
) -> tuple[torch.nn.Module, Preprocessing]:
    """Return the caller's network and preprocessing."""
    return module, transform
