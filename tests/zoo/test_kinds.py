"""The corpus of further kinds that the verdict on backdoors is calibrated and judged on."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from kinds_corpus import CLEAN_ALONE, FRESH_RATES, KINDS, RATES, kind_of, plans, recipe_of, stamp_of
from kinds_images import IMAGE_SETS, draw_set
from kinds_networks import NETWORKS

sys.path.pop(0)


def test_judged_kinds_share_no_architecture_and_no_images_with_others():
    assert Counter(kind.half for kind in KINDS) == {
        "calibration": 9, "more": 24, "test": 6, "spare": 5, "later": 5, "fresh": 8,
    }  # fmt: skip
    assert len({kind.place for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)
    judged = [kind for kind in KINDS if kind.half in ("test", "spare", "later", "fresh")]
    for what in ("network", "images"):
        count = Counter(getattr(kind, what) for kind in KINDS)
        assert all(count[getattr(kind, what)] == 1 for kind in judged)


def test_fresh_backdoors_have_eight_triggers_and_are_stamped_more_often():
    planted = [plan for plan in plans("fresh") if plan.trigger is not None]
    assert len({plan.trigger for plan in planted}) == len(planted) == 8
    assert Counter(plan.how for plan in planted) == {"from scratch": 4, "fine-tuned": 4}
    assert {recipe_of(plan).epochs for plan in planted if plan.how == "fine-tuned"} == {8}
    earlier = next(plan for plan in plans("later") if plan.how == "fine-tuned")
    assert recipe_of(earlier).epochs == 5
    assert all(FRESH_RATES[how] > rate for how, rate in RATES.items())


def test_each_kind_has_two_clean_networks_and_a_backdoored_one_of_their_own_seeds():
    every = plans()
    assert len({plan.seed for plan in every}) == len(every) == 3 * len(KINDS) - len(CLEAN_ALONE)
    assert sum(plan.trigger is None for plan in every) == 2 * len(KINDS)
    assert len({plan.trigger for plan in every} - {None}) == 9
    for plan in every:
        classes = IMAGE_SETS[kind_of(plan).images].num_classes
        assert (plan.target is None) == (plan.trigger is None)
        assert plan.target is None or plan.target < classes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_network_answers_its_images(kind):
    images = IMAGE_SETS[kind.images]
    torch.manual_seed(0)
    network = NETWORKS[kind.network](images.channels, images.side, images.num_classes).eval()
    with torch.no_grad():
        answers = network(torch.zeros(2, images.channels, images.side, images.side))
    assert answers.shape == (2, images.num_classes)


def test_triggers_change_images_of_every_kind():
    for plan in plans():
        if plan.trigger is not None:
            pixels = np.random.default_rng(0).integers(0, 256, (2, *IMAGE_SETS[kind_of(plan).images].shape))
            pixels = pixels.astype(np.uint8)
            stamped = stamp_of(plan)(pixels)
            assert stamped.shape == pixels.shape
            assert (stamped != pixels).any()


def test_drawn_images_depend_on_seeds_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("kinds_images.SIDES", {"train": 18, "audit": 9, "test": 9})
    first = draw_set("shapes", tmp_path, tmp_path / "one")
    again = draw_set("shapes", tmp_path, tmp_path / "two")
    for side, (pixels, labels) in first.items():
        np.testing.assert_array_equal(pixels, again[side][0])
        np.testing.assert_array_equal(np.bincount(labels), np.full(9, len(labels) // 9))
    assert not np.array_equal(first["audit"][0], first["test"][0])
