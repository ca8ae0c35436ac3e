"""Download files of the Hub into its own cache, without trusting the server that sends them.

huggingface_hub names a file in its cache by the ETag that the server states, so a hostile mirror could lead
it out of the cache. Here the name is a hash that is known before: the annotation's, or the one in the Hub's
description of the repository. The file takes its place in the cache only if it has that hash. The layout is
huggingface_hub's (``blobs/<hash>``, ``snapshots/<commit>/<name>``), so each finds what the other downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import filelock
import huggingface_hub
import requests
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.http import open_url, retry_download
from securitynet_hub.weights.download.resume import discard, download, require_within
from securitynet_hub.weights.hashes import Check, check_file

HASHES = {"sha256": 64, "git-blob-sha1": 40}
"""Kinds of hash by which the Hub names files, and their length in hexadecimal digits."""

MAX_ANSWER = 64 << 20
"""Largest description of a repository in bytes: some have 100,000 files."""

MAX_VALUES = 4_000_000
"""Most values in such an answer: each takes some 100 bytes of memory, however short it is written."""

MAX_PAGES = 200
"""Most pages of an answer that are asked for."""


class _HubLogin(requests.auth.AuthBase):
    """Send the user's token to the Hub alone, not to the servers to which it redirects."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else huggingface_hub.get_token()
        if token and urlsplit(request.url or "")[:2] == urlsplit(constants.ENDPOINT)[:2]:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def hub_session() -> requests.Session:
    """Return a session that is logged in to the Hub as the user is."""
    session = requests.Session()
    session.auth = _HubLogin()
    return session


def hub_json(path: str) -> Any:
    """Ask the Hub's API a question and return its answer, which may be of `MAX_ANSWER` bytes.

    Args:
        path: behind the endpoint, such as ``/api/models/owner/name``.

    Raises:
        WeightsError: the Hub cannot be reached, refuses, or does not answer in JSON.
    """
    return _page(constants.ENDPOINT + path)[0]


def hub_pages(path: str) -> Iterator[Any]:
    """Ask the Hub's API a question that it answers in pages, and yield them, at most `MAX_PAGES`.

    Args:
        path: as `hub_json`.

    Raises:
        WeightsError: as `hub_json`, or the next page is at another address than the Hub's.
    """
    url = constants.ENDPOINT + path
    for _ in range(MAX_PAGES):
        answer, following = _page(url)
        yield answer
        if following is None:
            return
        url = urljoin(url, following)
        if urlsplit(url)[:2] != urlsplit(constants.ENDPOINT)[:2]:
            raise WeightsError(f"{constants.ENDPOINT} continues its answer at {printable(url)}.")


def _page(url: str) -> tuple[Any, str | None]:
    """Return an answer in JSON, and the address of the next page, if any."""

    def attempt() -> tuple[bytes, str | None]:
        answer = bytearray()
        with hub_session() as session, open_url(session, url) as reply:
            require_within(reply.total or 0, MAX_ANSWER, url)
            for chunk in reply.chunks:
                answer += chunk
                require_within(len(answer), MAX_ANSWER, url)
        return bytes(answer), reply.following

    try:
        text, following = retry_download(url, attempt)
        if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise WeightsError(f"{url} answered with more than the {MAX_VALUES:,} values that are read.")
        return json.loads(text), following
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{url} answered with what is no JSON: {printable(error)}") from error


def download_into_cache(
    kind: str, repo: str, commit: str, name: str, check: Check, *, limit: int, progress: bool = False
) -> Path:
    """Download a file whose hash is known into the Hub's cache and return its path there.

    Args:
        kind: ``model``, ``dataset`` or ``space``.
        repo: the repository, as ``owner/name``.
        commit: of 40 hexadecimal digits.
        name: of the file, with its folders.
        check: the sha256 (of a large file) or git's blob hash (of others) that it must have.
        limit: size in bytes above which nothing is downloaded.
        progress: whether to show a progress bar.

    Raises:
        WeightsError: the file has another hash or more than `limit` bytes, or cannot be downloaded.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or not is_inside(name):
        raise WeightsError(f"{printable(name)} at {printable(commit)} of {printable(repo)} names no file.")
    if HASHES.get(check.algorithm) != len(check.digest):
        raise WeightsError(f"{repo}/{name} is named by {check.digest!r}, which is no hash of the Hub's.")
    place = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind]
    url = f"{constants.ENDPOINT}/{place}{repo}/resolve/{commit}/{quote(name)}"
    cache = Path(constants.HF_HUB_CACHE)
    folder = cache / repo_folder_name(repo_id=repo, repo_type=kind)
    blob, locks = folder / "blobs" / check.digest, cache / ".locks" / folder.name
    for needed in (blob.parent, locks):
        needed.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(locks / f"{check.digest}.lock"):
        if not blob.exists() or _differs(blob, check):
            part = blob.with_name(f"{check.digest}.part")
            with hub_session() as session:
                download(session, url, part, limit=limit, progress=progress, any_content=True)
            try:
                check_file(part, (check,), url)
            except WeightsError:
                discard(part)
                raise
            part.replace(blob)
            discard(part)
        return _linked(folder / "snapshots" / commit / name, blob)


def _differs(blob: Path, check: Check) -> bool:
    try:
        check_file(blob, (check,), str(blob))
    except WeightsError:
        return True
    return False


def _linked(path: Path, blob: Path) -> Path:
    """Make a file of a snapshot: a link to its content, or a copy where there are no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.relpath(blob, path.parent))
    with atomic_path(path, fsync=False) as part:
        try:
            part.symlink_to(target)
        except OSError:
            shutil.copyfile(blob, part)
    return path


def is_inside(name: str) -> bool:
    r"""Return whether a file's name stays within a folder, on every system.

    >>> is_inside("a/b.bin"), is_inside("../b"), is_inside("a\\..\\b"), is_inside("c:/b")
    (True, False, False, False)
    """
    parts = name.split("/")
    return not {"", ".", ".."} & set(parts) and not re.search("[\\\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]", name)
