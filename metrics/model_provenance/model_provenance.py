"""Whether a model is derived from another one, judged beside independent models, from answers alone."""

import datasets
import evaluate

from securitynet_hub import evaluation
from securitynet_hub.attacks.provenance.answers import measure_provenance

_DESCRIPTION = """\
Measures whether a suspect is derived from a target: how often it repeats the target's mistakes and how its
logits depart from those of other models, each ranked among independent models of the same task, which gives a
p-value. With n independent models no p-value is below 1 / (n + 1).
"""

_CITATION = """\
@inproceedings{godinot2025queries,
  title={Queries, Representation \\& Detection: The Next 100 Model Fingerprinting Schemes},
  author={Godinot, Augustin and Le Merrer, Erwan and Penzo, Camilla and Ta\\"iani, Fran\\c{c}ois and
  Tr\\'edan,
          Gilles},
  booktitle={AAAI Conference on Artificial Intelligence},
  year={2025}
}
"""

_INPUTS = """
Args:
    predictions: the suspect's answers: labels, shape (samples,), or logits, shape (samples, classes); list,
        array or tensor.
    references: true labels, integers, shape (samples,).
    target_predictions: the answers of the model that may have been copied, as `predictions`.
    independent_predictions: those of models that are independent of it, shape (models, samples[, classes]).
    null: "reference" ranks among the independent models' similarities to the target, "pairs" among those of
    all
        pairs of models.
    significance: largest p-value that is called derived.
Returns:
    p_value, smallest_p_value: of all signs together, and the smallest one that so many models can give.
    outcome: "derived", "not told apart", or "too few models".
    similarity, independent: the mean of the standardised signs, of the suspect and of each independent model.
    agreement_on_errors, agreement_on_errors_ci: share of the target's mistakes that the suspect repeats, and
        its Wilson interval; None where there are none.
    independent_agreement_on_errors: that of each independent model.
    n, n_errors, n_independent, n_needed: the counts, and how many independent models the significance takes.
Examples:
    >>> from securitynet_hub import load_metric
    >>> metric = load_metric("model_provenance")
    >>> labels, target = [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0]
    >>> others = [[0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 1, 0]]
    >>> asked = {"references": labels, "target_predictions": target, "independent_predictions": others}
    >>> result = metric.compute(predictions=target, **asked)
    >>> result["p_value"], result["agreement_on_errors"], result["outcome"], result["n_needed"]
    (0.25, 1.0, 'too few models', 19)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class ModelProvenance(evaluation.ArrayMetric):
    """A thin `evaluate` face of `measure_provenance`."""

    named = (
        ("suspect", "predictions"),
        ("target", "target_predictions"),
        ("independent", "independent_predictions"),
    )

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
            reference_urls=["https://arxiv.org/abs/2412.13021", "https://arxiv.org/abs/2502.00706"],
        )

    def _compute(self, predictions, references, target_predictions, independent_predictions, **settings):
        return measure_provenance(
            predictions, references, target_predictions, independent_predictions, **settings
        )
