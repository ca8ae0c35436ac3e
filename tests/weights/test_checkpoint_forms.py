"""Every form in the table of docs/checkpoints.md: it loads and answers as before, or says why not."""

import json
import re
from pathlib import Path

import pytest
from support.checkpoint_forms import FORMS, cells, outcome

KEPT = Path(__file__).parents[2] / "benchmarks" / "results" / "checkpoint-forms.json"
ROWS = json.loads(KEPT.read_text())["rows"] if KEPT.exists() else []


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_it_answers_as_before_or_says_why_not(form, tmp_path):
    found = outcome(form, tmp_path)
    if form.sentence is not None:
        assert found.sentence is not None
        assert re.search(form.sentence, found.sentence)
    else:
        assert found.sentence is None
        assert found.difference < (2e-3 if "half" in form.name else 1e-6)
        if form.place is not None:
            assert found.place == form.place
        assert bool(found.warnings) == form.warns
        assert bool(found.place) <= bool(found.notes or form.options)
    assert list(cells(form, found)) in ROWS, "python benchmarks/checkpoint_forms.py writes the table anew"


def test_the_table_has_every_form():
    assert [name for name, _ in ROWS] == [form.name for form in FORMS]
    assert len(FORMS) >= 40
