"""Records as a bill of materials: CycloneDX 1.7 JSON, one component for each model and each set of images.

OWASP CycloneDX 1.7 (cyclonedx.org/docs/1.7/json). A model's figures are ``performanceMetrics`` of its model
card, each with its confidence interval where the record has one. Of several records of one measurement the
last counts.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from typing import Any, NamedTuple

from securitynet_hub.annotations.schema import Annotation, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.latest import by_model
from securitynet_hub.attacks.listing import techniques
from securitynet_hub.core.atlas import described, tag
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import interval, mappings, number
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import find_figure
from securitynet_hub.weights.hashes import FILE, parse_checks

ALGORITHMS = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}
"""Hashes of a file's bytes, by the annotations' names, as CycloneDX names them."""

SETTINGS = frozenset({"confidence_level", "target_fpr", "target_frr", "threshold", "fdr"})
"""Numbers of a result that are no figures."""

NAMESPACE = uuid.UUID("6d4f7a0e-6a53-4d52-9f7c-5a2c4c6b8d11")
"""Names the serial numbers that are derived from a bill's content."""


class Metric(NamedTuple):
    """A figure of a record.

    Attributes:
        name: as the record has it; figures within a part stand behind the part's name and a dot.
        value: the figure.
        ends: its confidence interval, None where the record has none.
        of: the class that it was measured on, "" for all.
    """

    name: str
    value: float
    ends: tuple[float, float] | None
    of: str = ""


def bill_of_materials(entries: Iterable[Entry], *, created: datetime | None = None) -> dict[str, Any]:
    """Return records as a CycloneDX 1.7 document; write it with `json.dumps`.

    Args:
        entries: the records, from `records.entries.read_entries`.
        created: when the bill was made; now, unless given. The same records and time give the same bill.
    """
    models: defaultdict[tuple[str, Any, Any], list[Entry]] = defaultdict(list)
    for id, own in by_model(entries).items():
        for entry in own:
            target = entry.record.target
            models[id, target.get("weights_hash_kind"), target.get("weights_hash")].append(entry)
    sets: dict[tuple[str, str | None], str] = {}
    components = [
        _model(*model, own, place, sets) for place, (model, own) in enumerate(models.items(), start=1)
    ]
    content = {
        "metadata": {
            "timestamp": (created or datetime.now(timezone.utc)).isoformat(timespec="seconds"),
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": "securitynet-hub",
                        "version": metadata.version("securitynet-hub"),
                    }
                ]
            },
        },
        "components": [*components, *(_images(*known, reference) for known, reference in sets.items())],
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": serial.urn,
        "version": 1,
        **content,
    }


def metrics(record: Record) -> Iterator[Metric]:
    """Yield every figure of a record's result.

    A true-positive rate at a low false-positive rate is named ``tpr@RATE``. Counts and settings are none.

    >>> from securitynet_hub.records.record import Record
    >>> result = {"auc": 0.75, "auc_ci": [0.5, 0.9], "n_members": 9, "slices": {"Bag": {"auc": 1.0}}}
    >>> for metric in metrics(Record(target={}, data={}, attack={}, result=result, counts={}, timings={})):
    ...     print(metric)
    Metric(name='auc', value=0.75, ends=(0.5, 0.9), of='')
    Metric(name='auc', value=1.0, ends=None, of='Bag')
    """
    yield from _within(record.result, "", "")


def _within(part: Mapping[str, Any], prefix: str, of: str) -> Iterator[Metric]:
    for name, value in part.items():
        if name == "slices" and isinstance(value, Mapping):
            for own, figures in value.items():
                if isinstance(figures, Mapping):
                    yield from _within(figures, prefix, str(own))
        elif isinstance(value, Mapping):
            yield from _within(value, f"{prefix}{name}.", of)
        elif name == "tpr_at_fpr":
            for rate in mappings(value):
                found = find_figure(part, wanted := f"tpr@{rate.get('target_fpr')}")
                if found is not None:
                    ends = None if found.low is None or found.high is None else (found.low, found.high)
                    yield Metric(f"{prefix}{wanted}", found.value, ends, of)
        elif name not in SETTINGS and (figure := number(value)) is not None:
            ends = interval(part.get(f"{name}_ci"))
            if ends is not None or isinstance(value, float):
                yield Metric(f"{prefix}{name}", figure, ends, of)


def _model(
    id: str,
    kind: Any,
    digest: Any,
    entries: Sequence[Entry],
    place: int,
    sets: dict[tuple[str, str | None], str],
) -> dict[str, Any]:
    """Return the component of a model with these weights, and enter the images that it names into `sets`."""
    annotation = _annotations().get(id)
    known = [_known_images(entry.record) for entry in entries]
    if annotation is not None:
        known.append((annotation.dataset, None))
    for each in known:
        sets.setdefault(each, f"data-{len(sets) + 1}")
    atlas = dict.fromkeys(
        technique for entry in entries for technique in techniques(entry.kind, entry.attack)
    )
    properties = [("weights hash", f"{kind} {digest}")] if digest else []
    properties += [("MITRE ATLAS", described(technique)) for technique in atlas]
    properties += [("record", entry.record.id) for entry in entries]
    found = {
        "type": "machine-learning-model",
        "bom-ref": f"model-{place}",
        "name": printable(id) or "unnamed",
        "purl": _purl(id),
        "hashes": _hashes(kind, digest),
        "licenses": _licences(annotation),
        "externalReferences": _links(annotation),
        "tags": [tag(technique) for technique in atlas],
        "modelCard": {
            "modelParameters": {
                "task": "image-classification",
                **({"modelArchitecture": annotation.architecture} if annotation else {}),
                "datasets": [{"ref": sets[each]} for each in dict.fromkeys(known)],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_performance(entries))},
        },
        "properties": [
            {"name": f"securitynet:{name}", "value": printable(value)} for name, value in properties
        ],
    }
    return {name: value for name, value in found.items() if value}


def _performance(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield a model's accuracy on each set of images, then every figure of its records."""
    accuracies: dict[str, dict[str, Any]] = {}
    for entry in entries:
        check, name = entry.record.data.get("check"), str(entry.record.data.get("name"))
        if isinstance(check, Mapping) and (accuracy := number(check.get("accuracy"))) is not None:
            metric = Metric("accuracy", accuracy, interval(check.get("accuracy_ci")))
            accuracies.setdefault(name, _shown("accuracy", metric, [name, f"n {check.get('n')}"]))
    yield from accuracies.values()
    for entry in entries:
        record = entry.record
        sizes = kinds()[entry.kind].sizes if entry.kind in kinds() else ()
        about = [str(record.data.get("name", "unknown images"))]
        about += [f"{name} {record.result[name]}" for name in sizes if type(record.result.get(name)) is int]
        level = number(record.result.get("confidence_level"))
        about += [f"record {record.id}", *([] if level is None else [f"confidence level {level:g}"])]
        for metric in metrics(record):
            yield _shown(f"{entry.kind} {entry.attack} {metric.name}", metric, about)


def _shown(type: str, metric: Metric, about: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": printable(type),
        "value": repr(metric.value),
        "slice": printable("; ".join([*([f"class {metric.of}"] if metric.of else []), *about])),
    }
    if metric.ends is not None:
        low, high = map(repr, metric.ends)
        found["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
    return found


def _images(name: str, sha256: str | None, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "data",
        "bom-ref": reference,
        "name": printable(name),
        "data": [{"type": "dataset", "name": printable(name)}],
    }
    if sha256 is not None:  # of pixels and labels, not of a file, so it is none of the component's hashes
        found["properties"] = [{"name": "securitynet:images sha256", "value": printable(sha256)}]
    return found


def _known_images(record: Record) -> tuple[str, str | None]:
    sha256 = record.data.get("sha256")
    return str(record.data.get("name") or "unknown images"), str(sha256) if sha256 else None


def _hashes(kind: Any, digest: Any) -> list[dict[str, str]]:
    """Return those hashes that CycloneDX knows, of the one file with the weights."""
    try:
        checks = parse_checks(kind, digest)
    except (WeightsError, AttributeError):
        return []
    return [
        {"alg": ALGORITHMS[check.algorithm], "content": check.digest}
        for check in checks
        if check.algorithm in ALGORITHMS and {each.of for each in checks} == {FILE}
    ]


def _licences(annotation: Annotation | None) -> list[dict[str, Any]]:
    licence = annotation.license if annotation else None
    return [{"license": {"id": licence, "acknowledgement": "declared"}}] if licence else []


def _links(annotation: Annotation | None) -> list[dict[str, str]]:
    url = annotation.weights_url if annotation else None
    return [{"type": "distribution", "url": url}] if url and url.startswith("https://") else []


def _purl(id: str) -> str | None:
    """Return the package URL of a model of the Hub, whose id ends in its commit.

    >>> _purl("transformers/google/vit-base@0123456789ab")
    'pkg:huggingface/google/vit-base@0123456789ab'
    """
    found = re.fullmatch(r"transformers/([\w.-]+)/([\w.-]+)@([0-9a-f]{12,40})", id, re.ASCII)
    return f"pkg:huggingface/{found[1]}/{found[2]}@{found[3]}" if found else None


@lru_cache(maxsize=1)
def _annotations() -> dict[str, Annotation]:
    return {**load_annotations("extended"), **load_annotations("zoo")}
