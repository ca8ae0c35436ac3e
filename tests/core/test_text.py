"""Text of strangers in Markdown and in tables: it can be read, and does nothing."""

import csv
import io
import re

import pytest

from securitynet_hub.core.text import csv_cell, in_words, markdown_code, markdown_text

PAYLOADS = [
    "[x](javascript:alert(1))", "![x](https://example.org/x.svg)", "<img src=x onerror=alert(1)>", "`x`",
    "# x", "a|b", "<https://example.org>", "www.example.org", "**x**", "$x$", "\n\n# x",
    "---\nx: y\n---", "\u202ex",
]  # fmt: skip


@pytest.mark.parametrize("text", PAYLOADS)
def test_markdown_has_no_working_syntax(text):
    shown, code = markdown_text(text), markdown_code(text)
    assert "\n" not in shown + code
    assert "<" not in shown
    assert "://" not in shown
    unescaped = re.sub(r"&#\d+;|\\\\", "", shown)
    assert not any(letter in unescaped.replace(f"\\{letter}", "") for letter in "[]`*|#$!")
    assert code.count("`") == 2


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\uff1d1", "a;=1", 'a";=1', "\n=1"]
)
def test_no_cell_is_a_formula_whatever_parts_cells(text):
    file = io.StringIO()
    csv.writer(file).writerow(["x", csv_cell(text), "y"])
    for separator in ",;\t":
        for cell in file.getvalue().replace('"', "").split(separator):
            assert not cell.startswith(tuple("=+-@\t\r\n\uff1d"))


def test_numbers_stay_numbers():
    assert csv_cell(-0.5) == -0.5
    assert csv_cell("model-1") == "model-1"


def test_settings_of_strangers_may_lie_deep():
    deep = {}
    for _ in range(5000):
        deep = {"a": [deep, 1]}
    assert in_words(deep).startswith("a ((a ((a ")
    assert len(in_words(deep)) < 200
