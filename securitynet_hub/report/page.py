"""Records as one HTML file: it needs no network, runs its one script by its hash, and escapes every text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securitynet_hub.errors import RecordError
from securitynet_hub.report.figures import Measured, overview_plot
from securitynet_hub.report.models import Model, describe, draw
from securitynet_hub.report.placement import WORDS
from securitynet_hub.report.reading import Entry, by_model, figures_of, interval, number
from securitynet_hub.report.verdicts import measured

if TYPE_CHECKING:
    from jinja2 import Environment

    from securitynet_hub.report.plots import Plot

HERE = Path(__file__).parent
DETAILED = 12
"""Models with figures of their own; of more, a report would be slow to write."""


class AttackRow(NamedTuple):
    """One attack's line in a model's table."""

    name: str
    figures: list[Measured | None]


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
    models = [describe(id, found) for id, found in by_model(entries).items()]
    models.sort(key=lambda model: (-model.leak, model.id))
    for model in models[:details]:
        draw(model, samples)
    table = {model.id: _columns(model) for model in models}
    columns = list(dict.fromkeys(name for figures in table.values() for name in figures))
    overview = _overview(models, table, columns) if len(models) > 1 else None
    html = render(
        "report.html",
        title=title,
        records=len(entries),
        models=[_Shown(model) for model in models],
        columns=columns,
        table=table,
        overview=overview,
        detailed=details,
        words=WORDS,
    )
    if data is not None:
        if overview:
            overview.write(data)
        for place, model in enumerate(models[:details], 1):
            for plot in model.plots:
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

    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=False,
    )


class _Shown:
    """A model with what its tables need."""

    def __init__(self, model: Model) -> None:
        self._model = model
        results = [entry.record.result for entry in model.membership]
        rates = [_rates(result) for result in results]
        self.rates = sorted({rate for found in rates for rate in found})
        self.rows = [
            AttackRow(
                entry.attack,
                [measured(entry, name) for name in ("auc", "advantage")]
                + [_rate(entry, found.get(rate)) for rate in self.rates],
            )
            for entry, found in zip(model.membership, rates, strict=True)
        ]
        self.counts = _counts(results)
        few = sorted(
            {rate for found in rates for rate, known in found.items() if not known.get("resolvable")}
        )
        self.unresolved = (
            f"Too few non-members to resolve {', '.join(f'{100 * rate:g} %' for rate in few)}: the figure "
            "there is the TPR at no false alarm."
            if few
            else ""
        )
        self.generic = [
            (
                entry,
                [(name, Measured(name, value, ci)) for name, value, ci in figures_of(entry.record.result)],
            )
            for entry in (*model.stealing, *model.backdoor, *model.others)
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _rates(result: dict[str, Any]) -> dict[float, dict[str, Any]]:
    listed = result.get("tpr_at_fpr")
    rates = [rate for rate in listed if isinstance(rate, dict)] if isinstance(listed, list) else []
    return {float(rate["target_fpr"]): rate for rate in rates if number(rate.get("target_fpr")) is not None}


def _rate(entry: Entry, rate: dict[str, Any] | None) -> Measured | None:
    value = number(rate.get("tpr")) if rate else None
    return None if rate is None or value is None else Measured(entry.model, value, interval(rate.get("ci")))


def _counts(results: Sequence[dict[str, Any]]) -> str:
    sizes = {(number(r.get("n_members")), number(r.get("n_nonmembers"))) for r in results}
    known = sorted((int(m), int(n)) for m, n in sizes if m is not None and n is not None)
    levels = sorted({level for r in results if (level := number(r.get("confidence_level"))) is not None})
    over = " or ".join(f"{members:,} members against {others:,} non-members" for members, others in known)
    at = " and ".join(f"{level:.0%}" for level in levels)
    return f"{over or 'Unknown numbers of images'}; intervals at {at or 'an unknown level'}."


def _columns(model: Model) -> dict[str, Measured]:
    """Return a model's figures for the comparison; of two records of one attack the surer."""
    found: dict[str, Measured] = {}
    for entries, figure, words in (
        (model.membership, "auc", "AUC"),
        (model.stealing[::-1], "agreement", "agreement"),
        (model.backdoor, "anomaly_index", "anomaly index"),
    ):
        for entry in entries:
            known = measured(entry, figure)
            if known:
                found.setdefault(f"{entry.attack.replace('_', ' ')} {words}", known)
    return found


def _overview(
    models: Sequence[Model], table: dict[str, dict[str, Measured]], columns: Sequence[str]
) -> Plot | None:
    panels = {name: [table[m.id][name] for m in models if name in table[m.id]] for name in columns}
    panels = {name: found for name, found in panels.items() if len(found) > 1}
    return overview_plot(dict(list(panels.items())[:9])) if panels else None
