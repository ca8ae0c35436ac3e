import json
import os
import runpy
import sys
from importlib import resources
from types import SimpleNamespace

import datasets
import evaluate
import numpy as np
import pytest
import torch
from support.processes import run_python

from securitynet_hub import load_metric
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.metric_files import known_metrics

METRICS = resources.files("securitynet_hub.metrics")
each_metric = pytest.mark.parametrize("name", known_metrics())

rng = np.random.default_rng(0)
SCORES = rng.normal(size=3000) + (np.arange(3000) < 1000)
MEMBERS = np.arange(3000) < 1000


class TestContract:
    """What holds for every metric folder."""

    def test_they_load_from_another_directory_offline(self, tmp_path):
        code = "import sys, securitynet_hub as h; print(*(h.load_metric(n).name for n in sys.argv[1:]))"
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        done = run_python("-c", code, *known_metrics(), cwd=tmp_path, env=environment)
        assert done.stdout.split() == list(known_metrics()), done.stderr

    @each_metric
    def test_a_folder_of_that_name_in_the_working_directory_is_not_run(self, name, tmp_path, monkeypatch):
        (tmp_path / "metrics" / name).mkdir(parents=True)
        (tmp_path / "metrics" / name / f"{name}.py").write_text("raise SystemExit('hijacked')")
        monkeypatch.chdir(tmp_path)
        assert load_metric(name).name == name

    @each_metric
    def test_documents_itself(self, name):
        metric = load_metric(name)
        assert metric.description
        assert "@inproceedings" in metric.citation
        assert ">>>" in metric.inputs_description
        assert (METRICS / name / "README.md").is_file()
        assert "securitynet-hub" in (METRICS / name / "requirements.txt").read_text()

    @each_metric
    def test_its_page_computes_the_example(self, name, monkeypatch):
        pages = []

        class Page(SimpleNamespace):
            def launch(self):
                pages.append(self)

        page = SimpleNamespace(
            Code=lambda value=None, **how: value,
            Interface=lambda compute, inputs, outputs, title: Page(
                compute=compute, inputs=inputs, title=title
            ),
        )
        monkeypatch.setitem(sys.modules, "gradio", page)
        runpy.run_path(str(METRICS / name / "app.py"), run_name="__main__")
        (shown,) = pages
        assert f"title: {shown.title}\n" in (METRICS / name / "README.md").read_text(encoding="utf-8")
        assert json.loads(shown.compute(shown.inputs)) == json.loads(
            json.dumps(load_metric(name).compute(**json.loads(shown.inputs)))
        )

    def test_unknown_names_get_the_closest(self):
        with pytest.raises(UnknownNameError, match="membership_inference"):
            load_metric("membership-inference")


class TestMembershipInference:
    @pytest.fixture
    def metric(self):
        return load_metric("membership_inference")

    def test_gives_the_library_s_figures_to_the_bit(self, metric):
        assert metric.compute(predictions=SCORES, references=MEMBERS) == measure_membership(SCORES, MEMBERS)

    def test_names_every_figure(self, metric):
        result = metric.compute(
            predictions=SCORES, references=MEMBERS, target_fprs=[0.0001, 0.1], confidence_level=0.9
        )
        assert set(result) == {
            "auc", "auc_ci", "advantage", "advantage_ci", "tpr_at_fpr",
            "n_members", "n_nonmembers", "confidence_level",
        }  # fmt: skip
        assert [rate["target_fpr"] for rate in result["tpr_at_fpr"]] == [0.0001, 0.1]
        assert [rate["resolvable"] for rate in result["tpr_at_fpr"]] == [False, True]
        assert set(result["tpr_at_fpr"][0]) == {
            "target_fpr", "tpr", "achieved_fpr", "threshold", "ci", "resolvable", "tpr_at_threshold",
            "ci_at_threshold",
        }  # fmt: skip
        assert (result["n_members"], result["n_nonmembers"], result["confidence_level"]) == (
            1000,
            2000,
            0.9,
        )

    @pytest.mark.parametrize(
        "as_type", [list, torch.from_numpy, lambda a: torch.from_numpy(a.copy()).requires_grad_()]
    )
    def test_lists_and_tensors_give_the_same(self, metric, as_type):
        members = MEMBERS.tolist()
        assert metric.compute(predictions=as_type(SCORES), references=members) == measure_membership(
            SCORES, MEMBERS
        )

    def test_dataset_columns_give_the_same(self, metric):
        rows = datasets.Dataset.from_dict({"score": SCORES, "member": MEMBERS})
        found = metric.compute(predictions=rows["score"], references=rows["member"])
        assert found == measure_membership(SCORES, MEMBERS)

    def test_batches_collected_one_by_one_give_the_same(self, metric):
        for start in range(0, 3000, 700):
            part = slice(start, start + 700)
            metric.add_batch(predictions=SCORES[part], references=MEMBERS[part].astype(int))
        assert metric.compute() == measure_membership(SCORES, MEMBERS)

    def test_single_samples_and_then_arrays_do_not_mix(self, metric):
        for score, member in ((0.9, 1), (0.1, 0)):
            metric.add(predictions=score, references=member)
        assert metric.compute(target_fprs=[0.5])["auc"] == 1
        assert metric.compute(predictions=[0.1, 0.9], references=[1, 0])["auc"] == 0

    def test_swapped_sides_mirror(self, metric):
        auc = metric.compute(predictions=SCORES, references=MEMBERS)["auc"]
        assert auc > 0.7
        assert metric.compute(predictions=SCORES, references=~MEMBERS)["auc"] == pytest.approx(1 - auc)

    def test_combines_with_another_metric(self, metric):
        both = evaluate.combine([metric, load_metric("membership_inference")])
        result = both.compute(predictions=SCORES, references=MEMBERS.astype(int))
        assert result["membership_inference_0_auc"] == result["membership_inference_1_auc"]
        assert result["membership_inference_0_auc"] == measure_membership(SCORES, MEMBERS)["auc"]

    def test_the_result_can_be_saved(self, metric, tmp_path):
        result = metric.compute(predictions=SCORES, references=MEMBERS)
        path = evaluate.save(tmp_path, **result)
        assert path.exists()

    @pytest.mark.parametrize(
        ("inputs", "sentence"),
        [
            ({"predictions": [0.1, np.nan], "references": [0, 1]}, r"1 row\(s\) \(1\) hold NaN"),
            ({"predictions": [0.1, np.inf], "references": [0, 1]}, "infinite"),
            ({"predictions": [0.1, 0.2], "references": [1, 1]}, "all 2 samples are members"),
            ({"predictions": [0.1, 0.2, 0.3], "references": [0, 1]}, "3 predictions and 2 memberships"),
            ({"predictions": [], "references": []}, "empty"),
            ({"predictions": [0.1, 0.2]}, "got no references"),
            ({}, "got no predictions and no references"),
        ],
    )
    def test_refusals(self, metric, inputs, sentence):
        with pytest.raises(ValueError, match=sentence):
            metric.compute(**inputs)

    def test_collected_fractions_of_a_membership_are_not_cut_off(self, metric):
        metric.add_batch(predictions=[0.9, 0.1, 0.5], references=[0.5, 1, 0])
        with pytest.raises(ValueError, match="booleans or 0/1"):
            metric.compute()

    @pytest.mark.parametrize("kind", [bool, int, float])
    def test_memberships_of_any_kind_are_collected(self, metric, kind):
        metric.add_batch(predictions=SCORES, references=MEMBERS.astype(kind))
        assert metric.compute() == measure_membership(SCORES, MEMBERS)

    def test_a_cache_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        code = "import securitynet_hub as hub; hub.load_metric('membership_inference')"
        environment = {**os.environ, "HF_HOME": str(tmp_path / "file"), "HF_HUB_OFFLINE": "1"}
        done = run_python("-c", code, env=environment)
        assert "SecurityNetError" in done.stderr
        assert "HF_HOME" in done.stderr

    def test_collected_nan_is_refused_too(self, metric):
        metric.add_batch(predictions=[0.5, float("nan")], references=[1, 0])
        with pytest.raises(ValueError, match="NaN"):
            metric.compute()
