"""Run model-stealing attacks on one target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.stealing.attack import Attack
from securitynet_hub.attacks.stealing.kind import KIND, Options
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record


def run(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> list[Record]:
    """Extract a model; return a record for each attack, seed and budget, as `Audits.run` says."""
    records: list[Record] = []
    for name in attacks:
        attack, own = cast(Attack, KIND.attacks[name]), dict(context.settings.get(name, {}))
        attack.require_settings(own)
        settings = {"budgets": options.budgets, "seeds": [context.seed], **own}
        with context.attempting(name):
            records += attack.run(
                target,
                data,
                keep=context.keep,
                confidence_level=context.confidence_level,
                batch_size=context.batch_size,
                on_batch=context.on_batch,
                on_record=context.on_record,
                **settings,
            )
    return records


def applicable(target: Target, data: AuditData, options: Options, context: Context) -> list[str]:
    """List every model-stealing attack: they need only answers."""
    return list(KIND.attacks)


def left_out(target: Target, data: AuditData, options: Options) -> dict[str, str]:
    """Return nothing: every model-stealing attack applies."""
    return {}


def swept() -> list[str]:
    """List every way of stealing."""
    return list(KIND.attacks)
