from functools import cache

import datasets
import numpy as np
import pytest
import torch
from mpmath import exp, log, mp, mpf

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics import signals
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import SIGNALS, score_all

mp.dps = 700
LOGITS = np.random.default_rng(0).normal(0, 3, (200, 7))
LABELS = np.random.default_rng(1).integers(0, 7, 200)
each_signal = pytest.mark.parametrize("name", SIGNALS)


@cache
def exact_softmax(logits):
    weights = [exp(mpf(z)) for z in logits]
    total = sum(weights)
    return [w / total for w in weights]


def exact(name, logits, label):
    """Evaluate the definition from the papers with 700 digits, on the softmax of one row."""
    p = exact_softmax(tuple(logits.tolist()))
    definitions = {
        "correctness": lambda: mpf(int(np.argmax(logits) == label)),
        "confidence": lambda: p[label],
        "loss": lambda: log(p[label]),
        "entropy": lambda: sum(q * log(q) for q in p),
        "modified_entropy": lambda: (
            (1 - p[label]) * log(p[label]) + sum(q * log(1 - q) for i, q in enumerate(p) if i != label)
        ),
        "hinge": lambda: log(p[label]) - log(max(q for i, q in enumerate(p) if i != label)),
        "logit_margin": lambda: log(p[label]) - log(sum(q for i, q in enumerate(p) if i != label)),
    }
    return definitions[name]()


def softmax(logits):
    return torch.from_numpy(logits).double().softmax(1).numpy()


@each_signal
def test_equals_the_definition(name):
    scores = SIGNALS[name](LOGITS, LABELS, from_logits=True)
    expected = [float(exact(name, z, y)) for z, y in zip(LOGITS, LABELS, strict=True)]
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-13)
    np.testing.assert_allclose(SIGNALS[name](softmax(LOGITS), LABELS, from_logits=False), expected, rtol=1e-9)


@each_signal
@pytest.mark.parametrize("scale", [10.0, 60.0, 120.0, 300.0])
def test_extreme_logits_keep_their_digits(name, scale):
    rng = np.random.default_rng(int(scale))
    logits = rng.normal(0, scale, (40, 5))
    labels = rng.integers(0, 5, 40)
    scores = SIGNALS[name](logits, labels, from_logits=True)
    expected = [float(exact(name, z, y)) for z, y in zip(logits, labels, strict=True)]
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, expected, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize("name", ["loss", "entropy", "modified_entropy", "hinge", "logit_margin"])
def test_scores_rise_strictly_where_probabilities_have_saturated(name):
    margins = np.array([10.0, 60.0, 120.0, 400.0])
    logits = np.stack([margins, 0 * margins, 0 * margins], 1)
    scores = SIGNALS[name](logits, np.zeros(4, int), from_logits=True)
    assert (np.diff(scores) > 0).all()


@each_signal
def test_logits_of_ten_thousand_stay_finite_and_bounded(name):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 1e4]])
    scores = SIGNALS[name](logits, np.zeros(3, int), from_logits=True)
    assert np.isfinite(scores).all()
    assert scores[0] == max(scores)
    if name in ("loss", "modified_entropy", "hinge", "logit_margin"):
        assert scores[1] == pytest.approx(-2e4, rel=1 if name == "modified_entropy" else 1e-12)
        assert scores[1] == min(scores)


@pytest.mark.parametrize("name", ["hinge", "logit_margin"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_margins_never_saturate(name, kind):
    """The naive log(p / (1 - p)) is infinite from 17 (float32) or 37 (float64) upwards."""
    margins = np.array([-1e4, -400, -37, 0, 10, 37, 60, 120, 400, 1e4])
    logits = np.stack([margins, 0 * margins, 0 * margins], 1).astype(kind)
    scores = SIGNALS[name](logits, np.zeros(len(margins), int), from_logits=True)
    shift = np.log(2) if name == "logit_margin" else 0
    np.testing.assert_allclose(scores, margins - shift, rtol=1e-15)
    assert (np.diff(scores) > 0).all()


def test_a_table_computed_by_hand():
    """Logits log 4, log 3, log 1: probabilities 1/2, 3/8, 1/8."""
    logits = np.log([[4.0, 3.0, 1.0]] * 3)
    p, labels = np.exp(logits) / 8, np.arange(3)
    entropy = np.log(1 / 2) / 2 + np.log(3 / 8) * 3 / 8 + np.log(1 / 8) / 8
    expected = {
        "correctness": [1, 0, 0],
        "confidence": [1 / 2, 3 / 8, 1 / 8],
        "loss": np.log([1 / 2, 3 / 8, 1 / 8]),
        "entropy": [entropy] * 3,
        "modified_entropy": [
            np.log(1 / 2) / 2 + np.log(5 / 8) * 3 / 8 + np.log(7 / 8) / 8,
            np.log(3 / 8) * 5 / 8 + np.log(1 / 2) / 2 + np.log(7 / 8) / 8,
            np.log(1 / 8) * 7 / 8 + np.log(1 / 2) / 2 + np.log(5 / 8) * 3 / 8,
        ],
        "hinge": np.log([4 / 3, 3 / 4, 1 / 4]),
        "logit_margin": np.log([4 / 4, 3 / 5, 1 / 7]),
    }
    for outputs, from_logits in ((logits, True), (p, False)):
        scores = score_all(outputs, labels, from_logits=from_logits)
        assert list(scores) == list(expected) == list(SIGNALS)
        for name, column in expected.items():
            np.testing.assert_allclose(scores[name], column, rtol=1e-14, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("from_logits", [True, False])
def test_all_signals_in_one_pass_equal_the_single_ones_to_the_bit(from_logits):
    outputs = LOGITS if from_logits else softmax(LOGITS)
    together = score_all(outputs, LABELS, from_logits=from_logits)
    backwards = score_all(outputs, LABELS, from_logits=from_logits, signals=list(SIGNALS)[::-1])
    assert list(backwards) == list(SIGNALS)[::-1]
    for name, signal in SIGNALS.items():
        alone = signal(outputs, LABELS, from_logits=from_logits)
        assert np.array_equal(together[name], alone)
        assert np.array_equal(backwards[name], alone)


def test_score_all_of_some():
    assert list(score_all(LOGITS, LABELS, from_logits=True, signals="loss")) == ["loss"]
    with pytest.raises(UnknownNameError, match="modified_entropy"):
        score_all(LOGITS, LABELS, from_logits=True, signals=["loss", "modified-entropy"])
    with pytest.raises(ValueError, match="True or False"):
        score_all(LOGITS, LABELS, from_logits=None)
    with pytest.raises(TypeError, match="from_logits"):
        score_all(LOGITS, LABELS)


@each_signal
@pytest.mark.parametrize("classes", [2, 3, 100, 1000])
def test_few_and_many_classes(name, classes):
    """Most classes are improbable where there are many: there a series takes the logarithm's place."""
    rng = np.random.default_rng(classes)
    logits, labels = rng.normal(0, 2, (4, classes)), rng.integers(0, classes, 4)
    labels[0] = logits[0].argmax()
    with mp.workdps(50):
        expected = [float(exact(name, z, y)) for z, y in zip(logits, labels, strict=True)]
    scores = SIGNALS[name](logits, labels, from_logits=True)
    np.testing.assert_allclose(scores, expected, rtol=1e-13, atol=1e-15)


@each_signal
def test_uniform_and_tied_outputs(name):
    """Every class equal, and a label that ties with the top class from either side."""
    logits = np.array([[0.0] * 4, [5.0, 5.0, -50.0, -50.0], [5.0, 5.0, -50.0, -50.0]])
    labels = np.array([2, 0, 1])
    scores = SIGNALS[name](logits, labels, from_logits=True)
    expected = [float(exact(name, z, y)) for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=1e-13, atol=1e-15)
    if name != "correctness":
        assert scores[1] == scores[2]


@each_signal
def test_members_that_are_easier_are_found_and_swapped_sides_mirror_it(name):
    """An orientation that is wrong anywhere would show below one half."""
    rng = np.random.default_rng(3)
    is_member, labels = np.arange(600) < 300, rng.integers(0, 7, 600)
    logits = rng.normal(0, 1, (600, 7))
    logits[np.arange(600), labels] += np.where(is_member, 4, 1)
    for outputs, from_logits in ((logits, True), (softmax(logits), False)):
        auc = roc_auc(SIGNALS[name](outputs, labels, from_logits=from_logits), is_member)
        assert auc > 0.7
        swapped = roc_auc(SIGNALS[name](outputs, labels, from_logits=from_logits), ~is_member)
        assert swapped == pytest.approx(1 - auc)


@each_signal
def test_a_hundred_more_or_a_thousandfold_leaves_what_it_should(name):
    """Any constant added leaves an AUC as it is; a scale leaves that of correctness and hinge order."""
    rng = np.random.default_rng(4)
    is_member = np.arange(200) < 100
    moved = LOGITS.round(3) + rng.integers(-100, 100, (200, 1)).astype(float)
    plain = SIGNALS[name](LOGITS.round(3), LABELS, from_logits=True).round(9)
    again = SIGNALS[name](moved, LABELS, from_logits=True).round(9)
    assert roc_auc(again, is_member) == pytest.approx(roc_auc(plain, is_member), abs=1e-4)
    if name in ("correctness", "hinge"):
        scaled = SIGNALS[name](LOGITS * 1000, LABELS, from_logits=True)
        assert roc_auc(scaled, is_member) == roc_auc(
            SIGNALS[name](LOGITS, LABELS, from_logits=True), is_member
        )


@each_signal
def test_renaming_the_classes_changes_nothing(name):
    order = np.random.default_rng(5).permutation(7)
    renamed = np.argsort(order)[LABELS]
    np.testing.assert_allclose(
        SIGNALS[name](LOGITS[:, order], renamed, from_logits=True),
        SIGNALS[name](LOGITS, LABELS, from_logits=True),
        rtol=1e-11,
    )


@each_signal
def test_raising_the_label_s_logit_never_lowers_a_score(name):
    """Entropy alone asks for no label: it falls until the label is the top class, and rises from there."""
    steps = np.linspace(-30, 30, 61)
    logits = np.tile(LOGITS[0], (61, 1))
    logits[:, 3] = steps
    scores = SIGNALS[name](logits, np.full(61, 3), from_logits=True)
    if name == "entropy":
        scores = scores[steps >= LOGITS[0].max()]
    assert (np.diff(scores) >= 0).all()


@each_signal
def test_duplicated_rows_tie(name):
    scores = SIGNALS[name](np.repeat(LOGITS, 3, 0), np.repeat(LABELS, 3), from_logits=True)
    assert np.array_equal(scores, np.repeat(SIGNALS[name](LOGITS, LABELS, from_logits=True), 3))


@each_signal
def test_a_class_that_no_sample_has(name):
    rows = LABELS != 0
    some = SIGNALS[name](LOGITS[rows], LABELS[rows], from_logits=True)
    assert np.array_equal(some, SIGNALS[name](LOGITS, LABELS, from_logits=True)[rows])


@each_signal
def test_members_score_higher(name):
    """A confident right answer beats an unsure one, whatever the signal."""
    scores = SIGNALS[name]([[5.0, 0.0, 0.0], [-0.1, 0.0, 0.1]], [0, 0], from_logits=True)
    assert scores[0] > scores[1]


@each_signal
def test_adding_a_constant_to_logits_changes_nothing(name):
    signal = SIGNALS[name]
    plain, moved = (signal(LOGITS + c, LABELS, from_logits=True) for c in (0, 100))
    np.testing.assert_allclose(plain, moved, rtol=1e-11)


@each_signal
def test_rows_do_not_know_of_each_other(name, monkeypatch):
    signal = SIGNALS[name]
    together = signal(LOGITS, LABELS, from_logits=True)
    order = np.random.default_rng(2).permutation(len(LABELS))
    assert np.array_equal(signal(LOGITS[order], LABELS[order], from_logits=True), together[order])
    single = [signal(LOGITS[i : i + 1], LABELS[i : i + 1], from_logits=True)[0] for i in range(20)]
    assert np.array_equal(single, together[:20])
    monkeypatch.setattr(signals, "CHUNK_ELEMENTS", 7 * 9)
    assert np.array_equal(signal(LOGITS, LABELS, from_logits=True), together)


@each_signal
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_precision_is_scored_in_float64(name, dtype):
    logits = torch.from_numpy(LOGITS).to(dtype).requires_grad_()
    scores = SIGNALS[name](logits, torch.from_numpy(LABELS), from_logits=True)
    widened = SIGNALS[name](logits.detach().double().numpy(), LABELS, from_logits=True)
    assert np.array_equal(scores, widened)


@each_signal
def test_lists_and_dataset_columns(name):
    rows = datasets.Dataset.from_dict({"logits": LOGITS.tolist(), "label": LABELS.tolist()})
    expected = SIGNALS[name](LOGITS, LABELS, from_logits=True)
    for outputs, labels in ((LOGITS.tolist(), LABELS.tolist()), (rows["logits"], rows["label"])):
        assert np.array_equal(SIGNALS[name](outputs, labels, from_logits=True), expected)


@each_signal
def test_any_layout_of_an_array(name):
    expected = SIGNALS[name](LOGITS, LABELS, from_logits=True)
    for outputs in (
        LOGITS[::-1][::-1],
        np.asfortranarray(LOGITS),
        LOGITS.astype(">f8"),
        LOGITS.astype("longdouble"),
    ):
        for labels in (LABELS.astype(np.uint16), LABELS.astype(np.uint64), LABELS.astype(">i4")):
            assert np.array_equal(SIGNALS[name](outputs, labels, from_logits=True), expected)
    backwards = SIGNALS[name](LOGITS[::-1], LABELS[::-1], from_logits=True)
    assert np.array_equal(backwards, expected[::-1])


@each_signal
@pytest.mark.parametrize("from_logits", [True, False])
def test_the_caller_gets_its_arrays_back_as_they_were(name, from_logits):
    outputs = LOGITS.copy() if from_logits else softmax(LOGITS)
    before = outputs.copy()
    outputs.flags.writeable = False
    SIGNALS[name](outputs, LABELS, from_logits=from_logits)
    assert np.array_equal(outputs, before)
    tensor = torch.from_numpy(before.copy())
    SIGNALS[name](tensor, LABELS, from_logits=from_logits)
    assert np.array_equal(tensor.numpy(), before)


def test_probabilities_of_zero_and_one_are_clipped_as_in_the_reference():
    certain = [[1.0, 0.0]]
    assert signals.loss(certain, [1], from_logits=False)[0] == pytest.approx(np.log(1e-30))
    assert signals.modified_entropy(certain, [1], from_logits=False)[0] == pytest.approx(2 * np.log(1e-30))
    assert signals.modified_entropy(certain, [0], from_logits=False)[0] == 0


def test_the_first_of_tied_classes_is_the_top_one():
    assert signals.correctness([[1.0, 1.0]] * 2, [0, 1], from_logits=True).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("outputs", "labels", "from_logits", "sentence"),
    [
        ([[0.5, np.nan], [0.5, 0.5], [np.inf, 0.0]], [0, 0, 0], True, r"2 row\(s\) \(0, 2\)"),
        ([[3.0, 1.0]], [0], False, "from_logits=True"),
        ([[1.5, -0.5]], [0], False, "probabilities"),
        ([[0.5, 0.5]], [2], True, r"0\.\.1"),
        ([[0.5, 0.5]], [-1], True, r"0\.\.1"),
        ([[0.5, 0.5]], [0.0], True, "integers"),
        ([[0.5, 0.5]], [0, 1], True, "1 and 2"),
        ([0.5, 0.5], [0, 1], True, "classes"),
        ([[0.5], [0.5]], [0, 0], True, "two classes"),
        (np.empty((0, 3)), np.empty(0, int), True, "empty"),
        ([[0.5, 0.5], [1.0]], [0, 1], True, "rectangular"),
        ([[1e308, -1e308]], [0], True, "below 1e300"),
        ([[torch.ones(1, requires_grad=True)] * 2], [0], True, "rectangular"),
        ([["a", "b"]], [0], True, "numbers"),
    ],
)
@each_signal
def test_refusals(name, outputs, labels, from_logits, sentence):
    with pytest.raises(ValueError, match=sentence):
        SIGNALS[name](outputs, labels, from_logits=from_logits)


@pytest.mark.parametrize("answer", ["no", None, 1])
def test_from_logits_is_yes_or_no(answer):
    with pytest.raises(ValueError, match="True or False"):
        signals.loss(LOGITS, LABELS, from_logits=answer)


def test_from_logits_must_be_said():
    with pytest.raises(TypeError, match="from_logits"):
        signals.loss(LOGITS, LABELS)
