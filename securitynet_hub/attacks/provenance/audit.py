"""Compare a suspect with a reference and with independent models, and record what each sign says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
from scipy.stats import binomtest

from securitynet_hub.attacks.independent import independent_models
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.present import listed
from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.copies import make_copies
from securitynet_hub.attacks.provenance.kind import KIND, Options
from securitynet_hub.attacks.provenance.measures import Measured, measure
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import models_needed
from securitynet_hub.attacks.subject import AuditData, at_one_size, describe_subject
from securitynet_hub.attacks.validity import is_near_chance
from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.beside import as_several, load_beside, require_same_classes
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record

BETTER = 0.01
"""Largest p-value of one-sided binomial tests at which a model is better than naming the largest class."""


def run(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> list[Record]:
    """Compare the target with `Options.reference`; return a record for each sign, as `Audits.run` says.

    The models are asked about `Options.queries` non-members, each once. A record's result is that of
    `measures.measure`, with the two models' accuracies on these images and, under ``copies``, what the same
    test says of copies of the reference that are made on purpose.

    Raises:
        ValueError: no reference is named, it is the target itself, it has other classes, or an independent
            model is the target or the reference; or the target or the reference only guesses.
        UnknownNameError: no such model, sign or setting; the closest names are given.

    >>> from securitynet_hub import load_target
    >>> from securitynet_hub.attacks.subject import known_data
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> options = Options(reference="zoo/fashion-mnist/cnn-clean/2", queries=100, power_copies=())
    >>> (record,) = run(target, known_data(target.annotation), ["error_agreement"], options, Context())
    >>> record.result["outcome"], record.result["null"], record.result["n_independent"]
    ('too few models', 'pairs', 4)
    """
    chosen = {name: cast(Attack, KIND.attacks[name]) for name in dict.fromkeys(attacks)}
    for name, attack in chosen.items():
        attack.require_settings(context.settings.get(name, {}))
    if options.reference is None:
        told = (
            "provenance compares two models: name the one that the audited model may be derived from with "
            "reference= (--reference MODEL)."
        )
        for name in chosen:
            context.on_unable(name, ValueError(told))
        return []
    data.require_classes_of(target)
    if data.validity is not None:
        data.validity.ask(target, data)
    reference = load_beside(options.reference, target)
    _require_other(reference, target)
    require_same_classes(reference, target)
    beside, null = _find_independent(reference, target, options)
    began = time.perf_counter()
    _, sized = at_one_size(reference, data)
    rows = _draw(data, int(options.queries), context.seed)
    images = data.images.select(rows)
    targets = (reference, target, *beside)
    outputs = []
    for each in targets:
        asked = predict(each, images, batch_size=context.batch_size)
        context.on_batch(len(rows))
        outputs.append(asked)
    models = _without_unfit(
        Models(
            outputs=np.stack(outputs),
            labels=data.images.labels[rows].astype(np.int64),
            targets=targets,
            pixels=lambda: sized.images.array(rows),
            seed=context.seed,
            batch_size=context.batch_size,
            labels_only=any(each.labels_only for each in targets),
        ),
        models_needed(options.significance, null),
    )
    targets, beside = tuple(models.targets), list(models.targets[2:])
    asking = time.perf_counter() - began

    @cache
    def copies() -> list[tuple[str, Models]]:
        """Make copies and ask them, once a sign needs them."""
        return [
            (kind, models.with_suspect(copy, predict(copy, images, batch_size=context.batch_size)))
            for kind, copy in make_copies(reference, data, options.power_copies, seed=context.seed)
        ]

    records = []
    for name, attack in chosen.items():
        with context.attempting(name):
            began = time.perf_counter()
            own = dict(context.settings.get(name, {}))
            for each in targets:
                if reason := attack.unanswerable(each):
                    raise ValueError(f"{name} cannot be run: {reason}.")
            record = Record(
                **describe_subject(target, data),
                attack={
                    "name": name,
                    "kind": KIND.name,
                    "seed": context.seed,
                    "reference": {
                        "id": reference.id,
                        "weights_hash": reference.annotation.weights_hash,
                    },
                    "beside": [each.id for each in beside],
                    "null": null,
                    "queries": options.queries,
                    "significance": options.significance,
                    "power_copies": list(options.power_copies),
                    "confidence_level": context.confidence_level,
                    **attack.settings,
                    **own,
                },
                result={},
                counts={},
                timings={},
            )
            if (known := context.recorded(record)) is not None:
                records.append(known)
                continue
            found = measure(attack, models, null, options.significance, context.confidence_level, **own)
            made = copies()
            result = {**_stated(found, beside), **_accuracies(models)}
            result |= _power(attack, made, null, options.significance, own)
            record = replace(
                record,
                result=result,
                counts={"images": len(rows), "forwarded": len(rows) * (len(targets) + len(made))},
                timings={"ask_all_models": asking, "attack": time.perf_counter() - began},
            )
            records.append(record)
            context.on_record(record)
    return records


def applicable(target: Target, data: AuditData, options: Options, context: Context) -> list[str]:
    """List the signs that can be looked for in this target; none where no reference is named."""
    reasons = left_out(target, data, options)
    return [name for name in KIND.attacks if name not in reasons]


def left_out(target: Target, data: AuditData, options: Options) -> dict[str, str]:
    """Return, for each sign that cannot be looked for in this target, the reason."""
    if options.reference is None:
        return dict.fromkeys(KIND.attacks, "no reference is named (--reference MODEL)")
    reference = load_beside(options.reference, target)
    reasons = {}
    for name, attack in KIND.attacks.items():
        sign = cast(Attack, attack)
        reason = sign.unanswerable(target) or sign.unanswerable(reference) or sign.why_not(reference, target)
        if reason:
            reasons[name] = reason
    return reasons


def swept() -> list[str]:
    """Return nothing: every sign needs a reference."""
    return []


def _require_other(reference: Target, target: Target) -> None:
    """Refuse a model that is compared with itself."""
    hashes = reference.annotation.weights_hash, target.annotation.weights_hash
    if reference is target or (reference.id == target.id and hashes[0] == hashes[1] is not None):
        raise ValueError(f"{target.id} is compared with itself; name another model as reference.")


def _find_independent(reference: Target, target: Target, options: Options) -> tuple[list[Target], str]:
    """Return the independent models, and what the similarity is ranked among."""
    known = independent_models(reference)
    named: list[Any] = [*as_several(options.beside), *options.independent]
    if not named:
        named = [id for id in known if id != target.id]
    found = [load_beside(each, target) for each in named]
    for each in found:
        for other in (reference, target):
            if each.id == other.id:
                raise ValueError(f"{each.id} is compared, and cannot be an independent model beside.")
        require_same_classes(reference, each)
    if len({each.id for each in found}) < len(found):
        raise ValueError("an independent model is named twice; each counts once.")
    alike = bool(found) and all(each.id in known for each in found)
    null = options.null if options.null != "auto" else ("pairs" if alike else "reference")
    return found, null


def _draw(data: AuditData, count: int, seed: int) -> Rows:
    among = data.split.nonmembers
    rows: Rows = np.sort(np.random.default_rng(seed).permutation(among)[:count])
    if not len(rows):
        raise ValueError("the data have no non-members, which models are compared on.")
    return rows


def _without_unfit(models: Models, needed: int) -> Models:
    """Leave out independent models that are no better than guessing, with a warning that names them.

    Answers are compared class by class, which says nothing of a model whose classes are in another order, and
    a model that only guesses is similar to no other one.

    Raises:
        ValueError: the reference or the suspect is such a model; all unfit ones are named.
    """
    share = float(np.bincount(models.labels).max()) / len(models.labels)
    right = (models.told == models.labels).mean(1)
    unfit = [k for k, told in enumerate(models.told) if _is_unfit(models.labels, told, share)]
    if not unfit:
        return models
    names = [f"{models.targets[k].id} on {right[k]:.1%}" for k in unfit]
    names[0] = names[0].replace(" on ", " is right on ")
    which = (
        f"{listed(names)} of these images, not significantly more than if the largest class were always "
        f"named ({share:.1%}): too weak to compare, or its classes are in another order, or the images are "
        "not of its data set"
    )
    if min(unfit) < 2:
        raise ValueError(f"{which}.")
    left = [number for number in range(len(models)) if number not in unfit]
    few = f", fewer than the {needed} that are needed" if len(left) - 2 < needed else ""
    warn_caller(
        f"{which}. {'It is' if len(unfit) == 1 else 'They are'} left out: "
        f"{len(left) - 2} independent models are left{few}.",
        AccuracyWarning,
    )
    targets = [models.targets[number] for number in left]
    return replace(
        models,
        outputs=models.outputs[left],
        targets=targets,
        labels_only=any(each.labels_only for each in targets),
    )


def _is_unfit(labels: Labels, told: Labels, share: float) -> bool:
    """Return whether a model is near chance, and not significantly better than naming the largest class."""
    right = int((told == labels).sum())
    better = binomtest(right, len(labels), share, alternative="greater").pvalue < BETTER
    return not better and is_near_chance(labels, told)


def _accuracies(models: Models) -> dict[str, Any]:
    right = (models.told == models.labels).mean(1)
    return {"reference_accuracy": float(right[0]), "accuracy": float(right[1])}


def _stated(found: Measured, beside: Sequence[Target]) -> dict[str, Any]:
    result = found._asdict()
    result |= result.pop("figures")
    return result | {"independent_models": [each.id for each in beside]}


def _power(
    attack: Attack, copies: Sequence[tuple[str, Models]], null: str, level: float, own: dict[str, Any]
) -> dict[str, Any]:
    """Return what the test says of copies that were made on purpose, and the share that it finds."""
    made: list[dict[str, Any]] = []
    for kind, models in copies:
        if attack.why_not(models.targets[0], models.targets[1]):
            continue
        found = measure(attack, models, null, level, 0.95, **own)
        made.append({"made": kind, "similarity": found.similarity, "p_value": found.p_value})
    power = sum(copy["p_value"] <= level for copy in made) / len(made) if made else None
    return {"copies": made, "power": power}
