"""From a link to a target: every row's checkpoint in its publisher's form, from a server with its faults.

The weights are drawn at random, not the publishers': what is shown is that container, hash, nesting and
network fit together. Every test run has the smallest network of each family; ``make test-hosted`` has all.
"""

import os
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import dill
import pytest
import torch
from huggingface_hub import constants
from securitynet_hub.loaders import pytorchcv
from support.published_checkpoints import digest, host, save, undrawn
from support.servers import PIECE

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import FirstUseWarning, MissingPackageError, WeightsError
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.loading import find_loader, load_target
from securitynet_hub.weights.download import http as web
from securitynet_hub.weights.fetch import fetch

ROWS = load_annotations("extended")
LANDSCAPE = "adversary_loss_landscape/cifar10"

SMALL = 4_000_000
"""Parameters (16 MB) of the largest network that every test run writes and reads."""

UNCOUNTED = (
    "medmnist/bloodmnist/resnet18-28/1",
    f"{LANDSCAPE}/vgg_plain_const_eps8_wd1e-3_200/3",
    "robust_models_transfer/imagenet-1k/resnet18_l2_eps0.01",
    "robust_models_transfer/imagenet-1k/shufflenet_l2_eps0",
    "robust_models_transfer/imagenet-1k/mobilenet_l2_eps0",
    "robust_models_transfer/imagenet-1k/mnasnet_l2_eps0",
)
"""The smallest of families whose rows do not state how many there are."""


def of_each_family():
    smallest = {}
    for row in ROWS.values():
        if row.num_parameters is not None and row.num_parameters <= SMALL:
            known = smallest.setdefault((row.source, row.family), row)
            if row.num_parameters < known.num_parameters:
                smallest[row.source, row.family] = row
    return [*UNCOUNTED, *(row.id for row in smallest.values())]


def shard():
    """Return every row that is served, or those of ``SHARD=2/8``: the second of every eight."""
    number, count = map(int, os.environ.get("SHARD", "1/1").split("/"))
    assert 1 <= number <= count, f"SHARD={number}/{count}"
    return [row.id for row in ROWS.values() if row.source != "package"][number - 1 :: count]


def manner(row, size):
    """Return how the server behaves, which the row's place in the list decides."""
    return (
        {},
        {"delay": 0.5 * PIECE / size},
        {"drops": [size // 3] * 3},
        {"first": [(503, {"Retry-After": "0"}), (429, {})]},
        {"ranges": False},
    )[[*ROWS].index(row.id) % 5]


@pytest.fixture
def folder():
    """Give a place whose files go with the test: pytest keeps what lies in its own."""
    with tempfile.TemporaryDirectory(prefix="securitynet-tests-") as name:
        yield Path(name)


@pytest.fixture
def server(hub, folder, monkeypatch):
    """Keep downloads in that place, and wait only shortly before a server is asked again."""
    monkeypatch.setattr(constants, "HF_HOME", str(folder / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "home/hub"))
    monkeypatch.setattr(web, "RETRIES", replace(web.RETRIES, first_delay=0.01))
    return hub


def check(row, server, folder):
    """Write, serve, load and compare; return the row as served."""
    try:
        hosted = host(row, folder, server)
    except MissingPackageError as error:
        pytest.skip(str(error))
    route = server.routes[hosted.path]
    on_hub = hosted.row.weights_url == row.weights_url
    behaviour = manner(row, hosted.size)
    if not on_hub or "first" not in behaviour:  # huggingface_hub gives up on a busy server
        vars(route).update(behaviour)
    known = row.weights_hash_kind not in (None, "sha256-prefix")
    with nullcontext() if known else pytest.warns(FirstUseWarning):
        target = load_target(hosted.row)
    loaded = target.module.state_dict()
    assert loaded.keys() == hosted.tensors.keys()
    for key, value in hosted.tensors.items():
        if not key.endswith("num_batches_tracked"):  # it may be missing from the file
            assert loaded[key].dtype == value.dtype, key
            assert torch.equal(loaded[key], value), key
    assert target.num_classes == row.num_classes
    gets = [request for request in server.asked(hosted.path) if request.method == "GET"]
    assert not route.drops or on_hub, "a dropped connection was never taken up"
    if "drops" in behaviour and not on_hub:  # huggingface_hub takes up from its last 10 MB
        assert any(request.start > 0 for request in gets)
    if row.source == "medmnist":
        assert (sum(request.sent for request in gets) < 0.8 * hosted.size) == route.ranges
    return hosted.row


SUFFIXES = {
    "ImageNet-1k": "", "CUB-200-2011": "_cub",
    "CIFAR-10": "_cifar10", "CIFAR-100": "_cifar100", "SVHN": "_svhn",
}  # fmt: skip
"""Of the names of pytorchcv's constructors."""

with_vision = pytest.mark.skipif(
    "VISION" not in os.environ, reason="part of make test-vision, as some need torchvision"
)
each_source = pytest.mark.parametrize(
    "source", sorted({row.source for row in ROWS.values()} - {"torchvision"})
)


def check_networks(source, *fields):
    """Build the smallest network of all rows that share these, without its weights."""
    networks = {}
    for row in sorted(ROWS.values(), key=lambda row: row.num_parameters or 0):
        if row.source == source:
            networks.setdefault(tuple(getattr(row, field) for field in fields), row)
    for row in networks.values():
        with undrawn():
            network, transform = find_loader(row.source).build(row)
        assert count_classes(network) == row.num_classes, row.id
        if row.num_parameters is not None:  # as published
            trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
            assert trained == row.num_parameters, row.id
        assert transform.shape == (*[row.image_size or 224] * row.input_dims, 3), row.id


@with_vision
@each_source
def test_every_family_has_a_network_for_each_of_its_data_sets(source):
    """Those of torchvision are built in tests/vision/test_torchvision.py."""
    check_networks(source, "family", "dataset", "num_classes", "image_size", "input_dims")


def test_every_row_of_pytorchcv_names_a_network_of_its_architecture_and_data_set():
    for row in ROWS.values():
        if row.source == "pytorchcv":
            assert row.constructor == row.architecture + SUFFIXES[row.dataset]
            assert row.id.split("/")[2] == row.architecture
            assert pytorchcv.constructor(row.constructor).__name__ == row.constructor


@pytest.mark.exhaustive
@with_vision
@each_source
def test_every_row_has_a_network(source):
    """But once those of rows that differ in their files alone."""
    fields = ("constructor", "architecture", "num_classes", "image_size", "input_dims", "num_parameters")
    check_networks(source, *fields)


@pytest.mark.parametrize("id", of_each_family())
def test_one_row_of_each_family(id, server, folder):
    row = check(ROWS[id], server, folder)
    sent = server.sent
    load_target(row)
    assert server.sent == sent, "the second load needs no network"


@pytest.mark.exhaustive
@pytest.mark.parametrize("id", shard())
def test_every_row(id, server, folder):
    check(ROWS[id], server, folder)


@pytest.mark.parametrize("id", [row.id for row in ROWS.values() if row.source == "package"])
def test_a_package_brings_its_own(id):
    """What is served by no server lies in an installed package, as published."""
    row = ROWS[id]
    pytest.importorskip(row.weights_url.removeprefix("package:").partition("/")[0])
    loaded = load_target(row).module.state_dict()
    published = torch.load(fetch(row), weights_only=True)
    assert loaded.keys() == published.keys()
    assert all(torch.equal(loaded[key], value) for key, value in published.items())


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_published_file_is_not_run(legacy, server, folder):
    class Hostile:
        def __reduce__(self):
            return open, (str(folder / "canary"), "w")

    row = ROWS[f"{LANDSCAPE}/vgg_plain_const_eps8_wd1e-3_200/3"]
    save({"conv.weight": Hostile()}, folder / "model.ckpt", legacy=legacy)
    content = (folder / "model.ckpt").read_bytes()
    url = server.serve("/model.ckpt", content)
    with pytest.raises(WeightsError, match="refused"):
        load_target(replace(row, weights_url=url, weights_hash=digest("git-blob-sha1", content)))
    assert not (folder / "canary").exists()


def test_a_function_pickled_by_dill_is_refused(server, folder):
    """Checkpoints of robustness with a learning rate that is a function hold its code."""
    row = ROWS["robust_models_transfer/imagenet-1k/resnet18_l2_eps0.01"]
    content = {"model": {}, "schedule": {"lr_lambdas": [lambda epoch: 0.1**epoch]}}
    save(content, folder / "m.ckpt", legacy=True, pickle_module=dill)
    url = server.serve("/m.ckpt", (folder / "m.ckpt").read_bytes())
    with pytest.warns(FirstUseWarning), pytest.raises(WeightsError, match="asks for 'dill"):
        load_target(replace(row, weights_url=url, weights_hash_kind=None, weights_hash=None))
