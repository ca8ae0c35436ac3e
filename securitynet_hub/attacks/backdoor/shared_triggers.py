"""Families of triggers that one change of all images makes, searched for all classes at once by gradients.

Each family has few enough parameters that a search of some dozen steps finds what a network answers best:

- ``shade``: an additive change on a coarse grid, interpolated: blends, colour shifts, wide stripes, bars;
- ``noise``: an additive change of every pixel;
- ``faint``: the same, weaker: what leads a clean network's images to a class is seldom so weak;
- ``blocks``: a mask and a pattern of 2 x 2 blocks (after Wang et al. 2019, equations 2 and 3): patches, bars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch.nn.functional import interpolate

Family = Literal["shade", "noise", "faint", "blocks"]

FAMILIES: tuple[Family, ...] = get_args(Family)

RADIUS = {"shade": 0.1, "noise": 0.06, "faint": 0.045}
"""Largest root mean square of an additive change, in shares of white."""

LEARNING_RATE = {"shade": 0.15, "noise": 0.1, "faint": 0.1, "blocks": 0.3}

PRICES = {"blocks": 10.0}
"""What a mask that covers the whole image costs, in nats."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedTriggers:
    """One trigger of a family for each of some classes.

    Attributes:
        family: which family.
        parameters: what is searched; each has the shape (triggers, ...).
        shape: channels, height and width of an image.
    """

    family: Family
    parameters: tuple[torch.Tensor, ...] = field(repr=False)
    shape: tuple[int, int, int]

    @classmethod
    def drawn(
        cls, family: Family, number: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> SharedTriggers:
        """Draw triggers to start a search from: nearly no change of an image.

        >>> generator = torch.Generator().manual_seed(0)
        >>> found = SharedTriggers.drawn("blocks", 5, (3, 16, 16), generator)
        >>> found.stamp(torch.rand(2, 3, 16, 16)).shape
        torch.Size([5, 2, 3, 16, 16])
        """
        channels, height, width = shape

        def normal(*sizes: int) -> torch.Tensor:
            return torch.randn((number, *sizes), generator=generator)

        drawn: tuple[torch.Tensor, ...]
        if family == "shade":
            drawn = (0.1 * normal(channels, max(2, height // 4), max(2, width // 4)),)
        elif family in ("noise", "faint"):
            drawn = (0.1 * normal(channels, height, width),)
        else:
            grid = max(1, height // 2), max(1, width // 2)
            drawn = (0.1 * normal(1, *grid) - 2.4, 0.5 * normal(channels, *grid))
        return cls(family=family, parameters=drawn, shape=shape)

    def stamp(self, pixels: torch.Tensor) -> torch.Tensor:
        """Stamp every trigger on pixels (n, channels, height, width); return (triggers, n, channels, ...)."""
        size = self.shape[1:]
        if self.family in PRICES:
            mask, pattern = (interpolate(p.sigmoid(), size)[:, None] for p in self.parameters)
            return pixels * (1 - mask) + mask * pattern
        (change,) = self.parameters
        if self.family == "shade":
            change = interpolate(change, size, mode="bicubic", align_corners=False)
        strength = change.flatten(1).square().mean(1).sqrt().reshape(-1, 1, 1, 1)
        radius = RADIUS[self.family]
        change = change * (radius / strength.clamp_min(radius))
        return (pixels + change[:, None]).clamp(0, 1)

    def cost(self) -> torch.Tensor:
        """Return what each trigger's size costs, shape (triggers,): of masks alone, others are bounded."""
        return PRICES.get(self.family, 0.0) * self.size()

    def size(self) -> torch.Tensor:
        """Return the share of the image that each mask covers, shape (triggers,); 0 for other families."""
        if self.family in PRICES:
            return self.parameters[0].sigmoid().flatten(1).mean(1)
        return torch.zeros_like(self.parameters[0]).flatten(1)[:, 0]

    def only(self, place: int) -> SharedTriggers:
        """Return the trigger at one place alone."""
        parameters = tuple(p[place : place + 1] for p in self.parameters)
        return SharedTriggers(family=self.family, parameters=parameters, shape=self.shape)
