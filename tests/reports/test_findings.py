"""What a report says of several models together."""

from types import SimpleNamespace

from securitynet_hub.attacks.present import Verdict
from securitynet_hub.reports.findings import of_several


def test_a_model_of_which_several_records_say_the_same_counts_once():
    perhaps, probably = (
        Verdict(tone="open", title=title, text="Said.", short=title, counted=True, severity=severity)
        for title, severity in (("Perhaps backdoored", 0), ("Probably backdoored", 2))
    )
    models = [
        SimpleNamespace(verdicts=[perhaps, perhaps, probably]),
        SimpleNamespace(verdicts=[perhaps]),
        SimpleNamespace(verdicts=[]),
    ]
    found = of_several(models)
    assert [finding.title for finding in found] == [
        "Probably backdoored: 1 of 3 models",
        "Perhaps backdoored: 2 of 3 models",
    ]
    assert [len(finding.models) for finding in found] == [1, 2]
