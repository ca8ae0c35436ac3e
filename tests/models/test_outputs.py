"""What networks answer becomes logits of shape (n, classes), or a sentence says what to return."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from securitynet_hub.core.errors import ModelError, UnknownNameError
from securitynet_hub.models.outputs import MASKED, Classifier, as_logits, doubt_of_logits, pick

Z = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0]])
Named = namedtuple("Named", "logits aux")

FORMS = {
    "tensor": lambda z: z,
    "tuple": lambda z: (z, -z),
    "list": lambda z: [z],
    "named tuple": lambda z: Named(z, None),
    "named tuple, not the first": lambda z: namedtuple("Other", "features logits")(z.repeat(1, 9), z),
    "dict": lambda z: {"features": z.repeat(1, 4), "logits": z},
    "dict without the name": lambda z: {"loss": z.mean(), "prediction": z},
    "ModelOutput": lambda z: ImageClassifierOutput(loss=z.mean(), logits=z),
    "pooled": lambda z: z[:, :, None, None],
    "squeezed": lambda z: z[:, :, None, None].squeeze(),
    "half": lambda z: z.half(),
    "labels beside": lambda z: (z.argmax(1), z),
    "an object with fields": lambda z: SimpleNamespace(logits=z),
}


class Net(nn.Module):
    """Answers with given numbers in one of the forms."""

    def __init__(self, form, precision=torch.float32):
        super().__init__()
        self.form, self.scale = form, nn.Parameter(torch.ones((), dtype=precision))

    def forward(self, inputs):
        assert inputs.dtype == self.scale.dtype
        return self.form(inputs * self.scale)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_the_logits_are_found(form, n):
    found = Classifier(Net(FORMS[form]), num_classes=3)(Z[:n])
    assert torch.equal(found, Z[:n])
    assert found.dtype == torch.float32


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_are_cast_to_the_network_s_precision(precision):
    assert torch.equal(Classifier(Net(FORMS["tensor"], precision), num_classes=3)(Z).float(), Z)


@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 1, 1, 1)])
def test_one_logit_is_that_of_class_1(shape):
    one = Classifier(Net(lambda z: z[:, 0].reshape(shape)), num_classes=2)(Z)
    assert one.tolist() == [[0, 2], [0, 0]]
    p = Classifier(Net(lambda z: z[:, 0].sigmoid().reshape(shape)), num_classes=2, outputs="posteriors")(Z)
    torch.testing.assert_close(p.softmax(1), one.softmax(1))
    logs = nn.functional.logsigmoid
    p = Classifier(Net(lambda z: logs(z[:, :1])), num_classes=2, outputs="log-posteriors")(Z)
    torch.testing.assert_close(p.softmax(1), one.softmax(1))


def test_one_logit_of_one_image():
    assert Classifier(Net(lambda z: z[:, 0].squeeze()), num_classes=2)(Z[:1]).tolist() == [[0, 2]]


def test_one_logit_needs_to_be_said():
    for n in (1, 2):
        with pytest.raises(ModelError, match=r"one number for each image\. Pass num_classes=2"):
            Classifier(Net(lambda z: z[:, :1]))(Z[:n])


@pytest.mark.parametrize(
    ("outputs", "function"),
    [("posteriors", lambda z: z.softmax(1)), ("log-posteriors", lambda z: z.log_softmax(1))],
)
def test_posteriors_come_back_as_logits(outputs, function):
    found = Classifier(Net(function), num_classes=3, outputs=outputs)(Z)
    torch.testing.assert_close(found, Z.log_softmax(1))


def test_posteriors_of_zero_stay_finite():
    found = as_logits(torch.tensor([[1.0, 0.0]]), 2, "posteriors")
    assert found.isfinite().all()
    torch.testing.assert_close(found.softmax(1), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("form", [lambda z: z.argmax(1), lambda z: z.argmax(1).float(), lambda z: z])
def test_labels(form):
    found = Classifier(Net(form), num_classes=3, outputs="labels")(Z)
    assert found.argmax(1).tolist() == [0, 1]
    assert (found.softmax(1).amax(1) > 1 - 1e-6).all()


def test_classes_that_are_ruled_out():
    masked = Z.masked_fill(Z < 0, -torch.inf)
    found = Classifier(Net(lambda z: z.masked_fill(z < 0, -torch.inf)), num_classes=3)(Z)
    assert torch.equal(found.softmax(1), masked.softmax(1))
    assert found[0, 2] == 2 - MASKED
    broken = Classifier(Net(lambda z: z.masked_fill(z < 0, torch.nan)), num_classes=3)(Z)
    assert broken.isnan().sum() == 1  # that is no mask; whoever asks refuses it


@pytest.mark.parametrize(
    ("form", "came"),
    [
        (lambda z: z[:, :, None].repeat(1, 1, 4), r"\(2, 3, 4\)"),
        (lambda z: {"a": z[:1]}, r"a \(1, 3\)"),
        (lambda z: "words", "str"),
        (lambda z: {}, "dict"),
        (lambda z: z.T, r"\(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_told(form, came):
    with pytest.raises(ModelError, match=rf"answered 2 image\(s\) with {came}; .*Pass reduce="):
        Classifier(Net(form), num_classes=3)(Z)


def test_two_widths_are_not_chosen_from():
    with pytest.raises(ModelError, match=r"item 0 \(2, 6\), item 1 \(2, 3\); .*num_classes="):
        pick((Z.repeat(1, 2), Z), 2)
    assert pick((Z.repeat(1, 2), Z), 2, 3) is not None


def test_reduce_picks():
    found = Classifier(Net(lambda z: {"a": z[..., None]}), num_classes=3, reduce=lambda a: a["a"].mean(-1))(Z)
    assert torch.equal(found, Z)


@pytest.mark.parametrize("outputs", ["posteriors", "log-posteriors"])
def test_what_is_no_distribution_is_refused(outputs):
    with pytest.raises(ModelError, match=f"are said to be {outputs}.*sum to .*Pass outputs='logits'"):
        as_logits(Z.abs(), 3, outputs)


def test_labels_out_of_range_are_refused():
    for labels in ([3], [-1], [0.5]):
        with pytest.raises(ModelError, match=r"labels in 0\.\.2, whole numbers"):
            as_logits(torch.tensor([labels]), 3, "labels")


def test_unknown_outputs():
    with pytest.raises(UnknownNameError, match=r"'probabilities'.*'posteriors'"):
        Classifier(nn.Identity(), outputs="probabilities")


@pytest.mark.parametrize("seed", range(20))
def test_logits_are_not_taken_for_posteriors(seed):
    rng = np.random.default_rng(seed)
    for logits in (rng.normal(size=(1, 2)), rng.normal(size=(9, 10)), rng.uniform(0, 9, size=(9, 10))):
        assert doubt_of_logits(logits) is None
        posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert "outputs='posteriors'" in doubt_of_logits(posteriors)
        if len(logits) > 1:
            assert "sigmoids" in doubt_of_logits(1 / (1 + np.exp(-logits)))
    assert "a sigmoid was left" in doubt_of_logits(np.array([[0, 0.3], [0, 0.9]]))


def test_complex_and_sparse_answers_are_refused():
    with pytest.raises(ModelError, match="complex numbers"):
        Classifier(torch.nn.Identity())(torch.zeros(2, 3, dtype=torch.complex64))
    with pytest.raises(ModelError, match="logits of shape"):
        pick(torch.zeros(2, 3).to_sparse(), 2)
