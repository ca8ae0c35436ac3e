"""What member lists name on real networks, and how many of the named are wrong in truth.

``python benchmarks/findings_member_lists.py CORPORA`` reads the answers of each design's networks (a folder
of designs as `corpora.py` makes them, each with ``scores.npz``), takes twelve networks as targets in turn,
with all others as reference models, and writes the table ``member-lists-found`` of docs/membership.md.
"""

import argparse
from pathlib import Path

import numpy as np
from tables import writing

from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.member_lists import Plan
from securitynet_hub.attacks.membership.running import run_attack

COMMAND = "python benchmarks/findings_member_lists.py CORPORA"
TARGETS = 12
RATES = (0.1, 0.2)
ATTACKS = {
    "modified_entropy": {},
    "difficulty_calibration": {},
    "lira": {"variance": "bayesian"},
    "rmia": {},
}


def inputs_of(answers, target):
    """Return what an attacker holds on one of the networks."""
    others = np.arange(len(answers["scores"])) != target
    return MembershipInputs(
        outputs=answers["scores"][target],
        labels=answers["labels"],
        is_member=answers["membership"][target],
        from_logits=True,
        calibration=0.5,
        reference_outputs=answers["scores"][others],
        reference_in=answers["membership"][others],
        population_outputs=answers["population_scores"][target],
        population_labels=answers["population_labels"],
        reference_population_outputs=answers["population_scores"][others],
    )


def lists(inputs, name, rates, **settings):
    """Yield (candidates, members among them, named, wrong, bound) of one attack at each rate."""
    run = run_attack(name, inputs, **settings)
    is_member = inputs.membership[run.rows]
    for rate in rates:
        plan = Plan(fdr=rate, attacks=1, confidence_level=0.95, seed=0)
        known, judged = plan.halve(run.rows, is_member)
        found = plan.list_of(run.scores[judged], run.scores[known])
        wrong = int((~is_member[judged][found.rows]).sum())
        yield len(judged), int(is_member[judged].sum()), found.listed, wrong, found.at_most_wrong


def main():
    """Measure every design and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path)
    folder = parser.parse_args().corpora
    columns = ["networks", "attack", "rate", "members among the candidates", "named", "members found"]
    columns += ["wrong in truth", "wrong at most", "bound held"]
    with writing("member-lists-found", COMMAND, columns) as row:
        for path in sorted(folder.glob("*/scores.npz")):
            with np.load(path) as kept:
                answers = {name: kept[name] for name in kept}
            step = len(answers["scores"]) // TARGETS
            each = [inputs_of(answers, target) for target in range(0, step * TARGETS, step)]
            for name, settings in ATTACKS.items():
                measured = np.array([list(lists(inputs, name, RATES, **settings)) for inputs in each])
                for rate, cells in zip(RATES, measured.swapaxes(0, 1), strict=True):
                    judged, members, named, wrong, bound = cells.T
                    share = (wrong / np.maximum(1, named)).mean()
                    row(
                        f"{path.parent.name}, {len(answers['scores']) - 1} reference models",
                        f"`{name}`",
                        f"{rate:.0%}",
                        f"{members.mean():,.0f} of {judged.mean():,.0f}",
                        f"{named.mean():,.0f} ({named.min():,}-{named.max():,})",
                        f"{((named - wrong) / members).mean():.1%}",
                        f"{share:.1%}" if named.any() else "-",
                        f"{(bound / np.maximum(1, named)).mean():.1%}" if named.any() else "-",
                        f"{(wrong <= bound).sum()} of {len(wrong)}",
                    )


if __name__ == "__main__":
    main()
