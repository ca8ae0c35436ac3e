"""Images of many sizes, formats and modes through every preprocessing: its publisher's to the bit."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms as published
from securitynet_hub.loaders import timm as timm_loader
from securitynet_hub.loaders import torchvision as torchvision_loader
from support.pictures import drawn, pictures
from timm import get_pretrained_cfg, list_models
from timm.data import create_transform, resolve_data_config
from torchvision.models import get_weight
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.models.loading import find_loader


@pytest.fixture(name="pictures")
def _pictures():
    return pictures()


def require_equal(transform, theirs, pictures):
    for picture in pictures:
        inputs = transform(np.asarray(picture)[None])
        expected = theirs(picture)[None]
        assert inputs.dtype == expected.dtype
        assert torch.equal(inputs, expected), (picture.size, transform)


def composed(transform):
    """What a row's publisher writes out with torchvision, in its own words."""
    steps = []
    if transform.resize is not None:
        how = InterpolationMode(transform.interpolation)
        steps = [
            published.Resize(transform.resize, how),
            published.CenterCrop((transform.height, transform.width)),
        ]
    steps.append(published.ToTensor())
    if transform.mean is not None:
        steps.append(published.Normalize(transform.mean, transform.std))
    return published.Compose(steps)


def own(source):
    """The preprocessing of each row of a source without building its network, once each, with one row."""
    rows = [row for row in load_annotations("extended").values() if row.source == source]
    if source == "torchvision":
        return {
            torchvision_loader.preprocessing(get_weight(row.upstream_name).transforms()): row for row in rows
        }
    return {find_loader(source).preprocessing(row): row for row in rows}


class TestEveryRow:
    """All 1,037 rows: each combination of resize, crop, interpolation and values that occurs."""

    @pytest.mark.slow
    def test_torchvisions_presets(self, pictures):
        found = own("torchvision")
        assert len(found) > 10
        for place, (transform, row) in enumerate(found.items()):
            preset = get_weight(row.upstream_name).transforms()
            assert isinstance(preset, ImageClassification)
            require_equal(transform, preset, pictures[place % 5 :: 5])

    @pytest.mark.slow
    @pytest.mark.parametrize("source", ["pytorchcv", "robust_models_transfer", "package", "medmnist"])
    def test_sources_that_compose_torchvisions_steps(self, source, pictures):
        for place, transform in enumerate(own(source)):
            if transform.depth is None and transform.resize is not None:
                require_equal(transform, composed(transform), pictures[place % 5 :: 5])

    def test_sources_of_fixed_size(self):
        for source in ("pytorchcv", "medmnist", "adversary_loss_landscape"):
            for transform in own(source):
                if transform.depth is None and transform.resize is None:
                    picture = drawn(transform.height, transform.width)
                    require_equal(transform, composed(transform), [picture])

    def test_pytorchcv_resizes_as_imgclsmob(self):
        """``resize_value = ceil(side / factor)``, bilinear."""
        for transform in own("pytorchcv"):
            if transform.resize is not None:
                factor = find_loader("pytorchcv").CROPS.get(transform.height, 0.875)
                assert transform.resize == math.ceil(transform.height / factor)
                assert transform.interpolation == "bilinear"

    def test_medmnist_enlarges_each_pixel(self):
        picture = drawn(28, 28)
        large = [transform for transform in own("medmnist") if transform.height == 224]
        for transform in large:
            inputs = transform(np.asarray(picture)[None])
            repeated = np.asarray(picture).repeat(8, 0).repeat(8, 1)
            assert torch.equal(inputs[0], (published.functional.to_tensor(repeated) - 0.5) / 0.5)
        assert len(large) == 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (28, 32), (299, 299), (48, 100)])
def test_all_sizes_through_torchvisions_preset(resize, crop, interpolation, pictures):
    preset = ImageClassification(
        crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation)
    )
    require_equal(torchvision_loader.preprocessing(preset), preset, pictures)


def settings_of_timm():
    """Return what timm resolves for all of its pretrained models, each combination once, with one name."""
    found = {}
    for name in list_models(pretrained=True):
        settings = resolve_data_config({}, pretrained_cfg=get_pretrained_cfg(name).to_dict())
        found.setdefault(
            tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in settings.items())), name
        )
    return {name: dict(settings) for settings, name in found.items()}


@pytest.mark.slow
def test_every_combination_of_timms_pretrained_models(pictures):
    found = settings_of_timm()
    assert len(found) > 50
    assert {settings["crop_mode"] for settings in found.values()} >= {"center", "squash"}
    for place, (name, settings) in enumerate(found.items()):
        theirs = create_transform(**settings, is_training=False)
        require_equal(timm_loader.preprocessing(settings, name), theirs, pictures[place % 10 :: 10])


MODES = [
    ("center", 0.875, (3, 224, 224)), ("center", 1.0, (3, 64, 64)), ("center", 1.2, (3, 96, 96)),
    ("center", 0.9, (3, 64, 96)), ("center", 1.1, (3, 96, 64)), ("center", 0.95, (3, 256, 192)),
    ("squash", 1.0, (3, 224, 224)), ("squash", 0.9, (3, 96, 128)), ("squash", 1.25, (3, 64, 64)),
    ("border", 1.0, (3, 128, 128)), ("border", 0.9, (3, 128, 128)), ("border", 1.3, (3, 64, 96)),
    ("border", 0.8, (3, 96, 64)),
]  # fmt: skip


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"])
@pytest.mark.parametrize(("mode", "share", "size"), MODES)
def test_every_crop_mode_of_timm(mode, share, size, interpolation, pictures):
    settings = {
        "input_size": size,
        "interpolation": interpolation,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": share,
        "crop_mode": mode,
    }
    theirs = create_transform(**settings, is_training=False)
    transform = timm_loader.preprocessing(settings, "net")
    for picture in pictures[MODES.index((mode, share, size)) % 3 :: 3]:
        try:
            expected = theirs(picture)
        except ValueError:  # Pillow's, of an image that would become less than a pixel high
            with pytest.raises(ValueError, match="would be resized to"):
                transform(np.asarray(picture)[None])
        else:
            assert torch.equal(transform(np.asarray(picture)[None])[0], expected), picture.size
