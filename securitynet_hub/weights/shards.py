"""Sharded weights, as transformers saves large models: an index names the file of each tensor."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.hashes import SHARD, Check

INDEX_END = ".index.json"
MAX_INDEX = 16 << 20
"""Largest size of an index in bytes; the index of a thousand tensors has a hundred thousand."""

MAX_SHARDS = 1000
NAME = re.compile(r"\w[\w.-]{0,199}\.(?:safetensors|bin|pt|pth)", re.ASCII)
"""The names that shards may have; shards lie beside their index."""


def is_index(name: str) -> bool:
    """Return whether a file is an index of sharded weights, by its name.

    >>> is_index("model.safetensors.index.json"), is_index("model.safetensors")
    (True, False)
    """
    return name.endswith(INDEX_END)


def read_index(path: Path) -> dict[str, set[str]]:
    """Return the shards that an index names, sorted, each with the names of its tensors.

    Raises:
        WeightsError: the file is not an index, is too large, or names files that cannot lie beside it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_INDEX + 1)
        if len(content) > MAX_INDEX:
            raise WeightsError(f"{path} has more than the {MAX_INDEX:,} bytes that an index may have.")
        places = json.loads(content, object_pairs_hook=_unambiguous)["weight_map"]
        pairs = list(places.items())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is no index of weights in several files: {error!r}.") from error
    shards: defaultdict[str, set[str]] = defaultdict(set)
    for tensor, name in pairs:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise WeightsError(
                f"{path} places {tensor[:80]!r} in {str(name)[:80]!r}, which is no file beside it."
            )
        shards[name].add(tensor)
    if not 1 <= len(shards) <= MAX_SHARDS:
        raise WeightsError(f"{path} names {len(shards):,} files; 1 to {MAX_SHARDS:,} were expected.")
    return dict(sorted(shards.items()))


def why_not_shard(content: Mapping[str, Any], expected: set[str], index: str) -> str | None:
    """Return why a file does not hold exactly the tensors that an index places there, None if it does."""
    found = {key for key, value in content.items() if hasattr(value, "untyped_storage")}
    if found == expected and len(content) == len(found):
        return None
    strange = sorted((expected - found) or (content.keys() - expected))
    return f"{'lacks' if expected - found else 'holds'} {strange[0]!r}, contrary to {index}"


def shard_checks(path: Path, checks: tuple[Check, ...]) -> dict[str, Check]:
    """Return the expected hash of each shard; an annotation lists them in the order of the shards' names.

    Raises:
        WeightsError: the number of hashes differs from that of the shards, or a hash is weak.
    """
    names, known = list(read_index(path)), [check for check in checks if check.of == SHARD]
    if len(known) != len(names) or not all(check.strong for check in known):
        raise WeightsError(
            f"{path} names {len(names)} files; a strong hash of each was expected, {len(known)} hashes came."
        )
    return dict(zip(names, known, strict=True))


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
