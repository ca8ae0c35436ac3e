"""What thirty signals do to a sweep by two processes: the table of docs/sweeps.md, kept as sweep-kills.

Run ``python benchmarks/measure_kills.py FOLDER``, then ``make tables``. FOLDER keeps the outcome of each
signal; one that was sent is not sent again.
"""

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.killed_sweep import Aftermath, World, drawn_kills, killed
from support.servers import running_server
from tables import writing

ROOT = Path(__file__).parents[1]

KILLS = 30


def main(folder):
    """Kill, go on and compare; then write the table."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    outcomes = []
    with running_server() as server:
        world = World(folder / "world", server)
        whole, seen = {}, {}
        for spread in ("models", "images"):
            codes, texts = world.run(folder / spread, spread)
            assert codes == [0, 0], texts
            whole[spread] = world.results(folder / spread)
            for phase in ("planning", "downloading", "forward", "attack", "writing"):
                for rank in "01":
                    seen[spread, phase, rank] = world.seen(folder / spread, rank, phase)
        assert whole["models"] == whole["images"]
        for number, kill in enumerate(drawn_kills(KILLS)):
            kept = folder / f"{number}.json"
            if kept.exists():
                found = Aftermath(**json.loads(kept.read_text()))
            else:
                rank = "0" if kill.whom == "all" else kill.whom
                times, tries = seen[kill.spread, kill.phase, rank] * 0.8, 0
                while True:  # of processes that share models, one may have less to do than another time
                    found = killed(world, folder / f"{number}-{tries}", kill, whole[kill.spread], times)
                    if found.sent or tries == 3:
                        break
                    times, tries = times / 4, tries + 1
                kept.write_text(json.dumps(asdict(found)))
            outcomes.append((kill, found))
            print(number, kill, {**asdict(found), "texts": ""}, flush=True)
    columns = [
        "signal during", "signals", "sent", "records there afterwards", "same command ends well",
        "records equal to an uninterrupted run's", "kept twice", "files left over",
    ]  # fmt: skip
    with writing("sweep-kills", "python benchmarks/measure_kills.py FOLDER", columns) as row:
        for phase in dict.fromkeys(kill.phase for kill, _ in outcomes):
            each = [found for kill, found in outcomes if kill.phase == phase]
            counts = [found.after for found in each]
            row(
                phase,
                str(len(each)),
                str(sum(found.sent for found in each)),
                f"{min(counts)} to {max(counts)} of {world.units}",
                str(sum(not any(found.again) for found in each)),
                str(sum(found.equal for found in each)),
                str(sum(found.twice for found in each)),
                str(sum(len(found.litter) for found in each)),
            )


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))  # for the forks
    main(Path(sys.argv[1]))
