"""How well membership scores tell a model's training samples from others."""

import dataclasses

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.registry import attacks
from securitynet_hub.attacks.membership.running import measure_attack
from securitynet_hub.core.arrays import as_array, require_finite
from securitynet_hub.core.errors import UnknownNameError

INPUTS = {field.name for field in dataclasses.fields(MembershipInputs)}
CONFIGS = ("default", *attacks())

_DESCRIPTION = """\
Measures a membership-inference attack: the area under the ROC curve with ties counted one half, the
membership advantage, and the true-positive rate at low false-positive rates, each with a confidence interval
and the counts behind it. The default config takes one score per sample; every other config is an attack,
which makes the scores from what a model answers. On request it compares two attacks or two models, and bounds
the epsilon of differential privacy from below.
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
        config of an attack on outputs: the model's outputs, shape (samples, [views,] classes). In the config
        of an attack by queries that counts right labels, such as translation: the predicted labels, shape
        (samples, queries). In the config of any other attack by queries: its scores, such as the distances
        of boundary, 0 where the sample is misclassified.
    references: the labels of the samples; where predictions are scores, one boolean or 0/1 per sample, true
        for members.
    membership: one boolean or 0/1 per sample, true for members, where references are labels.
    from_logits: in the config of an attack on outputs: whether they are logits; nothing is guessed.
    class_wise: in the config of a metric-based attack: judge by one threshold for each class.
    target_fprs: false-positive rates at which to give the true-positive rate.
    confidence_level: of every interval.
    compare_with: another attack's scores of the same samples, or in the config of an attack on outputs also
        the name of another; with compare_with_members another model's scores of samples of its own.
    compare_with_members: one boolean or 0/1 for each of those.
    epsilon: "rates" or "one_run", to bound epsilon from below (`measure_membership` says when which holds).
    delta: of the (epsilon, delta) privacy that is tested.
    Further arguments, in the config of an attack on outputs: what it needs (the fields of
        `membership.inputs.MembershipInputs`: calibration, reference_outputs, reference_in,
        population_outputs, ..., seed) and its settings.
Returns:
    auc: P[member's score > non-member's] + P[equal] / 2.
    auc_ci: its interval (a beta distribution with DeLong's variance).
    advantage: largest TPR - FPR over all thresholds.
    advantage_ci: its interval (Dvoretzky-Kiefer-Wolfowitz, conservative).
    tpr_at_fpr: for each target: target_fpr, tpr (where that share of all non-members is accused), ci,
        resolvable (whether these non-members tell the rate from 0); and at the sample's own threshold
        (a score above it accuses) achieved_fpr, tpr_at_threshold, ci_at_threshold (Wilson).
    n_members, n_nonmembers: the counts without calibration samples.
    confidence_level: as given.
    accusations: with class_wise: accuracy, balanced accuracy, precision and recall at the thresholds.
    comparison: with compare_with: difference (this AUC minus the other), ci, p_value of no difference.
    epsilon_bound: with epsilon: method, delta, epsilon (0 refutes nothing) and what it rests on.
    tuned: the settings that the attack found itself, such as RMIA's with a="tuned".
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
    """A thin `evaluate` face of `measure_membership` and, for attacks on outputs, of `measure_attack`."""

    @property
    def named(self):
        """What messages call the inputs."""
        if self.takes_scores:
            return ("scores", "predictions"), ("is_member", "references")
        return ("outputs", "predictions"), ("labels", "references"), ("is_member", "membership")

    @property
    def attack(self):
        """The attack of this config; None for the default."""
        return attacks().get(self.config_name)

    @property
    def takes_scores(self):
        """Whether predictions are scores, and references the membership."""
        attack = self.attack
        return attack is None or not (attack.shares_pass or attack.score_answers)

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in CONFIGS:
            raise UnknownNameError("config", self.config_name, CONFIGS)
        # No integers: Arrow would cut a membership or a label of 0.5 down to 0 without a word.
        number = datasets.Value("float64")
        row = datasets.Sequence(number)
        labelled = {"references": number, "membership": number}
        if self.takes_scores:
            features = [{"predictions": number, "references": number}]
        elif self.attack.score_answers:
            features = [{"predictions": row, **labelled}]
        else:  # with or without an axis of views
            features = [{"predictions": each, **labelled} for each in (row, datasets.Sequence(row))]
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[datasets.Features(each) for each in features],
            reference_urls=["https://arxiv.org/abs/2310.12665", "https://arxiv.org/abs/2112.03570"],
        )

    def _compute(self, predictions, references, membership=None, from_logits=None, **settings):
        if self.takes_scores:
            if self.attack is not None and self.attack.minimum is not None:
                _require_at_least(predictions, self.attack)
            return measure_membership(predictions, references, **settings)
        labels = _whole(references, "references")
        if self.attack.score_answers:
            scores = self.attack.score_answers(_whole(predictions, "predictions"), labels)
            return measure_membership(scores, membership, **settings)
        held = {name: settings.pop(name) for name in INPUTS & settings.keys()}
        inputs = MembershipInputs(
            outputs=predictions, labels=labels, is_member=membership, from_logits=from_logits, **held
        )
        return measure_attack(self.config_name, inputs, **settings)


def _require_at_least(scores, attack):
    values = as_array(scores, "predictions")
    require_finite(values, "predictions")
    if (values < attack.minimum).any():
        raise ValueError(
            f"scores of {attack.name} must be at least {attack.minimum:g}; the smallest is {values.min()}."
        )


def _whole(values, name):
    """Return whole numbers as integers, which Arrow gives back as floats, and anything else as it is."""
    array = as_array(values, name)
    if array.dtype.kind == "f" and (abs(array) < 2**53).all() and (array == array.astype("int64")).all():
        array = array.astype("int64")
    return array
