"""Which copies the signs find, and how often they accuse independent networks: ``docs/provenance.md``.

Run with ``python benchmarks/measure_provenance.py``, a minute of one core. The zoo's twelve networks `cnn`
that were trained on all images, six clean and six backdoored, are independent of each other; copies of three
are made here. All are asked about the same 500 images that none was trained on.
"""

import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from tables import writing

from securitynet_hub import load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.provenance.copies import make_copies
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import rank_among_models, rank_among_pairs
from securitynet_hub.attacks.provenance.weight_alignment import rank_among_orders
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.zoo_networks import TRANSFORM, Cnn
from securitynet_hub.statistics.rates import roc_auc, wilson_interval

COMMAND = "python benchmarks/measure_provenance.py"
QUERIES, LEVEL, REFERENCES = 500, 0.05, 3
SIGNS = ("error_agreement", "answer_correlation", "adversarial_overlap", "all_answers")
STOLEN = {100: 30, 1000: 10}
"""Queries of stolen copies, and for how many epochs they are trained."""


class Networks:
    """Independent networks, and copies of the first three, with what was copied."""

    def __init__(self):
        rows = [row for row in load_annotations("zoo").values() if row.architecture == "cnn"]
        self.independent = [row.id for row in rows if row.kind in ("clean", "backdoored")]
        self.independent.sort(key=lambda id: ("-clean/" not in id, id))
        self.targets = {id: load_target(id) for id in self.independent}
        self.data = known_data(self.targets[self.independent[0]].annotation)
        self.origin = {id: id for id in self.independent}
        self.sort = dict.fromkeys(self.independent, "independent")
        for id in self.independent[:REFERENCES]:
            for sort, target in self.copies(id):
                name = f"{id}, {sort}"
                self.targets[name] = replace(target, annotation=replace(target.annotation, id=name))
                self.origin[name], self.sort[name] = id, sort

    def copies(self, id):
        reference = self.targets[id]
        yield from make_copies(reference, self.data)
        held_out = self.data.split.nonmembers
        rows = np.setdiff1d(np.arange(len(self.data.images)), held_out)
        rows = np.random.default_rng(5).permutation(rows)
        inputs = TRANSFORM(self.data.images.array(rows))
        labels = torch.from_numpy(self.data.images.labels[rows].astype(np.int64))
        own = copy.deepcopy(reference.module)
        tuned = train(
            lambda: own, inputs, labels, Recipe(epochs=3, batch_size=64, learning_rate=2e-3, seed=7)
        )
        yield "trained on, 3 epochs", replace(reference, module=tuned)
        other = copy.deepcopy(reference.module)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            other[5].reset_parameters()
        headed = train(
            lambda: other, inputs, labels, Recipe(epochs=2, batch_size=64, learning_rate=2e-3, seed=8)
        )
        yield "head replaced, 2 epochs", replace(reference, module=headed)
        for count, epochs in STOLEN.items():
            with torch.no_grad():
                posteriors = torch.softmax(reference.module(inputs[:count]), 1)
            how = Recipe(epochs=epochs, batch_size=64, learning_rate=3e-3, seed=50)
            stolen = train(lambda: Cnn(10), inputs[:count], posteriors, how)
            yield f"stolen with {count:,} queries", replace(reference, module=stolen)


class Comparisons:
    """Similarities and p-values of suspects, each beside the independent networks."""

    def __init__(self):
        self.networks = Networks()
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
        return [name for name in self.networks.independent if name not in taken]

    def ranked(self, reference, suspect, sign):
        """Return the similarity, and the p-values among models and among pairs."""
        models = self.models([reference, suspect, *self.beside(reference, suspect)])
        run = self.signs[sign].run
        rows = np.stack([run(models, k) for k in range(len(models))])
        return (
            float(rows[0, 1]),
            rank_among_models(rows[0, 1], rows[0, 2:]).p_value,
            rank_among_pairs(rows).p_value,
        )

    def weights(self, reference, suspect):
        return rank_among_orders(self.models([reference, suspect]), permutations=499).p_value


def share(p_values, level=LEVEL):
    found = int((np.array(p_values) <= level).sum())
    low, high = wilson_interval(found, len(p_values))
    return f"{found} of {len(p_values)} ({low:.2f}-{high:.2f})"


def auc(copies, independent):
    return roc_auc([*copies, *independent], [True] * len(copies) + [False] * len(independent))


def main():
    compared = Comparisons()
    networks = compared.networks
    references = networks.independent[:REFERENCES]
    pairs = [
        (reference, suspect)
        for reference in references
        for suspect in networks.targets
        if suspect != reference
    ]
    pairs += [
        (one, other)
        for one in networks.independent[REFERENCES:]
        for other in networks.independent
        if one != other
    ]
    found = {pair: {sign: compared.ranked(*pair, sign) for sign in SIGNS} for pair in pairs}
    weights = {pair: compared.weights(*pair) for pair in pairs}
    derived = {pair: networks.origin[pair[0]] == networks.origin[pair[1]] for pair in pairs}
    apart = [pair for pair in pairs if networks.sort[pair[1]] == "independent"]
    sorts = dict.fromkeys(networks.sort[suspect] for (_, suspect), own in derived.items() if own)

    columns = ["suspect", *(sign.replace("_", " ") for sign in SIGNS), "weight alignment", "AUC, all answers"]
    with writing("provenance-found", COMMAND, columns) as row:
        for sort in [*sorts, "independent"]:
            own = (
                apart
                if sort == "independent"
                else [p for p in pairs if derived[p] and networks.sort[p[1]] == sort]
            )
            cells = [share([found[pair][sign][2] for pair in own]) for sign in SIGNS]
            scores = [[found[pair]["all_answers"][0] for pair in some] for some in (own, apart)]
            area = "-" if sort == "independent" else f"{auc(*scores):.3f}"
            row(sort, *cells, share([weights[pair] for pair in own]), area)

    levels = (0.05, 0.1, 0.2, 0.5)
    with writing(
        "provenance-calibration", COMMAND, ["independent pairs", *(f"p ≤ {level}" for level in levels)]
    ) as row:
        # Ranks of answers among these twelve are uniform by construction: each pair is among all pairs.
        row(
            "weight alignment, orders", *(share([weights[pair] for pair in apart], level) for level in levels)
        )

    heads = [f"{id.rpartition('/')[0].rpartition('/')[2]}/{id.rpartition('/')[2]}" for id in references]
    with writing("provenance-matrix", COMMAND, ["suspect", *(f"p beside `{head}`" for head in heads)]) as row:
        for suspect in networks.targets:
            cells = [
                "-" if suspect == reference else f"{found[reference, suspect]['all_answers'][2]:.3f}"
                for reference in references
            ]
            row(suspect.removeprefix("zoo/fashion-mnist/"), *cells)


if __name__ == "__main__":
    main()
