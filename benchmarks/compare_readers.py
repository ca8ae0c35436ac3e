"""What other tools make of hostile and of good weights files: the table of docs/reading.md.

``python benchmarks/compare_readers.py PEERS FOLDER`` keeps results/readers.json. PEERS is a python that has
them (``pip install picklescan fickling typing_extensions modelscan``); FOLDER keeps files and each tool's
answers, so that a run goes on where another was stopped.

Each file is judged in a fork of its own, without a network, in an empty folder, with at most `SECONDS` of
processor time and `BYTES` of memory beyond what the tool has loaded. No payload of the corpus does more than
touch a marker. Which files run code is found by loading each with ``torch.load(weights_only=False)``.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS, BYTES = 5, 2 << 30
WITHOUT_NETWORK = 0x40000000


def ours():
    from importlib.metadata import version

    from securitynet_hub.core.errors import WeightsError
    from securitynet_hub.weights.reading import read_checkpoint

    def load(path):
        try:
            read_checkpoint(Path(path))
        except WeightsError:
            return False
        return True

    return f"securitynet-hub {version('securitynet-hub')}", load


def torch_loader(weights_only):
    import torch

    def load(path):
        try:
            torch.load(path, weights_only=weights_only, map_location="cpu")
        except MemoryError:
            raise
        except Exception:  # it refuses so
            return False
        return True

    return f"torch {torch.__version__.partition('+')[0]}, weights_only={weights_only}", load


def picklescan():
    from importlib.metadata import version

    from picklescan.scanner import scan_file_path

    def scan(path):
        found = scan_file_path(path)
        unread = found.scan_err or not found.scanned_files
        return False if found.issues_count else None if unread else True

    return f"picklescan {version('picklescan')}", scan


def fickling():
    import zipfile
    from importlib.metadata import version

    from fickling.loader import scan_file, scan_zip_archive

    def scan(path):
        if not zipfile.is_zipfile(path):
            return bool(scan_file(path, graceful=True))
        found = scan_zip_archive(path, graceful=True)
        return all(found.values()) if found else None

    return f"fickling {version('fickling')}", scan


def modelscan():
    from importlib.metadata import version

    from modelscan.modelscan import ModelScan

    def scan(path):
        found = ModelScan().scan(path)
        unread = found["errors"] or not found["summary"]["scanned"]["total_scanned"]
        return False if found["summary"]["total_issues"] else None if unread else True

    return f"modelscan {version('modelscan')}", scan


TOOLS = {
    "ours": ours,
    "weights_only": lambda: torch_loader(True),
    "unsafe": lambda: torch_loader(False),
    "picklescan": picklescan,
    "fickling": fickling,
    "modelscan": modelscan,
}
PEERS = ("picklescan", "fickling", "modelscan")


def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) << 10


def judged(scan, path):
    """Let a fork judge a file; return its answer or why there is none, its costs, and whether code ran."""
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder) / "inner"
        inner.mkdir()
        reading, writing = os.pipe()
        parent, process = os.getpid(), os.fork()
        if process == 0:
            try:
                null = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(null, stream)
                os.chdir(inner)
                os.environ["HOME"] = str(inner)
                ctypes.CDLL(None).unshare(WITHOUT_NETWORK)
                held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
                Path("/proc/self/clear_refs").write_text("5")
                before, began = peak(), time.process_time()
                try:
                    answer = str(scan(path))
                except MemoryError:
                    answer = "memory"
                except Exception as error:
                    answer = type(error).__name__
                told = [answer, time.process_time() - began, peak() - before]
                if os.getppid() == parent:  # a payload may fork, and return in both
                    os.write(writing, json.dumps(told).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            told = answer.read()
        os.waitpid(process, 0)
        found = json.loads(told) if told else ["killed", float(SECONDS), BYTES]
        return [*found, (Path(folder) / "canary").exists() or (inner / "canary").exists()]


def work(tool, folder):
    """Judge every file of a folder and print what came of it, as JSON."""
    name, scan = TOOLS[tool]()
    paths = sorted(Path(folder).iterdir())
    judged(scan, str(paths[0]))  # what is imported at the first use is no cost of a file
    print(json.dumps({"tool": name, "found": {path.name: judged(scan, str(path)) for path in paths}}))


def write_files(folder):
    """Write the hostile files and the good forms, but for safetensors, which the tools do not read.

    Of the files that only cost time, which take minutes, every fifth is written.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.checkpoint_forms import FORMS, seeded
    from support.hostile_files import hostile_files

    for number, (name, content) in enumerate(hostile_files()):
        left_out = name.startswith("cost:") and number % 5
        if (
            not left_out
            and not name.startswith(("safetensors:", "cost: safetensors"))
            and content[8:9] != b"{"
        ):
            (folder / f"hostile-{number:03d}.pth").write_bytes(content)
    for number, form in enumerate(FORMS):
        if form.sentence is None and form.end == "pth":
            path = folder / f"good-{number:03d}.pth"
            form.write(seeded(form.build), path)
            if path.read_bytes()[8:9] == b"{":
                path.unlink()


def main():
    from tables import writing

    files = Path(sys.argv[2]) / "files"
    if not files.exists():
        files.mkdir(parents=True)
        write_files(files)
    answers = {}
    for tool in TOOLS:
        kept = files.with_name(f"{tool}.json")
        if not kept.exists():
            python = sys.argv[1] if tool in PEERS else sys.executable
            command = [python, __file__, "--work", tool, str(files)]
            kept.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        answers[tool] = json.loads(kept.read_text())
    reckless = answers["unsafe"]["found"]
    groups = {"run": [], "other": [], "good": []}
    for name, found in reckless.items():
        groups["good" if name.startswith("good") else "run" if found[3] else "other"].append(name)
    columns = [
        "tool",
        f"passes, of {len(groups['run'])} files that run code",
        f"passes, of {len(groups['other'])} other hostile files",
        f"passes, of {len(groups['good'])} good forms",
        f"gives up, of {len(reckless)}",
        "most seconds",
        "most MB",
        "markers touched",
    ]
    with writing("readers", "python benchmarks/compare_readers.py PEERS FOLDER", columns) as row:
        for answer in answers.values():
            found = answer["found"]
            passed = [sum(found[name][0] == "True" for name in names) for names in groups.values()]
            given_up = sum(each[0] not in ("True", "False") for each in found.values())
            seconds, size = max(each[1] for each in found.values()), max(each[2] for each in found.values())
            touched = sum(each[3] for each in found.values())
            row(
                answer["tool"],
                *map(str, (*passed, given_up)),
                f"{seconds:.1f}",
                f"{size / 1e6:.0f}",
                str(touched),
            )
    print({tool: sorted({each[0] for each in answer["found"].values()}) for tool, answer in answers.items()})
    for tool, answer in answers.items():
        print(tool, [name for name in groups["run"] if answer["found"][name][0] == "True"][:12])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        main()
