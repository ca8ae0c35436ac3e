"""Write records as one HTML file that needs no network, escapes every text and allows only its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.entries import Entry
from securitynet_hub.report.comparison import compare, draw_overview, summarise
from securitynet_hub.report.models import Model, describe, draw
from securitynet_hub.report.placement import in_sentences

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
DETAILED = 12
"""Models with figures of their own, unless another number is asked for; each takes time to draw."""

MEANINGS = {
    "Confidence interval": "Where the figure lies for the population of images, at the stated level. Each "
    "interval stands alone: on average, one in twenty at 95\u00a0% misses. It does not cover training the "
    "model again.",
    "Overfit gap": "Accuracy on training images less accuracy on test images.",
    "Percentile": "The share of comparable public models with a lower figure. SecurityNet's authors measured "
    "those on other images: the percentile places a model, it is no test.",
}
"""What the figures of every report mean; kinds of attack explain their own."""


def write_report(
    entries: Sequence[Entry],
    out: Path,
    *,
    samples: Path | None = None,
    data: Path | None = None,
    details: int = DETAILED,
    title: str = "SecurityNet Hub: report",
) -> Path:
    """Write a report of records, one self-contained HTML file; an older one is replaced.

    Args:
        entries: from `read_entries`.
        out: the file.
        samples: where an audit wrote every sample's scores, for ROC curves, distributions and pictures.
        data: a folder for each figure as SVG, as PNG and as CSV.
        details: how many models get figures of their own: those that do worst.
        title: of the page.

    Raises:
        RecordError: no records, or a file cannot be read or written.
        ValueError: `details` is below one.
    """
    if details < 1:
        raise ValueError(f"details must be at least 1, the number of models shown in full; got {details}.")
    if not entries:
        raise RecordError("there are no records to report on.")
    models = [describe(id, found, samples) for id, found in by_model(entries).items()]
    models.sort(key=lambda model: ([-severity for severity in model.severity], model.id))
    for model in models[:details]:
        draw(model, samples)
    comparison = compare(models)
    overview = draw_overview(models, comparison) if len(models) > 1 else None
    html = render(
        "report.html",
        title=title,
        records=len(entries),
        models=models,
        detailed=models[:details],
        comparison=comparison,
        overview=overview,
        summary=summarise(models),
        meanings=_meanings(models),
    )
    if data is not None:
        if overview:
            overview.write(data)
        for place, model in enumerate(models[:details], 1):
            for plot in model.plots:
                plot.write(data, prefix=f"model-{place}-")
    return write_page(out, html)


def render(template: str, **content: Any) -> str:
    """Fill a template of this folder; all text is escaped except the page's own style, script and plots."""
    from markupsafe import Markup

    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(
        css=Markup(style),
        script=Markup(script),
        script_hash=digest,
        version=metadata.version("securitynet-hub"),
        **content,
    )  # fmt: skip


def write_page(out: Path, html: str) -> Path:
    """Write a page.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {out}: {error.strerror or error}.") from error
    return out


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters.update(sentences=in_sentences)
    return environment


def _meanings(models: Sequence[Model]) -> dict[str, str]:
    """Explain the figures of the kinds of attack that the report shows, then those of every report."""
    found: dict[str, str] = {}
    for name in kinds():
        for model in models:
            if name in model.summaries:
                found |= model.summaries[name].meanings
    return found | MEANINGS
