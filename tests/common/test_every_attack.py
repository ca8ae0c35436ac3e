"""What holds for every attack of every kind; the registries say which there are."""

import ast
import dataclasses
import doctest
import inspect
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.registry import detectors
from securitynet_hub.attacks.kind import attack_names, find_attack, kinds
from securitynet_hub.attacks.membership.registry import attacks
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.splits import Split

EVERY = [attack for kind in kinds().values() for attack in kind.attacks.values()]
QUERY_ATTACKS = [attack for attack in attacks().values() if not attack.shares_pass]
DETECTORS = list(detectors().values())


def each(attacks):
    return pytest.mark.parametrize("attack", attacks, ids=lambda attack: attack.name)


def documented(attack):
    """The functions whose docstrings say what the attack does."""
    functions = filter(None, (attack.run, attack.configured_by))
    return [function.func if isinstance(function, partial) else function for function in functions]


class TestLiterals:
    @each(EVERY)
    def test_they_are_filled_in(self, attack):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", attack.name)
        for text in (attack.summary, attack.formula, attack.source):
            assert text == text.strip()
            assert text
            assert "\n" not in text
            assert not text.endswith(".")

    def test_names_are_unique(self):
        assert [name for name, count in Counter(attack_names()).items() if count > 1] == []
        assert {attack.name for attack in EVERY} <= set(attack_names())

    @each(EVERY)
    def test_they_are_found_by_name(self, attack):
        assert find_attack(attack.name) is attack
        assert attack.kind in kinds()
        with pytest.raises(UnknownNameError, match=f"'{attack.name}x'.*'{attack.name}'"):
            find_attack(f"{attack.name}x")

    @pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
    def test_they_can_be_read_without_an_import(self, kind):
        """The documentation's tables are written from the source text."""
        folder = Path(inspect.getfile(__import__(kind.package, fromlist=["_"]))).parent
        read = {}
        for path in folder.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Attack":
                    given = {keyword.arg: keyword.value for keyword in node.keywords}
                    texts = {key: given[key] for key in ("summary", "formula", "source") if key in given}
                    if kind.name == "membership-inference":
                        texts |= {key: given[key] for key in ("name", "needs") if key in given}
                    values = {key: ast.literal_eval(value) for key, value in texts.items()}
                    read[values["summary"]] = values
        for attack in kind.attacks.values():
            if attack.summary in read:  # else an installed package's
                for key, value in read[attack.summary].items():
                    assert getattr(attack, key) == value


class TestDocumentation:
    @each(EVERY)
    def test_formula_and_source(self, attack):
        text = "\n".join(map(inspect.getdoc, documented(attack)))
        assert re.search(r"``[^`]+``|^ {4}\S.* = ", text, re.MULTILINE), "no formula"
        assert re.search(r"\b(19|20)\d\d\b", text), "no year"
        place = r"arXiv \d{4}\.\d{5}|\b(section|eq\.|equations?|algorithm|theorem) [\dIVX]"
        assert re.search(place, text), "no place in a paper"

    @each(EVERY)
    def test_an_example_that_runs(self, attack):
        finder = doctest.DocTestFinder(recurse=False)
        runner = doctest.DocTestRunner(verbose=False)
        for function in documented(attack):
            for example in finder.find(
                function, function.__name__, globs=vars(inspect.getmodule(function)).copy()
            ):
                runner.run(example)
        assert runner.tries > 0, "no example"
        assert runner.failures == 0


class TestSettings:
    @each(EVERY)
    def test_unknown_ones_are_refused_with_the_closest_name(self, attack):
        for name in attack.settings:
            with pytest.raises(UnknownNameError, match=f"setting of {attack.name} '{name}_'") as refused:
                attack.require_settings({f"{name}_": 1})
            _, closest = str(refused.value).split("Did you mean")
            assert any(f"'{known}'" in closest for known in attack.settings)
        with pytest.raises(UnknownNameError, match=f"setting of {attack.name} 'no_such_setting'"):
            attack.require_settings({"no_such_setting": 1})

    @each(EVERY)
    def test_the_audit_refuses_them_before_it_loads_a_model(self, attack, monkeypatch):
        monkeypatch.setattr(
            "securitynet_hub.attacks.audit.load_target", lambda model: pytest.fail("a model was loaded")
        )
        with pytest.raises(UnknownNameError, match=f"setting of {attack.name}"):
            audit(MODEL, attacks=attack.name, settings={attack.name: {"no_such_setting": 1}})

    @each(EVERY)
    def test_known_ones_are_accepted(self, attack):
        attack.require_settings(attack.settings)
        assert not attack.supplied & attack.settings.keys()


MODEL = "zoo/fashion-mnist/cnn-overfitted-500/1"
IMAGES = load_images()
ROWS = np.concatenate([np.arange(3), np.arange(2000, 2005)])
MEMBERS = np.arange(8) < 3


@pytest.fixture(scope="module")
def target():
    return load_target(MODEL)


def state_of(target):
    """What an attack must leave as it was: weights, flags, grad mode, random states."""
    return {
        "weights": {key: value.clone() for key, value in target.module.state_dict().items()},
        "training": [part.training for part in target.module.modules()],
        "requires_grad": [part.requires_grad for part in target.module.parameters()],
        "grad": [part.grad for part in target.module.parameters()],
        "hooks": [len(part._forward_hooks) for part in target.module.modules()],
        "grad mode": torch.is_grad_enabled(),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "threads": torch.get_num_threads(),
    }


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return np.array_equal(one, other)


def locked(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class TestQueryAttacks:
    """Attacks that ask about images of their own making, on a small network."""

    @staticmethod
    def run(attack, target, rows=ROWS, **arguments):
        if attack.starts:
            arguments["starts"] = locked(IMAGES.pixels[3000:3010])
        pixels, labels = locked(IMAGES.pixels[rows]), locked(IMAGES.labels[rows].astype(np.int64))
        found = attack.run(target, pixels, labels, **arguments)
        np.testing.assert_array_equal(pixels, IMAGES.pixels[rows])
        return found

    @each(QUERY_ATTACKS)
    def test_scores_and_their_cost(self, attack, target):
        found = self.run(attack, target)
        assert found.scores.shape == found.queries.shape == (8,)
        assert found.scores.dtype == np.float64
        assert np.isfinite(found.scores).all()
        assert attack.minimum is None or (found.scores >= attack.minimum).all()
        most = attack.cost(IMAGES.pixels[0], **attack.settings)
        assert 1 <= found.queries.min() <= found.queries.max() <= most
        assert found.total_queries == found.queries.sum()

    @each(QUERY_ATTACKS)
    def test_neither_order_nor_company_nor_batches_matter(self, attack, target):
        expected = self.run(attack, target)
        order = np.array([5, 2, 7])
        found = self.run(attack, target, ROWS[order], batch_size=7)
        np.testing.assert_allclose(found.scores, expected.scores[order], rtol=1e-12)
        np.testing.assert_array_equal(found.queries, expected.queries[order])

    @each(QUERY_ATTACKS)
    def test_the_seed_decides(self, attack, target):
        first, second = (self.run(attack, target, seed=5) for _ in range(2))
        np.testing.assert_array_equal(first.scores, second.scores)

    @each(QUERY_ATTACKS)
    @pytest.mark.parametrize("training", [False, True])
    def test_the_target_and_the_state_of_the_process_are_left(self, attack, training):
        target = load_target(MODEL)
        target.module.train(training)
        next(target.module.parameters()).requires_grad_(False)
        with torch.set_grad_enabled(training):
            before = state_of(target)
            self.run(attack, target)
            assert same(before, state_of(target))

    def test_exchanging_members_and_non_members_mirrors_the_auc(self, target):
        rows = ROWS
        splits = (
            Split(members=rows[MEMBERS], nonmembers=rows[~MEMBERS]),
            Split(members=rows[~MEMBERS], nonmembers=rows[MEMBERS]),
        )
        names = [attack.name for attack in QUERY_ATTACKS]
        found, mirrored = (
            audit(target, attacks=names, data=AuditData(images=IMAGES, split=split)) for split in splits
        )
        for one, other in zip(found, mirrored, strict=True):
            assert other.result["auc"] == pytest.approx(1 - one.result["auc"], abs=1e-12)


def small(value):
    """Shrink the whole numbers of a setting, so that a detector takes a second or two."""
    if isinstance(value, int) and not isinstance(value, bool):
        return min(value, 3)
    if dataclasses.is_dataclass(value):
        parts = {part.name: small(getattr(value, part.name)) for part in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value


GIVEN = {
    "clean": IMAGES.pixels[3000:3060],
    "inputs": IMAGES.pixels[2000:2003],
    "training": IMAGES.pixels[:60],
    "labels": IMAGES.labels[:60].astype(np.int64),
}


def given_to(attack):
    """What a detector gets; one that needs many clean images gets 300."""
    return {**GIVEN, "clean": IMAGES.pixels[3000:3300]} if attack.many else GIVEN


class TestDetectors:
    """Detectors on the first small network that each can judge, with small settings."""

    def target_of(self, attack):
        inputs = DetectorInputs(**given_to(attack))
        seen = set()
        for id, row in load_annotations("zoo").items():
            if row.architecture not in seen:
                seen.add(row.architecture)
                target = load_target(id)
                if attack.why_not(target, inputs) is None:
                    return target
        raise AssertionError(f"{attack.name} can judge no network of the zoo")

    @each(DETECTORS)
    def test_it_leaves_everything_and_batches_do_not_matter(self, attack):
        target = self.target_of(attack)
        settings = {key: small(value) for key, value in attack.settings.items() if key != "batch_size"}
        if "passes" in settings:
            settings["passes"] = 32
        given = {key: locked(value) for key, value in given_to(attack).items()}
        before = state_of(target)
        findings = [attack.run(target, DetectorInputs(**given), **settings)]
        assert same(before, state_of(target))
        for key, value in given.items():
            np.testing.assert_array_equal(value, given_to(attack)[key])
        if "batch_size" in attack.settings:
            findings.append(attack.run(target, DetectorInputs(**given), batch_size=7, **settings))
        for finding in findings:
            if attack.judges == "model":
                assert finding.scores is None
                scores = [one.score for one in (finding, findings[0])]
                assert scores == [None, None] or scores[0] == pytest.approx(scores[1], rel=1e-3, abs=1e-6)
            else:
                assert finding.score is None
                assert finding.scores.shape == (len(given[attack.judges]),)
                assert finding.scores.dtype == np.float64
                np.testing.assert_allclose(finding.scores, findings[0].scores, rtol=1e-3, atol=1e-3)
