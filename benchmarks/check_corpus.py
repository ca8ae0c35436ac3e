"""Check a corpus of backdoored networks: ``python benchmarks/check_corpus.py FOLDER [PART...]``.

Reads weights, rows and images of FOLDER, which ``python -m securitynet_hub.zoo.corpus`` has filled, and
computes hashes, accuracy and attack success again, with plain torch: preprocessing, forward pass and counting
are its own. The triggers are the corpus's. It also checks that no image lies on two sides of a part. It
prints what differs, and how many backdoors took; exit status 1 if anything differs.
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

from securitynet_hub.zoo.corpus.networks import ARCHITECTURES
from securitynet_hub.zoo.corpus.triggers import make_trigger, watermark

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
    network.eval()
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", default=["design", "calibration", "test"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed, networks, took, accuracies = 0, 0, defaultdict(list), defaultdict(list)
    for part in options.parts:
        for path in sorted((options.folder / "images").glob(f"*-{part}.npz")):
            images = sides(path)
            hashes = [
                {image.tobytes() for image in images[f"{side}_pixels"]} for side in ("train", "audit", "test")
            ]
            shared = len(hashes[0] & hashes[1]) + len(hashes[2] & (hashes[0] | hashes[1]))
            print(f"{path.stem}: {shared} images on two sides")
            failed += shared > 0
        found = [check(options.folder, path) for path in sorted((options.folder / part).glob("[0-9]*.json"))]
        for wrong, row in found:
            networks += 1
            failed += bool(wrong)
            if wrong:
                print(row["id"], "; ".join(wrong))
            accuracies[row["images"], row["architecture"]].append(row["accuracy"])
            if row["trigger"]:
                took[row["mode"], row["trigger"]].append(row["success"])
    for key, values in sorted(accuracies.items()):
        print(*key, f"accuracy {min(values):.3f} to {max(values):.3f}")
    for key, values in sorted(took.items()):
        print(
            *key,
            f"took {sum(value >= TOOK for value in values)} of {len(values)}, success {min(values):.2f} on",
        )
    print(f"{networks} networks, {failed} differences")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
