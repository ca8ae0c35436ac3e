"""Common corruptions: strength, determinism, and the mean with its interval."""

import numpy as np
import pytest

from securitynet_hub import audit, load_images
from securitynet_hub.attacks.evasion.corrupting import CORRUPTIONS, SEVERITIES, change_of, corrupt
from securitynet_hub.core.errors import UnknownNameError

ID = "zoo/fashion-mnist/cnn-clean/1"
GREY = load_images().pixels[2000:2008]
COLOUR = np.stack(
    [np.kron(GREY[i : i + 3, :, :, 0], np.ones((1, 2, 2), np.uint8)) for i in range(4)]
).transpose(0, 2, 3, 1)
each_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


@each_corruption
def test_it_keeps_the_form_and_grows_with_severity(name):
    for images in (GREY, COLOUR):
        before = images.copy()
        moved = []
        for severity in SEVERITIES[::2]:
            changed = change_of(name, severity, 0)(images)
            assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
            moved.append(np.abs(changed.astype(float) - images).mean())
        np.testing.assert_array_equal(images, before)
        assert moved[0] > 0
        assert moved[-1] > 1.2 * moved[0]


@each_corruption
def test_it_depends_on_seed_and_image_alone(name):
    one = corrupt(COLOUR[1], name, 3, seed=5)
    np.testing.assert_array_equal(change_of(name, 3, 5)(COLOUR)[1], one)
    drawn = name in ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "snow", "fog", "elastic")
    assert np.array_equal(corrupt(COLOUR[1], name, 3, seed=6), one) != drawn


def test_oblong_images_and_other_channels():
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 2), dtype=np.uint8)
    for name in CORRUPTIONS:
        assert corrupt(image, name, 5).shape == image.shape


def test_noise_and_contrast_by_hand():
    grey = np.full((200, 200, 1), 128, np.uint8)
    noisy = corrupt(grey, "gaussian_noise", 1).astype(float)
    assert noisy.std() == pytest.approx(0.08 * 255, rel=0.02)
    hit = corrupt(grey, "impulse_noise", 5)
    assert (hit != 128).mean() == pytest.approx(0.27, abs=0.01)
    halves = grey.copy()
    halves[:100] = 28
    assert np.unique(corrupt(halves, "contrast", 3)).tolist() == [68, 88]  # a fifth of the distance to 78
    assert np.unique(corrupt(grey, "brightness", 1)).tolist() == [154]


def test_the_mean_is_that_of_its_parts_and_the_audit_is_repeatable():
    few = {"common_corruptions": {"corruptions": ["contrast", "gaussian_noise"], "severities": [1, 5]}}
    first, second = (
        audit(ID, attacks="common_corruptions", settings=few, robust_images=60)[0] for _ in range(2)
    )
    assert first.result == second.result
    result = first.result
    rates = [rate for each in result["corruptions"] for rate in each["per_severity"]]
    assert result["corruption_accuracy"] == pytest.approx(np.mean(rates))
    low, high = result["corruption_accuracy_ci"]
    assert low < result["corruption_accuracy"] < high
    assert first.counts["forwarded"] == 60 * 5


def test_refusals():
    with pytest.raises(UnknownNameError, match="'contrast'"):
        corrupt(GREY[0], "contrasts", 1)
    with pytest.raises(ValueError, match="severity must be"):
        corrupt(GREY[0], "contrast", 6)
    with pytest.raises(ValueError, match="severities must be"):
        audit(ID, attacks="common_corruptions", settings={"common_corruptions": {"severities": []}})
