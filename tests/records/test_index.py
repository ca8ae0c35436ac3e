"""An index saves reading; what is read is the same with it, without it, and whatever happened to it."""

import copy
import json
import os
import pickle
import sqlite3
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.plain_records import make

from securitynet_hub.core.errors import RecordError
from securitynet_hub.records import index
from securitynet_hub.records.index import index_path, read_folder
from securitynet_hub.records.record import read_record, read_text, write_record


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Keep an index of the smallest folder, in a cache of the test's own, of files that are just written."""
    monkeypatch.setattr(index, "LEAST", 1)
    monkeypatch.setattr(index, "SETTLED_SECONDS", -1)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "records"
    for number in range(5):
        check = {"check": {"status": "as expected"}} if number == 3 else {}
        target, data = {"id": f"lab/net-{number % 2}"}, {"name": "d", **check}
        write_record(make(target=target, data=data, result={"z": number, "auc": 0.5, "ü": "é"}), place)
    return place


@pytest.fixture
def opened(monkeypatch):
    """The files that are read, rather than known."""
    paths = []

    def reading(path):
        paths.append(Path(path))
        return read_text(path)

    monkeypatch.setattr(index, "read_text", reading)
    return paths


def records_of(folder, **settings):
    return [found.record for found in read_folder(folder, **settings)]


def test_what_is_known_is_not_read_again_and_is_the_same(folder, opened):
    paths = sorted(folder.rglob("*.json"))
    plain = [read_record(path) for path in paths]
    for _ in range(2):
        found = list(read_folder(folder))
        assert [each.path for each in found] == paths
        for one, other in zip([each.record for each in found], plain, strict=True):
            assert one == other
            assert (one.id, one.unit) == (other.id, other.unit)
            assert json.dumps(one.as_dict()) == json.dumps(other.as_dict())  # the order of figures, too
            assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == other
    assert opened == paths
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json"}


def test_new_changed_and_removed_files_are_seen(folder, opened):
    first, *rest = records_of(folder)
    del opened[:]
    path = sorted(folder.rglob("*.json"))[0]
    path.unlink()
    new = read_record(write_record(make(target={"id": "lab/net-0"}, author="b"), folder))
    assert {record.id for record in records_of(folder)} == {record.id for record in [*rest, new]}
    assert len(opened) == 1
    assert first.id not in {record.id for record in records_of(folder)}


def test_a_change_that_keeps_size_and_date_is_seen(folder):
    records_of(folder)
    path = sorted(folder.rglob("*.json"))[1]
    state = path.stat()
    path.write_text(path.read_text().replace('"auc": 0.5', '"auc": 0.9'))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    with pytest.raises(RecordError, match="changed or damaged"):
        records_of(folder)
    damaged = []
    assert len(records_of(folder, on_damaged=lambda path, error: damaged.append(path))) == 4
    assert damaged == [path]


def garbage(path):
    path.write_bytes(b"no database" * 1000)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def figure(path):
    with sqlite3.connect(path) as database:
        changed = "CAST(replace(CAST(content AS TEXT), '0.5', '0.9') AS BLOB)"
        database.execute(f"UPDATE owns SET content = {changed}")
    database.close()


def shared_figure(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE parts SET content = replace(content, 'net-0', 'net-9')")
    database.close()


def time_of_creation(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET created = replace(created, '20', '19')")
    database.close()


def note(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET note = 'another'")
    database.close()


def no_part(path):
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM parts")
    database.close()


def changed_by(*statements):
    def harm(path):
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    return harm


def exchanged(table):
    """Let each of two rows have the number of the other; both stay whole."""
    last = f"(SELECT max(number) FROM {table})"
    first = f"(SELECT min(number) FROM {table})"
    return changed_by(
        f"CREATE TABLE ends AS SELECT {first} AS a, {last} AS b",
        f"UPDATE {table} SET number = 0 WHERE number = (SELECT a FROM ends)",
        f"UPDATE {table} SET number = (SELECT a FROM ends) WHERE number = (SELECT b FROM ends)",
        f"UPDATE {table} SET number = (SELECT b FROM ends) WHERE number = 0",
        "DROP TABLE ends",
    )


HARMS = [
    garbage, cut, figure, shared_figure, time_of_creation, note, no_part,
    exchanged("parts"), exchanged("owns"),
    changed_by("DROP TABLE records"),
    changed_by("DROP TABLE records", "CREATE VIEW records AS SELECT 1"),
    changed_by("ALTER TABLE records DROP COLUMN note"),
    changed_by("DROP TABLE parts", "ALTER TABLE owns RENAME TO parts"),
    changed_by("DROP TABLE owns", "CREATE TABLE owns (x)"),
    changed_by("UPDATE parts SET content = CAST(content AS BLOB)"),
    changed_by("UPDATE records SET id = CAST(id AS BLOB)"),
    changed_by("UPDATE records SET created = CAST(x'ff41' AS TEXT)"),
    changed_by("UPDATE parts SET content = CAST(x'ff41' AS TEXT)"),
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_index_changes_nothing_and_is_made_anew(folder, opened, harm):
    expected = records_of(folder)
    harm(index_path(folder))
    assert records_of(folder) == expected
    assert records_of(folder) == expected
    del opened[:]
    assert records_of(folder) == expected
    assert not opened


def test_without_a_cache_everything_is_read(folder, opened, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    for _ in range(2):
        assert len(records_of(folder)) == 5
    assert len(opened) == 10


def test_a_locked_index_is_passed_over(folder, opened, monkeypatch):
    records_of(folder)
    monkeypatch.setattr(index, "WAIT_SECONDS", 0.01)
    database = sqlite3.connect(index_path(folder), isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    assert len(records_of(folder)) == 5
    database.close()
    assert index_path(folder).exists()


def test_readers_at_the_same_time_agree(folder):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(records_of, [folder] * 8))
    assert all(records == found[0] for records in found)


def test_a_judge_is_asked_once_about_what_it_finds_right(folder):
    asked = []

    def judge(record):
        asked.append(record.result["z"])
        return ["odd"] if record.result["z"] % 2 else []

    for _ in range(2):
        found = list(read_folder(folder, judge=judge, judged_by="one"))
        assert {each.record.result["z"] for each in found if each.wrong} == {1, 3}
    assert sorted(asked) == [0, 1, 1, 2, 3, 3, 4]
    del asked[:]
    records_of(folder, judge=judge, judged_by="two")
    assert len(asked) == 5


def test_what_was_read_without_a_judge_is_judged(folder):
    records_of(folder)
    asked = []
    for _ in range(2):
        records_of(folder, judge=lambda record: asked.append(1) or [], judged_by="one")
    assert len(asked) == 5


def test_what_a_caller_changes_in_a_record_is_not_kept(folder):
    plain = [record.as_dict() for record in records_of(folder)]
    index_path(folder).unlink()
    for found in read_folder(folder):
        found.record.result["z"] = "changed"
        found.record.data["name"] = "changed"
    assert [record.as_dict() for record in records_of(folder)] == plain


def test_what_is_asked_for_late_is_the_same_after_the_file_is_gone(folder):
    plain = records_of(folder)
    known = records_of(folder)
    for path in folder.rglob("*.json"):
        path.unlink()
    assert known == plain
    assert [record.as_dict() for record in known] == [record.as_dict() for record in plain]


def test_a_record_set_apart_is_the_same_and_leaves_the_other_unread(folder):
    plain = records_of(folder)
    for known in (records_of(folder), plain):
        for record in known:
            assert record.apart() == record.apart()
            assert record.apart().as_dict() == record.as_dict()
    unread = records_of(folder)[0]
    assert unread.apart().result == plain[0].result
    assert "result" not in vars(unread)


def test_what_the_index_does_not_hold_whole_comes_from_the_file(folder):
    plain = records_of(folder)
    with sqlite3.connect(index_path(folder)) as database:
        rows = database.execute("SELECT own, id FROM records").fetchall()
        for number, id in rows:
            own = b'"result":{"auc":'
            database.execute(
                "UPDATE owns SET content = ?, crc = ? WHERE number = ?",
                (own, zlib.crc32(own, zlib.crc32(id.encode())), number),
            )
    database.close()
    assert records_of(folder) == plain


def test_figures_that_are_asked_for_late_are_never_those_of_another_record(folder):
    """Neither after the index is gone, nor after another record stands in the file."""
    records_of(folder)
    (first, second), path = records_of(folder)[:2], sorted(folder.rglob("*.json"))[0]
    index_path(folder).unlink()
    assert second.result == read_record(sorted(folder.rglob("*.json"))[1]).result
    path.write_text(path.with_name(sorted(folder.rglob("*.json"))[1].name).read_text())
    index_path(folder).unlink(missing_ok=True)
    with pytest.raises(RecordError, match=f"held the record {first.id}, and holds {second.id} now"):
        first.result  # noqa: B018


def test_figures_are_there_for_a_while_after_another_reader_forgot_the_file(folder, monkeypatch):
    plain = records_of(folder)
    known = records_of(folder)
    paths = sorted(folder.rglob("*.json"))
    paths[0].unlink()
    paths[1].write_text(paths[1].read_text().rstrip())  # the same record, another file
    for _ in range(2):
        assert len(records_of(folder)) == 4
    assert known == plain
    monkeypatch.setattr(index, "GONE_SECONDS", -1)
    paths[2].unlink()
    records_of(folder)
    with sqlite3.connect(index_path(folder)) as database:
        assert database.execute("SELECT count(*) FROM owns").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM gone").fetchone() == (0,)
    database.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_figures_are_read_by_threads_and_by_a_forked_child(folder):
    plain = records_of(folder)
    known = records_of(folder)
    known[0].result  # noqa: B018 (the connection is open)
    child = os.fork()
    if not child:
        os._exit(0 if known[1:3] == plain[1:3] else 1)
    assert os.waitpid(child, 0)[1] == 0
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda record: record.result, known)) == [each.result for each in plain]


def test_notes_are_kept_as_long_as_the_judge_stays_the_same(folder):
    asked = []

    def note(record):
        asked.append(record.id)
        return f"noted {record.result['z']}"

    def judge(record):
        return ["odd"] if record.result["z"] == 3 else []

    for judged_by, known in (("one", False), ("one", True), ("two", False), ("two", True)):
        found = list(read_folder(folder, judge=judge, judged_by=judged_by, note=note))
        assert {each.note for each in found} == {"noted 0", "noted 1", "noted 2", "noted 4", ""}
        assert [each.record.result["z"] for each in found if not each.note] == [3]
        assert len(asked) == (0 if known else 4)
        del asked[:]
    assert {each.note for each in read_folder(folder)} == {""}


def test_a_damaged_record_is_told_where_its_figures_are_asked_for_late(folder):
    records_of(folder)
    with sqlite3.connect(index_path(folder)) as database:
        database.execute("UPDATE owns SET content = x'00'")
    database.close()
    told = []

    def judge(record):
        for path in folder.rglob("*.json"):  # meanwhile somebody removes the files
            path.unlink()
        return [] if record.result else ["empty"]

    found = read_folder(
        folder, judge=judge, judged_by="one", on_damaged=lambda path, error: told.append(path)
    )
    assert list(found) == []
    assert len(told) == 5


def test_figures_are_found_from_another_working_folder(folder, monkeypatch, tmp_path):
    records_of(folder)
    expected = [record.result for record in records_of(folder)]
    monkeypatch.chdir(folder.parent)
    late = records_of(folder.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    index_path(folder).unlink()
    assert [record.result for record in late] == expected
