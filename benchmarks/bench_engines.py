"""What answers fastest on a CPU, by family of networks: torch, ONNX Runtime or OpenVINO, float32 or bfloat16.

Run with ``make bench``, or as a program, which keeps the table of docs/sweeps.md. Networks have the published
architectures and random weights. All take turns on one thread and are compared by the processor's time of one
image, so that other work on the machine changes every column alike. Engines that are not installed are left
out.
"""

import copy
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from securitynet_hub.loaders.pytorchcv import constructor
from tables import writing

from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.engine.converted import RUNTIMES
from securitynet_hub.engine.engine_choice import NEEDS

SIDE, IMAGES, TURNS, CLASSES = 224, 4, 3, 1000
pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = {
    "ResNet-50": "resnet50",
    "DenseNet-121": "densenet121",
    "MobileNetV2": "mobilenetv2_w1",
    "EfficientNet-B0": "efficientnet_b0",
    "ViT-B/16": "ViT",
    "ConvNeXt-T": "ConvNext",
}
"""The constructor in pytorchcv (lower case), or how the classes of transformers begin."""

FLOAT32, LAST, BF16 = "torch", "torch, channels last", "torch bf16, channels last"
ONNX, OPENVINO, OPENVINO_BF16 = "ONNX Runtime", "OpenVINO", "OpenVINO bf16"
WAYS = {ONNX: ("onnxruntime", False), OPENVINO: ("openvino", False), OPENVINO_BF16: ("openvino", True)}


class Logits(torch.nn.Module):
    """A network of transformers that answers with its logits alone."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network(inputs).logits


def build(family, inputs):
    """Return a network with random weights whose activations have moderate sizes."""
    torch.manual_seed(0)
    name = FAMILIES[family]
    if name.islower():
        module = constructor(name)()
    else:
        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES)
        module = Logits(getattr(transformers, f"{name}ForImageClassification")(config))
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of the one batch that follows
    if norms:
        with torch.no_grad():
            module.train()(inputs)
    return module.eval()


def forward(module, inputs, narrow=False):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if narrow else nullcontext():
        return module(inputs).float()


def ways(module, inputs, folder):
    """Return what answers for a network, by name: functions without arguments."""
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    images = inputs.contiguous(memory_format=torch.channels_last)
    found = {
        FLOAT32: partial(forward, module, inputs),
        LAST: partial(forward, last, images),
        BF16: partial(forward, last, images, narrow=True),
    }
    for way, (engine, narrow) in WAYS.items():
        if all(find_spec(package) for package in NEEDS[engine]):
            runtime, place = RUNTIMES[engine], folder / engine
            if not place.exists():
                place.mkdir()
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the exporters, about shapes that stay as they are
                    runtime.convert(module, inputs[:2], place)
            ask = runtime.load(place, narrow, 1)
            found[way] = lambda ask=ask: torch.from_numpy(ask(inputs.numpy()))
    return found


def measure(family, folder):
    """Return milliseconds of the processor for one image, and how far from torch's the logits are, by way.

    The distance is in units of the largest logit.
    """
    inputs = torch.randn(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    answers = ways(build(family, inputs), inputs, folder)
    expected = answers[FLOAT32]()
    apart = {
        way: float((answer() - expected).abs().max() / expected.abs().max())
        for way, answer in answers.items()  # which also warms every way up
    }
    times = {way: [] for way in answers}
    for _ in range(TURNS):
        for way, answer in answers.items():
            started = time.process_time()
            answer()
            times[way].append(1e3 * (time.process_time() - started) / IMAGES)
    return {way: statistics.median(took) for way, took in times.items()}, apart


@pytest.mark.parametrize("family", FAMILIES)
def test_engines_answer_the_same_and_faster(family, tmp_path):
    """What holds on several machines: float32 is float32 everywhere, and OpenVINO convolves faster."""
    took, apart = measure(family, tmp_path)
    print(f"\n  {family}: " + ", ".join(f"{way} {ms:.1f} ms" for way, ms in took.items()))
    assert all(apart[way] < 1e-4 for way in (LAST, ONNX, OPENVINO) if way in apart)
    if OPENVINO in took and FAMILIES[family].islower():
        assert took[OPENVINO] < took[FLOAT32]


def main():
    torch.set_num_threads(1)
    keep_freed_memory()
    names = [FLOAT32, LAST, BF16, *WAYS]
    columns = ["network", f"{FLOAT32}, ms an image", *(f"{name}, times as fast" for name in names[1:])]
    with writing("engines", "python benchmarks/bench_engines.py", columns) as row:
        for family in sys.argv[1:] or FAMILIES:
            with tempfile.TemporaryDirectory() as folder:
                took, apart = measure(family, Path(folder))
            print({way: f"{ms:.1f} ms, {apart[way]:.1e} apart" for way, ms in took.items()}, file=sys.stderr)
            cells = [f"{took[FLOAT32] / took[name]:.2f}" if name in took else "-" for name in names[1:]]
            row(family, f"{took[FLOAT32]:.1f}", *cells)


if __name__ == "__main__":
    main()
