"""From a link to a target: each source's checkpoints in its publisher's form, served by a real server.

The weights are drawn at random, not the publishers': what is shown is that container, hash, nesting and
network fit together.
"""

import hashlib
import io
import zipfile
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from servers import running_server

from securitynet_hub.annotations import load_annotations
from securitynet_hub.errors import FirstUseWarning, WeightsError
from securitynet_hub.targets import find_loader, load_target

ROWS = load_annotations()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with running_server() as running:
        yield running


def saved(content, *, legacy=False):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def random_network(row):
    torch.manual_seed(0)
    return find_loader(row.source).build(row)[0].eval()


def as_medmnist(row, network, server):
    """A legacy pickle of {'net': ...}, stored beside others in one zip; no hash is published."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("autokeras_1/saved_model.pb", b"\0" * 100_000)
        file.writestr(row.weights_member, saved({"net": network.state_dict()}, legacy=True))
    return replace(row, weights_url=server.serve("/weights.zip", archive.getvalue()))


def as_pytorchcv(row, network, server):
    """A plain state dict, alone in a deflated zip; the sha1 is of the unpacked file."""
    content = saved(network.state_dict())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(row.weights_member, content)
    digest = hashlib.sha1(content).hexdigest()
    return replace(row, weights_url=server.serve("/w.pth.zip", archive.getvalue()), weights_hash=digest)


def as_adversary_loss_landscape(row, network, server):
    """A plain state dict as a git blob."""
    content = saved(network.state_dict())
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return replace(row, weights_url=server.serve("/model.ckpt", content), weights_hash=digest)


def as_robust_models_transfer(row, network, server):
    """The robustness library's form: model, attacker's copy, normalisers, optimiser, epoch."""
    model = {f"module.model.{key}": value for key, value in network.state_dict().items()}
    model |= {f"module.attacker.model.{key}": value for key, value in network.state_dict().items()}
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for place in ("module.normalizer", "module.attacker.normalize"):
        model |= {f"{place}.new_mean": mean, f"{place}.new_std": std}
    optimizer = torch.optim.SGD(network.parameters(), 0.1).state_dict()
    content = saved({"model": model, "optimizer": optimizer, "schedule": None, "epoch": 89, "amp": None})
    digest = hashlib.sha256(content).hexdigest()
    return replace(row, weights_url=server.serve("/m.ckpt", content), weights_hash=digest)


LANDSCAPE = "adversary_loss_landscape/cifar10"
PUBLISHED = {
    "pytorchcv/cifar10/resnet20": as_pytorchcv,
    "medmnist/bloodmnist/resnet18-28/1": as_medmnist,
    "medmnist/adrenalmnist3d/resnet18-acs/2": as_medmnist,
    f"{LANDSCAPE}/resnet_periodic_cosine_eps8_wd1e-3_max16_100/1": as_adversary_loss_landscape,
    f"{LANDSCAPE}/vgg_plain_const_eps8_wd1e-3_200/3": as_adversary_loss_landscape,
    "robust_models_transfer/imagenet-1k/resnet18_l2_eps0.01": as_robust_models_transfer,
}


@pytest.mark.parametrize("id", PUBLISHED)
def test_a_published_checkpoint_becomes_a_target(id, server):
    row = ROWS[id]
    if row.source == "pytorchcv":
        pytest.importorskip("pytorchcv")
    network = random_network(row)
    hosted = PUBLISHED[id](row, network, server)
    trusting = nullcontext() if row.weights_hash else pytest.warns(FirstUseWarning)
    with trusting:
        target = load_target(hosted)
    loaded = target.module.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())
    sent = server.sent
    again = load_target(hosted)
    assert server.sent == sent, "the second load needs no network"
    assert torch.equal(again.module.state_dict()[key := next(iter(loaded))], loaded[key])


def test_code_in_a_published_file_is_not_run(server, tmp_path):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    row = ROWS[f"{LANDSCAPE}/vgg_plain_const_eps8_wd1e-3_200/3"]
    content = saved({"conv.weight": Hostile()})
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    url = server.serve("/model.ckpt", content)
    with pytest.raises(WeightsError, match="refused"):
        load_target(replace(row, weights_url=url, weights_hash=digest))
    assert not (tmp_path / "canary").exists()
