"""Audits on folders of JPEGs: peak memory, images a second beside a bare loop, and what the cache saves.

    python benchmarks/measure_sources.py [--sizes 1000 10000 100000] [--compare 10000]

Pictures of many sizes are generated into a temporary folder, which is deleted in the end. Each audit (three
attacks on answers, all images) runs in a process of its own, first with an empty cache of decoded pictures
and then again. The bare loop is a DataLoader with a worker for each core, the same transform and the same
network. CPU times are those of all processes; they hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import tables

CLASSES = 10
CORES = os.cpu_count() or 1
AUDITED, COMPARED = 96, 240
"""Largest side in pixels of the pictures that are audited, and of those beside the bare loop."""


def generate(root: Path, n: int, largest: int) -> None:
    """Write n JPEGs whose sides are a quarter of the largest to the largest, half of them members."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(n):
        height, width = (int(side) for side in rng.integers(largest // 4, largest, 2, endpoint=True))
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        split = "train" if number < n // 2 else "test"
        folder = root / split / str(number % CLASSES)
        if number < CLASSES or number - n // 2 in range(CLASSES):
            folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number:06}.jpg", quality=90)


def network():
    """Return a small network of 64 x 64 pixels, and its preprocessing."""
    import torch
    from torch import nn

    from securitynet_hub.data.transforms import Transform

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES)).eval()
    return module, Transform(height=64, width=64, resize=72, mean=(0.5,) * 3, std=(0.25,) * 3)


def target():
    """Return the network as a target."""
    from securitynet_hub.annotations.schema import unlisted
    from securitynet_hub.models.target import Target

    module, transform = network()
    annotation = unlisted("benchmark", "small", "network", architecture="small", num_classes=CLASSES)
    return Target(annotation=annotation, module=module, transform=transform, num_classes=CLASSES)


def audit_folder(root: str) -> dict[str, float]:
    """Audit the network on a folder; return seconds by phase."""
    from securitynet_hub import AuditData, audit

    warnings.simplefilter("ignore")
    model = target()
    began, cpu = time.perf_counter(), _cpu()
    data = AuditData.from_folder(root, limit=None)
    read = time.perf_counter() - began
    records = audit(model, attacks=["loss", "modified_entropy", "logit_margin"], data=data)
    whole = time.perf_counter() - began
    inference = records[0].timings["inference"]
    return {"list_and_hash": read, "inference": inference, "whole": whole, "cpu": _cpu() - cpu}


def predict_folder(root: str) -> dict[str, float]:
    """Forward every picture of a folder, without attacks and without a cache."""
    from securitynet_hub import AuditData
    from securitynet_hub.engine.inference import predict

    model = target()
    data = AuditData.from_folder(root, limit=None)
    began, cpu = time.perf_counter(), _cpu()
    logits = predict(model, data.images)
    return {"inference": time.perf_counter() - began, "cpu": _cpu() - cpu, "sum": float(logits.sum())}


def bare_loop(root: str) -> dict[str, float]:
    """Forward every picture of a folder with a DataLoader and nothing else."""
    import torch
    from PIL import Image

    module, transform = network()
    paths = sorted(Path(root).rglob("*.jpg"))

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> torch.Tensor:
            with Image.open(paths[row]) as image:
                return transform(np.array(image.convert("RGB"))[None])[0]

    began, cpu = time.perf_counter(), _cpu()
    total = 0.0
    with torch.inference_mode():
        for batch in torch.utils.data.DataLoader(Pictures(), batch_size=256, num_workers=CORES):
            total += float(module(batch).sum())
    return {"inference": time.perf_counter() - began, "cpu": _cpu() - cpu, "sum": total}


def _cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return sum(
        getattr(resource.getrusage(who), name)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for name in ("ru_utime", "ru_stime")
    )


def measured(task: str, root: Path, **environment: str) -> dict[str, float]:
    """Run a task of this file in a process of its own; return what it measured, and its peak memory."""
    found = subprocess.run(
        [sys.executable, __file__, "--task", task, str(root)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise SystemExit(found.stderr)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--compare", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", nargs=2)
    options = parser.parse_args()
    if options.task:
        name, root = options.task
        tasks = {"audit": audit_folder, "predict": predict_folder, "bare": bare_loop}
        found = tasks[name](root)
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    command = "python benchmarks/measure_sources.py"
    with tempfile.TemporaryDirectory() as folder:
        columns = ["pictures", "peak memory, first audit", "time", "second audit, from the cache", "time"]
        with tables.writing("data-memory", command, columns) as row:
            for n in options.sizes:
                root, home = Path(folder) / f"{n} pictures", Path(folder) / "home"
                generate(root, n, AUDITED)
                cells = []
                for _ in range(2):
                    found = measured("audit", root, HF_HOME=str(home), HF_HUB_OFFLINE="1")
                    cells += [f"{found['peak_mb']:.0f} MB", f"{found['whole']:.0f} s"]
                row(f"{n:,}", *cells)
                shutil.rmtree(root)
                shutil.rmtree(home, ignore_errors=True)
        root = Path(folder) / "compared"
        generate(root, options.compare, COMPARED)
        turns: dict[str, list[dict[str, float]]] = {"predict": [], "bare": []}
        for _ in range(options.repeats):
            for task in turns:
                turns[task].append(measured(task, root, SECURITYNET_IMAGE_CACHE="off"))
        columns = ["what forwards the pictures", "pictures a CPU second", "pictures a second"]
        with tables.writing("data-speed", command, columns) as row:
            names = {"predict": "`predict` on a folder", "bare": "DataLoader and a bare loop"}
            for task, found in turns.items():
                rates = [
                    options.compare / statistics.median(turn[clock] for turn in found)
                    for clock in ("cpu", "inference")
                ]
                row(names[task], *(f"{rate:.0f}" for rate in rates))


if __name__ == "__main__":
    main()
