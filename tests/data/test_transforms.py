import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from securitynet_hub.data.transforms import Transform

# Centres of the image below, resized by Pillow 13.0.0.
RESIZED = json.loads((Path(__file__).with_name("pillow_resized.json")).read_text())


def image(height, width):
    i, j, c = np.mgrid[:height, :width, :3]
    return ((7 * i * i + 13 * j * (1 + c) + 50 * c + i * j % 17 * 9) % 256).astype(np.uint8)


INTERPOLATIONS = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


def scaled(pixels):
    return torch.from_numpy(np.moveaxis(pixels, -1, 0)[None].astype(np.float32)) / 255


def pixels_of(tensor):
    return tensor[0].permute(1, 2, 0).numpy() * 255


class TestResize:
    @pytest.mark.parametrize(
        "case", RESIZED, ids=lambda c: f"{c['height']}-{c['resize']}-{c['interpolation']}"
    )
    def test_is_pillows_to_one_grey_level(self, case):
        side = len(case["crop"])
        transform = Transform(
            height=side,
            width=side,
            channels=3,
            resize=case["resize"],
            interpolation=case["interpolation"],
        )
        resized = pixels_of(transform(image(case["height"], case["width"])[None]))
        assert np.abs(resized - case["crop"]).max() < (0.01 if case["interpolation"] == "nearest" else 1.01)

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize(
        ("height", "width", "size"), [(500, 333, 256), (64, 300, 40), (31, 31, 224), (256, 257, 256)]
    )
    def test_is_the_installed_pillows_to_the_bit(self, height, width, size, interpolation):
        columns, rows = (int(size * side / min(height, width)) for side in (width, height))
        whole = Image.fromarray(image(height, width)).resize(
            (columns, rows), Image.Resampling[interpolation.upper()]
        )
        top, left = round((rows - 32) / 2), round((columns - 32) / 2)
        transform = Transform(height=32, width=32, channels=3, resize=size, interpolation=interpolation)
        crop = np.asarray(whole)[top : top + 32, left : left + 32]
        assert torch.equal(transform(image(height, width)[None]), scaled(crop))

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    def test_grey_and_other_channels_are_resized_one_by_one(self, interpolation):
        pixels = np.concatenate([image(50, 31), image(31, 50).transpose(1, 0, 2)], -1)
        how = Image.Resampling[interpolation.upper()]
        each = [np.asarray(Image.fromarray(pixels[..., c]).resize((20, 24), how)) for c in range(6)]
        for channels in (1, 4, 6):
            transform = Transform(
                height=24, width=20, channels=channels, resize=(24, 20), interpolation=interpolation
            )
            expected = scaled(np.stack(each[:channels], -1))
            assert torch.equal(transform(pixels[None, ..., :channels]), expected)

    @pytest.mark.parametrize("size", [8, 24])
    def test_with_gradients_an_edge_does_not_overshoot_either(self, size):
        """Bicubic weights are negative in places: beside an edge a pixel would be blacker than black."""
        transform = Transform(height=size, width=size, channels=1, resize=size, interpolation="bicubic")
        edge = np.zeros((1, 16, 16, 1), np.uint8)
        edge[:, :, 8:] = 255
        found = transform.differentiable(torch.from_numpy(np.moveaxis(edge, -1, 1).astype(np.float32)))
        assert (found.min(), found.max()) == (0, 1)
        torch.testing.assert_close(found, transform(edge), atol=1.01 / 255, rtol=0)

    def test_the_shorter_side_counts_and_the_centre_stays(self):
        pixels = np.zeros((1, 8, 16, 1), np.uint8)
        pixels[:, :, 4:12] = 255
        transform = Transform(height=4, width=4, channels=1, resize=4, interpolation="nearest")
        assert torch.equal(transform(pixels), torch.ones(1, 1, 4, 4))

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    @pytest.mark.parametrize(("height", "width"), [(100, 41), (20, 90), (48, 40)])
    def test_both_sides_are_brought_to_a_pair(self, height, width, interpolation):
        how = Image.Resampling[interpolation.upper()]
        whole = np.asarray(Image.fromarray(image(height, width)).resize((40, 48), how))
        transform = Transform(height=46, width=30, channels=3, resize=(48, 40), interpolation=interpolation)
        assert torch.equal(transform(image(height, width)[None]), scaled(whole[1:47, 5:35]))

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("resize", [9, (7, 12)])
    @pytest.mark.parametrize("fit", ["stretch", "cover", "contain"])
    def test_with_gradients_it_is_the_same_but_for_rounding(self, interpolation, resize, fit):
        """Smooth images: Pillow rounds to whole levels after each of the two passes."""
        i, j = np.mgrid[:17, :13]
        pixels = (120 + 60 * np.sin(i / 3) * np.cos(j / 4))[None, ..., None].astype(np.uint8)
        transform = Transform(
            height=8,
            width=10,
            channels=3,
            resize=resize,
            fit=fit,
            interpolation=interpolation,
            fill=(9, 90, 200),
        )
        exact = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2).requires_grad_()
        found = transform.differentiable(exact)
        torch.testing.assert_close(found.detach(), transform(pixels), atol=2.01 / 255, rtol=0)
        found.sum().backward()
        assert exact.grad.count_nonzero()

    def test_a_pair_keeps_nothing_of_the_shape(self):
        pixels = np.zeros((1, 2, 8, 1), np.uint8)
        pixels[:, :, 4:] = 255
        transform = Transform(height=4, width=4, channels=1, resize=(4, 4), interpolation="nearest")
        assert torch.equal(transform(pixels), torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 4, 4))

    def test_each_pixel_is_repeated_from_28_to_224(self):
        pixels = image(28, 28)
        transform = Transform(height=224, width=224, channels=3, resize=224, interpolation="nearest")
        assert np.allclose(pixels_of(transform(pixels[None])), pixels.repeat(8, 0).repeat(8, 1), atol=0.01)

    def test_an_image_of_the_right_size_is_only_cropped(self):
        pixels = image(6, 9)
        transform = Transform(height=4, width=4, channels=3, resize=6)
        assert np.allclose(pixels_of(transform(pixels[None])), pixels[1:5, 2:6], atol=0.01)


class TestChannels:
    def test_grey_is_repeated(self):
        transform = Transform(height=2, width=2, mean=(0.0, 0.0, 0.5), std=(1.0, 0.5, 1.0))
        inputs = transform(np.full((1, 2, 2, 1), 51, np.uint8))
        assert torch.allclose(inputs[0, :, 0, 0], torch.tensor([0.2, 0.4, -0.3]))

    def test_no_mean_and_std_leave_the_unit_interval(self):
        inputs = Transform(height=1, width=2, channels=1)(np.array([[[[0], [255]]]], np.uint8))
        assert inputs.flatten().tolist() == [0, 1]

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"channels": 3, "mean": (0.5,)},
            {"channels": 3, "mean": (0.5, 0.5)},
            {"mean": (0.5,), "std": (1, 1)},
        ],
    )
    def test_disagreement_is_refused(self, options):
        with pytest.raises(ValueError, match="agree on the number of channels"):
            Transform(height=1, width=1, **options)


class TestVolumes:
    TRANSFORM = Transform(depth=2, height=3, width=4, channels=3, factor=0.5)

    def test_axes_and_factor(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4, 1)
        inputs = self.TRANSFORM(pixels)
        assert self.TRANSFORM.shape == (2, 3, 4, 3)
        assert inputs.shape == (1, 3, 2, 3, 4)
        assert torch.allclose(inputs[0, 1], torch.arange(24.0).reshape(2, 3, 4) / 510)

    @pytest.mark.parametrize(
        "shape", [(2, 3, 4, 1), (1, 2, 3, 5, 1), (1, 2, 3, 4, 2), (1, 3, 4, 3), (1, 2, 3, 4)]
    )
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"depth, height, width and channels \(2, 3, 4, 3\)"):
            self.TRANSFORM(np.zeros(shape, np.uint8))

    def test_they_are_not_resized(self):
        with pytest.raises(ValueError, match="resize needs images without depth"):
            Transform(depth=2, height=2, width=2, channels=1, resize=2)


@pytest.mark.parametrize("shape", [(1, 0, 5, 3), (1, 5, 5, 2), (1, 5, 5), (5, 5, 3), ()])
def test_what_cannot_be_resized_is_refused(shape):
    with pytest.raises(ValueError, match="images of any size and 3 channels"):
        Transform(height=4, width=4, channels=3, resize=4)(np.zeros(shape, np.uint8))


class TestPadding:
    """What is smaller than the network's input is laid on its middle, the odd pixel right and below."""

    def test_a_crop_larger_than_the_resized_image_is_padded(self):
        transform = Transform(height=4, width=5, channels=1, resize=2, fill=51)
        inputs = transform(np.full((1, 1, 1, 1), 255, np.uint8))
        expected = torch.full((4, 5), 0.2)
        expected[1:3, 1:3] = 1
        assert torch.equal(inputs[0, 0], expected)

    def test_the_whole_picture_is_contained(self):
        pixels = image(3, 12)
        transform = Transform(height=6, width=6, channels=3, resize=(6, 6), fit="contain", fill=(0, 51, 102))
        inputs = transform(pixels[None])
        halved = np.asarray(Image.fromarray(pixels).resize((6, 2), Image.Resampling.BILINEAR))
        assert torch.equal(inputs[:, :, 2:4], scaled(halved))
        assert torch.allclose(inputs[0, :, 0, 0], torch.tensor([0, 0.2, 0.4]))

    def test_grey_images_are_padded_with_colours(self):
        transform = Transform(height=2, width=2, channels=3, resize=(2, 2), fit="contain", fill=(0, 51, 102))
        inputs = transform(np.full((1, 1, 2, 1), 255, np.uint8))
        assert torch.equal(inputs[0, :, 0], torch.ones(3, 2))
        assert torch.allclose(inputs[0, :, 1, 0], torch.tensor([0, 0.2, 0.4]))

    @pytest.mark.parametrize(("fit", "sides"), [("cover", (8, 16)), ("contain", (4, 8))])
    def test_the_shape_is_kept(self, fit, sides):
        pixels = image(30, 60)
        transform = Transform(height=8, width=8, channels=3, resize=(8, 8), fit=fit)
        whole = np.asarray(Image.fromarray(pixels).resize(sides[::-1], Image.Resampling.BILINEAR))
        square = np.zeros((8, 8, 3), np.uint8)
        if fit == "cover":
            square[:] = whole[:, 4:12]
        else:
            square[2:6] = whole
        assert torch.equal(transform(pixels[None]), scaled(square))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((1, 1, 9000, 3), {"resize": 256}), ((1, 1, 90, 3), {"resize": (4, 4), "fit": "contain"})],
)
def test_a_line_of_pixels_that_no_size_fits_is_refused(shape, options):
    with pytest.raises(ValueError, match=r"an image of 1 x 9\S* pixels would be resized to"):
        Transform(height=4, width=4, channels=3, **options)(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("name", "value"), [("interpolation", "cubic"), ("fit", "crop")])
def test_unknown_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be one of .*got '{value}'"):
        Transform(height=4, width=4, channels=3, **{name: value})


def test_no_images_give_no_inputs():
    transform = Transform(height=4, width=4, channels=3, resize=4)
    assert transform(np.zeros((0, 6, 6, 3), np.uint8)).shape == (0, 3, 4, 4)


def test_the_pixels_are_left_as_they_were():
    pixels = np.full((2, 4, 4, 3), 7, np.uint8)
    pixels.flags.writeable = False
    Transform(height=4, width=4, mean=(1.0, 1.0, 1.0), resize=4)(pixels)
    Transform(height=2, width=2, mean=(1.0, 1.0, 1.0), resize=3)(pixels)
    assert (pixels == 7).all()


@pytest.mark.parametrize("resize", [3, (3, 4)])
def test_a_record_can_tell_it(resize):
    transform = Transform(height=2, width=2, mean=(0.5,), std=(0.5,), resize=resize, fill=(3,))
    assert Transform(**json.loads(json.dumps(transform.as_dict()), object_hook=_tuples)) == transform


def _tuples(fields):
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


@pytest.mark.parametrize("resize", [None, 8])
def test_channels_that_come_first_are_told(resize):
    transform = Transform(height=8, width=8, channels=3, resize=resize)
    with pytest.raises(
        ValueError, match=r"\(3, 8, 8\)\. Channels come last: pixels\.transpose\(0, 2, 3, 1\)"
    ):
        transform(np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)\.$"):
        transform(np.zeros((2, 4, 4, 2), np.uint8))
