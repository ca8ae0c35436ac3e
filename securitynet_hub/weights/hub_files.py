"""Judge the weights files of a repository on the Hub without keeping them, beside what its scanners say.

``hf://OWNER/NAME[@REVISION][/FILE]``. What the Hub's own scanners found is a second opinion; a file that they
have not looked at is "not scanned", never "safe".
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.hub_cache import hub_json, hub_session
from securitynet_hub.weights.download.resume import download
from securitynet_hub.weights.hashes import check_file, parse_checks
from securitynet_hub.weights.hub import Snapshot, hub_snapshot
from securitynet_hub.weights.reading.checkpoints import UNKNOWN, Verdict, judge

SCHEME = "hf://"
ENDS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".keras", ".onnx", ".npz")
"""Ends of names of files that may hold weights."""

MAX_FILES = 1000
NOT_SCANNED = "not scanned"
STATES = {"safe", "caution", "suspicious", "unsafe", "error", "queued"}


class HubVerdict(NamedTuple):
    """What was found of one file of a repository.

    Attributes:
        name: its address, pinned to the commit.
        verdict: ours.
        scan: what the Hub's scanners say: ``safe``, ``caution``, ``suspicious``, ``unsafe``, ``error``,
            ``queued`` or ``not scanned``.
    """

    name: str
    verdict: Verdict
    scan: str


def judge_repository(address: str, *, max_bytes: int) -> Iterator[HubVerdict]:
    """Judge the file that an address names, or every weights file of the repository, one after the other.

    Each is downloaded into a temporary folder, compared with the hash that the Hub states, judged, removed.

    Args:
        address: ``hf://OWNER/NAME[@REVISION][/FILE]``.
        max_bytes: size of the largest file that is downloaded.

    Raises:
        WeightsError: there is no such repository or file, or the Hub cannot be reached.
    """
    found = re.fullmatch(r"hf://([\w-][\w.-]*/[\w-][\w.-]*?)(?:@([\w.-]+))?(?:/(.+))?", address, re.ASCII)
    if found is None:
        raise WeightsError(f"{printable(address)} is not hf://OWNER/NAME[@REVISION][/FILE].")
    repo, revision, wanted = found.groups()
    snapshot = hub_snapshot(repo, revision)
    if wanted is not None:
        snapshot.hash_of(wanted)
    names = (
        [wanted] if wanted is not None else [name for name in sorted(snapshot.files) if name.endswith(ENDS)]
    )
    if not 1 <= len(names) <= MAX_FILES:
        raise WeightsError(f"{repo} has {len(names):,} weights files; 1 to {MAX_FILES:,} are judged.")
    scans = scan_states(snapshot)
    for name in names:
        verdict = _judged(snapshot, name, max_bytes)
        place = f"{SCHEME}{repo}@{snapshot.commit}/{name}"
        yield HubVerdict(place, verdict, scans.get(name, NOT_SCANNED))


def _judged(snapshot: Snapshot, name: str, limit: int) -> Verdict:
    url = f"{constants.ENDPOINT}{snapshot.url(name).removeprefix('https://huggingface.co')}"
    with tempfile.TemporaryDirectory(prefix="securitynet-verify-") as folder, hub_session() as session:
        path = Path(folder) / "weights"
        try:
            download(session, url, path, limit=limit)
            check_file(path, parse_checks(*snapshot.hash_of(name)), url)
        except WeightsError as error:
            return Verdict(False, UNKNOWN, printable(error, limit=1000), 0, 0, 0)
        return judge(path, max_bytes=limit)


def scan_states(snapshot: Snapshot) -> dict[str, str]:
    """Return what the Hub's scanners say of the files that they have looked at, by name.

    An answer that is not understood says nothing, so the file counts as not scanned.
    """
    try:
        told = hub_json(f"/api/models/{snapshot.repo}/tree/{snapshot.commit}?recursive=true&expand=true")
    except WeightsError:
        return {}
    states = {}
    for entry in told if isinstance(told, list) else ():
        status = entry.get("securityFileStatus") if isinstance(entry, dict) else None
        state = status.get("status") if isinstance(status, dict) else None
        if isinstance(state, str) and state in STATES and isinstance(entry.get("path"), str):
            states[entry["path"]] = state
    return states
