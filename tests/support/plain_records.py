"""A made-up record."""

from securitynet_hub.records.record import Record


def make(**changes):
    content = {
        "target": {"id": "zoo/x/1", "weights_hash": "ab"},
        "data": {"name": "d", "sha256": "cd"},
        "attack": {"name": "loss"},
        "result": {"auc": 0.5, "auc_ci": [0.4, 0.6]},
        "counts": {"forwarded": 10},
        "timings": {"inference": 0.1},
    }
    return Record(**{**content, **changes})
