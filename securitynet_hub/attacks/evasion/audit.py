"""Attack the robustness of one target: a record for each attack, and adversarial examples as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.kind import KIND, Options
from securitynet_hub.attacks.evasion.pictures import save_examples
from securitynet_hub.attacks.evasion.published import find_published
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Planned
from securitynet_hub.attacks.evasion.worst_case import Measurement, measure
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.subject import AuditData, describe_subject
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record


def run(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> list[Record]:
    """Attack the non-members of a target; return one record for each attack, as `Audits.run` says.

    An attack that is named by itself is run alone on every image; ``worst_case`` runs several. If
    `Context.on_record` returns the file of a record, adversarial examples are written beside it, as
    ``<record>-example-<number>-<original, adversarial or difference>.png``.

    Raises:
        UnknownNameError: no such norm or setting; the closest names are given.
        ValueError: an attack cannot run; the sentence says why.

    >>> from securitynet_hub.attacks.subject import known_data
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> few = Options(robust_images=10)
    >>> (record,) = run(target, known_data(target.annotation), ["fgsm"], few, Context())
    >>> record.attack["eps"], record.result["n"]
    ('8/255', 10)
    """
    for name in attacks:
        KIND.attacks[name].require_settings(context.settings.get(name, {}))
    data.require_classes_of(target)
    if data.validity is not None:
        data.validity.ask(target, data)
    subject = Subject.of(target, data, options, context.seed)

    def require(name: str) -> None:
        if reason := cast(Attack, KIND.attacks[name]).why_not(subject.classifier, subject.threat):
            raise ValueError(f"{name} cannot attack {target.id}: {reason}.")

    published = find_published(target.annotation, options)
    records = []
    for name in context.able(attacks, require):  # before the first of them takes its time
        attack = cast(Attack, KIND.attacks[name])
        with context.attempting(attack.name):
            measurement = _measure(attack, subject, options, context)
            record = _record(target, data, attack, options, context, measurement, published)
            records.append(record)
            path = context.on_record(record)
            if path is not None:
                save_examples(measurement.examples, path.parent, stem=f"{path.stem}-example")
    return records


def applicable(target: Target, data: AuditData, options: Options, context: Context) -> list[str]:
    """List what measures a model as a whole: the worst of all attacks, and corruptions."""
    return swept()


def left_out(target: Target, data: AuditData, options: Options) -> dict[str, str]:
    """Return why each other attack is left out: it is part of the worst case, or it cannot run."""
    subject = Subject.of(target, data, options, 0)
    return {
        name: cast(Attack, attack).why_not(subject.classifier, subject.threat)
        or "part of worst_case, which runs each on the images that the others have left"
        for name, attack in KIND.attacks.items()
        if name not in swept()
    }


def swept() -> list[str]:
    """List what measures a model as a whole."""
    return [name for name, attack in KIND.attacks.items() if cast(Attack, attack).measures]


def _measure(attack: Attack, subject: Subject, options: Options, context: Context) -> Measurement:
    own = dict(context.settings.get(attack.name, {}))
    if attack.measures:
        found: Measurement = attack.run(subject, options, context, **own)
        return found
    planned = Planned(attack=attack, settings=own)
    alone = Options(
        norm=options.norm, eps=options.eps, ball=options.ball, robust_images=options.robust_images
    )
    return measure(subject, [planned], alone, context, settings=planned.all_settings)


def _record(
    target: Target,
    data: AuditData,
    attack: Attack,
    options: Options,
    context: Context,
    measurement: Measurement,
    published: dict[str, Any] | None,
) -> Record:
    threat: dict[str, Any] = {"norm": options.norm, "eps": str(options.eps)} if attack.bounded else {}
    limits = {"width": options.width, "passes": options.passes} if attack.bounded and attack.measures else {}
    return Record(
        **describe_subject(target, data),
        attack={
            "name": attack.name,
            "kind": KIND.name,
            "seed": context.seed,
            **threat,
            "ball": options.ball,
            "robust_images": options.robust_images,
            **limits,
            **measurement.settings,
        },
        result={
            **measurement.result,
            **({"published": published} if published and attack.bounded and attack.measures else {}),
        },
        counts=measurement.counts,
        timings=measurement.timings,
    )
