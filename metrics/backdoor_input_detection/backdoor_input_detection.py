"""How well scores separate a backdoored model's poisoned inputs from clean ones."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.backdoor.measures import measure_input_detection

_DESCRIPTION = """\
Measures a detector of poisoned inputs: the area under the ROC curve with ties counted one half, and the share
of poisoned inputs that are accepted at a false-rejection rate chosen on other clean images, each with a
confidence interval and the counts behind it.
"""

_CITATION = """\
@inproceedings{gao2019strip,
  title={{STRIP}: A Defence Against Trojan Attacks on Deep Neural Networks},
  author={Gao, Yansong and Xu, Change and Wang, Derui and Chen, Shiping and Ranasinghe, Damith C
          and Nepal, Surya},
  booktitle={35th Annual Computer Security Applications Conference},
  year={2019}
}
"""

_INPUTS = """
Args:
    predictions: one finite score per input, higher = more likely poisoned; list, array or tensor.
    references: one boolean or 0/1 per input, true for poisoned ones.
    calibration: scores of other clean images, on which the thresholds are chosen; none without them.
    ids, calibration_ids: identities (hashes, names or positions); an image in both is refused.
    target_frrs: false-rejection rates at which to give the false-acceptance rate.
    confidence_level: of every interval.
Returns:
    auc: P[poisoned score > clean score] + P[equal] / 2.
    auc_ci: its interval (DeLong on the logit scale).
    acceptance: for each target: target_frr, threshold (a score above it is rejected), frr and far (clean
        inputs rejected, poisoned ones accepted), frr_ci and far_ci (Wilson, at that threshold), resolvable
        (whether there are enough calibration images for the target). None without calibration.
    n_poisoned, n_clean, n_calibration: the counts.
    confidence_level: as given.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("backdoor_input_detection")
    >>> scores, poisoned = [0.9, 0.8, 0.3, 0.3], [1, 0, 1, 0]
    >>> known = {"calibration": [0.1, 0.2, 0.3, 0.4], "target_frrs": [0.2]}
    >>> result = metric.compute(predictions=scores, references=poisoned, **known)
    >>> result["auc"], result["acceptance"][0]["threshold"], result["acceptance"][0]["far"]
    (0.625, 0.4, 0.5)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class BackdoorInputDetection(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_input_detection`."""

    named = (
        ("scores", "predictions"),
        ("is_poisoned", "references"),
    )

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": number, "references": number}),
            reference_urls=["https://arxiv.org/abs/2310.12665", "https://arxiv.org/abs/1902.06531"],
        )

    def _compute(self, predictions, references, **settings):
        return measure_input_detection(predictions, references, **settings)
