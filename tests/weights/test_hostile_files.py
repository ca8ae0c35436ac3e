"""The corpus of hostile files: each is refused, for a reason that has a rule, and touches no marker."""

import importlib
import io
from pathlib import Path

import pytest
from support.hostile_files import directories, hostile_files

from securitynet_hub.weights.findings import RULES, findings
from securitynet_hub.weights.reading.checkpoints import judge, judge_parts

ROOT = Path(__file__).parents[2]


@pytest.mark.exhaustive
def test_every_file_is_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    path, seen = tmp_path / "inner" / "x.pth", set()
    count = 0
    for name, content in hostile_files():
        path.write_bytes(content)
        verdict = judge(path)
        assert not verdict.loadable, name
        by_parts = judge_parts(io.BytesIO(content), len(content))
        assert by_parts is None or not by_parts.loadable or "truth value" in verdict.reason, name
        assert {finding.rule for finding in findings(verdict)} <= set(RULES), name
        seen |= {finding.rule.id for finding in findings(verdict)}
        count += 1
    assert count >= 150
    assert {"SNW001", "SNW002", "SNW003", "SNW004", "SNW005"} <= seen
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["x.pth"]


def test_entries_beyond_the_bound_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    name, content = next(each for each in directories() if "60,000" in each[0])
    path.write_bytes(content)
    assert "at most 50,000 are read" in judge(path).reason, name


def test_inputs_that_once_broke_a_reader(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "fuzz"))
    fuzz = importlib.import_module("readers")
    for path in sorted((ROOT / "fuzz" / "seeds").glob("*/*.bin")):
        fuzz.check(path.parent.name, path.read_bytes())
    assert fuzz.run("index", 0.1, seed=1)[1] == {}
