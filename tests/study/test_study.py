"""The study's figures, derived once more from the data set's file, with other code."""

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.records.record import Record
from securitynet_hub.reports.frames import record_frame
from securitynet_hub.statistics.rates import Interval
from securitynet_hub.study.estimates import (
    Estimate,
    adjusted_difference,
    correlations,
    mean_difference,
    paired_difference,
)
from securitynet_hub.study.findings import Finding, Row, warn_if_reversed
from securitynet_hub.study.frames import annotation_frame, complete
from securitynet_hub.study.panels import count_panels
from securitynet_hub.study.securitynet import derive_findings
from securitynet_hub.study.writing import as_csv, as_markdown

FINDINGS = {finding.name: finding for finding in derive_findings()}
TABLE = pd.read_parquet(HUB_DATASET / "data/models.parquet")

# What the card says not to use: of every figure, then of stealing alone.
BROKEN = ("evaluation-broken", "evaluation-suspect")
PAPER = ("paper-corrected", "paper-doubtful")
NOT_STOLEN = (*BROKEN, "constant-predictor", "stealing-failed")


def models(purpose, dataset, columns, without):
    """Return the columns of the models that have them all and no flag of `without`, as arrays."""
    flagged = TABLE["flags"].map(lambda flags: bool(set(flags) & set(without)))
    rows = TABLE[(TABLE.purpose == purpose) & (TABLE.dataset == dataset) & ~flagged]
    return rows[columns].dropna().to_numpy().T


def row_of(finding, group, quantity):
    (row,) = (r for r in FINDINGS[finding].rows if (r.group, r.quantity) == (group, quantity))
    return row


def reference_correlations(x, y):
    """Pearson's interval by SciPy; Spearman's by its definition on SciPy's coefficient."""
    r, rho = stats.pearsonr(x, y), stats.spearmanr(x, y).statistic
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return (
        (r.statistic, *r.confidence_interval(0.95)),
        (rho, *np.tanh(np.arctanh(rho) + np.array([-half, half]))),
    )


def flat(estimates):
    return tuple((e.value, *e.ci) for e in estimates)


class TestAgainstTheDataset:
    @pytest.mark.parametrize("y", ["stealing_accuracy", "stealing_agreement"])
    @pytest.mark.parametrize(
        ("purpose", "dataset", "n"),
        [
            ("benchmark", "CIFAR-10", 47),
            ("benchmark", "CIFAR-100", 45),
            ("benchmark", "CUB-200-2011", 14),
            ("benchmark", "ImageNet-1k", 116),
            ("benchmark", "SVHN", 40),
            ("security", "CIFAR-10", 72),
            ("other", "VesselMNIST3D", 16),
        ],
    )
    def test_stealing_against_accuracy(self, purpose, dataset, n, y):
        x, values = models(purpose, dataset, ["test_accuracy", y], NOT_STOLEN)
        row = row_of(
            "stealing-and-accuracy", f"{purpose}, {dataset}", f"{y.replace('_', ' ')} ~ test accuracy"
        )
        assert row.n == len(x) == n
        assert np.allclose(flat(row.estimates), reference_correlations(x, values), atol=1e-12)
        assert row.answer == ("yes" if purpose == "benchmark" else None)

    @pytest.mark.parametrize(
        ("purpose", "dataset", "n"),
        [
            ("benchmark", "CIFAR-10", 47),
            ("benchmark", "CIFAR-100", 45),
            ("benchmark", "CUB-200-2011", 14),
            ("benchmark", "ImageNet-1k", 104),
            ("security", "CIFAR-10", 72),
            ("security", "ImageNet-1k", 20),
        ],
    )
    def test_leak_against_gap(self, purpose, dataset, n):
        columns = ["overfit_gap", "mia_modified_entropy_auc"]
        x, y = models(purpose, dataset, columns, (*BROKEN, "train-accuracy-placeholder"))
        row = row_of(
            "membership-and-overfitting", f"{purpose}, {dataset}", "modified entropy AUC ~ overfit gap"
        )
        assert row.n == len(x) == n
        assert np.allclose(flat(row.estimates), reference_correlations(x, y), atol=1e-12)

    def test_svhn_has_no_gap_to_relate(self):
        groups = [row.group for row in FINDINGS["membership-and-overfitting"].rows]
        assert not any("SVHN" in group for group in groups)

    @pytest.mark.parametrize(("finding", "prefix", "datasets"), [
        ("larger-surrogates", "wrn", ["CIFAR-10", "CIFAR-100", "SVHN"]),
        ("out-of-distribution-queries", "imagenet", ["CIFAR-10", "CIFAR-100", "CUB-200-2011", "SVHN"]),
    ])  # fmt: skip
    def test_changed_attacks(self, finding, prefix, datasets):
        rows = iter(FINDINGS[finding].rows)
        for figure in ("stealing_accuracy", "stealing_agreement"):
            for dataset in datasets:
                usual, changed = models("benchmark", dataset, [figure, f"{prefix}_{figure}"], NOT_STOLEN)
                reference = stats.ttest_rel(changed, usual)
                (estimate,) = next(rows).estimates
                assert estimate.value == pytest.approx(np.mean(changed - usual), abs=1e-12)
                assert estimate.ci == pytest.approx(tuple(reference.confidence_interval()), abs=1e-12)

    def test_birds_against_the_same_networks_on_imagenet(self):
        flagged = TABLE["flags"].map(lambda flags: bool(set(flags) & set(NOT_STOLEN)))
        sides = [
            TABLE[(TABLE.purpose == "benchmark") & (TABLE.dataset == name) & ~flagged]
            .set_index("architecture")["stealing_agreement"]
            .to_dict()
            for name in ("CUB-200-2011", "ImageNet-1k")
        ]
        apart = [sides[0][name] - sides[1][name] for name in sides[0] if name in sides[1]]
        row = FINDINGS["cub-is-hard-to-steal"].rows[1]
        assert row.n == len(apart) == 12
        assert row.estimates[0].value == pytest.approx(np.mean(apart))
        assert row.estimates[0].ci == pytest.approx(
            tuple(stats.ttest_1samp(apart, 0).confidence_interval()), abs=1e-12
        )

    def test_experiment_data_against_hard_data(self):
        for row in FINDINGS["experiments-mislead"].rows:
            quantity, names = row.quantity.split(": ")
            sides = [
                models("benchmark", name, [quantity.replace(" ", "_")], NOT_STOLEN)[0]
                for name in names.split(" - ")
            ]
            reference = stats.ttest_ind(*sides, equal_var=False)
            assert row.estimates[0].value == pytest.approx(sides[0].mean() - sides[1].mean())
            assert row.estimates[0].ci == pytest.approx(tuple(reference.confidence_interval()))

    def test_security_against_benchmark_at_the_same_gap(self):
        columns = ["overfit_gap", "mia_modified_entropy_auc"]
        ours, theirs = (models(purpose, "CIFAR-10", columns, BROKEN) for purpose in ("security", "benchmark"))
        low, high = max(ours[0].min(), theirs[0].min()), min(ours[0].max(), theirs[0].max())
        ours, theirs = (side[:, (side[0] >= low) & (side[0] <= high)] for side in (ours, theirs))
        y = np.r_[ours[1], theirs[1]]
        X = np.c_[np.ones(len(y)), np.r_[np.ones(ours.shape[1]), np.zeros(theirs.shape[1])],
                  np.r_[ours[0], theirs[0]]]  # fmt: skip
        (estimate,) = FINDINGS["security-models-leak-less"].rows[0].estimates
        assert estimate.value == pytest.approx(np.linalg.lstsq(X, y, rcond=None)[0][1])
        # HC3 is the jackknife's variance but for a factor: leave each model out and fit again.
        fits = [np.linalg.lstsq(np.delete(X, i, 0), np.delete(y, i), rcond=None)[0][1] for i in range(len(y))]
        error = np.sqrt(np.sum((np.array(fits) - estimate.value) ** 2))
        half = stats.t.ppf(0.975, len(y) - 3) * error
        assert estimate.ci == pytest.approx((estimate.value - half, estimate.value + half), abs=1e-9)

    def test_stealing_of_weak_models(self):
        for y, sign in (("stealing_accuracy", 1), ("stealing_agreement", -1)):
            x, values = models("security", "CIFAR-10", ["test_accuracy", y], NOT_STOLEN)
            row = row_of(
                "stealing-of-weak-models", "security, CIFAR-10", f"{y.replace('_', ' ')} ~ test accuracy"
            )
            expected = reference_correlations(x, values)
            assert np.allclose(flat(row.estimates), expected, atol=1e-12)
            assert (np.sign(expected)[:, 0] == sign).all()
            assert row.answer == ("yes" if sign > 0 else "no")

    def test_metadata(self):
        names = {
            "stealing_agreement": "stealing agreement",
            "mia_modified_entropy_auc": "modified entropy AUC",
        }
        rows = iter(FINDINGS["metadata"].rows)
        for y in names:
            for x in ("paper_year", "paper_num_authors", "num_parameters"):
                for dataset in ("CIFAR-10", "CIFAR-100", "CUB-200-2011", "ImageNet-1k", "SVHN"):
                    without = NOT_STOLEN if y.startswith("stealing") else BROKEN
                    without += PAPER if x.startswith("paper") else ()
                    sides = models("benchmark", dataset, [x, y], without).astype(float)
                    row = next(rows)
                    assert (row.group, row.quantity) == (
                        f"benchmark, {dataset}", f"{names[y]} ~ {x.replace('_', ' ')}"
                    )  # fmt: skip
                    assert row.n == sides.shape[1]
                    if np.ptp(sides[0]):
                        assert np.allclose(flat(row.estimates), reference_correlations(*sides), atol=1e-12)
                    else:
                        assert row.estimates == ()
        assert next(rows, None) is None

    @pytest.mark.parametrize(
        ("finding", "y", "x", "without"),
        [
            ("stealing-and-accuracy", "stealing_accuracy", "test_accuracy", NOT_STOLEN),
            ("stealing-and-accuracy", "stealing_agreement", "test_accuracy", NOT_STOLEN),
            ("membership-and-overfitting", "mia_modified_entropy_auc", "overfit_gap",
             (*BROKEN, "train-accuracy-placeholder")),
        ],
    )  # fmt: skip
    def test_pooled(self, finding, y, x, without):
        flagged = TABLE["flags"].map(lambda flags: bool(set(flags) & set(without)))
        sides = TABLE[~flagged][[x, y]].dropna().to_numpy().T
        (row,) = (
            r for r in FINDINGS[finding].rows
            if "pooled" in r.group and y.removeprefix("mia_").split("_auc")[0].replace("_", " ") in r.quantity
        )  # fmt: skip
        assert row.n == sides.shape[1]
        assert np.allclose(flat(row.estimates), reference_correlations(*sides), atol=1e-12)

    def test_verdicts(self):
        assert {name: found.verdict for name, found in FINDINGS.items()} == {
            "stealing-and-accuracy": "reproduced",
            "stealing-of-weak-models": "partly reproduced",
            "cub-is-hard-to-steal": "reproduced",
            "experiments-mislead": "reproduced",
            "larger-surrogates": "reproduced",
            "out-of-distribution-queries": "reproduced",
            "membership-and-overfitting": "partly reproduced",
            "security-models-leak-less": "reproduced",
            "metadata": "not checkable",
            "learned-membership-attacks": "not checkable",
            "backdoor-detection": "not checkable",
        }

    def test_the_pooled_figure_stands_beside_its_warning(self):
        pooled = [row for row in FINDINGS["stealing-and-accuracy"].rows if "pooled" in row.group]
        assert len(pooled) == 2
        for row in pooled:
            assert row.estimates[0].value > 0.4
            assert row.warning.startswith("REVERSES")
            assert row.answer is None
        assert all(row.warning for f in FINDINGS.values() for row in f.rows if "pooled" in row.group)

    def test_what_is_left_out_is_counted(self):
        wanted = ["test_accuracy", "stealing_agreement"]
        kept, left_out = complete(annotation_frame(), wanted)
        assert len(kept) + sum(left_out.values()) == 529
        assert left_out["evaluation-broken"] == left_out["evaluation-suspect"] == 36

    def test_panels_count_every_model_once(self):
        panels = {panel.column: panel for panel in count_panels(annotation_frame())}
        assert len(panels) == 6
        for name, panel in panels.items():
            if name != "paper_countries":
                assert panel.counts.to_numpy().sum() + panel.left_out == 529
        assert panels["dataset"].counts.loc["CIFAR-10"].to_dict() == {
            "benchmark": 47,
            "other": 0,
            "security": 72,
        }
        for name, without in {"dataset": (), "family": (), "paper_year": PAPER, "paper_num_authors": PAPER,
                              "paper_venue_type": (*PAPER, "venue-doubtful")}.items():  # fmt: skip
            flagged = TABLE["flags"].map(lambda flags, w=without: bool(set(flags) & set(w)))
            counted = TABLE[~flagged].groupby([name, "purpose"]).size()
            for value, row in panels[name].counts.iterrows():
                if "others" not in value:
                    key = int(value) if name in ("paper_year", "paper_num_authors") else value
                    assert row[row > 0].to_dict() == counted[key].to_dict(), (name, value)
        usa = TABLE.paper_countries.map(lambda names: "USA" in names)
        doubtful = TABLE["flags"].map(lambda flags: bool({"paper-corrected", "paper-doubtful"} & set(flags)))
        assert panels["paper_countries"].counts.loc["USA"].sum() == (usa & ~doubtful).sum()


class TestEstimates:
    def test_swapping_and_order_change_nothing_and_monotone_maps_keep_rho(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=30).round(1)  # with ties
        y = x + rng.normal(size=30)
        order = rng.permutation(30)
        expected = flat(correlations(x, y))
        assert np.allclose(flat(correlations(y, x)), expected)
        assert np.allclose(flat(correlations(x[order], y[order])), expected)
        assert np.allclose(flat(correlations(np.exp(x), y))[1], expected[1])
        assert np.allclose(flat(correlations(-x, y)), -np.array(expected)[:, [0, 2, 1]])

    def test_intervals_cover(self):
        """Of 400 samples of 40 from a normal pair the intervals at 90 % hold the truth in 90 % or so."""
        rng = np.random.default_rng(1)
        r = 0.6
        truth = np.array([r, 6 / np.pi * np.arcsin(r / 2)])
        held = np.zeros(2)
        for _ in range(400):
            x = rng.normal(size=40)
            y = r * x + np.sqrt(1 - r * r) * rng.normal(size=40)
            cis = np.array([e.ci for e in correlations(x, y, confidence_level=0.9)])
            held += (cis[:, 0] <= truth) & (truth <= cis[:, 1])
        assert (abs(held / 400 - 0.9) <= 0.04).all()

    def test_a_perfect_correlation_of_few_proves_little(self):
        r, rho = correlations([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])
        assert r.value < 1
        assert rho.value == rho.ci.high == 1
        assert rho.ci.low < 0  # of five ranks one swap gives 0.9, whose interval holds 0
        assert correlations([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])[1].ci == (-1, pytest.approx(-rho.ci.low))

    def test_nothing_is_said_of_too_few_or_of_constants(self):
        assert correlations([1, 2, 3, 4], [1, 2, 3, 5]) == ()
        assert correlations([2] * 9, range(9)) == ()
        assert mean_difference([1], [1, 2]) == paired_difference([1], [2]) == ()
        # One model in the group decides its coefficient alone: no scatter to judge it by.
        assert adjusted_difference([1, 2, 3, 9], [0, 0, 0, 1], [1, 2, 4, 2]) == ()

    @pytest.mark.parametrize("function", [correlations, mean_difference, paired_difference])
    def test_nan_is_refused(self, function):
        with pytest.raises(ValueError, match=r"y must be finite; 1 row\(s\) \(1\)"):
            function([1.0] * 6, [1.0, np.nan, 1.0, 2.0, 3.0, 4.0])

    def test_other_lengths_are_refused(self):
        for function in (correlations, paired_difference):
            with pytest.raises(ValueError, match="got 3 and 2"):
                function([1, 2, 3], [1, 2])


def estimate(value, low, high):
    return Estimate("r", value, Interval(low, high))


class TestVerdicts:
    CLEAR, VAGUE = estimate(0.5, 0.2, 0.7), estimate(0.2, -0.1, 0.4)

    @pytest.mark.parametrize(
        ("estimates", "expected", "answer"),
        [
            ((CLEAR, CLEAR), 1, "yes"),
            ((CLEAR, VAGUE), 1, "yes"),
            ((VAGUE, VAGUE), 1, "undecided"),
            ((CLEAR, CLEAR), -1, "no"),
            ((VAGUE, VAGUE), -1, "undecided"),
            ((CLEAR, estimate(-0.1, -0.2, 0.1)), 1, "undecided"),
            ((VAGUE, VAGUE), 0, "yes"),
            ((CLEAR, VAGUE), 0, "undecided"),
            ((CLEAR, CLEAR), 0, "no"),
            ((), 1, None),
            ((CLEAR,), None, None),
        ],
    )
    def test_a_row_answers(self, estimates, expected, answer):
        assert Row(group="", quantity="", n=9, estimates=estimates, expected=expected).answer == answer

    def test_rows_make_a_verdict(self):
        yes = Row(group="", quantity="", n=9, estimates=(self.CLEAR,), expected=1)
        no, silent = replace(yes, expected=-1), replace(yes, expected=None)
        for rows, verdict in [((yes, yes, silent), "reproduced"), ((yes, no), "partly reproduced"),
                              ((no, no), "not reproduced"), ((silent,), "not checkable"),
                              ((), "not checkable")]:  # fmt: skip
            assert Finding(name="", title="", reported="", computed="", rows=rows).verdict == verdict

    def test_a_reversal_is_seen(self):
        """Two data sets in each of which y falls with x, one higher in both (Simpson's paradox)."""
        x, y = np.arange(6.0), -np.arange(6.0)
        parts = [Row(group="", quantity="", n=6, estimates=correlations(x + far, y + far)) for far in (0, 50)]
        pooled = Row(group="", quantity="", n=12, estimates=correlations(np.r_[x, x + 50], np.r_[y, y + 50]))
        assert warn_if_reversed(pooled, tuple(parts)).startswith("REVERSES")
        assert "REVERSES" not in warn_if_reversed(parts[0], tuple(parts))


def record(id="lab/model", attack="modified_entropy", kind="membership-inference", created="2030", **result):
    budget = {"budget": result.pop("budget")} if "budget" in result else {}
    return Record(
        target={"id": id}, data={"name": "Fashion-MNIST"}, attack={"name": attack, "kind": kind, **budget},
        result=result, counts={}, timings={}, code={}, environment={}, created=created, author=None,
    )  # fmt: skip


class TestRecords:
    def test_the_last_record_counts_and_the_largest_budget(self):
        (row,) = record_frame([
            record(auc=0.7, created="2031"), record(auc=0.6, created="2030"),
            record(attack="correctness", auc=0.65),
            record(attack="steal", kind="model-stealing", budget=500, agreement=0.9, accuracy=0.8,
                   target_accuracy=0.85),
            record(attack="steal", kind="model-stealing", budget=50, agreement=0.4, created="2040"),
            record(attack="rmia", auc=0.99),
        ]).to_dict("records")  # fmt: skip
        assert (row["mia_modified_entropy_auc"], row["stealing_agreement"], row["stealing_accuracy"]) == (
            0.7,
            0.9,
            0.8,
        )
        assert (row["test_accuracy"], row["overfit_gap"]) == (0.85, pytest.approx(0.3))
        assert (row["id"], row["dataset"], row["purpose"]) == ("lab/model", "Fashion-MNIST", "audited")

    def test_images_that_name_a_public_data_set_join_its_models(self):
        named = replace(record(auc=0.6), data={"name": "uoft-cs/cifar10 (train, test)"})
        assert record_frame([named]).dataset.tolist() == ["CIFAR-10"]

    def test_the_annotation_fills_in_what_it_is_trusted_for(self):
        frame = record_frame(
            [record("zoo/fashion-mnist/cnn-clean/1", auc=0.5), record("pytorchcv/svhn/resnet20", auc=0.5)]
        )
        assert frame.test_accuracy.gt(0.8).all()
        assert frame.overfit_gap.notna().tolist() == [True, False]  # SVHN's is a placeholder's

    def test_records_extend_the_study_and_change_no_other_row(self):
        records = [record(f"lab/{i}", auc=0.5 + i / 50) for i in range(8)]
        records += [record(f"lab/{i}", attack="correctness", auc=0.5 + i / 100) for i in range(8)]
        extended = {finding.name: finding for finding in derive_findings(record_frame(records))}
        old = FINDINGS["membership-and-overfitting"].rows
        new = extended["membership-and-overfitting"].rows
        assert [row for row in new if not row.group.startswith("audited")] == list(old)
        (added,) = (row for row in new if row.group.startswith("audited"))
        assert (added.group, added.n, added.expected) == ("audited, Fashion-MNIST", 8, None)
        assert added.estimates[0].value == pytest.approx(1)
        assert [f.verdict for f in extended.values()] == [f.verdict for f in FINDINGS.values()]


class TestWriting:
    def test_the_same_study_gives_the_same_bytes(self):
        again = derive_findings()
        assert as_markdown(again) == as_markdown(list(FINDINGS.values()))
        assert as_csv(again) == as_csv(list(FINDINGS.values()))

    @pytest.mark.slow
    def test_another_process_writes_the_same_bytes(self):
        code = (
            "from securitynet_hub.study import securitynet, writing; "
            "print(end=writing.as_csv(securitynet.derive_findings()))"
        )
        environment = os.environ | {"PYTHONHASHSEED": "7"}  # the order of sets
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout == as_csv(list(FINDINGS.values()))

    def test_csv_holds_every_figure_in_full(self):
        lines = list(csv.DictReader(io.StringIO(as_csv(list(FINDINGS.values())))))
        figures = [e for f in FINDINGS.values() for row in f.rows for e in row.estimates]
        assert [float(line["value"]) for line in lines if line["value"]] == [e.value for e in figures]
        assert {line["finding"] for line in lines} == set(FINDINGS)

    def test_markdown_tables_are_whole_whatever_the_text(self):
        hostile = Row(group="a | b\n<script>", quantity="x", n=1)
        text = as_markdown([Finding(name="n", title="t", reported="", computed="", rows=(hostile,))])
        (line,) = (line for line in text.splitlines() if "a \\| b" in line)
        assert "<script>" not in text
        assert line.count(" | ") == 6
