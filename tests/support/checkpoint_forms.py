"""Checkpoints in the forms that people have, each written by what writes it, or laid out as that lays it out.

`FORMS` is the table: a form's name, what writes weights in it, and what `load_target` needs or says.
Classes of packages that are not installed are stood in for while a file is written, and gone when it is read.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import enum
import io
import json
import pathlib
import pickle
import random
import struct
import sys
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.loading import load_target

TRANSFORM = Transform(height=8, width=8, channels=3)


class Net(nn.Module):
    """A small classifier with BatchNorm; its names are a common network's."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class Cosine(nn.Module):
    """LDAM-DRW's head: a weight of (features, classes), normalised, defined before the layers below it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5))
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.features(x).mean((2, 3)), dim=1) @ F.normalize(self.weight, dim=0)


class Auxiliary(Net):
    """A second head, for training only, defined after the main one."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = nn.Linear(6, 4)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(192, 192), nn.Linear(192, 192), nn.Linear(192, 5)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.b(self.a(x.flatten(1))))


class Masked(Net):
    """A mask of attention and an expanded tensor among the buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.triu(torch.full((4, 4), -torch.inf), 1))
        self.register_buffer("position", torch.arange(6.0).expand(3, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.mask.softmax(1)[0, 0] + self.position[1, 1]


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Build a network and give every BatchNorm statistics that differ from the initial ones."""
    torch.manual_seed(seed)
    net = build()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.num_batches_tracked.fill_(7)
    return net.eval()


def trained(net: nn.Module) -> tuple[Any, Any]:
    """Return the states of an optimiser and of a schedule after a step."""
    working = copy.deepcopy(net)
    optimizer = torch.optim.SGD(working.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    for parameter in working.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    schedule.step()
    return optimizer.state_dict(), schedule.state_dict()


def under(prefix: str, state: Any) -> Any:
    """Put a prefix before every key."""
    return OrderedDict((f"{prefix}{key}", value) for key, value in state.items())


def older(net: nn.Module, by: float = 0.9) -> Any:
    """Return other weights of the same form, as an average or an earlier epoch has them."""
    return {k: v * by if v.is_floating_point() else v for k, v in net.state_dict().items()}


@contextmanager
def standing_in(*names: str):
    """Stand in for classes of packages while a file is written; afterwards nobody can import them."""
    made = {}
    before = set(sys.modules)
    for name in names:
        module, _, last = name.rpartition(".")
        for depth in range(module.count(".") + 1):
            part = ".".join(module.split(".")[: depth + 1])
            sys.modules.setdefault(part, types.ModuleType(part))
        made[last] = type(
            last, (), {"__module__": module, "__init__": lambda self, **of: vars(self).update(of)}
        )
        setattr(sys.modules[module], last, made[last])
    try:
        yield types.SimpleNamespace(**made)
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


class Colour(enum.Enum):
    """An enumeration of the author's."""

    RED = 1


def args(**more: Any) -> argparse.Namespace:
    """Return the command line of a training script."""
    return argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), milestones=[3, 5], **more)


def lightning(net: nn.Module, path: Any) -> None:
    optimizer, schedule = trained(net)
    with standing_in("lightning.fabric.utilities.data.AttributeDict") as made:
        content = {
            "epoch": 9, "global_step": 900, "pytorch-lightning_version": "2.4.0",
            "state_dict": under("model.", net.state_dict()) | {"criterion.weight": torch.ones(5)},
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 9}}}},
            "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(float("inf"))}},
            "optimizer_states": [optimizer], "lr_schedulers": [schedule], "hparams_name": "kwargs",
            "hyper_parameters": made.AttributeDict(lr=0.1, path=pathlib.Path("x")),
        }  # fmt: skip
        torch.save(content, path)


def timm(net: nn.Module, path: Any, *, ema: bool) -> None:
    content = {
        "epoch": 3, "arch": "net", "state_dict": net.state_dict(), "optimizer": trained(net)[0], "version": 2,
        "args": args(), "amp_scaler": {"scale": 65536.0, "_growth_tracker": 0}, "metric": np.float64(93.1),
    }  # fmt: skip
    torch.save(content | ({"state_dict_ema": older(net)} if ema else {}), path)


def mmpretrain(net: nn.Module, path: Any) -> None:
    with standing_in("mmengine.logging.history_buffer.HistoryBuffer") as made:
        buffer = made.HistoryBuffer(_log_history=np.ones(50), _statistics={"mean": print.__name__})
        content = {
            "meta": {"epoch": 3, "time": "20260101", "env": "x" * 70_000, "CLASSES": ("cat", "dog")},
            "state_dict": net.state_dict(), "optimizer": trained(net)[0],
            "message_hub": {"log_scalars": {"train/loss": buffer}, "runtime_info": {"cfg": "model = dict()"}},
            "param_schedulers": [trained(net)[1]],
        }  # fmt: skip
        torch.save(content, path)


def deit(net: nn.Module, path: Any) -> None:
    optimizer, schedule = trained(net)
    content = {
        "model": net.state_dict(), "optimizer": optimizer, "lr_scheduler": schedule, "epoch": 3,
        "model_ema": older(net), "scaler": {}, "args": args(output_dir=pathlib.PurePosixPath("out")),
    }  # fmt: skip
    torch.save(content, path)


def moco(net: nn.Module, path: Any) -> None:
    state = under("module.encoder_q.", net.state_dict()) | under("module.encoder_k.", older(net))
    state |= {"module.queue": torch.randn(8, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    torch.save({"epoch": 1, "arch": "net", "state_dict": state, "optimizer": trained(net)[0]}, path)


def moco_linear(net: nn.Module, path: Any) -> None:
    state = nn.DataParallel(net).state_dict()
    best = torch.tensor(71.1)
    torch.save({"epoch": 1, "arch": "net", "state_dict": state, "best_acc1": best, "optimizer": {}}, path)


def robustness(net: nn.Module, path: Any) -> None:
    state = under("module.model.", net.state_dict()) | under("module.attacker.model.", net.state_dict())
    for place in ("module.normalizer.", "module.attacker.normalize."):
        state |= {f"{place}new_{name}": torch.ones(3, 1, 1) for name in ("mean", "std")}
    import dill

    content = {"model": state, "optimizer": trained(net)[0], "schedule": None, "epoch": 90, "amp": None}
    torch.save(content, path, pickle_module=dill)


def dino(net: nn.Module, path: Any) -> None:
    student = under("module.backbone.", net.state_dict()) | {"module.head.last.weight": torch.randn(4, 6)}
    teacher = under("backbone.", older(net)) | {"head.last.weight": torch.randn(4, 6)}
    content = {"student": student, "teacher": teacher, "optimizer": {}, "epoch": 9, "args": args()}
    torch.save(content | {"dino_loss": {"center": torch.zeros(1, 4)}}, path)


def byol(net: nn.Module, path: Any) -> None:
    state = {"online_network_state_dict": net.state_dict(), "target_network_state_dict": older(net)}
    torch.save(state | {"optimizer_state_dict": trained(net)[0]}, path)


def catalyst(net: nn.Module, path: Any) -> None:
    metrics: Any = defaultdict(dict)
    metrics["valid"]["loss"] = np.float32(0.5)
    content = {
        "model_state_dict": net.state_dict(), "optimizer_state_dict": trained(net)[0], "stage_key": "train",
        "criterion_state_dict": OrderedDict(), "epoch_metrics": metrics, "checkpoint_data": {},
    }  # fmt: skip
    torch.save(content, path)


def ignite(net: nn.Module, path: Any) -> None:
    trainer = OrderedDict(epoch_length=10, max_epochs=3, iteration=30)
    optimizer, schedule = trained(net)
    torch.save({"trainer": trainer, "model": net.state_dict(), "optimizer": optimizer, "lr": schedule}, path)


def deepspeed(net: nn.Module, path: Any) -> None:
    shapes = OrderedDict((key, value.shape) for key, value in net.named_parameters())
    with standing_in("deepspeed.runtime.fp16.loss_scaler.LossScaler") as made:
        content = {
            "module": net.state_dict(), "param_shapes": [shapes], "ds_version": "0.15",
            "loss_scaler": made.LossScaler(cur_scale=1), "client": {"seed": 1},
        }  # fmt: skip
        torch.save(content, path)


def megatron(net: nn.Module, path: Any) -> None:
    state = net.state_dict(keep_vars=True)
    for value in state.values():
        if isinstance(value, nn.Parameter):
            value.tensor_model_parallel = False  # torch writes such attributes beside the numbers
    try:
        torch.save({"model": state, "rng_state": [torch.get_rng_state()], "args": args()}, path)
    finally:
        for value in state.values():
            vars(value).clear()


def random_states(net: nn.Module, path: Any) -> None:
    content = {
        "model": net.state_dict(), "python": random.getstate(), "numpy": np.random.get_state(),
        "generator": np.random.default_rng(0).bit_generator.state, "torch": torch.get_rng_state(),
    }  # fmt: skip
    torch.save(content, path)


def plain_objects(net: nn.Module, path: Any) -> None:
    content = {
        "model": net.state_dict(), "path": pathlib.Path("x"), "set": {1, "a"}, "bytes": b"\xff" * 300,
        "colour": Colour.RED, "when": datetime.datetime(2026, 1, 1), "took": datetime.timedelta(1),
        "log": "x" * 200_000, "pairs": {(0, 1): 2, (0, (1, 2)): 3, None: 4, 0.5: 5},
        "frozen": frozenset("ab"),
        "acc": np.float64(93.1), "confusion": np.eye(5), "dtype": np.dtype("float32"), "complex": 1 + 2j,
        "bound": float("inf"), "class": Net, "function": lightning, "large": 1 << 200,
    }  # fmt: skip
    torch.save(content, path)


def odd_tensors(net: nn.Module, path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    content = {
        "net": net.state_dict(), "sparse": torch.eye(3).to_sparse(), "loss": torch.tensor(float("inf")),
        "causal": torch.full((2, 2), -torch.inf), "nan": torch.tensor(float("nan")),
        "rows": torch.ones(1).expand(1000), "windows": torch.arange(9.0).unfold(0, 4, 1),
        "conjugate": torch.ones(3, dtype=torch.complex64).conj(),
        "complex": torch.ones(2, dtype=torch.complex128),
        "meta": torch.empty(3, device="meta"), "quantised": quantised,
    }  # fmt: skip
    torch.save(content, path)


def omegaconf(net: nn.Module, path: Any) -> None:
    """As omegaconf pickles a configuration: nodes that know their parents."""
    with standing_in("omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode") as made:
        config = made.DictConfig(_parent=None, _metadata={"ref_type": Any, "object_type": dict})
        config._content = {"lr": made.AnyNode(_parent=config, _val=0.1)}
        torch.save({"state_dict": net.state_dict(), "cfg": config}, path)


def own_classes(net: nn.Module, path: Any) -> None:
    with standing_in("my_lab.config.Config", "my_lab.meters.Meter") as made:
        content = {"net": net.state_dict(), "config": made.Config(a=1), "meters": [made.Meter(n=3)] * 2}
        torch.save(content, path)


def ultralytics(net: nn.Module, path: Any) -> None:
    content = {
        "epoch": -1,
        "model": None,
        "ema": copy.deepcopy(net).half(),
        "updates": 7,
        "train_args": {"lr": 1},
    }
    torch.save(content, path)


def swa_script(net: nn.Module, path: Any) -> None:
    """As the authors' script writes it (Izmailov et al. 2018)."""
    content = {"epoch": 3, "state_dict": older(net), "swa_state_dict": net.state_dict(), "swa_n": 5}
    torch.save(content | {"optimizer": trained(net)[0]}, path)


def fsdp(net: nn.Module, path: Any) -> None:
    state = {
        key.replace("features.", "features._fsdp_wrapped_module."): v for key, v in net.state_dict().items()
    }
    torch.save({"model": under("_fsdp_wrapped_module.", state)}, path)


def features_in_parallel(net: nn.Module, path: Any) -> None:
    """As pytorch/examples' ImageNet script trains AlexNet and VGG."""
    wrapped = copy.deepcopy(net)
    wrapped.features = nn.DataParallel(wrapped.features)
    torch.save({"epoch": 1, "state_dict": wrapped.state_dict(), "best_acc1": 55.0}, path)


def compile_(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.compile(module)


def compiled(net: nn.Module, path: Any) -> None:
    torch.save(compile_(net).state_dict(), path)


def compiled_within(net: nn.Module, path: Any) -> None:
    whole = copy.deepcopy(net)
    whole.features = compile_(whole.features)
    torch.save({"net": nn.DataParallel(whole).state_dict()}, path)


def checkpointed(net: nn.Module, path: Any) -> None:
    state = {
        k.replace("features.", "features._checkpoint_wrapped_module."): v for k, v in net.state_dict().items()
    }
    torch.save(state, path)


def averaged_model(net: nn.Module, path: Any) -> None:
    torch.save(torch.optim.swa_utils.AveragedModel(net).state_dict(), path)


def shards(net: nn.Module, path: Any, end: str) -> None:
    places: dict[str, str] = {}
    items = list(net.state_dict().items())
    for number, part in enumerate((items[:3], items[3:])):
        name = f"model-{number}.{end}"
        write = safetensors.torch.save_file if end == "safetensors" else torch.save
        write(dict(part), path.with_name(name))
        places |= {key: name for key, _ in part}
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


def without_counters(net: nn.Module, path: Any) -> None:
    torch.save({k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}, path)


def soup(net: nn.Module, path: Any) -> None:
    one, other = net.state_dict(), older(net, 1.0)
    torch.save({key: (one[key] + other[key]) / 2 for key in one}, path)


def thop(net: nn.Module, path: Any) -> None:
    state = net.state_dict()
    state |= {f"{name}total_ops": torch.zeros(1).double() for name in ("", "features.", "features.0.", "fc.")}
    torch.save(state, path)


def scripted(net: nn.Module, path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 8, 8)), path)


def keras(net: nn.Module, path: Any) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, "{}")


def npz(net: nn.Module, path: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value.numpy() for key, value in net.state_dict().items()})
    path.write_bytes(buffer.getvalue())


def with_nan(net: nn.Module, path: Any) -> None:
    state = {key: value.clone() for key, value in net.state_dict().items()}
    state["fc.weight"][0, 0] = float("nan")
    torch.save({"state_dict": state, "epoch": 3}, path)


def quantised(net: nn.Module, path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.ao.quantization.quantize_dynamic(net, {nn.Linear}).state_dict(), path)


def saved(make: Callable[[nn.Module], Any], **options: Any) -> Callable[[nn.Module, Any], None]:
    """Write by ``torch.save`` what is made of a network."""
    return lambda net, path: torch.save(make(net), path, **options)


class Form(NamedTuple):
    """A form of checkpoints.

    Attributes:
        name: as the table has it.
        write: writes a network's weights to a path.
        options: what `load_target` gets beside network and transform.
        build: makes the network.
        sentence: what it says if it refuses, as a regular expression; None if it loads.
        place: where the weights are found; None if that is not noted.
        warns: whether a warning says that other weights fit, too.
        average: whether the weights that are loaded are the averaged ones.
        end: of the file's name.
    """

    name: str
    write: Callable[[nn.Module, Any], None]
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    build: Callable[[], nn.Module] = Net
    sentence: str | None = None
    place: str | None = None
    warns: bool = False
    average: bool = False
    end: str = "pth"


EMA = {"key_prefix": "state_dict_ema"}
FORMS = [
    Form("state dict", saved(lambda net: net.state_dict())),
    Form(
        "state dict, before torch 1.6", saved(lambda n: n.state_dict(), _use_new_zipfile_serialization=False)
    ),
    Form("state dict, pickle protocol 5", saved(lambda net: net.state_dict(), pickle_protocol=5)),
    Form(
        "state dict, safetensors (HF Trainer)",
        lambda n, p: safetensors.torch.save_model(n, p, {"format": "pt"}),
    ),
    Form("pytorch-cifar", saved(lambda n: {"net": n.state_dict(), "acc": 93.1, "epoch": 3}), place="net"),
    Form(
        "pytorch-cifar, DataParallel",
        saved(lambda net: {"net": nn.DataParallel(net).state_dict(), "acc": 93.1}),
        place="net/module.",
    ),
    Form("DataParallel", saved(lambda net: nn.DataParallel(net).state_dict()), place="module."),
    Form("DataParallel around the features (pytorch/examples)", features_in_parallel, place="state_dict"),
    Form("Lightning", lightning, place="state_dict/model.", end="ckpt"),
    Form("timm", lambda net, path: timm(net, path, ema=False), place="state_dict"),
    Form("timm with averaged weights", lambda n, p: timm(n, p, ema=True), place="state_dict", warns=True),
    Form("timm, the averaged weights", lambda n, p: timm(n, p, ema=True), options=EMA, average=True),
    Form("MMPretrain", mmpretrain, place="state_dict"),
    Form("DeiT", deit, place="model", warns=True),
    Form("MoCo, pre-training", moco, place="state_dict/module.encoder_q.", warns=True),
    Form("MoCo, linear evaluation", moco_linear, place="state_dict/module.", end="pth.tar"),
    Form(
        "SimCLR, linear evaluation",
        saved(lambda net: {"state_dict": under("backbone.", net.state_dict()), "epoch": 1}),
        place="state_dict/backbone.",
    ),
    Form("DINO, the student", dino, place="student/module.backbone.", warns=True),
    Form(
        "DINO, the teacher", dino, options={"key_prefix": "teacher"}, place="teacher/backbone.", average=True
    ),
    Form("BYOL, the online network", byol, place="online_network_state_dict", warns=True),
    Form("SWA, AveragedModel", averaged_model, place="module."),
    Form(
        "SWA, the authors' script, the averaged weights", swa_script, options={"key_prefix": "swa_state_dict"}
    ),
    Form(
        "LDAM-DRW",
        saved(lambda n: {"epoch": 3, "arch": "net", "state_dict": n.state_dict(), "best_acc1": 77.0}),
        build=Cosine,
        place="state_dict",
        end="pth.tar",
    ),
    Form("an auxiliary head after the main one", saved(lambda net: net.state_dict()), build=Auxiliary),
    Form("robustness, dill", robustness, place="model/module.model.", end="pt"),
    Form("torch.compile", compiled, place="_orig_mod."),
    Form("torch.compile within DataParallel", compiled_within, place="net/module."),
    Form("FSDP, full state", fsdp, place="model/_fsdp_wrapped_module."),
    Form("activation checkpointing", checkpointed),
    Form("DeepSpeed, model states", deepspeed, place="module", end="pt"),
    Form("Megatron, tensors with attributes", megatron, place="model", end="pt"),
    Form(
        "Hugging Face shards, safetensors",
        lambda n, p: shards(n, p, "safetensors"),
        end="safetensors.index.json",
    ),
    Form("Hugging Face shards, torch", lambda net, path: shards(net, path, "bin"), end="bin.index.json"),
    Form(
        "fastai, learn.save",
        saved(lambda net: {"model": net.state_dict(), "opt": trained(net)[0]}),
        place="model",
    ),
    Form("Catalyst", catalyst, place="model_state_dict"),
    Form("Ignite", ignite, place="model", end="pt"),
    Form("a module saved whole", saved(lambda net: net)),
    Form(
        "a module saved whole, before torch 1.6",
        saved(lambda net: {"net": net, "acc": 93.1}, _use_new_zipfile_serialization=False),
        place="net",
    ),
    Form("a module saved whole, in half precision (Ultralytics)", ultralytics, place="ema", end="pt"),
    Form("tied weights saved once (safetensors.save_model)", safetensors.torch.save_model, build=Tied),
    Form(
        "half precision, counters too", saved(lambda net: {k: v.half() for k, v in net.state_dict().items()})
    ),
    Form("mean of two (soup)", soup),
    Form("without num_batches_tracked (torch 0.4.0)", without_counters),
    Form("with thop's counters", thop),
    Form("states of random generators beside", random_states, place="model"),
    Form(
        "Path, set, bytes, Enum, datetime, arrays, tuple keys, long logs beside", plain_objects, place="model"
    ),
    Form("sparse, quantised, expanded, infinite tensors beside", odd_tensors, place="net"),
    Form("omegaconf's configuration beside", omegaconf, place="state_dict"),
    Form("the author's own classes beside", own_classes, place="net"),
    Form("a mask of -inf and an expanded buffer within", saved(lambda net: net.state_dict()), build=Masked),
    Form(
        "two networks that fit",
        saved(lambda net: {"a": net.state_dict(), "b": older(net)}),
        sentence="under 'a', 'b' all fit this network, and differ.*key_prefix='a'",
    ),
    Form(
        "another head",
        saved(lambda net: {"net": Net(7).state_dict()}),
        sentence=r"fc\.weight is floating-point \(7",
    ),
    Form(
        "a backbone without its head",
        saved(lambda net: under("encoder.", net.features.state_dict())),
        sentence=r"missing: features\.0\.weight.*that are there: encoder\.0\.weight",
    ),
    Form("NaN in the weights", with_nan, sentence=r"hold NaN or infinity: fc\.weight"),
    Form("quantised weights", quantised, sentence="weights are not those of this network"),
    Form("TorchScript", scripted, sentence=r"TorchScript, a program.*state_dict\(\)", end="pt"),
    Form("Keras .keras", keras, sentence="model of Keras.*ONNX", end="keras"),
    Form(
        "Keras .h5",
        lambda net, path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        sentence="HDF5.*ONNX",
        end="h5",
    ),
    Form("ONNX", lambda n, p: p.write_bytes(b"\x08\x08\x12\x07pytorch"), sentence="onnx:PATH", end="onnx"),
    Form(
        "TFLite",
        lambda n, p: p.write_bytes(struct.pack("<L", 28) + b"TFL3"),
        sentence="TFLite.*ONNX",
        end="tflite",
    ),
    Form("NumPy .npz", npz, sentence="NumPy archive.*safetensors", end="npz"),
    Form(
        "a pickle without torch",
        lambda n, p: p.write_bytes(pickle.dumps({"a": 1})),
        sentence="did not write",
        end="pkl",
    ),
]


class Outcome(NamedTuple):
    """What became of a form: where the weights were found, by how much answers differ, or the sentence."""

    place: str
    notes: tuple[str, ...]
    difference: float | None
    sentence: str | None
    warnings: list[str]


def outcome(form: Form, folder: Any) -> Outcome:
    """Write a form, read it into a network with other weights, and compare the answers."""
    net = seeded(form.build)
    path = folder / f"model.{form.end}"
    form.write(net, path)
    if form.average:
        net.load_state_dict(older(net))
    empty = seeded(form.build, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            target = load_target(f"file:{path}", module=empty, transform=TRANSFORM, **form.options)
        except Exception as error:
            return Outcome("", (), None, str(error).replace(str(folder), "FOLDER"), [])
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        difference = float((target.module.eval()(images) - net.eval()(images)).abs().max())
    place = target.annotation.weights_key_prefix or ""
    return Outcome(place, target.notes, difference, None, [str(w.message) for w in caught])


def cells(form: Form, found: Outcome) -> tuple[str, str]:
    """Return what the table says of a form."""
    if found.sentence is not None:
        return form.name, found.sentence.partition(": ")[2]
    how = f"`key_prefix={form.options['key_prefix']!r}`" if form.options else ""
    where = f"found under `{found.place}`" if found.place and not form.options else ""
    warned = "with a warning that others fit" if found.warnings else ""
    return form.name, ", ".join(filter(None, ("loads", how, where, warned)))
