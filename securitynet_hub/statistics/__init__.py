"""Rates, areas and intervals for scores: `securitynet_hub.statistics.roc_auc` and the like."""

from securitynet_hub.statistics.rates import (
    Interval,
    Ranking,
    TprAtFpr,
    advantage,
    anomaly_index,
    roc_auc,
    roc_auc_interval,
    split_scores,
    tpr_at_fpr,
    wilson_interval,
)

__all__ = [
    "Interval",
    "Ranking",
    "TprAtFpr",
    "advantage",
    "anomaly_index",
    "roc_auc",
    "roc_auc_interval",
    "split_scores",
    "tpr_at_fpr",
    "wilson_interval",
]
