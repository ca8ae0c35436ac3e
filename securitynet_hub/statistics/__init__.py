"""Rates, areas and intervals for scores: `securitynet_hub.statistics.roc_auc` and the like."""

from securitynet_hub.statistics.discoveries import (
    MemberList,
    benjamini_hochberg,
    conformal_p_values,
    member_list,
    most_wrong,
)
from securitynet_hub.statistics.rates import (
    Interval,
    Ranking,
    advantage,
    anomaly_index,
    roc_auc,
    roc_auc_interval,
    split_scores,
    wilson_interval,
)
from securitynet_hub.statistics.roc import ThresholdRates, TprAtFpr, tpr_at_fpr, tpr_at_threshold

__all__ = [
    "Interval",
    "MemberList",
    "Ranking",
    "ThresholdRates",
    "TprAtFpr",
    "advantage",
    "anomaly_index",
    "benjamini_hochberg",
    "conformal_p_values",
    "member_list",
    "most_wrong",
    "roc_auc",
    "roc_auc_interval",
    "split_scores",
    "tpr_at_fpr",
    "tpr_at_threshold",
    "wilson_interval",
]
