"""What images look like, in a few numbers: for attacks that compare a sample with others that look alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores

SIDE = 16
"""Cells of the grid along each side of an image."""

COMPONENTS = 16


def image_features(
    pixels: npt.NDArray[Any], labels: npt.ArrayLike, *, components: int = COMPONENTS
) -> Scores:
    """Describe each image by the directions in which these images differ most, and by its label.

    An image is averaged over the cells of a grid of 16 x 16 or fewer, each channel by itself. The columns are
    its coordinates along the leading eigenvectors of the grids' covariance over all images, those of most
    variance first, and then 1 for its label and 0 for the others. Nobody's membership is asked for.

    Args:
        pixels: shape (n, height, width, channels).
        labels: shape (n,), integers.
        components: how many coordinates; fewer where there are fewer cells.

    Returns:
        Shape (n, components + labels that occur), float64.

    Raises:
        ValueError: pixels are no images, or labels not one for each.

    >>> pixels = np.zeros((3, 2, 2, 1))
    >>> pixels[1] = 4  # of four equal cells, so that the images lie along one line, 8 / 3 from the middle ...
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
    grids = np.asarray(pixels, np.float64)
    for axis in (1, 2):
        side = grids.shape[axis]
        edges = np.linspace(0, side, min(SIDE, side) + 1).astype(np.int64)
        sizes = np.diff(edges).reshape([-1 if axis == each else 1 for each in range(4)])
        grids = np.add.reduceat(grids, edges[:-1], axis) / sizes
    cells = grids.reshape(len(grids), -1)
    cells = cells - cells.mean(0)
    directions = np.linalg.eigh(cells.T @ cells)[1][:, ::-1][:, :components]
    # An eigenvector has no sign of its own: its largest entry is to be positive.
    largest = directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])]
    one_hot = classes[:, None] == np.unique(classes)
    return np.concatenate([cells @ (directions * np.sign(largest)), one_hot], axis=1)
