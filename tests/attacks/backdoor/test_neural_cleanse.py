"""Neural Cleanse on classifiers whose shortcut is known, beside a loop written for one class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.linear_targets import CHANNELS, IMAGES, NORMALISED, PLAIN, SIDE, Normalise, as_target, linear
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.attacks.backdoor.inversion import stamped_pixels, trigger_overlap
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST, Screening, neural_cleanse
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.attacks.backdoor.schedule import Progress
from securitynet_hub.attacks.backdoor.stamping import TriggerStamp
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.models.eval_mode import frozen

SHORT = replace(FAST, steps=40, patience=3, stop_patience=5)


def invert(module, transform=PLAIN, images=IMAGES, **settings):
    return neural_cleanse(
        as_target(module, transform), images, **{"schedule": SHORT, "restarts": 1, **settings}
    )


def one_class(module, label, images, schedule, seed=0):
    """The same for one class, by autograd and torch's own Adam: smallest norm, its mask and pattern."""
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.random((1, 1 + CHANNELS, SIDE, SIDE)))
    theta = torch.atanh((drawn - 0.5) * (2 - 1e-7)).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=schedule.learning_rate, betas=schedule.betas)
    x = PLAIN(images).double()
    x = x[module(x).argmax(1) != label]
    progress, arm, best = Progress(schedule, 1), np.array([0]), None
    done = False
    while not done:
        trigger = torch.tanh(theta) / (2 - 1e-7) + 0.5
        mask, pattern = trigger[:, :1], trigger[:, 1:]
        logits = module((1 - mask) * x + mask * pattern)
        goals = torch.full((len(x),), label)
        loss = nn.functional.cross_entropy(logits, goals) + progress.cost[0] * mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate = np.array([(logits.argmax(1) == label).double().mean().item()])
        norm = np.array([mask.sum().item()])
        better = progress.candidates(arm, rate, norm)
        if better[0]:
            best = trigger.detach()
        done = progress.update(arm, rate, norm, better)[0]
    return progress.best[0], best, progress.steps[0]


def test_all_classes_at_once_are_what_each_is_alone():
    module = linear(planted=4)
    found = invert(module)
    for label in range(6):
        norm, best, steps = one_class(module, label, IMAGES, SHORT)
        assert found.norms[0, label] == pytest.approx(norm, rel=1e-6)
        assert found.steps[0, label] == steps
        assert found.masks[0, label] == pytest.approx(best[0, 0].numpy(), abs=1e-5)
        assert found.patterns[0, label] == pytest.approx(best[0, 1:].movedim(0, -1).numpy(), abs=1e-4)
    assert len(set(found.steps[0])) > 1  # some ended early, so that others moved up beside them


def test_gradients_are_autograd_s():
    module, k = linear(), 6
    target = as_target(module, NORMALISED)
    triggers = torch.rand(k, 1 + CHANNELS, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    x = torch.from_numpy(IMAGES).movedim(-1, 1).double() / 255
    predicted = module(Normalise()(x)).argmax(1)
    loss = 0
    for label in range(k):
        mask, pattern = triggers[label, :1], triggers[label, 1:]
        logits = module(Normalise()((1 - mask) * x + mask * pattern))[predicted != label]
        loss = loss + nn.functional.cross_entropy(logits, torch.full((len(logits),), label))
    loss.backward()
    with frozen(module):
        stamping = TriggerStamp.from_target(target, IMAGES, batch_size=40)
        slopes, _ = stamping.gradient(np.arange(k), triggers.detach())
    assert slopes.numpy() == pytest.approx(triggers.grad.numpy(), abs=2e-6)  # the transform is float32


class TestInvariance:
    module = linear(planted=4)
    found = invert(module)

    def test_normalisation_inside_the_model(self):
        within = invert(nn.Sequential(Normalise(), linear(planted=4)))
        outside = invert(linear(planted=4), NORMALISED)
        assert within.norms == pytest.approx(outside.norms, rel=1e-3)
        assert within.masks == pytest.approx(outside.masks, abs=1e-2)

    def test_order_of_classes(self):
        order = np.array([3, 5, 0, 4, 2, 1])
        moved = invert(linear(planted=4, order=order))
        assert moved.norms[0] == pytest.approx(self.found.norms[0, order], rel=1e-6)

    def test_classes_know_nothing_of_one_another(self):
        """A cost that leaked from class to class would show where classes wait for one another."""
        waiting = invert(self.module, batch_size=len(IMAGES))
        assert waiting.norms == pytest.approx(self.found.norms, rel=1e-6)
        assert np.array_equal(waiting.steps, self.found.steps)

    @pytest.mark.parametrize("batch_size", [7, 50, 1000])
    def test_batch_size(self, batch_size):
        other = invert(self.module, batch_size=batch_size)
        assert other.norms == pytest.approx(self.found.norms, rel=1e-6)

    def test_order_of_images(self):
        assert invert(self.module, images=IMAGES[::-1]).norms == pytest.approx(self.found.norms, rel=1e-6)

    def test_seed(self):
        assert np.array_equal(invert(self.module).masks, self.found.masks)
        assert not np.array_equal(invert(self.module, seed=1).masks, self.found.masks)


def test_the_planted_shortcut_is_found_with_its_place():
    found = invert(linear(planted=4), restarts=3)
    measured = found.measure()
    assert measured["smallest_class"] == 4
    assert measured["flagged_classes"] == [4]
    assert measured["norm_ratio_range"].high < 0.5
    mask, _ = found.best(4)
    assert np.unravel_index(mask.argmax(), mask.shape) == (7, 7)
    place = np.zeros((SIDE, SIDE), bool)
    place[7, 7] = True
    others = [trigger_overlap(found.best(label)[0], place) for label in range(6) if label != 4]
    assert trigger_overlap(mask, place) > 2 * max(others)


@pytest.mark.parametrize("schedule", [SHORT, replace(SHORT, batches=3, batch_size=7)])
def test_what_is_reported_is_what_the_mask_does(schedule):
    module = linear(planted=4)
    found = invert(module, schedule=schedule)
    x = torch.from_numpy(IMAGES).movedim(-1, 1).double() / 255
    for label in np.flatnonzero(~np.isnan(found.norms[0])):
        mask = torch.from_numpy(found.masks[0, label]).double()
        pattern = torch.from_numpy(found.patterns[0, label]).double().movedim(-1, 0)
        others = module(x).argmax(1) != label
        turned = module((1 - mask) * x + mask * pattern).argmax(1)[others] == label
        assert found.success_rates[0, label] == pytest.approx(turned.double().mean().item(), abs=1e-6)
        assert found.success_rates[0, label] >= schedule.success_threshold
        assert found.norms[0, label] == pytest.approx(found.masks[0, label].sum(), rel=1e-5)
    assert np.isfinite(found.norms).sum() >= 5


def test_a_class_that_nothing_leads_to_never_yields_a_small_norm():
    module = linear(planted=4)
    with torch.no_grad():
        module[1].bias[2] = -1e6  # no trigger makes this class
    found = invert(module, restarts=2)
    assert np.isnan(found.norms[:, 2]).all()
    assert (found.success_rates[:, 2] == 0).all()
    measured = found.measure()
    assert (measured["smallest_class"], measured["n_converged"]) == (4, 5)
    assert np.isfinite(found.norms[:, [0, 1, 3, 4, 5]]).all()


def test_a_class_that_every_image_is_in_already_is_left_out():
    module = linear()
    with torch.no_grad():
        module[1].bias[2] = 1e6
    found = invert(module)
    assert np.isnan(found.norms).all()
    assert found.measure()["anomaly_index"] is None


def test_the_model_comes_back_bit_identical_with_its_flags():
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 5)
    )
    target = as_target(module)
    module[1].train()
    module[4].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random, images = torch.get_rng_state(), IMAGES.copy()
    neural_cleanse(target, IMAGES, restarts=1, schedule=replace(FAST, steps=3))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert [part.training for part in module] == [False, True, False, False, False]
    assert [p.requires_grad for p in module.parameters()] == [True, True, True, True, True, False]
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert np.array_equal(images, IMAGES)


class TestScreening:
    def test_many_classes_are_searched_in_few_steps(self):
        steps = []
        module = linear(classes=120, planted=77)
        found = invert(
            module, screening=Screening(steps=20, images=8, keep=4, controls=10), on_step=steps.append
        )
        assert 10 <= len(found.classes) <= 14
        assert found.controls.sum() == 10
        assert found.measure()["smallest_class"] == 77
        assert 77 in found.measure()["flagged_classes"]
        assert sum(steps) <= 120 * 20 + 14 * 40

    def test_few_classes_are_all_worked_on(self):
        found = invert(linear(), screening=Screening(keep=3, controls=3))
        assert list(found.classes) == list(range(6))
        assert found.controls.all()

    @pytest.mark.parametrize("wrong", [{"keep": 0}, {"controls": 2}, {"steps": 0}, {"images": 0}])
    def test_refuses(self, wrong):
        with pytest.raises(ValueError, match="must be at least 1, controls 3"):
            Screening(**wrong)


class TestRefusals:
    def test_no_images(self):
        with pytest.raises(ValueError, match="at least one clean image"):
            invert(linear(), images=IMAGES[:0])

    def test_a_preprocessing_that_is_not_affine(self):
        class Gamma:
            shape = PLAIN.shape

            def __call__(self, pixels):
                return PLAIN(pixels) ** 2

            def as_dict(self):
                return {}

        with pytest.raises(ValueError, match="not one affine map"):
            invert(linear(), Gamma())
        with pytest.raises(ValueError, match="not one affine map"):
            PixelSpace.from_target(as_target(linear(), Gamma()))

    def test_a_model_that_answers_nan(self):
        module = linear()
        with torch.no_grad():
            module[1].bias[0] = torch.nan
        with pytest.raises(ModelError, match="finite numbers"):
            invert(module)

    @pytest.mark.parametrize("wrong", [{"restarts": 0}, {"batch_size": 0}])
    def test_counts(self, wrong):
        with pytest.raises(ValueError, match="at least 1"):
            invert(linear(), **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 8])
def test_the_zoo_s_patches_are_found_and_lie_where_they_were_stamped(seed):
    target = load_target(f"zoo/fashion-mnist/cnn-corner-patch/{seed}")
    pixels = load_images().pixels[2000:2020]
    found = neural_cleanse(target, pixels, restarts=1)
    measured = found.measure()
    assert measured["smallest_class"] == target.annotation.target_class
    assert measured["flagged_classes"] == [target.annotation.target_class]
    assert measured["norm_ratio"] < 0.3
    place = stamped_pixels(TRIGGERS["corner-patch"], pixels)
    assert trigger_overlap(found.best(target.annotation.target_class)[0], place) > 0.1


class TestInputGradients:
    @pytest.mark.parametrize("channels", [1, 3, 5])
    @pytest.mark.parametrize(
        "shape",
        [{"kernel_size": 4, "stride": 2}, {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0),
          "dilation": (2, 1)}, {"kernel_size": 3, "padding": "same"}, {"kernel_size": 3, "padding": 1,
          "padding_mode": "reflect"}],
    )  # fmt: skip
    def test_are_autograd_s_of_the_module_itself(self, channels, shape):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(channels, 6, **shape), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(1)
        )
        module(torch.rand(9, channels, 13, 11))  # the BatchNorm has seen something
        module.eval()
        x = torch.rand(5, channels, 13, 11, requires_grad=True)
        copied = for_input_gradients(module, x)
        answers = [part(x) for part in (module, copied)]
        slopes = [torch.autograd.grad((answer**2).sum(), x)[0] for answer in answers]
        assert torch.allclose(*answers, atol=1e-5)
        assert torch.allclose(*slopes, atol=1e-4)

    def test_what_cannot_be_copied_is_taken_as_it_is(self):
        module = nn.Linear(3, 2)
        module.history = module.weight * 2
        assert for_input_gradients(module, torch.ones(1, 3)) is module

    def test_a_lone_convolution(self):
        module, x = nn.Conv2d(1, 2, 3), torch.rand(2, 1, 5, 5)
        assert torch.allclose(for_input_gradients(module, x)(x), module(x), atol=1e-6)


def test_only_likely_classes_are_screened():
    module = linear(classes=60, planted=7)
    few = Screening(steps=20, images=8, keep=4, controls=5, likely=12)
    steps = []
    found = invert(module, screening=few, on_step=steps.append)
    assert 7 in found.classes
    assert sum(steps) <= 12 * 20 + 9 * 40
    with pytest.raises(ValueError, match="likely must be at least keep"):
        Screening(keep=8, likely=3)
