"""Whether a record can be believed: its form, its names, and the identities that its figures must keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from pydantic_core import to_json

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.checks import require_intervals
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.core.digest import json_digest
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import require_form, shown

MAX_BYTES = 1 << 18
"""Size of the largest record in bytes; records of the package's own attacks have some 3,000."""

CLOCKS_DIFFER = timedelta(days=1)

SEGMENT = r"\w[\w.+@=,-]{0,199}"
NAMES = {
    "target.id": rf"{SEGMENT}(/{SEGMENT}){{0,9}}",
    "data.name": r"\w[\w .+@=,:/()-]{0,199}",
    "attack.name": r"\w[\w.+-]{0,99}",
    "attack.kind": r"[a-z][a-z-]{0,49}",
}
PLAIN = [
    (part, name, re.compile(pattern, re.ASCII))
    for place, pattern in NAMES.items()
    for part, name in [place.split(".")]
]
HASHES = (("target", "weights_hash"), ("data", "sha256"), ("data", "split_sha256"))
HASH = re.compile("[0-9a-f]{1,128}")
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", re.ASCII)
"""Only this of the many ISO forms, so that the order of the texts is that of the times."""


def problems(record: Record, *, read: bool = False) -> list[str]:
    """List what is wrong with a record; an empty list where nothing is.

    Beyond what reading asks of every record, a stranger's must have plain names, a moderate size, a time of
    creation that is not in the future and, for an annotated model, the annotated weights. Its result must be
    one that its kind of attack can have: ``attacks/*/results.py`` say which identities the figures keep. Of
    a kind that this version does not know, the intervals must hold their figures.

    A record that passes may still be made up; one that fails was not measured.

    Args:
        record: a stranger's.
        read: whether it comes straight from `records`, where reading has asked for the form of a record.
    """
    wrong = list(_misshapen(record, read))
    if not wrong:
        try:
            _require_annotated_weights(record)
            if record.attack["kind"] in kinds():
                kinds()[record.attack["kind"]].results.parse(record)
            else:
                require_intervals(record.result)
        except ValueError as error:
            wrong.append(str(error).removesuffix("."))
    return wrong


@lru_cache(maxsize=1)
def rules_identity() -> str:
    """Return a hash that changes whenever `problems` might: of the package's files and of installed kinds.

    What it found right stays right as time passes, as no time of creation moves into the future.
    """
    package = Path(__file__).parents[1]
    files = [
        (str(path.relative_to(package)), state.st_size, state.st_mtime_ns)
        for path in sorted(package.rglob("*"))
        if path.suffix != ".pyc" and path.is_file()
        for state in [path.stat()]
    ]
    installed = sorted(
        (point.name, point.value, point.dist.version if point.dist else "")
        for point in metadata.entry_points(group="securitynet_hub.attacks")
    )
    return json_digest([files, installed, metadata.version("pydantic")])


def _misshapen(record: Record, read: bool) -> Iterator[str]:
    """Yield where a record has another form than a stranger's may have."""
    try:
        if not read:
            require_form(record.content())
    except ValueError as error:
        yield str(error)
        return
    # As UTF-8, which is written in a fifth of the time, it has a third of the bytes or more.
    if 3 * len(to_json(record.content())) > MAX_BYTES and len(json.dumps(record.content())) > MAX_BYTES:
        yield f"it is larger than {MAX_BYTES:,} bytes"
        return
    for part, name, pattern in PLAIN:
        value = getattr(record, part).get(name)
        if value is None or not pattern.fullmatch(value) or ".." in value:
            yield f"{part}.{name} should be a plain name; got {shown(value)}"
    for part, name in HASHES:
        value = getattr(record, part).get(name)
        if value is not None and not HASH.fullmatch(value):
            yield f"{part}.{name} should be a hash in hexadecimal; got {shown(value)}"
    author = record.author
    if author is not None and not (author.isprintable() and len(author) <= 100):
        yield f"author should be a line of up to 100 characters; got {shown(author)}"
    yield from _misdated(record.created)


def _misdated(created: str) -> Iterator[str]:
    try:
        if not CREATED.fullmatch(created):
            raise ValueError(created)
        if datetime.fromisoformat(created) > datetime.now(timezone.utc) + CLOCKS_DIFFER:
            yield f"created lies in the future: {shown(created)}"
    except ValueError:
        yield f"created should be a time as 2026-01-31T12:00:00+00:00; got {shown(created)}"


def _require_annotated_weights(record: Record) -> None:
    """Refuse a record that claims an annotated model with other weights than the annotated ones."""
    annotated = _annotated_hashes().get(record.target["id"])
    stated = record.target.get("weights_hash")
    if annotated and stated != annotated:
        named = f"{stated[:12]}..." if stated else "none"
        raise ValueError(
            f"{record.target['id']} has the weights {annotated[:12]}...; the record names {named}"
        )


@lru_cache(maxsize=1)
def _annotated_hashes() -> dict[str, str | None]:
    rows = [*load_annotations("extended").values(), *load_annotations("zoo").values()]
    return {row.id: row.weights_hash for row in rows}
