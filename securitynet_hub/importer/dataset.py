"""Build the dataset's rows from its inputs, and tell what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from securitynet_hub.annotations.schema import HUB_DATASET, Annotation, Project
from securitynet_hub.importer.checks import check_extension, check_models, check_projects
from securitynet_hub.importer.extension import extend
from securitynet_hub.importer.links import KEPT, read_links, with_link
from securitynet_hub.importer.rules import annotate, describe_project, occurrences
from securitynet_hub.importer.tables import ImportProblemsError, Problem, parse_tables, read_tsv

UPSTREAM = HUB_DATASET / "upstream"
"""The inputs: upstream's Markdown unchanged, and what we know beside it."""


class Built(NamedTuple):
    """Hold the rows of the configs that are built here; `extended` begins with all of `models`."""

    models: list[Annotation]
    projects: list[Project]
    extended: list[Annotation]


def build(upstream: Path | str = UPSTREAM / "Database_README.md") -> Built:
    """Build all rows from the upstream Markdown, given as a path or as text.

    Joins it with `upstream/weights.tsv` (by table, name, data set and occurrence) and
    `upstream/projects.tsv` (by title), adds the models of `upstream/extension.tsv`, and says what their links
    led to where `upstream/links.tsv` is there, which `securitynet check-links` writes.

    Raises:
        ImportProblemsError: with every problem found, if there is any.

    >>> {config: len(rows) for config, rows in build()._asdict().items()}
    {'models': 529, 'projects': 102, 'extended': 1037}
    """
    text = upstream.read_text(encoding="utf-8") if isinstance(upstream, Path) else upstream
    rows, problems = parse_tables(text)
    weights = {
        (entry["table"], entry["upstream_name"], entry["dataset"], int(entry["occurrence"])): entry
        for entry in read_tsv(UPSTREAM / "weights.tsv")
    }
    reviews = {entry["title"]: entry for entry in read_tsv(UPSTREAM / "projects.tsv")}
    models, projects = [], []
    listed = [row for row in rows if row.table != "projects"]
    for row, occurrence in zip(listed, occurrences(listed), strict=True):
        key = (row.table, row.cells["upstream_name"], row.cells["dataset"], occurrence)
        models.append(annotate(row, occurrence, weights.get(key), problems.append))
    for row in rows:
        if row.table == "projects":
            review = reviews.get(row.cells["title"])
            projects.append(describe_project(row, review, problems.append))
    problems += [*check_models(models), *check_projects(projects)]
    extension = []
    if not problems:  # sound models describe the data sets and papers of the others
        extension = extend(read_tsv(UPSTREAM / "extension.tsv"), models, problems.append)
        problems += check_extension(models, extension)
    if problems:
        raise ImportProblemsError(sorted(problems, key=_place))
    links = read_links(KEPT)
    models = [with_link(row, links) for row in models]
    extension = [with_link(row, links) for row in extension]
    return Built(models, projects, [*models, *extension])


def _place(problem: Problem) -> tuple[str, int, str]:
    row = -1 if problem.row is None else problem.row
    return problem.table, row, problem.column or ""


class Change(NamedTuple):
    """Say what became of a row (added, removed) or of one of its cells (changed)."""

    kind: str
    id: str
    column: str = ""
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        place = f" {self.column}: {self.old!r} -> {self.new!r}" if self.column else ""
        return f"{self.kind} {self.id}{place}"


Row = Annotation | Project


def diff(old: Iterable[Row] | Mapping[str, Row], new: Iterable[Row]) -> Iterator[Change]:
    """Yield what changed from old rows to new ones: rows removed, rows added, cells changed."""
    before = dict(old) if isinstance(old, Mapping) else {row.id: row for row in old}
    after = {row.id: row for row in new}
    yield from (Change("removed", name) for name in before if name not in after)
    for name, row in after.items():
        if name not in before:
            yield Change("added", name)
            continue
        for field in fields(row):
            was, now = getattr(before[name], field.name), getattr(row, field.name)
            if was != now and field.name != "upstream_row":  # a row removed moves all that follow
                yield Change("changed", name, field.name, was, now)
