"""Which layer makes the logits, of heads of every shape, and what it reads."""

import numpy as np
import pytest
import torch
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.engine.features import predict_with_features, without_features
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.last_layer import WithFeatures, find_last_layer
from securitynet_hub.models.outputs import Classifier

SHAPE = (8, 8, 3)


class Scaled(nn.Linear):
    def forward(self, inputs):
        return 3 * super().forward(inputs)


class Average(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)) for _ in range(2))

    def forward(self, inputs):
        return (self.a(inputs) + self.b(inputs)) / 2


class Unused(nn.Module):
    """A head of a training loss comes after the one that answers."""

    def __init__(self):
        super().__init__()
        self.head, self.extra = nn.Linear(192, 4), nn.Linear(192, 4)

    def forward(self, inputs):
        logits = self.head(inputs.flatten(1))
        self.extra(inputs.flatten(1))
        return logits


def flat(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.ReLU(), *layers)


def convolutional(*after):
    return nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 4, 1), *after)


@pytest.mark.parametrize(
    ("net", "name", "width"),
    [
        (flat(nn.Linear(7, 4)), "3", 7),
        (flat(nn.Linear(7, 4, bias=False)), "3", 7),
        (flat(nn.Sequential(nn.Dropout(0.5), nn.Linear(7, 4)), nn.LogSoftmax(1)), "3.1", 7),
        (
            Classifier(flat(nn.Linear(7, 4), nn.Softmax(1)), num_classes=4, outputs="posteriors"),
            "network.3",
            7,
        ),
        (Classifier(flat(nn.Linear(7, 1)), num_classes=2), "network.3", 7),
        (convolutional(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "2", 7),
        (Unused(), "head", 192),
    ],
    ids=["linear", "no bias", "log-softmax", "softmax", "one logit", "convolution", "extra head"],
)
def test_logits_are_linear_in_the_features(net, name, width):
    net.eval()
    assert find_last_layer(net, SHAPE) == name
    inputs = torch.rand(5, 3, 8, 8)
    both, plain = WithFeatures(net, name)(inputs), net(inputs)
    torch.testing.assert_close(both[:, :-width], plain, rtol=0, atol=0)
    layer = net.get_submodule(name)
    own = both[:, -width:] @ layer.weight.flatten(1).T + (0 if layer.bias is None else layer.bias)
    if own.shape[1] == 1:
        own = torch.cat([torch.zeros_like(own), own], 1)
    torch.testing.assert_close(own.log_softmax(1), plain.log_softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        flat(nn.Linear(7, 4), nn.ReLU()),
        flat(Scaled(7, 4)),
        convolutional(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Average(),
        nn.Flatten(),
        nn.Sequential(nn.Linear(5, 4)),  # takes no images
    ],
    ids=["relu", "scaled", "relu before the mean", "ensemble", "no weights", "other inputs"],
)
def test_other_networks_have_none(net):
    assert find_last_layer(net, SHAPE) is None


class Twice(nn.Module):
    """A network that asks its head about the mirrored image as well, after what it returns."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8 * 8 * 3, 4)

    def forward(self, images):
        answer = self.head(images.flatten(1))
        self.aside = self.head(images.flip(3).flatten(1))
        return answer


def test_a_layer_that_is_asked_twice_is_not_taken():
    assert find_last_layer(Twice(), (8, 8, 3)) is None


def test_looking_changes_neither_flags_nor_hooks_nor_the_random_state():
    net = flat(nn.Linear(7, 4)).train()
    before = torch.random.get_rng_state()
    find_last_layer(net, SHAPE)
    assert net.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(part._forward_pre_hooks for part in net.modules())


def test_one_pass_gives_the_logits_of_predict_to_the_bit():
    target, pixels = load_target("zoo/fashion-mnist/bn-cnn-overfitted-500/2"), load_images().pixels[:20]
    logits, features = predict_with_features(target, pixels)
    np.testing.assert_array_equal(logits, predict(target, pixels))
    assert features.shape == (20, target.module[-1].in_features)
    assert without_features(target) is None


@pytest.mark.slow
def test_in_a_tiny_transformer_it_is_the_head():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8,
        patch_size=4, num_labels=4,
    )  # fmt: skip
    net = Classifier(transformers.ViTForImageClassification(config).eval(), num_classes=4)
    assert find_last_layer(net, SHAPE) == "network.classifier"
