"""Membership inference on one target: forward once, score, measure, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership import CONFIDENCE_LEVEL, TARGET_FPRS, measure_membership
from securitynet_hub.attacks.reference_models import count_models
from securitynet_hub.attacks.samples import sample_table, write_samples
from securitynet_hub.attacks.shadows import Shadows, identity
from securitynet_hub.attacks.suite import ATTACKS, Evidence, Run, known_settings, measure_run, run_attack
from securitynet_hub.audits.subject import AuditData, describe_subject
from securitynet_hub.errors import RecordError
from securitynet_hub.inference import BATCH_SIZE, predict
from securitynet_hub.records import Record, write_record
from securitynet_hub.targets import Target

KIND = "membership-inference"
CALIBRATION = 0.5
"""Share of the samples whose membership a learned attack is told; it is measured on the others."""


def audit_membership(
    target: Target,
    data: AuditData,
    attacks: Sequence[str],
    *,
    shadows: Shadows | None = None,
    calibration: float = CALIBRATION,
    seed: int = 0,
    out: str | Path | None = None,
    samples: str | Path | None = None,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> list[Record]:
    """Return one record for each of ``attacks``, names of `suite.ATTACKS`; arguments as for `audit`."""
    target_fprs = [float(rate) for rate in target_fprs]
    confidence_level = float(confidence_level)
    # Refuse impossible rates before the forward pass, not after.
    measure_membership([1, 0], [1, 0], target_fprs=target_fprs, confidence_level=confidence_level)
    calibration, seed = float(calibration), int(seed)
    data.require_classes_of(target)
    if samples is not None and (Path(samples) / target.id).exists():
        raise RecordError(f"{Path(samples) / target.id} exists already; it is never overwritten.")
    beside = None if shadows is None else _places(shadows, data)
    indices = data.split.indices
    population = np.zeros(0, np.int64) if beside is None else beside.population
    _require_evidence(attacks, beside)

    started = time.perf_counter()
    positions = np.concatenate([indices, population])
    logits = predict(target, data.images.pixels[positions], batch_size=batch_size, on_batch=on_batch)
    forwarded = time.perf_counter()
    labels = data.images.labels[positions].astype(np.int64)
    evidence = Evidence(
        outputs=logits[: len(indices)],
        labels=labels[: len(indices)],
        is_member=data.split.is_member,
        from_logits=True,
        calibration=calibration,
        seed=seed,
        ids=indices,
        **({} if beside is None else beside.evidence(logits[len(indices) :], labels[len(indices) :])),
    )
    records: list[Record] = []
    runs: dict[str, Run] = {}
    for name in attacks:
        began = time.perf_counter()
        runs[name] = run_attack(name, evidence)
        result = measure_run(runs[name], evidence, target_fprs=target_fprs, confidence_level=confidence_level)
        record = Record(
            **describe_subject(target, data),
            attack={
                "name": name,
                "kind": KIND,
                "from_logits": True,
                "target_fprs": target_fprs,
                "confidence_level": confidence_level,
                **_settings(name, calibration, seed, shadows),
            },
            result=result,
            counts={"forwarded": len(positions), **_models_used(name, beside)},
            timings={"inference": forwarded - started, "attack": time.perf_counter() - began},
        )
        records.append(record)
        if out is not None:
            write_record(record, Path(out))
    if samples is not None:
        table = sample_table(
            runs, data.split.is_member, labels=data.images.labels[indices], positions=indices
        )
        write_samples(table, data.images.pixels[indices], Path(samples) / target.id)
    return records


class _Places(NamedTuple):
    """Where the samples of a split, and those beyond it, stand in the pool of shadow models."""

    shadows: Shadows
    samples: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]

    @property
    def fewest(self) -> tuple[int, int]:
        """The fewest models that a sample is in, and out of."""
        counts = count_models(self.shadows.masks[:, self.samples])
        return counts.fewest_in, counts.fewest_out

    @property
    def population(self) -> npt.NDArray[np.int64]:
        """Positions in the image set of what is beyond the split."""
        return self.shadows.pool[self.others]

    def evidence(self, outputs: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the shadow models' part of the evidence; of several views of an image, the first."""
        answers, masks = self.shadows.logits[:, :, 0], self.shadows.masks
        known: dict[str, Any] = {
            "reference_outputs": answers[:, self.samples],
            "reference_in": masks[:, self.samples],
        }
        if len(self.others):
            known |= {
                "population_outputs": outputs,
                "population_labels": labels,
                "population_ids": self.population,
                "reference_population_outputs": answers[:, self.others],
                "reference_population_in": masks[:, self.others],
            }
        return known


def _places(shadows: Shadows, data: AuditData) -> _Places:
    """Find the split's samples in the shadow models' pool.

    Raises:
        ValueError: the shadow models answered for other images, for a view of them, or not for all samples.
    """
    if shadows.images_sha256 != data.images.sha256 or shadows.views[0] != identity.__name__:
        raise ValueError(
            f"the shadow models must have answered for {data.images.name} as it is (sha256 "
            f"{data.images.sha256[:12]}); they did for {shadows.images_sha256[:12]}, the first view being "
            f"{shadows.views[0]!r}."
        )
    places = {position: place for place, position in enumerate(shadows.pool.tolist())}
    unknown = [position for position in data.split.indices.tolist() if position not in places]
    if unknown:
        raise ValueError(
            f"the shadow models must answer for every sample of the split; {len(unknown)} are not in their "
            f"pool, the first is image {unknown[0]}."
        )
    samples = np.array([places[position] for position in data.split.indices.tolist()])
    return _Places(shadows, samples, np.setdiff1d(np.arange(len(shadows.pool)), samples))


def _require_evidence(attacks: Sequence[str], beside: _Places | None) -> None:
    """Refuse attacks for which something is missing before any image is forwarded."""
    held = {"calibration"}
    fewest = (0, 0)
    if beside is not None:
        held |= {"reference_outputs", "reference_in"}
        fewest = beside.fewest
        if len(beside.others):
            held |= {"population_outputs", "population_labels", "reference_population_outputs"}
    for name in attacks:
        missing = [need for need in ATTACKS[name].needs if need not in held]
        if "features" in missing:
            raise ValueError(f"{name} needs features of the images; run it by securitynet_hub.attacks.suite.")
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


def _models_used(name: str, beside: _Places | None) -> dict[str, int]:
    """Return how many shadow models stand behind an attack's scores, for its record."""
    if beside is None or not any("reference" in need for need in ATTACKS[name].needs):
        return {}
    counts = count_models(beside.shadows.masks[:, beside.samples])
    return {"shadow_models": counts.models, "fewest_in": counts.fewest_in, "fewest_out": counts.fewest_out,
            "population": len(beside.others)}  # fmt: skip


def _settings(name: str, calibration: float, seed: int, shadows: Shadows | None) -> dict[str, Any]:
    """Return what decides an attack's result beside its name, for its record."""
    needs = ATTACKS[name].needs
    settings = {key: value for key, value in known_settings(name).items() if key != "requested_models"}
    if "calibration" in needs:
        settings |= {"calibration": calibration, "seed": seed}
    if shadows is not None and any("reference" in need or "population" in need for need in needs):
        settings |= {"shadows_sha256": shadows.sha256}
    return settings
