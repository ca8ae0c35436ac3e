"""What a report says in plain words, the uncertainty included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from securitynet_hub.plots.plot import words_of
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
    name, auc = words_of(best.attack), measured(best, "auc")
    if auc is None:
        return Verdict("open", "Membership: not known", f"The record of {name} states no AUC.")
    text = f"Of a member and a non-member, {name} picks out the member in {percent(auc.value)} of cases"
    text += f" (interval {percent(auc.ci[0])} to {percent(auc.ci[1])})" if auc.ci else ""
    text += f"; guessing does in {percent(0.5, 0)}.{_low_rate(best.record.result)}"
    if auc.ci is None:
        return Verdict("open", "Membership: no interval", text)
    if attacks > 1:
        text += f" It is the strongest of {attacks} attacks."
    level = number(best.record.result.get("confidence_level")) or 0.95
    certain = corrected_low(auc.value, auc.ci[0], level, attacks)
    corrected = f" Corrected for that, its AUC is above {certain:.3f}." if attacks > 1 else ""
    if certain > 0.5:
        return Verdict("alarm", "Gives its members away", text + corrected)
    if auc.ci[0] > 0.5:
        return Verdict("open", "May give its members away", f"{text}{corrected} That may be luck.")
    ends = [known.ci[1] for entry in entries if (known := measured(entry, "auc")) and known.ci]
    text += f" With these images, a leak up to an AUC of {max(ends):.3f} cannot be ruled out."
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
    extent = f" ({percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""
    accused = f" Wrongly accusing at most {percent(rate['target_fpr'])} of non-members,"
    return f"{accused} it finds {percent(rate['tpr'])}{extent} of the members."


def stealing_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say how faithful the copy of the largest budget is, which stands last."""
    best = entries[-1]
    agreement, budget = measured(best, "agreement"), number(best.record.attack.get("budget"))
    if agreement is None:
        return Verdict("open", "Stealing: not known", "The records state no agreement.")
    queries = f" made with {budget:,.0f} queries" if budget else ""
    extent = f" (interval {percent(agreement.ci[0])} to {percent(agreement.ci[1])})" if agreement.ci else ""
    text = f"A stolen copy{queries} answers as the model does on {percent(agreement.value)}{extent} of"
    errors = measured(best, "agreement_on_target_errors")
    text += (
        f" images, and on {percent(errors.value)} of those that the model gets wrong."
        if errors
        else " images."
    )
    return Verdict("open", f"A copy agrees on {percent(agreement.value, 0)}", text)


def backdoor_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say which classes detectors flag or suspect; never that a model is clean, or surely poisoned.

    Detectors flag clean models whose classes differ by nature, and miss backdoors, so no tone but "open".
    """
    said, every = [], set()
    for entry in entries:
        name, result = words_of(entry.attack), entry.record.result
        flags, index = flagged(result), number(result.get("anomaly_index"))
        every.update(flags)
        which = f" (anomaly index {index:.2f}; above 2 is flagged)" if index is not None else ""
        most = result.get("suspect")
        if flags:
            said.append(f"{name} flags class {_listed(flags)}{which}")
        elif "flagged_classes" in result or index is not None:
            said.append(f"{name} flags no class{which}")
        elif type(most) is int:
            said.append(f"{name} suspects class {most} most")
    if not said:
        return Verdict("open", "Backdoor: not known", "The records name no class.")
    title = f"A detector flags class {_listed(sorted(every))}" if every else "Backdoor: no class is flagged"
    proof = (
        "That is no proof: clean networks are flagged, too, where their classes differ by nature. Compare "
        "with clean models of the same kind."
        if every
        else "That is no proof: detectors miss backdoors."
    )
    sentence = "; ".join(said)
    return Verdict("open", title, f"{sentence[0].upper()}{sentence[1:]}. {proof}")


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent, the sign kept on the number's line.

    >>> percent(0.125).split(), percent(0.5, 0).split()
    (['12.5', '%'], ['50', '%'])
    """
    return f"{100 * share:.{digits}f}\u00a0%"


def images_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say which images detectors flag, and how well they tell poisoned ones apart where that is known."""
    said, every = [], 0
    for entry in entries:
        name, result = words_of(entry.attack), entry.record.result
        auc, share = measured(entry, "auc"), measured(entry, "flagged_share")
        rate = number(result.get("target_frr"))
        if auc is not None:
            extent = f" ({auc.ci[0]:.2f} to {auc.ci[1]:.2f})" if auc.ci else ""
            said.append(f"{name} tells poisoned images from others with an AUC of {auc.value:.2f}{extent}")
        elif share is not None and rate is not None and result.get("threshold") is not None:
            said.append(
                f"{name} flags {percent(share.value)} of the images, of clean ones {percent(rate)} may be"
            )
            every += bool(share.ci and share.ci[0] > rate)
    if not said:
        return Verdict("open", "Poisoned images: not known", "The records name none.")
    title = "Some images look poisoned" if every else "Poisoned images"
    sentence = "; ".join(said)
    return Verdict("open", title, f"{sentence[0].upper()}{sentence[1:]}.")


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


def suspects(result: dict[str, Any]) -> list[int]:
    """List the classes that a detector flags, or else the one that it suspects most."""
    most = result.get("suspect")
    return flagged(result) or ([most] if type(most) is int else [])


def _listed(classes: Sequence[int]) -> str:
    return ", ".join(map(str, classes))
