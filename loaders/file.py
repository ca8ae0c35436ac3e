"""Weights in a file of one's own, for a network that the caller builds: ``file:<path>``.

The file is judged and read as a stranger's is: `weights.reading.checkpoints` says what is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from securitynet_hub.annotations.schema import Annotation, unlisted
from securitynet_hub.models.loading import count_classes
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
) -> Annotation:
    """Describe the file at a path, which is hashed now and must have the same hash when it is read.

    Args:
        reference: path of a safetensors file, of one that torch.save wrote, or of the index
            (``model.safetensors.index.json``) of several.
        module: the network that the weights belong to; it is filled in place.
        transform: its preprocessing.
        key_prefix: the key that the state dict lies under (``net``), or a prefix of its keys (``module.``).
        sha256: the hash that the file must have; None to take it as it is.

    Raises:
        WeightsError: the file cannot be read, or its hash differs.
        ValueError: the module is none.
    """
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"module must be the network that the weights belong to; got {module!r}.")
    path = Path(reference).expanduser().resolve()
    digest = check_file(path, parse_checks("sha256", sha256) if sha256 is not None else (), reference)
    shards = [path.with_name(name) for name in read_index(path)] if is_index(path.name) else []
    # The hash makes the name unique: two files of one name are two models.
    return unlisted(
        "file",
        digest[:12],
        NAME.sub("-", path.stem).strip("-.+")[:100] or "weights",
        architecture=type(module).__name__,
        num_classes=count_classes(module),
        weights_url=f"file:{path}",
        weights_hash_kind="+".join(["sha256", *["sha256-of-shard"] * len(shards)]),
        weights_hash="+".join([digest, *(check_file(shard, (), str(shard)) for shard in shards)]),
        weights_key_prefix=key_prefix,
    )


def build(
    annotation: Annotation, *, module: torch.nn.Module, transform: Preprocessing, **_: str | None
) -> tuple[torch.nn.Module, Preprocessing]:
    """Return the caller's network and preprocessing."""
    return module, transform
