"""What membership attacks find on Fashion-MNIST with many reference models: tables of ``docs/membership.md``.

Run with ``python benchmarks/findings_membership.py FOLDER DATA [KIND ...]``, ten minutes of one
core. DATA has the four files of Fashion-MNIST (see `securitynet_hub.zoo.train`); FOLDER keeps the models,
so that it goes on after an interruption. Networks are trained each on a half of 4,000 images; some of them
stand in the target's place, one after another, all others being its reference models. Figures are means
over these targets with their Student intervals, which cover both the choice of members and the training.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from tables import writing

from securitynet_hub.attacks.membership.base import base_scores, ratio_scores
from securitynet_hub.attacks.membership.learned import fit_learned_attack
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import draw_share, measure_membership
from securitynet_hub.attacks.membership.population import attack_r_scores, difficulty_calibrated_scores
from securitynet_hub.attacks.membership.rmia import rmia_scores, tune_offline_a
from securitynet_hub.attacks.membership.shadows import balanced_masks, train_shadows
from securitynet_hub.data.augmentations import identity, shift_left, shift_right
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.statistics.comparison import paired_auc_difference
from securitynet_hub.statistics.signals import SIGNALS
from securitynet_hub.zoo.train import prepare_data

POOL = 4000
# The second network is trained on shifted images, and is asked about them.
KINDS = {
    "overfitted": (64, Recipe(epochs=40, batch_size=100, learning_rate=3e-3), (identity,)),
    "regularised": (
        24,
        Recipe(epochs=40, batch_size=100, learning_rate=3e-3, weight_decay=0.5, augment="shift"),
        (identity, shift_left, shift_right),
    ),
}
TARGETS = 12
COMMAND = "python benchmarks/findings_membership.py FOLDER DATA"
FEW = (2, 4, 8, 16, 32)
FPRS = (0.01, 0.001)
SETTINGS = [
    (mode, variance)
    for mode in ("online", "offline")
    for variance in ("per_example", "global_centred", "bayesian")
]


def pool_and_population(data):
    """Four thousand images to be members or not, and those that ship, which no model sees."""
    prepared = prepare_data(data)
    rows = np.random.default_rng(0).permutation(len(prepared.rest_labels))[:POOL]
    return LabelledImages(
        name="fashion-mnist-8k",
        pixels=np.concatenate([prepared.rest_pixels[rows], prepared.shipped.pixels]),
        labels=np.concatenate([prepared.rest_labels[rows], prepared.shipped.labels]),
        class_names=FASHION_MNIST_CLASSES,
    )


def trained(kind, images, folder):
    models, recipe, views = KINDS[kind]
    masks = np.zeros((models, len(images)), np.bool_)
    masks[:, :POOL] = balanced_masks(models, POOL, seed=0)
    return train_shadows(
        lambda: NETWORKS["cnn"](len(images.class_names)),
        images,
        np.arange(len(images)),
        masks,
        recipe,
        TRANSFORM,
        folder=folder,
        views=views,
        on_model=lambda number: print(f"  {kind}: {number + 1} of {models}", file=sys.stderr, flush=True),
    )


class Bench:
    """The models of one kind, any of them in the target's place.

    The first `pool` images are members or not, the rest are the population; views=None looks at the first
    view alone.
    """

    def __init__(self, shadows, labels, views=None, pool=POOL):
        self.x, self.z, self.pool = slice(0, pool), slice(pool, None), pool
        self.masks, self.labels = shadows.masks, labels
        self.logits = shadows.logits[:, :, 0]
        self.margins, self.log_p = (
            signal(labels)[..., 0 if views is None else slice(views)]
            for signal in (shadows.margins, shadows.log_confidences)
        )

    def others(self, target, models=None):
        """All other models; or so many, in pairs that saw one half each, but not the target's partner."""
        others = np.arange(len(self.masks))
        return others[others != target] if models is None else others[others // 2 != target // 2][:models]

    def members(self, target):
        return self.masks[target, self.x]

    def signal(self, name, target, others):
        return SIGNALS[name](self.logits[target, self.x], self.labels[self.x], from_logits=True)

    def learned(self, name, target, others):
        known = draw_share(0.5, self.members(target), 0)
        outputs, labels, members = self.logits[target, self.x], self.labels[self.x], self.members(target)
        attack = fit_learned_attack(name, outputs[known], labels[known], members[known], from_logits=True)
        scores = np.full(self.pool, np.nan)
        scores[~known] = attack.score(outputs[~known], labels[~known], from_logits=True)
        return scores

    def ranked(self, attack, target, others, **settings):
        beside = self.log_p[target, self.x], self.log_p[others, self.x], self.masks[others, self.x]
        return attack(*beside, **settings)

    def lira(self, mode, variance, target, others):
        beside = self.margins[target, self.x], self.margins[others, self.x], self.masks[others, self.x]
        return lira_scores(*beside, mode=mode, variance=variance)

    def rmia(self, mode, target, others):
        beside = self.log_p[others, self.x], self.masks[others, self.x]
        population = self.log_p[target, self.z], self.log_p[others, self.z]
        return rmia_scores(self.log_p[target, self.x], *beside, *population, mode=mode)


def figures(scores, members):
    judged = np.isfinite(scores)
    result = measure_membership(scores[judged], members[judged], target_fprs=FPRS)
    return [result["auc"], *(rate["tpr_at_threshold"] for rate in result["tpr_at_fpr"])]


def cells(results):
    """Return means over targets, and half of Student's interval, without the 0 before the point."""
    found = []
    for values in np.array(results).T:
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        found.append(f"{values.mean():.3f} ± {half:.3f}".replace("0.", "."))
    return found


def header(title):
    columns = ["AUC", *(f"TPR at {rate:.1%} FPR" for rate in FPRS)]
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")


def row(name, results):
    print(f"| {name} | {' | '.join(cells(results))} |", flush=True)


def judged(bench, targets, attack, models=None):
    return [figures(attack(t, bench.others(t, models)), bench.members(t)) for t in targets]


def table(kind, bench, targets, command=COMMAND):
    """What every attack finds, with all other networks as reference models."""
    attacks = {
        **{f"`{name}`": partial(bench.signal, name) for name in ("correctness", "loss", "modified_entropy")},
        **{f"`{name}`": partial(bench.learned, name) for name in ("logistic", "mlp_top3")},
        "`attack_r`": partial(bench.ranked, attack_r_scores),
        "`difficulty_calibration`": partial(bench.ranked, difficulty_calibrated_scores),
        "`base`": partial(bench.ranked, base_scores),
        "`rmia_ratio`": partial(bench.ranked, ratio_scores),
        "`rmia`": partial(bench.rmia, "offline"),
        "`lira_offline`": partial(bench.lira, "offline", "per_example"),
        "`base_online`": partial(bench.ranked, partial(base_scores, mode="online")),
        "`rmia_online`": partial(bench.rmia, "online"),
        "`lira`": partial(bench.lira, "online", "per_example"),
        "`lira`, Bayesian": partial(bench.lira, "online", "bayesian"),
    }
    columns = ["attack", "AUC", *(f"TPR at {100 * rate:g} % FPR" for rate in FPRS)]
    with writing(f"membership-{kind}", command, columns) as write:
        for name, attack in attacks.items():
            write(name, *cells(judged(bench, targets, attack)))


def few_models(kind, bench, targets):
    """What LiRA and RMIA find with few reference models."""
    header(f"{kind}, few reference models")
    for models in FEW:
        if models >= len(bench.masks) - 2:
            break
        for mode, variance in SETTINGS:
            if models > 2:  # of one model on a side there is no deviation
                found = judged(bench, targets, partial(bench.lira, mode, variance), models)
                row(f"LiRA {mode}, {variance}, {models} models", found)
        for mode in ("offline", "online"):
            row(f"RMIA {mode}, {models} models", judged(bench, targets, partial(bench.rmia, mode), models))


def main(folder, data, kinds):
    torch.set_num_threads(1)
    images = pool_and_population(data)
    for kind in kinds:
        shadows = trained(kind, images, folder / kind)
        right = shadows.logits[:, :, 0].argmax(-1) == images.labels
        inside, outside = right[shadows.masks].mean(), right[:, POOL:].mean()
        print(f"\n{kind}: accuracy {inside:.3f} on members, {outside:.3f} on images no model saw")
        bench = Bench(shadows, images.labels)
        targets = range(0, len(shadows.masks), len(shadows.masks) // TARGETS)[:TARGETS]
        table(kind, bench, targets)
        few_models(kind, bench, targets)
        views = len(shadows.views)
        if views > 1:
            header(f"{kind}, {views} views of each image")
            several = Bench(shadows, images.labels, views)
            for name, attack in (
                ("lira", partial(several.lira, "online", "per_example")),
                ("rmia_online", partial(several.rmia, "online")),
            ):
                row(name, judged(several, targets, attack))
        others, (x, z) = bench.others(0), (bench.x, bench.z)
        tuned = tune_offline_a(bench.log_p[others, x], bench.masks[others, x], bench.log_p[others, z])
        print(f"RMIA's a, tuned on the reference models of the first target: {tuned}", flush=True)
        plain = bench.signal("modified_entropy", 0, None)
        for name, scores in (
            ("LiRA", bench.lira("online", "per_example", 0, bench.others(0))),
            ("RMIA", bench.rmia("online", 0, bench.others(0))),
        ):
            found = paired_auc_difference(scores, plain, bench.members(0))
            print(f"{name} less modified entropy, first target: {found}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or list(KINDS))
