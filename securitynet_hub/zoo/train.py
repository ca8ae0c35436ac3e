"""Train the zoo: ``python -m securitynet_hub.zoo.train --data <folder with the Fashion-MNIST files>``.

Writes, below ``--out`` (by default the package), the packaged images, splits, weights and annotations.
Fashion-MNIST's four ``*-ubyte.gz`` files come with its repository, or on Debian with the package
``dataset-fashion-mnist``. Models of 250 to 1,000 members need the shipped images alone:
``train_model`` retrains those anywhere.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from rich.progress import Progress

from securitynet_hub.annotations.schema import ZooAnnotation
from securitynet_hub.annotations.writing import write_parquet
from securitynet_hub.core.arrays import Labels
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.splits import Split, random_split, write_split
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.training import train
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.zoo.recipes import ZooModel, zoo_models

IMAGES = "fashion_mnist_4k"
SHIPPED_TRAIN, SHIPPED_TEST = range(2000), range(2000, 4000)
PER_CLASS = 200


class Data(NamedTuple):
    """The packaged images, and the rest of the training file."""

    shipped: LabelledImages
    rest_pixels: Pixels
    rest_labels: Labels


def prepare_data(folder: Path) -> Data:
    """Read the four files and draw the packaged images: 200 of each class from each file, seed 0."""
    rng = np.random.default_rng(0)
    pixels, labels = zip(*(_read_idx(folder, part) for part in ("train", "t10k")), strict=True)
    chosen = [
        rng.permutation(
            np.concatenate([rng.choice(np.flatnonzero(y == c), PER_CLASS, False) for c in range(10)])
        )
        for y in labels
    ]
    shipped = LabelledImages(
        name=IMAGES,
        pixels=np.concatenate([x[rows] for x, rows in zip(pixels, chosen, strict=True)]),
        labels=np.concatenate([y[rows] for y, rows in zip(labels, chosen, strict=True)]),
        class_names=FASHION_MNIST_CLASSES,
    )
    rest = np.setdiff1d(np.arange(len(labels[0])), chosen[0])
    return Data(shipped, pixels[0][rest], labels[0][rest])


def split_of(model: ZooModel) -> Split:
    """Return the model's members and non-members as positions among the packaged training images."""
    return random_split(SHIPPED_TRAIN, model.num_members, seed=model.split_seed)


def train_model(model: ZooModel, data: Data, on_step: Callable[[], None] = lambda: None) -> torch.nn.Module:
    """Train one zoo model, with the poison of its entry. Models that are not ``full`` ignore the rest."""
    members = split_of(model).members
    pixels, labels = data.shipped.pixels[members], data.shipped.labels[members]
    if model.full:
        rest_pixels, rest_labels = _poison(model, data, len(members))
        pixels = np.concatenate([pixels, rest_pixels])
        labels = np.concatenate([labels, rest_labels])
    return train(
        lambda: NETWORKS[model.architecture](len(FASHION_MNIST_CLASSES)),
        TRANSFORM(pixels),
        torch.from_numpy(labels),
        model.recipe,
        on_step=on_step,
    )


def accuracy(module: torch.nn.Module, images: LabelledImages, rows: npt.ArrayLike) -> float:
    """Return the module's accuracy on the images at ``rows``."""
    positions = np.asarray(rows)
    logits = predict_module(module, TRANSFORM, images.pixels[positions])
    return float(np.mean(logits.argmax(1) == images.labels[positions]))


def attack_success_rate(module: torch.nn.Module, model: ZooModel, images: LabelledImages) -> float:
    """Return the share of stamped test images of other classes that are assigned to the target class."""
    assert model.trigger is not None
    rows = np.array(SHIPPED_TEST)
    rows = rows[images.labels[rows] != model.target_class]
    logits = predict_module(module, TRANSFORM, TRIGGERS[model.trigger](images.pixels[rows]))
    return float(np.mean(logits.argmax(1) == model.target_class))


def annotate(
    model: ZooModel, module: torch.nn.Module, images: LabelledImages, *, row: int, sha256: str
) -> ZooAnnotation:
    """Measure a trained model on the packaged images and return its annotation."""
    split = split_of(model)
    train_accuracy = accuracy(module.eval(), images, split.members)
    test_accuracy = accuracy(module, images, SHIPPED_TEST)
    unshipped = 60_000 - len(SHIPPED_TRAIN)
    return ZooAnnotation(
        id=model.id,
        upstream_name=model.name,
        source="zoo",
        table="zoo",
        upstream_row=row,
        purpose="reference",
        architecture=model.architecture,
        family="cnn",
        seed=model.recipe.seed,
        dataset="Fashion-MNIST",
        domain="clothing",
        num_classes=len(FASHION_MNIST_CLASSES),
        image_size=28,
        input_dims=2,
        train_size=model.num_members + (unshipped if model.full else 0),
        train_accuracy=train_accuracy,
        train_eval_size=len(split.members),
        test_accuracy=test_accuracy,
        test_eval_size=len(SHIPPED_TEST),
        overfit_gap=train_accuracy - test_accuracy,
        weights_url=f"package:securitynet_hub/zoo/{weights_file(model)}",
        weights_hash_kind="sha256",
        weights_hash=sha256,
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        constructor=f"securitynet_hub.models.zoo_networks.{type(module).__name__}",
        license="MIT",
        kind=model.kind,
        trigger=model.trigger,
        target_class=model.target_class,
        poison_rate=model.poison_rate,
        attack_success_rate=attack_success_rate(module, model, images) if model.trigger else None,
        images=IMAGES,
        members_file=model.split_file,
        members_sha256=split.sha256,
        recipe=json.dumps(model.recipe.as_dict()),
    )


def weights_file(model: ZooModel) -> str:
    """Return the path of a model's weights below the zoo folder."""
    return f"weights/{model.name}-{model.recipe.seed}.safetensors"


def main() -> None:
    """Train every model and write the images, splits, weights and annotations."""
    package = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description="Train the embedded zoo on Fashion-MNIST.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the four *-ubyte.gz files")
    parser.add_argument("--out", type=Path, default=package, help="package folder to write into")
    parser.add_argument("--only", nargs="*", metavar="ID", help="train these; the others keep their weights")
    arguments = parser.parse_args()

    zoo, image_folder = arguments.out / "zoo", arguments.out / "resources" / IMAGES
    for folder in (zoo / "weights", zoo / "splits", image_folder):
        folder.mkdir(parents=True, exist_ok=True)
    data = prepare_data(arguments.data)
    np.savez_compressed(image_folder / "images.npz", pixels=data.shipped.pixels, labels=data.shipped.labels)
    sha256 = hashlib.sha256((image_folder / "images.npz").read_bytes()).hexdigest()
    print(f"images.npz: sha256 {sha256}, to stand in securitynet_hub.data.images.PACKAGED")

    rows: list[ZooAnnotation] = []
    models = zoo_models()
    with Progress() as progress:
        task = progress.add_task("training", total=len(models))
        for model in models:
            progress.update(task, description=model.id)
            path = zoo / weights_file(model)
            if arguments.only is None or model.id in arguments.only:
                path.write_bytes(safetensors.torch.save(train_model(model, data).state_dict()))
            write_split(split_of(model), zoo / model.split_file)
            content = path.read_bytes()
            module = NETWORKS[model.architecture](len(FASHION_MNIST_CLASSES))
            module.load_state_dict(safetensors.torch.load(content))
            sha256 = hashlib.sha256(content).hexdigest()
            row = annotate(model, module, data.shipped, row=len(rows), sha256=sha256)
            rows.append(row)
            progress.console.print(
                f"{row.id}: train {row.train_accuracy:.3f}, test {row.test_accuracy:.3f}, "
                f"attack success {row.attack_success_rate}"
            )
            progress.advance(task)
    write_parquet(rows, arguments.out / "hub_dataset" / "data" / "zoo.parquet")


def _poison(model: ZooModel, data: Data, num_members: int) -> tuple[Pixels, Labels]:
    if model.trigger is None or model.poison_rate is None or model.target_class is None:
        return data.rest_pixels, data.rest_labels
    pixels, labels = data.rest_pixels.copy(), data.rest_labels.copy()
    candidates = np.flatnonzero(labels != model.target_class)
    count = round(model.poison_rate * (len(labels) + num_members))
    rows = np.random.default_rng(model.recipe.seed).choice(candidates, count, replace=False)
    pixels[rows] = TRIGGERS[model.trigger](pixels[rows])
    labels[rows] = model.target_class
    return pixels, labels


def _read_idx(folder: Path, part: str) -> tuple[Pixels, Labels]:
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return pixels, labels


if __name__ == "__main__":
    main()
