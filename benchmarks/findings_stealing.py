"""What decides how well a network is stolen: the tables and the picture of ``docs/stealing.md``, over seeds.

Run with ``python benchmarks/findings_stealing.py FOLDER zoo`` and, with Fashion-MNIST's four files (on
Debian in the package ``dataset-fashion-mnist``), ``... FOLDER fashion --data FILES``; some minutes each on an
idle core; FOLDER keeps answers and surrogates, so that it goes on after an interruption. Each figure is a
mean over seeds with its Student interval: the choice of queries and the training vary, the images compared
and the target do not.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import safetensors.torch
import torch
from scipy import stats
from tables import writing
from torch import nn

from securitynet_hub import load_target
from securitynet_hub.attacks.stealing import surrogate_attack
from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.data.query_images import QUERY_IMAGES, query_images
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.architectures import Architecture
from securitynet_hub.models.zoo_networks import TRANSFORM
from securitynet_hub.zoo.train import _read_idx

COMMAND = "python benchmarks/findings_stealing.py FOLDER"
MODELS = ("cnn-clean", "bn-cnn-clean", "cnn-overfitted-500", "cnn-regularised-500")
BUDGET, POOL, SEEDS = 400, 1797, range(3)
RECIPE = Recipe(epochs=20, batch_size=32, learning_rate=3e-3)
COLUMNS = ("agreement", "accuracy", "agreement_on_target_errors", "kl")
STRATEGIES = ("random", "uncertainty", "margin", "k_centre", "adaptive")


def convolutions(width):
    """The zoo's CNN with `width` and twice as many channels; of 16 it is the zoo's own."""

    def build():
        return nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * width * 25, 10),
        )  # fmt: skip

    return Architecture(f"cnn, {width} channels", build, TRANSFORM)


class Wide(nn.Module):
    """The block of a wide residual network (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after), nn.ReLU(), nn.Conv2d(after, after, 3, 1, 1, bias=False),
        )  # fmt: skip
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        return self.body(x) + self.skip(x)


def wide_resnet():
    """A WideResNet of depth 10 and width 2 whose first convolution strides, for small images."""

    def build():
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1, bias=False), Wide(16, 32, 1), Wide(32, 64, 2), Wide(64, 128, 2),
            nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip

    return Architecture("WideResNet-10-2", build, TRANSFORM)


def other_queries(*names):
    return {f"queries: {name}": {"queries": query_images(name, POOL, (28, 28, 1))} for name in names}


ANSWERS = {
    "labels alone": {"view": "label"},
    "the top posterior alone": {"view": OutputFormat("top_k", k=1)},
    "posteriors rounded to one decimal": {"view": OutputFormat("rounded", decimals=1)},
    "labels that tell nothing": {"view": OutputFormat("label", noise=1e3)},
}


def cells(records):
    """Return the columns of a line: means over seeds, and half of Student's interval."""
    found = []
    for column in COLUMNS:
        mean, half = spread([record.result[column] for record in records])
        found.append(f"{mean:.3f}" if half is None else f"{mean:.3f} ± {half:.3f}")
    return found


def spread(values):
    """Return the mean and half its Student interval; None where there is one value."""
    values = np.array(values)
    if len(values) < 2:
        return values.mean(), None
    return values.mean(), stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))


def headings(title):
    return [title, *("KL" if name == "kl" else name.replace("_", " ") for name in COLUMNS)]


def writing_of(name, title):
    study = "fashion --data FILES" if name.endswith("fashion-mnist") else "zoo"
    return writing(name, f"{COMMAND} {study}", headings(title))


def curve(name, title, steal, budgets, **settings):
    """Write a budget curve and return its points: queries, agreement, half of its interval."""
    points = []
    with writing_of(f"stealing-budgets-{name}", f"queries, {title}") as row:
        records = steal(budgets=budgets, seeds=SEEDS, **settings)
        for budget in budgets:
            own = [record for record in records if record.attack["budget"] == budget]
            row(str(budget), *cells(own))
            points.append((budget, *spread([record.result["agreement"] for record in own])))
    return points


def transfer(steal, budget):
    """Write what examples that were made on copies do to the target, a figure for each seed."""
    columns = ["fool the target, of those that fool the copy", "of all, the target errs on",
               "under random noise of that size"]  # fmt: skip
    with writing("stealing-adversarial", f"{COMMAND} zoo", ["", *columns]) as row:
        for method in ("fgsm", "pgd"):
            records = steal(budgets=[budget], seeds=SEEDS, transfer=500, transfer_method=method)
            found = [record.result["transfer"] for record in records]
            rates = [
                f"{t['transfer_rate']:.2f} ({{:.2f}}-{{:.2f}})".format(*t["transfer_rate_ci"]) for t in found
            ]
            others = [", ".join(f"{t[name]:.2f}" for t in found) for name in ("target_error", "noise_error")]
            row(method.upper(), ", ".join(rates), *others)
            print(f"images: {[t['n'] for t in found]}", flush=True)


def table(name, title, steal, budget, settings):
    with writing_of(f"stealing-attacker-{name}", f"{budget} queries, {title}") as row:
        for way, changes in settings.items():
            row(way, *cells(steal(budgets=[budget], seeds=SEEDS, **changes)))


def strategies(steal, budget, round_size):
    title = f"{budget} queries in rounds of {round_size}, five seeds"
    with writing_of("stealing-strategies", title) as row:
        for strategy in STRATEGIES:
            settings = {"seeds": range(5), "strategy": strategy, "round_size": round_size}
            row(f"`{strategy}`", *cells(steal(budgets=[budget], **settings)))


def study_zoo(folder):
    def thief(name):
        target = load_target(f"zoo/fashion-mnist/{name}/1")

        def steal(**settings):
            own = {"recipe": RECIPE, "transfer": 0, "keep": folder} | settings
            return surrogate_attack.run(target, known_data(target.annotation), **own)

        return steal

    steal = thief("cnn-clean")
    networks = {
        "the target's network, data of its kind, posteriors": {},
        "smaller network (4 channels)": {"surrogate": convolutions(4)},
        "larger network (48 channels)": {"surrogate": convolutions(48)},
        "larger network (WideResNet-10-2)": {"surrogate": wide_resnet()},
        "another family (`bn-cnn`)": {"surrogate": "zoo/fashion-mnist/bn-cnn-clean/1"},
    }
    curves = {name: curve(name, f"`{name}/1`", thief(name), [0, 1, 25, 100, 400]) for name in MODELS}
    draw(curves, "docs/stealing/zoo.png")
    strategies(steal, 200, 50)
    table("cnn-clean", "`cnn-clean/1`", steal, BUDGET, networks | ANSWERS | other_queries(*QUERY_IMAGES))
    transfer(steal, BUDGET)


def fashion_target(folder, files):
    """Train a network on the first half of the training images; return it, the data, and the other half."""
    (train_pixels, train_labels), (test_pixels, test_labels) = (
        _read_idx(files, part) for part in ("train", "t10k")
    )
    images = LabelledImages(
        name="fashion-mnist",
        pixels=np.concatenate([train_pixels, test_pixels]),
        labels=np.concatenate([train_labels, test_labels]),
        class_names=FASHION_MNIST_CLASSES,
    )
    network = convolutions(32)
    path = folder / "target.safetensors"
    if not path.exists():
        inputs, labels = TRANSFORM(train_pixels[:30_000]), torch.from_numpy(train_labels[:30_000])
        recipe = Recipe(epochs=5, batch_size=128, learning_rate=4e-3)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(train(network.build, inputs, labels, recipe).state_dict(), path)
    target = load_target(f"file:{path}", module=network.build(), transform=TRANSFORM)
    split = Split(members=np.arange(30_000), nonmembers=np.arange(60_000, 70_000))
    return target, AuditData(images=images, split=split)


def study_fashion(folder, files):
    target, data = fashion_target(folder, files)
    pool = {"queries": data.images.pixels[30_000:60_000], "groups": data.images.labels[30_000:60_000]}

    def steal(**settings):
        own = {"surrogate": convolutions(32), "recipe": RECIPE, "transfer": 0, "keep": folder}
        return surrogate_attack.run(target, data, **(own | pool | settings))

    points = curve("fashion-mnist", "Fashion-MNIST", steal, [0, 1, 50, 200, 1000])
    draw({"Fashion-MNIST": points}, "docs/stealing/fashion.png")
    settings = {
        "the target's network, data of its kind, posteriors": {},
        "smaller network (8 channels)": {"surrogate": convolutions(8)},
        "labels alone": {"view": "label"},
        **{
            name: changes | {"groups": None}
            for name, changes in other_queries("photographs", "digits").items()
        },
    }
    table("fashion-mnist", "Fashion-MNIST", steal, 500, settings)
    members, recipe = data.images.pixels[:30_000], Recipe(epochs=5, batch_size=128, learning_rate=4e-3)
    own = steal(budgets=[30_000], queries=members, groups=None, recipe=recipe)
    print("the target's own 30,000 training images, five epochs, one seed:", *cells(own), flush=True)


def draw(curves, path):
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for name, points in curves.items():
        budgets, means, halves = np.array(points).T
        axes.errorbar(budgets, means, halves, fmt="o-", capsize=3, ms=4, lw=1.3, label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="queries", ylabel="agreement with the target", ylim=(0, 1), xlim=(-0.2, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("study", choices=("zoo", "fashion"))
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.study == "zoo":
        study_zoo(options.folder / "zoo")
    else:
        study_fashion(options.folder / "fashion", options.data)


if __name__ == "__main__":
    main()
