"""Networks of which it is known what each was trained on: to measure membership inference with many of them.

Run with ``python benchmarks/corpora.py FOLDER DATA [DESIGN ...]``, a quarter of an hour of one core. DATA has
the four files of Fashion-MNIST (see `securitynet_hub.zoo.train`) and, for the emoji pictures, the folders
``google`` and ``twitter``: the npm packages ``emoji-datasource-google`` and ``emoji-datasource-twitter``,
unpacked. FOLDER keeps the networks, so that it goes on after an interruption, and gets of each design::

    DESIGN/images.npz         pixels (n, height, width, channels), labels (n,): the pool, then the population
    DESIGN/scores.npz         scores (models, samples, classes): logits for the pool, float32
                              membership (models, samples): True where the model was trained on the image
                              labels (samples,), and population_scores and population_labels likewise
    DESIGN/weights/NN/*.safetensors      the network of row NN; `network` loads it

Every network is trained on a random half of the pool, network 2k + 1 on what 2k left out. None of them saw
the population.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from findings_membership import KINDS, POOL, pool_and_population
from PIL import Image

from securitynet_hub.attacks.membership.shadows import balanced_masks, train_shadows
from securitynet_hub.core.files import atomic_path
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.trained import find_trained
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM

MODELS = 64


class ColourCnn(torch.nn.Sequential):
    """Two strided 4 x 4 convolutions and a linear head for 32 x 32 colour images, as the zoo's `Cnn`."""

    def __init__(self, num_classes):
        super().__init__(
            torch.nn.Conv2d(3, 16, 4, stride=2), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 4, stride=2), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(32 * 6 * 6, num_classes),
        )  # fmt: skip


COLOUR_TRANSFORM = Transform(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def emoji_pictures(data, hand):
    """Return a hand's picture of every sign, one skin tone each, with its category: 32 x 32, on white."""
    signs = json.loads((data / hand / "emoji.json").read_text(encoding="utf-8"))
    signs = [sign for sign in signs if sign["category"] != "Component" and sign[f"has_img_{hand}"]]
    names = sorted({sign["category"] for sign in signs})
    pixels = []
    for sign in signs:
        picture = Image.open(data / hand / "img" / hand / "64" / sign["image"]).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
        pixels.append(np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS)))
    labels = np.array([names.index(sign["category"]) for sign in signs])
    return LabelledImages(
        name=f"emoji-{hand}", pixels=np.stack(pixels), labels=labels, class_names=tuple(names)
    )


def emoji(data):
    """Put one hand's picture of each sign, by a coin, into the pool, and the other's into the population.

    So both are of one distribution, and neither holds two skin tones, or two pictures, of a sign.
    """
    google, twitter = (emoji_pictures(data, hand) for hand in ("google", "twitter"))
    assert (google.labels == twitter.labels).all()
    coin = np.random.default_rng(0).random(len(google)) < 0.5
    choose = coin[:, None, None, None]
    return LabelledImages(
        name="emoji",
        pixels=np.concatenate(
            [np.where(choose, google.pixels, twitter.pixels), np.where(choose, twitter.pixels, google.pixels)]
        ),
        labels=np.concatenate([google.labels, google.labels]),
        class_names=google.class_names,
    )


@dataclass(frozen=True)
class Design:
    """What the networks of a corpus are trained on, and how."""

    images: Callable[[Path], LabelledImages]
    network: Callable[[int], torch.nn.Module]
    transform: Transform
    recipe: Recipe


DESIGNS = {
    "fashion-overfitted": Design(pool_and_population, NETWORKS["cnn"], TRANSFORM, KINDS["overfitted"][1]),
    "fashion-regularised": Design(pool_and_population, NETWORKS["cnn"], TRANSFORM, KINDS["regularised"][1]),
    "emoji": Design(emoji, ColourCnn, COLOUR_TRANSFORM, Recipe(epochs=20, batch_size=50, learning_rate=3e-3)),
}


def build(folder, data, name):
    """Train a design's networks, or find them, and keep what they answer."""
    design, folder = DESIGNS[name], folder / name
    folder.mkdir(parents=True, exist_ok=True)
    images = design.images(data)
    size = POOL if name.startswith("fashion") else len(images) // 2
    np.savez(folder / "images.npz", pixels=images.pixels, labels=images.labels)
    masks = np.zeros((MODELS, len(images)), np.bool_)
    masks[:, :size] = balanced_masks(MODELS, size, seed=0)
    logits = []
    for number in range(MODELS):
        shadows = train_shadows(
            partial(design.network, len(images.class_names)),
            images,
            np.arange(len(images)),
            masks[[number]],
            Recipe(**{**design.recipe.as_dict(), "seed": number}),
            design.transform,
            folder=folder / "weights" / f"{number:02}",
        )
        logits.append(shadows.logits[0, :, 0])
        right = logits[-1].argmax(-1) == images.labels
        inside, outside = right[masks[number]].mean(), right[~masks[number]].mean()
        print(
            f"{name}: {number + 1} of {MODELS}, accuracy {inside:.3f} inside, {outside:.3f} outside",
            flush=True,
        )
        if number + 1 in (8, 16, 32, MODELS):  # so that a part can be used before all are trained
            scores = np.stack(logits)
            with atomic_path(folder / "scores.npz") as part, part.open("wb") as file:
                np.savez(
                    file,
                    scores=scores[:, :size],
                    membership=masks[: number + 1, :size],
                    labels=images.labels[:size],
                    population_scores=scores[:, size:],
                    population_labels=images.labels[size:],
                )


def network(folder, name, number):
    """Return a design's network and its preprocessing: ``module(transform(pixels))`` are logits.

    The last layer is ``module[-1]``; ``module[:-1](transform(pixels))`` are the features before it.
    """
    (path,) = (folder / name / "weights" / f"{number:02}").glob("*.safetensors")
    classes = np.load(folder / name / "scores.npz")["scores"].shape[-1]
    return find_trained(partial(DESIGNS[name].network, classes), path), DESIGNS[name].transform


if __name__ == "__main__":
    torch.set_num_threads(1)
    for design in sys.argv[3:] or DESIGNS:
        build(Path(sys.argv[1]), Path(sys.argv[2]), design)
