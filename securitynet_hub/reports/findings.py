"""What a report says first: a few findings in plain words, and whether the audit is valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from securitynet_hub.attacks.present import Ground, Tone, Verdict, consequence
from securitynet_hub.reports.models import Model

MOST, NAMED = 5, 3
"""Most findings on the first screen, and most models that one of them names."""


class Finding(NamedTuple):
    """One finding.

    Attributes:
        tone: as of a `Verdict`.
        severity: as of a `Verdict`.
        title: what was found, in a line.
        text: what it means.
        basis: how sure it is, and what else was found.
        models: the worst models that it is about, where it is about several.
        search: what finds all of these models on the page.
    """

    tone: Tone
    severity: int
    title: str
    text: str = ""
    basis: str = ""
    models: tuple[Model, ...] = ()
    search: str = ""


class Validity(NamedTuple):
    """Whether a ground holds: of one model what was found, of several for how many it does."""

    name: str
    holds: bool | None
    text: str


def by_consequence(found: Verdict | Finding) -> tuple[int, int]:
    """Return what findings are ordered by; see `consequence`."""
    return consequence(found.tone, found.severity)


def of_one(model: Model) -> list[Finding]:
    """Return a model's findings, the most consequential first."""
    verdicts = sorted(model.verdicts, key=by_consequence, reverse=True)
    room = max(0, MOST - len(verdicts))
    found = []
    for verdict in verdicts:
        points, rest = verdict.points[:room], verdict.points[room:]
        room -= len(points)
        basis = " ".join(filter(None, (*rest, verdict.basis)))
        found.append(Finding(verdict.tone, verdict.severity, verdict.title, verdict.text, basis))
        found += [Finding("open", 0, "", point) for point in points]
    return found


def of_several(models: Sequence[Model]) -> list[Finding]:
    """Count the models by what their verdicts say, the most consequential first; with one of them."""
    groups: dict[str, list[tuple[Verdict, Model]]] = {}
    for model in models:
        told: dict[str, Verdict] = {}
        for verdict in filter(lambda verdict: verdict.counted, model.verdicts):
            told.setdefault(verdict.in_short, verdict)  # several records may say the same of a model
        for short, verdict in told.items():
            groups.setdefault(short, []).append((verdict, model))
    found = []
    for short, members in groups.items():
        verdict = members[0][0]
        # The title goes on where the short one ends: "Leaks membership (severe): an attacker ...".
        rest = verdict.title.removeprefix(f"{short}: ")
        text = rest if rest != verdict.title else verdict.text
        found.append(
            Finding(
                verdict.tone,
                verdict.severity,
                f"{short}: {len(members)} of {len(models)} models",
                f"{text[:1].upper()}{text[1:].rstrip('.')}" + "." * bool(text),
                models=tuple(model for _, model in members[:NAMED]),
                search=short,
            )
        )
    return sorted(found, key=by_consequence, reverse=True)[:MOST]


def validity(models: Sequence[Model]) -> list[Validity]:
    """Say which grounds hold: of one model what was found, of several for how many, and for which not."""
    if len(models) == 1:
        return [Validity(*ground) for ground in models[0].grounds]
    names: dict[str, list[tuple[Model, Ground]]] = {}
    for model in models:
        for ground in model.grounds:
            names.setdefault(ground.name, []).append((model, ground))
    return [_summed(name, found) for name, found in names.items()]


def _summed(name: str, found: Sequence[tuple[Model, Ground]]) -> Validity:
    parts = [f"{sum(ground.holds is True for _, ground in found)} of {len(found)} models"]
    for holds, words in ((False, "not"), (None, "not known")):
        ids = [model.id for model, ground in found if ground.holds is holds]
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        parts += [f"{words}: {', '.join(ids[:NAMED])}{more}"] if ids else []
    states = {ground.holds for _, ground in found}
    return Validity(name, False if False in states else None if None in states else True, "; ".join(parts))
