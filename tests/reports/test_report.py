"""What a report says, from records as they are, as they may become, and as nobody should write them."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.report_pages import HOSTILE, MEMBER, OVERFITTED, RNG, SCORES, Page, entries, record

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.backdoor.present import per_class
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import Run
from securitynet_hub.attacks.membership.samples import sample_table, write_samples
from securitynet_hub.attacks.present import Ground
from securitynet_hub.attacks.stealing.present import varying
from securitynet_hub.cli.main import main
from securitynet_hub.core.errors import RecordError
from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.overview import overview_plot
from securitynet_hub.plots.roc import roc_curve, roc_plot
from securitynet_hub.plots.scores import scores_plot
from securitynet_hub.records.entries import read_entries
from securitynet_hub.records.record import read_records, write_record
from securitynet_hub.reports.comparison import compare
from securitynet_hub.reports.models import describe, draw, locate
from securitynet_hub.reports.page import write_report
from securitynet_hub.reports.placement import in_sentences, percentile_of, place
from securitynet_hub.statistics.roc import tpr_at_fpr


def report(tmp_path, *records, **options):
    return Page(write_report(entries(*records), tmp_path / "report.html", **options))


class TestPage:
    def test_says_what_was_measured(self, tmp_path):
        page = report(tmp_path, record(), record(attack="loss"))
        result = measure_membership(SCORES, MEMBER)
        assert f"{result['auc']:.3f}" in page.text
        assert f"({result['auc_ci'].low:.3f} to {result['auc_ci'].high:.3f})" in page.text
        assert "150 members against 250 non-members; intervals at 95 %" in page.text
        assert "Leaks membership (severe): given a training image and another image, an attacker" in page.text
        assert "need every sample's score" in page.text

    def test_what_sentences_mark_as_code_is_code(self, tmp_path):
        page = report(tmp_path, record(attack="logistic"))
        assert "on the features of <code>mlp_full</code>" in page.source
        section = page.text.partition("What each attack looks at")[2]
        assert "`" not in section.partition("What each number means")[0]

    def test_needs_nothing_from_elsewhere(self, tmp_path):
        page = report(tmp_path, record(), record("lab/other"))
        outside = [
            value
            for _, attributes in page.tags
            for name, value in attributes.items()
            if name in ("src", "href", "xlink:href", "action")
            and not (value or "").startswith(("#", "data:"))
        ]
        assert outside == ["https://arxiv.org/abs/2310.12665"]
        assert "default-src 'none'" in page.source
        assert not re.search(r"@import|url\((?!#)", page.source)

    def test_hostile_text_is_text(self, tmp_path):
        bad = record(
            HOSTILE, attack=HOSTILE, author=HOSTILE, result={"auc": 0.7, "auc_ci": [0.6, 0.8], HOSTILE: 3.0},
        )  # fmt: skip
        odd = record(HOSTILE, attack=HOSTILE, kind=HOSTILE, result={HOSTILE: 1.0}, data={"name": HOSTILE})
        stolen = record(HOSTILE, attack=HOSTILE, kind="model-stealing", attack_more={"budget": 10},
                        result={"agreement": 0.5})  # fmt: skip
        other = record("lab/plain", attack=HOSTILE, result={"auc": 0.6, "auc_ci": [0.5, 0.7]})
        page = report(tmp_path, bad, odd, stolen, other, title=HOSTILE)
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not any(tag == "img" for tag, _ in page.tags)
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert HOSTILE in page.text

    @pytest.mark.parametrize(
        "result",
        [
            {},
            {"auc": None, "auc_ci": None},
            {"auc": "high", "auc_ci": [1], "tpr_at_fpr": "none", "n_members": "many"},
            {"auc": 0.7, "auc_ci": [0.9, 0.1], "tpr_at_fpr": [3, {"target_fpr": "x"}, {"target_fpr": 0.1}]},
            {"auc": 1.0, "auc_ci": [1.0, 1.0], "tpr_at_fpr": {}, "confidence_level": "sure"},
            {"agreement": True, "flagged_classes": "all", "norms": [1, "a"], "anomaly_index": []},
        ],
    )
    @pytest.mark.parametrize("kind", ["membership-inference", "model-stealing", "backdoor-detection", "new"])
    def test_strange_results_make_a_page(self, tmp_path, result, kind):
        assert OVERFITTED in report(tmp_path, record(kind=kind, result=result)).text

    def test_ids_are_unique_and_links_lead_somewhere(self, tmp_path):
        page = report(tmp_path, record(), record("lab/other"), record("lab/third", attack="loss"))
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        links = [a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")]
        labels = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a]
        assert len(links) >= 4
        assert {*links, *labels} <= set(ids)
        drawn = set(re.findall(r"<svg.*?</svg>", page.source, re.DOTALL))
        own = set(re.findall(r' id="([^"]+)"', re.sub(r"<svg.*?</svg>", "", page.source, flags=re.DOTALL)))
        assert len(own) == len(
            re.findall(r' id="', re.sub(r"<svg.*?</svg>", "", page.source, flags=re.DOTALL))
        )
        assert all('role="img" aria-label="' in svg or 'aria-hidden="true"' in svg for svg in drawn)

    def test_same_records_same_bytes_in_any_order(self, tmp_path):
        records = [record(), record("lab/other"), record(attack="loss")]
        first = report(tmp_path, *records).source
        assert report(tmp_path, *records[::-1]).source == first

    def test_data_beside_the_page(self, tmp_path):
        report(tmp_path, record(), record("lab/other"), data=tmp_path / "data")
        (rows,) = (
            csv.DictReader(io.StringIO(p.read_text())) for p in (tmp_path / "data").glob("overview.csv")
        )
        assert {row["model"] for row in rows} == {OVERFITTED, "lab/other"}
        for path in (tmp_path / "data").glob("*.png"):
            with Image.open(path) as picture:
                assert picture.size[0] > 300
        assert {p.suffix for p in (tmp_path / "data").iterdir()} == {".svg", ".png", ".csv"}

    def test_refusals(self, tmp_path, run):
        with pytest.raises(RecordError, match="no records to report"):
            write_report([], tmp_path / "x.html")
        assert "no file or folder" in run("report", tmp_path / "none")[2]
        (tmp_path / "empty").mkdir()
        assert "no record (*.json)" in run("report", tmp_path / "empty")[2]
        (tmp_path / "bad.json").write_text("{}")
        assert "bad.json is not a record" in run("report", tmp_path / "bad.json")[2]
        path = write_record(record(), tmp_path / "records")
        code, _, err = run("report", path, "--details", "0")
        assert (code, "at least 1" in err) == (2, True)


class TestComparison:
    def test_columns_are_ordered_by_kind_and_names_lose_what_they_share(self):
        theft = record("lab/a/x", attack="steal", kind="model-stealing", result={"agreement": 0.5})
        found = record("lab/a/x", attack="noise", kind="backdoor-detection", result={"score": 2.0})
        first, second = [found, theft, record("lab/a/x")], [record("lab/a/y/1")]
        models = [describe("lab/a/x", entries(*first)), describe("lab/a/y/1", entries(*second))]
        comparison = compare(models)
        names = [
            "modified entropy AUC",
            "modified entropy TPR at 1\u00a0% FPR",
            "steal agreement",
            "noise score",
        ]
        assert [column.name for column in comparison.columns] == names
        first, second = ({c.name: m.value for c, m in row.items()} for row in comparison.figures.values())
        assert (first["noise score"], comparison.beginning) == (2.0, "lab/a/")
        assert list(second) == names[:2]

    def test_each_figure_of_a_table_of_models_carries_the_label_of_its_column(self, tmp_path):
        hostile = record("lab/other", attack=HOSTILE, data={"name": "uoft-cs/cifar10 (train, test)"})
        source = report(tmp_path, record(), record(attack="loss"), hostile).source
        tables = re.findall(r'<table class="[^"]*\bcards\b.*?</table>', source, re.S)
        assert len(tables) == 2
        for table in tables:
            headings = re.findall(r'<th scope="col"[^>]*>(.*?)(?:<svg.*?)?</th>', table, re.S)
            assert len(headings) > 3
            for row in table.split("<tr>")[2:]:
                assert re.findall(r'<td[^>]* data-label="([^"]*)"', row) == headings[1:]
                assert row.count("<td") == len(headings) - 1

    def test_of_many_models_the_tables_list_the_worst_and_say_how_many_are_left(self, tmp_path):
        records = [
            record(f"lab/net-{i}", result={"auc": 0.9 - i / 10, "auc_ci": [0.88 - i / 10, 0.92 - i / 10]})
            for i in range(4)
        ]
        page = report(tmp_path, *records, listed=2, details=1)
        assert "4 records of 4 models" in page.text
        assert re.search(r"list the 2 models that do worst of 4; the other\s+2 count", page.text)
        assert "Of the 1 model at the top of the table" in page.text
        cells = re.findall(r'<th scope="row">(?:<a[^>]*>)?(net-\d)', page.source)
        assert cells == ["net-0", "net-1"] * 2
        whole = report(tmp_path, *records, details=1)
        assert "count in the findings above" not in whole.text
        assert whole.source.count("net-3") > page.source.count("net-3")
        with pytest.raises(ValueError, match="listed must be at least 1"):
            report(tmp_path, *records, listed=0)

    def test_the_most_exposed_model_stands_first(self, tmp_path):
        """By what its AUC is at least; a model whose members nobody looked for stands last."""
        records = [
            record("lab/calm", result={"auc": 0.6, "auc_ci": [0.55, 0.65]}),
            record("lab/unsure", result={"auc": 0.95, "auc_ci": [0.5, 1.0]}),
            record("lab/exposed", result={"auc": 0.9, "auc_ci": [0.85, 0.95]}),
            record("lab/another", attack="noise", kind="backdoor-detection", result={"score": 2.0}),
        ]
        page = report(tmp_path, *records)
        headings = re.findall(r"<h3[^>]*>\s*(\w+)", page.source)
        assert headings == ["exposed", "calm", "unsure", "another"]
        few = report(tmp_path, *records, details=1)
        assert re.findall(r"<h3[^>]*>\s*(\w+)", few.source) == ["exposed"]

    def test_the_findings_name_the_worst_first_and_say_for_how_many_models_the_audit_is_valid(self, tmp_path):
        good, bad = ({"status": status} for status in ("as expected", "near chance"))
        leaks = [record(f"lab/{i}", data={"name": "own", "check": good}) for i in range(2)]
        broken = record("lab/broken", data={"name": "own", "check": bad})
        page = report(tmp_path, broken, *leaks)
        found = page.source[page.source.index('class="findings"') : page.source.index("</ol>")]
        assert found.index("Leaks membership (severe): 2 of 3") < found.index("Cannot be judged: 1 of 3")
        assert "Accuracy as expected 2 of 3 models; not: lab/broken" in page.text
        assert "Not as it stands" in page.text
        assert "Not as it stands" not in report(tmp_path, *leaks).text

    def test_a_model_of_ones_own_goes_by_its_name(self, tmp_path):
        page = report(tmp_path, record("file/0123456789ab/mine"))
        assert "Security audit of mine" in page.text
        assert "id file/0123456789ab/mine" in page.text
        twins = report(tmp_path, *(record(f"file/{digit * 12}/mine") for digit in "ab"))
        assert re.findall(r"<h3[^>]*>\s*([^<]+)", twins.source) == ["aaaaaaaaaaaa/mine", "bbbbbbbbbbbb/mine"]

    def test_percentiles_have_a_column(self, tmp_path):
        page = report(tmp_path, *(record(f"lab/{i}", data={"name": "cifar10"}) for i in range(2)))
        assert "percentile, AUC of modified entropy" in page.text
        assert "Leaks membership (severe): 2 of 2 models" in page.text


class TestSamples:
    @pytest.fixture
    def samples(self, tmp_path):
        table = sample_table(
            {"modified_entropy": Run(SCORES, np.arange(400))},
            MEMBER,
            labels=np.zeros(400, int),
            positions=range(400),
        )
        write_samples(table, np.zeros((400, 8, 8, 1), np.uint8), tmp_path / "samples" / OVERFITTED)
        return tmp_path / "samples"

    def test_are_drawn(self, tmp_path, samples):
        page = report(tmp_path, record(), samples=samples)
        labels = [a.get("aria-label", "") for tag, a in page.tags if tag == "svg"]
        rate = tpr_at_fpr(SCORES, MEMBER, 0.01).tpr
        assert any(f"modified entropy finds {rate:.1%} at 1% FPR" in label for label in labels)
        (image,) = (a for tag, a in page.tags if tag == "img")
        assert image["src"].startswith("data:image/png;base64,")
        assert "The members with the highest scores by modified entropy" in image["alt"]
        assert "Not shown" not in page.text

    def test_of_several_folders_each_gives_the_scores_of_its_records(self, tmp_path, samples):
        """Two audits of one model; the scores of a third are nowhere, and it is named."""
        other = SCORES + RNG.normal(size=400)
        table = sample_table({"loss": Run(other, np.arange(400))}, MEMBER, labels=np.zeros(400, int),
                             positions=range(400))  # fmt: skip
        write_samples(table, np.zeros((400, 8, 8, 1), np.uint8), tmp_path / "second" / OVERFITTED)
        records = [
            record(), record(attack="loss", result=dict(measure_membership(other, MEMBER))),
            record(attack="entropy", result={"auc": 0.6, "auc_ci": [0.5, 0.7]}),
        ]  # fmt: skip
        page = report(tmp_path, *records, samples=[tmp_path / "second", samples])
        labels = [a.get("aria-label", "") for tag, a in page.tags if tag == "svg"]
        assert any("modified entropy finds" in label and "loss finds" in label for label in labels)
        assert "Not shown: ROC curves of entropy: no folder of --samples has the scores" in page.text
        # Another audit's scores of the same attack are not this record's.
        mixed = report(tmp_path, record(result={"auc": 0.6, "auc_ci": [0.5, 0.7]}), samples=samples)
        assert "need every sample's score" in mixed.text

    def test_a_model_cannot_name_files_elsewhere(self, tmp_path, samples):
        page = report(tmp_path, record("../samples/" + OVERFITTED), samples=tmp_path / "samples" / "zoo")
        assert not any(tag == "img" for tag, _ in page.tags)

    def test_a_damaged_table_is_named(self, tmp_path, samples):
        path = samples / OVERFITTED / "scores.parquet"
        path.write_bytes(b"PAR1")
        with pytest.raises(RecordError, match=r"scores.parquet is not a table of scores"):
            report(tmp_path, record(), samples=samples)
        pd.DataFrame({"is_member": [1, 0]}).to_parquet(path)
        with pytest.raises(RecordError, match="no column is_member of booleans"):
            report(tmp_path, record(), samples=samples)


class TestOtherKinds:
    def test_copies_made_in_different_ways_are_lines_of_their_own(self, tmp_path):
        records = [
            record(
                attack="steal", kind="model-stealing", result={"agreement": 0.5},
                attack_more={
                    "budget": budget, "seed": seed, "view": {"kind": kind, "k": None}, "strategy": "random",
                    "recipe": {"epochs": 3, "seed": seed},
                },
            )
            for seed, kind in ((0, "label"), (1, "label"), (0, "posteriors")) for budget in (10, 100)
        ]  # fmt: skip
        report(tmp_path, *records, data=tmp_path / "data")
        lines = list(csv.DictReader(io.StringIO((tmp_path / "data/model-1-stealing.csv").read_text())))
        ways = {"seed 0, view label", "seed 1, view label", "seed 0, view posteriors"}
        assert {line["attack"] for line in lines} == {f"steal, {way}" for way in ways}
        assert len(lines) == 6

    def test_a_stealing_curve(self, tmp_path):
        records = [
            record(attack="steal", kind="model-stealing", attack_more={"budget": b},
                   result={"agreement": a, "agreement_ci": [a - 0.1, a + 0.1]})
            for b, a in ((1000, 0.8), (100, 0.4))
        ]  # fmt: skip
        page = report(tmp_path, *records, data=tmp_path / "data")
        lines = list(csv.DictReader(io.StringIO((tmp_path / "data/model-1-stealing.csv").read_text())))
        assert [(float(line["budget"]), float(line["agreement"])) for line in lines] == [
            (100, 0.4),
            (1000, 0.8),
        ]
        said = "made with 1,000 queries answers as the model does on 80.0 % (interval 70.0 % to 90.0 %)"
        assert said in page.text
        labels = [a.get("aria-label", "") for tag, a in page.tags if tag == "svg"]
        assert any("steal 40.0% at 100, 80.0% at 1,000" in label for label in labels)

    def test_a_backdoor_with_its_pictures(self, tmp_path):
        found = record(attack="neural_cleanse", kind="backdoor-detection",
                       result={"anomaly_index": 3.5, "flagged_classes": [2], "norms": [9, 8, 1]})  # fmt: skip
        path = write_record(found, tmp_path / "records")
        Image.new("L", (8, 8)).save(path.with_name(f"{path.stem}-class-2.png"))
        path.with_name(f"{path.stem}-fake.png").write_text("<svg onload=alert(1)>")
        page = Page(write_report(read_entries([path.parent]), tmp_path / "r.html"))
        assert "Neural cleanse flags class 2 (anomaly index 3.50; above 2 is flagged)" in page.text
        assert "That is no proof: clean networks are flagged, too" in page.text
        assert [a["alt"] for tag, a in page.tags if tag == "img"] == ["neural cleanse: class-2"]

    @pytest.mark.parametrize(
        ("result", "sentence"),
        [
            ({"auc": 0.75, "auc_ci": [0.7, 0.8]},
             "poisoned from clean images with an AUC of 0.75 (0.70 to 0.80)"),
            ({"flagged_share": 0.5, "flagged_share_ci": [0.3, 0.7], "threshold": 1.0, "target_frr": 0.05},
             "Some images look poisoned"),
            ({"flagged_share": 0.1, "flagged_share_ci": [0.01, 0.3], "threshold": 1.0, "target_frr": 0.05},
             "flags 10.0 % of the images, while it may flag 5.0 % of clean ones"),
            ({"flagged_share": 0.0, "threshold": None, "target_frr": 0.05},
             "The records give neither an AUC nor a share of flagged images."),
        ],
    )  # fmt: skip
    def test_of_judged_images_it_says_how_many_are_flagged(self, tmp_path, result, sentence):
        found = record(attack="strip", kind="backdoor-detection", result={"judges": "inputs", **result})
        assert sentence in " ".join(report(tmp_path, found).text.split())

    def test_unknown_kinds_get_a_table(self, tmp_path):
        page = report(
            tmp_path, record(attack="inversion", kind="inversion", result={"psnr": 21.5, "psnr_ci": [20, 23]})
        )
        assert "inversion (inversion)" in page.text
        assert "21.500 (20.000 to 23.000)" in page.text


@pytest.fixture(scope="module")
def audited(real_audit, tmp_path_factory):
    """Return the records of an audit, their page as the command writes it, and the folder of its data."""
    folder = tmp_path_factory.mktemp("audited")
    out, data = folder / "report.html", folder / "data"
    main(["report", str(real_audit), "--out", str(out), "--data", str(data)])
    return list(read_records(real_audit)), Page(out), data


@pytest.mark.slow
class TestRealRecords:
    """What audits write today, shown in full: a report must not lag behind the records."""

    def test_every_section_is_there(self, audited):
        page = audited[1]
        for heading in ("Where this model stands", "Membership inference", "Model stealing",
                        "Backdoor detection", "Recovered triggers", "What each number means"):  # fmt: skip
            assert heading in page.text
        assert "known truth backdoored: corner-patch leads to class 0" in page.text
        for technique in ("AML.T0024.000", "AML.T0024.002", "AML.T0018.000"):
            assert f"MITRE ATLAS: {technique}" in page.text
        assert "Not shown" not in page.text

    def test_figures_are_those_of_the_records(self, audited):
        records, page, _ = audited
        for one in records:
            for name in ("auc", "advantage", "agreement", "accuracy", "target_accuracy", "p_value"):
                if (value := one.result.get(name)) is not None:
                    assert (f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2g}") in page.text

    def test_pictures_of_exposed_members_and_of_triggers(self, audited):
        alts = [a["alt"] for tag, a in audited[1].tags if tag == "img"]
        of_twins = [alt for alt in alts if "clean images above; below, the same with" in alt]
        assert len(of_twins) == 4
        alts = [alt for alt in alts if alt not in of_twins]
        assert len(alts) == 4
        assert re.match(
            r"The members with the highest scores by modified entropy.*Their classes: (\d, ){24}\d\.", alts[0]
        )
        for alt, part in zip(sorted(alts[1:]), ("mask", "pattern", "trigger"), strict=True):
            assert alt.startswith(f"Recovered by neural cleanse. Class 0, {part}: ")

    def test_every_detector_s_classes_are_drawn(self, audited):
        records, _, data = audited
        drawn = {path.name.removeprefix("model-1-") for path in data.glob("*-classes.png")}
        names = ("neural-cleanse", "mm-bd", "neuron-noise", "additive-trigger", "feature-trigger", "ban",
                 "bti-dbf", "last-layer", "twins")  # fmt: skip
        assert drawn == {f"{name}-classes.png" for name in names}
        labels = [a.get("aria-label", "") for tag, a in audited[1].tags if tag == "svg"]
        for words in ("neuron noise: share of images won",
                      "additive trigger: size of the smallest shared change",
                      "ban: share of the other classes' images that it wins"):  # fmt: skip
            assert any(label.startswith(f"{words} for each of 10 classes") for label in labels)
        (found,) = (r.result["norms"] for r in records if r.attack["name"] == "neural_cleanse")
        rows = list(csv.DictReader(io.StringIO((data / "model-1-neural-cleanse-classes.csv").read_text())))
        shown = sorted((int(row["class"]), float(row["value"])) for row in rows)
        assert shown == sorted((c, n) for norms in found for c, n in enumerate(norms) if n is not None)

    def test_every_figure_has_a_text_alternative(self, audited):
        figures = [a for tag, a in audited[1].tags if tag in ("img", "svg") and "aria-hidden" not in a]
        assert len(figures) == 23
        assert all(len(a.get("alt") or a.get("aria-label")) > 30 for a in figures)


class TestReading:
    def test_per_class_needs_numbers_in_rows_of_one_length(self):
        for strange in (None, [], [[]], [[1], [1, 2]], [[1], 2], ["a"], [True], [[1, {}]]):
            assert per_class({"norms": strange}, "norms") == []
        assert per_class({"norms": [1, 2], "classes": ["a", 3]}, "norms")[1].number == 1

    def test_a_theft_done_again_counts_once(self):
        one, two = (
            record(kind="model-stealing", attack_more={"budget": 9, "surrogate_sha256": sha}) for sha in "ab"
        )
        assert [len(found) for found in by_model(entries(one, two)).values()] == [1]

    def test_settings_that_differ_tell_thefts_apart(self):
        thefts = [record(attack="steal", kind="model-stealing", result={"agreement": 0.5},
                         attack_more={"budget": b, "seed": s, "recipe": {"seed": s}, "x_sha256": str(b)})
                  for b in (10, 20) for s in (0, 1)]  # fmt: skip
        assert varying(entries(*thefts)) == ["seed 0", "seed 1"] * 2
        assert varying(entries(thefts[0], thefts[2])) == ["", ""]

    def test_corrections_replace_and_repeats_count_once(self, tmp_path):
        old, new = record(created="2030"), record(created="2031", result={"auc": 0.5})
        other = record(attack="loss")
        (found,) = by_model(entries(new, other, old)).values()
        assert [entry.record for entry in found] == [other, new]
        path = write_record(old, tmp_path / "a")
        assert len(read_entries([path, path.parent, tmp_path])) == 1

    def test_other_settings_are_other_measurements(self):
        one, two = (record(attack_more={"seed": seed}) for seed in (0, 1))
        (found,) = by_model(entries(one, two)).values()
        assert len(found) == 2


class TestVerdicts:
    @pytest.mark.parametrize(
        ("results", "title", "text"),
        [
            (
                [{"flagged_classes": [3, 4]}, {"suspect": 3}],
                "A detector flags class 3, 4",
                "D0 flags class 3, 4; d1",
            ),
            (
                [{"flagged_classes": []}],
                "Backdoor: no class is flagged",
                "no proof: detectors miss backdoors",
            ),
            ([{"suspect": 2}], "Backdoor: no class is flagged", "D0 suspects class 2 most"),
            ([{"suspect": None}, {"score": 1.0}], "Backdoor: not known", "name no class"),
        ],
    )
    def test_of_backdoors_nothing_is_said_for_sure(self, results, title, text):
        found = [record(attack=f"d{i}", kind="backdoor-detection", result=r) for i, r in enumerate(results)]
        (verdict,) = describe(OVERFITTED, entries(*found)).verdicts
        assert (verdict.title, verdict.tone) == (title, "open")
        assert text in verdict.text

    def test_the_grounds_say_whether_the_data_are_the_models(self):
        check = {"status": "near chance", "expected": 0.9, "likely_reason": "the grey levels are inverted"}
        model = describe(OVERFITTED, entries(record(data={"name": "fashion_mnist_4k", "check": check})))
        ground = Ground(
            "Accuracy as expected", False,
            "Accuracy near chance, 90.0\u00a0% expected. Probably the grey levels are inverted.",
        )  # fmt: skip
        assert model.grounds[0] == ground
        unchecked = describe(OVERFITTED, entries(record())).grounds
        assert ground.name not in [each.name for each in unchecked]

    def test_the_gap_follows_from_counts_without_correctness(self):
        counts = {"members": 100, "members_right": 90, "nonmembers": 200, "nonmembers_right": 150}
        model = describe("lab/own", entries(record("lab/own", counts=counts)))
        assert (model.accuracy, model.gap) == (0.75, pytest.approx(0.15))

    def test_the_strongest_stands_first(self):
        strong, weak = (
            record(result={"auc": 0.7, "auc_ci": [0.6, 0.8]}),
            record(attack="loss", result={"auc": 0.9, "auc_ci": [0.5, 1.0]}),
        )
        model = describe(OVERFITTED, entries(weak, strong))
        summary = model.summaries["membership-inference"]
        assert [entry.attack for entry in summary.entries] == ["modified_entropy", "loss"]
        assert model.verdicts[0].text.startswith("By modified entropy, which surely finds the most: loss has")


def standing(attack, value, ci=None, **more):
    """Return the figure that an attack's record gives SecurityNet's models, too."""
    kind = next(kind for kind in kinds().values() if attack in kind.attacks)
    result = {kind.headline[0]: value, f"{kind.headline[0]}_ci": ci, **more}
    measured = entries(record(attack=attack, kind=kind.name, result=result))
    (found,) = kind.present.summarise(measured, []).standings
    return found


class TestPlacement:
    TABLE = load_annotations().to_pandas()

    def test_is_the_share_of_the_data_set_below(self):
        """Counted once more from the table, models with broken figures left out."""
        rows = self.TABLE[self.TABLE.dataset == "CIFAR-100"]
        value = float(rows.mia_modified_entropy_auc.median())
        found, near = place(
            standing("modified_entropy", value, ci=[0.0, 1.0]), dataset="CIFAR-100", accuracy=0.8
        )
        figures = rows.mia_modified_entropy_auc
        assert found.percentile == pytest.approx(
            100 * ((figures < value).mean() + (figures == value).mean() / 2)
        )
        assert found.percentile_ci == (0, 100)
        assert len(near.figures) == rows.test_accuracy.between(0.78, 0.82).sum()

    def test_broken_rows_are_left_out_and_counted(self):
        (found,) = place(standing("model_stealing", 0.5), dataset="SynapseMNIST3D")
        assert (found.figures, found.percentile, found.left_out) == ((), None, {"evaluation-broken": 18})
        (imagenet,) = place(standing("model_stealing", 0.5), dataset="ImageNet-1k")
        assert imagenet.left_out == {"not measured": 20, "stealing-failed": 1}
        assert any("another image transform" in caveat for caveat in imagenet.caveats)
        assert any("queries, was not released" in caveat for caveat in imagenet.caveats)

    def test_of_other_data_only_an_orientation(self):
        leak = standing("modified_entropy", 0.6, n_members=500, n_nonmembers=1500)
        (found,) = place(leak, dataset="Fashion-MNIST", gap=0.05)
        assert "any data set" in found.peers
        assert "An orientation, no comparison" in found.caveats[0]
        assert "over 2,000 images" in found.caveats[-1]
        assert place(standing("model_stealing", 0.6), dataset="Fashion-MNIST", gap=0.05) == []

    def test_a_model_is_no_peer_of_its_own(self):
        row = load_annotations()["pytorchcv/cifar10/resnet20"]
        alone, named = (
            place(standing("modified_entropy", 0.6), dataset="CIFAR-10", id=id)[0] for id in (None, row.id)
        )
        assert len(alone.figures) - len(named.figures) == 1
        known = row.mia_modified_entropy_auc
        told = f"SecurityNet itself found {known:.3f} for this model's AUC of modified entropy."
        assert told in named.caveats
        assert told not in alone.caveats

    def test_a_model_that_is_not_annotated_stands_by_its_images(self, tmp_path):
        """Its data set is told by their name, its accuracy by the correctness of the non-members."""
        id, images = "transformers/lab/vit@0123", {"name": "uoft-cs/cifar10 (train, test)"}
        right = np.where(MEMBER, 1.0, np.arange(400) % 25 != 0)
        table = sample_table({"correctness": Run(right, np.arange(400))}, MEMBER,
                             labels=np.zeros(400, int), positions=range(400))  # fmt: skip
        write_samples(table, np.zeros((400, 8, 8, 1), np.uint8), tmp_path / "samples" / id)
        told = dict(measure_membership(right, MEMBER))
        records = [record(id, data=images), record(id, attack="correctness", data=images, result=told)]
        model = describe(id, entries(*records), [tmp_path / "samples"])
        locate(model)
        assert (model.dataset, model.accuracy) == ("CIFAR-10", pytest.approx(0.96))
        assert model.gap == pytest.approx(0.04)
        assert [p.peers for p in model.placements[:2]] == [
            "models of CIFAR-10", "models of CIFAR-10 with an accuracy of 0.94 to 0.98"
        ]  # fmt: skip
        page = report(tmp_path, *records, samples=tmp_path / "samples")
        assert "The images that it was audited with suggest a model of CIFAR-10" in page.text
        assert re.search(
            r"higher than that of 100 % (\(\d+ to 100 % over its interval\) )?of SecurityNet's 119", page.text
        )
        unknown = report(tmp_path, *records)
        assert "it is not compared with models of similar accuracy" in unknown.text

    def test_without_any_peer_there_is_no_percentile(self, tmp_path):
        (found,) = place(standing("modified_entropy", 0.6), dataset="Fashion-MNIST", gap=0.6)
        assert (found.figures, found.percentile, found.left_out) == ((), None, {})
        correctness = record(attack="correctness", result={"auc": 0.7, "auc_ci": [0.6, 0.8]})
        model = describe("zoo/fashion-mnist/cnn-clean/1", entries(correctness))
        model.placements = [found]
        draw(model, [])
        assert not model.plots
        broken = place(standing("model_stealing", 0.5), dataset="SynapseMNIST3D", accuracy=0.99)
        assert [placement.percentile for placement in broken] == [None, None]

    def test_correctness_has_no_place_among_models_of_its_own_gap(self):
        """Its AUC is (1 + gap) / 2: every such model would have about the same."""
        about = {"dataset": "Fashion-MNIST", "gap": 0.2}
        assert not place(standing("correctness", 0.6), **about)
        (found,) = place(standing("modified_entropy", 0.6), **about)
        named = [caveat for caveat in found.caveats if "these were trained on" in caveat]
        counts = [int(count) for count in re.findall(r"\((\d+)\)", named[0])]
        assert sum(counts) == len(found.figures) > 5

    def test_an_interval_that_spans_most_of_them_has_no_place(self):
        found = place(standing("modified_entropy", 0.55, ci=[0.4, 0.9]), dataset="CIFAR-10")
        assert in_sentences(found) == []
        near = place(standing("modified_entropy", 0.55, ci=[0.54, 0.56]), dataset="CIFAR-10")
        assert "higher than that of" in in_sentences(near)[0]

    def test_percentile(self):
        values = RNG.normal(size=50)
        ranks = sorted(percentile_of(value, values) for value in values)
        assert ranks == pytest.approx([1 + 2 * i for i in range(50)])
        assert (percentile_of(-9, values), percentile_of(9, values)) == (0, 100)
        with pytest.raises(ValueError, match="empty"):
            percentile_of(1, [])
        with pytest.raises(ValueError, match="must be finite"):
            percentile_of(1, [np.nan])


class TestFigures:
    def test_roc_is_tpr_at_fpr(self):
        curve = roc_curve(SCORES, MEMBER)
        for fpr, tpr, low, high in zip(*curve, strict=True):
            expected = tpr_at_fpr(SCORES, MEMBER, fpr)
            assert (tpr, low, high) == (expected.tpr, *expected.ci)
        assert curve.fpr == sorted(curve.fpr)
        assert curve.tpr[-1] == 1

    def test_bytes_do_not_depend_on_the_caller_and_leave_no_trace(self):
        import matplotlib

        before = dict(matplotlib.rcParams)
        plain = roc_plot({"a_b": roc_curve(SCORES, MEMBER)})
        with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}):
            styled = roc_plot({"a_b": roc_curve(SCORES, MEMBER)})
            assert styled.svg == plain.svg
            assert styled.png() == plain.png()
        assert dict(matplotlib.rcParams) == before

    def test_svg_takes_the_colour_of_its_page(self):
        svg = scores_plot("loss", SCORES, MEMBER).svg
        assert "currentColor" in svg
        assert not re.search(r"#0[0-9]0[0-9]0[0-9]|black|<metadata|#ffffff", svg)

    def test_histograms_hold_every_sample(self):
        far = np.r_[SCORES, 1e6]
        data = scores_plot("loss", far, np.r_[MEMBER, True]).data
        assert sum(data["members"]) == pytest.approx(1)
        assert sum(data["non-members"]) == pytest.approx(1)
        assert data["to"][-1] < 100
        crowded = np.r_[-np.geomspace(1e-9, 1, 300), -np.geomspace(1, 30, 100)]
        ranked = scores_plot("loss", crowded, MEMBER)
        assert (ranked.data["from"][0], ranked.data["to"][-1]) == (0, 100)
        both = 150 * np.array(ranked.data["members"]) + 250 * np.array(ranked.data["non-members"])
        assert both == pytest.approx(10, abs=1.1)  # of 400 in 40 bins
        assert "Ranks of the scores" in ranked.caption
        assert sum(scores_plot("x", np.ones(4), np.array([1, 1, 0, 0], bool)).data["members"]) == 1

    def test_mathematics_in_a_name_is_not_read(self):
        bad = {r"$\frac{": [Measured(r"a/$\bad{$", 0.5, None), Measured("b", 0.6, (0.5, 0.7))]}
        assert r"\frac{" in overview_plot(bad).svg


def test_the_commands(tmp_path, run):
    write_record(record(), tmp_path / "records")
    code, out, err = run("report", tmp_path / "records", "--out", tmp_path / "page.html")
    assert (code, out, err) == (0, f"report: {tmp_path / 'page.html'}\n", "")
    code, out, _ = run("study")
    assert code == 0
    assert len(out.splitlines()) == 11
