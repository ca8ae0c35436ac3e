"""A hostile Hub or mirror gets nothing: every trick ends in a sentence or in the right file."""

import copy
import gzip
import json
import socket
import threading
from contextlib import closing, suppress

import pytest
from huggingface_hub import constants
from support.servers import running_server

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.retry import RetryPolicy
from securitynet_hub.weights.download import http as web
from securitynet_hub.weights.download import hub_cache
from securitynet_hub.weights.hub import HubFile, download_hub_file, hub_snapshot

COMMIT = "0123456789abcdef" * 2 + "01234567"
CONTENT = b"weights" * 1000
FILE = HubFile("org/model", COMMIT, "w.bin")
RAW = f"/org/model/resolve/{COMMIT}/w.bin"
DESCRIBED = f"/api/models/org/model/revision/{COMMIT}"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An honest mirror, for the tests to make hostile."""
    monkeypatch.setattr(web, "RETRIES", RetryPolicy(tries=1, first_delay=0.0))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with running_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url(""))
        server.serve_repository("org/model", COMMIT, {"w.bin": CONTENT})
        yield server


def described(mirror, **changes):
    """Change what the mirror says of the repository."""
    route = mirror.routes[DESCRIBED]
    route.content = json.dumps(json.loads(route.content) | changes).encode()


def only_the_right_files(folder):
    """Check that nothing but locks, notes and the right content lies anywhere."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert all(path.resolve().is_relative_to(folder / "cache") for path in found)
    return all(path.read_bytes() == CONTENT for path in found)


def test_the_honest_mirror(mirror, tmp_path):
    path = download_hub_file(FILE, limit=10_000)
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "cache/models--org--model/snapshots" / COMMIT / "w.bin"
    sent = mirror.sent
    assert download_hub_file(FILE, limit=10_000) == path
    assert mirror.sent == sent


@pytest.mark.parametrize(
    "etag", ["../../../../escaped", "/tmp/escaped", "a" * 64, "", "..", "\\..\\escaped", "0" * 63 + "g"]
)
def test_an_etag_names_no_file(etag, mirror, tmp_path):
    mirror.routes[RAW].etag = f'"{etag}"'
    mirror.routes[RAW].headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": "1"}
    assert download_hub_file(FILE, limit=10_000).read_bytes() == CONTENT
    assert only_the_right_files(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>a page that its author keeps</html>"])
def test_what_its_author_keeps_is_taken_as_it_is(content, mirror):
    mirror.serve_repository("org/model", COMMIT, {"README.md": content})
    assert download_hub_file(FILE._replace(name="README.md"), limit=10_000).read_bytes() == content


OTHER = {"rfilename": "w.bin", "size": 7, "blobId": "0" * 40}
DESCRIPTIONS = {
    "another commit": ({"sha": "f" * 40}, "describes the commit f{40} instead"),
    "a commit that is a path": ({"sha": "../../escaped"}, "states no commit"),
    "no files": ({"siblings": "w.bin"}, "states no commit and no files"),
    "another hash": ({"siblings": [OTHER | {"lfs": {"sha256": "0" * 64}}]}, "was expected"),
    "a hash that is a path": ({"siblings": [OTHER | {"lfs": {"sha256": "../" * 21 + "x"}}]}, "has no w.bin"),
    "a hash that is a number": ({"siblings": [OTHER | {"lfs": {"sha256": 1}}]}, "has no w.bin"),
    "files that are none": ({"siblings": [1, None, {"rfilename": 3}, {}]}, "has no w.bin"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions(name, mirror, tmp_path):
    changes, reason = DESCRIPTIONS[name]
    described(mirror, **changes)
    with pytest.raises(WeightsError, match=reason):
        download_hub_file(FILE, limit=10_000)
    assert only_the_right_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["../../w.bin", "/w.bin", "a\\..\\w.bin", "c:/w.bin", "a/./b", "a\x1b[2J", "a\x9b", "\ud800.bin"]
)
def test_names_that_lead_out_are_not_listed(name, mirror):
    described(mirror, siblings=[OTHER | {"rfilename": name}])
    assert hub_snapshot("org/model", COMMIT).files == {}
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        download_hub_file(FILE._replace(name=name), limit=10_000)


ANSWERS = {
    "gzip": ({"headers": {"Content-Encoding": "gzip"}, "content": gzip.compress(CONTENT)}, "gzip-encoded"),
    "more than announced": ({"content": CONTENT * 100, "chunked": True}, "sends more than|at most"),
    "less than announced": ({"stated_length": 9000, "content": CONTENT[:5]}, "connection"),
    "a vast size": ({"stated_length": 1 << 50}, "at most 10,000 are accepted"),
    "other content": ({"content": CONTENT[::-1]}, "was expected"),
    "a page": ({"content_type": "text/html"}, "web page"),
    "a loop": ({"redirect": "."}, "redirects more than"),
    "a file of this machine": ({"redirect": "file:///etc/passwd"}, "not https"),
    "another scheme": ({"redirect": "ftp://example.org/w.bin"}, "not https"),
    "a reason with escapes": ({"first": [(418, {})]}, "answered 418"),
    "come back in a year": ({"first": [(503, {"Retry-After": "31536000"})]}, "asks to come back"),
    "come back at no time": (
        {"first": [(503, {"Retry-After": f"Thu, 01 Jan 2026 00:00:00 +{'9' * 30}"})]},
        "answered 503",
    ),
}


@pytest.mark.parametrize("of", [RAW, DESCRIBED], ids=["file", "description"])
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name, of, mirror, tmp_path, monkeypatch):
    changes, reason = ANSWERS[name]
    monkeypatch.setattr(hub_cache, "MAX_ANSWER", 10_000)
    for field, value in changes.items():
        setattr(mirror.routes[of], field, of if value == "." else copy.copy(value))
    if (of, name) == (DESCRIBED, "other content"):
        reason = "no JSON"
    with pytest.raises(WeightsError, match=f"cannot be downloaded.*({reason})") as refusal:
        download_hub_file(FILE, limit=10_000)
    assert str(refusal.value).isprintable()
    assert only_the_right_files(tmp_path) or name == "less than announced"  # which is kept to go on with


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"sha": ' * 50_000, b"NaN", b"[]", b"", b"\xff"])
def test_descriptions_that_are_none(content, mirror):
    mirror.routes[DESCRIBED].content = content
    with pytest.raises(WeightsError, match=r"no JSON|states no commit"):
        hub_snapshot("org/model", COMMIT)


def test_a_description_of_millions_of_values(mirror, monkeypatch):
    """A value of two bytes takes a hundred in memory."""
    monkeypatch.setattr(hub_cache, "MAX_VALUES", 10_000)
    described(mirror, siblings=[{}] * 20_000)
    with pytest.raises(WeightsError, match="more than the 10,000 values"):
        hub_snapshot("org/model", COMMIT)


def test_the_login_goes_to_the_hub_alone(mirror, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    with running_server() as other:
        mirror.routes[RAW].redirect = other.serve("/w.bin", CONTENT)
        assert download_hub_file(FILE, limit=10_000).read_bytes() == CONTENT
        assert [request.headers.get("Authorization") for request in other.log] == [None]
    assert {request.headers.get("Authorization") for request in mirror.log} == {"Bearer hf_secret"}


def test_a_trickle_is_given_up(mirror, monkeypatch):
    monkeypatch.setattr(web, "RATE_SECONDS", 0.05)
    monkeypatch.setattr(web, "MIN_RATE", 1 << 40)
    mirror.routes[RAW].delay = 0.1
    mirror.routes[RAW].content *= 20
    with pytest.raises(WeightsError, match="that is too slow"):
        download_hub_file(FILE, limit=1_000_000)


BODY = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "trailers behind the whole answer": (BODY + b"2\r\n[]\r\n0\r\n", b"X: y\r\n", "that is too slow"),
    "the size of a chunk": (BODY, b"0", "that is too slow"),
    "leave to continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "no answer within"),
    "a line of the head": (b"HTTP/1.1 200 OK\r\n", b"X", "no answer within"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_stands_between_the_bytes_ends_too(name, mirror, monkeypatch):
    """It comes within one call of the client, each byte in time for the client's own limit."""
    start, more, reason = ENDLESS[name]
    hung_up = threading.Event()

    def answer(listening):
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(start)
            while not hung_up.wait(0.005):
                connection.sendall(more)
        hung_up.set()

    monkeypatch.setattr(web, "RATE_SECONDS", 0.1)
    monkeypatch.setattr(web, "HEADER_SECONDS", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        with pytest.raises(WeightsError, match=reason):
            hub_snapshot("org/model", COMMIT)
        assert hung_up.wait(10)  # so nothing of it is read in the background, either


def test_a_byte_with_each_connection_is_no_progress(mirror, monkeypatch):
    monkeypatch.setattr(web, "RETRIES", RetryPolicy(tries=3, first_delay=0.01))
    mirror.routes[RAW].drops = [1] * len(CONTENT)
    with pytest.raises(WeightsError, match="after 3 tries"):
        download_hub_file(FILE, limit=10_000)
    assert len(mirror.asked(RAW)) < 10


def test_a_server_that_never_answers_is_given_up(mirror, monkeypatch):
    monkeypatch.setattr(web, "HEADER_SECONDS", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WeightsError, match="no answer within"):
            download_hub_file(FILE, limit=10_000)
