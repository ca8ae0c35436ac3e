"""Whether one class of a model needs a far smaller trigger than the other classes."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.backdoor.inversion import measure_inversion

_DESCRIPTION = """\
Measures from the norms of the triggers recovered for a model's classes, as Neural Cleanse does, whether one
class needs a far smaller trigger than the other classes: a sign of a backdoor that leads to it.
"""

_CITATION = """\
@inproceedings{wang2019neuralcleanse,
  title={Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks},
  author={Wang, Bolun and Yao, Yuanshun and Shan, Shawn and Li, Huiying and Viswanath, Bimal and Zheng, Haitao
          and Zhao, Ben Y},
  booktitle={40th IEEE Symposium on Security and Privacy},
  year={2019}
}
"""

_INPUTS = """
Args:
    predictions: the L1 norm of each class's trigger, shape (classes,) or (restarts, classes); None or NaN
        where no trigger reached the threshold of success.
    classes: shape (classes,), the names of the classes; 0, 1, ... unless given.
    controls: shape (classes,), booleans, the classes with whose median and MAD all are compared; all unless
        given.
    threshold: of the anomaly index (2).
Returns:
    anomaly_index, anomaly_index_range: (median - smallest norm) / (1.4826 MAD), median over restarts, spread.
    log_anomaly_index, log_anomaly_index_range: the same of the logarithms.
    norm_ratio, norm_ratio_range: smallest norm / median.
    smallest_class: of the smallest norm.
    flagged_classes: with an index above the threshold in more than half of the restarts.
    n_classes, n_converged, n_restarts: the counts.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("backdoor_trigger_inversion")
    >>> result = metric.compute(predictions=[10, 50, 60, 70, 80])
    >>> round(result["anomaly_index"], 4), result["flagged_classes"], round(result["norm_ratio"], 4)
    (3.3725, [0], 0.1667)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class BackdoorTriggerInversion(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_inversion`."""

    named = (("norms", "predictions"),)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("float64")}),
            reference_urls=["https://doi.org/10.1109/SP.2019.00031"],
        )

    def _compute(self, predictions, **settings):
        return measure_inversion(predictions, **settings)
