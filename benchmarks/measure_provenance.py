"""Which copies the signs find, and how often they accuse independent networks: ``docs/provenance.md``.

Run with ``python benchmarks/measure_provenance.py FOLDER``, ten minutes of one core the first time; FOLDER
keeps the trained copies. The zoo's twelve networks `cnn` that were trained on all images, six clean and six
backdoored, are independent of each other and differ by their random numbers and triggers; copies of the six
clean ones are made here, and independent networks that differ by more: of another architecture, of a few of
the images, of other images. All are asked about the same 500 images that none was trained on. Needs the
images of Fashion-MNIST (Debian's package dataset-fashion-mnist).
"""

import copy
import gzip
import sys
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from tables import writing

from securitynet_hub import load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.provenance.copies import make_copies
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import rank_among_pairs
from securitynet_hub.attacks.provenance.weight_alignment import aligned_layers, rank_among_orders
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.zoo_networks import TRANSFORM, Cnn
from securitynet_hub.statistics.rates import roc_auc, wilson_interval

COMMAND = "python benchmarks/measure_provenance.py FOLDER"
QUERIES, LEVEL, REFERENCES = 500, 0.05, 6
SIGNS = ("error_agreement", "answer_correlation", "adversarial_overlap", "all_answers")
STOLEN = {100: 60, 1000: 20, 10_000: 10}
"""Queries of stolen copies, and for how many epochs they are trained."""

APART = ("another seed", "a few of the images", "other images", "another architecture")
"""How independent networks differ from the references; all of one sort are compared with each of them."""

SAME_START = "same initial weights, a few of the images"
"""What began with the reference's initial weights, and was trained apart from it."""

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts Fashion-MNIST."""


def training_images(without):
    """Return the training images of Fashion-MNIST and their labels, without those that are asked about."""
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    asked = {image.tobytes() for image in without}
    kept = [row for row, image in enumerate(pixels) if image.tobytes() not in asked]
    return pixels[kept], labels[kept]


class Networks:
    """Independent networks, and copies of some, with what was copied."""

    def __init__(self, folder):
        self.folder = folder
        rows = load_annotations("zoo")
        self.null = [
            id
            for id, row in rows.items()
            if row.architecture == "cnn" and row.kind in ("clean", "backdoored")
        ]
        self.null.sort(key=lambda id: ("-clean/" not in id, id))
        self.references = self.null[:REFERENCES]
        self.targets = {id: load_target(id) for id in self.null}
        self.data = known_data(self.targets[self.null[0]].annotation)
        self.pixels, self.labels = training_images(self.data.images.array(self.data.split.nonmembers))
        self.sort = dict.fromkeys(self.null, "another seed")
        self.origin = {id: id for id in self.null}
        for id, row in rows.items():
            if row.architecture == "bn-cnn" and row.kind == "clean":
                self.add(id, load_target(id), "another architecture")
            elif row.architecture == "cnn" and row.kind in ("overfitted", "regularised"):
                self.add(id, load_target(id), "a few of the images")
        base = self.targets[self.null[0]]
        for seed in range(6):
            name = f"other images, {seed}"
            self.add(
                name, replace(base, module=self.trained(name, lambda s=seed: self.own(s))), "other images"
            )
        self.seeds = {id: row.seed for id, row in rows.items()}
        for number, id in enumerate(self.references):
            for sort, target in self.copies(id, number):
                self.add(f"{id}, {sort}", target, sort, origin=id)

    def compared(self, reference, suspect):
        """Return of what sort a pair is; None where the suspect is a copy of another network.

        Networks of the zoo with one seed and one architecture began with the same weights.
        """
        sort, own = self.sort[suspect], self.origin[suspect] == reference
        if suspect == reference or not (own or sort in APART):
            return None
        if sort == "a few of the images" and self.seeds[suspect] == self.seeds[reference]:
            return SAME_START
        return sort

    def add(self, name, target, sort, *, origin=None):
        """Take in a network: a copy of one of the twelve, or an independent one."""
        self.targets[name] = replace(target, annotation=replace(target.annotation, id=name))
        self.sort[name], self.origin[name] = sort, origin or name

    def trained(self, name, make):
        """Return a network that is trained once and kept."""
        path = self.folder / f"{name.replace('/', '-').replace(' ', '-').replace(',', '')}.safetensors"
        module = Cnn(10)
        if not path.exists():
            safetensors.torch.save_file(make().state_dict(), path)
        module.load_state_dict(safetensors.torch.load_file(path))
        return module.eval()

    def some(self, rows):
        """Return inputs and labels of training images of Fashion-MNIST."""
        return TRANSFORM(self.pixels[rows]), torch.from_numpy(self.labels[rows].astype(np.int64))

    def own(self, seed):
        """Train on 10,000 images with labels: what a thief has who asks nobody."""
        inputs, labels = self.some(np.random.default_rng(seed).permutation(len(self.pixels))[:10_000])
        return train(lambda: Cnn(10), inputs, labels, Recipe(epochs=10, batch_size=64, seed=70 + seed))

    def copies(self, id, number):
        reference = self.targets[id]
        yield from make_copies(reference, self.data)
        inputs, labels = self.some(np.random.default_rng(5).permutation(len(self.pixels))[:10_000])

        def tuned():
            own = copy.deepcopy(reference.module)
            how = Recipe(epochs=3, batch_size=64, learning_rate=2e-3, seed=7 + 10 * number)
            return train(lambda: own, inputs[:3000], labels[:3000], how)

        def headed():
            own = copy.deepcopy(reference.module)
            with torch.random.fork_rng():
                torch.manual_seed(1 + number)
                own[5].reset_parameters()
            how = Recipe(epochs=2, batch_size=64, learning_rate=2e-3, seed=8 + 10 * number)
            return train(lambda: own, inputs[:3000], labels[:3000], how)

        def taught(count, epochs, temperature=1.0):
            with torch.no_grad():
                posteriors = torch.softmax(reference.module(inputs[:count]) / temperature, 1)
            how = Recipe(epochs=epochs, batch_size=64, learning_rate=3e-3, seed=150 + number)
            return train(lambda: Cnn(10), inputs[:count], posteriors, how)

        made = {"trained on, 3 epochs": tuned, "head replaced, 2 epochs": headed}
        made["distilled at temperature 4"] = lambda: taught(10_000, 10, temperature=4.0)
        for count, epochs in STOLEN.items():
            made[f"stolen with {count:,} queries"] = lambda c=count, e=epochs: taught(c, e)
        for sort, make in made.items():
            yield sort, replace(reference, module=self.trained(f"{id}, {sort}", make))


class Comparisons:
    """Similarities and p-values of suspects, each beside the twelve networks."""

    def __init__(self, folder):
        self.networks = Networks(folder)
        data = self.networks.data
        rows = np.sort(np.random.default_rng(0).permutation(data.split.nonmembers)[:QUERIES])
        self.pixels, self.labels = data.images.array(rows), data.images.labels[rows].astype(np.int64)
        self.signs, self.asked = kinds()["provenance"].attacks, {}

    @cached_property
    def answers(self):
        return {name: predict(target, self.pixels) for name, target in self.networks.targets.items()}

    def models(self, names):
        return Models(
            outputs=np.stack([self.answers[name] for name in names]),
            labels=self.labels,
            targets=[self.networks.targets[name] for name in names],
            pixels=lambda: self.pixels,
            asked=self.asked,
        )

    def beside(self, *pair):
        taken = {self.networks.origin[name] for name in pair}
        return [name for name in self.networks.null if name not in taken]

    def ranked(self, reference, suspect, sign):
        """Return the similarity, and its p-value among pairs."""
        models = self.models([reference, suspect, *self.beside(reference, suspect)])
        rows = np.stack([self.signs[sign].run(models, k) for k in range(len(models))])
        return float(rows[0, 1]), rank_among_pairs(rows).p_value

    def largest(self, reference, suspect):
        """Return the p-value of the largest standardised sign, where `all_answers` takes the mean."""
        models = self.models([reference, suspect, *self.beside(reference, suspect)])
        rows = [[self.signs[sign].run(models, k) for sign in SIGNS[:3]] for k in range(len(models))]
        return rank_among_pairs(standardised(np.array(rows)).max(1)).p_value

    def weights(self, reference, suspect):
        """Return the p-value of the weights; None for networks that have no layers in common."""
        targets = [self.networks.targets[name] for name in (reference, suspect)]
        if not aligned_layers(*targets):
            return None
        return rank_among_orders(self.models([reference, suspect]), permutations=1999).p_value


def standardised(signs):
    """Return how many deviations each sign lies above the mean of all models but the reference and itself.

    Of shape (references, signs, models), as in `all_answers`.
    """
    found = np.zeros(signs.shape)
    for reference in range(len(signs)):
        for model in set(range(len(signs))) - {reference}:
            among = np.delete(signs[reference], [reference, model], axis=1)
            apart = signs[reference, :, model] - among.mean(1)
            found[reference, :, model] = apart / np.maximum(among.std(1), 1e-6)
    return found


def share(p_values, level=LEVEL):
    known = [p for p in p_values if p is not None]
    if not known:
        return "-"
    found = sum(p <= level for p in known)
    low, high = wilson_interval(found, len(known))
    return f"{found} of {len(known)} ({low:.2f}-{high:.2f})"


def verdict(answers, weights):
    """Return the p-value of the verdict: Bonferroni's of the two tests."""
    return answers if weights is None else min(1.0, 2 * min(answers, weights))


def auc(copies, independent):
    return roc_auc([*copies, *independent], [True] * len(copies) + [False] * len(independent))


def farthest(p_values):
    """Return by how much the share of p-values at most u exceeds u at most, and what chance exceeds in 5 %.

    The one-sided statistic of Kolmogorov and Smirnov; the bound for independent p-values is
    ``sqrt(log(1 / .05) / (2 n))`` (Massart 1990, Ann. Probab. 18:1269).
    """
    ordered = np.sort(p_values)
    n = len(ordered)
    excess = max(0.0, float((np.arange(1, n + 1) / n - ordered).max()))
    return f"{excess:.2f} ({np.sqrt(np.log(20) / (2 * n)):.2f})"


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    compared = Comparisons(folder)
    networks = compared.networks
    by_sort = defaultdict(list)
    for reference in networks.references:
        for suspect in networks.targets:
            if sort := networks.compared(reference, suspect):
                by_sort[sort].append((reference, suspect))
    pairs = [pair for some in by_sort.values() for pair in some]
    found = {pair: {sign: compared.ranked(*pair, sign) for sign in SIGNS} for pair in pairs}
    weights = {pair: compared.weights(*pair) for pair in pairs}
    largest = {pair: compared.largest(*pair) for pair in pairs}
    said = {pair: verdict(found[pair]["all_answers"][1], weights[pair]) for pair in pairs}
    apart = [pair for sort in APART for pair in by_sort[sort]]

    columns = [
        "suspect",
        *(sign.replace("_", " ") for sign in SIGNS),
        "largest instead of mean",
        "weight alignment",
        "verdict: derived",
        "AUC, all answers",
    ]
    with writing("provenance-found", COMMAND, columns) as row:
        for sort in [*(sort for sort in by_sort if sort not in APART), *APART]:
            own = by_sort[sort]
            cells = [share([found[pair][sign][1] for pair in own]) for sign in SIGNS]
            scores = [[found[pair]["all_answers"][0] for pair in some] for some in (own, apart)]
            area = "-" if sort in APART else f"{auc(*scores):.3f}"
            name = f"independent: {sort}" if sort in APART else sort
            row(
                name,
                *cells,
                share([largest[pair] for pair in own]),
                share([weights[pair] for pair in own]),
                share([said[pair] for pair in own]),
                area,
            )

    levels = (0.05, 0.1, 0.2, 0.5)
    columns = [
        "test, independent networks",
        *(f"p ≤ {level}" for level in levels),
        "largest excess (by chance)",
    ]
    with writing("provenance-calibration", COMMAND, columns) as row:
        for sort in APART:
            for name, p_values in (
                ("all answers", [found[pair]["all_answers"][1] for pair in by_sort[sort]]),
                ("weight alignment", [weights[pair] for pair in by_sort[sort]]),
            ):
                known = [p for p in p_values if p is not None]
                if known:
                    shares = (share(known, level) for level in levels)
                    row(f"{name}, {sort}", *shares, farthest(known))

    heads = [
        f"{id.rpartition('/')[0].rpartition('/')[2]}/{id.rpartition('/')[2]}" for id in networks.references
    ]
    with writing("provenance-matrix", COMMAND, ["suspect", *(f"`{head}`" for head in heads)]) as row:
        sorts = [sort for sort in by_sort if sort not in APART and sort != SAME_START]
        for sort in sorts:
            row(sort, *(f"{said[pair]:.3f}" for pair in by_sort[sort]))
        for suspect in dict.fromkeys(suspect for _, suspect in apart):
            cells = []
            for reference in networks.references:
                start = "*" if networks.compared(reference, suspect) == SAME_START else ""
                p_value = said.get((reference, suspect))
                cells.append("-" if p_value is None else f"{p_value:.3f}{start}")
            row(suspect.removeprefix("zoo/fashion-mnist/"), *cells)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
