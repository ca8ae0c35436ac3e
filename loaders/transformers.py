"""Any image classifier of the Hugging Face Hub in the form of transformers, with its own image processor.

``transformers:<owner>/<name>[@<revision>]``; a revision is pinned to its commit. Only configuration and
tensors are taken from a repository, never code. Images go through the processor's Pillow backend, so that
what a model answers does not depend on whether torchvision is installed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.annotations import Annotation, unlisted
from securitynet_hub.errors import ModelError, WeightsError
from securitynet_hub.hub_files import MAX_CONFIG, HubFile, download_hub_file, hub_snapshot, linked_file

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


class Logits(torch.nn.Module):
    """A model of transformers whose answer is its logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        logits: torch.Tensor = self.model(pixel_values=pixel_values).logits
        return logits


class Processor:
    """An image processor of transformers behind the face of a `Transform`. Grey images are repeated."""

    def __init__(self, processor: Any, shape: tuple[int, int, int]) -> None:
        self._processor = processor
        height, width, channels = shape
        blank = self(np.zeros((1, height, width, channels), np.uint8))
        self.shape = (*blank.shape[2:], channels)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Turn uint8 pixels (n, height, width, channels) into float32 inputs (n, channels, ...)."""
        channels = getattr(self, "shape", pixels.shape)[-1]
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, channels):
            raise ValueError(
                f"this model takes uint8 images of any size and {channels} channels (or one channel); got "
                f"{pixels.dtype} of {pixels.shape[1:]}."
            )
        images = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in pixels]
        done = self._processor(images=images, return_tensors="pt", input_data_format="channels_last")
        inputs: torch.Tensor = done["pixel_values"]
        return inputs.float()

    def as_dict(self) -> dict[str, Any]:
        """Return the processor's configuration for a record."""
        settings: dict[str, Any] = json.loads(self._processor.to_json_string())
        return settings


def annotate(reference: str) -> Annotation:
    """Describe the model that ``<owner>/<name>[@<revision>]`` names, its files pinned by commit and hash.

    Raises:
        WeightsError: no such repository or revision, or there are no weights that can be loaded.
        ModelError: it is no image classifier, or its configuration asks for code of its own to be run.
    """
    repo, _, revision = reference.partition("@")
    snapshot = hub_snapshot(repo, revision or None)
    weights = snapshot.weights()
    config = _config(snapshot.repo, snapshot.commit)
    owner, name = repo.split("/")
    return unlisted(
        "transformers",
        owner,
        f"{name}@{snapshot.commit[:12]}",
        upstream_name=repo,
        architecture=config.model_type,
        num_classes=config.num_labels,
        image_size=config.image_size if isinstance(getattr(config, "image_size", None), int) else None,
        constructor=type(config).__name__.replace("Config", "ForImageClassification"),
        **weights,
    )


def build(annotation: Annotation) -> tuple[torch.nn.Module, Processor]:
    """Return the configured network, and the repository's image processor."""
    transformers: Any = importlib.import_module("transformers")
    repo, commit, _ = linked_file(annotation)
    config = _config(repo, commit)
    try:
        folder = _download(repo, commit, PROCESSOR).parent
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, trust_remote_code=False, backend="pil"
        )
        network = transformers.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise ModelError(f"{annotation.id} cannot be built by transformers: {error}") from error
    side = annotation.image_size or 224
    return Logits(network), Processor(processor, (side, side, getattr(config, "num_channels", 3)))


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Give the tensors the names that this version of transformers uses.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape.
    """
    repo, commit, _ = linked_file(annotation)
    transformers: Any = importlib.import_module("transformers")
    config = _config(repo, commit)
    with torch.device("meta"):
        model = type(transformers.AutoModelForImageClassification.from_config(config))
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # the same is said below, as an error
    try:
        loaded, report = model.from_pretrained(
            None, config=config, state_dict=dict(checkpoint), output_loading_info=True
        )
    except RuntimeError as error:
        raise WeightsError(f"{annotation.id}: the weights are not those of this network: {error}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    left = {name: sorted(map(str, keys)) for name, keys in report.items() if keys}
    if left:
        raise WeightsError(f"{annotation.id}: the weights are not those of this network: {left}.")
    return {f"model.{name}": tensor for name, tensor in loaded.state_dict().items()}


def _config(repo: str, commit: str) -> Any:
    transformers: Any = importlib.import_module("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(
            _download(repo, commit, CONFIG).parent, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the configuration of {repo} cannot be used: {error}") from error
    if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ModelError(f"{repo} is a {config.model_type}, for which transformers has no image classifier.")
    return config


def _download(repo: str, commit: str, name: str) -> Path:
    return download_hub_file(HubFile(repo, commit, name), limit=MAX_CONFIG)
