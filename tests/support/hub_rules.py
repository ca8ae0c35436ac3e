"""What the Hub refuses, each rule with its source. Enumerations are dated copies.

Where a rule is that of a client, the Hub has it, too: the client spares a request that would be refused.
"""

import json
import re
from datetime import datetime
from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from securitynet_hub import sharing

# huggingface.js, packages/tasks/src/eval.ts (@huggingface/tasks 0.21.54 of 2026-09-29): the copy that ships.
COPY = Path(sharing.__file__).with_name("evaluation_frameworks.json")
FRAMEWORKS = frozenset(json.loads(COPY.read_text(encoding="utf-8"))["names"])

# https://huggingface.co/docs/hub/repositories-licenses, as stored in October 2026; those that we could name.
LICENSES = frozenset(
    re.split(
        " ",
        "apache-2.0 mit openrail bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-4.0 cc-by-sa-4.0 "
        "cc-by-nc-4.0 gpl gpl-2.0 gpl-3.0 lgpl agpl-3.0 isc mpl-2.0 odc-by odbl unlicense unknown other",
    )
)

# huggingface.js, packages/tasks/src/pipelines.ts: the tasks of images.
TASKS = frozenset(
    re.split(
        " ",
        "image-classification image-segmentation image-to-image image-to-text object-detection "
        "depth-estimation zero-shot-image-classification unconditional-image-generation "
        "image-feature-extraction other",
    )
)

# https://huggingface.co/docs/hub/datasets-cards and datasetcard.md of hub-docs.
SIZES = re.compile(r"n<1K|1K<n<10K|10K<n<100K|100K<n<1M|1M<n<10M|10M<n<100M|100M<n<1B|n>1T|.+<n<.+")

# https://huggingface.co/docs/hub/spaces-config-reference
SDKS = ("gradio", "docker", "static")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray", None)

# https://huggingface.co/docs/hub/storage-limits: "cannot exceed 10k files per folder", "500GB is the hard
# limit for a single file size"; what is not in LFS has up to 10 MiB (hub-docs, repositories-getting-started).
MAX_FOLDER, MAX_FILE, MAX_REGULAR = 10_000, 500 * 10**9, 10 << 20


def name_error(name):
    """huggingface_hub/utils/_validators.py: validate_repo_id."""
    part = r"\b[\w\-.]{1,96}\b"
    if not re.fullmatch(f"{part}/{part}", name, re.ASCII):
        return "Repo id must use alphanumeric chars, '-', '_' or '.', and have at most 96 of them"
    if "--" in name or ".." in name or name.endswith(".git"):
        return "Cannot have -- or .. in repo_id, nor .git at its end"
    return None


def path_error(path):
    """huggingface_hub/_commit_api.py: _validate_path_in_repo."""
    parts = path.split("/")
    if path.startswith("/") or {"", ".", ".."} & set(parts) or ".git" in parts:
        return f"{path} is no path"
    return None


def crowded(paths):
    """Return the first folder that holds too much, None if there is none."""
    entries = {}
    for path in paths:
        parts = path.split("/")
        for n in range(len(parts)):
            entries.setdefault("/".join(parts[:n]), set()).add(parts[n])
    return next((folder for folder, inside in entries.items() if len(inside) > MAX_FOLDER), None)


def card_errors(content, kind):
    """Judge a card's metadata: YAML, a map, known kinds of values, enumerations.

    POST /api/validate-yaml (huggingface_hub/repocard.py, RepoCard.validate), which clients ask before each
    commit with a README.md; the rules are those of hub-docs (datasetcard.md, modelcard.md, spaces).
    """
    found = re.match(r"\ufeff?\s*---\r?\n(.*?)\r?\n---(\r?\n|$)", content, re.DOTALL)
    if found is None:
        return []
    try:
        card = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    if not isinstance(card, dict):
        return ["the metadata must be a map"]
    wrong = [
        f"{name} must be a list"
        for name in ("tags", "configs", "source_datasets", "annotations_creators")
        if not isinstance(card.get(name, []), list)
    ]
    wrong += [
        f"license must be one of the listed; got {name}" for name in _unlisted(card, "license", LICENSES)
    ]
    if "other" in _texts(card, "license") and not card.get("license_name"):
        wrong.append("license_name is needed with license: other")
    wrong += [
        f"unknown language {name}"
        for name in _texts(card, "language")
        if not re.fullmatch("[a-z-]{2,8}", name)
    ]
    wrong += list(_KINDS[kind](card))
    return wrong


def _texts(card, name):
    value = card.get(name, [])
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _unlisted(card, name, listed):
    return [text for text in _texts(card, name) if text not in listed]


def _dataset_card_errors(card):
    yield from (f"unknown task_categories {name}" for name in _unlisted(card, "task_categories", TASKS))
    yield from (f"no size_categories: {n}" for n in _texts(card, "size_categories") if not SIZES.fullmatch(n))
    for config in card.get("configs", []) if isinstance(card.get("configs", []), list) else []:
        if not {"config_name", "data_files"} <= set(config):
            yield '"configs" entries need "config_name" and "data_files"'


def _space_card_errors(card):
    if card.get("sdk") not in SDKS:
        yield f'"sdk" must be one of {", ".join(SDKS)}'
    yield from (f"{name} is no colour" for name in ("colorFrom", "colorTo") if card.get(name) not in COLOURS)
    if len(card.get("short_description") or "") > 60:
        yield "short_description must have at most 60 characters"


def _model_card_errors(card):
    yield from (f"unknown pipeline_tag {name}" for name in _unlisted(card, "pipeline_tag", TASKS))
    for model in card.get("model-index", []):
        for result in model["results"]:
            parts = [result["task"], result["dataset"], *result["metrics"]]
            named = all(part.get("type") for part in parts) and result["dataset"].get("name")
            if not (model.get("name") and named and all("value" in metric for metric in result["metrics"])):
                yield '"model-index" results need task, dataset and metrics, with types and values'


_KINDS = {"dataset": _dataset_card_errors, "space": _space_card_errors, "model": _model_card_errors}


def file_errors(kind, path, content):
    """Judge what is validated at every push."""
    try:
        if path == "README.md":
            return card_errors(content.decode(), kind)
        if kind == "dataset" and path == "eval.yaml":
            return list(_benchmark_errors(yaml.safe_load(content)))
        if kind == "model" and re.fullmatch(r"\.eval_results/[^/]+\.yaml", path):
            return list(_evaluation_errors(path, yaml.safe_load(content)))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"{path}: {type(error).__name__}"]
    return []


def _benchmark_errors(benchmark):
    """hub-docs, eval-results.md; of the framework: huggingface.js, pull request 2096 ("Invalid input")."""
    texts = [benchmark[name] for name in ("name", "description")]
    tasks = benchmark["tasks"]
    texts += [task[name] for task in tasks for name in ("id", "config", "split")]
    if not all(isinstance(text, str) and text for text in texts):
        yield "eval.yaml: texts are needed"
    if len({task["id"] for task in tasks}) < len(tasks):
        yield "eval.yaml: a task is named twice"
    if "evaluation_framework" in benchmark and benchmark["evaluation_framework"] not in FRAMEWORKS:
        yield "✖ Invalid input\n  → at evaluation_framework"


KEYS = {"dataset", "value", "verifyToken", "date", "source", "notes", "evaluation_framework"}


def _evaluation_errors(path, entries):
    """hub-docs, eval-results.md and eval_results.yaml; huggingface_hub/_eval_results.py reads each entry."""
    for entry, parsed in zip(entries, parse_eval_result_entries(entries), strict=True):
        assert isinstance(parsed, EvalResultEntry)
        if set(entry) - KEYS:
            yield f"{path}: unknown keys"
        if not {"id", "task_id"} <= set(entry["dataset"]) <= {"id", "task_id", "revision"}:
            yield f"{path}: dataset needs id and task_id"
        if type(parsed.value) not in (int, float):
            yield f"{path}: value must be a number"
        if not {"url"} <= set(entry.get("source", ["url"])) <= {"url", "name", "user", "org"}:
            yield f"{path}: the source's url is needed"
        datetime.fromisoformat(entry.get("date", "2026-01-01"))
