"""Files: written whole or not at all; read within a bound, and only if their hash is the expected one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from securitynet_hub.core.errors import WeightsError

MAX_BYTES = 8 << 30
"""Files above this size are refused unread."""


AT_FDCWD, RENAME_NOREPLACE = -100, 1
"""Arguments of Linux's renameat2: paths as they are, and only to a name that is free."""

CLAIM_TRIES, CLAIM_PAUSE = 50, 0.1
"""How often, and after how many seconds, to try again where another process claims the same file."""


@contextlib.contextmanager
def atomic_path(path: Path, *, replace: bool = True, fsync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move there what the block has written: all of it or nothing.

    The block writes a file, or makes a folder, at the path that it is given. Whatever ends the block or the
    process, `path` never holds a part of it. A killed process leaves a hidden file
    ``.<machine>-<process>-<token>.part``; the next process of that machine that writes there removes it. A
    device or a pipe, such as /dev/null, is never replaced: it is written into.

    Args:
        path: the file or folder to make; its folder must exist.
        replace: whether an existing file may be replaced. Otherwise one of many writers at the same time
            succeeds, and an existing file or folder is left as it is.
        fsync: write a file to the disk before it is moved, so that it survives a power failure. False suits
            a file that can be made again and that is checked when it is read.

    Raises:
        FileExistsError: `path` exists, and `replace` is False.
        OSError: the folder cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x"
    >>> with atomic_path(path) as part:
    ...     _ = part.write_text("whole")
    >>> [p.name for p in path.parent.iterdir()], path.read_text()
    (['x'], 'whole')
    """
    if _is_device(path):
        with tempfile.TemporaryDirectory(prefix="securitynet-") as folder:
            yield Path(folder) / "part"
            with (Path(folder) / "part").open("rb") as made, path.open("wb") as device:
                shutil.copyfileobj(made, device)
        return
    _remove_litter(path.parent)
    part = path.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        yield part
        if fsync and part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            _move_without_replacing(part, path)
    finally:
        _remove(part)


def _is_device(path: Path) -> bool:
    """Return whether a path is, or leads to, what is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            part.unlink()


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return what tells this machine from others: within it, a number means one process."""
    known = [platform.node()]
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):  # containers may share a name
        with contextlib.suppress(OSError):
            known.append(str(Path(place).readlink()) if place.endswith("pid") else Path(place).read_text())
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


_PART = re.compile(r"\.([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{16}\.part")


@lru_cache(maxsize=4096)
def _remove_litter(folder: Path) -> None:
    """Remove, once for each folder, what processes of this machine left there that are no more."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = _PART.fullmatch(path.name)
            if found and found[1] == _machine() and not _is_alive(int(found[2])):
                _remove(path)


def _is_alive(process: int) -> bool:
    """Return whether a process runs; true where that cannot be told."""
    if os.name != "posix" or not 0 < process < 1 << 31:
        return True  # on Windows the question itself would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _move_without_replacing(part: Path, path: Path) -> None:
    if part.is_file():
        try:
            os.link(part, path)  # unlike a rename, it refuses to replace
            return
        except FileExistsError:
            raise
        except OSError:  # exFAT, SMB and Google Drive in Colab have no hard links
            pass
    if rename_exclusively(part, path):
        return
    claim = path.with_name(f".{path.name}.claim")
    _create_exclusively(claim, path)
    try:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        part.rename(path)
    finally:
        claim.unlink()


def rename_exclusively(part: Path, path: Path) -> bool:
    """Rename a file or folder unless `path` exists, in one step; return False where that cannot be had.

    Linux can (renameat2), on most file systems: vfat and SMB among those without hard links.

    Raises:
        FileExistsError: `path` exists.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> rename_exclusively(folder / "missing", folder / "x")
    False
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not Linux, or a C library of before 2018
        return False
    if rename(AT_FDCWD, os.fsencode(part), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    if ctypes.get_errno() == errno.EEXIST:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return False


def _create_exclusively(claim: Path, path: Path) -> None:
    """Create the file that gives one process at a time the right to make `path`."""
    for _ in range(CLAIM_TRIES):
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
            return
        except FileExistsError:
            if os.path.lexists(path):
                raise
            time.sleep(CLAIM_PAUSE)
    reason = f"another process is writing it; if none is, delete {claim}"
    raise OSError(errno.EBUSY, reason, str(path))


def max_bytes() -> int:
    """Return the size in bytes above which files are refused: ``SECURITYNET_MAX_BYTES``, else 8 GiB."""
    stated = os.environ.get("SECURITYNET_MAX_BYTES")
    if stated is None:
        return MAX_BYTES
    if not (stated.isascii() and stated.isdigit() and int(stated)):
        raise WeightsError(
            f"SECURITYNET_MAX_BYTES must be a number of bytes, like 1000000000; got {stated!r}."
        )
    return int(stated)


def verified_bytes(path: Path, sha256: str) -> bytes:
    """Read a file and return its bytes, if their sha256 is the expected one.

    The bytes that were hashed are the bytes that are returned: the file cannot change in between.

    Raises:
        WeightsError: the file cannot be read, is too large, or has another hash.
    """
    try:
        require_moderate(path)
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    require_same(path, hashlib.sha256(content).hexdigest(), sha256)
    return content


def require_moderate(path: Path) -> None:
    """Refuse a file that is larger than `max_bytes` or cannot be read."""
    try:
        size, limit = path.stat().st_size, max_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    if size > limit:
        raise WeightsError(f"{path} has {size:,} bytes; at most {limit:,} are read.")


def require_same(path: Path, found: str, expected: str) -> None:
    """Refuse a file whose sha256 is not the expected one."""
    if found != expected:
        raise WeightsError(
            f"{path} is damaged or was replaced: its sha256 is {found}, {expected} was expected. "
            "Download the file again, or reinstall the package."
        )
