"""``securitynet verify``: the judgement on anyone's weights file."""

import argparse
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch

from securitynet_hub.weights.download import hub_cache
from securitynet_hub.weights.findings import RULES


@pytest.fixture
def verify(run):
    """Verify files in this process; give exit code and standard output."""
    return lambda *files: run("verify", *files)[:2]


@pytest.fixture
def safe(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(2, 3), "b": torch.ones(4)}, tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.pth").write_text("<html>404</html>")
    return tmp_path / "page.pth"


def test_safe(verify, safe):
    code, out = verify(safe)
    assert code == 0
    assert "1 of 1 files are safe and whole" in out
    assert "good.safetensors" in out.replace("\n", "")


def test_the_bound_is_the_users(verify, safe, monkeypatch):
    monkeypatch.setenv("SECURITYNET_MAX_BYTES", str(safe.stat().st_size - 1))
    code, out = verify(safe)
    assert code == 1
    assert "are read" in out
    monkeypatch.setenv("SECURITYNET_MAX_BYTES", str(safe.stat().st_size))
    assert verify(safe)[0] == 0


def test_one_bad_file_fails_all(verify, safe, page):
    code, out = verify(safe, page, page.parent / "none.pth")
    assert code == 1
    assert "1 of 3 files" in out
    assert out.count("refused") == 2
    assert "page of HTML" in out
    assert "cannot be opened" in out


def test_json(verify, safe, page):
    code, out = verify(safe, page, "--json")
    assert code == 1
    first, second = json.loads(out)
    assert first == {
        "file": str(safe), "safe": True, "format": "safetensors", "reason": None,
        "tensors": 2, "parameters": 10, "bytes": safe.stat().st_size,
        "loadable": True, "weights": "", "ignored": [], "names": [], "rules": [],
    }  # fmt: skip
    assert not second["safe"]
    assert second["format"] == "unknown"
    assert "HTML" in second["reason"]
    assert second["rules"] == ["SNW004"]


def test_a_torch_file(verify, tmp_path):
    torch.save({"net": torch.nn.Linear(3, 2).state_dict(), "epoch": 3}, tmp_path / "model.pth")
    code, out = verify(tmp_path / "model.pth", "--json")
    assert code == 0
    assert json.loads(out)[0]["parameters"] == 8


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_the_state_of_an_optimiser_is_not_taken_for_the_weights(verify, tmp_path, optimiser):
    """Adam's state of the first layer has more numbers than the network."""
    network = torch.nn.Sequential(torch.nn.Linear(4, 200), torch.nn.Linear(200, 2, bias=False))
    optimizer = optimiser(network.parameters())
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    unformed, scheduler = {"sums": {"weight": torch.zeros(5000)}}, {"seen": torch.zeros(5000)}
    for beside in (
        {"optimizer": state}, {"trainer": state}, {"optimizer_states": [state]}, {"optimG": unformed},
        {"opt": unformed}, {"GradScaler": unformed}, {"lr_schedulers": [scheduler]},
    ):  # fmt: skip
        torch.save({"model": network.state_dict(), "epoch": 25, **beside}, tmp_path / "checkpoint.pth")
        code, out = verify(tmp_path / "checkpoint.pth", "--json")
        assert (code, json.loads(out)[0]["weights"]) == (0, "model"), list(beside)
    torch.save({"optimizer": unformed}, tmp_path / "alone.pth")
    code, out = verify(tmp_path / "alone.pth", "--json")
    assert (code, json.loads(out)[0]["weights"]) == (3, "")
    assert "(under 'optimizer/sums'), and no weights" in json.loads(out)[0]["reason"]


def test_what_stands_beside_the_weights_is_ignored_and_listed(verify, tmp_path):
    content = {"net": torch.nn.Linear(3, 2).state_dict(), "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "model.pth")
    code, out = verify(tmp_path / "model.pth")
    assert code == 0
    assert "weights under 'net'; ignored: args (argparse.Namespace), epoch (int)" in " ".join(out.split())
    verdict = json.loads(verify(tmp_path / "model.pth", "--json")[1])[0]
    assert verdict["ignored"] == ["args (argparse.Namespace)", "epoch (int)"]
    assert verdict["names"] == ["argparse.Namespace"]


def test_what_is_not_finite_is_told_apart_from_what_is_unsafe(verify, safe, page, tmp_path):
    torch.save({"net": {"a": torch.tensor([1.0, float("nan")])}, "epoch": 3}, tmp_path / "nan.pth")
    code, out = verify(safe, tmp_path / "nan.pth")
    assert code == 3
    assert "safe, not loadable" in out
    assert "Refused" not in out
    assert "its weights under 'net' hold NaN or infinity: 'a'" in " ".join(out.split())
    code, out = verify(tmp_path / "nan.pth", "--json")
    assert code == 3
    assert [json.loads(out)[0][key] for key in ("safe", "loadable")] == [True, False]
    assert verify(tmp_path / "nan.pth", page)[0] == 1


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"epoch": 3}, {}])
def test_a_file_without_named_weights_is_safe_but_not_loadable(content, verify, tmp_path):
    torch.save(content, tmp_path / "model.pth")
    code, out = verify(tmp_path / "model.pth", "--json")
    assert code == 3
    assert json.loads(out)[0]["reason"]


class TestIndex:
    @pytest.fixture
    def index(self, tmp_path):
        safetensors.torch.save_file({"a": torch.ones(2, 3)}, tmp_path / "model-1.safetensors")
        safetensors.torch.save_file({"b": torch.ones(4)}, tmp_path / "model-2.safetensors")
        places = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": places}))
        return path

    def test_every_file_that_it_names_is_verified(self, verify, index):
        code, out = verify(index, "--json")
        verdict = json.loads(out)[0]
        assert code == 0
        assert verdict["format"] == "safetensors, sharded"
        assert (verdict["tensors"], verdict["parameters"]) == (2, 10)

    @pytest.mark.parametrize(
        ("tensors", "code", "sentence"),
        [
            ({"c": torch.ones(4)}, 1, "model-2.safetensors: it lacks 'b'"),
            ({"b": torch.ones(4), "c": torch.ones(1)}, 1, "model-2.safetensors: it holds 'c'"),
            ({"b": torch.tensor([float("inf")])}, 3, "model-2.safetensors: its weights hold NaN"),
            (None, 1, "model-2.safetensors: it cannot be opened"),
        ],
    )
    def test_one_bad_file_fails_it(self, tensors, code, sentence, verify, index):
        shard = index.with_name("model-2.safetensors")
        shard.unlink()
        if tensors is not None:
            safetensors.torch.save_file(tensors, shard)
        found, out = verify(index, "--json")
        assert found == code
        assert sentence in json.loads(out)[0]["reason"]

    def test_an_index_that_leads_elsewhere_is_refused(self, verify, index):
        index.write_text(json.dumps({"weight_map": {"a": "../model-1.safetensors"}}))
        code, out = verify(index, "--json")
        assert code == 1
        assert "no file beside it" in json.loads(out)[0]["reason"]


def test_a_file_is_needed():
    done = subprocess.run([sys.executable, "-m", "securitynet_hub", "verify"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "FILE" in done.stderr


def archive(pickled, numbers=b""):
    """What torch.save writes, around any pickle."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        if numbers:
            file.writestr("archive/data/0", numbers)
        file.writestr("archive/version", b"3\n")
    return body.getvalue()


def test_sarif(verify, safe, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"net": {"a": torch.tensor([float("nan")])}, "at": argparse.Namespace()}, "a nan.pth")
    (tmp_path / "evil.pkl").write_bytes(archive(b"\x80\x02cos\nsystem\n."))
    code, _ = verify(safe, page, "a nan.pth", tmp_path / "evil.pkl", "--sarif", "out.sarif")
    assert code == 1
    log = json.loads((tmp_path / "out.sarif").read_text())
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in run["results"]] == ["SNW004", "SNW006", "SNW008", "SNW001"]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]
    ]
    assert places == ["page.pth", "a%20nan.pth", "a%20nan.pth", "evil.pkl"]
    assert len({json.dumps(result["partialFingerprints"]) for result in run["results"]}) == 4
    assert "null" not in json.dumps(log)
    assert verify(safe, "--sarif", "out.sarif")[0] == 0
    assert json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"] == []


def test_rules_are_told_in_the_docs():
    page = (Path(__file__).parents[2] / "docs/verify.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"### {rule.id}: {rule.name}" in page
        assert rule.text in page
        assert all(tag in page for tag in rule.tags)


@pytest.fixture
def repository(hub, safe, tmp_path):
    """A repository on the Hub with a good file, an evil one and one that is no weights."""
    evil = archive(b"\x80\x02cos\nsystem\n.")
    commit = "0123456789" * 4
    files = {"good.safetensors": safe.read_bytes(), "evil.bin": evil, "README.md": b"# a model"}
    hub.serve_repository("org/net", commit, files)
    entries = [
        {"path": "evil.bin", "securityFileStatus": {"status": "safe"}},
        {"path": "good.safetensors", "securityFileStatus": {"status": "unscanned"}},
    ]
    hub.serve(f"/api/models/org/net/tree/{commit}", json.dumps(entries).encode())
    return f"hf://org/net@{commit}"


def test_a_repository(verify, repository, tmp_path):
    code, out = verify("hf://org/net", "--json")
    assert code == 1
    evil, good = json.loads(out)
    assert (evil["file"], evil["safe"], evil["rules"], evil["hub_scan"]) == (
        f"{repository}/evil.bin", False, ["SNW001"], "safe"
    )  # fmt: skip
    assert (good["file"], good["loadable"], good["hub_scan"]) == (
        f"{repository}/good.safetensors", True, "not scanned"
    )  # fmt: skip
    code, out = verify("hf://org/net/good.safetensors")
    assert code == 0
    assert "not scanned" in " ".join(out.split())
    assert not list(tmp_path.rglob("models--org--net"))


@pytest.mark.parametrize("answer", [b"{}", b"[1, {}]", b"no JSON", b'[{"path": "evil.bin"}]'])
def test_scans_that_are_not_understood_are_no_scans(answer, verify, repository, hub):
    hub.routes[f"/api/models/org/net/tree/{'0123456789' * 4}"].content = answer
    assert {each["hub_scan"] for each in json.loads(verify("hf://org/net", "--json")[1])} == {"not scanned"}


@pytest.fixture
def large(hub):
    """Serve a file of a repository and return its address."""

    def served(name, content):
        hub.serve_repository("org/net", "0123456789" * 4, {name: content})
        return f"hf://org/net/{name}"

    return served


def saved(write, tensors):
    body = io.BytesIO()
    write(tensors, body)
    return body.getvalue()


LARGE = {"a": torch.ones(3 << 20), "b": torch.zeros(4)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.safetensors", safetensors.torch.save(LARGE)),
        ("x.bin", saved(torch.save, {"net": LARGE, "epoch": 3})),
    ],
)
def test_of_a_large_file_only_what_can_run_code_is_asked_for(name, content, verify, large, hub):
    address = large(name, content)
    code, out = verify(address, "--json")
    (found,) = json.loads(out)
    assert (code, found["loadable"], found["tensors"], found["bytes"]) == (0, True, 2, len(content))
    assert found["unread"] > len(content) - 300_000
    assert hub.sent < 300_000
    shown = " ".join(verify(address)[1].split())
    assert "1 of 1 files are safe; of 1 only what can run code was read" in shown
    assert "not read: numbers and hash" in shown
    code, out = verify(address, "--whole", "--json")
    assert code == 0
    assert json.loads(out)[0] == {**found, "unread": 0}
    assert hub.sent > len(content)


def test_a_server_without_ranges_sends_all(verify, large, hub):
    address = large("x.safetensors", safetensors.torch.save(LARGE))
    for route in hub.routes.values():
        route.ranges = False
    code, out = verify(address, "--json")
    assert (code, json.loads(out)[0]["unread"]) == (0, 0)


def test_a_file_that_is_half_pickle_is_read_whole(verify, large):
    content = saved(
        torch.save, {"net": {"a": torch.ones(9)}, "log": ["x" * 60_000 + str(n) for n in range(80)]}
    )
    code, out = verify(large("x.bin", content), "--json")
    assert (code, json.loads(out)[0]["unread"]) == (0, 0)


def test_a_form_that_needs_all_is_read_whole(verify, large):
    legacy = saved(lambda *args: torch.save(*args, _use_new_zipfile_serialization=False), LARGE)
    code, out = verify(large("x.pt", legacy), "--json")
    assert (code, json.loads(out)[0]["format"], json.loads(out)[0]["unread"]) == (0, "torch legacy", 0)


def test_code_in_a_large_file_is_found_by_ranges(verify, large, hub):
    evil = archive(b"\x80\x02cos\nsystem\n.", bytes(6 << 20))
    code, out = verify(large("x.bin", evil), "--json")
    assert (code, json.loads(out)[0]["rules"]) == (1, ["SNW001"])
    assert hub.sent < 300_000


def test_further_pages_of_scans(verify, hub, safe):
    """The real client reads the same states from the same server."""
    commit = "0123456789" * 4
    files = {f"{letter}.safetensors": safe.read_bytes() for letter in "abc"}
    hub.serve_repository("org/net", commit, files)
    tree = f"/api/models/org/net/tree/{commit}"
    pages = [("a", "unsafe", "/2"), ("b", "safe", "/3"), ("c", "queued", None)]
    for number, (letter, status, after) in enumerate(pages, start=1):
        entry = {
            "type": "file", "path": f"{letter}.safetensors", "size": 9, "oid": "0" * 40,
            "securityFileStatus": {"status": status, "avScan": None, "pickleImportScan": None},
        }  # fmt: skip
        headers = {"Link": f'<{hub.url(tree)}{after}?cursor=x>; rel="next"'} if after else {}
        place = tree if number == 1 else f"{tree}/{number}"
        hub.serve(place, json.dumps([entry]).encode(), content_type="application/json", headers=headers)
    states = {
        each["file"][-13:]: each["hub_scan"] for each in json.loads(verify("hf://org/net", "--json")[1])
    }
    listed = huggingface_hub.HfApi().list_repo_tree("org/net", revision=commit, recursive=True, expand=True)
    assert states == {entry.path: entry.security.status for entry in listed}
    assert states == {"a.safetensors": "unsafe", "b.safetensors": "safe", "c.safetensors": "queued"}
    hub.log.clear()
    verify("hf://org/net/a.safetensors")
    assert [request.path for request in hub.log if request.path.startswith(tree)] == [tree]


def test_pages_elsewhere_are_not_asked_for(verify, hub, repository):
    tree = hub.routes[f"/api/models/org/net/tree/{'0123456789' * 4}"]
    tree.content, tree.headers = b"[]", {"Link": '<http://127.0.0.1:9/x>; rel="next"'}
    assert {each["hub_scan"] for each in json.loads(verify("hf://org/net", "--json")[1])} == {"not scanned"}


def test_pages_without_end_are_given_up(verify, hub, repository, monkeypatch):
    monkeypatch.setattr(hub_cache, "MAX_PAGES", 5)
    path = f"/api/models/org/net/tree/{'0123456789' * 4}"
    hub.routes[path].content = b"[]"
    hub.routes[path].headers = {"Link": f'<{hub.url(path)}>; rel="next"'}
    verify("hf://org/net")
    assert len(hub.asked(path)) == 5


@pytest.mark.parametrize("address", ["hf://org", "hf://org/net/none.bin", "hf://../..", "hf://org/other"])
def test_addresses_of_nothing(address, repository, run):
    code, _, err = run("verify", address)
    assert code not in (0, 3)
    assert "Traceback" not in err


def test_a_plain_pickle_says_what_it_asks_for(run, tmp_path):
    path = tmp_path / "plain.pth"
    path.write_bytes(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02ls\x94\x85\x94R\x94.")
    code, out, _ = run("verify", path, "--json")
    (verdict,) = json.loads(out)
    assert code == 1
    assert "asks for 'posix.system': do not load it" in verdict["reason"]
    assert verdict["rules"] == ["SNW001"]
