"""Agreement and divergences: by hand, by brute force, and under what must not change them."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from securitynet_hub import load_images, load_metric, load_target
from securitynet_hub.attacks.stealing import measures as stealing
from securitynet_hub.attacks.stealing.measures import (
    agreement_per_class,
    measure_stealing,
    require_agreement_bound,
)
from securitynet_hub.attacks.stealing.present import INDEPENDENT
from securitynet_hub.engine.inference import predict
from securitynet_hub.statistics.rates import wilson_interval

RNG = np.random.default_rng(5)
N, CLASSES = 300, 4
REFERENCES = RNG.integers(0, CLASSES, N)
TARGET = RNG.normal(0, 2, (N, CLASSES)) + 3 * np.eye(CLASSES)[REFERENCES]
SURROGATE = TARGET + RNG.normal(0, 2, (N, CLASSES))


def softmax(logits):
    return torch.from_numpy(np.asarray(logits)).double().softmax(1).numpy()


def measured(**changes):
    settings = {"surrogate": SURROGATE, "references": REFERENCES, "target": TARGET, "from_logits": True}
    return measure_stealing(**(settings | changes))


class TestByHand:
    def test_labels(self):
        #                           right  both wrong alike  wrong unlike  surrogate alone right
        result = measure_stealing([0, 1, 2, 0, 1], [0, 1, 1, 1, 1], [0, 1, 2, 2, 0])
        assert result == {
            "accuracy": 3 / 5,
            "accuracy_ci": wilson_interval(3, 5),
            "target_accuracy": 2 / 5,
            "target_accuracy_ci": wilson_interval(2, 5),
            "relative_accuracy": 3 / 5 / (2 / 5),
            "agreement": 3 / 5,
            "agreement_ci": wilson_interval(3, 5),
            "agreement_on_target_errors": 1 / 3,
            "agreement_on_target_errors_ci": wilson_interval(1, 3),
            "kl": None,
            "kl_ci": None,
            "total_variation": None,
            "total_variation_ci": None,
            "n": 5,
            "n_target_errors": 3,
            "confidence_level": 0.95,
        }

    def test_posteriors(self):
        """The target stands first in KL: 1/2 log(1/2 / 1/4) + 1/2 log(1/2 / 3/4), not the other way round."""
        result = measure_stealing([[0.25, 0.75]], [0], [[0.5, 0.5]], from_logits=False)
        assert result["kl"] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
        assert result["total_variation"] == pytest.approx(0.25)

    def test_far_apart_logits(self):
        """At |z| of 1e4 a softmax rounds to 0 and 1; its logarithm does not."""
        result = measure_stealing([[-1e4, 1e4]], [0], [[1e4, -1e4]], from_logits=True)
        assert result["kl"] == pytest.approx(2e4, rel=1e-15)
        assert result["total_variation"] == 1

    def test_a_probability_of_zero_counts_as_the_clip(self):
        result = measure_stealing([[0.0, 1.0]], [0], [[1.0, 0.0]], from_logits=False)
        assert result["kl"] == pytest.approx(-math.log(1e-30))

    def test_of_tied_classes_the_first_is_predicted(self):
        assert measured(surrogate=np.zeros((N, 4)))["accuracy"] == np.mean(REFERENCES == 0)

    def test_missing_is_none(self):
        never_right = measure_stealing([0, 1], [0, 1], [1, 0])
        assert never_right["relative_accuracy"] is None
        assert never_right["agreement_on_target_errors"] == 0
        no_error = measure_stealing([0, 0], [0, 1], [0, 1])
        assert no_error["agreement_on_target_errors"] is no_error["agreement_on_target_errors_ci"] is None
        assert no_error["n_target_errors"] == 0


def test_brute_force():
    result = measured(confidence_level=0.9)
    kl, variation, agreeing, on_errors = [], [], 0, []
    for s, y, t in zip(SURROGATE, REFERENCES, TARGET, strict=True):
        q, p = (np.exp(z) / np.exp(z).sum() for z in (s, t))
        kl.append(sum(p[i] * math.log(p[i] / q[i]) for i in range(CLASSES)))
        variation.append(max(abs(p[list(a)].sum() - q[list(a)].sum()) for a in subsets()))
        agreeing += s.argmax() == t.argmax()
        on_errors += [s.argmax() == t.argmax()] if t.argmax() != y else []
    assert result["kl"] == pytest.approx(np.mean(kl), rel=1e-12)
    assert result["total_variation"] == pytest.approx(np.mean(variation), rel=1e-12)
    assert result["agreement"] == agreeing / N
    assert result["agreement_ci"] == wilson_interval(agreeing, N, confidence_level=0.9)
    assert result["agreement_on_target_errors"] == sum(on_errors) / len(on_errors)
    assert 0 < result["n_target_errors"] == len(on_errors) < N


def subsets():
    """Total variation is the largest difference of the probabilities of an event."""
    return ([i for i in range(CLASSES) if number >> i & 1] for number in range(2**CLASSES))


class TestMetamorphic:
    def test_the_order_of_rows_does_not_matter(self):
        order = RNG.permutation(N)
        moved = measured(surrogate=SURROGATE[order], references=REFERENCES[order], target=TARGET[order])
        assert moved == measured()

    def test_swapped_sides(self):
        """Agreement and total variation are symmetric; KL is not, and the accuracies change places."""
        one, other = measured(), measured(surrogate=TARGET, target=SURROGATE)
        for name in ("agreement", "total_variation"):
            assert one[name] == other[name]
        assert one["accuracy"] == other["target_accuracy"] != one["target_accuracy"]
        assert one["kl"] != pytest.approx(other["kl"], rel=1e-3)

    def test_a_copy_agrees_everywhere(self):
        result = measured(surrogate=TARGET)
        assert result["agreement"] == result["agreement_on_target_errors"] == 1
        assert result["agreement_ci"].high == 1
        assert (result["kl"], result["total_variation"], result["relative_accuracy"]) == (0, 0, 1)

    def test_renamed_classes_change_nothing(self):
        names = RNG.permutation(CLASSES)  # column i becomes class names[i]
        columns = np.argsort(names)
        moved = measured(
            surrogate=SURROGATE[:, columns], references=names[REFERENCES], target=TARGET[:, columns]
        )
        assert moved["kl"] == pytest.approx(measured()["kl"], rel=1e-12)
        assert moved["agreement"] == measured()["agreement"]

    def test_a_row_s_constant_is_lost_in_the_softmax(self):
        shifted = measured(surrogate=SURROGATE + RNG.normal(0, 50, (N, 1)))
        assert shifted["kl"] == pytest.approx(measured()["kl"], rel=1e-9)

    def test_every_row_twice_narrows_the_intervals_alone(self):
        doubled = measured(
            **{
                name: np.repeat(rows, 2, axis=0)
                for name, rows in (("surrogate", SURROGATE), ("references", REFERENCES), ("target", TARGET))
            }
        )
        assert doubled["agreement"] == measured()["agreement"]
        assert doubled["kl"] == pytest.approx(measured()["kl"], rel=1e-15)
        assert doubled["agreement_ci"].low > measured()["agreement_ci"].low

    def test_logits_probabilities_and_labels_tell_the_same(self):
        of_logits = measured()
        p = measured(surrogate=softmax(SURROGATE), target=softmax(TARGET), from_logits=False)
        labels = measured(surrogate=SURROGATE.argmax(1), target=TARGET.argmax(1), from_logits=None)
        assert p["kl"] == pytest.approx(of_logits["kl"], rel=1e-9)
        for name in set(labels) - {"kl", "kl_ci", "total_variation", "total_variation_ci"}:
            assert of_logits[name] == p[name] == labels[name]
        mixed = measured(target=TARGET.argmax(1))
        assert mixed == labels

    def test_chunks_do_not_show(self, monkeypatch):
        whole = measured()
        monkeypatch.setattr(stealing, "CHUNK_ELEMENTS", 28)
        assert measured() == whole

    @pytest.mark.parametrize("as_type", [np.ndarray.tolist, torch.from_numpy, np.asfortranarray])
    def test_lists_and_tensors(self, as_type):
        before = TARGET.copy()
        assert measured(surrogate=as_type(SURROGATE), target=as_type(TARGET)) == measured()
        assert np.array_equal(TARGET, before)

    def test_half_precision_probabilities_pass(self):
        halves = {
            "surrogate": softmax(SURROGATE).astype(np.float16),
            "target": torch.from_numpy(softmax(TARGET)).bfloat16(),
        }
        assert measured(**halves, from_logits=False)["kl"] == pytest.approx(measured()["kl"], rel=0.1)


class TestPerClass:
    def test_it_adds_up_to_the_agreement(self):
        classes = agreement_per_class(SURROGATE, REFERENCES, TARGET, from_logits=True)
        assert [c.label for c in classes] == list(range(CLASSES))
        assert sum(c.n for c in classes) == N
        assert sum(round(c.agreement * c.n) for c in classes) / N == measured()["agreement"]
        for c in classes:
            own = np.equal(REFERENCES, c.label)
            alone = measured(surrogate=SURROGATE[own], references=REFERENCES[own], target=TARGET[own])
            assert (c.agreement, c.ci) == (alone["agreement"], alone["agreement_ci"])

    def test_a_class_without_samples_has_no_agreement(self):
        assert agreement_per_class([0, 2], [0, 2], [0, 2])[1] == (1, 0, None, None)
        assert agreement_per_class(np.eye(5), [0] * 5, np.eye(5), from_logits=True)[4] == (4, 0, None, None)


class TestBound:
    @given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=12))
    def test_three_lists_of_labels_keep_it_in_any_order(self, rows):
        surrogate, references, target = zip(*rows, strict=True)
        result = measure_stealing(surrogate, references, target)
        require_agreement_bound(result["accuracy"], result["target_accuracy"], result["agreement"])

    @pytest.mark.parametrize(("inside", "outside"), [(0.7, 0.69), (0.9, 0.91)])
    def test_figures_put_together(self, inside, outside):
        require_agreement_bound(0.9, 0.8, inside)
        with pytest.raises(ValueError, match=r"must lie in 0\.7\.\.0\.9 .* not measured on the same samples"):
            require_agreement_bound(0.9, 0.8, outside)

    def test_measuring_checks_it(self, monkeypatch):
        asked = []
        monkeypatch.setattr(stealing, "require_agreement_bound", lambda *figures: asked.append(figures))
        result = measured()
        assert asked == [(result["accuracy"], result["target_accuracy"], result["agreement"])]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"from_logits": None}, "surrogate holds outputs, so from_logits must be True or False"),
        ({"surrogate": SURROGATE[:-1]}, "surrogate and references .* got 299 and 300"),
        ({"target": TARGET[:, :3]}, "same classes; got 4 and 3"),
        ({"surrogate": SURROGATE[:, :1]}, "at least two classes"),
        ({"surrogate": np.where(np.arange(N) == 7, np.nan, SURROGATE.T).T}, r"surrogate .* \(7\) hold NaN"),
        ({"from_logits": False}, "surrogate must be probabilities"),
        ({"surrogate": softmax(SURROGATE), "from_logits": False}, "target must be probabilities"),
        (
            {"references": REFERENCES.astype(float)},
            r"references must be integer labels of shape \(n,\); got f",
        ),
        ({"references": REFERENCES - 1}, "references must hold labels of 0 and above"),
        ({"references": REFERENCES + 1}, r"references must hold labels in 0\.\.3"),
        ({"target": np.full(N, 4)}, r"target must hold labels in 0\.\.3"),
        (
            {"surrogate": REFERENCES / 2},
            r"labels of shape \(n,\) or outputs of shape \(n, classes\); got float",
        ),
        ({"surrogate": SURROGATE[None]}, "surrogate must be"),
        ({"surrogate": [], "references": [], "target": []}, "empty"),
        ({"confidence_level": 1.0}, "confidence_level"),
    ],
)
def test_refusals(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        measured(**changes)


class TestMetric:
    @pytest.fixture
    def metric(self):
        return load_metric("model_stealing")

    def test_it_gives_the_library_s_figures_to_the_bit(self, metric):
        sides = {"predictions": SURROGATE, "references": REFERENCES, "target_predictions": TARGET}
        assert metric.compute(**sides, from_logits=True, confidence_level=0.9) == measured(
            confidence_level=0.9
        )

    @pytest.mark.parametrize("of_labels", [True, False])
    def test_collected_batches_give_the_same(self, metric, of_labels):
        told = {"surrogate": SURROGATE, "target": TARGET}
        if of_labels:
            told = {name: outputs.argmax(1) for name, outputs in told.items()}
        for start in range(0, N, 70):
            part = slice(start, start + 70)
            metric.add_batch(
                predictions=told["surrogate"][part],
                references=REFERENCES[part],
                target_predictions=told["target"][part],
            )
        assert metric.compute(from_logits=True) == measured(**told)

    @pytest.mark.parametrize("name", ["predictions", "references", "target_predictions"])
    def test_collected_fractions_are_refused_not_cut(self, metric, name):
        sides = {"predictions": [0, 1], "references": [0, 1], "target_predictions": [1, 1]}
        metric.add_batch(**{**sides, name: [0.5, 1.0]})
        with pytest.raises(ValueError, match=r"must be integer labels of shape \(n,\).*got float64"):
            metric.compute()

    def test_what_is_missing_is_told(self, metric):
        with pytest.raises(ValueError, match="got no target_predictions"):
            metric.compute(predictions=[0], references=[0])


@pytest.mark.slow
def test_what_independent_networks_agree_on_is_as_stated():
    """On each other's errors, on new images: what a copy's agreement there is compared with."""
    images = load_images()
    pixels, labels = images.pixels[2000:], images.labels[2000:]
    answers = [
        predict(load_target(f"zoo/fashion-mnist/cnn-clean/{seed}"), pixels).argmax(1) for seed in range(1, 7)
    ]
    shares = [(one == other)[one != labels].mean() for one, other in permutations(answers, 2)]
    assert INDEPENDENT[0] - 0.005 < min(shares) < max(shares) < INDEPENDENT[1] + 0.005
    assert max(shares) - min(shares) > 0.1
