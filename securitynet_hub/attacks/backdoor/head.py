"""A network cut before its last linear layer, and the mask that parts its benign features from the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from securitynet_hub.attacks.backdoor.descent import Adam
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.models.last_layer import WithFeatures, find_last_layer, noise_for
from securitynet_hub.models.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """What a network's last linear layer reads, and the layer itself.

    Attributes:
        body: maps normalised inputs (n, channels, height, width) to logits and features, (n, classes + d).
        weight: shape (classes, d).
        bias: shape (classes,).
    """

    body: torch.nn.Module = field(repr=False)
    weight: torch.Tensor = field(repr=False)
    bias: torch.Tensor = field(repr=False)

    @classmethod
    def from_target(cls, target: Target, *, copied: bool = True) -> Head:
        """Find a target's last linear layer.

        Args:
            target: the classifier; it stays as it is.
            copied: whether `body` is a copy that gives gradients for its inputs fast, or the module itself.

        Raises:
            ModelError: its logits are not those of one linear layer.

        >>> from securitynet_hub.models.loading import load_target
        >>> tuple(Head.from_target(load_target("zoo/fashion-mnist/bn-cnn-clean/1")).weight.shape)
        (10, 44)
        """
        name = find_last_layer(target.module, target.transform.shape)
        if name is None:
            raise ModelError(f"the logits of {target.id} are not those of one linear layer.")
        layer = target.module.get_submodule(name)
        weight: torch.Tensor = layer.weight.detach().flatten(1)  # type: ignore[operator]
        if len(weight) != target.num_classes:
            raise ModelError(
                f"the last linear layer of {target.id} should have a row for each of its "
                f"{target.num_classes} classes; it has {len(weight)}."
            )
        bias = layer.bias
        module = target.module
        if copied:
            module = for_input_gradients(module, noise_for(target.transform.shape).to(weight))
        return cls(
            body=WithFeatures(module, name),
            weight=weight,
            bias=bias.detach() if isinstance(bias, torch.Tensor) else weight.new_zeros(len(weight)),
        )

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the last layer reads for normalised inputs, shape (n, d)."""
        answers: torch.Tensor = self.body(inputs)
        return answers[:, len(self.weight) :]

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the layer's logits for features (..., d), shape (..., classes)."""
        return features @ self.weight.T + self.bias


def decouple(
    head: Head,
    features: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int = 400,
    learning_rate: float = 0.01,
    sparsity: float = 0.0,
    seed: int = 0,
) -> torch.Tensor:
    """Find the mask of the features that the clean answers rest on.

    With h(x) the features, W and b the last layer, and CE the cross-entropy with the labels y, the mask m of
    0 to 1 minimises

        CE(W (m h) + b, y) - CE(W ((1 - m) h) + b, y) + sparsity |m|_1 / |m|_1',

    |m|_1' the same norm taken as a constant: the first step of Xu et al., ICLR 2024 (BTI-DBF, section 4), and
    with a sparsity above 0 of BAN (Xu et al. 2024, arXiv 2405.19928), as in the code of each. m is
    tanh(theta) / 2 + 1/2, theta drawn from a normal distribution, by Adam on all images at once; the authors
    take mini-batches, 20 of them for 20 epochs, which makes these 400 steps. BAN clips its mask instead of
    bounding it by tanh.

    Returns:
        Shape (d,), 0 to 1: 1 for a feature that clean answers need.

    >>> head = Head(body=torch.nn.Identity(), weight=torch.eye(2, 3), bias=torch.zeros(2))
    >>> features = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    >>> [round(m) for m in decouple(head, features, torch.tensor([0, 1])).tolist()[:2]]
    [1, 1]
    """
    drawn = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(seed))
    theta, adam = drawn.to(features), Adam(learning_rate)
    loss = torch.nn.functional.cross_entropy
    for step in range(steps):
        leaf = theta.requires_grad_()
        mask = torch.tanh(leaf) / 2 + 0.5
        kept, rest = head.logits(mask * features), head.logits((1 - mask) * features)
        norm = mask.sum()
        total = loss(kept, labels) - loss(rest, labels) + sparsity * norm / norm.detach()
        (slope,) = torch.autograd.grad(total, [leaf])
        theta = adam.step(theta.detach(), slope)
        tell("steps of the mask", step + 1, steps)
    return torch.tanh(theta) / 2 + 0.5
