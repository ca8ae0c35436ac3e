"""The format in which a prediction service answers: posteriors, the k largest, rounded, noisy, or a label."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels, random_stream

Kind = Literal["posteriors", "top_k", "rounded", "label"]


@dataclass(frozen=True)
class OutputFormat:
    """Turn logits into the answers that an attacker sees, each row a distribution over the classes.

    In this order: the softmax of ``logits / temperature``, the noise, then by `kind`

    - ``posteriors``: nothing more.
    - ``top_k``: the k largest stay; the rest is spread evenly over the others, so that it hides their order.
    - ``rounded``: rounded to `decimals` places and divided by the sum; uniform where all round to zero.
    - ``label``: 1 for the top class, 0 for the other classes.

    Ties go to the first class.

    Attributes:
        kind: one of the above.
        k: for ``top_k``, from 1 to the number of classes.
        decimals: for ``rounded``.
        temperature: above 1 flattens, below 1 sharpens; no label changes.
        noise: standard deviation of Gaussian noise on each posterior; negative values become 0, and the row
            is divided by its sum. An image always gets the same noise, so that repeated queries do not
            average it out.
        seed: decides the noise.

    Raises:
        UnknownNameError: no such kind.
        ValueError: a parameter is missing, out of range, or of another kind.

    >>> logits = np.log([[0.5, 0.28, 0.12, 0.1]])
    >>> image = np.zeros((1, 1, 1, 1), np.uint8)
    >>> OutputFormat("top_k", k=1)(logits, image).round(3)
    array([[0.5  , 0.167, 0.167, 0.167]])
    >>> OutputFormat("rounded", decimals=1)(logits, image)
    array([[0.5, 0.3, 0.1, 0.1]])
    >>> OutputFormat("label")(logits, image)
    array([[1., 0., 0., 0.]])
    """

    kind: Kind = "posteriors"
    k: int | None = field(default=None, kw_only=True)
    decimals: int | None = field(default=None, kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UnknownNameError("output format", self.kind, get_args(Kind))
        for name, kind, least in (("k", "top_k", 1), ("decimals", "rounded", 0)):
            value = getattr(self, name)
            valid = isinstance(value, (int, np.integer)) and value >= least
            if not (valid if self.kind == kind else value is None):
                raise ValueError(
                    f"{name} belongs to the format {kind!r}, which needs it, an integer of {least} or more; "
                    f"got {name}={value!r} for {self.kind!r}."
                )
        if not (0 < self.temperature < math.inf and 0 <= self.noise < math.inf):
            raise ValueError(
                "temperature must be above 0 and noise not below it, both finite; got "
                f"temperature={self.temperature!r}, noise={self.noise!r}."
            )

    def __call__(self, logits: npt.NDArray[Any], pixels: Pixels) -> Scores:
        """Return the answers, shape (n, classes), to images of shape (n, height, width, channels)."""
        scaled = logits.astype(np.float64) / self.temperature
        answers: Scores = np.exp(scaled - scaled.max(1, keepdims=True))
        answers /= answers.sum(1, keepdims=True)
        if self.noise:
            draws = [random_stream(self.seed, image).normal(size=answers.shape[1]) for image in pixels]
            answers = _normalised(np.maximum(0, answers + self.noise * np.array(draws)))
        if self.kind == "top_k":
            return self._truncated(answers)
        if self.kind == "rounded":
            return _normalised(answers.round(self.decimals or 0))
        if self.kind == "label":
            one_hot: Scores = np.eye(answers.shape[1])[answers.argmax(1)]
            return one_hot
        return answers

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)

    def _truncated(self, answers: Scores) -> Scores:
        k, classes = self.k or 0, answers.shape[1]
        if k > classes:
            raise ValueError(f"k must be at most the number of classes, {classes}; got {k}.")
        others = np.argsort(-answers, axis=1, kind="stable")[:, k:]
        rest = np.take_along_axis(answers, others, 1).sum(1, keepdims=True)
        truncated = answers.copy()
        np.put_along_axis(truncated, others, rest / max(1, classes - k), 1)
        return truncated


def _normalised(rows: Scores) -> Scores:
    sums = rows.sum(1, keepdims=True)
    normalised: Scores = np.where(sums > 0, rows, 1) / np.where(sums > 0, sums, rows.shape[1])
    return normalised
