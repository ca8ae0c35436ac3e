"""Folders of records, read once: an index keeps what was found in each file until the file changes.

Records stay the truth. The index is a SQLite file in the reader's own cache, not beside the records, so that
whoever hands a folder on cannot hand an index on with it. A file counts as known only while its size, its
times of change and its inode are those under which it was read, parsed and checked against its hash. A
missing, damaged or locked index costs time and changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from securitynet_hub.core.cache_folder import package_cache
from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.parts import OWN, Parsed, Parts, read_part
from securitynet_hub.records.record import FIELDS, Record, parse_record, read_record, read_text

LEAST = 256
"""Fewest files for which an index is kept."""

TOGETHER = 500
"""Files that are looked up in one query, and then written in one transaction."""

SETTLED_SECONDS = 3.0
"""Age at which a file is kept: a younger one might change again without its times showing it."""

SCHEMA_VERSION = 4

WAIT_SECONDS = 5.0
"""How long to wait for another process that writes to the index."""

MOST_HELD = 50_000
"""Parts that are held in memory for other records before all are dropped."""

UNUSED_DAYS = 90
"""Days without a reading after which an index is removed, when another one is made."""

ALONE = frozenset(OWN)
SHARED = frozenset(FIELDS) - ALONE - {"created"}

TABLES = """
CREATE TABLE IF NOT EXISTS parts (number INTEGER PRIMARY KEY, content TEXT UNIQUE, crc INTEGER);
CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, stamp TEXT, id TEXT, unit TEXT, created TEXT,
  shared TEXT, own BLOB, crc INTEGER, sound TEXT);
"""

Judge = Callable[[Record], list[str]]
"""Lists what is wrong with a record; an empty list where nothing is."""


class _File(NamedTuple):
    """A file below the folder; its stamp is empty where it cannot be kept, as it is no regular file."""

    name: str
    stamp: str
    settled: bool


class Found(NamedTuple):
    """A record that was found in a folder.

    Attributes:
        folder: which was searched.
        name: of its file in the folder.
        record: what was read.
        wrong: what the judge found wrong with it.
    """

    folder: Path
    name: str
    record: Record
    wrong: list[str]

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self.folder / self.name


class _Row(NamedTuple):
    stamp: str
    record: Record
    sound: str | None


class _Kept(NamedTuple):
    """What is to be kept of a file."""

    file: _File
    parsed: Parsed
    sound: str


def read_folder(
    folder: str | Path,
    *,
    on_damaged: Callable[[Path, RecordError], object] | None = None,
    judge: Judge = lambda record: [],
    judged_by: str = "",
) -> Iterator[Found]:
    """Read every record below a folder, in the order of their paths, and no file twice that is unchanged.

    Parts that records have in common are the same objects in all of them. What only one record has is parsed
    when it is first asked for.

    Args:
        folder: where they are.
        on_damaged: what to do with the path of a damaged one and its error, before going on with the next.
        judge: what else is asked of a record; not again about one that it found nothing wrong with.
        judged_by: names the judge and its version; a record that another one judged is judged again.

    Raises:
        RecordError: there is no such folder, or a record in it is damaged and `on_damaged` is not given.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder} to read records from.")
    files = sorted(_json_files(folder), key=lambda file: file.name.replace(os.sep, "\0"))  # as paths sort
    parts, place, kept = Parts(), str(folder), 0
    with contextlib.closing(_Index(folder, len(files) >= LEAST)) as index:
        for start in range(0, len(files), TOGETHER):
            part = files[start : start + TOGETHER]
            rows = index.look_up([file.name for file in part if file.stamp])
            kept += len(rows)
            read: list[_Kept] = []
            judged: list[str] = []
            for file in part:
                row = rows.get(file.name)
                known = row is not None and row.stamp == file.stamp
                if row is not None and known:
                    record, parsed = row.record, None
                else:
                    try:
                        parsed = _parsed(f"{place}{os.sep}{file.name}", parts)
                    except RecordError as error:
                        if on_damaged is None:
                            raise
                        on_damaged(folder / file.name, error)
                        continue
                    record = parsed.record
                sound = row is not None and known and bool(judged_by) and row.sound == judged_by
                wrong = [] if sound else judge(record)
                passed = judged_by if judged_by and not wrong else ""
                if known and passed and not sound:
                    judged.append(file.name)
                if parsed is not None and file.settled:
                    read.append(_Kept(file, parsed, passed))
                yield Found(folder, file.name, record, wrong)
            index.keep(read)
            index.mark(judged, judged_by)
        index.forget_all_but(files, kept)


def _parsed(path: str, parts: Parts) -> Parsed:
    """Read a file; RecordError as `record.read_record`."""
    text = read_text(path)
    # The texts are taken before anybody gets the record, and may change what is in it.
    return parts.parse(text) or Parsed.of_record(parse_record(text, path))


def read_records(
    folder: str | Path, *, on_damaged: Callable[[Path, RecordError], object] | None = None
) -> Iterator[Record]:
    """Read every record below a folder, in the order of their paths; arguments and errors of `read_folder`.

    >>> import tempfile
    >>> from securitynet_hub import audit
    >>> folder = tempfile.mkdtemp()
    >>> records = audit("zoo/fashion-mnist/cnn-clean/1", attacks="correctness", out=folder)
    >>> list(read_records(folder)) == records
    True
    """
    for found in read_folder(folder, on_damaged=on_damaged):
        yield found.record


def index_path(folder: Path) -> Path:
    """Return where the index of a folder is kept."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return package_cache() / "records" / f"{name}.db"


def _json_files(folder: Path) -> Iterator[_File]:
    """Yield what `Path.rglob` finds as ``*.json``, with what tells whether it has changed."""
    now = time.time_ns()

    def walk(place: str, above: str) -> Iterator[_File]:
        try:
            with os.scandir(place) as listed:
                entries = list(listed)
        except OSError:
            return
        for entry in entries:
            if os.path.normcase(entry.name).endswith(".json"):
                yield _file(entry, above + entry.name, now)
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, f"{above}{entry.name}{os.sep}")

    return walk(str(folder), "")


def _file(entry: os.DirEntry[str], name: str, now: int) -> _File:
    try:
        state = entry.stat()
        regular = stat.S_ISREG(state.st_mode)
        name.encode()  # SQLite takes no name that is not UTF-8
    except (OSError, UnicodeEncodeError):
        regular = False
    if not regular:
        return _File(name, "", False)
    changed = max(state.st_mtime_ns, state.st_ctime_ns)
    return _File(name, _stamp(state), now - changed >= SETTLED_SECONDS * 1e9)


def _stamp(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


class _Index:
    """What is known of the files of a folder: nothing where it is not used, or the cache cannot be."""

    def __init__(self, folder: Path, used: bool) -> None:
        self._folder = folder
        self._database: sqlite3.Connection | None = None
        self._parts: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}
        if not used:
            return
        self._path = index_path(folder)
        with self._tried():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._path.exists():
                _remove_unused(self._path.parent)
            self._database = sqlite3.connect(
                self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                self._database.executescript("DROP TABLE IF EXISTS parts; DROP TABLE IF EXISTS records;")
            self._database.execute("PRAGMA synchronous = OFF")  # what a crash takes is read again
            self._database.executescript(TABLES)
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            os.utime(self._path)

    @contextlib.contextmanager
    def _tried(self) -> Iterator[None]:
        """Go on without the index where it cannot be used; remove it where it is damaged."""
        try:
            yield
        except sqlite3.OperationalError:  # locked, read-only, a full disk
            self.close()
        except (sqlite3.DatabaseError, ValueError, TypeError, LookupError):
            self.close()
            with contextlib.suppress(OSError):
                self._path.unlink()
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
        self._database = None

    def look_up(self, names: Sequence[str]) -> dict[str, _Row]:
        """Return what is known of files by their names."""
        rows: dict[str, _Row] = {}
        if self._database is None:
            return rows
        known = self._parts
        with self._tried():
            marks = ",".join("?" * len(names))
            for name, stamp, id, unit, created, shared, own, crc, sound in self._database.execute(
                "SELECT name, stamp, id, unit, created, shared, own, crc, sound FROM records "
                f"WHERE name IN ({marks})",
                names,
            ):
                if crc != _crc(f"{stamp} {id} {unit} {created} {shared}", own):
                    raise ValueError(f"the row of {name} is damaged")
                one, two, three, four = [known.get(each) or self._part(each) for each in shared.split()]
                content = {**one, **two, **three, **four}
                if len(content) != len(SHARED):
                    raise ValueError(f"the parts of {name} are damaged")
                content["created"] = created
                rest = partial(_own, own, self._folder, name)
                rows[name] = _Row(stamp, Record.of_json(content, id, unit, rest), sound)
            return rows
        return {}

    def _part(self, number: str) -> dict[str, Any]:
        assert self._database is not None
        content, crc = self._database.execute(
            "SELECT content, crc FROM parts WHERE number = ?", (number,)
        ).fetchone()
        part = read_part(content)
        if crc != _crc(content) or not part.keys() <= SHARED:
            raise ValueError(f"part {number} is damaged")
        if len(self._parts) >= MOST_HELD:
            self._parts.clear()
        return self._parts.setdefault(number, part)

    def keep(self, read: Sequence[_Kept]) -> None:
        """Keep what was read, of files that have not changed meanwhile."""
        if self._database is None or not read:
            return
        with self._tried():
            rows, place = [], str(self._folder)
            self._database.execute("BEGIN IMMEDIATE")
            for file, (record, texts, own), sound in read:
                if _stamp_now(f"{place}{os.sep}{file.name}") != file.stamp:
                    continue
                shared = " ".join([str(self._number(text)) for text in texts])
                about = file.stamp, record.id, record.unit, record.created, shared
                alone = own.encode()
                rows.append((file.name, *about, alone, _crc(" ".join(about), alone), sound))
            self._database.executemany("INSERT OR REPLACE INTO records VALUES (?,?,?,?,?,?,?,?,?)", rows)
            self._database.execute("COMMIT")

    def _number(self, content: str) -> int:
        """Return the number of a part that records may share, which is written where it is new."""
        assert self._database is not None
        number = self._numbers.get(content)
        if number is None:
            self._database.execute(
                "INSERT OR IGNORE INTO parts (content, crc) VALUES (?, ?)", (content, _crc(content))
            )
            (number,) = self._database.execute(
                "SELECT number FROM parts WHERE content = ?", (content,)
            ).fetchone()
            if len(self._numbers) >= MOST_HELD:
                self._numbers.clear()
            self._numbers[content] = number
        return number

    def mark(self, names: Sequence[str], sound: str) -> None:
        """Note that a judge found nothing wrong with known records."""
        if self._database is not None and names:
            with self._tried():
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(
                    "UPDATE records SET sound = ? WHERE name = ?", [(sound, name) for name in names]
                )
                self._database.execute("COMMIT")

    def forget_all_but(self, files: Sequence[_File], found: int) -> None:
        """Forget files that are gone: none, if those found are as many as those known."""
        if self._database is None:
            return
        with self._tried():
            (count,) = self._database.execute("SELECT count(*) FROM records").fetchone()
            if count == found:
                return
            known = {name for (name,) in self._database.execute("SELECT name FROM records")}
            gone = known - {file.name for file in files}
            if gone:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("DELETE FROM records WHERE name = ?", [(name,) for name in gone])
                self._database.execute("COMMIT")


def _own(text: bytes, folder: Path, name: str) -> dict[str, Any]:
    """Return what one record alone has, from the file itself where the index does not hold it whole."""
    try:
        own = read_part(text)
        if own.keys() == ALONE:
            return own
    except ValueError:
        pass
    return read_record(folder / name).content()


def _remove_unused(folder: Path) -> None:
    for path in folder.glob("*.db"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 86_400 * UNUSED_DAYS:
                path.unlink()


def _stamp_now(path: str) -> str:
    try:
        return _stamp(os.stat(path))  # noqa: PTH116 (a Path takes longer than the call)
    except OSError:
        return ""


def _crc(text: str, more: bytes = b"") -> int:
    return zlib.crc32(more, zlib.crc32(text.encode()))
