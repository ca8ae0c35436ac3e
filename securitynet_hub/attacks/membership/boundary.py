"""Membership inference from predicted labels only: the distance of an image from the decision boundary.

Members lie farther from it (Li & Zhang 2021, arXiv 2007.15528, section 4.2; Choquette-Choo et al. 2021, arXiv
2007.14321, section 4.3). The distance is measured by HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv
1904.02144, algorithm 2, L2, untargeted), here with queries of whole grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.attack import Attack, QueryScores
from securitynet_hub.data.pixels import QUERY_BYTES, Pixels, random_stream, to_pixels
from securitynet_hub.engine.inference import BATCH_SIZE, as_images, ask
from securitynet_hub.models.target import Target

Wrong = npt.NDArray[np.bool_]
Search: TypeAlias = Generator[Pixels, Wrong, Any]
"""Yields queries, shape (k, ...), and is sent which of them are misclassified, shape (k,)."""

NOISE_STARTS = 10
"""Number of noise images to try as a start; if a model gives ten the same label, it does so for more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundaryResult(QueryScores):
    """Distances, the number of queries, and the misclassified images at these distances.

    Attributes:
        found: shape (n,), whether any misclassified image was found.
        nearest: shape of the pixels, uint8: the nearest misclassified image; the sample itself if it is
            misclassified or no such image was found.
    """

    found: Wrong
    nearest: Pixels


def boundary_scores(
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    budget: int = 500,
    starts: npt.ArrayLike | None = None,
    gradient_queries: int = 50,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> BoundaryResult:
    """Score the L2 distance to the nearest misclassified image found, black to white being 1.

    ``score = min_k |x_k - x| / 255`` over the misclassified queries x_k, 0 if the sample x is misclassified
    itself (Li & Zhang 2021, arXiv 2007.15528, section 4.2). The queries are those of HopSkipJump (Chen,
    Jordan & Wainwright 2020, arXiv 1904.02144, algorithm 2). From a misclassified start, HopSkipJump bisects
    towards the sample x*, estimates the boundary's normal at x_t from ``B_t = gradient_queries sqrt(t)``
    perturbed images with the mean answer subtracted (eq. 16), steps along the normal by
    ``|x_t - x*| / sqrt(t)``, halves the step until the image is misclassified, and bisects again. Queries
    have whole grey levels. Therefore a perturbation is no shorter than ``sqrt(d)`` levels, one level for each
    of d pixel values, where the paper's ``|x~ - x*| / d`` would round to nothing; and bisection ends within
    one level. The distance is that of a real image, so never below the true one.

    A misclassified sample scores 0 after one query. A sample without a misclassified start scores sqrt(d),
    the distance from black to white, and `BoundaryResult.found` is False. A search with a larger budget
    continues that with a smaller one, so that distances never grow with the budget; a step that would exceed
    the budget is not started. A sample's score depends on its pixels, its label, the starts and the seed, not
    on the other samples, provided that the network's answers do not depend on them.

    Args:
        target: asked for labels only.
        pixels: shape (n, [depth,] height, width, channels), uint8.
        labels: shape (n,), the right labels, in 0..num_classes-1.
        budget: largest number of images to forward for one sample.
        starts: shape (m, ...) as the pixels, uint8: images of several classes to start from, the nearest
            first. After them, or without them, the attack tries uniform noise; many models assign all noise
            to one class.
        gradient_queries: images in the first estimate of the normal; 100 in the paper, whose budgets are
            larger.
        seed: decides the noise.
        batch_size: images in one forward pass.

    Raises:
        ValueError: images, labels or starts are missing, misaligned or of another type, or a count is 0.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((2, 28, 28, 1), np.uint8)
    >>> result = boundary_scores(target, black, [0, 5], budget=100)  # class 5 is the model's answer
    >>> result.scores.round(1), bool(result.queries[0] == 1), result.found
    (array([0. , 0.1]), True, array([ True,  True]))
    """
    pixels, labels = as_images(target, pixels, labels)
    pool = pixels[:0] if starts is None else np.asarray(starts)
    if pool.dtype != np.uint8 or pool.shape[1:] != pixels.shape[1:]:
        raise ValueError(
            f"starts must be uint8 images of {pixels.shape[1:]}, as the pixels; got {pool.dtype} of "
            f"{pool.shape}."
        )
    if min(budget, gradient_queries) < 1:
        raise ValueError(
            f"budget and gradient_queries must be at least 1; got {budget} and {gradient_queries}."
        )
    result = BoundaryResult(
        scores=np.full(len(pixels), math.sqrt(pixels[0].size)),
        queries=np.zeros(len(pixels), np.int64),
        found=np.zeros(len(pixels), np.bool_),
        nearest=pixels.copy(),
    )
    together = max(1, QUERY_BYTES // (budget * pixels[0].nbytes))
    for first in range(0, len(pixels), together):
        searches = {
            row: _search(image, pool, gradient_queries, random_stream(seed, image))
            for row, image in enumerate(pixels[first : first + together], first)
        }
        # All searches advance together: their next queries share forward passes.
        asked = {row: next(search) for row, search in searches.items()}
        while asked:
            predicted = ask(target, np.concatenate(list(asked.values())), batch_size)
            ends = np.cumsum([len(images) for images in asked.values()])
            following = {}
            for (row, images), answers in zip(asked.items(), np.split(predicted, ends[:-1]), strict=True):
                wrong = answers != labels[row]
                _note(result, row, pixels[row], images, wrong)
                try:
                    wanted = searches[row].send(wrong)
                except StopIteration:
                    continue
                if result.queries[row] + len(wanted) <= budget:
                    following[row] = wanted
            asked = following
    return result


def _note(result: BoundaryResult, row: int, image: Pixels, images: Pixels, wrong: Wrong) -> None:
    """Count the queries, and keep the nearest misclassified image."""
    result.queries[row] += len(images)
    if wrong.any():
        distances = np.array([_distance(other, image) for other in images[wrong]]) / 255
        best = distances.argmin()
        if not result.found[row] or distances[best] < result.scores[row]:
            result.found[row] = True
            result.scores[row] = distances[best]
            result.nearest[row] = images[wrong][best]


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


def count_queries(image: Pixels, *, budget: int, gradient_queries: int) -> int:
    """Return the largest number of images that `boundary_scores` forwards for one sample.

    Raises:
        ValueError: a setting is not a whole number of at least 1.
    """
    if not all(isinstance(count, int) and count >= 1 for count in (budget, gradient_queries)):
        raise ValueError(
            "budget and gradient_queries must be whole numbers of at least 1; got "
            f"{budget!r} and {gradient_queries!r}."
        )
    return budget


ATTACK = Attack(
    name="boundary",
    run=boundary_scores,
    summary="distance from an image to the decision boundary (HopSkipJump)",
    formula="L2 distance to the nearest misclassified image found; 0 where the image is misclassified",
    source="Li & Zhang 2021, section 4.2; Chen et al. 2020, alg. 2",
    needs=("labels",),
    cost=count_queries,
    starts=True,
    labels_suffice=True,
    minimum=0.0,
)
