"""How often the check before an audit names the mistake that was planted, and how often it is wrong.

``python benchmarks/measure_validity.py`` writes the table of docs/data.md: every mistake is planted in the
data of all models of the zoo; samples of their own data show false alarms, with a published accuracy and
without one.
"""

import warnings
from dataclasses import replace

import numpy as np
from tables import writing

from securitynet_hub import load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.attacks.validity import Validity
from securitynet_hub.engine.inference import predict

PERMUTED = np.random.default_rng(0).permutation(10)
PIXELS = {
    "grey levels inverted": lambda pixels: 255 - pixels,
    "rows and columns exchanged": lambda pixels: np.ascontiguousarray(pixels.swapaxes(1, 2)),
    "upside down": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
    "pixels of 0 to 1": lambda pixels: pixels // 128,
    "pixels of 0 to 15": lambda pixels: pixels // 16,
}
REASONS = {
    "grey levels inverted": "inverted",
    "rows and columns exchanged": "exchanged",
    "upside down": "upside down",
    "pixels of 0 to 1": "only reach",
    "pixels of 0 to 15": "only reach",
    "labels permuted": "another order",
    "labels shifted by one": "another order",
    "the network fed with 0 to 255": "mean and std",
    "without mean and std": "mean and std",
}
SAMPLES = 25
"""Random samples of each size from each model's data."""


def planted(target, data):
    """Yield a mistake's name and target and data with it."""
    images = data.images
    for name, change in PIXELS.items():
        yield name, target, replace(data, images=replace(images, pixels=change(images.pixels)))
    for name, labels in (
        ("labels permuted", PERMUTED[images.labels]),
        ("labels shifted by one", (images.labels + 1) % 10),
    ):
        yield name, target, replace(data, images=replace(images, labels=labels))
    plain = replace(target.transform, channels=1, mean=None, std=None)
    for name, transform in (
        ("the network fed with 0 to 255", replace(plain, factor=255.0)),
        ("without mean and std", plain),
    ):
        yield name, replace(target, transform=transform), data


def check_of(target, data, rows, logits, expected=None):
    """Return the check from answers that there are already; without expectation where it is False."""
    annotation = target.annotation
    if expected is False:
        annotation = replace(annotation, reported_accuracy=None, test_accuracy=None)
    validity = Validity()
    validity.judge(replace(target, annotation=annotation), data, rows, logits)
    return validity.check


def main():
    warnings.simplefilter("ignore")
    named, noticed, alarms, asked = {}, {}, {}, {}
    rng = np.random.default_rng(0)
    models = list(load_annotations("zoo"))
    for id in models:
        target = load_target(id)
        data = known_data(target.annotation)
        for name, fed, wrong in planted(target, data):
            rows = wrong.split.indices
            check = check_of(fed, wrong, rows, predict(fed, wrong.images.select(rows)))
            noticed[name] = noticed.get(name, 0) + check.is_doubtful
            named[name] = named.get(name, 0) + (REASONS[name] in (check.likely_reason or ""))
        logits = predict(target, data.images)
        for size in (20, 100, 500):
            for _ in range(SAMPLES):
                sides = [rng.permutation(side)[:size] for side in (data.split.members, data.split.nonmembers)]
                rows = np.concatenate(sides)
                for expected in (None, False):
                    check = check_of(target, data, rows, logits[rows], expected)
                    alarms[size] = alarms.get(size, 0) + check.is_doubtful
                    asked[size] = asked.get(size, 0) + 1
    with writing(
        "validity",
        "python benchmarks/measure_validity.py",
        ["what is wrong", "noticed", "and named"],
    ) as row:
        for name, count in noticed.items():
            row(name, f"{count} of {len(models)}", f"{named[name]} of {count}")
        for size, count in alarms.items():
            row(f"nothing, {size} members and {size} non-members", f"{count} of {asked[size]:,}", "")


if __name__ == "__main__":
    main()
