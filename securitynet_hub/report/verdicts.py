"""What a report says in plain words, the uncertainty included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from securitynet_hub.report.figures import Measured
from securitynet_hub.report.reading import Entry, interval, number

Tone = Literal["alarm", "calm", "open"]


@dataclass(frozen=True)
class Verdict:
    """A sentence or two in plain words, and its tone: alarm, calm or open."""

    tone: Tone
    title: str
    text: str


def membership_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say whether members are given away, by the strongest attack, which stands first.

    The strongest of many attacks looks strong by luck, so an alarm needs the lower end of its interval to
    exceed one half after Bonferroni's correction for their number.
    """
    best, attacks = entries[0], len(entries)
    name, auc = best.attack.replace("_", " "), measured(best, "auc")
    if auc is None:
        return Verdict("open", "Membership: not known", f"The record of {name} states no AUC.")
    text = f"Of a member and a non-member, {name} picks out the member in {auc.value:.1%} of cases"
    text += f" (interval {auc.ci[0]:.1%} to {auc.ci[1]:.1%})" if auc.ci else ""
    text += f"; guessing does in 50 %.{_low_rate(best.record.result)}"
    if auc.ci is None:
        return Verdict("open", "Membership: no interval", text)
    level = number(best.record.result.get("confidence_level")) or 0.95
    certain = corrected_low(auc.value, auc.ci[0], level, attacks)
    if attacks > 1:
        text += (
            f" It is the strongest of {attacks} attacks; corrected for that, its AUC is above {certain:.3f}."
        )
    if certain > 0.5:
        return Verdict("alarm", "Gives its members away", text)
    if auc.ci[0] > 0.5:
        return Verdict("open", "May give its members away", f"{text} That may be luck.")
    text += f" With these images, a leak up to an AUC of {auc.ci[1]:.3f} cannot be ruled out."
    return Verdict("calm", "No sign that it gives its members away", text)


def corrected_low(auc: float, low: float, level: float, attacks: int) -> float:
    """Return the lower end of an AUC's interval at a level of 1 - (1 - level) / attacks (Bonferroni).

    The interval is symmetric on the logit scale, where its half-width grows with the normal quantile.

    >>> corrected_low(0.6, 0.55, 0.95, 1), round(corrected_low(0.6, 0.55, 0.95, 20), 3)
    (0.55, 0.522)
    """
    if attacks == 1 or not 0 < low <= auc < 1 or not 0 < level < 1:
        return low
    wider, usual = (NormalDist().inv_cdf(1 - (1 - level) / (2 * count)) for count in (attacks, 1))
    centre, end = (math.log(value / (1 - value)) for value in (auc, low))
    return 1 / (1 + math.exp((centre - end) * wider / usual - centre))


def _low_rate(result: dict[str, Any]) -> str:
    listed = result.get("tpr_at_fpr")
    rates = [
        rate
        for rate in (listed if isinstance(listed, list) else [])
        if isinstance(rate, dict)
        and rate.get("resolvable")
        and number(rate.get("tpr")) is not None
        and number(rate.get("target_fpr"))
    ]
    if not rates:
        return ""
    rate = min(rates, key=lambda rate: float(rate["target_fpr"]))
    bounds = interval(rate.get("ci"))
    extent = f" ({bounds[0]:.1%} to {bounds[1]:.1%})" if bounds else ""
    accused = f" Wrongly accusing at most {rate['target_fpr']:.1%} of non-members,"
    return f"{accused} it finds {rate['tpr']:.1%}{extent} of the members."


def stealing_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say how faithful the copy of the largest budget is, which stands last."""
    best = entries[-1]
    agreement, budget = measured(best, "agreement"), number(best.record.attack.get("budget"))
    if agreement is None:
        return Verdict("open", "Stealing: not known", "The records state no agreement.")
    queries = f" made with {budget:,.0f} queries" if budget else ""
    extent = f" (interval {agreement.ci[0]:.1%} to {agreement.ci[1]:.1%})" if agreement.ci else ""
    return Verdict(
        "open",
        f"A copy agrees on {agreement.value:.0%}",
        f"A stolen copy{queries} answers as the model does on {agreement.value:.1%}{extent} of test images.",
    )


def backdoor_verdict(entry: Entry) -> Verdict:
    """Say which classes a detector flags."""
    name, result = entry.attack.replace("_", " "), entry.record.result
    if "judges" in result:
        return _images_verdict(name, entry)
    suspects, index = flagged(result), number(result.get("anomaly_index"))
    text = f"Anomaly index {index:.2f}; above 2 is suspicious." if index is not None else ""
    if suspects:
        classes = ", ".join(map(str, suspects))
        return Verdict("alarm", "Shows signs of a backdoor", f"{name} flags class {classes}. {text}".strip())
    if index is None and "flagged_classes" not in result:
        return Verdict("open", "Backdoor: not known", f"{name} states neither an index nor classes.")
    return Verdict("calm", "No sign of a backdoor", f"{name} flags no class. {text}".strip())


def _images_verdict(name: str, entry: Entry) -> Verdict:
    """Say of a detector that judges images, not the model, what it flags or how well it tells them apart."""
    result, auc = entry.record.result, measured(entry, "auc")
    if auc is not None:
        extent = f" ({auc.ci[0]:.2f} to {auc.ci[1]:.2f})" if auc.ci else ""
        return Verdict(
            "open",
            f"Poisoned images: AUC {auc.value:.2f}",
            f"{name} tells images with the known trigger from others with an AUC of {auc.value:.2f}{extent}.",
        )
    share, rate = measured(entry, "flagged_share"), number(result.get("target_frr"))
    if share is None or rate is None or result.get("threshold") is None:
        return Verdict(
            "open", "Poisoned images: not known", f"{name} has nothing to compare its scores with."
        )
    text = f"{name} flags {share.value:.0%} of the images; of clean ones at most {rate:.0%} are to be."
    if share.ci and share.ci[0] > rate:
        return Verdict("alarm", "Some inputs look poisoned", text)
    return Verdict("calm", "No more flagged than of clean images", text)


def measured(entry: Entry, name: str) -> Measured | None:
    """Return a figure of a record with its interval, None where the record has none."""
    value = number(entry.record.result.get(name))
    return (
        None
        if value is None
        else Measured(entry.model, value, interval(entry.record.result.get(f"{name}_ci")))
    )


def sure(entry: Entry) -> float:
    """Return how high an attack's AUC is at least: the lower end of its interval."""
    auc = measured(entry, "auc")
    return -1.0 if auc is None else auc.ci[0] if auc.ci else auc.value


def flagged(result: dict[str, Any]) -> list[int]:
    """List the classes that a detector flags."""
    classes = result.get("flagged_classes")
    return [c for c in classes if type(c) is int] if isinstance(classes, list) else []
