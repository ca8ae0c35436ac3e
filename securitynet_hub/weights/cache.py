"""The cache of fetched weights, with a record of each file: where it came from, and its sha256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

import filelock

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path

SCHEMA_VERSION = 1
RESERVED = {"record.json", "tensors.safetensors"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The record of a cached file: its link, the publisher's hash, and the sha256 of the file.

    Attributes:
        sha256: of the file. If the publisher gives no hash, later downloads must have this one.
        first_seen: time of the first download, UTC, ISO 8601.
        tensors_sha256: of ``tensors.safetensors``; None until it is written.
    """

    url: str
    member: str | None
    hash_kind: str | None
    hash: str | None
    size: int
    sha256: str
    first_seen: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    tensors_sha256: str | None = None
    schema_version: int = SCHEMA_VERSION


class Entry:
    """The folder in the cache for one model's link.

    Raises:
        WeightsError: the id cannot name a folder.
    """

    def __init__(self, root: Path, id: str, url: str, member: str | None) -> None:
        if not all(re.fullmatch(r"\w[\w.+@=,-]{0,199}", name, re.ASCII) for name in id.split("/")):
            raise WeightsError(f"the id {id!r} cannot name a folder: letters, digits and -_.+@=, between /.")
        link = hashlib.sha256(f"{url}\0{member or ''}".encode()).hexdigest()[:16]
        self.folder = root / id / link
        name = (member or unquote(urlsplit(url).path)).rpartition("/")[2]
        safe = re.fullmatch(r"\w[\w.+@=,-]{0,199}", name, re.ASCII)
        # Partial downloads get longer names, so that none can be mistaken for the file.
        self.file = self.folder / (
            name if safe and name not in RESERVED and ".part" not in name else "weights"
        )
        self.tensors = self.folder / "tensors.safetensors"
        self._record = self.folder / "record.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the entry against other threads and processes.

        Raises:
            WeightsError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / ".lock"):
                yield
        except OSError as error:
            raise WeightsError(
                f"the cache {self.folder} cannot be used: {error.strerror or error}. Set HF_HOME to "
                "another folder."
            ) from error

    def origin(self) -> Origin | None:
        """Return the record of the file, None if there is none.

        Raises:
            WeightsError: the record is damaged or of a newer version. It is not discarded silently, because
                it may hold the only hash of the file.
        """
        try:
            content = json.loads(self._record.read_text(encoding="utf-8"))
            if content["schema_version"] > SCHEMA_VERSION:
                raise WeightsError(
                    f"{self._record} has schema version {content['schema_version']}; this version of "
                    f"securitynet-hub reads up to {SCHEMA_VERSION}. Upgrade it."
                )
            return Origin(**content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise WeightsError(
                f"{self._record} is damaged ({error}); delete {self.folder} to download the file again."
            ) from error

    def remember(self, origin: Origin) -> None:
        """Write the record atomically."""
        with atomic_path(self._record) as part:
            part.write_text(json.dumps(asdict(origin), indent=1) + "\n", encoding="utf-8")
