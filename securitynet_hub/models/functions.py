"""Targets that only answer: a function of the caller's, an estimator or a service behind it."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from securitynet_hub.annotations.schema import unlisted
from securitynet_hub.core.errors import AnswersWarning, BudgetError, ModelError
from securitynet_hub.core.kept_answers import Answers
from securitynet_hub.core.retry import RetryPolicy, TransientError, with_retries
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.data.pixels import Pixels, image_digests
from securitynet_hub.models.outputs import Outputs, as_logits, doubt_of_logits, require_outputs
from securitynet_hub.models.target import Target

Images = Literal["arrays", "png"]
"""What the function gets: arrays of pixels, or each image as the bytes of a PNG file."""

NAME = re.compile(r"[^\w.+-]+", re.ASCII)

ANSWERS = "answers.db"
"""The file in a folder that keeps answers."""

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of HTTP after which the same request may succeed."""

PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of the operating system that no second attempt mends."""


def black_box(
    function: Callable[[Any], Any],
    *,
    num_classes: int,
    outputs: Outputs = "posteriors",
    name: str | None = None,
    images: Images = "arrays",
    shape: tuple[int, int, int] | None = None,
    batch_size: int = 64,
    rate: float | None = None,
    budget: int | None = None,
    tries: int = 5,
    keep: str | Path | None = None,
) -> Target:
    """Return a target that asks a function, for every attack that needs nothing but answers.

    The function may be anything: an estimator of scikit-learn, a model of another framework, a request to a
    service. An image is asked about once: its answer is kept. A call that fails for a reason that may pass (a
    connection, a time-out, a busy server, a `TransientError`) is repeated with growing pauses.

    Args:
        function: takes images, uint8 of shape (n, height, width, channels), or a list of n PNG files as
            bytes; returns n answers: numbers of shape (n, num_classes), or n labels. Images of several sizes
            come in one call for each size.
        num_classes: number of classes.
        outputs: what the numbers are: ``posteriors``, ``logits``, ``log-posteriors`` or ``labels``.
        name: what records call it; it also names its kept answers. The function's name, unless given.
        images: ``arrays`` or ``png``.
        shape: height, width and channels that the function takes; other images are resized to it. None for a
            function that takes images of any size.
        batch_size: images in one call.
        rate: most calls in a second.
        budget: most images that the function is asked about, those whose answers lie in `keep` included.
        tries: attempts of each call.
        keep: folder for the answers, so that nothing is asked (and paid for) twice, whatever interrupts an
            audit; None keeps them in memory.

    Returns:
        A target. ``target.module.asked`` counts the images that the function was asked about, and
        ``target.module.calls`` its calls.

    Raises:
        UnknownNameError: there are no such outputs.
        ValueError: another argument lies outside its range.
        SecurityNetError: the folder cannot be used.

    >>> target = black_box(lambda images: images.mean((1, 2))[:, :2] > 9, num_classes=2, outputs="logits")
    >>> target.has_weights, target.id
    (False, 'function/own/lambda')
    """
    require_outputs(outputs)
    called = str(name or getattr(function, "__name__", type(function).__name__))
    label = NAME.sub("-", called).strip("-.+")
    module = Function(
        function,
        name=label or "function",
        num_classes=num_classes,
        outputs=outputs,
        images=images,
        shape=shape,
        batch_size=batch_size,
        rate=rate,
        budget=budget,
        tries=tries,
        keep=None if keep is None else Path(keep),
    )
    annotation = unlisted(
        "function", "own", module.name[:100], architecture="function", num_classes=num_classes
    )
    return Target(
        annotation=annotation,
        module=module,
        transform=Unchanged(shape or (224, 224, 3)),
        num_classes=num_classes,
        outputs=outputs,
    )


class Unchanged:
    """The preprocessing of a target that gets the images as they are."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, height, width, channels) into the same (n, channels, height, width)."""
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))

    def as_dict(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {"function": "none: the target gets pixels"}


class Function(torch.nn.Module):
    """A function behind the face of a module; arguments as for `black_box`."""

    answers_only = True

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        name: str,
        num_classes: int,
        outputs: Outputs,
        images: Images,
        shape: tuple[int, int, int] | None,
        batch_size: int,
        rate: float | None,
        budget: int | None,
        tries: int,
        keep: Path | None,
    ) -> None:
        super().__init__()
        if not callable(function):
            raise ValueError(f"a black box is a function from images to answers; got {function!r}.")
        _require_settings(num_classes, images, batch_size, rate, budget, tries)
        self.function, self.name, self.num_classes, self.outputs = function, name, num_classes, outputs
        self.images, self.shape, self.batch_size, self.budget = images, shape, batch_size, budget
        self.asked = self.calls = 0
        self._doubted = False
        self._policy = RetryPolicy(tries=tries, first_delay=1.0)
        self._pause, self._next_call = 0.0 if rate is None else 1 / rate, 0.0
        self._lock = threading.RLock()
        identity = f"{name} {num_classes} {outputs}".encode()
        self._answers = Answers(None if keep is None else keep / ANSWERS, identity)

    def extra_repr(self) -> str:
        """Say what decides the answers."""
        return f"name={self.name}, num_classes={self.num_classes}, outputs={self.outputs}"

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map uint8 images (n, channels, height, width) to logits (n, classes)."""
        pixels = np.moveaxis(inputs.cpu().numpy(), 1, -1)
        return torch.from_numpy(self.ask(list(pixels)))

    def ask(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Return logits for images, each of shape (height, width, channels), from what is kept or by asking.

        Raises:
            BudgetError: the budget is used up; the answers until then are kept.
            ModelError: the function failed in all tries, or answered with something else than it should. An
                error of the function's that no further try would mend is raised as it is.
        """
        fitted = [self._fitted(image) for image in images]
        digests = [image_digests(image[None])[0] for image in fitted]
        with self._lock:
            known = self._answers.known(set(digests))
            new = {
                digest: image for digest, image in zip(digests, fitted, strict=True) if digest not in known
            }
            self._require_budget(len(new))
            for batch in self._batches(new):
                logits = self._call([new[digest] for digest in batch])
                with self._answers.exclusive():
                    self._answers.keep(batch, logits)
                known |= zip(batch, logits, strict=True)
        return np.stack([known[digest] for digest in digests])

    def _fitted(self, image: Pixels) -> Pixels:
        if self.shape is None or image.shape == self.shape:
            return image
        height, width, channels = self.shape
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        picture = picture.convert({1: "L", 3: "RGB"}[channels]).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        return np.asarray(picture, np.uint8).reshape(self.shape)

    def _batches(self, new: dict[bytes, Pixels]) -> list[list[bytes]]:
        """Return images of one size together, at most `batch_size`."""
        sizes: dict[tuple[int, ...], list[bytes]] = {}
        for digest, image in new.items():
            sizes.setdefault(image.shape, []).append(digest)
        return [
            same[start : start + self.batch_size]
            for same in sizes.values()
            for start in range(0, len(same), self.batch_size)
        ]

    def _require_budget(self, new: int) -> None:
        if self.budget is None or not new:
            return
        used = max(self.asked, self._answers.count())
        if used + new > self.budget:
            raise BudgetError(
                f"{self.name} was asked about {used:,} of a budget of {self.budget:,} images; {new:,} more "
                "are wanted, and none of them was asked about. Raise budget=, or audit fewer images."
            )

    def _call(self, images: list[Pixels]) -> npt.NDArray[np.float32]:
        given: Any = np.stack(images) if self.images == "arrays" else [_as_png(image) for image in images]

        def attempt() -> Any:
            self._wait()
            self.calls += 1
            try:
                return self.function(given)
            except TransientError:
                raise
            except Exception as error:
                if not _may_pass(error):
                    raise
                raise TransientError(f"{type(error).__name__}: {error}", _retry_after(error)) from error

        try:
            answer = with_retries(attempt, lambda _: self._policy)
        except TransientError as error:
            raise ModelError(
                f"{self.name} could not be asked after {self._policy.tries} tries: {error} What it answered "
                "before is kept."
            ) from error
        self.asked += len(images)
        return self._read(answer, len(images))

    def _wait(self) -> None:
        """Sleep until the rate allows another call."""
        now = time.monotonic()
        if now < self._next_call:
            time.sleep(self._next_call - now)
        self._next_call = max(now, self._next_call) + self._pause

    def _read(self, answer: Any, n: int) -> npt.NDArray[np.float32]:
        """Return an answer of the function as logits."""
        if isinstance(answer, torch.Tensor):
            answer = answer.detach().cpu().numpy()
        try:
            rows = np.asarray(answer)
            if rows.dtype.kind not in "biuf":
                raise ValueError(f"numbers of type {rows.dtype}")
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"{self.name} must return numbers; got {type(answer).__name__}: {error}."
            ) from error
        labels = self.outputs == "labels"
        columns = {1} if labels else {self.num_classes, 1} if self.num_classes == 2 else {self.num_classes}
        squeezed = n == 1 and rows.shape in ((), (self.num_classes,))  # a last batch of one
        flat = rows.reshape(n, -1) if squeezed or (rows.ndim and len(rows) == n) else rows
        if flat.ndim != 2 or flat.shape[1] not in columns or flat.shape[0] != n:
            expected = f"({n},)" if labels else f"({n}, {self.num_classes})"
            raise ModelError(
                f"{self.name} answered {n} image(s) with numbers of shape {rows.shape}; {expected} was "
                f"expected for outputs={self.outputs!r}."
            )
        tensor = torch.from_numpy(np.ascontiguousarray(flat, np.float64))
        logits = as_logits(tensor, self.num_classes, self.outputs).numpy().astype(np.float32)
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.name} answered with NaN or infinite numbers.")
        if self.outputs == "logits" and n > 1 and not self._doubted and (doubt := doubt_of_logits(logits)):
            self._doubted = True
            warn_caller(f"the answers of {self.name} {doubt}.", AnswersWarning)
        return logits


def _require_settings(
    num_classes: int, images: str, batch_size: int, rate: float | None, budget: int | None, tries: int
) -> None:
    whole = all(isinstance(count, (int, np.integer)) for count in (num_classes, batch_size, tries))
    if not whole or num_classes < 2 or batch_size < 1 or tries < 1 or (budget is not None and budget < 0):
        raise ValueError(
            "num_classes must be a whole number of 2 or more, batch_size and tries 1 or more, budget 0 or "
            f"more; got num_classes={num_classes}, batch_size={batch_size}, tries={tries}, budget={budget}."
        )
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate must be a number of calls a second, above 0; got {rate}.")
    if images not in ("arrays", "png"):
        raise ValueError(f"images must be 'arrays' or 'png'; got {images!r}.")


def _as_png(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def _status(error: Exception) -> int | None:
    """Return the status of HTTP that an error of urllib, requests or httpx carries."""
    found = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) else None


def _may_pass(error: Exception) -> bool:
    """Return whether a call may succeed if it is repeated."""
    status = _status(error)
    if status is not None:
        return status in TEMPORARY
    dropped = type(error).__module__.partition(".")[0] == "httpx" or isinstance(error, OSError)
    return dropped and not isinstance(error, PERMANENT)


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that a server asks to wait, None where it does not say."""
    headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None)
    said = headers.get("Retry-After") if headers is not None else None
    return float(said) if said is not None and str(said).strip().isdecimal() else None
