"""Training against a trigger takes it away, and nothing else; what a comparison with twins says of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.backdoor.twins import compare_with_twins
from securitynet_hub.attacks.backdoor.unlearning import covering, train_against, unlearn, without
from securitynet_hub.core.errors import ModelError
from securitynet_hub.engine.soundness import as_classifier

BACKDOORED, TARGET_CLASS = "zoo/fashion-mnist/cnn-corner-patch/7", 0
WITH_BATCH_NORM, ITS_CLASS = "zoo/fashion-mnist/bn-cnn-corner-patch/7", 0
CLEAN = "zoo/fashion-mnist/cnn-clean/1"


def corner(pixels):
    stamped = pixels.clone()
    stamped[:, :, -4:, -4:] = 1
    return stamped


@pytest.fixture(scope="module")
def pixels():
    return load_images().pixels[2000:2400]


@pytest.mark.parametrize("batch_size", [None, 32])
def test_a_planted_backdoor_is_unlearnt_and_clean_answers_stay(pixels, batch_size):
    found = unlearn(load_target(BACKDOORED), pixels, corner, TARGET_CLASS, batch_size=batch_size)
    assert found.success_before > 0.9 > 0.1 > found.success_after
    assert found.agreement > 0.85


def test_a_mask_and_a_pattern_are_one_stamp_of_many(pixels):
    mask, pattern = np.zeros((28, 28), np.float32), np.ones((28, 28, 1), np.float32)
    mask[-4:, -4:] = 1
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(covering(mask, pattern)(images), corner(images))
    target = load_target(BACKDOORED)
    assert unlearn(target, pixels[:40], covering(mask, pattern), TARGET_CLASS) == unlearn(
        target, pixels[:40], corner, TARGET_CLASS
    )


def test_a_network_that_takes_images_in_one_memory_order_alone_is_trained(pixels):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            *body, _, self.head = copy.deepcopy(load_target(BACKDOORED).module)
            self.body = nn.Sequential(*body)

        def forward(self, inputs):
            return self.head(self.body(inputs).view(len(inputs), -1))

    known = load_target(BACKDOORED)
    viewing = load_target(Viewing().eval(), transform=known.transform)
    assert unlearn(viewing, pixels[:80], corner, TARGET_CLASS) == unlearn(
        known, pixels[:80], corner, TARGET_CLASS
    )


def test_what_trains_measures_nothing(pixels):
    """Other training images leave what is measured before training as it was."""
    other = pixels.copy()
    other[::2] = load_images().pixels[3000:3200]
    target = load_target(BACKDOORED)
    first, second = (unlearn(target, images, corner, TARGET_CLASS, steps=2) for images in (pixels, other))
    assert first.success_before == second.success_before
    own = as_classifier(target)(target.transform(pixels[1::2])).argmax(1)
    led = as_classifier(target)(target.transform(pixels[1::2] | stamp_of_levels(pixels[1::2]))).argmax(1)
    counted = own != TARGET_CLASS
    assert first.success_before == float((led == TARGET_CLASS)[counted].double().mean())


def test_what_measures_trains_nothing(pixels):
    """Two halves that change places keep as many answers in total."""
    target, shown = load_target(BACKDOORED), load_images().pixels[3000:3080]
    first, second = shown[:40], shown[40:]

    def kept(measuring):
        both = np.stack([pixels[:40], measuring], 1).reshape(80, 28, 28, 1)
        found = unlearn(target, both, corner, TARGET_CLASS, steps=6, learning_rate=0.01)
        return round(40 * found.agreement)

    swapped = [np.concatenate([one[:20], other[20:]]) for one, other in ((first, second), (second, first))]
    counts = [kept(each) for each in (first, second)]
    assert sum(counts) == sum(kept(each) for each in swapped)
    assert 0 < sum(counts) < 80


def stamp_of_levels(pixels):
    levels = np.zeros_like(pixels)
    levels[:, -4:, -4:] = 255
    return levels


def test_network_flags_statistics_and_random_state_stay(pixels):
    target = load_target(WITH_BATCH_NORM)
    network = as_classifier(target)
    inputs = target.transform(pixels[:80])
    before = copy.deepcopy(network.state_dict())
    state, flags = torch.random.get_rng_state(), [p.requires_grad for p in network.parameters()]
    trained = without(network, inputs, inputs.flip(3), steps=5, batch_size=32)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    after = trained.state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(after[name], before[name]) for name in statistics)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert not trained.training


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_network_of_half_precision_is_trained_in_single(pixels, precision):
    known = load_target(BACKDOORED)
    target = load_target(copy.deepcopy(known.module).to(precision), transform=known.transform)
    found = unlearn(target, pixels[:200], corner, TARGET_CLASS)
    assert found.success_before > 0.9 > 0.2 > found.success_after
    assert found.agreement > 0.8
    assert {p.dtype for p in target.module.parameters()} == {precision}


def test_weights_that_stay_in_half_precision_learn_in_single():
    """Steps of 0.001 round to nothing beside a weight of 4 in half precision: their sum does not."""

    class Converting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2, bias=False).half()
            with torch.no_grad():
                self.inner.weight.copy_(torch.tensor([[4.0, 0.0], [-4.0, 4.5]]))

        def forward(self, inputs):
            return torch.nn.functional.linear(inputs, self.inner.weight.float())

    network = Converting()
    clean = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    trained = without(network, clean, clean + torch.tensor([0.0, 2.0]), steps=200, learning_rate=1e-3)
    moved = (trained.inner.weight - network.inner.weight).detach().abs()
    assert trained.inner.weight.dtype == torch.float16
    assert float(moved[1, 1]) == pytest.approx(0.2, abs=0.02)


def test_a_trigger_that_leads_each_class_elsewhere_is_counted_by_hand():
    """The second input turns class c into c + 1; of the ten images that measure, one is left alone by it."""
    classes = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2]).repeat_interleave(2)
    clean = torch.cat([torch.nn.functional.one_hot(classes, 3).float(), torch.zeros(20, 1)], 1)
    stamped = clean.clone()
    stamped[:, 3] = 1
    stamped[19, 3] = 0

    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.switch = nn.Parameter(torch.tensor(1.0))

        def forward(self, inputs):
            own, turned = inputs[:, :3], inputs[:, :3].roll(1, 1)
            return 4 * (own + 1.5 * self.switch * inputs[:, 3:] * turned)

    found = train_against(Turning(), clean, stamped, None, steps=100, learning_rate=0.05)
    assert found == (pytest.approx(0.9), 0.0, 1.0)
    assert train_against(Turning(), clean, stamped, None, steps=0) == (pytest.approx(0.9),) * 2 + (1.0,)
    at_one = train_against(Turning(), clean, stamped, 1, steps=0)  # of classes 0 and 2, those of 0
    assert at_one.success_before == pytest.approx(3 / 7)


def test_weights_that_decide_nothing_are_refused():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(3, 3)

        def forward(self, inputs):
            return inputs

    inputs = torch.eye(4)
    with pytest.raises(ModelError, match="depend on no weights that training could change"):
        without(Deaf(), inputs, inputs, steps=1)
    with pytest.raises(ValueError, match="two or more images are needed"):
        train_against(nn.Linear(4, 2), inputs[:1], inputs[:1], 0)


@pytest.fixture(scope="module")
def compared(pixels):
    """The comparison with and without unlearning, with few passes."""
    target = load_target(BACKDOORED)
    return [
        compare_with_twins(target, pixels, number=1, passes=640, seed=3, unlearning_steps=steps)
        for steps in (0, 40)
    ]


def test_unlearning_changes_nothing_of_the_comparison(compared):
    off, on = compared
    assert off.unlearning is None
    assert off.verdict.score == on.verdict.score
    assert (off.verdict.word, off.verdict.probability) == (on.verdict.word, on.verdict.probability)
    np.testing.assert_array_equal(off.verdict.class_scores, on.verdict.class_scores)
    for name, values in off.indicators.items():
        np.testing.assert_array_equal(values, on.indicators[name], err_msg=name)
    assert off.rearrangement == on.rearrangement
    assert off.agreement == on.agreement
    for one, other in zip(off.examples, on.examples, strict=True):
        assert (one.name, one.what, one.success, one.twin_success) == (
            other.name, other.what, other.success, other.twin_success,
        )  # fmt: skip
        np.testing.assert_array_equal(one.picture, other.picture)


def test_the_best_trigger_found_is_unlearnt(compared, pixels):
    _, on = compared
    assert on.verdict.suspect == TARGET_CLASS
    assert on.unlearning.success_before > 0.7 > 0.2 > on.unlearning.success_after
    assert on.unlearning.agreement > 0.8
    target = load_target(BACKDOORED)
    again = unlearn(target, pixels[:200], on.examples[0].stamp, TARGET_CLASS, batch_size=32)
    assert again.success_before == pytest.approx(on.unlearning.success_before, abs=0.03)  # of the same images


def test_of_a_deep_network_the_part_that_twins_have_is_trained(pixels):
    known = load_target(BACKDOORED)
    still = [nn.Conv2d(1, 1, 1, bias=False) for _ in range(17)]
    for layer in still:
        nn.init.ones_(layer.weight)
    deep = load_target(nn.Sequential(*still, *known.module), transform=known.transform)
    found = compare_with_twins(deep, pixels, number=1, passes=320, unlearning_steps=40)
    assert found.verdict.suspect == TARGET_CLASS
    assert found.unlearning.success_before > 0.7 > 0.3 > found.unlearning.success_after
    assert found.unlearning.agreement > 0.8


@pytest.mark.parametrize("wrong", [-1, 0.5, float("nan")])
def test_steps_that_are_no_count_are_refused(pixels, wrong):
    with pytest.raises(ValueError, match="unlearning_steps must be a count"):
        compare_with_twins(load_target(BACKDOORED), pixels, unlearning_steps=wrong)


def test_an_audit_beside_clean_models_unlearns_too():
    (record,) = audit(
        BACKDOORED, attacks="twins", beside=[CLEAN], settings={"twins": {"unlearning_steps": 20}}
    )
    assert record.attack["unlearning_steps"] == 20
    result = record.result
    assert result["unlearning_success_before"] > 0.9 > 0.2 > result["unlearning_success_after"]
    assert result["unlearning_agreement"] > 0.8
