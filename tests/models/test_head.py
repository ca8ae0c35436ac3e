"""The head is found wherever it stands, in either orientation, and as it multiplies."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from securitynet_hub.models.head import find_head

SHAPE = (8, 8, 3)


class Cosine(nn.Module):
    """Normalised features times normalised columns, scaled, as in LDAM-DRW."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3)
        self.matrix = nn.Parameter(torch.randn(6, 5))

    def forward(self, images):
        features = F.normalize(self.convolution(images).mean((2, 3)), dim=1)
        return 16.0 * (features @ F.normalize(self.matrix, dim=0))


class Beside(nn.Module):
    """A head that is followed by another one of the same size, which the answer does not use."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(192, 5)
        self.second = nn.Linear(192, 5)

    def forward(self, images):
        answer = self.first(images.flatten(1))
        self.aside = self.second(images.flatten(1))
        return answer


def net_of(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.ReLU(), *layers)


def test_a_normalised_matrix_with_classes_as_columns_is_found_as_it_multiplies():
    net = Cosine()
    torch.testing.assert_close(find_head(net, SHAPE, 5), F.normalize(net.matrix, dim=0).T.detach())


def test_a_second_head_is_not_taken():
    net = Beside()
    torch.testing.assert_close(find_head(net, SHAPE, 5), net.first.weight.detach())


def test_a_convolution_with_a_mean_over_places_is_a_head():
    net = nn.Sequential(
        nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    torch.testing.assert_close(find_head(net, SHAPE, 5), net[2].weight.flatten(1).detach())


def test_a_weight_norm_gives_what_it_multiplies_with():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(7, 5))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(3)
    torch.testing.assert_close(find_head(net_of(layer), SHAPE, 5), layer.weight.detach())


@pytest.mark.parametrize(
    "net",
    [net_of(nn.Linear(7, 5), nn.ReLU()), net_of(nn.Linear(7, 5), nn.Tanh()), nn.Flatten(), nn.Linear(3, 5)],
    ids=["relu", "tanh", "no weights", "other inputs"],
)
def test_other_networks_have_none(net):
    assert find_head(net, SHAPE, 5) is None


def test_looking_leaves_the_network_as_it_was():
    net = net_of(nn.Dropout(), nn.Linear(7, 5)).train()
    state = torch.random.get_rng_state()
    found = find_head(net, SHAPE, 5)
    found.zero_()
    assert net.training
    assert net[4].weight.abs().sum() > 0
    assert torch.equal(torch.random.get_rng_state(), state)
