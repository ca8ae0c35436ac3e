"""What large folders of records cost: reading, ranking and reporting, the first time and again.

``python benchmarks/measure_records.py 2000 20000 100000`` writes the table of docs/sweeps.md. The records
are those of two audits of one of the zoo's models, under other names, seeds and times: ten of each model.
Each step is a process of its own; what is measured is its processor's time and the most memory that it took,
both without imports. It needs Linux.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tables import writing

from securitynet_hub.attacks.audit import audit
from securitynet_hub.cli.refused import read_valid
from securitynet_hub.core.digest import canonical, digest_of_parts
from securitynet_hub.records.entries import read_entries
from securitynet_hub.records.index import index_path, read_folder
from securitynet_hub.records.record import DECIDED_BY, decides
from securitynet_hub.reports.page import write_report
from securitynet_hub.sharing.leaderboard import leaderboards, unranked

ID = "zoo/fashion-mnist/cnn-overfitted-500/1"


def generate(count, folder):
    """Write records whose hashes fit, laid out as `write_record` lays them out."""
    bases = [record.content() for record in audit(ID, attacks=["modified_entropy", "loss"])]
    alike = [{name: texts(name, value) for name, value in base.items()} for base in bases]
    draw = random.Random(0)
    for number in range(count):
        base, known = bases[number % 2], dict(alike[number % 2])
        net = {"id": f"lab/net-{number // 10}", "weights_hash": f"{number // 10:064x}"}
        varied = {
            "target": base["target"] | net,
            "attack": base["attack"] | {"seed": number % 10 // 2},
            "timings": base["timings"] | {"inference": draw.random()},
            "created": f"2026-01-{1 + number % 28:02d}T12:00:00.{number:06d}+00:00",
        }
        known |= {name: texts(name, value) for name, value in varied.items()}
        id = digest_of_parts({name: each.canonical for name, each in known.items()})
        unit = digest_of_parts({name: known[name].deciding for name in DECIDED_BY})
        place = folder / net["id"]
        place.mkdir(parents=True, exist_ok=True)
        lines = [f' "id": "{id}"', f' "unit": "{unit}"', *(each.written for each in known.values())]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (place / f"{base['attack']['name']}-{id}.json").write_text(text, encoding="utf-8")


class Texts(NamedTuple):
    """A field of a record as its file holds it, and as the hashes are of it."""

    written: str
    canonical: str
    deciding: str


def texts(name, value):
    written = json.dumps({name: value}, indent=1)[2:-2]
    return Texts(written, canonical(value), canonical(decides(name, value)))


def read(folder):
    return sum(1 for _ in read_folder(folder))


def rank(folder):
    records, notes = read_valid(folder)
    boards = leaderboards(records, notes=notes)
    assert boards
    assert all(board.standings for board in boards)
    assert not unranked(records, notes=notes)


def report(folder):
    with tempfile.TemporaryDirectory() as place:
        write_report(read_entries([folder]), Path(place) / "report.html")


STEPS = {"read": read, "rank": rank, "report": report}


def measure(step, folder, *, cold):
    """Return the seconds of the processor and the megabytes of a step, in a new process."""
    if cold:
        index_path(folder).unlink(missing_ok=True)
    command = [sys.executable, __file__, "--step", step, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(step, folder):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = megabytes("VmRSS"), time.process_time()
    STEPS[step](Path(folder))
    print(json.dumps([time.process_time() - started, megabytes("VmHWM") - before]))


def megabytes(name):
    (line,) = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1e3


def main():
    headings = [f"{step}, {when}" for step in ("read", "rank") for when in ("first", "again")]
    columns = ["records", *(f"{heading}: s, MB" for heading in [*headings, "report"])]
    with (
        tempfile.TemporaryDirectory() as place,
        writing("records-scale", "python " + " ".join(sys.argv), columns) as row,
    ):
        os.environ["HF_HOME"] = str(Path(place) / "cache")
        for count in map(int, sys.argv[1:]):
            folder = Path(place) / f"{count}"
            generate(count, folder)
            time.sleep(4)  # a younger file is not kept in an index
            found = [
                measure(step, folder, cold=cold) for step in ("read", "rank") for cold in (True, False)
            ] + [measure("report", folder, cold=False)]
            row(f"{count:,}", *(f"{seconds:.1f}, {megabytes:.0f}" for seconds, megabytes in found))


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--step"] else main()
