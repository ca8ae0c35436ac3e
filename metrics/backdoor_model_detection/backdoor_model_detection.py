"""How well scores separate backdoored models from clean ones."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.backdoor.model_measures import measure_model_detection

_DESCRIPTION = """\
Measures a detector of backdoored models as NIST's TrojAI does: the area under the ROC curve with ties counted
one half and, for probabilities, cross-entropy and Brier score, each with a confidence interval and the counts
behind it.
"""

_CITATION = """\
@inproceedings{karra2020trojai,
  title={The {TrojAI} Software Framework: An Open Source Tool for Embedding Trojans into Deep Learning
         Models},
  author={Karra, Kiran and Ashcraft, Chace and Fendley, Neil},
  booktitle={arXiv:2003.07233},
  year={2020}
}
"""

_INPUTS = """
Args:
    predictions: one finite score per model, higher = more likely backdoored; list, array or tensor.
    references: one boolean or 0/1 per model, true for backdoored ones.
    probabilities: whether the scores are probabilities of a backdoor; required, nothing is guessed.
    confidence_level: of every interval.
Returns:
    auc, auc_ci: P[backdoored model's score > clean one's] + P[equal] / 2, and its interval (DeLong).
    cross_entropy, cross_entropy_ci: mean of -ln of the probability of the truth, kept within
        [1e-12, 1 - 1e-12]; mean +- z std / sqrt(n). None without probabilities.
    brier, brier_ci: mean of the squared errors, likewise.
    n_backdoored, n_clean: the counts.
    confidence_level: as given.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("backdoor_model_detection")
    >>> truth = [1, 0, 1, 0]
    >>> result = metric.compute(predictions=[0.9, 0.2, 0.5, 0.5], references=truth, probabilities=True)
    >>> result["auc"], round(result["brier"], 4)
    (0.875, 0.1375)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class BackdoorModelDetection(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_model_detection`."""

    named = (
        ("scores", "predictions"),
        ("is_backdoored", "references"),
    )

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": number, "references": number}),
            reference_urls=["https://pages.nist.gov/trojai/", "https://arxiv.org/abs/2003.07233"],
        )

    def _compute(self, predictions, references, **settings):
        return measure_model_detection(predictions, references, **settings)
