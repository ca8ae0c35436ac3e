"""Leaderboards as Markdown, CSV, JSON and HTML in which nothing that was fetched can act."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from securitynet_hub.core.text import csv_cell, in_words, markdown_text
from securitynet_hub.sharing.leaderboard import Board, Standing

HERE = Path(__file__).parent
HEADER = ("place", "model", "figure", "interval", "runs", "measured", "by", "record")


def to_markdown(boards: Sequence[Board]) -> str:
    """Return the boards as Markdown tables."""
    lines = []
    for board in boards:
        lines += [f"## {markdown_text(board.title)}", "", f"{markdown_text(about(board))}", ""]
        lines += [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
        lines += [f"| {' | '.join(map(markdown_text, cells(standing)))} |" for standing in board.standings]
        lines.append("")
    return "\n".join(lines)


def to_csv(boards: Sequence[Board]) -> str:
    """Return the boards as one CSV table, figures in full."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ("kind", "attack", "data", "samples", "settings", "figure", "best", "worst", "model", "value", "low",
         "high", "runs", "disputed", "measured", "by", "record", "comparison",
         "verified", "signed")
    )  # fmt: skip
    for board in boards:
        samples = " ".join(f"{name}={count}" for name, count in board.samples.items())
        about = (board.kind, board.attack, board.data, samples, _settings(board), board.by)
        for s in board.standings:
            figure = ("" if number is None else repr(number) for number in s.figure)
            counted = (str(s.runs), "yes" if s.disputed else "no")
            texts = map(csv_cell, (*about, str(s.best), str(s.worst), s.target))
            last = map(csv_cell, (s.record.created, s.record.author or "", s.record.id, board.comparison))
            trust = ("yes" if s.verified else "no", csv_cell(" ".join(s.signed)))
            writer.writerow((*texts, *figure, *counted, *last, *trust))
    return file.getvalue()


def to_html(boards: Sequence[Board]) -> str:
    """Return the boards as one HTML page that loads nothing, and runs only what sorts and searches it."""
    from securitynet_hub.pages.page import render
    from securitynet_hub.pages.scale import common_scale
    from securitynet_hub.study.frames import dataset_named

    standings = [standing for board in boards for standing in board.standings]
    days = sorted({standing.record.created[:10] for standing in standings})
    images = {board.data: dataset_named(board.data) for board in boards}
    return render(
        HERE / "board.html",
        title="Leaderboards",
        models=len({standing.target for standing in standings}),
        days=days,
        authors={_by(standing) for standing in standings} - {"-"},
        by=_by,
        runs=_runs,
        boards=[
            (f"board-{place}", board, about(board), common_scale(_ends(board.standings)))
            for place, board in enumerate(boards, 1)
        ],
        images=images,
    )


def _ends(standings: Sequence[Standing]) -> list[float]:
    return [end for standing in standings for end in standing.figure if end is not None]


def to_json(boards: Sequence[Board]) -> str:
    """Return the boards as JSON, figures in full."""
    found = [
        {
            "kind": board.kind,
            "attack": board.attack,
            "data": board.data,
            "samples": board.samples,
            "settings": board.settings,
            "figure": board.by,
            "comparison": board.comparison,
            "standings": [
                {
                    "best": each.best,
                    "worst": each.worst,
                    "model": each.target,
                    **each.figure._asdict(),
                    "runs": each.runs,
                    "disputed": each.disputed,
                    "measured": each.record.created,
                    "by": each.record.author,
                    "record": each.record.id,
                    "verified": each.verified,
                    "signed": list(each.signed),
                }
                for each in board.standings
            ],
        }
        for board in boards
    ]
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "html": to_html,
    "json": to_json,
}


def cells(standing: Standing) -> Iterator[str]:
    """Yield the texts of a line, as `HEADER` names them."""
    figure = standing.figure
    yield standing.place
    yield standing.target
    yield f"{figure.value:.3f}"
    yield "-" if figure.low is None or figure.high is None else f"{figure.low:.3f}-{figure.high:.3f}"
    yield _runs(standing)
    yield standing.record.created[:10]
    yield _by(standing)
    yield standing.record.id


def _runs(standing: Standing) -> str:
    opinion = ", disputed" if standing.disputed else ", verified" if standing.verified else ""
    return f"{standing.runs}{opinion}"


def _by(standing: Standing) -> str:
    return f"{', '.join(standing.signed)} (signed)" if standing.signed else standing.record.author or "-"


def _settings(board: Board) -> str:
    return in_words(board.settings) or "no settings"


def about(board: Board) -> str:
    """Say how the models of a board are compared, and the settings that all runs share."""
    return "; ".join(filter(None, (board.comparison, _settings(board))))
