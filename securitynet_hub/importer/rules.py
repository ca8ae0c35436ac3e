"""Turn upstream rows into annotations: every correction is one rule, and leaves a flag."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from securitynet_hub.annotations.flags import FLAGS, MEASURED
from securitynet_hub.annotations.schema import Annotation, Correction, Project, columns
from securitynet_hub.importer import facts
from securitynet_hub.importer.tables import Problem, UpstreamRow

Report: TypeAlias = Callable[[Problem], None]


class Draft:
    """Hold a row while rules work on it: values so far, flags, and the corrections made."""

    def __init__(self, row: UpstreamRow, row_class: type, report: Report) -> None:
        self.row = row
        self.report = report
        self.values: dict[str, Any] = {"upstream_row": row.number}
        self.flags: set[str] = set()
        self.corrections: dict[str, Correction] = {}
        types = {column.name: column for column in columns(row_class)}
        for name, text in row.cells.items():
            self.values[name] = self._typed(text, types[name].type, name)
            if self.values[name] == "":
                self.values[name] = None
                if not types[name].nullable:
                    self.problem(name, "empty cell")

    def _typed(self, text: str, kind: Any, column: str) -> Any:
        if kind == tuple[str, ...]:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        try:
            value = kind(text)
        except ValueError:
            self.problem(column, f"{text!r} is not a number")
            return None
        if isinstance(value, float) and math.isinf(value):
            self.problem(column, f"{text!r} is not a finite number")
            return None
        return value

    def problem(self, column: str, message: str) -> None:
        """Report a problem in a column of this row."""
        self.report(Problem(self.row.table, self.row.number, column, message))

    def correct(self, column: str, value: Any, flag: str, upstream: str | None = None) -> None:
        """Set a column to another value than upstream's, and keep upstream's text."""
        text = self.row.cells[column] if upstream is None else upstream
        self.values[column] = value
        self.corrections[column] = Correction(column, text, flag)
        self.flags.add(flag)

    def finish(self, row_class: type) -> Any:
        """Build the row."""
        order = [column.name for column in columns(row_class)]
        corrections = sorted(self.corrections.values(), key=lambda c: order.index(c.column))
        flags = tuple(flag for flag in FLAGS if flag in self.flags)
        known = {name: value for name, value in self.values.items() if name in order}
        return row_class(**known, flags=flags, corrections=tuple(corrections))


def null_placeholders(draft: Draft) -> None:
    """Null the figures that were never measured, and the gap that was computed from one."""
    for column in set(MEASURED) & draft.values.keys():
        value = draft.values[column]
        if value is None or column in ("test_accuracy", "overfit_gap"):
            missing = False
        elif draft.row.table == "benchmark":
            missing = value == 0
        else:
            missing = math.isnan(value)
        if missing:
            draft.correct(column, None, "not-evaluated")
        elif value is not None and math.isnan(value):
            draft.problem(column, "'nan' is not a number here")
            draft.values[column] = None
    if "train_accuracy" in draft.corrections:
        draft.correct("overfit_gap", None, "gap-without-train-accuracy")


def describe_dataset(draft: Draft) -> None:
    """Name the data set properly, and add the sizes that the figures are over."""
    values, upstream = draft.values, draft.row.cells["dataset"]
    if upstream not in facts.DATASETS:
        draft.problem("dataset", f"{upstream!r} is unknown; describe it in importer/facts.py")
        values["input_dims"] = 2
        return
    data = facts.DATASETS[upstream]
    if data.name != upstream:
        draft.correct("dataset", data.name, "dataset-renamed")
    security = draft.row.table == "security"
    mia = (facts.SECURITY_EVAL_SIZE,) * 2 if security else data.mia_sizes
    values |= {
        "dataset_version": data.version,
        "input_dims": data.input_dims,
        "image_size": data.image_size,
        "test_eval_size": facts.SECURITY_EVAL_SIZE if security else data.test_size,
    }
    if values["train_accuracy"] is None:
        pass
    elif values["train_accuracy"] == data.train_placeholder:
        draft.flags.add("train-accuracy-placeholder")
    elif size := facts.SECURITY_EVAL_SIZE if security else data.train_eval_size:
        values["train_eval_size"] = size
        draft.flags.add("train-accuracy-on-subset")
    if values["stealing_accuracy"] is not None:
        values["stealing_eval_size"] = data.test_size
    if values["mia_correctness_auc"] is not None and mia:
        values["mia_members"], values["mia_nonmembers"] = mia
    draft.flags |= set(data.flags)


def judge_stealing(draft: Draft) -> None:
    """Flag stolen copies that say nothing about stealing."""
    accuracy, target = draft.values["stealing_accuracy"], draft.values["test_accuracy"]
    if draft.values["stealing_agreement"] == 1:
        draft.flags.add("constant-predictor")
    if accuracy is not None and target is not None and accuracy < target / 10:
        draft.flags.add("stealing-failed")


def name_model(draft: Draft, occurrence: int, weights: Mapping[str, str]) -> None:
    """Find the publisher, and derive architecture, variant, seed and id from the name."""
    values, name = draft.values, draft.row.cells["upstream_name"]
    page = draft.row.cells["weights_page"]
    source = next((s for s in facts.SOURCES if s.link in page), None)
    values["source"] = source.name if source else _last_part(page)
    values["license"] = source.license if source else None
    draft.flags |= set(source.flags) if source else {"license-unclear"}
    stem = re.sub(r"\.(pth|ckpt)$", "", name)
    values["architecture"] = label = without_dataset(stem, values["dataset"])
    if values["source"] == "medmnist" and (parts := re.fullmatch(r"(\w+?)_([\w.]+)_(\d+)", stem)):
        values["architecture"], variant, values["seed"] = parts[1], parts[2].lower(), int(parts[3])
        values["variant"] = variant if values["input_dims"] == 3 else None
        label = f"{parts[1]}-{variant}/{parts[3]}"
    elif values["source"] == "adversary_loss_landscape":
        values["seed"] = occurrence
        values["architecture"] = weights.get("constructor", stem).split("(")[0].lower()
        label = f"{stem}/{occurrence}"
    elif values["source"] == "robust_models_transfer":
        values["architecture"] = weights.get("constructor", stem).removeprefix("torchvision.")
    elif weights and not weights["constructor"].startswith(label):
        draft.correct("architecture", weights["constructor"], "architecture-renamed", label)
        label = weights["constructor"]
    data = facts.DATASETS.get(draft.row.cells["dataset"])
    values["id"] = f"{values['source']}/{data.slug if data else values['dataset']}/{label}"


def without_dataset(stem: str, dataset: str) -> str:
    """Take the name of the data set off the end of a model's name.

    >>> without_dataset("resnet10_cub", "CUB-200-2011")
    'resnet10'
    """
    return stem.removesuffix("_" + dataset.lower().replace("-", "").removesuffix("2002011"))


def link_weights(draft: Draft, weights: Mapping[str, str]) -> None:
    """Add the file with the weights, its hash and how to build the network."""
    page = draft.row.cells["weights_page"]
    if not weights:
        draft.flags.add("weights-link-unresolved")
        return
    source = next(s for s in facts.SOURCES if s.link in page)
    draft.correct("weights_url", weights["weights_url"], source.weights_flag, page)
    for column in (
        "weights_member", "weights_hash_kind", "weights_hash", "weights_newer_url",
        "weights_key_prefix", "constructor",
    ):  # fmt: skip
        draft.values[column] = weights[column] or None
    for column, kind in (("num_parameters", int), ("reported_accuracy", float)):
        draft.values[column] = kind(weights[column]) if weights[column] else None
    native = int(weights["image_size"] or 0)
    if native and native != draft.values["image_size"]:
        draft.values["image_size"] = native
        draft.flags.add("input-size-suspect")
    if not weights["weights_hash"]:
        draft.flags.add("weights-hash-missing")
    if weights["weights_newer_url"]:
        draft.flags.add("weights-versions-differ")
    place = (draft.row.cells["dataset"], weights["weights_member"])
    if draft.values["input_dims"] == 3 and place not in facts.SEEN_MEMBERS:
        draft.flags.add("weights-member-assumed")


def correct_citation(draft: Draft) -> None:
    """Correct family, paper and countries, and flag what is doubtful about them."""
    values = draft.values
    if values["family"] in facts.FAMILIES:
        draft.correct("family", facts.FAMILIES[values["family"]], "family-renamed")
    countries = values["paper_countries"] or ()
    tidy = tuple(sorted(facts.COUNTRIES.get(country, country) for country in countries))
    if tidy != countries:
        draft.correct("paper_countries", tidy, "countries-normalised")
    paper = facts.PAPERS.get(values["architecture"])
    if paper and paper != values["paper_url"]:
        draft.correct("paper_url", paper, "paper-corrected")
    if values["architecture"] in facts.DOUBTFUL_PAPERS:
        draft.flags.add("paper-doubtful")
    if values["paper_url"] in facts.PUBLISHED_PAPERS and values["paper_venue"] == "arXiv":
        draft.flags.add("venue-doubtful")


def annotate(
    row: UpstreamRow, occurrence: int, weights: Mapping[str, str] | None, report: Report
) -> Annotation:
    """Turn a row of the benchmark or security table into an annotation.

    `occurrence` counts, from 1, the rows of that table with this name and data set; `weights` is
    the row's entry in the weights table, if there is one.
    """
    draft = Draft(row, Annotation, report)
    draft.values["table"] = row.table
    null_placeholders(draft)
    describe_dataset(draft)
    judge_stealing(draft)
    name_model(draft, occurrence, weights or {})
    link_weights(draft, weights or {})
    correct_citation(draft)
    annotation: Annotation = draft.finish(Annotation)
    return annotation


def describe_project(row: UpstreamRow, review: Mapping[str, str] | None, report: Report) -> Project:
    """Turn a row of the projects table into a project, with what a review of it found."""
    draft = Draft(row, Project, report)
    values, page = draft.values, row.cells["weights_page"]
    name = _last_part(page).removesuffix(".git")
    values["id"] = f"{values['paper_venue']}{values['paper_year']}/{name}".lower()
    for column in ("status", "head", "evidence", "reason"):
        values[column] = (review or {}).get(column) or None
    if review is None:
        values["status"] = "unknown"
        draft.flags.add("project-not-reviewed")
    else:
        draft.flags |= set(review["flags"].split())
    if row.cells["paper_url"] == page:
        draft.correct("paper_url", None, "paper-link-repeats-repository")
    elif not urlsplit(row.cells["paper_url"]).scheme.startswith("http"):
        draft.correct("paper_url", None, "paper-link-not-a-url")
    if re.search(rf"\({values['paper_venue']} \d{{4}}|^Official ", row.cells["title"]):
        draft.flags.add("title-with-extras")
    project: Project = draft.finish(Project)
    return project


def occurrences(rows: Iterable[UpstreamRow]) -> list[int]:
    """Count, for each row, the rows up to it with the same table, name and data set."""
    seen: dict[tuple[str, str, str], int] = {}
    counts = []
    for row in rows:
        key = (row.table, row.cells["upstream_name"], row.cells["dataset"])
        seen[key] = seen.get(key, 0) + 1
        counts.append(seen[key])
    return counts


def _last_part(url: str) -> str:
    """Return the last part of a link's path, or the first of its host.

    >>> _last_part("https://github.com/hustvl/Vim?tab=readme-ov-file")
    'Vim'
    """
    parts = urlsplit(url)
    return [parts.netloc.split(".")[0], *filter(None, parts.path.split("/"))][-1]
