"""Which forms of checkpoints load: the table of docs/checkpoints.md, kept as results/checkpoint-forms.json.

Run ``python benchmarks/checkpoint_forms.py``, then ``make tables``.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.checkpoint_forms import FORMS, cells, outcome
from tables import writing

if __name__ == "__main__":
    with writing("checkpoint-forms", "python benchmarks/checkpoint_forms.py", ["form", "result"]) as row:
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                row(*cells(form, outcome(form, Path(folder))))
