"""One model of a report: what it is, the verdict in plain words, its figures, where it stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securitynet_hub.annotations.schema import Annotation, ZooAnnotation, load_annotations
from securitynet_hub.attacks.membership.samples import most_exposed
from securitynet_hub.plots.curves import Curve, roc_curve, roc_plot, scores_plot
from securitynet_hub.plots.plot import words_of
from securitynet_hub.report.figures import Measured, classes_plot, curve_plot, placement_plot
from securitynet_hub.report.placement import Placement, place
from securitynet_hub.report.reading import BACKDOOR, MEMBERSHIP, STEALING, Entry, number, per_class, varying
from securitynet_hub.report.samples import Picture, exposed_picture, pictures_beside, scores_table
from securitynet_hub.report.verdicts import (
    Verdict,
    backdoor_verdict,
    images_verdict,
    measured,
    membership_verdict,
    stealing_verdict,
    sure,
    suspects,
)
from securitynet_hub.study.frames import dataset_named

if TYPE_CHECKING:
    import pandas as pd

    from securitynet_hub.plots.plot import Plot

SHOWN = 6
"""Attacks in one ROC figure: the strongest."""

PER_CLASS = {
    "norms": "size of the smallest trigger",
    "margins": "largest margin reached",
    "shares": "share of images won",
}
"""What detectors measure for each class, by its name in their results."""


@dataclass
class Model:
    """What a report says of one model; its figures and pictures by the section that they belong to."""

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
    notes: list[str] = field(default_factory=list)
    plots: defaultdict[str, list[Plot]] = field(default_factory=lambda: defaultdict(list))
    pictures: defaultdict[str, list[Picture]] = field(default_factory=lambda: defaultdict(list))
    missing: list[str] = field(default_factory=list)

    @property
    def leak(self) -> float:
        """How high the AUC of the strongest membership attack is at least; -1 without any."""
        return sure(self.membership[0]) if self.membership else -1.0


def describe(id: str, entries: Sequence[Entry], samples: Path | None = None) -> Model:
    """Gather what records and annotations say of one model; draw nothing yet."""
    annotation = _annotations().get(id)
    images = str(entries[0].record.data.get("name", "unknown"))
    model = Model(
        id=id,
        facts=[],
        dataset=annotation.dataset if annotation else dataset_named(images),
        accuracy=annotation.trusted("test_accuracy") if annotation else None,
        gap=annotation.trusted("overfit_gap") if annotation else None,
    )
    homes = {MEMBERSHIP: model.membership, STEALING: model.stealing, BACKDOOR: model.backdoor}
    for entry in entries:
        homes.get(entry.kind, model.others).append(entry)
    model.membership.sort(key=lambda entry: (-sure(entry), entry.attack))
    model.stealing.sort(key=lambda entry: number(entry.record.attack.get("budget")) or 0.0)
    _measure_what_is_not_annotated(model, samples)
    if annotation is None and model.dataset != images:
        model.notes.append(
            f"Taken for a model of {model.dataset}, after the images that it was audited with."
        )
    if annotation is None and model.accuracy is None and model.membership:
        model.notes.append(
            "Its accuracy is not known, so that it stands beside no models of similar accuracy."
        )
    model.facts = _facts(annotation, model, entries)
    if model.membership:
        model.verdicts.append(membership_verdict(model.membership))
    if model.stealing:
        model.verdicts.append(stealing_verdict(model.stealing))
    of_images = [entry for entry in model.backdoor if "judges" in entry.record.result]
    if of_model := [entry for entry in model.backdoor if entry not in of_images]:
        model.verdicts.append(backdoor_verdict(of_model))
    if of_images:
        model.verdicts.append(images_verdict(of_images))
    model.placements = _placements(model)
    return model


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
    drawn = [placement for placement in model.placements if placement.percentile is not None]
    for column in dict.fromkeys(placement.column for placement in drawn):
        model.plots["placement"].append(placement_plot([one for one in drawn if one.column == column]))
    points: dict[str, list[tuple[float, Measured]]] = {}
    for entry, settings in zip(model.stealing, varying(model.stealing), strict=True):
        budget, agreement = number(entry.record.attack.get("budget")), measured(entry, "agreement")
        if budget and agreement:
            way = f"{entry.attack}, {settings}" if settings else entry.attack
            points.setdefault(way, []).append((budget, agreement))
    if points:
        model.plots["stealing"].append(curve_plot(points))
    for entry in model.backdoor:
        for name, words in PER_CLASS.items():
            values = per_class(entry.record.result, name)
            if values:
                marked = suspects(entry.record.result)
                model.plots["backdoor"].append(classes_plot(entry.attack, values, words, marked))
        model.pictures["backdoor"] += pictures_beside(entry)
    for entry in model.others:
        model.pictures["others"] += pictures_beside(entry)


def _draw_scores(model: Model, table: pd.DataFrame, samples: Path | None) -> None:
    curves: dict[str, Curve] = {}
    judged = [entry.attack for entry in model.membership if entry.attack in table]
    for name in dict.fromkeys(judged):
        rows = table[table[name].notna()]
        curves[name] = roc_curve(rows[name], rows["is_member"])
    if not curves:
        return
    plots = model.plots["membership"]
    plots.append(roc_plot(dict(list(curves.items())[:SHOWN])))
    # Two scores are no distribution, and rank nobody: correctness, which is sure of little, comes first where
    # nothing leaks.
    strongest = next((name for name in curves if table[name].nunique() > 2), next(iter(curves)))
    rows = table[table[strongest].notna()]
    scores, is_member = rows[strongest].to_numpy(float), rows["is_member"].to_numpy(bool)
    plots.append(scores_plot(strongest, scores, is_member))
    classes = rows["label"].to_numpy()[most_exposed(scores, is_member)] if "label" in rows else ()
    seen = exposed_picture(samples, model.id, strongest, [str(label) for label in classes])
    if seen:
        model.pictures["membership"].append(seen)


def _measure_what_is_not_annotated(model: Model, samples: Path | None) -> None:
    """Take the accuracy from counts, stolen copies' records or single samples, the gap from correctness.

    The gap is 2 AUC - 1, exactly, on the same samples.
    """
    if (found := _measured_accuracy(model.membership)) and model.accuracy is None:
        model.accuracy = found.right / found.asked
    if model.accuracy is None and model.stealing:
        model.accuracy = number(model.stealing[-1].record.result.get("target_accuracy"))
    right = [entry for entry in model.membership if entry.attack == "correctness"]
    if model.accuracy is None and right:
        table = scores_table(samples, model.id)
        if table is not None and "correctness" in table:
            model.accuracy = number(float(table.loc[~table["is_member"], "correctness"].mean()))
    auc = number(right[0].record.result.get("auc")) if right else None
    if model.gap is None and auc is not None:
        model.gap = 2 * auc - 1


def _facts(annotation: Annotation | None, model: Model, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    record = entries[0].record
    facts: list[tuple[str, Any]] = []
    if annotation:
        facts += [("network", annotation.architecture), ("trained on", annotation.dataset),
                  ("published by", annotation.source),
                  ("parameters", _count(annotation.num_parameters))]  # fmt: skip
    facts += [("test accuracy", _rate(model.accuracy)), ("overfit gap", _rate(model.gap))]
    if annotation:
        facts.append(("flags", ", ".join(annotation.flags)))
    if isinstance(annotation, ZooAnnotation):
        facts.append(("known truth", _truth(annotation)))
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


def _truth(annotation: ZooAnnotation) -> str:
    if annotation.trigger is None:
        return annotation.kind
    return f"{annotation.kind}: {words_of(annotation.trigger)} leads to class {annotation.target_class}"


def _placements(model: Model) -> list[Placement]:
    found: list[Placement] = []
    about: dict[str, Any] = {"dataset": model.dataset, "accuracy": model.accuracy, "id": model.id}
    for entry in model.membership:
        if entry.attack in ("correctness", "modified_entropy"):
            auc = measured(entry, "auc")
            sizes = [number(entry.record.result.get(name)) or 0 for name in ("n_members", "n_nonmembers")]
            if auc:
                column, n = f"mia_{entry.attack}_auc", int(sum(sizes)) or None
                found += place(column, auc.value, ci=auc.ci, n=n, gap=model.gap, **about)
    if model.stealing:
        agreement = measured(model.stealing[-1], "agreement")
        if agreement:
            found += place("stealing_agreement", agreement.value, ci=agreement.ci, **about)
    return found


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
