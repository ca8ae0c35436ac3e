"""Two networks and independent ones: what is found, and what is left open."""

import copy
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from securitynet_hub import audit, load_target
from securitynet_hub.attacks.provenance.adversarial_overlap import boundary_examples
from securitynet_hub.attacks.provenance.audit import _is_unfit
from securitynet_hub.attacks.provenance.copies import make_copies
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.present import _cells, section, tables
from securitynet_hub.attacks.provenance.shortage import needs
from securitynet_hub.attacks.provenance.verdict import judge, word
from securitynet_hub.attacks.provenance.weight_alignment import aligned_layers, rank_among_orders
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.attacks.validity import is_near_chance
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.models.target import Target
from securitynet_hub.models.zoo_networks import TRANSFORM, Cnn
from securitynet_hub.plots.measured import percent
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.schema import parse_part

CLEAN = "zoo/fashion-mnist/cnn-clean"
QUICK = {"queries": 80, "power_copies": ()}


@pytest.fixture(scope="module")
def reference():
    return load_target(f"{CLEAN}/1")


@pytest.fixture(scope="module")
def quantised(reference):
    ((_, copy),) = make_copies(reference, known_data(reference.annotation), ["quantised"])
    return replace(copy, annotation=replace(copy.annotation, id="file:copy"))


def compared(suspect, reference, **options):
    data = known_data(load_target(f"{CLEAN}/1").annotation)
    names = options.pop("attacks", ["all_answers", "weight_alignment"])
    return audit(suspect, attacks=names, data=data, reference=reference, **{**QUICK, **options})


@pytest.fixture(scope="module")
def records_of_copy(quantised):
    return compared(quantised, f"{CLEAN}/1")


def said(records):
    (judged,) = judge([Entry(record, Path()) for record in records])
    return word(judged, "it")


class TestOutcomes:
    def test_a_quantised_copy_is_derived(self, records_of_copy):
        answers, weights = records_of_copy
        assert answers.result["outcome"] == weights.result["outcome"] == "derived"
        assert answers.result["p_value"] <= 2 / 42 + 1e-9  # of seven models, above all other pairs
        assert weights.result["p_value"] == pytest.approx(2 / 2000)  # of two layers
        assert (answers.result["null"], answers.result["n_independent"]) == ("pairs", 5)
        verdict = said([answers, weights])
        assert verdict.tone == "alarm"
        assert verdict.title.startswith(f"Derived from {CLEAN}/1")
        assert "corrected for 2 tests" in verdict.text

    def test_one_sign_in_answers_alone_is_no_verdict(self, records_of_copy):
        answers, weights = records_of_copy
        alone = replace(answers, attack={**answers.attack, "name": "adversarial_overlap"})
        verdict = said([alone])
        assert (verdict.tone, verdict.short) == ("open", "Provenance: one sign alone")
        assert "let all_answers look" in verdict.text
        assert said([alone, weights]).tone == said([answers]).tone == "alarm"

    def test_another_seed_is_not_told_apart_and_called_neither(self):
        records = compared(f"{CLEAN}/2", f"{CLEAN}/1", power_copies=("pruned",))
        assert [record.result["outcome"] for record in records] == ["too few models", "not told apart"]
        assert records[0].result["n_independent"] == 4  # the suspect is one of the five
        verdict = said(records)
        assert (verdict.tone, verdict.severity) == ("open", 0)
        assert "Cannot tell" in verdict.title
        assert "made of the reference, the same test finds a pruned one." in verdict.text

    def test_too_few_models_say_how_many_it_takes(self, quantised):
        (record,) = compared(quantised, f"{CLEAN}/1", attacks=["all_answers"], null="reference")
        assert record.result["outcome"] == "too few models"
        assert record.result["p_value"] == record.result["smallest_p_value"] == pytest.approx(1 / 6)
        verdict = said([record])
        assert "too few independent models" in verdict.title
        assert "0.05 takes 19 independent models (--beside), or 5 with --null pairs" in verdict.text


@pytest.fixture(scope="module")
def records_of_two(reference, quantised):
    """No other model stands beside the two; the reference is a module in memory."""
    names = ["all_answers", "error_agreement", "answer_correlation", "logit_space", "weight_alignment"]
    found = compared(quantised, reference.module, attacks=names, power_copies=("quantised",))
    return {record.attack["name"]: record for record in found}


class TestWithoutIndependentModels:
    """Similarities are constants then, and p-values 1: no figures."""

    def test_the_constants_are_not_shown(self, records_of_two):
        cells = {name: _cells(Entry(record, Path())) for name, record in records_of_two.items()}
        assert records_of_two["answer_correlation"].result["similarity"] == -1
        assert cells["answer_correlation"] == cells["all_answers"] == ["", "", "", "1", ""]
        plain = records_of_two["error_agreement"].result["agreement_on_errors"]
        assert cells["error_agreement"] == [f"{plain:.2f}", "", "", "1", ""]
        assert cells["logit_space"][0] == "1.00"  # absolute
        similarity, spread, p_value, _, found = cells["weight_alignment"]
        assert (similarity, spread, p_value, found) == ("1.00", "orders of units", "0.001", percent(1.0, 0))

    def test_the_report_shows_them_neither(self, records_of_two):
        (table,) = section([Entry(record, Path()) for record in records_of_two.values()], []).parts
        lines = {line.attack: line.cells for line in table.lines}
        assert lines["all_answers"] == [None, None, None, "1", None]
        assert lines["weight_alignment"][2].value == pytest.approx(0.001)
        assert "19 independent models (--beside)" in table.note

    def test_what_is_needed_is_said(self, records_of_two):
        alone = said([records_of_two["all_answers"]])
        assert "no independent model to compare it with: 0.05 takes 19" in alone.text
        assert "(--beside)" in alone.text
        assert "similarity" not in alone.text
        assert alone.basis == ""
        both = said([records_of_two["all_answers"], records_of_two["weight_alignment"]])
        assert both.title.startswith("Derived from module/")
        assert "beside" not in both.basis
        entries = [Entry(record, Path()) for record in records_of_two.values()]
        assert needs(entries).startswith(
            "All answers, error agreement, answer correlation and logit space need 19 independent models "
            "(--beside), or 5 with --null pairs, and have none."
        )

    def test_such_a_p_value_is_not_ranked(self, records_of_two):
        from securitynet_hub.attacks.provenance.kind import KIND
        from securitynet_hub.sharing.leaderboard import unranked

        assert KIND.headline_of(records_of_two["all_answers"].result) is None
        (left,) = unranked([records_of_two["all_answers"]], by="p_value")
        assert left.reason == "all_answers needs 19 independent models (--beside)"
        assert "p_value" not in repr(records_of_two["all_answers"])
        assert KIND.headline_of(records_of_two["weight_alignment"].result)[0] == "p_value"

    def test_the_table_fits_a_terminal_and_the_verdict_comes_first(self, records_of_two):
        console = Console(width=80, file=io.StringIO())
        annotation = replace(load_target(f"{CLEAN}/1").annotation, id="file/0123456789ab/a-long-name")
        for table in tables([(annotation, list(records_of_two.values()))], 80):
            console.print(table)
        text = console.file.getvalue()
        assert text.index("Derived from") < text.index("compared with")
        assert "answer correlation" in text
        assert "…" not in text


class TestUnfit:
    @staticmethod
    def guessing(reference, name, places=1):
        module = copy.deepcopy(reference.module)
        with torch.no_grad():
            for parameter in (module[-1].weight, module[-1].bias):
                parameter.copy_(parameter.roll(places, 0))
        return replace(reference, module=module, annotation=replace(reference.annotation, id=name))

    def test_independent_ones_are_named_at_once_and_left_out(self, reference):
        others = [self.guessing(reference, "file:a", 1), self.guessing(reference, "file:b", 2)]
        beside = [*others, f"{CLEAN}/3", f"{CLEAN}/4"]
        words = r"file:a is right on .* and file:b on .* They are left out: 2 .*, fewer than the 5 that are"
        with pytest.warns(AccuracyWarning, match=words):
            (record,) = compared(
                f"{CLEAN}/2", f"{CLEAN}/1", beside=beside, null="pairs", attacks=["error_agreement"]
            )
        assert record.attack["beside"] == record.result["independent_models"] == beside[2:]

    def test_a_weak_model_that_is_significantly_better_is_fit(self):
        labels = np.arange(500) % 7
        told = (labels + 1) % 7
        told[:100] = labels[:100]
        assert is_near_chance(labels, told)
        assert not _is_unfit(labels, told, 1 / 7)
        told[80:100] = (labels[80:100] + 1) % 7
        assert _is_unfit(labels, told, 1 / 7)


class TestRefusals:
    def test_what_is_no_model(self):
        with pytest.raises(ValueError, match=r"named as a model is .*; got 7, of type int"):
            compared(f"{CLEAN}/1", 7)

    def test_no_reference(self):
        with pytest.raises(ValueError, match=r"name the one.*reference= \(--reference MODEL\)"):
            compared(f"{CLEAN}/1", None)

    def test_a_model_and_itself(self, reference):
        with pytest.raises(ValueError, match="compared with itself"):
            compared(f"{CLEAN}/1", reference)

    def test_a_compared_model_beside_itself(self):
        with pytest.raises(ValueError, match="cnn-clean/2 is compared, and cannot be an independent model"):
            compared(f"{CLEAN}/1", f"{CLEAN}/2", beside=(f"{CLEAN}/2", f"{CLEAN}/3"))

    def test_classes_in_another_order(self, reference):
        shuffled = copy.deepcopy(reference.module)
        with torch.no_grad():
            for parameter in (shuffled[-1].weight, shuffled[-1].bias):
                parameter.copy_(parameter.roll(1, 0))
        other = replace(
            reference, module=shuffled, annotation=replace(reference.annotation, id="file:rolled")
        )
        with pytest.raises(
            ValueError, match=r"^file:rolled is right on .* of these images, not significantly more"
        ):
            compared(f"{CLEAN}/2", other)


class TestWeights:
    @staticmethod
    def untrained(seed):
        torch.manual_seed(seed)
        annotation = load_target(f"{CLEAN}/1").annotation
        return Target(annotation=annotation, module=Cnn(10), transform=TRANSFORM, num_classes=10)

    @pytest.fixture(autouse=True)
    def _leave_random_state(self):
        with torch.random.fork_rng():
            yield

    def p_value(self, *targets):
        models = Models(outputs=np.zeros((2, 1, 10)), labels=np.zeros(1, int), targets=targets, seed=3)
        return rank_among_orders(models, permutations=199).p_value

    def test_independent_networks_have_p_values_that_are_not_small(self):
        found = np.array([self.p_value(self.untrained(k), self.untrained(100 + k)) for k in range(60)])
        assert (found <= 0.1).mean() <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 60)
        assert found.mean() > 0.35

    def test_a_network_with_noise_on_its_weights_is_found(self):
        one, other = self.untrained(1), self.untrained(1)
        with torch.no_grad():
            for parameter in other.module.parameters():
                parameter.add_(parameter.std() * torch.randn_like(parameter))
        assert self.p_value(one, other) == pytest.approx(2 / 200)

    def test_units_in_another_order_hide_a_copy_from_the_weights(self):
        """Documented: whoever renumbers hidden units escapes; the answers stay the same."""
        one, other = self.untrained(1), self.untrained(1)
        order = torch.randperm(32)
        with torch.no_grad():
            for parameter in (other.module[2].weight, other.module[2].bias):
                parameter.copy_(parameter[order])
            head = other.module[5].weight
            head.copy_(head.view(10, 32, 25)[:, order].reshape(10, 800))
        inputs = torch.randn(3, 1, 28, 28)
        torch.testing.assert_close(one.module(inputs), other.module(inputs))
        cosines = [float((a * b).sum()) for a, b in aligned_layers(one, other)]
        assert cosines[0] < 0.3
        assert cosines[1] == pytest.approx(1)

    def test_the_last_layer_is_left_out(self):
        shapes = [a.shape for a, _ in aligned_layers(self.untrained(1), self.untrained(2))]
        assert shapes == [(32, 256), (16, 16)]


def test_boundary_examples_change_the_answer_little(reference):
    pixels = known_data(reference.annotation).images.array(range(2000, 2030))
    found = boundary_examples(reference, pixels)
    with torch.no_grad():
        own, changed = (reference.module(TRANSFORM(each)).argmax(1) for each in (pixels, found))
    assert (own != changed).float().mean() > 0.9
    assert np.abs(found.astype(int) - pixels).max() <= 46  # 12 steps of 3 levels, 1.25 times as far
    assert np.abs(found.astype(int) - pixels).mean() < 8


def test_copies_are_what_they_are_called(reference):
    before = {name: value.clone() for name, value in reference.module.state_dict().items()}
    copies = dict(make_copies(reference, known_data(reference.annotation)))
    assert list(copies) == ["quantised", "pruned", "fine-tuned"]
    for name, value in reference.module.state_dict().items():
        assert torch.equal(value, before[name])
    weight = "2.weight"
    quantised, pruned, tuned = (each.module.state_dict()[weight] for each in copies.values())
    assert len(quantised.unique()) <= 255
    assert (quantised - before[weight]).abs().max() <= before[weight].abs().max() / 254 * 1.001
    assert (pruned == 0).float().mean() == pytest.approx(0.5, abs=1e-3)
    assert 0 < (tuned - before[weight]).abs().max() < before[weight].abs().max()


def test_a_result_that_contradicts_itself_is_refused(records_of_copy):
    from securitynet_hub.attacks.provenance.results import Result

    record, _ = records_of_copy
    assert parse_part(Result, record.result, "the result").outcome == "derived"
    for change in (
        {"p_value": 0.5},
        {"outcome": "not told apart"},
        {"n_independent": 4},
        {"power": 0.5},
        {"significance": 1e-300},  # which so many models would take as cannot be counted
        {"significance": 0},
    ):
        with pytest.raises(ValueError, match="should"):
            parse_part(Result, {**record.result, **change}, "the result")
