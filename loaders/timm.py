"""Any image classifier of the Hugging Face Hub in the form of timm (R. Wightman), with its own preprocessing.

``timm:<name>[@<revision>]`` for the repositories of timm itself, ``timm:<owner>/<name>[@<revision>]`` for any
other; a revision is pinned to its commit. timm builds the network that the repository's configuration
describes; it neither downloads nor unpickles anything.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation, unlisted
from securitynet_hub.core.errors import ModelError, UnknownNameError, WeightsError
from securitynet_hub.core.optional import import_network
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.building import bounded_building
from securitynet_hub.models.hub_models import MAX_CONFIG, linked_file, read_config
from securitynet_hub.models.sources import is_local
from securitynet_hub.models.state import state_dict as plain_state_dict
from securitynet_hub.weights.hub import HubFile, download_hub_file, hub_snapshot

LEFT_OUT = ("Missing keys", "Unexpected keys", "Unable to convert")
"""How timm's log tells that weights and network do not agree, for networks with which it does not insist."""

NOWHERE = {"source": "", "file": None, "url": None, "hf_hub_id": None}
"""Overrides every place that a configuration may name for timm to fetch weights from."""


def annotate(reference: str, *, test_size: bool = False) -> Annotation:
    """Describe the model that ``[<owner>/]<name>[@<revision>]`` names, its files pinned by commit and hash.

    Args:
        reference: the model's name.
        test_size: whether to take the larger size of images and crop that some models are validated with, as
            timm's ``validate.py`` does, rather than those of the model's card.

    Raises:
        MissingPackageError: timm or torchvision cannot be imported.
        UnknownNameError: timm has no such architecture.
        WeightsError: no such repository or revision, or there are no weights that can be loaded.
        ModelError: its configuration is not timm's, or it classifies nothing.
        ValueError: it is a path; the Hub is not asked for it.
    """
    if is_local(reference):
        raise ValueError(
            f"timm:{reference} is a path, and timm: takes the name of a repository of the Hub, such as "
            "timm:resnet18.a1_in1k. Weights in a file are file:WEIGHTS with module= (--module), a folder "
            "that save_pretrained of transformers wrote is transformers:FOLDER"
            + ("." if "/" not in reference else ", and OWNER/NAME@main is a repository whatever lies here.")
        )
    repo, _, revision = reference.partition("@")
    if "/" not in repo:
        _require_architecture(repo.partition(".")[0])
        repo = f"timm/{repo}"
    snapshot = hub_snapshot(repo, revision or None)
    weights = snapshot.weights()
    architecture, classes, size = _described(_config(repo, snapshot.commit), repo)
    _require_architecture(architecture)
    owner, name = repo.split("/")
    return unlisted(
        "timm",
        owner,
        f"{name}@{snapshot.commit[:12]}",
        upstream_name=repo,
        architecture=architecture,
        num_classes=classes,
        image_size=size,
        constructor=f"timm.{architecture}",
        **weights,
    )


def build(annotation: Annotation, *, test_size: bool = False) -> tuple[torch.nn.Module, Transform]:
    """Return the configured network, and timm's preprocessing for evaluation.

    Raises:
        MissingPackageError: timm or torchvision cannot be imported.
        ModelError: timm cannot build it, or its preprocessing cannot be done here.
    """
    timm = import_network("timm", annotation.architecture)
    try:
        with _quiet(), bounded_building():
            network: torch.nn.Module = timm.create_model(_local(annotation))
            settings = timm.data.resolve_data_config({}, model=network, use_test_size=test_size)
    except Exception as error:  # whatever a stranger's configuration leads to
        raise ModelError(f"{annotation.id} cannot be built by timm: {error}") from error
    return network, preprocessing(settings, annotation.id)


def preprocessing(settings: Mapping[str, Any], name: str) -> Transform:
    """Return the preprocessing that timm's ``create_transform`` makes of resolved settings.

    Args:
        settings: what ``resolve_data_config`` returns.
        name: the model's, for the error.

    Raises:
        ModelError: it cannot be done here.
    """
    try:
        channels, height, width = settings["input_size"]
        rows, columns = (math.floor(side / settings["crop_pct"]) for side in (height, width))
        mean = tuple(settings["mean"])
        modes: dict[str, dict[str, Any]] = {
            "center": {"resize": rows} if rows == columns else {"resize": (rows, columns), "fit": "cover"},
            "squash": {"resize": (rows, columns)},
            "border": {
                "resize": (rows, columns),
                "fit": "contain",
                "fill": tuple(round(255 * value) for value in mean),
            },
        }
        return Transform(
            height=height,
            width=width,
            channels=channels,
            # timm takes every other mode for the first.
            **modes.get(settings["crop_mode"], modes["center"]),
            interpolation=settings["interpolation"],
            mean=mean,
            std=tuple(settings["std"]),
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"the preprocessing of {name} cannot be done here: {error}") from error


def class_names(annotation: Annotation) -> tuple[str, ...] | None:
    """Return the ``label_names`` of the configuration, often WordNet ids; None if it has none."""
    repo, commit, _ = linked_file(annotation)
    known = read_config(_config(repo, commit))
    names = known.get("label_names") or known.get("pretrained_cfg", {}).get("label_names")
    return tuple(map(str, names)) if isinstance(names, list) else None


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Give the tensors the names and shapes that this version of timm uses, as it does itself.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape.
    """
    timm = import_network("timm", annotation.architecture)
    tensors = plain_state_dict(checkpoint, annotation)
    wrong = f"{annotation.id}: the weights are not those of this network"
    try:
        with _quiet() as log, bounded_building():
            network = timm.create_model(
                _local(annotation), pretrained=True, pretrained_cfg_overlay=NOWHERE | {"state_dict": tensors}
            )
    except Exception as error:
        raise WeightsError(f"{wrong}: {error}") from error
    told = [message for message in log if message.startswith(LEFT_OUT)]
    if told:
        raise WeightsError(f"{wrong}: {' '.join(told)}")
    translated: dict[str, torch.Tensor] = network.state_dict()
    return translated


def is_own(network: Any) -> bool:
    """Return whether a network in memory is one of timm, which knows its preprocessing."""
    return type(network).__module__.startswith("timm.") and hasattr(network, "pretrained_cfg")


def transform_of(network: Any) -> Transform:
    """Return the preprocessing that a network of timm states in its ``pretrained_cfg``."""
    timm = import_network("timm", type(network).__name__)
    return preprocessing(timm.data.resolve_data_config({}, model=network), type(network).__name__)


def _described(config: Path, repo: str) -> tuple[str, int, int | None]:
    """Read architecture, number of classes and side of a square image off a configuration."""
    try:
        known = read_config(config)
        settings, arguments = known.get("pretrained_cfg", known), known.get("model_args", {})
        places = (arguments, known, settings, {"num_classes": 1000})
        classes = next(place["num_classes"] for place in places if place.get("num_classes") is not None)
        *_, height, width = settings.get("input_size") or (224, 224)
        architecture = known["architecture"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the configuration of {repo} is not one of timm's: {error!r}") from error
    if not isinstance(classes, int) or classes < 1:
        raise ModelError(f"{repo} classifies nothing: its configuration states {classes} classes.")
    return str(architecture), classes, height if height == width else None


def _require_architecture(name: str) -> None:
    timm = import_network("timm", name)
    if not timm.is_model(name):
        raise UnknownNameError("architecture in timm", name, timm.list_models())


def _local(annotation: Annotation) -> str:
    """Return what timm calls a configuration on disk."""
    repo, commit, _ = linked_file(annotation)
    return f"local-dir:{_config(repo, commit).parent}"


def _config(repo: str, commit: str) -> Path:
    return download_hub_file(HubFile(repo, commit, "config.json"), limit=MAX_CONFIG)


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep timm off the console, and collect what it logs."""
    logger, handler = logging.getLogger("timm"), _Messages()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield handler.messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
