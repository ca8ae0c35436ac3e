"""The worst of several attacks on each image: robust accuracy as in published tables, with an interval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.cost import say_cost
from securitynet_hub.attacks.evasion.kept_units import Units
from securitynet_hub.attacks.evasion.kind import KIND, Options
from securitynet_hub.attacks.evasion.masking import check_black_box, check_masking
from securitynet_hub.attacks.evasion.measures import rate_of, rate_of_stages
from securitynet_hub.attacks.evasion.stages import Work, attack_all, attack_in_stages, divide
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Done, Example, Planned, Tally
from securitynet_hub.attacks.kind import Context
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.engine.processes import share_out
from securitynet_hub.statistics.sequences import Trials


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What an attack measured.

    Attributes:
        result: a record's figures.
        counts: a record's counts.
        timings: seconds, by attack.
        settings: what a record says of how it was done.
        examples: adversarial examples, the first of each unit.
    """

    result: dict[str, Any]
    counts: dict[str, int]
    timings: dict[str, float]
    settings: dict[str, Any]
    examples: list[Example] = field(default_factory=list)


def worst_case(
    subject: Subject,
    options: Options,
    context: Context,
    *,
    attacks: Sequence[str] = (),
    attack_settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Measurement:
    """Measure the share of images that the model classifies correctly whatever any of several attacks does.

    ``robust = mean over i of min over attacks a of [f(x_i + d_a) = y_i]`` (Croce & Hein 2020, arXiv
    2003.01690, section 5). An image that one attack has broken is left to no other, and attacks that cost
    least come first.

    Without `Options.width` and `Options.passes` every image is attacked, and the interval is exact (Clopper
    & Pearson 1934). With one of them attacks go on in stages until the interval is narrow enough or the
    budget is spent; the interval is then that of a confidence sequence, which stopping does not harm
    (`attack_in_stages`).

    Args:
        subject: the model, its images and the threat.
        options: the width and the budget.
        context: the confidence level, the folder for finished units, and the callback for progress.
        attacks: names of attacks; every one that can run, unless given.
        attack_settings: their settings, by their names.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.
        ValueError: an attack that is named cannot run, or none can.
        BudgetError: the budget does not suffice to begin.

    >>> from securitynet_hub.attacks.subject import known_data
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> options = Options(robust_images=20)
    >>> subject = Subject.of(target, known_data(target.annotation), options, 0)
    >>> found = worst_case(subject, options, Context(), attacks=("fgsm",)).result
    >>> found["robust_accuracy"] <= found["accuracy"], found["n"]
    (True, 20)
    """
    planned = plan(subject, attacks, attack_settings or {})
    named = {each.attack.name: each.all_settings for each in planned}
    found = measure(
        subject, planned, options, context, settings={"attacks": list(named), "attack_settings": named}
    )
    checks, cost = check_masking(subject) if subject.classifier.has_gradients else ([], Tally())
    found.result["checks"] = checks + check_black_box(planned, found.result["attacks"], found.result["n"])
    found.counts["forwarded"] += cost.forwarded
    found.counts["gradients"] += cost.gradients
    return found


def measure(
    subject: Subject,
    planned: Sequence[Planned],
    options: Options,
    context: Context,
    *,
    settings: Mapping[str, Any],
) -> Measurement:
    """Run planned attacks; see `worst_case`."""
    if told := say_cost(subject, planned, options):
        context.on_estimate(told)
    began = time.perf_counter()
    units = Units(subject, context.keep)
    level, sequential = context.confidence_level, options.width is not None or options.passes is not None
    do_all = partial(_do_all, units, planned, options, context)
    if sequential:
        found = attack_in_stages(
            planned,
            subject.rows,
            do_all,
            width=options.width,
            passes=options.passes,
            confidence_level=level,
        )
    else:
        found = attack_all(planned, subject.rows, do_all)
    first, n = found.stages[0], found.stages[0].n
    if sequential:
        accuracy = rate_of_stages([Trials(first.right, n, first.concentration)], confidence_level=level)
        robust = rate_of_stages([stage.trials for stage in found.stages], confidence_level=level)
    else:
        accuracy = rate_of(first.right, n, confidence_level=level)
        robust = rate_of(first.robust, n, confidence_level=level)
    result = {
        "accuracy": accuracy[0],
        "accuracy_ci": accuracy[1],
        "robust_accuracy": robust[0],
        "robust_accuracy_ci": robust[1],
        "interval": "confidence sequence" if sequential else "exact",
        "stopped": found.stopped,
        "n": n,
        "n_right": first.right,
        "stages": [
            {
                "attacks": [each.attack.name for each in stage.planned],
                "n": stage.n,
                "n_robust": stage.robust,
                "concentration": stage.concentration,
            }
            for stage in found.stages
        ],
        "attacks": [_row(each, found.tallies) for each in planned],
        "checks": [],
        "confidence_level": level,
    }
    whole = found.tallies.values()
    counts = {
        "images": n,
        "forwarded": sum(tally.forwarded for tally in whole),
        "gradients": sum(tally.gradients for tally in whole),
    }
    timings = {"attack": time.perf_counter() - began}
    timings |= {name: tally.seconds for name, tally in found.tallies.items() if name}
    examples = [example for done in found.done for example in done.examples]
    return Measurement(
        result=result, counts=counts, timings=timings, settings=dict(settings), examples=examples
    )


def plan(subject: Subject, names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> list[Planned]:
    """Return attacks that change images, with their settings, the cheapest first; see `worst_case`."""
    known = perturbing()
    for name in (*names, *settings):
        if name not in known:
            raise UnknownNameError("attack that changes images", name, known)
    reasons = {name: attack.why_not(subject.classifier, subject.threat) for name, attack in known.items()}
    for name in names:
        if reasons[name]:
            raise ValueError(f"{name} cannot attack {subject.classifier.target.id}: {reasons[name]}.")
    chosen = names or [name for name, reason in reasons.items() if reason is None]
    if not chosen:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ValueError(f"no attack can change the images of {subject.classifier.target.id}: {told}.")
    for name, own in settings.items():
        known[name].require_settings(own)
    planned = [Planned(attack=known[name], settings=dict(settings.get(name, {}))) for name in chosen]
    return sorted(planned, key=lambda each: each.attack.order)


def perturbing() -> dict[str, Attack]:
    """Return the attacks that change images, by their names, those that cost least first."""
    attacks = cast(Mapping[str, Attack], KIND.attacks)
    return {name: attack for name, attack in attacks.items() if not attack.measures}


def _do_all(
    units: Units, planned: Sequence[Planned], options: Options, context: Context, work: Sequence[Work]
) -> list[Done]:
    """Do units of work on the processes of the launch."""
    sequential = options.width is not None or options.passes is not None
    stages = [stage.planned for stage in divide(planned, options.width)] if sequential else [planned]

    def do(part: Work) -> Done:
        done = units.do(stages[part.stage], np.array(part.rows))
        context.on_batch(len(part.rows))
        return done

    return share_out(do, work)


def _row(each: Planned, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    tally = tallies.get(each.attack.name, Tally())
    return {
        "attack": each.attack.name,
        "n": tally.n,
        "n_broken": tally.broken,
        "forwarded": tally.forwarded,
        "gradients": tally.gradients,
    }


ATTACK = Attack(
    name="worst_case",
    run=worst_case,
    summary="every attack that changes images, the cheapest first, on the images that are left",
    formula="share of images that withstand all",
    source="Croce & Hein 2020, section 5",
    order=0,
    labels_suffice=True,
    measures=True,
    ranked=True,
)
