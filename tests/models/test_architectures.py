"""Networks for surrogates: from scratch or pre-trained, with another head."""

import numpy as np
import pytest
import torch

from securitynet_hub import load_target
from securitynet_hub.core.errors import ModelError
from securitynet_hub.engine.training import build_seeded
from securitynet_hub.models.architectures import architecture, with_head

ID = "zoo/fashion-mnist/bn-cnn-clean/1"
INPUTS = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return [key for key in one if torch.equal(one[key], other[key])] == list(one)


def test_from_scratch_is_drawn_by_the_seed():
    state = torch.get_rng_state()
    found = architecture(ID, 10)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.name == f"{ID}, from scratch"
    assert found.transform == load_target(ID).transform
    one, again, other = (build_seeded(found.build, seed) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)
    assert not same(one, load_target(ID).module)


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("classes", [4, 10])
def test_any_number_of_classes(pretrained, classes):
    found = architecture(ID, classes, pretrained=pretrained)
    assert build_seeded(found.build, 0).eval()(INPUTS).shape == (3, classes)


def test_pre_trained_keeps_all_but_the_head():
    found, known = architecture(ID, 10, pretrained=True), load_target(ID).module.state_dict()
    one, other = (build_seeded(found.build, seed).state_dict() for seed in (1, 2))
    head = [key for key in one if not torch.equal(one[key], known[key])]
    assert head == list(one)[-2:]
    assert not torch.equal(one[head[0]], other[head[0]])
    first = next(iter(one))
    one[first].zero_()  # a copy: the next is as before
    assert torch.equal(build_seeded(found.build, 1).state_dict()[first], known[first])


def test_a_file_of_one_s_own(tmp_path):
    module = load_target(ID).module
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    options = {"module": module, "transform": load_target(ID).transform}
    found = architecture(f"file:{tmp_path / 'mine.pth'}", 3, pretrained=True, **options)
    assert build_seeded(found.build, 0).eval()(INPUTS).shape == (3, 3)


def test_packaged_networks():
    pytest.importorskip("efficientnet_lite_pytorch")
    found = architecture("package/imagenet-1k/efficientnet_lite0", 10)
    with torch.device("meta"):
        module = found.build()
    assert list(module.parameters())[-1].shape == (10,)
    assert found.transform(np.zeros((1, 40, 40, 3), np.uint8)).shape == (1, 3, 224, 224)


def test_heads():
    convolution = torch.nn.Sequential(torch.nn.Conv2d(2, 5, 1, bias=False), torch.nn.Flatten())
    assert with_head(convolution, 3)(torch.zeros(1, 2, 1, 1)).shape == (1, 3)
    assert with_head(torch.nn.Linear(2, 5), 3).weight.shape == (3, 2)
    with pytest.raises(ModelError, match="which cannot be made for 3 classes"):
        with_head(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)), 3)
