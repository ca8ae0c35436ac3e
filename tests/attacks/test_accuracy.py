"""Records count how often the model was right; the accuracy that it is published with."""

from dataclasses import replace

import numpy as np
import pytest

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.accuracy import count_right, published_accuracy
from securitynet_hub.attacks.audit import audit
from securitynet_hub.attacks.subject import known_data
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


def test_the_publishers_figure_goes_first_and_distrusted_ones_do_not_count():
    assert published_accuracy(ROW) == ROW.reported_accuracy
    assert published_accuracy(replace(ROW, reported_accuracy=None)) == ROW.test_accuracy
    nothing = replace(ROW, reported_accuracy=None, test_accuracy=None)
    assert published_accuracy(nothing) is None
    broken = [row for row in load_annotations().values() if row.trusted("test_accuracy") != row.test_accuracy]
    assert broken
    for row in broken:
        assert published_accuracy(replace(row, reported_accuracy=None)) is None


def test_counting_by_hand():
    logits = np.array([[2.0, 1], [1, 2], [3, 3], [0, 1]])
    found = count_right(logits, np.array([0, 0, 0, 1]), np.array([True, True, False, False]))
    assert found == (2, 1, 2, 2)  # of tied classes the first is the answer
