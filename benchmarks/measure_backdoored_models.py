"""Measure every detector of models: ``python benchmarks/measure_backdoored_models.py --out FOLDER``.

It judges the zoo's 12 clean and 12 backdoored models. With ``--data`` and ``--fresh N`` it also trains and
judges N clean and N patch-backdoored models of other seeds, with the zoo's recipe. ``--references M`` trains
M more clean models; from them and the zoo's clean models it learns the thresholds of the calibrated scores.
Each model's findings are one line of ``findings.jsonl``, so that an interrupted run resumes; the tables go to
``models.md``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from securitynet_hub.annotations.schema import ZooAnnotation, load_annotations
from securitynet_hub.attacks.backdoor.calibration import calibrate_norms
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.model_measures import measure_model_detection
from securitynet_hub.attacks.backdoor.registry import detectors
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.core.arrays import Scores
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, load_images
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.statistics.rates import wilson_interval
from securitynet_hub.zoo.recipes import FULL, ZooModel
from securitynet_hub.zoo.train import SHIPPED_TEST, attack_success_rate, prepare_data, train_model

PATCHES = ("corner-patch", "checkerboard-patch")
"""Triggers of the fresh backdoored models, in turn."""

REFERENCES = ("zoo/", "reference/")
"""Prefixes of the ids of the models from which thresholds are learnt."""

PER_CLASS = 2
"""Clean test images of each class that the detectors get."""

QUICK: dict[str, dict[str, Any]] = {
    "neural_cleanse": {"restarts": 1},
    "mm_bd": {"images_per_class": 6, "steps": 100},
    "neuron_noise": {"epsilon": 0.04, "steps": 20},
}
"""Settings of detectors that take long with their own; all other detectors run with their defaults."""

CALIBRATED: dict[str, Callable[[dict[str, Any]], Scores]] = {
    "calibrated_norms": lambda row: np.array(row["neural_cleanse"]["norms"], np.float64),
    "calibrated_margins": lambda row: 1 / np.maximum(row["mm_bd"]["margins"], 1e-6),
}
"""Figures that are compared with those of clean models of one architecture; small ones are suspicious."""


def model_detectors() -> list[str]:
    """Return the name of every detector that judges models."""
    return [name for name, detector in detectors().items() if detector.judges == "model"]


def clean_images(per_class: int = PER_CLASS, seed: int = 0) -> Pixels:
    """Draw shipped test images, the same number of each class; no model was trained on them."""
    images, rng = load_images(), np.random.default_rng(seed)
    test = np.array(SHIPPED_TEST)
    rows = [rng.choice(test[images.labels[test] == c], per_class, False) for c in range(10)]
    drawn: Pixels = images.pixels[np.concatenate(rows)]
    return drawn


def reference_models(architecture: str, count: int) -> list[ZooModel]:
    """Return clean models of seeds that the zoo does not have, from which thresholds are learnt."""
    return [_clean_model(architecture, 500 + k) for k in range(count)]


def fresh_models(architecture: str, count: int) -> list[ZooModel]:
    """Return clean and patch-backdoored models in turn; no setting was chosen with their seeds."""
    draw, models = random.Random(0), []
    for k in range(count):
        clean, patched = (_clean_model(architecture, seed + k) for seed in (100, 300))
        trigger = PATCHES[k % len(PATCHES)]
        patched = replace(
            patched,
            name=f"{architecture}-{trigger}-{300 + k}",
            kind="backdoored",
            trigger=trigger,
            target_class=draw.randrange(10),
            poison_rate=draw.choice([0.01, 0.02, 0.05, 0.10]),
        )
        models += [clean, patched]
    return models


def _clean_model(architecture: str, seed: int) -> ZooModel:
    return ZooModel(
        name=f"{architecture}-clean-{seed}",
        kind="clean",
        architecture=architecture,
        recipe=replace(FULL[architecture], seed=seed),
        full=True,
    )


def zoo_targets() -> Iterator[tuple[str, Target, ZooAnnotation | ZooModel]]:
    """Yield the zoo's clean and backdoored models, each with its annotation."""
    for id, row in load_annotations("zoo").items():
        assert isinstance(row, ZooAnnotation)
        if row.kind in ("clean", "backdoored"):
            yield id, load_target(id), row


def fresh_targets(
    models: list[ZooModel], data: Path, folder: Path, kind: str
) -> Iterator[tuple[str, Target, ZooAnnotation | ZooModel]]:
    """Yield models of other seeds, trained once and kept in a folder; their ids start with the kind."""
    folder.mkdir(parents=True, exist_ok=True)
    row, images = load_annotations("zoo")["zoo/fashion-mnist/cnn-clean/1"], None
    for model in models:
        path = folder / f"{model.name}.safetensors"
        if not path.exists():
            images = images or prepare_data(data)
            path.write_bytes(safetensors.torch.save(train_model(model, images).state_dict()))
        module = NETWORKS[model.architecture](len(FASHION_MNIST_CLASSES))
        module.load_state_dict(safetensors.torch.load(path.read_bytes()))
        annotation = replace(row, id=f"{kind}/{model.name}")
        yield (
            annotation.id,
            Target(annotation=annotation, module=module, transform=TRANSFORM, num_classes=10),
            model,
        )


def success_rate(target: Target, truth: ZooAnnotation | ZooModel) -> float | None:
    """Return the share of shipped test images of other classes that the trigger leads to the target class."""
    if isinstance(truth, ZooAnnotation):
        return truth.attack_success_rate
    return attack_success_rate(target.module, truth, load_images()) if truth.trigger else None


def find(id: str, target: Target, truth: ZooAnnotation | ZooModel, images: Pixels) -> dict[str, Any]:
    """Return what every detector finds in a model, and the truth."""
    found = {
        name: run_detector(name, target, DetectorInputs(clean=images), **QUICK.get(name, {}))
        for name in model_detectors()
    }
    return {
        "id": id,
        "architecture": truth.architecture,
        "trigger": truth.trigger,
        "target_class": truth.target_class,
        "success": success_rate(target, truth),
        **{
            name: {"score": finding.score, "suspect": finding.suspect, **finding.figures}
            for name, finding in found.items()
        },
    }


def add_calibrated(rows: list[dict[str, Any]]) -> None:
    """Compare each model's norms and margins with those of other clean reference models of its architecture.

    A margin is calibrated as 1 / margin: a large margin is suspicious, as a small norm is.
    """
    for row in rows:
        known = [
            other
            for other in rows
            if other["id"].startswith(REFERENCES)
            and other["trigger"] is None
            and other is not row
            and other["architecture"] == row["architecture"]
        ]
        for name, what in CALIBRATED.items():
            verdict = calibrate_norms([what(other) for other in known]).judge(what(row))
            row[name] = {"score": verdict.score, "suspect": verdict.suspect, "flagged": verdict.flagged}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the AUC of every detector with its interval, for all triggers and for each, as Markdown."""
    triggers = sorted({row["trigger"] for row in rows if row["trigger"]})
    groups = [("all", triggers), *((name, [name]) for name in triggers)]
    lines = [
        f"| detector | {' | '.join(f'AUC, {name}' for name, _ in groups)} | suspect = target |",
        "|---" * (len(groups) + 2) + "|",
    ]
    for name in (*model_detectors(), *CALIBRATED):
        cells = []
        for _, kinds in groups:
            among = [
                row for row in rows if row["trigger"] in (None, *kinds) and row[name]["score"] is not None
            ]
            truth = [row["trigger"] is not None for row in among]
            result = measure_model_detection(
                [row[name]["score"] for row in among], truth, probabilities=False
            )
            cells.append(f"{result['auc']:.2f} ({result['auc_ci'].low:.2f}-{result['auc_ci'].high:.2f})")
        poisoned = [row for row in rows if row["trigger"]]
        right = sum(row[name]["suspect"] == row["target_class"] for row in poisoned)
        lines.append(f"| {name} | {' | '.join(cells)} | {right} of {len(poisoned)} |")
    return "\n".join(lines)


def rates(rows: list[dict[str, Any]]) -> str:
    """Return how many models each rule flags, with intervals, as Markdown."""
    rules: dict[str, Callable[[dict[str, Any]], bool]] = {
        "anomaly index > 2": lambda row: bool(row["neural_cleanse"]["flagged_classes"]),
        "norm ratio < 0.5": lambda row: (row["neural_cleanse"]["score"] or 0) > 1,
        "MM-BD, p < 0.05": lambda row: row["mm_bd"]["p_value"] < 0.05,
        "calibrated norms": lambda row: row["calibrated_norms"]["flagged"],
        "calibrated margins": lambda row: row["calibrated_margins"]["flagged"],
        "calibrated norms or margins": lambda row: any(row[name]["flagged"] for name in CALIBRATED),
    }
    kinds = {
        "clean": None,
        **{name: name for name in sorted({row["trigger"] for row in rows if row["trigger"]})},
    }
    lines = [f"| rule | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for rule, flags in rules.items():
        cells = []
        for trigger in kinds.values():
            of_kind = [flags(row) for row in rows if row["trigger"] == trigger]
            low, high = wilson_interval(sum(of_kind), len(of_kind))
            cells.append(f"{sum(of_kind)} of {len(of_kind)} ({low:.2f}-{high:.2f})")
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description="Measure every backdoor detector that judges models.")
    parser.add_argument("--out", type=Path, required=True, help="folder for findings, weights and tables")
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST's four *-ubyte.gz files")
    parser.add_argument(
        "--fresh", type=int, default=0, help="number of clean and of backdoored models to train"
    )
    parser.add_argument(
        "--references", type=int, default=0, help="number of clean models to train for learning thresholds"
    )
    parser.add_argument(
        "--architecture", choices=sorted(NETWORKS), default="cnn", help="network of the fresh models"
    )
    arguments = parser.parse_args()
    if arguments.fresh + arguments.references and arguments.data is None:
        parser.error("--fresh and --references need --data")
    arguments.out.mkdir(parents=True, exist_ok=True)
    log, images = arguments.out / "findings.jsonl", clean_images()
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    others = {
        "reference": reference_models(arguments.architecture, arguments.references),
        "fresh": fresh_models(arguments.architecture, arguments.fresh),
    }
    sources = [
        zoo_targets(),
        *(
            fresh_targets(own, arguments.data, arguments.out / "weights", kind)
            for kind, own in others.items()
        ),
    ]
    for source in sources:
        for id, target, truth in source:
            if id not in {row["id"] for row in rows}:
                rows.append(find(id, target, truth, images))
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    add_calibrated(rows)
    parts = [[row for row in rows if row["id"].startswith(f"{kind}/")] for kind in ("zoo", "fresh")]
    parts = [part for part in parts if part]
    text = "\n\n".join(f"{table(part)}\n\n{rates(part)}" for part in parts)
    (arguments.out / "models.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
