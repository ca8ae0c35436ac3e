"""Figures say how often the model was right, and a warning when it hardly was the published model."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.accuracy import count_right, published_accuracy, warn_of_low_accuracy
from securitynet_hub.attacks.audit import audit
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import load_target
from securitynet_hub.sharing.leaderboard import comparable

TARGET = "zoo/fashion-mnist/cnn-overfitted-250/1"
ROW = load_annotations()["pytorchcv/cifar10/resnet20"]


@pytest.fixture(scope="module")
def target():
    return load_target(TARGET)


@pytest.fixture(scope="module")
def data(target):
    return known_data(target.annotation)


def shuffled(data):
    """The same images, their classes in another order than the model's."""
    labels = (data.images.labels + 1) % 10
    return replace(data, images=replace(data.images, labels=labels))


def test_records_count_right_answers_of_members_and_others(target, data):
    (record,) = audit(target, attacks="loss", data=data)
    right = predict(target, data.images.pixels).argmax(1) == data.images.labels
    members, others = data.split.members, data.split.nonmembers
    assert record.counts == {
        "forwarded": 2000,
        "members": 250,
        "members_right": right[members].sum(),
        "nonmembers": 1750,
        "nonmembers_right": right[others].sum(),
    }


def test_right_answers_do_not_decide_what_is_compared(target, data):
    (record,) = audit(target, attacks="loss", data=data)
    other = replace(record, counts={**record.counts, "members_right": 1, "nonmembers_right": 2})
    assert comparable(record) == comparable(other)


@pytest.mark.parametrize("attack", ["loss", "model_stealing"])
def test_classes_in_another_order_are_noticed(target, data, attack):
    few = {"budgets": [5]} if attack == "model_stealing" else {}
    with pytest.warns(AccuracyWarning, match=r"published are 73\.7%.*classes stand in the order of"):
        audit(target, attacks=attack, data=shuffled(data), **few)


@pytest.mark.parametrize(
    ("right", "asked"),
    [
        (9400, 10_000),  # as published
        (8500, 10_000),  # another crop
        (0, 2),  # too few to tell
    ],
)
def test_what_can_be_chance_or_another_crop_is_no_reason(right, asked):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_low_accuracy(ROW, right, asked)


@pytest.mark.parametrize(("right", "asked"), [(8100, 10_000), (1000, 10_000), (10, 40)])
def test_what_cannot_is(right, asked):
    with pytest.warns(AccuracyWarning, match=f"right on {right} of {asked} images .* published are 94.0%"):
        warn_of_low_accuracy(ROW, right, asked)


def test_the_publishers_figure_goes_first_and_distrusted_ones_do_not_count():
    assert published_accuracy(ROW) == ROW.reported_accuracy
    assert published_accuracy(replace(ROW, reported_accuracy=None)) == ROW.test_accuracy
    nothing = replace(ROW, reported_accuracy=None, test_accuracy=None)
    assert published_accuracy(nothing) is None
    warn_of_low_accuracy(nothing, 0, 1000)
    broken = [row for row in load_annotations().values() if row.trusted("test_accuracy") != row.test_accuracy]
    assert broken
    for row in broken:
        assert published_accuracy(replace(row, reported_accuracy=None)) is None


def test_counting_by_hand():
    logits = np.array([[2.0, 1], [1, 2], [3, 3], [0, 1]])
    found = count_right(logits, np.array([0, 0, 0, 1]), np.array([True, True, False, False]))
    assert found == (2, 1, 2, 2)  # of tied classes the first is the answer
