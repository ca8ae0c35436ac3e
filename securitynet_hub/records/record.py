"""The record of one measurement: what was attacked, with what, on which data, by which code, and the result.

A record is one JSON file, written once and never changed; a correction is a new record. Two hashes name
it: ``id`` covers the whole content, so that damage is detected, and ``unit`` covers only what decides the
result, so that two runs of the same measurement can be recognised.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import lru_cache
from html import escape
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.core.digest import canonical, digest_of_parts
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.stages import stage
from securitynet_hub.core.text import printable
from securitynet_hub.records.rows import find_figure, headline
from securitynet_hub.records.schema import require_form

MAX_BYTES = 16 << 20
"""Size of the largest record in bytes that is read; records of the package's own attacks have some 3,000."""

SHOWN = 100
"""Rows of a table of records in a notebook."""

SCHEMA_VERSION = 1
DECIDING = ("attacks", "data", "engine", "loaders", "models", "statistics")
"""The folders whose modules decide a result."""

PRESENTS = {"present.py", "verdict.py", "wording.py"}
"""The modules in those folders that only read and show results."""

PACKAGES = (
    "accelerate",
    "datasets",
    "evaluate",
    "numpy",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
)


@lru_cache(maxsize=1)
def code_identity() -> dict[str, Any]:
    """Return the version, a hash of the modules that decide a result and, in a git checkout, its state.

    The hash covers only `DECIDING`, so that a change to a report or a command repeats no measurement.
    """
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in DECIDING:
        place = Path(str(resources.files(f"securitynet_hub.{name}")))
        for path in sorted(place.rglob("*.py")):
            if path.name not in PRESENTS:
                digest.update(f"{name}/{path.relative_to(place)}".encode() + b"\0" + path.read_bytes())
    identity: dict[str, Any] = {"version": _version("securitynet-hub"), "sha256": digest.hexdigest()}
    if (folder.parent / ".git").exists():
        status = _git(folder.parent, "status", "--porcelain")
        dirty = None if status is None else bool(status)
        return {**identity, "commit": _git(folder.parent, "rev-parse", "HEAD"), "dirty": dirty}
    return {**identity, "commit": None, "dirty": None}


@lru_cache(maxsize=1)
def describe_environment() -> dict[str, Any]:
    """Return the versions and the kind of machine that compute a result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


class _Read:
    """Room for what is known of a record that was read: its hashes, and how to get fields not yet parsed."""

    __slots__ = ("_id", "_rest", "_unit")
    _id: str
    _unit: str
    _rest: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, repr=False)
class Record(_Read):
    """One measurement.

    Attributes:
        target: id, weights_hash, num_classes, transform of the model.
        data: name, sha256 and split_sha256 of the images; ``check``, whether they are the model's.
        attack: name and settings.
        result: the metric's figures.
        counts: images forwarded.
        timings: seconds, by phase.
        code: version, hash of the modules, commit and whether the tree was changed since.
        environment: Python, platform, device, package versions.
        author: who measured, from the environment variable SECURITYNET_AUTHOR; None if it is not set.
        created: UTC, ISO 8601.
    """

    target: dict[str, Any]
    data: dict[str, Any]
    attack: dict[str, Any]
    result: dict[str, Any]
    counts: dict[str, int]
    timings: dict[str, float]
    code: dict[str, Any] = field(default_factory=code_identity)
    environment: dict[str, Any] = field(default_factory=describe_environment)
    created: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="microseconds")
    )
    author: str | None = field(default_factory=lambda: os.environ.get("SECURITYNET_AUTHOR"))
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        # Convert values as JSON does (tuples to lists), so that a record equals the one read from its file.
        for name, value in json.loads(json.dumps(asdict(self), allow_nan=False)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def of_json(
        cls,
        content: Mapping[str, Any],
        id: str,
        unit: str,
        rest: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Record:
        """Return a record of fields that JSON was read into and of its hashes, as they are.

        Args:
            content: the fields, all of them unless `rest` is given; the record keeps this very map.
            id: hash of the whole content.
            unit: hash of what decides the result.
            rest: returns the other fields; it is called when one of them is first asked for. Fields with a
                plain default value cannot be among them.
        """
        record = object.__new__(cls)
        _set(record, "__dict__", content)
        _set(record, "_id", id)
        _set(record, "_unit", unit)
        if rest is not None:
            _set(record, "_rest", rest)
        return record

    if not TYPE_CHECKING:  # or every name would pass for an attribute

        def __getattr__(self, name: str) -> Any:  # of what the record does not hold yet
            if name in FIELDS:
                for field_name, value in self._rest().items():
                    vars(self).setdefault(field_name, value)
                _set(self, "_rest", dict)  # which holds nothing more
                if name in vars(self):
                    return vars(self)[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def apart(self) -> Record:
        """Return the same record, for which fields are parsed that this one does not hold afterwards.

        Whoever asks many records for a figure each would otherwise hold all of their figures.
        """
        rest = getattr(self, "_rest", None)
        return self if rest is None else Record.of_json(dict(vars(self)), self.id, self.unit, rest)

    def content(self) -> dict[str, Any]:
        """Return the fields by their names, without the hashes; values are the record's own."""
        return {name: getattr(self, name) for name in FIELDS}

    def __getstate__(self) -> dict[str, Any]:
        return self.content()  # copies find their hashes anew

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        name, figure = headline(self.result)
        said = self.result.get("verdict")
        if isinstance(said, str):
            name, figure = "probability", find_figure(self.result, "probability")
        parts = [said, f"{name} {figure.shown()}" if figure else None]
        shown = ", ".join(printable(part) for part in parts if isinstance(part, str))
        shown = f": {shown}" if shown else ""
        names = (str(about.get(key)) for about, key in ((self.attack, "name"), (self.target, "id")))
        return f"Record({' on '.join(map(printable, names))}{shown})"

    def _repr_html_(self) -> str:
        return html_table([self])

    @property
    def unit(self) -> str:
        """Hash of what decides the result: target, data, attack and code."""
        return getattr(self, "_unit", None) or hashes_of(self.content())[1]

    @property
    def weights(self) -> str | None:
        """Hash of the model's weights themselves; None where only that of their file, or none, is known.

        A network in memory and the file that it was saved in have one, though two ids.
        """
        if self.target.get("weights_hash_kind") == "sha256-of-tensors":
            return self.target.get("weights_hash")
        return self.target.get("tensors_sha256")

    @property
    def id(self) -> str:
        """Hash of the whole content."""
        return getattr(self, "_id", None) or hashes_of(self.content())[0]  # asdict would copy everything

    def as_dict(self) -> dict[str, Any]:
        """Return the content as it is written, hashes first."""
        id, unit = hashes_of(self.content())
        return {"id": id, "unit": unit, **asdict(self)}


FIELDS = tuple(field.name for field in fields(Record))

DECIDED_BY = ("target", "data", "attack", "code")
"""The fields that decide a result."""

_set = object.__setattr__


def decides(name: str, value: Any) -> Any:
    """Return what of a field's value decides the result."""
    if name == "data" and "check" in value:  # that was measured, too
        return {key: part for key, part in value.items() if key != "check"}
    return value


def hashes_of(content: Mapping[str, Any]) -> tuple[str, str]:
    """Return the hash of a record's fields, and of those of them that decide its result."""
    parts = {name: canonical(value) for name, value in content.items()}
    deciding = {name: parts[name] for name in DECIDED_BY}
    if "check" in content["data"]:
        deciding["data"] = canonical(decides("data", content["data"]))
    return digest_of_parts(parts), digest_of_parts(deciding)


def html_table(records: Sequence[Record]) -> str:
    """Return records as a table of HTML, no more than `SHOWN` rows; all text is escaped."""
    rows = []
    for record in records[:SHOWN]:
        name, figure = headline(record.result)
        about = record.target.get("id"), record.attack.get("name"), record.data.get("name")
        rows.append([*about, name, figure.shown() if figure else "-"])
    head = _cells(("model", "attack", "images", "figure", "value (interval)"), "th")
    lines = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    more = f"<p>and {len(records) - SHOWN:,} more</p>" if len(records) > SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{more}"


def _cells(texts: Iterable[object], tag: str) -> str:
    return "".join(f"<{tag}>{escape(printable(text))}</{tag}>" for text in texts)


def write_record(record: Record, folder: Path, *, name: str | None = None) -> Path:
    """Write a record to ``folder/<target id>/<name>.json`` and return the path.

    The default name is ``<attack>-<record id>``. The file is written atomically and never replaces another
    one.

    Raises:
        RecordError: the folder cannot be written, or the file exists.
    """
    path: Path = folder / record.target["id"] / f"{name or record.attack['name'] + '-' + record.id}.json"
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (
        ValueError,
        OSError,
        RuntimeError,
    ) as error:  # null bytes, half a surrogate pair, links in circles
        raise RecordError(f"the target id {record.target['id']!r} names no folder: {error}.") from error
    if not inside:
        raise RecordError(f"the target id {record.target['id']!r} leads out of {folder}.")
    content = json.dumps(record.as_dict(), indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with stage("disk"), atomic_path(path, replace=False) as part:
            part.write_text(content, encoding="utf-8")
    except FileExistsError as error:
        raise RecordError(f"{path} exists already; records are never overwritten.") from error
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}.") from error
    return path


def require_writable(folder: Path) -> None:
    """Raise RecordError if records cannot be written into a folder, once each, before any work is done."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        if not existing.is_dir():
            raise NotADirectoryError(20, "Not a directory")
        with tempfile.TemporaryDirectory(prefix=".securitynet-", dir=existing) as trial:
            for _ in range(2):
                with atomic_path(Path(trial) / "x", replace=False, fsync=False) as part:
                    part.touch()
    except FileExistsError:
        return
    except OSError as error:
        raise RecordError(f"cannot write records into {folder}: {existing}: {error.strerror}.") from error
    raise RecordError(
        f"cannot write records into {folder}: there one file replaces another unasked, and records are never "
        "overwritten. Choose a folder of another file system."
    )


def read_record(path: Path) -> Record:
    """Read a record and check it against its own hash.

    Raises:
        RecordError: the file is not JSON, has a newer schema, missing or unknown fields or values of a wrong
            type, or its content does not match its id.
    """
    return parse_record(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """Return the text of a record's file.

    Raises:
        RecordError: it is no regular file, is too large, cannot be read, or is no text in UTF-8.
    """
    try:
        state = os.stat(path)  # noqa: PTH116 (a Path takes longer than the call)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is no regular file")
        if state.st_size > MAX_BYTES:
            raise ValueError(f"it has {state.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (likewise)
            return file.read().decode()
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is not a readable record: {error}") from error


def parse_record(text: str, place: str) -> Record:
    """Return the record in a JSON text, after checking its hash.

    Args:
        text: `Record.as_dict` as JSON.
        place: where the text stands, for error messages.

    Raises:
        RecordError: as `read_record`.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{place} is not a readable record: {error}") from error
    stated_version = content.get("schema_version") if isinstance(content, dict) else None
    if type(stated_version) is not int or stated_version < 1:
        raise RecordError(f"{place} is not a record: it has no schema_version.")
    if stated_version > SCHEMA_VERSION:
        raise RecordError(
            f"{place} has schema version {printable(stated_version)}; this version of securitynet-hub reads "
            f"up to {SCHEMA_VERSION}. Upgrade it."
        )
    stated = {name: content.pop(name, None) for name in ("id", "unit")}
    try:
        require_form(content)
        found = dict(zip(("id", "unit"), hashes_of(content), strict=True))
    except ValueError as error:
        raise RecordError(f"{place} is not a record of schema {stated_version}: {error}.") from error
    if found != stated:
        hashes = {
            name: printable(value) if isinstance(value, str) else None for name, value in stated.items()
        }
        raise RecordError(
            f"{place} was changed or damaged: its content hashes to {found}, it states {hashes}."
        )
    return Record.of_json(content, found["id"], found["unit"])


def read_records(
    folder: str | Path, *, on_damaged: Callable[[Path, RecordError], object] | None = None
) -> Iterator[Record]:
    """Read every record below a folder, in the order of their paths.

    Each file is read; `records.index.read_records` remembers what it read of large folders.

    Args:
        folder: where they are.
        on_damaged: what to do with the path of a damaged one and its error, before going on with the next.

    Raises:
        RecordError: there is no such folder, or a record in it is damaged and `on_damaged` is not given.
    """
    if not Path(folder).is_dir():
        raise RecordError(f"there is no folder {folder} to read records from.")
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            record = read_record(path)
        except RecordError as error:
            if on_damaged is None:
                raise
            on_damaged(path, error)
            continue
        yield record


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git(root: Path, *arguments: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()
    return None
