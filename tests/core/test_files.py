"""Files that are written whole or not at all, also where a file system has no hard links."""

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from securitynet_hub.core import files
from securitynet_hub.core.files import atomic_path


@pytest.fixture(params=["hard links", "exclusive renaming", "neither"])
def links(request, monkeypatch):
    if request.param != "hard links":
        monkeypatch.setattr(os, "link", refuse)
    if request.param == "neither":
        monkeypatch.setattr(files, "rename_exclusively", lambda *_: False)


def refuse(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def write(path, text="new", **options):
    with atomic_path(path, **options) as part:
        part.write_text(text)


def write_half(path, error, **options):
    with atomic_path(path, **options) as part:
        part.write_text("half")
        raise error


def make_folder(path, text):
    with atomic_path(path, replace=False) as part:
        part.mkdir()
        (part / "file").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_existing_file_is_replaced(tmp_path):
    for text in ("old", "new"):
        write(tmp_path / "x", text)
    assert (tmp_path / "x").read_text() == "new"
    assert names(tmp_path) == ["x"]


@pytest.mark.usefixtures("links")
class TestWithoutReplacing:
    def test_the_first_file_stays(self, tmp_path):
        write(tmp_path / "x", "old", replace=False)
        with pytest.raises(FileExistsError):
            write(tmp_path / "x", replace=False)
        assert (tmp_path / "x").read_text() == "old"
        assert names(tmp_path) == ["x"]

    def test_a_dangling_link_is_not_written_through(self, tmp_path):
        (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FileExistsError):
            write(tmp_path / "x", replace=False)
        assert names(tmp_path) == ["x"]

    def test_of_many_writers_one_succeeds(self, tmp_path):
        def attempt(number):
            try:
                write(tmp_path / "x", f"{number}" * 10_000, replace=False)
            except FileExistsError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            (winner,) = {number for number in pool.map(attempt, range(64)) if number is not None}
        assert (tmp_path / "x").read_text() == f"{winner}" * 10_000
        assert names(tmp_path) == ["x"]

    def test_a_folder_appears_whole_and_is_not_replaced(self, tmp_path):
        make_folder(tmp_path / "folder", "old")
        with pytest.raises(FileExistsError):
            make_folder(tmp_path / "folder", "new")
        assert (tmp_path / "folder" / "file").read_text() == "old"
        assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_the_block_leaves_nothing(tmp_path, replace, error):
    with pytest.raises(error):
        write_half(tmp_path / "x", error, replace=replace)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("links", "dying"),
    [
        (True, "os.fsync"),
        (True, "os.link"),
        (False, "files.rename_exclusively"),
        (False, "os.close"),
        (False, "pathlib.Path.rename"),
    ],
)
def test_a_kill_at_any_moment_leaves_no_visible_file(tmp_path, links, dying):
    code = (
        "import os, pathlib, sys; from securitynet_hub.core import files; atomic_path = files.atomic_path\n"
        "def refuse(*_): raise OSError(38, 'no links')\n"
        f"os.link = os.link if {links} else refuse\n"
        "files.rename_exclusively = lambda *_: False\n"
        "with atomic_path(pathlib.Path(sys.argv[1]), replace=False) as part:\n"
        f"    part.write_text('whole'); {dying} = lambda *_: os._exit(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 9, done.stderr
    assert [name for name in names(tmp_path) if not name.startswith(".")] == []


def test_a_claim_that_a_killed_process_left_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(files, "rename_exclusively", lambda *_: False)
    monkeypatch.setattr(files, "CLAIM_PAUSE", 0)
    (tmp_path / ".x.claim").touch()
    with pytest.raises(OSError, match=r"if none is, delete .*\.x\.claim"):
        write(tmp_path / "x", replace=False)
    assert names(tmp_path) == [".x.claim"]


def test_a_folder_that_is_missing_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(Path(tmp_path / "missing" / "x"))


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    kill = "import os, sys, pathlib; from securitynet_hub.core.files import atomic_path\n"
    kill += "with atomic_path(pathlib.Path(sys.argv[1]) / 'x') as part: part.touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", kill, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    mine = tmp_path / left.name.replace(left.name.split("-")[1], str(os.getpid()))
    elsewhere = tmp_path / ("." + "0" * 8 + left.name[9:])
    for part in (mine, elsewhere):
        part.write_text("at work")
    with atomic_path(tmp_path / "y") as part:
        part.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, elsewhere.name, "y"}


@pytest.mark.parametrize("link", [False, True])
def test_a_device_or_a_pipe_is_written_into_and_stays(link, tmp_path):
    """Whoever may do anything could otherwise replace /dev/null by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = tmp_path / "link" if link else pipe
    if link:
        path.symlink_to(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with atomic_path(path) as part:
        part.write_bytes(b"whole")
    reader.join()
    assert got == [b"whole"]
    assert pipe.is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "pipe"][not link :]
