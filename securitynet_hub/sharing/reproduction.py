"""Measure again what a record says, and compare: whether the two figures agree within their intervals."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from securitynet_hub.attacks.audit import audit
from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL, Attack, Kind, Trainer, kinds
from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import RecordError, UnknownNameError
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import Figure, agrees
from securitynet_hub.sharing.leaderboard import comparable

OWN = {
    "file": "file:checkpoint.pth --module nets.py:build",
    "module": "module:nets.py:build",
    "onnx": "onnx:model.onnx",
    "timm": "timm:NAME",
    "transformers": "transformers:REPOSITORY",
}
"""How the command line names a model that is in no table, by its source."""


class Reproduction(NamedTuple):
    """A record, and the one that measured the same again.

    Attributes:
        name: of the figure that is compared, that by which results of the kind are ranked.
        differences: what of the measurement is not as the record says, so that nothing can be concluded.
    """

    record: Record
    again: Record
    name: str
    figure: Figure
    new: Figure
    differences: tuple[str, ...]

    @property
    def reproduced(self) -> bool | None:
        """Whether the two figures agree (`agrees`).

        None if other things were measured, or if they differ and have no interval to judge by.
        """
        return None if self.differences else agrees(self.figure, self.new)

    def sentence(self) -> str:
        """Say in a sentence what came out."""
        what = f"{self.record.attack['name']} on {self.record.target['id']}: {self.name}"
        if self.differences:
            return f"{what} cannot be compared: {', '.join(self.differences)} differ from the record's."
        ends = "" if self.figure.low is None else f", {self.figure.low:.4f} to {self.figure.high:.4f}"
        outcome = {
            True: "reproduced",
            False: "not reproduced",
            None: "it has no interval to judge the difference by",
        }[self.reproduced]
        return f"{what} is {self.new.value:.4f}, the record has {self.figure.value:.4f}{ends}: {outcome}."


def reproduce(
    record: Record,
    target: Target | str | None = None,
    *,
    data: AuditData | None = None,
    seed: int | None = None,
    out: Path | None = None,
    trainer: Trainer | None = None,
) -> Reproduction:
    """Run a record's attack again, on its model and images, with its settings; compare the figures.

    Args:
        record: what should be reproduced.
        target: the record's model, loaded; an annotated model is loaded by its id.
        data: its images and their split; models of the embedded zoo know theirs.
        seed: decides what the attack draws; the record's own unless given.
        out: folder for the new record.
        trainer: trains as many reference models as the record counts, for attacks that need them.

    Raises:
        RecordError: the attack is not known to this version, or has no figure to compare.
        ValueError: the model is in no table, and `target` should be given; or `data` is needed.
    """
    if target is None:
        require_listed(record)
    kind, attack = _attack_of(record)
    found = kind.headline_of(record.result)
    if found is None:
        raise RecordError(f"the record {record.id} has no figure that results of its kind are ranked by.")
    name, figure = found
    options = dict(_options(record, kind))
    if "shadow_models" in record.counts:
        options["shadows"] = record.counts["shadow_models"]
    (again,) = audit(
        record.target["id"] if target is None else target,
        attacks=[attack.name],
        data=data,
        settings={attack.name: dict(_settings(record, kind, attack))},
        seed=int(record.attack.get("seed", 0)) if seed is None else seed,
        confidence_level=float(record.attack.get("confidence_level") or CONFIDENCE_LEVEL),
        out=out,
        trainer=trainer,
        **options,
    )
    new = kind.headline_of(again.result)
    if new is None or new[0] != name:
        raise RecordError(f"{attack.name} gives no {name} here; the record {record.id} has one.")
    return Reproduction(record, again, name, figure, new[1], tuple(_differences(record, again)))


def require_listed(record: Record) -> None:
    """Require that the record's model can be found by its id; a model of one's own cannot.

    Raises:
        ValueError: it cannot; the message says how to name it.
    """
    id = str(record.target["id"])
    source = id.partition("/")[0]
    try:
        find_annotation(id)
    except UnknownNameError as error:
        how = OWN.get(source, "ID")
        raise ValueError(
            f"the record's model {id!r} is in no table here: pass it as it was audited, with "
            f"target= (--model {how} --data IMAGES)."
        ) from error


def _attack_of(record: Record) -> tuple[Kind, Attack]:
    kind = kinds().get(record.attack["kind"])
    attack = None if kind is None else kind.attacks.get(record.attack["name"])
    if kind is None or attack is None:
        raise RecordError(
            f"the record {record.id} is of {record.attack['name']}, an attack of {record.attack['kind']} "
            "that this version does not know; a newer one may."
        )
    return kind, attack


def _settings(record: Record, kind: Kind, attack: Attack) -> Iterator[tuple[str, Any]]:
    """Yield the settings that differ from the attack's defaults, as the attack takes them."""
    signature = inspect.signature(attack.configured_by or attack.run).parameters
    for name, default in attack.settings.items():
        if name not in record.attack or name in kind.naming:
            continue
        value = record.attack[name]
        takes_none = default is None or "None" in str(signature[name].annotation)
        if _as_json(default) != value and (value is not None or takes_none):
            yield name, _rebuilt(value, default)


def _options(record: Record, kind: Kind) -> Iterator[tuple[str, Any]]:
    """Yield the kind's options that a record holds."""
    if kind.separate and kind.separate.removesuffix("s") in record.attack:
        yield kind.separate, (record.attack[kind.separate.removesuffix("s")],)
    for part in fields(kind.options):
        if part.name not in record.attack or part.name in {"inputs", "seed"}:
            continue
        value = record.attack[part.name]
        if isinstance(value, Mapping) and "id" in value:  # another model
            yield part.name, value["id"]
        elif _as_json(part.default) != value:
            if part.name == "beside" and (own := [id for id in value if str(id).partition("/")[0] in OWN]):
                raise ValueError(
                    f"the record compares with models of somebody's own, such as {own[0]}, which are in no "
                    "table: audit the model again with beside= as it was."
                )
            yield part.name, _rebuilt(value, part.default)
    if record.result.get("slices"):
        yield "slices", True


def _as_json(value: Any) -> Any:
    """Return a setting as a record holds it."""
    described = value.as_dict() if hasattr(value, "as_dict") else value
    return json.loads(json.dumps(described, default=vars))


def _rebuilt(value: Any, default: Any) -> Any:
    """Return a setting of a record as the type that the attack's default has."""
    if is_dataclass(default) and not isinstance(default, type) and isinstance(value, Mapping):
        known = {part.name: getattr(default, part.name) for part in fields(default)}
        return type(default)(
            **{name: _rebuilt(value[name], own) for name, own in known.items() if name in value}
        )
    if isinstance(value, Mapping) and value.get("kind") and "decimals" in value:
        return OutputFormat(**value)
    return tuple(value) if isinstance(value, list) else value


def _differences(record: Record, again: Record) -> Iterator[str]:
    """Yield what was measured otherwise; what only the newer version says counts as the same."""
    old, new = comparable(record), comparable(again)
    for name in ("target.weights_hash", "target.transform", "data.sha256", "data.split_sha256"):
        part, key = name.split(".")
        stated = getattr(record, part).get(key)
        found = getattr(again, part).get(key)
        if isinstance(stated, Mapping) and isinstance(found, Mapping):
            found = {own: found.get(own) for own in stated}
        if stated is not None and stated != found:
            yield name
    for part in ("samples", "settings"):
        yield from (
            name
            for name, value in old[part].items()
            if new[part].get(name) != value and name != "shadows_sha256"
        )
