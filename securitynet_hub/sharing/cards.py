"""What model repositories say of attacks on their model: results that benchmarks collect."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    eval_result_entries_to_yaml,
    parse_eval_result_entries,
)

from securitynet_hub.annotations.schema import HUB_DATASET, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.core.errors import HubError, HubWarning, RecordError, UnknownNameError
from securitynet_hub.core.text import printable
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import CONFIG, Figure
from securitynet_hub.sharing.plain_yaml import load_plain_yaml, require_plain_card

EVAL_RESULTS = ".eval_results/securitynet.yaml"


@lru_cache(maxsize=1)
def known_tasks() -> tuple[str, ...]:
    """Return the leaderboards that the benchmark's ``eval.yaml`` declares."""
    benchmark = yaml.safe_load((HUB_DATASET / "eval.yaml").read_text(encoding="utf-8"))
    return tuple(task["id"] for task in benchmark["tasks"])


def evaluations(records: Iterable[Record], benchmark: str) -> list[EvalResultEntry]:
    """Return one entry for each task that records of one model belong to: the latest record of the task.

    Records of attacks without a leaderboard are left out with a `HubWarning`.

    Args:
        records: all of one model.
        benchmark: owner/name of the dataset repository with the leaderboards.

    Raises:
        RecordError: there are no records, they are of several models, or one has no figure to rank by.
        UnknownNameError: no record belongs to one of the benchmark's tasks; the closest are given.
    """
    chosen = sorted(records, key=lambda record: (record.created, record.id))
    targets = sorted({record.target["id"] for record in chosen})
    if len(targets) != 1:
        raise RecordError(f"records of one model are needed; got those of {', '.join(targets) or 'none'}.")
    entries = {}
    tasks = {record.id: _task(record) for record in chosen}
    left_out = sorted(set(tasks.values()) - set(known_tasks()))
    if len(left_out) == len(set(tasks.values())):
        raise UnknownNameError("task of the benchmark", left_out[0], known_tasks())
    if left_out:
        warnings.warn(
            f"left out, as the benchmark has no such leaderboard: {', '.join(left_out)}.",
            HubWarning,
            stacklevel=3,
        )
    for record in chosen:
        task = tasks[record.id]
        if task in left_out:
            continue
        name, figure = _headline(record)
        entries[task] = EvalResultEntry(
            dataset_id=benchmark,
            task_id=task,
            value=rank_value(name, figure.value),
            date=record.created,
            source_url=f"https://huggingface.co/datasets/{benchmark}",
            source_name=f"record {record.id}",
            notes=_notes(record, name, figure),
        )
    return list(entries.values())


def eval_results_file(entries: Sequence[EvalResultEntry], present: str = "") -> str:
    """Return the YAML of entries, after those present for other benchmarks and tasks.

    Raises:
        HubError: what is present is no list of entries.
    """
    try:
        kept = load_plain_yaml(present) or []
        parsed = parse_eval_result_entries(kept)
        if len(parsed) != len(kept):
            raise ValueError(f"{len(kept) - len(parsed)} entries are none")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HubError(
            f"{EVAL_RESULTS} in the repository is not a list of results ({type(error).__name__}: "
            f"{printable(error)}); ask its owners to mend it."
        ) from error
    new = {(entry.dataset_id, entry.task_id) for entry in entries}
    # As they were written: the client's own type knows fewer keys than the Hub.
    kept = [
        raw for raw, entry in zip(kept, parsed, strict=True) if (entry.dataset_id, entry.task_id) not in new
    ]
    text: str = yaml.safe_dump([*kept, *eval_result_entries_to_yaml(list(entries))], sort_keys=False)
    return text


def with_model_index(card: str | None, name: str, entries: Sequence[EvalResultEntry]) -> str:
    """Return a model's card with the entries in its model-index, which older tools read.

    Args:
        card: the present text, None where there is none.
        name: owner/name of the model.
        entries: as `evaluations` makes them; they replace those of the same task.

    Raises:
        HubError: the card's metadata cannot be read.
    """
    try:
        text = f"# {name.partition('/')[2]}\n" if card is None else card
        require_plain_card(text)
        model = ModelCard(text if re.match(r"\s*---\s*\n", text) else f"---\n{{}}\n---\n\n{text}")
        new = [_as_eval_result(entry) for entry in entries]
        tasks = {(result.dataset_type, result.metric_type) for result in new}
        present = model.data.get("eval_results") or []
        kept = [result for result in present if (result.dataset_type, result.metric_type) not in tasks]
        model.data["model_name"] = model.data.get("model_name") or name.partition("/")[2]
        model.data["eval_results"] = [*kept, *new]
        return str(model)
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise HubError(
            f"the metadata of {name}'s card cannot be read: {type(error).__name__}, {printable(error)}."
        ) from error


def _as_eval_result(entry: EvalResultEntry) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        dataset_type=entry.dataset_id,
        dataset_name="SecurityNet",
        dataset_config=CONFIG,
        dataset_split="train",
        metric_type=entry.task_id,
        metric_name=f"{entry.task_id} ({entry.notes})",
        metric_value=entry.value,
        source_name=entry.source_name,
        source_url=entry.source_url,
    )


def rank_value(name: str, value: float) -> float:
    """Return a figure as the Hub ranks it, which puts the highest first and has no "lower is better".

    A headline figure is worse for the model the higher it is, if its kind does not say otherwise: rates and
    AUCs become their complement, a detector's score its negative, and robust accuracy stays as it is, so that
    the model that gives away least stands first.

    >>> rank_value("auc", 0.75), rank_value("score", 2.5), rank_value("robust_accuracy", 0.5)
    (0.25, -2.5, 0.5)
    """
    if _is_falling(name):
        return value
    return -value if name == "score" else 1 - value


def rank_name(name: str) -> str:
    """Name what `rank_value` returns.

    >>> rank_name("auc"), rank_name("score"), rank_name("robust_accuracy")
    ('1 - auc', '- score', 'robust accuracy')
    """
    words = name.replace("_", " ")
    if _is_falling(name):
        return words
    return f"{'-' if name == 'score' else '1 -'} {words}"


def _is_falling(name: str) -> bool:
    return any(name in kind.falling for kind in kinds().values())


def _headline(record: Record) -> tuple[str, Figure]:
    kind = kinds().get(record.attack["kind"])
    found = kind and kind.headline_of(record.result)
    if not found:
        raise RecordError(f"the record {record.id} has no figure that results of its kind are ranked by.")
    return found


def _task(record: Record) -> str:
    """Name the leaderboard that a record is of, whether the benchmark has it or not."""
    kind = kinds().get(record.attack["kind"])
    if kind is None:
        return f"{record.attack['name']} of {record.attack['kind']}"
    return kind.task_id(record.attack["name"], _dataset(record))


def _dataset(record: Record) -> str:
    """Return the data set of an annotated model; of another one what it was attacked on."""
    for config in ("extended", "zoo"):
        rows = load_annotations(config)
        if record.target["id"] in rows:
            return str(rows[record.target["id"]].dataset)
    return str(record.data["name"])


def _notes(record: Record, name: str, figure: Figure) -> str:
    interval = f" {figure.value:.4f}"
    interval += "" if figure.low is None else f", {figure.low:.4f} to {figure.high:.4f}"
    level = record.attack.get("confidence_level")
    share = f" at {level:.0%}" if figure.low is not None and isinstance(level, float) else ""
    budget = record.attack.get("budget")
    cost = f", {budget} queries" if isinstance(budget, int) else ""
    figure_text = f"{rank_name(name)}; {name.replace('_', ' ')}{interval}{share}"
    return re.sub(r"\s+", " ", f"{figure_text}; {record.attack['name']}{cost}")
