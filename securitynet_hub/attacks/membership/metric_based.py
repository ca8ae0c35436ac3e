"""Metric-based attacks: one signal of each answer is the score."""

from __future__ import annotations

from functools import partial

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.core.arrays import Scores


def signal_scores(signal: str, inputs: MembershipInputs, rows: Rows) -> Scores:
    """Score each sample by a signal of `securitynet_hub.statistics.signals`, higher = more likely a member.

    With p the posteriors, z the logits and y the label:

    - ``correctness``: ``1[argmax p = y]``, and ``loss``: ``log p_y`` (Yeom et al. 2018, arXiv 1709.01604).
    - ``confidence``: ``p_y``; ``entropy``: ``sum_i p_i log p_i``; ``modified_entropy``:
      ``(1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i)`` (Song & Mittal 2021, arXiv 2003.10595, eq. 8).
    - ``hinge``: ``z_y - max_{i != y} z_i`` (Bertran et al. 2023, arXiv 2307.03694).
    - ``logit_margin``: ``log p_y - log(1 - p_y)`` (Carlini et al. 2022, arXiv 2112.03570).

    >>> known = {"labels": [0, 0], "is_member": [1, 0], "from_logits": True}
    >>> inputs = MembershipInputs(outputs=[[2.0, 0.0], [0.0, 1.0]], **known)
    >>> signal_scores("hinge", inputs, [0, 1])
    array([ 2., -1.])
    """
    return inputs.score(signal)[rows]


ATTACKS = (
    Attack(
        name="correctness",
        run=partial(signal_scores, "correctness"),
        summary="whether the top class is the label",
        labels_suffice=True,
        formula="1 if the top class is the label",
        source="Yeom et al. 2018",
        needs=("labels",),
        class_wise=True,
        column="mia_correctness_auc",
        ranked=True,
    ),
    Attack(
        name="confidence",
        run=partial(signal_scores, "confidence"),
        summary="the posterior of the label",
        formula="p_y",
        source="Song & Mittal 2021",
        needs=("labels",),
        class_wise=True,
    ),
    Attack(
        name="loss",
        run=partial(signal_scores, "loss"),
        summary="the negative cross-entropy loss",
        formula="log p_y",
        source="Yeom et al. 2018",
        needs=("labels",),
        class_wise=True,
    ),
    Attack(
        name="entropy",
        run=partial(signal_scores, "entropy"),
        summary="the negative entropy of the posteriors",
        formula="sum p log p",
        source="Salem et al. 2019; Song & Mittal 2021",
        class_wise=True,
    ),
    Attack(
        name="modified_entropy",
        run=partial(signal_scores, "modified_entropy"),
        summary="the negative entropy, in which a sure but wrong answer counts as unsure",
        formula="(1 - p_y) log p_y + sum over i != y of p_i log(1 - p_i)",
        source="Song & Mittal 2021, eq. 8",
        needs=("labels",),
        class_wise=True,
        column="mia_modified_entropy_auc",
        ranked=True,
    ),
    Attack(
        name="hinge",
        run=partial(signal_scores, "hinge"),
        summary="the margin of the label's logit over the next",
        formula="z_y - max over i != y of z_i",
        source="Bertran et al. 2023",
        needs=("labels",),
        class_wise=True,
    ),
    Attack(
        name="logit_margin",
        run=partial(signal_scores, "logit_margin"),
        summary="the log-odds of the label",
        formula="log p_y - log(1 - p_y)",
        source="Carlini et al. 2022",
        needs=("labels",),
        class_wise=True,
    ),
)
