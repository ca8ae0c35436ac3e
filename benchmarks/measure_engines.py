"""What OpenVINO changes: every signal's AUC on the zoo and on photographs beside torch's in float32.

``python benchmarks/measure_engines.py`` writes the table of docs/sweeps.md.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from measure_ratios import crops
from tables import writing

from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.converted import RUNTIMES
from securitynet_hub.models.loading import load_target
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import SIGNALS, score_all
from securitynet_hub.sweeps.plan import find_models

BATCH = 100
PHOTOGRAPHED = "package/imagenet-1k/efficientnet_lite0"


CROPS, NOISE = 200, 25
"""How many windows of photographs there are, and the standard deviation of the noise on their copies."""


def answers(target, pixels, folder):
    """Return the logits by torch, by OpenVINO in float32 and in bf16."""
    inputs = [target.transform(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about shapes that stay as they are
        RUNTIMES["openvino"].convert(target.module, inputs[0][:2], folder)
        asked = [lambda batch: target.module(torch.from_numpy(batch)).numpy()]
        asked += [RUNTIMES["openvino"].load(folder, narrow, 1) for narrow in (False, True)]
        return [np.concatenate([ask(part.numpy()) for part in inputs]) for ask in asked]


def aucs_of(logits, labels, member):
    """Return each signal's AUC, shape (3, signals)."""
    scores = [score_all(each, labels, from_logits=True) for each in logits]
    return [[roc_auc(own[name], member) for name in SIGNALS] for own in scores]


def measure(annotation, folder):
    target, data = load_target(annotation.id), known_data(annotation)
    rows = np.concatenate([data.split.members, data.split.nonmembers])
    member = np.arange(len(rows)) < len(data.split.members)
    labels = np.asarray(data.images.labels)[rows]
    return aucs_of(answers(target, data.images.array(rows), folder), labels, member)


def photographs(folder):
    """Return the AUCs of telling photographs from noisy copies: no members of ImageNet are at hand.

    Labels are torch's answers to the photographs.
    """
    pixels = crops(CROPS)
    noise = np.random.default_rng(1).normal(0, NOISE, pixels.shape)
    noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    logits = answers(load_target(PHOTOGRAPHED), np.concatenate([pixels, noisy]), folder)
    labels = np.tile(logits[0][:CROPS].argmax(1), 2)
    return aucs_of(logits, labels, np.arange(2 * CROPS) < CROPS)


def main():
    torch.set_num_threads(1)
    aucs = []
    for annotation in find_models(["zoo"]):
        with tempfile.TemporaryDirectory() as folder:
            aucs.append(measure(annotation, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        taken = [photographs(Path(folder))]
    only = np.array([name == "correctness" for name in SIGNALS])
    rows = (
        ("`correctness`", aucs, only),
        ("the other six metric-based ones", aucs, ~only),
        (f"photographs told from noisy ones, {PHOTOGRAPHED.rsplit('/')[-1]}: `correctness`", taken, only),
        ("the same: the other six", taken, ~only),
    )
    columns = ["score", "AUC by OpenVINO in float32: change, mean and largest", "in bf16"]
    with writing("engines-precision", "python benchmarks/measure_engines.py", columns) as row:
        for name, of, own in rows:
            exact, *others = np.array(of).transpose(1, 0, 2)
            changes = [np.abs(found - exact)[:, own] for found in others]
            figures = [f"{change.mean():.4f}, {change.max():.4f}" for change in changes]
            row(name, *(figure.replace("0.", ".") for figure in figures))


if __name__ == "__main__":
    main()
