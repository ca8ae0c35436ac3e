"""Signed repositories on the Hub: compared by the hashes that it states, large files not downloaded."""

import hashlib
import json

import pytest

pytest.importorskip("cryptography")

from support.model_signatures import bundle, new_key, public_pem, statement

COMMIT = "0123456789" * 4
KEY = new_key()


@pytest.fixture
def verified(hub, run, tmp_path):
    """Serve files with a signature; return exit status and rules by name of `verify`, and what was sent."""
    (tmp_path / "key.pem").write_bytes(public_pem(KEY))

    def verify(files, signed, *more, at="", key=KEY, **changes):
        content = {**files, "model.sig": bundle(statement(signed, **changes), key).encode()}
        hub.serve_repository("org/net", COMMIT, content)
        code, out, err = run(
            "verify", f"hf://org/net@{COMMIT}{at}", "--public-key", tmp_path / "key.pem", *more, "--json"
        )
        assert not err, err
        told = [one for one in json.loads(out) if one["format"] == "model signature"]
        rules = {one["file"].removeprefix(f"hf://org/net@{COMMIT}/"): one["rules"] for one in told}
        return code, rules, {one["file"].rpartition("/")[2]: one["reason"] for one in told}

    return verify


@pytest.fixture
def files(tmp_path):
    import safetensors.torch
    import torch

    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "w.safetensors")
    weights = (tmp_path / "w.safetensors").read_bytes()
    return {"model.safetensors": weights, "sub/config.json": b"{}", "vocabulary.dat": b"x" * 100_000}


def test_a_signed_repository(verified, files, hub):
    assert verified(files, files)[:2] == (0, {"model.sig": []})
    assert not hub.asked(f"/org/net/resolve/{COMMIT}/vocabulary.dat")
    assert hub.asked(f"/org/net/resolve/{COMMIT}/sub/config.json")


@pytest.mark.parametrize("name", ["model.safetensors", "sub/config.json"])
def test_another_file_than_the_signed_one(name, verified, files):
    told = verified(files, {**files, name: b"other"})
    assert told[:2] == (1, {"model.sig": [], name: ["SNW010"]})


def test_files_that_are_missing_or_not_signed(verified, files):
    signed = {**files, "gone.bin": b"x"}
    del signed["sub/config.json"]
    assert verified(files, signed)[:2] == (
        1,
        {"model.sig": [], "gone.bin": ["SNW011"], "sub/config.json": ["SNW012"]},
    )
    left_out = {"method": "files", "hash_type": "sha256", "ignore_paths": ["sub/"]}
    assert verified(files, {**files, "gone.bin": b""}, serialization=left_out)[1]["gone.bin"] == ["SNW011"]
    del signed["gone.bin"]
    assert verified(files, signed, serialization=left_out)[:2] == (0, {"model.sig": []})


def test_one_file_of_a_repository(verified, files):
    signed = {**files, "vocabulary.dat": b"other"}
    assert verified(files, signed, at="/model.safetensors")[:2] == (0, {"model.sig": []})
    assert verified(files, {**files, "model.safetensors": b""}, at="/model.safetensors")[0] == 1


def test_a_key_of_another_or_no_signature(verified, files, hub, run, tmp_path):
    code, rules, why = verified(files, files, key=new_key())
    assert (code, rules) == (1, {"model.sig": ["SNW009"]})
    assert "not made with this key" in why["model.sig"]
    hub.serve_repository("org/net", COMMIT, files)
    hub.routes.pop(f"/org/net/resolve/{COMMIT}/model.sig")
    code, out, _ = run("verify", f"hf://org/net@{COMMIT}", "--public-key", tmp_path / "key.pem")
    assert code == 1
    assert "there is no signature 'model.sig'" in out


def test_hashes_of_another_form_are_compared_where_files_are_downloaded_whole(verified, files):
    names = sorted(files)
    digests = [hashlib.blake2b(files[name]).hexdigest() for name in names]
    listed = zip(names, digests, strict=True)
    resources = [{"name": name, "algorithm": "blake2b", "digest": digest} for name, digest in listed]
    root = hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    method = {"method": "files", "hash_type": "blake2b"}
    changes = {"root": root, "resources": resources, "serialization": method}
    code, rules, why = verified(files, files, **changes)
    assert (code, set(rules)) == (1, {"model.sig", "model.safetensors", "vocabulary.dat"})
    assert "it was not compared: it is signed by hashes of another form" in why["vocabulary.dat"]
    assert verified(files, files, "--whole", **changes)[:2] == (0, {"model.sig": []})
    assert verified({**files, "vocabulary.dat": b"x"}, files, "--whole", **changes)[0] == 1
