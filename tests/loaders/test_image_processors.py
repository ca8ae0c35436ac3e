"""What image processors of transformers feed a loaded model, beside what they make of the picture itself."""

import json

import numpy as np
import pytest
import torch
from securitynet_hub.loaders.transformers import Processor
from support.pictures import pictures
from transformers.models.auto.image_processing_auto import AutoImageProcessor

SQUARE = {"height": 48, "width": 48}
PROCESSORS = {
    "squashed": {"type": "ViT", "size": {"height": 96, "width": 96}},
    "squashed-to-no-square": {"type": "ViT", "size": {"height": 96, "width": 64}},
    "lanczos": {"type": "ViT", "size": SQUARE, "resample": 1},
    "not-rescaled": {"type": "ViT", "size": SQUARE, "do_rescale": False},
    "not-normalised": {"type": "ViT", "size": SQUARE, "do_normalize": False},
    "small-convnext": {"type": "ConvNext", "size": {"shortest_edge": 64}},
    "large-convnext": {"type": "ConvNext", "size": {"shortest_edge": 384}},
    "bit": {"type": "Bit", "size": {"shortest_edge": 64}, "crop_size": SQUARE},
    "crop-larger-than-the-picture": {
        "type": "Bit", "size": {"shortest_edge": 40}, "crop_size": SQUARE,
    },
    "clip": {"type": "CLIP", "size": {"shortest_edge": 64}, "crop_size": SQUARE},
    "deit": {"type": "DeiT", "size": {"height": 64, "width": 64}, "crop_size": SQUARE},
    "offset": {"type": "EfficientNet", "size": SQUARE, "rescale_offset": True},
    "levit": {"type": "Levit", "size": {"shortest_edge": 56}, "crop_size": SQUARE},
    "blue-first": {
        "type": "MobileViT", "size": {"shortest_edge": 56}, "crop_size": SQUARE,
    },
    "poolformer": {"type": "PoolFormer", "crop_size": SQUARE, "crop_pct": 0.9},
    "beit": {"type": "Beit", "size": SQUARE, "do_center_crop": False},
}  # fmt: skip


@pytest.fixture(name="pictures")
def _pictures():
    return pictures()


@pytest.mark.parametrize("name", PROCESSORS)
def test_inputs_are_those_of_the_picture_to_the_bit(name, tmp_path, pictures):
    settings = {"image_processor_type": f"{PROCESSORS[name]['type']}ImageProcessor", **PROCESSORS[name]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    transform = Processor(processor, (96, 96, 3))
    for picture in pictures[list(PROCESSORS).index(name) % 3 :: 3]:
        expected = processor(images=picture, return_tensors="pt")["pixel_values"]
        inputs = transform(np.asarray(picture)[None])
        assert inputs.dtype == torch.float32
        assert inputs.shape[2:] == transform.shape[:2]
        assert torch.equal(inputs, expected.float()), picture.size
    assert transform.as_dict()["backend"] == "pil"


@pytest.mark.parametrize("name", PROCESSORS)
def test_resize_and_crop_can_be_done_apart(name, tmp_path, pictures):
    """For attacks that change pixels: the same part of the picture, at the network's size."""
    settings = {"image_processor_type": f"{PROCESSORS[name]['type']}ImageProcessor", **PROCESSORS[name]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    transform = Processor(AutoImageProcessor.from_pretrained(tmp_path, backend="pil"), (96, 96, 3))
    crop, rest = transform.divided()
    for picture in pictures[list(PROCESSORS).index(name) % 5 :: 5]:
        pixels = np.asarray(picture)[None]
        sized = crop(pixels)
        assert (sized.dtype, sized.shape[1:]) == (np.uint8, transform.shape)
        assert torch.equal(rest(sized), transform(pixels))
    if "squashed" in name:  # the whole picture
        height, width, _ = transform.shape
        whole = pictures[-1].resize((width, height), 2)
        assert np.array_equal(crop(np.asarray(pictures[-1])[None])[0], np.asarray(whole))
