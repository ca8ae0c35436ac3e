"""Publish the data set, metrics, records and surrogates, each in one commit or one pull request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.attacks.stealing.surrogate_files import CARD, WEIGHTS, bare_card, surrogate_card
from securitynet_hub.core.errors import RecordError, UnknownNameError, WeightsError
from securitynet_hub.core.metric_files import known_metrics, metric_folder
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing.cards import (
    EVAL_RESULTS,
    eval_results_file,
    evaluations,
    with_model_index,
)
from securitynet_hub.sharing.fetching import results_at
from securitynet_hub.sharing.repositories import (
    Published,
    commit,
    create,
    read_text,
    repository,
    writable_owners,
)
from securitynet_hub.sharing.rows import results_shard
from securitynet_hub.sharing.validation import problems

METRIC_FILES = ("README.md", "app.py", "requirements.txt")


def publish_dataset(name: str, *, private: bool = False, create_pr: bool = False) -> Published:
    """Publish the data set that ships with this package; results of others in the repository stay.

    Args:
        name: owner/name of the dataset repository, made if it is not there.
        private: of a new repository.
        create_pr: propose it to the owners of an existing repository instead.

    Raises:
        HubError: it did not succeed; nothing of it is visible.
    """
    where = repository("dataset", name)
    files = _contents(HUB_DATASET)
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, "Publish the annotations", create_pr=create_pr)


def publish_metric(name: str, *, private: bool = False, create_pr: bool = False) -> Published:
    """Publish a metric as a Space, so that ``evaluate.load("owner/membership_inference")`` finds it.

    Whoever loads it needs this package: the metric is a thin face of it.

    Args:
        name: owner/metric.
        private: of a new repository.
        create_pr: propose it to the owners of an existing repository instead.

    Raises:
        UnknownNameError: no such metric; the closest names are given.
        HubError: it did not succeed; nothing of it is visible.
    """
    where = repository("space", name)
    metric = name.partition("/")[2]
    if metric not in known_metrics():
        raise UnknownNameError("metric", metric, known_metrics())
    files = {file: (metric_folder(metric) / file).read_bytes() for file in (f"{metric}.py", *METRIC_FILES)}
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, f"Publish the metric {metric}", create_pr=create_pr)


def publish_records(name: str, records: Iterable[Record], *, create_pr: bool = False) -> Published:
    """Add records to a dataset repository's config ``results``, as a Parquet file of their own.

    Files of others are never touched. A record that is there already is left out; so of any number of
    publishers at once, each adds what the others have not.

    Args:
        name: owner/name of a repository that `publish_dataset` made.
        records: as `audit` returns or `read_records` reads them.
        create_pr: propose them to the owners instead.

    Raises:
        RecordError: a record cannot be believed; nothing was sent.
        HubError: it did not succeed; nothing of it is visible.
    """
    where = repository("dataset", name)
    own = _believed(records)

    def shard(head: str) -> dict[str, bytes]:
        present = {record.id for record in results_at(where, head).records}
        new = [record for id, record in own.items() if id not in present]
        ids = hashlib.sha256("".join(sorted(record.id for record in new)).encode())
        return {f"{FOLDER}/{ids.hexdigest()[:32]}.parquet": results_shard(new)} if new else {}

    return commit(where, shard, f"Add up to {len(own)} results", create_pr=create_pr)


def publish_surrogate(
    name: str,
    weights: Path,
    target: str | None = None,
    *,
    records: Iterable[Record] = (),
    private: bool = False,
    create_pr: bool = False,
) -> Published:
    """Publish the weights of a stolen copy as a model repository, with a card that says what it copies.

    Args:
        name: owner/name of the model repository, made if it is not there.
        weights: safetensors, as `attacks.surrogates.steal` keeps them.
        target: id of the model it was stolen from; not needed with a record of the theft.
        records: of them, the latest of these weights tells the card settings and figures.
        private: of a new repository.
        create_pr: propose it to the owners of an existing repository instead.

    Raises:
        WeightsError: the file is not safetensors, or not whole.
        RecordError: neither a target nor a record that can be believed says what the copy is of.
        HubError: it did not succeed; nothing of it is visible.
    """
    from securitynet_hub.weights.reading.checkpoints import judge  # needs PyTorch, which takes its time

    where = repository("model", name)
    verdict = judge(weights)
    if not verdict.safe or verdict.format != "safetensors":
        raise WeightsError(f"{weights} is not a whole safetensors file: {verdict.reason or verdict.format}.")
    content = weights.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    thefts = [record for record in records if record.attack.get("surrogate_sha256") == sha256]
    if thefts:
        _believed(thefts)
        theft = max(thefts, key=lambda record: (record.created, record.id))
        if target not in (None, theft.target["id"]):
            raise RecordError(
                f"{weights} is a copy of {theft.target['id']}, as its record says; got {target}."
            )
        card = _card_of(theft)
    elif target is not None:
        card = bare_card(name, target, sha256, verdict.parameters)
    else:
        raise RecordError(
            f"no record says what {weights} (sha256 {sha256[:12]}...) is a copy of; name its target, or the "
            "folder with the record of the theft."
        )
    files = {WEIGHTS: content, CARD: card.encode()}
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, "Publish a surrogate", create_pr=create_pr)


def publish_evaluation(
    name: str, records: Iterable[Record], benchmark: str, *, create_pr: bool = False
) -> Published:
    """Write a model's results into its repository, in the form that benchmarks and older tools read.

    It is a commit where the login may write, a pull request anywhere else.

    Args:
        name: owner/name of the model repository.
        records: all of that one model.
        benchmark: owner/name of the dataset repository whose leaderboards they belong to.
        create_pr: a pull request even where the login may write.

    Raises:
        RecordError: the records are none, of several models, or not to be believed.
        UnknownNameError: a record belongs to none of the benchmark's tasks.
        HubError: it did not succeed; nothing of it is visible.
    """
    where, board = repository("model", name), repository("dataset", benchmark)
    entries = evaluations(_believed(records).values(), board.name)

    def files(head: str) -> dict[str, bytes]:
        present = read_text(where, EVAL_RESULTS, head)
        written = {
            EVAL_RESULTS: eval_results_file(entries, present or ""),
            "README.md": with_model_index(read_text(where, "README.md", head), name, entries),
        }
        return {path: text.encode() for path, text in written.items()}

    asks = create_pr or where.owner not in writable_owners()
    return commit(where, files, "Add results of security audits", create_pr=asks)


def _believed(records: Iterable[Record]) -> dict[str, Record]:
    """Return records by id; refuse none at all, and those that whoever fetches them would leave out."""
    own = {record.id: record for record in records}
    if not own:
        raise RecordError("there are no records to publish.")
    for record in own.values():
        if wrong := problems(record):
            raise RecordError(f"the record {record.id} is not fit to be published: {'; '.join(wrong)}.")
    return own


def _card_of(theft: Record) -> str:
    try:
        return surrogate_card(theft)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(
            f"the record {theft.id} does not say all that the card of its copy tells: {error!r}."
        ) from error


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
