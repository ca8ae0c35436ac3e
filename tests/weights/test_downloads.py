"""Fetching over real HTTP on loopback: faults, resuming, bounds, archives, hashes, the cache."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import threading
import time
import types
import warnings
import zipfile
import zlib
from dataclasses import replace

import pytest
import requests
import torch
from huggingface_hub import constants, file_download
from support.processes import Program
from support.servers import running_server

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import FirstUseWarning, WeightsError
from securitynet_hub.weights.cache import Entry
from securitynet_hub.weights.download import http as web
from securitynet_hub.weights.download import ranges as remote
from securitynet_hub.weights.download import resume as downloads
from securitynet_hub.weights.fetch import fetch, load_weights
from securitynet_hub.weights.hashes import parse_checks
from securitynet_hub.weights.reading import checkpoints

ROW = next(iter(load_annotations().values()))
ALL_ROWS = [*load_annotations().values(), *load_annotations("extended").values()]
CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give each test a cache of its own, the network switch on, and no long waits."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(web, "RETRIES", replace(web.RETRIES, first_delay=0.01))
    monkeypatch.setattr(web, "TIMEOUTS", (5.0, 1.0))
    return tmp_path / "home"


def sha(content, algorithm="sha256"):
    return hashlib.new(algorithm, content).hexdigest()


def row(url, content=CONTENT, *, member=None, kind="sha256", digest=None):
    """An annotation with that link and, unless told otherwise, the right sha256."""
    if kind == "sha256" and digest is None:
        digest = sha(content)
    return replace(
        ROW, id="test/data/model", weights_url=url, weights_member=member, weights_hash_kind=kind,
        weights_hash=digest,
    )  # fmt: skip


def left(home):
    """List what lies in the cache, locks aside."""
    return sorted(path.name for path in home.rglob("*") if path.is_file() and path.name != ".lock")


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names, which some tests want
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def git_blob(content):
    return sha(b"blob %d\0" % len(content) + content, "sha1")


class TestHashes:
    @pytest.mark.parametrize(
        ("kind", "digest"),
        [
            ("sha256", sha(CONTENT)),
            ("sha1", sha(CONTENT, "sha1")),
            ("git-blob-sha1", git_blob(CONTENT)),
        ],
    )
    def test_every_strong_kind(self, server, home, kind, digest):
        annotation = row(server.serve("/w.pth", CONTENT), kind=kind, digest=digest)
        assert fetch(annotation).read_bytes() == CONTENT
        assert left(home) == ["record.json", "w.pth"]
        wrong = replace(annotation, id="test/other", weights_hash="0" * len(digest))
        with pytest.raises(WeightsError, match=f"its {kind} is {digest}, 0000"):
            fetch(wrong)

    def test_git_blob_hashes_are_gits_own(self, tmp_path):
        git = subprocess.run(["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True)
        assert git.stdout.decode().strip() == git_blob(CONTENT)

    @pytest.mark.parametrize("kind", ["md5", "crc32", "sha256-prefix"])
    def test_weak_kinds_are_checked_and_said_to_be_weak(self, server, kind):
        digest = {"md5": sha(CONTENT, "md5"), "crc32": f"{zlib.crc32(CONTENT):08x}"}.get(
            kind, sha(CONTENT)[:8]
        )
        annotation = row(server.serve("/w.pth", CONTENT), kind=kind, digest=digest)
        with pytest.warns(FirstUseWarning, match="only a weak hash"):
            fetch(annotation)
        with pytest.raises(WeightsError, match="was expected"):
            fetch(replace(annotation, id="test/other", weights_hash="0" * len(digest)))

    def test_a_member_has_its_own_hash(self, server):
        url = server.serve("/w.zip", zipped([("w.pth", CONTENT)], zipfile.ZIP_DEFLATED))
        annotation = row(url, member="w.pth", kind="sha1-of-member", digest=sha(CONTENT, "sha1"))
        assert fetch(annotation).read_bytes() == CONTENT

    def test_the_archive_and_the_member(self, server):
        archive = zipped([("w.pth", CONTENT), ("other", bytes(10**6))])
        kind, crc = "md5-of-archive+crc32-of-member", f"{zlib.crc32(CONTENT):08x}"
        annotation = row(
            server.serve("/w.zip", archive), member="w.pth", kind=kind, digest=f"{sha(archive, 'md5')}+{crc}"
        )
        with pytest.warns(FirstUseWarning):
            assert fetch(annotation).read_bytes() == CONTENT
        assert server.sent < 500_000
        with pytest.raises(WeightsError, match="crc32"):
            fetch(replace(annotation, id="a/b", weights_hash=f"{sha(archive, 'md5')}+00000000"))

    @pytest.mark.parametrize("right", [True, False])
    def test_a_hash_of_the_archive_alone_needs_all_of_it(self, server, home, right):
        archive = zipped([("w.pth", CONTENT), ("other", bytes(10**6))])
        digest = sha(archive if right else b"", "md5")
        annotation = row(
            server.serve("/w.zip", archive), member="w.pth", kind="md5-of-archive", digest=digest
        )
        if right:
            with pytest.warns(FirstUseWarning):
                fetch(annotation)
            assert left(home) == ["record.json", "w.pth"]
            assert server.sent == len(archive)
        else:
            with pytest.raises(WeightsError, match="its md5 is"):
                fetch(annotation)
            assert left(home) == []

    @pytest.mark.parametrize("position", [0, 150_000, 299_999])
    def test_one_flipped_byte_is_refused_and_nothing_stays(self, server, home, position):
        damaged = bytearray(CONTENT)
        damaged[position] ^= 1
        with pytest.raises(WeightsError, match="damaged or was replaced"):
            fetch(row(server.serve("/w.pth", bytes(damaged))))
        assert left(home) == []

    @pytest.mark.parametrize(
        ("kind", "digest", "sentence"),
        [
            ("sha512", "0" * 128, "cannot be checked"),
            ("sha1-of-folder", "0" * 40, "cannot be checked"),
            ("sha256", "0" * 63, "wrong length"),
            ("sha256", "g" * 64, "not hexadecimal"),
            ("sha256", None, "wrong length"),
            (None, "0" * 64, "cannot be checked"),
            ("sha256+md5", "0" * 64, "2 kinds of hash"),
        ],
    )
    def test_hashes_that_are_none_are_refused(self, kind, digest, sentence):
        with pytest.raises(WeightsError, match=sentence):
            parse_checks(kind, digest)

    def test_every_annotated_hash_is_understood(self):
        for annotation in ALL_ROWS:
            parse_checks(annotation.weights_hash_kind, annotation.weights_hash)


class TestFirstUse:
    def test_it_is_told_once_and_remembered(self, server, home):
        annotation = row(server.serve("/w.pth", CONTENT), kind=None)
        with pytest.warns(FirstUseWarning, match=f"gives no hash.*{sha(CONTENT)}"):
            path = fetch(annotation)
        fetch(annotation)
        assert len(server.log) == 1
        record = json.loads((path.parent / "record.json").read_text())
        assert record["sha256"] == sha(CONTENT)
        assert record["size"] == len(CONTENT)

    def test_other_content_is_refused_later(self, server, home):
        annotation = row(server.serve("/w.pth", CONTENT), kind=None)
        with pytest.warns(FirstUseWarning):
            path = fetch(annotation)
        path.unlink()
        server.serve("/w.pth", CONTENT[::-1])
        with pytest.raises(WeightsError, match=r"gave another file than at the first download.*delete"):
            fetch(annotation)
        assert left(home) == ["record.json"]
        server.serve("/w.pth", CONTENT)
        assert fetch(annotation).read_bytes() == CONTENT

    def test_a_damaged_record_is_not_dropped(self, server, home):
        annotation = row(server.serve("/w.pth", CONTENT), kind=None)
        with pytest.warns(FirstUseWarning):
            record = fetch(annotation).parent / "record.json"
        good = json.loads(record.read_text())
        for text, sentence in [
            ("{", "is damaged"),
            ("[]", "is damaged"),
            (json.dumps({**good, "schema_version": 2}), "Upgrade"),
            (json.dumps({**good, "extra": 2}), "is damaged"),
        ]:
            record.write_text(text)
            with pytest.raises(WeightsError, match=sentence):
                fetch(annotation)


class TestFaults:
    @pytest.mark.parametrize(
        "first",
        [[(500, {})] * 3, [(429, {"Retry-After": "0"})] * 2, [(503, {}), (502, {}), (504, {}), (429, {})]],
    )
    def test_passing_faults_are_tried_again(self, server, first):
        count = len(first)
        assert fetch(row(server.serve("/w", CONTENT, first=first))).read_bytes() == CONTENT
        assert len(server.log) == count + 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
    def test_lasting_faults_are_not(self, server, home, status):
        with pytest.raises(WeightsError, match=f"answered {status}"):
            fetch(row(server.serve("/w", CONTENT, first=[(status, {})] * 9)))
        assert len(server.log) == 1
        assert left(home) == []

    def test_patience_ends(self, server):
        with pytest.raises(WeightsError, match="after 6 tries: the server answered 500"):
            fetch(row(server.serve("/w", CONTENT, first=[(500, {})] * 9)))
        assert len(server.log) == web.RETRIES.tries

    def test_retry_after_is_honoured(self, server, monkeypatch):
        waits = []
        monkeypatch.setattr(time, "sleep", waits.append)
        fetch(row(server.serve("/w", CONTENT, first=[(429, {"Retry-After": "7"})])))
        assert max(waits) == 7.0

    def test_but_not_for_ever(self, server):
        with pytest.raises(WeightsError, match="come back in 86,400 s"):
            fetch(row(server.serve("/w", CONTENT, first=[(429, {"Retry-After": "86400"})])))

    def test_dropped_connections_go_on_where_they_ended(self, server):
        drops = [100_000, 1, 70_000, 65_536]
        assert fetch(row(server.serve("/w", CONTENT, drops=drops))).read_bytes() == CONTENT
        assert len(server.log) == 5
        starts = [request.start for request in server.log]
        assert starts == sorted(starts)
        assert starts[-1] > 200_000 - 4 * web.CHUNK
        assert all(request.headers["If-Range"] == '"v1"' for request in server.log[1:] if request.start)

    def test_many_drops_are_borne_while_it_goes_on(self, server):
        drops = [70_000] * 20
        assert fetch(row(server.serve("/w", CONTENT * 4), CONTENT * 4)).read_bytes() == CONTENT * 4
        url = server.serve("/many", CONTENT * 4, drops=drops)
        assert fetch(replace(row(url, CONTENT * 4), id="a/b")).read_bytes() == CONTENT * 4
        assert len(server.asked("/many")) > web.RETRIES.tries

    def test_a_server_that_always_starts_over_is_given_up(self, server):
        url = server.serve("/w", CONTENT, ranges=False, drops=[200_000] * 50)
        with pytest.raises(WeightsError, match="could not be downloaded after"):
            fetch(row(url))
        assert len(server.log) <= web.RETRIES.tries + 1

    def test_silence_is_a_fault(self, server, monkeypatch):
        monkeypatch.setattr(web, "TIMEOUTS", (1.0, 0.2))
        monkeypatch.setattr(web, "RETRIES", replace(web.RETRIES, tries=2))
        with pytest.raises(WeightsError, match="after 2 tries"):
            fetch(row(server.serve("/w", CONTENT, delay=0.6)))

    def test_nobody_there(self):
        with pytest.raises(WeightsError, match="after 6 tries: the connection failed"):
            fetch(row("http://127.0.0.1:9/w"))

    def test_redirects_are_followed(self, server):
        server.serve("/b", redirect=server.url("/c"))
        server.serve("/c", CONTENT, drops=[90_000])
        assert fetch(row(server.serve("/a", redirect="/b"))).read_bytes() == CONTENT

    def test_but_not_in_circles(self, server):
        with pytest.raises(WeightsError, match="redirects more than 8 times"):
            fetch(row(server.serve("/a", redirect="/a")))

    @pytest.mark.parametrize(
        "target", ["http://example.org/w", "ftp://127.0.0.1/w", "file:///etc/passwd", "//example.org/w"]
    )
    def test_nor_to_where_nothing_is_proven(self, server, target):
        with pytest.raises(WeightsError, match="not https"):
            fetch(row(server.serve("/a", redirect=target)))

    def test_several_files_come_from_the_hub_alone(self, server, home):
        with pytest.raises(WeightsError, match="sharded weights must be on the Hub"):
            fetch(row(server.serve("/model.safetensors.index.json", b"{}"), b"{}"))
        assert not server.log

    @pytest.mark.parametrize("url", ["http://example.org/w", "ftp://example.org/w", "w"])
    def test_links_must_be_https(self, url):
        with pytest.raises(WeightsError, match="not https"):
            fetch(row(url))

    @pytest.mark.parametrize(
        "address",
        [
            "http://127.0.0.1/w",
            "https://localhost/w",
            "https://[::1]/w",
            "https://127.1/w",
            "https://0x7f000001/w",
            "https://2130706433/w",
            "https://0.0.0.0/w",
            "https://[::]/w",
            "https://[::ffff:127.0.0.1]/w",
            "https://localhost./w",
            "https://a.localhost/w",
            "https://127.0.0.1\\@example.org/w",
        ],
    )
    def test_outside_links_cannot_lead_to_this_machine(self, address, monkeypatch):
        """What an outside server answers is put in the place of the network."""
        asked = []

        def send(adapter, request, **options):
            asked.append(request.url)
            answer = requests.Response()
            answer.status_code, answer.url, answer.raw = 302, request.url, io.BytesIO()
            answer.headers["Location"], answer.request = address, request
            return answer

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
        with pytest.raises(WeightsError, match="which is this machine"):
            fetch(row("https://example.org/w"))
        assert asked == ["https://example.org/w"]

    @pytest.mark.parametrize("case", ["type", "doctype", "lfs", "empty", "gzip"])
    def test_stand_ins_are_refused(self, server, home, case):
        page = b"<!DOCTYPE html><html>not here</html>"
        url, sentence = {
            "type": lambda: (server.serve("/w", page, content_type="text/html; charset=utf-8"), "web page"),
            "doctype": lambda: (server.serve("/w", page), "is a web page"),
            "lfs": lambda: (
                server.serve("/w", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
                "Git-LFS pointer",
            ),
            "empty": lambda: (server.serve("/w", b""), "is empty"),
            "gzip": lambda: (server.serve("/w", page, headers={"Content-Encoding": "gzip"}), "gzip-encoded"),
        }[case]()
        with pytest.raises(WeightsError, match=sentence):
            fetch(row(url, kind=None))
        assert left(home) == []

    @pytest.mark.parametrize("etags", [('"v0"', '"v1"'), ('W/"v0"', 'W/"v1"')])
    def test_a_file_that_changes_in_between_is_begun_anew(self, server, etags):
        url = server.serve("/w", CONTENT[::-1], etag=etags[0])
        old = server.routes["/w"]

        class Changing(list):
            def pop(self, index):
                server.serve("/w", CONTENT, etag=etags[1])
                return list.pop(self, index)

        old.drops = Changing([100_000])
        assert fetch(row(url)).read_bytes() == CONTENT

    def test_weak_etags_are_compared(self, server):
        url = server.serve("/w", CONTENT, etag='W/"v1"', drops=[100_000, 100_000])
        assert fetch(row(url)).read_bytes() == CONTENT
        assert server.log[1].start > 0
        assert "If-Range" not in server.log[1].headers

    def test_without_a_version_it_starts_over(self, server):
        url = server.serve("/w", CONTENT, etag=None, drops=[100_000])
        assert fetch(row(url)).read_bytes() == CONTENT
        assert [request.start for request in server.log] == [0, 0]

    def test_dates_will_do(self, server):
        date = "Thu, 01 Jan 2026 00:00:00 GMT"
        url = server.serve("/w", CONTENT, etag=None, last_modified=date, drops=[100_000])
        assert fetch(row(url)).read_bytes() == CONTENT
        assert server.log[1].start > 0

    @pytest.mark.parametrize("stated", ["bytes 0-99/100", "bytes 5-4/3", "nonsense", "bytes */300000", None])
    def test_other_parts_than_asked_for_are_refused(self, server, stated):
        url = server.serve("/w", CONTENT, drops=[100_000], part_headers={"Content-Range": stated})
        with pytest.raises(WeightsError, match=r"were requested|without stating which"):
            fetch(row(url))

    def test_parts_that_end_early_in_good_order_are_continued(self, server):
        """The Content-Range is that of the whole rest; the Content-Length, and what comes, is less."""
        url = server.serve("/w", CONTENT, drops=[100_000], part_length=60_000)
        assert fetch(row(url)).read_bytes() == CONTENT
        starts = [request.start for request in server.log]
        assert starts[1:] == list(range(starts[1], 300_000, 60_000))


class TestBounds:
    def test_stated_sizes(self, server, home, monkeypatch):
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", "299999")
        with pytest.raises(WeightsError, match="300,000 bytes; at most 299,999"):
            fetch(row(server.serve("/w", CONTENT)))
        assert left(home) == []
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", "300000")
        fetch(row(server.url("/w")))

    def test_unstated_sizes_are_stopped_in_the_stream(self, server, home, monkeypatch):
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", "1000000")
        with pytest.raises(WeightsError, match="more than 1,000,000 bytes; the download was stopped"):
            fetch(row(server.serve("/w", bytes(1 << 25), chunked=True)))
        assert server.sent < 1 << 24
        assert left(home) == []

    def test_unstated_sizes_below_it_are_fine(self, server):
        assert fetch(row(server.serve("/w", CONTENT, chunked=True))).read_bytes() == CONTENT

    def test_a_server_that_states_too_much(self, server):
        with pytest.raises(WeightsError, match="could not be downloaded"):
            fetch(row(server.serve("/w", CONTENT, stated_length=300_001)))

    def test_a_server_that_states_too_little(self, server, home):
        with pytest.raises(WeightsError, match="damaged"):
            fetch(row(server.serve("/w", CONTENT, stated_length=299_999)))
        assert left(home) == []

    def test_full_disks(self, server, monkeypatch):
        usage = types.SimpleNamespace(free=downloads.SPARE_DISK + 299_999)
        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(WeightsError, match="needs 300,000 bytes; the disk"):
            fetch(row(server.serve("/w", CONTENT)))

    @pytest.mark.parametrize("limit", ["", "0", "-1", "8GB", "1e9"])
    def test_limits_are_numbers(self, server, monkeypatch, limit):
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", limit)
        with pytest.raises(WeightsError, match="must be a number of bytes"):
            fetch(row(server.serve("/w", CONTENT)))

    def test_members(self, server, home, monkeypatch):
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", "100000")
        bomb = zipped([("w.pth", bytes(10**7)), ("x", os.urandom(90_000))], zipfile.ZIP_DEFLATED)
        assert len(bomb) < 101_000
        with pytest.raises(WeightsError, match="10,000,000 bytes; at most 100,000"):
            fetch(row(server.serve("/w.zip", bomb), member="w.pth"))
        assert left(home) == []

    def test_a_part_may_not_be_longer_than_asked_for(self, server):
        url = server.serve("/w.zip", zipped([("w.pth", CONTENT)]), surplus=1 << 26)
        with pytest.raises(WeightsError, match="sends more than the 1 bytes that were requested"):
            fetch(row(url, member="w.pth"))
        assert server.sent < 1 << 24

    def test_directories(self, server, home, monkeypatch):
        monkeypatch.setattr(remote, "MAX_DIRECTORY", 100_000)
        many = zipped([(f"{n}" * 20, b"") for n in range(3000)] + [("w.pth", CONTENT)])
        with pytest.raises(WeightsError, match="a directory of more than"):
            fetch(row(server.serve("/w.zip", many), member="w.pth"))


class TestArchives:
    LARGE = zipped([("a/other", bytes(1 << 26)), ("a/w.pth", CONTENT[:200_000]), ("b/last", b"x" * 1000)])

    def test_one_small_member_of_a_large_archive(self, server, home):
        content = CONTENT[:200_000]
        path = fetch(row(server.serve("/w.zip", self.LARGE, drops=[1, 10_000]), content, member="a/w.pth"))
        assert path.read_bytes() == content
        assert server.sent < 1 << 20
        assert left(home) == ["record.json", "w.pth"]

    def test_by_its_last_name(self, server):
        content = CONTENT[:200_000]
        path = fetch(row(server.serve("/w.zip", self.LARGE), content, member="w.pth"))
        assert (path.name, path.read_bytes()) == ("w.pth", content)
        ambiguous = zipped([("a/w.pth", CONTENT), ("b/w.pth", CONTENT[::-1])])
        with pytest.raises(WeightsError, match=r"a/w\.pth"):
            fetch(replace(row(server.serve("/two.zip", ambiguous), member="w.pth"), id="test/other"))

    def test_its_download_is_resumed(self, server):
        url = server.serve("/w.zip", self.LARGE, drops=[9, 99_999, 150_000])
        assert fetch(row(url, CONTENT[:200_000], member="w.pth")).stat().st_size == 200_000
        assert server.sent < 1 << 19

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize("ranges", [True, False])
    def test_with_and_without_ranges(self, server, home, compression, ranges):
        members = [("0", os.urandom(500_000)), ("w.pth", CONTENT), ("1", os.urandom(100_000))]
        url = server.serve("/w.zip", zipped(members, compression), ranges=ranges, drops=[1, 2])
        assert fetch(row(url, member="w.pth")).read_bytes() == CONTENT
        assert left(home) == ["record.json", "w.pth"]

    def test_zip64(self, server, monkeypatch):
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
        archive = zipped([("0", bytes(500_000)), ("w.pth", CONTENT)])
        monkeypatch.undo()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert b"PK\x06\x06" in archive
        assert fetch(row(server.serve("/w.zip", archive), member="w.pth")).read_bytes() == CONTENT

    @pytest.mark.parametrize("position", [31, 200, 150_000])
    @pytest.mark.parametrize("ranges", [True, False])
    def test_one_flipped_byte(self, server, home, position, ranges):
        archive = bytearray(zipped([("w.pth", CONTENT), ("0", bytes(500_000))]))
        archive[position] ^= 1
        annotation = row(server.serve("/w.zip", bytes(archive), ranges=ranges), member="w.pth", kind=None)
        with pytest.raises(WeightsError, match="not a whole zip"):
            fetch(annotation)
        assert left(home) == []

    @pytest.mark.parametrize("ranges", [True, False])
    def test_truncated_anywhere(self, server, ranges):
        archive = zipped([("w.pth", CONTENT[:5000]), ("0", bytes(20_000))])
        for end in (1, 21, 22, 30, 4000, 10_000, len(archive) - 40, len(archive) - 1):
            annotation = row(server.serve("/w.zip", archive[:end], ranges=ranges), member="w.pth")
            with pytest.raises(WeightsError, match="not a whole zip"):
                fetch(annotation)

    @pytest.mark.parametrize(
        ("members", "name", "sentence"),
        [
            ([("w.pth", b"1"), ("w.pth", b"2")], "w.pth", "2 members named 'w.pth'"),
            (
                [("a/w.pth", b"1"), ("b/w.pth", b"2")],
                "w.pth",
                r"2 members named 'w.pth'.*'b/w.pth'",
            ),
            ([("a", b"1")], "w.pth", r"no members named 'w.pth'.*it has 'a'"),
            ([("w.pth/", b"")], "w.pth", "no members"),
            ([("../w.pth", b"1")], "w.pth", "leads out of the archive"),
            ([("../w.pth", b"1")], "../w.pth", "leads out of the archive"),
            ([("/etc/w.pth", b"1")], "w.pth", "leads out of the archive"),
            ([("C:/w.pth", b"1")], "w.pth", "leads out of the archive"),
            ([("..\\w.pth", b"1")], "..\\w.pth", "characters that no file name has"),
        ],
    )
    def test_names_that_mislead(self, server, home, members, name, sentence):
        url = server.serve("/w.zip", zipped(members))
        with pytest.raises(WeightsError, match=sentence):
            fetch(row(url, members[0][1], member=name))
        assert left(home) == []

    def test_encrypted_members(self, server):
        archive = bytearray(zipped([("w.pth", CONTENT)]))
        archive[archive.index(b"PK\x01\x02") + 8] |= 1
        with pytest.raises(WeightsError, match="is encrypted"):
            fetch(row(server.serve("/w.zip", bytes(archive)), member="w.pth"))

    def test_links(self, server):
        info = zipfile.ZipInfo("w.pth")
        info.external_attr = 0o120777 << 16
        with pytest.raises(WeightsError, match="is a link"):
            fetch(row(server.serve("/w.zip", zipped([(info, b"/etc/passwd")])), member="w.pth"))

    def test_other_compressions(self, server):
        url = server.serve("/w.zip", zipped([("w.pth", CONTENT)], zipfile.ZIP_LZMA))
        with pytest.raises(WeightsError, match="compressed by method 14"):
            fetch(row(url, member="w.pth"))

    def test_a_directory_that_lies_about_sizes(self, server):
        archive = bytearray(zipped([("w.pth", bytes(100_000))], zipfile.ZIP_DEFLATED))
        entry = archive.index(b"PK\x01\x02")
        archive[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
        with pytest.raises(WeightsError, match="not a whole zip"):
            fetch(row(server.serve("/w.zip", bytes(archive)), member="w.pth"))


class TestCache:
    def test_a_second_fetch_asks_nobody(self, server):
        annotation = row(server.serve("/w", CONTENT))
        first, second = fetch(annotation), fetch(annotation)
        assert (second, second.read_bytes()) == (first, CONTENT)
        assert len(server.log) == 1

    def test_damage_is_found_and_mended(self, server):
        annotation = row(server.serve("/w", CONTENT))
        path = fetch(annotation)
        path.write_bytes(CONTENT[:-1] + b"?")
        assert fetch(annotation).read_bytes() == CONTENT
        assert len(server.log) == 2

    def test_offline(self, server, monkeypatch):
        annotation = row(server.serve("/w", CONTENT))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids"):
            fetch(annotation)
        assert not server.log
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        path = fetch(annotation)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetch(annotation) == path
        path.write_bytes(b"?")
        with pytest.raises(WeightsError, match="damaged"):
            fetch(annotation)

    @pytest.mark.parametrize(
        "id", ["../x", "a/../../b", "/etc", "a//b", "", ".", "a/.", "a\\b", "a/b\n", "-a"]
    )
    def test_ids_cannot_leave_it(self, server, id):
        with pytest.raises(WeightsError, match="cannot name a folder"):
            fetch(replace(row(server.serve("/w", CONTENT)), id=id))

    def test_every_annotated_id_has_a_place(self, tmp_path):
        places = {Entry(tmp_path, row.id, row.weights_url, row.weights_member).file for row in ALL_ROWS}
        assert len(places) == len({row.id for row in ALL_ROWS}) > 1000
        assert all(place.resolve().is_relative_to(tmp_path) for place in places)

    @pytest.mark.parametrize("name", ["record.json", "tensors.safetensors", "x.part", ".lock", "a%00"])
    def test_files_cannot_take_the_place_of_its_own(self, server, name):
        server.serve(f"/{name}", CONTENT)
        assert fetch(row(server.url(f"/{name}"))).name == "weights"

    def test_it_must_be_writable(self, server, home):
        home.write_text("a file")
        with pytest.raises(WeightsError, match="cannot be used"):
            fetch(row(server.serve("/w", CONTENT)))


PROGRAM = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
from dataclasses import replace
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.weights.fetch import fetch
row = next(iter(load_annotations().values()))
url, member, sha256 = sys.argv[1:]
print("ready", flush=True)
print(fetch(replace(row, id="test/data/model", weights_url=url, weights_member=member or None,
                    weights_hash_kind="sha256", weights_hash=sha256)), flush=True)
"""


def start(home, url, content, member=""):
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    return Program(["-c", PROGRAM, url, member, sha(content)], env=environment)


def wait_for_part(home, process, size):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for part in home.rglob("*.part"):
            if part.stat().st_size >= size:
                return
        time.sleep(0.01)
    pytest.fail("the download did not begin")


@pytest.mark.slow
class TestProcesses:
    BODY = random.Random(2).randbytes(4 << 20)
    ZIP = zipped([("w", BODY), ("other", bytes(4 << 20))])

    @pytest.mark.parametrize(
        ("end", "member"), [(signal.SIGKILL, ""), (signal.SIGKILL, "w"), (signal.SIGINT, "")]
    )
    def test_a_download_that_was_ended_goes_on(self, server, home, end, member):
        url = server.serve("/w", self.ZIP if member else self.BODY, pause=3 << 20)
        process = start(home, url, self.BODY, member)
        wait_for_part(home, process, 1 << 20)
        process.send_signal(end)
        _, errors = process.communicate()
        assert process.returncode != 0
        assert ("KeyboardInterrupt" in errors) == (end == signal.SIGINT)
        (part,) = home.rglob("*.part")
        have = part.stat().st_size
        assert have >= 1 << 20
        before = len(server.log)

        server.routes["/w"].pause = None
        assert fetch(row(url, self.BODY, member=member or None)).read_bytes() == self.BODY
        resumed = max(server.log[before:], key=lambda request: request.sent)
        assert resumed.status == 206
        assert resumed.start == have
        assert resumed.sent < len(self.BODY) - have + 200  # a member's header comes before it
        assert left(home) == ["record.json", "w"]

    def test_two_processes_download_once(self, server, home):
        url = server.serve("/w", self.BODY, pause=1 << 20)
        other = start(home, url, self.BODY)
        wait_for_part(home, other, 1)
        threading.Timer(0.5, lambda: setattr(server.routes["/w"], "pause", None)).start()
        path = fetch(row(url, self.BODY))
        output, errors = other.communicate()
        assert other.returncode == 0, errors
        assert output.split()[1] == str(path)
        assert len(server.log) == 1
        assert server.sent == len(self.BODY)


WEIGHT = torch.arange(6.0).reshape(2, 3)


class TestLoading:
    @pytest.fixture
    def calls(self, monkeypatch):
        """Stand in for the pickle reader: what it returns can be replaced, its calls are listed."""
        calls = []
        self.checkpoint = {"net": {"conv1.weight": WEIGHT}, "epoch": 3, "more": [torch.ones(1)]}

        def read_checkpoint(path, **limits):
            if path.name == "tensors.safetensors":  # what was stored
                return checkpoints.read_checkpoint(path, **limits)
            calls.append(path)
            return self.checkpoint

        monkeypatch.setattr("securitynet_hub.weights.fetch.read_checkpoint", read_checkpoint)
        return calls

    def return_instead(self, checkpoint):
        self.checkpoint = checkpoint

    def test_files_are_read_once_and_stored(self, server, home, calls):
        annotation = row(server.serve("/w.pth", CONTENT))
        first, second = load_weights(annotation), load_weights(annotation)
        assert len(calls) == 1
        assert calls[0].read_bytes() == CONTENT
        assert list(first) == ["net/conv1.weight", "more/0"]
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert left(home) == ["record.json", "tensors.safetensors", "w.pth"]

    def test_stored_tensors_are_verified(self, server, home, calls):
        annotation = row(server.serve("/w.pth", CONTENT))
        load_weights(annotation)
        (stored,) = home.rglob("tensors.safetensors")
        stored.write_bytes(stored.read_bytes()[:-1] + b"?")
        loaded = load_weights(annotation)
        assert torch.equal(loaded["net/conv1.weight"], WEIGHT)
        assert len(calls) == 2

    def test_they_belong_to_the_annotated_hash(self, server, calls):
        annotation = row(server.serve("/w.pth", CONTENT))
        load_weights(annotation)
        with pytest.raises(WeightsError, match="was expected"):
            load_weights(replace(annotation, weights_hash="0" * 64))

    def test_shared_memory_is_separated(self, server, calls):
        shared = torch.zeros(4)
        self.return_instead({"a": shared, "b": shared, "c": shared[1:]})
        annotation = row(server.serve("/w.pth", CONTENT))
        load_weights(annotation)
        assert {key: len(value) for key, value in load_weights(annotation).items()} == {
            "a": 4,
            "b": 4,
            "c": 3,
        }

    @pytest.mark.parametrize(
        ("checkpoint", "sentence"),
        [
            ({"a": {1: torch.ones(1), "1": torch.ones(1)}}, "two tensors"),
            ({"a": torch.ones(2).to_sparse()}, "only plain ones"),
        ],
    )
    def test_what_cannot_be_stored(self, server, calls, checkpoint, sentence):
        self.return_instead(checkpoint)
        with pytest.raises(WeightsError, match=sentence):
            load_weights(row(server.serve("/w.pth", CONTENT)))

    def test_endless_nesting(self, server, calls):
        loop = {}
        loop["a"] = loop
        self.return_instead(loop)
        with pytest.raises(WeightsError, match="more than 64 levels"):
            load_weights(row(server.serve("/w.pth", CONTENT)))


class TestHub:
    """Files of the Hugging Face Hub, through huggingface_hub, from a small endpoint on loopback."""

    COMMIT = "0123456789abcdef" * 2 + "01234567"
    LINK = f"https://huggingface.co/org/model/resolve/{COMMIT}/sub/w.ckpt"

    @pytest.fixture(autouse=True)
    def endpoint(self, server, home, monkeypatch):
        monkeypatch.setattr(constants, "ENDPOINT", server.url(""))
        template = server.url("/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        if hasattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE"):  # huggingface_hub 0
            monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        self.publish(server, CONTENT)

    def publish(self, server, content):
        server.serve_repository("org/model", self.COMMIT, {"sub/w.ckpt": content})

    def test_they_come_into_the_hubs_own_cache(self, server, home, monkeypatch):
        path = fetch(row(self.LINK), progress=False)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(home / "hub")
        sent = server.sent
        assert sent == len(CONTENT)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetch(row(self.LINK)) == path
        assert server.sent == sent

    def test_wrong_ones_are_not_kept(self, server, home):
        with pytest.raises(WeightsError, match="was expected"):
            fetch(row(self.LINK, b"other"), progress=False)
        assert not [
            path for path in (home / "hub").rglob("*") if path.is_file() and path.stat().st_size > 1000
        ]

    def test_damaged_ones_are_mended(self, server):
        path = fetch(row(self.LINK), progress=False)
        path.resolve().write_bytes(b"?")
        assert fetch(row(self.LINK), progress=False).read_bytes() == CONTENT

    def test_the_first_use_is_remembered(self, server):
        with pytest.warns(FirstUseWarning):
            path = fetch(row(self.LINK, kind=None), progress=False)
        path.resolve().unlink()
        path.unlink()
        self.publish(server, CONTENT[::-1])
        with pytest.raises(WeightsError, match="gave another file than at the first download"):
            fetch(row(self.LINK, kind=None), progress=False)

    def test_offline(self, server, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids"):
            fetch(row(self.LINK))
        assert not server.log

    def test_bounds(self, server, home, monkeypatch):
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", "1000")
        with pytest.raises(WeightsError, match="300,000 bytes; at most 1,000"):
            fetch(row(self.LINK))
        assert not [path for path in (home / "hub").rglob("*") if path.is_file() and path.stat().st_size]

    @pytest.mark.parametrize(
        ("link", "sentence"),
        [
            ("https://huggingface.co/org/model/resolve/main/w.ckpt", "which can move; pin a commit"),
            (f"https://huggingface.co/org/model/resolve/{COMMIT}/none", "cannot be downloaded from the Hub"),
            (
                f"https://huggingface.co/org/model/resolve/{COMMIT}/%2e%2e/%2e%2e/x",
                "cannot be downloaded from the Hub",
            ),
        ],
    )
    def test_links_that_lead_nowhere(self, link, sentence):
        with pytest.raises(WeightsError, match=sentence):
            fetch(row(link))
