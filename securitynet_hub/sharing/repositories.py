"""Read from and commit to the Hub; every fault becomes one sentence without secrets."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import huggingface_hub
from huggingface_hub import CommitOperationAdd, RepoFile
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from securitynet_hub.core.errors import HubError, HubWarning
from securitynet_hub.core.retry import RetryPolicy, TransientError, with_retries
from securitynet_hub.core.text import printable
from securitynet_hub.records.schema import shown
from securitynet_hub.sharing.hub_client import ANSWER_SECONDS, SEND_RATE, SEND_SECONDS, api, within
from securitynet_hub.weights.download.hub_cache import download_into_cache
from securitynet_hub.weights.hashes import parse_checks
from securitynet_hub.weights.hub import COMMIT, progress_bars

T = TypeVar("T")

FAULTS = RetryPolicy(tries=4, first_delay=1.0)
RACES = RetryPolicy(tries=30, first_delay=0.1, max_delay=1.5)
"""After faults that may pass, and after another process's commit that came first."""

MAX_TEXT = 1 << 20

MOVED = {409, 412}
"""Status codes for a commit of another process that came first."""

NOT_DONE = MOVED | {429, 503}
"""Status codes after which the commit has certainly not happened."""

STORAGE = r"storage|quota|upgrade your plan"
"""Words of the refusals of an owner whose storage is full; the Hub has no code for them."""

GATED = "its owners ask for consent. Accept on its page, with the account of your login."

PASSING = NOT_DONE | {408, 500, 502, 504}


class Repository(NamedTuple):
    """A repository of the Hub: kind is model, dataset or space, name is owner/name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} repository {self.name}"

    @property
    def owner(self) -> str:
        """Return the user or organisation that owns the repository."""
        return self.name.split("/")[0]


class Published(NamedTuple):
    """The result of a publication: a commit or the URL of a pull request; None if nothing was new.

    Attributes:
        part: the file that was published by itself, if it is not the whole.
    """

    repository: Repository
    commit: str | None
    url: str | None
    part: str = ""


def repository(kind: str, name: str) -> Repository:
    """Return a repository after checking its name.

    Raises:
        ValueError: the name is not owner/name, or has characters that the Hub does not allow.
    """
    if not re.fullmatch(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", name, re.ASCII) or re.search(r"\.\.|--", name):
        raise ValueError(f"a repository of the Hub is named owner/name; got {name!r}.")
    return Repository(kind, name)


def head_of(repository: Repository, revision: str | None = None) -> str:
    """Return the hash of a revision's commit.

    Raises:
        HubError: there is no such repository or revision, or the Hub cannot be reached.
    """
    with hub_errors_explained(repository, "read"):
        info = within(
            ANSWER_SECONDS,
            lambda: api().repo_info(repository.name, repo_type=repository.kind, revision=revision),
        )
        if not isinstance(info.id, str) or not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
            raise ValueError(f"the Hub states no name and commit of it, but {shown([info.id, info.sha])}")
    if info.id.lower() != repository.name.lower():
        warnings.warn(
            f"{repository} has been renamed to {printable(info.id)}; use that name from now on.",
            HubWarning,
            stacklevel=2,
        )
    return info.sha


def create(repository: Repository, *, private: bool = False, space_sdk: str = "gradio") -> None:
    """Create a repository if it does not exist, also under another name to which its own leads.

    Raises:
        HubError: the login has no permission, or the Hub cannot be reached.
    """

    def attempt() -> None:
        with hub_errors_explained(repository, "create"):
            within(ANSWER_SECONDS, make)

    def make() -> None:
        if api().repo_exists(repository.name, repo_type=repository.kind):
            return
        api().create_repo(
            repository.name,
            repo_type=repository.kind,
            private=private or None,
            exist_ok=True,
            space_sdk=space_sdk if repository.kind == "space" else None,
        )

    retry_hub(attempt)


def writable_owners() -> set[str]:
    """Return the owners in whose repositories the login may write: the user, and some organisations.

    Raises:
        HubError: there is no valid login, or the Hub cannot be reached.
    """

    def attempt() -> set[str]:
        with hub_errors_explained(None, "ask who you are at"):
            user = within(ANSWER_SECONDS, lambda: api().whoami())
            mine = (
                o["name"] for o in user.get("orgs", ()) if o.get("roleInOrg", "write") in {"admin", "write"}
            )
            owners = {user["name"], *mine}
            if not all(isinstance(owner, str) for owner in owners):
                raise ValueError("the Hub's answer names no owners")
            return owners

    return retry_hub(attempt)


def read_text(repository: Repository, path: str, revision: str) -> str | None:
    """Return a small text file at a commit, None if there is none.

    Raises:
        HubError: the file is not a text of up to `MAX_TEXT` bytes, or the Hub cannot be reached.
    """
    with hub_errors_explained(repository, f"read {path} of"):
        found = within(
            ANSWER_SECONDS,
            lambda: api().get_paths_info(repository.name, path, revision=revision, repo_type=repository.kind),
        )
        if not found:
            return None
        if not isinstance(found[0], RepoFile) or found[0].path != path or found[0].size > MAX_TEXT:
            raise ValueError(f"it is no file of up to {MAX_TEXT:,} bytes")
        return download_listed(repository, revision, found[0], limit=MAX_TEXT).read_text(encoding="utf-8")


def download_listed(repository: Repository, commit: str, file: RepoFile, *, limit: int) -> Path:
    """Return a file's path in the Hub's cache; download it by the hash in the Hub's list, if it is not there.

    Raises:
        WeightsError: it has another hash or more than `limit` bytes, or cannot be downloaded.
    """
    known = huggingface_hub.try_to_load_from_cache(
        repository.name, file.path, revision=commit, repo_type=repository.kind
    )
    if isinstance(known, str):
        return Path(known)
    kind, digest = ("sha256", file.lfs.sha256) if file.lfs else ("git-blob-sha1", file.blob_id)
    (check,) = parse_checks(kind, digest)
    return download_into_cache(repository.kind, repository.name, commit, file.path, check, limit=limit)


def commit(
    repository: Repository,
    files_for: Callable[[str], dict[str, bytes]],
    message: str,
    *,
    create_pr: bool = False,
) -> Published:
    """Commit all files on the head for which they were made, or none; start again if the head has moved.

    After a fault that may pass, the head is read again: if the commit has happened after all, `files_for`
    finds nothing left to do. A pull request is tried again only if it certainly was not opened.

    Args:
        repository: the repository to commit to.
        files_for: takes the hash of the head and returns contents by path; an empty dict if nothing is new.
        message: the message of the commit.
        create_pr: propose the files to the owners instead.

    Raises:
        HubError: the commit failed; nothing of it is visible in the repository.
    """

    def attempt() -> Published:
        head = head_of(repository)
        files = files_for(head)
        if not files:
            return Published(repository, None, None)
        with (
            hub_errors_explained(repository, "write"),
            progress_bars(sys.stderr.isatty()),
            _silent(logging.getLogger("huggingface_hub.hf_api")),
        ):
            info = within(
                SEND_SECONDS + sum(map(len, files.values())) / SEND_RATE,
                lambda: api().create_commit(
                    repository.name,
                    [CommitOperationAdd(path, content) for path, content in files.items()],
                    commit_message=message,
                    repo_type=repository.kind,
                    parent_commit=head,
                    create_pr=create_pr,
                ),
            )
        if info.oid == head:  # the files were there already
            return Published(repository, None, None)
        return Published(repository, info.oid, info.pr_url or info.commit_url)

    return retry_hub(attempt, only=NOT_DONE if create_pr else None)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Leave out a client's remarks that a commit changes nothing, which the caller says itself."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def hub_errors_explained(repository: Repository | None, doing: str) -> Iterator[None]:
    """Turn whatever the client raises into a HubError of one sentence, without tokens and signed links.

    Depending on its version, the client raises errors of requests, httpx, httpx2 or hf_xet; hence
    `Exception`.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise _explained(_underlying(error), repository, doing) from None


def _underlying(error: Exception) -> Exception:
    """Return the fault behind an error that the client reports for an upload, the storage or the cache."""
    cause = error.__cause__
    answered = getattr(error, "response", None) is None and hasattr(cause, "response")
    wraps = answered or type(error) in (RuntimeError, LocalEntryNotFoundError)
    return cause if wraps and isinstance(cause, Exception) else error


class _TransientHubError(HubError, TransientError):
    """A fault of the Hub that may pass, with the status that it answered, if it answered."""

    def __init__(self, sentence: str, status: int | None, retry_after: float | None) -> None:
        TransientError.__init__(self, sentence, retry_after)
        self.status = status


def _explained(error: Exception, repository: Repository | None, doing: str) -> HubError:
    """Return the error to raise: a `TransientError`, too, if the same request may succeed in a moment."""
    sentence, status = _sentence(error, repository, doing), _status(error)
    passes = status in PASSING if status else _is_transport(error)
    if not passes or _is_from_xet(error):  # xet's client has retried for minutes already
        return HubError(sentence)
    response = getattr(error, "response", None)
    stated = "" if response is None else response.headers.get("Retry-After", "")
    return _TransientHubError(sentence, status, float(stated) if re.fullmatch(r"\d{1,9}", stated) else None)


def retry_hub(action: Callable[[], T], only: Container[int | None] | None = None) -> T:
    """Run an action again after faults that may pass, and more often after lost races.

    Args:
        action: what to do.
        only: the statuses after which it may be tried again; after any that may pass unless given.

    Raises:
        HubError: the last fault.
    """

    def policy_for(error: TransientError) -> RetryPolicy | None:
        status = getattr(error, "status", None)
        if only is not None and status not in only:
            return None
        return RACES if status in MOVED else FAULTS

    return with_retries(action, policy_for)


def _is_transport(error: Exception) -> bool:
    """Return whether the connection failed: the client's HTTPError without an answer, or an OSError."""
    http_error = HfHubHTTPError.__mro__[1]  # of httpx or httpx2, by its version
    return isinstance(error, (http_error, OSError)) and not isinstance(error, OfflineModeIsEnabled)


def _is_from_xet(error: Exception) -> bool:
    """Return whether an error comes from hf_xet, the storage's client, which raises Python's own errors."""
    return type(error) is ConnectionError or type(error).__module__.startswith("hf_xet")


def _status(error: Exception) -> int | None:
    """Return the status that the Hub answered with, if it answered."""
    if _is_from_xet(error):
        stated = re.search(r"HTTP status \w+ error \((\d{3})", str(error))
        return int(stated[1]) if stated else None
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _sentence(error: Exception, repository: Repository | None, doing: str) -> str:
    what = f"cannot {doing} {repository or 'the Hub'}"
    status = _status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return f"{what}: HF_HUB_OFFLINE forbids asking the Hub; unset it."
    if status == 401 and isinstance(error, RepositoryNotFoundError):  # so it answers whoever is not logged in
        return (
            f"{what}: it is not there, or it takes a login to see it. Check its name, or run `hf auth login`."
        )
    if status == 401 or isinstance(error, huggingface_hub.errors.LocalTokenNotFoundError):
        return f"{what}: your login is missing, wrong or expired. Run `hf auth login` and try again."
    if isinstance(error, GatedRepoError):
        return f"{what}: {GATED}"
    owner = repository.owner if repository else "its owner"
    if status == 413 or (status == 403 and re.search(STORAGE, str(error), re.IGNORECASE)):
        words = getattr(error, "server_message", None) or error
        return (
            f"{what}: it is too large, or the storage of {owner} is full ({_plain(words).rstrip('.')}). "
            "Make room, ask for more storage, or publish elsewhere."
        )
    if status == 403 and _is_from_xet(error):  # which leaves out the Hub's words
        return f"{what}: your login may not, or the storage of {owner} is full. Ask its owners."
    if status == 403:
        return f"{what}: your login may not. Ask its owners for access, or propose with --create-pr."
    if isinstance(error, RepositoryNotFoundError) or status in {404, 410}:
        lead = " Check its name; `securitynet publish dataset` makes one."
        makes = lead if repository and repository.kind == "dataset" else ""
        return f"{what}: it is not there, or your login cannot see it.{makes}"
    if status in MOVED:
        return f"{what}: others were writing to it all the while ({status}). Run the same command again."
    if status == 429:
        return f"{what}: the Hub asks to wait ({status}). Run the same command again later."
    if status is not None and status >= 500:
        return f"{what}: the Hub answered {status}. Run the same command again."
    if status is None and _is_transport(error):
        return f"{what}: the connection failed ({_plain(error)}). Run the same command again."
    return f"{what}: {_plain(error)}"


def _plain(error: Exception | str) -> str:
    """Return an error's text in one line, with no token and nothing that a link was signed with."""
    text = " ".join(str(error).split()) or type(error).__name__
    token = huggingface_hub.get_token()
    if token:
        text = text.replace(token, "***")
    text = re.sub(r"\bhf_\w+|Bearer \S+", "***", text)
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
    return printable(text)
