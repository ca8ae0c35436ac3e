"""The tables of README.md and docs/ from the kept results in ``benchmarks/results``.

``python benchmarks/tables.py`` (or ``make tables``) writes each table between its markers::

    <!-- table: NAME -->
    ...
    <!-- /table -->

from ``results/NAME.json``, a `Results` as JSON. A script that measures keeps its results by `keep`.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "backdoors.md",
    ROOT / "benchmarks" / "face.md",
]
TABLE = re.compile(r"(<!-- table: (?P<name>[a-z0-9-]+) -->\n)(?P<content>.*?)(<!-- /table -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was measured, as a table shows it, and where that is from.

    Attributes:
        command: what measures it, run in the repository's root.
        date: when, or when the figures were written down.
        machine: on which; "unknown" where nobody noted it.
        columns: headings.
        rows: as many cells each.
        commit: the one that wrote the figures down, where they were not kept when they were measured.
    """

    command: str
    date: str
    machine: str
    columns: list[str]
    rows: list[list[str]]
    commit: str | None = None

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {number} has {len(row)} cells, there are {len(self.columns)} columns: {row}."
                )

    def table(self) -> str:
        """Return the table in Markdown.

        >>> about = {"command": "make bench", "date": "2026-01-31", "machine": "unknown"}
        >>> print(Results(columns=["a", "b"], rows=[["1", "2"]], **about).table())
        | a | b |
        |---|---|
        | 1 | 2 |
        """
        lines = [self.columns, *self.rows]
        head, *rest = ("| " + " | ".join(line) + " |" for line in lines)
        return "\n".join([head, "|" + "---|" * len(self.columns), *rest])


def read(name: str) -> Results:
    """Return kept results.

    Raises:
        ValueError: there are none, or the file has other fields.
    """
    path = RESULTS / f"{name}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Results(**content)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no results to write a table from: {error}") from error


def keep(name: str, results: Results) -> Path:
    """Keep results for the table of that name, in place of earlier ones; those in a folder have no table."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


@contextmanager
def writing(name: str, command: str, columns: list[str]) -> Iterator[Callable[..., None]]:
    """Print a table row by row as it is measured, and keep it when the block ends without an error.

    >>> with writing("x", "make bench", ["what", "times"]) as row:  # doctest: +SKIP
    ...     row("ours", "1.0")
    """
    rows: list[list[str]] = []
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)

    def row(*cells: str) -> None:
        print("| " + " | ".join(cells) + " |", flush=True)
        rows.append(list(cells))

    yield row
    machine = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"
    today = datetime.now(timezone.utc).date().isoformat()
    keep(name, Results(command=command, date=today, machine=machine, columns=columns, rows=rows))


def filled(page: str) -> str:
    """Return a page with every table written anew."""
    return TABLE.sub(lambda found: f"{found[1]}{read(found['name']).table()}\n{found[4]}", page)


def main() -> None:
    """Write the tables of every page."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        if (anew := filled(page)) != page:
            path.write_text(anew, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
