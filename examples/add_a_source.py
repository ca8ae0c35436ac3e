"""Add a source of weights: one file with one function, and a row for each model.

A real source is a file in ``loaders/`` and a table of rows, as the README shows. Here both are made in a
temporary folder, with a checkpoint of a linear classifier.
"""

import hashlib
import tempfile
from pathlib import Path

import securitynet_hub.loaders
import torch
from safetensors.torch import save_file

import securitynet_hub as hub
from securitynet_hub.annotations.schema import unlisted

LOADER = '''
"""The classifiers of My Lab: linear ones on 28 x 28 grey images."""

import torch

from securitynet_hub.data.transforms import Transform


def build(annotation):
    """Return the annotated network, its weights still to be loaded, and its preprocessing."""
    layers = torch.nn.Flatten(), torch.nn.Linear(28 * 28, annotation.num_classes)
    return torch.nn.Sequential(*layers), Transform(height=28, width=28, mean=(0.5,), std=(0.5,))
'''

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "my_lab.py").write_text(LOADER)
    securitynet_hub.loaders.__path__.append(folder)

    weights = Path(folder) / "linear.safetensors"
    save_file({"1.weight": torch.zeros(10, 784), "1.bias": torch.arange(10.0)}, weights)
    row = unlisted(
        "my_lab",
        "fashion-mnist",
        "linear",
        architecture="linear",
        num_classes=10,
        image_size=28,
        weights_url=f"file:{weights}",
        weights_hash_kind="sha256",
        weights_hash=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    target = hub.load_target(row)
    print(
        target.id,
        tuple(target.transform.shape),
        "answers class",
        int(target.module(torch.zeros(1, 1, 28, 28)).argmax()),
    )
    securitynet_hub.loaders.__path__.remove(folder)
