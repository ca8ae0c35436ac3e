"""Alignment of weights: a copy's hidden units stand in the reference's order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import Ranked
from securitynet_hub.core.arrays import Scores
from securitynet_hub.models.outputs import Classifier
from securitynet_hub.models.target import Target

FEWEST_UNITS = 6
"""Least number of hidden units of a layer that is looked at: fewer have too few orders."""

MOST_LAYERS = 8
"""Number of layers that are looked at, the largest first."""

HEADS = re.compile(r"(^|[._])(attn|attention|self_attn|q|k|v|qkv|query|key|value|[qkv]_proj|in_proj)([._]|$)")
"""Names of layers whose units belong to attention heads: they cannot be put into any order."""

Pairs = list[tuple[Scores, Scores]]


def weight_alignment(models: Models, reference: int) -> Scores:
    """Score each model by how its weights point in the direction of the reference's, layer by layer.

        s(M) = mean over layers of <A, B> / (|A| |B|)

    with A and B the weights of a layer of the same name and shape, of reference and M, shape (units, inputs),
    less their mean over the units (Zhu et al. 2025, arXiv 2502.12292, algorithm 1). About 0 for models
    trained from other initial weights, 1 for the same weights. Higher = more likely derived.

    Args:
        models: with the models themselves.
        reference: position of the model that the others are compared with.

    Returns:
        Shape (models,); 0 for a model without such layers.

    >>> from securitynet_hub import load_target
    >>> targets = [load_target(f"zoo/fashion-mnist/cnn-clean/{seed}") for seed in (1, 1, 2)]
    >>> models = Models(outputs=np.zeros((3, 1, 10)), labels=np.zeros(1, int), targets=targets)
    >>> found = weight_alignment(models, 0)
    >>> float(found[1]), bool(abs(found[2]) < 0.2)
    (1.0, True)
    """
    own = models.targets[reference]
    found = []
    for other in models.targets:
        cosines = [float((a * b).sum()) for a, b in aligned_layers(own, other)]
        found.append(float(np.mean(cosines)) if cosines else 0.0)
    return np.array(found).round(9)


def rank_among_orders(models: Models, *, permutations: int = 1999) -> Ranked:
    """Return the p-value of reference and suspect among orders of the suspect's hidden units.

    A hidden layer's units start as independent draws, and training treats them alike, so every order of a
    model's units is as likely as any other, and stays so whatever else it is compared with. With B's units in
    a random order q, T(q) = <A, B[q]> has the same distribution as T if B is independent of A, so

        p = (1 + #{q: T(q) >= T}) / (1 + permutations)

    is exact for each layer (Zhu et al. 2025, arXiv 2502.12292, algorithm 1); of several layers the smallest
    counts, times their number (Bonferroni). No independent models are needed, and the training data do not
    matter.

    Args:
        models: the reference first, the suspect second.
        permutations: number of random orders.

    Returns:
        The p-value and the smallest that there can be; both 1 where there are no layers to compare.
    """
    rng = np.random.default_rng(models.seed)
    layers = aligned_layers(models.targets[0], models.targets[1])
    found = []
    for a, b in layers:
        products = a @ b.T  # of each unit of A with each of B
        units = np.arange(len(products))
        own = np.trace(products)
        drawn = np.array([products[units, rng.permutation(units)].sum() for _ in range(permutations)])
        found.append((1 + int((drawn >= own - 1e-12).sum())) / (1 + permutations))
    if not found:
        return Ranked(1.0, 1.0)
    return Ranked(min(1.0, min(found) * len(found)), min(1.0, len(found) / (1 + permutations)))


def aligned_layers(reference: Target, suspect: Target) -> Pairs:
    """Return the weights of hidden layers of the same name and shape, centred and of norm 1, largest first.

    Convolutions without groups or with one for each channel, and linear layers, but neither the last layer,
    whose units are classes, nor those of attention heads, whose units have their places.
    """
    one, other = dict(_layers(reference)), dict(_layers(suspect))
    shared = [name for name, weight in one.items() if name in other and other[name].shape == weight.shape]
    shared.sort(key=lambda name: (-one[name].numel(), name))
    pairs = [(_centred(one[name]), _centred(other[name])) for name in shared[:MOST_LAYERS]]
    return [(a, b) for a, b in pairs if a.any() and b.any()]


def _layers(target: Target) -> Iterator[tuple[str, torch.Tensor]]:
    network = target.module
    while isinstance(network, Classifier):  # so that layers have the names that any loader gives them
        network = network.network
    for name, part in network.named_modules():
        if isinstance(part, nn.modules.conv._ConvNd):
            if part.transposed or part.groups not in (1, part.in_channels):
                continue
        elif not isinstance(part, nn.Linear):
            continue
        weight = part.weight.detach()
        if (
            FEWEST_UNITS <= len(weight) != target.num_classes
            and not HEADS.search(name)
            and not weight.is_meta
        ):
            yield name, weight


def _centred(weight: torch.Tensor) -> Scores:
    rows = weight.reshape(len(weight), -1).double().cpu().numpy()
    rows = rows - rows.mean(0)
    norm = np.linalg.norm(rows)
    centred: Scores = rows / norm if norm > 0 else rows
    return centred


def figures(models: Models, confidence_level: float) -> dict[str, Any]:
    """Return the number of layers that were compared."""
    return {"n_layers": len(aligned_layers(models.targets[0], models.targets[1]))}


def why_not(reference: Target, suspect: Target) -> str | None:
    """Return why weights cannot be compared, or None."""
    for target in (reference, suspect):
        if not target.has_weights:
            return f"{target.id} only answers"
    if not aligned_layers(reference, suspect):
        return "the two networks have no hidden layer of the same name and shape"
    return None


ATTACK = Attack(
    name="weight_alignment",
    run=weight_alignment,
    summary="its hidden units stand in the reference's order",
    formula="mean cosine of the layers' weights, ranked among orders of the units",
    source="Zhu et al. 2025, algorithm 1",
    needs=("weights of both",),
    weights=True,
    exact=rank_among_orders,
    figures=figures,
    why_not=why_not,
)
