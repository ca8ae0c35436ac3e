"""Turn the list of further classifiers into annotations; SecurityNet measured none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.importer import facts
from securitynet_hub.importer.rules import Draft, Report, without_dataset
from securitynet_hub.importer.tables import UpstreamRow

TABLE = "extension"
"""What column `table` says of these rows."""

COPIED = (
    "source", "upstream_name", "dataset", "image_size", "reported_accuracy", "paper_url", "weights_url",
    "weights_member", "weights_hash_kind", "weights_hash", "weights_page", "weights_key_prefix",
    "constructor", "num_parameters",
)  # fmt: skip
"""Columns of the list that go into a row as they are; an empty cell is null."""

OF_DATASET = ("domain", "num_classes", "input_dims", "train_size", "dataset_version")
"""What a row takes over from the models on the same data set."""

OF_PAPER = ("paper_venue", "paper_venue_type", "paper_year", "paper_countries", "paper_num_authors")
"""What a row takes over from the models with the same paper."""


def extend(
    entries: Iterable[Mapping[str, str]], models: Sequence[Annotation], report: Report
) -> list[Annotation]:
    """Turn entries of `upstream/extension.tsv` into annotations.

    Data sets and papers are described as they are for `models`. Nothing is measured, nothing corrected.
    """
    on_dataset = {row.dataset: row for row in reversed(models)}
    citing = citations(models)
    rows = []
    for number, entry in enumerate(entries):
        cells = {name: entry[name] for name in COPIED if entry[name]}
        draft = Draft(UpstreamRow(TABLE, number, cells), Annotation, report)
        source, alike = facts.EXTENSION.get(entry["source"]), on_dataset.get(entry["dataset"])
        if source is None:
            draft.problem("source", f"{entry['source']!r} is unknown; describe it in importer/facts.py")
        elif alike is None:
            draft.problem("dataset", f"no model is on {entry['dataset']!r}, so nothing describes it")
        else:
            draft.values |= {name: getattr(alike, name) for name in OF_DATASET}
            if cited := citing.get(entry["paper_url"]):
                draft.values |= {name: getattr(cited, name) for name in OF_PAPER}
            name_entry(draft, entry["release"])
            draft.values |= {"table": TABLE, "purpose": TABLE, "license": source.license}
            flag_entry(draft, source.flags, entry["flags"].split())
            rows.append(draft.finish(Annotation))
    return rows


def citations(models: Iterable[Annotation]) -> dict[str, Annotation]:
    """Find, for each paper, a model that describes it; papers in doubt or described twice are left out."""
    found: dict[str, dict[tuple[object, ...], Annotation]] = {}
    doubtful = {"paper-corrected", "paper-doubtful", "venue-doubtful"}
    for row in models:
        if row.paper_url and not doubtful & set(row.flags):
            about = tuple(getattr(row, name) for name in OF_PAPER)
            found.setdefault(row.paper_url, {}).setdefault(about, row)
    return {paper: next(iter(rows.values())) for paper, rows in found.items() if len(rows) == 1}


def name_entry(draft: Draft, release: str) -> None:
    """Derive architecture, family, seed and id from the publisher's name, as for the models."""
    values = draft.values
    name, source, constructor = (
        draft.row.cells.get(c, "") for c in ("upstream_name", "source", "constructor")
    )
    label = without_dataset(name.removesuffix(".ckpt"), values["dataset"])
    values["architecture"] = label
    if source == "medmnist" and (parts := re.fullmatch(r"(\w+?)_(\d+)_(\d)", name)):
        values["architecture"], values["seed"] = parts[1], int(parts[3])
        label = f"{parts[1]}-{parts[2]}/{parts[3]}"
    elif source == "package":
        values["architecture"] = label = name.replace("-", "_")
    elif source in ("robust_models_transfer", "torchvision"):
        values["architecture"] = constructor.removeprefix("torchvision.")
    values["family"] = family(values["architecture"])
    slug = next(data.slug for data in facts.DATASETS.values() if data.name == values["dataset"])
    values["id"] = f"{source}/{slug}/{label}" + (f"/{release}" if release else "")


def family(architecture: str) -> str:
    """Cut an architecture to its family: the letters before its version and first size.

    >>> [family(name) for name in ("resnet18", "mobilenetv2b_w1", "resneta50b", "wide_resnet50_2")]
    ['resnet', 'mobilenet', 'resnet', 'wrn']
    """
    cut = re.match(r"((?:(?:ibnb?|c?bam|wide)_)?[a-z]+?)(?:v\d[a-z]?)?(?=[\d_]|b?$)", architecture)
    name = cut[1] if cut else architecture
    return facts.EXTENSION_FAMILIES.get(name, name)


def flag_entry(draft: Draft, of_source: Iterable[str], of_entry: Iterable[str]) -> None:
    """Flag what is true of every entry, of its source, of its data set, and of it alone."""
    values = draft.values
    data = next(data for data in facts.DATASETS.values() if data.name == values["dataset"])
    draft.flags |= {"not-in-securitynet", *of_source, *of_entry}
    draft.flags |= {flag for flag in data.flags if flag.startswith("dataset-")}  # others: of its evaluation
    for flag in sorted(draft.flags - FLAGS.keys()):
        draft.problem("flags", f"{flag!r} is not a known flag")
    if "weights_hash" not in values:
        draft.flags.add("weights-hash-missing")
    if "weights-noncommercial" in draft.flags:
        values["license"] = "CC-BY-NC-4.0"
