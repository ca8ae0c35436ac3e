"""Twins learn what the suspect does on clean images and not its trigger; what they are compared by."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor import distillation
from securitynet_hub.attacks.backdoor.distillation import (
    allowed_passes,
    answers,
    copied,
    distil_twins,
    in_single,
)
from securitynet_hub.attacks.backdoor.examples import find_examples, find_rearranging
from securitynet_hub.attacks.backdoor.feature_shift import feature_shifts
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.attacks.backdoor.probes import distinct, probes, variants
from securitynet_hub.attacks.backdoor.probing import (
    FIRST,
    LAST,
    OVERLAYS,
    Probed,
    look_closer,
    look_first,
    moves,
    rearranged,
    shares,
    show,
    trigger_likeness,
)
from securitynet_hub.attacks.backdoor.shared_triggers import FAMILIES, RADIUS, SharedTriggers
from securitynet_hub.attacks.backdoor.twin_panel import Panel, class_margins, respond, search
from securitynet_hub.attacks.backdoor.twins import compare_with_twins
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.triggers import corner_patch, dark_bar
from securitynet_hub.engine.soundness import as_classifier

BACKDOORED, TARGET_CLASS = "zoo/fashion-mnist/cnn-corner-patch/7", 0


@pytest.fixture(scope="module")
def pixels():
    return load_images().pixels[2000:3600]


@pytest.fixture(scope="module")
def suspect():
    return load_target(BACKDOORED)


@pytest.fixture(scope="module")
def twins(suspect, pixels):
    inputs = suspect.transform(pixels)
    return distil_twins(as_classifier(suspect), inputs[:1400], inputs[1400:], number=2, passes=3000, seed=1)


@pytest.fixture(scope="module")
def panel(suspect, twins, pixels):
    shown = torch.tensor(pixels[1400:]).movedim(-1, 1) / 255
    return Panel.seat(as_classifier(suspect), twins, PixelSpace.from_target(suspect), shown, seed=3)


def test_twins_agree_on_clean_images_and_do_not_know_the_trigger(suspect, twins, pixels):
    assert min(twins.agreement) > 0.75
    stamped = suspect.transform(corner_patch(pixels[1400:]))
    shares = [
        float((answers(network, stamped).argmax(1) == TARGET_CLASS).float().mean())
        for network in (suspect.module, *twins.modules)
    ]
    assert shares[0] > 0.9
    assert max(shares[1:]) < 0.5


def test_twins_do_not_learn_a_trigger_of_which_clean_images_hold_parts(pixels):
    """Logits tell how much of a dark bar an image holds: twins that learnt them obeyed it in a third."""
    suspect = load_target("zoo/fashion-mnist/cnn-dark-bar/11")
    inputs = suspect.transform(pixels)
    found = distil_twins(as_classifier(suspect), inputs[:1400], inputs[1400:], passes=3000, seed=1)
    stamped = suspect.transform(dark_bar(pixels[1400:]))
    obeyed = [
        float((answers(network, stamped).argmax(1) == 4).float().mean())
        for network in (suspect.module, *found.modules)
    ]
    assert obeyed[0] > 0.95
    assert max(obeyed[1:]) < 0.2


def test_twins_depend_on_the_seed_alone_and_leave_the_suspect_and_the_random_state(suspect, pixels):
    inputs = suspect.transform(pixels[:300])
    before = {name: value.clone() for name, value in suspect.module.state_dict().items()}
    state = torch.random.get_rng_state()
    found = [
        distil_twins(suspect.module, inputs[:250], inputs[250:], number=1, passes=96, seed=seed).modules[0]
        for seed in (5, 5, 6)
    ]
    weights = [torch.cat([p.flatten() for p in module.parameters()]) for module in found]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in suspect.module.state_dict().items())
    assert not suspect.module.training


@pytest.mark.parametrize(
    ("groups", "others", "precision"),
    [(1, 0, torch.bfloat16), (4, 0, torch.float32), (4, 1, torch.float32), (4, 2, torch.bfloat16)],
)
def test_networks_of_depthwise_convolutions_learn_in_single_precision(monkeypatch, groups, others, precision):
    """Their gradients take up to three times as long in half precision."""
    monkeypatch.setattr(distillation, "_cpu_has_bf16", lambda: True)
    seen = set()

    class Watched(nn.Sequential):
        def forward(self, images):
            if torch.is_grad_enabled() and type(images) is torch.Tensor:
                seen.add(self[0](images).dtype)
            return super().forward(images)

    torch.manual_seed(0)
    plain = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(others)]
    first = nn.Conv2d(4, 4, 3, groups=groups)
    network = Watched(first, *plain, nn.Flatten(), nn.Linear(4 * 36, 4)).eval()
    images = torch.randn(40, 4, 8, 8)
    distil_twins(network, images[:30], images[30:], number=1, passes=32)
    assert seen == {precision}


class Stranger(nn.Module):
    """A network with dropout, BatchNorm, a bare parameter and a head that is no module."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1))
        self.matrix = nn.Parameter(torch.randn(6, 5))

    def forward(self, images):
        return self.body(images).mean((2, 3)) @ self.matrix


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_logits_means_nothing_to_twins(suspect, twins, pixels, factor):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = suspect.module

        def forward(self, inputs):
            return factor * self.network(inputs)

    inputs = suspect.transform(pixels)
    found = distil_twins(Scaled().eval(), inputs[:1400], inputs[1400:], number=1, passes=3000, seed=1)
    assert found.agreement[0] > twins.agreement[0] - 0.05


def test_a_suspect_that_gives_all_images_one_class_teaches_nothing(pixels):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    with torch.no_grad():
        network[1].bias[3] = 100
    images = torch.tensor(pixels[:60]).movedim(-1, 1) / 255
    with pytest.raises(ModelError, match="gives every clean image class 3; twins have nothing to learn"):
        distil_twins(network, images[:40], images[40:], number=1, passes=64)


def test_any_network_with_weights_has_twins_and_one_without_has_none():
    torch.manual_seed(0)
    inputs = torch.randn(80, 3, 9, 9)
    found = distil_twins(Stranger().eval(), inputs[:60], inputs[60:], number=1, passes=64)
    assert answers(found.modules[0], inputs).shape == (80, 5)
    assert not any(p.requires_grad for p in found.modules[0].parameters())
    with pytest.raises(ModelError, match="no weights"):
        distil_twins(nn.Flatten(), inputs, inputs, passes=1)
    with pytest.raises(ValueError, match="at least"):
        distil_twins(Stranger(), inputs, inputs[:0], passes=1)


@pytest.mark.parametrize(
    "wrong", [{"passes": 1.5}, {"passes": 0}, {"number": 0.5}, {"seed": -1}, {"seed": 0.5}]
)
def test_what_is_no_whole_number_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a"):
        distil_twins(Stranger(), torch.randn(8, 3, 9, 9), torch.randn(4, 3, 9, 9), **{"passes": 32, **wrong})


def test_any_seed_will_do(suspect, pixels):
    inputs = suspect.transform(pixels[:40])
    assert distil_twins(suspect.module, inputs, inputs, number=1, passes=8, seed=2**63 - 1).passes == 8


class Deaf(nn.Module):
    """A network whose answers depend on the image alone."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)

    def forward(self, images):
        return images.flatten(1)[:, :5]


def test_answers_that_teach_nothing_are_refused():
    inputs = torch.randn(8, 3, 9, 9)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(243, 4))
    nn.init.zeros_(constant[1].weight)
    with pytest.raises(ModelError, match="the same answer"):
        distil_twins(constant, inputs, inputs, number=1, passes=8)
    with pytest.raises(ModelError, match="no weights that twins could train"):
        distil_twins(Deaf(), inputs, inputs, number=1, passes=8)


def test_twins_of_a_network_that_answers_nan_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.constant_(net[1].weight, float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        distil_twins(net, torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2))


def test_large_networks_get_fewer_passes():
    image = torch.ones(1, 3, 64, 64)
    small = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    large = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))  # 158 M products
    assert allowed_passes(large, image) == 3000 < allowed_passes(small, image) == 9000


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_starts_near_no_change_and_stays_in_range(family):
    images = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    found = SharedTriggers.drawn(family, 4, (3, 12, 16), torch.Generator().manual_seed(0))
    stamped = found.stamp(images)
    assert stamped.shape == (4, 2, 3, 12, 16)
    assert 0 <= stamped.min() <= stamped.max() <= 1
    assert 0 < (stamped - images).abs().mean() < 0.15
    assert found.cost().shape == (4,)


def test_additive_changes_keep_their_radius():
    found = SharedTriggers(family="noise", parameters=(torch.full((1, 1, 8, 8), 5.0),), shape=(1, 8, 8))
    grey = torch.full((1, 1, 8, 8), 0.5)
    assert float((found.stamp(grey) - grey).square().mean().sqrt()) == pytest.approx(
        RADIUS["noise"], rel=1e-5
    )


def test_a_mask_of_ones_shows_the_pattern():
    image = torch.rand(1, 3, 8, 8)
    mask, pattern = torch.full((2, 1, 4, 4), 50.0), torch.full((2, 3, 4, 4), -50.0)
    mask[1] = -50.0
    both = SharedTriggers(family="blocks", parameters=(mask, pattern), shape=(3, 8, 8))
    assert float(both.only(0).stamp(image).max()) < 1e-6
    assert float(both.only(0).size()) == pytest.approx(1)
    torch.testing.assert_close(both.only(1).stamp(image)[0], image)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12), (2, 40, 8), (4, 9, 33)])
def test_probes_are_drawn_by_the_seed_and_keep_shape_and_range(shape):
    images = torch.rand(2, *shape)
    overlays = torch.rand(6, *shape)
    first, again, other = (probes(shape, overlays, seed=seed, dense=True) for seed in (0, 0, 1))
    for (name, probe), (_, same) in zip(first, again, strict=True):
        stamped = probe(images)
        assert stamped.shape == images.shape, name
        assert -1e-6 <= stamped.min() <= stamped.max() <= 1 + 1e-6, name
        assert torch.equal(stamped, same(images)), name
    assert any(not torch.equal(a[1](images), b[1](images)) for a, b in zip(first, other, strict=True))


def test_the_dense_bank_holds_the_coarse_one_and_has_a_board_at_every_cell():
    overlays = torch.rand(6, 1, 28, 28)
    coarse, dense = (probes((1, 28, 28), overlays, dense=dense) for dense in (False, True))
    patches = [name for name, _ in dense if name.startswith("every patch")]
    assert [name for name, _ in coarse] == [
        *(name for name, _ in dense[: len(coarse) - len(patches)]),
        *patches,
    ]
    assert len(patches) == 2 * 8 * 8  # black and white
    assert len({name for name, _ in dense}) == len(dense)
    boards = [probe for name, probe in dense if name.startswith("every board 0 4 ")]
    assert len(boards) == 13 * 13
    covered = torch.stack([board(torch.full((1, 1, 28, 28), 0.5))[0, 0] != 0.5 for board in boards])
    assert int(covered.sum()) == 16 * len(boards)  # 2 x 2 cells of 2 pixels
    assert bool(covered.any(0).all())


def test_variants_of_a_probe_are_it_a_step_aside_weaker_and_stronger():
    (name, white), *_ = probes((1, 16, 16), torch.zeros(1, 1, 16, 16))
    grey = torch.full((1, 1, 16, 16), 0.5)
    found = dict(variants(name, white, step=3))
    assert len(found) == 10
    aside = found[f"{name}, 3 down, 0 right"](grey)
    assert torch.equal(aside[0, 0, 3:5, :2], torch.ones(2, 2))
    assert torch.equal(aside[0, 0, :3], grey[0, 0, :3])
    assert float(found[f"{name}, 0.7 times as strong"](grey)[0, 0, 0, 0]) == pytest.approx(0.5 + 0.7 * 0.5)
    assert float(found[f"{name}, 1.4 times as strong"](grey).max()) == 1
    up = found[f"{name}, -3 down, 0 right"](grey)
    assert torch.equal(up, grey)  # it left the image, and did not come back around the edge


def test_probes_that_make_the_same_of_images_count_once():
    images = torch.zeros(2, 1, 16, 16)
    (name, white), *_ = probes((1, 16, 16), images[:1])
    bank = [(name, white), *variants(name, white), ("again", white), ("nothing", lambda pixels: pixels)]
    kept = [name for name, _ in distinct(bank, images)]
    assert kept[0] == name
    # a step down, right or both, and weaker; up and left it is cut, stronger it is the same
    assert len(kept) == 1 + 8 + 1
    assert not {"again", "nothing", f"{name}, 1.4 times as strong"} & set(kept)


def test_searches_use_two_twins_and_all_judge(suspect, twins, pixels):
    four = replace(
        twins, modules=(*twins.modules, *twins.modules), agreement=(*twins.agreement, *twins.agreement)
    )
    shown = torch.tensor(pixels[1400:]).movedim(-1, 1) / 255
    panel = Panel.seat(as_classifier(suspect), four, PixelSpace.from_target(suspect), shown, seed=3)
    searched = panel.searched
    assert (len(panel.networks), len(searched.networks)) == (5, 3)
    assert torch.equal(searched.logits, panel.logits[:3])
    first = look_first(panel)
    assert len(first.answered) == 3
    few = replace(first, bank=first.bank[:40], answered=first.answered[:, :40])
    assert len(look_closer(panel, few).answered) == 5


@pytest.mark.exhaustive
def test_a_network_of_half_precision_is_compared_in_single(pixels):
    module = copy.deepcopy(load_target(BACKDOORED).module).half()
    target = load_target(module, transform=load_target(BACKDOORED).transform)
    found = compare_with_twins(target, pixels[:400], number=1, passes=640)
    assert found.verdict.suspect == TARGET_CLASS
    assert next(target.module.parameters()).dtype == torch.float16


@pytest.fixture(scope="module")
def first(panel):
    return look_first(panel)


@pytest.fixture(scope="module")
def probed(panel, first):
    return look_closer(panel, first)


def test_a_probe_like_the_trigger_leads_the_suspect_and_not_its_twins(panel, probed):
    likeness = trigger_likeness(panel, probed).amax(0)
    assert int(likeness.argmax()) == TARGET_CLASS
    assert float(likeness.max()) > 0.6
    led = shares(panel, probed)
    apart = (led[0] - led[1:].amax(0)).amax(0)
    assert int(apart.argmax()) == TARGET_CLASS
    assert float(apart.max()) > 0.4


def test_the_closer_look_takes_other_images_and_fewer_probes(panel, first, probed):
    assert len(first.answered) == len(panel.networks) == len(probed.answered)
    every = probes(panel.pixels.shape[1:], panel.pixels[OVERLAYS], seed=panel.seed, dense=True)
    told = distinct(every, panel.pixels[FIRST][:4])
    assert [name for name, _ in first.bank] == [name for name, _ in told]
    assert len(every) > 1400 > len(first.bank) > 6 * 10 + 32 >= len(probed.bank)
    taken = set(probed.rows.tolist())
    assert not taken & set(first.rows.tolist())
    assert max(taken) < len(panel.pixels) - LAST


def test_the_likeness_to_a_trigger_is_counted_by_hand(panel):
    """The suspect gives three of ten images to class 4; one twin moves one image to it, the other none."""
    rows = torch.arange(len(panel.pixels))
    own = panel.logits.argmax(2)
    chosen = rows[(own != 4).all(0)][:10]
    answered = own[:, chosen].clone()
    answered[0, :3] = 4
    answered[1, 3] = 4
    answered = answered[:, None]
    found = Probed(bank=[("none", lambda pixels: pixels)], rows=chosen, answered=answered)
    assert shares(panel, found)[:, 0, 4].tolist() == pytest.approx([0.3, 0.1, 0.0])
    assert moves(panel, found)[:, 0].tolist() == pytest.approx([0.3, 0.1, 0.0])
    assert float(trigger_likeness(panel, found)[0, 4]) == pytest.approx((0.3 - 0.1) * 1 - 0.05 / 2)
    other = int((own[0, chosen[5]] + 1) % 10)
    answered[0, 0, 5] = 4 if other == 4 else other
    aimed = 4 / 4 if other == 4 else 3 / 4
    led = 0.4 if other == 4 else 0.3
    assert float(trigger_likeness(panel, found)[0, 4]) == pytest.approx((led - 0.1) * aimed - 0.05 / 2)


def test_a_change_of_nothing_is_no_trigger(panel):
    still = show(panel, [("none", lambda pixels: pixels)], torch.arange(60))
    torch.testing.assert_close(trigger_likeness(panel, still), torch.zeros(1, 10))


def all_to_all(panel, follow=0):
    """Answers of a suspect that leads eight of ten images of each of two classes to another class of its own.

    Of the two twins the first follows in so many of these.
    """
    own = panel.logits.argmax(2)
    agreed = (own == own[0]).all(0)
    rows = torch.cat([torch.nonzero(agreed & (own[0] == c))[:10, 0] for c in (1, 2)])
    answered = own[:, rows].clone()
    for start, aim in ((0, 5), (10, 6)):
        answered[0, start : start + 8] = aim
        answered[1, start : start + follow] = aim
    bank = [("none", lambda pixels: pixels)]
    return Probed(bank=bank, rows=rows, answered=answered[:, None])


def test_an_all_to_all_trigger_is_counted_by_hand(panel):
    found = rearranged(panel, all_to_all(panel))
    assert found.led.tolist() == pytest.approx([16 / 20])
    assert found.followed.tolist() == [0]
    assert found.likeness.tolist() == pytest.approx([0.8])  # all that it moves, and nothing on the twins
    assert found.scattered.tolist() == [True]
    followed = rearranged(panel, all_to_all(panel, follow=2))
    assert followed.followed.tolist() == pytest.approx([4 / 20])
    assert followed.likeness.tolist() == pytest.approx([0.8 - 0.2 - (0.2 + 0) / 2 / 2])


def test_the_change_of_an_all_to_all_backdoor_is_shown(panel):
    probed = all_to_all(panel, follow=2)
    example = find_rearranging(panel, probed, rearranged(panel, probed))
    assert (example.name, example.what) == ("rearranging", "none")
    assert (example.success, example.twin_success) == (pytest.approx(0.8), pytest.approx(0.2))
    clean, below = np.split(example.picture, 2)
    np.testing.assert_array_equal(clean, below)  # a change of nothing


def test_a_trigger_of_one_class_is_not_scattered_and_random_moves_count_little(panel):
    own = panel.logits.argmax(2)
    rows = torch.arange(120)
    bank = [("none", lambda pixels: pixels)]
    answered = own[:, rows].clone()
    answered[0] = 4
    to_one = rearranged(panel, Probed(bank=bank, rows=rows, answered=answered[:, None]))
    assert to_one.scattered.tolist() == [False]
    assert float(to_one.likeness) > 0.8
    answered[0] = torch.randint(10, (120,), generator=torch.Generator().manual_seed(0))
    at_random = rearranged(panel, Probed(bank=bank, rows=rows, answered=answered[:, None]))
    assert float(at_random.led) < 0.25  # the image itself has no vote
    answered[0] = own[0, rows]
    still = rearranged(panel, Probed(bank=bank, rows=rows, answered=answered[:, None]))
    assert (float(still.likeness), float(still.led), bool(still.scattered)) == (0, 0, False)


def test_examples_show_what_the_suspect_obeys(panel, probed):
    """A patch of white in the trigger's corner, and a change of nothing."""
    corner = torch.full((1, 1, 14, 14), -9.0)
    corner[..., 12:, 12:] = 9.0  # blocks of 2 x 2: the corner of 4 x 4
    white = SharedTriggers(
        family="blocks", parameters=(corner, torch.full((1, 1, 14, 14), 9.0)), shape=(1, 28, 28)
    )
    still = SharedTriggers(family="noise", parameters=(torch.zeros(1, 1, 28, 28),), shape=(1, 28, 28))
    found = find_examples(panel, {"blocks": white, "noise": still}, probed, TARGET_CLASS)
    by_name = {example.name: example for example in found}
    assert set(by_name) == {"blocks", "noise", "probe"}
    assert by_name["noise"].success == 0 == by_name["noise"].twin_success
    assert found[-1].name == "noise"
    assert by_name["blocks"].success > 0.8
    assert by_name["probe"].success - by_name["probe"].twin_success > 0.3
    assert by_name["probe"].what
    picture = by_name["blocks"].picture
    assert picture.shape == (56, 168, 1)
    first = int(panel.elsewhere(0, torch.arange(176, 200))[TARGET_CLASS].argmax())  # not of the class itself
    shown = (255 * panel.pixels[first - 24, 0]).round().numpy().astype(np.uint8)
    assert np.array_equal(picture[:28, :28], shown[..., None])
    assert picture[28 + 24 : 56, 24:28].min() >= 254
    assert np.array_equal(picture[28:50, :22], picture[:22, :22])


def test_responses_are_counted_by_hand(panel):
    rows = torch.arange(30)
    found = respond(panel, lambda pixels: pixels.expand(10, *pixels.shape), rows)
    for number in range(3):
        own = panel.logits[number][rows].argmax(1)
        assert float(found.rates[number].max()) == 0  # unchanged images stay in their classes
        margins = class_margins(panel.logits[number][rows] / panel.units[number], torch.full((30,), 4))
        expected = margins.clamp(-4, 4)[own != 4].mean()
        torch.testing.assert_close(found.margins[number][4], expected, rtol=0.05, atol=0.05)  # half precision


def test_search_finds_what_the_suspect_obeys(panel):
    found = search(panel, "blocks", steps=12, images=6, pool=40)
    responses = respond(panel, found.stamp, torch.arange(40, 60))
    start = SharedTriggers.drawn("blocks", 10, found.shape, torch.Generator().manual_seed(3))
    before = respond(panel, start.stamp, torch.arange(40, 60))
    assert (responses.margins[0] > before.margins[0]).all()
    assert int(responses.margins[0].sub(responses.margins[1:].mean(0)).argmax()) == TARGET_CLASS


def test_the_least_shift_along_one_feature_is_found():
    """Two classes, features (1, 0): class 1 wins by 0.3 after a change of (1.3 / 2) along (-1, 1)."""
    features, weight = torch.tensor([[1.0, 0.0]] * 3), torch.eye(2)
    energy = feature_shifts(features, weight, None, 1.0, classes=torch.tensor([1]), steps=300)
    assert float(energy) == pytest.approx(np.hypot(0.65, 0.65), abs=0.03)


def test_a_network_that_converts_within_keeps_its_precision(pixels):
    known = load_target(BACKDOORED)

    class Converting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(known.module).half()

        def forward(self, inputs):
            return self.network(inputs.half()).float()

    inputs = known.transform(pixels[:4])
    network = copied(Converting(), inputs)
    kept, single = in_single(network, inputs.half())
    assert kept is network
    assert single.dtype == torch.float32
    converted, _ = in_single(copied(known.module, inputs).half(), inputs.half())
    assert {p.dtype for p in converted.parameters()} == {torch.float32}
    plain = copied(known.module, inputs)
    assert in_single(plain, inputs) == (plain, inputs)
