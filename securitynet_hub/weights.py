"""A weights link becomes verified bytes: the hash is checked before anything is parsed."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from securitynet_hub.annotations import Annotation
from securitynet_hub.errors import WeightsError

PACKAGE_SCHEME = "package:"
"""``package:<package>/<path>``: a file inside an installed Python package."""

MAX_BYTES = 8 << 30
"""Files above this size are refused unread."""


def load_weights(annotation: Annotation) -> dict[str, torch.Tensor]:
    """Return the tensors of an annotated model, read from bytes whose hash was checked.

    Raises:
        WeightsError: the file is missing, too large, its hash differs, or it is not safetensors.
    """
    path = fetch(annotation)
    content = verified_bytes(path, annotation.weights_hash_kind, annotation.weights_hash)
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


def fetch(annotation: Annotation) -> Path:
    """Return the local file that an annotation's weights link names."""
    url = annotation.weights_url
    if url is None or not url.startswith(PACKAGE_SCHEME):
        raise WeightsError(
            f"{annotation.id} has its weights at {url}; only files inside installed packages "
            f"({PACKAGE_SCHEME}<package>/<path>) can be fetched."
        )
    package, _, inner = url.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        root = Path(str(resources.files(package))).resolve()
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{annotation.id} has its weights in the package {package!r}: install it."
        ) from error
    path = (root / inner).resolve()
    if not path.is_relative_to(root):
        raise WeightsError(f"{annotation.id} links to {inner!r}, which lies outside the package {package!r}.")
    return path


def verified_bytes(path: Path, hash_kind: str | None, expected: str | None) -> bytes:
    """Read a file and return its bytes if, and only if, their hash is the expected one.

    The very bytes that were hashed are returned, so that nothing can change in between.
    """
    if hash_kind != "sha256" or not expected:
        raise WeightsError(f"{path.name} must come with a sha256; got {hash_kind} {expected!r}.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are read.")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{path} is damaged or was replaced: its sha256 is {found}, {expected} was expected. "
            "Install the package anew."
        )
    return content
