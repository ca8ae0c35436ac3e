"""Rates, areas and intervals for scores: `securitynet_hub.statistics.roc_auc` and the like."""

from securitynet_hub.statistics.rates import (
    Interval as Interval,
)
from securitynet_hub.statistics.rates import (
    Ranking as Ranking,
)
from securitynet_hub.statistics.rates import (
    TprAtFpr as TprAtFpr,
)
from securitynet_hub.statistics.rates import (
    advantage as advantage,
)
from securitynet_hub.statistics.rates import (
    anomaly_index as anomaly_index,
)
from securitynet_hub.statistics.rates import (
    roc_auc as roc_auc,
)
from securitynet_hub.statistics.rates import (
    roc_auc_interval as roc_auc_interval,
)
from securitynet_hub.statistics.rates import (
    split_scores as split_scores,
)
from securitynet_hub.statistics.rates import (
    tpr_at_fpr as tpr_at_fpr,
)
from securitynet_hub.statistics.rates import (
    wilson_interval as wilson_interval,
)
