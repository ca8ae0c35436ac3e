"""Networks as strangers write them answer, train and give gradients here as in their authors' own code."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import securitynet_hub as hub
from securitynet_hub.attacks.backdoor.planting import backdoor
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.provenance.adversarial_overlap import boundary_examples
from securitynet_hub.attacks.provenance.copies import make_copies
from securitynet_hub.attacks.stealing.transfer import craft
from securitynet_hub.core.errors import GradientError
from securitynet_hub.engine.inference import predict, predict_module
from securitynet_hub.engine.training import train

SIDE, CLASSES, FLAT = 12, 4, 144
RECIPE = hub.Recipe(epochs=1, batch_size=16, augment="shift", learning_rate=1e-2)


class Flattening(nn.Module):
    """Two convolutions and two linear layers; the forms below compute the same with the same weights."""

    def __init__(self, channels=3):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 8, 3), nn.Conv2d(8, 16, 3)
        self.hidden, self.last = nn.Linear(FLAT, 16), nn.Linear(16, CLASSES)

    def flat(self, maps):
        return maps.flatten(1)

    def seen(self, x):
        return functional.relu(self.second(functional.max_pool2d(functional.relu(self.first(x)), 2)))

    def told(self, z):
        return z

    def forward(self, x):
        return self.told(self.last(functional.relu(self.hidden(self.flat(self.seen(x))))))


class Viewing(Flattening):
    def flat(self, maps):
        return maps.view(maps.size(0), -1)


class ViewingByWidth(Flattening):
    def flat(self, maps):
        return functional.dropout(maps.view(-1, FLAT), training=self.training)


class ChangingItsInput(Viewing):
    def seen(self, x):
        x.mul_(2).div_(4)
        x += x.clone()
        x -= 0.5
        return super().seen(x + 0.5)


class InPlace(Viewing):
    def seen(self, x):
        maps = functional.max_pool2d(functional.relu_(self.first(x)), 2)
        maps = functional.relu(self.second(maps), inplace=True) * 1
        maps += 1
        return maps - 1


class Branching(Viewing):
    def seen(self, x):
        return super().seen(x / 255 if x.max() > 50 else x)


class Asserting(Viewing):
    def forward(self, x):
        assert x.shape[1:] == (self.first.in_channels, SIDE, SIDE)
        assert x.dtype == torch.float32
        return super().forward(x)


class WithNothing(Viewing):
    def told(self, z):
        return z, None


class Named(Viewing):
    def told(self, z):
        return {"logits": z, "loss": None}


class WithALambda(Viewing):
    def __init__(self, channels=3):
        super().__init__(channels)
        self.after = lambda z: z

    def told(self, z):
        return self.after(z)


class Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, slopes):
        (x,) = ctx.saved_tensors
        return slopes * (x > 0)


class WithAFunctionOfItsOwn(Viewing):
    def seen(self, x):
        return Clamped.apply(self.second(functional.max_pool2d(Clamped.apply(self.first(x)), 2)))


class Caching(Viewing):
    """Keeps a tensor for each shape of inputs, as networks with masks or positions do."""

    def __init__(self, channels=3):
        super().__init__(channels)
        self.kept = {}

    def seen(self, x):
        if x.shape not in self.kept:
            self.kept[x.shape] = torch.ones_like(x)
        return super().seen(x * self.kept[x.shape])


class Remembering(Viewing):
    def seen(self, x):
        self.maps = super().seen(x)
        return self.maps


class WithAGradientInside(Viewing):
    def seen(self, x):
        with torch.enable_grad():
            inner = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(inner.square().sum(), inner)
        return super().seen(slope * 0 + x)


class Double(Viewing):
    def __init__(self, channels=3):
        super().__init__(channels)
        self.double()


class Squeezed(nn.Module):
    """Squeezes a batch of one, which its normalisation then refuses; its authors never ask about one."""

    def __init__(self, channels=3):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(channels, 8, 3), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.last(self.norm(functional.adaptive_avg_pool2d(self.first(x).relu(), 1).squeeze()))


class Shuffling(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, 8, 3), nn.Conv2d(8, CLASSES, 10)

    def forward(self, x):
        x = self.first(x).relu()
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.last(x).squeeze()


class Permuting(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.first, self.norm, self.last = (
            nn.Conv2d(channels, 4, 3),
            nn.BatchNorm1d(400),
            nn.Linear(400, CLASSES),
        )

    def forward(self, x):
        return self.last(self.norm(self.first(x).permute(0, 2, 3, 1).contiguous().view(x.size(0), -1)))


class OfRows(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.rows, self.last = nn.Conv1d(channels * SIDE, 8, 3), nn.Linear(80, CLASSES)

    def forward(self, x):
        n, c, h, w = x.shape
        return functional.log_softmax(self.last(self.rows(x.view(n, c * h, w)).relu().view(n, -1)), dim=1)


class Tied(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.one, self.other = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3)
        self.other.weight, self.last = self.one.weight, nn.Linear(channels * 100, CLASSES)

    def forward(self, x):
        return self.last(self.other(self.one(x).relu()).view(len(x), -1))


class Complex(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(SIDE, SIDE, dtype=torch.complex64))
        self.last = nn.Linear(channels * SIDE * SIDE, CLASSES)

    def forward(self, x):
        return self.last((torch.fft.fft2(x) @ self.mix).abs().view(len(x), -1) / 50)


SAME = (
    Viewing,
    ViewingByWidth,
    ChangingItsInput,
    InPlace,
    Branching,
    Asserting,
    WithNothing,
    Named,
    WithALambda,
    WithAFunctionOfItsOwn,
    Caching,
    Remembering,
    WithAGradientInside,
    Double,
)
OTHERS = (Squeezed, Shuffling, Permuting, OfRows, Tied, Complex)

each = pytest.mark.parametrize("form", SAME + OTHERS)
each_same = pytest.mark.parametrize("form", SAME)
channels_last_or_one = pytest.mark.parametrize("channels", [1, 3])


def made(form, channels=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return form(channels).eval()


def images(channels, n=33, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    pixels = rng.integers(0, 100, (n, SIDE, SIDE, channels), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[3 * label : 3 * label + 3] += 120
    return pixels, labels


def target_of(network, channels=3, **options):
    transform = hub.Transform(height=SIDE, width=SIDE, mean=(0.25,) * channels, std=(0.5,) * channels)
    return hub.load_target(network, transform=transform, name="it", **options)


def by_its_author(network, pixels):
    """What the network answers in the code of its author: one batch, in the order that PyTorch gives it."""
    x = (torch.tensor(pixels.transpose(0, 3, 1, 2).tolist()) / 255 - 0.25) / 0.5
    with torch.no_grad():
        answer = network(x.to(next(p.dtype for p in network.parameters() if p.is_floating_point())))
    answer = answer["logits"] if isinstance(answer, dict) else answer
    return (answer[0] if isinstance(answer, tuple) else answer).float().numpy()


@each
@channels_last_or_one
def test_answers_are_those_of_the_author_s_code(form, channels):
    network, (pixels, _) = made(form, channels), images(channels)
    target = target_of(network, channels)
    for batch_size in (256, 8):  # the last batch is of one image
        found = predict(target, pixels, batch_size=batch_size)
        np.testing.assert_allclose(found, by_its_author(network, pixels), rtol=1e-4, atol=1e-5)


@each
@channels_last_or_one
def test_it_can_be_trained_anew(form, channels):
    target = target_of(made(form, channels), channels, build=lambda: form(channels))
    pixels, labels = images(channels)
    trained = train(target.build, target.transform(pixels), torch.from_numpy(labels), RECIPE)
    assert predict_module(trained, target.transform, pixels).shape == (len(pixels), CLASSES)


@pytest.mark.parametrize("form", [form for form in SAME if form is not ViewingByWidth])  # which has dropout
@channels_last_or_one
def test_training_ends_with_the_weights_of_the_form_that_flattens(form, channels):
    pixels, labels = images(channels)

    def answers(form):
        target = target_of(made(form, channels), channels, build=lambda: made(form, channels))
        trained = train(target.build, target.transform(pixels), torch.from_numpy(labels), RECIPE)
        return predict_module(trained, target.transform, pixels)

    np.testing.assert_allclose(answers(form), answers(Flattening), rtol=1e-2, atol=1e-3)


@each_same
@channels_last_or_one
def test_gradients_are_those_of_the_form_that_flattens(form, channels):
    pixels, labels = images(channels, 5)

    def examples(form):
        target = target_of(made(form, channels), channels)
        predict(target, pixels)  # whatever it keeps of that must not be in the way of a gradient
        yield boundary_examples(target, pixels, steps=3)
        yield craft(target.module, target.transform, pixels, labels, method="fgsm", epsilon=8)
        classifier = PixelClassifier(target)
        assert classifier.has_gradients
        with classifier.attacked(), torch.enable_grad():
            x = classifier.as_pixels(pixels).requires_grad_()
            yield torch.autograd.grad(classifier(x).square().sum(), x)[0].numpy()

    for found, expected in zip(examples(form), examples(Flattening), strict=True):
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-3, atol=1)


@each
def test_it_is_copied_after_a_gradient(form):
    target = target_of(made(form))
    pixels, labels = images(3)
    assert PixelClassifier(target).has_gradients
    with torch.enable_grad():
        target.module(target.transform(pixels))
    data = hub.AuditData.from_arrays((pixels, labels), images(3, seed=1))
    assert [kind for kind, _ in make_copies(target, data)] == ["quantised", "pruned", "fine-tuned"]
    planted, _ = backdoor(target, data.images, "corner-patch", recipe=RECIPE)
    assert np.isfinite(predict(planted, pixels)).all()
    assert [p.requires_grad for p in planted.module.parameters()] == [
        p.requires_grad for p in target.module.parameters()
    ]


class Frozen(Flattening):
    def seen(self, x):
        with torch.no_grad():
            return super().seen(x)


def test_a_network_without_gradients_is_said_to_have_none():
    network, (pixels, labels) = made(Frozen), images(3)
    target = target_of(network)
    with pytest.raises(GradientError, match="no gradient of the network reaches its pixels: it computes"):
        boundary_examples(target, pixels)
    data = hub.AuditData.from_arrays((pixels, labels), images(3, 80, seed=1))
    quick = {"model_stealing": {"recipe": {"epochs": 1}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained as it is, its accuracy is none
        (record,) = hub.audit(target, attacks="model-stealing", data=data, budgets=(20,), settings=quick)
    assert record.result["transfer"] is None


class WithASoftmax(Flattening):
    def told(self, z):
        return z.softmax(1)


def test_reference_models_of_one_that_answers_posteriors_have_logits(tmp_path):
    target = target_of(made(WithASoftmax), outputs="posteriors")
    data = hub.AuditData.from_arrays(images(3), images(3, seed=1))
    shadows = hub.train_shadows(target, 2, RECIPE, data=data, folder=tmp_path)
    np.testing.assert_allclose(np.exp(shadows.logits).sum(-1), 1, rtol=1e-4)


def test_plain_networks_are_built_as_their_class_builds_them():
    assert type(target_of(made(Viewing)).build()) is Viewing


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:`torch.jit.script`")
class TestScripted:
    def test_answers_gradients_and_copies(self):
        network, (pixels, labels) = made(Viewing), images(3)
        scripted, plain = target_of(torch.jit.script(network)), target_of(network)
        np.testing.assert_allclose(predict(scripted, pixels), predict(plain, pixels), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(boundary_examples(scripted, pixels), boundary_examples(plain, pixels))
        assert PixelClassifier(scripted).has_gradients
        data = hub.AuditData.from_arrays((pixels, labels), images(3, seed=1))
        one, other = (backdoor(it, data.images, "corner-patch", recipe=RECIPE)[0] for it in (scripted, plain))
        np.testing.assert_allclose(predict(one, pixels), predict(other, pixels), rtol=1e-2, atol=1e-3)

    def test_the_weights_are_shared_and_the_flags_are_not(self):
        network = torch.jit.script(made(Viewing))
        module = target_of(network).module
        places = [parameter.data_ptr() for parameter in network.parameters()]
        assert [parameter.data_ptr() for parameter in module.parameters()] == places
        module.requires_grad_(False)
        assert all(parameter.requires_grad for parameter in network.parameters())
        copied = copy.deepcopy(module)
        assert all(parameter.is_leaf for parameter in copied.parameters())
        assert not set(places) & {parameter.data_ptr() for parameter in copied.parameters()}
