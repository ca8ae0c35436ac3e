"""Verify the signature of a repository on the Hub, by the hashes that it states, without its large files.

The signature is downloaded. A file that is signed by the sha256 of its whole is compared with the sha256 that
the Hub states of it (LFS), which every download is compared with in turn; small files, of which the Hub
states git's hash, are downloaded and removed. Any other file is only compared where files are downloaded
whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights import signature
from securitynet_hub.weights.download.hub_cache import hub_session
from securitynet_hub.weights.download.resume import download
from securitynet_hub.weights.hashes import check_file, parse_checks
from securitynet_hub.weights.hub import Snapshot, hub_snapshot
from securitynet_hub.weights.hub_files import SCHEME, parse_address
from securitynet_hub.weights.reading.checkpoints import Verdict

SMALL, ALL_SMALL = 16 << 20, 256 << 20
"""Bytes of a file, and of all files, that are downloaded to be compared, unless whole ones are asked for."""

NOT_COMPARED = (
    "it was not compared: it is signed by hashes of another form than the Hub states; --whole downloads it"
)


def verify_hub_signature(
    address: str,
    *,
    public_key: Path | None = None,
    certificates: Sequence[Path] = (),
    max_bytes: int,
    whole: bool = False,
) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdict on a repository's ``model.sig``, then one on each file that is not as it was signed.

    Args:
        address: ``hf://OWNER/NAME[@REVISION][/FILE]``; of one file only that one is compared.
        public_key: as `securitynet_hub.weights.signature.verify_signature`.
        certificates: as there.
        max_bytes: size of the largest file that is downloaded.
        whole: download what cannot be compared otherwise.

    Raises:
        WeightsError: there is no such repository or file, the Hub cannot be reached, or a key or a
            certificate cannot be read.
        MissingPackageError: the package ``cryptography`` is not installed.
    """
    verifier = signature.find_verifier(public_key, certificates)
    repo, revision, wanted = parse_address(address)
    snapshot = hub_snapshot(repo, revision)
    if wanted is not None:
        snapshot.hash_of(wanted)
    place = f"{SCHEME}{repo}@{snapshot.commit}"
    with tempfile.TemporaryDirectory(prefix="securitynet-verify-") as folder:
        path = Path(folder) / "file"
        size = 0
        try:
            if signature.NAME not in snapshot.files:
                raise WeightsError(f"there is no signature {signature.NAME!r}")
            _fetch(snapshot, signature.NAME, path, signature.MAX_BYTES)
            size = path.stat().st_size
            signed = signature.read_signed(path, verifier)
        except WeightsError as error:
            refused = Verdict(False, signature.FORMAT, printable(error, limit=1000), 0, 0, size)
            yield f"{place}/{signature.NAME}", refused
            return
        names = [name for name in snapshot.files if name != signature.NAME]
        ignored = [name for name in names if signed.leaves_out(name)]
        shown = tuple(printable(name, limit=80) for name in ignored[:50])
        whole_verdict = Verdict(True, signature.FORMAT, None, 0, 0, size, loadable=True, ignored=shown)
        yield f"{place}/{signature.NAME}", whole_verdict
        limits = (max_bytes, None) if whole else (min(SMALL, max_bytes), ALL_SMALL)
        fetched = 0
        for name in sorted({*names, *signed.pieces}):
            if wanted not in (None, name) or (name in snapshot.files and signed.leaves_out(name)):
                continue
            reason, size = _fault(snapshot, name, signed, path, limits, fetched)
            fetched += size
            if reason is not None:
                yield f"{place}/{name}", Verdict(False, signature.FORMAT, reason, 0, 0, 0)


def _fault(
    snapshot: Snapshot,
    name: str,
    signed: signature.Signed,
    path: Path,
    limits: tuple[int, int | None],
    fetched: int,
) -> tuple[str | None, int]:
    """Return what is wrong with a file, None if nothing is, and how many bytes were downloaded for it."""
    if name not in signed.pieces:
        return signature.UNSIGNED, 0
    if name not in snapshot.files:
        return signature.MISSING, 0
    kind, digest = snapshot.files[name]
    (first, *more) = signed.pieces[name]
    if kind == "sha256" and not more and (first.start, first.stop, first.algorithm) == (0, None, "sha256"):
        return None if first.digest == digest else signature.CHANGED, 0
    most, total = limits
    if total is not None and (kind == "sha256" or fetched > total):
        return NOT_COMPARED, 0
    try:
        _fetch(snapshot, name, path, most)
        same = signature.is_as_signed(path, signed.pieces[name])
        return None if same else signature.CHANGED, path.stat().st_size
    except WeightsError as error:
        return f"it was not compared ({printable(error, limit=500)})", 0


def _fetch(snapshot: Snapshot, name: str, path: Path, limit: int) -> None:
    url = f"{constants.ENDPOINT}{snapshot.url(name).removeprefix('https://huggingface.co')}"
    path.unlink(missing_ok=True)
    with hub_session() as session:
        download(session, url, path, limit=limit, any_content=True)
    check_file(path, parse_checks(*snapshot.hash_of(name)), url)
