"""A weights link becomes a verified file and its tensors: every hash is checked before anything is parsed.

The cache lies in ``HF_HOME/securitynet/weights/<id>/<link>/``, where ``<link>`` is a hash of the link and of
the archive member: the file under its own name, ``record.json`` (where it came from and its sha256) and,
after the first load, ``tensors.safetensors``. Files of the Hugging Face Hub lie in the Hub's own cache.

A cached file is hashed, then opened again to be read. Whoever could swap it in between could as well write
another hash into its record: the cache is as safe as its folder, which should be the user's own.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from importlib import resources
from pathlib import Path

import requests
import safetensors.torch
import torch
from huggingface_hub import constants

from securitynet_hub.annotations import Annotation
from securitynet_hub.archives import fetch_member
from securitynet_hub.cache import Entry, Origin
from securitynet_hub.checkpoints import MAX_BYTES, read_checkpoint
from securitynet_hub.downloads import discard, download
from securitynet_hub.errors import FirstUseWarning, WeightsError
from securitynet_hub.hashes import FILE, Check, check_file, parse_checks
from securitynet_hub.hub_files import HubFile, download_hub_file, forget_hub_file, hub_file
from securitynet_hub.tensors import flatten, store_safetensors

PACKAGE_SCHEME = "package:"
"""``package:<package>/<path>``: a file inside an installed Python package."""

FILE_SCHEME = "file:"
"""``file:<absolute path>``: a file of the user's own."""


def load_weights(annotation: Annotation) -> dict[str, torch.Tensor]:
    """Return the tensors of an annotated model, read from bytes whose hash was checked.

    Tensors of nested checkpoints have the keys that lead to them, joined by ``/`` (``net/conv1.weight``).
    The first load checks the file as :func:`~securitynet_hub.checkpoints.read_checkpoint` does and stores its
    tensors as safetensors, with their sha256, in the cache; later loads map those into memory, where they
    can be written without any change to the cache.

    Raises:
        WeightsError: the file cannot be had, is too large, its hash differs, or it is not weights.
    """
    url = _link(annotation)
    if url.startswith(PACKAGE_SCHEME) and url.endswith(".safetensors"):
        return flatten(read_checkpoint(fetch(annotation), max_bytes=max_bytes()))
    entry = _entry(annotation, url)
    tensors = _stored_tensors(entry, annotation)
    if tensors is not None:
        return tensors
    path = fetch(annotation)
    with entry.locked():
        tensors = _stored_tensors(entry, annotation)
        if tensors is None:
            tensors = _read(path, entry, annotation)
    return tensors


def fetch(annotation: Annotation, *, progress: bool = True) -> Path:
    """Return a local file with an annotation's weights whose hashes were checked, downloaded if need be.

    Of a zip archive it is the member that the annotation names. Where the publisher gives no hash that
    nobody can forge, the sha256 of the first download is remembered and `FirstUseWarning` says so; a later
    download must have the same. With ``HF_HUB_OFFLINE`` only what is in the cache is returned.

    Args:
        annotation: the model.
        progress: show a progress bar if standard error is a terminal.

    Raises:
        WeightsError: there is no link, it cannot be downloaded, it is larger than ``SECURITYNET_MAX_BYTES``
            (8 GiB) or than the disk has room for, or a hash differs.
    """
    url = _link(annotation)
    if url.startswith((PACKAGE_SCHEME, FILE_SCHEME)):
        own = url.startswith(FILE_SCHEME)
        path = Path(url.removeprefix(FILE_SCHEME)) if own else _in_package(annotation, url)
        verified_bytes(path, annotation.weights_hash_kind, annotation.weights_hash)
        return path
    checks = parse_checks(annotation.weights_hash_kind, annotation.weights_hash)
    entry = _entry(annotation, url)
    with entry.locked():
        origin = entry.origin()
        on_hub = hub_file(url)
        if on_hub is not None and annotation.weights_member is None:
            return _from_hub(annotation, on_hub, entry, checks, progress)
        if entry.file.exists():
            try:
                if origin is not None or any(check.strong for check in checks):
                    _verify(entry.file, annotation, entry, checks)
                    return entry.file
            except WeightsError:
                if constants.HF_HUB_OFFLINE:
                    raise
            entry.file.unlink()
        if constants.HF_HUB_OFFLINE:
            raise WeightsError(
                f"{annotation.id} is not in the cache {entry.folder}, and HF_HUB_OFFLINE forbids to "
                "download it."
            )
        part = _download(annotation, url, entry, checks, progress)
        try:
            _verify(part, annotation, entry, checks)
        except WeightsError:
            discard(part)
            raise
        part.replace(entry.file)
        discard(part)
    return entry.file


def is_cached(annotation: Annotation) -> bool:
    """Tell whether an annotation's weights are here: in the cache, in the package, or a file of one's own.

    Raises:
        WeightsError: there is no link.
    """
    url = _link(annotation)
    return url.startswith((PACKAGE_SCHEME, FILE_SCHEME)) or _entry(annotation, url).origin() is not None


def _download(
    annotation: Annotation, url: str, entry: Entry, checks: tuple[Check, ...], progress: bool
) -> Path:
    part, limit = entry.folder / "file.part", max_bytes()
    with requests.Session() as session:
        if annotation.weights_member is None:
            download(session, url, part, limit=limit, progress=progress)
            return part
        return fetch_member(
            session, url, annotation.weights_member, entry.folder, checks, limit=limit, progress=progress
        )


def _from_hub(
    annotation: Annotation, file: HubFile, entry: Entry, checks: tuple[Check, ...], progress: bool
) -> Path:
    # A file that was damaged in the cache is worth one fresh download; a wrong one is not kept.
    for again in (not constants.HF_HUB_OFFLINE, False):
        path = download_hub_file(file, limit=max_bytes(), progress=progress)
        try:
            _verify(path, annotation, entry, checks)
            break
        except WeightsError:
            if not constants.HF_HUB_OFFLINE:
                forget_hub_file(path)
            if not again:
                raise
    return path


def _verify(path: Path, annotation: Annotation, entry: Entry, checks: tuple[Check, ...]) -> None:
    """Check a file's hashes and remember its sha256; warn where that is all there is to go by."""
    url = _link(annotation)
    file_checks = tuple(check for check in checks if check.of == FILE)
    sha256 = check_file(path, file_checks, url)
    known = entry.origin()
    if known is not None and known.sha256 == sha256 and known.hash == annotation.weights_hash:
        return
    strong = any(check.strong for check in file_checks)
    if known is not None and known.sha256 != sha256 and not strong:
        raise WeightsError(
            f"what {url} gave is not what it gave at first, on {known.first_seen}: its sha256 is {sha256}, "
            f"{known.sha256} was remembered. If the change is known to be right, delete {entry.folder}."
        )
    entry.remember(
        Origin(
            url=url,
            member=annotation.weights_member,
            hash_kind=annotation.weights_hash_kind,
            hash=annotation.weights_hash,
            size=path.stat().st_size,
            sha256=sha256,
        )
    )
    if known is None and not strong:
        which = "only a weak" if checks else "no"
        warnings.warn(
            f"The publisher of {annotation.id} gives {which} hash of its weights: the first download is "
            f"trusted. Its sha256, {sha256}, is remembered, and other content will be refused.",
            FirstUseWarning,
            stacklevel=4,
        )


def _stored_tensors(entry: Entry, annotation: Annotation) -> dict[str, torch.Tensor] | None:
    """Return the tensors that an earlier load stored, None if there are none or they are damaged."""
    origin = entry.origin()
    same = origin is not None and (origin.hash_kind, origin.hash) == (
        annotation.weights_hash_kind,
        annotation.weights_hash,
    )
    if origin is None or not same or origin.tensors_sha256 is None or not entry.tensors.exists():
        return None
    if check_file(entry.tensors, (), str(entry.tensors)) != origin.tensors_sha256:
        return None  # they are made again from the verified file
    return safetensors.torch.load_file(entry.tensors)


def _read(path: Path, entry: Entry, annotation: Annotation) -> dict[str, torch.Tensor]:
    origin = entry.origin() or Origin(
        url=annotation.weights_url or "",
        member=annotation.weights_member,
        hash_kind=annotation.weights_hash_kind,
        hash=annotation.weights_hash,
        size=path.stat().st_size,
        sha256=check_file(path, (), str(path)),
    )
    tensors = flatten(read_checkpoint(path, max_bytes=max_bytes()))
    if check_file(path, (), str(path)) != origin.sha256:
        raise WeightsError(f"{path} was replaced while it was read.")
    part = entry.tensors.with_name("tensors.part")
    store_safetensors(tensors, part)
    sha256 = check_file(part, (), str(part))
    part.replace(entry.tensors)
    entry.remember(replace(origin, tensors_sha256=sha256))
    return tensors


def _link(annotation: Annotation) -> str:
    if not annotation.weights_url:
        raise WeightsError(f"{annotation.id} has no link to its weights: nobody knows where they are.")
    return annotation.weights_url


def cache_folder() -> Path:
    """Return where this package keeps what it fetches and trains: ``HF_HOME/securitynet``."""
    return Path(constants.HF_HOME) / "securitynet"


def _entry(annotation: Annotation, url: str) -> Entry:
    return Entry(cache_folder() / "weights", annotation.id, url, annotation.weights_member)


def _in_package(annotation: Annotation, url: str) -> Path:
    """Return the file that a ``package:`` link names."""
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


def max_bytes() -> int:
    """Return the size above which files are refused: ``SECURITYNET_MAX_BYTES``, else 8 GiB."""
    stated = os.environ.get("SECURITYNET_MAX_BYTES")
    if stated is None:
        return MAX_BYTES
    if not (stated.isascii() and stated.isdigit() and int(stated)):
        raise WeightsError(
            f"SECURITYNET_MAX_BYTES must be a number of bytes, like 1000000000; got {stated!r}."
        )
    return int(stated)


def verified_bytes(path: Path, hash_kind: str | None, expected: str | None) -> bytes:
    """Read a file and return its bytes if, and only if, their hash is the expected one.

    The very bytes that were hashed are returned, so that nothing can change in between.
    """
    if hash_kind != "sha256" or not expected:
        raise WeightsError(f"{path.name} must come with a sha256; got {hash_kind} {expected!r}.")
    try:
        size, limit = path.stat().st_size, max_bytes()
        if size > limit:
            raise WeightsError(f"{path} has {size:,} bytes; at most {limit:,} are read.")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{path} is damaged or was replaced: its sha256 is {found}, {expected} was expected. "
            "Get the file, or install the package, anew."
        )
    return content
