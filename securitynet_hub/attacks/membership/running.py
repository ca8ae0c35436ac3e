"""Run one membership attack that works on answers, and measure what it scores.

`MembershipInputs` is what an attacker holds. `run_attack` scores the samples; an attack that uses calibration
samples, whose membership the attacker knows, never scores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.membership.attack import Rows, Tuned
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.kind import TARGET_FPRS
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.registry import attacks, find
from securitynet_hub.attacks.membership.thresholds import fit_thresholds, measure_threshold_attack
from securitynet_hub.core.arrays import Scores, as_array, require_flag
from securitynet_hub.statistics.comparison import paired_auc_difference

ALWAYS_HELD = frozenset({"labels", "calibration", "features", "penultimate"})
"""The fields of `MembershipInputs` that every audit has beside the outputs."""


class Run(NamedTuple):
    """An attack's scores, the rows of the inputs that it scored, and the settings that it chose itself."""

    scores: Scores
    rows: Rows
    tuned: Mapping[str, float] = MappingProxyType({})


def run_attack(name: str, inputs: MembershipInputs, *, class_wise: bool = False, **settings: Any) -> Run:
    """Score every sample that the attack may score, higher = more likely a member.

    Args:
        name: an attack on answers.
        inputs: what the attacker holds.
        class_wise: subtract each class's threshold (`fit_thresholds` on the calibration samples), so that
            the attack accuses a sample if its score is at least 0; metric-based attacks only.
        settings: of the function behind the attack, such as ``variance`` of `lira_scores`.

    Returns:
        All samples in their order, except the calibration samples of an attack that uses them.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.
        ValueError: a field that the attack needs is missing, or as the function behind the attack.

    >>> logits, labels = [[2.0, 0.0], [0.0, 1.0]], [0, 0]
    >>> inputs = MembershipInputs(outputs=logits, labels=labels, is_member=[1, 0], from_logits=True)
    >>> run_attack("hinge", inputs).scores
    array([ 2., -1.])
    """
    attack, class_wise = find(name), require_flag(class_wise, "class_wise")
    if not attack.shares_pass:
        raise ValueError(f"{name} asks about images that it makes; it cannot be run on answers only.")
    if class_wise:
        require_class_wise([name])
    missing = missing_inputs(name, inputs, class_wise=class_wise)
    if missing:
        raise ValueError(f"{name} needs {' and '.join(missing)}.")
    attack.require_settings(settings)
    calibrated = class_wise or "calibration" in attack.needed(inputs.held)
    inputs.membership  # noqa: B018 (checked before anything is scored)
    rows = np.flatnonzero(~inputs.calibrated_on) if calibrated else np.arange(len(inputs.membership))
    if class_wise:
        return Run(_threshold_scores(name, inputs, rows), rows)
    found = attack.run(inputs, rows, **settings)
    return Run(found.scores, rows, found.settings) if isinstance(found, Tuned) else Run(found, rows)


def require_class_wise(names: Sequence[str]) -> None:
    """Refuse attacks that have no class-wise thresholds."""
    known = [name for name, attack in attacks().items() if attack.class_wise]
    without = [name for name in names if name not in known]
    if without:
        raise ValueError(f"class-wise thresholds are for {', '.join(known)}; got {', '.join(without)}.")


def measure_attack(
    name: str,
    inputs: MembershipInputs,
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
    """Run an attack and measure it on the samples that it scored.

    Arguments as for `run_attack` and `measure_membership`, with one difference: `compare_with` may also be
    the name of another attack. That attack is run on the same inputs with its default settings, and the two
    are compared on the samples that both scored. Scores given as `compare_with` must cover all samples of the
    inputs.

    Returns:
        The fields of `MembershipResult`. With `class_wise` also ``accusations``: the fields of
        `ThresholdResult` for the accusations at the calibrated thresholds. If the attack chose settings
        itself, also ``tuned``: these settings.

    >>> logits, labels = [[2.0, 0.0], [0.0, 1.0]], [0, 0]
    >>> inputs = MembershipInputs(outputs=logits, labels=labels, is_member=[1, 0], from_logits=True)
    >>> measure_attack("hinge", inputs, target_fprs=[0.5])["auc"]
    1.0
    >>> measure_attack("hinge", inputs, compare_with="entropy")["comparison"]["difference"]
    0.0
    """
    run = run_attack(name, inputs, class_wise=class_wise, **settings)
    paired = compare_with is not None and compare_with_members is None
    result = measure_run(
        run,
        inputs.membership,
        class_wise=class_wise,
        target_fprs=target_fprs,
        confidence_level=confidence_level,
        compare_with=None if paired else compare_with,
        compare_with_members=compare_with_members,
        epsilon=epsilon,
        delta=delta,
        seed=inputs.seed,
    )
    if paired:
        other = _other_run(compare_with, inputs)
        rows, own, others = np.intersect1d(run.rows, other.rows, return_indices=True)
        scores, truth = (run.scores[own], other.scores[others]), inputs.membership[rows]
        difference = paired_auc_difference(*scores, truth, confidence_level=confidence_level)
        result["comparison"] = difference._asdict()
    return result


def measure_run(
    run: Run, is_member: npt.NDArray[np.bool_], *, class_wise: bool = False, **measuring: Any
) -> dict[str, Any]:
    """Measure the scores of a run, which may cover a part of the samples.

    Args:
        run: from `run_attack`.
        is_member: shape (n,), the membership of all samples.
        class_wise: whether a score of at least 0 is an accusation; adds ``accusations``.
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


def missing_inputs(name: str, inputs: MembershipInputs, *, class_wise: bool = False) -> list[str]:
    """List the fields that an attack needs and that the inputs lack, labels included.

    >>> inputs = MembershipInputs(outputs=[[2.0, 0.0]], labels=[0], is_member=[1], from_logits=True)
    >>> missing_inputs("mlp_full", inputs), missing_inputs("loss", inputs)
    (['calibration'], [])
    """
    held = inputs.held
    needs = dict.fromkeys((*find(name).needed(held), *(("calibration",) if class_wise else ())))
    return [need for need in needs if need not in held]


def runnable(held: Set[str] = ALWAYS_HELD, min_references: tuple[int, int] = (0, 0)) -> list[str]:
    """List the attacks on answers that can run where these fields of `MembershipInputs` are given.

    Args:
        held: names of fields beside the outputs.
        min_references: the smallest number of IN and of OUT reference models that any sample has.

    >>> "attack_p" in runnable(), "lira" in runnable()
    (True, False)
    >>> known = ALWAYS_HELD | {"reference_outputs", "reference_in"}
    >>> "lira" in runnable(known, (2, 2)), "lira" in runnable(known, (1, 3))
    (True, False)
    >>> "rmia" in runnable(known, (2, 2))  # it needs a population, too
    False
    """
    return [
        name
        for name, attack in attacks().items()
        if attack.shares_pass
        and held >= set(attack.needed(held))
        and all(n >= least for n, least in zip(min_references, attack.min_references, strict=True))
    ]


def _threshold_scores(name: str, inputs: MembershipInputs, rows: Rows) -> Scores:
    scores, labels = inputs.score(name), as_array(inputs.labels, "labels")
    known = inputs.calibrated_on
    thresholds = fit_thresholds(
        scores[known],
        labels[known],
        inputs.membership[known],
        num_classes=int(labels.max()) + 1,
        indices=np.flatnonzero(known),
    )
    return thresholds.centred(scores[rows], labels[rows], indices=rows)


def _other_run(compare_with: Any, inputs: MembershipInputs) -> Run:
    """Return the run to compare with: that of the named attack, or the given scores of all samples."""
    if isinstance(compare_with, str):
        return run_attack(compare_with, inputs)
    scores, n = as_array(compare_with, "compare_with"), len(inputs.membership)
    if scores.shape != (n,):
        raise ValueError(
            f"compare_with must be an attack's name or one score for each of {n} samples; got shape "
            f"{scores.shape}."
        )
    return Run(scores, np.arange(n))
