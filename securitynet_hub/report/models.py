"""One model of a report: what it is, the verdict in plain words, its figures, where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securitynet_hub.annotations import Annotation, load_annotations
from securitynet_hub.report.figures import (
    Curve,
    Measured,
    curve_plot,
    norms_plot,
    placement_plot,
    roc_curve,
    roc_plot,
    scores_plot,
)
from securitynet_hub.report.placement import Placement, place
from securitynet_hub.report.reading import (
    BACKDOOR,
    MEMBERSHIP,
    STEALING,
    Entry,
    Picture,
    exposed_picture,
    number,
    pictures_beside,
    scores_table,
)
from securitynet_hub.report.verdicts import (
    Verdict,
    backdoor_verdict,
    flagged,
    measured,
    membership_verdict,
    stealing_verdict,
    sure,
)

if TYPE_CHECKING:
    import pandas as pd

    from securitynet_hub.report.plots import Plot

SHOWN = 6
"""Attacks in one ROC figure: the strongest."""

WAYS = ("strategy", "view", "loss", "surrogate", "pool", "recipe", "seed")
"""Settings of a theft that a copy is told apart by; each has one line in the figure."""


@dataclass
class Model:
    """What a report says of one model."""

    id: str
    facts: list[tuple[str, str]]
    dataset: str
    accuracy: float | None
    gap: float | None
    verdicts: list[Verdict] = field(default_factory=list)
    membership: list[Entry] = field(default_factory=list)
    stealing: list[Entry] = field(default_factory=list)
    backdoor: list[Entry] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def leak(self) -> float:
        """How high the AUC of the strongest membership attack is at least; -1 without any."""
        return sure(self.membership[0]) if self.membership else -1.0


def describe(id: str, entries: Sequence[Entry]) -> Model:
    """Gather what records and annotations say of one model; draw nothing yet."""
    annotation = _annotations().get(id)
    first = entries[0].record
    model = Model(
        id=id,
        facts=_facts(annotation, entries),
        dataset=annotation.dataset if annotation else str(first.data.get("name", "unknown")),
        accuracy=annotation.trusted("test_accuracy") if annotation else None,
        gap=annotation.trusted("overfit_gap") if annotation else None,
    )
    homes = {MEMBERSHIP: model.membership, STEALING: model.stealing, BACKDOOR: model.backdoor}
    for entry in entries:
        homes.get(entry.kind, model.others).append(entry)
    model.membership.sort(key=lambda entry: (-sure(entry), entry.attack))
    model.stealing.sort(key=lambda entry: number(entry.record.attack.get("budget")) or 0.0)
    if model.accuracy is None and model.stealing:
        model.accuracy = number(model.stealing[-1].record.result.get("target_accuracy"))
    if (found := _measured_accuracy(entries)) and model.accuracy is None:
        model.accuracy = found.right / found.asked
    if model.membership:
        model.verdicts.append(membership_verdict(model.membership))
    if model.stealing:
        model.verdicts.append(stealing_verdict(model.stealing))
    model.verdicts += [backdoor_verdict(entry) for entry in model.backdoor]
    model.placements = _placements(model)
    return model


def _ways(entries: Sequence[Entry]) -> list[str]:
    """Name how each copy was made: the attack, and those of its settings in which the copies differ."""
    told = [{name: _in_a_word(entry.record.attack.get(name)) for name in WAYS} for entry in entries]
    differing = [name for name in WAYS if len({own[name] for own in told}) > 1]
    return [
        ", ".join([entry.attack, *(f"{name} {own[name]}" for name in differing)])
        for entry, own in zip(entries, told, strict=True)
    ]


def _in_a_word(value: Any) -> str:
    """Shorten a setting to what a legend has room for; the seed in a recipe is told by itself."""
    if isinstance(value, dict):
        value = value.get("kind") or {name: own for name, own in value.items() if name != "seed"}
    return str(value)[:40]


def draw(model: Model, samples: Path | None) -> None:
    """Draw a model's figures and find its pictures; say what is missing for them."""
    table = scores_table(samples, model.id)
    if model.membership and table is None:
        model.missing.append(
            "ROC curve, score distributions and most exposed samples need every sample's score: audit with "
            "--samples DIR and pass the same --samples DIR to this report."
        )
    if table is not None:
        _draw_scores(model, table, samples)
    drawn = [placement for placement in model.placements if placement.figures]
    for column in dict.fromkeys(placement.column for placement in drawn):
        model.plots.append(placement_plot([placement for placement in drawn if placement.column == column]))
    points: dict[str, list[tuple[float, Measured]]] = {}
    for entry, way in zip(model.stealing, _ways(model.stealing), strict=True):
        budget, agreement = number(entry.record.attack.get("budget")), measured(entry, "agreement")
        if budget and agreement:
            points.setdefault(way, []).append((budget, agreement))
    if points:
        model.plots.append(curve_plot(points))
    for entry in model.backdoor:
        norms = _norms(entry.record.result)
        if norms:
            model.plots.append(norms_plot(norms, flagged(entry.record.result)))
    for entry in (*model.backdoor, *model.others):
        model.pictures += pictures_beside(entry)


def _draw_scores(model: Model, table: pd.DataFrame, samples: Path | None) -> None:
    curves: dict[str, Curve] = {}
    judged = [entry.attack for entry in model.membership if entry.attack in table]
    for name in dict.fromkeys(judged):
        rows = table[table[name].notna()]
        curves[name] = roc_curve(rows[name], rows["is_member"])
    if not curves:
        return
    model.plots.append(roc_plot(dict(list(curves.items())[:SHOWN])))
    strongest = next(iter(curves))
    rows = table[table[strongest].notna()]
    model.plots.append(
        scores_plot(strongest, rows[strongest].to_numpy(float), rows["is_member"].to_numpy(bool))
    )
    seen = exposed_picture(samples, model.id, strongest)
    if seen:
        model.pictures.append(seen)


def _facts(annotation: Annotation | None, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    record = entries[0].record
    facts: list[tuple[str, Any]] = []
    if annotation:
        facts += [("network", annotation.architecture), ("trained on", annotation.dataset),
                  ("published by", annotation.source), ("parameters", _count(annotation.num_parameters)),
                  ("test accuracy", _rate(annotation.trusted("test_accuracy"))),
                  ("overfit gap", _rate(annotation.trusted("overfit_gap"))),
                  ("flags", ", ".join(annotation.flags))]  # fmt: skip
    facts += [
        ("classes", record.target.get("num_classes")),
        ("audited with", record.data.get("name")),
        ("right in this audit", _measured_accuracy(entries)),
        ("weights", _hash(record.target)),
        ("measured", ", ".join(sorted({str(entry.record.created)[:10] for entry in entries}))),
        ("by", ", ".join(sorted({entry.record.author for entry in entries if entry.record.author}))),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


class _Accuracy(NamedTuple):
    """On how many of the images that it was not trained on a model was right."""

    right: int
    asked: int

    def __str__(self) -> str:
        return f"on {self.right / self.asked:.1%} of {self.asked:,} images that it was not trained on"


def _measured_accuracy(entries: Sequence[Entry]) -> _Accuracy | None:
    """Return what the first audit that counted right answers found."""
    for entry in entries:
        right, asked = (number(entry.record.counts.get(n)) for n in ("nonmembers_right", "nonmembers"))
        if right is not None and asked:
            return _Accuracy(int(right), int(asked))
    return None


def _placements(model: Model) -> list[Placement]:
    found: list[Placement] = []
    for entry in model.membership:
        if entry.attack in ("correctness", "modified_entropy"):
            auc = measured(entry, "auc")
            sizes = [number(entry.record.result.get(name)) or 0 for name in ("n_members", "n_nonmembers")]
            if auc:
                found += place(f"mia_{entry.attack}_auc", auc.value, dataset=model.dataset, ci=auc.ci,
                               n=int(sum(sizes)) or None, accuracy=model.accuracy, gap=model.gap)  # fmt: skip
    if model.stealing:
        agreement = measured(model.stealing[-1], "agreement")
        if agreement:
            found += place("stealing_agreement", agreement.value, dataset=model.dataset, ci=agreement.ci,
                           accuracy=model.accuracy)  # fmt: skip
    return found


def _norms(result: dict[str, Any]) -> list[float]:
    norms = result.get("norms")
    values = [number(norm) for norm in norms] if isinstance(norms, list) else []
    return [value for value in values if value is not None] if None not in values else []


def _hash(target: dict[str, Any]) -> str:
    digest = target.get("weights_hash")
    return f"{target.get('weights_hash_kind')} {str(digest)[:16]}" if digest else ""


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@lru_cache(maxsize=1)
def _annotations() -> dict[str, Annotation]:
    return {**load_annotations("extended"), **load_annotations("zoo")}
