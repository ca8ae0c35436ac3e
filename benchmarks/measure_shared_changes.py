"""Measure additive and feature triggers: ``python benchmarks/measure_shared_changes.py``.

It judges the zoo's 12 clean and 12 backdoored models, and 8 into which backdoors were fine-tuned, each
beside the zoo's clean models of its architecture: a class's size is compared with the median of theirs, in
octaves, and the class that lies furthest below is the suspect. A clean model is compared with the remaining
clean ones, and the largest of their scores is the line above which a model counts as found. It takes three
minutes of one core; each model's sizes are one line of ``build/shared-changes.jsonl``, so that an interrupted
run resumes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from tables import ROOT, writing

from securitynet_hub.annotations.schema import ZooAnnotation, load_annotations
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.planting import backdoor
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.data.images import load_images
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target
from securitynet_hub.zoo.train import SHIPPED_TEST

DETECTORS = ("feature_trigger", "additive_trigger")
ARCHITECTURES = ("cnn", "bn-cnn")
PLANTED = {"dark-bar": 3, "checkerboard-patch": 5, "warped": 2, "sinusoidal": 6}
"""Triggers that are fine-tuned in, and the classes that they lead to."""

PER_CLASS = 2
CACHE = ROOT / "build" / "shared-changes.jsonl"


def models(architecture: str) -> Iterator[tuple[str, str | None, int | None, Target]]:
    """Yield id, trigger (None if clean), target class and model: the zoo's, then the planted ones."""
    for id, row in load_annotations("zoo").items():
        assert isinstance(row, ZooAnnotation)
        if row.architecture == architecture and ("clean" in id or row.trigger):
            yield id, row.trigger, row.target_class, load_target(id)
    images = load_images()
    rows = np.random.default_rng(5).permutation(len(images))[:2000]
    some = replace(images, pixels=images.pixels[rows], labels=images.labels[rows])
    for trigger, label in PLANTED.items():
        start = load_target(f"zoo/fashion-mnist/{architecture}-clean/1")
        planted, _ = backdoor(start, some, trigger, target_class=label)
        yield planted.id, f"{trigger}, fine-tuned", label, planted


def measure(architecture: str) -> list[dict[str, Any]]:
    """Return each model's sizes by each detector, and their processor time."""
    known = [json.loads(line) for line in CACHE.read_text().splitlines()] if CACHE.exists() else []
    found = {row["id"]: row for row in known if row["architecture"] == architecture}
    images, rng = load_images(), np.random.default_rng(0)
    test = np.array(SHIPPED_TEST)
    rows = [rng.choice(test[images.labels[test] == c], PER_CLASS, False) for c in range(10)]
    clean = DetectorInputs(clean=images.pixels[np.concatenate(rows)])
    if len(found) < 16:
        for id, trigger, label, target in models(architecture):
            if id in found:
                continue
            row: dict[str, Any] = {
                "architecture": architecture,
                "id": id,
                "trigger": trigger,
                "target": label,
            }
            for name in DETECTORS:
                began = time.process_time()
                row[name] = run_detector(name, target, clean).figures["sizes"]
                row[f"{name} seconds"] = time.process_time() - began
            found[id] = row
            CACHE.parent.mkdir(exist_ok=True)
            with CACHE.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return list(found.values())


def judge(rows: list[dict[str, Any]], name: str) -> list[tuple[float, int]]:
    """Return each model's score in octaves below the clean models' medians, and its suspect."""
    logs = np.log2(np.array([row[name] for row in rows], np.float64))
    clean = np.array([row["trigger"] is None for row in rows])
    judged = []
    for k, own in enumerate(logs):
        others = clean & (np.arange(len(rows)) != k)
        below = np.nanmedian(logs[others], 0) - own
        judged.append((float(np.nanmax(below)), int(np.nanargmax(below))))
    return judged


def main() -> None:
    """Measure, and keep the table."""
    lines = []
    for name in DETECTORS:
        for architecture in ARCHITECTURES:
            rows = measure(architecture)
            judged = judge(rows, name)
            line = max(score for row, (score, _) in zip(rows, judged, strict=True) if row["trigger"] is None)
            cells: dict[str, list[str]] = {}
            hits = total = 0
            for row, (score, suspect) in zip(rows, judged, strict=True):
                if row["trigger"] is not None:
                    bold = "**" if score > line else ""
                    cells.setdefault(row["trigger"], []).append(f"{bold}{score:.2f}{bold}")
                    hits, total = hits + (suspect == row["target"]), total + 1
            seconds = np.median([row[f"{name} seconds"] for row in rows])
            lines.append((name, architecture, f"{line:.2f}", cells, f"{hits} of {total}", f"{seconds:.1f}"))
    triggers = list(lines[0][3])
    columns = ["detector", "network", "clean, largest", *triggers, "suspect = target", "CPU-s"]
    with writing(
        "backdoors-shared-changes", "python benchmarks/measure_shared_changes.py", columns
    ) as row_of:
        for name, network, clean, cells, hits_of, took in lines:
            row_of(name, network, clean, *(" ".join(cells[trigger]) for trigger in triggers), hits_of, took)


if __name__ == "__main__":
    main()
