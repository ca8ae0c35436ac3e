"""What decides how well a model of the zoo is stolen: the tables of ``docs/stealing.md``, over seeds.

Run with ``python tests/benchmarks/findings_stealing.py FOLDER``, some minutes on one core; FOLDER keeps the
surrogates, so that it goes on after an interruption. Each figure is a mean over seeds with its Student
interval: both the choice of queries and the training vary, the images compared and the target do not.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from securitynet_hub import load_target
from securitynet_hub.architectures import Architecture
from securitynet_hub.attacks.output_views import OutputView
from securitynet_hub.attacks.query_data import query_images
from securitynet_hub.audits.stealing import audit_stealing
from securitynet_hub.audits.subject import known_data
from securitynet_hub.training import Recipe
from securitynet_hub.zoo.networks import TRANSFORM

ID = "zoo/fashion-mnist/cnn-clean/1"
BUDGET, POOL = 800, 1797
RECIPE = Recipe(epochs=30, batch_size=64, learning_rate=3e-3)
COLUMNS = ("agreement", "accuracy", "agreement_on_target_errors", "kl")


def convolutions(width):
    """The zoo's CNN with `width` and twice as many channels; of 16 it is the target's own."""

    def build():
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 4, stride=2), torch.nn.ReLU(),
            torch.nn.Conv2d(width, 2 * width, 4, stride=2), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(2 * width * 25, 10),
        )  # fmt: skip

    return Architecture(f"cnn, {width} channels", build, TRANSFORM)


SETTINGS = {
    "as the target: its network, its data, posteriors": {},
    "smaller network (4 channels)": {"surrogate": convolutions(4)},
    "larger network (48 channels)": {"surrogate": convolutions(48)},
    "labels alone": {"view": "label"},
    "labels that tell nothing": {"view": OutputView("label", noise=1e3)},
    "queries: digits": {"queries": query_images("digits", POOL, (28, 28, 1))},
    "queries: photographs": {"queries": query_images("photographs", POOL, (28, 28, 1))},
    "queries: shapes": {"queries": query_images("shapes", POOL, (28, 28, 1))},
    "queries: noise": {"queries": query_images("noise", POOL, (28, 28, 1))},
}


def stolen(folder, **settings):
    target = load_target(ID)
    return audit_stealing(
        target,
        known_data(target.annotation),
        **({"recipe": RECIPE, "transfer": 0, "keep": folder} | settings),
    )


def row(name, results):
    cells = []
    for column in COLUMNS:
        values = np.array([result[column] for result in results])
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        cells.append(f"{values.mean():.3f} ± {half:.3f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def header(title):
    print(f"\n| {title} | {' | '.join(c.replace('_', ' ') for c in COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")


def main(folder):
    torch.set_num_threads(1)
    budgets = [0, 1, 50, 200, BUDGET]
    header("queries")
    records = stolen(folder, budgets=budgets, seeds=range(3), transfer=200)
    for budget in budgets:
        row(budget, [r.result for r in records if r.attack["budget"] == budget])
    transfers = [r.result["transfer"] for r in records if r.attack["budget"] == BUDGET]
    for name in ("transfer_rate", "target_error", "noise_error", "n_fooling"):
        print(f"{name} at {BUDGET} queries, PGD, 8 grey levels: {[t[name] for t in transfers]}")
    header(f"{BUDGET} queries")
    for name, changes in SETTINGS.items():
        row(name, [r.result for r in stolen(folder, budgets=[BUDGET], seeds=range(3), **changes)])
    header("400 queries in rounds of 100, 5 seeds")
    for strategy in ("random", "uncertainty", "margin", "k_centre", "adaptive"):
        found = stolen(folder, budgets=[400], seeds=range(5), strategy=strategy, round_size=100)
        row(f"`{strategy}`", [r.result for r in found])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
