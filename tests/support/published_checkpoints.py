"""Checkpoints in each publisher's own form, their numbers drawn at random, served as the publisher does.

Containers, nesting, names, dtypes, devices and what lies beside the weights follow the publisher's code. What
is not known of a single file is taken by rule: which release of torch wrote it, hence whether it is zipped
(pytorchcv, adversary_loss_landscape, torchvision; the borders are estimates), and how often robustness
wrapped a network where the row does not say.
"""

import hashlib
import json
import mmap
import re
import zipfile
import zlib
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import dill
import torch

from securitynet_hub.models.loading import find_loader

# Names, shapes, parameter counts and float64 outputs of the authors' own modules, filled as `filling` in
# test_loaders.py does.
REFERENCES = {
    reference["architecture"]: reference
    for reference in json.loads((Path(__file__).with_name("reference_architectures.json")).read_text())
}
HEADS = ("linear.weight", "linear.bias", "classifier.weight", "classifier.bias")
CUDA = "cuda:0"


class Hosted(NamedTuple):
    """A row whose link leads to a server on loopback, and what a loaded network must hold."""

    row: object
    tensors: dict
    path: str
    size: int


def reference_name(row):
    if row.source == "medmnist":
        variant = {None: "28", "2.5d": "2.5D", "3d": "3D", "acs": "acs"}[row.variant]
        return f"medmnist/{row.architecture}-{variant}"
    return f"{row.source}/{row.architecture.removeprefix('cifar10_')}-width8"


@contextmanager
def undrawn():
    """Build networks without drawing first weights: fast, and memory that nobody fills is never taken."""

    def leave(first, *args, **options):
        return first

    names = [name for name in vars(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    layers = (torch.nn.BatchNorm2d, torch.nn.Conv2d, torch.nn.Linear)
    with ExitStack() as stack:
        for owner, name in [(torch.nn.init, n) for n in names] + [(c, "reset_parameters") for c in layers]:
            stack.enter_context(mock.patch.object(owner, name, leave))
        yield


def described(row):
    """Return tensors of the names, shapes and dtypes of the row's, and the names of its parameters.

    They are the authors' where their own modules were written down, else those of the network that the
    loader builds: where its code is the publisher's package.
    """
    with undrawn():
        network = find_loader(row.source).build(row)[0]
    state = network.state_dict(keep_vars=True)  # tied tensors stay one
    if row.image_size in (28, 32) and row.source in ("medmnist", "adversary_loss_landscape"):
        authors = OrderedDict()
        for key, shape in REFERENCES[reference_name(row)]["state_dict"].items():
            dtype = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
            authors[key] = torch.empty([row.num_classes, *shape[1:]] if key in HEADS else shape, dtype=dtype)
        authors._metadata = state._metadata
        state = authors
    return state, [name for name, _ in network.named_parameters()]


PERIOD = 4093
"""Numbers after which drawn tensors repeat: within a deflater's window, and a prime, unlike any width."""


def draw(state, seed):
    """Fill described tensors with random numbers of their dtypes, tied ones with the same."""
    generator = torch.Generator().manual_seed(seed)

    def filled(value):
        if value.is_floating_point():
            drawn = torch.rand(PERIOD, generator=generator).to(value.dtype)
        else:
            high = 2 if value.dtype is torch.bool else 100
            drawn = torch.randint(0, high, (PERIOD,), generator=generator).to(value.dtype)
        flat = torch.empty(value.numel(), dtype=value.dtype)
        whole, rest = divmod(len(flat), PERIOD)
        flat[: whole * PERIOD].view(whole, PERIOD).copy_(drawn)
        flat[whole * PERIOD :].copy_(drawn[:rest])
        return flat.view(value.shape)

    drawn = {id(value): filled(value) for value in state.values()}
    tensors = OrderedDict((key, drawn[id(value)]) for key, value in state.items())
    tensors._metadata = state._metadata
    return tensors


def renamed(tensors, name):
    """Rename every key, keeping order and the modules' versions, as ``state_dict`` has them."""
    result = OrderedDict((name(key), value) for key, value in tensors.items())
    result._metadata = tensors._metadata
    return result


def save(content, path, *, legacy, device="cpu", **options):
    """``torch.save``, as if the tensors were on that device: the file names it beside each storage."""
    with mock.patch.object(torch.serialization, "location_tag", return_value=device):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy, **options)


def without_counters(tensors):
    """As torch before 0.4.1 wrote them."""
    kept = ((key, value) for key, value in tensors.items() if not key.endswith("num_batches_tracked"))
    return OrderedDict(kept)


def save_pytorchcv(row, tensors, parameters, path):
    """A plain state dict of CPU tensors."""
    major, minor, release = map(int, re.search(r"/v(\d+)\.(\d+)\.(\d+)/", row.weights_url).groups())
    if (major, minor, release) < (0, 0, 100):
        tensors = without_counters(tensors)
    save(tensors, path, legacy=(major, minor, release) < (0, 0, 475))


def save_medmnist(row, tensors, parameters, path):
    save({"net": tensors}, path, legacy=True, device=CUDA)


def save_adversary_loss_landscape(row, tensors, parameters, path):
    save(tensors, path, legacy=row.seed != 2, device=CUDA)


def save_robust_models_transfer(row, tensors, parameters, path):
    """robustness 1.2.1's checkpoint, pickled by dill: model, attacker, normalisers, SGD, schedule.

    The attacker holds the very same network. SGD's state has the addresses of the parameters as keys, as
    torch 1.5 wrote them.
    """
    prefix = (
        row.weights_key_prefix or ("module.model.model.", "module.model.")[zlib.crc32(row.id.encode()) % 2]
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model = OrderedDict()
    for normaliser, network in (
        ("module.normalizer", prefix),
        ("module.attacker.normalize", prefix.replace("module.", "module.attacker.", 1)),
    ):
        model |= {f"{normaliser}.new_mean": mean.clone(), f"{normaliser}.new_std": std.clone()}
        model |= {f"{network}{key}": value for key, value in tensors.items()}
    model._metadata = OrderedDict({"": {"version": 1}, "module": {"version": 1}})
    addresses = {name: 139_900_000_000_000 + 72 * number for number, name in enumerate(parameters)}
    group = {"lr": 1e-4, "momentum": 0.9, "dampening": 0, "weight_decay": 1e-4, "nesterov": False}
    optimizer = {
        "state": {addresses[name]: {"momentum_buffer": tensors[name] * 0.1} for name in parameters},
        "param_groups": [group | {"initial_lr": 0.1, "params": [*addresses.values()]}],
    }
    schedule = {"step_size": 30, "gamma": 0.1, "base_lrs": [0.1], "last_epoch": 89, "_step_count": 90}
    schedule |= {"_get_lr_called_within_step": False, "_last_lr": [0.1 * 0.1**2]}
    content = {"model": model, "optimizer": optimizer, "schedule": schedule, "epoch": 90, "amp": None}
    save(content, path, legacy=True, device=CUDA, pickle_module=dill)


FIRST_OF_TORCHVISION = (
    "DenseNet",
    "MNASNet0_5",
    "MNASNet1_0",
    "GoogLeNet",
    "MobileNet_V2_Weights.IMAGENET1K_V1",
)
"""Checkpoints from before torch 1.6, whose files were never written anew."""


def save_torchvision(row, tensors, parameters, path):
    """A plain state dict under the names of its day, with the auxiliary heads that evaluation leaves."""
    name = row.id.rpartition("/")[2]
    if name.startswith("DenseNet"):
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))(\d)")
        tensors = without_counters(renamed(tensors, lambda key: old.sub(r"\1.\2", key)))
    elif name.startswith("ViT"):
        old = {"mlp.0": "mlp.linear_1", "mlp.3": "mlp.linear_2"}
        tensors = renamed(tensors, lambda key: re.sub(r"mlp\.[03]", lambda found: old[found[0]], key))
    elif name.startswith(("GoogLeNet", "Inception")):
        from torchvision import models

        with undrawn():
            whole = getattr(models, row.architecture)(weights=None, aux_logits=True, init_weights=False)
        tensors = draw(whole.state_dict(), 1) | tensors
    save(tensors, path, legacy=name.startswith(FIRST_OF_TORCHVISION))


SAVE = {
    "adversary_loss_landscape": save_adversary_loss_landscape,
    "medmnist": save_medmnist,
    "pytorchcv": save_pytorchcv,
    "robust_models_transfer": save_robust_models_transfer,
    "torchvision": save_torchvision,
}


def pack(row, path):
    """Put a checkpoint into the archive that its publisher offers and return where that is."""
    archive = path.with_name("archive.zip")
    if row.source == "pytorchcv":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.write(path, path.name)
    else:  # beside other runs and other frameworks, none compressed
        run = int(path.stem[-1])
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            file.writestr(f"{path.stem[:-1]}{run % 3 + 1}.pth", bytes(path.stat().st_size))
            file.writestr("autokeras_1/saved_model.pb", bytes(100_000))
            file.write(path, path.name)
            file.writestr("automl_vision_1/model.tflite", bytes(100_000))
    path.unlink()
    return archive


def digest(kind, content, length=None):
    """Hash a file as the row's publisher does; None where the publisher does not."""
    if kind is None:
        return None
    if kind == "git-blob-sha1":
        blob = hashlib.sha1(b"blob %d\0" % len(content))
        blob.update(content)
        return blob.hexdigest()
    return hashlib.new(kind.partition("-")[0], content).hexdigest()[:length]


def mapped(path):
    """Return a file's bytes without taking memory for them."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def host(row, folder, server):
    """Write the row's file in its publisher's form below `folder` and serve it as the publisher does.

    Its path and name are those of the publisher's link; a link to the Hugging Face Hub stays as it is.
    """
    state, parameters = described(row)
    tensors = draw(state, zlib.crc32(row.id.encode()))
    link = urlsplit(row.weights_url)
    path = folder / (row.weights_member or Path(link.path).name)
    SAVE[row.source](row, tensors, parameters, path)
    content = mapped(path)
    found = digest(row.weights_hash_kind, content, row.weights_hash and len(row.weights_hash))
    if row.weights_member is not None:
        content = mapped(pack(row, path))
    if link.netloc == "huggingface.co":
        sha256, commit = hashlib.sha256(content).hexdigest(), link.path.split("/")[4]
        headers = {"X-Repo-Commit": commit, "X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": len(content)}
        elsewhere = server.serve(f"/xet/{sha256}", content, etag=f'"{sha256}"').replace(
            "127.0.0.1", "localhost"
        )
        server.serve(link.path, first=[(302, headers | {"Location": elsewhere})] * 20)
        return Hosted(replace(row, weights_hash=found), tensors, f"/xet/{sha256}", len(content))
    path = link.path
    if link.netloc == "github.com":  # releases lie on another server, behind a link that changes
        path = "/release-assets" + link.path
        server.serve(link.path, redirect=server.url(path) + "?sig=0")
    server.serve(path, content)
    return Hosted(
        replace(row, weights_url=server.url(link.path), weights_hash=found), tensors, path, len(content)
    )
