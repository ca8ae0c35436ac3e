"""Time and memory of whole audits with 64 reference models, by one process and by two.

Run with ``python benchmarks/measure_audits.py FOLDER``, a quarter of an hour of two cores. FOLDER keeps
0.8 GB: the margins of the models, made up. The target is a linear network with 1,000 classes on made-up
images of four pixels; its answers for the largest audit take 5.6 GB in a temporary file. Two processes are
started by ``accelerate launch``; their records must be those of one, but for the time.

Memory is the peak of a process's own (anonymous) memory, less that before; pages of files, which the system
takes back at will, are not counted.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from measure_streaming import own_memory
from tables import writing

import securitynet_hub as hub
from securitynet_hub.attacks.membership.shadows import KeptMargins, Shadows
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.splits import Split
from securitynet_hub.data.transforms import Transform
from securitynet_hub.records.record import read_records

SIZES, MODELS, CLASSES = (10_000, 100_000, 1_280_000), 64, 1000
ATTACKS = ("lira", "rmia", "base_online", "leverage")
COMMAND = "python benchmarks/measure_audits.py FOLDER"
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--num_processes", "2",
          "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip


def world(folder, samples):
    """Return a target, its data, and reference models; one image in eleven is of the population."""
    total, rng = samples + samples // 10, np.random.default_rng(samples)
    pixels = rng.integers(0, 256, (total, 2, 2, 1), np.uint8)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, CLASSES))
    net[1].weight.data *= 20
    with torch.inference_mode():
        parts = torch.from_numpy(pixels / np.float32(255)).moveaxis(-1, 1).split(10_000)
        labels = np.concatenate([net(part).argmax(1).numpy() for part in parts])
    wrong = rng.random(total) < 0.2
    labels[wrong] = rng.integers(0, CLASSES, wrong.sum())
    images = LabelledImages(
        name="made-up", pixels=pixels, labels=labels, class_names=tuple(map(str, range(CLASSES)))
    )
    target = hub.load_target(
        net, name="made-up", transform=Transform(height=2, width=2, channels=1), num_classes=CLASSES
    )
    masks = np.zeros((MODELS, total), np.bool_)
    for model in range(0, MODELS, 2):
        masks[model, :samples] = rng.random(samples, np.float32) < 0.5
        masks[model + 1, :samples] = ~masks[model, :samples]
    path = folder / f"margins-{samples}.npy"
    if not path.exists():
        hard = rng.standard_normal(total, np.float32)
        made = np.lib.format.open_memmap(path, "w+", np.float64, (MODELS, total, 1))
        for own, mask in zip(made, masks, strict=True):
            own[:, 0] = hard + mask + rng.standard_normal(total, np.float32)
        made.flush()
    shadows = Shadows(
        images_sha256=images.sha256,
        views=("identity",),
        pool=np.arange(total),
        masks=masks,
        kept=KeptMargins(np.load(path, mmap_mode="r"), labels, CLASSES),
    )
    split = Split(members=np.arange(0, samples, 2), nonmembers=np.arange(1, samples, 2))
    return target, AuditData(images=images, split=split), shadows


def audit(folder, samples, out):
    """Audit, and write what it took beside the records."""
    target, data, shadows = world(folder, samples)
    few = AuditData(
        images=data.images, split=Split(members=np.arange(0, 600, 2), nonmembers=np.arange(1, 600, 2))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hub.audit(target, data=few, attacks=ATTACKS, shadows=shadows)  # what is imported on first use
    before, peak, done = own_memory(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], own_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    began, worked = time.perf_counter(), time.process_time()
    hub.audit(target, data=data, attacks=ATTACKS, shadows=shadows, out=out)
    taken = {"seconds": time.perf_counter() - began, "worked": time.process_time() - worked}
    done.set()
    watching.join()
    taken |= {
        "memory": peak[0] - before,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    (out / f"process-{os.environ.get('RANK', '0')}.txt").write_text(json.dumps(taken))


def measured(folder, samples, launch, name):
    """Return what each process took, and the records without their times."""
    out = folder / f"records-{samples}-{name}-{os.getpid()}"
    command = [sys.executable, *launch, __file__, str(folder), str(samples), str(out)]
    settings = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=os.environ | settings, stdout=subprocess.DEVNULL)
    taken = [json.loads(path.read_text()) for path in sorted(out.glob("process-*.txt"))]
    records = {record.attack["name"]: record for record in read_records(out)}
    return taken, {name: [r.target, r.data, r.attack, r.result, r.counts] for name, r in records.items()}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        "samples",
        "processes",
        "seconds",
        "processor's seconds of each",
        "memory of each",
        "models x samples",
    ]
    with writing("membership-audits", COMMAND, columns) as write:
        for samples in SIZES:
            alone, records = measured(folder, samples, [], "one")
            shared, same = measured(folder, samples, LAUNCH, "two")
            assert len(records) == len(ATTACKS)
            assert same == records, "two processes measured something else than one"
            for count, found in ((1, alone), (2, shared)):
                write(
                    f"{samples:,}",
                    str(count),
                    f"{max(each['seconds'] for each in found):.0f}",
                    ", ".join(f"{each['worked']:.0f}" for each in found),
                    ", ".join(f"{each['memory']:.0f} MB" for each in found),
                    f"{MODELS * (samples + samples // 10) / 1e6:.0f} MB",
                )


if __name__ == "__main__":
    audit(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])) if len(sys.argv) > 2 else main(
        Path(sys.argv[1])
    )
