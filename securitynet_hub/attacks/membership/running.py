"""Every membership attack that works on answers, under one name: what it needs, and its scores.

`Evidence` is what an attacker holds. `run_attack` scores the samples whose membership is to be told; those
that an attack was calibrated on are never among them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.inputs import Evidence
from securitynet_hub.attacks.membership.measures import CONFIDENCE_LEVEL, TARGET_FPRS, measure_membership
from securitynet_hub.attacks.membership.registry import ATTACKS, UNLABELLED, Rows, needed_by
from securitynet_hub.attacks.membership.rmia import tune_offline_a
from securitynet_hub.attacks.membership.thresholds import fit_thresholds, measure_threshold_attack
from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.comparison import paired_auc_difference
from securitynet_hub.statistics.signals import SIGNALS

TUNED = "tuned"
"""RMIA's ``a`` where it is to be tuned on the reference models."""


class Run(NamedTuple):
    """An attack's scores, the rows of the evidence that they are of, and settings that it found itself."""

    scores: Scores
    rows: Rows
    tuned: Mapping[str, float] = MappingProxyType({})


def run_attack(name: str, evidence: Evidence, *, class_wise: bool = False, **settings: Any) -> Run:
    """Score every sample that the attack may judge, higher = more likely a member.

    Args:
        name: of `ATTACKS`.
        evidence: what the attacker holds.
        class_wise: subtract each class's threshold (`fit_thresholds` on the calibration samples), so that
            0 is where the attack accuses. Of the metric-based attacks alone.
        settings: of the function behind the attack, such as ``variance`` of `lira_scores`; for RMIA's ``a``
            also "tuned": chosen by `tune_offline_a`.

    Returns:
        All samples in their order; those that were calibrated on are left out.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.
        ValueError: something that the attack needs is missing, or as the function behind it.

    >>> logits, labels = [[2.0, 0.0], [0.0, 1.0]], [0, 0]
    >>> evidence = Evidence(outputs=logits, labels=labels, is_member=[1, 0], from_logits=True)
    >>> run_attack("hinge", evidence).scores
    array([ 2., -1.])
    """
    if name not in ATTACKS:
        raise UnknownNameError("membership attack", name, ATTACKS)
    attack = ATTACKS[name]
    if class_wise and name not in SIGNALS:
        raise ValueError(f"class-wise thresholds are for {', '.join(SIGNALS)}; got {name!r}.")
    missing = missing_evidence(name, evidence, class_wise=class_wise)
    if missing:
        raise ValueError(f"{name} needs {' and '.join(missing)}.")
    require_settings(name, settings)
    calibrated = class_wise or "calibration" in needed_by(name, evidence.held)
    evidence.membership  # noqa: B018 (checked before anything is scored)
    rows = np.flatnonzero(~evidence.calibrated_on) if calibrated else np.arange(len(evidence.membership))
    if class_wise:
        return Run(_against_thresholds(name, evidence, rows), rows)
    tuned = _tune(evidence, **settings) if settings.get("a") == TUNED else {}
    return Run(attack.score(evidence, rows, **{**settings, **tuned}), rows, tuned)


def measure_attack(
    name: str,
    evidence: Evidence,
    *,
    class_wise: bool = False,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    compare_with: Any = None,
    compare_with_members: Any = None,
    epsilon: str | None = None,
    delta: float = 0.0,
    **settings: Any,
) -> dict[str, Any]:
    """Run an attack and measure it on the samples that it judged.

    Arguments as for `run_attack` and `measure_membership`, except that `compare_with` may also be the name of
    another attack, run on the same evidence by its defaults and compared on the samples that both judged; and
    that scores of the same samples are of all of the evidence.

    Returns:
        The fields of `MembershipResult`; with `class_wise` also ``accusations``, those of `ThresholdResult`
        for the accusations made at the calibrated thresholds; and ``tuned``, the settings that the attack
        found itself, where it was to.

    >>> logits, labels = [[2.0, 0.0], [0.0, 1.0]], [0, 0]
    >>> evidence = Evidence(outputs=logits, labels=labels, is_member=[1, 0], from_logits=True)
    >>> measure_attack("hinge", evidence, target_fprs=[0.5])["auc"]
    1.0
    >>> measure_attack("hinge", evidence, compare_with="entropy")["comparison"]["difference"]
    0.0
    """
    run = run_attack(name, evidence, class_wise=class_wise, **settings)
    paired = compare_with is not None and compare_with_members is None
    result = measure_run(
        run,
        evidence.membership,
        class_wise=class_wise,
        target_fprs=target_fprs,
        confidence_level=confidence_level,
        compare_with=None if paired else compare_with,
        compare_with_members=compare_with_members,
        epsilon=epsilon,
        delta=delta,
        seed=evidence.seed,
    )
    if paired:
        other = _other_run(compare_with, evidence)
        rows, own, others = np.intersect1d(run.rows, other.rows, return_indices=True)
        scores, truth = (run.scores[own], other.scores[others]), evidence.membership[rows]
        difference = paired_auc_difference(*scores, truth, confidence_level=confidence_level)
        result["comparison"] = difference._asdict()
    return result


def measure_run(
    run: Run, is_member: npt.NDArray[np.bool_], *, class_wise: bool = False, **measuring: Any
) -> dict[str, Any]:
    """Measure scores against the truth about all samples, of which the run judged some.

    Args:
        run: from `run_attack`.
        is_member: shape (n,).
        class_wise: whether 0 is where the scores accuse; adds ``accusations``.
        measuring: arguments of `measure_membership`.
    """
    truth = is_member[run.rows]
    result = dict(measure_membership(run.scores, truth, **measuring))
    if class_wise:
        result["accusations"] = measure_threshold_attack(
            run.scores >= 0, truth, confidence_level=measuring["confidence_level"]
        )
    if run.tuned:
        result["tuned"] = dict(run.tuned)
    return result


def missing_evidence(name: str, evidence: Evidence, *, class_wise: bool = False) -> list[str]:
    """List the fields of the evidence that an attack needs and that are None, labels included.

    >>> evidence = Evidence(outputs=[[2.0, 0.0]], labels=[0], is_member=[1], from_logits=True)
    >>> missing_evidence("mlp_full", evidence), missing_evidence("loss", evidence)
    (['calibration'], [])
    """
    held = evidence.held
    needs = (*needed_by(name, held), *(("calibration",) if class_wise else ()))
    labels = () if name in UNLABELLED else ("labels",)
    return [need for need in (*labels, *needs) if need not in held]


def runnable(fewest: tuple[int, int] = (0, 0)) -> list[str]:
    """List the attacks that need no more than calibration samples, images and, of each, IN and OUT models.

    >>> "lira" in runnable(), "lira" in runnable((2, 6)), "rmia" in runnable((1, 3))
    (False, True, True)
    """
    held = {"calibration", "features", *(ATTACKS["rmia"].needs if any(fewest) else ())}
    return [
        name
        for name, attack in ATTACKS.items()
        if held.issuperset(needed_by(name, held))
        and all(n >= least for n, least in zip(fewest, attack.fewest, strict=True))
    ]


def known_settings(name: str) -> dict[str, Any]:
    """Return the settings of an attack and what they are by default.

    >>> known_settings("rmia")
    {'gamma': 2.0, 'a': 0.3, 'requested_models': None}
    """
    takes = ATTACKS[name].takes
    if takes is None:
        return {}
    parameters = inspect.signature(takes).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _FIXED}


def require_settings(name: str, settings: Iterable[str]) -> None:
    """Refuse settings that an attack does not have.

    Raises:
        UnknownNameError: with the closest names.
    """
    for setting in settings:
        if setting not in known_settings(name):
            raise UnknownNameError(f"setting of {name}", setting, known_settings(name))


_FIXED = {
    "mode", "ref_in_z", "ids", "ids_x", "ids_z", "population_ids", "calibration_ids", "classes",
    "population_classes", "seed",
}  # fmt: skip
"""Arguments that the attack's name or the evidence decides."""


def _against_thresholds(name: str, evidence: Evidence, rows: Rows) -> Scores:
    scores, labels = evidence.score(name), as_array(evidence.labels, "labels")
    known = evidence.calibrated_on
    thresholds = fit_thresholds(
        scores[known],
        labels[known],
        evidence.membership[known],
        num_classes=int(labels.max()) + 1,
        indices=np.flatnonzero(known),
    )
    return thresholds.centred(scores[rows], labels[rows], indices=rows)


def _tune(evidence: Evidence, *, gamma: float = 2.0, **others: Any) -> dict[str, float]:
    found = tune_offline_a(
        evidence.reference_scores("loss", views=True),
        evidence.reference_in,
        evidence.reference_population_scores("loss", views=True),
        gamma=gamma,
        ref_in_z=evidence.reference_population_in,
    )
    return {"a": found.a}


def _other_run(compare_with: Any, evidence: Evidence) -> Run:
    """Return what an attack is compared with: the run of another by its name, or scores of all samples."""
    if isinstance(compare_with, str):
        return run_attack(compare_with, evidence)
    scores, n = as_array(compare_with, "compare_with"), len(evidence.membership)
    if scores.shape != (n,):
        raise ValueError(
            f"compare_with must be an attack's name or one score for each of {n} samples; got shape "
            f"{scores.shape}."
        )
    return Run(scores, np.arange(n))
