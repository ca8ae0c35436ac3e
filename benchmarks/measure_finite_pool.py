"""How much larger LiRA's leak looks where shadow models share one pool with the target.

Run with ``python benchmarks/measure_finite_pool.py FOLDER DATA``, twenty minutes of one core. DATA has the
four files of Fashion-MNIST; FOLDER keeps the networks, so that it goes on after an interruption.

Sixty images are judged. Each network is trained on a random half of them and on 170 other images, drawn from
340, so that each training set is a half of a pool of 400, as in Carlini et al. 2022, or from 59,940. One more
series trains on one set alone, to see what seeds do without data.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from securitynet_hub.attacks.membership.shadows import balanced_masks, fresh_samples, train_shadows
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.zoo.train import _read_idx

COMMAND = "python benchmarks/measure_finite_pool.py FOLDER DATA"
MODELS, JUDGED, MEMBERS = 64, 60, 200
OTHERS = MEMBERS - JUDGED // 2
POOLS = (400, 60_000)
RECIPE = Recipe(epochs=40, batch_size=100, learning_rate=3e-3)


def train_series(images, folder):
    """Return the shadow models of each pool's size, and those of one training set (pool 500)."""
    order = np.random.default_rng(0).permutation(len(images))
    judged, masks = order[:JUDGED], balanced_masks(MODELS, JUDGED, seed=0)
    found = {}
    for size in POOLS:
        drawn = fresh_samples(order[JUDGED:size], MODELS, OTHERS, seed=1)
        found[size] = _train(images, judged, masks, drawn, folder / str(size))
    repeated = MODELS // 2
    same = np.repeat(masks[:1], repeated, 0), np.repeat(drawn[:1], repeated, 0)
    found[MEMBERS] = _train(images, judged, *same, folder / str(MEMBERS))
    return judged, found


def _train(images, judged, masks, drawn, folder):
    def tell(number):
        print(f"  {folder.name}: {number + 1} of {len(masks)}", file=sys.stderr, flush=True)

    return train_shadows(
        lambda: NETWORKS["cnn"](len(images.class_names)),
        images,
        judged,
        masks,
        RECIPE,
        TRANSFORM,
        folder=folder,
        fresh=drawn,
        on_model=tell,
    )


if __name__ == "__main__":
    folder, data = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    pixels, labels = _read_idx(data, "train")
    images = LabelledImages(
        name="fashion-mnist-60k", pixels=pixels, labels=labels, class_names=FASHION_MNIST_CLASSES
    )
    judged, found = train_series(images, folder)
