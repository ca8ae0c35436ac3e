"""Whether the weights of the annotated models are still where their links say, by headers alone.

The file of results, columns apart by tabs, has a line for each link: what its server answered, and when. It
is written anew after each answer, whole or not at all, so that the next run goes on where one was stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from securitynet_hub.annotations.schema import HUB_DATASET, Annotation, load_annotations
from securitynet_hub.core.errors import SecurityNetError, WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.retry import RetryPolicy, TransientError, with_retries
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.http import ask_for_head

KEPT = HUB_DATASET / "upstream" / "links.tsv"
"""The results that ship with the data set, where somebody has checked its links."""

COLUMNS = ("url", "status", "answer", "size", "checked")
STATUSES = {200: "there", 206: "there", 401: "login", 403: "login", 404: "gone", 410: "gone"}
PAUSE = 2.0
"""Seconds between two requests to one host, unless another rate is asked for."""

TRIES = RetryPolicy(tries=3, first_delay=2.0)


@dataclass(frozen=True)
class Link:
    """What was found at a link.

    Attributes:
        url: the link.
        status: there, gone, login (it takes one, or is forbidden) or unclear (nothing can be said of it).
        answer: the server's status code, or why there is none.
        size: bytes of the file, where the server says so.
        checked: the day, UTC, ISO 8601.
    """

    url: str
    status: str
    answer: str
    size: str
    checked: str


def links_of(annotations: Iterable[Annotation]) -> list[str]:
    """Return each link to weights once, in an order that is random but always the same.

    Any first part of it is a sample: a later run goes on with what comes next.
    """
    urls = {row.weights_url for row in annotations if (row.weights_url or "").startswith(("https:", "http:"))}
    known = [url for url in urls if url is not None]
    return sorted(known, key=lambda url: hashlib.sha256(url.encode()).digest())


def read_links(path: Path) -> dict[str, Link]:
    """Return the results in a file by their links; none if there is no file.

    Raises:
        SecurityNetError: the file is no table of results.
    """
    if not path.is_file():
        return {}
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"))
    try:
        return {row["url"]: Link(**{name: row[name] or "" for name in COLUMNS}) for row in rows}
    except KeyError as error:
        raise SecurityNetError(f"{path} is no table of links: it lacks the column {error}.") from error


def with_link(row: Annotation, links: Mapping[str, Link]) -> Annotation:
    """Return a row with what its link led to, where that is known."""
    link = links.get(row.weights_url or "")
    return row if link is None else replace(row, link_status=link.status, link_checked=link.checked)


def write_links(links: Mapping[str, Link], path: Path) -> None:
    """Write results to a file, whole or not at all, in the order of their links."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(links[url], name) for name in COLUMNS] for url in sorted(links))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def check_links(
    path: Path,
    sample: int | None = None,
    *,
    urls: Iterable[str] | None = None,
    pause: float = PAUSE,
    on_link: Callable[[Link], object] = lambda link: None,
) -> dict[str, Link]:
    """Ask where the links lead, one request at a time, and keep the answers.

    Links with a clear answer in the file are not asked again. No byte of the weights is read.

    Args:
        path: the file of results; what is in it stays.
        sample: how many links to ask about; all that are left unless given.
        urls: the links; those of the annotated models unless given.
        pause: seconds between two requests to one host.
        on_link: called with each answer.

    Raises:
        SecurityNetError: the file is no table of results.
    """
    found = read_links(path)
    wanted = links_of(load_annotations("extended").values()) if urls is None else list(urls)
    left = [url for url in wanted if url not in found or found[url].status == "unclear"]
    asked: dict[str, float] = {}
    for url in left[:sample]:
        host = urlsplit(url).hostname or ""
        time.sleep(max(0.0, asked.get(host, -pause) + pause - time.monotonic()))
        found[url] = _ask(url)
        asked[host] = time.monotonic()
        write_links(found, path)
        on_link(found[url])
    return found


def _ask(url: str) -> Link:
    today = datetime.now(timezone.utc).date().isoformat()
    try:
        head = with_retries(lambda: ask_for_head(url), lambda _: TRIES)
    except (TransientError, WeightsError) as error:
        return Link(url, "unclear", printable(str(error))[:200], "", today)
    size = "" if head.size is None else str(head.size)
    return Link(url, STATUSES.get(head.status, "unclear"), str(head.status), size, today)
