"""Which copies are told from independent networks, and how often those are accused: ``docs/provenance.md``.

Run with ``python benchmarks/measure_provenance.py FOLDER --data DIR``, a quarter of an hour of one core; DIR
holds Fashion-MNIST's four files, FOLDER keeps the networks. 26 networks of the zoo's architecture `cnn` are
trained on 10,000 images with other random numbers, 6 on other images, and copies of three of them are made.
All are asked about the same 500 test images.
"""

import argparse
import copy
import gzip
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tables import writing

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import rank_among_models, rank_among_pairs
from securitynet_hub.attacks.provenance.weight_alignment import rank_among_orders
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.target import Target
from securitynet_hub.models.zoo_networks import TRANSFORM, Cnn
from securitynet_hub.statistics.rates import roc_auc, wilson_interval

COMMAND = "python benchmarks/measure_provenance.py FOLDER --data DIR"
QUERIES, LEVEL, REFERENCES = 500, 0.05, (1, 2, 3)
SIGNS = ("error_agreement", "answer_correlation", "adversarial_overlap", "all_answers")
INDEPENDENT = {
    "same data, other seed": [f"ind-{k}" for k in range(4, 27)],
    "other data": [f"other-{k}" for k in range(101, 107)],
}
COPIES = {
    "quantised to 8 bits": "int8",
    "pruned, 30 % of the weights": "prune0.3",
    "pruned, 60 % of the weights": "prune0.6",
    "fine-tuned, 5,000 new images, 2 epochs": "fine",
    "trained on, 10,000 new images, 5 epochs at the first rate": "fineharder",
    "head replaced and trained on 5,000 new images": "head",
    "stolen with 10,000 queries (distilled)": "steal10000",
    "stolen with 2,000 queries": "steal2000",
    "stolen with 500 queries": "steal500",
    "stolen with 100 queries": "steal100",
}


def read(folder, name, offset):
    return np.frombuffer(gzip.open(Path(folder) / name).read(), np.uint8, offset=offset)


class Networks:
    """The networks, trained when they are asked for and kept."""

    def __init__(self, folder, data):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pixels = read(data, "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        self.labels = torch.from_numpy(read(data, "train-labels-idx1-ubyte.gz", 8).astype(np.int64))
        self.test = read(data, "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        self.test_labels = read(data, "t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)
        self.loaded = {}

    def __getitem__(self, name):
        if name not in self.loaded:
            path = self.folder / f"{name.replace(':', '-of-')}.safetensors"
            if not path.exists():
                save_file(self.make(*name.split(":")).state_dict(), path)
            module = Cnn(10)
            module.load_state_dict(load_file(path))
            annotation = copy.copy(next(iter(load_annotations("zoo").values())))
            object.__setattr__(annotation, "id", name)
            self.loaded[name] = Target(
                annotation=annotation, module=module, transform=TRANSFORM, num_classes=10
            )
        return self.loaded[name]

    def rows(self, start, stop):
        return TRANSFORM(self.pixels[start:stop]), self.labels[start:stop]

    def make(self, sort, number=None):
        if number is None:
            kind, _, seed = sort.partition("-")
            start = {"ind": 0, "other": 30_000}[kind]
            return train(lambda: Cnn(10), *self.rows(start, start + 10_000), recipe(int(seed), 5, 4e-3))
        origin, own = self[f"ind-{number}"].module, copy.deepcopy(self[f"ind-{number}"].module)
        with torch.no_grad():
            for parameter in own.parameters():
                if sort == "int8":
                    scale = parameter.abs().max() / 127
                    parameter.copy_((parameter / scale).round() * scale)
                elif sort.startswith("prune") and parameter.ndim > 1:
                    count = int(float(sort.removeprefix("prune")) * parameter.numel())
                    parameter[parameter.abs() <= parameter.abs().flatten().kthvalue(count).values] = 0
        if sort == "fine":
            return train(lambda: own, *self.rows(40_000, 45_000), recipe(7, 2, 1e-3))
        if sort == "fineharder":
            return train(lambda: own, *self.rows(40_000, 50_000), recipe(7, 5, 4e-3))
        if sort == "head":
            with torch.random.fork_rng():
                torch.manual_seed(int(number))
                own[5].reset_parameters()
            return train(lambda: own, *self.rows(40_000, 45_000), recipe(8, 3, 2e-3))
        if sort.startswith("steal"):
            count = int(sort.removeprefix("steal"))
            inputs, _ = self.rows(20_000, 20_000 + count)
            with torch.no_grad():
                posteriors = torch.softmax(origin(inputs), 1)
            how = {"epochs": {100: 60, 500: 40, 2000: 20, 10000: 8}[count], "batch_size": 64}
            return train(lambda: Cnn(10), inputs, posteriors, Recipe(**how, seed=50 + int(number)))
        return own


def recipe(seed, epochs, rate):
    return Recipe(epochs=epochs, batch_size=128, learning_rate=rate, seed=seed)


class Comparisons:
    """Similarities and p-values of suspects, each beside the independent networks."""

    def __init__(self, networks, seed=0):
        self.networks = networks
        rows = np.sort(np.random.default_rng(seed).permutation(len(networks.test))[:QUERIES])
        self.pixels, self.labels = networks.test[rows], networks.test_labels[rows]
        self.signs = kinds()["provenance"].attacks
        self.answers, self.asked = {}, {}

    def outputs(self, name):
        if name not in self.answers:
            self.answers[name] = predict(self.networks[name], self.pixels)
        return self.answers[name]

    def models(self, reference, suspect, independent):
        names = [reference, suspect, *independent]
        return Models(
            outputs=np.stack([self.outputs(name) for name in names]),
            labels=self.labels,
            targets=[self.networks[name] for name in names],
            pixels=lambda: self.pixels,
            asked=self.asked,
        )

    @cached_property
    def beside(self):
        return INDEPENDENT["same data, other seed"]

    def ranked(self, reference, suspect, sign):
        independent = [name for name in self.beside if name not in (reference, suspect)]
        own = self.signs[sign].run(self.models(reference, suspect, independent), 0)
        return float(own[1]), rank_among_models(own[1], own[2:]).p_value

    def weights(self, reference, suspect):
        return rank_among_orders(self.models(reference, suspect, [])).p_value


def share(p_values, level=LEVEL):
    found = int((np.array(p_values) <= level).sum())
    low, high = wilson_interval(found, len(p_values))
    return f"{found} of {len(p_values)} ({low:.2f}-{high:.2f})"


def auc(copies, independent):
    return roc_auc([*copies, *independent], [True] * len(copies) + [False] * len(independent))


def write_found(found, weights):
    """One row for each sort of suspect: how often it is called derived, and its AUC."""
    columns = ["suspect", *(sign.replace("_", " ") for sign in SIGNS), "weight alignment", "AUC, all answers"]
    independent = {sign: [s for name in INDEPENDENT for s, _ in found[sign][name]] for sign in SIGNS}
    with writing("provenance-found", COMMAND, columns) as row:
        for name in [*COPIES, *INDEPENDENT]:
            cells = [share([p for _, p in found[sign][name]]) for sign in SIGNS]
            area = auc([s for s, _ in found["all_answers"][name]], independent["all_answers"])
            row(name, *cells, share(weights[name]), f"{area:.3f}" if name in COPIES else "-")


def write_calibration(compared, found, weights):
    """How often p-values of independent networks are at most a level."""
    levels = (0.05, 0.1, 0.2, 0.5)
    with writing(
        "provenance-calibration", COMMAND, ["sign, null", *(f"p <= {level}" for level in levels)]
    ) as row:
        own = "same data, other seed"
        for sign in SIGNS:
            p_values = [p for _, p in found[sign][own]]
            row(f"{sign.replace('_', ' ')}, reference", *(share(p_values, level) for level in levels))
        for sign in ("error_agreement", "answer_correlation"):
            p_values = list(among_pairs(compared, sign))
            row(f"{sign.replace('_', ' ')}, pairs", *(share(p_values, level) for level in levels))
        row("weight alignment, orders", *(share(weights[own], level) for level in levels))


def among_pairs(compared, sign, draws=300):
    """Yield p-values among the pairs of seven independent networks, drawn anew each time."""
    rng = np.random.default_rng(1)
    for _ in range(draws):
        reference, suspect, *independent = rng.permutation(compared.beside)[:7]
        models = compared.models(reference, suspect, independent)
        rows = [compared.signs[sign].run(models, k) for k in range(7)]
        yield rank_among_pairs(np.stack(rows)).p_value


def write_matrix(compared):
    """The p-values of 30 networks beside each of three references, and the ROC over all pairs of the 30."""
    short = {sort: name for name, sort in COPIES.items()}
    kept = ["int8", "prune0.6", "fine", "fineharder", "head", "steal10000", "steal500"]
    origins = {f"ind-{k}": f"network {k}" for k in REFERENCES}
    origins |= {f"{sort}:{k}": f"network {k}, {short[sort]}" for k in REFERENCES for sort in kept}
    origins |= {f"ind-{k}": f"independent {k}" for k in (4, 5, 6)}
    origins |= {f"other-{k}": f"other data {k}" for k in (101, 102, 103)}
    independent = [name for name in compared.beside if name not in origins]
    scores = {}
    for reference in origins:
        for suspect in origins:
            if suspect != reference:
                names = [reference, suspect, *independent]
                answers = np.stack([compared.outputs(name) for name in names])
                own = compared.signs["all_answers"].run(Models(outputs=answers, labels=compared.labels), 0)
                scores[reference, suspect] = own[1], rank_among_models(own[1], own[2:]).p_value
    columns = ["suspect", *(f"p, network {k} as the reference" for k in REFERENCES)]
    with writing("provenance-matrix", COMMAND, columns) as row:
        for suspect, words in origins.items():
            row(
                words,
                *(
                    f"{scores[f'ind-{k}', suspect][1]:.3f}" if suspect != f"ind-{k}" else "-"
                    for k in REFERENCES
                ),
            )

    def origin(name):
        return (
            name.split(":")[-1].removeprefix("ind-")
            if ":" in name or name in {f"ind-{k}" for k in REFERENCES}
            else name
        )

    related = {pair: origin(pair[0]) == origin(pair[1]) for pair in scores}
    stolen = {pair: any(name.startswith("steal") for name in pair) for pair in scores}
    sorts = {
        "one origin, nothing stolen": lambda pair: related[pair] and not stolen[pair],
        "one origin, one stolen": lambda pair: related[pair] and stolen[pair],
        "independent": lambda pair: not related[pair],
    }
    apart = [score for pair, (score, _) in scores.items() if not related[pair]]
    with writing(
        "provenance-pairs", COMMAND, ["ordered pairs of the 30", "called derived at 5 %", "AUC"]
    ) as row:
        for name, wanted in sorts.items():
            own = [pair for pair in scores if wanted(pair)]
            area = "-" if name == "independent" else f"{auc([scores[pair][0] for pair in own], apart):.3f}"
            row(name, share([scores[pair][1] for pair in own]), area)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    compared = Comparisons(Networks(options.folder, options.data))
    suspects = {name: [(f"ind-{k}", f"{sort}:{k}") for k in REFERENCES] for name, sort in COPIES.items()} | {
        name: [(f"ind-{k}", suspect) for k in REFERENCES for suspect in own]
        for name, own in INDEPENDENT.items()
    }
    found = {
        sign: {name: [compared.ranked(*pair, sign) for pair in pairs] for name, pairs in suspects.items()}
        for sign in SIGNS
    }
    weights = {name: [compared.weights(*pair) for pair in pairs] for name, pairs in suspects.items()}
    write_found(found, weights)
    write_matrix(compared)
    write_calibration(compared, found, weights)


if __name__ == "__main__":
    main()
