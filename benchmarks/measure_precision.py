"""What half precision changes: every signal's AUC on the zoo in bf16 and fp16 beside float32.

``python benchmarks/measure_precision.py`` writes the table of docs/sweeps.md; each precision is swept
in a process of its own, as Accelerate holds one for a process.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tables import writing

from securitynet_hub.records.record import read_records
from securitynet_hub.statistics.signals import SIGNALS


def aucs(precision, folder):
    """Return the AUC of every model by every signal in a precision, shape (models, signals)."""
    command = [sys.executable, "-m", "securitynet_hub", "sweep", "--models", "zoo", "--attacks", *SIGNALS]
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": precision}
    subprocess.run([*command, "--out", str(folder)], env=environment, check=True, stdout=subprocess.DEVNULL)
    found = {(record.target["id"], record.attack["name"]): record.result for record in read_records(folder)}
    models = sorted({model for model, _ in found})
    return np.array([[found[model, name]["auc"] for name in SIGNALS] for model in models]), np.array(
        [[np.diff(found[model, name]["auc_ci"])[0] / 2 for name in SIGNALS] for model in models]
    )


def main():
    columns = ["score", "AUC in bf16: change, mean and largest", "in fp16"]
    with tempfile.TemporaryDirectory() as folder:
        exact, half_widths = aucs("no", Path(folder) / "no")
        changes = [np.abs(aucs(name, Path(folder) / name)[0] - exact) for name in ("bf16", "fp16")]
    only = np.array([name == "correctness" for name in SIGNALS])
    command = "python benchmarks/measure_precision.py"
    with writing("sweeps-precision", command, [*columns, "for comparison, half the interval"]) as row:
        for name, own in (("`correctness`", only), ("the other six metric-based ones", ~only)):
            figures = [f"{change[:, own].mean():.4f}, {change[:, own].max():.4f}" for change in changes]
            cells = [*figures, f"{half_widths[:, own].mean():.3f}"]
            row(name, *(cell.replace("0.", ".") for cell in cells))


if __name__ == "__main__":
    main()
