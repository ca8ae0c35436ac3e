"""The public names and the command line, as users' scripts rely on them: nothing disappears or changes."""

import re

import pytest

import securitynet_hub
from securitynet_hub.cli.main import build_parser

NAMES = {
    "AuditData", "LabelledImages", "PerImage", "Recipe", "Split", "Transform", "audit", "black_box",
    "compare", "compare_leakage", "load_annotations", "load_images", "load_metric", "load_target",
    "read_records",
    "report", "signals", "statistics", "to_frame", "train_shadows", "verdict",
}  # fmt: skip

# For each command: what its usage says of each argument (name, how many values, choices), the arguments
# that it cannot do without, and the value of every other argument where it is not given.
COMMANDS = {
    "list": (
        {"--config {models,extended,zoo}", "--dataset DATASET", "--source SOURCE", "--purpose PURPOSE",
         "--flag FLAG", "--json"},
        [],
        {"config": "models", "dataset": None, "source": None, "purpose": None, "flag": [], "json": False},
    ),
    "show": ({"--json", "id"}, ["ID"], {"json": False}),
    "data": ({"--json", "REFERENCE"}, ["REFERENCE"], {"json": False}),
    "audit": (
        {"--attacks ATTACK [ATTACK ...]", "--data REFERENCE", "--setting ATTACK.NAME=VALUE", "--class-wise",
         "--slices", "--max-queries N", "--budgets N [N ...]", "--inputs DIR", "--shadows N",
         "--views VIEW [VIEW ...]", "--samples DIR", "--list-members", "--fdr RATE", "--candidates REFERENCE",
         "--base-model MODEL", "--expected-accuracy SHARE",
         "--out DIR", "--json", "--author NAME", "--engine {torch,onnxruntime,openvino}", "--profile",
         "--module MODULE:FACTORY",
         "--transform NAME=VALUE,...", "--outputs {logits,posteriors,log-posteriors,labels}",
         "--num-classes N", "--key-prefix KEY", "--name NAME", "--recipe FILE", "id"},
        ["ID"],
        {"attacks": None, "data": None, "setting": [], "class_wise": False,
         "slices": False, "max_queries": 1_000_000, "budgets": [100, 500], "inputs": None, "shadows": None,
         "views": ["identity"], "base": None, "samples": None, "list_members": False, "fdr": 0.1,
         "candidates": None, "expected_accuracy": None, "out": None, "json": False},
    ),
    "explain": ({"--json", "[NAME ...]"}, [], {"names": [], "json": False}),
    "power": (
        {"--members N", "--nonmembers N", "--fpr RATE [RATE ...]", "--auc AUC", "--tpr RATE",
         "--power SHARE", "--level LEVEL", "--json"},
        ["--members", "9", "--nonmembers", "9"],
        {"fpr": [0.001, 0.01], "auc": None, "tpr": None, "power": 0.8, "level": 0.95, "json": False},
    ),
    "verify": (
        {"--json", "--sarif FILE", "--whole", "--public-key FILE | --certificate FILE", "--signature FILE",
         "FILE [FILE ...]"},
        ["FILE"],
        {"json": False, "sarif": None, "whole": False, "public_key": None, "certificate": [],
         "signature": None},
    ),
    "sweep": (
        {"--models PATTERN [PATTERN ...]", "--targets FILE", "--where CONDITION",
         "--attacks ATTACK [ATTACK ...]",
         "--data DATASET=REFERENCE [DATASET=REFERENCE ...]", "--out DIR", "--spread {auto,models,images}",
         "--budgets N [N ...]", "--batch-size N", "--seed SEED", "--max-memory [DEVICE=SIZE ...]",
         "--offload DIR", "--retry-failed", "--dry-run", "--json", "--author NAME",
         "--engine {torch,onnxruntime,openvino}", "--shard I/N", "--profile"},
        ["--models", "PATTERN", "--attacks", "ATTACK", "--out", "DIR"],
        {"where": None, "data": [], "spread": "auto", "budgets": [100, 500], "batch_size": None, "seed": 0,
         "max_memory": None, "offload": None, "retry_failed": False, "dry_run": False, "json": False},
    ),
    "report": (
        {"--out FILE", "--samples DIR", "--data DIR", "--details N", "--title TITLE",
         "RECORDS [RECORDS ...]"},
        ["RECORDS"],
        {"out": "report.html", "samples": None, "data": None, "details": 12,
         "title": None},
    ),
    "bom": ({"--out FILE", "RECORDS [RECORDS ...]"}, ["RECORDS"], {"out": None}),
    "study": ({"--records RECORDS [RECORDS ...]", "--out DIR", "--json"}, [], {"records": [], "out": None}),
    "publish": (
        {"--repo OWNER/NAME", "--private", "--create-pr", "--records DIR", "--weights FILE", "--target ID",
         "--benchmark OWNER/NAME", "--benchmark-framework NAME", "--sign KEY",
         "{dataset,metrics,records,surrogate,evaluation,space}"},
        ["--repo", "OWNER/NAME", "records"],
        {"private": False, "create_pr": False, "records": None, "weights": None, "target": None,
         "benchmark": None, "benchmark_framework": None, "sign": None},
    ),
    "check-links": (
        {"--sample N", "--pause SECONDS", "--out FILE", "--json"}, [],
        {"sample": None, "pause": 2.0, "out": "links.tsv", "json": False},
    ),
    "reproduce": (
        {"--model ID", "--data REFERENCE", "--seed N", "--out DIR", "--json", "RECORD"},
        ["RECORD"],
        {"model": None, "data": None, "seed": None, "out": None, "json": False},
    ),
    "fetch": (
        {"--repo OWNER/NAME", "--revision REVISION", "--out DIR", "--signers FILE", "--json",
         "{results}"},
        ["--repo", "OWNER/NAME", "results"],
        {"revision": None, "out": "results", "signers": None},
    ),
    "leaderboard": (
        {"[RECORDS ...]", "--repo OWNER/NAME", "--records DIR [DIR ...]", "--samples DIR", "--by FIGURE",
         "--dataset DATASET",
         "--kind KIND", "--attack ATTACK", "--format {table,markdown,csv,html,json}", "--out FILE", "--json",
         "--signers FILE"},
        ["--repo", "OWNER/NAME"],
        {"records": None, "samples": None, "by": None, "dataset": None, "kind": None, "attack": None,
         "format": None,
         "out": None, "signers": None},
    ),
    "explore": (
        {"--repo OWNER/NAME | --records DIR", "--signers FILE", "--out FILE", "--open"},
        [],
        {"repo": None, "records": None, "signers": None, "open": False},
    ),
}  # fmt: skip


def arguments_in(usage):
    """Return what a usage says of each argument: an option with its values, or a positional argument.

    Brackets around an optional argument or a group of alternatives are left out.
    """
    words = re.sub(r"\[(-\S[^\[\]]*(?:\[[^\[\]]*\])?)\]", r"<\1>", usage)  # what may be left out
    words = re.sub(r"\((.*)\)", lambda group: group[1].replace(" | ", " "), words)
    optional = re.findall(r"<([^<>]*)>", words)
    rest = re.sub(r"<[^<>]*>", " ; ", words)
    parts = [part.strip() for part in re.split(r" ; |(?= --)", rest)]
    return {part for part in [*optional, *parts] if part} - {"-h"}


def test_the_public_names_stay():
    assert set(securitynet_hub.__all__) >= NAMES
    assert all(hasattr(securitynet_hub, name) for name in NAMES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_stays(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "1000")
    code, shown, _ = run(command, "--help")
    assert code == 0
    usage = shown.partition("\n\n")[0].removeprefix(f"usage: securitynet {command}")
    missing = COMMANDS[command][0] - arguments_in(" ".join(usage.split()))
    assert not missing, usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_stays(command):
    _, required, defaults = COMMANDS[command]
    found = vars(build_parser().parse_args([command, *required]))
    assert {name: plain(found[name]) for name in defaults} == defaults


def plain(value):
    """Return a default as a user would type it: a list of values, a path as its text."""
    if isinstance(value, (list, tuple)):
        return list(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def test_required_arguments_are_required():
    for command, (_, required, _) in COMMANDS.items():
        if required:
            with pytest.raises(SystemExit):
                build_parser().parse_args([command])
