"""Augmentations by name: each on an image whose pixels differ, by hand and against SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from securitynet_hub.data.augmentations import VIEWS

IMAGE = [[1, 2, 3], [4, 5, 6]]
BY_HAND = {
    "identity": [[1, 2, 3], [4, 5, 6]],
    "mirror": [[3, 2, 1], [6, 5, 4]],
    "shift_up": [[4, 5, 6], [4, 5, 6]],
    "shift_down": [[1, 2, 3], [1, 2, 3]],
    "shift_left": [[2, 3, 3], [5, 6, 6]],
    "shift_right": [[1, 1, 2], [4, 4, 5]],
}
SHIFTS = {"shift_up": (-1, 0), "shift_down": (1, 0), "shift_left": (0, -1), "shift_right": (0, 1)}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    pixels = np.array(IMAGE, np.uint8)[None, :, :, None]
    assert VIEWS[name](pixels)[0, :, :, 0].tolist() == BY_HAND[name]


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_are_scipy_s_of_images_with_any_channels(name):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 7, 5, 3), dtype=np.uint8)
    expected = ndimage.shift(pixels, (0, *SHIFTS[name], 0), order=0, mode="nearest")
    assert np.array_equal(VIEWS[name](pixels), expected)


@pytest.mark.parametrize("name", VIEWS)
def test_shape_and_type_stay_and_the_pixels_are_left_alone(name):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 6, 4, 2), dtype=np.uint8)
    before = pixels.copy()
    pixels.flags.writeable = False
    changed = VIEWS[name](pixels)
    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize(("name", "back"), [("mirror", "mirror"), ("shift_up", "shift_down")])
def test_there_and_back_keeps_what_did_not_leave_the_image(name, back):
    pixels = np.random.default_rng(2).integers(0, 256, (2, 6, 4, 1), dtype=np.uint8)
    found = VIEWS[back](VIEWS[name](pixels))
    assert np.array_equal(found[:, 1:-1], pixels[:, 1:-1])
