"""Time and memory of LiRA and RMIA on 1.28 million samples and 64 models, read from memory-mapped files.

Run with ``python benchmarks/measure_streaming.py FOLDER``, some minutes of one core. FOLDER keeps 0.4 GB of
files: signals (float32), one file for each model, and one mask. Each attack runs in a process of its own,
beside reading the same files once; a second table sets fewer samples beside the plain formulas in NumPy.

Memory is the peak of the process's own (anonymous) memory, less that before; pages of files, which the system
takes back at will, are not counted. The target's signals and the scores are 10 MB each.
"""

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import norm
from tables import writing

from securitynet_hub.attacks.membership.base import base_scores
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

SIZES = (10_000, 100_000, SAMPLES)


def plain_lira(target, signals, mask):
    """Carlini et al. 2022, algorithm 1, on whole arrays."""
    signals = np.stack(signals).astype(np.float64)
    sides = (np.where(mask, signals, np.nan), np.where(mask, np.nan, signals))
    inside, outside = (norm.logpdf(target, np.nanmedian(own, 0), np.nanstd(own, 0) + 1e-30) for own in sides)
    return inside - outside


def plain_base(target, signals, mask):
    """Lassila et al. 2025, online, on whole arrays."""
    return target - np.log(np.exp(np.stack(signals).astype(np.float64)).mean(0))


def plain_rmia(target, signals, mask):
    """Zarifzadeh et al. 2024, offline, each x beside each z."""
    size, p = len(target) // 10, np.exp(np.stack(signals).astype(np.float64))
    outside = np.nanmean(np.where(mask, np.nan, p), 0)
    ratio = np.exp(target) / ((1.3 * outside + 0.7) / 2)
    pairs = (ratio[start : start + 1000, None] >= 2 * ratio[:size] for start in range(0, len(ratio), 1000))
    return np.concatenate([votes.mean(1) for votes in pairs])


COMPARED = {
    "`lira`": (lira_scores, plain_lira),
    "`base_online`": (partial(base_scores, mode="online"), plain_base),
    "`rmia`, population of a tenth": (lambda *a: rmia(*a, "offline", len(a[0]) // 10), plain_rmia),
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


def first(arrays, samples):
    """Return the first samples of the target's signals, of the models' and of the mask."""
    return [a[..., :samples] if isinstance(a, np.ndarray) else [own[:samples] for own in a] for a in arrays]


def run(name, folder, samples=SAMPLES, which=None):
    """Print the processor's seconds and the peak of memory of one run."""
    arrays = first(files(folder), samples)
    attack = RUNS[name] if which is None else COMPARED[name][which]
    attack(*first(arrays, 1000))  # what it imports on first use is not its memory
    before, peak, done = own_memory(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], own_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.process_time()
    attack(*arrays)
    seconds = time.process_time() - began
    done.set()
    watching.join()
    print(seconds, max(0.0, peak[0] - before))


def measured(folder, *what):
    """Return what `run` prints in a process of its own."""
    command = [sys.executable, __file__, str(folder), *map(str, what)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return map(float, out.split())


def compare(folder):
    """Measure attacks on more and more samples, beside the plain formulas."""
    arrays = files(folder)
    columns = ["what", "samples", "processor's seconds", "memory", "plain formula: seconds", "memory"]
    with writing("membership-sizes", COMMAND, columns) as write:
        for name, both in COMPARED.items():
            ours, plain = (attack(*first(arrays, 2000)) for attack in both)
            np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-9)
            for samples in SIZES:
                cells = [name, f"{samples:,}"]
                for which in (0, 1):
                    if which and both[1] is plain_rmia and samples == SAMPLES:
                        cells += ["-", "-"]  # 164 billion pairs
                        continue
                    seconds, memory = measured(folder, name, samples, which)
                    cells += [f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}", f"{memory:.0f} MB"]
                write(*cells)


def main(folder):
    compare(folder)
    columns = ["what", "processor's seconds", "beside reading", "memory"]
    with writing("membership-streaming", COMMAND, columns) as write:
        bare = None
        for name in RUNS:
            seconds, memory = measured(folder, name)
            bare = bare or seconds
            write(name, f"{seconds:.1f}", f"{seconds / bare:.0f}", f"{memory:.0f} MB")


if __name__ == "__main__":
    where, *what = sys.argv[1:]
    run(what[0], Path(where), *map(int, what[1:])) if what else main(Path(where))
