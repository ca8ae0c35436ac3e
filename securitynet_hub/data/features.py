"""Describe images by a few numbers, for attacks that compare a sample with similar ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores

SIDE = 16
"""Cells of the grid along each side of an image."""

COMPONENTS = 16


def grid_means(pixels: npt.NDArray[Any]) -> Scores:
    """Average each channel of each image over the cells of a grid of at most 16 x 16.

    Args:
        pixels: shape (n, height, width, channels).

    Returns:
        Shape (n, rows, columns, channels), float64; the means of means are the same.

    >>> grid_means(np.arange(32.0).reshape(1, 32, 1, 1))[0, :3, 0, 0]
    array([0.5, 2.5, 4.5])
    """
    grids = np.asarray(pixels, np.float64)
    for axis in (1, 2):
        side = grids.shape[axis]
        edges = np.linspace(0, side, min(SIDE, side) + 1).astype(np.int64)
        sizes = np.diff(edges).reshape([-1 if axis == each else 1 for each in range(4)])
        grids = np.add.reduceat(grids, edges[:-1], axis) / sizes
    return grids


def image_features(
    pixels: npt.NDArray[Any], labels: npt.ArrayLike, *, components: int = COMPONENTS
) -> Scores:
    """Describe each image by its principal components and its label.

    Each channel of an image is averaged over the cells of a grid of at most 16 x 16. The first columns are
    the image's coordinates along the leading eigenvectors of the grids' covariance over all images, largest
    variance first. Then follows one column per class: 1 for the image's label, 0 for the other classes.
    Membership is not used.

    Args:
        pixels: shape (n, height, width, channels).
        labels: shape (n,), integers.
        components: number of coordinates; fewer if there are fewer cells.

    Returns:
        Shape (n, components + classes that occur), float64.

    Raises:
        ValueError: pixels are not images, or there is not one label for each.

    >>> pixels = np.zeros((3, 2, 2, 1))
    >>> pixels[1] = 4  # four equal cells: the images lie on one line, 8 / 3 from their mean
    >>> image_features(pixels, [0, 1, 1], components=1).round(2)
    array([[-2.67,  1.  ,  0.  ],
           [ 5.33,  0.  ,  1.  ],
           [-2.67,  0.  ,  1.  ]])
    """
    classes = np.asarray(labels)
    if pixels.ndim != 4 or not pixels.size or classes.shape != pixels.shape[:1]:
        raise ValueError(
            "pixels must be images of shape (n, height, width, channels), at least one, and labels one for "
            f"each; got {pixels.shape} and {classes.shape}."
        )
    grids = grid_means(pixels)
    cells = grids.reshape(len(grids), -1)
    cells = cells - cells.mean(0)
    directions = np.linalg.eigh(cells.T @ cells)[1][:, ::-1][:, :components]
    # The sign of an eigenvector is arbitrary: choose it so that the largest entry is positive.
    largest = directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])]
    one_hot = classes[:, None] == np.unique(classes)
    return np.concatenate([cells @ (directions * np.sign(largest)), one_hot], axis=1)
