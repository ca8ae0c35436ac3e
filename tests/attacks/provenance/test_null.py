"""P-values: exact for few models, uniform or larger where the models are independent."""

import numpy as np
import pytest

from securitynet_hub.attacks.provenance.all_answers import all_answers
from securitynet_hub.attacks.provenance.answer_correlation import answer_correlation
from securitynet_hub.attacks.provenance.answers import measure_provenance
from securitynet_hub.attacks.provenance.error_agreement import error_agreement
from securitynet_hub.attacks.provenance.logit_space import feature_width, logit_space
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import (
    models_needed,
    rank_among_models,
    rank_among_pairs,
    require_significance,
)
from securitynet_hub.core.errors import UnknownNameError

SIGNS = [error_agreement, answer_correlation, all_answers]


def linear_models(rng, count, n=60, classes=4, width=5, noise=1.0):
    """Logits of linear models that have learnt one task, each with errors of its own; and the true labels."""
    inputs, truth = rng.normal(size=(n, width)), rng.normal(size=(width, classes))
    heads = truth + noise * rng.normal(size=(count, width, classes))
    return inputs @ heads, (inputs @ truth).argmax(1)


class TestRanks:
    def test_n_models_give_no_p_value_below_1_in_n_plus_1(self):
        for n in (0, 1, 5, 19):
            assert rank_among_models(1.0, np.zeros(n)) == (1 / (n + 1), 1 / (n + 1))

    def test_ties_count_against_the_suspicion(self):
        assert rank_among_models(0.5, np.array([0.5, 0.4])).p_value == pytest.approx(2 / 3)
        assert rank_among_pairs(np.full((4, 4), 0.5)).p_value == 1.0

    def test_a_pair_above_all_others(self):
        similarities = np.zeros((7, 7))
        similarities[0, 1] = similarities[1, 0] = 1.0
        assert rank_among_pairs(similarities).p_value == pytest.approx(2 / 42)

    @pytest.mark.parametrize("level", [0.2, 0.05, 0.01])
    def test_the_number_needed_is_the_least(self, level):
        n = models_needed(level, "reference")
        assert (
            rank_among_models(1.0, np.zeros(n)).p_value
            <= level
            < rank_among_models(1.0, np.zeros(n - 1)).p_value
        )
        n = models_needed(level, "pairs")
        assert 2 / ((n + 2) * (n + 1)) <= level < 2 / ((n + 1) * n)


class TestAbsurdLevels:
    """A record of strangers states its level, too."""

    @pytest.mark.parametrize("level", [0, 1, -0.1, 1e-300, 5e-324, float("nan"), "0.05", [0.05], None, True])
    def test_are_refused(self, level):
        with pytest.raises(ValueError, match="significance must be"):
            require_significance(level)

    @pytest.mark.parametrize("null", ["reference", "pairs"])
    def test_the_smallest_one_is_answered_at_once(self, null):
        assert models_needed(1e-9, null) == {"reference": 10**9 - 1, "pairs": 44_721 - 1}[null]


def test_labels_may_be_of_any_size():
    asked = [0, 7, 10**15, 3], [0, 7, 3, 3], [0, 7, 10**15, 0], [[0, 1, 3, 3], [5, 7, 3, 10**12]]
    told = measure_provenance(*asked)
    small = {10**15: 8, 10**12: 9}
    renamed = [[small.get(label, label) for label in labels] for labels in (*asked[:3], *asked[3])]
    assert measure_provenance(*renamed[:3], renamed[3:]) == told
    with pytest.raises(ValueError, match="whole labels of 0 to"):
        measure_provenance([0, 1, 1e300, 3], *asked[1:])


def test_the_largest_logits_are_answers():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 20, 3))
    labels = rng.integers(0, 3, 20)
    huge = np.ldexp(logits, 1020)
    found = [measure_provenance(z[1], labels, z[0], z[2:]) for z in (logits, huge)]
    assert found[0] == found[1]


class TestIndependentModels:
    """Random linear models of one task."""

    @pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.__name__)
    def test_p_values_are_uniform_or_larger(self, sign):
        rng, p_values = np.random.default_rng(0), {"reference": [], "pairs": []}
        for _ in range(400):
            logits, labels = linear_models(rng, 11)
            models = Models(outputs=logits, labels=labels)
            own = sign(models, 0)
            p_values["reference"].append(rank_among_models(own[1], own[2:]).p_value)
            if sign is not all_answers:
                rows = np.stack([sign(models, k) for k in range(11)])
                p_values["pairs"].append(rank_among_pairs(rows).p_value)
        for found in filter(None, p_values.values()):
            for level in (0.1, 0.3, 0.5):
                # At most the level, up to 3 standard errors of 400 trials.
                assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
            assert np.mean(found) < 0.65  # and not merely large

    @pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.__name__)
    def test_a_copy_gets_the_smallest_p_value(self, sign):
        rng = np.random.default_rng(1)
        logits, labels = linear_models(rng, 21, n=200)
        logits[1] = 3 * logits[0] + rng.normal(
            size=(200, 1)
        )  # another temperature, other offsets: the same model
        own = sign(Models(outputs=logits, labels=labels), 0)
        assert rank_among_models(own[1], own[2:]).p_value == 1 / 20

    @pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.__name__)
    def test_the_order_of_other_models_and_of_classes_does_not_matter(self, sign):
        rng = np.random.default_rng(2)
        logits, labels = linear_models(rng, 8)
        expected = sign(Models(outputs=logits, labels=labels), 0)
        order = np.append(0, 1 + rng.permutation(7))
        np.testing.assert_allclose(
            sign(Models(outputs=logits[order], labels=labels), 0)[1:], expected[order][1:], atol=1e-8
        )
        classes = rng.permutation(4)
        renamed = Models(outputs=logits[:, :, classes], labels=np.argsort(classes)[labels])
        np.testing.assert_allclose(sign(renamed, 0)[1:], expected[1:], atol=1e-8)

    def test_correlation_is_symmetric_and_ignores_scale(self):
        logits, labels = linear_models(np.random.default_rng(3), 6)
        rows = np.stack([answer_correlation(Models(outputs=logits, labels=labels), k) for k in range(6)])
        np.testing.assert_allclose(rows, rows.T, atol=1e-9)
        scaled = logits * np.array([1, 5, 0.1, 2, 2, 9.0])[:, None, None] + 4
        np.testing.assert_allclose(
            answer_correlation(Models(outputs=scaled, labels=labels), 0), rows[0], atol=1e-9
        )

    def test_a_mistake_that_all_make_weighs_nothing(self):
        told = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1]])  # of labels 1, 0, 1; all err on the first
        models = Models(outputs=np.eye(2)[told], labels=np.array([1, 0, 1]))
        # The reference errs on all three: on the second alone, on the third with model 1.
        assert error_agreement(models, 0)[1] == pytest.approx(np.log(3 / 2) / (np.log(3) + np.log(3 / 2)))


class TestLogitSpace:
    def test_the_width_is_found_exactly_in_float32(self):
        rng = np.random.default_rng(0)
        for width in (1, 7, 20):
            head, features = rng.normal(size=(width, 60)), rng.normal(size=(90, width))
            logits = (features @ head + rng.normal(size=60)).astype(np.float32)
            assert feature_width(logits) == width
        assert feature_width(rng.normal(size=(90, 60))) is None

    def test_a_kept_head_is_found_whatever_became_of_the_features(self):
        rng = np.random.default_rng(1)
        heads = rng.normal(size=(21, 8, 50))
        heads[1] = heads[0]
        logits = np.stack([rng.normal(size=(100, 8)) @ head for head in heads])
        own = logit_space(Models(outputs=logits, labels=np.zeros(100, int)), 0)
        assert own[1] == pytest.approx(1)
        # Of independent spaces a direction has the share width / dimensions in the other.
        assert own[2:].mean() == pytest.approx(8 / 49, abs=0.03)
        assert rank_among_models(own[1], own[2:]).p_value == 1 / 20


class TestAnswers:
    def test_without_independent_models_nothing_is_derived(self):
        found = measure_provenance([0, 1], [0, 0], [0, 1], [])
        assert (found["p_value"], found["outcome"], found["n_needed"]) == (1.0, "too few models", 19)

    def test_answers_of_another_length_are_refused(self):
        with pytest.raises(ValueError, match=r"suspect must have a row for each of 2 references.*got \(3,\)"):
            measure_provenance([0, 1, 1], [0, 0], [0, 1], [])

    def test_an_unknown_null_is_refused_with_the_closest(self):
        with pytest.raises(UnknownNameError, match=r"'pair'.*pairs"):
            measure_provenance([0], [0], [0], [], null="pair")
