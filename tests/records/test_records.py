import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.plain_records import make
from support.processes import run_python

from securitynet_hub.core import files
from securitynet_hub.core.errors import RecordError
from securitynet_hub.records import record as records
from securitynet_hub.records.record import (
    SCHEMA_VERSION,
    read_record,
    read_records,
    require_writable,
    write_record,
)


def test_a_record_comes_back_equal(tmp_path):
    record = make()
    path = write_record(record, tmp_path)
    assert read_record(path) == record
    assert path.parent == tmp_path / "zoo/x/1"
    assert [r.id for r in read_records(tmp_path)] == [record.id]


def test_it_says_who_what_and_with_which_versions():
    record = make()
    assert record.schema_version == SCHEMA_VERSION
    assert record.code["version"]
    assert set(record.environment["packages"]) >= {"torch", "evaluate", "datasets", "accelerate"}


def test_unit_is_what_decides_the_result_and_id_is_all():
    record = make()
    again = make()
    assert again.unit == record.unit
    assert again.id != record.id  # another time of day
    for name in ("target", "data", "attack", "code"):
        assert replace(record, **{name: {"id": "other", "name": "other"}}).unit != record.unit
    assert replace(record, timings={"inference": 9.9}).unit == record.unit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", {"id": "zoo/x/2"}), ("data", {"name": "e"}), ("attack", {"name": "hinge"}),
        ("result", {"auc": 0.6}), ("counts", {"forwarded": 11}), ("timings", {"inference": 9.9}),
        ("code", {"version": "0"}), ("environment", {"python": "4"}), ("author", "alice"),
        ("created", "2026-01-31T12:00:00.000000+00:00"),
    ],
)  # fmt: skip
def test_the_id_covers_every_field(field, value):
    """One that it left out could be changed without a sign."""
    record = make()
    changed = replace(record, **{field: value})
    assert changed.id != record.id
    text = json.dumps({**changed.as_dict(), "id": record.id})
    with pytest.raises(RecordError, match="changed or damaged"):
        records.parse_record(text, "here")


def test_nothing_is_overwritten(tmp_path):
    record = make()
    path = write_record(record, tmp_path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="never overwritten"):
        write_record(record, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.rglob("*.part")) == []


def test_of_many_writers_of_one_record_one_wins(tmp_path):
    record = make()

    def attempt(_):
        try:
            return write_record(record, tmp_path)
        except RecordError:
            return None

    with ThreadPoolExecutor(8) as pool:
        written = [path for path in pool.map(attempt, range(32)) if path]
    assert len(written) == 1
    assert read_record(written[0]) == record


def refuse(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_a_folder_where_files_replace_others_or_cannot_appear_is_refused_before_any_work(
    tmp_path, monkeypatch
):
    require_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    for name in ("link", "rename"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(files, "rename_exclusively", refuse)
    with pytest.raises(RecordError, match=r"cannot write records into .*: Function not implemented"):
        require_writable(tmp_path)
    monkeypatch.setattr(files, "rename_exclusively", lambda part, path: bool(part.replace(path)))
    with pytest.raises(RecordError, match="one file replaces another unasked"):
        require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renames", [True, False])
def test_folders_without_hard_links_take_records(tmp_path, monkeypatch, renames):
    monkeypatch.setattr(os, "link", refuse)
    if not renames:
        monkeypatch.setattr(files, "rename_exclusively", lambda *_: False)
    record = make()
    path = write_record(record, tmp_path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="never overwritten"):
        write_record(record, tmp_path)
    assert read_record(path) == record
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_writer_killed_in_the_act_leaves_no_record(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from securitynet_hub.records import record; from support import plain_records;"
        "os.link = lambda *a: os._exit(9);"  # dies with everything written, before it is published
        "record.write_record(plain_records.make(), Path(sys.argv[1]))"
    )
    done = run_python("-c", code, tmp_path, Path(__file__).parents[1])
    assert done.returncode == 9
    assert list(read_records(tmp_path)) == []


@pytest.mark.parametrize("id", ["../x", "/abs/olute", "a/../../x"])
def test_target_ids_cannot_leave_the_folder(tmp_path, id):
    with pytest.raises(RecordError, match="leads out of"):
        write_record(make(target={"id": id}), tmp_path / "records")
    assert list(tmp_path.iterdir()) == []


def test_figures_that_are_no_numbers_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(make(result={"auc": float("nan")}), tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_folder_that_is_a_file_is_refused_before_and_at_writing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="Not a directory"):
        require_writable(tmp_path / "file" / "records")
    with pytest.raises(RecordError, match="cannot write"):
        write_record(make(), tmp_path / "file" / "records")


def test_a_read_only_folder_is_refused(tmp_path):
    if os.geteuid() == 0:
        folder = records.Path("/proc/self")  # where not even root may create files
    else:
        folder = tmp_path
        tmp_path.chmod(0o500)
    with pytest.raises(RecordError, match="cannot write records into"):
        require_writable(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["result"].update(auc=0.9), "changed or damaged"),
        (lambda c: c.update(id="0" * 16), "changed or damaged"),
        (lambda c: c.update(unit="0" * 16), "changed or damaged"),
        (lambda c: c.pop("unit"), "changed or damaged"),
        (lambda c: c["timings"].update(inference=0.2), "changed or damaged"),
        (lambda c: c.update(schema_version=SCHEMA_VERSION + 1), "Upgrade"),
        (lambda c: c.pop("schema_version"), "no schema_version"),
        (lambda c: c.pop("result"), "not a record of schema"),
        (lambda c: c.update(extra=1), "not a record of schema"),
    ],
)
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path, change, sentence):
    path = write_record(make(), tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=sentence) as refusal:
        read_record(path)
    assert path.name in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_files_that_are_no_json_object_are_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"x\.json"):
        read_record(tmp_path / "x.json")


def test_truncated_at_any_byte_a_record_is_refused(tmp_path):
    path = write_record(make(), tmp_path)
    content = path.read_bytes()
    for length in range(0, len(content.rstrip()), 37):
        path.write_bytes(content[:length])
        with pytest.raises(RecordError):
            read_record(path)
