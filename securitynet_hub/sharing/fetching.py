"""Fetch results from a repository: read them within bounds, validate them, and keep them as records."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import RepoFile

from securitynet_hub.annotations.schema import features
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.text import printable
from securitynet_hub.records.record import Record, parse_record, read_record, write_record
from securitynet_hub.records.rows import FOLDER, Result
from securitynet_hub.records.schema import shown
from securitynet_hub.sharing.pages import require_small_footer, unpacked_size
from securitynet_hub.sharing.repositories import (
    Repository,
    download_listed,
    head_of,
    hub_errors_explained,
    retry_hub,
)
from securitynet_hub.sharing.rows import contradicted
from securitynet_hub.sharing.signatures import FOLDER as SIGNATURES
from securitynet_hub.sharing.signatures import (
    MAX_FILE,
    Signature,
    keep_signatures,
    parse_signatures,
)
from securitynet_hub.sharing.validation import MAX_BYTES, problems
from securitynet_hub.weights.download.http import AbsentError
from securitynet_hub.weights.download.hub_cache import hub_pages
from securitynet_hub.weights.hub import progress_bars

MAX_SHARD = 64 << 20
MAX_UNPACKED = 256 << 20
MAX_ROWS = 100_000
"""Largest shard: bytes of the file, bytes of its decompressed pages, and rows."""

MAX_FETCHED, MAX_LISTED = 4 << 30, 20_000
"""Bytes of all shards of a repository together, and files that are listed."""

BATCH = 256


class Refused(NamedTuple):
    """A file or a row that was left out, and why."""

    place: str
    reason: str


class Fetched(NamedTuple):
    """The content of a repository at a commit: its valid records, each once, and what was left out."""

    commit: str
    records: list[Record]
    refused: list[Refused]


def fetch_results(repository: Repository, revision: str | None = None) -> Fetched:
    """Read and validate all results of a dataset repository; retry after faults that may pass.

    No content is executed, and no name in it decides where a file is written.

    Args:
        repository: with the folder ``data/results``.
        revision: branch, tag, commit or pull request (``refs/pr/1``).

    Raises:
        HubError: the repository or its results do not exist, or the Hub cannot be reached.
    """
    return retry_hub(lambda: results_at(repository, head_of(repository, revision)))


def results_at(repository: Repository, commit: str) -> Fetched:
    """Read and validate the results at a commit, as `fetch_results`, but stop at the first fault.

    Shards in the Hub's cache are not downloaded again.

    Raises:
        HubError: as `fetch_results`.
    """
    records: dict[str, Record] = {}
    refused: list[Refused] = []
    total = 0
    for file in _shards(repository, commit):
        reason = _unfit(file)
        total += 0 if reason else file.size
        if total > MAX_FETCHED:
            reason = f"the files before it have {MAX_FETCHED:,} bytes, or with it more"
        if reason:
            refused.append(Refused(printable(file.path), reason))
            continue
        with (
            hub_errors_explained(repository, f"read {printable(file.path)} of"),
            progress_bars(sys.stderr.isatty()),
        ):
            path = download_listed(repository, commit, file, limit=MAX_SHARD)
        for found in read_shard(path, file.path):
            if isinstance(found, Refused):
                refused.append(found)
            else:
                records.setdefault(found.id, found)
    return Fetched(commit, sorted(records.values(), key=lambda record: record.id), refused)


def _shards(repository: Repository, commit: str) -> list[RepoFile]:
    with hub_errors_explained(repository, f"read {FOLDER} of"):
        return _listed(repository, FOLDER, commit)


def _listed(repository: Repository, folder: str, commit: str) -> list[RepoFile]:
    """Return the files below a folder, from pages of bounded size and number.

    huggingface_hub would read each page whole, whatever its size, and as many as the server gives.

    Raises:
        AbsentError: there is no such folder.
        WeightsError: the Hub cannot be reached.
        ValueError: it lists what is no file, or too many.
    """
    files: list[RepoFile] = []
    question = f"/api/{repository.kind}s/{repository.name}/tree/{commit}/{folder}?recursive=True&expand=False"
    for page in hub_pages(question):
        for entry in page if isinstance(page, list) else [None]:
            if not isinstance(entry, dict) or len(files) >= MAX_LISTED:
                raise ValueError(f"it should list up to {MAX_LISTED:,} files")
            if entry.get("type") == "file":
                files.append(_as_file(entry))
    return files


def _as_file(entry: dict[str, Any]) -> RepoFile:
    path, size, oid, lfs = (entry.get(name) for name in ("path", "size", "oid", "lfs"))
    if not isinstance(path, str) or type(size) is not int or size < 0 or not isinstance(oid, str):
        raise ValueError(f"it lists a file without a name, a size or a hash: {shown(entry)}")
    large = (
        {"lfs": {"size": size, "oid": str(lfs.get("oid")), "pointerSize": 0}} if isinstance(lfs, dict) else {}
    )
    return RepoFile(path=path, size=size, oid=oid, **large)  # type: ignore[no-untyped-call]


def signatures_at(repository: Repository, commit: str) -> list[Signature]:
    """Read the signatures of records at a commit; files of another form or size are left out.

    Raises:
        HubError: the Hub cannot be reached.
    """
    found: list[Signature] = []
    with hub_errors_explained(repository, f"read {SIGNATURES} of"):
        try:
            entries = _listed(repository, SIGNATURES, commit)
        except AbsentError:
            return found
        for file in entries:
            named = re.fullmatch(rf"{SIGNATURES}/[\w-]{{1,100}}\.jsonl", file.path, re.ASCII)
            if named and file.size <= MAX_FILE:
                path = download_listed(repository, commit, file, limit=MAX_FILE)
                found += parse_signatures(path.read_bytes())
    return found


def _unfit(file: RepoFile) -> str | None:
    """Return why a file must not be downloaded, None if it may be."""
    if not re.fullmatch(rf"{FOLDER}/[\w-]{{1,100}}\.parquet", file.path, re.ASCII):
        return f"only {FOLDER}/NAME.parquet is read"
    if file.size > MAX_SHARD:
        return f"{file.size:,} bytes are more than the {MAX_SHARD:,} of a shard"
    return None


def read_shard(path: Path, place: str) -> Iterator[Record | Refused]:
    """Yield the records of a Parquet file, and the reason for each row that is not a valid record.

    Texts are read as dictionary indices until the lengths of the distinct values are known, so that a small
    file cannot expand into a large one.
    """
    try:
        yield from _rows(path, place)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Refused(place, f"it is not a readable Parquet file: {printable(error)}")


def _rows(path: Path, place: str) -> Iterator[Record | Refused]:
    schema = features(Result).arrow_schema
    texts = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
    require_small_footer(path)
    stated = pq.read_metadata(path)
    if not stated.schema.to_arrow_schema().equals(schema):
        yield Refused(place, "its columns are not those of the config results")
        return
    unpacked = unpacked_size(path)
    if stated.num_rows > MAX_ROWS or unpacked > MAX_UNPACKED:
        yield Refused(place, f"{stated.num_rows:,} rows, {unpacked:,} bytes unpacked are too many")
        return
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        number = 0
        seen: set[bytes] = set()
        for batch in file.iter_batches(BATCH):
            longest = pc.max(pc.binary_length(batch["record"].dictionary)).as_py() or 0
            others = (pc.max(pc.binary_length(batch[name].dictionary)).as_py() or 0 for name in texts[:-1])
            if longest > MAX_BYTES or max(others) > 1000:
                yield Refused(place, "a text in it is longer than any record's")
                return
            digests: dict[str | None, bytes] = {}
            for row in _as_rows(batch):
                if number >= MAX_ROWS:  # whatever the footer says
                    yield Refused(place, f"more than {MAX_ROWS:,} rows are too many")
                    return
                text = row["record"]
                if text not in digests:  # rows that share a text share the object
                    digests[text] = hashlib.sha256((text or "").encode()).digest()
                if text is not None and digests[text] in seen:
                    yield Refused(f"{place}, row {number}", "it repeats an earlier row")
                else:
                    yield _validated(row, f"{place}, row {number}")
                seen.add(digests[text])
                number += 1


def _as_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; a text that several rows share is decoded once."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            texts = column.dictionary.to_pylist()
            columns.append([None if i is None else texts[i] for i in column.indices.to_pylist()])
        else:
            columns.append(column.to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _validated(row: dict[str, Any], place: str) -> Record | Refused:
    """Return the record of a row, or the reason why it is not valid."""
    if not isinstance(row["record"], str):
        return Refused(place, "it holds no record")
    try:
        record = parse_record(row["record"], "the record")
    except RecordError as error:
        return Refused(place, printable(error))
    wrong = problems(record) or [
        f"the column {name} contradicts the record" for name in contradicted(row, record)
    ]
    return Refused(place, "; ".join(wrong)) if wrong else record


def keep_signatures_of(records: list[Record], signatures: list[Signature], folder: Path) -> None:
    """Write the signatures of records beside their files."""
    for record in records:
        if own := [signature for signature in signatures if signature.record == record.id]:
            keep_signatures(record_path(record, folder), own)


def record_path(record: Record, folder: Path) -> Path:
    """Return the file below a folder that holds a record which was fetched."""
    path: Path = folder / record.target["id"] / f"{record.attack['name']}-{record.id}.json"
    return path


def keep_records(records: list[Record], folder: Path) -> int:
    """Write records as files below a folder; return how many of them are new.

    Raises:
        RecordError: the folder cannot be written, or another file has the name of a record.
    """
    new = 0
    for record in records:
        path = record_path(record, folder)
        with suppress(FileNotFoundError, NotADirectoryError):
            if path.lstat() and read_record(path) == record:
                continue
        write_record(record, folder)
        new += 1
    return new
