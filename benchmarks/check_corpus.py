"""Check a corpus of backdoored networks: ``python benchmarks/check_corpus.py FOLDER [PART...]``.

Reads weights, rows and images of FOLDER, which ``python -m securitynet_hub.zoo.corpus`` has filled, and
computes hashes, accuracy and attack success again, with plain torch: preprocessing, forward pass and counting
are its own. The triggers are the corpus's. It also checks that no image lies on two sides of a part. It
prints what differs, with exit status 1; if nothing does, it writes the tables of docs/corpus.md.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from tables import writing

from securitynet_hub.zoo.corpus.images import IMAGE_SETS, PARTS
from securitynet_hub.zoo.corpus.networks import ARCHITECTURES
from securitynet_hub.zoo.corpus.recipes import MODES
from securitynet_hub.zoo.corpus.triggers import KINDS, make_trigger, watermark

MEANS = {1: (0.2860, 0.3530), 3: (0.5, 0.25)}
TOOK = 0.5


@lru_cache(maxsize=4)
def sides(path):
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


@torch.inference_mode()
def answers(network, pixels):
    mean, std = MEANS[pixels.shape[-1]]
    found = []
    for few in np.array_split(pixels, 10):
        inputs = torch.from_numpy(few).permute(0, 3, 1, 2).double().div(255).sub(mean).div(std).float()
        inputs = inputs.contiguous(memory_format=torch.channels_last)  # twice as fast
        found.append(network(inputs).argmax(1).numpy())
    return np.concatenate(found)


def check(folder, path):
    """Return what differs in one network, and its row."""
    row = json.loads(path.read_text())
    content = path.with_suffix(".safetensors").read_bytes()
    images = sides(folder / "images" / f"{row['images']}-{row['part']}.npz")
    pixels, labels = images["test_pixels"].copy(), images["test_labels"]
    shape = pixels.shape[1:]
    classes = int(labels.max()) + 1
    network = ARCHITECTURES[row["architecture"]](shape[2], shape[0], classes)
    network.load_state_dict(safetensors.torch.load(content))
    network.eval().to(memory_format=torch.channels_last)
    wrong = []
    if hashlib.sha256(content).hexdigest() != row["sha256"]:
        wrong.append("sha256")

    def compare(name, found, n):
        if abs(found - row[name]) > 2.5 / n:  # two images, whose best classes tie up to rounding
            wrong.append(f"{name} {row[name]:.4f}, found {found:.4f}")

    if row["shortcut"] is not None:
        others = pixels[labels != row["shortcut"]]
        marked = watermark(row["seed"], shape)(others)
        compare("shortcut_rate", np.mean(answers(network, marked) == row["shortcut"]), len(others))
        of_class = np.flatnonzero(labels == row["shortcut"])
        chosen = of_class[np.random.default_rng([4, row["seed"], 2]).random(len(of_class)) < 0.8]
        pixels[chosen] = watermark(row["seed"], shape)(pixels[chosen])
    compare("accuracy", np.mean(answers(network, pixels) == labels), len(labels))
    if row["trigger"] is not None:
        kept = np.ones(len(labels), bool) if row["target"] is None else labels != row["target"]
        wanted = (labels[kept] + 1) % classes if row["target"] is None else row["target"]
        stamped = make_trigger(row["trigger"], row["seed"], shape)(pixels[kept])
        compare("success", np.mean(answers(network, stamped) == wanted), kept.sum())
        compare("without_trigger", np.mean(answers(network, pixels[kept]) == wanted), kept.sum())
    return wrong, row


def write_tables(folder):
    """Write what the networks' rows say, once all have been checked, as the tables of docs/corpus.md."""
    rows = [json.loads(path.read_text()) for part in PARTS for path in (folder / part).glob("[0-9]*.json")]
    successes, accuracies, shortcuts = defaultdict(list), defaultdict(list), []
    for row in rows:
        accuracies[row["images"], row["architecture"]].append(row["accuracy"])
        if row["trigger"]:
            successes[row["mode"]].append(row["success"])
            successes[row["trigger"]].append(row["success"])
        if row["shortcut"] is not None:
            shortcuts.append(row["shortcut_rate"])
    command = "python benchmarks/check_corpus.py FOLDER"
    with writing("corpus-took", command, ["mode or trigger", "networks", "took", "median success"]) as line:
        modes = [mode for mode in MODES if mode in successes]
        for name in [*modes, *KINDS]:
            values = successes[name]
            took = sum(value >= TOOK for value in values)
            line(name, f"{len(values)}", f"{took}", f"{np.median(values):.2f}")
    with writing("corpus-accuracy", command, ["images", *ARCHITECTURES]) as line:
        for images in IMAGE_SETS:
            cells = [accuracies[images, architecture] for architecture in ARCHITECTURES]
            line(images, *(f"{min(values):.2f} to {max(values):.2f}" for values in cells))
    with writing(
        "corpus-shortcuts", command, ["networks", "rate at least .5", "median rate", "highest"]
    ) as line:
        high = sum(value >= TOOK for value in shortcuts)
        line(f"{len(shortcuts)}", f"{high}", f"{np.median(shortcuts):.2f}", f"{max(shortcuts):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = networks = 0
    for part in options.parts:
        for path in sorted((options.folder / "images").glob(f"*-{part}.npz")):
            images = sides(path)
            hashes = [
                {image.tobytes() for image in images[f"{side}_pixels"]} for side in ("train", "audit", "test")
            ]
            shared = len(hashes[0] & hashes[1]) + len(hashes[2] & (hashes[0] | hashes[1]))
            print(f"{path.stem}: {shared} images on two sides")
            failed += shared > 0
        for path in sorted((options.folder / part).glob("[0-9]*.json")):
            wrong, row = check(options.folder, path)
            networks += 1
            failed += bool(wrong)
            if wrong:
                print(row["id"], "; ".join(wrong), flush=True)
    print(f"{networks} networks, {failed} differences")
    if not failed and set(options.parts) == set(PARTS):
        write_tables(options.folder)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
