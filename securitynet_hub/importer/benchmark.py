"""Write `eval.yaml`, which makes the data set a benchmark of the Hub: leaderboards by attack and data set."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from securitynet_hub.records.rows import CONFIG, FIGURES, task_id

ATTACKS = {
    "membership-inference": ("correctness", "modified_entropy", "lira_offline", "rmia"),
    "model-stealing": ("any",),
    "backdoor-detection": ("neural_cleanse", "mm_bd", "neuron_noise"),
}
"""SecurityNet's two score-based attacks and two with shadow models, one task for copies, whose agreements
compare however they were made, and one for each detector, as their scores have units of their own."""

DESCRIPTION = (
    "How much public image classifiers give away: "
    + ", ".join(f"{figure.replace('_', ' ')} of {kind}" for kind, figure in FIGURES.items())
    + ". Higher is worse for the model. Intervals and settings stand in the records of the config "
    f"{CONFIG}; compare models of one task only."
)


def benchmark(datasets: Iterable[str]) -> str:
    """Return the text of `eval.yaml` for the data sets that models were trained on.

    >>> yaml.safe_load(benchmark(["SVHN"]))["tasks"][-1]
    {'id': 'neuron_noise.svhn', 'config': 'results', 'split': 'train'}
    """
    tasks = [
        {"id": task_id(kind, attack, dataset), "config": CONFIG, "split": "train"}
        for dataset in sorted(set(datasets))
        for kind, attacks in ATTACKS.items()
        for attack in attacks
    ]
    content = {
        "name": "SecurityNet",
        "description": DESCRIPTION,
        "evaluation_framework": "securitynet-hub",
        "tasks": tasks,
    }
    text: str = yaml.safe_dump(content, sort_keys=False, width=100)
    return text
