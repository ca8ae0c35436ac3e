"""Query images: shapes and seeds, Pillow's resizing, every image once."""

import numpy as np
import pytest
from PIL import Image

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.query_images import QUERY_IMAGES, fit_pixels, query_images, transfer_set

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", QUERY_IMAGES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 24, 3)])
def test_every_source_gives_distinct_images_that_the_seed_decides(name, shape):
    one, same, other = (query_images(name, 30, shape, seed=seed) for seed in (1, 1, 2))
    assert one.shape == (30, *shape)
    assert one.dtype == np.uint8
    assert len({image.tobytes() for image in one}) == 30
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.std() > 20


def test_all_digits_and_no_more():
    digits = query_images("digits", 1797, (8, 8, 1))
    assert digits.max() == 255
    assert len({image.tobytes() for image in digits}) == 1797
    with pytest.raises(ValueError, match=r"n must lie in 0\.\.1797"):
        query_images("digits", 1798, (8, 8, 1))


class TestFit:
    def test_as_pillow_does(self):
        pixels = RNG.integers(0, 256, (2, 9, 14, 3), dtype=np.uint8)
        for height, width in ((4, 4), (20, 20), (9, 20)):
            expected = [Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR) for p in pixels]
            np.testing.assert_array_equal(fit_pixels(pixels, (height, width, 3)), np.stack(expected))

    def test_channels(self):
        colours = RNG.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
        grey = fit_pixels(colours, (5, 5, 1))
        pillow = np.stack([Image.fromarray(p).convert("L") for p in colours])
        assert np.abs(grey[..., 0].astype(int) - pillow).max() <= 1  # Pillow rounds the weights
        repeated = fit_pixels(grey, (5, 5, 3))
        np.testing.assert_array_equal(repeated, np.repeat(grey, 3, axis=3))

    def test_what_fits_is_left(self):
        pixels = RNG.integers(0, 256, (2, 5, 5, 1), dtype=np.uint8)
        np.testing.assert_array_equal(fit_pixels(pixels, (5, 5, 1)), pixels)

    @pytest.mark.parametrize("pixels", [np.zeros((2, 5, 5, 2), np.uint8), np.zeros((2, 5, 5, 1))])
    def test_refusals(self, pixels):
        with pytest.raises(ValueError, match="pixels must be uint8"):
            fit_pixels(pixels, (5, 5, 1))


class TestTransferSet:
    SOURCES = tuple(np.full((30, 4, 4, 1), value, np.uint8) for value in (0, 100, 200))

    def test_each_image_once_from_all_sources_alike(self):
        numbered = [np.arange(10 * k, 10 * k + 10, dtype=np.uint8).reshape(10, 1, 1, 1) for k in range(3)]
        assert sorted(transfer_set(30, numbered, (1, 1, 1)).ravel().tolist()) == list(range(30))
        shares = [(transfer_set(45, self.SOURCES, (4, 4, 1), seed=s) == 0).mean() for s in range(40)]
        assert np.mean(shares) == pytest.approx(1 / 3, abs=0.03)

    def test_too_many(self):
        with pytest.raises(ValueError, match=r"0\.\.90"):
            transfer_set(91, self.SOURCES, (4, 4, 1))


def test_an_unknown_source():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        query_images("digit", 1, (8, 8, 1))
