"""Turn a weights link into a verified file and its tensors; every hash is checked before parsing.

The cache lies in ``HF_HOME/securitynet/weights/<id>/<link>/``, where ``<link>`` is a hash of the link and of
the archive member: the file under its own name, ``record.json`` (where it came from and its sha256) and,
after the first load, ``tensors.safetensors``. Files of the Hugging Face Hub lie in the Hub's own cache.

A cached file is hashed, then opened again to be read. An attacker who could replace it in between could also
write another hash into its record. So the cache is as safe as its folder, which should belong to the user.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import requests
import torch
from huggingface_hub import constants

from securitynet_hub.core.errors import FirstUseWarning, WeightsError
from securitynet_hub.core.files import atomic_path, max_bytes
from securitynet_hub.weights.cache import Entry, Origin
from securitynet_hub.weights.download.hub_cache import HASHES
from securitynet_hub.weights.download.resume import discard, download
from securitynet_hub.weights.download.zip_member import fetch_member
from securitynet_hub.weights.hashes import FILE, Check, check_file, parse_checks
from securitynet_hub.weights.hub import HubFile, download_hub_file, forget_hub_file, hub_file
from securitynet_hub.weights.local import FILE_SCHEME, PACKAGE_SCHEME, local_file, verify_file
from securitynet_hub.weights.reading.checkpoints import read_checkpoint
from securitynet_hub.weights.shards import is_index, read_index, shard_checks, why_not_shard
from securitynet_hub.weights.source import WeightsSource
from securitynet_hub.weights.tensors import flatten, store_safetensors


def load_weights(annotation: WeightsSource) -> dict[str, torch.Tensor]:
    """Return the tensors of an annotated model, read from a file whose hash was checked.

    Tensors of nested checkpoints are named by their keys, joined by ``/`` (``net/conv1.weight``). The first
    load reads the file with `checkpoints.read_checkpoint` and stores its tensors in the cache as safetensors,
    with their sha256. Later loads map these into memory; changing a tensor does not change the cache.

    Raises:
        WeightsError: the file cannot be downloaded, is too large, has another hash, or does not hold weights.
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


def fetch(annotation: WeightsSource, *, progress: bool = True, limit: int | None = None) -> Path:
    """Return a local file with an annotation's weights after checking its hashes; download it if needed.

    If the link leads to a zip archive, the file is the member that the annotation names. For sharded weights,
    on the Hub or on a disk, it is the index, and the shards lie beside it. If the publisher gives no strong
    hash, the sha256 of the first download is remembered, and `FirstUseWarning` says so; a later download must
    have the same. With ``HF_HUB_OFFLINE`` only files in the cache are returned.

    Args:
        annotation: the model.
        progress: whether to show a progress bar if standard error is a terminal.
        limit: size in bytes above which nothing is downloaded, if less than ``SECURITYNET_MAX_BYTES``.

    Raises:
        WeightsError: there is no link, the download fails, the file is larger than
            ``SECURITYNET_MAX_BYTES`` (8 GiB) or than the free disk space, or a hash differs.
    """
    url = _link(annotation)
    limit = max_bytes() if limit is None else min(limit, max_bytes())
    path = local_file(url, annotation.id)
    if path is not None:
        return _verified_here(path, annotation)
    checks = parse_checks(annotation.weights_hash_kind, annotation.weights_hash)
    entry = _entry(annotation, url)
    with entry.locked():
        origin = entry.origin()
        on_hub = hub_file(url)
        if on_hub is not None and annotation.weights_member is None:
            return _from_hub(annotation, on_hub, entry, checks, limit, progress)
        if is_index(url):
            raise WeightsError(
                f"{annotation.id} links to {url}: sharded weights must be on the Hub or on a disk."
            )
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
                f"{annotation.id} is not in the cache {entry.folder}, and HF_HUB_OFFLINE forbids "
                "downloading it."
            )
        part = _download(annotation, url, entry, checks, limit, progress)
        try:
            _verify(part, annotation, entry, checks)
        except WeightsError:
            discard(part)
            raise
        part.replace(entry.file)
        discard(part)
    return entry.file


def is_cached(annotation: WeightsSource) -> bool:
    """Return whether an annotation's weights are local: in the cache, in a package, or a file of the user.

    Raises:
        WeightsError: there is no link.
    """
    url = _link(annotation)
    return url.startswith((PACKAGE_SCHEME, FILE_SCHEME)) or _entry(annotation, url).origin() is not None


def _verified_here(path: Path, annotation: WeightsSource) -> Path:
    kinds, digests = annotation.weights_hash_kind, annotation.weights_hash
    verify_file(path, kinds, digests)
    if is_index(path.name):
        for name, check in shard_checks(path, parse_checks(kinds, digests)).items():
            check_file(path.with_name(name), (check,), str(path.with_name(name)))
    return path


def _download(
    annotation: WeightsSource, url: str, entry: Entry, checks: tuple[Check, ...], limit: int, progress: bool
) -> Path:
    part = entry.folder / "file.part"
    with requests.Session() as session:
        if annotation.weights_member is None:
            download(session, url, part, limit=limit, progress=progress)
            return part
        return fetch_member(
            session, url, annotation.weights_member, entry.folder, checks, limit=limit, progress=progress
        )


def _from_hub(
    annotation: WeightsSource,
    file: HubFile,
    entry: Entry,
    checks: tuple[Check, ...],
    limit: int,
    progress: bool,
) -> Path:
    if is_index(file.name):  # it is recorded last, when all the shards that it names are there
        check = partial(check_file, checks=_of_file(checks), origin=file.name)
        path = _verified_on_hub(file, check, limit, progress, _of_file(checks))
        for name, of_shard in shard_checks(path, checks).items():
            shard = file._replace(name=Path(file.name).with_name(name).as_posix())
            check = partial(check_file, checks=(of_shard,), origin=shard.name)
            limit -= _verified_on_hub(shard, check, limit, progress, (of_shard,)).stat().st_size
    verify = partial(_verify, annotation=annotation, entry=entry, checks=checks)
    return _verified_on_hub(file, verify, limit, progress, _of_file(checks))


def _verified_on_hub(
    file: HubFile, verify: Callable[[Path], object], limit: int, progress: bool, checks: tuple[Check, ...]
) -> Path:
    """Return a file of the Hub's cache that passes the check; download a damaged one once more."""
    known = next((check for check in checks if check.algorithm in HASHES), None)
    for again in (not constants.HF_HUB_OFFLINE, False):
        path = download_hub_file(file, limit=limit, progress=progress, check=known)
        try:
            verify(path)
            break
        except WeightsError:
            if not constants.HF_HUB_OFFLINE:
                forget_hub_file(path)
            if not again:
                raise
    return path


def _of_file(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    return tuple(check for check in checks if check.of == FILE)


def _verify(path: Path, annotation: WeightsSource, entry: Entry, checks: tuple[Check, ...]) -> None:
    """Check a file's hashes and record its sha256; warn if that sha256 is the only strong check."""
    url = _link(annotation)
    file_checks = _of_file(checks)
    sha256 = check_file(path, file_checks, url)
    known = entry.origin()
    if known is not None and known.sha256 == sha256 and known.hash == annotation.weights_hash:
        return
    strong = any(check.strong for check in file_checks)
    if known is not None and known.sha256 != sha256 and not strong:
        raise WeightsError(
            f"{url} gave another file than at the first download, on {known.first_seen}: its sha256 is "
            f"{sha256}, {known.sha256} was remembered. If you know that the change is right, delete "
            f"{entry.folder}."
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


def _stored_tensors(entry: Entry, annotation: WeightsSource) -> dict[str, torch.Tensor] | None:
    """Return the tensors that an earlier load stored, None if there are none or if they are damaged."""
    origin = entry.origin()
    same = origin is not None and (origin.hash_kind, origin.hash) == (
        annotation.weights_hash_kind,
        annotation.weights_hash,
    )
    if origin is None or not same or origin.tensors_sha256 is None or not entry.tensors.exists():
        return None
    if check_file(entry.tensors, (), str(entry.tensors)) != origin.tensors_sha256:
        return None  # they are stored again from the verified file
    return read_checkpoint(entry.tensors)


def _read(path: Path, entry: Entry, annotation: WeightsSource) -> dict[str, torch.Tensor]:
    origin = entry.origin() or Origin(
        url=annotation.weights_url or "",
        member=annotation.weights_member,
        hash_kind=annotation.weights_hash_kind,
        hash=annotation.weights_hash,
        size=path.stat().st_size,
        sha256=check_file(path, (), str(path)),
    )
    tensors = flatten(_read_files(path, annotation) if is_index(origin.url) else _read_one(path))
    if check_file(path, (), str(path)) != origin.sha256:
        raise WeightsError(f"{path} was replaced while it was read.")
    for left in entry.folder.glob(".*.part"):  # by a process that was killed here
        left.unlink()
    with atomic_path(entry.tensors, fsync=False) as part:
        store_safetensors(tensors, part)
        sha256 = check_file(part, (), str(part))
    entry.remember(replace(origin, tensors_sha256=sha256))
    return tensors


def _read_one(path: Path) -> dict[str, Any]:
    return read_checkpoint(path, max_bytes=max_bytes())


def _read_files(index: Path, annotation: WeightsSource) -> dict[str, torch.Tensor]:
    """Read each file that an index names; it must hold exactly the tensors that the index places there."""
    checks = shard_checks(index, parse_checks(annotation.weights_hash_kind, annotation.weights_hash))
    tensors: dict[str, torch.Tensor] = {}
    left = max_bytes()
    for name, expected in read_index(index).items():
        path = index.with_name(name)
        content = read_checkpoint(path, max_bytes=left)
        left -= path.stat().st_size
        check_file(path, (checks[name],), str(path))
        if (reason := why_not_shard(content, expected, index.name)) is not None:
            raise WeightsError(f"{path} {reason}.")
        tensors |= content
    return tensors


def _link(annotation: WeightsSource) -> str:
    if not annotation.weights_url:
        raise WeightsError(f"{annotation.id} has no link to its weights: nobody knows where they are.")
    return annotation.weights_url


def cache_folder() -> Path:
    """Return the folder of everything that this package downloads and trains: ``HF_HOME/securitynet``."""
    return Path(constants.HF_HOME) / "securitynet"


def _entry(annotation: WeightsSource, url: str) -> Entry:
    return Entry(cache_folder() / "weights", annotation.id, url, annotation.weights_member)
