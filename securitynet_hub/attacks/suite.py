"""Every membership attack that works on answers, under one name: what it needs, and its scores.

`Evidence` is what an attacker holds. `run_attack` scores the samples whose membership is to be told; those
that an attack was calibrated on are never among them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub import signals
from securitynet_hub.attacks.learned import LEARNED, fit_learned_attack
from securitynet_hub.attacks.likelihood_ratio import lira_scores
from securitynet_hub.attacks.membership import CONFIDENCE_LEVEL, TARGET_FPRS, measure_membership
from securitynet_hub.attacks.population import attack_p_scores, attack_r_scores, difficulty_calibrated_scores
from securitynet_hub.attacks.quantile import gaussian_quantile_scores, pinball_quantile_scores
from securitynet_hub.attacks.reference_models import require_disjoint
from securitynet_hub.attacks.rmia import rmia_scores
from securitynet_hub.attacks.thresholds import fit_thresholds, measure_threshold_attack
from securitynet_hub.errors import UnknownNameError
from securitynet_hub.signals import SIGNALS, Outputs
from securitynet_hub.statistics import Scores, as_array, check_scores

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What an attacker holds, all outputs in the same form: logits or probabilities, as `from_logits` says.

    Attributes:
        outputs: shape (n, classes), the target's answers.
        labels: shape (n,), integers; None for an attacker who does not know them.
        is_member: shape (n,), the truth: booleans or 0/1. Attacks see that of calibration samples alone.
        from_logits: whether outputs are logits; nothing is guessed.
        calibration: the samples whose membership the attacker knows: shape (n,), booleans, or the share of
            members and of non-members to draw by `seed`.
        reference_outputs: shape (models, n, classes), answers of reference models.
        reference_in: shape (models, n), True where the sample was in that model's training set.
        population_outputs: shape (m, classes), the target's answers for samples it never saw, none of the n.
        population_labels: shape (m,).
        reference_population_outputs: shape (models, m, classes).
        reference_population_in: shape (models, m); None where no reference model saw any.
        features: shape (n, columns), what a sample looks like: embeddings, or another model's logits.
        ids: shape (n,), what tells one sample from another.
        population_ids: shape (m,); where both are given, a sample in both is refused.
        seed: of everything that an attack draws.
    """

    outputs: Outputs = field(repr=False)
    labels: Outputs | None = field(repr=False)
    is_member: Outputs = field(repr=False)
    from_logits: bool
    calibration: Any = field(default=None, repr=False)
    reference_outputs: Outputs | None = field(default=None, repr=False)
    reference_in: Outputs | None = field(default=None, repr=False)
    population_outputs: Outputs | None = field(default=None, repr=False)
    population_labels: Outputs | None = field(default=None, repr=False)
    reference_population_outputs: Outputs | None = field(default=None, repr=False)
    reference_population_in: Outputs | None = field(default=None, repr=False)
    features: Outputs | None = field(default=None, repr=False)
    ids: Outputs | None = field(default=None, repr=False)
    population_ids: Outputs | None = field(default=None, repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        classes = {
            name: np.shape(getattr(self, name))[-1]
            for name in ("outputs", "reference_outputs", "population_outputs", "reference_population_outputs")
            if getattr(self, name) is not None and np.shape(getattr(self, name))
        }
        if len(set(classes.values())) > 1:
            raise ValueError(f"all outputs must be of the same classes; the numbers of them are {classes}.")
        require_disjoint(self.ids, self.population_ids, ("ids", "population_ids"))

    @cached_property
    def membership(self) -> npt.NDArray[np.bool_]:
        """The truth, checked."""
        truth = as_array(self.is_member, "is_member")
        if truth.shape != (len(self.outputs),):
            raise ValueError(
                f"is_member must hold one entry for each of {len(self.outputs)} rows of outputs; got shape "
                f"{truth.shape}."
            )
        return check_scores(np.zeros(len(truth)), truth)[1]

    @cached_property
    def calibrated_on(self) -> npt.NDArray[np.bool_]:
        """Shape (n,), True for the samples whose membership the attacker knows.

        Raises:
            ValueError: a share that is none, a mask of another form, or one that leaves no members or no
                non-members to be judged, or no non-members to calibrate on.
        """
        chosen = _calibration_mask(self.calibration, self.membership, self.seed)
        judged = self.membership[~chosen]
        if judged.all() or not judged.any() or self.membership[chosen].all():
            raise ValueError(
                "calibration must have non-members, and leave members and non-members to be judged; it has "
                f"{np.count_nonzero(chosen)} of {len(chosen)} samples, "
                f"{np.count_nonzero(self.membership[chosen])} of them members."
            )
        return chosen

    def score(self, signal: str) -> Scores:
        """Return a signal of `SIGNALS` of the target's answers, shape (n,)."""
        labels = np.zeros(len(self.outputs), np.int64) if self.labels is None else self.labels
        return SIGNALS[signal](self.outputs, labels, from_logits=self.from_logits)

    def reference_scores(self, signal: str) -> Scores:
        """Return the signal of each reference model's answers, shape (models, n)."""
        return self._each_model(signal, self.reference_outputs, self.labels)

    def population_scores(self, signal: str) -> Scores:
        """Return the signal of the target's answers for the population, shape (m,)."""
        return SIGNALS[signal](self.population_outputs, self.population_labels, from_logits=self.from_logits)

    def reference_population_scores(self, signal: str) -> Scores:
        """Return the signal of each reference model's answers for the population, shape (models, m)."""
        return self._each_model(signal, self.reference_population_outputs, self.population_labels)

    def _each_model(self, signal: str, outputs: Any, labels: Outputs) -> Scores:
        return np.stack([SIGNALS[signal](own, labels, from_logits=self.from_logits) for own in outputs])


class Run(NamedTuple):
    """An attack's scores, and the rows of the evidence that they are of."""

    scores: Scores
    rows: Rows


class Attack(NamedTuple):
    """How an attack scores, and which fields of `Evidence` it needs beyond outputs and labels.

    Attributes:
        score: (evidence, rows to be judged, settings) -> scores, higher = more likely a member.
        needs: names of fields.
        takes: the function whose keyword arguments are the attack's settings, if it has any.
        fewest: the reference models that every sample must be in, and out of, by default.
    """

    score: Callable[..., Scores]
    needs: tuple[str, ...] = ()
    takes: Callable[..., Scores] | None = None
    fewest: tuple[int, int] = (0, 0)


def run_attack(name: str, evidence: Evidence, *, class_wise: bool = False, **settings: Any) -> Run:
    """Score every sample that the attack may judge, higher = more likely a member.

    Args:
        name: of `ATTACKS`.
        evidence: what the attacker holds.
        class_wise: subtract each class's threshold (`fit_thresholds` on the calibration samples), so that
            0 is where the attack accuses. Of the metric-based attacks alone.
        settings: of the function behind the attack, such as ``variance`` of `lira_scores`.

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
    for setting in settings:
        if setting not in known_settings(name):
            raise UnknownNameError(f"setting of {name}", setting, known_settings(name))
    calibrated = class_wise or "calibration" in attack.needs
    evidence.membership  # noqa: B018 (checked before anything is scored)
    rows = np.flatnonzero(~evidence.calibrated_on) if calibrated else np.arange(len(evidence.membership))
    if class_wise:
        return Run(_against_thresholds(name, evidence, rows), rows)
    return Run(attack.score(evidence, rows, **settings), rows)


def measure_attack(
    name: str,
    evidence: Evidence,
    *,
    class_wise: bool = False,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    **settings: Any,
) -> dict[str, Any]:
    """Run an attack and measure it on the samples that it judged.

    Arguments as for `run_attack` and `measure_membership`.

    Returns:
        The fields of `MembershipResult`; with `class_wise` also ``accusations``, those of `ThresholdResult`
        for the accusations made at the calibrated thresholds.

    >>> logits, labels = [[2.0, 0.0], [0.0, 1.0]], [0, 0]
    >>> evidence = Evidence(outputs=logits, labels=labels, is_member=[1, 0], from_logits=True)
    >>> measure_attack("hinge", evidence, target_fprs=[0.5])["auc"]
    1.0
    """
    run = run_attack(name, evidence, class_wise=class_wise, **settings)
    result = measure_run(run, evidence, target_fprs=target_fprs, confidence_level=confidence_level)
    if class_wise:
        result["accusations"] = measure_threshold_attack(
            run.scores >= 0, evidence.membership[run.rows], confidence_level=confidence_level
        )
    return result


def measure_run(
    run: Run, evidence: Evidence, *, target_fprs: Sequence[float], confidence_level: float
) -> dict[str, Any]:
    """Measure scores against the truth about the samples that they are of; see `measure_membership`."""
    truth = evidence.membership[run.rows]
    return dict(
        measure_membership(run.scores, truth, target_fprs=target_fprs, confidence_level=confidence_level)
    )


def missing_evidence(name: str, evidence: Evidence, *, class_wise: bool = False) -> list[str]:
    """List the fields of the evidence that an attack needs and that are None, labels included.

    >>> evidence = Evidence(outputs=[[2.0, 0.0]], labels=[0], is_member=[1], from_logits=True)
    >>> missing_evidence("mlp_full", evidence), missing_evidence("loss", evidence)
    (['calibration'], [])
    """
    needs = (*ATTACKS[name].needs, *(("calibration",) if class_wise else ()))
    labels = () if name in UNLABELLED else ("labels",)
    return [need for need in (*labels, *needs) if getattr(evidence, need) is None]


def runnable(fewest: tuple[int, int] = (0, 0)) -> list[str]:
    """List the attacks that need no more than calibration samples and, of each sample, IN and OUT models.

    >>> "lira" in runnable(), "lira" in runnable((2, 6)), "rmia" in runnable((1, 3))
    (False, True, True)
    """
    held = {"calibration", *((*_REFERENCES, *_POPULATION, _BOTH) if any(fewest) else ())}
    return [
        name
        for name, attack in ATTACKS.items()
        if held.issuperset(attack.needs)
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


_FIXED = {
    "mode", "ref_in_z", "ids", "ids_x", "ids_z", "population_ids", "calibration_ids", "classes",
    "population_classes", "seed",
}  # fmt: skip
"""Arguments that the attack's name or the evidence decides."""


def _calibration_mask(calibration: Any, is_member: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.bool_]:
    if isinstance(calibration, (int, float, np.number)) and not isinstance(calibration, (bool, np.bool_)):
        if not 0 < calibration < 1:
            raise ValueError(f"the share of calibration samples must lie between 0 and 1; got {calibration}.")
        rng = np.random.default_rng(seed)
        drawn = np.zeros(len(is_member), np.bool_)
        for side in (True, False):
            rows = np.flatnonzero(is_member == side)
            drawn[rng.permutation(rows)[: round(calibration * len(rows))]] = True
        return drawn
    mask = as_array(calibration, "calibration")
    if mask.shape != is_member.shape or mask.dtype != np.bool_:
        raise ValueError(
            f"calibration must be a share or {len(is_member)} booleans; got {mask.dtype} of {mask.shape}."
        )
    return mask


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


def _signal(name: str) -> Callable[..., Scores]:
    return lambda evidence, rows: evidence.score(name)


def _learned(name: str) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows) -> Scores:
        evidence.score("correctness")  # names bad rows as the caller counts them, not as calibration does
        outputs = as_array(evidence.outputs, "outputs")
        labels = evidence.labels
        labels = np.zeros(len(outputs), np.int64) if labels is None else as_array(labels, "labels")
        known = evidence.calibrated_on
        attack = fit_learned_attack(
            name,
            outputs[known],
            labels[known],
            evidence.membership[known],
            from_logits=evidence.from_logits,
            seed=evidence.seed,
        )
        return attack.score(outputs[rows], labels[rows], from_logits=evidence.from_logits)

    return score


def _lira(mode: str) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
        target, reference = (e("logit_margin") for e in (evidence.score, evidence.reference_scores))
        return lira_scores(target, reference, evidence.reference_in, mode=mode, **settings)  # type: ignore[arg-type]

    return score


def _rmia(mode: str) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
        return rmia_scores(
            evidence.score("loss"),
            evidence.reference_scores("loss"),
            evidence.reference_in,
            evidence.population_scores("loss"),
            evidence.reference_population_scores("loss"),
            mode=mode,  # type: ignore[arg-type]
            ref_in_z=evidence.reference_population_in,
            **settings,
        )

    return score


def _beside_references(function: Callable[..., Scores]) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
        reference = evidence.reference_scores("loss")
        return function(evidence.score("loss"), reference, evidence.reference_in, **settings)

    return score


def _attack_p(evidence: Evidence, rows: Rows) -> Scores:
    return attack_p_scores(evidence.score("loss"), evidence.population_scores("loss"))


def _quantile(function: Callable[..., Scores], evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
    features, hinge = as_array(evidence.features, "features"), evidence.score("hinge")
    if len(features) != len(hinge):
        raise ValueError(f"features must have one row for each of {len(hinge)} samples; got {len(features)}.")
    outsiders = evidence.calibrated_on & ~evidence.membership
    return function(
        features[rows], hinge[rows], features[outsiders], hinge[outsiders], seed=evidence.seed, **settings
    )


UNLABELLED = {"entropy", "mlp_full_unlabelled", "mlp_top3_unlabelled"}
"""Attacks that do without labels."""

_REFERENCES = ("reference_outputs", "reference_in")
_POPULATION = ("population_outputs", "population_labels")
_BOTH = "reference_population_outputs"

ATTACKS: dict[str, Attack] = {
    **{name: Attack(_signal(name)) for name in signals.SIGNALS},
    **{name: Attack(_learned(name), ("calibration",)) for name in LEARNED},
    "attack_p": Attack(_attack_p, _POPULATION),
    "quantile": Attack(
        partial(_quantile, gaussian_quantile_scores), ("features", "calibration"), gaussian_quantile_scores
    ),
    "pinball": Attack(
        partial(_quantile, pinball_quantile_scores), ("features", "calibration"), pinball_quantile_scores
    ),
    "attack_r": Attack(_beside_references(attack_r_scores), _REFERENCES, attack_r_scores, (0, 1)),
    "difficulty_calibration": Attack(
        _beside_references(difficulty_calibrated_scores), _REFERENCES, difficulty_calibrated_scores, (0, 1)
    ),
    "lira_offline": Attack(_lira("offline"), _REFERENCES, lira_scores, (0, 2)),
    "lira_offline_two_sided": Attack(_lira("offline_two_sided"), _REFERENCES, lira_scores, (0, 2)),
    "lira": Attack(_lira("online"), _REFERENCES, lira_scores, (2, 2)),
    "rmia": Attack(_rmia("offline"), (*_REFERENCES, *_POPULATION, _BOTH), rmia_scores, (0, 1)),
    "rmia_online": Attack(_rmia("online"), (*_REFERENCES, *_POPULATION, _BOTH), rmia_scores, (1, 1)),
}
"""Every attack by its public name, those that need least first."""
