"""A model that is spread over devices answers as before; there is no accelerator here, so CPU and disk."""

import gc

import numpy as np
import pytest

from securitynet_hub import load_images, load_target
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.device_maps import _blocks, find_devices, place
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.resnets import torchvision_resnet
from securitynet_hub.models.target import Target

PIXELS = load_images().pixels[:100]
ID = "zoo/fashion-mnist/bn-cnn-clean/1"


@pytest.mark.parametrize(
    ("memory", "devices"),
    [(0, {"disk"}), ("45KB", {"cpu", "disk"}), ("1GB", {"cpu"}), (None, {"cpu"})],
)
def test_answers_are_the_same_and_nothing_is_left(tmp_path, memory, devices):
    expected = predict(load_target(ID), PIXELS)
    target = load_target(ID)
    found = place(target, max_memory=None if memory is None else {"cpu": memory}, folder=tmp_path)
    assert set(found.values()) == devices
    assert find_devices(target.module) == ", ".join(sorted(devices))
    on_disk = {p.device.type for p in target.module.parameters()} >= {"meta"}
    assert on_disk == ("disk" in devices)
    assert len(list(tmp_path.iterdir())) == on_disk
    assert np.array_equal(predict(target, PIXELS), expected)
    del target
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_two_models_on_one_disk_keep_their_own_weights(tmp_path):
    ids = ("zoo/fashion-mnist/cnn-clean/1", "zoo/fashion-mnist/cnn-clean/2")
    targets = [load_target(id) for id in ids]
    for target in targets:
        place(target, max_memory={"cpu": 0}, folder=tmp_path)
    for id, target in zip(ids, targets, strict=True):
        assert np.array_equal(predict(target, PIXELS), predict(load_target(id), PIXELS))


def test_residual_blocks_are_not_torn(tmp_path):
    """What is added up in a block lies in one place, or its sum would fail.

    The whole network gets its channels last (`engine.memory_format`), one in parts does not: sums of another
    order, which float32 rounds otherwise.
    """
    transform = Transform(height=32, width=32, channels=3)
    network = torchvision_resnet("resnet18", 10).eval()
    assert _blocks(network) == {"Block"}
    target = Target(annotation=find_annotation(ID), module=network, transform=transform, num_classes=10)
    pixels = np.repeat(np.pad(PIXELS[:8], ((0, 0), (2, 2), (2, 2), (0, 0))), 3, 3)
    expected = predict(target, pixels)
    devices = place(target, max_memory={"cpu": "30MB"}, folder=tmp_path)
    assert set(devices.values()) == {"cpu", "disk"}
    assert "layer4.0" in devices or "layer4" in devices
    np.testing.assert_allclose(predict(target, pixels), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_an_unknown_device_or_size_is_refused():
    for memory in ({"cpu": "much"}, {7_000: "1GB"}, {"gpu": "1GB"}):
        with pytest.raises(ValueError, match="max_memory must give sizes"):
            place(load_target(ID), max_memory=memory)
