"""Check the layout and checksums of a zip archive without extracting it; only ``torch.save``'s layout passes.

Every byte must belong to a known member or to the directory. Junk before, between or after them, overlap,
duplicates, compression and encryption are refused, and both headers of a member must agree.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading.foreign import SCRIPT

MAX_MEMBERS = 100_000
MAX_NAME = 512
MAX_EXTRA = 1 << 16
CHUNK = 1 << 20
USUAL_ROOM = 128
"""Bytes that torch.save needs at most beside a member's name and content: 64-bit sizes, padding, and the
description behind it."""

KNOWN = re.compile(
    r"data\.pkl|data/\d{1,9}|version|byteorder"
    r"|\.data/serialization_id|\.format_version|\.storage_alignment",
    re.ASCII,
)
"""The members that ``torch.save`` writes into its one folder."""

_LOCAL, _CENTRAL, _END, _LOCATOR, _END64, _DESCRIPTOR = (
    b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\7", b"PK\6\6", b"PK\7\x08",
)  # fmt: skip
_ENCRYPTED, _DESCRIBED_BEHIND, _UTF8 = 1 << 0, 1 << 3, 1 << 11
_FULL = 0xFFFFFFFF
_ZIP64, _PADDING = 1, 0x4246


class Member(NamedTuple):
    """One file of the archive: the position of its bytes, and their checksum."""

    name: str
    flags: int
    crc: int
    size: int
    header: int
    start: int = 0

    @property
    def end(self) -> int:
        """Position behind the last byte."""
        return self.start + self.size


def read_archive(file: BinaryIO, size: int) -> dict[str, Member]:
    """Check a torch archive and return its members by their names inside its one folder.

    Raises:
        WeightsError: the archive holds something that ``torch.save`` does not write, or is damaged.
    """
    first, last, count = _read_end(file, size)
    listed = _read_directory(file, first, last, count)
    members: dict[str, Member] = {}
    position = 0
    for member in sorted(listed, key=lambda member: member.header):
        placed, after = _read_local(file, member, position, first)
        members[member.name.partition("/")[2]] = placed
        position = after
    if position != first:
        raise WeightsError(f"its archive has {first - position:,} unknown bytes before the directory")
    _require_known(file, members, members.values())
    return members


def read_listed_archive(file: BinaryIO, size: int) -> dict[str, Member]:
    """Check a torch archive by its directory and return its members, as `read_archive`, in few small reads.

    The headers and checksums of the numbers are not read, so a changed number goes unnoticed. Where there is
    more room between two members than a usual header takes, or no further member, the header is read, too.

    Raises:
        WeightsError: as `read_archive`.
    """
    first, last, count = _read_end(file, size)
    listed = sorted(_read_directory(file, first, last, count), key=lambda member: member.header)
    members: dict[str, Member] = {}
    checked: list[Member] = []
    position = 0
    for number, member in enumerate(listed, start=1):
        after = listed[number].header if number < len(listed) else first
        inner = member.name.partition("/")[2]
        room = after - member.header - 30 - len(member.name.encode()) - member.size
        if inner.startswith("data/") and number < len(listed) and 0 <= room <= USUAL_ROOM:
            if member.header != position:
                raise WeightsError(f"its member {member.name!r} overlaps another or has junk before it")
            members[inner], position = member, after
        else:
            members[inner], position = _read_local(file, member, position, first)
            if not inner.startswith("data/"):
                checked.append(members[inner])
    if position != first:
        raise WeightsError(f"its archive has {first - position:,} unknown bytes before the directory")
    _require_known(file, members, checked)
    return members


def _require_known(file: BinaryIO, members: dict[str, Member], checked: Iterable[Member]) -> None:
    """Require the members that torch.save always writes, right checksums, and the byte order."""
    for name in ("data.pkl", "version"):
        if name not in members:
            raise WeightsError(f"its archive has no member {name!r}: torch.save did not write it")
    for member in checked:
        _verify(file, member)
    if "byteorder" in members and read_member(file, members["byteorder"], 16) != b"little":
        raise WeightsError("its archive is not in little-endian byte order")


def read_member(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Return a member's bytes; refuse a member of more than `limit` bytes."""
    if member.size > limit:
        raise WeightsError(
            f"its member {member.name!r} has {member.size:,} bytes; at most {limit:,} are read"
        )
    return _read(file, member.start, member.size)


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    piece = file.read(count)
    if len(piece) != count:
        raise WeightsError("its archive breaks off")
    return piece


def _read_end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return where the directory starts and ends, and how many members it lists."""
    if size < 22 or not (end := _read(file, size - 22, 22)).startswith(_END):
        raise WeightsError("its archive breaks off or has junk behind its end: the last record is missing")
    disk, disk_too, count, count_too, length, first, comment = struct.unpack("<4H2LH", end[4:])
    behind = size - 22
    if size >= 42 and (locator := _read(file, size - 42, 20)).startswith(_LOCATOR):
        behind = size - 42 - 56
        where, disks = struct.unpack("<QL", locator[8:])
        record = _read(file, behind, 56) if behind >= 0 else b""
        if where != behind or disks != 1 or not record.startswith(_END64):
            raise WeightsError("its archive has a 64-bit end record in the wrong place")
        stated = struct.unpack("<Q2H2L4Q", record[4:])
        small = (count, length, first)
        count, length, first = stated[6], stated[7], stated[8]
        if stated[0] != 44 or stated[3:5] != (0, 0) or stated[5] != count:
            raise WeightsError("its archive has a 64-bit end record that torch.save does not write")
        if any(a not in (b, m) for a, b, m in zip(small, stated[6:], (0xFFFF, _FULL, _FULL), strict=True)):
            raise WeightsError("its archive has two end records that disagree")
    elif count != count_too:
        raise WeightsError("its archive is spread over several disks")
    if disk or disk_too or comment:
        raise WeightsError("its archive has a comment or is spread over several disks")
    if count > MAX_MEMBERS:
        raise WeightsError(f"its archive lists {count:,} members; at most {MAX_MEMBERS:,} are read")
    if first + length != behind:
        raise WeightsError("its archive has junk before its start or beside its directory")
    return first, behind, count


def _read_directory(file: BinaryIO, first: int, last: int, count: int) -> list[Member]:
    if last - first > count * (46 + MAX_NAME + 64):
        raise WeightsError(f"its archive has a directory of {last - first:,} bytes for {count:,} members")
    directory = _read(file, first, last - first)
    members: dict[str, Member] = {}
    position = 0
    for _ in range(count):
        header = directory[position : position + 46]
        if len(header) < 46 or not header.startswith(_CENTRAL):
            raise WeightsError("its archive has a damaged directory")
        (
            _,
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            size,
            n_name,
            n_extra,
            n_comment,
            disk,
            _,
            attributes,
            offset,
        ) = struct.unpack("<6H3L5H2L", header[4:])
        position += 46
        raw, extra = directory[position : position + n_name], directory[position + n_name :][:n_extra]
        position += n_name + n_extra + n_comment
        name = _name(raw)
        sizes = _widen({"size": size, "packed": packed, "offset": offset}, extra, name)
        if flags & _ENCRYPTED:
            raise WeightsError(f"its member {name!r} is marked as encrypted")
        if flags & ~(_DESCRIBED_BEHIND | _UTF8):
            raise WeightsError(f"its member {name!r} has flags that torch.save does not set")
        if method != 0:
            raise WeightsError(f"its member {name!r} is compressed; torch.save only stores")
        if sizes["packed"] != sizes["size"]:
            raise WeightsError(f"its member {name!r} states two sizes")
        if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG) or attributes & 0x10:
            raise WeightsError(f"its member {name!r} is a link or a folder, not a file")
        if n_comment or disk:
            raise WeightsError(f"its member {name!r} has a comment or lies on another disk")
        if name in members:
            raise WeightsError(f"its member {name!r} occurs twice")
        members[name] = Member(name, flags, crc, sizes["size"], sizes["offset"])
    if position != len(directory):
        raise WeightsError("its archive has a damaged directory")
    if len(folders := {name.partition("/")[0] for name in members}) > 1:
        raise WeightsError(f"its archive has several folders: {', '.join(map(repr, sorted(folders)[:3]))}")
    return list(members.values())


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WeightsError(f"its archive has a member with the name {raw[:80]!r}") from error
    folder, _, inner = name.partition("/")
    if len(raw) > MAX_NAME or not folder.isprintable() or "\\" in folder or folder in ("", ".", ".."):
        raise WeightsError(f"its member {name[:80]!r} leads out of the archive or has no proper name")
    if re.fullmatch(r"code/.*|constants\.pkl", inner):
        raise WeightsError(f"its member {name[:80]!r} makes it a file that {SCRIPT}")
    if not KNOWN.fullmatch(inner):
        raise WeightsError(f"its member {name[:80]!r} is none that torch.save writes")
    return name


def _widen(fields: dict[str, int], extra: bytes, name: str) -> dict[str, int]:
    """Replace the fields that do not fit into 32 bits by their values in the extra data."""
    wide = [field for field, value in fields.items() if value == _FULL]
    values = _wide_values(extra, name)
    if len(values) != len(wide):
        raise WeightsError(f"its member {name!r} has damaged 64-bit sizes")
    return fields | dict(zip(wide, values, strict=True))


def _wide_values(extra: bytes, name: str) -> tuple[int, ...]:
    """Return the 64-bit numbers of the extra data; refuse everything else but padding."""
    values: list[int] = []
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<HH", extra, position) if position + 4 <= len(extra) else (0, 0)
        position += 4
        content = extra[position : position + length]
        position += length
        if kind not in (_ZIP64, _PADDING) or len(content) != length or (kind == _ZIP64 and length % 8):
            raise WeightsError(f"its member {name!r} has extra data that torch.save does not write")
        if kind == _ZIP64:
            values += struct.unpack(f"<{length // 8}Q", content)
    return tuple(values)


def _read_local(file: BinaryIO, member: Member, position: int, limit: int) -> tuple[Member, int]:
    """Check the header before a member's bytes; return the placed member and the position of the next one."""
    name = member.name
    if member.header != position:
        raise WeightsError(f"its member {name!r} overlaps another or has junk before it")
    header = _read(file, position, 30)
    if not header.startswith(_LOCAL):
        raise WeightsError(f"its member {name!r} has no header of its own")
    _, flags, method, _, _, crc, packed, size, n_name, n_extra = struct.unpack("<5H3L2H", header[4:])
    if n_extra > MAX_EXTRA:
        raise WeightsError(f"its member {name!r} has extra data that torch.save does not write")
    own = _read(file, position + 30, n_name + n_extra)
    wide = _wide_values(own[n_name:], name)
    both = (member.size, member.size)
    # torch's writer does not know the packed size here yet, and repeats the position if it needs 64 bits.
    unsure = [(), both, (member.size, 0)]
    agree = wide in [*unsure, *((*values, position) for values in unsure)]
    stated = (crc, *(wide[:2] if (packed, size) == (_FULL, _FULL) else (packed, size)))
    later = flags & _DESCRIBED_BEHIND and stated == (0, 0, 0)
    agree = agree and (later or stated == (member.crc, *both))
    if own[:n_name] != name.encode() or flags != member.flags or method or not agree:
        raise WeightsError(
            f"its member {name!r} is described differently by its own header and the directory"
        )
    placed = member._replace(start=position + 30 + n_name + n_extra)
    if placed.end > limit:
        raise WeightsError(f"its member {name!r} overlaps the directory")
    return placed, placed.end + (_read_descriptor(file, placed) if flags & _DESCRIBED_BEHIND else 0)


def _read_descriptor(file: BinaryIO, member: Member) -> int:
    """Check the description behind a member's bytes and return its length."""
    file.seek(member.end)
    found = file.read(24)
    for form in ("<4sLLL", "<4sLQQ"):
        length = struct.calcsize(form)
        if found[:length] == struct.pack("<4sL", _DESCRIPTOR, member.crc) + struct.pack(
            "<LL" if length == 16 else "<QQ", *([member.size & (_FULL if length == 16 else -1)] * 2)
        ):
            return length
    raise WeightsError(f"its member {member.name!r} is described differently behind its bytes")


def _verify(file: BinaryIO, member: Member) -> None:
    file.seek(member.start)
    crc, left = 0, member.size
    while left:
        piece = file.read(min(left, CHUNK))
        if not piece:
            raise WeightsError("its archive breaks off")
        crc, left = zlib.crc32(piece, crc), left - len(piece)
    if crc != member.crc:
        raise WeightsError(f"its member {member.name!r} is damaged: its CRC does not match")
