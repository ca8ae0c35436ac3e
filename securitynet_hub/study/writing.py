"""A study as text: Markdown to read, CSV to compute with. The same study gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from securitynet_hub.core.text import csv_cell
from securitynet_hub.study.estimates import Estimate
from securitynet_hub.study.findings import Finding, Row

INTRODUCTION = (
    "SecurityNet's findings (Zhang et al., USENIX Security 2024, arXiv 2310.12665), derived again from its "
    "released annotations of 529 models. Each interval is at 95 % on its own and assumes that models are "
    "independent; models of one family are not, so the true uncertainty is larger."
)
RULE = (
    "A figure agrees where every estimate has the reported sign and an interval excludes zero (where no "
    "relation is reported: where every interval contains zero). Reproduced: all reported "
    "figures agree; partly reproduced: some do."
)
FIELDS = ("finding", "verdict", "group", "quantity", "n", "statistic", "value", "low", "high",
          "reported_sign", "agrees", "left_out", "left_out_why", "warning")  # fmt: skip


def as_markdown(findings: Sequence[Finding]) -> str:
    r"""Write the findings as Markdown: a table of the verdicts, then every figure.

    >>> print(as_markdown([Finding(name="x", title="A | B", reported="R.", computed="C.")]).splitlines()[8])
    | [A \| B](#x) | not checkable | The release has no figure to check this with. |
    """
    lines = ["# SecurityNet's findings, derived again", "", INTRODUCTION, "", RULE, "",
             "| finding | verdict | figures |", "|---|---|---|"]  # fmt: skip
    lines += [
        f"| [{_cell(found.title)}](#{found.name}) | {found.verdict} | {_cell(found.reason)} |"
        for found in findings
    ]
    for found in findings:
        lines += ["", f'<a id="{found.name}"></a>', f"## {found.title}: {found.verdict}", "",
                  f"Reported: {found.reported}", "", f"Computed: {found.computed}"]  # fmt: skip
        if found.rows:
            lines += ["",
                      "| models | quantity | n | estimate (95 % interval) | reported | agrees | left out |",
                      "|---|---|---|---|---|---|---|"]  # fmt: skip
            lines += ["| " + " | ".join(map(_cell, row_cells(row))) + " |" for row in found.rows]
        if found.caveats:
            lines += ["", *(f"- {caveat}" for caveat in found.caveats)]
    return "\n".join(lines) + "\n"


def row_cells(row: Row) -> tuple[str, ...]:
    """Write a row for readers: models, quantity, n, estimates, reported sign, whether it agrees, left out."""
    return (
        f"{row.group}. {row.warning}" if row.warning else row.group,
        row.quantity,
        str(row.n),
        "; ".join(map(estimate_text, row.estimates)) or "too few models, or all figures are equal",
        reported_text(row),
        row.answer or "-",
        left_out_text(row),
    )


def estimate_text(estimate: Estimate) -> str:
    """Write an estimate with its interval.

    >>> from securitynet_hub.statistics.rates import Interval
    >>> estimate_text(Estimate("Pearson r", -0.5, Interval(-0.75, -0.125)))
    'Pearson r -0.500 (-0.750 to -0.125)'
    """
    return f"{estimate.statistic} {estimate.value:.3f} ({estimate.ci.low:.3f} to {estimate.ci.high:.3f})"


def reported_text(row: Row) -> str:
    """Write the sign that the authors report."""
    return {None: "-", -1: "negative", 0: "no relation", 1: "positive"}[row.expected]


def left_out_text(row: Row) -> str:
    """Write how many models were left out, and why."""
    return ", ".join(f"{count} {reason}" for reason, count in row.left_out.items()) or "none"


def as_csv(findings: Sequence[Finding]) -> str:
    """Write every estimate as one line of CSV, in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for found in findings:
        for row in found.rows or (Row(group="", quantity="", n=0),):
            for estimate in row.estimates or (None,):
                numbers = ("", "", "", "") if estimate is None else (
                    estimate.statistic, estimate.value, estimate.ci.low, estimate.ci.high
                )  # fmt: skip
                expected = "" if row.expected is None else row.expected
                cells = (
                    found.name, found.verdict, row.group, row.quantity, row.n, *numbers, expected,
                    row.answer or "", sum(row.left_out.values()), left_out_text(row), row.warning
                )  # fmt: skip
                writer.writerow(map(csv_cell, cells))
    return text.getvalue()


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
