"""The work of a sweep as a table: which models, on which images, by which attacks."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from securitynet_hub.annotations.finding import MODEL_CONFIGS
from securitynet_hub.annotations.schema import Annotation, ZooAnnotation, load_annotations
from securitynet_hub.attacks.kind import Kind, kinds
from securitynet_hub.attacks.subject import AuditData, find_data, known_data
from securitynet_hub.core.digest import json_digest
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.sides import OnProgress, silent
from securitynet_hub.engine.engine_choice import describe_engine
from securitynet_hub.engine.processes import find_precision
from securitynet_hub.models.own_targets import OwnTarget
from securitynet_hub.records.record import code_identity


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One attack on one model: what becomes one record.

    Attributes:
        model: id of the model.
        attack: name of the attack.
        id: hash of all that decides the result: model and weights, images and split, attack, settings, code.
    """

    model: str
    attack: str
    id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """All units of one model on one data set, which share its weights and its forward pass.

    Attributes:
        annotation: of the model.
        data: images and split.
        attacks: names of attacks.
        options: further arguments of `audit`, in JSON's types.
        loading: options of `load_target`, for a model of one's own.
        stated: what decides the results of a model of one's own besides its weights, in JSON's types.
    """

    annotation: Annotation
    data: AuditData = field(repr=False)
    attacks: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stated: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """One for each attack."""
        shared = {
            "target": [self.annotation.id, self.annotation.weights_hash_kind, self.annotation.weights_hash],
            "data": [self.data.images.sha256, self.data.split.sha256],
            "options": dict(self.options),
            "precision": find_precision(),
            **({"engine": engine} if (engine := describe_engine()) else {}),
            "code": code_identity()["sha256"],
            **({"stated": dict(self.stated)} if self.stated else {}),
        }
        return tuple(
            Unit(model=self.annotation.id, attack=name, id=json_digest({**shared, "attack": name}))
            for name in self.attacks
        )

    @property
    def num_images(self) -> int:
        """Images that are forwarded at least."""
        return len(self.data.split.indices)

    @cached_property
    def id(self) -> str:
        """Hash of the model and its data, whatever the attacks: what one process works on at a time."""
        return json_digest([self.annotation.id, self.data.images.sha256, self.data.split.sha256])


def plan_jobs(
    annotations: Iterable[Annotation],
    attacks: Sequence[str],
    data: Mapping[str, AuditData],
    options: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Return the jobs of a sweep, those of the largest models first, so that none of them is left to the end.

    Args:
        annotations: of the models.
        attacks: names of attacks.
        data: what to audit on, by the name of the models' data set; models of the embedded zoo know theirs.
        options: further arguments of `audit`. Each value of an option that its kind names as
            `Kind.separate`, such as a query budget, is a job of its own.

    Raises:
        ValueError: there is nothing to do, or a data set without images; the models' number is given.

    >>> zoo = load_annotations("zoo")
    >>> jobs = plan_jobs([zoo["zoo/fashion-mnist/cnn-clean/1"]], ["loss", "entropy"], {})
    >>> [(unit.attack, len(unit.id)) for unit in jobs[0].units]
    [('loss', 16), ('entropy', 16)]
    """
    rows = sorted(annotations, key=lambda row: (-(row.num_parameters or 0), row.id))
    if not rows or not attacks:
        raise ValueError("there is nothing to do: at least one model and one attack are needed.")
    parts = list(_separated(attacks, options or {}))
    missing: dict[str, int] = {}
    jobs = []
    for row in rows:
        known = data.get(row.dataset) or (known_data(row) if isinstance(row, ZooAnnotation) else None)
        if known is None:
            missing[row.dataset] = missing.get(row.dataset, 0) + 1
            continue
        for names, own in parts:
            jobs.append(Job(annotation=row, data=known, attacks=names, options=own))
    if missing:
        lacking = ", ".join(f"{name} ({count} models)" for name, count in missing.items())
        raise ValueError(f"there are no images of {lacking}: name them with --data DATASET=REFERENCE.")
    return jobs


def plan_own_jobs(
    targets: Iterable[OwnTarget],
    attacks: Sequence[str],
    data: Mapping[str, AuditData],
    options: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Return the jobs of a sweep over models of one's own; arguments as for `plan_jobs`.

    Images that several models share are read once.

    Raises:
        ValueError: a model names no images.
    """
    read: dict[str, AuditData] = {}
    jobs = []
    for own in targets:
        known = data.get(own.annotation.dataset)
        if own.data is not None:
            known = read[own.data] = read[own.data] if own.data in read else find_data(own.data)
        if known is None:
            raise ValueError(f"there are no images of {own.annotation.id}: name them in its table as data.")
        for names, chosen in _separated(attacks, options or {}):
            jobs.append(
                Job(
                    annotation=own.annotation,
                    data=known,
                    attacks=names,
                    options=chosen,
                    loading=own.loading,
                    stated=own.stated,
                )
            )
    return jobs


def _separated(
    attacks: Sequence[str], options: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the attacks and options of each job of a model: first those that share one, then the others."""
    apart = [kind for kind in kinds().values() if kind.separate is not None]
    alone = {name for kind in apart for name in attacks if name in kind.attacks}
    kept = {name for kind in apart for name in _option_names(kind)}
    shared = {name: value for name, value in options.items() if name not in kept}
    if together := tuple(name for name in attacks if name not in alone):
        yield together, shared
    for kind in apart:
        assert kind.separate is not None
        own = {name: value for name, value in options.items() if name in _option_names(kind)}
        for name in (name for name in attacks if name in kind.attacks):
            for value in own.get(kind.separate, getattr(kind.options(), kind.separate)):
                yield (name,), {**shared, **own, kind.separate: [value]}


def _option_names(kind: Kind) -> set[str]:
    return {part.name for part in fields(kind.options)}


def find_models(patterns: Sequence[str], where: str | None = None) -> list[Annotation]:
    """Return the models whose id one of the patterns matches and for whose row a condition holds.

    Args:
        patterns: ids, in which ``*`` stands for anything, such as ``pytorchcv/cifar10/*``; ``zoo`` stands
            for the embedded zoo.
        where: a condition on the columns of the tables in the language of `pandas.DataFrame.query`, such as
            ``"dataset == 'CIFAR-10' and test_accuracy > 0.9"``.

    Raises:
        UnknownNameError: a pattern matches no model; the closest ids are given.
        ValueError: the condition cannot be understood, or holds for none of them.

    >>> len(find_models(["zoo"], "kind == 'clean'"))
    12
    """
    rows: dict[str, Annotation] = {}
    for config in MODEL_CONFIGS:
        rows |= load_annotations(config)
    found: dict[str, Annotation] = {}
    for pattern in patterns:
        matching = fnmatch.filter(rows, "zoo/*" if pattern == "zoo" else pattern)
        if not matching:
            raise UnknownNameError("model", pattern, rows)
        found |= {id: rows[id] for id in matching}
    if where is None:
        return list(found.values())
    import pandas as pd

    table = pd.concat([load_annotations(config).to_pandas() for config in MODEL_CONFIGS])
    try:
        holding = set(table.query(where, engine="python")["id"])
    except Exception as error:  # whatever pandas' own parser makes of a stranger's text
        raise ValueError(f"the condition {where!r} cannot be understood: {error}") from error
    if not holding & found.keys():
        raise ValueError(f"the condition {where!r} holds for none of {len(found)} models.")
    return [row for id, row in found.items() if id in holding]


def parse_data(text: str, *, on_progress: OnProgress = silent) -> tuple[str, AuditData]:
    """Read ``DATASET=REFERENCE``: the name of the models' data set, and where its images are.

    Raises:
        ValueError: the text has another form, or as `find_data`.
    """
    name, equals, reference = text.partition("=")
    if not equals or not reference:
        raise ValueError(
            f"data must be given as DATASET=REFERENCE, such as CIFAR-10=uoft-cs/cifar10; got {text!r}."
        )
    return name, find_data(reference, on_progress=on_progress)
