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
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from securitynet_hub.core.cache_folder import package_cache
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.memory import without_collection
from securitynet_hub.records.parts import OWN, Parsed, Parts, read_part
from securitynet_hub.records.record import FIELDS, Record, parse_record, read_record, read_text

LEAST = 256
"""Fewest files for which an index is kept."""

TOGETHER = 500
"""Files that are looked up in one query, and then written in one transaction."""

SETTLED_SECONDS = 3.0
"""Age at which a file is kept: a younger one might change again without its times showing it."""

SCHEMA_VERSION = 5

WAIT_SECONDS = 5.0
"""How long to wait for another process that writes to the index."""

MOST_HELD = 50_000
"""Parts that are held in memory for other records before all are dropped."""

UNUSED_DAYS = 90
"""Days without a reading after which an index is removed, when another one is made."""

GONE_SECONDS = 86_400
"""How long figures of a file that has gone are kept, for whoever holds its record and has not read them."""

ALONE = frozenset(OWN)
SHARED = frozenset(FIELDS) - ALONE - {"created"}

TABLES = """
CREATE TABLE IF NOT EXISTS parts (number INTEGER PRIMARY KEY, content TEXT);
CREATE TABLE IF NOT EXISTS owns (number INTEGER PRIMARY KEY, content BLOB, crc INTEGER);
CREATE TABLE IF NOT EXISTS gone (own INTEGER PRIMARY KEY, since INTEGER);
CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, stamp TEXT, id TEXT, unit TEXT, created TEXT,
  target INTEGER, data INTEGER, attack INTEGER, common INTEGER, own INTEGER, sound TEXT, note TEXT,
  crc INTEGER) WITHOUT ROWID;
"""
"""`records` has, in the order of paths, what is looked at for each of them; its figures are in `owns`.

A part's number is a hash of its content, so that a row never means other content than what it was kept with.
"""

PASSING = ("locked", "readonly", "full", "unable to open", "disk I/O")
"""What SQLite says where an index cannot be used now, and may be whole."""

Judge = Callable[[Record], list[str]]
"""Lists what is wrong with a record; an empty list where nothing is."""

AHEAD, SMALL = 64, 1 << 16
"""How many records' figures are read at once where all are asked for in turn, and how large each may be."""


Note = Callable[[Record], str]
"""Derives from a record what is to be known of it again without its figures."""


class _File(NamedTuple):
    """A file below the folder; its stamp is empty where it cannot be kept, as it is no regular file.

    The name is its path in the folder, with null characters between the steps, so that names sort as paths.
    """

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
        note: what was noted of it; empty where something is wrong with it.
    """

    folder: Path
    name: str
    record: Record
    wrong: list[str]
    note: str = ""

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self.folder / self.name


class _Row(NamedTuple):
    """What is known of a file that has not changed, and its row in the index up to its own parts' number."""

    record: Record
    sound: str
    note: str
    about: tuple[Any, ...]


class _Kept(NamedTuple):
    """What is to be kept of a file."""

    file: _File
    parsed: Parsed
    sound: str
    note: str


def read_folder(
    folder: str | Path,
    *,
    on_damaged: Callable[[Path, RecordError], object] | None = None,
    judge: Judge | None = None,
    judged_by: str = "",
    note: Note = lambda record: "",
) -> Iterator[Found]:
    """Read every record below a folder, in the order of their paths, and no file twice that is unchanged.

    Parts that records have in common are the same objects in all of them. What only one record has, its
    figures among it, is read from the index and parsed when it is first asked for.

    Args:
        folder: where they are.
        on_damaged: what to do with the path of a damaged one and its error, before going on with the next.
        judge: what else is asked of a record; not again about one that it found nothing wrong with.
        judged_by: names the judge, what notes, and their version; a record that another one judged is judged
            again.
        note: what is to be kept of a record that the judge finds nothing wrong with.

    Raises:
        RecordError: there is no such folder, or a record in it is damaged and `on_damaged` is not given.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder} to read records from.")
    files = sorted(_json_files(folder))
    parts, place, kept = Parts(), f"{folder}{os.sep}", 0
    with contextlib.closing(_Index(folder, len(files) >= LEAST)) as index:
        for start in range(0, len(files), TOGETHER):
            part = files[start : start + TOGETHER]
            found: list[Found] = []
            failure: RecordError | None = None
            with without_collection():  # of many objects that stay
                rows, count = index.look_up(part)
                kept += count
                read: dict[int, _Kept] = {}
                judged: list[_Row] = []
                for file in part:
                    name = file.name.replace("\0", os.sep)
                    row = rows.get(file.name)
                    if row is not None and judge is None:
                        found.append(Found(folder, name, row.record, []))
                        continue
                    if row is not None and row.sound and row.sound == judged_by:
                        found.append(Found(folder, name, row.record, [], row.note))
                        continue
                    try:
                        if row is None:
                            parsed = _parsed(place + name, parts)
                            record = parsed.record
                        else:
                            parsed, record = None, row.record
                        apart = record.apart()  # whose figures are dropped again
                        wrong = [] if judge is None else judge(apart)
                        noted = "" if wrong or judge is None else note(apart)
                    except RecordError as error:
                        if on_damaged is None:
                            failure = error
                            break
                        on_damaged(folder / name, error)
                        continue
                    passed = "" if wrong or judge is None else judged_by
                    if row is not None and passed:
                        judged.append(row._replace(sound=passed, note=noted))
                    elif parsed is not None and file.settled:
                        read[len(found)] = _Kept(file, parsed, passed, noted if passed else "")
                    found.append(Found(folder, name, record, wrong, noted))
                for position, record in index.keep(read).items():
                    found[position] = found[position]._replace(record=record)
                index.mark(judged)
            yield from found
            if failure is not None:
                raise failure
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
    return package_cache() / "records" / f"{name}-{SCHEMA_VERSION}.db"


def _json_files(folder: Path) -> Iterator[_File]:
    """Yield what `Path.rglob` finds as ``*.json``, with what tells whether it has changed."""
    settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    exact = os.path.normcase("A") == "A"

    def walk(place: str, above: str) -> Iterator[_File]:
        try:
            with os.scandir(place) as listed:
                entries = list(listed)
        except OSError:
            return
        for entry in entries:
            name = entry.name
            if name.endswith(".json") or not (exact or not os.path.normcase(name).endswith(".json")):
                yield _file(entry, above + name, settled)
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, f"{above}{name}\0")

    return walk(str(folder), "")


def _file(entry: os.DirEntry[str], name: str, settled: int) -> _File:
    try:
        state = entry.stat()
        regular = stat.S_ISREG(state.st_mode)
        if not name.isascii():
            name.encode()  # SQLite takes no name that is not UTF-8
    except (OSError, UnicodeEncodeError):
        regular = False
    if not regular:
        return _File(name, "", False)
    return _File(name, _stamp(state), max(state.st_mtime_ns, state.st_ctime_ns) <= settled)


def _stamp(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


class _Index:
    """What is known of the files of a folder: nothing where it is not used, or the cache cannot be."""

    def __init__(self, folder: Path, used: bool) -> None:
        self._folder = folder
        self._database: sqlite3.Connection | None = None
        self._parts: dict[int, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}
        self._replaced: list[int] = []
        if not used:
            return
        self._path = index_path(folder)
        self._owns = _Owns(self._path, folder)
        with self._tried():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._path.exists():
                _remove_unused(self._path.parent)
            self._database = sqlite3.connect(
                self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA synchronous = OFF")  # what a crash takes is read again
            self._database.executescript(TABLES)
            os.utime(self._path)

    @contextlib.contextmanager
    def _tried(self) -> Iterator[None]:
        """Go on without the index where it cannot be used; remove it where it is damaged."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, TypeError, LookupError) as error:
            self.close()
            if not isinstance(error, sqlite3.OperationalError) or not _is_passing(error):
                with contextlib.suppress(OSError):
                    self._path.unlink()
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
        self._database = None

    def look_up(self, files: Sequence[_File]) -> tuple[dict[str, _Row], int]:
        """Return what is known of consecutive files that have not changed, and how many are known at all."""
        rows: dict[str, _Row] = {}
        stamps = {file.name: file.stamp for file in files if file.stamp}
        if self._database is None or not stamps:
            return rows, 0
        parts, figures, count = self._parts, self._owns.content, 0
        with self._tried():
            for *about, sound, note, crc in self._database.execute(
                "SELECT name, stamp, id, unit, created, target, data, attack, common, own, sound, note, crc "
                "FROM records WHERE name >= ? AND name <= ?",
                (min(stamps), max(stamps)),
            ):
                name, stamp, id, unit, created, target, data, attack, common, own = about
                now = stamps.get(name)
                if now is None:
                    continue
                count += 1
                if now != stamp:
                    self._replaced.append(own)
                    continue
                if crc != _row_crc(about, sound, note):
                    raise ValueError(f"the row of {name} is damaged")
                content = {
                    **(parts.get(target) or self._part(target)),
                    **(parts.get(data) or self._part(data)),
                    **(parts.get(attack) or self._part(attack)),
                    **(parts.get(common) or self._part(common)),
                }
                if len(content) != len(SHARED):
                    raise ValueError(f"the parts of {name} are damaged")
                content["created"] = created
                record = Record.of_json(content, id, unit, partial(figures, own, id, name))
                rows[name] = _Row(record, sound, note, about)
            return rows, count
        return {}, 0

    def _part(self, number: int) -> dict[str, Any]:
        assert self._database is not None
        (content,) = self._database.execute(
            "SELECT content FROM parts WHERE number = ?", (number,)
        ).fetchone()
        if not isinstance(content, str) or number != _hash(content):
            raise ValueError(f"part {number} is damaged")
        part = read_part(content)
        if len(self._parts) >= MOST_HELD:
            self._parts.clear()
        return self._parts.setdefault(number, part)

    def keep(self, read: Mapping[int, _Kept]) -> dict[int, Record]:
        """Keep what was read, of files that have not changed meanwhile.

        Returns:
            The records that are kept, by the same numbers; they read their figures when asked for them.
        """
        lean: dict[int, Record] = {}
        if self._database is None or not read:
            return lean
        with self._tried():
            rows, owns, place = [], [], f"{self._folder}{os.sep}"
            self._database.execute("BEGIN IMMEDIATE")
            (number,) = self._database.execute("SELECT coalesce(max(number), 0) FROM owns").fetchone()
            for position, (file, (record, texts, own), sound, note) in read.items():
                if _stamp_now(place + file.name.replace("\0", os.sep)) != file.stamp:
                    continue
                number += 1
                alone = own.encode()
                owns.append((number, alone, _crc(record.id, alone)))
                parts = [self._number(text) for text in texts]
                about = [file.name, file.stamp, record.id, record.unit, record.created, *parts, number]
                rows.append(_row(about, sound, note))
                rest = partial(self._owns.content, number, record.id, file.name)
                shared = {name: value for name, value in vars(record).items() if name not in ALONE}
                lean[position] = Record.of_json(shared, record.id, record.unit, rest)
            self._set_gone(self._replaced)
            self._replaced = []
            self._database.executemany("INSERT INTO owns VALUES (?,?,?)", owns)
            self._database.executemany(INSERT, rows)
            self._database.execute("COMMIT")
            return lean
        return {}

    def _set_gone(self, owns: Sequence[int]) -> None:
        """Note that files no longer hold these figures, and drop those of which that was noted long ago."""
        assert self._database is not None
        now = int(time.time())
        self._database.executemany("INSERT OR IGNORE INTO gone VALUES (?, ?)", [(own, now) for own in owns])
        old = "SELECT own FROM gone WHERE since < ?"
        self._database.execute(f"DELETE FROM owns WHERE number IN ({old})", (now - GONE_SECONDS,))
        self._database.execute("DELETE FROM gone WHERE since < ?", (now - GONE_SECONDS,))

    def _number(self, content: str) -> int:
        """Return the number of a part that records may share, which is written where it is new."""
        assert self._database is not None
        number = self._numbers.get(content)
        if number is None:
            number = _hash(content)
            self._database.execute("INSERT OR IGNORE INTO parts VALUES (?, ?)", (number, content))
            kept = self._database.execute("SELECT content FROM parts WHERE number = ?", (number,))
            if kept.fetchone() != (content,):
                raise ValueError(f"part {number} is another one")
            if len(self._numbers) >= MOST_HELD:
                self._numbers.clear()
            self._numbers[content] = number
        return number

    def mark(self, judged: Sequence[_Row]) -> None:
        """Note that a judge found nothing wrong with known records, and what was noted of them."""
        if self._database is not None and judged:
            with self._tried():
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(INSERT, [_row(row.about, row.sound, row.note) for row in judged])
                self._database.execute("COMMIT")

    def forget_all_but(self, files: Sequence[_File], found: int) -> None:
        """Forget files that are gone: none, if those found are as many as those known."""
        if self._database is None:
            return
        with self._tried():
            (count,) = self._database.execute("SELECT count(*) FROM records").fetchone()
            if count == found:
                return
            known = dict(self._database.execute("SELECT name, own FROM records"))
            gone = known.keys() - {file.name for file in files}
            if gone:
                self._database.execute("BEGIN IMMEDIATE")
                self._set_gone([known[name] for name in gone])
                self._database.executemany("DELETE FROM records WHERE name = ?", [(name,) for name in gone])
                self._database.execute("COMMIT")


INSERT = f"INSERT OR REPLACE INTO records VALUES ({','.join('?' * 13)})"


def _row(about: Sequence[Any], sound: str, note: str) -> tuple[Any, ...]:
    """Return the values of a row of `records`, the last of which tells whether the others are whole."""
    return (*about, sound, note, _row_crc(about, sound, note))


def _hash(content: str) -> int:
    digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _is_passing(error: sqlite3.OperationalError) -> bool:
    return any(words in str(error) for words in PASSING)


def _row_crc(about: Sequence[Any], sound: str, note: str) -> int:
    name, stamp, id, unit, created, *numbers = about
    return zlib.crc32(f"{name}\0{stamp} {id} {unit} {created} {numbers} {sound} {note}".encode())


class _Owns:
    """What single records have, read from the index when it is first asked for.

    Records that were read hold this object, long after the reading. So it has a connection of its own, which
    is opened when it is first needed, and anew in a child of the process: SQLite's must not be taken along.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path.absolute(), folder.absolute()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._ahead: dict[int, tuple[bytes, int]] = {}
        self._next = 0

    def __del__(self) -> None:
        if self._database is not None and self._process == os.getpid():
            self._database.close()

    def content(self, number: int, id: str, name: str) -> dict[str, Any]:
        """Return what one record alone has: from the file itself where the index does not hold it.

        Raises:
            RecordError: neither holds it any more.
        """
        for text, crc in self._found(number):
            with contextlib.suppress(ValueError, TypeError):
                if crc == _crc(id, text) and (own := read_part(text)).keys() == ALONE:
                    return own
            with contextlib.suppress(OSError):  # damaged, so it is made again
                self._path.unlink()
        path = self._folder / name.replace("\0", os.sep)
        record = read_record(path)
        if record.id != id:
            raise RecordError(
                f"{path} held the record {id}, and holds {record.id} now. Read the folder again."
            )
        return record.content()

    def _found(self, number: int) -> list[tuple[bytes, int]]:
        if self._process != os.getpid():
            self._lock = threading.Lock()
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._database is None or self._process != os.getpid():
                self._inherited, self._process = self._database, os.getpid()
                where = f"{self._path.resolve().as_uri()}?mode=ro"
                self._database = sqlite3.connect(
                    where, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
                )
            if number in self._ahead:
                return [self._ahead.pop(number)]
            self._ahead.clear()
            last, self._next = self._next, number + 1
            if number != last:  # all are fetched, or the file would stay locked
                one = "SELECT content, crc FROM owns WHERE number = ?"
                return self._database.execute(one, (number,)).fetchall()
            some = (
                "SELECT number, content, crc FROM owns "
                "WHERE number BETWEEN ? AND ? AND (number = ? OR length(content) < ?)"
            )
            bounds = number, number + AHEAD, number, SMALL
            found = self._database.execute(some, bounds).fetchall()
            self._ahead.update((place, (content, crc)) for place, content, crc in found)
            self._next = max(self._ahead, default=number) + 1
            return [self._ahead.pop(number)] if number in self._ahead else []
        return []


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
