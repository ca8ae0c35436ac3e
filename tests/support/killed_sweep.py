"""A sweep of models from a Hub on loopback, two processes, and a signal in the midst of a phase of its work.

As a program, ``python killed_sweep.py FOLDER PHASE TIMES SIGNAL WHOM COMMAND...`` runs a command line of
securitynet. A thread looks at what the main thread is doing, a thousand times a second; when it has found it
in the phase for the TIMES-th time, it sends the signal to process WHOM (its rank, or ``all``). FOLDER gets a
line for each unit that was kept, and how often each phase was seen.
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PHASES = ("planning", "downloading", "forward", "attack", "writing")

PLACES = {
    "writing": ("records/record.py:write_record", "sweeps/ledger.py:keep"),
    "downloading": ("weights/download/hub_cache.py:download_into_cache",),
    "forward": ("engine/inference.py:predict",),
    "attack": ("attacks/membership/audit.py:", "attacks/stealing/audit.py:"),
    "planning": ("sweeps/launch.py:prepare",),
}
"""Functions of the package that tell a phase, the innermost phases first."""

MODELS, CLASSES, SIDE = ("one", "two"), ("cat", "dog", "owl", "yak"), 16
COMMIT = "3" * 40
ATTACKS = ("loss", "modified_entropy", "translation", "noise")
PATIENCE = 30
"""Seconds that a process has to find out that another one died, and then to end."""

LITTER = ("*.part", "*.tmp", "*.incomplete", "*.claim", "*.damaged", "*.failure", "locks/*.lock")


def phase_of(frame):
    """Return the phase of a stack of calls, None outside all of them."""
    seen = []
    while frame is not None:
        code = frame.f_code
        if "/securitynet_hub/" in code.co_filename:
            seen.append(f"{code.co_filename.rpartition('/securitynet_hub/')[2]}:{code.co_name}")
        frame = frame.f_back
    for phase, places in PLACES.items():
        if any(call.startswith(place) for call in seen for place in places):
            return phase
    return None


def watch(folder, rank, phase, times, number, whom):
    """Look at the main thread until it is found in a phase often enough, then send the signal."""
    main, counts = threading.main_thread().ident, Counter()
    told = folder / "seen" / f"{rank}.json"
    victim = rank == ("0" if whom == "all" else whom)
    while True:
        time.sleep(0.001)
        found = phase_of(sys._current_frames().get(main))
        if found is None:
            continue
        counts[found] += 1
        if sum(counts.values()) % 50 == 1:
            told.write_text(json.dumps(counts))
        if victim and found == phase and counts[found] == times:
            (folder / "sent").write_text(phase)
            pids = [int(p.read_text()) for p in (folder / "pids").iterdir() if whom in ("all", p.name)]
            for pid in sorted(pids, key=lambda pid: pid == os.getpid()):
                os.kill(pid, number)


def main(folder, phase, times, number, whom, *command):
    rank, folder = os.environ["RANK"], Path(folder)
    (folder / "pids" / rank).write_text(str(os.getpid()))
    from securitynet_hub.cli.main import main as securitynet
    from securitynet_hub.sweeps.ledger import Ledger

    keep = Ledger.keep

    def logged(ledger, unit, record):
        keep(ledger, unit, record)
        with (folder / "kept").open("a") as file:
            file.write(f"{unit.model} {unit.attack}\n")

    Ledger.keep = logged
    arguments = (folder, rank, phase, int(times), int(number), whom)
    threading.Thread(target=watch, args=arguments, daemon=True).start()
    securitynet(command)


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "securitynet_hub.cli.sweep", "securitynet_hub.sweeps.launch", "securitynet_hub.cli.sweep_progress",
        "securitynet_hub.cli.sweep_tables", "securitynet_hub.attacks.audit",
        "securitynet_hub.attacks.membership.audit", "securitynet_hub.attacks.membership.label_only",
        "securitynet_hub.loaders.transformers",
        "transformers.models.vit.modeling_vit", "transformers.models.vit.image_processing_pil_vit",
        "support.killed_sweep",
    ]
)  # fmt: skip


def forked(environment, told, words):
    """Do in a fork what a new process does with these words, so that its libraries need no import."""
    from huggingface_hub import constants

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
    sys.stdout = sys.stderr = told.open("a", buffering=1)
    os.environ |= environment
    home = Path(environment["HF_HOME"])
    constants.HF_HOME, constants.HF_HUB_CACHE = str(home), str(home / "hub")
    constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET = False, True
    constants.ENDPOINT = environment["HF_ENDPOINT"]
    constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    main(*words)


@dataclass(frozen=True)
class Kill:
    """A signal at a moment: in a phase, after a share of the times that a whole run is seen in it."""

    phase: str
    share: float
    signal: signal.Signals
    whom: str
    spread: str
    launcher: bool


def drawn_kills(number, seed=0):
    """Draw kills that take all phases and signals in turn."""
    chance = random.Random(seed)
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    for place in range(number):
        spread = ("models", "images")[place // len(PHASES) % 2]
        phase = PHASES[place % len(PHASES)]
        whom = chance.choice(("0", "all") if phase == "writing" and spread == "images" else ("0", "1", "all"))
        yield Kill(phase, chance.random(), signals[place % 3], whom, spread, launcher=place % 4 == 3)


class World:
    """Three models on a server, their images in a folder, and what a sweep of them finds."""

    def __init__(self, folder, server):
        import numpy as np
        import torch
        import transformers
        from PIL import Image

        self.folder, self.server = folder, server
        folder.mkdir(parents=True)
        noise = np.random.default_rng(0)
        for side, count in (("train", 8), ("test", 9)):
            for name in CLASSES:
                (folder / "images" / side / name).mkdir(parents=True)
                for number in range(count):
                    pixels = noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / "images" / side / name / f"{number}.png")
        names = {"id2label": dict(enumerate(CLASSES)), "label2id": {n: i for i, n in enumerate(CLASSES)}}
        config = transformers.ViTConfig(
            hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, patch_size=8,
            image_size=SIDE, **names,
        )  # fmt: skip
        tables = []
        for number, name in enumerate(MODELS):
            torch.manual_seed(number)
            model = transformers.ViTForImageClassification(config)
            model.save_pretrained(folder / name)
            transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(
                folder / name
            )
            server.serve_repository(
                f"org/{name}", COMMIT, {path.name: path.read_bytes() for path in (folder / name).iterdir()}
            )
            for path, route in server.routes.items():
                route.delay = 0.05 if path.endswith(".safetensors") else 0.0
            tables.append(f'[[target]]\nmodel = "transformers:org/{name}"\ndata = "images"\n')
        (folder / "targets.toml").write_text("\n".join(tables))
        self.units = len(MODELS) * len(ATTACKS)

    def run(self, folder, spread, launcher=False, kill=None, times=0):
        """Sweep into a folder with two processes; return their exit codes (the launcher's) and texts."""
        for name in ("pids", "seen"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = str(listener.getsockname()[1])
        who = ("none", 0, 0, "0") if kill is None else (kill.phase, times, int(kill.signal), kill.whom)
        words = [
            folder, *who, "sweep", "--targets", self.folder / "targets.toml", "--attacks", *ATTACKS,
            "--batch-size", 8, "--spread", spread, "--out", folder / "out",
        ]  # fmt: skip
        words = [str(word) for word in words]
        environment = {
            "HF_ENDPOINT": self.server.url(""), "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0",
            "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        if launcher:
            launch = [
                "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1",
                "--num_processes", "2", "--main_process_port", port, "--num_cpu_threads_per_process", "1",
                "--mixed_precision", "no", "--dynamo_backend", "no", __file__,
            ]  # fmt: skip
            done = subprocess.run(
                [sys.executable, *launch, *words],
                env=os.environ | environment,
                capture_output=True,
                text=True,
            )
            return [done.returncode], [done.stdout + done.stderr]
        processes = []
        for rank in range(2):
            ranked = {
                "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_MIXED_PRECISION": "no",
                "ACCELERATE_DYNAMO_BACKEND": "no",
            }  # fmt: skip
            told = folder / f"{rank}.txt"
            processes.append(FORKS.Process(target=forked, args=(environment | ranked, told, words)))
            processes[-1].start()
        _end_together(processes, share=spread == "images")
        return [p.exitcode for p in processes], [(folder / f"{rank}.txt").read_text() for rank in range(2)]

    def results(self, folder):
        """Return what records say, without times; a unit twice is an error."""
        from securitynet_hub.records.record import read_records

        records = list(read_records(folder / "out" / "records"))
        found = {(record.target["id"], record.attack["name"]): _timeless(record) for record in records}
        assert len(found) == len(records), "a unit has two records"
        return found

    def seen(self, folder, rank, phase):
        path = folder / "seen" / f"{rank}.json"
        return json.loads(path.read_text()).get(phase, 0) if path.exists() else 0


def _end_together(processes, *, share):
    """Wait for processes; as a launcher does, end those that shared work with one that died."""
    while None in [process.exitcode for process in processes]:
        time.sleep(0.05)
        if share and any(process.exitcode for process in processes):
            for process in processes:
                process.join(PATIENCE)
                if process.exitcode is None:
                    process.terminate()
                    process.join(PATIENCE)
                if process.exitcode is None:
                    process.kill()
                    process.join()


def _timeless(record):
    """Return what a record says, without the check of the data: the first attack of an audit pays for it."""
    data = {name: value for name, value in record.data.items() if name != "check"}
    kept = {name: getattr(record, name) for name in ("unit", "target", "attack", "result", "counts")}
    return {**kept, "data": data}


def litter(folder):
    """Return the files that only work in progress may leave."""
    places = (folder / "out", folder / "home")
    return sorted(
        str(p.relative_to(folder)) for place in places for kind in LITTER for p in place.rglob(kind)
    )


@dataclass(frozen=True)
class Aftermath:
    """What a kill left, and what the same command made of it."""

    sent: bool
    codes: list
    after: int
    again: list
    equal: bool
    twice: int
    litter: list
    texts: list


def killed(world, folder, kill, whole, seen):
    """Kill a sweep, run the same command again, and compare with an uninterrupted one.

    Args:
        world: what is swept.
        folder: a new one.
        kill: whom and when.
        whole: the records of an uninterrupted sweep.
        seen: how often a whole sweep is seen in the kill's phase.
    """
    times = max(1, round(kill.share * seen))
    codes, texts = world.run(folder, kill.spread, kill.launcher, kill, times)
    sent = (folder / "sent").exists()
    after = len(list((folder / "out" / "records").rglob("*.json")))
    again, more = world.run(folder, kill.spread, kill.launcher)
    kept = Counter((folder / "kept").read_text().splitlines())
    found = world.results(folder)
    return Aftermath(
        sent,
        codes,
        after,
        again,
        found == whole,
        sum(kept.values()) - len(kept),
        litter(folder),
        texts + more,
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(*sys.argv[1:])
