"""Activation clustering: the poisoned images of a class form a cluster of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_pixels
from securitynet_hub.attacks.backdoor.needs import FROM_TRAINING
from securitynet_hub.attacks.backdoor.representations import penultimate
from securitynet_hub.core.arrays import Scores
from securitynet_hub.engine.inference import BATCH_SIZE, as_images
from securitynet_hub.models.target import Target

NUM_COMPONENTS = 10


class ClassClusters(NamedTuple):
    """The two clusters of the images with one label.

    Attributes:
        label: the label.
        n: number of images.
        smaller_share: share of the images in the smaller cluster; None for fewer than 3 images or identical
            activations.
        silhouette: mean silhouette of both clusters, -1..1, higher = further apart; None likewise.
    """

    label: int
    n: int
    smaller_share: float | None
    silhouette: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationClusters:
    """What `activation_clusters` found.

    Attributes:
        scores: shape (n,), float64 within -1..1, higher = more likely poisoned.
        classes: one for each label that occurs, ascending.
    """

    scores: Scores = field(repr=False)
    classes: tuple[ClassClusters, ...]


def activation_clusters(
    target: Target,
    images: Any,
    labels: npt.ArrayLike,
    *,
    num_components: int = NUM_COMPONENTS,
    whiten: bool = True,
    batch_size: int = BATCH_SIZE,
) -> ActivationClusters:
    """Split each label's training images into two clusters of activations; score each image by its cluster.

    Chen et al. 2018 (arXiv 1811.03728), algorithms 1 and 2: the penultimate activations of the images
    **labelled** c are reduced to `num_components` independent components of unit variance and split by
    2-means. With a(i) an image's mean distance to its own cluster and b(i) to the other (Rousseeuw 1987),

        s_i = +-(b(i) - a(i)) / max(a(i), b(i)),      + in the smaller cluster, - in the larger.

    The authors call a class poisoned if its smaller cluster holds less than about a third of the images, or
    if the mean silhouette is high; both are returned. Independent components equal whitened principal
    components up to a rotation, which changes neither 2-means nor distances, so principal components are
    used. 2-means starts from the two sides of each component in turn, and the best result is taken: neither
    chance nor the order of the images decides. Images of two equally large clusters score 0, as do those of a
    class with fewer than 3 images. Where the poisoned images are the majority of their class, the sign is
    wrong.

    It sends one query for each image.

    Args:
        target: a classifier trained on these images, whose layers are available.
        images: the training set, or a part of it, shape (n, height, width[, channels]), uint8.
        labels: shape (n,), the labels that the classifier was trained with.
        num_components: maximum number; the activations of a class may have fewer.
        whiten: scale the components to unit variance, as the authors do. With a few dozen images of a class
            most components are noise then, and fewer or unscaled components separate better.
        batch_size: images in one forward pass.

    Returns:
        Each image's score, higher = more likely poisoned, and the clusters of each label.

    Raises:
        ModelError: the network has no layer with parameters.
        ValueError: images or labels are missing, misaligned or of another kind.

    >>> from securitynet_hub import load_images, load_target
    >>> target, images = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images()
    >>> found = activation_clusters(target, images.pixels[:200], images.labels[:200])
    >>> len(found.classes), found.scores.shape
    (10, (200,))
    """
    from sklearn.metrics import silhouette_samples  # slow to import

    if num_components < 1:
        raise ValueError(f"num_components must be at least 1; got {num_components!r}.")
    pixels, given_labels = as_images(target, as_pixels(target, images, "images"), labels)
    activations = penultimate(target, pixels, batch_size=batch_size).astype(np.float64)
    scores, classes = np.zeros(len(pixels)), []
    for label in np.unique(given_labels):
        own = np.flatnonzero(given_labels == label)
        components = principal_components(activations[own], num_components, whiten=whiten)
        share = silhouette = None
        if components.shape[1] and len(own) > 2:
            clusters = two_means(components)
            samples = silhouette_samples(components, clusters)
            sizes = np.bincount(clusters)
            share, silhouette = float(sizes.min() / len(own)), float(samples.mean())
            signs = np.sign(sizes[::-1] - sizes)  # + where the other cluster is larger
            scores[own] = signs[clusters] * samples
        classes.append(ClassClusters(int(label), len(own), share, silhouette))
    return ActivationClusters(scores=scores, classes=tuple(classes))


def activation_clustering_scores(
    target: Target, images: Any, labels: npt.ArrayLike, **settings: Any
) -> Scores:
    """Return the scores of `activation_clusters` alone, shape (n,), higher = more likely poisoned."""
    return activation_clusters(target, images, labels, **settings).scores


def principal_components(
    activations: npt.NDArray[np.float64], num_components: int, *, whiten: bool = False
) -> npt.NDArray[np.float64]:
    """Return the first principal components with a variance above 0, shape (n, components).

    >>> principal_components(np.array([[0.0, 7.0], [4.0, 7.0]]), 10).shape
    (2, 1)
    """
    left, values, _ = np.linalg.svd(activations - activations.mean(0), full_matrices=False)
    count = min(num_components, int((values > 1e-6 * values[0]).sum()))
    scale = np.sqrt(len(activations)) if whiten else values[:count]
    components: npt.NDArray[np.float64] = left[:, :count] * scale
    return components


def two_means(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Split centred points into two clusters, shape (n,): the best of 2-means started along each axis.

    >>> two_means(np.array([[-3.0], [1.0], [2.0]])).tolist() in ([0, 1, 1], [1, 0, 0])
    True
    """
    from sklearn.cluster import KMeans  # slow to import

    sides = (points[:, axis] > 0 for axis in range(points.shape[1]))
    starts = (np.stack([points[side].mean(0), points[~side].mean(0)]) for side in sides)
    best = min(
        (KMeans(2, init=start, n_init=1).fit(points) for start in starts), key=lambda run: run.inertia_
    )
    clusters: npt.NDArray[np.int64] = best.labels_
    return clusters


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `activation_clusters` on the training images."""
    found = activation_clusters(target, given(inputs.training), given(inputs.labels), **settings)
    return Finding(scores=found.scores, figures={"clusters": [each._asdict() for each in found.classes]})


ATTACK = Attack(
    name="activation_clustering",
    run=run,
    configured_by=activation_clusters,
    summary="training images whose activations form a cluster apart from their class",
    formula="silhouette of the image, positive in the smaller of two clusters",
    source="Chen et al. 2018, algorithms 1 and 2",
    needs=FROM_TRAINING,
    judges="training",
)
