"""What a model's records say in their first line, by the rules of verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from support.report_pages import record

from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.verdict import corrected, figures_of, judge
from securitynet_hub.attacks.membership.wording import word
from securitynet_hub.statistics.power import smallest_auc

DIFFERING = {
    "auc": 0.97, "auc_ci": [0.95, 0.98], "looked_at": ["size", "colours"], "n_members": 500,
    "n_nonmembers": 500, "confidence_level": 0.95, "class_balance_p_value": 0.4, "differs": True,
}  # fmt: skip


def audited(members, nonmembers, attack="lira", more=None, **about):
    """Return the record of an attack with these scores."""
    scores, truth = np.r_[members, nonmembers], np.r_[np.ones(len(members)), np.zeros(len(nonmembers))]
    result = {**measure_membership(scores, truth), **(more or {})}
    return record(attack=attack, result=result, **about)


def normal(shift, members, nonmembers, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, members), rng.normal(size=nonmembers)


def first_line(*records):
    judgement = judge(records)
    return judgement.finding, word(judgement).title.replace("\u00a0", " ")


class TestTail:
    """A leak that the AUC does not show: some members stand far above all non-members, as many far below."""

    @staticmethod
    def scores(share, members, nonmembers, seed=0):
        above, others = normal(0, members, nonmembers, seed)
        count = round(share * members)
        above[:count] += 7
        above[count : 2 * count] -= 7
        return above, others

    @pytest.mark.parametrize(
        ("share", "members", "nonmembers"), [(0.06, 1000, 1000), (0.04, 400, 3000), (0.06, 500, 500)]
    )
    def test_is_a_leak(self, share, members, nonmembers):
        """At 1 in 1,000 the intervals begin at 0.4 and 2.0 %: the first line has the rate that is known."""
        one = audited(*self.scores(share, members, nonmembers))
        assert one.result["auc_ci"][0] < 0.5 < one.result["auc_ci"][1]
        finding, title = first_line(one)
        assert (finding, judge([one]).severity) == ("leak", "moderate")
        assert "an attacker who may wrongly accuse 1 in 100 non-members identifies" in title
        rate = next(r for r in one.result["tpr_at_fpr"] if r["target_fpr"] == 0.01)
        assert f"{rate['tpr']:.1%} ({rate['ci'][0]:.1%}-".replace("%", " %").replace(" %-", "-") in title

    def test_the_attack_that_finds_most_is_quoted_at_each_rate(self):
        rng = np.random.default_rng(1)
        rough = audited(rng.normal(1, 0.8, 500).clip(max=2), rng.normal(size=1500).clip(max=2.2), "mlp_top3")
        members = rng.normal(0.3, 1, 500)
        members[:110] += 6
        sharp = audited(members, rng.normal(size=1500), "lira")
        assert rough.result["auc"] > sharp.result["auc"]
        judgement = judge([rough, sharp])
        strongest = {fpr: figure.attack for fpr, figure in judgement.strongest.items()}
        assert strongest == {None: "mlp_top3", 0.001: "lira", 0.01: "lira"}
        assert word(judgement).text.startswith("By lira.")
        assert ", by mlp top3." in word(judgement).text

    def test_an_attack_whose_figure_is_not_the_highest_is_named_with_the_reason(self):
        sizes = {"n_members": 2000, "n_nonmembers": 2000}
        sure, higher = (
            record(attack=name, result={"auc": auc, "auc_ci": ci, **sizes})
            for name, auc, ci in (("correctness", 0.541, [0.53, 0.552]), ("hinge", 0.544, [0.526, 0.562]))
        )
        text = word(judge([higher, sure])).text.replace("\u00a0", " ")
        assert text.startswith(
            "By correctness, which surely finds the most: hinge has the higher figure (54.4 %), but the "
            "interval of correctness begins higher. Guessing"
        )
        assert word(judge([higher])).text.startswith("By hinge. Guessing")

    def test_of_an_interval_that_says_little_the_lower_end_is_quoted(self):
        """One non-member decides: a tenth of the members lie above all others, 3 % above that one, too."""
        above, others = normal(0, 1000, 1000)
        others[0], above[:100], above[100:200] = 9, 7, -7
        above[:30] = 10
        one = audited(above, others)
        (rate,) = (figure for figure in judge([one]).figures if figure.fpr == 0.001)
        assert 0.001 < rate.ci[0] < 0.005 < 0.09 < rate.ci[1]
        assert (rate.steady, rate._replace(ci=(0.6 * rate.value, 1)).steady) == (False, True)
        assert (rate.grade, rate._replace(ci=None).grade) == (0, 1)  # as bad as its lower end
        alone = replace(one, result={**one.result, "tpr_at_fpr": one.result["tpr_at_fpr"][:1]})
        finding, title = first_line(alone)
        assert finding == "leak"
        low, value, high = (f"{100 * share:.1f} %" for share in (rate.ci[0], rate.value, rate.ci[1]))
        assert f"identifies at least {low} (estimate {value}, at most {high}) of the training" in title
        assert "at least" in word(judge([alone])).text

    def test_a_steady_figure_leads_among_equally_bad_ones(self):
        """83 % (4.6-89 %) at 1 in 1,000, and an AUC that says as much with certainty."""
        rates = [{
            "target_fpr": 0.001, "tpr": 0.83, "ci": [0.046, 0.89], "resolvable": True, "achieved_fpr": 0.001,
            "tpr_at_threshold": 0.83,
        }]  # fmt: skip
        result = {
            "auc": 0.64, "auc_ci": [0.61, 0.67], "n_members": 1000, "n_nonmembers": 1000, "tpr_at_fpr": rates,
        }  # fmt: skip
        judgement = judge([record(result=result)])
        assert (judgement.severity, list(judgement.sure)) == ("moderate", [None, 0.001])
        assert "picks the training image in 64.0" in word(judgement).title
        assert "identifies at least 4.6" in word(judgement).text

    @pytest.mark.exhaustive
    def test_a_null_attack_is_seldom_a_leak(self):
        alarms = 0
        for seed in range(1000):
            attacks = [audited(*normal(0, 200, 300, 3 * seed + k), f"a{k}") for k in range(3)]
            alarms += judge(attacks).finding == "leak"
        assert alarms <= 40


class TestPower:
    @pytest.mark.parametrize(("members", "nonmembers"), [(10, 10), (12, 900), (30, 25)])
    def test_few_samples_cannot_tell(self, members, nonmembers):
        finding, title = first_line(audited(*normal(0, members, nonmembers)))
        assert finding == "cannot tell"
        assert f"{members} members and {nonmembers} non-members are too few" in title

    def test_no_leak_names_the_smallest_that_would_have_been_found(self):
        one = audited(*normal(0, 1000, 1000, 3))
        judgement = judge([one])
        assert judgement.finding == "no leak found"
        assert "an AUC of 0.54 or more would have been found with 80" in word(judgement).title
        assert "So would an attacker who identifies" in word(judgement).text
        assert "That is the power" not in word(judgement).text

    def test_the_power_is_said_to_be_that_of_attacks_on_all_images(self):
        whole, half = audited(*normal(0, 1000, 1000, 3)), audited(*normal(0, 500, 500, 5), "mlp_top3")
        judgement = judge([whole, half])
        assert judgement.finding == "no leak found"
        level = 1 - 0.05 / len(judgement.figures)
        smallest = smallest_auc(500, 500, confidence_level=level)
        assert smallest > judgement.smallest[None]
        assert (
            "such as mlp top3, judge 500 members and 500 non-members and find an AUC of "
            f"{smallest:.2f} or more with it" in word(judgement).text
        )

    def test_a_leak_that_is_not_found_is_smaller_than_that(self):
        judgement = judge([audited(*normal(0, 1000, 1000, 3))])
        found = [
            judge(
                [audited(*normal(np.sqrt(2) * norm.ppf(judgement.smallest[None]), 1000, 1000, seed))]
            ).finding
            for seed in range(40)
        ]
        assert 25 <= found.count("leak") <= 39  # 32 are expected

    def test_more_attacks_find_less(self):
        alone, many = (
            judge([audited(*normal(0, 1000, 1000, seed), f"a{seed}") for seed in seeds])
            for seeds in ([3], [3, 4, 5, 6])
        )
        assert many.smallest[None] > alone.smallest[None]

    def test_the_best_of_many_may_be_luck(self):
        lucky = record(result={"auc": 0.54, "auc_ci": [0.505, 0.575], "n_members": 500, "n_nonmembers": 500})
        others = [
            replace(
                lucky, attack={"name": f"a{k}"}, result={**lucky.result, "auc": 0.5, "auc_ci": [0.46, 0.54]}
            )
            for k in range(19)
        ]
        assert judge([lucky]).finding == "leak"
        finding, title = first_line(lucky, *others)
        assert finding == "cannot tell"
        assert "as the best of 20 figures it may be luck" in title

    @pytest.mark.parametrize("result", [{}, {"auc": 0.7}, {"auc": 0.5, "auc_ci": [0.45, 0.55]}])
    def test_records_without_intervals_or_sizes_cannot_tell(self, result):
        assert first_line(record(result=result))[0] == "cannot tell"


class TestSeverity:
    @pytest.mark.parametrize(("shift", "severity"), [(0.2, "slight"), (0.5, "moderate"), (1.5, "severe")])
    def test_is_not_significance(self, shift, severity):
        judgement = judge([audited(*normal(shift, 3000, 3000))])
        assert (judgement.finding, judgement.severity) == ("leak", severity)
        assert max(figure.p_value for figure in judgement.figures if figure.fpr is None) < 1e-4
        assert word(judgement).short == f"Leaks membership ({severity})"

    def test_a_surer_and_smaller_figure_beside_it_makes_no_leak_milder(self):
        large, small = audited(*normal(1.5, 60, 60)), audited(*normal(0.5, 3000, 3000), attack="loss")
        alone, together = judge([large]), judge([large, small])
        assert together.sure[None].attack == "lira"
        assert alone.severity == together.severity == "severe"
        assert together.rank >= alone.rank

    def test_worse_models_rank_higher(self):
        ranks = [judge([audited(*normal(shift, 1000, 1000))]).rank for shift in (-1, 0, 0.3, 0.7, 2)]
        assert ranks == sorted(ranks)


class TestReversed:
    @pytest.mark.parametrize("sizes", [(500, 500), (100, 2000)])
    def test_says_so_and_what_it_would_find(self, sizes):
        one = audited(*normal(-1, *sizes))
        finding, title = first_line(one)
        assert finding == "sign reversed"
        assert f"AUC {one.result['auc']:.3f}" in title
        assert f"turned round, its AUC is {1 - one.result['auc']:.3f}" in word(judge([one])).text

    def test_beside_a_leak_it_is_a_remark(self):
        one, other = audited(*normal(-1, 500, 500), "loss"), audited(*normal(1, 500, 500), "lira")
        judgement = judge([one, other])
        assert judgement.finding == "leak"
        assert "The score of loss has its sign reversed" in word(judgement).text


@pytest.mark.parametrize("shift", [0, 1])  # no leak found, and a leak
def test_lira_with_few_models_is_called_weak(shift):
    even = np.linspace(0, 3, 3000)

    def text(models, *others, attack="lira"):
        one = audited(even + shift, even, attack, counts={"shadow_models": models})
        return word(judge([one, *others])).text

    assert "With 4 reference models, LiRA is in a weak form" in text(4)
    better = audited(even + 1.5 * shift, even, "rmia_online", counts={"shadow_models": 4})
    assert not [said for said in (text(16), text(4, better), text(4, attack="rmia")) if "weak form" in said]


class TestBroken:
    """A model that is wrong on its own training images says nothing about its training."""

    @pytest.mark.parametrize(("right", "classes"), [(100, 10), (20, 100), (12, 2), (480, 2)])
    def test_near_chance_on_members(self, right, classes):
        counts = {"members": 1000, "members_right": right, "nonmembers": 1000, "nonmembers_right": right - 9}
        one = audited(*normal(-0.15, 1000, 1000), counts=counts)
        one = replace(one, target={"id": "a", "num_classes": classes})
        finding, title = first_line(one)
        assert finding == "cannot be judged"
        assert f"right on only {right / 10:.1f} % of its own training images" in title
        assert "the order of the classes, or the preprocessing" in word(judge([one])).text

    def test_below_what_was_expected(self):
        check = {
            "status": "below expectation", "accuracy": 0.473, "expected": 0.824, "members_accuracy": 0.551,
            "likely_reason": "mean and standard deviation were forgotten",
        }  # fmt: skip
        one = audited(*normal(1, 1000, 1000), data={"name": "x", "check": check})
        finding, title = first_line(one)
        assert finding == "cannot be judged"
        assert "right on 47.3 % of new images, where 82.4 % are expected" in title
        assert "mean and standard deviation were forgotten" in word(judge([one])).text

    def test_classes_that_changed_places(self):
        check = {
            "status": "classes exchanged", "accuracy": 0.72, "members_accuracy": 0.8,
            "likely_reason": "the classes are in another order than the model's",
        }  # fmt: skip
        finding, title = first_line(audited(*normal(1, 1000, 1000), data={"name": "x", "check": check}))
        assert finding == "cannot be judged"
        assert "as if the classes had changed places" in title

    @pytest.mark.parametrize("status", ["as expected", "no expectation"])
    def test_a_good_model_is_judged(self, status):
        check = {"status": status, "accuracy": 0.82, "expected": None, "members_accuracy": 0.99}
        counts = {"members": 1000, "members_right": 990, "nonmembers": 1000, "nonmembers_right": 820}
        one = audited(*normal(1, 1000, 1000), data={"name": "x", "check": check}, counts=counts)
        assert judge([one]).finding == "leak"

    @pytest.mark.parametrize(
        ("status", "share", "tone"),
        [("no expectation", 0.53, "open"), ("no expectation", 0.9, "calm"), ("as expected", 0.53, "calm")],
    )
    def test_a_model_that_may_be_fed_wrongly_gets_no_all_clear(self, status, share, tone):
        check = {"status": status, "accuracy": 0.52, "expected": None, "members_accuracy": share}
        one = audited(*normal(0, 1000, 1000, 3), data={"name": "x", "check": check | {"n_members": 1000}})
        judgement = judge([one])
        assert (judgement.finding, judgement.tone) == ("no leak found", tone)
        said = word(judgement)
        assert ("if it is fed as it was trained" in said.title) == (tone == "open")
        assert ("(--expected-accuracy 0.9)" in said.text) == (tone == "open")
        assert ("a mistake such as a wrong transform" in said.text) == (
            (status, share) == ("no expectation", 0.9)
        )


class TestWithheld:
    def test_says_why_and_what_remains_after_matching(self):
        matched = {
            "overlap_weights": {"auc": 0.51, "auc_ci": [0.45, 0.57]},
            "within_class": {"auc": 0.71, "auc_ci": [0.65, 0.77]},
        }
        one = audited(*normal(1, 500, 500), more={"blind_baseline": DIFFERING, "matched": matched})
        finding, title = first_line(one)
        text = word(judge([one])).text
        assert finding == "withheld"
        assert (
            "a classifier that never asks the model tells them apart with an AUC of 0.970 (0.950-0.980)"
            in title
        )
        assert "It looks at size, colours." in text
        assert (
            "look alike to that classifier, the AUC of lira is 0.510 (0.450-0.570): not surely above" in text
        )
        assert (
            "Among images of one class, the AUC of lira is 0.710 (0.650-0.770): still above guessing" in text
        )

    def test_shares_of_classes(self):
        blind = {**DIFFERING, "auc": 0.52, "auc_ci": [0.48, 0.56], "class_balance_p_value": 1e-7}
        assert (
            "the classes have other shares among members than among non-members (p = 1e-07)"
            in first_line(audited(*normal(1, 500, 500), more={"blind_baseline": blind}))[1]
        )

    def test_the_first_line_names_a_figure_whose_interval_lies_above_guessing(self):
        members, others = normal(3, 150, 150, seed=1)
        others = np.r_[np.sort(others)[:-2], 3.7, 4.5]
        one = audited(members, others)
        assert judge([one]).sure[0.01].ci[0] < 0.01
        finding, title = first_line(one)
        assert (finding, "picks the training image in" in title) == ("leak", True)

    def test_few_images_do_not_tell_whether_the_sides_are_alike(self):
        blind = {**DIFFERING, "auc": 0.75, "auc_ci": [0.34, 0.95], "differs": False}
        text = word(judge([audited(*normal(9, 10, 10), more={"blind_baseline": blind})])).text
        assert (
            "Whether members and non-members look alike without the model, so few images do not tell" in text
        )

    def test_sides_that_look_alike_are_judged(self):
        blind = {**DIFFERING, "auc": 0.52, "auc_ci": [0.48, 0.56], "differs": False,
                 "duplicates": {"exact": 7, "near": 2}}  # fmt: skip
        one = audited(*normal(1, 500, 500), more={"blind_baseline": blind})
        assert judge([one]).finding == "leak"
        assert "7 are members, too, pixel by pixel, and 2 nearly" in word(judge([one])).text
        # Other data of the same model that do differ count for nothing.
        other = audited(*normal(3, 500, 500), "loss", more={"blind_baseline": DIFFERING})
        assert {figure.attack for figure in judge([one, other]).figures} == {"lira"}


class TestFigures:
    def test_the_chance_of_members_above_the_highest_non_members(self):
        """Of two members and two non-members in random order, both members lead in one case of six."""
        one = record(result=dict(measure_membership([4, 3, 2, 1], [1, 1, 0, 0], target_fprs=[0.5])))
        (rate,) = (figure for figure in figures_of(one) if figure.fpr)
        assert rate.p_value == pytest.approx(
            3 / 6
        )  # above all but one non-member: 1100, 1010 and 0110 of six orders
        none = record(result=dict(measure_membership([4, 3, 2, 1], [1, 1, 0, 0], target_fprs=[0.1])))
        assert [figure.fpr for figure in figures_of(none)] == [None]  # not resolvable

    def test_an_auc_s_p_value_goes_with_its_interval(self):
        one = audited(*normal(0.2, 200, 200, 4))
        level = 1 - 2 * figures_of(one)[0].p_value
        same = measure_membership(
            np.r_[normal(0.2, 200, 200, 4)], np.repeat([1, 0], 200), confidence_level=level
        )
        assert same["auc_ci"].low == pytest.approx(0.5, abs=1e-3)

    def test_holm_s_correction(self):
        figures = figures_of(audited(*normal(0.3, 300, 300)))
        found = corrected(figures)
        smallest = min(figure.p_value for figure in figures)
        assert found[0].adjusted == pytest.approx(min(1, smallest * len(figures)))
        assert [f.adjusted for f in found] == sorted(f.adjusted for f in found)
