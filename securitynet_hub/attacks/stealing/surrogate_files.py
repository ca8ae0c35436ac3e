"""A surrogate's folder: its weights as safetensors, and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import ModelCard, ModelCardData

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.text import markdown_code, markdown_text
from securitynet_hub.records.record import Record

WEIGHTS, CARD = "model.safetensors", "README.md"


class Trained(Protocol):
    """What a surrogate is known by here."""

    @property
    def path(self) -> Path:
        """The safetensors file that keeps its weights."""


def save_surrogate(surrogate: Trained, folder: Path, record: Record) -> Path:
    """Write ``model.safetensors`` and ``README.md``, a model card, into a folder; return the first's path.

    ``load_target("file:<path>", module=network, transform=...)`` loads it again, with the network that it was
    trained as. Nothing is sent anywhere.

    Args:
        surrogate: whose weights are copied.
        folder: made where there is none; earlier files of these names are replaced.
        record: the record of the extraction; the card gives its settings and figures.

    Raises:
        WeightsError: the folder cannot be written.
    """
    path = folder / WEIGHTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            shutil.copyfile(surrogate.path, part)
        (folder / CARD).write_text(surrogate_card(record), encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"a surrogate cannot be kept in {folder}: {error.strerror}.") from error
    return path


def surrogate_card(record: Record) -> str:
    """Return the model card of the surrogate of a record, for the Hugging Face Hub: YAML, then Markdown."""
    attack, result = record.attack, record.result
    data = ModelCardData(
        library_name="pytorch",
        pipeline_tag="image-classification",
        tags=["model-stealing", "surrogate", "security-audit"],
    )
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {_rate(result[name], result[f'{name}_ci'])} |"
        for name in ("agreement", "accuracy", "target_accuracy", "agreement_on_target_errors", "kl")
    )
    level = f"{result['confidence_level']:.0%}"
    target_hash = f"{record.target['weights_hash_kind']} {record.target['weights_hash']}"
    text = f"""---
{data.to_yaml()}
---

# Surrogate of {markdown_text(record.target["id"])}

A classifier trained on another model's answers, to measure how well that model can be extracted: for research
and audits. Whoever redistributes it needs the rights that the target's licence gives.

- Target: {markdown_code(record.target["id"])} ({markdown_text(target_hash)})
- Network: {markdown_text(attack["surrogate"])}, {attack["surrogate_parameters"]:,} parameters
- Queries: {attack["budget"]:,} images chosen by {markdown_code(attack["strategy"])}, answers: {
        markdown_code(attack["view"]["kind"])
    }
- Training: {markdown_code(attack["recipe"])}, loss {markdown_code(attack["loss"])}
- Preprocessing: {markdown_code(attack["surrogate_transform"])}
- Weights: `{WEIGHTS}`, sha256 {markdown_text(attack["surrogate_sha256"])}

## Compared with its target

On {result["n"]:,} images of {markdown_text(record.data["name"])} that neither was trained on, with {
        level
    } intervals:

| figure | value |
|---|---|
{rows}

Measured by securitynet-hub {markdown_text(record.code["version"])}, record {record.id}.
"""
    return str(ModelCard(text))


def bare_card(name: str, target: str, sha256: str, parameters: int) -> str:
    """Return the model card of a surrogate of which there is no record.

    Args:
        name: owner/name of its repository.
        target: id of the model that it copies.
        sha256: hash of its weights.
        parameters: how many it has.
    """
    data = ModelCardData(
        library_name="securitynet-hub",
        pipeline_tag="image-classification",
        tags=["security", "model-stealing", "surrogate"],
    )
    return f"""---
{data.to_yaml()}
---

# {name.partition("/")[2]}: a copy of {markdown_text(target)}

A network of {parameters:,} parameters that was trained on answers of {markdown_code(target)}, to measure how
well that model can be stolen. It is evidence, not a model to use: it has the faults of its target and its
own.

`{WEIGHTS}` has the SHA-256 `{sha256}`. What is known of the target:
{markdown_code(f"securitynet show {target}")}.
"""


def _rate(value: Any, interval: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if interval is None else f" ({interval[0]:.3f}-{interval[1]:.3f})")
