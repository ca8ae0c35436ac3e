"""Measure what allowing for the nature of classes brings: ``measure_class_nature.py OUT [CORPUS ASSETS]``.

It judges the zoo's 12 clean and 12 backdoored models and, of a corpus folder (`securitynet_hub.zoo.corpus`),
networks of the design part: with and without what clean answers predict (`expected_size`), by class and by
pairs of classes (`class_pairs`). What the scores are was chosen on the zoo. Each network's figures are a line
of OUT, so that an interrupted run resumes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure_backdoored_models import QUICK, clean_images, zoo_targets
from tables import writing

from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.expected_size import adjust_sizes
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import auc_interval, split_scores
from securitynet_hub.zoo.corpus.table import list_networks, load_corpus_target, network_images

FEW, MANY = 4, 10
"""Clean images of each class: those that an audit draws unless told otherwise, and more."""

CLEAN = 0, 1, 3, 4, 5, 7, 8, 9
BACKDOORED = 36, 37, 39, 41, 43, 44, 45, 46
"""Numbers of the design networks of ten classes that are measured: the first by number."""

Row = dict[str, Any]
Judged = tuple[float | None, int | None]


class Score(NamedTuple):
    """A score that is compared.

    Attributes:
        name: what the table calls it.
        runs: of which the row has figures.
        judge: returns a network's score and suspect from its row.
        flag: the score above which a network is flagged.
    """

    name: str
    runs: str
    judge: Callable[[Row], Judged]
    flag: float


def plain(figures: Row) -> Judged:
    """Return the detector's own score and suspect."""
    return figures["score"], figures["suspect"]


def adjusted(figures: Row) -> Judged:
    """Return the adjusted score and suspect."""
    return figures["adjusted_score"], figures["adjusted_suspect"]


def reach(figures: Row) -> Judged:
    """Return the reach of the pairs' changes and its suspect."""
    return figures["reach_score"], figures["reach_suspect"]


def adjusted_margins(figures: Row) -> Judged:
    """Return how far MM-BD's largest margin lies above what the gaps predict: 1 / margin as a size."""
    return adjust_sizes(1 / np.maximum(figures["margins"], 1e-6), np.array(figures["gaps"], float))[:2]


P_05, OCTAVE, REACH = -np.log10(0.05), 1.0, 0.3
SCORES = (
    Score("`neural_cleanse`, norm ratio < 0.5", "neural_cleanse", plain, OCTAVE),
    Score("adjusted by gaps, < 0.5", "neural_cleanse", adjusted, OCTAVE),
    Score("`mm_bd`, p < .05", "mm_bd", plain, P_05),
    Score("margins adjusted by gaps, < 0.5", "mm_bd", adjusted_margins, OCTAVE),
    Score("`additive_trigger`, 40 images, p < .05", "few", plain, P_05),
    Score("adjusted by gaps, < 0.5", "few", adjusted, OCTAVE),
    Score("`additive_trigger`, 100 images, p < .05", "many", plain, P_05),
    Score("adjusted by gaps, < 0.5", "many", adjusted, OCTAVE),
    Score("pairs, 40 images, p < .05", "few pairs", plain, P_05),
    Score("reach of pairs > 0.3", "few pairs", reach, REACH),
    Score("pairs, 100 images, p < .05", "many pairs", plain, P_05),
    Score("reach of pairs > 0.3", "many pairs", reach, REACH),
)


def even_images(target: Target, pixels: Pixels, per_class: int) -> Pixels:
    """Draw images, the same number of each answer as far as there are any."""
    with torch.no_grad():
        answers = [target.module(target.transform(part)).argmax(1) for part in np.array_split(pixels, 6)]
    predicted, order = torch.cat(answers).numpy(), np.random.default_rng(0).permutation(len(pixels))
    rows = [order[predicted[order] == label][:per_class] for label in range(target.num_classes)]
    drawn: Pixels = pixels[np.concatenate(rows)]
    return drawn


def networks(
    corpus: list[str],
) -> Iterator[tuple[str, str | None, int | None, Target, Callable[[int], Pixels]]]:
    """Yield id, trigger, target class and network, and a function that draws its clean images."""
    for id, target, truth in zoo_targets():
        yield id, truth.trigger, truth.target_class, target, clean_images
    if corpus:
        folder, assets = map(Path, corpus)
        for row in list_networks(folder, "design"):
            if row.number in CLEAN + BACKDOORED:
                target, audit = load_corpus_target(folder, row), network_images(folder, row, assets).audit

                def draw(count: int, target: Target = target, pixels: Pixels = audit.pixels) -> Pixels:
                    return even_images(target, pixels, count)

                yield row.id, row.trigger, row.target, target, draw


def measure(target: Target, draw: Callable[[int], Pixels]) -> Row:
    """Return what each run finds, and its processor time."""
    few, many = (DetectorInputs(clean=draw(count)) for count in (FEW, MANY))
    runs = {
        "neural_cleanse": ("neural_cleanse", few, QUICK["neural_cleanse"]),
        "mm_bd": ("mm_bd", few, QUICK["mm_bd"]),
        "few": ("additive_trigger", few, {}),
        "many": ("additive_trigger", many, {"max_images": 1000}),
        "few pairs": ("additive_trigger", few, {"pairs": True}),
        "many pairs": ("additive_trigger", many, {"pairs": True, "max_images": 1000}),
    }
    found: Row = {}
    for name, (detector, inputs, settings) in runs.items():
        began = time.process_time()
        finding = run_detector(detector, target, inputs, **settings)
        figures = {"score": finding.score, "suspect": finding.suspect, **finding.figures}
        found[name] = {**figures, "seconds": time.process_time() - began}
    found["mm_bd"]["gaps"] = found["few"]["gaps"]
    return found


def cells(score: Score, rows: list[Row]) -> list[str]:
    """Return AUC, flagged clean ones, found ones and named targets; nothing where nothing was measured."""
    known = [row for row in rows if score.runs in row]
    if not known:
        return [""] * 4
    judged = [score.judge(row[score.runs]) for row in known]
    values = [-1.0 if value is None else value for value, _ in judged]  # what cannot be judged ranks last
    planted = [row["trigger"] is not None for row in known]
    auc, ends = auc_interval(split_scores(values, planted), 0.95)
    flagged = [value > score.flag for value in values]
    clean, backdoored = planted.count(False), planted.count(True)
    named = sum(
        suspect == row["goal"] for row, (_, suspect) in zip(known, judged, strict=True) if row["trigger"]
    )
    return [
        f"{auc:.2f} ({ends[0]:.2f}-{ends[1]:.2f})",
        f"{sum(f and not p for f, p in zip(flagged, planted, strict=True))} of {clean}",
        f"{sum(f and p for f, p in zip(flagged, planted, strict=True))} of {backdoored}",
        f"{named} of {backdoored}",
    ]


def main(out: Path, corpus: list[str]) -> None:
    """Measure what is not measured yet, and keep the table."""
    torch.set_num_threads(1)
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    for id, trigger, goal, target, draw in networks(corpus):
        if id not in {row["id"] for row in rows}:
            rows.append({"id": id, "trigger": trigger, "goal": goal, **measure(target, draw)})
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    parts = [[row for row in rows if row["id"].startswith(kind)] for kind in ("zoo/", "corpus/")]
    figures = ["AUC", "clean flagged", "found", "suspect = target"]
    columns = ["score", *figures, *(f"corpus: {name}" for name in figures), "CPU-s"]
    with writing(
        "backdoors-nature", "python benchmarks/measure_class_nature.py OUT CORPUS ASSETS", columns
    ) as line:
        for score in SCORES:
            took = np.median([row[score.runs]["seconds"] for row in parts[0]])
            both = [cells(score, part) if part else [""] * 4 for part in parts]
            line(score.name, *both[0], *both[1], f"{took:.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
