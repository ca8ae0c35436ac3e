"""Train the corpus: ``python -m securitynet_hub.zoo.corpus FOLDER --data ASSETS``.

Writes below FOLDER ``<part>/<number>.safetensors`` and ``.json`` of each network, ``images/``, and at the end
``networks.json``, the table. A network that is there is not trained again. Several of these processes may
share one folder. ASSETS is described in `securitynet_hub.zoo.corpus.images`.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from securitynet_hub.zoo.corpus.images import IMAGE_SETS, PARTS, Images, draw_images, images_digest
from securitynet_hub.zoo.corpus.recipes import NetworkRecipe, corpus_recipes, training_order
from securitynet_hub.zoo.corpus.table import (
    Corpus,
    CorpusNetwork,
    list_networks,
    load_network,
    paths_of,
    save_network,
    write_corpus,
)
from securitynet_hub.zoo.corpus.train import measure, train_network


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m securitynet_hub.zoo.corpus",
        description="Train a corpus of backdoored and clean networks: about an hour of one core.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the networks are kept")
    parser.add_argument("--data", type=Path, required=True, metavar="ASSETS", help="folder with the assets")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to train")
    parser.add_argument(
        "--images",
        nargs="+",
        choices=list(IMAGE_SETS),
        default=list(IMAGE_SETS),
        help="image sets to train on",
    )
    parser.add_argument("--most", type=int, metavar="N", help="stop after N networks have been trained")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on their number

    trained = 0
    for part in options.parts:
        for recipe in training_order(part):
            if recipe.images not in options.images or paths_of(options.folder, recipe).row.exists():
                continue
            if options.most is not None and trained >= options.most:
                return
            started = time.monotonic()
            row = train_once(options.folder, recipe, options.data)
            if row is not None:
                trained += 1
                print(_line(row, time.monotonic() - started), flush=True)
    rows = list_networks(options.folder)
    digests = {
        f"{name}-{part}": images_digest(_images(name, part, options.data, options.folder))
        for name, part in sorted({(row.images, row.part) for row in rows})
    }
    write_corpus(Corpus(images=digests, networks=tuple(rows)), options.folder / "networks.json")


def train_once(
    folder: Path, recipe: NetworkRecipe, assets: Path, *, wait: bool = False
) -> CorpusNetwork | None:
    """Train, measure and save a network, and before it the one that it starts from.

    Returns:
        Its row; None if another process is training it, or has trained it meanwhile.
    """
    paths = paths_of(folder, recipe)
    paths.row.parent.mkdir(parents=True, exist_ok=True)
    base = None
    if recipe.base is not None:
        base_recipe = corpus_recipes(recipe.part)[recipe.base]
        if not paths_of(folder, base_recipe).row.exists():
            train_once(folder, base_recipe, assets, wait=True)
        row = CorpusNetwork.model_validate_json(paths_of(folder, base_recipe).row.read_bytes())
        base = load_network(folder, row)
    try:
        with FileLock(paths.row.with_suffix(".lock"), timeout=-1 if wait else 0):
            if paths.row.exists():
                return None
            images = _images(recipe.images, recipe.part, assets, folder)
            network = train_network(recipe, images, base)
            return save_network(folder, recipe, network, measure(recipe, network, images))
    except Timeout:
        return None


@lru_cache(maxsize=len(IMAGE_SETS))
def _images(name: str, part: str, assets: Path, folder: Path) -> Images:
    return draw_images(name, part, assets, folder / "images")


def _line(row: CorpusNetwork, seconds: float) -> str:
    success = "" if row.success is None else f", success {row.success:.3f}"
    return (
        f"{row.id}: {row.architecture}, {row.images}, {row.mode} {row.trigger or ''}: accuracy "
        f"{row.accuracy:.3f}{success} ({seconds:.0f} s)"
    )


if __name__ == "__main__":
    main()
