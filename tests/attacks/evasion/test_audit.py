"""Robust accuracy from target to record: stages, stopping, budgets, what is kept, refused and shown."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.report_pages import entries

from securitynet_hub import audit, black_box, load_images, load_target
from securitynet_hub.attacks.evasion import units
from securitynet_hub.attacks.evasion.cost import find_cost
from securitynet_hub.attacks.evasion.kind import KIND, Options
from securitynet_hub.attacks.evasion.masking import check_masking
from securitynet_hub.attacks.evasion.measures import measure_robustness, rate_of_stages
from securitynet_hub.attacks.evasion.present import section, summarise, tables
from securitynet_hub.attacks.evasion.published import KNOWN, find_published
from securitynet_hub.attacks.evasion.stages import attack_in_stages, divide
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Done, Planned, Tally
from securitynet_hub.attacks.evasion.worst_case import perturbing
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import AccuracyWarning, BudgetError, ModelError, UnknownNameError
from securitynet_hub.data.sources import OnDemand
from securitynet_hub.data.splits import Split
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.records.entries import read_entries
from securitynet_hub.statistics.sequences import clopper_pearson_interval

ID = "zoo/fashion-mnist/cnn-clean/1"
DATA = known_data(find_annotation(ID))
CHEAP = {"worst_case": {"attacks": ["fgsm", "pgd"]}}


def robust(**options):
    (record,) = audit(ID, attacks="worst_case", data=DATA, settings=CHEAP, **options)
    return record


def parse(record):
    return KIND.results.parse(record)


class TestRecord:
    def test_figures_and_exact_intervals(self):
        record = robust(robust_images=40, eps="4/255")
        result = record.result
        assert result["robust_accuracy_ci"] == list(
            clopper_pearson_interval(round(40 * result["robust_accuracy"]), 40)
        )
        assert result["robust_accuracy"] <= result["accuracy"]
        assert (result["n"], result["stopped"], result["interval"]) == (40, "images", "exact")
        assert record.attack["attack_settings"]["pgd"]["steps"] == 20
        assert record.attack["attacks"] == ["fgsm", "pgd"]
        assert record.attack["eps"] == "4/255"
        assert {check["name"] for check in result["checks"]} >= {"zero gradients", "no limit", "one step"}
        assert parse(record).n == 40

    def test_it_falls_with_eps_and_pgd_is_worse_than_fgsm(self):
        found = []
        for eps in ("1/255", "8/255", "40/255"):
            records = audit(ID, attacks=["fgsm", "pgd"], data=DATA, robust_images=32, eps=eps)
            fgsm, pgd = (each.result["robust_accuracy"] for each in records)
            assert pgd <= fgsm
            found.append(pgd)
        assert found == sorted(found, reverse=True)
        assert found[0] > found[2]

    def test_the_seed_draws_the_images_and_decides_everything(self):
        first, second, other = (
            audit(ID, attacks="pgd", data=DATA, robust_images=8, seed=seed)[0] for seed in (0, 0, 1)
        )
        assert first.result == second.result
        assert first.unit == second.unit
        assert other.unit != first.unit

    def test_images_of_any_size_and_the_crop(self):
        """In the image's ball the resize comes after the change; in the crop's before it."""
        target = load_target(ID)
        wider = replace(target.transform, resize=28)
        sized = replace(target, transform=wider)
        images = load_images()

        class Mixed(OnDemand):
            name, class_names = "mixed", images.class_names
            labels = images.labels[2000:2012].astype(np.int64)
            sha256 = "0" * 64

            def read(self, row):
                image = images.pixels[2000 + row]
                return image if row % 2 else np.repeat(np.repeat(image, 2, 0), 2, 1)

        data = AuditData(images=Mixed(), split=Split(members=np.arange(2), nonmembers=np.arange(2, 12)))
        for ball in ("image", "crop"):
            (record,) = audit(sized, attacks="fgsm", data=data, ball=ball)
            assert record.result["n"] == 10
            assert record.attack["ball"] == ball


class TestStages:
    """Attacks with known success, so that the truth is known."""

    @staticmethod
    def planned(costs):
        attack = perturbing()["fgsm"]
        return [
            Planned(attack=replace(attack, name=f"a{i}", order=i, cost=lambda cost=cost: cost))
            for i, cost in enumerate(costs)
        ]

    @staticmethod
    def world(shares, seed, costs):
        """Images that withstand each stage with such a share."""
        rng = np.random.default_rng(seed)
        holds = rng.random((5000, len(shares))) < shares

        def do_all(work):
            found = []
            for part in work:
                rows = np.array(part.rows)
                held = holds[rows, part.stage]
                found.append(
                    Done(
                        rows=rows,
                        right=np.ones(len(rows), bool),
                        broken_by=np.where(held, -1, 0),
                        tallies={
                            f"a{part.stage}": Tally(n=len(rows), forwarded=costs[part.stage] * len(rows))
                        },
                        examples=[],
                    )
                )
            return found

        return do_all

    def test_costly_attacks_that_break_hardly_more_run_on_few_images(self):
        costs = (100, 8000)
        do_all = self.world((0.6, 0.99), 0, costs)
        found = attack_in_stages(
            self.planned(costs), np.arange(5000), do_all, width=0.12, passes=None, confidence_level=0.95
        )
        first, second = found.stages
        assert found.stopped == "width"
        assert 10 * second.n < first.n < 5000
        assert second.n <= first.robust
        product = np.prod([stage.robust / stage.n for stage in found.stages])
        assert product == pytest.approx(0.594, abs=0.06)

    def test_intervals_hold_where_the_attacks_stop(self):
        missed, costs = 0, (100, 2000)
        for seed in range(25):
            found = attack_in_stages(
                self.planned(costs), np.arange(5000), self.world((0.5, 0.9), seed, costs),
                width=0.25, passes=None, confidence_level=0.9,
            )  # fmt: skip
            _, (low, high) = rate_of_stages([stage.trials for stage in found.stages], confidence_level=0.9)
            assert high - low <= 0.25
            missed += not low <= 0.45 <= high
        assert missed <= 7  # 2 or 3 are to be expected at most

    def test_budgets(self):
        costs = (100, 2000)
        found = attack_in_stages(
            self.planned(costs), np.arange(5000), self.world((0.5, 0.9), 1, costs),
            width=None, passes=300_000, confidence_level=0.95,
        )  # fmt: skip
        assert found.stopped == "passes"
        assert 150_000 < sum(stage.passes for stage in found.stages) <= 300_000
        with pytest.raises(BudgetError, match=r"passes=20,000 are too few.*a1"):
            attack_in_stages(
                self.planned(costs), np.arange(5000), self.world((0.5, 0.9), 1, costs),
                width=None, passes=20_000, confidence_level=0.95,
            )  # fmt: skip

    def test_without_enough_images_the_interval_stays_wide(self):
        record = robust(robust_images=20, width=0.01)
        assert (record.result["stopped"], record.result["interval"]) == ("images", "confidence sequence")
        low, high = record.result["robust_accuracy_ci"]
        assert high - low > 0.01
        assert parse(record).stages[0].concentration == 10_000
        (verdict,) = summarise(entries(record), ()).verdicts
        assert "The images ended before the interval was as narrow as --width asks." in verdict.points

    def test_a_width_may_take_all_images(self):
        target = load_target(ID)
        for options, n in ((Options(), 200), (Options(width=0.1), len(DATA.split.nonmembers))):
            assert len(Subject.of(target, DATA, options, 0).rows) == n


class TestKept:
    def test_an_interrupted_audit_goes_on(self, tmp_path, monkeypatch):
        def robust(**options):
            return audit(ID, attacks="fgsm", data=DATA, **options)[0]

        whole = robust(robust_images=70)
        attacked = []
        own = units.attack_unit

        def counting(subject, planned, rows):
            attacked.append(len(rows))
            if len(attacked) == 3:
                raise KeyboardInterrupt
            return own(subject, planned, rows)

        monkeypatch.setattr("securitynet_hub.attacks.evasion.kept_units.attack_unit", counting)
        with pytest.raises(KeyboardInterrupt):
            robust(robust_images=70, keep=tmp_path)
        assert attacked == [32, 32, 6]
        for path in sorted(tmp_path.rglob("*.npz"))[:1]:
            path.write_bytes(b"damaged")
        again = robust(robust_images=70, keep=tmp_path)
        assert len(attacked) == 5  # the damaged unit and the one that was missing
        assert again.result == whole.result
        robust(robust_images=70, keep=tmp_path, eps="9/255")
        assert len(attacked) == 8


class TestMasking:
    @staticmethod
    def checks(module, transform=None):
        base = load_target(ID)
        target = replace(base, module=module(base.module))
        subject = Subject.of(target, DATA, Options(robust_images=40), 0)
        found, _ = check_masking(subject)
        return {each["name"]: each["passed"] for each in found}

    def test_a_plain_network_passes(self):
        assert all(self.checks(lambda inner: inner).values())

    def test_logits_so_large_that_gradients_vanish(self):
        class Sure(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return 1e4 * self.inner(x)

        found = self.checks(Sure)
        assert not found["zero gradients"]

    def test_answers_that_are_drawn(self):
        class Random(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return self.inner(x) + 0.5 * torch.randn(len(x), 10)

        assert not self.checks(Random)["same answers"]

    def test_gradients_that_lead_astray(self):
        class Astray(torch.nn.Module):
            """Answers as the network, with the gradient of another function."""

            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                z = self.inner(x.detach())
                return z + 0 * x.sum() + (x.flatten(1)[:, :10] - x.flatten(1)[:, :10].detach())

        assert not self.checks(Astray)["no limit"]


class TestGradientsThatAreNaN:
    """No step follows from them, so that every image would seem to withstand the attack."""

    @pytest.mark.parametrize(
        ("fewest", "sentence"), [(1, "no gradient .* reaches its pixels"), (2, "gradient of .* is NaN")]
    )
    def test_are_refused(self, fewest, sentence):
        class Undefined(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                z = self.inner(x)
                return z + 0 * (x - x.detach()).sum().sqrt() if len(x) >= fewest else z

        target = load_target(ID)
        made = replace(target, module=Undefined(target.module))
        with pytest.raises((ValueError, ModelError), match=sentence):
            audit(made, attacks="fgsm", data=DATA, robust_images=4)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"norm": "L1"}, "no norm of a change 'L1'"),
            *(
                ({"eps": eps}, "eps must be")
                for eps in ("0", "nan", "-1", "1e999999999", "8/0", "1/2/3", [8])
            ),
            ({"robust_images": [8]}, "robust_images must be"),
            ({"width": float("nan")}, "width must"),
            ({"passes": "many"}, "passes must be"),
            ({"robust_images": 0}, "robust_images must be"),
            ({"width": 2.0}, "width must"),
            ({"passes": 0}, "passes must be"),
            ({"ball": "sphere"}, "'sphere'"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            audit(ID, attacks="worst_case", data=DATA, **options)

    @pytest.mark.parametrize("value", ["nan", float("nan"), [1], True, 1.5, None])
    def test_settings_of_another_type(self, value):
        with pytest.raises(ValueError, match=r"the setting steps of pgd must be a whole number; got"):
            audit(ID, attacks="pgd", data=DATA, settings={"pgd": {"steps": value}})

    @pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", float("nan"), [1]])
    def test_seeds(self, seed):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            audit(ID, attacks="pgd", data=DATA, seed=seed)

    def test_the_smallest_width_is_one(self):
        assert divide([Planned(attack=KIND.attacks["fgsm"])], 1e-300)[0].concentration == 1e4

    def test_attacks_of_the_worst_case(self):
        with pytest.raises(UnknownNameError, match="'pgd'"):
            audit(ID, attacks="worst_case", data=DATA, settings={"worst_case": {"attacks": ["pdg"]}})
        with pytest.raises(ValueError, match=r"hop_skip_jump cannot attack .*the norm L2 alone"):
            audit(
                ID, attacks="worst_case", data=DATA, settings={"worst_case": {"attacks": ["hop_skip_jump"]}}
            )
        with pytest.raises(UnknownNameError, match="setting of pgd 'stepps'"):
            audit(
                ID, attacks="worst_case", data=DATA,
                settings={"worst_case": {"attacks": ["pgd"], "attack_settings": {"pgd": {"stepps": 1}}}},
            )  # fmt: skip

    def test_what_the_group_stands_for(self):
        target = load_target(ID)
        names = KIND.audits.applicable(target, DATA, Options(), None)
        assert names == ["worst_case", "common_corruptions"]
        left = KIND.audits.left_out(target, DATA, Options())
        assert set(left) == set(KIND.attacks) - set(names)
        assert "the norm L2 alone" in left["hop_skip_jump"]


@pytest.fixture(scope="module")
def record():
    return robust(robust_images=24)


class TestForgeries:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"robust_accuracy": 0.99}, "robust_accuracy"),
            ({"n_right": 3}, "n_right"),
            ({"n": 23}, "first stage"),
            ({"interval": "wide"}, "interval should be"),
            ({"robust_accuracy_ci": [0.0, 1.0]}, "by its counts"),
            ({"interval": "confidence sequence"}, "by its counts"),
            ({"stages": []}, "stages"),
        ],
    )
    def test_they_are_refused(self, record, change, message):
        with pytest.raises(ValueError, match=message):
            parse(replace(record, result={**record.result, **change}))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    few = {"common_corruptions": {"corruptions": ["contrast", "jpeg"], "severities": [1, 3]}}
    records = audit(
        ID,
        attacks=["worst_case", "fgsm", "common_corruptions"],
        data=DATA,
        settings={**CHEAP, **few},
        robust_images=32,
        out=folder,
    )
    return records, folder


class TestShown:
    def test_tables_verdicts_and_pictures(self, written):
        records, folder = written
        shown = list(tables([(find_annotation(ID), records)], 120))
        assert [type(each).__name__ for each in shown] == ["Text", "Text", "PlainTable", "PlainTable"]
        found = read_entries([folder])
        summary = summarise(found, ())
        assert "of images are classified correctly" in summary.verdicts[0].text.replace("\u00a0", " ")
        assert summary.grounds[0].holds is True
        parts = section(summary.entries, ())
        pictures = [picture for part in parts.parts for picture in getattr(part, "pictures", ())]
        assert len(pictures) >= 3
        captions = [picture.caption for picture in pictures[:3]]
        assert captions[0].startswith("Image 1 of class")
        assert captions[1].startswith("Changed by")
        assert captions[2] == "The change, enlarged."

    def test_records_of_other_versions_are_shown_as_far_as_they_go(self, written):
        records, _ = written
        for result in ({}, {"robust_accuracy": 0.5}, {"corruption_accuracy": 0.25, "corruptions": "x"},
                       {"robust_accuracy": 0.5, "checks": [3], "attacks": 7, "published": []}):  # fmt: skip
            odd = entries(replace(records[0], result=result))
            assert summarise(odd, ()).verdicts
            section(odd, ())


class TestPublished:
    def test_a_file_of_robustbench(self, tmp_path):
        path = tmp_path / "L2" / "Somebody2020.json"
        path.parent.mkdir()
        path.write_text(
            json.dumps({"clean_acc": "90.83", "autoattack_acc": "69.24", "eps": "0.5", "venue": "x"})
        )
        annotation = find_annotation(ID)
        found = find_published(annotation, Options(norm="L2", eps="0.5", published=path))
        assert found == {
            "source": "RobustBench Somebody2020", "accuracy": 0.9083, "robust_accuracy": 0.6924, "norm": "L2",
            "eps": "0.5", "same_threat": True,
        }  # fmt: skip
        assert not find_published(annotation, Options(published=path))["same_threat"]
        assert find_published(annotation, Options()) is None

    @pytest.mark.parametrize(
        "content", ["", "[1]", '{"clean_acc": 3}', '{"clean_acc": "x", "autoattack_acc": 1, "eps": "1"}',
                    '{"clean_acc": 101, "autoattack_acc": 1, "eps": "1"}', "[" * 60_000, "1" * 5000,
                    '{"clean_acc": 1, "autoattack_acc": 1, "eps": [1]}', " " * 70_000,
                    f'{{"clean_acc": 1, "autoattack_acc": 1, "eps": 1{"0" * 400}}}'],
    )  # fmt: skip
    def test_what_is_none_is_refused(self, tmp_path, content):
        path = tmp_path / "x.json"
        path.write_text(content)
        with pytest.raises(ValueError, match="model_info"):
            find_published(find_annotation(ID), Options(published=path))

    def test_every_known_one_is_a_model_of_the_tables(self):
        for name in KNOWN:
            assert find_annotation(name).id == name

    def test_it_stands_in_the_record(self, tmp_path):
        path = tmp_path / "Own.json"
        path.write_text('{"clean_acc": "92", "autoattack_acc": "10.5", "eps": "8/255"}')
        record = robust(robust_images=8, published=path)
        assert parse(record).published.robust_accuracy == 0.105


class TestMeasures:
    def test_the_worst_by_hand(self):
        found = measure_robustness([0, 1, 2], [0, 1, 1], {"a": [0, 0, 1], "b": [0, 1, 1]})
        assert [each["robust_accuracy"] for each in found["per_attack"]] == [1 / 3, 2 / 3]
        assert (found["accuracy"], found["robust_accuracy"], found["n"]) == (2 / 3, 1 / 3, 3)

    @pytest.mark.parametrize(
        ("answers", "message"),
        [({}, "one attack or more"), ([0, 1], r"one label for each"), ([0.5, 1, 1], "whole numbers"),
         (np.zeros((3, 2, 2)), "one row for each image")],
    )  # fmt: skip
    def test_refusals(self, answers, message):
        with pytest.raises(ValueError, match=message):
            measure_robustness([0, 1, 2], [0, 1, 1], answers)


class TestEstimate:
    """A long attack says beforehand what it may take; one that is done at once says nothing."""

    @pytest.mark.parametrize("passes", [None, 60])
    def test_passes_keep_to_what_was_told(self, passes):
        answers = black_box(lambda x: x.mean((1, 2)) * np.arange(10.0), num_classes=10, outputs="logits")
        told, begun = [], []
        settings = {"worst_case": {"attacks": ["hop_skip_jump"], "attack_settings": {"hop_skip_jump": {}}}}
        cost = find_cost([Planned(attack=KIND.attacks["hop_skip_jump"])], 2, Options(passes=passes), None)
        options = {"norm": "L2", "eps": 1, "robust_images": 2, "passes": passes}
        options |= {"on_attack": begun.append, "on_estimate": lambda words: told.append((words, list(begun)))}

        def run():
            if passes is None:
                audit(answers, attacks="worst_case", data=DATA, settings=settings, **options)
                return
            with pytest.raises(BudgetError):
                audit(answers, attacks="worst_case", data=DATA, settings=settings, **options)

        with pytest.warns(AccuracyWarning, match="near chance"):
            run()
        ((words, before),) = told
        assert before == ["worst_case"]
        assert words.startswith(f"hop_skip_jump: 2 images, at most {cost.most:,} passes.")
        assert cost.most == passes if passes else cost.most > 1000

    def test_what_is_done_at_once_needs_no_word(self):
        told = []
        audit(ID, attacks="fgsm", data=DATA, robust_images=2, on_estimate=told.append)
        assert told == []

    def test_the_bound_holds(self):
        planned = [Planned(attack=KIND.attacks[name]) for name in ("pgd", "fgsm")]
        cost = find_cost(planned, 24, Options(), 0.5)
        record = robust(robust_images=24)
        assert cost.least == 24 * (1 + 3)
        assert record.counts["forwarded"] + record.counts["gradients"] <= cost.most + 1000  # the checks
        words = cost.sentence(["fgsm", "pgd"], Options(width=0.1))
        assert "24 images, 96 passes (about 48 s) where the first attack misleads" in words
        assert f"at most {cost.most:,} (about 9 min)" in words
        assert "it ends earlier once the interval is 0.1 wide" in words
