"""Publish the data set, metrics, records and surrogates, each in one commit or one pull request."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.attacks.stealing.surrogate_files import CARD, WEIGHTS, bare_card, surrogate_card
from securitynet_hub.core.errors import HubError, HubWarning, RecordError, UnknownNameError, WeightsError
from securitynet_hub.core.metric_files import known_metrics, metric_folder
from securitynet_hub.core.retry import TransientError
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing import benchmark_file
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
from securitynet_hub.sharing.signatures import sign, signatures_file
from securitynet_hub.sharing.validation import problems

METRIC_FILES = ("README.md", "app.py", "requirements.txt")


def publish_dataset(name: str, *, private: bool = False, create_pr: bool = False) -> Published:
    """Publish the data set that ships with this package; results in the repository are kept.

    `publish_benchmark` adds `eval.yaml`, which the Hub may refuse.

    Args:
        name: owner/name of the dataset repository, which is created if needed.
        private: whether a new repository is private.
        create_pr: open a pull request in an existing repository instead.

    Raises:
        HubError: the publication failed; nothing of it is visible.
    """
    where = repository("dataset", name)
    files = _contents(HUB_DATASET)
    del files[benchmark_file.PATH]
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, "Publish the annotations", create_pr=create_pr)


def publish_benchmark(
    name: str, framework: str | None = None, *, create_pr: bool = False
) -> Published | None:
    """Make a published data set a benchmark of the Hub: one commit with `eval.yaml` alone.

    The Hub validates this file, and its list of frameworks grows: where it refuses the commit, a `HubWarning`
    says why and what to do, and the data set stays as it is.

    Args:
        name: owner/name of a repository that `publish_dataset` made.
        framework: the evaluation framework to name; none unless given.
        create_pr: open a pull request instead.

    Returns:
        The commit; None if it was refused.

    Raises:
        HubError: the Hub cannot be reached for now.
    """
    where = repository("dataset", name)
    files = {benchmark_file.PATH: benchmark_file.benchmark_text(framework).encode()}
    try:
        done = commit(where, lambda _: files, "Declare the benchmark", create_pr=create_pr)
    except HubError as error:
        if isinstance(error, TransientError):
            raise
        warnings.warn(_refusal(str(error), framework), HubWarning, stacklevel=2)
        return None
    return done._replace(part=benchmark_file.PATH)


def _refusal(sentence: str, framework: str | None) -> str:
    """Say that the benchmark was refused, and what to do about it."""
    known = benchmark_file.known_frameworks()
    stale = framework is not None and framework not in known.names
    unknown = f" {framework} was not on its list of {known.date}." if stale else ""
    return (
        f"the data set is published, but not {benchmark_file.PATH}, without which the Hub shows no "
        f"leaderboards: {sentence.removesuffix('.')}. If its evaluation_framework is the reason, leave "
        "--benchmark-framework out, or name another one of the Hub's list, such as "
        f"{', '.join(sorted(known.names)[:2])}.{unknown} Then run the same command again."
    )


def publish_metric(name: str, *, private: bool = False, create_pr: bool = False) -> Published:
    """Publish a metric as a Space, so that ``evaluate.load("owner/membership_inference")`` finds it.

    Users of the Space need this package, because the metric is a thin interface to it.

    Args:
        name: owner/metric.
        private: whether a new repository is private.
        create_pr: open a pull request in an existing repository instead.

    Raises:
        UnknownNameError: there is no such metric; the message gives the closest names.
        HubError: the publication failed; nothing of it is visible.
    """
    where = repository("space", name)
    metric = name.partition("/")[2]
    if metric not in known_metrics():
        raise UnknownNameError("metric", metric, known_metrics())
    files = {file: (metric_folder(metric) / file).read_bytes() for file in (f"{metric}.py", *METRIC_FILES)}
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, f"Publish the metric {metric}", create_pr=create_pr)


def publish_space(
    name: str, records: Iterable[Record] = (), *, private: bool = False, create_pr: bool = False
) -> Published:
    """Publish the explorer as a static Space: one page with all annotated models, and the records' results.

    Args:
        name: owner/name of the Space, which is created if needed.
        records: records from `audit`, `read_records` or `fetch_results`, to show and to rank.
        private: whether a new repository is private.
        create_pr: open a pull request in an existing repository instead.

    Raises:
        RecordError: a record is not valid; nothing was sent.
        HubError: the publication failed; nothing of it is visible.
    """
    from securitynet_hub.sharing.explorer.page import CARD, explorer_page

    where = repository("space", name)
    page = explorer_page(_validated(records).values())
    files = {"index.html": page.encode(), "README.md": CARD.read_bytes()}
    if not create_pr:
        create(where, private=private, space_sdk="static")
    return commit(where, lambda _: files, "Publish the explorer", create_pr=create_pr)


def publish_records(
    name: str, records: Iterable[Record], *, sign_with: Path | None = None, create_pr: bool = False
) -> Published:
    """Add records to the config ``results`` of a dataset repository, as a new Parquet file.

    Existing files are never changed. A record that is already in the repository is left out, so any number of
    publishers can add records at the same time.

    Args:
        name: owner/name of a repository that `publish_dataset` made.
        records: records from `audit` or `read_records`.
        sign_with: SSH key to sign all of them with, also those that are in the repository already.
        create_pr: open a pull request instead.

    Raises:
        RecordError: a record is not valid; nothing was sent.
        HubError: the publication failed; nothing of it is visible.
    """
    where = repository("dataset", name)
    own = _validated(records)
    signatures = [] if sign_with is None else [sign(record, sign_with) for record in own.values()]

    def shard(head: str) -> dict[str, bytes]:
        present = {record.id for record in results_at(where, head).records}
        new = [record for id, record in own.items() if id not in present]
        ids = hashlib.sha256("".join(sorted(record.id for record in new)).encode())
        files = {f"{FOLDER}/{ids.hexdigest()[:32]}.parquet": results_shard(new)} if new else {}
        return files | (dict([signatures_file(signatures)]) if signatures else {})

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
    """Publish the weights of a surrogate as a model repository, with a card that names its target.

    Args:
        name: owner/name of the model repository, which is created if needed.
        weights: a safetensors file, as model stealing stores it.
        target: id of the model that was extracted; not needed with a record of the extraction.
        records: the card shows settings and figures of the latest record with these weights.
        private: whether a new repository is private.
        create_pr: open a pull request in an existing repository instead.

    Raises:
        WeightsError: the file is not safetensors, or is incomplete.
        RecordError: neither `target` nor a valid record names the target.
        HubError: the publication failed; nothing of it is visible.
    """
    from securitynet_hub.weights.reading.checkpoints import judge  # imports PyTorch, which takes time

    where = repository("model", name)
    verdict = judge(weights)
    if not verdict.loadable or verdict.format != "safetensors":
        raise WeightsError(
            f"{weights} is not a complete safetensors file: {verdict.reason or verdict.format}."
        )
    content = weights.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    thefts = [record for record in records if record.attack.get("surrogate_sha256") == sha256]
    if thefts:
        _validated(thefts)
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
            f"no record names the model of which {weights} (sha256 {sha256[:12]}...) is a copy; give its "
            "target, or the folder with the record of the extraction."
        )
    files = {WEIGHTS: content, CARD: card.encode()}
    if not create_pr:
        create(where, private=private)
    return commit(where, lambda _: files, "Publish a surrogate", create_pr=create_pr)


def publish_evaluation(
    name: str, records: Iterable[Record], benchmark: str, *, create_pr: bool = False
) -> Published:
    """Write a model's results into its repository, in the formats that benchmarks and older tools read.

    The result is a commit if the login may write to the repository, and a pull request otherwise.

    Args:
        name: owner/name of the model repository.
        records: records of that model only.
        benchmark: owner/name of the dataset repository with the leaderboards.
        create_pr: open a pull request even if the login may write.

    Raises:
        RecordError: there are no records, they are of several models, or one is not valid.
        UnknownNameError: a record belongs to none of the benchmark's tasks.
        HubError: the publication failed; nothing of it is visible.
    """
    where, board = repository("model", name), repository("dataset", benchmark)
    entries = evaluations(_validated(records).values(), board.name)

    def files(head: str) -> dict[str, bytes]:
        present = read_text(where, EVAL_RESULTS, head)
        written = {
            EVAL_RESULTS: eval_results_file(entries, present or ""),
            "README.md": with_model_index(read_text(where, "README.md", head), name, entries),
        }
        return {path: text.encode() for path, text in written.items()}

    asks = create_pr or where.owner not in writable_owners()
    return commit(where, files, "Add results of security audits", create_pr=asks)


def _validated(records: Iterable[Record]) -> dict[str, Record]:
    """Return records by id; raise RecordError if there are none, or if one would be left out by `fetch`."""
    own = {record.id: record for record in records}
    if not own:
        raise RecordError("there are no records to publish.")
    for record in own.values():
        if wrong := problems(record):
            raise RecordError(
                f"the record {record.id} is not valid and is not published: {'; '.join(wrong)}."
            )
    return own


def _card_of(theft: Record) -> str:
    try:
        return surrogate_card(theft)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(
            f"the record {theft.id} lacks what the card of its surrogate shows: {error!r}."
        ) from error


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
