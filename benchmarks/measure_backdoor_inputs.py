"""Measure the detectors of poisoned inputs and training images, as Markdown tables for docs/backdoors.md.

Run ``python benchmarks/measure_backdoor_inputs.py``; it takes some minutes of one core. Judged are 80
clean images and as many stamped ones of other classes than the target's, from the test file of Fashion-MNIST,
which no network was trained on; as many others choose thresholds, and 300 serve the detectors. NEO, which
asks thousands of questions about an image, judges 19 of each and takes squares at every second pixel.
"""

import itertools
import sys
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from tables import writing

from securitynet_hub import load_annotations, load_images, load_target
from securitynet_hub.attacks.backdoor.activation_clustering import activation_clustering_scores
from securitynet_hub.attacks.backdoor.ibd_psc import ibd_psc_scores
from securitynet_hub.attacks.backdoor.measures import measure_input_detection
from securitynet_hub.attacks.backdoor.neo import neo_scores
from securitynet_hub.attacks.backdoor.planting import backdoor
from securitynet_hub.attacks.backdoor.scale_up import scale_up_scores
from securitynet_hub.attacks.backdoor.spectral import spectral_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.attacks.backdoor.ted import ted_scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS
from securitynet_hub.statistics.rates import roc_auc

IMAGES = load_images()
TRAIN = LabelledImages(
    name="train", pixels=IMAGES.pixels[:2000], labels=IMAGES.labels[:2000], class_names=IMAGES.class_names
)
ROWS = np.random.default_rng(0).permutation(np.arange(2000, 4000))
CLEAN, CALIBRATION, KNOWN, SUSPECTS = ROWS[:100], ROWS[100:200], ROWS[200:500], ROWS[500:]
N, N_NEO = 80, 19
COMMAND = "python benchmarks/measure_backdoor_inputs.py"

DETECTORS = {
    "STRIP": partial(strip_scores, num_overlays=25),
    "STRIP 1/2 + 1/2": partial(strip_scores, num_overlays=25, weights=(0.5, 0.5)),
    "NEO": partial(neo_scores, stride=2),
    "SCALE-UP": lambda target, inputs, clean: scale_up_scores(target, inputs),
    "SCALE-UP, standardised": scale_up_scores,
    "IBD-PSC": ibd_psc_scores,
    "TED": ted_scores,
}
PLANTED = {
    "checkerboard-patch": ("checkerboard-patch", {}),
    "four-corners": ("four-corners", {}),
    "sinusoidal": ("sinusoidal", {}),
    "warped": ("warped", {"rate": 0.2, "recipe": Recipe(epochs=20, batch_size=64, learning_rate=2e-3)}),
    "checkerboard-patch, clean labels": (
        "checkerboard-patch",
        {"clean_label": True, "rate": 0.08, "recipe": Recipe(epochs=25, batch_size=64, learning_rate=4e-3)},
    ),
    "checkerboard-patch with covers": ("checkerboard-patch", {"rate": 0.2, "cover_rate": 0.1}),
}
PLANTED_CLASS = 3


class Row(NamedTuple):
    """One network under one trigger."""

    kind: str
    network: str
    success: float
    accuracy: float
    found: dict


def measure(target, kind, trigger, target_class):
    stamped = TRIGGERS[trigger](IMAGES.pixels[SUSPECTS][IMAGES.labels[SUSPECTS] != target_class][:N])
    clean, calibration, known = (IMAGES.pixels[rows] for rows in (CLEAN, CALIBRATION, KNOWN))
    found = {}
    for name, detector in DETECTORS.items():
        few = N_NEO if name == "NEO" else N
        judged = np.concatenate([clean[:few], stamped[:few]])
        try:
            scores = detector(target, np.concatenate([judged, calibration[:few]]), clean=known)
        except ModelError:  # no BatchNorm
            continue
        found[name] = measure_input_detection(
            scores[: 2 * few], np.arange(2 * few) >= few, calibration=scores[2 * few :], target_frrs=[0.05]
        )
    rows = SUSPECTS[:1000]
    return Row(
        kind=kind,
        network=target.id,
        success=float(np.mean(predict(target, stamped).argmax(1) == target_class)),
        accuracy=float(np.mean(predict(target, IMAGES.pixels[rows]).argmax(1) == IMAGES.labels[rows])),
        found=found,
    )


def zoo_rows():
    for id, row in load_annotations("zoo").items():
        if row.kind == "backdoored":
            for name, twin in (
                (row.trigger, id),
                ("control", f"zoo/fashion-mnist/{row.architecture}-clean/{row.seed - 6}"),
            ):
                kind = row.trigger if name != "control" else f"{row.trigger}, clean networks"
                yield measure(load_target(twin), kind, row.trigger, row.target_class)


def planted_rows():
    for kind, (trigger, settings) in PLANTED.items():
        for architecture in ("cnn", "bn-cnn"):
            clean = load_target(f"zoo/fashion-mnist/{architecture}-clean/1")
            # What is labelled rightly teaches a network little that knows its classes: it is trained anew.
            start = replace(clean, module=NETWORKS[architecture](10)) if "clean_label" in settings else clean
            target, _ = backdoor(start, TRAIN, trigger, target_class=PLANTED_CLASS, **settings)
            yield measure(target, kind, trigger, PLANTED_CLASS)
            yield measure(clean, f"{kind}, clean networks", trigger, PLANTED_CLASS)


def training_rows():
    """Yield the AUCs of detectors of training images among those told as the target's, at several rates."""
    detectors = {
        "spectral signatures": spectral_scores,
        "activation clustering": activation_clustering_scores,
        "the same, not whitened": partial(activation_clustering_scores, whiten=False),
    }
    yield ["trigger", "network", "rate", *detectors]
    for trigger in ("checkerboard-patch", "sinusoidal"):
        for rate in (0.02, 0.05, 0.1):
            for architecture in ("cnn", "bn-cnn"):
                clean = load_target(f"zoo/fashion-mnist/{architecture}-clean/1")
                target, data = backdoor(clean, TRAIN, trigger, rate=rate, target_class=PLANTED_CLASS)
                own = data.labels == PLANTED_CLASS
                scores = [detector(target, data.pixels, data.labels) for detector in detectors.values()]
                aucs = [roc_auc(values[own], data.is_poisoned[own]) for values in scores]
                yield trigger, architecture, str(rate), *(f"{auc:.2f}" for auc in aucs)


def spread(values, width=2):
    values = sorted(values)
    ends = "" if len(values) == 1 else f" ({values[0]:.{width}f}-{values[-1]:.{width}f})"
    return f"{np.median(values):.{width}f}{ends}" if values else "-"


def table(name, rows, cell):
    with writing(name, COMMAND, ["trigger", "networks", "success", "accuracy", *DETECTORS]) as write:
        for kind in dict.fromkeys(row.kind for row in rows):
            own = [row for row in rows if row.kind == kind]
            told = [spread([row.success for row in own]), spread([row.accuracy for row in own])]
            cells = [spread([cell(row.found[key]) for row in own if key in row.found]) for key in DETECTORS]
            write(kind, str(len(own)), *told, *cells)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for row in itertools.chain(zoo_rows(), planted_rows()):
        rows.append(row)
        print(row.kind, row.network, file=sys.stderr, flush=True)
    # Medians over networks, and ranges.
    table("backdoor-inputs-aucs", rows, lambda found: found["auc"])
    table("backdoor-inputs-accepted", rows, lambda found: found["acceptance"][0]["far"])
    rejected = [key["acceptance"][0]["frr"] for row in rows for key in row.found.values()]
    print(f"clean inputs rejected at the same thresholds: {spread(rejected)}")
    headings, *lines = training_rows()
    with writing("backdoor-training-images", COMMAND, headings) as write:
        for cells in lines:
            write(*cells)


if __name__ == "__main__":
    main()
