"""Time and memory of LiRA and RMIA on 1.28 million samples and 64 models, read from memory-mapped files.

Run with ``python benchmarks/measure_streaming.py FOLDER``, some minutes of one core. FOLDER keeps 0.4 GB of
files: signals (float32), one file for each model, and one mask. Each attack runs in a process of its own,
beside reading the same files once. Memory is the peak of the process's own (anonymous) memory, less that
before; pages of files, which the system takes back at will, are not counted. The target's signals and the
scores are 10 MB each.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from tables import writing

from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.population import difficulty_calibrated_scores
from securitynet_hub.attacks.membership.rmia import rmia_scores

SAMPLES, MODELS, POPULATION = 1_280_000, 64, 100_000
COMMAND = "python benchmarks/measure_streaming.py FOLDER"


def rmia(target, signals, mask, mode, size):
    beside = signals[:, :size] if isinstance(signals, np.ndarray) else [own[:size] for own in signals]
    return rmia_scores(target, signals, mask, target[:size], beside, mode=mode, ref_in_z=mask[:, :size])


def read(target, signals, mask):
    """Read every signal once, in the order of the samples."""
    total = 0.0
    for start in range(0, len(target), 1 << 16):
        part = slice(start, start + (1 << 16))
        total += sum(float(own[part].sum()) for own in signals) + int(mask[:, part].sum())
    return total


RUNS = {
    "reading the files": read,
    "`difficulty_calibration`": difficulty_calibrated_scores,
    "`lira_offline`": lambda *arrays: lira_scores(*arrays, mode="offline"),
    "`lira`": lira_scores,
    "`lira`, one variance for all": lambda *arrays: lira_scores(*arrays, variance="global_centred"),
    "`lira`, Bayesian": lambda *arrays: lira_scores(*arrays, variance="bayesian"),
    f"`rmia`, population of {POPULATION:,}": lambda *arrays: rmia(*arrays, "offline", POPULATION),
    f"`rmia_online`, population of {POPULATION:,}": lambda *arrays: rmia(*arrays, "online", POPULATION),
    f"`rmia`, population of {SAMPLES:,}": lambda *arrays: rmia(*arrays, "offline", SAMPLES),
}


def files(folder):
    """Return the target's signals, those of the models, each in a file, and the mask; make them first."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(SAMPLES, np.float32)
    if not (folder / "mask.npy").exists():
        mask = np.empty((MODELS, SAMPLES), np.bool_)
        for model in range(0, MODELS, 2):
            mask[model] = rng.random(SAMPLES, np.float32) < 0.5
            mask[model + 1] = ~mask[model]
        for model in range(MODELS):
            own = hard - mask[model] + rng.standard_normal(SAMPLES, np.float32)
            np.save(folder / f"{model}.npy", -np.logaddexp(0, own))
        np.save(folder / "mask.npy", mask)
    signals = [np.load(folder / f"{model}.npy", mmap_mode="r") for model in range(MODELS)]
    target = -np.logaddexp(0, hard + np.random.default_rng(1).standard_normal(SAMPLES))
    return target, signals, np.load(folder / "mask.npy", mmap_mode="r")


def own_memory():
    """Return this process's anonymous memory in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    raise OSError("/proc/self/status does not tell the anonymous memory: run this on Linux.")


def run(name, folder):
    """Print the processor's seconds and the peak of memory of one run."""
    arrays = files(folder)
    import scipy.special  # noqa: F401 (what the attacks import on first use is not their memory)

    RUNS[name](*(array[..., :1000] if isinstance(array, np.ndarray) else [own[:1000] for own in array]
                 for array in arrays))  # fmt: skip
    before, peak, done = own_memory(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], own_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.process_time()
    RUNS[name](*arrays)
    seconds = time.process_time() - began
    done.set()
    watching.join()
    print(seconds, max(0.0, peak[0] - before))


def main(folder):
    files(folder)
    columns = ["what", "processor's seconds", "beside reading", "memory"]
    with writing("membership-streaming", COMMAND, columns) as write:
        bare = None
        for name in RUNS:
            command = [sys.executable, __file__, str(folder), name]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, memory = map(float, out.split())
            bare = bare or seconds
            write(name, f"{seconds:.1f}", f"{seconds / bare:.0f}", f"{memory:.0f} MB")


if __name__ == "__main__":
    run(sys.argv[2], Path(sys.argv[1])) if len(sys.argv) > 2 else main(Path(sys.argv[1]))
