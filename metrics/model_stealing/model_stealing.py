"""How closely a surrogate's answers match those of the model it copies."""

import datasets
import evaluate
import numpy as np

from securitynet_hub import evaluation
from securitynet_hub.attacks.stealing.measures import measure_stealing
from securitynet_hub.core.arrays import as_array

_DESCRIPTION = """\
Measures model stealing on samples that neither model was trained on: the accuracy of the surrogate and of its
target, their agreement, overall and where the target errs, each with a Wilson interval and the counts behind
it, and how far the posteriors lie apart.
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
    predictions: the surrogate's answers: labels, shape (samples,), or outputs, shape (samples, classes);
        list, array or tensor.
    references: true labels, integers, shape (samples,).
    target_predictions: the target's answers, as `predictions`.
    from_logits: whether outputs are logits or probabilities; required with outputs.
    confidence_level: of every interval.
Returns:
    accuracy, accuracy_ci: of the surrogate.
    target_accuracy, target_accuracy_ci: of the target.
    relative_accuracy: accuracy / target_accuracy, None where the target is never right.
    agreement, agreement_ci: share of samples that both give the same label.
    agreement_on_target_errors, agreement_on_target_errors_ci: the same where the target is wrong; None where
        it never is.
    kl, kl_ci: mean KL(target || surrogate) of the posteriors in nats, None unless both sides gave outputs.
        Of fewer than 200 samples the interval is None: not resolvable.
    total_variation, total_variation_ci: mean of half the sum of the differences of the posteriors, None
        likewise.
    n, n_target_errors: the counts.
    confidence_level: as given.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("model_stealing")
    >>> surrogate, labels, target = [0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 1, 1]
    >>> result = metric.compute(predictions=surrogate, references=labels, target_predictions=target)
    >>> result["accuracy"], result["target_accuracy"], result["agreement"]
    (0.5, 0.75, 0.75)
    >>> half, sure = [[0.0, 0.0]], [[0.0, 1000.0]]
    >>> apart = {"references": [1], "from_logits": True}
    >>> metric.compute(predictions=half, target_predictions=sure, **apart)["total_variation"]
    0.5
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class ModelStealing(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_stealing`."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("float64")  # Arrow would cut a label of 0.5 to the integer 0 without a word
        kinds = (label, datasets.Sequence(label))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": answer, "references": label, "target_predictions": answer})
                for answer in kinds
            ],
            reference_urls=["https://arxiv.org/abs/2310.12665", "https://arxiv.org/abs/1909.01838"],
        )

    def _compute(self, predictions, references, target_predictions, **settings):
        sides = {
            "predictions": predictions, "references": references, "target_predictions": target_predictions
        }  # fmt: skip
        answers = {name: _labels_or_outputs(side, name) for name, side in sides.items()}
        return measure_stealing(
            answers["predictions"], answers["references"], answers["target_predictions"], **settings
        )


def _labels_or_outputs(given, name):
    """Return labels that Arrow made floats as integers again, and anything else as it is, to be checked."""
    array = as_array(given, name)
    if array.ndim == 1 and array.dtype.kind == "f" and (array == np.floor(array)).all():
        return array.astype(np.int64)
    return array
