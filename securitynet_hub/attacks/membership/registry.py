"""The membership attacks that work on answers alone: what each needs, and how it scores."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.inputs import Evidence
from securitynet_hub.attacks.membership.learned import LEARNED, fit_learned_attack
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.population import (
    attack_p_scores,
    attack_r_scores,
    difficulty_calibrated_scores,
)
from securitynet_hub.attacks.membership.quantile import gaussian_quantile_scores, pinball_quantile_scores
from securitynet_hub.attacks.membership.rmia import rmia_scores
from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.statistics.signals import SIGNALS

Rows = npt.NDArray[np.int64]


class Attack(NamedTuple):
    """How an attack scores, and which fields of `Evidence` it needs beyond outputs and labels.

    Attributes:
        score: (evidence, rows to be judged, settings) -> scores, higher = more likely a member.
        needs: names of fields.
        instead: fields that do in their place.
        takes: the function whose keyword arguments are the attack's settings, if it has any.
        fewest: the reference models that every sample must be in, and out of, by default.
        views: whether it scores every view of a sample; the others look at the first.
    """

    score: Callable[..., Scores]
    needs: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    takes: Callable[..., Scores] | None = None
    fewest: tuple[int, int] = (0, 0)
    views: bool = False


def _signal(name: str) -> Callable[..., Scores]:
    return lambda evidence, rows: evidence.score(name)


def _learned(name: str) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows) -> Scores:
        evidence.score("correctness")  # names bad rows as the caller counts them, not as calibration does
        outputs = as_array(evidence.first_view, "outputs")
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
        target, reference = (
            signal("logit_margin", views=True) for signal in (evidence.score, evidence.reference_scores)
        )
        return lira_scores(target, reference, evidence.reference_in, mode=mode, **settings)  # type: ignore[arg-type]

    return score


def _rmia(mode: str) -> Callable[..., Scores]:
    def score(evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
        log_confidences = (
            evidence.score, evidence.reference_scores,
            evidence.population_scores, evidence.reference_population_scores,
        )  # fmt: skip
        target_x, ref_x, target_z, ref_z = (signal("loss", views=True) for signal in log_confidences)
        return rmia_scores(
            target_x,
            ref_x,
            evidence.reference_in,
            target_z,
            ref_z,
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
    signals = evidence.score("loss")
    if evidence.population_outputs is None or evidence.population_labels is None:
        return attack_p_scores(signals[rows], signals[evidence.outsiders])
    return attack_p_scores(signals, evidence.population_scores("loss"))


def _quantile(function: Callable[..., Scores], evidence: Evidence, rows: Rows, **settings: Any) -> Scores:
    features, hinge = as_array(evidence.features, "features"), evidence.score("hinge")
    if len(features) != len(hinge):
        raise ValueError(f"features must have one row for each of {len(hinge)} samples; got {len(features)}.")
    known = evidence.outsiders
    return function(
        features[rows], hinge[rows], features[known], hinge[known], seed=evidence.seed, **settings
    )


UNLABELLED = {"entropy", "mlp_full_unlabelled", "mlp_top3_unlabelled"}
"""Attacks that do without labels."""

_REFERENCES = ("reference_outputs", "reference_in")
_POPULATION = ("population_outputs", "population_labels")
_FEATURES = ("features", "calibration")
_RMIA = (*_REFERENCES, *_POPULATION, "reference_population_outputs")

ATTACKS: dict[str, Attack] = {
    **{name: Attack(_signal(name)) for name in SIGNALS},
    **{name: Attack(_learned(name), ("calibration",)) for name in LEARNED},
    "attack_p": Attack(_attack_p, _POPULATION, instead=("calibration",)),
    "quantile": Attack(
        partial(_quantile, gaussian_quantile_scores), _FEATURES, takes=gaussian_quantile_scores
    ),
    "pinball": Attack(partial(_quantile, pinball_quantile_scores), _FEATURES, takes=pinball_quantile_scores),
    "attack_r": Attack(
        _beside_references(attack_r_scores), _REFERENCES, takes=attack_r_scores, fewest=(0, 1)
    ),
    "difficulty_calibration": Attack(
        _beside_references(difficulty_calibrated_scores),
        _REFERENCES,
        takes=difficulty_calibrated_scores,
        fewest=(0, 1),
    ),
    "lira_offline": Attack(_lira("offline"), _REFERENCES, takes=lira_scores, fewest=(0, 2), views=True),
    "lira_offline_two_sided": Attack(
        _lira("offline_two_sided"), _REFERENCES, takes=lira_scores, fewest=(0, 2), views=True
    ),
    "lira": Attack(_lira("online"), _REFERENCES, takes=lira_scores, fewest=(2, 2), views=True),
    "rmia": Attack(_rmia("offline"), _RMIA, takes=rmia_scores, fewest=(0, 1), views=True),
    "rmia_online": Attack(_rmia("online"), _RMIA, takes=rmia_scores, fewest=(1, 1), views=True),
}
"""Every attack by its public name, those that need least first."""


def needed_by(name: str, held: Container[str]) -> tuple[str, ...]:
    """Return the fields that an attack goes by where these are held: its needs, or what does instead.

    >>> needed_by("attack_p", {"calibration"})
    ('calibration',)
    """
    attack = ATTACKS[name]
    if not attack.instead or all(need in held for need in attack.needs):
        return attack.needs
    return attack.instead if all(need in held for need in attack.instead) else attack.needs
