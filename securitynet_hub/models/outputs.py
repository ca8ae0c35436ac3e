"""What networks answer, turned into logits of shape (n, classes), whatever form it has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from securitynet_hub.core.errors import ModelError, UnknownNameError

Outputs = Literal["logits", "posteriors", "log-posteriors", "labels"]
"""What the numbers are that a model answers with."""

Reduce = Callable[[Any], Any]
"""A caller's function that picks the answers to classify by out of what a network returns."""

CLIP = 1e-30
"""Smallest probability inside a logarithm, as in `securitynet_hub.statistics.posteriors`."""

ROUNDED = 0.05
"""Largest distance of a row's sum from one that rounded posteriors may have."""

MASKED = 1e4
"""By how much the logit of a class that a network rules out (-inf) trails the largest: its posterior is 0."""

SURE = 30.0
"""Logit of the class that a label names; all others are 0."""

ALIKE = 1e-3
"""Largest distance of a row's sum from one at which nobody takes non-negative answers for logits."""


class Classifier(torch.nn.Module):
    """A network whose answers are logits of shape (n, classes), float32 or float64.

    Inputs are copied, in the precision of the network's first parameter, as it may change them in place. Of
    a tuple, a dictionary or a ``ModelOutput`` the logits are picked; (n, classes, 1, 1) is flattened, a
    squeezed batch of one restored. A network that squeezes a batch of one before a layer that cannot take it
    is asked about that image twice. One logit z becomes [0, z] if the model has two classes. Posteriors
    become their logarithms, a label a large logit of its class. A class that is ruled out by -inf trails by
    `MASKED`.

    Args:
        network: the caller's network.
        num_classes: number of classes; None while it is to be found.
        outputs: what the numbers are.
        reduce: picks the answers out of what the network returns; None to find them.

    >>> heads = torch.nn.ModuleDict({"a": torch.nn.Softmax(1)})
    >>> Classifier(heads["a"], num_classes=2, outputs="posteriors")(torch.zeros(1, 2)).exp()
    tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        num_classes: int | None = None,
        outputs: Outputs | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        super().__init__()
        require_outputs(outputs)
        self.network, self.num_classes, self.outputs, self.reduce = network, num_classes, outputs, reduce
        self.answers_only = bool(getattr(network, "answers_only", False))
        if hasattr(network, "hf_device_map"):
            self.hf_device_map = network.hf_device_map  # says that it is on its devices already

    def __deepcopy__(self, memo: dict[int, Any]) -> Classifier:
        """Copy the network, without the history of what it keeps of a pass; a scripted one can be trained."""
        for part in self.modules():
            for value in vars(part).values():
                if isinstance(value, torch.Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()
        found = memo[id(self)] = type(self).__new__(type(self))
        with torch.no_grad():  # or the parameters of a scripted network would be results of the originals
            found.__dict__.update(copy.deepcopy(self.__dict__, memo))
        for one, own in zip(found.parameters(), self.parameters(), strict=True):
            one.requires_grad_(own.requires_grad)
        return found

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs (n, channels, ...) to logits (n, classes)."""
        try:
            answer = self.answer(inputs)
        except Exception:  # a network may squeeze a batch of one before a layer or softmax that needs it
            if len(inputs) != 1:
                raise
            return self.read(self.answer(torch.cat([inputs, inputs])), 2)[:1]
        return self.read(answer, len(inputs))

    def answer(self, inputs: torch.Tensor) -> Any:
        """Return what the network answers, as `reduce` has it."""
        parameters = (p.dtype for p in self.network.parameters() if p.is_floating_point())
        answer = self.network(inputs.to(next(parameters, inputs.dtype), copy=True))
        return answer if self.reduce is None else self.reduce(answer)

    def read(self, answer: Any, n: int) -> torch.Tensor:
        """Return an answer to n images as logits.

        Raises:
            ModelError: they cannot be found in it, or are not what `outputs` says.
        """
        return as_logits(pick(answer, n, self.num_classes), self.num_classes, self.outputs or "logits")

    def extra_repr(self) -> str:
        """Say what decides the answers besides the network."""
        return f"num_classes={self.num_classes}, outputs={self.outputs or 'logits'}"


def require_outputs(outputs: str | None) -> None:
    """Refuse a name of outputs that does not exist; None stands for logits."""
    if outputs is not None and outputs not in get_args(Outputs):
        raise UnknownNameError("kind of outputs", outputs, get_args(Outputs))


def pick(answer: Any, n: int, num_classes: int | None = None) -> torch.Tensor:
    """Return the answers to n images as a tensor of shape (n, columns), or (n,) for one number an image.

    Of several tensors the one named ``logits`` is taken, else the first that fits.

    Raises:
        ModelError: there is none that fits, or several of different widths; the sentence says what came and
            what to do.

    >>> pick({"logits": torch.zeros(2, 3, 1, 1), "features": torch.zeros(2, 8)}, 2).shape
    torch.Size([2, 3])
    """
    found = fitting(answer, n, num_classes)
    widths = sorted({value.shape[1] for value in found})
    if len(widths) == 1:
        return found[0]
    came = ", ".join(f"{name} {tuple(value.shape)}".strip() for name, value in _parts(answer))
    expected = f"({n}, {num_classes})" if num_classes else f"({n}, classes)"
    raise ModelError(
        f"the model answered {n} image(s) with {came or type(answer).__name__}; logits of shape {expected} "
        "were expected. Pass reduce=, a function from what the model returns to logits, such as "
        "reduce=lambda answer: answer[0], or num_classes= if the number is wrong."
    )


def fitting(answer: Any, n: int, num_classes: int | None = None) -> list[torch.Tensor]:
    """Return the tensors in an answer to n images that may be its logits, those that are meant first.

    One named ``logits`` excludes all others, and several columns exclude single ones.
    """
    shaped = [(name, _shaped(value, n, num_classes)) for name, value in _parts(answer)]
    found = [(name, value) for name, value in shaped if value is not None]
    named = [value for name, value in found if name == "logits"]
    wide = [value for _, value in found if value.shape[1] > 1]
    return named or wide or [value for _, value in found]


def _parts(answer: Any) -> Iterable[tuple[str, Any]]:
    """Yield the tensors that an answer holds at its top, with their names where they have any."""
    if isinstance(answer, torch.Tensor):
        return [("", answer)]
    if isinstance(answer, Mapping):
        return [(str(name), value) for name, value in answer.items() if isinstance(value, torch.Tensor)]
    if isinstance(answer, Sequence):
        names = getattr(answer, "_fields", [f"item {place}" for place in range(len(answer))])
        return [(name, v) for name, v in zip(names, answer, strict=True) if isinstance(v, torch.Tensor)]
    fields = vars(answer) if hasattr(answer, "__dict__") else {}
    return [(name, value) for name, value in fields.items() if isinstance(value, torch.Tensor)]


def _shaped(value: torch.Tensor, n: int, num_classes: int | None) -> torch.Tensor | None:
    """Return a tensor as (n, columns), None if it cannot be the answers to n images."""
    if value.layout != torch.strided:
        return None
    if value.ndim == 0 and n == 1:
        return value.reshape(1, 1)
    if value.ndim == 1:
        if len(value) == n and (n > 1 or num_classes in (None, 2)):
            return value.reshape(n, 1)
        return value.reshape(1, -1) if n == 1 and num_classes in (None, len(value)) else None
    if (
        value.ndim > 2
        and n == 1
        and value.shape[0] == num_classes
        and not any(d - 1 for d in value.shape[1:])
    ):
        return value.reshape(1, -1)
    if value.ndim < 2 or len(value) != n or any(side != 1 for side in value.shape[2:]):
        return None
    flat = value.reshape(n, -1)
    fits = num_classes is None or flat.shape[1] == num_classes or flat.shape[1] == 1
    return flat if fits else None


def as_logits(answers: torch.Tensor, num_classes: int | None, outputs: Outputs = "logits") -> torch.Tensor:
    """Turn answers of shape (n, classes), or (n, 1) of a model of two classes, into logits.

    Posteriors p become log p, clipped at `CLIP`; the posterior p of class 1 alone becomes
    [log(1 - p), log p], its logit z becomes [0, z]. Labels become `SURE` for their class.

    Raises:
        ModelError: a row is no distribution though `outputs` says so, a label is no class, or there is one
            number for each image where two classes are not stated.

    >>> as_logits(torch.tensor([[2.0]]), 2)
    tensor([[0., 2.]])
    >>> as_logits(torch.tensor([[1]]), 3, "labels").argmax(1)
    tensor([1])
    """
    if outputs == "labels":
        return _of_labels(answers, num_classes)
    if answers.is_complex():
        raise ModelError("the model answers with complex numbers; pass reduce=, such as reduce=torch.abs.")
    if not answers.is_floating_point() or answers.dtype in (torch.float16, torch.bfloat16):
        answers = answers.float()
    if answers.shape[1] == 1:
        if num_classes != 2:
            raise ModelError(
                "the model answers with one number for each image. Pass num_classes=2 if it is the logit of "
                "class 1 against class 0 (or outputs='posteriors' as well if it is its posterior); otherwise "
                "pass reduce=, a function that returns one logit for each class."
            )
        answers = _of_two(answers, outputs)
    if outputs == "posteriors":
        _require_distributions(answers, "posteriors")
        return answers.clamp_min(CLIP).log()
    if outputs == "log-posteriors":
        _require_distributions(answers.exp(), "log-posteriors")
    ruled_out = answers == -torch.inf
    if not ruled_out.any():
        return answers
    return torch.where(ruled_out, answers.amax(1, keepdim=True) - MASKED, answers)


def _of_two(answers: torch.Tensor, outputs: Outputs) -> torch.Tensor:
    """Return both columns of a model of two classes that answers for class 1 alone."""
    if outputs == "logits":
        return torch.cat([torch.zeros_like(answers), answers], 1)
    if outputs == "posteriors":
        return torch.cat([1 - answers, answers], 1)
    return torch.cat([torch.log(-torch.expm1(answers)), answers], 1)


def _of_labels(answers: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    labels = answers.argmax(1) if answers.shape[1] > 1 else answers[:, 0]
    whole = labels.long()
    known = num_classes is not None and bool(((whole >= 0) & (whole < num_classes)).all())
    if num_classes is None or not known or not bool((whole == labels).all()):
        raise ModelError(
            f"the model should answer with labels in 0..{(num_classes or 0) - 1}, whole numbers; got "
            f"{labels.min().item()}..{labels.max().item()}. Pass num_classes= and outputs= as they are."
        )
    return SURE * torch.nn.functional.one_hot(whole, num_classes).float()


def _require_distributions(rows: torch.Tensor, name: str) -> None:
    with torch.no_grad():
        sums = rows.sum(1)
        wrong = (rows < -1e-6).any(1) | ((sums - 1).abs() > ROUNDED)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ModelError(
                f"the answers are said to be {name}, which are not negative and sum to one, but those for "
                f"image {row} of the batch lie in {rows[row].min():.3g}..{rows[row].max():.3g} and sum to "
                f"{sums[row]:.3g}. Pass outputs='logits' if they are logits; the answers of independent "
                "sigmoids are no distribution: let the model return what goes into them."
            )


def doubt_of_logits(logits: np.ndarray[Any, Any]) -> str | None:
    """Return why answers that are taken for logits are probably none, or None.

    Rows of non-negative numbers that sum to one are posteriors: a softmax was left in. Numbers of which each
    lies between 0 and 1 come from sigmoids.

    >>> doubt_of_logits(np.array([[0.25, 0.75], [0.5, 0.5]]))[:47]
    'are not negative and sum to one in every row, s'
    >>> doubt_of_logits(np.array([[-1.0, 2.0]]))
    """
    if logits.shape[1] < 2 or not np.isfinite(logits).all() or logits.min() < 0:
        return None
    if (np.abs(logits.sum(1) - 1) <= ALIKE).all():
        return (
            "are not negative and sum to one in every row, so they are probably posteriors (a softmax was "
            "left in the model), but they are taken for logits: pass outputs='posteriors'"
        )
    if len(logits) > 1 and logits.min() > 0 and logits.max() <= 1:
        return (
            "lie between 0 and 1, so they are probably those of sigmoids left in the model, but they are "
            "taken for logits: let the model return what goes into the sigmoids"
        )
    if len(logits) > 1 and (logits[:, 0] == 0).all() and logits.shape[1] == 2 and 0 < logits[:, 1].max() <= 1:
        return (
            "lie between 0 and 1, so the one number for each image is probably a posterior (a sigmoid was "
            "left in the model), but it is taken for a logit: pass outputs='posteriors'"
        )
    return None
