"""Many processes sweep one folder of made-up units, and some are killed: run by test_sweeps.

``python sweep_processes.py FOLDER UNITS PROCESSES KILLS SEED``: as many processes at a time as asked for;
one after another is killed at a random moment and another takes its place; in the end those that are left
finish. FOLDER/measured.txt gets a line for each measurement, whether or not its record was kept.
"""

import os
import random
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.records.record import Record
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import plan_jobs
from securitynet_hub.sweeps.run import sweep

ROW = load_annotations("zoo")["zoo/fashion-mnist/cnn-clean/1"]
ATTACKS = ("loss", "entropy", "hinge")


def made_up_jobs(units):
    rows = [replace(ROW, id=f"zoo/fashion-mnist/made-up/{number}") for number in range(units // len(ATTACKS))]
    return plan_jobs(rows, ATTACKS, {ROW.dataset: known_data(ROW)})  # one data set for all


def measure(target, job, attacks, on_record, on_batch, log=None):
    """Make a record without a model: what is tested is the keeping of records.

    Each measurement appends its unit to the log, if there is one, before its record is kept.
    """
    for name in attacks:
        if log is not None:
            with log.open("a") as file:
                file.write(f"{job.annotation.id} {name}\n")
            time.sleep(0.005)  # long enough that processes meet over a job
        on_record(
            Record(
                target={"id": job.annotation.id},
                data={},
                attack={"name": name},
                result={"process": os.getpid()},
                counts={},
                timings={},
            )
        )


def work(jobs, folder):
    log = Path(folder) / "measured.txt"
    sweep(jobs, Ledger(folder), load=lambda job: None, measure=partial(measure, log=log))


def start(jobs, folder):
    child = os.fork()
    if child == 0:
        try:
            work(jobs, folder)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def main(folder, units, processes, kills, seed):
    chance = random.Random(seed)
    jobs = made_up_jobs(units)
    running = [start(jobs, folder) for _ in range(processes)]
    for _ in range(kills):
        time.sleep(chance.uniform(0, 0.1))
        victim = running.pop(0)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        running.append(start(jobs, folder))
    assert [os.waitpid(child, 0)[1] for child in running] == [0] * processes


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
