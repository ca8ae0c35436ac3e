"""The smallest shared change of what the last layer reads that leads every image to a class.

A search in the space of features needs one pass of the images and then the head alone, whatever the network's
size (after the searches in feature space of Wang et al. 2022, "FeatureRE", and Xu et al. 2024, BTI-DBF).
"""

from __future__ import annotations

import torch

from securitynet_hub.core.plain_torch import plain_torch

WANTED, WEIGHT = 0.3, 8.0
"""The margin that each image should reach, in units, and what a unit below it costs."""

CHUNK = 2**24
"""Logits in one step of the search: as many classes are searched at once."""


def feature_shifts(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    unit: float,
    *,
    classes: torch.Tensor,
    steps: int = 60,
) -> torch.Tensor:
    """Return for each class the least energy of a change that leads all features to it, shape (classes,).

    For class t, with h the features of the images of other classes, d the change and m_t the margin,

        e_t = min over d of |d| / mean |h| + w mean over h of max(0, 0.3 - m_t(max(0, h + d)) / unit),

    where the inner maximum with 0 holds for features that are never negative. Small is suspicious. By Adam.

    Args:
        features: shape (n, d), what the last layer reads for clean images.
        weight: shape (classes, d).
        bias: shape (classes,), or None.
        unit: the unit of margins, in logits.
        classes: the classes to search for.
        steps: steps of Adam.

    >>> energies = feature_shifts(
    ...     torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 9.0]]), None, 1.0,
    ...     classes=torch.tensor([1, 2]),
    ... )
    >>> bool(energies[1] < energies[0])  # the last class needs a smaller change
    True
    """
    offset = 0 if bias is None else bias
    with plain_torch():
        answers = features @ weight.T + offset
        own = answers.argmax(1)
        length = features.norm(dim=1).mean().clamp_min(1e-12)
        floor = 0.0 if bool((features >= 0).all()) else -torch.inf
        width = features.shape[1]
        size = max(1, CHUNK // max(1, answers.numel()))
        found = []
        for part in torch.split(classes, size):
            rows = weight[part]
            start = 0.1 * length * rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
            change = start.clone().requires_grad_()
            optimizer = torch.optim.Adam([change], lr=0.1 * float(length) / width**0.5)
            counted = (own != part[:, None]).float()
            index = part[:, None, None].expand(-1, len(features), 1)
            energy = torch.zeros(len(part))
            for _ in range(steps):
                moved = (features + change[:, None]).clamp_min(floor)
                logits = (moved @ weight.T + offset) / unit
                others = logits.scatter(2, index, -torch.inf).amax(2)
                short = (WANTED - (logits.gather(2, index)[..., 0] - others)).clamp_min(0)
                mean = (short * counted).sum(1) / counted.sum(1).clamp_min(1)
                energy = change.norm(dim=1) / length + WEIGHT * mean
                optimizer.zero_grad()
                energy.sum().backward()
                optimizer.step()
            found.append(energy.detach())
    return torch.cat(found)
