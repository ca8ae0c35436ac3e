"""How well membership scores tell a model's training samples from others."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks import membership

_DESCRIPTION = """\
Measures a membership-inference attack from one score per sample: the area under the ROC curve with
ties counted one half, the membership advantage, and the true-positive rate at low false-positive rates,
each with a confidence interval and the counts behind it.
"""

_CITATION = """\
@inproceedings{zhang2024securitynet,
  title={{SecurityNet}: Assessing Machine Learning Vulnerabilities on Public Models},
  author={Zhang, Boyang and Li, Zheng and Yang, Ziqing and He, Xinlei and Backes, Michael and Fritz, Mario
          and Zhang, Yang},
  booktitle={33rd USENIX Security Symposium},
  year={2024}
}
"""

_INPUTS = """
Args:
    predictions: one finite score per sample, higher = more likely a member; list, array or tensor.
    references: one boolean or 0/1 per sample, true for members.
    target_fprs: false-positive rates at which to give the true-positive rate.
    confidence_level: of every interval.
Returns:
    auc: P[member's score > non-member's] + P[equal] / 2.
    auc_ci: its interval (DeLong on the logit scale).
    advantage: largest TPR - FPR over all thresholds.
    advantage_ci: its interval (Dvoretzky-Kiefer-Wolfowitz, conservative).
    tpr_at_fpr: for each target: target_fpr, tpr, achieved_fpr (at most the target), threshold (a score
        above it accuses), ci (Wilson, for the TPR at that threshold), resolvable (whether the target
        allows one false alarm among these non-members).
    n_members, n_nonmembers: the counts.
    confidence_level: as given.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("membership_inference")
    >>> result = metric.compute(predictions=[0.9, 0.8, 0.3, 0.3], references=[1, 0, 1, 0])
    >>> result["auc"]
    0.625
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class MembershipInference(evaluation.ArrayMetric):
    """A thin `evaluate` face of `securitynet_hub.attacks.membership.measure_membership`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                # Not integers: Arrow would cut a membership of 0.5 down to 0 without a word.
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
            reference_urls=["https://arxiv.org/abs/2310.12665", "https://arxiv.org/abs/2112.03570"],
        )

    def _compute(
        self,
        predictions,
        references,
        target_fprs=membership.TARGET_FPRS,
        confidence_level=membership.CONFIDENCE_LEVEL,
    ):
        return membership.measure_membership(
            predictions, references, target_fprs=target_fprs, confidence_level=confidence_level
        )
