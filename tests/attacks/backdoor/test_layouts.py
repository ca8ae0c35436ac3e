"""Networks that take images in one order alone, as those that call ``view``, are judged as all others."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.distillation import distil_twins
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.attacks.backdoor.traced import cut_before
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.memory_format import in_plain_order, put_channels_last, with_channels_last

SETTINGS = {
    "mm_bd": {"steps": 3, "images_per_class": 2},
    "additive_trigger": {"steps": 30, "success": 0.5},
    "feature_trigger": {"steps": 30, "success": 0.5},
    "neural_cleanse": {"restarts": 1},
    "bti_dbf": {},
    "ban": {},
    "twins": {"number": 1, "passes": 64},
}


class Flattening(nn.Module):
    """Two convolutions and two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(channels, 8, 3, stride=2), nn.Conv2d(8, 16, 3, stride=2)
        self.hidden, self.last = nn.Linear(16 * 36, 24), nn.Linear(24, 6)

    def flat(self, features: torch.Tensor) -> torch.Tensor:
        return features.flatten(1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.second(functional.relu(self.first(inputs))))
        return self.last(functional.relu(self.hidden(self.flat(features))))


class Viewing(Flattening):
    """The same as most people write it, which takes no images with their channels last."""

    def flat(self, features: torch.Tensor) -> torch.Tensor:
        return features.view(features.size(0), -1)


class Branching(Viewing):
    """The same, with a branch that no tracer can follow."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs / 255 if inputs.max() > 99 else inputs)


def pixels(channels: int, count: int):
    return load_images().pixels[2000 : 2000 + count].repeat(channels, axis=3)


def finding(name: str, network: nn.Module, channels: int):
    transform = Transform(height=28, width=28, mean=(0.5,) * channels, std=(0.2,) * channels)
    target = load_target(network.eval(), name="x", transform=transform, num_classes=6, outputs="logits")
    images = pixels(channels, 320 if name == "twins" else 12)
    return run_detector(name, target, DetectorInputs(clean=images), **SETTINGS[name])


@pytest.mark.parametrize(("form", "channels"), [(Viewing, 3), (Branching, 1)])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_network_that_calls_view_is_judged_as_the_same_that_flattens(name, form, channels):
    expected, found = (finding(name, network(channels), channels) for network in (Flattening, form))
    assert found.suspect == expected.suspect
    assert (found.score is None) == (expected.score is None)
    assert (found.score or 0) == pytest.approx(expected.score or 0, rel=0.05, abs=0.05)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", [Viewing, Branching])
def test_a_copy_for_gradients_takes_images_in_both_orders(form, channels):
    network = form(channels).eval()
    inputs = torch.rand(4, 28, 28, channels).movedim(-1, 1)
    copied = for_input_gradients(network, inputs)
    expected = network(in_plain_order(inputs))
    for given in (in_plain_order(inputs), inputs, inputs.contiguous(memory_format=torch.channels_last)):
        assert torch.allclose(copied(given), expected, atol=1e-5)


def test_the_order_stays_where_the_network_cannot_answer_in_the_other():
    network, sample = Viewing(3), torch.rand(1, 3, 28, 28)
    assert not put_channels_last(network, sample)
    assert all(p.is_contiguous() for p in network.parameters())
    assert put_channels_last(same := Flattening(3), sample)
    assert same.second.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_of_five_dimensions_have_no_such_order():
    class Deep(Flattening):
        def __init__(self) -> None:
            super().__init__(3)
            self.third = nn.Conv3d(1, 1, 1)

    network, sample = Deep(), torch.rand(1, 3, 28, 28)
    assert with_channels_last(network, sample)(sample).shape == (1, 6)
    assert network.second.weight.is_contiguous()


def test_an_answer_that_differs_in_the_other_order_keeps_the_first():
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, inputs):
            return torch.as_strided(inputs, (len(inputs), 5), (inputs[0].numel(), 1))

    network, sample = Reading(), torch.rand(2, 3, 8, 8)
    expected = network(sample)
    assert not torch.equal(network(sample.contiguous(memory_format=torch.channels_last)), expected)
    copied = with_channels_last(network, sample)
    assert torch.equal(copied(sample.contiguous(memory_format=torch.channels_last)), expected)


def test_a_deep_network_that_calls_view_is_cut_as_others():
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(18)))
            for layer in self.layers:
                nn.init.dirac_(layer.weight)
            self.hidden, self.last = nn.Linear(3 * 64, 8), nn.Linear(8, 5)

        def forward(self, inputs):
            return self.last(self.hidden(self.layers(inputs).view(inputs.size(0), -1)))

    network, inputs = Deep().eval(), torch.rand(40, 3, 8, 8)
    cut = cut_before(network, {id(network.last.weight)}, inputs[:2])
    assert cut is not None
    last = inputs.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(cut.tail(cut.body(last)), network(inputs), atol=1e-5)
    twins = distil_twins(network, inputs[:30], inputs[30:], number=1, passes=32)
    assert twins.cut is not None


def test_a_sample_stays_as_it_was_where_the_network_writes_into_it():
    class Writing(Flattening):
        def forward(self, inputs):
            return super().forward(inputs.sub_(0.5))

    network, inputs = Writing(3).eval(), torch.rand(4, 3, 28, 28)
    before = inputs.clone()
    assert put_channels_last(network, inputs)
    assert torch.equal(inputs, before)


def test_images_counted_with_their_channels_are_taken_in_both_orders():
    """Of one image ``view`` does so in either order."""

    class Merging(Flattening):
        def forward(self, inputs):
            n, channels, height, width = inputs.shape
            alone = inputs.view(n * channels, 1, height, width) * 2
            return super().forward(alone.view(n, channels, height, width))

    network, inputs = Merging(3).eval(), torch.rand(4, 3, 28, 28)
    expected = network(inputs)
    for copied in (for_input_gradients(network, inputs), with_channels_last(network, inputs[:1])):
        found = copied(inputs.contiguous(memory_format=torch.channels_last))
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_copy_for_gradients_keeps_what_the_owner_reads_of_a_convolution_and_hooks_on_it():
    class Reading(Flattening):
        def forward(self, inputs):
            assert self.first.out_channels == 8
            shown = functional.conv2d(inputs, self.first.weight, self.first.bias, stride=2)
            return super().forward(inputs) + shown.mean((1, 2, 3))[:, None]

    network = Reading(3).eval()
    network.first.register_forward_hook(lambda part, given, found: 3 * found)
    inputs = torch.rand(4, 3, 28, 28, requires_grad=True)
    pair = network, for_input_gradients(network, inputs)
    expected, found = (torch.autograd.grad((each(inputs) ** 2).sum(), inputs)[0] for each in pair)
    assert torch.allclose(pair[1](inputs), pair[0](inputs), atol=1e-5)
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_view_of_bits_and_one_of_a_size_are_followed():
    class Bits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 5)

        def forward(self, inputs):
            flat = inputs.view(size=(inputs.size(0), 12)).view(torch.int32).view(torch.float32)
            return self.last(self.first(flat).view_as(flat[:, :8]))

    network, inputs = Bits().eval(), torch.rand(3, 3, 2, 2)
    cut = cut_before(network, {id(network.last.weight)}, inputs[:2])
    assert cut is not None
    assert torch.allclose(cut.tail(cut.body(inputs)), network(inputs), atol=1e-6)
