"""Membership inference from predicted labels only: the distance of an image from the decision boundary.

Members lie farther from it (Li & Zhang 2021, arXiv 2007.15528, section 4.2; Choquette-Choo et al. 2021, arXiv
2007.14321, section 4.3). The distance is measured by HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv
1904.02144, algorithm 2, L2, untargeted), here with queries of whole grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.attack import Attack, QueryScores
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.boundary_search import Wrong, search_boundary
from securitynet_hub.engine.inference import BATCH_SIZE, as_images, ask
from securitynet_hub.models.target import Target


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
    Jordan & Wainwright 2020, arXiv 1904.02144, algorithm 2), with whole grey levels; see `search_boundary`.

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
    near = search_boundary(
        lambda images: ask(target, images, batch_size),
        pixels,
        labels,
        budget=budget,
        starts=pool,
        gradient_queries=gradient_queries,
        seed=seed,
    )
    return BoundaryResult(scores=near.distances, queries=near.queries, found=near.found, nearest=near.images)


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
