"""Networks folded for speed and cut in two answer as before; what cannot be followed stays."""

import pytest
import torch
from torch import nn

from securitynet_hub.attacks.backdoor.distillation import DEEP, TAIL, answers, distil_twins
from securitynet_hub.attacks.backdoor.traced import cut_before, fused
from securitynet_hub.models.outputs import Classifier


class OwnConvolution(nn.Conv2d):
    """A convolution of a stranger's own making, which pads by itself."""

    def forward(self, images):
        return super().forward(nn.functional.pad(images, (1, 1, 1, 1)))


def block(stride):
    return nn.Sequential(
        nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6(),
        OwnConvolution(6, 6, 3, stride, groups=6, bias=False), nn.BatchNorm2d(6),
    )  # fmt: skip


class Deep(nn.Module):
    """Residual blocks, a head, and the number of images asked for at the start."""

    def __init__(self, blocks=9):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.blocks = nn.ModuleList([block(1 if k else 2) for k in range(blocks)])
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        count = images.size(0)
        seen = self.stem(images)
        for k, layers in enumerate(self.blocks):
            seen = layers(seen) + (seen if k else 0)
        return self.head(seen.mean((2, 3)).view(count, -1))


@pytest.fixture
def deep():
    torch.manual_seed(3)
    network = Deep().train()
    with torch.no_grad():
        network(torch.randn(32, 3, 15, 15))  # statistics that are none of the initial ones
    return network.eval().requires_grad_(False)


IMAGES = torch.randn(4, 3, 15, 15, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wrapped", [False, True])
def test_folded_networks_answer_and_slope_alike(deep, wrapped):
    network = Classifier(deep) if wrapped else deep
    found = fused(network, IMAGES[:2])
    assert found is not network
    assert not any(isinstance(part, nn.BatchNorm2d) for part in found.modules())
    assert not any(part.groups > 1 and part.stride[0] > 1 for part in found.modules()
                   if isinstance(part, nn.Conv2d))  # fmt: skip
    assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    slopes = []
    for each in (network, found):
        images = IMAGES.clone().requires_grad_()
        answered = each(images)
        slopes.append((answered.detach(), torch.autograd.grad(answered[:, 2].sum(), images)[0]))
    for mine, its in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_cut_network_answers_alike_for_any_number_of_images(deep, wrapped):
    network = Classifier(deep) if wrapped else deep
    kernels = [p for p in deep.parameters() if p.ndim > 1]
    found = cut_before(network, {id(p) for p in kernels[-TAIL:]}, IMAGES[:2])
    for images in (IMAGES, IMAGES[:1]):
        torch.testing.assert_close(found.tail(found.body(images)), network(images))
    held = [id(p) for p in found.tail.parameters() if p.ndim > 1]
    assert held == [id(p) for p in kernels[-TAIL:]]  # the head and the last block


class Fickle(nn.Module):
    """A network whose way depends on the images."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, images):
        if images.sum() > 0:
            return self.norm(self.convolution(images)).mean((2, 3))
        return self.convolution(images).mean((2, 3))


def test_what_cannot_be_followed_stays_as_it_is():
    network = Fickle().eval()
    assert fused(network, IMAGES) is network
    assert cut_before(network, {id(network.convolution.weight)}, IMAGES) is None
    plain = nn.Sequential(nn.Flatten(), nn.Linear(675, 4))
    assert cut_before(plain, set(), IMAGES) is None


def test_twins_of_a_deep_network_share_its_body(deep):
    assert sum(p.ndim > 1 for p in deep.parameters()) > DEEP
    images = torch.randn(60, 3, 15, 15)
    found = distil_twins(deep, images[:40], images[40:], number=2, passes=64)
    kernels = [p for p in deep.parameters() if p.ndim > 1]
    assert found.cut is not None
    assert len(found.tails) == 2
    for twin, tail in zip(found.modules, found.tails, strict=True):
        torch.testing.assert_close(answers(twin, images), answers(tail, answers(found.cut.body, images)),
                                   rtol=0.05, atol=0.05)  # fmt: skip
        own = [p for p in twin.parameters() if p.ndim > 1]
        same = [torch.equal(mine, its) for mine, its in zip(own, kernels, strict=True)]
        assert same == [True] * (len(kernels) - TAIL) + [False] * TAIL
