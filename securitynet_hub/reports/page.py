"""Write records as one HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.present import Figures, PageTable
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.memory import without_collection
from securitynet_hub.pages.page import render, write_page
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.reports.comparison import SHARES, compare, draw_overview, forest
from securitynet_hub.reports.findings import of_one, of_several, validity
from securitynet_hub.reports.models import Model, describe, draw, images_called, locate
from securitynet_hub.reports.placement import in_sentences

HERE = Path(__file__).parent
DETAILED = 12
"""Models with figures of their own, unless another number is asked for; each takes time to draw."""

LISTED = 1000
"""Models that the tables list, unless another number is asked for: so many a browser sorts at once."""

MEANINGS = {
    "Confidence interval": "Where the figure lies for the population of images, at the stated level. Each "
    "interval stands alone: on average, one in twenty at 95\u00a0% misses. It does not cover training the "
    "model again.",
    "Overfit gap": "Accuracy on training images less accuracy on test images.",
    "Percentile": "The share of comparable public models with a lower figure. SecurityNet's authors measured "
    "those on other images: the percentile places a model, it is no test.",
}
"""What the figures of every report mean; kinds of attack explain their own."""


class Explained(NamedTuple):
    """An attack for readers who do not know it, from its own literal.

    Attributes:
        anchor: of its place on the page.
        words: its name.
        summary: what it does.
        more: what it needs, its score and its source.
    """

    anchor: str
    words: str
    summary: str
    more: str


def write_report(
    entries: Sequence[Entry],
    out: Path,
    *,
    samples: str | Path | Iterable[str | Path] | None = None,
    data: Path | None = None,
    details: int = DETAILED,
    listed: int = LISTED,
    title: str | None = None,
) -> Path:
    """Write a report of records, one self-contained HTML file; an older one is replaced.

    Args:
        entries: from `read_entries`.
        out: the file.
        samples: folder, or several, where audits wrote every sample's scores: for ROC curves, distributions
            and pictures.
        data: a folder for each figure as SVG, as PNG and as CSV.
        details: how many models get figures of their own: those that do worst.
        listed: how many models the tables list: those that do worst. The findings count all models.
        title: of the page; by default it says what was audited.

    Raises:
        RecordError: no records, or a file cannot be read or written.
        ValueError: `details` or `listed` is below one.
    """
    if details < 1:
        raise ValueError(f"details must be at least 1, the number of models shown in full; got {details}.")
    if listed < 1:
        raise ValueError(f"listed must be at least 1, the number of models in the tables; got {listed}.")
    if not entries:
        raise RecordError("there are no records to report on.")
    given = [samples] if isinstance(samples, str | Path) else samples or ()
    folders = [Path(folder) for folder in given]
    with without_collection():
        gathered = by_model(entries)
        models = [describe(id, found, folders) for id, found in gathered.items()]
    models.sort(key=lambda model: ([-severity for severity in model.severity], model.id))
    shown, detailed = models[: max(listed, details)], models[:details]
    for model in shown:
        locate(model)
    for model in detailed:
        draw(model, folders)
    _label_apart(detailed)
    comparison = compare(shown, [model.id for model in models])
    single = models[0] if len(models) == 1 else None
    about = comparison.names[single.id] if single else f"{len(models)} models"
    html = render(
        HERE / "report.html",
        title=title or f"Security audit of {about}",
        opening=_opening([entry for found in gathered.values() for entry in found], models, len(entries)),
        single=single,
        models=shown,
        count=len(models),
        detailed=detailed,
        places={model.id: place for place, model in enumerate(detailed, 1)},
        findings=of_one(single) if single else of_several(models),
        validity=validity(models),
        comparison=comparison,
        forest=forest(comparison, single.id) if single else {},
        shares=SHARES,
        sentences={model.id: in_sentences(model.placements) for model in detailed},
        explained=_explained(entries),
        meanings=_meanings(models),
    )
    if data is not None:
        if overview := draw_overview(shown, comparison):
            overview.write(data)
        for place, model in enumerate(detailed, 1):
            for plot in model.plots:
                plot.write(data, prefix=f"model-{place}-")
    return write_page(out, html)


def _label_apart(models: Iterable[Model]) -> None:
    """Number the tables of one label, such as of one attack at two sizes: some know them by it alone."""
    seen: Counter[str] = Counter()

    def apart(part: PageTable | Figures) -> PageTable | Figures:
        if not isinstance(part, PageTable):
            return part
        seen[part.label] += 1
        return part if seen[part.label] == 1 else replace(part, label=f"{part.label} ({seen[part.label]})")

    for model in models:
        model.sections = [
            replace(each, parts=[apart(part) for part in each.parts]) for each in model.sections
        ]


def _opening(entries: Sequence[Entry], models: Sequence[Model], given: int) -> str:
    """Say what was audited, with which images, when and by whom, and how many older records are left out."""
    # An entry may bear another id than its model: the same weights, audited in memory and from a file.
    trained_on = {entry.model: model.dataset for model in models for entry in model.entries}
    images = sorted({images_called([entry], trained_on[entry.model]) for entry in entries})
    days = sorted({str(entry.record.created)[:10] for entry in entries})
    authors = sorted({entry.record.author for entry in entries if entry.record.author})
    shown = ", ".join(images[:3]) + (f" and {len(images) - 3} more" if len(images) > 3 else "")
    parts = [
        f"{len(entries)} record{'s' if len(entries) != 1 else ''}"
        + (f" of {len(models)} models" if len(models) > 1 else ""),
        f"measured with {shown}",
        f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}",
        *([f"by {', '.join(authors[:3])}"] if authors else []),
    ]
    older = given - len(entries)
    repeated = (
        f" {older} older record{'s' if older > 1 else ''} of the same measurements "
        f"{'are' if older > 1 else 'is'} left out: the last counts."
    )
    return f"{', '.join(parts)}." + repeated * bool(older)


def _explained(entries: Sequence[Entry]) -> dict[str, Explained]:
    """Explain the attacks of the records by their names: those of the kinds that are installed."""
    met = {entry.attack for entry in entries}
    found: dict[str, Explained] = {}
    for kind in kinds().values():
        for name, attack in kind.attacks.items():
            if name in met:
                needs = "; ".join(kind.describe(vars(attack)).needs)
                parts = (("Needs", needs), ("Score", attack.formula), ("Source", attack.source))
                more = " ".join(f"{part}: {text.rstrip('.')}." for part, text in parts if text)
                anchor = f"attack-{len(found) + 1}"
                found[name] = Explained(anchor, words_of(name), attack.summary, more)
    return found


def _meanings(models: Sequence[Model]) -> dict[str, str]:
    """Explain the figures of the kinds of attack that the report shows, then those of every report."""
    found: dict[str, str] = {}
    for name in kinds():
        for model in models:
            if name in model.summaries:
                found |= model.summaries[name].meanings
    return found | MEANINGS
