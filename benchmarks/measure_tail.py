"""How well the tail of a model's losses says what LiRA finds.

Run with ``python benchmarks/measure_tail.py FOLDER DATA``. FOLDER has the networks of corpora.py, DATA what
they were trained on. First, `DESIGNS` sets of 64 small networks are trained, all of a set at once, in ten
minutes of a core. How far LiRA's TPR lies from the estimate on them becomes the error of the estimate, a
constant of `securitynet_hub.attacks.membership.tail`. Then the interval is put to the test on the networks of
corpora.py, which had no part in that.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from corpora import DESIGNS as CORPORA
from corpora import emoji
from findings_membership import POOL, Bench, pool_and_population, table
from sklearn.datasets import load_digits
from tables import writing

from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.shadows import Shadows, balanced_masks
from securitynet_hub.attacks.membership.tail import FPR, estimate_lira
from securitynet_hub.statistics.roc import tpr_at_fpr
from securitynet_hub.statistics.signals import SIGNALS

COMMAND = "python benchmarks/measure_tail.py FOLDER DATA"
MODELS = 64
TARGETS = range(0, 60, 5)


def design(data, **changes):
    """What a set of networks is trained on, and how."""
    usual = {"hidden": 64, "epochs": 30, "batch": 100, "rate": 3e-3, "decay": 0.0, "noise": 0.0, "size": None}
    return SimpleNamespace(data=data, changes=changes, **{**usual, **changes})


DESIGNS = [
    design("fashion", epochs=10),
    design("fashion", epochs=20),
    design("fashion", epochs=60),
    design("fashion", hidden=16),
    design("fashion", hidden=256),
    design("fashion", noise=0.05),
    design("fashion", noise=0.2),
    design("fashion", decay=2.0),
    design("fashion", epochs=60, size=2000),
    design("fashion", decay=1.0, size=2000),
    design("fashion", rate=1e-3),
    design("fashion", epochs=8, rate=1e-3),
    design("emoji", epochs=20),
    design("emoji", epochs=8),
    design("emoji", epochs=20, decay=1.0),
    design("digits", epochs=40),
    design("digits", epochs=15),
    design("digits", epochs=40, noise=0.1),
]


def inputs_of(name, data):
    """Return standardised inputs, shape (n, features), and labels: pixels, averaged over squares."""
    if name == "digits":
        digits = load_digits()
        pixels, labels = digits.data / 16, digits.target
    else:
        images = emoji(data) if name == "emoji" else pool_and_population(data)
        size, square = (len(images) // 2, 4) if name == "emoji" else (POOL, 2)
        pixels, labels = images.pixels[:size] / 255, images.labels[:size]
        side = pixels.shape[1] // square
        pixels = pixels.reshape(size, side, square, side, square, -1).mean((2, 4)).reshape(size, -1)
    return ((pixels - pixels.mean(0)) / pixels.std()).astype(np.float32), labels


def drawn(of, data):
    """Return a design's inputs and labels, so many of them as are asked for, some labels drawn anew."""
    inputs, labels = inputs_of(of.data, data)
    classes, rng = labels.max() + 1, np.random.default_rng(5)
    rows = rng.permutation(len(labels))[: of.size] if of.size else np.arange(len(labels) // 2 * 2)
    inputs, labels = inputs[rows], labels[rows].copy()
    wrong = rng.random(len(labels)) < of.noise
    labels[wrong] = rng.integers(0, classes, wrong.sum())
    return inputs, labels


def train_jointly(inputs, labels, masks, of):
    """Train one network with a hidden layer for each row of masks, all at once; return all logits."""
    generator = torch.Generator().manual_seed(0)
    x, y, models = torch.from_numpy(inputs), torch.from_numpy(labels), len(masks)
    features, classes = x.shape[1], int(y.max()) + 1
    members = torch.stack([torch.from_numpy(np.flatnonzero(mask)) for mask in masks])
    shapes = (features, of.hidden, (2 / features) ** 0.5), (of.hidden, classes, of.hidden**-0.5)
    (w, b), (v, c) = (
        (torch.randn(models, m, n, generator=generator).mul_(scale), torch.zeros(models, 1, n))
        for m, n, scale in shapes
    )
    parameters = [p.requires_grad_() for p in (w, b, v, c)]
    optimizer = torch.optim.AdamW(parameters, lr=of.rate, weight_decay=of.decay, fused=True)
    steps = of.epochs * -(-members.shape[1] // of.batch)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, of.rate, total_steps=steps)

    def forward(batch):
        return torch.baddbmm(c, torch.relu(torch.baddbmm(b, batch, w)), v)

    for _ in range(of.epochs):
        order = torch.rand(members.shape, generator=generator).argsort(1)
        for rows in members.gather(1, order).split(of.batch, 1):
            outputs = forward(x[rows]).flatten(0, 1)
            optimizer.zero_grad()
            (models * torch.nn.functional.cross_entropy(outputs, y[rows].flatten())).backward()
            optimizer.step()
            scheduler.step()
    with torch.no_grad():
        return torch.cat([forward(part.expand(models, -1, -1)) for part in x.split(500)], 1).numpy()


def rates(logits, masks, labels, variance="per_example"):
    """Return, for each target, the TPR at 1 % FPR of LiRA and of the loss, and the estimate of LiRA's."""
    margins = np.stack([SIGNALS["logit_margin"](own, labels, from_logits=True) for own in logits])
    found = []
    for target in TARGETS:
        others = np.arange(len(masks)) != target
        scores = lira_scores(margins[target], margins[others], masks[others], variance=variance)
        losses = SIGNALS["loss"](logits[target], labels, from_logits=True)
        by_lira, by_loss = (tpr_at_fpr(own, masks[target], FPR).tpr for own in (scores, losses))
        found.append((by_lira, by_loss, estimate_lira(losses, masks[target])))
    return found


def short(value):
    return f"{value:.3f}".removeprefix("0")


def spread(values):
    return f"{short(np.mean(values))} ({short(min(values))}-{short(max(values))})"


def calibrate(folder, data):
    """Measure the error of the estimate."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["images", "what differs", "LiRA's TPR at 1 % FPR", "estimate", "ratio"]
    ratios = []
    with writing("membership-tail-calibration", COMMAND, columns) as write:
        for number, of in enumerate(DESIGNS):
            inputs, labels = drawn(of, data)
            masks, kept = balanced_masks(MODELS, len(labels), seed=1), folder / f"{number:02}.npy"
            if not kept.exists():
                np.save(kept, train_jointly(inputs, labels, masks, of))
            found = rates(np.load(kept), masks, labels)
            lira, estimate = np.mean([(by_lira, e.tpr) for by_lira, _, e in found], 0)
            ratios.append(lira / estimate)
            differs = ", ".join(f"{name} {value:g}" for name, value in of.changes.items())
            write(of.data, differs, short(lira), short(estimate), f"{ratios[-1]:.2f}")
        error = np.sqrt(np.mean(np.log(ratios) ** 2))
        write("all", "root mean square of the ratio's logarithm", "", "", f"{error:.3f}")


def validate(folder):
    """Count how often the interval holds LiRA's TPR."""
    columns = [
        "networks", "LiRA's variance", "loss attack's TPR", "LiRA's TPR", "estimate",
        "its interval, on average", "intervals that hold LiRA's TPR", "for the choice of samples alone",
    ]  # fmt: skip
    with writing("membership-tail", COMMAND, columns) as write:
        for name in CORPORA:
            kept = np.load(folder / name / "scores.npz")
            for variance in ("per_example", "bayesian"):
                found = rates(kept["scores"], kept["membership"], kept["labels"], variance)
                lira, loss, estimates = zip(*found, strict=True)
                held, sampling = (
                    sum(low <= rate <= high for rate, (low, high) in zip(lira, intervals, strict=True))
                    for intervals in ([e.tpr_ci for e in estimates], [e.sampling_ci for e in estimates])
                )
                low, high = np.mean([e.tpr_ci for e in estimates], 0)
                write(
                    name, variance.replace("_", " "), spread(loss), spread(lira),
                    spread([e.tpr for e in estimates]), f"{short(low)}-{short(high)}",
                    f"{held} of {len(lira)}", f"{sampling} of {len(lira)}",
                )  # fmt: skip


def attacks_on_emoji(folder):
    """What all attacks find on the emoji pictures, as findings_membership.py has it for Fashion-MNIST."""
    kept = np.load(folder / "emoji" / "scores.npz")
    size = len(kept["labels"])
    labels = np.concatenate([kept["labels"], kept["population_labels"]])
    masks = np.pad(kept["membership"], ((0, 0), (0, len(labels) - size)))
    logits = np.concatenate([kept["scores"], kept["population_scores"]], 1)[:, :, None]
    positions = np.arange(len(labels))
    shadows = Shadows(images_sha256="", views=("identity",), pool=positions, masks=masks, logits=logits)
    table("emoji", Bench(shadows, labels, pool=size), TARGETS, COMMAND)


if __name__ == "__main__":
    torch.set_num_threads(1)
    corpora = Path(sys.argv[1])
    calibrate(corpora / "tail", Path(sys.argv[2]))
    validate(corpora)
    attacks_on_emoji(corpora)
