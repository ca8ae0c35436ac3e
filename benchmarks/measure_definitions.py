"""How far figures move where our definition of an attack differs from its authors' code.

``python benchmarks/measure_definitions.py FOLDER`` writes the table of docs/membership.md and that of
docs/backdoors.md. Both sides of each row are measured on the same networks and images; FOLDER has the answers
of the networks of corpora.py. ``--only membership`` or ``--only backdoors`` measures one of them.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from tables import writing

from securitynet_hub import load_annotations, load_images, load_target
from securitynet_hub.attacks.backdoor.ibd_psc import choose_layers, ibd_psc_scores
from securitynet_hub.attacks.backdoor.scale_up import scale_up_scores
from securitynet_hub.attacks.membership.label_only import augmentation_scores
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import draw_share
from securitynet_hub.attacks.membership.rmia import rmia_scores
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.roc import tpr_at_fpr
from securitynet_hub.statistics.signals import logit_margin, loss

COMMAND = "python benchmarks/measure_definitions.py FOLDER"
DESIGNS = ("fashion-overfitted", "emoji")
TARGETS, REFERENCES = 8, 15
"""Networks that are attacked, and with how many others each."""

ASKED = 500
"""Members, and non-members, that label-only attacks ask about at most."""

FPR = 0.01


class Tally:
    """AUC and TPR at 1 % FPR by two definitions, network by network."""

    def __init__(self):
        self.found = []

    def add(self, ours, theirs, positive):
        self.found.append(
            [(roc_auc(scores, positive), tpr_at_fpr(scores, positive, FPR).tpr) for scores in (ours, theirs)]
        )

    def cells(self):
        found = np.array(self.found)  # networks, definitions, figures
        means, moved = found.mean(0), np.abs(found[:, 0] - found[:, 1]).max(0)
        shown = [f"{of[column]:.3f}" for column in (0, 1) for of in (*means, moved)]
        return str(len(found)), *(text.removeprefix("0") if text < "1" else text for text in shown)


COLUMNS = [
    "networks", "AUC, ours", "AUC, authors'", "moves by up to",
    "TPR at 1 % FPR, ours", "TPR, authors'", "it moves by up to",
]  # fmt: skip


def membership(folder):
    """Write the table of docs/membership.md."""
    command = f"{COMMAND} --only membership"
    with writing("definitions-membership", command, ["attack", "ours", "authors'", *COLUMNS]) as row:
        for design in DESIGNS:
            for attack, ours, theirs, tally in by_references(folder, design):
                row(f"{attack}, {design}", ours, theirs, *tally.cells())
        for (attack, kind), tally in by_answers().items():
            row(f"{attack}, {kind}", "share of right answers", "network on the answers", *tally.cells())


def by_references(folder, design):
    """Yield LiRA and RMIA by both definitions: some networks are attacked with others, drawn at random."""
    with np.load(folder / design / "scores.npz") as known:
        membership, logits, labels = known["membership"], known["scores"], known["labels"]
        population, of = known["population_scores"], known["population_labels"]
    margins, losses, beyond = (
        np.stack([signal(own, truth, from_logits=True) for own in answers])
        for signal, answers, truth in (
            (logit_margin, logits, labels),
            (loss, logits, labels),
            (loss, population, of),
        )
    )
    online, offline, rmia, rng = Tally(), Tally(), Tally(), np.random.default_rng(7)
    counts = []
    for target in range(0, len(membership), max(1, len(membership) // TARGETS))[:TARGETS]:
        # Not its partner, which was trained on what the target was not.
        others = rng.permutation(np.setdiff1d(np.arange(len(membership)), [target, target ^ 1]))[:REFERENCES]
        fewest = np.minimum(membership[others].sum(0), (~membership[others]).sum(0))
        rows = fewest >= 2  # LiRA needs two on each side
        is_in, truth = membership[others][:, rows], membership[target, rows]
        counts.append(is_in.sum(0))
        for tally, mode in ((online, "online"), (offline, "offline")):
            both = (
                lira_scores(margins[target, rows], margins[others][:, rows], is_in, mode=mode, cut=cut)
                for cut in (False, True)
            )
            tally.add(*both, truth)
        arrays = losses[target, rows], losses[others][:, rows], is_in, beyond[target], beyond[others]
        rmia.add(*(rmia_scores(*arrays, gamma=gamma) for gamma in (2, 1)), truth)
    counts = np.concatenate(counts)
    uneven = f"all {REFERENCES} networks, {counts.min()} to {counts.max()} of them IN"
    yield "`lira`", uneven, "`cut=true`", online
    yield "`lira_offline`", "the same", "`cut=true`", offline
    yield "`rmia`", "`gamma=2`", "`gamma=1`", rmia


def by_answers():
    """Return the label-only attacks on the zoo by both definitions, on the half that is not known."""
    tallies = {}
    for kind in ("overfitted", "regularised"):
        for attack, strengths in (("translation", (1, 2)), ("rotation", (3, 6, 9))):
            for id in [
                id for id, row in load_annotations("zoo").items() if row.kind == kind and row.seed == 1
            ]:
                target = load_target(id)
                data = known_data(target.annotation)
                members, others = data.split.members[:ASKED], data.split.nonmembers[:ASKED]
                rows, is_member = np.concatenate([members, others]), np.arange(len(members) + len(others))
                is_member = is_member < len(members)
                known = np.where(draw_share(0.5, is_member, 0), is_member, -1)
                asked = partial(
                    augmentation_scores, target, data.images.pixels[rows], data.images.labels[rows],
                    kind=attack, strengths=list(strengths),
                )  # fmt: skip
                share, network = asked(), asked(combine="network", known=known)
                tally = tallies.setdefault((f"`{attack}`, {share.queries[0]} answers", kind), Tally())
                tally.add(share.scores[network.rows], network.scores, is_member[network.rows])
    return tallies


def backdoors():
    """Write the table of docs/backdoors.md: the backdoored networks of the zoo."""
    scale, plain, psc = Tally(), Tally(), Tally()
    images, same = load_images(), 0
    drawn = np.random.default_rng(0).permutation(np.arange(2000, 4000))
    known, clean, suspects = drawn[:300], drawn[300:600], drawn[600:]
    for id, model in load_annotations("zoo").items():
        if model.kind != "backdoored":
            continue
        target = load_target(id)
        stamped = suspects[images.labels[suspects] != model.target_class][:300]
        inputs = np.concatenate([images.pixels[clean], TRIGGERS[model.trigger](images.pixels[stamped])])
        poisoned = np.arange(len(inputs)) >= len(clean)
        asked = partial(scale_up_scores, target, inputs, clean=images.pixels[known])
        scale.add(asked(), asked(standardise="all"), poisoned)
        plain.add(asked(), scale_up_scores(target, inputs), poisoned)
        if model.architecture == "bn-cnn":
            asked = partial(ibd_psc_scores, target, inputs, clean=images.pixels[known])
            psc.add(asked(), asked(skip=1), poisoned)
            same += choose_layers(target, images.pixels[known]) == choose_layers(
                target, images.pixels[known], skip=1
            )
    command = f"{COMMAND} --only backdoors"
    with writing("definitions-backdoors", command, ["detector", "ours", "authors'", *COLUMNS]) as row:
        row(
            "`scale_up`",
            "`standardise=label` (the paper's)",
            "`standardise=all` (BackdoorBox)",
            *scale.cells(),
        )
        row("`scale_up`", "the same", "no clean images", *plain.cells())
        row("`ibd_psc`", "`skip=0` (the paper's)", "`skip=1` (BackdoorBox)", *psc.cells())
    print(f"IBD-PSC amplifies the same layers by both in {same} networks")


def main():
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("membership", "backdoors"))
    options = parser.parse_args()
    if options.only != "backdoors":
        membership(options.folder)
    if options.only != "membership":
        backdoors()


if __name__ == "__main__":
    main()
