"""HTTP with bounded redirects and retries, which accepts only the bytes that were requested.

`requests` is used rather than the client inside huggingface_hub: that one changed from requests to httpx to
httpx2 between its versions 0, 1 and 2, and `evaluate` depends on requests anyway.
"""

from __future__ import annotations

import ctypes
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.retry import RetryPolicy, TransientError, with_retries
from securitynet_hub.core.text import printable

CHUNK = 1 << 16
MAX_REDIRECTS = 8
TIMEOUTS = (10.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""

MIN_RATE, RATE_SECONDS = 1024, 60.0
"""Bytes a second that a server must send on average, and over how many seconds that is looked at."""

HEADER_SECONDS = 60.0
"""Seconds in which the head of an answer must have come."""

RETRIES = RetryPolicy(tries=6, first_delay=0.5)
"""How often each request is tried."""

T = TypeVar("T")


class AbsentError(WeightsError):
    """There is nothing at an address: it answered 404 or 410."""


class RangesIgnoredError(Exception):
    """The server sent the whole file although a range was requested."""


class Reply(NamedTuple):
    """A response whose body has not been read yet; `following` is the address of the next page, if any."""

    partial: bool
    start: int
    total: int | None
    version: str | None
    chunks: Iterator[bytes]
    following: str | None = None


def retry_download(url: str, action: Callable[[], T], *, progressed: Callable[[], bool] = lambda: False) -> T:
    """Run a step of a download again after each `TransientError`, as `with_retries`.

    Raises:
        WeightsError: the last try failed.
    """
    try:
        return with_retries(action, lambda _: RETRIES, progressed=progressed)
    except TransientError as error:
        raise WeightsError(
            f"{url} could not be downloaded after {RETRIES.tries} tries: {error} The bytes that have arrived "
            "are kept; the next download resumes there."
        ) from error


@contextmanager
def open_url(
    session: requests.Session,
    url: str,
    start: int = 0,
    stop: int | None = None,
    version: str | None = None,
) -> Iterator[Reply]:
    """Request the bytes from `start` to `stop` of a URL, in the version that was seen before.

    The reply may start at 0 instead, if the server does not support ranges or has another version now. Any
    other reply is refused.

    Raises:
        TransientError: the request may succeed later; also raised while the chunks are read.
        WeightsError: the request cannot succeed.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "securitynet-hub"}
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if version is not None and not version.startswith("W/"):
            headers["If-Range"] = version
    with _faults(url):
        response = _follow(session, url, headers)
    try:
        _refuse_errors(response, url)
        yield _reply(response, url, start, stop, version)
    finally:
        response.close()


class Head(NamedTuple):
    """What a server says of a file without sending it: the status, and how large the file is, if it says."""

    status: int
    size: int | None


def ask_for_head(url: str) -> Head:
    """Ask for the headers of a URL, following redirects as for a download; no byte of the file is read.

    Where a server does not answer to HEAD, the first byte is requested and not read.

    Raises:
        TransientError: the same request may succeed later, such as after the pause that the server asks for.
        WeightsError: the link is not https, or redirects too often.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "securitynet-hub"}
    for method, more in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        with (
            requests.Session() as session,
            _faults(url),
            _follow(session, url, {**headers, **more}, method) as response,
        ):
            status = response.status_code
            if status == 429 or status >= 500:
                raise TransientError(
                    f"the server answered {status}.", _seconds(response.headers.get("Retry-After"))
                )
            if status in {403, 405, 501} and method == "HEAD":
                continue
            sized = response.headers.get("Content-Range", "").rpartition("/")[2]
            sized = sized or response.headers.get("Content-Length", "")
            return Head(status, int(sized) if sized.isdecimal() and status in {200, 206} else None)
    raise AssertionError("the second answer counts, whatever it is")


def _follow(
    session: requests.Session, url: str, headers: dict[str, str], method: str = "GET"
) -> requests.Response:
    address = url
    for _ in range(MAX_REDIRECTS + 1):
        _require_safe(address, url)
        address = _as_requested(address)
        _require_safe(address, url)
        response = _answer(session, address, headers, method)
        if response.status_code not in {301, 302, 303, 307, 308}:
            return response
        response.close()
        address = urljoin(address, response.headers.get("Location", ""))
    raise WeightsError(f"{url} redirects more than {MAX_REDIRECTS} times.")


def _as_requested(address: str) -> str:
    r"""Return an address as the client will ask for it, so that the host that is looked at is the one asked.

    Parsers differ: the host of ``https://127.0.0.1\@example.org/`` is one of the two, by the parser.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(address, None)
    return prepared.url or ""


def _answer(
    session: requests.Session, address: str, headers: dict[str, str], method: str = "GET"
) -> requests.Response:
    """Return the head of an answer; the client's own limit starts again with every byte that arrives."""
    found: list[requests.Response | BaseException] = []

    def ask() -> None:
        try:
            found.append(
                session.request(
                    method, address, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUTS
                )
            )
        except BaseException as error:  # raised again by the one who waits
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HEADER_SECONDS)
    if not found:
        # A server may say "100 Continue" for ever, which the client reads on and on.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        raise requests.Timeout(f"no answer within {HEADER_SECONDS:.0f} s")
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _require_safe(address: str, url: str) -> None:
    """Refuse plain http, except on this machine if the link itself points to this machine."""
    scheme = urlsplit(address).scheme
    if is_loopback(address) and not is_loopback(url):
        raise WeightsError(f"{url} redirects to {printable(address)}, which is this machine.")
    if scheme != "https" and not (scheme == "http" and is_loopback(address)):
        sentence = f"redirects to {printable(address)}, which" if address != url else "is a link that"
        raise WeightsError(f"{url} {sentence} is not https; weights are downloaded over https only.")


def is_loopback(url: str) -> bool:
    """Return whether an address leads to this machine by its name.

    Short and numeric forms of an address count, and those that mean every address of this machine.

    >>> is_loopback("http://127.0.0.1:80/x"), is_loopback("https://127.1"), is_loopback("https://example.org")
    (True, True, False)
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


@contextmanager
def _faults(url: str) -> Iterator[None]:
    """Turn the client's errors into `TransientError` if they may pass, else into `WeightsError`."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise WeightsError(f"{url} has no valid certificate: {printable(error)}") from error
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise TransientError(f"the connection failed ({printable(error)}).") from error
    except (requests.RequestException, ValueError) as error:
        raise WeightsError(f"{url} cannot be requested: {printable(error)}") from error


def _refuse_errors(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status == 429 or status >= 500:
        retry_after = _seconds(response.headers.get("Retry-After"))
        if retry_after is not None and retry_after > RETRIES.max_retry_after:
            raise WeightsError(
                f"{url} asks to come back in {retry_after:,.0f} s; at most "
                f"{RETRIES.max_retry_after:.0f} s are waited. Try again later."
            )
        raise TransientError(f"the server answered {status} {printable(response.reason)}.", retry_after)
    if status == 416:
        raise RangesIgnoredError
    if status not in {200, 206}:
        hint = " It may have moved." if status in {404, 410} else ""
        hint = " It may take a login, or not be there." if status in {401, 403} else hint
        if response.headers.get("X-Error-Code") == "GatedRepo":
            hint = " Its owners ask for consent: accept on its page, with the account of your login."
        kind_of_error = AbsentError if status in {404, 410} else WeightsError
        raise kind_of_error(f"{url} answered {status} {printable(response.reason)} instead of a file.{hint}")
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise WeightsError(f"{url} answered with a web page ({printable(kind)}), not with weights.")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise WeightsError(
            f"{url} sends its bytes {printable(coding)}-encoded; unencoded bytes were requested."
        )


def _reply(response: requests.Response, url: str, start: int, stop: int | None, version: str | None) -> Reply:
    found = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if response.status_code == 206:
        stated = re.fullmatch(
            r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", response.headers.get("Content-Range", "")
        )
        if stated is None:
            raise WeightsError(f"{url} sends a part of the file without stating which.")
        first, last, total = map(int, stated.groups())
        if first != start or last >= total or (last + 1 != (total if stop is None else min(stop, total))):
            raise WeightsError(
                f"{url} sends bytes {first}-{last} of {total}; those from {start} were requested."
            )
        if version is not None and found != version:
            raise RangesIgnoredError  # the file has changed since the download began
        return Reply(True, start, total, found, _chunks(response, url))
    length = response.headers.get("Content-Length", "")
    stated_length = int(length) if re.fullmatch(r"\d{1,18}", length) else None
    following = response.links.get("next", {}).get("url")
    return Reply(False, 0, stated_length, found, _chunks(response, url), following)


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    """Yield the bytes as they arrive.

    Raises:
        TransientError: the connection failed, or fewer than `MIN_RATE` bytes a second arrive.
    """
    with _faults(url), _Floor(response) as floor:
        for chunk in _pieces(response):
            yield chunk
            floor.arrived += len(chunk)
            floor.require_kept()
        floor.require_kept()  # an answer that was cut off may look complete


class _Floor:
    """Hang up where fewer than `MIN_RATE` bytes a second arrive.

    A thread of its own looks at it: what stands between the bytes of an answer (sizes of chunks, trailers)
    may go on for ever within one call of the client, each byte in time for the client's own limit.
    """

    def __init__(self, response: requests.Response) -> None:
        self.arrived = 0
        self.too_slow: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._connection: socket.socket | None = None
        with suppress(OSError, ValueError, AttributeError):  # nothing to read, or all of it is here already
            number = response.raw.fileno()
            self._connection = socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM)

    def __enter__(self) -> _Floor:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._thread.join()  # so that none is left when a child forks
        if isinstance(error, Exception):
            self.require_kept()

    def require_kept(self) -> None:
        """Raise `TransientError` if too few bytes have arrived."""
        if self.too_slow is not None:
            raise TransientError(self.too_slow)

    def _watch(self) -> None:
        before, since = 0, time.monotonic()
        while not self._ended.wait(RATE_SECONDS) and self.too_slow is None:
            arrived, now = self.arrived, time.monotonic()
            if arrived - before < MIN_RATE * (now - since):
                self.too_slow = (
                    f"{arrived - before:,} bytes arrived in {now - since:.0f} s; that is too slow."
                )
                with suppress(OSError):
                    if self._connection is not None:
                        self._connection.shutdown(socket.SHUT_RDWR)
            before, since = arrived, now
        if self._connection is not None:
            self._connection.close()


def _pieces(response: requests.Response) -> Iterator[bytes]:
    if hasattr(response.raw, "read1"):
        return iter(lambda: response.raw.read1(CHUNK, decode_content=False), b"")
    return response.iter_content(CHUNK)  # urllib3 1: what is slow is only seen when a whole piece is there


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date.

    >>> _seconds("7"), _seconds("Thu, 01 Jan 1970 00:00:00 GMT"), _seconds("soon")
    (7.0, 0.0, None)
    >>> _seconds(f"Thu, 01 Jan 1970 00:00:00 +{'9' * 30}")
    """
    if retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
