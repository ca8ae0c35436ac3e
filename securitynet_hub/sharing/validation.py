"""Whether a record can be believed: its form, its names, and the identities that its figures must keep."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import numpy as np

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.backdoor.inversion import measure_inversion
from securitynet_hub.attacks.stealing.measures import require_agreement_bound
from securitynet_hub.records.record import Record
from securitynet_hub.statistics.rates import wilson_interval

MAX_BYTES = 1 << 18
"""Of one record; those of the package's own attacks have some 3,000."""

MAX_DEPTH = 20
MAX_COUNT = 10**12
CLOCKS_DIFFER = timedelta(days=1)
TOLERANCE = 1e-9

SEGMENT = r"\w[\w.+@=,-]{0,199}"
NAMES = {
    "target.id": rf"{SEGMENT}(/{SEGMENT}){{0,9}}",
    "data.name": r"\w[\w .+@=,:/()-]{0,199}",
    "attack.name": r"\w[\w.+-]{0,99}",
    "attack.kind": r"[a-z][a-z-]{0,49}",
}


def problems(record: Record) -> list[str]:
    """List what is wrong with a record; an empty list where nothing is.

    The identities: every interval holds its figure, every rate is a whole number of the samples it is over,
    Wilson's intervals are those of their counts, and, with a the advantage,

        AUC = (1 + a) / 2             of `correctness`, whose ROC curve has one corner
        a <= AUC <= 1/2 + a - a^2 / 2 of any ROC curve that lies a above the diagonal at most
        A + S - 1 <= G <= 1 - |A - S| of the accuracies and the agreement of a model and its copy

    A detector's score follows from its norms or its p-value.

    A record that passes may still be made up; one that fails was not measured.
    """
    wrong = list(_misshapen(record))
    for judge in () if wrong else (_weights, _intervals, IDENTITIES.get(record.attack["kind"])):
        try:
            if judge is not None:
                judge(record)
        except KeyError as error:
            wrong.append(f"the result lacks {error}")
        except (ValueError, ArithmeticError, TypeError, AttributeError, IndexError) as error:
            wrong.append(str(error))
    return wrong


def _misshapen(record: Record) -> Iterator[str]:
    """Yield what has another type or form than every record's."""
    if _depth(vars(record)) > MAX_DEPTH:
        yield f"it is nested more than {MAX_DEPTH} deep"
        return
    if len(json.dumps(vars(record))) > MAX_BYTES:
        yield f"it is larger than {MAX_BYTES:,} bytes"
        return
    for name in ("target", "data", "attack", "result", "counts", "timings", "code", "environment"):
        if not isinstance(getattr(record, name), dict):
            yield f"{name} should be a map of names to values"
            return
    for place, pattern in NAMES.items():
        part, name = place.split(".")
        value = getattr(record, part).get(name)
        if not (isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) and ".." not in value):
            yield f"{place} should be a plain name; got {_shown(value)}"
    for part, name in (("target", "weights_hash"), ("data", "sha256"), ("data", "split_sha256")):
        value = getattr(record, part).get(name)
        if not (value is None or (isinstance(value, str) and re.fullmatch("[0-9a-f]{1,128}", value))):
            yield f"{part}.{name} should be a hash in hexadecimal; got {_shown(value)}"
    for name, count in record.counts.items():
        if not _is_count(count):
            yield f"counts.{name} should be a whole number; got {_shown(count)}"
    author = record.author
    if not (author is None or (isinstance(author, str) and author.isprintable() and len(author) <= 100)):
        yield f"author should be a line of up to 100 characters; got {_shown(author)}"
    try:
        # One form of many, so that the order of the texts is that of the times.
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", record.created, re.ASCII):
            raise ValueError(record.created)
        if datetime.fromisoformat(record.created) > datetime.now(timezone.utc) + CLOCKS_DIFFER:
            yield f"created lies in the future: {_shown(record.created)}"
    except (TypeError, ValueError):
        yield f"created should be a time as 2026-01-31T12:00:00+00:00; got {_shown(record.created)}"


def _depth(value: Any, above: int = 0) -> int:
    """Return how deep a value of JSON is nested, counted to just beyond what is allowed."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None or above > MAX_DEPTH:
        return above
    return max((_depth(part, above + 1) for part in inner), default=above + 1)


def _weights(record: Record) -> None:
    """Refuse a record that claims an annotated model with other weights than the annotated ones."""
    annotated = _annotated_hashes().get(record.target["id"])
    stated = record.target.get("weights_hash")
    if annotated and stated != annotated:
        named = f"{stated[:12]}..." if stated else "none"
        raise ValueError(
            f"{record.target['id']} has the weights {annotated[:12]}...; the record names {named}"
        )


@lru_cache(maxsize=1)
def _annotated_hashes() -> dict[str, str | None]:
    rows = [*load_annotations("extended").values(), *load_annotations("zoo").values()]
    return {row.id: row.weights_hash for row in rows}


def _intervals(record: Record) -> None:
    """Refuse a figure outside its own interval."""
    for name, interval in record.result.items():
        if not name.endswith("_ci") or interval is None:
            continue
        value = _number(record.result, name.removesuffix("_ci"))
        low, high = _pair(interval, name)
        if not low - TOLERANCE <= value <= high + TOLERANCE:
            raise ValueError(f"{name} should hold its figure {value:.6g}; got {low:.6g}..{high:.6g}")


def _membership(record: Record) -> None:
    result = record.result
    members, others = _count(result, "n_members"), _count(result, "n_nonmembers")
    auc, advantage = _rate(result, "auc"), _rate(result, "advantage")
    _whole(2 * auc, members * others, "auc", "half pairs of a member and a non-member")
    if record.attack["name"] == "correctness" and advantage and abs(auc - (1 + advantage) / 2) > TOLERANCE:
        raise ValueError(f"the AUC of correctness should be (1 + {advantage:.6g}) / 2; got {auc:.6g}")
    least, most = advantage, 0.5 + advantage - advantage**2 / 2
    if not least - TOLERANCE <= auc <= most + TOLERANCE:
        raise ValueError(f"auc should lie in {least:.6g}..{most:.6g} at this advantage; got {auc:.6g}")
    for rate in result["tpr_at_fpr"]:
        tpr, fpr, target = (_rate(rate, name) for name in ("tpr", "achieved_fpr", "target_fpr"))
        found = _wilson(tpr, members, rate["ci"], "tpr", result["confidence_level"])
        _whole(fpr, others, "achieved_fpr", "non-members")
        if fpr > target + TOLERANCE or found / members - fpr > advantage + TOLERANCE:
            raise ValueError(
                f"a TPR of {tpr:.6g} at an FPR of {fpr:.6g} does not go with the target {target:.6g} and "
                f"the advantage {advantage:.6g}"
            )


def _stealing(record: Record) -> None:
    result = record.result
    n, level = _count(result, "n"), result["confidence_level"]
    for name in ("accuracy", "target_accuracy", "agreement"):
        _wilson(_rate(result, name), n, result[f"{name}_ci"], name, level)
    require_agreement_bound(result["accuracy"], result["target_accuracy"], result["agreement"])
    errors = n - round(result["target_accuracy"] * n)
    if result["n_target_errors"] != errors:
        raise ValueError(f"n_target_errors should be {errors}; got {_shown(result['n_target_errors'])}")
    if result["agreement_on_target_errors"] is not None:
        rate = _rate(result, "agreement_on_target_errors")
        interval = result["agreement_on_target_errors_ci"]
        _wilson(rate, errors, interval, "agreement_on_target_errors", level)
    if result["relative_accuracy"] is not None:
        relative = _number(result, "relative_accuracy")
        if abs(relative * result["target_accuracy"] - result["accuracy"]) > TOLERANCE:
            raise ValueError(f"relative_accuracy is not accuracy / target_accuracy: {relative:.6g}")


def _detection(record: Record) -> None:
    result = record.result
    score = None if result["score"] is None else _number(result, "score")
    if "norms" in result:
        norms = np.array(result["norms"], np.float64)  # None becomes NaN
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of norms that nothing converged to
            found = measure_inversion(norms, classes=result["classes"], controls=result["controls"])
        for name in ("anomaly_index", "log_anomaly_index", "norm_ratio"):
            _same(result[name], found[name], name, "of these norms")
        expected = None if found["norm_ratio"] is None else -math.log2(max(found["norm_ratio"], 1e-9))
        _same(score, expected, "score", "of this norm_ratio")
    elif "p_value" in result:
        expected = -math.log10(max(_rate(result, "p_value"), np.finfo(np.float64).tiny))
        _same(score, expected, "score", "of this p_value")


IDENTITIES: dict[str, Callable[[Record], None]] = {
    "membership-inference": _membership,
    "model-stealing": _stealing,
    "backdoor-detection": _detection,
}


def _wilson(rate: float, n: int, interval: Any, name: str, level: Any) -> int:
    """Refuse a rate that is no count of n, or an interval that is not Wilson's; return the count."""
    count = _whole(rate, n, name, "samples")
    expected = wilson_interval(count, n, confidence_level=level)
    if max(abs(a - b) for a, b in zip(_pair(interval, name), expected, strict=True)) > 1e-6:
        raise ValueError(
            f"the interval of {name} should be Wilson's of {count} in {n}, "
            f"{expected.low:.6g}..{expected.high:.6g}; got {_shown(interval)}"
        )
    return count


def _whole(rate: float, n: int, name: str, samples: str) -> int:
    count = rate * n
    if abs(count - round(count)) > 1e-6 + 1e-14 * n:
        raise ValueError(f"{name} should be a whole number of {n:,} {samples}; got {count:.6f}")
    return round(count)


def _same(stated: Any, expected: float | None, name: str, reason: str) -> None:
    """Refuse a figure that does not follow from the others."""
    if expected is None:
        alike = stated is None
    else:
        alike = abs(_number({name: stated}, name) - expected) <= 1e-6 * max(1, abs(expected))
    if not alike:
        raise ValueError(f"{name} should be {expected} {reason}; got {_shown(stated)}")


def _number(result: dict[str, Any], name: str) -> float:
    value = result[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} should be a number; got {_shown(value)}")
    return float(value)


def _rate(result: dict[str, Any], name: str) -> float:
    value = _number(result, name)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} should lie in 0..1; got {value:.6g}")
    return value


def _count(result: dict[str, Any], name: str) -> int:
    value: int = result[name]
    if not _is_count(value) or value == 0:
        raise ValueError(f"{name} should be a whole number above 0; got {_shown(value)}")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _pair(interval: Any, name: str) -> tuple[float, float]:
    if not (isinstance(interval, list) and len(interval) == 2):
        raise ValueError(f"{name} should be an interval of two numbers; got {_shown(interval)}")
    ends = dict(enumerate(interval))
    return _number(ends, 0), _number(ends, 1)  # type: ignore[arg-type]


def _shown(value: Any) -> str:
    """Return a value as it may be printed: escaped and short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
