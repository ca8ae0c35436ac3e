"""How often a classifier stays right whatever attacks do to its images."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.evasion.measures import measure_robustness

_DESCRIPTION = """\
Measures adversarial robustness: accuracy on unchanged images, and robust accuracy, the share of images that
are classified correctly whatever one or several attacks do to them, with exact (Clopper-Pearson) intervals.
"""

_CITATION = """\
@inproceedings{croce2020reliable,
  title={Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks},
  author={Croce, Francesco and Hein, Matthias},
  booktitle={International Conference on Machine Learning},
  year={2020}
}
"""

_INPUTS = """
Args:
    predictions: the model's labels of the unchanged images, integers, shape (images,); list, array or tensor.
    references: true labels, integers, shape (images,).
    adversarial_predictions: the model's labels of the images as an attack has changed them, shape (images,);
        of several attacks shape (images, attacks).
    confidence_level: of every interval.
Returns:
    accuracy, accuracy_ci: on the unchanged images; every interval is Clopper and Pearson's.
    robust_accuracy, robust_accuracy_ci: share of images that are classified correctly unchanged and under
        every attack; never above accuracy.
    per_attack: for each attack alone its number, robust_accuracy and robust_accuracy_ci.
    n: number of images.
    confidence_level: as given.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("adversarial_robustness")
    >>> attacked = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> result = metric.compute(
    ...     predictions=[0, 1, 1, 0], references=[0, 1, 1, 1], adversarial_predictions=attacked
    ... )
    >>> result["accuracy"], result["robust_accuracy"]
    (0.75, 0.25)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class AdversarialRobustness(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_robustness`."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("float64")  # Arrow would cut a label of 0.5 to the integer 0 without a word
        kinds = (label, datasets.Sequence(label))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features(
                    {"predictions": label, "references": label, "adversarial_predictions": attacked}
                )
                for attacked in kinds
            ],
            reference_urls=["https://arxiv.org/abs/2003.01690"],
        )

    def _compute(self, predictions, references, adversarial_predictions, **settings):
        return measure_robustness(predictions, references, adversarial_predictions, **settings)
