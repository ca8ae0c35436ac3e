"""What kinds of attack say in a report: names of classes, whether images suffice, highest AUC first."""

from dataclasses import replace
from pathlib import Path

import pytest

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.backdoor.verdict import FAITHLESS, UNLIKE, UNSURE, load_calibration
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record
from securitynet_hub.reports.models import describe
from securitynet_hub.sharing.explorer.page import explorer_data


def entry(kind, attack, result, **counts):
    record = Record(
        target={"id": "mine", "weights_hash": None},
        data={"name": "pictures", "sha256": "0" * 64},
        attack={"kind": kind, "name": attack},
        result=result,
        counts=counts,
        timings={},
        code={},
        environment={},
    )
    return Entry(record, Path())


def summary(*entries):
    return kinds()[entries[0].kind].present.summarise(entries, ())


def test_findings_name_the_classes():
    names = {"class_names": {"3": "cat", "5": "dog"}}
    flags = {"score": 3.0, "suspect": 3, "flagged_classes": [3, 7], "anomaly_index": 3.0, **names}
    suspects = {"score": 1.0, "suspect": 5, **names}
    (verdict,) = summary(
        entry("backdoor-detection", "neural_cleanse", flags), entry("backdoor-detection", "mm_bd", suspects)
    ).verdicts
    assert verdict.title == "A detector flags class 3 (cat), 7"
    assert "Neural cleanse flags class 3 (cat), 7" in verdict.text
    assert "mm bd suspects class 5 (dog) most" in verdict.text
    # A stranger's record may call them anything.
    odd = {"score": 1.0, "suspect": 5, "class_names": {"5": 7, "x": "y"}}
    (verdict,) = summary(entry("backdoor-detection", "mm_bd", odd)).verdicts
    assert "suspects class 5 most" in verdict.text


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "backdoor",
            "are accused like this, too: compare it with a clean network of the same kind by `--beside`",
        ),
        ("no sign", "no proof"),
        ("cannot tell", "its score lies between"),
    ],
)
def test_the_verdict_by_twins_is_said_in_words(word, said):
    result = {"verdict": word, "score": 1.0, "suspect": 3, "class_names": {"3": "cat"}, "conformal_p": 0.04}
    result |= {"probability": 0.7, "probability_ci": [0.6, 0.8], "twin_agreement": [0.9, 0.62]}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    text = " ".join(verdict.text.split())  # a space that breaks no line stands before a percent sign
    assert "the probability that this one is would be 70.0 % (60.0 % to 80.0 %)" in text
    assert "4.0 % of the clean networks that calibrated the verdict score as high, this one counted" in text
    assert "76 % of the clean images get its answer from its clean twins" in text
    assert "class 3 (cat) stands out most" in text
    assert said in text
    assert verdict.tone == "open"


def test_only_a_probable_backdoor_is_an_alarm():
    result = {"verdict": "backdoor", "score": 3.0, "suspect": 3, "conformal_p": 0.03}
    found = [
        summary(entry("backdoor-detection", "twins", {**result, "probability": share})).verdicts[0]
        for share in (0.94, 0.95)
    ]
    assert [each.tone for each in found] == ["open", "alarm"]
    assert [each.title for each in found] == ["Perhaps backdoored", "Probably backdoored"]
    assert "do not deploy it" in found[1].text


def test_the_trigger_that_twins_resist_is_named():
    result = {"verdict": "backdoor", "score": 1.0, "suspect": 3, "conformal_p": 0.03, "probability": 0.9}
    result["triggers"] = [{"name": "white 4 at 24, 24", "success": 0.95, "twin_success": 0.1}]
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    said = (
        "the strongest trigger found (white 4 at 24, 24) leads 95 % of some 20 other images there, and 10 %"
    )
    assert said in verdict.text.replace("\u00a0", " ")
    (verdict,) = summary(entry("backdoor-detection", "twins", {**result, "triggers": ["odd"]})).verdicts
    assert "strongest" not in verdict.text


def test_what_unlearning_changed_is_said_beside_what_it_means():
    result = {"verdict": "backdoor", "score": 1.0, "suspect": 3, "conformal_p": 0.03, "probability": 0.9}
    result["triggers"] = [{"name": "white 4 at 24, 24", "success": 0.95, "twin_success": 0.1}]
    figures = {"unlearning_success_before": 0.96, "unlearning_success_after": 0.03}
    tried = {**result, **figures, "unlearning_agreement": 0.94}
    said = (
        "10 % on its clean twins; training against it takes its success from 96.0 % to 3.0 % and keeps "
        "94.0 % of the clean answers (on clean networks it falls to a few percent, and an attacker's own "
        "trigger may stay)"
    )
    for record, told in ((tried, True), (result, False)):
        (verdict,) = summary(entry("backdoor-detection", "twins", record)).verdicts
        assert (said in verdict.text.replace("\u00a0", " ")) == told
        assert ("unlearn" in verdict.text or "training against" in verdict.text) == told
    (verdict,) = summary(entry("backdoor-detection", "twins", {**tried, "verdict": "no sign"})).verdicts
    assert "training against the strongest trigger found takes its success" in verdict.text


def test_a_class_that_would_be_suspected_alone_is_named_next():
    result = {"verdict": "backdoor", "score": 2.0, "suspect": 8, "conformal_p": 0.03, "probability": 0.9}
    result |= {"classes": [5, 7, 8], "class_scores": [1.4, -2.0, 2.7]}
    for lower, told in ((1.4, "class 8 stands out most, class 5 next"), (-0.1, "class 8 stands out most")):
        scores = [lower, -2.0, 2.7]
        (verdict,) = summary(
            entry("backdoor-detection", "twins", {**result, "class_scores": scores})
        ).verdicts
        assert told in verdict.text
        assert ("next" in verdict.text) == (lower > 0)


def test_of_several_runs_the_most_probable_backdoor_comes_first():
    result = {"verdict": "backdoor", "score": 2.0, "suspect": 8, "conformal_p": 0.03}
    runs = [entry("backdoor-detection", "twins", {**result, "probability": share}) for share in (0.2, 0.9)]
    found = summary(*runs)
    assert next(iter(found.compared.values())).value == 0.9
    assert "90.0" in found.verdicts[0].text


@pytest.mark.parametrize("odd", ["0.9", {}, 0.9, [], ["x", None], [True], [2.0], [-1.0], [1e99], [10**400]])
def test_shares_that_are_none_are_not_said(odd):
    """A stranger's record may hold anything."""
    result = {"verdict": "backdoor", "score": 1.0, "suspect": 3, "conformal_p": 0.03, "probability": 0.9}
    result |= {"unlearning_success_before": 0.9, "unlearning_success_after": 5, "unlearning_agreement": 0.9}
    (verdict,) = summary(entry("backdoor-detection", "twins", {**result, "twin_agreement": odd})).verdicts
    assert "get its answer" not in verdict.text
    assert "training against" not in verdict.text
    known = {"twin_agreement": [0.6, 7, 0.8], "beside": "x" * 1000}
    (verdict,) = summary(entry("backdoor-detection", "twins", {**result, **known})).verdicts
    said = "70 % of the clean images get its answer from the clean models beside it"
    assert said in verdict.text.replace("\u00a0", " ")


def test_clean_models_beside_are_named_instead_of_twins():
    result = {"verdict": "backdoor", "score": 1.0, "suspect": 3, "conformal_p": 0.03, "probability": 0.9}
    result |= {"beside": 2, "triggers": [{"name": "white", "success": 0.95, "twin_success": 0.1}]}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    assert "10 % on the 2 clean models beside it" in verdict.text.replace("\u00a0", " ")
    assert "twin" not in verdict.text
    shares = {"verdict": "cannot tell", "reason": FAITHLESS, "twin_agreement": [0.31, 0.7]}
    (verdict,) = summary(entry("backdoor-detection", "twins", {**result, **shares})).verdicts
    assert "the images get its answer from the 2 clean models beside it, on average" in verdict.text


def test_a_trigger_that_tells_is_named_where_the_verdict_cannot_tell():
    result = {"verdict": "cannot tell", "score": 0.1, "suspect": 3, "conformal_p": 0.09, "probability": 0.7}
    for success, told in ((1.0, True), (0.4, False)):
        triggers = [{"name": "white", "success": success, "twin_success": 0.0}]
        (verdict,) = summary(entry("backdoor-detection", "twins", {**result, "triggers": triggers})).verdicts
        assert (
            "the strongest trigger found (white) leads 100 %" in verdict.text.replace("\u00a0", " ")
        ) == told


def test_no_clean_network_that_scores_as_high_is_said_to_be_none():
    result = {"verdict": "backdoor", "score": 9.0, "suspect": 3, "conformal_p": 1 / 59, "probability": 0.97}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    text = verdict.text.replace("\u00a0", " ")
    assert (
        "none of the clean networks that calibrated the verdict scores as high (1.7 % with this one"
        in text.replace("None", "none")
    )


def test_a_backdoor_that_leads_each_class_elsewhere_names_no_class():
    result = {"verdict": "backdoor", "score": 3.0, "suspect": 3, "conformal_p": 0.03, "probability": 0.97}
    result |= {"all_to_all": True}
    result["triggers"] = [{"name": "columns 0 4 at 9", "success": 0.8, "twin_success": 0.1}]
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    text = verdict.text.replace("\u00a0", " ")
    assert "one change leads the images of each class to another one" in text
    said = "leads 80.0 % of the images where it leads most others of their class, and 10.0 % on its"
    assert f"(columns 0 4 at 9) {said}" in text
    assert "class 3" not in text


def test_twins_that_differ_from_the_model_are_the_reason_why_none_can_tell():
    result = {"verdict": "cannot tell", "score": 1.0, "suspect": 3, "conformal_p": 0.03}
    result |= {"probability": 0.98, "probability_ci": [0.9, 0.99], "twin_agreement": [0.7, 0.31]}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    assert verdict.tone == "open"
    assert "only 50.5\u00a0% of the images get its answer from its clean twins" in verdict.text
    assert "on average, and 60\u00a0% are needed" in verdict.text
    assert "its score lies between" not in verdict.text


EARLIER = "the twins do not stand for the model: one gives its answers to too few of the clean images"


@pytest.mark.parametrize(
    ("reason", "shares", "said"),
    [
        (FAITHLESS, [0.7, 0.41], "only 55.5 % of the images get its answer"),
        (FAITHLESS, [0.7, 0.41], "and 60 % are needed"),
        (EARLIER, [0.65], "and more were needed"),
        (EARLIER, [0.9, 0.45], "and more were needed"),
        (None, [0.9, 0.45], "and more were needed"),
        (None, [0.9, 0.55], "its score lies between"),
        (UNSURE, [0.9, 0.9, 0.88, 0.4], "its score lies between"),
        (FAITHLESS, None, "too few of the images get its answer"),
    ],
)
def test_the_agreement_that_was_needed_is_that_of_the_record(reason, shares, said):
    result = {"verdict": "cannot tell", "score": 1.0, "suspect": 3, "conformal_p": 0.3, "probability": 0.5}
    result |= {"probability_ci": [0.4, 0.6], "twin_agreement": shares}
    result |= {} if reason is None else {"reason": reason}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    assert said in verdict.text.replace("\u00a0", " ")


def test_a_model_unlike_those_of_the_calibration_is_said_to_be_so():
    result = {"verdict": "cannot tell", "score": 1.0, "suspect": 3, "conformal_p": 0.3, "reason": UNLIKE}
    result |= {"probability": 0.5, "probability_ci": [0.4, 0.6], "twin_agreement": [0.9, 0.41]}
    for reason in (UNLIKE, UNLIKE[:-20]):  # the second as an earlier version may have said it
        (verdict,) = summary(entry("backdoor-detection", "twins", {**result, "reason": reason})).verdicts
        assert UNLIKE in verdict.text


@pytest.mark.parametrize(
    ("value", "ci", "said"),
    [
        (0.99999, [0.99998, 1.0], "would be more than 98.3 %;"),
        (0.99, [0.6, 1.0], "would be more than 98.3 % (60.0 % to more than 98.3 %);"),
        (0.001, [0.0, 0.2], "would be less than 2.2 % (less than 2.2 % to 20.0 %);"),
    ],
)
def test_a_probability_is_no_more_certain_than_its_calibration(value, ci, said):
    """If n kinds score lower, all that can be said is that at most 1 in n + 1 does not."""
    assert load_calibration().sizes == (58, 43)  # what the expected words rest on
    result = {"verdict": "cannot tell", "score": 1.0, "suspect": 3, "conformal_p": 0.06}
    result |= {"probability": value, "probability_ci": ci, "twin_agreement": [0.9]}
    (verdict,) = summary(entry("backdoor-detection", "twins", result)).verdicts
    assert said in verdict.text.replace("\u00a0", " ")


@pytest.mark.parametrize(("ci", "enough"), [([0.6, 0.7], True), ([0.5, 0.75], False)])
def test_too_few_images_are_said_to_be(ci, enough):
    result = {"judges": "inputs", "score": None, "suspect": None, "auc": 0.65, "auc_ci": ci}
    (of_detectors,) = summary(entry("backdoor-detection", "strip", result, images=40)).grounds
    copy = {"agreement": 0.65, "agreement_ci": ci}
    (of_copy,) = summary(entry("model-stealing", "model_stealing", copy, evaluated=40)).grounds
    for ground in (of_detectors, of_copy):
        assert ground.holds is enough
        assert ground.text.startswith("40 images")
        assert ("too few to tell" in ground.text) is not enough


def test_aucs_stand_in_the_order_of_their_values():
    # The second is surer to be high, the first is higher.
    wide = {"auc": 0.70, "auc_ci": [0.50, 0.90], "confidence_level": 0.95}
    sure = {"auc": 0.65, "auc_ci": [0.62, 0.68], "confidence_level": 0.95}
    low = {"auc": 0.50, "auc_ci": [0.45, 0.55], "confidence_level": 0.95}
    sizes = {"n_members": 100, "n_nonmembers": 100}
    entries = [
        entry("membership-inference", name, {**result, **sizes})
        for name, result in (("loss", low), ("entropy", sure), ("confidence", wide))
    ]
    compared = [
        figure.value for column, figure in summary(*entries).compared.items() if column.measure == "AUC"
    ]
    assert compared == [0.70, 0.65, 0.50]
    section = kinds()["membership-inference"].present.section(entries, ())
    table = next(part for part in section.parts if hasattr(part, "lines"))
    assert [line.cells[0].value for line in table.lines] == [0.70, 0.65, 0.50]


def checked(made, **check):
    return Entry(replace(made.record, data={**made.record.data, "check": check}), made.path)


def test_the_accuracy_is_the_one_of_most_images():
    """The models of a report are compared by it, and each place says of how many images."""
    threat = {"norm": "Linf", "eps": "8/255"}
    robust = entry("evasion", "pgd", {"accuracy": 0.975, "robust_accuracy": 0.5, "n": 40, **threat})
    of_check = {"accuracy": 0.9, "members_accuracy": 1.0, "n_members": 100, "status": "no expectation"}
    few, many = checked(robust, n=300, **of_check), checked(robust, **of_check | {"n": 600, "accuracy": 0.8})
    for entries, accuracy, images in (
        ([robust], 0.975, 40),
        ([few], 0.9, 300),
        ([many, few], 0.8, 600),
        ([few, many], 0.8, 600),
    ):
        model = describe("mine", entries)
        assert (model.accuracy, model.images) == (accuracy, images)
        assert ("test accuracy", f"{accuracy:.3f} (of {images} images)") in model.facts
        if len(entries) > 1:
            figures = explorer_data([each.record for each in entries], [])["figures"]
            (shown,) = [figure for figure in figures if figure["name"] == "test_accuracy"]
            assert shown["values"][-1] == accuracy  # the model of one's own comes last
    (ground,) = describe("mine", [few]).grounds
    assert "of 300 new images" in ground.text


def test_headlines_have_intervals():
    result = {"accuracy": 0.9, "robust_accuracy": 0.525, "robust_accuracy_ci": [0.361, 0.685], "n": 40}
    (verdict,) = summary(entry("evasion", "worst_case", result)).verdicts
    assert verdict.title.replace("\u00a0", " ").endswith(": 52.5 % (36.1-68.5 %) of images are still right")
    result = {"agreement": 0.8, "agreement_ci": [0.75, 0.85], "target_accuracy": 0.9, "n": 300}
    (verdict,) = summary(entry("model-stealing", "random", result)).verdicts
    assert "on 80.0 % (75.0-85.0 %) of images" in verdict.title.replace("\u00a0", " ")


def test_most_withstand_only_what_was_run():
    """Without the attacks of AutoAttack nobody is told that a model withstands."""
    result = {"accuracy": 0.9, "robust_accuracy": 0.8, "robust_accuracy_ci": [0.7, 0.87], "n": 90}
    result["checks"] = [{"name": "same answers", "passed": True, "found": "equal", "n": 16}]
    for attacks, tone in ((["fgsm", "pgd", "pgd_t"], "open"), (["pgd", "apgd_ce", "square"], "calm")):
        made = entry("evasion", "worst_case", result)
        record = replace(made.record, attack={**made.record.attack, "attacks": attacks})
        (verdict,) = summary(Entry(record, made.path)).verdicts
        assert verdict.tone == tone
        told = " ".join(verdict.points)
        assert ("Not run: apgd ce, apgd t, fab t, square" in told) == (tone == "open")
        assert ("pip install 'securitynet-hub[evasion]'" in told) == (tone == "open")


def test_a_terminal_says_the_verdict_on_one_model_first():
    result = {"accuracy": 0.9, "robust_accuracy": 0.525, "robust_accuracy_ci": [0.361, 0.685], "n": 40}
    one = entry("evasion", "fgsm", result | {"confidence_level": 0.95}, forwarded=80, gradients=40).record
    row = load_annotations("zoo")["zoo/fashion-mnist/cnn-clean/1"]
    said, _ = kinds()["evasion"].present.tables([(row, [one])], 80)
    assert "52.5 % (36.1-68.5 %) of images are still right" in said.plain
    assert "One attack alone shows little" in said.plain
    (alone,) = kinds()["evasion"].present.tables([(row, [one]), (row, [one])], 80)
    assert alone.row_count == 2
