"""What hostile files cost to refuse: weights for docs/verify.md, results that are shared for docs/sharing.md.

Run ``python benchmarks/measure_hostile_files.py``, then ``make tables``. Each file is judged in a process of
its own, which has the libraries loaded already; memory is what the judgement adds to that.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.hostile_files import hostile_files
from support.hostile_results import hostile_results
from tables import writing

from securitynet_hub.records.record import Record
from securitynet_hub.sharing.fetching import read_shard
from securitynet_hub.weights.reading.checkpoints import judge


def peak():
    """Return the largest resident size of this process since it was reset, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) << 10


def taken(path):
    """Return whether a weights file is taken for weights."""
    verdict = judge(path)
    return verdict.safe and verdict.loadable


def believed(path):
    """Return whether a file of results holds a record that is believed."""
    return any(isinstance(found, Record) for found in read_shard(path, path.name))


def cost(path, judged=taken):
    """Judge a file in a fork; return whether it is taken, the seconds of CPU, and the bytes."""
    reading, writing_ = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            before, began = peak(), time.process_time()
            told = f"{judged(path)} {time.process_time() - began} {peak() - before}"
        except BaseException as error:
            told = f"raised {type(error).__name__} 0"
        os.write(writing_, told.encode())
        os._exit(0)
    os.close(writing_)
    os.waitpid(process, 0)
    with os.fdopen(reading) as answer:
        loadable, seconds, size = answer.read().split()
    return loadable == "True", float(seconds), int(size)


def main():
    """Measure every file of the corpus, kind by kind."""
    columns = ["kind", "files", "taken for weights", "most seconds", "most MB", "markers touched"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, content in hostile_files():
            path = Path(folder) / "x.pth"
            path.write_bytes(content)
            found.setdefault(name.partition(":")[0], []).append((name, *cost(path)))
            path.unlink()
        touched = len(list(Path(folder).rglob("canary"))) + Path(folder, "../canary").exists()
    for each in sorted((each for kind in found.values() for each in kind), key=lambda each: -each[2])[:8]:
        print(each)
    for each in (each for kind in found.values() for each in kind if each[1]):
        print("taken for weights:", each)
    os.chdir(Path(__file__).parent)
    with writing("hostile-files", "python benchmarks/measure_hostile_files.py", columns) as row:
        for kind, each in found.items():
            seconds, size = max(cost[2] for cost in each), max(cost[3] for cost in each) / 1e6
            taken = sum(cost[1] for cost in each)
            row(kind, str(len(each)), str(taken), f"{seconds:.1f}", f"{size:.0f}", str(touched))


def measure_results():
    """Measure every file of the corpus of results."""
    columns = ["file", "bytes", "seconds", "MB", "records believed"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        with writing("hostile-results", "python benchmarks/measure_hostile_files.py", columns) as row:
            for name, content in hostile_results():
                path.write_bytes(content)
                found, seconds, size = cost(path, believed)
                row(name, f"{len(content):,}", f"{seconds:.1f}", f"{size / 1e6:.0f}", str(int(found)))


if __name__ == "__main__":
    main()
    measure_results()
