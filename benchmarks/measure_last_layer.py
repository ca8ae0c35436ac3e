"""What attacks on the last layer find, and whose membership a leverage shows: ``docs/membership.md``.

Run with ``python benchmarks/measure_last_layer.py FOLDER [DESIGN ...]``, some minutes of one core. FOLDER is
that of `corpora`, whose networks stand in the target's place, twelve of each design; no reference model is
used for the attacks. The attacker knows the membership of one half of the pool, and the other half is judged.
What LiRA finds of each sample comes from all other networks of the design.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from corpora import DESIGNS, network
from findings_membership import cells
from scipy.special import softmax
from scipy.stats import norm, spearmanr
from tables import writing

from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.leverage import generalised_leverages
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.running import run_attack
from securitynet_hub.models.last_layer import WithFeatures, find_last_layer
from securitynet_hub.statistics.signals import logit_margin

TARGETS = 12
COMMAND = "python benchmarks/measure_last_layer.py FOLDER"
ATTACKS = ("loss", "modified_entropy", "logistic", "mlp_top3", "leverage", "inverse_hessian")
RELATED = {
    "leverage g = p_y (1 - p_y) h": lambda known: known["g"],
    "h alone": lambda known: known["h"],
    "loss": lambda known: known["loss"],
}


class Corpus:
    """A design's networks, their answers for the pool, and the margins that LiRA compares."""

    def __init__(self, folder, name):
        kept = np.load(folder / name / "scores.npz")
        self.folder, self.name = folder, name
        self.logits, self.masks, self.labels = kept["scores"], kept["membership"], kept["labels"]
        self.pixels = np.load(folder / name / "images.npz")["pixels"][: len(self.labels)]
        self.margins = np.stack([logit_margin(own, self.labels, from_logits=True) for own in self.logits])
        count = len(self.masks)
        self.targets = range(0, count, max(1, count // TARGETS))[:TARGETS]

    def features(self, number):
        """What the last layer of a network reads, shape (pool, d)."""
        module, transform = network(self.folder, self.name, number)
        both = WithFeatures(module, find_last_layer(module, transform.shape))
        with torch.inference_mode():
            return both(transform(self.pixels))[:, self.logits.shape[-1] :].numpy()

    def inputs(self, number):
        return MembershipInputs(
            outputs=self.logits[number],
            labels=self.labels,
            is_member=self.masks[number],
            from_logits=True,
            calibration=0.5,
            penultimate=self.features(number),
        )

    def lira(self, number):
        """Return of each sample how far LiRA's two normals lie apart, in deviations, and its score."""
        others = np.arange(len(self.masks)) != number
        inside, margins = self.masks[others], self.margins[others]
        moments = [
            (np.nanmean(own, 0), np.nanstd(own, 0, ddof=1))
            for own in (np.where(inside, margins, np.nan), np.where(inside, np.nan, margins))
        ]
        (mean, deviation), (mean_out, deviation_out) = moments
        apart = (mean - mean_out) / np.sqrt((deviation**2 + deviation_out**2) / 2)
        own = self.margins[number]
        return apart, norm.logpdf(own, mean, deviation) - norm.logpdf(own, mean_out, deviation_out)


def found(inputs):
    """Return AUC and TPR at 1 % FPR of each attack, on the samples that it judges and all judge."""
    results = {}
    rows = np.flatnonzero(~inputs.calibrated_on)
    for name in ATTACKS:
        run = run_attack(name, inputs)
        scores = np.full(len(inputs.labels), np.nan)
        scores[run.rows] = run.scores
        figures = measure_membership(scores[rows], inputs.membership[rows], target_fprs=[0.01])
        results[name] = [figures["auc"], figures["tpr_at_fpr"][0]["tpr_at_threshold"]]
    return results


def related(corpus, number, inputs):
    """Return Spearman's correlations of what one network shows of its members with what LiRA finds."""
    members = np.flatnonzero(inputs.membership)
    posteriors = softmax(inputs.outputs.astype(np.float64), 1)
    g = generalised_leverages(inputs.penultimate, posteriors, inputs.labels, members, members)
    own = posteriors[members, inputs.labels[members]]
    known = {"g": g, "h": g / np.maximum(own * (1 - own), 1e-12), "loss": -inputs.score("loss")[members]}
    apart, score = corpus.lira(number)
    return {
        name: [float(spearmanr(pick(known), truth[members]).statistic) for truth in (apart, score)]
        for name, pick in RELATED.items()
    }


def main(folder, designs):
    torch.set_num_threads(1)
    for design in designs:
        corpus = Corpus(folder, design)
        attacks, relations = {}, {}
        for number in corpus.targets:
            inputs = corpus.inputs(number)
            for name, figures in found(inputs).items():
                attacks.setdefault(name, []).append(figures)
            for name, figures in related(corpus, number, inputs).items():
                relations.setdefault(name, []).append(figures)
            print(f"  {design}: {number}", file=sys.stderr, flush=True)
        columns = ["attack", "AUC", "TPR at 1 % FPR"]
        with writing(f"membership-last-layer-{design}", COMMAND, columns) as row:
            for name, results in attacks.items():
                row(f"`{name}`", *cells(results))
        columns = ["of the target alone", "separation of LiRA's two normals", "LiRA's score"]
        with writing(f"membership-vulnerability-{design}", COMMAND, columns) as row:
            for name, results in relations.items():
                row(name, *cells(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(DESIGNS))
