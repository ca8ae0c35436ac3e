"""Add a metric: a folder with one `evaluate` module, loaded by its path.

A real metric is a folder in ``metrics/``, which `hub.load_metric(name)` finds.
"""

import tempfile
from pathlib import Path

import evaluate

MODULE = '''
"""The share of members among the samples that an attack is surest of."""

import datasets
import evaluate
import numpy as np


class Precision(evaluate.Metric):
    """Precision at a count: of the `count` highest scores, how many are members'."""

    def _info(self):
        row = {"predictions": datasets.Value("float64"), "references": datasets.Value("bool")}
        return evaluate.MetricInfo(description=__doc__, citation="", features=datasets.Features(row))

    def _compute(self, predictions, references, count=10):
        surest = np.argsort(-np.asarray(predictions), kind="stable")[:count]
        return {"precision": float(np.asarray(references)[surest].mean()), "count": len(surest)}
'''

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "precision_at" / "precision_at.py"
    path.parent.mkdir()
    path.write_text(MODULE)
    metric = evaluate.load(str(path))
    print(metric.compute(predictions=[0.9, 0.8, 0.7, 0.1], references=[True, False, True, False], count=3))
