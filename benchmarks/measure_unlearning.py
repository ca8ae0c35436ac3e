"""Measure what unlearning found triggers changes: ``python benchmarks/measure_unlearning.py --out DIR``.

The trigger that `twins` finds in a network is unlearnt, as an audit does it on request, whatever the verdict.
Success of this trigger, of the other triggers found for the class and of the attacker's own one is counted
before and after, on images that the training did not see, and how many of the clean answers stay. It takes
the 24 clean and backdoored networks that the package ships and, where CORPUS and ASSETS are given, some of
the corpus's part ``design`` (`DESIGN`) whose backdoors took; 10 to 20 CPU-seconds each. Each network is one
file in DIR, so that an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure_backdoored_models import zoo_targets
from tables import writing

from securitynet_hub import load_images
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.attacks.backdoor.twins import (
    UNLEARNING_BATCH,
    UNLEARNING_IMAGES,
    compare_with_twins,
)
from securitynet_hub.attacks.backdoor.unlearning import classes_of, without
from securitynet_hub.core.arrays import Labels
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.triggers import TRIGGERS, Trigger
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import auc_interval, split_scores
from securitynet_hub.zoo.corpus.recipes import training_order
from securitynet_hub.zoo.corpus.table import (
    CorpusNetwork,
    list_networks,
    load_corpus_target,
    network_images,
    recipe_of,
)
from securitynet_hub.zoo.corpus.train import trigger_of
from securitynet_hub.zoo.train import SHIPPED_TEST

DESIGN = {
    "all-to-one": 3, "clean": 4, "fine-tuned": 3, "clean-shortcut": 2, "all-to-all": 2, "clean-label": 1,
    "covers": 1, "low-rate": 1, "adaptive-margins": 1,
}  # fmt: skip
"""How many networks of the corpus are measured of each way to train one."""

UNLEARNING_STEPS = 40
"""As many as documented for ``neural_cleanse``."""

Measured = dict[str, Any]


class Suspect(NamedTuple):
    """One network, its auditor's images, and the truth about it."""

    id: str
    target: Target
    pixels: Pixels
    labels: Labels
    seed: int
    mode: str
    trigger: str | None
    stamp: Trigger | None
    label: int | None


def zoo() -> Iterator[Suspect]:
    """Yield the clean and the backdoored networks that the package ships."""
    images = load_images()
    pixels, labels = images.pixels[SHIPPED_TEST], images.labels[SHIPPED_TEST]
    for id, target, truth in zoo_targets():
        stamp = TRIGGERS[truth.trigger] if truth.trigger else None
        mode = "zoo, backdoored" if stamp else "zoo, clean"
        yield Suspect(id, target, pixels, labels, 0, mode, truth.trigger, stamp, truth.target_class)


def design(corpus: Path, assets: Path) -> Iterator[Suspect]:
    """Yield networks of the corpus's part ``design``, the first of each way in the order of training."""
    order = {recipe.number: place for place, recipe in enumerate(training_order("design"))}
    rows = sorted(list_networks(corpus, "design"), key=lambda row: order[row.number])
    for mode, count in DESIGN.items():
        fit = [row for row in rows if row.mode == mode and row.took == row.is_backdoored]
        for row in spread(fit, count):
            images = network_images(corpus, row, assets).audit
            stamp = trigger_of(recipe_of(row)) if row.trigger else None
            target = load_corpus_target(corpus, row)
            mode_of = f"design, {mode}"
            yield Suspect(
                row.id,
                target,
                images.pixels,
                images.labels,
                row.number,
                mode_of,
                row.trigger,
                stamp,
                row.target,
            )


def spread(rows: Sequence[CorpusNetwork], count: int) -> list[CorpusNetwork]:
    """Return so many rows, of as many architectures and image sets as there are.

    Rows of the same architecture and images come after one of each.
    """
    chosen: list[CorpusNetwork] = []
    left = list(rows)
    while left and len(chosen) < count:

        def known(row: CorpusNetwork) -> int:
            return sum(
                (row.architecture == other.architecture) + (row.images == other.images) for other in chosen
            )

        chosen.append(min(left, key=known))
        left.remove(chosen[-1])
    return chosen


def measured(given: Suspect) -> Measured:
    """Unlearn what `twins` finds in a network, and count what that changes."""
    found = compare_with_twins(given.target, given.pixels, seed=given.seed, unlearning_steps=UNLEARNING_STEPS)
    assert found.unlearning is not None
    first, *others = found.examples
    suspect = found.classes[found.verdict.suspect]
    network, space = as_classifier(given.target), PixelSpace.from_target(given.target)
    pixels = given.pixels[:UNLEARNING_IMAGES]
    images = torch.tensor(pixels).movedim(-1, 1) / 255
    clean, stamped = space.inputs(images), space.inputs(first.stamp(images))
    began = time.process_time()
    trained = without(network, clean[::2], stamped[::2], steps=UNLEARNING_STEPS, batch_size=UNLEARNING_BATCH)
    seconds = time.process_time() - began
    own, labels = classes_of(network, clean[1::2]), torch.from_numpy(given.labels[:UNLEARNING_IMAGES][1::2])

    def success(inputs: torch.Tensor, wanted: torch.Tensor) -> list[float]:
        counted = own != wanted
        return [
            float((classes_of(each, inputs)[counted] == wanted[counted]).double().mean())
            for each in (network, trained)
        ]

    attacker = None
    if given.stamp is not None:
        aim = (
            own.clone().fill_(given.label)
            if given.label is not None
            else (own + 1) % given.target.num_classes
        )
        attacker = success(given.target.transform(given.stamp(pixels[1::2])), aim)
    further = [
        success(space.inputs(each.stamp(images[1::2])), torch.full_like(own, suspect)) for each in others
    ]
    return {
        "id": given.id,
        "mode": given.mode,
        "trigger": given.trigger,
        "target": given.label,
        "word": found.verdict.word,
        "probability": found.verdict.probability,
        "suspect": suspect,
        "all_to_all": found.verdict.all_to_all,
        "found": first.what or first.name,
        "found_success": [found.unlearning.success_before, found.unlearning.success_after],
        "twin_success": first.twin_success,
        "other_success": np.mean(further, 0).tolist() if further else None,
        "attacker_success": attacker,
        "agreement": found.unlearning.agreement,
        "accuracy": [
            float((classes_of(each, clean[1::2]) == labels).double().mean()) for each in (network, trained)
        ],
        "seconds": round(seconds, 2),
    }


GROUPS: dict[str, Callable[[Measured], bool]] = {
    "shipped, clean": lambda row: row["mode"] == "zoo, clean",
    "shipped, backdoored": lambda row: row["mode"] == "zoo, backdoored",
    "design, clean": lambda row: row["mode"] == "design, clean",
    "design, clean with a natural shortcut": lambda row: row["mode"] == "design, clean-shortcut",
    "design, backdoored": lambda row: row["mode"].startswith("design") and row["target"] is not None,
    "design, all-to-all": lambda row: row["mode"] == "design, all-to-all",
}
"""The networks of each line of the table."""

FIGURES: dict[str, Callable[[Measured], float]] = {
    "success before": lambda row: row["found_success"][0],
    "success after": lambda row: row["found_success"][1],
    "success that goes": lambda row: row["found_success"][0] - row["found_success"][1],
    "share of the success that stays": lambda row: (
        row["found_success"][1] / max(row["found_success"][0], 0.01)
    ),
    "success after of the other triggers found": lambda row: row["other_success"][1],
    "clean answers that stay": lambda row: row["agreement"],
}
"""Figures that might part backdoored networks from clean ones."""


def middle(values: Sequence[float]) -> str:
    """Return the median and the range of some shares."""
    return f"{np.median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else ""


def change(rows: Sequence[Measured], name: str) -> str:
    """Return a success before and after, median and range of each."""
    known = [row[name] for row in rows if row[name] is not None]
    return " to ".join(middle([pair[k] for pair in known]) for k in (0, 1)) if known else ""


def write_tables(rows: Sequence[Measured], command: str) -> None:
    """Keep what unlearning changes, and whether any figure parts clean networks from backdoored ones."""
    columns = [
        "networks",
        "n",
        "trigger found",
        "other triggers found",
        "attacker's own",
        "clean answers kept",
        "accuracy",
    ]
    with writing("backdoors-unlearning", command, columns) as line:
        for name, chosen in GROUPS.items():
            own = [row for row in rows if chosen(row)]
            if own:
                cells = (change(own, f"{which}_success") for which in ("found", "other", "attacker"))
                kept = middle([row["agreement"] for row in own])
                line(name, str(len(own)), *cells, kept, change(own, "accuracy"))
    parts = {"shipped": "zoo", "design": "design"}
    with writing("backdoors-unlearning-aucs", command, ["figure", *parts]) as line:
        for name, figure in FIGURES.items():
            line(name, *(parted(rows, part, figure) for part in parts.values()))


def parted(rows: Sequence[Measured], part: str, figure: Callable[[Measured], float]) -> str:
    """Return the AUC of a figure: how often it is larger on a backdoored network than on a clean one."""
    own = [row for row in rows if row["mode"].startswith(part)]
    truth = [int(row["trigger"] is not None) for row in own]
    if len(set(truth)) < 2:
        return ""
    auc, ends = auc_interval(split_scores([figure(row) for row in own], truth), 0.95)
    return f"{auc:.2f} ({ends[0]:.2f}-{ends[1]:.2f})"


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("assets", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    sources: list[Iterator[Suspect]] = [zoo()]
    if given.corpus is not None:
        sources.append(design(given.corpus, given.assets))
    rows = []
    for source in sources:
        for suspect in source:
            path = given.out / f"{suspect.id.replace('/', '-')}.json"
            if not path.exists():
                path.write_text(json.dumps(measured(suspect)) + "\n", encoding="utf-8")
            rows.append(json.loads(path.read_text(encoding="utf-8")))
            print(suspect.id, flush=True)
    command = "python benchmarks/measure_unlearning.py CORPUS ASSETS --out DIR"
    write_tables(rows, command)


if __name__ == "__main__":
    main()
