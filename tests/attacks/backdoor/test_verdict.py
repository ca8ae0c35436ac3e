"""The verdict's arithmetic by hand, and its promise on exchangeable networks."""

import numpy as np
import pytest
from scipy.stats import binomtest

from securitynet_hub.attacks.backdoor.results import ModelResult
from securitynet_hub.attacks.backdoor.verdict import (
    FAITHLESS,
    LEVEL,
    UNLIKE,
    UNSURE,
    Calibration,
    Disagreement,
    Term,
    Whole,
    as_result,
    conformal_p,
    judge,
    kind_weights,
    load_calibration,
    most_certain,
    platt,
    standardised,
)

RNG = np.random.default_rng(0)
TERM = Term(name="probe", floor=1.0, middle=2.0, spread=4.0, weight=0.5, raw_weight=0.25)
KNOWN = Calibration(
    made_by="a test", intercept=-1.0, terms=(TERM,),
    clean=tuple(RNG.normal(-1, 1, 40)), backdoored=tuple(RNG.normal(4, 1, 40)),
)  # fmt: skip


def test_scores_by_hand():
    values = [1.0, 2.0, 3.0, 12.0]  # median 2.5, deviations 1.5 .5 .5 9.5: MAD 1
    found = judge({"probe": values}, calibration=KNOWN)
    spread = 1.4826 + 1.0
    expected = [-1 + 0.5 * np.arcsinh((v - 2.5) / spread) + 0.25 * np.arcsinh((v - 2) / 4) for v in values]
    np.testing.assert_allclose(found.class_scores, expected)
    assert found.suspect == 3
    assert found.score == pytest.approx(np.log(np.mean(np.exp(expected))))
    assert found.evidence == {"probe": pytest.approx(expected[3] + 1)}
    sharper = judge({"probe": values}, calibration=KNOWN.model_copy(update={"sharpness": 2.0}))
    assert sharper.score == pytest.approx(np.log(np.mean(np.exp(2 * np.array(expected)))) / 2)


def test_a_backdoor_that_leads_each_class_elsewhere_has_a_score_of_its_own():
    whole = Whole(middle=0.5, spread=0.2, weight=2.0)
    known = KNOWN.model_copy(update={"rearrangement": whole, "sharpness": 2.0})
    values = {"probe": [1.0, 2.0, 3.0, 4.0]}
    alone = judge(values, calibration=KNOWN.model_copy(update={"sharpness": 2.0}))
    none = judge(values, calibration=known)
    assert none.score == pytest.approx(alone.score - np.log(2) / 2)
    found = judge(values, calibration=known, rearrangement=0.9)
    own = 2 * np.arcsinh(2)
    assert found.score == pytest.approx(np.log((np.exp(2 * alone.score) + np.exp(2 * own)) / 2) / 2)
    assert found.all_to_all
    assert list(found.evidence) == ["rearrangement", "probe"]
    assert found.evidence["rearrangement"] == pytest.approx(own)
    to_one = judge(values, calibration=known, rearrangement=0.9, scattered=False)
    assert (to_one.score, to_one.all_to_all, to_one.evidence) == (found.score, False, found.evidence)
    assert not judge(values, calibration=known, rearrangement=0.0).all_to_all
    calm = known.model_copy(update={"intercept": -20.0})  # whose classes all score less than that
    assert not judge(values, calibration=calm, rearrangement=0.45).all_to_all
    assert judge(values, calibration=calm, rearrangement=0.55).all_to_all
    with pytest.raises(ValueError, match="rearrangement must be a finite number; got nan"):
        judge(values, calibration=known, rearrangement=float("nan"))


def test_twins_that_disagree_add_the_same_to_every_score():
    whole = Whole(middle=0.5, spread=0.2, weight=2.0)
    without = KNOWN.model_copy(update={"rearrangement": whole, "sharpness": 2.0})
    known = without.model_copy(update={"disagreement": Disagreement(middle=-2.0, weight=0.5)})
    values = {"probe": [1.0, 2.0, 3.0, 12.0]}
    plain = judge(values, calibration=without, rearrangement=0.6)
    found = judge(values, calibration=known, rearrangement=0.6, agreement=0.9)
    added = 0.5 * (np.log(0.1 + 0.02) + 2)
    np.testing.assert_allclose(found.class_scores, plain.class_scores + added)
    assert found.score == pytest.approx(plain.score + added)
    assert found.evidence["probe"] == plain.evidence["probe"]
    assert found.evidence["rearrangement"] == pytest.approx(plain.evidence["rearrangement"] + added)
    for other in (judge(values, calibration=known), judge(values, calibration=without, agreement=0.9)):
        assert other.score == judge(values, calibration=without).score
    with pytest.raises(ValueError, match=r"agreement must be a share from 0 to 1; got 1\.5"):
        judge(values, calibration=known, agreement=1.5)


def test_one_indicator_counts_only_so_much():
    assert standardised([0.0, 0.0, 0.0, 1e9], 1.0).max() < 22


def test_words_follow_p_value_probability_and_agreement():
    strong, weak = {"probe": [0.0, 0.0, 0.0, 1e9]}, {"probe": [0.0, 0.0, 0.0, 0.0]}
    found = judge(strong, calibration=KNOWN)
    assert (found.word, found.p_value <= LEVEL) == ("backdoor", True)
    assert found.probability_ci[0] <= found.probability <= found.probability_ci[1]
    assert found.reason == ""
    blind = judge(strong, calibration=KNOWN, agree=False)
    assert (blind.word, blind.reason) == ("cannot tell", FAITHLESS)
    assert judge(weak, calibration=KNOWN).word == "no sign"
    higher = KNOWN.model_copy(update={"clean": (*KNOWN.clean, *[30.0] * 5)})
    between = judge(strong, calibration=higher)
    assert (between.word, between.reason) == ("cannot tell", UNSURE)


def test_a_model_unlike_all_others_gets_no_verdict():
    """The median of its classes may lie beyond 0 to 4 by a quarter of that: from -1 to 5."""
    known = KNOWN.model_copy(update={"terms": (TERM.model_copy(update={"seen": (0.0, 4.0)}),)})
    for middle, reason in ((-1.1, UNLIKE), (-0.9, ""), (4.9, ""), (5.1, UNLIKE)):
        found = judge({"probe": [middle, middle, middle, 1e9]}, calibration=known)
        assert (found.word, found.reason) == ("cannot tell" if reason else "backdoor", reason)
        assert found.score == judge({"probe": [middle, middle, middle, 1e9]}, calibration=KNOWN).score
        assert judge({"probe": [middle, middle, middle, 1e9]}, calibration=KNOWN).word == "backdoor"


def test_no_probability_is_more_certain_than_the_number_of_networks_allows():
    found = judge({"probe": [0.0, 0.0, 0.0, 1e99]}, calibration=KNOWN)
    assert found.probability == pytest.approx(41 / 42)
    low, high = found.probability_ci
    assert low <= 1 / (1 + binomtest(0, 40).proportion_ci(0.95, "exact").high) + 1e-12
    assert high >= found.probability
    few = KNOWN.model_copy(update={"clean": KNOWN.clean[:9]})
    assert judge({"probe": [0.0, 0.0, 0.0, 1e99]}, calibration=few).probability == pytest.approx(10 / 11)
    sure = judge({"probe": [-1e99] * 3}, calibration=KNOWN)
    assert sure.probability == pytest.approx(1 / 42)
    assert most_certain(1) == pytest.approx((2 / 3, 1 / 1.975))


def test_clean_networks_are_accused_as_rarely_as_promised():
    rng = np.random.default_rng(1)
    found = [conformal_p(rng.normal(), rng.normal(size=39)) <= 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.012)  # 2 of 40 ranks


def test_clean_networks_of_new_kinds_are_accused_as_rarely_as_promised():
    """Where kinds differ more than the networks within, counting networks accuses more than is promised."""
    rng = np.random.default_rng(3)
    names = [str(kind) for kind in range(24) for _ in range(3)]
    by_kinds, by_networks = [], []
    for _ in range(2000):
        scores = (rng.normal(size=(25, 1)) + 0.1 * rng.normal(size=(25, 3))).ravel()
        new, known = scores[-1], scores[:-3]
        by_kinds.append(conformal_p(new, known, names) <= 0.05)
        by_networks.append(conformal_p(new, known) <= 0.05)
    assert np.mean(by_kinds) == pytest.approx(1 / 25, abs=0.013)
    assert np.mean(by_networks) > np.mean(by_kinds)


def test_p_value_by_kinds_by_hand():
    clean, kinds = [5.0, 1.0, 1.0, 1.0, 2.0], ["a", "a", "a", "a", "b"]
    assert conformal_p(3.0, clean, kinds) == pytest.approx((1 + 1 / 4) / 3)
    assert conformal_p(2.0, clean, kinds) == pytest.approx((1 + 1 / 4 + 1) / 3)
    np.testing.assert_allclose(kind_weights(kinds, 5), [0.125, 0.125, 0.125, 0.125, 0.5])
    np.testing.assert_allclose(kind_weights([], 4), 0.25)


def test_kinds_weigh_alike_in_the_probability_and_bound_it():
    many = KNOWN.model_copy(
        update={
            "clean_kinds": tuple(str(place % 20) for place in range(40)),
            "backdoored_kinds": tuple(str(place % 10) for place in range(40)),
        }
    )
    assert many.sizes == (20, 10)
    assert judge({"probe": [0.0, 0.0, 0.0, 1e99]}, calibration=many).probability == pytest.approx(21 / 22)
    assert judge({"probe": [-1e99] * 3}, calibration=many).probability == pytest.approx(1 / 12)
    groups = np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])
    twice = platt(np.array([0.0, 1.0]), groups[1], ["a", "b"], ["x", "y", "z"])
    assert platt(*groups, ["a", "a", "a", "b"], ["x", "y", "z"]) == pytest.approx(twice)


def test_every_score_needs_its_kind():
    with pytest.raises(ValueError, match="40 scores need as many kinds; got 1"):
        Calibration.model_validate({**KNOWN.model_dump(), "clean_kinds": ["a"]})


def test_platt_finds_the_middle_and_the_slope():
    rng = np.random.default_rng(2)
    slope, offset = platt(rng.normal(-1, 1, 20_000), rng.normal(1, 1, 20_000))
    assert (slope, offset) == (
        pytest.approx(2, abs=0.1),
        pytest.approx(0, abs=0.05),
    )  # log odds of two normals


@pytest.mark.parametrize(
    "values",
    [{}, {"probe": [1.0, np.nan]}, {"probe": [1.0, -1e308]}, {"probe": [np.inf] * 2}, {"probe": [[1.0]]},
     {"other": [1.0, 2.0]}],
)  # fmt: skip
def test_what_gives_no_verdict_is_refused(values):
    with pytest.raises(ValueError, match=r"verdict|finite|one number for each"):
        judge(values, calibration=KNOWN)


def test_the_shipped_constants_name_known_indicators():
    from securitynet_hub.attacks.backdoor.twin_indicators import INDICATORS

    known = load_calibration()
    assert {term.name for term in known.terms} <= set(INDICATORS)
    assert np.median(known.backdoored) > np.max(known.clean) or np.median(known.backdoored) > np.median(
        known.clean
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rearrangement": 0.8}, None),
        ({"rearrangement": -0.9, "all_to_all": False}, None),
        ({"rearrangement": None}, "all_to_all stands beside a verdict and a rearrangement"),
        ({"rearrangement": 1.5}, "a rearrangement lies between -1.5 and 1; got 1.5"),
        ({"rearrangement": 0.8, "verdict": None}, "all_to_all stands beside a verdict and a rearrangement"),
    ],
)
def test_a_record_that_contradicts_itself_about_all_to_all_is_refused(change, said):
    found = as_result(judge({"probe": [0.0, 0.0, 0.0, 1e9]}, calibration=KNOWN))
    result = {**found, "twin_agreement": [0.9], "all_to_all": True, **change}
    result = {name: value for name, value in result.items() if name in ModelResult.model_fields}
    if said is None:
        assert ModelResult.model_validate(result).rearrangement == change["rearrangement"]
        return
    with pytest.raises(ValueError, match=said):
        ModelResult.model_validate(result)
