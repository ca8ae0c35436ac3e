"""A sweep as it is asked for: plan it, agree with the other processes of the launch, run what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

from securitynet_hub.attacks.kind import expand_groups
from securitynet_hub.data.sides import OnProgress, silent
from securitynet_hub.engine import device_maps, processes
from securitynet_hub.models.own_targets import read_targets
from securitynet_hub.models.target import Target
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job, Unit, find_models, parse_data, plan_jobs, plan_own_jobs
from securitynet_hub.sweeps.run import load_job, sweep


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What a sweep measures, and how.

    Attributes:
        models: patterns, as `find_models` takes them.
        targets: a TOML file of models of one's own, as `read_targets` takes it.
        where: a condition on the tables' columns.
        attacks: names of attacks and of groups.
        data: ``DATASET=REFERENCE`` for each data set.
        out: the folder of the sweep.
        spread: what the processes share: models, or the images of one model at a time.
        kind_options: fields of the kinds' options.
        batch_size: images in one forward pass.
        seed: of what attacks draw.
        max_memory: spread each model over devices; empty: over what is free.
        offload: folder for layers on disk.
        retry_failed: do again what failed before.
        dry_run: only plan.
        shard: which of how many parts of the models to do, counted from one; None for all of them.
    """

    models: Sequence[str]
    attacks: Sequence[str]
    out: Path
    targets: Path | None = None
    where: str | None = None
    data: Sequence[str] = ()
    spread: Literal["auto", "models", "images"] = "auto"
    kind_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    batch_size: int | None = None
    seed: int = 0
    max_memory: Mapping[int | str, str] | None = None
    offload: Path | None = None
    retry_failed: bool = False
    dry_run: bool = False
    shard: tuple[int, int] | None = None


class Watch(Protocol):
    """What is told of a sweep's progress, as `sweep` says."""

    def on_job(self, job: Job) -> None:
        """Take note of a model that this process begins."""

    def on_unit(self, unit: Unit, done: bool) -> None:
        """Take note of a unit that this process did or that failed."""

    def on_batch(self, size: int) -> None:
        """Take note of so many images that were forwarded."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sweep that is planned, and the folder in which it is kept.

    Attributes:
        options: what was asked for.
        jobs: the work.
        ledger: the folder.
        damaged: records that were set aside, to be measured again.
        processes: how many the launch has.
        is_main: whether this process is the one that prints.
        together: whether all processes share the images of one model at a time.
    """

    options: SweepOptions
    jobs: Sequence[Job]
    ledger: Ledger
    damaged: Sequence[Path]
    processes: int
    is_main: bool
    together: bool

    @cached_property
    def units(self) -> list[Unit]:
        """Every unit of the sweep."""
        return [unit for job in self.jobs for unit in job.units]

    def count_settled(self) -> int:
        """Return how many units are done or have failed, whichever process did them."""
        return self.ledger.count_settled(self.units)

    def failed(self) -> list[dict[str, Any]]:
        """Return what is known of the units that failed."""
        return self.ledger.failed(self.units)

    def join(self) -> None:
        """Meet the other processes, so that what the launch asks of the device is refused here, once.

        Raises:
            ValueError: the processes are to share images but do not find one another.
        """
        met = processes.init_processes().num_processes
        if self.together and met != self.processes:
            raise ValueError(
                f"--spread images needs the processes to meet; this one of {self.processes} found {met}. "
                "Start them with accelerate launch."
            )

    def run(self, watch: Watch) -> None:
        """Do what is left, as `sweep` says."""
        sweep(
            self.jobs,
            self.ledger,
            together=self.together,
            retry=self.options.retry_failed,
            load=_loader(self.options),
            on_job=watch.on_job,
            on_unit=watch.on_unit,
            on_batch=watch.on_batch,
        )


def prepare(options: SweepOptions, *, on_progress: OnProgress = silent) -> Prepared:
    """Plan a sweep and open its folder.

    Args:
        options: of the sweep.
        on_progress: called while images are listed and looked at.

    Raises:
        UnknownNameError: no such model, attack or data set; the closest names are given.
        RecordError: the folder cannot be written.
        ValueError: there is nothing to do, images are missing, or memory is to be shared by processes.
    """
    place = processes.find_place()
    if options.max_memory is not None and place.of > 1:
        raise ValueError(
            f"--max-memory spreads a model over all devices of one process; this launch has {place.of}."
        )
    jobs = plan(options, on_progress=on_progress)
    together = options.spread == "images" or (options.spread == "auto" and len(jobs) < place.of)
    if options.dry_run or not together:
        processes.shutdown()  # before anything else asks Accelerate
    ledger = Ledger(options.out)
    return Prepared(
        options=options,
        jobs=jobs,
        ledger=ledger,
        damaged=ledger.set_damaged_aside() if place.is_main else [],
        processes=place.of,
        is_main=place.is_main,
        together=together,
    )


def plan(options: SweepOptions, *, on_progress: OnProgress = silent) -> list[Job]:
    """Return the jobs of a sweep.

    Raises:
        UnknownNameError: no such model, attack or data set; the closest names are given.
        ValueError: there is nothing to do, or images are missing.
    """
    attacks = expand_groups(options.attacks)
    how: dict[str, Any] = {"seed": options.seed, **options.kind_options}
    if options.batch_size is not None:
        how["batch_size"] = options.batch_size
    data = dict(parse_data(text, on_progress=on_progress) for text in options.data)
    if options.targets is None and not options.models:
        raise ValueError("there is nothing to do: name models with --models or --targets.")
    jobs = plan_own_jobs(read_targets(options.targets), attacks, data, how) if options.targets else []
    if options.models:
        jobs += plan_jobs(find_models(options.models, options.where), attacks, data, how)
    return jobs if options.shard is None else part_of(jobs, *options.shard)


def part_of(jobs: Sequence[Job], number: int, of: int) -> list[Job]:
    """Return one of so many parts of a sweep, which together hold each job exactly once.

    All jobs of a model are in one part, so that its weights are fetched once. Models go to the parts by
    turns, in the order of the plan, in which the largest come first.

    Raises:
        ValueError: the part is empty, as there are fewer models than parts, or there is no such part.
    """
    if not 1 <= number <= of:
        raise ValueError(f"shard must be one of 1/{of} to {of}/{of}; got {number}/{of}.")
    models = {id: place for place, id in enumerate(dict.fromkeys(job.annotation.id for job in jobs))}
    chosen = [job for job in jobs if models[job.annotation.id] % of == number - 1]
    if not chosen:
        raise ValueError(f"shard {number}/{of} is empty: the sweep has {len(models)} model(s).")
    return chosen


def _loader(options: SweepOptions) -> Callable[[Job], Target]:
    """Return what loads a job's model, spread over devices where that was asked for."""

    def load(job: Job) -> Target:
        target = load_job(job)
        if options.max_memory is not None:
            device_maps.place(target, max_memory=dict(options.max_memory) or None, folder=options.offload)
        return target

    return load
