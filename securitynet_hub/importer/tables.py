"""Read the upstream Markdown tables, and report everything in them that cannot be read."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

BENCHMARK_COLUMNS = {
    "Model Name": "upstream_name",
    "Model Type": "family",
    "Data Name": "dataset",
    "Data Category": "domain",
    "Num Class": "num_classes",
    "Training Size": "train_size",
    "Train Accuracy": "train_accuracy",
    "Test Accuracy": "test_accuracy",
    "Overfit Gap": "overfit_gap",
    "Model Stealing Accuracy": "stealing_accuracy",
    "Model Stealing Agreement": "stealing_agreement",
    "Correct Auc": "mia_correctness_auc",
    "M_entropy AUC": "mia_modified_entropy_auc",
    "Wrn Accuracy": "wrn_stealing_accuracy",
    "Wrn Agree": "wrn_stealing_agreement",
    "ImgNet Accuracy": "imagenet_stealing_accuracy",
    "ImgNet Agree": "imagenet_stealing_agreement",
    "Conference": "paper_venue",
    "Conference Type": "paper_venue_type",
    "Year": "paper_year",
    "Country": "paper_countries",
    "Num Authors": "paper_num_authors",
    "Purpose": "purpose",
    "Paper Link": "paper_url",
    "Weights": "weights_page",
}
SECURITY_COLUMNS = {
    title: field for title, field in BENCHMARK_COLUMNS.items() if not title.startswith(("Wrn", "ImgNet"))
}
PROJECT_COLUMNS = {
    "Title": "title",
    "Conference": "paper_venue",
    "Conference Type": "paper_venue_type",
    "Year": "paper_year",
    "Paper Link": "paper_url",
    "Weights": "weights_page",
    "Note": "upstream_note",
}
TABLES: dict[str, tuple[str, Mapping[str, str]]] = {
    "Benchmark Models": ("benchmark", BENCHMARK_COLUMNS),
    "Security Research Models": ("security", SECURITY_COLUMNS),
    "New Models": ("projects", PROJECT_COLUMNS),
}
"""Heading of each upstream table -> our name for it, and our name for each of its columns."""


class Problem(NamedTuple):
    """Say what is wrong where: table, row from 0 (None: the table itself), column, message."""

    table: str
    row: int | None
    column: str | None
    message: str

    def __str__(self) -> str:
        place = [self.table]
        place += [f"row {self.row}"] if self.row is not None else []
        place += [f"column {self.column!r}"] if self.column is not None else []
        return f"{', '.join(place)}: {self.message}"


class ImportProblemsError(ValueError):
    """Carry every problem that an import found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = "\n".join(f"- {problem}" for problem in self.problems)
        return (
            f"The upstream tables have {len(self.problems)} problem(s), and nothing was written. "
            f"Correct the input, or teach the importer the new case:\n{lines}"
        )


class UpstreamRow(NamedTuple):
    """Hold one table row: our column name -> upstream text, links reduced to their target."""

    table: str
    number: int
    cells: Mapping[str, str]


def cell(text: str) -> str:
    """Strip a Markdown cell, and reduce a link to its target.

    >>> cell(" [Link](https://example.org/a) ")
    'https://example.org/a'
    """
    text = text.strip().replace("\\|", "|")
    link = re.fullmatch(r"\[[^\]]*\]\((.*)\)", text)
    return link[1] if link else text


def _split(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip())[1:-1]


def _blocks(text: str) -> dict[str, list[str]]:
    """Collect the lines that start with a bar under each heading."""
    blocks: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        elif line.lstrip().startswith("|"):
            blocks.setdefault(heading, []).append(line)
    return blocks


def parse_tables(text: str) -> tuple[list[UpstreamRow], list[Problem]]:
    """Parse the known tables of the upstream Markdown.

    Returns the rows that could be read and every problem: missing or unknown tables, missing,
    unknown or repeated columns, rows with too few or too many cells.
    """
    rows: list[UpstreamRow] = []
    problems: list[Problem] = []
    blocks = _blocks(text)
    for heading in blocks.keys() - TABLES.keys():
        problems.append(Problem(heading, None, None, "unknown table; expected only known ones"))
    for heading, (table, fields) in TABLES.items():
        if len(blocks.get(heading, [])) < 3:
            problems.append(Problem(table, None, None, f"no rows under a heading '{heading}'"))
            continue
        header, _rule, *lines = blocks[heading]
        titles = [title.strip() for title in _split(header)]
        for title in fields.keys() - set(titles):
            problems.append(Problem(table, None, title, "missing column"))
        for title in sorted(set(titles) - fields.keys()):
            problems.append(Problem(table, None, title, "unknown column"))
        for title in sorted({t for t in titles if titles.count(t) > 1}):
            problems.append(Problem(table, None, title, "column occurs more than once"))
        for number, line in enumerate(lines):
            cells = _split(line)
            if len(cells) != len(titles):
                message = f"{len(cells)} cells where the header has {len(titles)}"
                problems.append(Problem(table, number, None, message))
            elif fields.keys() <= set(titles):
                named = zip(titles, cells, strict=True)
                known = {fields[title]: cell(value) for title, value in named if title in fields}
                rows.append(UpstreamRow(table, number, known))
    return rows, sorted(problems, key=lambda p: (p.table, p.row is not None, p.row or 0))


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated file with a header; no quoting."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
