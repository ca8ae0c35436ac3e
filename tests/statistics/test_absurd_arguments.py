"""Whatever a public function of the statistics, or a metric, is given: figures, or a sentence of ours.

Each argument of a call that works is replaced by values that are none. No error may come from inside a
library, and no figure may be made of what is no number.
"""

import linecache
import math
import traceback
import warnings

import numpy as np
import pytest
import torch

from securitynet_hub import load_metric, signals, statistics
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.metric_files import known_metrics
from securitynet_hub.statistics import bootstrap, means, power

SCORES, MEMBERS, LEVEL = [0.9, 0.8, 0.3, 0.2], [1, 0, 1, 0], {"confidence_level": 0.9}
LOGITS = [[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]]
SCORED = {"scores": SCORES, "is_member": MEMBERS}
JUDGED = {"candidates": SCORES, "nonmembers": SCORES}
ANSWERS = {"outputs": LOGITS, "labels": MEMBERS, "from_logits": True}

CALLS = {
    "split_scores": SCORED,
    "roc_auc": SCORED,
    "roc_auc_interval": {**SCORED, **LEVEL},
    "advantage": SCORED,
    "anomaly_index": {"norms": [10.0, 50.0, 60.0, 70.0]},
    "benjamini_hochberg": {"p_values": [0.01, 0.2, 0.02, 0.9], "fdr": 0.1, "nonmembers": 3.0},
    "conformal_p_values": JUDGED,
    "member_list": {**JUDGED, "fdr": 0.5, "adaptive": True, **LEVEL},
    "most_wrong": {**JUDGED, **LEVEL},
    "tpr_at_fpr": {**SCORED, "target_fpr": 0.1, **LEVEL},
    "tpr_at_threshold": {**SCORED, "target_fpr": 0.1, **LEVEL},
    "wilson_interval": {"successes": 3, "trials": 10, **LEVEL},
    **dict.fromkeys(signals.SIGNALS, ANSWERS),
    "score_all": {**ANSWERS, "signals": ["loss"]},
}
"""Arguments of every public function with which it works."""

SIZES, SURE = {"members": 30, "nonmembers": 40}, {**LEVEL, "power": 0.8}
DRAWN = {"scores": [0.9, 0.3, 0.4, 0.2], "is_member": MEMBERS, "resamples": 10, "seed": 1, **LEVEL}

INNER = {
    bootstrap.auc_bootstrap_interval: DRAWN,
    bootstrap.tpr_bootstrap_interval: {**DRAWN, "target_fpr": 0.5},
    means.mean_interval: {"values": SCORES, "bounds": (0.0, 1.0), **LEVEL},
    means.resolvable_interval: {"values": [0.5] * 200, "bounds": (0.0, 1.0), **LEVEL},
    power.plan: {**SIZES, "target_fprs": [0.1], "auc": 0.9, "tpr": 0.9, **SURE},
    power.smallest_auc: {**SIZES, **SURE},
    power.smallest_tpr: {**SIZES, "target_fpr": 0.1, **SURE},
    power.sizes_for_auc: {"auc": 0.8, **SIZES, **SURE},
    power.sizes_for_tpr: {"tpr": 0.5, "target_fpr": 0.1, **SIZES, **SURE},
}
"""The same of functions that attacks and commands call."""

MEASURED = {"predictions": SCORES, "references": MEMBERS}
MODELS = [LOGITS, LOGITS]

METRICS = {
    ("adversarial_robustness", None): {
        "predictions": [1, 0, 1, 1], "references": MEMBERS, "adversarial_predictions": MEMBERS, **LEVEL,
    },
    ("backdoor_input_detection", None): {
        **MEASURED, "calibration": [0.1, 0.2, 0.3, 0.4], "target_frrs": [0.2], "ids": [1, 2, 3, 4],
        "calibration_ids": [5, 6, 7, 8], **LEVEL,
    },
    ("backdoor_model_detection", None): {**MEASURED, "probabilities": True, **LEVEL},
    ("backdoor_trigger_inversion", None): {
        "predictions": [10.0, 50.0, 60.0, 70.0], "classes": [1, 2, 3, 4], "controls": [True] * 4,
        "threshold": 2.0,
    },
    ("membership_inference", None): {
        **MEASURED, "target_fprs": [0.1], "compare_with": SCORES[::-1], "compare_with_members": MEMBERS,
        "epsilon": "rates", "delta": 1e-5, **LEVEL,
    },
    ("membership_inference", "modified_entropy"): {
        "predictions": LOGITS, "references": MEMBERS, "membership": MEMBERS, "from_logits": True,
        "class_wise": False, "target_fprs": [0.1], "compare_with": "loss", **LEVEL,
    },
    ("membership_inference", "rmia"): {
        "predictions": LOGITS, "references": MEMBERS, "membership": MEMBERS, "from_logits": True,
        "reference_outputs": MODELS, "reference_in": np.array([MEMBERS, MEMBERS[::-1]], np.bool_),
        "population_outputs": LOGITS, "population_labels": MEMBERS, "reference_population_outputs": MODELS,
        "ids": [1, 2, 3, 4], "population_ids": [5, 6, 7, 8], "seed": 3,
    },
    ("membership_inference", "translation"): {
        "predictions": [[1, 1], [0, 0], [1, 0], [0, 0]], "references": MEMBERS, "membership": MEMBERS,
    },
    ("membership_inference", "boundary"): MEASURED,
    ("model_provenance", None): {
        "predictions": LOGITS, "references": MEMBERS, "target_predictions": LOGITS[::-1],
        "independent_predictions": MODELS, "null": "reference", "significance": 0.1, **LEVEL,
    },
    ("model_stealing", None): {
        "predictions": LOGITS, "references": MEMBERS, "target_predictions": LOGITS[::-1],
        "from_logits": True, **LEVEL,
    },
}  # fmt: skip
"""The same of every metric."""

MIXED = np.empty(4, object)
MIXED[:] = [1, "a", None, {}]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's, of what it calls a prototype
    ODD_TENSORS = {
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8),
        "sparse rows": torch.eye(4).to_sparse_csr(),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    }

ARRAYS = {
    **ODD_TENSORS,
    "meta": torch.empty(4, device="meta"),
    "meta answers": torch.empty(4, 2, device="meta"),
    "sparse": torch.eye(4).to_sparse(),
    "complex": np.ones(4) * 1j,
    "complex answers": torch.ones(4, 2) * 1j,
    "NaN": [0.1, 0.2, math.nan, 0.3],
    "infinite": [0.1, 0.2, math.inf, 0.3],
    "NaN answers": [[0.1, math.nan]] * 4,
    "empty": [],
    "no rows": np.empty((0, 2)),
    "no classes": np.empty((4, 0)),
    "ragged": [[1], [2, 3], [1], [0]],
    "one number": np.float64(0.5),
    "a tensor of one number": torch.tensor(0.5),
    "mixed": MIXED,
    "texts": ["a", "b", "c", "d"],
    "digits": ["1", "0", "1", "0"],
    "text": "abcd",
    "bytes": b"abcd",
    "map": {"a": 1},
    "set": {1, 2, 3, 4},
    "generator": (score for score in SCORES),
    "masked": np.ma.masked_array([1.0, 2, 3, 4], [0, 1, 0, 0]),
    "dates": np.array(["2020-01-01"] * 4, "M8[D]"),
    "durations": np.array([1, 2, 3, 4], "m8[D]"),
    "structured": np.zeros(4, [("a", int)]),
    "huge": [10**400, 1, 2, 3],
    "of four axes": np.zeros((4, 2, 2, 2)),
    "None each": [None] * 4,
    "function": len,
}
LABELS = {"negative": [-1, -2, -1, -1], "halves": [0.5] * 4}
NUMBERS = {
    "list": [0.5], "NaN": math.nan, "infinite": math.inf, "minus infinite": -math.inf, "negative": -1,
    "True": True, "text": ".5", "None": None, "complex": 0.5 + 0j, "huge": 10**400,
    "array": np.array([0.5, 0.5]),
    "meta": torch.empty((), device="meta"), "map": {}, "function": len, "duration": np.timedelta64(1, "D"),
}  # fmt: skip
FLAGS = {
    "text": "yes",
    "two": 2,
    "half": 0.5,
    "list": [True],
    "array": np.array([True, False]),
    "NaN": math.nan,
}
TEXTS = {"number": 3, "bytes": b"a", "list": ["a"], "map": {}, "array": np.zeros(3), "long": "x" * 100_000}

UNDERSTOOD = {
    ("signals", "empty"), ("signals", "no rows"), ("target_fprs", "empty"), ("target_fprs", "no rows"),
    ("target_fprs", "generator"), ("target_frrs", "empty"), ("target_frrs", "no rows"), ("p_values", "empty"),
    ("values", "empty"), ("auc", "None"), ("tpr", "None"),
    ("target_frrs", "generator"), ("nonmembers", "None"), ("threshold", "negative"), ("seed", "huge"),
    ("independent_predictions", "empty"), ("independent_predictions", "no rows"),
}  # fmt: skip
"""What is no mistake: to ask for nothing, and any iterable of rates; of no candidates none is accused, and
beside no models none is derived."""

MISSING = {("backdoor_trigger_inversion", "NaN"), ("backdoor_trigger_inversion", "None each")}
"""Norms of classes for which no trigger was found."""


def absurd(name, value):
    """Return what an argument like this one must not be."""
    if isinstance(value, bool):
        return FLAGS
    if isinstance(value, int | float):
        return NUMBERS
    if isinstance(value, str):
        return TEXTS
    return ARRAYS | (LABELS if name in ("is_member", "labels", "references", "membership") else {})


def refused(function, arguments):
    """Return None where a call is refused by a sentence of this package, else what it did."""
    try:
        found = function(**arguments)
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = linecache.getline(last.filename, last.lineno).strip()
        own = any(
            part in last.filename.replace("\\", "/") for part in ("/securitynet_hub/", "evaluate_modules")
        )
        if own and line.startswith("raise ") and 10 < len(str(error)) < 1000:
            return None
        return f"{type(error).__name__} from {last.filename}:{last.lineno} ({line}): {str(error)[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return f"took it, and found {str(found)[:100]}"


def wrong_of(label, function, arguments):
    """List the absurd arguments that a function does not refuse as it should."""
    function(**arguments)
    wrong = []
    for name, value in arguments.items():
        for kind, strange in absurd(name, value).items():
            if (name, kind) in UNDERSTOOD or (name == "predictions" and (label, kind) in MISSING):
                continue
            if did := refused(function, {**arguments, name: strange}):
                wrong.append(f"{label}({name}={kind}) {did}")
    return wrong


def public_functions():
    found = {name: getattr(statistics, name) for name in statistics.__all__}
    found = {name: value for name, value in found.items() if not isinstance(value, type)}
    return found | signals.SIGNALS | {"score_all": signals.score_all}


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_functions_refuse_what_is_no_argument(name):
    assert wrong_of(name, public_functions()[name], CALLS[name]) == []


@pytest.mark.parametrize("function", INNER, ids=lambda function: function.__name__)
def test_inner_functions_refuse_what_is_no_argument(function):
    assert wrong_of(function.__name__, function, INNER[function]) == []


@pytest.mark.parametrize(("name", "config"), METRICS, ids=str)
def test_metrics_refuse_what_is_no_argument(name, config):
    assert wrong_of(name, load_metric(name, config).compute, METRICS[name, config]) == []


def test_every_metric_is_among_them():
    assert {name for name, _ in METRICS} == set(known_metrics())


def test_an_unknown_name_that_is_endless_makes_a_short_sentence():
    assert len(str(UnknownNameError("signal", "x" * 10**6, signals.SIGNALS))) < 1000
