"""Membership inference on one target: ask, score, measure, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from securitynet_hub.attacks.accuracy import Accuracy, count_right, warn_of_low_accuracy
from securitynet_hub.attacks.membership.measures import CONFIDENCE_LEVEL, TARGET_FPRS, measure_membership
from securitynet_hub.attacks.membership.pool import Answers, Pool, find_pool, forward
from securitynet_hub.attacks.membership.queries import QUERY_ATTACKS, ask_about, most_queries, query_settings
from securitynet_hub.attacks.membership.registry import ATTACKS, needed_by
from securitynet_hub.attacks.membership.running import (
    Run,
    known_settings,
    measure_run,
    require_settings,
    run_attack,
)
from securitynet_hub.attacks.membership.samples import measure_slices, sample_table, write_samples
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.subject import AuditData, describe_subject
from securitynet_hub.core.errors import RecordError, UnknownNameError
from securitynet_hub.data.features import COMPONENTS
from securitynet_hub.engine.inference import BATCH_SIZE
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record
from securitynet_hub.statistics.signals import SIGNALS

KIND = "membership-inference"
NAMES = (*ATTACKS, *QUERY_ATTACKS)
"""Every attack by its name; those that ask about images of their own making last."""

CALIBRATION = 0.5
"""Share of the samples whose membership a learned attack is told; it is measured on the others."""

MAX_QUERIES = 1_000_000
"""Images that one attack may forward: about five minutes of one core on a network of the zoo."""

Settings = Mapping[str, Mapping[str, Any]]


def audit_membership(
    target: Target,
    data: AuditData,
    attacks: Sequence[str],
    *,
    settings: Settings = MappingProxyType({}),
    class_wise: bool = False,
    slices: bool = False,
    shadows: Shadows | None = None,
    calibration: float = CALIBRATION,
    seed: int = 0,
    max_queries: int = MAX_QUERIES,
    on_record: Callable[[Record], object] = lambda record: None,
    samples: str | Path | None = None,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> list[Record]:
    """Return one record for each of ``attacks``, of `NAMES`; arguments as for `audit`."""
    measuring: dict[str, Any] = {
        "target_fprs": [float(rate) for rate in target_fprs],
        "confidence_level": float(confidence_level),
    }
    # Refuse what is impossible before the forward pass, not after.
    measure_membership([1, 0], [1, 0], **measuring)
    calibration, seed = float(calibration), int(seed)
    data.require_classes_of(target)
    if samples is not None and (Path(samples) / target.id).exists():
        raise RecordError(f"{Path(samples) / target.id} exists already; it is never overwritten.")
    pool = None if shadows is None else find_pool(shadows, data)
    chosen = _settings(attacks, settings, class_wise=class_wise)
    comparing = [name for name in attacks if name in ATTACKS]
    _require_evidence(comparing, pool)
    for name in QUERY_ATTACKS.keys() & set(attacks):
        _require_affordable(name, chosen[name], data, max_queries)

    is_member, labels = data.split.is_member, data.images.labels[data.split.indices]
    answers: Answers | None = None
    accuracy: Accuracy | None = None
    if comparing:
        answers = forward(
            target,
            data,
            pool,
            views=any(ATTACKS[name].views for name in comparing),
            features=any("features" in ATTACKS[name].needs for name in comparing),
            calibration=calibration,
            seed=seed,
            batch_size=batch_size,
            on_batch=on_batch,
        )
        accuracy = count_right(answers.logits, labels, is_member)
        warn_of_low_accuracy(target.annotation, accuracy.nonmembers_right, accuracy.nonmembers)
    classes = np.array(data.images.class_names)[labels]
    records: list[Record] = []
    runs: dict[str, Run] = {}
    for name in attacks:
        began = time.perf_counter()
        if name in QUERY_ATTACKS or answers is None or accuracy is None:
            run, known, counts = _ask(name, target, data, chosen[name], seed, batch_size, on_batch)
            timings: dict[str, float] = {}
        else:
            run = run_attack(name, answers.evidence, class_wise=class_wise, **chosen[name])
            known = {**chosen[name], **_decided(name, calibration, seed, pool, class_wise=class_wise)}
            counts = {
                "forwarded": answers.forwarded,
                **accuracy._asdict(),
                **_models_used(name, pool),
            }
            timings = {"inference": answers.seconds}
        runs[name] = run
        result = measure_run(run, is_member, class_wise=class_wise, **measuring)
        if slices:
            known["slices"] = "class"
            result["slices"] = measure_slices(run.scores, is_member[run.rows], classes[run.rows], **measuring)
        record = Record(
            **describe_subject(target, data),
            attack={"name": name, "kind": KIND, **measuring, **known},
            result=result,
            counts=counts,
            timings={**timings, "attack": time.perf_counter() - began},
        )
        records.append(record)
        on_record(record)
    if samples is not None:
        table = sample_table(runs, is_member, labels=labels, positions=data.split.indices)
        write_samples(table, data.images.pixels[data.split.indices], Path(samples) / target.id)
    return records


def _ask(
    name: str,
    target: Target,
    data: AuditData,
    settings: dict[str, Any],
    seed: int,
    batch_size: int,
    on_batch: Callable[[int], None],
) -> tuple[Run, dict[str, Any], dict[str, int]]:
    """Run an attack that asks about images of its own; return also what decided it, and what it cost."""
    pixels, labels = data.images.pixels[data.split.indices], data.images.labels[data.split.indices]
    known = {**settings, "seed": seed}
    starts = None
    if QUERY_ATTACKS[name].starts:
        # The first image of each class that the audit does not judge.
        others = np.setdiff1d(np.arange(len(data.images)), data.split.indices)
        known["starts"] = others[np.unique(data.images.labels[others], return_index=True)[1]].tolist()
        starts = data.images.pixels[known["starts"]]
    found = ask_about(
        name, target, pixels, labels, starts=starts, seed=seed, batch_size=batch_size, **settings
    )
    on_batch(found.total_queries)
    counts = {"forwarded": found.total_queries, "most_for_one_sample": int(found.queries.max())}
    return Run(found.scores, np.arange(len(labels))), known, counts


def _settings(attacks: Sequence[str], settings: Settings, *, class_wise: bool) -> dict[str, dict[str, Any]]:
    """Return every attack's settings as they are recorded; refuse those of no attack that is run.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.
        ValueError: class-wise thresholds for an attack that has none.
    """
    for name in settings:
        if name not in attacks:
            raise UnknownNameError("attack with settings among those to be run", name, attacks)
    without = [name for name in attacks if name not in SIGNALS]
    if class_wise and without:
        raise ValueError(f"class-wise thresholds are for {', '.join(SIGNALS)}; got {', '.join(without)}.")
    chosen = {}
    for name in attacks:
        own = settings.get(name, {})
        if name in QUERY_ATTACKS:
            known = query_settings(name, {})
            query_settings(name, own)
        else:
            known = known_settings(name)
            require_settings(name, own)
            known.pop("requested_models", None)
        chosen[name] = {key: _plain(own.get(key, default), default) for key, default in known.items()}
    return chosen


def _plain(value: Any, default: Any) -> Any:
    """Return a setting as JSON has it, a whole number as a float where the default is one."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return float(value) if isinstance(default, float) and type(value) is int else value


def _require_affordable(name: str, settings: dict[str, Any], data: AuditData, max_queries: int) -> None:
    """Refuse an attack that may ask more than it is allowed to, before the first query."""
    most = most_queries(name, data.images.pixels[data.split.indices], settings)
    if most > max_queries:
        raise ValueError(
            f"{name} may forward {most:,} images for {len(data.split.indices):,} samples, more than "
            f"max_queries={max_queries:,}. Allow more, lower {' or '.join(settings)}, or audit fewer samples."
        )


def _require_evidence(attacks: Sequence[str], pool: Pool | None) -> None:
    """Refuse attacks for which something is missing before any image is forwarded."""
    held = _held(pool)
    fewest = (0, 0) if pool is None else (pool.counts.fewest_in, pool.counts.fewest_out)
    for name in attacks:
        missing = [need for need in needed_by(name, held) if need not in held]
        if missing:
            raise ValueError(
                f"{name} needs {' and '.join(missing)}: pass shadows=train_shadows(...) with a pool that "
                "has the samples of the split and, for a population, others."
            )
        if any(n < least for n, least in zip(fewest, ATTACKS[name].fewest, strict=True)):
            raise ValueError(
                f"{name} needs, for every sample, {ATTACKS[name].fewest[0]} or more shadow models trained on "
                f"it and {ATTACKS[name].fewest[1]} or more that were not; the fewest are {fewest[0]} and "
                f"{fewest[1]}. Train more."
            )


def _held(pool: Pool | None) -> set[str]:
    """Return the fields of the evidence that an audit has beside answers and labels."""
    held = {"calibration", "features"}
    if pool is not None:
        held |= {"reference_outputs", "reference_in"}
        if len(pool.others):
            held |= {"population_outputs", "population_labels", "reference_population_outputs"}
    return held


def _models_used(name: str, pool: Pool | None) -> dict[str, int]:
    """Return how many shadow models stand behind an attack's scores, for its record."""
    if pool is None or not any("reference" in need for need in ATTACKS[name].needs):
        return {}
    counts = pool.counts
    return {"shadow_models": counts.models, "fewest_in": counts.fewest_in, "fewest_out": counts.fewest_out,
            "population": len(pool.others)}  # fmt: skip


def _decided(
    name: str, calibration: float, seed: int, pool: Pool | None, *, class_wise: bool
) -> dict[str, Any]:
    """Return what decides an attack's result beside its name and settings, for its record."""
    needs = needed_by(name, _held(pool))
    decided: dict[str, Any] = {"from_logits": True}
    if "features" in needs:
        decided["features"] = {"components": COMPONENTS, "label": True}
    if class_wise:
        decided["class_wise"] = True
    if class_wise or "calibration" in needs:
        decided |= {"calibration": calibration, "seed": seed}
    if pool is not None and any("reference" in need or "population" in need for need in needs):
        decided["shadows_sha256"] = pool.shadows.sha256
        if ATTACKS[name].views:
            decided["views"] = list(pool.shadows.views)
    return decided
