"""Each source's networks are its publisher's, and load checkpoints in its publisher's form.

The checkpoints are given to `load_target` in place of `load_weights`: how files are had, verified and read is
tested with the weights.
"""

import json
import math
import sys
import types
import zlib
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from securitynet_hub import targets
from securitynet_hub.annotations import load_annotations
from securitynet_hub.errors import MissingPackageError, ModelError, UnknownNameError, WeightsError
from securitynet_hub.loaders import pytorchcv, robust_models_transfer
from securitynet_hub.resnets import torchvision_resnet
from securitynet_hub.targets import count_classes, find_loader, known_loaders, load_target

# Names, shapes, parameter counts and float64 outputs of the authors' own modules, filled as `filling` does.
REFERENCES = {
    reference["architecture"]: reference
    for reference in json.loads((Path(__file__).parent / "data/reference_architectures.json").read_text())
}
ROWS = load_annotations()


def rows_of(source):
    return [row for row in ROWS.values() if row.source == source]


def reference_name(row):
    if row.source == "medmnist":
        variant = {None: "28", "2.5d": "2.5D", "3d": "3D", "acs": "acs"}[row.variant]
        return f"medmnist/{row.architecture}-{variant}"
    return f"{row.source}/{row.architecture.removeprefix('cifar10_')}-width8"


def filling(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    n = math.prod(shape)
    waves = torch.sin(0.37 * torch.arange(n).double() + zlib.crc32(name.encode()) % 1000 / 1000).reshape(
        shape
    )
    if len(shape) > 1:
        return waves * math.sqrt(2 / (n // shape[0]))
    if name.endswith("running_var"):
        return 1 + 0.5 * waves**2
    return 0.05 * waves if name.endswith(("running_mean", "bias")) else 1 + 0.1 * waves


def published(row, tensors):
    """Put tensors into the nesting that the row's publisher uses."""
    return {"net": tensors} if row.source == "medmnist" else tensors


@pytest.fixture
def give(monkeypatch):
    """Let `load_target` find this checkpoint."""
    return lambda checkpoint: monkeypatch.setattr(targets, "load_weights", lambda row: checkpoint)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_every_source_has_a_loader():
    sources = {row.source for config in ("models", "zoo") for row in load_annotations(config).values()}
    assert sources <= set(known_loaders())
    for source in known_loaders():
        assert callable(find_loader(source).build)


class TestReferences:
    """AdversaryLossLandscape's two networks and MedMNIST's eight."""

    def test_every_row_has_one(self):
        rows = [*rows_of("medmnist"), *rows_of("adversary_loss_landscape")]
        assert len(rows) == 246
        assert {reference_name(row) for row in rows} == set(REFERENCES)

    @pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=pytest.mark.slow if n.endswith(("D", "acs")) else ()) for n in REFERENCES],
    )
    def test_names_shapes_and_outputs_are_the_authors(self, name, give, float64):
        reference = REFERENCES[name]
        row = next(r for r in ROWS.values() if r.source in name and reference_name(r) == name)
        row = replace(row, num_classes=len(reference["output"]))
        shapes = reference["state_dict"]
        give(published(row, {key: filling(key, shape) for key, shape in shapes.items()}))
        module = load_target(row).module
        assert {key: list(value.shape) for key, value in module.state_dict().items()} == shapes
        assert sum(p.numel() for p in module.parameters()) == reference["parameters"]
        shape = reference["input_shape"]
        inputs = (0.5 + 0.5 * torch.sin(0.011 * torch.arange(math.prod(shape)))).reshape(1, *shape)
        with torch.inference_mode():
            outputs = module(inputs)[0]
        assert outputs.tolist() == pytest.approx(reference["output"], abs=1e-6)

    @pytest.mark.parametrize("source", ["medmnist", "adversary_loss_landscape"])
    def test_every_row_builds_and_loads_its_publishers_form(self, source, give):
        """On torch's meta device: names, shapes and counts are checked, no numbers are moved."""
        rows = rows_of(source)
        assert len(rows) == {"medmnist": 174, "adversary_loss_landscape": 72}[source]
        for row in rows:
            with torch.device("meta"):
                tensors = OrderedDict(
                    (key, torch.empty(shape))
                    for key, shape in REFERENCES[reference_name(row)]["state_dict"].items()
                )
                for key in ("linear.weight", "linear.bias", "classifier.weight", "classifier.bias"):
                    if key in tensors:
                        tensors[key] = torch.empty(row.num_classes, *tensors[key].shape[1:])
                for key in tensors:
                    if key.endswith("num_batches_tracked"):
                        tensors[key] = torch.tensor(0)
                give(published(row, tensors))
                target = load_target(row)
            assert target.num_classes == row.num_classes, row.id
            assert target.transform.shape == (*[row.image_size] * row.input_dims, 3), row.id
            assert not any(part.training for part in target.module.modules())

    def test_preprocessing_is_the_publishers(self):
        def transform(id):
            return find_loader(ROWS[id].source).build(ROWS[id])[1]

        black = np.zeros((1, 28, 28, 28, 1), np.uint8)
        for name, top in (("adrenal", 0.5), ("vessel", 0.5), ("organ", 1), ("nodule", 1), ("synapse", 1)):
            volumes = transform(f"medmnist/{name}mnist3d/resnet18-3d/1")(np.concatenate([black, black + 255]))
            assert (volumes.min(), volumes.max()) == (0, top)
        images = transform("medmnist/pathmnist/resnet18-28/1")(
            np.array([[[0]], [[255]]], np.uint8).repeat(784, 1).reshape(2, 28, 28, 1)
        )
        assert (images.min(), images.max()) == (-1, 1)

    def test_large_images_have_torchvisions_layout(self, give):
        row = replace(ROWS["medmnist/pathmnist/resnet18-28/1"], image_size=224)
        tensors = torchvision_resnet("resnet18", 9).state_dict()
        give({"net": tensors})
        target = load_target(row)
        assert {"fc.bias", "layer2.0.downsample.0.weight", "conv1.weight"} <= set(tensors)
        inputs = target.transform(np.zeros((2, 28, 28, 3), np.uint8))
        with torch.inference_mode():
            assert target.module(inputs).shape == (2, 9)
