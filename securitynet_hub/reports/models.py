"""One model of a report: what it is, what its records say, and its place among the public models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from securitynet_hub.annotations.schema import Annotation, ZooAnnotation, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.listing import techniques
from securitynet_hub.attacks.measured_accuracy import measured_accuracies
from securitynet_hub.attacks.present import Figures, Ground, Section, Summary, Verdict
from securitynet_hub.attacks.verdicts import shown_of, summary_of
from securitynet_hub.core.atlas import described
from securitynet_hub.plots.measured import percent
from securitynet_hub.plots.plot import Plot, words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import number
from securitynet_hub.reports.placement import Placement, draw_placements, place
from securitynet_hub.reports.unknown import unknown_section
from securitynet_hub.study.frames import dataset_named

NOTHING_EXPECTED = "above chance; what it should be is not known"
"""Said of a model without a published or stated accuracy."""


@dataclass
class Model:
    """What a report says of one model.

    Attributes:
        id: the model's.
        dataset: what it was trained on, as the annotations spell it.
        accuracy: on images that it was not trained on: annotated, else measured.
        gap: accuracy on training images less accuracy on other images: annotated, else measured.
        images: on how many the accuracy was measured, where it is not annotated.
        facts: names and values.
        grounds: what must hold for the figures to mean anything, and whether it does.
        summaries: what each kind of attack says, by its name, in the order of the kinds.
        unknown: records of kinds that are not installed, and those that their kind cannot read.
        placements: the model's place among the public models, by figure and group of peers.
        notes: caveats about all placements.
        placed: plots of the placements, once drawn.
        sections: tables, plots and pictures by kind of attack, once drawn.
    """

    id: str
    dataset: str
    accuracy: float | None
    gap: float | None
    images: int | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
    summaries: dict[str, Summary] = field(default_factory=dict)
    unknown: list[Entry] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    placed: list[Plot] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def verdicts(self) -> list[Verdict]:
        """What all kinds of attack say in plain words."""
        return [verdict for summary in self.summaries.values() for verdict in summary.verdicts]

    @property
    def entries(self) -> list[Entry]:
        """The records."""
        return [*(entry for summary in self.summaries.values() for entry in summary.entries), *self.unknown]

    @property
    def severity(self) -> tuple[float, ...]:
        """How badly the model does by each kind of attack, higher = worse."""
        nothing = Summary(entries=())
        return tuple(self.summaries.get(name, nothing).severity for name in kinds())

    @property
    def caveats(self) -> list[str]:
        """What a reader should know about the placements, each caveat once."""
        return [*self.notes, *dict.fromkeys(c for placement in self.placements for c in placement.caveats)]

    @property
    def plots(self) -> list[Plot]:
        """Every plot, once drawn."""
        parts = [part for section in self.sections for part in section.parts if isinstance(part, Figures)]
        return [*self.placed, *(plot for part in parts for plot in part.plots)]


def describe(id: str, entries: Sequence[Entry], samples: Sequence[Path] = ()) -> Model:
    """Gather what records and annotations say of one model; place and draw nothing yet.

    The model's entries are those that are given, which hold no more after this than before.
    """
    # What is read of a record for the words is not held afterwards: of many it would fill the memory.
    given, entries = entries, [Entry(entry.record.apart(), entry.path) for entry in entries]
    annotation = _annotations().get(id)
    images = str(entries[0].record.data.get("name", "unknown"))
    model = Model(
        id=id,
        dataset=annotation.dataset if annotation else dataset_named(images),
        accuracy=annotation.trusted("test_accuracy") if annotation else None,
        gap=annotation.trusted("overfit_gap") if annotation else None,
    )
    for name, kind in kinds().items():
        if own := [entry for entry in entries if entry.kind == name]:
            model.summaries[name], unread = summary_of(kind, own, samples)
            model.unknown += unread
    model.unknown += [entry for entry in entries if entry.kind not in kinds()]
    measured = measured_accuracies(model.summaries.values(), [entry.record for entry in entries])
    if model.accuracy is None:
        model.accuracy, model.images = measured.test
    model.gap = measured.gap if model.gap is None else model.gap
    if annotation is None and model.dataset != images:
        model.notes.append(f"The images that it was audited with suggest a model of {model.dataset}.")
    if annotation is None and model.accuracy is None:
        model.notes.append(
            "Its accuracy is not known, so it is not compared with models of similar accuracy."
        )
    model.facts = _facts(annotation, model, entries)
    model.grounds = [*_accuracy_ground(entries), *(g for s in model.summaries.values() for g in s.grounds)]
    lasting = {entry.record.id: entry for entry in given}
    for name, summary in model.summaries.items():
        model.summaries[name] = replace(
            summary, entries=[lasting[entry.record.id] for entry in summary.entries]
        )
    model.unknown = [lasting[entry.record.id] for entry in model.unknown]
    return model


def locate(model: Model) -> None:
    """Place a model's figures among the public models'."""
    about: dict[str, Any] = {"dataset": model.dataset, "accuracy": model.accuracy, "gap": model.gap}
    standings = [standing for summary in model.summaries.values() for standing in summary.standings]
    placed = [found for standing in standings for found in place(standing, **about, id=model.id)]
    model.placements = [found for found in placed if found.tells]


def draw(model: Model, samples: Sequence[Path]) -> None:
    """Draw a model's placements and the section of each kind of attack."""
    model.placed = draw_placements(model.placements)
    known = [part for name, own in model.summaries.items() for part in _sections(name, own, samples)]
    model.sections = [*known, *map(unknown_section, model.unknown)]


def _sections(kind: str, summary: Summary, samples: Sequence[Path]) -> list[Section]:
    """Return the section of a kind of attack, with the techniques of its attacks; records that it cannot show
    get sections of their own.
    """
    if not summary.entries:
        return []
    atlas = dict.fromkeys(
        technique for entry in summary.entries for technique in techniques(kind, entry.attack)
    )
    section, unread = shown_of(summary.entries, lambda these: kinds()[kind].present.section(these, samples))
    found = [replace(section, atlas=tuple(map(described, atlas)))] if section else []
    return [*found, *map(unknown_section, unread)]


def _facts(annotation: Annotation | None, model: Model, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    record = entries[0].record
    facts: list[tuple[str, Any]] = [("id", model.id)]
    if annotation:
        facts += [("network", annotation.architecture), ("trained on", annotation.dataset),
                  ("published by", annotation.source),
                  ("parameters", _count(annotation.num_parameters))]  # fmt: skip
    counted = f" (of {model.images:,} images)" if model.images and model.accuracy is not None else ""
    facts += [("test accuracy", _rate(model.accuracy) + counted), ("overfit gap", _rate(model.gap))]
    if annotation:
        facts.append(("flags", ", ".join(annotation.flags)))
    if isinstance(annotation, ZooAnnotation):
        facts.append(("known truth", _truth(annotation)))
    facts += [
        ("classes", record.target.get("num_classes")),
        ("audited with", images_called(entries, model.dataset)),
        ("right in this audit", "" if _accuracy_ground(entries) else _right(model)),
        ("weights", _hash(record.target)),
        ("measured", ", ".join(sorted({str(entry.record.created)[:10] for entry in entries}))),
        ("by", ", ".join(sorted({entry.record.author for entry in entries if entry.record.author}))),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _right(model: Model) -> str:
    """Say on how many images that it was not trained on the audit found the model right."""
    for summary in model.summaries.values():
        if summary.accuracy is not None and summary.images:
            return f"on {summary.accuracy:.1%} of {summary.images:,} images that it was not trained on"
    return ""


def images_called(entries: Sequence[Entry], dataset: str = "") -> str:
    """Name the images of an audit as people call them, and as the audit was given them."""
    name = str(entries[0].record.data.get("name") or "unknown images")
    called = dataset or dataset_named(name)
    return name if called == name else f"{called} ({name})"


def _accuracy_ground(entries: Sequence[Entry]) -> list[Ground]:
    """Say whether the last audit that looked found the images to be the model's, and what is wrong if not."""
    checks = [entry.record.data.get("check") for entry in entries]
    known = [check for check in checks if isinstance(check, Mapping) and "status" in check]
    if not known:
        return []
    check = known[-1]
    status, reason = str(check["status"]), check.get("likely_reason")
    found, expected = (number(check.get(name)) for name in ("accuracy", "expected"))
    n = int(number(check.get("n")) or 0)
    right = "" if found is None else f"Right on {percent(found)} of {f'{n:,} ' if n else ''}new images"
    stated = "" if expected is None else f", {percent(expected)} expected"
    status_words = NOTHING_EXPECTED if status == "no expectation" else status
    likely = f" Probably {reason}." if reason else ""
    holds = {"as expected": True, "no expectation": None}.get(status, False)
    doubt = "" if holds else f": {status_words}"
    text = f"{right}{stated}{doubt}.{likely}" if right else f"Accuracy {status_words}{stated}.{likely}"
    return [Ground("Accuracy as expected", holds, text)]


def _truth(annotation: ZooAnnotation) -> str:
    if annotation.trigger is None:
        return annotation.kind
    return f"{annotation.kind}: {words_of(annotation.trigger)} leads to class {annotation.target_class}"


def _hash(target: Mapping[str, Any]) -> str:
    digest = target.get("weights_hash")
    return f"{target.get('weights_hash_kind')} {str(digest)[:16]}" if digest else ""


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@lru_cache(maxsize=1)
def _annotations() -> dict[str, Annotation]:
    return {**load_annotations("extended"), **load_annotations("zoo")}
