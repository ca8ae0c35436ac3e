"""Membership inference from predicted labels only: how many changed copies of an image keep the right label.

A model is more confident about its training images, so that members keep their label under more augmentations
(Choquette-Choo et al. 2021, arXiv 2007.14321, section 4.2). By default the score is the share of copies with
the right label. The authors give the vector of right and wrong answers to networks, one for each class, that
they train on a shadow model. The share needs nothing else and weighs all copies alike; ``combine="network"``
trains one network of the authors' shape on samples of known membership and scores the others. `boundary`
measures the same as a distance. Every query is an image of whole grey levels (uint8), as a real interface
takes it; the model's own preprocessing follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from securitynet_hub.attacks.membership.attack import Attack, QueryScores
from securitynet_hub.attacks.membership.learned import fit_binary_network
from securitynet_hub.core.arrays import Flags, Scores, as_array
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import QUERY_BYTES, Pixels, random_stream, to_pixels
from securitynet_hub.engine.inference import BATCH_SIZE, as_images, ask
from securitynet_hub.models.target import Target

Combine = Literal["share", "network"]

HIDDEN = (10, 10)
"""Hidden layers of the network that combines answers, as in the authors' code."""


def augmentation_scores(
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    kind: str,
    strengths: float | Iterable[float],
    copies: int = 10,
    combine: Combine = "share",
    known: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> QueryScores:
    """Score each sample by the share of N images, itself and changed copies, whose predicted label is right.

    - ``translation`` by d pixels: the shifts (i, j) with ``|i| + |j| = d``, N = 4 d + 1 (section 4.2);
      pixels at the border are repeated, as in the authors' code.
    - ``rotation`` by r degrees: r to the left and to the right about the centre, bilinear, N = 3
      (section 4.2; r up to 15 there); the border is repeated. The authors' code turns by each whole degree up
      to r: give these as `strengths`.
    - ``noise`` of standard deviation sigma, in units of the range from black to white: Gaussian, `copies`
      draws, N = copies + 1 (section 4.3, as an estimate of the distance to the boundary).

    Several strengths add up: all their copies, and the sample itself once. A sample's share depends on its
    pixels, its label and the seed, not on the other samples.

    With ``combine="network"`` a network with two hidden layers of 10 units, trained on the answers about the
    `known` samples, gives the log-odds of membership of all other samples; known samples are not scored. The
    authors train one such network for each class, on the answers of a shadow model whose membership is
    known; here it is one for all classes, because 100 samples of a class would have to be known for each.

    Args:
        target: asked for labels only.
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), the right labels, in 0..num_classes-1.
        kind: a name from `AUGMENTATIONS`.
        strengths: one or several, above zero; whole numbers of pixels for translations.
        copies: number of noisy images for each sigma.
        combine: ``share`` of right answers, or ``network``.
        known: shape (n,), for ``network``: 1 for a sample that the attacker knows to be a member, 0 for one
            known to be a non-member, -1 for all others.
        seed: decides the noise, and the network's weights and training.
        batch_size: images in one forward pass.

    Raises:
        UnknownNameError: no such kind or way to combine; the closest names are given.
        ValueError: images or labels are missing, misaligned or of another type, a strength is invalid, or
            ``network`` is asked for without known members, known non-members or samples to score.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((2, 28, 28, 1), np.uint8)  # however shifted, it looks the same
    >>> result = augmentation_scores(target, black, [0, 5], kind="translation", strengths=1)
    >>> result.scores, result.queries
    (array([0., 1.]), array([5, 5]))
    """
    pixels, labels = as_images(target, pixels, labels)
    strengths = _checked(pixels[0], kind, strengths, copies)
    _require_combine(combine)
    membership = _known(known, len(pixels)) if combine == "network" else None

    def versions(image: Pixels) -> list[Pixels]:
        return [image, *_changed(image, kind, strengths, copies, seed)]

    count = len(versions(pixels[0]))
    together = max(1, QUERY_BYTES // (count * pixels[0].nbytes))
    right = np.empty((len(pixels), count), np.bool_)
    for start in range(0, len(pixels), together):
        part = slice(start, start + together)
        images = np.stack([version for image in pixels[part] for version in versions(image)])
        right[part] = ask(target, images, batch_size).reshape(-1, count) == labels[part, None]
    queries = np.full(len(pixels), count)
    if membership is None:
        return QueryScores(scores=right.mean(1), queries=queries)
    rows = np.flatnonzero(membership < 0)
    scores = _network_scores(right[membership >= 0], membership[membership >= 0] == 1, right[rows], seed)
    return QueryScores(scores=scores, queries=queries, rows=rows)


def _network_scores(right: Flags, is_member: Flags, unknown: Flags, seed: int) -> Scores:
    """Train on right and wrong answers, shape (known, queries); return the log-odds of the unknown."""
    order = np.lexsort((is_member, *right.T))  # the order of the samples must not matter
    kinds, kind = np.unique(unknown, axis=0, return_inverse=True)  # equal answers tie
    answers, asked = (np.where(each, 1.0, -1.0) for each in (right[order], kinds))
    log_odds = fit_binary_network(
        answers, is_member[order], seed, hidden=HIDDEN, batch=16, learning_rate=0.01
    )
    scores: Scores = log_odds(asked)[kind.reshape(-1)]
    return scores


def _require_combine(combine: Combine) -> None:
    if combine not in get_args(Combine):
        raise UnknownNameError("way to combine answers", combine, get_args(Combine))


def _known(known: npt.ArrayLike | None, n: int) -> npt.NDArray[np.int64]:
    """Return what is known of each sample's membership, checked."""
    found = np.full(n, -1) if known is None else as_array(known, "known")
    if found.shape != (n,) or not np.isin(found, (-1, 0, 1)).all():
        raise ValueError(f"known must hold 1, 0 or -1 for each of {n} samples; got shape {found.shape}.")
    counts = {value: int((found == value).sum()) for value in (1, 0, -1)}
    if not all(counts.values()):
        raise ValueError(
            "combine='network' needs known members, known non-members and samples to score; got "
            f"{counts[1]}, {counts[0]} and {counts[-1]}."
        )
    return found.astype(np.int64)


def label_only_scores(answers: npt.ArrayLike, labels: npt.ArrayLike) -> Scores:
    """Score each sample by the share of its queries, itself and changed copies, that get the right label.

    Args:
        answers: shape (n, queries), the predicted labels.
        labels: shape (n,), the right labels.

    Returns:
        Shape (n,), higher = more likely a member.

    Raises:
        ValueError: one of them does not hold integers, or they do not fit together.

    >>> label_only_scores([[3, 3, 1, 3], [0, 2, 1, 1]], [3, 3])
    array([0.75, 0.  ])
    """
    predicted, right = as_array(answers, "answers"), as_array(labels, "labels")
    for name, array in (("answers", predicted), ("labels", right)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, the numbers of classes; got {array.dtype}.")
        if array.size and array.min() < 0:
            raise ValueError(f"{name} must be the numbers of classes; got {array.min()}.")
    if predicted.ndim != 2 or right.shape != predicted.shape[:1] or not predicted.size:
        raise ValueError(
            "answers must have shape (samples, queries), at least one of each, and labels one entry for each "
            f"sample; got {predicted.shape} and {right.shape}."
        )
    scores: Scores = (predicted == right[:, None]).mean(1)
    return scores


def count_queries(
    image: Pixels,
    *,
    kind: str,
    strengths: float | Iterable[float],
    copies: int = 10,
    combine: Combine = "share",
) -> int:
    """Return how many images `augmentation_scores` forwards for each sample of this image's shape.

    However answers are combined, they are as many.

    Raises:
        UnknownNameError: no such kind or way to combine; the closest names are given.
        ValueError: a strength is invalid for an image of this shape.

    >>> count_queries(np.zeros((28, 28, 1), np.uint8), kind="translation", strengths=[1, 2])
    13
    """
    _require_combine(combine)
    return 1 + len(_changed(image, kind, _checked(image, kind, strengths, copies), copies, 0))


def _translated(image: Pixels, distance: float, copies: int, random: np.random.Generator) -> list[Pixels]:
    d = int(distance)
    shifts = [(i, j) for i in range(-d, d + 1) for j in {abs(i) - d, d - abs(i)}]
    rows, columns = (np.arange(side) for side in image.shape[:2])
    return [image[np.clip(rows - i, 0, rows[-1])][:, np.clip(columns - j, 0, columns[-1])] for i, j in shifts]


def _rotated(image: Pixels, degrees: float, copies: int, random: np.random.Generator) -> list[Pixels]:
    return [
        ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest") for angle in (-degrees, degrees)
    ]


def _noisy(image: Pixels, sigma: float, copies: int, random: np.random.Generator) -> list[Pixels]:
    return [to_pixels(image + 255 * sigma * random.standard_normal(image.shape)) for _ in range(copies)]


AUGMENTATIONS: dict[str, Callable[[Pixels, float, int, np.random.Generator], list[Pixels]]] = {
    "translation": _translated,
    "rotation": _rotated,
    "noise": _noisy,
}
"""Every kind of change to an image, by its public name."""


def _changed(image: Pixels, kind: str, strengths: list[float], copies: int, seed: int) -> list[Pixels]:
    # The stream restarts for each sigma, so that the queries of one do not depend on the others.
    changed = (AUGMENTATIONS[kind](image, s, copies, random_stream(seed, image)) for s in strengths)
    return [copy for some in changed for copy in some]


def _checked(image: Pixels, kind: str, strengths: float | Iterable[float], copies: int) -> list[float]:
    """Return the strengths sorted, each once; refuse strengths that are invalid for such images."""
    if kind not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", kind, AUGMENTATIONS)
    if image.ndim != 3:
        raise ValueError(f"pixels must be images of height, width and channels; got {image.shape}.")
    if copies < 1:
        raise ValueError(f"copies must be at least 1; got {copies}.")
    side = max(image.shape[:2])
    found = sorted({float(strength) for strength in np.atleast_1d(np.asarray(strengths, np.float64))})
    sensible = bool(found) and all(0 < strength < np.inf for strength in found)
    if kind == "translation":
        sensible &= all(strength.is_integer() and strength < side for strength in found)
    if not sensible:
        needed = f"whole pixels below {side}" if kind == "translation" else "finite"
        raise ValueError(f"strengths of a {kind} must be above zero and {needed}; got {found}.")
    return found


def translation_scores(
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    strengths: float | Iterable[float] = 1,
    combine: Combine = "share",
    known: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> QueryScores:
    """Score the share of shifted copies of an image, itself included, whose predicted label is right.

    ``score = sum_k 1[f(x_k) = y] / N`` over the image and its shifts (i, j) with ``|i| + |j| = d``, for every
    d of `strengths` (Choquette-Choo et al. 2021, arXiv 2007.14321, section 4.2). See `augmentation_scores`.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((1, 28, 28, 1), np.uint8)  # class 5 is the model's answer, however shifted
    >>> translation_scores(target, black, [5]).scores
    array([1.])
    """
    return augmentation_scores(
        target,
        pixels,
        labels,
        kind="translation",
        strengths=strengths,
        combine=combine,
        known=known,
        seed=seed,
        batch_size=batch_size,
    )


def rotation_scores(
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    strengths: float | Iterable[float] = 4,
    combine: Combine = "share",
    known: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> QueryScores:
    """Score the share of rotated copies of an image, itself included, whose predicted label is right.

    ``score = sum_k 1[f(x_k) = y] / N`` over the image and its rotations by plus and minus r degrees, for
    every r of `strengths` (Choquette-Choo et al. 2021, arXiv 2007.14321, section 4.2). See
    `augmentation_scores`.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((1, 28, 28, 1), np.uint8)
    >>> rotation_scores(target, black, [5], strengths=[4, 8]).queries  # the image, two rotations for each r
    array([5])
    """
    return augmentation_scores(
        target,
        pixels,
        labels,
        kind="rotation",
        strengths=strengths,
        combine=combine,
        known=known,
        seed=seed,
        batch_size=batch_size,
    )


def noise_scores(
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    strengths: float | Iterable[float] = 0.05,
    copies: int = 10,
    combine: Combine = "share",
    known: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> QueryScores:
    """Score the share of noisy copies of an image, itself included, whose predicted label is right.

    ``score = sum_k 1[f(x_k) = y] / N`` over the image and `copies` draws of Gaussian noise, for every
    standard deviation of `strengths`, in units of the range from black to white (Choquette-Choo et al. 2021,
    arXiv 2007.14321, section 4.3). See `augmentation_scores`.

    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((1, 28, 28, 1), np.uint8)
    >>> noise_scores(target, black, [0], strengths=1e-9, copies=3).scores  # too weak to change a grey level
    array([0.])
    """
    return augmentation_scores(
        target,
        pixels,
        labels,
        kind="noise",
        strengths=strengths,
        copies=copies,
        combine=combine,
        known=known,
        seed=seed,
        batch_size=batch_size,
    )


ATTACKS = (
    Attack(
        name="translation",
        run=translation_scores,
        summary="how many shifted copies of an image keep the right label",
        formula="share of the copies, the image included, whose predicted label is right",
        source="Choquette-Choo et al. 2021, section 4.2",
        needs=("labels",),
        cost=partial(count_queries, kind="translation"),
        score_answers=label_only_scores,
        labels_suffice=True,
        learns=True,
        minimum=0.0,
    ),
    Attack(
        name="rotation",
        run=rotation_scores,
        summary="how many rotated copies of an image keep the right label",
        formula="share of the copies, the image included, whose predicted label is right",
        source="Choquette-Choo et al. 2021, section 4.2",
        needs=("labels",),
        cost=partial(count_queries, kind="rotation"),
        score_answers=label_only_scores,
        labels_suffice=True,
        learns=True,
        minimum=0.0,
    ),
    Attack(
        name="noise",
        run=noise_scores,
        summary="how many noisy copies of an image keep the right label",
        formula="share of the copies, the image included, whose predicted label is right",
        source="Choquette-Choo et al. 2021, section 4.3",
        needs=("labels",),
        cost=partial(count_queries, kind="noise"),
        score_answers=label_only_scores,
        labels_suffice=True,
        learns=True,
        minimum=0.0,
    ),
)
