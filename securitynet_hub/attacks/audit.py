"""One model, one data set, any attacks: a loop over the kinds of attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import Field, fields, replace
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import (
    BATCH_SIZE,
    CONFIDENCE_LEVEL,
    Context,
    Kind,
    Trainer,
    find_attack,
    flags_of,
    kinds,
    split_options,
)
from securitynet_hub.attacks.listing import default_attacks, require_known
from securitynet_hub.attacks.records import Records
from securitynet_hub.attacks.subject import AuditData, as_data, known_data
from securitynet_hub.attacks.validity import Check, Validity
from securitynet_hub.core.arrays import require_count, require_seed, require_share
from securitynet_hub.core.errors import ModelError, SkippedWarning, UnknownNameError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import OnStep, Progress, heard_by
from securitynet_hub.core.stages import stage
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.engine.processes import find_place
from securitynet_hub.models.loading import find_annotation, load_target
from securitynet_hub.models.outputs import Outputs, Reduce
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record, read_records, require_writable, write_record
from securitynet_hub.statistics.rates import require_level

if TYPE_CHECKING:
    import torch


@plain_torch()
def audit(
    target: Any,
    *,
    name: str | None = None,
    transform: Any = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    build: Callable[[], torch.nn.Module] | None = None,
    attacks: str | Iterable[str] | None = None,
    data: AuditData | str | Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    keep: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    trainer: Trainer | None = None,
    expected_accuracy: float | None = None,
    on_check: Callable[[Check], object] = lambda check: None,
    on_attack: Callable[[str], object] | None = None,
    on_batch: Callable[[int], None] | None = None,
    on_step: OnStep | None = None,
    on_estimate: Callable[[str], object] | None = None,
    on_record: Callable[[Record], Path | None] = lambda record: None,
    on_skipped: Callable[[str, Exception], None] | None = None,
    **options: Any,
) -> Records:
    """Audit a model; return one record for each attack, and for model stealing one for each budget.

    What is returned is a list of records; printed, it says first what they amount to, in words.

    Args:
        target: an annotated model's id, a loaded `Target`, or a model in memory (a `torch.nn.Module`, a model
            of transformers or timm, a pipeline).
        name: what records call a model in memory; as are the next five, an argument of `load_target`.
        transform: preprocessing of a model in memory.
        num_classes: number of classes of a model in memory.
        outputs: what a model in memory answers with: ``logits`` (default), ``posteriors``,
            ``log-posteriors`` or ``labels``.
        reduce: picks the answers out of what a model in memory returns.
        build: makes the network of a model in memory anew, for attacks that train such networks.
        attacks: names from `securitynet attacks`; the group name of a kind, such as ``all`` or
            ``backdoor-detection``, stands for those of its attacks that apply here. Default:
            `default_attacks`, which need only answers and labels and share one forward pass.
        data: images and split, or where they are, as `find_data` takes it; models of the embedded zoo know
            theirs.
        settings: each attack's settings by its name, such as ``{"rmia": {"gamma": 1.0, "a": "tuned"}}``.
        seed: decides everything that attacks draw.
        confidence_level: confidence level of every interval.
        batch_size: images in one forward pass.
        keep: folder for work that a later audit can reuse, such as the answers and surrogates of model
            stealing; an interrupted audit resumes from there.
        out: folder for the records; without it, no record is written.
        resume: take the signs of provenance that an earlier audit with the same models, images, settings and
            version recorded in `out` from there, and measure the others: an interrupted one goes on so.
        trainer: trains reference models for the target if an option gives their number.
        expected_accuracy: the model's accuracy on images that it was not trained on, which the measured one
            is compared with; by default the published one.
        on_check: called, before any attack, with the check that images, labels and preprocessing are the
            model's; what it finds is also in each record, under ``data.check``.
        on_attack: called with each attack's name before it runs. Where none of the three functions for
            progress is given, a notebook shows a bar; elsewhere the logger ``securitynet_hub`` gets a line a
            minute, of level INFO.
        on_batch: called with the number of images after each batch.
        on_step: called in long steps, such as the training of reference models and surrogates, with what is
            being done, how much is done, and how much there is.
        on_estimate: called before a long attack on robustness with how many images and passes it may take,
            and about how long; by default shown or logged as the progress is.
        on_record: called with each record as soon as it is measured and written; if it returns the file that
            it wrote a record to, recovered triggers are written next to that file.
        on_skipped: called with the name of an attack that could not run, and why, while others go on; by
            default a `SkippedWarning` says so. Of attacks that are named, too, those run that can; if none
            can, the first one's error is raised.
        options: fields of the kinds' options: each kind's `Options`, such as `membership.kind.Options`.

    Raises:
        UnknownNameError: no such model, attack, setting or option; the closest names are given.
        WeightsError: the weights are missing or damaged.
        RecordError: the folder cannot take records.
        ValueError: no data is known for the target, it does not fit the model, or an attack lacks something
            or costs too much.

    >>> records = audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks=["modified_entropy"])
    >>> records[0].result["auc_ci"][0] > 0.5  # an attacker can tell members of the overfitted model
    True
    """
    names, own_options = require_possible(attacks, settings, out=out, **options)
    for idle in find_idle(names, options).values():
        warn_caller(idle, SkippedWarning)
    folder, seed = None if out is None else Path(out), require_seed(seed)
    require_level(confidence_level)
    require_count(batch_size, "batch_size")
    if expected_accuracy is not None:
        require_share(expected_accuracy, "expected_accuracy")
    own = {"name": name, "transform": transform, "num_classes": num_classes, "outputs": outputs}
    target = _in_memory(target, {**own, "reduce": reduce, "build": build})
    # Find the data before the weights are downloaded: without data there is nothing to audit.
    data = as_data(data) or known_data(
        find_annotation(target) if isinstance(target, str) else target.annotation
    )

    def written(record: Record) -> Path | None:
        # Processes that share the work have the same records; one of them writes.
        path = write_record(record, folder) if folder is not None and find_place().is_main else None
        return on_record(record) or path

    skipped: dict[str, Exception] = {}

    def leave_out(name: str, error: Exception) -> None:
        skipped[name] = error
        if on_skipped is not None:
            on_skipped(name, error)

    def skip(name: str, error: Exception) -> None:
        if find_place().of > 1:  # the other processes would wait for what this one leaves out
            raise error
        leave_out(name, error)

    progress, shown = Progress(len(names)), on_attack is None and on_batch is None and on_step is None
    context = Context(
        settings=settings,
        seed=seed,
        confidence_level=confidence_level,
        batch_size=batch_size,
        keep=None if keep is None else Path(keep),
        trainer=trainer,
        on_attack=on_attack or (progress.on_attack if shown else lambda name: None),
        on_batch=on_batch or (progress.on_batch if shown else lambda size: None),
        recorded=_recorded_in(folder if resume else None),
        on_estimate=on_estimate or (progress.on_estimate if shown else lambda told: None),
        on_record=written,
        on_skipped=skip,
        on_unable=leave_out,  # every process finds the same before it begins
    )
    validity = Validity(
        expected=expected_accuracy,
        confidence_level=confidence_level,
        batch_size=batch_size,
        seed=seed,
        on_check=on_check,
    )
    data = replace(data, validity=validity)
    if isinstance(target, str):
        target = load_target(target)
    data = data.matched_to(target)
    if attacks is None:
        names = [name for name in names if find_attack(name).unanswerable(target) is None]
    records = Records()
    heard = on_step or (progress.on_step if shown else lambda *step: None)
    with closing(progress), heard_by(heard):
        for kind in kinds().values():
            chosen = own_names(kind, names)
            if kind.group in chosen:
                chosen.remove(kind.group)
                applicable = kind.audits.applicable(target, data, own_options[kind.name], context)
                chosen = list(dict.fromkeys([*applicable, *chosen]))
            if chosen:
                own = {name: given for name, given in settings.items() if name in chosen}
                how = replace(context, settings=own)
                try:
                    with stage("attacks"):
                        records += kind.audits.run(target, data, chosen, own_options[kind.name], how)
                except (ValueError, ModelError) as error:
                    if isinstance(error, UnknownNameError) and not records:
                        raise  # a wrong request, which no other attack should wait for
                    for each in chosen:
                        skip(each, error)
    if skipped and not records:
        raise next(iter(skipped.values()))
    if on_skipped is None:
        for each, reason in skipped.items():
            warn_caller(f"{each} was not run on {target.id}: {reason}", SkippedWarning)
    return records


def _recorded_in(folder: Path | None) -> Callable[[Record], Record | None]:
    """Return what finds the record of a measurement in a folder of records; without one it finds none."""
    found: dict[str, dict[str, Record]] = {}

    def recorded(record: Record) -> Record | None:
        id = str(record.target["id"])
        if folder is None or not (folder / id).is_dir():
            return None
        if id not in found:
            found[id] = {each.unit: each for each in read_records(folder / id)}
        return found[id].get(record.unit)

    return recorded


OF_MEMORY = ("name", "transform", "num_classes", "outputs", "reduce", "build")
"""Arguments of `audit` that describe a model in memory."""


def is_in_memory(target: Any) -> bool:
    """Return whether what `audit` takes as target is a model in memory, neither named nor loaded already."""
    return not isinstance(target, (str, Target))


def _in_memory(target: Any, loading: Mapping[str, Any]) -> str | Target:
    """Return the target of a model in memory; leave what is named or loaded already."""
    given = {name: value for name, value in loading.items() if value is not None}
    if not isinstance(target, (str, Target)):
        return load_target(target, **given)
    if given:
        one = len(given) == 1
        what, them = f"{', '.join(given)} {'belongs' if one else 'belong'}", "it" if one else "them"
        if isinstance(target, Target):
            raise ValueError(
                f"{what} to a model in memory, and {target.id} is loaded already: pass {them} to load_target."
            )
        own = [f"{name}=..." for name in given]
        if ":" not in target and Path(target).expanduser().is_file():
            target, own = f"file:{target}", ["module=...", *own]
        elif ":" not in target:
            raise ValueError(
                f"{what} to a model in memory, and {target} is an id, whose model has its own: leave "
                f"{them} out."
            )
        raise ValueError(
            f"{what} to a model in memory, and this one is named: audit what load_target({target!r}, "
            f"{', '.join(own)}) returns."
        )
    return target


def require_possible(
    attacks: str | Iterable[str] | None,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    out: str | Path | None = None,
    **options: Any,
) -> tuple[list[str], dict[str, Any]]:
    """Refuse what no model and no images could make possible, before they are loaded; arguments of `audit`.

    Returns:
        The names of the attacks, each once, and the options by kind.

    Raises:
        UnknownNameError: no such attack, setting or option; the closest names are given.
        RecordError: the folder cannot take records.
        ValueError: a setting or an option belongs to an attack that is not run.
    """
    names = find_names(default_attacks() if attacks is None else attacks)
    own_options = split_options(options, signature(audit).parameters)
    if out is not None:
        require_writable(Path(out))
    _require_used(settings, names)
    _require_own(own_options, names)
    return names, own_options


def find_names(attacks: str | Iterable[str]) -> list[str]:
    """Return the names of attacks and groups, each once.

    Raises:
        UnknownNameError: no such attack; the closest names are given.
        ValueError: no name is given.
    """
    names = [attacks] if isinstance(attacks, str) else list(dict.fromkeys(attacks))
    require_known(names)
    return names


def own_names(kind: Kind, names: Iterable[str]) -> list[str]:
    """Return those of the names that are attacks of a kind, or its group name."""
    return [name for name in names if name in kind.attacks or name == kind.group]


def _require_own(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse options of a kind of which no attack is run: nothing would look at them."""
    unused = list(_not_looked_at(options, names))
    for _, part in unused:
        if not part.metadata.get("idle"):
            owners = [kind.title.lower() for kind, other in unused if other.name == part.name]
            raise ValueError(
                f"{part.name}= ({flags_of(part)[0]}) belongs to {' and '.join(owners)}, and no attack of "
                f"{'these' if len(owners) > 1 else 'its'} is named: name one, or leave it out."
            )


def find_idle(attacks: str | Iterable[str] | None, options: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each option that may stand unused and that no attack looks at, a sentence that says so.

    Args:
        attacks: as for `audit`.
        options: those of all kinds, by their names.

    >>> find_idle(["fgsm"], {"samples": "kept"})["samples"][:53]
    'samples= (--samples): no attack on membership is run,'
    >>> find_idle(["fgsm", "loss"], {"samples": "kept"})
    {}
    """
    names = find_names(default_attacks() if attacks is None else attacks)
    return {
        part.name: f"{part.name}= ({flags_of(part)[0]}): {part.metadata['idle']}."
        for _, part in _not_looked_at(split_options(options), names)
        if part.metadata.get("idle")
    }


def _not_looked_at(options: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[Kind, Field[Any]]]:
    """Yield the options that are given and that no kind has of which an attack is among the names."""
    run = [kind for kind in kinds().values() if own_names(kind, names)]
    used = {part.name for kind in run for part in fields(kind.options)}
    for kind in kinds().values():
        for part in fields(kind.options):
            given = getattr(options[kind.name], part.name)
            if part.name not in used and part.metadata.get("help") and not _is_default(part, given):
                yield kind, part


def _is_default(part: Field[Any], value: Any) -> bool:
    """Return whether an option has the value that it has where it is not given."""
    same: bool = (tuple(value) if isinstance(value, list) else value) == part.default
    return same


def _require_used(settings: Mapping[str, Mapping[str, Any]], names: list[str]) -> None:
    """Refuse settings of attacks that are not run, or that an attack does not have."""
    run = {
        name: attack
        for kind in kinds().values()
        for name, attack in kind.attacks.items()
        if name in names or kind.group in names
    }
    for name, own in settings.items():
        if name not in run and any(name in kind.attacks for kind in kinds().values()):
            raise ValueError(
                f"{name} has a setting and is not among the attacks to be run: name it, too (--attacks "
                f"{name}), or leave the setting out."
            )
        if name not in run:
            raise UnknownNameError("attack with settings among those to be run", name, run)
        run[name].require_settings(own)
