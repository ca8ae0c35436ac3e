"""Signatures of OpenSSF model signing: the reference's hold, every other one is refused with a sentence.

``signed/`` was made by model_signing 1.1.1: ``sign key`` (whole files, and shards of ten bytes) and ``sign
certificate``.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from support.model_signatures import bundle, certificate, new_key, public_pem, statement

from securitynet_hub.core.errors import MissingPackageError, WeightsError
from securitynet_hub.weights.findings import findings
from securitynet_hub.weights.signature import verify_signature

SIGNED = Path(__file__).parent / "signed"
KEY = {"public_key": SIGNED / "key.pem"}


@pytest.fixture
def model(tmp_path):
    shutil.copytree(SIGNED / "model", tmp_path / "model")
    shutil.copy(SIGNED / "key.sig", tmp_path / "model" / "model.sig")
    return tmp_path / "model"


def rules(folder, **options):
    """Return the rules that each file breaks, by its name."""
    return {
        path.name: [finding.rule.id for finding in findings(verdict)]
        for path, verdict in verify_signature(folder, **(options or KEY))
    }


def reason(folder, **options):
    """Return why a signature does not hold; nothing else is said then."""
    ((_, verdict),) = verify_signature(folder, **(options or KEY))
    assert [finding.rule.id for finding in findings(verdict)] == ["SNW009"]
    return verdict.reason


@pytest.mark.parametrize(
    ("name", "options"),
    [("key", KEY), ("shards", KEY), ("certificate", {"certificates": [SIGNED / "root.pem"]})],
)
def test_signatures_of_the_reference_hold(name, options, model):
    shutil.copy(SIGNED / f"{name}.sig", model / "model.sig")
    assert rules(model, **options) == {"model.sig": []}
    weights = model / "weights.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert rules(model, **options) == {"model.sig": [], "weights.safetensors": ["SNW010"]}
    assert rules(model, **options, signature=SIGNED / f"{name}.sig")["model.sig"] == ["SNW012"]


def test_each_sort_of_difference_has_its_rule(model):
    (model / "weights.safetensors").unlink()
    (model / "sub" / "config.json").write_bytes(b"{} ")
    (model / "new.py").write_text("print()")
    assert rules(model) == {
        "model.sig": [], "new.py": ["SNW012"], "config.json": ["SNW010"], "weights.safetensors": ["SNW011"],
    }  # fmt: skip


def test_a_longer_or_shorter_file_differs(model):
    shutil.copy(SIGNED / "shards.sig", model / "model.sig")
    path = model / "weights.safetensors"
    content = path.read_bytes()
    for other in (content + b"\0", content[:-1], b""):
        path.write_bytes(other)
        assert rules(model)["weights.safetensors"] == ["SNW010"]


def test_links_are_not_covered(model):
    (model / "weights.safetensors").rename(model.parent / "x")
    (model / "weights.safetensors").symlink_to(model.parent / "x")
    (model / "folder").symlink_to(model.parent)
    assert rules(model) == {"model.sig": [], "weights.safetensors": ["SNW012"], "folder": ["SNW012"]}


def test_a_pipe_is_not_waited_for(model):
    (model / "weights.safetensors").unlink()
    os.mkfifo(model / "weights.safetensors")
    assert rules(model)["weights.safetensors"] == ["SNW009"]


def test_paths_that_the_signer_left_out_are_named(model):
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    ((_, verdict),) = verify_signature(model, **KEY)
    assert verdict.ignored == (".git/config",)


def test_another_key(model, tmp_path):
    (tmp_path / "other.pem").write_bytes(public_pem(new_key()))
    assert "not made with this key" in reason(model, public_key=tmp_path / "other.pem")
    shutil.copy(SIGNED / "certificate.sig", model / "model.sig")
    assert "not made with this key" in reason(model)


def test_no_signature(model):
    (model / "model.sig").unlink()
    assert reason(model) == "there is no signature 'model.sig'"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"mediaType": 1}', "[" * 100_000, '{"a":1,"a":1}']
)
def test_what_is_no_signature(content, model):
    (model / "model.sig").write_text(content)
    assert "no signature" in reason(model) or "media type" in reason(model)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resources": [{"name": "../x", "algorithm": "sha256", "digest": "00"}]}, "no file of the folder"),
        ({"resources": [{"name": "/etc/passwd", "algorithm": "sha256", "digest": "00"}]}, "no file of the"),
        ({"resources": [{"name": "a", "algorithm": "md5", "digest": "00"}]}, "hashes by 'md5'"),
        ({"resources": [{"name": "a", "algorithm": "sha256", "digest": "zz"}]}, "that is none"),
        ({"resources": [{"name": "a", "algorithm": "sha256", "digest": "00"}] * 2}, "'a' twice"),
        ({"resources": [{"name": "a"}]}, "has no proper predicate.resources.0.algorithm"),
        ({"resources": []}, "contradicts itself"),
        ({"serialization": {"method": "other", "hash_type": "sha256"}}, "lists 'other'"),
        ({"serialization": {"method": "shards", "hash_type": "sha256"}}, "no part of a file"),
    ],
)
def test_signed_statements_that_lead_astray(changes, sentence, model, tmp_path):
    key = new_key()
    (tmp_path / "key.pem").write_bytes(public_pem(key))
    (model / "model.sig").write_text(bundle(statement({"a": b"1"}, **changes), key))
    assert sentence in reason(model, public_key=tmp_path / "key.pem")


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"_type": "x", "predicateType": "y"}'])
def test_signed_payloads_that_are_no_statement(payload, model, tmp_path):
    key = new_key()
    (tmp_path / "key.pem").write_bytes(public_pem(key))
    (model / "model.sig").write_text(bundle(payload, key))
    assert "statement" in reason(model, public_key=tmp_path / "key.pem")


def test_nothing_that_was_not_signed_is_believed(model):
    """Other bytes in place of the payload, or another type, break the signature."""
    content = json.loads((model / "model.sig").read_text())
    for part, other in (("payload", "e30="), ("payloadType", "text/plain")):
        changed = content | {"dsseEnvelope": content["dsseEnvelope"] | {part: other}}
        (model / "model.sig").write_text(json.dumps(changed))
        assert reason(model)


class TestCertificates:
    @pytest.fixture
    def authority(self):
        key = new_key()
        return key, certificate("root", key, "root", key, authority=True)

    def signed(self, model, key, chain):
        files = {
            path.relative_to(model).as_posix(): path.read_bytes()
            for path in model.rglob("*")
            if path.is_file() and path.name != "model.sig"
        }
        (model / "model.sig").write_text(bundle(statement(files), key, chain))

    def trusted(self, tmp_path, *certificates):
        from support.model_signatures import PEM

        (tmp_path / "roots.pem").write_bytes(b"".join(each.public_bytes(PEM) for each in certificates))
        return {"certificates": [tmp_path / "roots.pem"]}

    def test_one_of_a_trusted_authority(self, authority, model, tmp_path):
        own = new_key()
        self.signed(model, own, [certificate("me", own, "root", authority[0])])
        assert rules(model, **self.trusted(tmp_path, authority[1])) == {"model.sig": []}

    def test_one_of_another_authority(self, authority, model, tmp_path):
        own, other = new_key(), new_key()
        self.signed(model, own, [certificate("me", own, "root", other)])
        assert "none that is trusted" in reason(model, **self.trusted(tmp_path, authority[1]))

    def test_one_that_a_signer_made(self, authority, model, tmp_path):
        own, middle = new_key(), new_key()
        chain = [certificate("me", own, "m", middle), certificate("m", middle, "root", authority[0])]
        self.signed(model, own, chain)
        assert "none that is trusted" in reason(model, **self.trusted(tmp_path, authority[1]))

    def test_one_that_is_not_for_signing(self, authority, model, tmp_path):
        own = new_key()
        self.signed(model, own, [certificate("me", own, "root", authority[0], may_sign=False)])
        assert "none for signing" in reason(model, **self.trusted(tmp_path, authority[1]))

    def test_one_of_another_key_than_the_signature(self, authority, model, tmp_path):
        own = new_key()
        self.signed(model, new_key(), [certificate("me", own, "root", authority[0])])
        assert reason(model, **self.trusted(tmp_path, authority[1])) == "the signature was changed"

    def test_a_key_in_place_of_a_certificate(self, authority, model, tmp_path):
        assert "with a key, not" in reason(model, **self.trusted(tmp_path, authority[1]))


@pytest.mark.parametrize("content", [b"", b"no key"])
def test_files_that_are_no_keys(content, model, tmp_path):
    (tmp_path / "x").write_bytes(content)
    for options in ({"public_key": tmp_path / "x"}, {"certificates": [tmp_path / "x"]}):
        with pytest.raises(WeightsError, match="in PEM"):
            list(verify_signature(model, **options))
    with pytest.raises(WeightsError, match="cannot be read"):
        list(verify_signature(model, public_key=tmp_path / "none"))


def test_without_the_package_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.x509.verification", None)
    with pytest.raises(MissingPackageError, match=r"pip install securitynet-hub\[signing\]"):
        list(verify_signature(model, **KEY))


def test_the_command(run, model, tmp_path):
    code, out, _ = run("verify", model, "--public-key", SIGNED / "key.pem", "--json")
    assert code == 0
    assert [Path(each["file"]).name for each in json.loads(out)] == ["model.sig", "weights.safetensors"]
    assert [each["format"] for each in json.loads(out)] == ["model signature", "safetensors"]
    (model / "new.py").write_text("print()")
    code, out, _ = run("verify", model, "--public-key", SIGNED / "key.pem")
    assert code == 1
    assert "the signature does not cover it" in " ".join(out.split())
    assert run("verify", model, "--certificate", SIGNED / "root.pem")[0] == 1
    assert run("verify", model)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{model}/weights.safetensors", "--public-key", "{key}"], "signatures are those of folders"),
        (["hf://org/net", "--signature", "x", "--public-key", "{key}"], "--signature takes one folder"),
        (["{model}", "--signature", "x"], "--signature takes one folder"),
        (["{model}", "{model}", "--signature", "x", "--public-key", "{key}"], "--signature takes one folder"),
        (["{model}/sub"], "has no weights files"),
    ],
)
def test_what_the_command_refuses(arguments, sentence, run, model):
    filled = [argument.format(model=model, key=SIGNED / "key.pem") for argument in arguments]
    code, _, err = run("verify", *filled)
    assert code == 1
    assert sentence in " ".join(err.split())
