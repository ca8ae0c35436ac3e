"""TrojanZoo's Neural Cleanse, ours, and the verdict, on the zoo's 24 networks.

As `bench_trojanzoo.py`, it needs torchvision and TrojanZoo, which it says how to get::

    VISION=$PWD/.venv/vision PYTHONPATH=FOLDER python benchmarks/measure_peer_detectors.py OUT

TrojanZoo's search runs with its own defaults (10 epochs, rate 0.1, cost 0.001) on 1,000 test images, 100 at a
time. It prints each class's norm and its distance from the median in MADs (`normalize_mad`) and flags
nothing; here a network is flagged as in Wang et al. 2019, where the smallest norm lies more than 2 MADs below
the median. Each finding is a line of OUT, so that an interrupted run resumes.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from bench_trojanzoo import Model, search
from measure_backdoored_models import clean_images, zoo_targets
from tables import writing

from securitynet_hub import load_images
from securitynet_hub.attacks.backdoor.neural_cleanse import neural_cleanse
from securitynet_hub.attacks.backdoor.twins import compare_with_twins
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.statistics.rates import auc_interval, split_scores
from securitynet_hub.zoo.train import SHIPPED_TEST

BATCH, NUM_IMAGES, FLAG = 100, 1000, 2.0

NAMES = (
    "Neural Cleanse, TrojanZoo 2.0.3, its defaults, 1,000 images",
    "`neural_cleanse`, one search, 40 images",
    "`twins`, the verdict, 2,000 images",
)


def trojanvision():
    """Import TrojanZoo; it takes what matplotlib 3.9 took away, and torchvision wants two operators."""
    import matplotlib

    sys.path.insert(0, os.environ["VISION"])
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    matplotlib.cm.get_cmap = matplotlib.colormaps.get_cmap
    import trojanvision as package

    return package, library


def as_installed(package, model, pixels):
    """Return TrojanZoo's Neural Cleanse with its own defaults."""
    mark = package.marks.Watermark(
        data_shape=list(pixels.shape[1:]), mark_height=pixels.shape[2], mark_width=pixels.shape[3]
    )
    data = [(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(pixels, BATCH)]
    return package.defenses.NeuralCleanse(
        attack=SimpleNamespace(mark=mark, add_mark=mark.add_mark, name="none"),
        original=True,
        model=model,
        dataset=SimpleNamespace(loader={"train": data}),
    )


def below_median(norms):
    """Return how many MADs the smallest norm lies below the median, and its class."""
    norms = np.asarray(norms, np.float64)
    apart = np.median(norms) - norms
    return float(apart.max() / (1.4826 * np.median(np.abs(apart)) + 1e-8)), int(np.argmin(norms))


def judged(name, target, package):
    """Return a detector's score, whether it flags the network, and the class it names."""
    test = load_images().pixels[np.array(SHIPPED_TEST)]
    if name == NAMES[2]:
        images = test[np.random.default_rng(0).permutation(len(test))]
        found = compare_with_twins(target, images).verdict
        return found.score, found.word == "backdoor", found.suspect
    if name == NAMES[1]:
        norms = neural_cleanse(target, clean_images(per_class=4), restarts=1).norms[0]
    else:
        pixels = torch.tensor(test[:NUM_IMAGES]).movedim(-1, 1).float() / 255
        with frozen(target.module):
            defense = as_installed(package, Model(target), pixels)
            norms = search(defense, target.num_classes)[:, -1].flatten(1).sum(1).numpy()
    score, suspect = below_median(norms)
    return score, score > FLAG, suspect


def main(out):
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")  # TrojanZoo's
    lines = Path(out).read_text(encoding="utf-8").splitlines() if Path(out).exists() else []
    rows = {(row["id"], row["detector"]): row for row in map(json.loads, lines)}
    package, _library = trojanvision()
    for _, target, truth in zoo_targets():
        for name in NAMES:
            if (target.id, name) in rows:
                continue
            torch.manual_seed(0)
            began = time.process_time()
            score, flagged, suspect = judged(name, target, package)
            row = {"id": target.id, "detector": name, "score": score, "flagged": bool(flagged)}
            row |= {"goal": truth.target_class if truth.kind == "backdoored" else None, "suspect": suspect}
            row["seconds"] = round(time.process_time() - began, 1)
            rows[target.id, name] = row
            with Path(out).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    columns = ["detector", "AUC", "clean flagged", "found", "suspect = target", "CPU-seconds a network"]
    with writing("backdoors-peers", "python benchmarks/measure_peer_detectors.py OUT", columns) as line:
        for name in NAMES:
            found = [row for row in rows.values() if row["detector"] == name]
            clean = [row for row in found if row["goal"] is None]
            planted = [row for row in found if row["goal"] is not None]
            truth = [0] * len(clean) + [1] * len(planted)
            auc, ends = auc_interval(split_scores([row["score"] for row in clean + planted], truth), 0.95)
            line(
                name,
                f"{auc:.2f} ({ends[0]:.2f}-{ends[1]:.2f})",
                f"{sum(row['flagged'] for row in clean)} of {len(clean)}",
                f"{sum(row['flagged'] for row in planted)} of {len(planted)}",
                f"{sum(row['suspect'] == row['goal'] for row in planted)} of {len(planted)}",
                f"{np.median([row['seconds'] for row in found]):.1f}",
            )


if __name__ == "__main__":
    main(sys.argv[1])
