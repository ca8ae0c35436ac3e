"""What a sweep has done, in a folder that any number of processes and machines share.

A record is named after its unit and appears whole or not at all, so that a unit is done when its record is
there. A lock on a file keeps two processes from doing the same work; the operating system releases it when
its holder ends, however it ends. Nothing else is kept: a sweep is resumed by looking at the folder.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from securitynet_hub.attacks.kind import find_attack, kinds
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.records.index import read_folder
from securitynet_hub.records.record import Record, read_record, require_writable, write_record
from securitynet_hub.records.rows import find_figure
from securitynet_hub.sweeps.plan import Job, Unit

FAILURE = ("model", "attack", "error", "message", "traceback", "created")
"""Fields in the file of a failure."""


class Ledger:
    """The folder of a sweep: ``records/``, ``failures/``, ``locks/``.

    Raises:
        RecordError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.records, self.failures, self.locks = (
            Path(folder) / name for name in ("records", "failures", "locks")
        )
        require_writable(Path(folder))
        for part in (self.records, self.failures, self.locks):
            try:
                part.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RecordError(f"cannot make {part}: {error.strerror}.") from error

    def record_of(self, unit: Unit) -> Path:
        """Return where the unit's record is once it is done."""
        return self.records / unit.model / f"{unit.attack}-{unit.id}.json"

    def failure_of(self, unit: Unit) -> Path:
        """Return where the unit's failure is written down, if it failed."""
        return self.failures / f"{unit.id}.failure"

    def pending(self, job: Job, *, failed_before: float = 0.0) -> list[Unit]:
        """List the job's units that are not done and have not failed, or only before a time in seconds."""
        return [
            unit
            for unit in job.units
            if not self.record_of(unit).exists() and self._failed_at(unit) < failed_before
        ]

    def _failed_at(self, unit: Unit) -> float:
        try:
            return self.failure_of(unit).stat().st_mtime
        except FileNotFoundError:
            return -1.0

    @contextlib.contextmanager
    def claim(self, job: Job) -> Iterator[bool]:
        """Hold the job as long as the block lasts; say False where another process does.

        Raises:
            RecordError: the folder cannot be written, or its file system has no locks.
        """
        path = self.locks / f"{job.id}.lock"
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordError(f"cannot lock {path}: {reason}.") from error
        try:
            yield True
        finally:
            if not self.pending(job):  # whoever comes next finds nothing to do, and needs no lock
                with contextlib.suppress(OSError):  # Windows removes no file that is open
                    path.unlink()
            lock.release()

    def keep(self, unit: Unit, record: Record) -> None:
        """Write the unit's record; an earlier failure is forgotten.

        Raises:
            RecordError: it cannot be written.
        """
        try:
            write_record(record, self.records, name=self.record_of(unit).stem)
        except RecordError:
            if not self.record_of(unit).exists():  # where locks do not hold, another process may be faster
                raise
        self.failure_of(unit).unlink(missing_ok=True)

    def fail(self, unit: Unit, error: BaseException) -> None:
        """Write down why a unit failed.

        Raises:
            RecordError: it cannot be written.
        """
        content = {
            "model": unit.model,
            "attack": unit.attack,
            "error": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        path = self.failure_of(unit)
        try:
            with atomic_path(path) as part:
                part.write_text(json.dumps(content, indent=1), encoding="utf-8")
        except OSError as fault:
            raise RecordError(f"cannot write {path}: {fault.strerror}.") from fault

    def count_settled(self, units: Iterable[Unit]) -> int:
        """Return how many units are done or have failed."""
        return sum(self.record_of(unit).exists() or self.failure_of(unit).exists() for unit in units)

    def failed(self, units: Iterable[Unit]) -> list[dict[str, Any]]:
        """Return what is known of those units that failed; of a damaged file that it is one."""
        return [_read_failure(unit, path) for unit in units if (path := self.failure_of(unit)).exists()]

    def figures(self, units: Iterable[Unit]) -> tuple[str, list[float]]:
        """Return the name of the figure that sums up one attack, and its value in each record there is.

        It is the headline of the attack's kind, or that of another kind where only that is in its results.
        """
        units = list(units)
        paths = [self.record_of(unit) for unit in units]
        results = [read_record(path).result for path in paths if path.exists()]
        names = [name for unit in units[:1] for name in kinds()[find_attack(unit.attack).kind].headline]
        names += [name for kind in kinds().values() for name in kind.headline]
        name = next((name for name in names if any(name in result for result in results)), "")
        figures = [find_figure(result, name) for result in results]
        return name, [figure.value for figure in figures if figure is not None]

    def set_damaged_aside(self) -> list[Path]:
        """Rename records that do not match their own hash, so that their units are done again.

        Returns:
            Where they are now.
        """
        aside: list[Path] = []

        def rename(path: Path, error: RecordError) -> None:
            with contextlib.suppress(FileNotFoundError):  # another process did so at the same time
                aside.append(path.rename(path.with_suffix(".damaged")))

        for _ in read_folder(self.records, on_damaged=rename):
            pass
        return aside


def _read_failure(unit: Unit, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(content[name]) for name in FAILURE}
    except (OSError, ValueError, TypeError, KeyError) as error:
        values = (unit.model, unit.attack, "unknown", f"{path} is damaged: {error}", "", "")
        return dict(zip(FAILURE, values, strict=True))
