"""huggingface_hub's own client, with bounds on what a server may answer to this package's questions.

The client reads each answer whole, unpacks it, and waits for it for ever. Two hooks bound that: the first
asks for answers that are not encoded and sets limits of time, the second counts what arrives. They look at
requests of this package alone, so that any other use of huggingface_hub in the process stays as it is, and
they stay when huggingface_hub makes itself a new client. Files that go through Xet are sent by hf_xet, a
client of its own.

What is not bounded by hooks (heads of answers, pauses that huggingface_hub makes) is bounded by `within`.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from importlib import metadata
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http

from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.http import (
    MIN_RATE,
    RATE_SECONDS,
    RETRIES,
    TIMEOUTS,
    is_loopback,
)

T = TypeVar("T")

LIBRARY = "securitynet-hub"

MAX_ANSWER = 16 << 20
"""Bytes of the largest answer: a description of a repository with 100,000 files has 10 million."""

ANSWER_SECONDS, SEND_SECONDS = 300.0, 600.0
"""Seconds in which a question, however often it is tried, and a commit without its files must be done."""

SEND_RATE = 16 << 10
"""Bytes a second that a commit's files must at least be sent at."""

_HTTPX: Any = importlib.import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])
"""The library that huggingface_hub asks with: httpx or httpx2, by its version."""


class AnswerError(Exception):
    """A server's answer exceeds a bound, or leads where it must not."""


class _Operation:
    """One question or commit: the paths to which its answers lead, and whether it was given up."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.given_up = False


_CURRENT: ContextVar[_Operation | None] = ContextVar("_CURRENT", default=None)
_RUNNING: set[_Operation] = set()
_LOCK = threading.Lock()


def api() -> huggingface_hub.HfApi:
    """Return huggingface_hub's client for the configured endpoint and login, with bounds on its answers."""
    _install()
    return huggingface_hub.HfApi(
        endpoint=constants.ENDPOINT, library_name=LIBRARY, library_version=metadata.version(LIBRARY)
    )


def within(seconds: float, action: Callable[[], T]) -> T:
    """Return what an action returns that asks the Hub, or stop waiting for it.

    It runs in a thread of its own. When nobody waits for it any more, because the time is over or somebody
    has interrupted, it sends no further request.

    Raises:
        AnswerError: it is not done in time.
        Exception: whatever the action raises.
    """
    found: list[T] = []
    failed: list[Exception] = []
    operation = _Operation()

    def work() -> None:
        _CURRENT.set(operation)
        try:
            found.append(action())
        except Exception as error:  # raised again by the one who waits
            failed.append(error)

    _RUNNING.add(operation)
    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    try:
        thread.start()
        thread.join(seconds)
        if failed:
            raise failed[0]
        if not found:
            raise AnswerError(f"the Hub did not answer to the end within {seconds:.0f} s")
        return found[0]
    finally:
        operation.given_up = True
        _RUNNING.discard(operation)


def _install() -> None:
    """Add the hooks to the client that there is, and to those that huggingface_hub will make."""
    with _LOCK:
        factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
        if factory is None:  # a version that keeps it elsewhere: only the client that there is gets the hooks
            _hook(get_session())
        elif not isinstance(factory, _Hooked):
            # Not by `set_client_factory`, which would close a client that another thread may be using.
            _http._GLOBAL_CLIENT_FACTORY = _Hooked(factory)
            _hook(get_session())


class _Hooked:
    """A factory of clients that adds the hooks to what another one makes."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory

    def __call__(self) -> Any:
        return _hook(self.factory())


def _hook(client: Any) -> Any:
    hooks = client.event_hooks
    if _on_request not in hooks["request"]:
        client.event_hooks = {
            "request": [*hooks["request"], _on_request],
            "response": [_on_response, *hooks["response"]],  # before anything reads it
        }
    return client


def _operation_of(request: Any) -> tuple[bool, _Operation | None]:
    """Return whether a request is this package's, and of which operation it is, if that is known."""
    operation = _CURRENT.get()
    if (
        operation is None
    ):  # huggingface_hub sends large files from threads of its own, to where it was told to
        operation = next((each for each in set(_RUNNING) if _link(str(request.url)) in each.links), None)
    own = operation is not None or f"{LIBRARY}/" in request.headers.get("user-agent", "")
    return own, operation


def _on_request(request: Any) -> None:
    own, operation = _operation_of(request)
    if not own:
        return
    if operation is not None and operation.given_up:
        raise AnswerError("it was given up")
    url = str(request.url)
    if is_loopback(url) and not is_loopback(constants.ENDPOINT):
        raise AnswerError(f"the Hub leads to {printable(url)}, which is this machine")
    if request.url.scheme != "https" and not constants.ENDPOINT.startswith("http://"):
        raise AnswerError(f"the Hub leads to {printable(url)}, which is not https")
    request.headers["Accept-Encoding"] = "identity"
    connect, read = TIMEOUTS
    stated = request.extensions.get("timeout") or {}
    limits = {"connect": connect, "read": 4 * read, "write": read, "pool": read}  # a commit is no small work
    request.extensions["timeout"] = {
        name: min(most, stated.get(name) or most) for name, most in limits.items()
    }


def _on_response(response: Any) -> None:
    own, operation = _operation_of(response.request)
    if not own:
        return
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise AnswerError(f"the Hub answered {printable(coding)}-encoded; unencoded bytes were requested")
    length = response.headers.get("Content-Length", "")
    if re.fullmatch(r"\d{1,18}", length) and response.request.method != "HEAD":
        _require_moderate(int(length))
    _require_short_pause(response)
    response.stream = _Bounded(response.stream, operation)


def _require_moderate(size: int) -> None:
    if size > MAX_ANSWER:
        raise AnswerError(f"the Hub's answer has {size:,} bytes or more; at most {MAX_ANSWER:,} are read")


def _require_short_pause(response: Any) -> None:
    """Refuse a pause that huggingface_hub would make, however long it is."""
    stated = [response.headers.get("Retry-After", ""), response.headers.get("RateLimit", "")]
    seconds = [int(found) for found in re.findall(r"(?:^|\bt\s*=\s*)(\d+)", " ".join(stated))]
    if response.status_code >= 400 and any(each > RETRIES.max_retry_after for each in seconds):
        raise AnswerError(
            f"the Hub answered {response.status_code} and asks to come back in {max(seconds):,} s; at most "
            f"{RETRIES.max_retry_after:.0f} s are waited. Try again later"
        )


class _Bounded(_HTTPX.SyncByteStream):  # type: ignore[misc]
    """The bytes of an answer, which end with an error where they exceed a bound."""

    def __init__(self, stream: Any, operation: _Operation | None) -> None:
        self._stream = stream
        self._operation = operation

    def __iter__(self) -> Iterator[bytes]:
        began = since = time.monotonic()
        size = recent = 0
        kept = bytearray()
        for chunk in self._stream:
            size, recent = size + len(chunk), recent + len(chunk)
            _require_moderate(size)
            kept += b"" if self._operation is None else chunk
            yield chunk
            now = time.monotonic()
            if now - since > RATE_SECONDS:
                if recent < MIN_RATE * (now - since):
                    raise AnswerError(
                        f"{size:,} bytes of the Hub's answer arrived in {now - began:.0f} s; that is too slow"
                    )
                since, recent = now, 0
        if self._operation is not None:
            self._operation.links |= _links(bytes(kept))

    def close(self) -> None:
        """Close the connection, or give it back."""
        self._stream.close()


def _links(answer: bytes) -> set[str]:
    """Return the paths of the addresses that an answer states."""
    text = answer.decode("utf-8", "replace").replace("\\/", "/").replace("\\u0026", "&")
    return {_link(found) for found in re.findall(r"\"(https?://[^\"\s]{1,5000})\"", text)}


def _link(url: str) -> str:
    return re.sub(r"^https?://[^/]*", "", url)  # huggingface_hub may put its endpoint in the place of a host
