"""What `verify --sarif` writes is valid by the standard's own schema, whatever the files are called."""

import copy
import json
from functools import cache
from pathlib import Path

import pytest

from securitynet_hub.weights import signature
from securitynet_hub.weights.findings import RULES, findings, sarif
from securitynet_hub.weights.reading.checkpoints import Verdict

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "support/sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")
)


@cache
def validator():
    """Return the validator; importing it compiles grammars, for seconds that only these tests need."""
    from jsonschema import Draft4Validator, FormatChecker

    return Draft4Validator(SCHEMA, format_checker=FormatChecker())


def faults(log):
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator().iter_errors(log)]


def refused(reason, form="torch"):
    return Verdict(False, form, reason, 0, 0, 0)


VERDICTS = [
    refused("it asks for 'os.system'"),
    refused("it would take more than 1,000 bytes", "zip"),
    refused("there is junk before its first member"),
    refused("it is a web page", "unknown"),
    refused("the file ends too early"),
    refused(signature.CHANGED, signature.FORMAT),
    refused(signature.MISSING, signature.FORMAT),
    refused(signature.UNSIGNED, signature.FORMAT),
    refused("the signature was not made with this key", signature.FORMAT),
    Verdict(True, "torch", "it holds no weights", 0, 0, 9),
    Verdict(True, "torch", "net.a holds NaN", 1, 1, 9),
    Verdict(True, "torch", None, 1, 1, 9, loadable=True, names=("lab.Net", "x.\x1b[2J\u202e")),
]
NAMES = [
    "a b.pth", "/srv/ü/a#b?c.pth", "hf://org/net@" + "0" * 40 + "/sub/a b%.pth", "C:x.pth", "a\\b.pth",
    "-rf", "x\n\x1b]8;;http://e\x07.pt", "\ud800.pt", "\udcff.pt", "hf://o/n/\ud800",
    "https://evil/x y", "100%.pt", ":.pt", "a:b.pt",
]  # fmt: skip


def test_every_finding_under_every_name_is_valid():
    log = json.loads(json.dumps(sarif([(name, verdict) for name in NAMES for verdict in VERDICTS])))
    assert faults(log) == []
    (run,) = log["runs"]
    assert len(run["results"]) == len(NAMES) * len(VERDICTS)
    marks = {json.dumps(result["partialFingerprints"]) for result in run["results"]}
    assert len(marks) == len(NAMES) * len({f.rule.id for verdict in VERDICTS for f in findings(verdict)})
    assert {result["ruleId"] for result in run["results"]} >= {rule.id for rule in RULES} - {"SNW006"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: run["results"][0].pop("message"),
        lambda run: run["results"][0].update(level="fatal"),
        lambda run: run["tool"].pop("driver"),
        lambda run: run["results"][0].update(ruleIndex="1"),
        lambda run: run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].update(
            uri="a b"
        ),
        lambda run: run.update(surprise=1),
    ],
)
def test_the_schema_refuses_what_is_wrong(spoil):
    log = copy.deepcopy(sarif([("a.pth", VERDICTS[0])]))
    spoil(log["runs"][0])
    assert len(faults(log)) == 1
