"""Whatever stands in a record, a report shows what can be read of it, and never fails."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.drawn_records import measured
from support.report_pages import entries, record

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.verdicts import verdict
from securitynet_hub.reports.comparison import compare
from securitynet_hub.reports.frames import record_frame
from securitynet_hub.reports.models import describe, draw

LEAVES = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3) | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
ODD = LEAVES | st.lists(LEAVES, max_size=4) | st.dictionaries(st.text(max_size=2), LEAVES, max_size=2)
SHARES = st.floats(0, 1)
PAIRS = st.lists(SHARES, min_size=2, max_size=2)
CLASSES = st.lists(SHARES, min_size=3, max_size=3)
RATES = st.fixed_dictionaries(
    {}, optional={"target_fpr": SHARES | ODD, "tpr": SHARES | ODD, "ci": PAIRS | ODD, "resolvable": ODD}
)
NUMBERS = (
    "auc", "advantage", "n_members", "n_nonmembers", "confidence_level", "agreement", "accuracy",
    "agreement_on_target_errors", "target_accuracy", "score", "suspect", "anomaly_index", "judges",
    "flagged_share", "threshold", "target_frr",
)  # fmt: skip
RESULTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NUMBERS, SHARES | ODD),
        **dict.fromkeys(("auc_ci", "agreement_ci", "flagged_share_ci"), PAIRS | ODD),
        **dict.fromkeys(("norms", "margins"), CLASSES | st.lists(CLASSES, max_size=2) | ODD),
        "classes": st.just([4, 5, 6]) | ODD,
        "flagged_classes": st.just([4]) | ODD,
        "independent": st.fixed_dictionaries(
            {}, optional={"agreement_on_target_errors": st.lists(SHARES | ODD) | ODD}
        )
        | ODD,
        "calibration": st.fixed_dictionaries({}, optional={"surrogate": RATES | ODD}) | ODD,
        "tpr_at_fpr": st.lists(RATES | ODD, max_size=2) | ODD,
    },
)


@pytest.mark.parametrize("kind", [*kinds(), "unknown"])
@example(result={"agreement": 0.0}, attack="correctness", settings_={"budget": -1}, counts={})
@settings(max_examples=30, deadline=None)
@given(
    result=RESULTS,
    attack=st.sampled_from(["correctness", "model_stealing", "neural_cleanse", "strip", "new"]),
    settings_=st.dictionaries(st.sampled_from(["budget", "seed", "view"]), SHARES | ODD),
    counts=st.dictionaries(st.sampled_from(["nonmembers", "nonmembers_right"]), SHARES | ODD),
)
def test_no_record_breaks_a_report(kind, result, attack, settings_, counts):
    odd = record(attack=attack, kind=kind, result=result, attack_more=settings_, counts=counts)
    ((id, found),) = by_model(entries(odd)).items()
    model = describe(id, found)
    draw(model, [])
    assert len(model.sections) == 1
    assert list(compare([model]).figures) == [id]
    assert len(record_frame([odd])) == 1


@pytest.mark.parametrize("level", [1e-300, 1 - 1e-16])
def test_a_record_that_cannot_be_read_hides_no_other(level):
    good = measured(1)
    odd = measured(2, "entropy", result={**good.result, "confidence_level": level})
    ((id, found),) = by_model(entries(good, odd)).items()
    model = describe(id, found)
    draw(model, [])
    assert len(model.sections) == 2
    alone = describe(id, entries(good))
    assert [said.title for said in model.verdicts[:-1]] == [said.title for said in alone.verdicts]
    assert model.verdicts[-1].title == "One record of membership inference cannot be read"
    assert "cannot be read" in verdict([odd])
    assert "cannot be read" not in verdict([good])


@pytest.mark.parametrize("attacks", [[{}], [{"attack": 7}], [7], 7, [{"attack": ["x"]}]])
def test_odd_attacks_of_the_worst_case(attacks):
    result = {"robust_accuracy": 0.5, "robust_accuracy_ci": [0.4, 0.6], "attacks": attacks, "n": 10}
    ((id, found),) = by_model(entries(record(attack="worst_case", kind="evasion", result=result))).items()
    model = describe(id, found)
    draw(model, [])
    assert model.verdicts
