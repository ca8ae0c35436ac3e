"""What records say in words, as wide as the place where it is printed."""

import pytest

from securitynet_hub import audit

RECORDS = audit("zoo/fashion-mnist/bn-cnn-overfitted-500/1", attacks="modified_entropy")


@pytest.mark.parametrize(
    ("columns", "widest"), [("60", 60), ("80", 80), ("160", 160), ("3", 40), (None, 100)]
)
def test_a_verdict_is_as_wide_as_the_terminal(columns, widest, monkeypatch):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    lines = RECORDS.verdict.splitlines()
    assert all(line.startswith("  ") for line in lines[1:])  # below the model's id
    assert widest - 12 < max(map(len, lines[1:])) <= widest
    assert str(RECORDS).startswith(RECORDS.verdict)
