"""What OpenVINO changes in membership figures: every signal's AUC on the zoo beside torch's in float32.

``python benchmarks/measure_engines.py`` writes the table of docs/sweeps.md.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from tables import writing

from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.converted import RUNTIMES
from securitynet_hub.models.loading import load_target
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import SIGNALS, score_all
from securitynet_hub.sweeps.plan import find_models

BATCH = 500


def measure(annotation, folder):
    """Return each signal's AUC by torch, by OpenVINO in float32 and in bf16, shape (3, signals)."""
    target, data = load_target(annotation.id), known_data(annotation)
    rows = np.concatenate([data.split.members, data.split.nonmembers])
    member = np.arange(len(rows)) < len(data.split.members)
    inputs = target.transform(data.images.array(rows))
    labels = np.asarray(data.images.labels)[rows]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about shapes that stay as they are
        RUNTIMES["openvino"].convert(target.module, inputs[:2], folder)
        asked = [lambda batch: target.module(torch.from_numpy(batch)).numpy()]
        asked += [RUNTIMES["openvino"].load(folder, narrow, 1) for narrow in (False, True)]
        logits = [np.concatenate([ask(part.numpy()) for part in inputs.split(BATCH)]) for ask in asked]
    scores = [score_all(each, labels, from_logits=True) for each in logits]
    return [[roc_auc(own[name], member) for name in SIGNALS] for own in scores]


def main():
    torch.set_num_threads(1)
    aucs = []
    for annotation in find_models(["zoo"]):
        with tempfile.TemporaryDirectory() as folder:
            aucs.append(measure(annotation, Path(folder)))
    exact, *others = np.array(aucs).transpose(1, 0, 2)
    only = np.array([name == "correctness" for name in SIGNALS])
    columns = ["score", "AUC by OpenVINO in float32: change, mean and largest", "in bf16"]
    with writing("engines-precision", "python benchmarks/measure_engines.py", columns) as row:
        for name, own in (("`correctness`", only), ("the other six metric-based ones", ~only)):
            changes = [np.abs(found - exact)[:, own] for found in others]
            figures = [f"{change.mean():.4f}, {change.max():.4f}" for change in changes]
            row(name, *(figure.replace("0.", ".") for figure in figures))


if __name__ == "__main__":
    main()
