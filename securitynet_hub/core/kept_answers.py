"""Answers by image hash, kept on disk: no image is asked about twice, in any process."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.errors import SecurityNetError

SCHEMA_VERSION = 1
PATIENCE = 600
"""Seconds to wait for another process's batch."""

Logits = npt.NDArray[np.float32]


class Answers:
    """The logits of one network by image hash, in a SQLite database that many networks and processes share.

    Logits are kept, not the answers that an attacker sees, so that one forward pass serves every output
    format. SQLite's locks do not hold on every network file system.

    Args:
        path: of the database, made where there is none; None keeps the answers in memory.
        network: names the network; two names never share answers.

    Raises:
        SecurityNetError: the file cannot be used, is no such database, or is of a newer version.
    """

    def __init__(self, path: Path | None, network: bytes) -> None:
        self._path, self._network = path or ":memory:", network
        with self._explained():
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._database.close)
            with self.exclusive():
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                if version > SCHEMA_VERSION:
                    raise SecurityNetError(
                        f"the answers in {path} have schema version {version}; this version of "
                        f"securitynet-hub reads up to {SCHEMA_VERSION}. Upgrade it."
                    )
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS answers "
                    "(network BLOB, image BLOB, logits BLOB, PRIMARY KEY (network, image))"
                )
                self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def known(self, images: Iterable[bytes]) -> dict[bytes, Logits]:
        """Return the logits of those images that have been answered."""
        query = "SELECT logits FROM answers WHERE network = ? AND image = ?"
        with self._explained():
            rows = {i: self._database.execute(query, (self._network, i)).fetchone() for i in images}
        return {image: np.frombuffer(row[0], "<f4") for image, row in rows.items() if row}

    def count(self) -> int:
        """Return the number of images with an answer of this network."""
        with self._explained():
            (found,) = self._database.execute(
                "SELECT COUNT(*) FROM answers WHERE network = ?", (self._network,)
            ).fetchone()
        return int(found)

    def keep(self, images: Iterable[bytes], logits: Logits) -> None:
        """Write the logits of images, shape (n, classes); inside `exclusive` all of them or none."""
        rows = zip(images, (row.astype("<f4").tobytes() for row in logits), strict=True)
        with self._explained():
            self._database.executemany(
                "INSERT INTO answers VALUES (?, ?, ?)", ((self._network, image, row) for image, row in rows)
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from asking and writing until the block ends and what it wrote is on disk."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        with self._explained():
            self._database.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise SecurityNetError(f"the answers in {self._path} cannot be used: {error}.") from error
