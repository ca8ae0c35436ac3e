"""Write `eval.yaml`, which makes the data set a benchmark of the Hub: leaderboards by attack and data set."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.rows import CONFIG

DESCRIPTION = (
    "How much public image classifiers give away: "
    + ", ".join(
        f"{kind.headline[0].replace('_', ' ')} of {name}" for name, kind in kinds().items() if kind.ranked
    )
    + ". A value is 1 minus a rate, minus a score, or a robust accuracy as it is: the highest stands first "
    "and gives away least. "
    f"Intervals and settings stand in the records of the config {CONFIG}; compare models of one task only."
)


def benchmark(datasets: Iterable[str]) -> str:
    """Return the text of `eval.yaml` for the data sets that models were trained on.

    Each attack that its literal calls ranked has a task for each data set, as scores of detectors have units
    of their own; a kind whose results compare however they were made has one task. It names no
    ``evaluation_framework``: that must be one which the Hub lists (`sharing.benchmark_file`).

    >>> yaml.safe_load(benchmark(["SVHN"]))["tasks"][-1]
    {'id': 'worst_case.svhn', 'config': 'results', 'split': 'train'}
    """
    tasks = [
        {"id": kind.task_id(attack, dataset), "config": CONFIG, "split": "train"}
        for dataset in sorted(set(datasets))
        for kind in kinds().values()
        for attack in kind.ranked
    ]
    content = {
        "name": "SecurityNet",
        "description": DESCRIPTION,
        "tasks": tasks,
    }
    text: str = yaml.safe_dump(content, sort_keys=False, width=100)
    return text
