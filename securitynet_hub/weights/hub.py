"""Files of model repositories on the Hugging Face Hub, at a pinned revision, in the Hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.hub_cache import HASHES, download_into_cache, hub_json, is_inside
from securitynet_hub.weights.hashes import Check, check_file, parse_checks
from securitynet_hub.weights.shards import INDEX_END, MAX_INDEX, is_index, read_index

LINK = re.compile(
    r"https://huggingface\.co/([\w-][\w.-]*/[\w-][\w.-]*)/resolve/([^/?#]+)/([^?#]+)(?:\?download=true)?"
)


COMMIT = re.compile("[0-9a-f]{40}")


class HubFile(NamedTuple):
    """One file of a model repository."""

    repo: str
    revision: str
    name: str


def hub_file(url: str) -> HubFile | None:
    """Return the file that a link to the Hub names, None for other links.

    >>> hub_file("https://huggingface.co/org/model/resolve/" + "0" * 40 + "/a/b.ckpt").name
    'a/b.ckpt'
    """
    found = LINK.fullmatch(url)
    return HubFile(found[1], unquote(found[2]), unquote(found[3])) if found else None


WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{INDEX_END}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_END}",
)
"""Names of weights files in a repository, in the order of preference: the safer formats first."""


class Snapshot(NamedTuple):
    """A repository at one commit: each file's name with the kind of its hash and the hash.

    The hash is the sha256 for a large file (LFS), and git's blob SHA-1 for other files.
    """

    repo: str
    commit: str
    files: dict[str, tuple[str, str]]

    def url(self, name: str) -> str:
        """Return the link to a file, pinned to the commit."""
        return f"https://huggingface.co/{self.repo}/resolve/{self.commit}/{quote(name)}"

    def hash_of(self, name: str) -> tuple[str, str]:
        """Return the kind of a file's hash and the hash.

        Raises:
            WeightsError: there is no such file; those of its format are listed.
        """
        if name in self.files:
            return self.files[name]
        end = Path(name).suffix
        alike = sorted(each for each in self.files if each.endswith(end))
        known = ", ".join(alike[:10]) + (", ..." if len(alike) > 10 else "")
        cached = (
            " in the cache, and HF_HUB_OFFLINE forbids downloading it" if constants.HF_HUB_OFFLINE else ""
        )
        raise WeightsError(
            f"{self.repo} at {self.commit} has no {printable(name)}{cached}. Its {printable(end)} files: "
            f"{printable(known) or 'none'}."
        )

    def weights(self) -> dict[str, str]:
        """Return link, kind of hash and hash of the weights, as the columns of an annotation.

        For sharded weights, the hash of the index is followed by the hashes of the shards.

        Raises:
            WeightsError: there are no weights, or the index is damaged.
        """
        found = [name for name in WEIGHTS if name in self.files]
        if not found:
            raise WeightsError(f"{self.repo} has none of {', '.join(WEIGHTS)}.")
        hashes = [self.files[found[0]]]
        if is_index(found[0]):
            hashes += [(f"{kind}-of-shard", digest) for kind, digest in self._shards(found[0])]
        return {
            "weights_url": self.url(found[0]),
            "weights_hash_kind": "+".join(kind for kind, _ in hashes),
            "weights_hash": "+".join(digest for _, digest in hashes),
            "weights_page": f"https://huggingface.co/{self.repo}",
        }

    def _shards(self, index: str) -> list[tuple[str, str]]:
        checks = parse_checks(*self.files[index])
        path = download_hub_file(HubFile(self.repo, self.commit, index), limit=MAX_INDEX, check=checks[0])
        check_file(path, checks, self.url(index))
        names = read_index(path)
        if missing := [name for name in names if name not in self.files]:
            raise WeightsError(f"{self.repo} has no {printable(missing[0])}, which its {index} names.")
        return [self.files[name] for name in names]


def hub_snapshot(repo: str, revision: str | None = None) -> Snapshot:
    """Pin a model repository: ask the Hub for a revision's commit and its files' hashes.

    With ``HF_HUB_OFFLINE`` the files in the Hub's cache are listed instead.

    Raises:
        WeightsError: there is no such repository or revision, or the Hub cannot be reached.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo, re.ASCII):
        raise WeightsError(f"a repository of the Hub is named owner/name; got {repo!r}.")
    if constants.HF_HUB_OFFLINE:
        return _cached_snapshot(repo, revision or "main")
    try:
        return _described(constants.ENDPOINT, repo, revision)
    except WeightsError as error:
        at = f" at {printable(revision)}" if revision else ""
        raise WeightsError(f"{repo}{at} cannot be downloaded from the Hub: {error}") from error


def _described(endpoint: str, repo: str, revision: str | None) -> Snapshot:
    """Ask the Hub for a description of a repository, which nobody has to believe more than its form."""
    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    told = hub_json(f"/api/models/{repo}{at}?blobs=true")
    commit, listed = (told.get("sha"), told.get("siblings")) if isinstance(told, dict) else (None, None)
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(listed, list):
        raise WeightsError(f"{endpoint} does not describe it: it states no commit and no files.")
    if revision is not None and COMMIT.fullmatch(revision) and commit != revision:
        raise WeightsError(f"{endpoint} describes the commit {commit} instead.")
    files: dict[str, tuple[str, str]] = {}
    for file in listed:
        name, digest = _identity(file)
        if name is not None and digest is not None and is_inside(name):
            files[name] = digest
    return Snapshot(repo, commit, files)


def _identity(file: Any) -> tuple[str | None, tuple[str, str] | None]:
    """Return the name of a listed file, and the kind of its hash with the hash; None for what is neither."""
    if not isinstance(file, dict) or not isinstance(file.get("rfilename"), str):
        return None, None
    large = file.get("lfs")
    kind, digest = (
        ("sha256", large.get("sha256")) if isinstance(large, dict) else ("git-blob-sha1", file.get("blobId"))
    )
    if not isinstance(digest, str) or not re.fullmatch(f"[0-9a-f]{{{HASHES[kind]}}}", digest):
        return file["rfilename"], None
    return file["rfilename"], (kind, digest)


def _cached_snapshot(repo: str, revision: str) -> Snapshot:
    """Read a snapshot from the Hub's cache, in which files are named by their hashes."""
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    place = folder / "snapshots" / commit
    if not re.fullmatch("[0-9a-f]{40}", commit) or not place.is_dir():
        cached = sorted(path.name for path in folder.glob("snapshots/*"))
        raise WeightsError(
            f"{repo} at {revision} is not in the cache, and HF_HUB_OFFLINE forbids asking the Hub. "
            f"Revisions in the cache: {', '.join(cached) or 'none'}."
        )
    digests = {
        path.relative_to(place).as_posix(): path.resolve().name for path in place.rglob("*") if path.is_file()
    }
    kinds = {64: "sha256", 40: "git-blob-sha1"}
    return Snapshot(
        repo, commit, {name: (kinds[len(d)], d) for name, d in digests.items() if len(d) in kinds}
    )


def download_hub_file(
    file: HubFile, *, limit: int, progress: bool = False, check: Check | None = None
) -> Path:
    """Return the path of a file in the Hub's cache; download it if it is not there.

    ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` have their usual meaning.

    Args:
        file: the file, at a commit.
        limit: size in bytes above which nothing is downloaded.
        progress: whether to show a progress bar.
        check: the sha256 or git's blob hash of the file; that of the Hub's description unless given.

    Raises:
        WeightsError: the revision is not a commit, the file is larger than `limit` bytes or than the free
            disk space, has another hash, or the download fails.
    """
    repo, revision, name = file
    if not is_inside(name):
        raise WeightsError(
            f"{name!r} of {repo} cannot be downloaded from the Hub: it leads out of the repository."
        )
    if not COMMIT.fullmatch(revision):
        raise WeightsError(
            f"the link to {repo}/{name} names the revision {revision!r}, which can move; pin a commit."
        )
    folder = Path(constants.HF_HUB_CACHE)
    cached = huggingface_hub.try_to_load_from_cache(repo, name, folder, revision)
    if isinstance(cached, str):
        return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"{repo}/{name} at {revision} is not in the cache {folder}, and HF_HUB_OFFLINE forbids "
            "downloading it."
        )
    try:
        if check is None:
            (check,) = parse_checks(*_described(constants.ENDPOINT, repo, revision).hash_of(name))
        return download_into_cache("model", repo, revision, name, check, limit=limit, progress=progress)
    except (WeightsError, OSError) as error:
        raise WeightsError(
            f"{repo}/{name} at {revision} cannot be downloaded from the Hub: {printable(error, limit=1000)}"
        ) from error


def forget_hub_file(path: Path) -> None:
    """Remove a file from the Hub's cache: the link in the snapshot and the content behind it."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextmanager
def progress_bars(wanted: bool) -> Iterator[None]:
    """Switch huggingface_hub's progress bars on or off within the block."""
    if wanted or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
