"""Judge the weights files of a repository on the Hub without keeping them, beside what its scanners say.

``hf://OWNER/NAME[@REVISION][/FILE]``. Of large files only what can run code is asked for, by HTTP ranges.
What the Hub's own scanners found is a second opinion; a file that they have not looked at is "not scanned",
never "safe".
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from huggingface_hub import constants

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.http import RangesIgnoredError
from securitynet_hub.weights.download.hub_cache import hub_pages, hub_session
from securitynet_hub.weights.download.ranges import RemoteFile
from securitynet_hub.weights.download.resume import download
from securitynet_hub.weights.folders import MAX_FILES, may_hold_weights
from securitynet_hub.weights.hashes import check_file, parse_checks
from securitynet_hub.weights.hub import Snapshot, hub_snapshot
from securitynet_hub.weights.reading.checkpoints import UNKNOWN, Verdict, judge, judge_parts

SCHEME = "hf://"
WHOLE = 4 << 20
"""Files of up to so many bytes are downloaded whole, so that hash and numbers are checked."""

PARTS = 32 << 20
"""Number of bytes beyond which reading parts is given up, as where they are half of the file: a header has at
most 8 MiB, a pickle 64."""

NOT_SCANNED = "not scanned"
STATES = {"safe", "caution", "suspicious", "unsafe", "error", "queued"}


class HubVerdict(NamedTuple):
    """What was found of one file of a repository.

    Attributes:
        name: its address, pinned to the commit.
        verdict: ours.
        unread: how many bytes were not asked for. Where there are any, neither the hash nor the numbers have
            been checked.
        scan: what the Hub's scanners say: ``safe``, ``caution``, ``suspicious``, ``unsafe``, ``error``,
            ``queued`` or ``not scanned``.
    """

    name: str
    verdict: Verdict
    unread: int
    scan: str


def judge_repository(address: str, *, max_bytes: int, whole: bool = False) -> Iterator[HubVerdict]:
    """Judge the file that an address names, or every weights file of the repository, one after the other.

    Of large files in safetensors and in torch's zipped form, only what can run code is asked for, by HTTP
    ranges. Others are downloaded into a temporary folder, compared with the hash that the Hub states, judged,
    removed.

    Args:
        address: ``hf://OWNER/NAME[@REVISION][/FILE]``.
        max_bytes: size of the largest file that is downloaded.
        whole: download every file, so that its hash and its numbers are checked, too.

    Raises:
        WeightsError: there is no such repository or file, or the Hub cannot be reached.
    """
    repo, revision, wanted = parse_address(address)
    snapshot = hub_snapshot(repo, revision)
    if wanted is not None:
        snapshot.hash_of(wanted)
    names = (
        [wanted]
        if wanted is not None
        else [name for name in sorted(snapshot.files) if may_hold_weights(name)]
    )
    if not 1 <= len(names) <= MAX_FILES:
        raise WeightsError(f"{repo} has {len(names):,} weights files; 1 to {MAX_FILES:,} are judged.")
    scans = scan_states(snapshot, names)
    for name in names:
        url = f"{constants.ENDPOINT}{snapshot.url(name).removeprefix('https://huggingface.co')}"
        verdict, unread = (None, 0) if whole else _judged_by_parts(url)
        if verdict is None:
            verdict, unread = _judged_whole(snapshot, name, url, max_bytes), 0
        place = f"{SCHEME}{repo}@{snapshot.commit}/{name}"
        yield HubVerdict(place, verdict, unread, scans.get(name, NOT_SCANNED))


def parse_address(address: str) -> tuple[str, str | None, str | None]:
    """Return the repository, the revision and the file that an address names.

    Raises:
        WeightsError: it is no such address.

    >>> parse_address("hf://org/net@v1/a/b.bin")
    ('org/net', 'v1', 'a/b.bin')
    """
    found = re.fullmatch(r"hf://([\w-][\w.-]*/[\w-][\w.-]*?)(?:@([\w.-]+))?(?:/(.+))?", address, re.ASCII)
    if found is None:
        raise WeightsError(f"{printable(address)} is not hf://OWNER/NAME[@REVISION][/FILE].")
    repo, revision, wanted = found.groups()
    return repo, revision, wanted


def _judged_by_parts(url: str) -> tuple[Verdict | None, int]:
    """Return the verdict on a large file by what can run code, and how many bytes were not read.

    There is no verdict if the file is small, its form needs all of it, or the server sends no parts.
    """
    with hub_session() as session:
        try:
            remote = RemoteFile(session, url, worthwhile=PARTS)
            if remote.size <= WHOLE:
                return None, 0
            remote.worthwhile = min(PARTS, remote.size // 2)
            return judge_parts(cast(BinaryIO, remote), remote.size), remote.size - remote.fetched
        except (RangesIgnoredError, WeightsError):
            return None, 0


def _judged_whole(snapshot: Snapshot, name: str, url: str, limit: int) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="securitynet-verify-") as folder, hub_session() as session:
        path = Path(folder) / "weights"
        try:
            download(session, url, path, limit=limit)
            check_file(path, parse_checks(*snapshot.hash_of(name)), url)
        except WeightsError as error:
            return Verdict(False, UNKNOWN, printable(error, limit=1000), 0, 0, 0)
        return judge(path, max_bytes=limit)


def scan_states(snapshot: Snapshot, names: Iterable[str]) -> dict[str, str]:
    """Return what the Hub's scanners say of those of the named files that they have looked at, by name.

    An answer that is not understood says nothing, so the file counts as not scanned. The Hub answers in
    pages; no more are asked for than it takes to find the files.
    """
    states: dict[str, str] = {}
    sought = set(names)
    with suppress(WeightsError):
        for told in hub_pages(
            f"/api/models/{snapshot.repo}/tree/{snapshot.commit}?recursive=true&expand=true"
        ):
            for entry in told if isinstance(told, list) else ():
                path = entry.get("path") if isinstance(entry, dict) else None
                if not isinstance(path, str) or path not in sought:
                    continue
                sought.remove(path)
                status = entry.get("securityFileStatus")
                state = status.get("status") if isinstance(status, dict) else None
                if isinstance(state, str) and state in STATES:
                    states[path] = state
            if not sought:
                break
    return states
