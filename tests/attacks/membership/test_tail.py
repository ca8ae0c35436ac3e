"""The estimate of what LiRA would find: its rate, its interval, and where records and pages have it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.report_pages import MEMBER, SCORES, entries, record

from securitynet_hub import AuditData, Split, audit, black_box, load_images
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.present import ESTIMATED, section, tables
from securitynet_hub.attacks.membership.results import parse
from securitynet_hub.attacks.membership.tail import DESIGNS, MODEL_ERROR, estimate_lira
from securitynet_hub.attacks.membership.verdict import judge
from securitynet_hub.attacks.membership.wording import word
from securitynet_hub.statistics.roc import tpr_at_fpr

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def losses(members, nonmembers, tail, seed=0):
    """Return log-probabilities; a share of the non-members lies beyond all members, the rest is alike."""
    rng = np.random.default_rng(seed)
    inside, outside = rng.uniform(0, 1, members), rng.uniform(0, 1, nonmembers)
    outside[: round(tail * nonmembers)] += 1
    return -np.concatenate([inside, outside]), np.arange(members + nonmembers) < members


def test_is_the_true_negative_rate_where_the_false_negative_rate_is_low():
    scores, is_member = losses(3000, 2000, 0.3)
    found = estimate_lira(scores, is_member)
    swapped = tpr_at_fpr(-scores, ~is_member, 0.01)
    assert (found.tpr, found.sampling_ci) == (swapped.tpr, swapped.ci)
    assert found.tpr == pytest.approx(0.3 + 0.7 * 0.01, abs=0.01)
    assert (found.n_members, found.n_nonmembers, found.resolvable) == (3000, 2000, True)


def test_of_very_many_samples_only_the_error_of_the_estimate_remains():
    found = estimate_lira(*losses(200_000, 200_000, 0.1))
    factor = math.exp(MODEL_ERROR * stats.t.ppf(0.975, DESIGNS))
    assert found.tpr_ci.high / found.tpr == pytest.approx(factor, rel=0.01)
    assert found.tpr / found.tpr_ci.low == pytest.approx(factor, rel=0.01)


def test_its_error_is_the_measured_one():
    *sets, summary = json.loads((RESULTS / "membership-tail-calibration.json").read_text())["rows"]
    logs = [math.log(float(ratio)) for *_, ratio in sets]
    assert len(sets) == DESIGNS
    assert math.sqrt(np.mean(np.square(logs))) == pytest.approx(MODEL_ERROR, abs=0.002)
    assert float(summary[-1]) == pytest.approx(MODEL_ERROR, abs=0.001)


def test_no_difference_is_an_estimate_of_guessing():
    found = estimate_lira(*losses(5000, 5000, 0))
    assert 0.01 <= found.tpr < 0.015
    assert found.tpr_ci.low < 0.01 < found.tpr_ci.high < 0.05
    nothing = estimate_lira([-2.0] * 500 + [-1.0] * 500, [1] * 500 + [0] * 500)
    assert (nothing.tpr, nothing.tpr_ci.low) == (0.01, 0.0)


def fitted(members=1000, nonmembers=1000, tail=0.3):
    """Return log-probabilities of a model that fits its members: hardly any has a loss."""
    scores, is_member = losses(members, nonmembers, tail)
    return np.where(is_member, scores / 100, scores), is_member


def test_of_a_model_that_fits_its_members_only_the_upper_end_stands():
    """LiRA with 64 models found .037 for a network of convolutions of which the estimate was .208."""
    scores, is_member = fitted()
    found, before = estimate_lira(scores, is_member), estimate_lira(*losses(1000, 1000, 0.3))
    assert found.tpr > before.tpr_ci.high > 0.3
    assert found.tpr_ci.low == 0.01
    assert before.tpr_ci.low > 0.01


def test_few_members_do_not_resolve_it():
    found = estimate_lira(*losses(50, 500, 0.3))
    assert (found.resolvable, found.tpr_ci.low) == (False, 0.0)


def test_a_rate_of_nought_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        estimate_lira([0.0, 1.0], [0, 1], target_fpr=0)


def with_estimate(attack="loss", **changes):
    stated = {**estimate_lira(*losses(1000, 1000, 0.2)).as_result(), **changes}
    return record(attack=attack, result={**measure_membership(SCORES, MEMBER), "lira_estimate": stated})


def test_verdict_and_page_have_it_beside_what_was_found():
    one = with_estimate()
    parse(one)
    text = word(judge([one])).text.replace("\u00a0", " ")
    assert "(LiRA, 63 models) would identify 20." in text
    (line,) = [line for line in section(entries(one), []).parts[1].lines if line.name == ESTIMATED]
    assert [cell and round(cell.value, 2) for cell in line.cells] == [None, None, None, 0.21]


@pytest.mark.parametrize(
    ("ci", "words"),
    [
        ([0.01, 0.5], "would identify at most 50.0 %, and perhaps hardly any, of the training images while"),
        ([0.01, 1.0], "the losses alone do not tell how many of the training images one of them (LiRA, 63"),
    ],
)
def test_what_cannot_be_told_is_not_told(ci, words):
    text = word(judge([with_estimate(tpr=0.2, tpr_ci=ci)])).text.replace("\u00a0", " ")
    assert words in text
    assert "20.0 %" not in text


def test_verdicts_of_several_models_have_a_column(zoo_annotations):
    first, second = zoo_annotations
    table = next(tables([(first, [with_estimate()]), (second, [record()])], 120))
    assert [list(column.cells) for column in table.columns][2][1] == "-"
    assert "20." in next(iter(table.columns[2].cells))


@pytest.fixture
def zoo_annotations():
    from securitynet_hub.annotations.schema import load_annotations

    return list(load_annotations("zoo").values())[:2]


def test_where_lira_was_run_the_verdict_leaves_it_out():
    assert "would identify" not in word(judge([with_estimate(), with_estimate("lira")])).text


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"tpr": 0.9}, "tpr_ci should hold"), ({"target_fpr": 0.5}, "at least the target_fpr")],
)
def test_results_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        parse(with_estimate(**changes))


def test_an_audit_records_it_unless_the_model_answers_with_labels_alone():
    images = load_images().select(np.arange(400))
    data = AuditData(images=images, split=Split(members=np.arange(200), nonmembers=np.arange(200, 400)))

    known = {image.tobytes(): label for image, label in zip(images.pixels, images.labels, strict=True)}

    def posteriors(pixels):
        return 0.02 + 0.8 * np.eye(10)[[known[image.tobytes()] for image in pixels]]

    (one,) = audit(black_box(posteriors, num_classes=10), data=data, attacks=["correctness"])
    parse(one)
    assert one.result["lira_estimate"]["n_members"] == 200
    labels = black_box(lambda pixels: posteriors(pixels).argmax(1), num_classes=10, outputs="labels")
    (one,) = audit(labels, data=data, attacks=["correctness"])
    assert "lira_estimate" not in one.result
