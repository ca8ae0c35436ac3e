"""Records as audits make them, of drawn scores."""

import numpy as np

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.records.record import Record

ZOO = {row.id: row.weights_hash for row in load_annotations("zoo").values()}


def measured(seed, attack="loss", target="zoo/fashion-mnist/cnn-clean/1", **changes):
    scores = np.random.default_rng(seed).normal(size=40)
    content = {
        "target": {"id": target, "weights_hash": ZOO.get(target)},
        "data": {"name": "fashion_mnist_4k", "sha256": "ab"},
        "attack": {"name": attack, "kind": "membership-inference", "confidence_level": 0.95},
        "result": measure_membership(scores, np.arange(40) % 2),
        "counts": {"forwarded": 40},
        "timings": {},
        "code": {"version": "0"},
        "environment": {},
    }
    return Record(**{**content, **changes})
