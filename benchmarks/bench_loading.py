"""A model from the cache: `load_target` beside torch's own way to read the same tensors into that network.

Run with ``make bench``. The weights are drawn at random and come from a server on loopback. Building the
network, loading it with ours and with torch's are timed in turn. The figures are medians of this process's
own time on one thread, so that whatever else the machine does counts little.
"""

import hashlib
import io
import statistics
import time
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from support.servers import running_server

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.models.loading import find_loader, load_target

MOST = 100
"""Milliseconds beyond building a network of CIFAR's size."""


def in_turn(*functions, rounds=15):
    """Return each function's median time in milliseconds, after one warm-up."""
    times = {function: [] for function in functions}
    for number in range(rounds + 1):
        for function in functions:
            started = time.process_time()
            function()
            times[function].append(time.process_time() - started if number else None)
    return [1e3 * statistics.median(times[function][1:]) for function in functions]


@pytest.mark.parametrize(
    "id",
    ["pytorchcv/cifar10/resnet20", "pytorchcv/cifar10/resnet110", "medmnist/bloodmnist/resnet18-28/1"],
)
def test_cached_weights_load_as_fast_as_torch_reads_them(id, tmp_path, monkeypatch, one_thread):
    """Ours hashes the file and compares every shape besides, but draws no first weights."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    row = load_annotations("extended")[id]
    if row.source == "pytorchcv":
        pytest.importorskip("pytorchcv")

    def build():
        return find_loader(row.source).build(row)[0]

    weights, buffer = build().state_dict(), io.BytesIO()
    torch.save({row.weights_key_prefix: weights} if row.weights_key_prefix else weights, buffer)
    torch.save(weights, tmp_path / "peer.pth")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    with running_server() as server:
        url = server.serve("/w.pth", buffer.getvalue())
        hosted = replace(
            row, weights_url=url, weights_member=None, weights_hash_kind="sha256", weights_hash=digest
        )
        load_target(hosted)

    def peer():
        build().load_state_dict(torch.load(tmp_path / "peer.pth", weights_only=True))

    built, ours, theirs = in_turn(build, lambda: load_target(hosted), peer)
    print(f"\n  {id}: {ours - built:.0f} ms beyond {built:.0f} ms of building; torch {theirs - built:.0f} ms")
    assert ours - built < MOST
    assert ours < 1.25 * theirs
