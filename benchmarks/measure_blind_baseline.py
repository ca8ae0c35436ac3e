"""Does the blind baseline withhold what it should, and nothing else?

    python benchmarks/measure_blind_baseline.py

One pool of images, Fashion-MNIST or squares cut from photographs, is split at random into 150 members and
150 non-members, 200 times: nothing distinguishes the two, and at most 5 % of the splits may be withheld. Then
the members are changed in ten ways, or chosen from other classes, five times each: all must be withheld.
"""

import sys
from pathlib import Path

import numpy as np
from tables import writing

from securitynet_hub import load_images
from securitynet_hub.attacks.membership.blind_baseline import measure_baseline

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.planted_shifts import OF_COLOUR, SHIFTS, class_mix, photographs

NULLS, REPEATS, SIDE = 200, 5, 150


def draw(labels, rng):
    return rng.permutation(len(labels))[: 2 * SIDE]


def judge(images, labels, rows, shift=None, seed=0):
    members = np.arange(2 * SIDE) < SIDE
    shown = [
        shift(images[row]) if shift and member else images[row]
        for row, member in zip(rows, members, strict=True)
    ]
    return measure_baseline(shown, labels[rows], members, seed=seed)


def measure(name, images, labels):
    found = []
    for seed in range(NULLS):
        found.append(judge(images, labels, draw(labels, np.random.default_rng(seed)), seed=seed))
    yield [name, "nothing", *_cells(found)]
    for shift, change in SHIFTS.items():
        if shift in OF_COLOUR and images[0].shape[-1] == 1:
            continue
        found = [
            judge(images, labels, draw(labels, np.random.default_rng(seed)), change, seed)
            for seed in range(REPEATS)
        ]
        yield [name, shift, *_cells(found)]
    found = []
    for seed in range(REPEATS):
        rows = class_mix(labels, SIDE, SIDE, np.random.default_rng(seed))
        found.append(judge(images, labels, rows, seed=seed))
    yield [name, "class mix", *_cells(found)]


def _cells(found):
    aucs = [one.auc for one in found]
    withheld = sum(one.differs for one in found)
    return [f"{min(aucs):.2f} to {max(aucs):.2f}", f"{withheld} of {len(found)}"]


def main():
    images = load_images()
    pools = {
        "Fashion-MNIST": (list(images.pixels[2000:]), images.labels[2000:]),
        "photographs": photographs(),
    }
    columns = ["images", "shift of the members", "blind AUC", "withheld"]
    with writing("blind-baseline", "python benchmarks/measure_blind_baseline.py", columns) as row:
        for name, (pool, labels) in pools.items():
            for cells in measure(name, pool, labels):
                row(*cells)


if __name__ == "__main__":
    main()
