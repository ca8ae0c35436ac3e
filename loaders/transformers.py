"""Any image classifier of the Hugging Face Hub in the form of transformers, with its own image processor.

``transformers:<owner>/<name>[@<revision>]``, where a revision is pinned to its commit; or
``transformers:<folder>`` for one that ``save_pretrained`` wrote, with the image processor beside it. Only
configuration and tensors are taken from a repository, never code. Images go through the processor's Pillow
backend, so that what a model answers does not depend on whether torchvision is installed.
"""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from securitynet_hub.annotations.schema import Annotation, plain_name, unlisted
from securitynet_hub.core.child import tried_in_child
from securitynet_hub.core.errors import ModelError, WeightsError
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import Change
from securitynet_hub.models.building import MAX_SECONDS, bounded_building, require_moderate_pass
from securitynet_hub.models.hub_models import MAX_CONFIG, linked_file, read_config
from securitynet_hub.models.sources import is_local
from securitynet_hub.weights.hashes import check_file
from securitynet_hub.weights.hub import HubFile, download_hub_file, hub_snapshot
from securitynet_hub.weights.shards import is_index, read_index

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"

MAX_MEMORY = 2 << 30
"""Bytes that a configuration may take to become a network without numbers, and an image processor."""

WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
"""Names of weights files in a folder, the preferred ones first."""


class Logits(torch.nn.Module):
    """A model of transformers whose answer is its logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        logits: torch.Tensor = self.model(pixel_values=pixel_values).logits
        return logits


LATER = ("do_rescale", "do_normalize", "do_flip_channel_order", "include_top")
"""Steps of image processors that follow resize and crop."""


class Processor:
    """An image processor of transformers behind the face of a `Transform`. Grey images are repeated."""

    def __init__(self, processor: Any, shape: tuple[int, int, int]) -> None:
        self._processor = processor
        height, width, channels = shape
        blank = self(np.zeros((1, height, width, channels), np.uint8))
        self.shape = (*blank.shape[2:], channels)

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, height, width, channels) into float32 inputs (n, channels, ...)."""
        return self._processed(pixels).float()

    def divided(self) -> tuple[Change, Processor] | None:
        """Return resize and crop, and a processor that does the rest; None if their sequence differs."""

        def crop(pixels: Pixels) -> Pixels:
            sized = self._processed(pixels, **dict.fromkeys(later, False))
            return np.ascontiguousarray(np.moveaxis(sized.numpy(), 1, -1).astype(np.uint8))

        later = [name for name in LATER if hasattr(self._processor, name)]
        rest = copy.copy(self)
        rest._processor = copy.deepcopy(self._processor)
        rest._processor.do_resize = rest._processor.do_center_crop = False
        probe = np.random.default_rng(0).integers(0, 256, (1, 41, 57, self.shape[-1]), np.uint8)
        return (crop, rest) if torch.equal(rest(crop(probe)), self(probe)) else None

    def _processed(self, pixels: Pixels, **options: bool) -> torch.Tensor:
        channels = getattr(self, "shape", pixels.shape)[-1]
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, channels):
            raise ValueError(
                f"this model takes uint8 images of any size and {channels} channels (or one channel); got "
                f"{pixels.dtype} of {pixels.shape[1:]}."
            )
        images = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in pixels]
        done = self._processor(
            images=images, return_tensors="pt", input_data_format="channels_last", **options
        )
        inputs: torch.Tensor = done["pixel_values"]
        return inputs

    def as_dict(self) -> dict[str, Any]:
        """Return the processor's configuration for a record."""
        settings: dict[str, Any] = json.loads(self._processor.to_json_string())
        return {"backend": "pil", **settings}


def annotate(reference: str) -> Annotation:
    """Describe the model that ``<owner>/<name>[@<revision>]`` or a folder names, its files pinned by hash.

    The Hub is not asked for what is a path (`is_local`); with a revision it is.

    Raises:
        WeightsError: no such folder, repository or revision, or it lacks something that can be loaded.
        ModelError: it is no image classifier, or its configuration asks for code of its own to be run.
    """
    folder = Path(reference).expanduser()
    if is_local(reference):
        return _annotate_folder(folder.resolve(), reference)
    repo, _, revision = reference.partition("@")
    snapshot = hub_snapshot(repo, revision or None)
    weights = snapshot.weights()
    config = _config(_download(snapshot.repo, snapshot.commit, CONFIG), repo, tried_first=True)
    owner, name = repo.split("/")
    return _annotation(config, owner, f"{name}@{snapshot.commit[:12]}", upstream_name=repo, **weights)


def _annotation(config: Any, owner: str, name: str, **known: Any) -> Annotation:
    return unlisted(
        "transformers",
        owner,
        name,
        architecture=config.model_type,
        num_classes=config.num_labels,
        image_size=config.image_size if isinstance(getattr(config, "image_size", None), int) else None,
        constructor=type(config).__name__.replace("Config", "ForImageClassification"),
        **known,
    )


def _annotate_folder(folder: Path, reference: str) -> Annotation:
    """Describe what ``save_pretrained`` wrote into a folder.

    Raises:
        WeightsError: the folder lacks the configuration, the image processor or the weights.
    """
    wanted = "it must be a folder that save_pretrained wrote, of the model and of its image processor"
    if reference.count("/") == 1 and not reference.endswith("/") and reference[0] not in "./~":
        wanted += f"; the repository of that name on the Hub is {reference}@main"
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "is not there"
        raise WeightsError(f"{reference} {what}: {wanted}.")
    for needed in (CONFIG, PROCESSOR):
        if not (folder / needed).is_file():
            raise WeightsError(f"{reference} has no {needed}: {wanted}.")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise WeightsError(f"{reference} has none of the weights files {', '.join(WEIGHTS)}: {wanted}.")
    shards = [weights.with_name(name) for name in read_index(weights)] if is_index(weights.name) else []
    digests = [check_file(path, (), str(path)) for path in (weights, *shards)]
    return _annotation(
        _config(folder / CONFIG, reference, tried_first=True),
        digests[0][:12],
        plain_name(folder.name),
        weights_url=f"file:{weights}",
        weights_hash_kind="+".join(["sha256", *["sha256-of-shard"] * len(shards)]),
        weights_hash="+".join(digests),
    )


def build(annotation: Annotation) -> tuple[torch.nn.Module, Processor]:
    """Return the configured network, and the repository's image processor."""
    place, settings = _beside(annotation, CONFIG), _beside(annotation, PROCESSOR)
    side = annotation.image_size or 224

    def processor(config: Any) -> Processor:
        made = _processors().from_pretrained(settings.parent, trust_remote_code=False, backend="pil")
        return Processor(made, (side, side, getattr(config, "num_channels", 3)))

    def tried() -> None:
        """Find it of a moderate size before it takes any memory."""
        config = _config(place, annotation.id)
        height, width, channels = processor(config).shape
        require_moderate_pass(Logits(_network(config, device="meta").eval()), (1, channels, height, width))

    try:
        read_config(settings)
        _in_child(tried)
        config = _config(place, annotation.id)
        return Logits(_network(config)), processor(config)
    except Exception as error:  # whatever a stranger's configuration leads to
        raise ModelError(f"{annotation.id} cannot be built by transformers: {error}") from error


def class_names(annotation: Annotation) -> tuple[str, ...] | None:
    """Return the names in the configuration's ``id2label``; None if it only numbers the classes."""
    config = _config(_beside(annotation, CONFIG), annotation.id)
    names = tuple(str(name) for _, name in sorted(config.id2label.items()))
    return None if all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Give the tensors the names that this version of transformers uses.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape.
    """
    transformers: Any = importlib.import_module("transformers")
    config = _config(_beside(annotation, CONFIG), annotation.id)
    model: Any = type(_network(config, device="meta"))
    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # the same is said below, as an error
    transformers.logging.disable_progress_bar()
    try:
        loaded, report = model.from_pretrained(
            None, config=config, state_dict=dict(checkpoint), output_loading_info=True
        )
    except Exception as error:  # whatever a stranger's configuration leads to
        raise WeightsError(f"{annotation.id}: the weights are not those of this network: {error}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
    left = {name: sorted(map(str, keys)) for name, keys in report.items() if keys}
    if left:
        raise WeightsError(f"{annotation.id}: the weights are not those of this network: {left}.")
    return {f"model.{name}": tensor for name, tensor in loaded.state_dict().items()}


def is_own(model: Any) -> bool:
    """Return whether a model in memory is one of transformers, or a pipeline."""
    bases = [base for base in type(model).__mro__ if base.__module__.startswith("transformers.")]
    return any(base.__name__ in ("PreTrainedModel", "Pipeline") for base in bases)


def is_processor(transform: Any) -> bool:
    """Return whether an object is an image processor of transformers."""
    return callable(transform) and hasattr(transform, "to_json_string") and hasattr(transform, "preprocess")


def as_processor(processor: Any, config: Any) -> Processor:
    """Return an image processor as a `Preprocessing`, for the size that a model's configuration states."""
    side = getattr(config, "image_size", None)
    sides = tuple(side) if isinstance(side, (list, tuple)) else (side or 224,) * 2
    return Processor(processor, (*sides[:2], getattr(config, "num_channels", None) or 3))


def model_and_processor(model: Any, transform: Any) -> tuple[torch.nn.Module, Any]:
    """Return the network of a model or pipeline in memory, and its preprocessing.

    A pipeline has its image processor. Of a model that was read from a folder or from the Hub's cache the
    image processor is read from there.

    Raises:
        ValueError: no image processor is found.
    """
    network = getattr(model, "model", model) if hasattr(model, "image_processor") else model
    if transform is None:
        transform = getattr(model, "image_processor", None) or _processor_beside(network)
    if transform is None:
        raise ValueError(
            f"the image processor of {type(network).__name__} is not found: pass "
            "transform=AutoImageProcessor.from_pretrained(...)."
        )
    return network, as_processor(transform, network.config) if is_processor(transform) else transform


def _processor_beside(network: Any) -> Any:
    """Return the image processor that lies where a model came from, None where there is none."""
    place = getattr(network, "name_or_path", "")
    if not place:
        return None
    try:
        return _processors().from_pretrained(
            place, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception:  # no such file, or one that transformers does not understand
        return None


def _processors() -> Any:
    """Return AutoImageProcessor from where it is defined; the package's name may ask for torchvision."""
    module: Any = importlib.import_module("transformers.models.auto.image_processing_auto")
    return module.AutoImageProcessor


def _network(config: Any, device: str = "cpu") -> torch.nn.Module:
    """Build the configured network, in float32 whatever precision the configuration asks for.

    Raises:
        ModelError: it has more modules or parameters than are built.
    """
    transformers: Any = importlib.import_module("transformers")
    with torch.device(device), bounded_building():
        network: torch.nn.Module = transformers.AutoModelForImageClassification.from_config(
            config, trust_remote_code=False
        )
    return network


def _beside(annotation: Annotation, name: str) -> Path:
    """Return a file that lies beside the weights, in a folder or on the Hub."""
    url = annotation.weights_url or ""
    if url.startswith("file:"):
        return Path(url.removeprefix("file:")).with_name(name)
    repo, commit, _ = linked_file(annotation)
    return _download(repo, commit, name)


def _in_child(action: Callable[[], object]) -> None:
    """Try in a child process what a stranger's configuration leads to, before it is done here.

    Raises:
        ModelError: it fails, or needs more time or memory than it may.
    """
    reason = tried_in_child(action, seconds=MAX_SECONDS, memory=MAX_MEMORY)
    if reason is not None:
        raise ModelError(reason)


def _config(place: Path, repo: str, *, tried_first: bool = False) -> Any:
    transformers: Any = importlib.import_module("transformers")
    try:
        if tried_first:
            _in_child(lambda: _config(place, repo))
        if read_config(place).get("model_type") == "timm_wrapper":
            raise ValueError(f"it is one of timm's: load 'timm:{repo}'")
        config = transformers.AutoConfig.from_pretrained(place.parent, trust_remote_code=False)
        config.dtype = torch.float32  # half precision would round logits into ties
        config._attn_implementation = "eager"  # a configuration may name a repository of kernels
    except Exception as error:  # whatever a stranger's configuration leads to
        raise ModelError(f"the configuration of {repo} cannot be used: {error}") from error
    if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ModelError(f"{repo} is a {config.model_type}, for which transformers has no image classifier.")
    return config


def _download(repo: str, commit: str, name: str) -> Path:
    return download_hub_file(HubFile(repo, commit, name), limit=MAX_CONFIG)
