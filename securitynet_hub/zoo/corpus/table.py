"""The corpus's table, which ships, and the networks in a folder that ``python -m`` has filled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target
from securitynet_hub.zoo.corpus.images import IMAGE_SETS, Images, draw_images
from securitynet_hub.zoo.corpus.networks import build_network
from securitynet_hub.zoo.corpus.recipes import NetworkRecipe, corpus_recipes
from securitynet_hub.zoo.corpus.train import Measured, with_shortcut

TABLE = Path(__file__).parents[2] / "resources" / "backdoor_corpus" / "networks.json"
"""The table that ships with the package; its weights do not."""

TOOK = 0.5
"""Least attack success of a backdoor that counts as planted; a network below it stays in the table."""


class CorpusNetwork(BaseModel):
    """One trained network: its recipe, what was measured on its part's test images, and its hash.

    Attributes:
        id: ``corpus/<part>/<number>``.
        part: ``design``, ``calibration`` or ``test``.
        number: its place in the part.
        architecture: its constructor, one of `networks.ARCHITECTURES`.
        images: its image set, one of `images.IMAGE_SETS`.
        mode: how it was trained: `recipes.Mode`.
        trigger: the kind of its trigger; None for clean networks.
        target: the class that the trigger leads to; None for clean networks and all-to-all.
        rate: share of its training images that were stamped to learn the trigger.
        cover_rate: share of its training images that were stamped and kept their label.
        shortcut: the class that has a watermark of its own, if any.
        base: number of the clean network that it was fine-tuned from or imitates.
        seed: decides weights, images, trigger and target.
        num_images: number of its training images.
        recipe: settings of `engine.training.Recipe`.
        accuracy: on the clean test images.
        success: attack success rate; None for clean networks.
        without_trigger: the same share before the images are stamped.
        shortcut_rate: share of the other classes' test images that the watermark leads to its class.
        sha256: of the file with its weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    part: str
    number: int
    architecture: str
    images: str
    mode: str
    trigger: str | None
    target: int | None
    rate: float
    cover_rate: float
    shortcut: int | None
    base: int | None
    seed: int
    num_images: int
    recipe: dict[str, Any]
    accuracy: float = Field(ge=0, le=1)
    success: float | None = Field(ge=0, le=1)
    without_trigger: float | None = Field(ge=0, le=1)
    shortcut_rate: float | None = Field(ge=0, le=1)
    sha256: str

    @property
    def is_backdoored(self) -> bool:
        """Whether a backdoor was planted, whether or not it took."""
        return self.trigger is not None

    @property
    def took(self) -> bool:
        """Whether the planted backdoor works: its success is at least `TOOK`."""
        return self.success is not None and self.success >= TOOK


class Corpus(BaseModel):
    """The table: every network, and the sha256 of each part's images by ``<set>-<part>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: dict[str, str]
    networks: tuple[CorpusNetwork, ...]


class Paths(NamedTuple):
    """Where a network lies in a corpus folder."""

    weights: Path
    row: Path


def load_corpus(path: Path = TABLE) -> Corpus:
    """Load the table that ships with the package, or another one."""
    return Corpus.model_validate_json(path.read_bytes())


def write_corpus(corpus: Corpus, path: Path) -> None:
    """Write a table with one network a line."""
    lines = ",\n".join("    " + json.dumps(row.model_dump()) for row in corpus.networks)
    images = json.dumps(corpus.images, indent=2).replace("\n", "\n  ")
    with atomic_path(path) as part:
        part.write_text(f'{{\n  "images": {images},\n  "networks": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


def recipe_of(row: CorpusNetwork) -> NetworkRecipe:
    """Return the recipe that a network was trained by."""
    return corpus_recipes(row.part)[row.number]


def paths_of(folder: Path, recipe: NetworkRecipe | CorpusNetwork) -> Paths:
    """Return the files of a network below a corpus folder, whether or not they are there."""
    stem = folder / recipe.part / f"{recipe.number:03}"
    return Paths(stem.with_suffix(".safetensors"), stem.with_suffix(".json"))


def save_network(
    folder: Path, recipe: NetworkRecipe, network: torch.nn.Module, measured: Measured
) -> CorpusNetwork:
    """Write weights and row of a network; the row last, so that a network with a row is complete."""
    paths = paths_of(folder, recipe)
    paths.row.parent.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    )
    row = CorpusNetwork(
        id=recipe.id,
        part=recipe.part,
        number=recipe.number,
        architecture=recipe.architecture,
        images=recipe.images,
        mode=recipe.mode,
        trigger=recipe.trigger,
        target=recipe.target,
        rate=recipe.rate,
        cover_rate=recipe.cover_rate,
        shortcut=recipe.shortcut,
        base=recipe.base,
        seed=recipe.seed,
        num_images=recipe.num_images,
        recipe=recipe.training.as_dict(),
        accuracy=measured.accuracy,
        success=measured.success,
        without_trigger=measured.without_trigger,
        shortcut_rate=measured.shortcut,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with atomic_path(paths.weights, fsync=False) as part:
        part.write_bytes(content)
    with atomic_path(paths.row, fsync=False) as part:
        part.write_text(row.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return row


def list_networks(folder: Path, *parts: str) -> list[CorpusNetwork]:
    """Return the rows of the networks that a folder holds so far, of these parts or of all."""
    rows = [
        CorpusNetwork.model_validate_json(path.read_bytes())
        for path in sorted(folder.glob("*/[0-9][0-9][0-9].json"))
        if not parts or path.parent.name in parts
    ]
    return sorted(rows, key=lambda row: row.seed)


def load_network(folder: Path, row: CorpusNetwork) -> torch.nn.Sequential:
    """Load a network from a corpus folder, in eval mode.

    Raises:
        WeightsError: the file is missing, or is not the one that the row describes.
    """
    path = paths_of(folder, row).weights
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Train it: python -m securitynet_hub.zoo.corpus {folder} "
            f"--parts {row.part}."
        ) from error
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise WeightsError(f"{path} is not the network that its row describes: the sha256 differs.")
    images = IMAGE_SETS[row.images]
    network = build_network(row.architecture, images.transform, images.num_classes)
    network.load_state_dict(safetensors.torch.load(content))
    return network.eval()


def load_corpus_target(folder: Path, row: CorpusNetwork) -> Target:
    """Load a network as a target: a model in memory that is named by its number alone.

    Raises:
        WeightsError: as `load_network`.
    """
    images = IMAGE_SETS[row.images]
    return load_target(
        load_network(folder, row),
        name=f"{row.part}-{row.number:03}",
        transform=images.transform,
        num_classes=images.num_classes,
        build=lambda: build_network(row.architecture, images.transform, images.num_classes),
    )


def network_images(folder: Path, row: CorpusNetwork, assets: Path = Path()) -> Images:
    """Return the images of a network's part and set, with the watermark of its natural shortcut, if any.

    ``audit`` holds 3,000 images that the network was not trained on, for the auditor, who is not given their
    labels; ``test`` holds 2,000 more. `assets` is read only if the folder lacks the images.
    """
    images = draw_images(row.images, row.part, assets, folder / "images")
    recipe = recipe_of(row)
    return Images(
        train=with_shortcut(recipe, images.train, 0),
        audit=with_shortcut(recipe, images.audit, 1),
        test=with_shortcut(recipe, images.test, 2),
    )
