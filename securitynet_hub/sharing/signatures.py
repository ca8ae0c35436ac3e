"""Signed records: who vouches for a record, by an SSH key, as `ssh-keygen -Y` signs and checks files.

What is signed is the whole record as canonical JSON, so that a signature outlives every file format. Whom to
believe is up to the reader: a file of allowed signers, one line ``NAME KEYTYPE KEY`` each (ssh-keygen(1)). A
record that no allowed signer signed is unsigned to that reader, whatever its author says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from securitynet_hub.core.errors import HubWarning, RecordError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.text import printable
from securitynet_hub.records.record import Record

NAMESPACE = "record@securitynet-hub"
FOLDER = "signatures"
"""Folder of a dataset repository with files of signatures, one per publication."""

SUFFIX = ".sig"
"""What a signature's file is called beside a record's: RECORD.json.sig, as ssh-keygen has it."""

MAX_SIGNATURE = 16 << 10
"""Characters of a signature; those of RSA keys of 16,384 bits have some 6,000."""

MAX_FILE = 8 << 20
"""Bytes of a file of signatures."""

MAX_CHECKED = 100
"""Signatures of one record by allowed keys that are checked: a stranger may add as many that are void."""

ARMOUR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+-----END SSH SIGNATURE-----\n?")


class Signature(NamedTuple):
    """A signature of the record of that id."""

    record: str
    text: str


def signed_content(record: Record) -> bytes:
    """Return what is signed: the record's content as JSON, keys in order, without spaces."""
    return json.dumps(record.content(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sign(record: Record, key: Path) -> Signature:
    """Sign a record with an SSH key.

    Args:
        record: what to vouch for.
        key: a private key's file, or the public key of one that ssh-agent holds.

    Raises:
        RecordError: there is no ssh-keygen, or it cannot sign with this key.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record"
        path.write_bytes(signed_content(record))
        done = _keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(path))
        if done.returncode:
            raise RecordError(f"cannot sign with {key}: {_said(done)}")
        return Signature(record.id, path.with_name(path.name + SUFFIX).read_text(encoding="ascii"))


def signers_of(record: Record, signatures: Iterable[Signature], allowed: Path) -> set[str]:
    """Return the allowed signers that vouch for a record.

    Args:
        record: what they may have signed.
        signatures: of strangers; those of other records and those that are none count as nothing.
        allowed: the reader's file of allowed signers, with their keys themselves.

    Raises:
        RecordError: there is no ssh-keygen, or no such file.
    """
    if not allowed.is_file():
        raise RecordError(
            f"there is no file of allowed signers {allowed}: one line NAME KEYTYPE KEY for each."
        )
    known = allowed.read_text(encoding="utf-8", errors="replace")
    own = dict.fromkeys(each.text for each in signatures if each.record == record.id)
    found: set[str] = set()
    claimed = [text for text in own if _key_in(text) in known]
    if len(claimed) > MAX_CHECKED:
        warnings.warn(
            f"{len(claimed)} signatures of the record {record.id} claim an allowed key; only {MAX_CHECKED} "
            "were looked at, so it may count as unsigned. Ask the owners to remove void ones.",
            HubWarning,
            stacklevel=2,
        )
    for text in claimed[:MAX_CHECKED]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"record{SUFFIX}"
            path.write_text(text, encoding="ascii")
            files = ("-s", str(path), "-f", str(allowed))
            named = _keygen("-Y", "find-principals", *files)
            for name in named.stdout.decode(errors="replace").splitlines() if named.returncode == 0 else ():
                checked = _keygen(
                    "-Y", "verify", *files, "-I", name, "-n", NAMESPACE, content=signed_content(record)
                )
                if checked.returncode == 0:
                    found.add(printable(name))
    return found


def _key_in(text: str) -> str:
    """Return the public key in a signature as files of keys write it; a NUL where it is no signature.

    The layout is that of PROTOCOL.sshsig of OpenSSH: SSHSIG, a version, the key after its length.
    """
    if not is_signature(text):
        return "\0"
    try:
        content = base64.b64decode("".join(text.splitlines()[1:-1]))
        (length,) = struct.unpack(">I", content[10:14])
    except (ValueError, struct.error):
        return "\0"
    return base64.b64encode(content[14 : 14 + length]).decode() or "\0"


def signers_by_record(
    records: Iterable[Record], signatures: Iterable[Signature], allowed: Path
) -> dict[str, set[str]]:
    """Return the allowed signers of each record that has some, by its id.

    Raises:
        RecordError: as `signers_of`.
    """
    known: dict[str, list[Signature]] = {}
    for signature in signatures:
        known.setdefault(signature.record, []).append(signature)
    found = {record.id: signers_of(record, known.get(record.id, ()), allowed) for record in records}
    return {id: names for id, names in found.items() if names}


def is_signature(text: str) -> bool:
    """Return whether a stranger's text has the form of a signature.

    >>> is_signature("-----BEGIN SSH SIGNATURE-----")
    False
    """
    return len(text) <= MAX_SIGNATURE and ARMOUR.fullmatch(text) is not None


def signatures_file(signatures: Iterable[Signature]) -> tuple[str, bytes]:
    """Return the path and the content of a file of signatures in a repository; a line of JSON for each."""
    lines = sorted(json.dumps(signature._asdict(), sort_keys=True) for signature in signatures)
    content = "".join(f"{line}\n" for line in lines).encode()
    return f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:32]}.jsonl", content


def parse_signatures(content: bytes) -> Iterator[Signature]:
    """Yield the signatures in a stranger's file; leave out lines that are none."""
    for line in content.decode(errors="replace").splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, Mapping):
            record, text = found.get("record"), found.get("text")
            if isinstance(record, str) and isinstance(text, str) and is_signature(text):
                yield Signature(record, text)


def signatures_beside(path: Path, record: str) -> list[Signature]:
    """Return the signatures that lie beside a record's file, one after the other in RECORD.json.sig."""
    beside = path.with_name(path.name + SUFFIX)
    if not beside.is_file() or beside.stat().st_size > MAX_FILE:
        return []
    return [Signature(record, text) for text in ARMOUR.findall(beside.read_text("ascii", errors="replace"))]


def keep_signatures(path: Path, signatures: Iterable[Signature]) -> None:
    """Write the signatures of a record beside its file, in place of those that lie there."""
    with atomic_path(path.with_name(path.name + SUFFIX)) as part:
        part.write_text("".join(sorted(signature.text for signature in signatures)), encoding="ascii")


def _keygen(*arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise RecordError("signatures need ssh-keygen, of OpenSSH 8.2 or later: install it.")
    return subprocess.run([program, *arguments], input=content, capture_output=True, timeout=60)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = " ".join(done.stderr.decode(errors="replace").split())
    return printable(text[:300]) or f"ssh-keygen ended with status {done.returncode}"
