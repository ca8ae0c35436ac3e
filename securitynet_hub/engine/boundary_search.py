"""The nearest misclassified image, from predicted labels only: HopSkipJump with whole grey levels.

Chen, Jordan & Wainwright 2020, arXiv 1904.02144, algorithm 2, L2, untargeted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Labels, Scores
from securitynet_hub.data.pixels import QUERY_BYTES, Pixels, random_stream, to_pixels

Wrong = npt.NDArray[np.bool_]
Search: TypeAlias = Generator[Pixels, Wrong, Any]
"""Yields queries, shape (k, ...), and is sent which of them are misclassified, shape (k,)."""

NOISE_STARTS = 10
"""Number of noise images to try as a start; if a model gives ten the same label, it does so for more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Nearest:
    """The nearest misclassified images that searches found.

    Attributes:
        distances: shape (n,), float64: their L2 distances, black to white being 1; 0 of a sample that is
            misclassified itself, the distance from black to white where none was found.
        queries: shape (n,), int64: how many images each search asked about.
        found: shape (n,), whether any misclassified image was found.
        images: shape of the pixels, uint8: these images; the sample itself where none was found.
    """

    distances: Scores
    queries: npt.NDArray[np.int64]
    found: Wrong
    images: Pixels


def search_boundary(
    ask: Callable[[Pixels], Labels],
    pixels: Pixels,
    labels: Labels,
    *,
    budget: int,
    starts: Pixels,
    gradient_queries: int,
    seed: int,
    near_enough: float | None = None,
) -> Nearest:
    """Look for the nearest misclassified image of each sample.

    From a misclassified start, HopSkipJump bisects towards the sample x*, estimates the boundary's normal at
    x_t from ``B_t = gradient_queries sqrt(t)`` perturbed images with the mean answer subtracted (eq. 16),
    steps along the normal by ``|x_t - x*| / sqrt(t)``, halves the step until the image is misclassified, and
    bisects again. Queries have whole grey levels. Therefore a perturbation is no shorter than ``sqrt(d)``
    levels, one level for each of d pixel values, where the paper's ``|x~ - x*| / d`` would round to nothing;
    and bisection ends within one level. The distance is that of a real image, so never below the true one.

    Args:
        ask: returns the model's labels of images, shape (k, ...), uint8.
        pixels: shape (n, [depth,] height, width, channels), uint8.
        labels: shape (n,), the right labels.
        budget: largest number of images to forward for one sample; a step that would exceed it is not
            started.
        starts: shape (m, ...) as the pixels, uint8: images to start from, the nearest first; after them, or
            without them, uniform noise.
        gradient_queries: images in the first estimate of the normal.
        seed: decides the noise, with each sample's pixels.
        near_enough: a distance at which a search ends; None searches on while the budget lasts.
    """
    result = Nearest(
        distances=np.full(len(pixels), math.sqrt(pixels[0].size)),
        queries=np.zeros(len(pixels), np.int64),
        found=np.zeros(len(pixels), np.bool_),
        images=pixels.copy(),
    )
    together = max(1, QUERY_BYTES // (budget * pixels[0].nbytes))
    for first in range(0, len(pixels), together):
        searches = {
            row: _search(image, starts, gradient_queries, random_stream(seed, image))
            for row, image in enumerate(pixels[first : first + together], first)
        }
        # All searches advance together: their next queries share forward passes.
        asked = {row: next(search) for row, search in searches.items()}
        while asked:
            predicted = ask(np.concatenate(list(asked.values())))
            ends = np.cumsum([len(images) for images in asked.values()])
            following = {}
            for (row, images), answers in zip(asked.items(), np.split(predicted, ends[:-1]), strict=True):
                wrong = answers != labels[row]
                _note(result, row, pixels[row], images, wrong)
                if near_enough is not None and result.found[row] and result.distances[row] <= near_enough:
                    continue
                try:
                    wanted = searches[row].send(wrong)
                except StopIteration:
                    continue
                if result.queries[row] + len(wanted) <= budget:
                    following[row] = wanted
            asked = following
    return result


def _note(result: Nearest, row: int, image: Pixels, images: Pixels, wrong: Wrong) -> None:
    """Count the queries, and keep the nearest misclassified image."""
    result.queries[row] += len(images)
    if wrong.any():
        distances = np.array([_distance(other, image) for other in images[wrong]]) / 255
        best = distances.argmin()
        if not result.found[row] or distances[best] < result.distances[row]:
            result.found[row] = True
            result.distances[row] = distances[best]
            result.images[row] = images[wrong][best]


def _search(image: Pixels, pool: Pixels, gradient_queries: int, random: np.random.Generator) -> Search:
    """Run HopSkipJump on one image; with a start, the search never ends by itself."""
    if (yield image[None])[0]:
        return
    for start in _starts(image, pool, random):
        if (yield start[None])[0]:
            break
    else:
        return
    point, length = (yield from _bisect(image, start)), _distance(start, image)
    for t in count(1):
        size = max(length / image.size, math.sqrt(image.size))
        normal = yield from _normal(point, size, math.isqrt(gradient_queries**2 * t), random)
        step = _distance(point, image) / math.sqrt(t)
        # If even the shortest step that changes a grey level fails, try the next normal from the same point.
        while not np.array_equal(moved := to_pixels(point + step * normal), point):
            if (yield moved[None])[0]:
                point, length = (yield from _bisect(image, moved)), _distance(moved, image)
                break
            step /= 2


def _starts(image: Pixels, pool: Pixels, random: np.random.Generator) -> Iterable[Pixels]:
    yield from pool[np.argsort([_distance(start, image) for start in pool], kind="stable")]
    for _ in range(NOISE_STARTS):
        yield random.integers(0, 256, image.shape, np.uint8)


def _bisect(image: Pixels, outside: Pixels) -> Generator[Pixels, Wrong, Pixels]:
    """Return a misclassified image between the two, within one grey level of a correctly classified one."""
    low, high, nearest = 0.0, 1.0, outside
    difference, length = outside - image.astype(np.float64), _distance(outside, image)
    while (high - low) * length > 1:
        middle = (low + high) / 2
        blend = to_pixels(image + middle * difference)
        if (yield blend[None])[0]:
            high, nearest = middle, blend
        else:
            low = middle
    return nearest


def _normal(
    point: Pixels, size: float, queries: int, random: np.random.Generator
) -> Generator[Pixels, Wrong, npt.NDArray[np.float64]]:
    """Estimate the unit direction in which images near a boundary point become misclassified."""
    noise = random.standard_normal((queries, *point.shape), np.float32)
    axes = tuple(range(1, noise.ndim))
    noise *= size / np.sqrt((noise**2).sum(axes, keepdims=True))
    images = to_pixels(point + noise)
    wrong = yield images
    answers = np.where(wrong, 1.0, -1.0)
    if len(set(wrong.tolist())) == 2:
        answers -= answers.mean()
    # Queries differ from the noise because of clipping and rounding.
    offsets = images.reshape(queries, -1) - point.reshape(-1).astype(np.float64)
    direction = (answers @ offsets).reshape(point.shape)
    return direction / (float(np.linalg.norm(direction)) or 1)


def _distance(image: Pixels, other: Pixels) -> float:
    """Return the L2 distance in grey levels."""
    return float(np.linalg.norm(image.ravel() - other.ravel().astype(np.float64)))
