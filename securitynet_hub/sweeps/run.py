"""Run a sweep: every process takes the next job that nobody holds, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

from securitynet_hub.auditing import audit
from securitynet_hub.errors import RecordError
from securitynet_hub.processes import agree, find_place
from securitynet_hub.records import Record
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job, Unit
from securitynet_hub.targets import Target, load_target

PAUSE = 0.2
"""Seconds before it is looked again whether a job that another process held is done."""


class Measure(Protocol):
    """What measures a model by the attacks named, handing on each record as soon as it is there."""

    def __call__(
        self, target: Any, job: Job, attacks: Sequence[str], on_record: Callable[[Record], None]
    ) -> None:
        """Measure; whatever is raised is the failure of the attacks that gave no record."""


def load_job(job: Job) -> Target:
    """Load the job's model."""
    return load_target(job.annotation)


def audit_job(target: Target, job: Job, attacks: Sequence[str], on_record: Callable[[Record], None]) -> None:
    """Audit the job's model: one forward pass for all attacks."""
    audit(target, attacks=attacks, data=job.data, on_record=on_record, **job.options)


class Outcome(NamedTuple):
    """How many units this process did, and how many of its units failed."""

    done: int
    failed: int


def sweep(
    jobs: Sequence[Job],
    ledger: Ledger,
    *,
    together: bool = False,
    retry: bool = False,
    load: Callable[[Job], Any] = load_job,
    measure: Measure = audit_job,
    on_job: Callable[[Job], None] = lambda job: None,
    on_unit: Callable[[Unit, bool], None] = lambda unit, done: None,
) -> Outcome:
    """Do what is left of the jobs; return when all are done or have failed, whoever did them.

    A unit that fails is written down and does not end the sweep. What ends it is a folder that cannot be
    written; what was done until then stays.

    Args:
        jobs: the work; every process is given the same, in the same order.
        ledger: the folder in which it is kept.
        together: all processes of the launch work on one job at a time, each on its share of the images;
            otherwise (after `processes.part`) each takes the next job that nobody holds.
        retry: do units again that failed before.
        load: what makes a job ready to be measured.
        measure: what turns it into records, one for each attack.
        on_job: called before each job that this process takes.
        on_unit: called after each unit that this process did, with whether it succeeded.

    Raises:
        RecordError: the folder cannot be written.
    """
    common: Callable[[Any], Any] = agree if together else lambda value: value
    writes = find_place().is_main if together else True
    retried = time.time() if retry else 0.0
    counts = {True: 0, False: 0}

    def settle(unit: Unit, result: Record | Exception) -> None:
        done = isinstance(result, Record)
        if writes:
            ledger.keep(unit, result) if isinstance(result, Record) else ledger.fail(unit, result)
        counts[done] += 1
        on_unit(unit, done)

    left = list(jobs)
    while left:
        held = []
        for job in left:
            if not common(ledger.pending(job, failed_before=retried)):
                continue
            with ledger.claim(job) if writes else nullcontext(True) as claimed:
                if not common(claimed):
                    held.append(job)
                    continue
                # Again: another process may have done them while this one came to claim them.
                pending = common(ledger.pending(job, failed_before=retried))
                if pending:
                    on_job(job)
                    _work(job, pending, load, measure, settle)
        if held == left:
            time.sleep(PAUSE)
        left = held
    return Outcome(done=counts[True], failed=counts[False])


def _work(
    job: Job,
    pending: Sequence[Unit],
    load: Callable[[Job], Any],
    measure: Measure,
    settle: Callable[[Unit, Record | Exception], None],
) -> None:
    """Measure a job's pending units; what fails in any way is settled as failed."""
    left = {unit.attack: unit for unit in pending}

    def keep(record: Record) -> None:
        settle(left.pop(record.attack["name"]), record)

    try:
        target = load(job)
    except Exception as error:
        for unit in pending:
            settle(unit, error)
        return
    groups = [list(left)]
    while groups:
        names = groups.pop()
        try:
            measure(target, job, names, keep)
        except RecordError:
            raise
        except Exception as error:
            if len(names) == 1:
                settle(left[names[0]], error)
            else:  # one of them must not take the others with it
                groups += [[name] for name in names if name in left]
