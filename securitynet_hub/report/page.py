"""Records as one HTML file: it needs no network, runs its one script by its hash, and escapes every text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.core.errors import RecordError
from securitynet_hub.plots.plot import words_of
from securitynet_hub.report.figures import overview_plot
from securitynet_hub.report.models import Model, describe, draw
from securitynet_hub.report.reading import Entry, by_model
from securitynet_hub.report.tables import Comparison, Tables, compare, summarise, text_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from securitynet_hub.plots.plot import Plot

HERE = Path(__file__).parent
DETAILED = 12
"""Models with figures of their own; of more, a report would be slow to write."""


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
        details: how many models get figures of their own: those whose members are surest to be given away.
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
    models.sort(key=lambda model: (-model.leak, model.id))
    for model in models[:details]:
        draw(model, samples)
    comparison = compare(models)
    overview = _overview(models, comparison) if len(models) > 1 else None
    html = render(
        "report.html",
        title=title,
        records=len(entries),
        models=models,
        tables=[Tables(model) for model in models[:details]],
        comparison=comparison,
        overview=overview,
        summary=summarise(models),
    )
    if data is not None:
        if overview:
            overview.write(data)
        for place, model in enumerate(models[:details], 1):
            for plot in (plot for plots in model.plots.values() for plot in plots):
                plot.write(data, prefix=f"model-{place}-")
    return write_page(out, html)


def render(template: str, **content: Any) -> str:
    """Fill a template of this folder; every text is escaped but the page's own style, script and figures."""
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
    environment.filters.update(words=words_of, figure=text_of)
    return environment


def _overview(models: Sequence[Model], comparison: Comparison) -> Plot | None:
    """Draw the columns that several models have: nine at most, and at most six of membership."""
    rows = [comparison.figures[model.id] for model in models]
    every = {name: [row[name] for row in rows if name in row] for name in comparison.columns}
    panels = {name: found for name, found in every.items() if len(found) > 1}
    membership = [name for name in panels if name.endswith("AUC")][:6]
    others = [name for name in panels if not name.endswith("AUC")]
    chosen = [*membership, *others][:9]
    return overview_plot({name: panels[name] for name in chosen}) if chosen else None
