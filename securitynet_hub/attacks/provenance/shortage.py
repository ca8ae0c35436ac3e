"""What a result says where independent models are too few: some of its numbers are constants then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from securitynet_hub.attacks.present import listed
from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.kind import KIND
from securitynet_hub.attacks.provenance.measures import ORDERS
from securitynet_hub.attacks.provenance.null import LEAST_SIGNIFICANCE, models_needed
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import number

TOO_FEW = "too few models"
"""The outcome of a test that could not have called even an exact copy derived."""

PLAIN = "agreement_on_errors"
"""The figure of `error_agreement` that needs no independent models."""


def is_short(result: Mapping[str, Any]) -> bool:
    """Return whether a test had too few independent models to call anything derived.

    Orders of units, the null of the weights, need none.

    >>> is_short({"outcome": "too few models", "p_value": 1.0})
    True
    """
    return result.get("outcome") == TOO_FEW and result.get("null") != ORDERS


def decides(result: Mapping[str, Any]) -> bool:
    """Return whether a p-value could be small enough: with fewer models neither it nor copies say anything.

    >>> decides({"smallest_p_value": 1 / 6, "significance": 0.05})
    False
    """
    smallest, level = number(result.get("smallest_p_value")), number(result.get("significance"))
    return smallest is None or level is None or smallest <= level


def figure_of(entry: Entry) -> str | None:
    """Name the figure that is a record's similarity; None where it was not measured.

    Most signs weigh what models have in common by how many independent ones share it. Without such a model
    their similarity is the same number whatever the answers are (-1 for `answer_correlation`, 0 for the
    others), and `all_answers` divides by a deviation that takes two. `error_agreement` also has a plain share
    then.
    """
    attack = cast("Attack | None", KIND.attacks.get(entry.attack))
    have = number(entry.record.result.get("n_independent"))
    if attack is None or have is None or have >= attack.fewest:
        return "similarity"
    return PLAIN if number(entry.record.result.get(PLAIN)) is not None else None


def similarity_of(entry: Entry) -> float | None:
    """Return a record's similarity, None where it was not measured; see `figure_of`."""
    name = figure_of(entry)
    return None if name is None else number(entry.record.result.get(name))


def need_of(result: Mapping[str, Any]) -> str:
    """Say how many independent models a test takes, in words that name the flag.

    >>> need_of({"n_needed": 19, "null": "reference", "significance": 0.05})
    '19 independent models (--beside), or 5 with --null pairs'
    """
    needed, level = number(result.get("n_needed")), number(result.get("significance"))
    if not needed:
        return "more independent models (--beside)"
    said = f"{needed:.0f} independent models (--beside)"
    if result.get("null") == "reference" and level is not None and LEAST_SIGNIFICANCE <= level < 1:
        said += f", or {models_needed(level, 'pairs')} with --null pairs"
    return said


def needs(entries: Sequence[Entry]) -> str:
    """Say in a sentence which signs have too few independent models, and how many it takes; "" if none."""
    short = [entry for entry in entries if is_short(entry.record.result)]
    if not short:
        return ""
    result = short[0].record.result
    have = number(result.get("n_independent")) or 0
    signs = [entry.attack.replace("_", " ") for entry in short]
    names = listed(signs)
    verb, had = ("need", "have") if len(short) > 1 else ("needs", "has")
    plain = any(figure_of(entry) == PLAIN for entry in short)
    return (
        f"{names[:1].upper()}{names[1:]} {verb} {need_of(result)}, and {had} "
        f"{f'{have:.0f}' if have else 'none'}."
        + (" The similarity by error agreement is the plain share of repeated mistakes." if plain else "")
    )
