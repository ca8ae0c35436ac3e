"""Measure the model-level backdoor detectors: ``python -m securitynet_hub.zoo.backdoors --out FOLDER``.

On the zoo's 12 clean and 12 backdoored models and, with ``--data`` and ``--fresh N``, on N clean and N
patch-backdoored ones of other seeds, trained for it with the zoo's recipe. What each detector says of a model
is a line in ``findings.jsonl``, so that a run that was cut off goes on; ``models.md`` gets the tables.
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
import numpy.typing as npt
import safetensors.torch

from securitynet_hub.annotations import ZooAnnotation, load_annotations
from securitynet_hub.attacks.backdoor.calibration import calibrate_norms
from securitynet_hub.attacks.backdoor.model_detection import measure_model_detection
from securitynet_hub.attacks.backdoor.suite import Clues, run_detector
from securitynet_hub.images import FASHION_MNIST_CLASSES, load_images
from securitynet_hub.statistics import Scores, wilson_interval
from securitynet_hub.targets import Target, load_target
from securitynet_hub.zoo.networks import NETWORKS, TRANSFORM
from securitynet_hub.zoo.recipes import FULL, ZooModel
from securitynet_hub.zoo.train import SHIPPED_TEST, prepare_data, train_model

PER_CLASS = 2
"""Clean test images of each class that the detectors are given."""

SETTINGS: dict[str, dict[str, Any]] = {
    "neural_cleanse": {"restarts": 1},
    "mm_bd": {"images_per_class": 6, "steps": 100},
    "neuron_noise": {"epsilon": 0.04, "steps": 20},
}

CALIBRATED: dict[str, Callable[[dict[str, Any]], Scores]] = {
    "calibrated_norms": lambda row: np.array(row["norms"], np.float64),
    "calibrated_margins": lambda row: 1 / np.maximum(row["margins"], 1e-6),
}
"""What of a finding is judged beside clean models of the same architecture."""


def clean_images(per_class: int = PER_CLASS, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Draw shipped test images, as many of each class; no model was trained on them."""
    images, rng = load_images(), np.random.default_rng(seed)
    test = np.array(SHIPPED_TEST)
    rows = [rng.choice(test[images.labels[test] == c], per_class, False) for c in range(10)]
    drawn: npt.NDArray[np.uint8] = images.pixels[np.concatenate(rows)]
    return drawn


def fresh_models(architecture: str, count: int) -> list[ZooModel]:
    """Return clean and patch-backdoored models of seeds that the zoo does not have, in turn."""
    draw, models = random.Random(0), []
    for k in range(count):
        clean = ZooModel(
            name=f"{architecture}-clean-{100 + k}",
            kind="clean",
            architecture=architecture,
            recipe=replace(FULL[architecture], seed=100 + k),
            full=True,
        )
        patched = replace(
            clean,
            name=f"{architecture}-corner-patch-{300 + k}",
            kind="backdoored",
            recipe=replace(clean.recipe, seed=300 + k),
            trigger="corner-patch",
            target_class=draw.randrange(10),
            poison_rate=draw.choice([0.01, 0.02, 0.05, 0.10]),
        )
        models += [clean, patched]
    return models


def zoo_targets() -> Iterator[tuple[str, Target, ZooAnnotation | ZooModel]]:
    """Yield the zoo's clean and backdoored models with what is known of them."""
    for id, row in load_annotations("zoo").items():
        assert isinstance(row, ZooAnnotation)
        if row.kind in ("clean", "backdoored"):
            yield id, load_target(id), row


def fresh_targets(
    models: list[ZooModel], data: Path, folder: Path
) -> Iterator[tuple[str, Target, ZooAnnotation | ZooModel]]:
    """Yield models of other seeds, trained once and kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    row, images = load_annotations("zoo")["zoo/fashion-mnist/cnn-clean/1"], None
    for model in models:
        path = folder / f"{model.name}.safetensors"
        if not path.exists():
            images = images or prepare_data(data)
            path.write_bytes(safetensors.torch.save(train_model(model, images).state_dict()))
        module = NETWORKS[model.architecture](len(FASHION_MNIST_CLASSES))
        module.load_state_dict(safetensors.torch.load(path.read_bytes()))
        annotation = replace(row, id=f"fresh/{model.name}")
        yield (
            annotation.id,
            Target(annotation=annotation, module=module, transform=TRANSFORM, num_classes=10),
            model,
        )


def find(
    id: str, target: Target, truth: ZooAnnotation | ZooModel, images: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """Return what every detector says of a model, beside the truth."""
    found = {name: run_detector(name, target, Clues(clean=images), **SETTINGS[name]) for name in SETTINGS}
    return {
        "id": id,
        "architecture": truth.architecture,
        "trigger": truth.trigger,
        "target_class": truth.target_class,
        "norms": found["neural_cleanse"].figures["norms"],
        "anomaly_index": found["neural_cleanse"].figures["anomaly_index"],
        "flagged": found["neural_cleanse"].figures["flagged_classes"],
        "p_value": found["mm_bd"].figures["p_value"],
        "margins": found["mm_bd"].figures["margins"],
        **{name: {"score": finding.score, "suspect": finding.suspect} for name, finding in found.items()},
    }


def add_calibrated(rows: list[dict[str, Any]]) -> None:
    """Judge each model beside the zoo's other clean ones of its architecture, by norms and by margins.

    A margin is calibrated as a norm is, upside down: a large one is suspicious.
    """
    for row in rows:
        known = [
            other
            for other in rows
            if other["id"].startswith("zoo/")
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
    for name in (*SETTINGS, *CALIBRATED):
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
        "anomaly index > 2": lambda row: bool(row["flagged"]),
        "norm ratio < 0.5": lambda row: (row["neural_cleanse"]["score"] or 0) > 1,
        "MM-BD, p < 0.05": lambda row: row["p_value"] < 0.05,
        "calibrated norms": lambda row: row["calibrated_norms"]["flagged"],
        "calibrated margins": lambda row: row["calibrated_margins"]["flagged"],
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
    parser = argparse.ArgumentParser(description="Measure the model-level backdoor detectors.")
    parser.add_argument("--out", type=Path, required=True, help="folder for findings, weights and tables")
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST's four *-ubyte.gz files")
    parser.add_argument("--fresh", type=int, default=0, help="clean and backdoored models to train, each")
    parser.add_argument("--architecture", choices=sorted(NETWORKS), default="cnn", help="of the fresh models")
    arguments = parser.parse_args()
    if arguments.fresh and arguments.data is None:
        parser.error("--fresh needs --data")
    arguments.out.mkdir(parents=True, exist_ok=True)
    log, images = arguments.out / "findings.jsonl", clean_images()
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    models = fresh_models(arguments.architecture, arguments.fresh)
    sources: list[Iterator[tuple[str, Target, ZooAnnotation | ZooModel]]] = [
        zoo_targets(),
        fresh_targets(models, arguments.data, arguments.out / "weights"),
    ]
    for source in sources:
        for id, target, truth in source:
            if id not in {row["id"] for row in rows}:
                rows.append(find(id, target, truth, images))
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    add_calibrated(rows)
    held_out = [row for row in rows if row["id"].startswith("fresh/")]
    parts = [part for part in (rows[: len(rows) - len(held_out)], held_out) if part]
    text = "\n\n".join(f"{table(part)}\n\n{rates(part)}" for part in parts)
    (arguments.out / "models.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
