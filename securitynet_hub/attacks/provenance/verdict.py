"""What the records of one suspect and one reference say together, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securitynet_hub.attacks.present import Verdict, listed
from securitynet_hub.attacks.provenance.measures import ORDERS
from securitynet_hub.attacks.provenance.shortage import is_short, need_of, similarity_of
from securitynet_hub.plots.measured import percent
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import number

JOINED = "all_answers"
"""The sign that stands for all signs in answers, where it was looked for."""

WEAK = (
    "A copy that was trained on a model's answers alone, or long enough after it was taken, can look like "
    "this, as an independent model does"
)
"""Said where no sign was found: it is no proof of independence."""


ALONE = (
    "An independent model that was trained otherwise than those beside it often shows one such sign, too: "
    f"let {JOINED} look for all signs in answers, or weight_alignment at the weights"
)
"""Said where the verdict would rest on a single sign in answers."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The records of one suspect and one reference, judged together.

    Attributes:
        reference: id of the model that the suspect may be derived from.
        p_value: the smallest of the signs that count, times their number (Bonferroni).
        significance: largest p-value that is called derived.
        counted: the records that count: those of one null each.
        entries: all records.
    """

    reference: str
    p_value: float | None
    significance: float
    counted: Sequence[Entry]
    entries: Sequence[Entry]


def judge(entries: Sequence[Entry]) -> list[Judged]:
    """Judge the records of a suspect, reference by reference, the smallest p-value first.

    Signs in answers count once: by `all_answers` where it is there, which needs no correction for several
    signs.
    """
    by_reference: dict[str, list[Entry]] = {}
    for entry in entries:
        by_reference.setdefault(reference_of(entry), []).append(entry)
    judged = [_judge_one(reference, own) for reference, own in by_reference.items()]
    return sorted(judged, key=lambda each: (each.p_value is None, each.p_value or 0.0, each.reference))


def reference_of(entry: Entry) -> str:
    """Return the id of a record's reference."""
    reference = entry.record.attack.get("reference")
    found = reference.get("id") if isinstance(reference, Mapping) else reference
    return str(found or "an unknown model")


def _judge_one(reference: str, entries: Sequence[Entry]) -> Judged:
    known = [entry for entry in entries if _p_value(entry) is not None]
    joined = any(entry.attack == JOINED for entry in known)
    counted = [entry for entry in known if not joined or _stands_alone(entry)]
    levels = [number(entry.record.result.get("significance")) for entry in counted]
    smallest = min((p for entry in counted if (p := _p_value(entry)) is not None), default=None)
    return Judged(
        reference=reference,
        p_value=None if smallest is None else min(1.0, smallest * len(counted)),
        significance=min((level for level in levels if level), default=0.05),
        counted=counted,
        entries=entries,
    )


def _stands_alone(entry: Entry) -> bool:
    """Return whether a record is of a test that is enough by itself."""
    return entry.attack == JOINED or entry.record.result.get("null") == ORDERS


def _p_value(entry: Entry) -> float | None:
    found = number(entry.record.result.get("p_value"))
    return found if found is not None and 0 < found <= 1 else None


def word(judged: Judged, model: str) -> Verdict:
    """Say whether a suspect is derived from a reference, and how sure that is."""
    reference, p_value = judged.reference, judged.p_value
    if p_value is None:
        return Verdict(tone="open", title="Provenance: not known", text="The records state no p-value.")
    at = f"p = {p_value:.2g}"
    evidence, cannot = _evidence(judged), f"Cannot tell whether it is derived from {reference}"
    if p_value <= judged.significance and any(map(_stands_alone, judged.counted)):
        several = len(judged.counted)
        corrected = f", corrected for {several} tests" if several > 1 else ""
        return Verdict(
            tone="alarm",
            title=f"Derived from {reference}, or from one origin with it ({at})",
            text=f"{evidence} Independent models are as similar to the reference with probability {at} at "
            f"most{corrected}. Which of the two came first, these figures do not tell.",
            short=f"Derived from {reference}",
            counted=True,
            severity=3,
            basis=_basis(judged),
        )
    if p_value <= judged.significance:
        title, text = f"{cannot}: one sign alone speaks for it ({at})", f"{ALONE}."
        short = "Provenance: one sign alone"
    elif text := _shortage(judged):
        title, short = f"{cannot}: too few independent models", "Provenance: too few independent models"
    else:
        title, short = (
            f"Cannot tell it from a model that is independent of {reference} ({at})",
            "Cannot tell it from an independent model",
        )
        text = f"{_power(judged)} {WEAK}.{_unjudged(judged)}"
    return Verdict(tone="open", title=title, text=f"{evidence} {text}", short=short, basis=_basis(judged))


def _evidence(judged: Judged) -> str:
    """Say in a sentence what decided: the order of weights, the reference's mistakes, or else the signs."""
    known = [(p, entry) for entry in judged.counted if (p := _p_value(entry)) is not None]
    least = min(known, key=lambda each: each[0], default=None)
    if least and least[0] <= judged.significance and least[1].record.result.get("null") == ORDERS:
        return (
            "Its hidden units stand in the reference's order, which copies keep, and which networks share "
            "that were trained from the same initial weights (one seed)."
        )
    for entry in judged.entries:
        result = entry.record.result
        share, errors = number(result.get("agreement_on_errors")), number(result.get("n_errors"))
        if share is None or not errors:
            continue
        said = f"It repeats {percent(share, 0)} of the reference's {errors:.0f} mistakes"
        others = result.get("independent_agreement_on_errors")
        rates = (
            [rate for other in others if (rate := number(other)) is not None]
            if isinstance(others, list)
            else []
        )
        if rates:
            ends = f"{percent(min(rates), 0)} to {percent(max(rates), 0)}"
            return f"{said}; {len(rates)} independent models repeat {ends}."
        return f"{said}."
    found = [
        f"{entry.attack.replace('_', ' ')} is {value:.2f}"
        for entry in judged.counted
        if (value := similarity_of(entry)) is not None
    ]
    return f"The similarity by {' and by '.join(found)}." if found else ""


def _shortage(judged: Judged) -> str:
    """Say how many independent models are missing, or nothing where there are enough for one sign."""
    missing = []
    for entry in judged.counted:
        have, needed = (number(entry.record.result.get(name)) for name in ("n_independent", "n_needed"))
        if have is None or needed is None or have >= needed:
            return ""
        takes = f"{judged.significance:.2g} takes {need_of(entry.record.result)}"
        if not have:
            missing.append(f"There is no independent model to compare it with: {takes}.")
            continue
        smallest = number(entry.record.result.get("smallest_p_value")) or 1.0
        models = "model" if have == 1 else "models"
        missing.append(
            f"With {have:.0f} independent {models} the smallest p-value is {smallest:.2g}; {takes}."
        )
    return missing[0] if missing else ""


def _unjudged(judged: Judged) -> str:
    """Say that answers were not judged for lack of independent models, where weights were."""
    for entry in judged.counted:
        if is_short(entry.record.result):
            return f" Its answers were not judged: that takes {need_of(entry.record.result)}."
    return ""


def _power(judged: Judged) -> str:
    """Say which copies that were made of the reference the same test finds, and which it misses."""
    made: dict[str, bool] = {}
    for entry in judged.counted:
        level = judged.significance / len(judged.counted)
        copies = entry.record.result.get("copies")
        for copy in copies if isinstance(copies, list) else ():
            if isinstance(copy, Mapping) and (p := number(copy.get("p_value"))) is not None:
                made[str(copy.get("made"))] = made.get(str(copy.get("made")), False) or p <= level
    if not made:
        return "The test was not tried on copies of the reference, so what it would find is not known."
    found, lost = ([name for name in made if made[name] is wanted] for wanted in (True, False))
    said = [
        f"{verb} {listed([_with_article(name) for name in names], 'or')}"
        for verb, names in (("finds", found), ("misses", lost))
        if names
    ]
    return f"Tried on copies that the audit made of the reference, the same test {' and '.join(said)} one."


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _basis(judged: Judged) -> str:
    """Say what the p-value rests on."""
    results = [entry.record.result for entry in judged.counted]
    nulls = {
        str(result.get("null"))
        for result in results
        if result.get("null") == ORDERS or number(result.get("n_independent")) != 0
    }
    words = {
        "reference": "the audited model, if independent, is like the independent models beside it",
        "pairs": "both models, if independent, are like the independent models beside them",
        ORDERS: "independent models started from other random weights, so that units have no order",
    }
    said = [words[null] for null in ("reference", "pairs", ORDERS) if null in nulls]
    return f"Supposed: {'; '.join(said)}." if said else ""
