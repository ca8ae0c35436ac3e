"""How well membership scores tell a model's training samples from others."""

import dataclasses

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks import suite
from securitynet_hub.attacks.membership import measure_membership
from securitynet_hub.errors import UnknownNameError
from securitynet_hub.statistics import as_array

EVIDENCE = {field.name for field in dataclasses.fields(suite.Evidence)}

_DESCRIPTION = """\
Measures a membership-inference attack: the area under the ROC curve with ties counted one half, the
membership advantage, and the true-positive rate at low false-positive rates, each with a confidence interval
and the counts behind it. The default config takes one score per sample; every other config is an attack,
which makes the scores from what a model answers.
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
    predictions: one finite score per sample, higher = more likely a member; list, array or tensor. In the
        config of an attack: the model's outputs, shape (samples, classes).
    references: one boolean or 0/1 per sample, true for members. In the config of an attack: the labels.
    membership: in the config of an attack: one boolean or 0/1 per sample, true for members.
    from_logits: in the config of an attack: whether the outputs are logits; nothing is guessed.
    class_wise: in the config of a metric-based attack: judge by one threshold for each class.
    target_fprs: false-positive rates at which to give the true-positive rate.
    confidence_level: of every interval.
    Others: in the config of an attack, what it needs (the fields of `securitynet_hub.attacks.suite.Evidence`:
        calibration, reference_outputs, reference_in, population_outputs, ..., seed) and its settings.
Returns:
    auc: P[member's score > non-member's] + P[equal] / 2.
    auc_ci: its interval (DeLong on the logit scale).
    advantage: largest TPR - FPR over all thresholds.
    advantage_ci: its interval (Dvoretzky-Kiefer-Wolfowitz, conservative).
    tpr_at_fpr: for each target: target_fpr, tpr, achieved_fpr (at most the target), threshold (a score
        above it accuses), ci (Wilson, for the TPR at that threshold), resolvable (whether the target
        allows one false alarm among these non-members).
    n_members, n_nonmembers: the counts, those of calibration left out.
    confidence_level: as given.
    accusations: with class_wise: accuracy, balanced accuracy, precision and recall at the thresholds.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("membership_inference")
    >>> result = metric.compute(predictions=[0.9, 0.8, 0.3, 0.3], references=[1, 0, 1, 0])
    >>> result["auc"]
    0.625
    >>> attack = load_metric("membership_inference", "modified_entropy")
    >>> logits, labels = [[4.0, 0.0], [0.5, 0.0], [0.0, 0.2], [0.1, 0.0]], [0, 0, 0, 1]
    >>> told = {"membership": [1, 1, 0, 0], "from_logits": True}
    >>> attack.compute(predictions=logits, references=labels, **told)["auc"]
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class MembershipInference(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_membership` and, in the configs of attacks, of `measure_attack`."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        # No integers: Arrow would cut a membership or a label of 0.5 down to 0 without a word.
        features = {"predictions": number, "references": number}
        if self.config_name != "default":
            if self.config_name not in suite.ATTACKS:
                raise UnknownNameError("config", self.config_name, ["default", *suite.ATTACKS])
            features = {
                "predictions": datasets.Sequence(number),
                "references": number,
                "membership": number,
            }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
            reference_urls=["https://arxiv.org/abs/2310.12665", "https://arxiv.org/abs/2112.03570"],
        )

    def _compute(self, predictions, references, membership=None, from_logits=None, **settings):
        if self.config_name == "default":
            return measure_membership(predictions, references, **settings)
        labels = as_array(references, "references")
        if labels.dtype.kind == "f" and (labels == labels.astype("int64")).all():  # as Arrow gives them back
            labels = labels.astype("int64")
        held = {name: settings.pop(name) for name in EVIDENCE & settings.keys()}
        evidence = suite.Evidence(
            outputs=predictions, labels=labels, is_member=membership, from_logits=from_logits, **held
        )
        return suite.measure_attack(self.config_name, evidence, **settings)
