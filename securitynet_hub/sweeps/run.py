"""Run a sweep: each process takes the next job that nobody holds, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

from securitynet_hub.attacks.audit import audit
from securitynet_hub.core.errors import ModelError, ProcessError, RecordError
from securitynet_hub.core.interrupts import raise_if_interrupted
from securitynet_hub.engine.processes import broadcast, find_place, raise_together
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job, Unit

PAUSE = 0.2
"""Seconds to wait before looking again at jobs that other processes hold."""


class Measure(Protocol):
    """Measures a model by the named attacks, and hands on each record as soon as it is there."""

    def __call__(
        self,
        target: Any,
        job: Job,
        attacks: Sequence[str],
        on_record: Callable[[Record], None],
        on_batch: Callable[[int], None],
    ) -> None:
        """Measure; an exception is the failure of the attacks that gave no record."""


def load_job(job: Job) -> Target:
    """Load the job's model."""
    return load_target(job.annotation, **job.loading)


def audit_job(
    target: Target,
    job: Job,
    attacks: Sequence[str],
    on_record: Callable[[Record], None],
    on_batch: Callable[[int], None],
) -> None:
    """Audit the job's model: one forward pass for all attacks."""
    audit(
        target,
        attacks=attacks,
        data=job.data,
        on_record=on_record,
        on_batch=on_batch,
        on_skipped=_raise,
        **job.options,
    )


def _raise(name: str, error: Exception) -> None:
    """Let a failed attack end the audit of its job: the sweep writes it down, and goes on with the others."""
    raise error


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
    on_batch: Callable[[int], None] = lambda size: None,
) -> Outcome:
    """Do what is left of the jobs; return when all are done or have failed, whoever did them.

    A unit that fails is written down and does not end the sweep. Only a folder that cannot be written ends
    it; the records written until then stay.

    Args:
        jobs: the work; every process is given the same, in the same order.
        ledger: the folder in which it is kept.
        together: all processes of the launch work on one job at a time, each on its share of the images;
            otherwise (after `processes.shutdown`) each takes the next job that nobody holds.
        retry: do units again that failed before.
        load: what makes a job ready to be measured.
        measure: what turns it into records, one for each attack.
        on_job: called before each job that this process takes.
        on_unit: called after each unit that this process did, with whether it succeeded.
        on_batch: called with the number of images after each batch that this process forwarded.

    Raises:
        RecordError: the folder cannot be written.
        ProcessError: processes that work together lost one of them; nothing is written down as failed.
    """
    common: Callable[[Any], Any] = broadcast if together else lambda value: value
    fate: Callable[[Exception | None], Exception | None] = raise_together if together else lambda error: error
    writes = find_place().is_main if together else True
    retried = time.time() if retry else 0.0
    counts = {True: 0, False: 0}

    def record_outcome(unit: Unit, result: Record | Exception) -> None:
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
                    work = _Work(job, load, measure, record_outcome, common, fate, on_batch)
                    work.do(pending)
        if held == left:
            time.sleep(PAUSE)
        left = held
    return Outcome(done=counts[True], failed=counts[False])


class _Work(NamedTuple):
    """How a job is done: a failure of any sort is recorded, and the rest goes on."""

    job: Job
    load: Callable[[Job], Any]
    measure: Measure
    record_outcome: Callable[[Unit, Record | Exception], None]
    common: Callable[[Any], Any]
    fate: Callable[[Exception | None], Exception | None]
    on_batch: Callable[[int], None]

    def do(self, pending: Sequence[Unit]) -> None:
        """Measure the job's pending units."""
        units = {unit.attack: unit for unit in pending}
        done: set[str] = set()
        target, failure = None, None
        try:
            target = self.load(self.job)
        except Exception as error:
            raise_if_interrupted(error)
            failure = error
        if failure := self.fate(failure):
            for unit in pending:
                self.record_outcome(unit, failure)
            return

        def keep(record: Record) -> None:
            self.record_outcome(units[record.attack["name"]], record)
            done.add(record.attack["name"])

        groups = [list(units)]
        while groups:
            names = groups.pop()
            failure = self._measured(target, names, keep)
            if failure is None:
                continue
            # What the main process wrote is done, even if another one failed meanwhile.
            rest = self.common([name for name in names if name not in done])
            # A model that gives no answers gives them to no attack. Else one attack must not take the
            # others with it: they are halved until it is alone.
            mute = self.common(isinstance(failure, ModelError) and rest == names)
            if len(names) == 1 or mute:
                for name in rest:
                    self.record_outcome(units[name], failure)
            else:
                middle = len(rest) // 2
                groups += [half for half in (rest[middle:], rest[:middle]) if half]

    def _measured(
        self, target: Any, names: Sequence[str], keep: Callable[[Record], None]
    ) -> Exception | None:
        """Measure by some attacks; return what failed, on this process or another."""
        failure: Exception | None = None
        try:
            self.measure(target, self.job, names, keep, self.on_batch)
        except (RecordError, ProcessError):
            raise
        except Exception as error:
            raise_if_interrupted(error)
            failure = error
        return self.fate(failure)
