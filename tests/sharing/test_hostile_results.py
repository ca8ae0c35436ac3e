"""What strangers may put into a repository: files of results, cards and YAML that are made to hurt."""

import json

import pytest
from huggingface_hub import RepoFile
from support.hostile_results import SCHEMA, hostile_results, record_text, rows_of

from securitynet_hub.core.errors import HubError
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing import fetching, pages
from securitynet_hub.sharing.benchmark_file import parse_benchmark
from securitynet_hub.sharing.cards import eval_results_file, with_model_index
from securitynet_hub.sharing.fetching import Refused, read_shard
from securitynet_hub.sharing.plain_yaml import load_plain_yaml
from securitynet_hub.sharing.repositories import commit, repository
from securitynet_hub.weights.download import hub_cache


@pytest.mark.slow
def test_no_hostile_file_gives_a_record_or_an_error(tmp_path):
    """What each costs stands in docs/sharing.md."""
    path, names = tmp_path / "x.parquet", []
    for name, content in hostile_results():
        path.write_bytes(content)
        found = list(read_shard(path, "x.parquet"))
        assert all(type(each) is Refused for each in found), name
        assert all(each.reason.isprintable() and len(each.reason) < 400 for each in found), name
        names.append(name)
    assert len(set(names)) == len(names) > 30


def test_a_text_that_many_rows_share_is_looked_at_once(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(rows_of(["x" * 250_000, "y"], 20_000, compression="zstd"))
    read = []
    monkeypatch.setattr(fetching, "parse_record", lambda text, place: read.append(text) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(read_shard(path, "x.parquet"))
    monkeypatch.undo()
    found = list(read_shard(path, "x.parquet"))
    assert len(found) == 40_000
    assert sum(each.reason == "it repeats an earlier row" for each in found) == 39_998


def test_headers_that_are_read_again_and_again_have_a_budget(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(rows_of([record_text("{}")]))
    assert pages.unpacked_size(path) > 0
    monkeypatch.setattr(pages, "MAX_STEPS", 50)
    (found,) = read_shard(path, "x.parquet")
    assert "more than 50 fields" in found.reason


HEAD = "0" * 40
LISTING = f"/api/datasets/a/b/tree/{HEAD}/{FOLDER}"
ENTRY = {"type": "file", "path": f"{FOLDER}/a.parquet", "size": 1, "oid": "0" * 40}
LISTINGS = {
    "no list": (b"{}", "should list up to"),
    "no entries": (b"[1]", "should list up to"),
    "too many": (json.dumps([ENTRY] * 20_001).encode(), "should list up to 20,000 files"),
    "a size below zero": (json.dumps([ENTRY | {"size": -1}]).encode(), "without a name, a size"),
    "no JSON": (b"[" * 100_000, "no JSON"),
    "a vast answer": (b"[" + b" " * 50_000 + b"]", "at most 10,000"),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_listings_of_a_hostile_hub(name, hub, monkeypatch):
    content, reason = LISTINGS[name]
    if name == "a vast answer":
        monkeypatch.setattr(hub_cache, "MAX_ANSWER", 10_000)
    hub.serve(LISTING, content, content_type="application/json")
    with pytest.raises(HubError, match=reason):
        fetching.results_at(repository("dataset", "a/b"), HEAD)


def test_a_listing_without_end_is_given_up(hub):
    """Each page leads to itself."""
    hub.serve(LISTING, json.dumps([ENTRY] * 200).encode(), content_type="application/json")
    hub.routes[LISTING].headers = {"Link": f'<{hub.url(LISTING)}>; rel="next"'}
    with pytest.raises(HubError, match="should list up to 20,000 files"):
        fetching.results_at(repository("dataset", "a/b"), HEAD)
    assert len(hub.asked(LISTING)) <= 101


def test_all_shards_together_have_a_limit(monkeypatch):
    files = [RepoFile(path=f"data/results/{n}.parquet", size=60 << 20, oid="0") for n in range(5)]
    monkeypatch.setattr(fetching, "_shards", lambda *_: files)
    monkeypatch.setattr(fetching, "MAX_FETCHED", 0)
    found = fetching.results_at(repository("dataset", "a/b"), "0" * 40)
    assert len(found.refused) == 5
    assert found.records == []


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 30)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "laughs": LAUGHS,
    "merges": MERGES,
    "deep": "[" * 10_000,
    "deep maps": "\n".join(" " * level + "a:" for level in range(300)),
    "object": "!!python/object/apply:os.system [touch canary]",
    "tag": "a: !x 1",
    "many": "\n".join("- 1" for _ in range(21_000)),
    "digits": f"a: {'9' * 5000}",
    "sixties": f"a: {':'.join(['59'] * 5000)}",
    "half a character": "a: \ud800",
    "controls": "a: \x00",
    "unfinished": "a: 'x",
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_that_is_made_to_hurt(name):
    with pytest.raises(ValueError, match=r"^it (has|is not YAML)"):
        load_plain_yaml(YAMLS[name])


@pytest.mark.parametrize("name", ["laughs", "merges", "deep", "object"])
def test_no_reader_of_a_repository_takes_it(name):
    card = f"---\n{YAMLS[name]}\n---\n# x"
    for read in (
        lambda: eval_results_file([], YAMLS[name]),
        lambda: with_model_index(card, "a/b", []),
        lambda: parse_benchmark(YAMLS[name]),
    ):
        with pytest.raises(HubError) as refused:
            read()
        assert len(str(refused.value)) < 300


def test_plain_yaml_is_read():
    assert load_plain_yaml("- {a: 1, b: [x, 'y', 2026-01-31]}\n")[0]["b"][1] == "y"


def test_what_is_written_is_written_onto_the_state_that_was_read(whole_hub):
    """Another commit comes in between: without the parent in its request, the first would undo it unseen."""
    where, seen = repository("dataset", "alice/results"), []
    whole_hub_repository(whole_hub, where)

    def files(head):
        seen.append(head)
        if len(seen) == 1:
            commit(where, lambda _: {"other.txt": b"in between"}, "another")
        return {"state.txt": head.encode()}

    commit(where, files, "mine")
    assert len(seen) == 2
    kept = whole_hub.dataset(where.name).files
    assert kept["state.txt"].content.decode() == seen[1]
    assert kept["other.txt"].content == b"in between"


def whole_hub_repository(hub, where):
    from securitynet_hub.sharing.repositories import create

    create(where)
    assert SCHEMA.names[-1] == "record"  # which the corpus relies on
    assert hub.dataset(where.name).head
