"""How much larger the leak that LiRA and RMIA find looks where shadow models share one pool with the target.

Run with ``python benchmarks/measure_finite_pool.py FOLDER DATA``, some minutes of one core. DATA has the
four files of Fashion-MNIST; FOLDER keeps the networks, so that it goes on after an interruption.

Sixty images are judged. Each network is trained on a random half of them and on 170 other images, drawn from
340, so that each training set is a half of a pool of 400, as in Carlini et al. 2022, or from 59,940. One more
series trains on one set alone, to see what seeds do without data.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from findings_membership import cells
from scipy.stats import norm
from tables import writing

from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.rmia import rmia_scores
from securitynet_hub.attacks.membership.shadows import (
    balanced_masks,
    each_answer,
    fresh_samples,
    train_shadows,
)
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.roc import tpr_at_fpr
from securitynet_hub.statistics.signals import loss
from securitynet_hub.zoo.train import _read_idx

COMMAND = "python benchmarks/measure_finite_pool.py FOLDER DATA"
MODELS, JUDGED, MEMBERS = 64, 60, 200
OTHERS = MEMBERS - JUDGED // 2
POOLS = (400, 60_000)
POPULATION = 2000
RECIPE = Recipe(epochs=40, batch_size=100, learning_rate=3e-3)


def train_series(images, folder):
    """Return the shadow models of each pool's size, and those of one training set (pool 500)."""
    order = np.random.default_rng(0).permutation(len(images))
    judged, masks = order[:JUDGED], balanced_masks(MODELS, JUDGED, seed=0)
    found = {}
    for size in POOLS:
        drawn = fresh_samples(order[JUDGED:size], MODELS, OTHERS, seed=1)
        found[size] = _train(images, judged, masks, drawn, folder / str(size))
    repeated = MODELS // 2
    same = np.repeat(masks[:1], repeated, 0), np.repeat(drawn[:1], repeated, 0)
    found[MEMBERS] = _train(images, judged, *same, folder / str(MEMBERS))
    return judged, found


def _train(images, judged, masks, drawn, folder):
    def tell(number):
        print(f"  {folder.name}: {number + 1} of {len(masks)}", file=sys.stderr, flush=True)

    return train_shadows(
        lambda: NETWORKS["cnn"](len(images.class_names)),
        images,
        judged,
        masks,
        RECIPE,
        TRANSFORM,
        folder=folder,
        fresh=drawn,
        on_model=tell,
    )


def effect(shadows, margins):
    """Return the mean variance of the OUT margins, and the mean TPR of each sample at its own 1 % FPR."""
    variances, rates = [], []
    for own, inside in zip(margins.T, shadows.masks.T, strict=True):
        high, low = own[inside], own[~inside]
        variances.append(low.var(ddof=1))
        threshold = norm.isf(0.01, low.mean(), low.std(ddof=1))
        rates.append(norm.sf(threshold, high.mean(), high.std(ddof=1)))
    return np.mean(variances), np.mean(rates)


def attacked(target, margins, masks, **settings):
    """Return LiRA's scores of a network by the others of its series, but not by its partner."""
    others = np.arange(len(masks)) // 2 != target // 2
    return lira_scores(margins[target], margins[others], masks[others], **settings)


def finite_pool(found, margins):
    # Networks of one training set differ by their seeds alone; only samples outside it are OUT.
    seeds = margins[MEMBERS].var(0, ddof=1)[~found[MEMBERS].masks[0]].mean()
    columns = [
        "others drawn from", "variance of OUT margins", "without that of seeds",
        "TPR at each sample's own 1 % FPR", "LiRA's AUC", "TPR at 1 % FPR",
    ]  # fmt: skip
    with writing("membership-finite-pool", COMMAND, columns) as write:
        for size in POOLS:
            variance, rate = effect(found[size], margins[size])
            judged = [
                attacked(k, margins[size], found[size].masks, variance="bayesian") for k in range(MODELS)
            ]
            results = [roc_auc(own, mask) for own, mask in zip(judged, found[size].masks, strict=True)]
            tpr = tpr_at_fpr(np.concatenate(judged), found[size].masks.ravel(), 0.01).tpr
            (auc,) = cells([[own] for own in results])
            write(f"{size - JUDGED:,}", *(f"{v:.2f}" for v in (variance, variance - seeds)),
                  f"{rate:.3f}".lstrip("0"), auc, f"{tpr:.3f}".lstrip("0"))  # fmt: skip


def rmia(found, labels, population):
    """Attack every network with RMIA, by 62 others of its series; the population is in no training set."""
    columns = ["attack", "others drawn from", "AUC", "TPR at 1 % FPR"]
    with writing("membership-finite-pool-rmia", COMMAND, columns) as write:
        for mode in ("offline", "online"):
            for size in POOLS:
                masks = found[size].masks
                own = found[size].log_confidences(labels)[..., 0]
                others = each_answer(loss, found[size].networks.answers(population), population.labels)[
                    ..., 0
                ]
                judged = []
                for target in range(MODELS):
                    rest = np.arange(MODELS) // 2 != target // 2
                    judged.append(
                        rmia_scores(
                            own[target], own[rest], masks[rest], others[target], others[rest], mode=mode
                        )
                    )
                (auc,) = cells([[roc_auc(s, mask)] for s, mask in zip(judged, masks, strict=True)])
                tpr = tpr_at_fpr(np.concatenate(judged), masks.ravel(), 0.01).tpr
                name = "`rmia`" if mode == "offline" else "`rmia_online`"
                write(name, f"{size - JUDGED:,}", auc, f"{tpr:.3f}".lstrip("0"))


def calibrated(found, margins):
    """Compare one threshold for all samples with each sample's own, where 5 % of non-members are accused."""
    columns = [
        "pool", "threshold", "members accused", "spread of the samples' own FPR",
        "FPR of the tenth of samples accused most", "non-members with a score above -log .05",
    ]  # fmt: skip
    with writing("membership-calibrated", COMMAND, columns) as write:
        for size in POOLS:
            masks = found[size].masks
            for words, own in (("one for all", False), ("each sample's own", True)):
                scores = np.stack([attacked(k, margins[size], masks, calibrated=own) for k in range(MODELS)])
                accused = scores > np.quantile(scores[~masks], 0.95)
                false, out = (accused & ~masks).sum(0), (~masks).sum(0)
                rates = false / out
                spread = np.sqrt(max(0.0, rates.var(ddof=1) - np.mean(0.05 * 0.95 / out)))
                most = np.sort(rates)[-JUDGED // 10 :].mean()
                shares = [(accused & masks).sum() / masks.sum(), spread, most]
                nominal = (scores > -np.log(0.05))[~masks].mean()
                shown = [f"{share:.3f}".lstrip("0") for share in (*shares, nominal)]
                write(f"{size:,}", words, *shown[:3], shown[3] if own else "-")


if __name__ == "__main__":
    folder, data = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    pixels, labels = _read_idx(data, "train")
    images = LabelledImages(
        name="fashion-mnist-60k", pixels=pixels, labels=labels, class_names=FASHION_MNIST_CLASSES
    )
    judged, found = train_series(images, folder)
    margins = {size: own.margins(images.labels[judged])[..., 0] for size, own in found.items()}
    finite_pool(found, margins)
    pixels, labels = _read_idx(data, "t10k")
    first = {"pixels": pixels[:POPULATION], "labels": labels[:POPULATION]}
    rmia(found, images.labels[judged], replace(images, name="fashion-mnist-10k", **first))
    calibrated(found, margins)
