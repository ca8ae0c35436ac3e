"""``securitynet verify``: the judgement on anyone's weights file."""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch


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
    }  # fmt: skip
    assert not second["safe"]
    assert second["format"] == "unknown"
    assert "HTML" in second["reason"]


def test_a_torch_file(verify, tmp_path):
    torch.save({"net": torch.nn.Linear(3, 2).state_dict(), "epoch": 3}, tmp_path / "model.pth")
    code, out = verify(tmp_path / "model.pth", "--json")
    assert code == 0
    assert json.loads(out)[0]["parameters"] == 8


def test_a_file_is_needed():
    done = subprocess.run([sys.executable, "-m", "securitynet_hub", "verify"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "FILE" in done.stderr
