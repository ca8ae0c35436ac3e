"""How many threads run at once while images are decoded and forwarded, and how fast, by the budget.

``python benchmarks/measure_threads.py`` keeps the table of docs/sweeps.md. Each row is a process of its own
with so many threads (``OMP_NUM_THREADS``). Those that run are counted from outside every few milliseconds, in
``/proc``. The images are JPEGs: windows of the photographs that scikit-image and scikit-learn bring along. It
needs Linux. The time of the threads is divided as ``--profile`` tells it, on the clock.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

COUNTS = {"small network": 10_000, "EfficientNet-Lite0": 400}
ENGINES = ("torch", "openvino")
THREADS = (1, 2, 4)


def write_jpegs(count, folder):
    """Write windows of photographs, of 200 to 400 pixels a side, as an ImageFolder."""
    import skimage.data
    from PIL import Image
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "cat", "coffee", "rocket", "retina")
    pictures = [*(getattr(skimage.data, name)() for name in names), *load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        sides = np.minimum(rng.integers(200, 400, 2), picture.shape[:2])
        top, left = (
            rng.integers(whole - side + 1) for whole, side in zip(picture.shape, sides, strict=False)
        )
        place = folder / f"{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        window = Image.fromarray(picture[top : top + sides[0], left : left + sides[1]])
        window.save(place / f"{number:05}.jpg", quality=90)


def target_of(network):
    import torch
    from measure_ratios import target_of as made

    from securitynet_hub import load_target
    from securitynet_hub.data.transforms import Transform

    if network == "EfficientNet-Lite0":
        return load_target("package/imagenet-1k/efficientnet_lite0")
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 16, 4, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 4, 2), torch.nn.ReLU())
    module = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.LazyLinear(10))
    module(torch.zeros(1, 3, 32, 32))
    return made("small", module.eval(), 10, Transform(height=32, width=32, resize=(32, 32), channels=3))


def source_of(folder, count):
    from PIL import Image

    from securitynet_hub.data.sources import ImageSource

    contents = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]

    class Jpegs(ImageSource):
        name, sha256, class_names, labels = "jpegs", "0", ("a",), np.zeros(count, np.int64)

        def read(self, row):
            return np.asarray(Image.open(io.BytesIO(contents[row % len(contents)])).convert("RGB"))

    return Jpegs()


def child(network, folder):
    from securitynet_hub.core.memory import keep_freed_memory
    from securitynet_hub.core.stages import profiled
    from securitynet_hub.core.threads import thread_budget
    from securitynet_hub.engine.converted import engine_of
    from securitynet_hub.engine.inference import predict

    keep_freed_memory()
    target, count = target_of(network), COUNTS[network]
    predict(target, source_of(Path(folder), 64), batch_size=64)
    images = source_of(Path(folder), count)
    print("ready", flush=True)
    began, busy = time.perf_counter(), time.process_time()
    with profiled() as spent:
        predict(target, images, batch_size=64)
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps([wall, busy, dict(spent), thread_budget(), engine_of(target)]), flush=True)


def measure(network, engine, threads, folder):
    """Return what the child tells, and how often how many of its threads were seen to run."""
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "SECURITYNET_ENGINE": engine,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, "--child", network, str(folder)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    seen, tasks = Counter(), Path(f"/proc/{process.pid}/task")
    while process.poll() is None:
        seen[running(tasks)] += 1
        time.sleep(0.003)
    return json.loads(process.stdout.read().splitlines()[-1]), seen


def running(tasks):
    count = 0
    try:
        for task in os.listdir(tasks):
            count += (tasks / task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:  # a thread has ended meanwhile
        return 0
    return count


def main():
    from tables import writing

    columns = [
        "network, engine",
        "threads allowed",
        "seen to run at once: mostly, at most; more than allowed",
        "images a second",
        "of the threads' time: decode and transform, forward, rest",
        "of the processor",
    ]
    with tempfile.TemporaryDirectory() as place:
        os.environ.setdefault("HF_HOME", str(Path(place) / "cache"))
        folder = Path(place) / "jpegs"
        write_jpegs(max(COUNTS.values()), folder)
        with writing("threads", "python benchmarks/measure_threads.py", columns) as row:
            for network, count in COUNTS.items():
                for engine in ENGINES:
                    for threads in THREADS:
                        (wall, busy, spent, budget, answered), seen = measure(
                            network, engine, threads, folder
                        )
                        assert budget == threads
                        assert (answered is None) == (engine == "torch")
                        print(network, engine, threads, f"{wall:.1f} s, {busy:.1f} of the processor", spent,
                              sorted(seen.items()), flush=True)  # fmt: skip
                        row(*cells(network, engine, threads, count, wall, busy, spent, seen))


def cells(network, engine, threads, count, wall, busy, spent, seen):
    read = (spent.get("decode", 0) + spent.get("transform", 0)) / wall / threads
    forward = spent["forward"] / wall  # all of its threads
    beyond = sum(times for number, times in seen.items() if number > threads) / sum(seen.values())
    shares = ", ".join(f"{share:.0%}" for share in (read, forward, max(0.0, 1 - read - forward)))
    return (
        f"{network}, {engine}",
        f"{threads}",
        f"{seen.most_common(1)[0][0]}, {max(seen)}; {beyond:.1%}",
        f"{count / wall:.0f}",
        shares,
        f"{busy / wall / min(threads, os.cpu_count()):.0%}",
    )


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
