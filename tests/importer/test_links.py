"""Links are asked for headers alone, slowly; what was answered is kept, whole, with its day."""

import time
from datetime import date

import pytest
from support.servers import running_server

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import SecurityNetError
from securitynet_hub.importer.links import Link, check_links, links_of, read_links, with_link


@pytest.fixture
def naps(monkeypatch):
    """Let nobody sleep; list for how long they would have."""
    taken = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


@pytest.fixture
def server():
    with running_server() as server:
        yield server


def test_each_answer_is_kept_and_nothing_is_downloaded(server, naps, tmp_path):
    there = server.serve("/there", b"x" * 100_000)
    urls = [
        there,
        server.serve("/moved", redirect="/there"),
        server.url("/gone"),
        "http://example.invalid/plain",
    ]
    found = check_links(tmp_path / "links.tsv", urls=urls, pause=2.0)
    assert [found[url].status for url in urls] == ["there", "there", "gone", "unclear"]
    assert (found[there].size, found[there].checked[:2]) == ("100000", "20")
    assert date.fromisoformat(found[there].checked)
    assert "not https" in found[urls[3]].answer
    assert sum(request.sent for request in server.log) == 0
    assert all("securitynet-hub" in request.headers["User-Agent"] for request in server.log)
    assert sum(nap > 1.5 for nap in naps) == 2  # between the three of one host
    assert read_links(tmp_path / "links.tsv") == found


def test_the_next_run_goes_on(server, naps, tmp_path):
    urls = [server.serve(f"/{n}", b"x") for n in range(5)]
    check_links(tmp_path / "l.tsv", 2, urls=urls)
    before = len(server.log)
    found = check_links(tmp_path / "l.tsv", 2, urls=urls)
    assert (list(found), len(server.log)) == (urls[:4], before + 2)


def test_a_busy_server_is_waited_for_and_then_unclear(server, naps, tmp_path):
    busy = server.serve("/busy", b"x", first=[(429, {"Retry-After": "7"})])
    assert check_links(tmp_path / "l.tsv", urls=[busy])[busy].status == "there"
    assert 7 in naps
    out = server.serve("/out", b"x", first=[(503, {})] * 9)
    assert check_links(tmp_path / "l.tsv", urls=[out])[out].status == "unclear"
    server.routes["/out"].first.clear()
    assert check_links(tmp_path / "l.tsv", urls=[out])[out].status == "there"


def test_a_server_that_takes_no_head_is_asked_for_a_byte(server, naps, tmp_path):
    url = server.serve("/x", b"abc", first=[(405, {})])
    found = check_links(tmp_path / "l.tsv", urls=[url])[url]
    assert (found.status, found.size) == ("there", "3")
    assert [request.method for request in server.log] == ["HEAD", "GET"]


def test_the_links_are_those_of_the_annotated_models():
    rows = load_annotations("extended").values()
    urls = links_of(rows)
    assert len(urls) == len(set(urls)) > 800
    assert all(url.startswith("https://") for url in urls)
    assert urls == links_of(reversed(list(rows)))


def test_the_command(run, monkeypatch, tmp_path):
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    code, out, _ = run("check-links", "--sample", "0", "--out", tmp_path / "links.tsv")
    links = len(links_of(load_annotations("extended").values()))
    assert (code, out) == (0, f"0 of {links} links in {tmp_path / 'links.tsv'}: none checked\n")
    code, _, err = run("check-links", "--sample", "0", "--out", tmp_path / "other.tsv")
    assert code == 1
    assert "is no table of links" in " ".join(err.split())
    with pytest.raises(SecurityNetError):
        read_links(tmp_path / "other.tsv")


def test_a_kept_result_becomes_columns_with_its_day():
    """Of an annotation whose link it is; nobody has asked for those that ship, so theirs are null."""
    row = next(row for row in load_annotations("extended").values() if row.weights_url)
    assert (row.link_status, row.link_checked) == (None, None)
    link = Link(row.weights_url, "gone", "404", "", "2026-01-31")
    found = with_link(row, {link.url: link})
    assert (found.link_status, found.link_checked) == ("gone", "2026-01-31")
    assert with_link(row, {}) == row
