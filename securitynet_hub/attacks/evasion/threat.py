"""What the attacker may do: change an image by at most eps in a norm, and leave it an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from securitynet_hub.attacks.evasion.eps import read_eps
from securitynet_hub.models.norms import Norm, require_norm
from securitynet_hub.models.perturbations import lengths

ROUNDING = 1e-5
"""By which share a change may be longer than eps, for the rounding of float32."""


@dataclass(frozen=True, kw_only=True)
class Threat:
    """The changes that the attacker may make to an image with values of 0 to 1.

    Attributes:
        norm: the norm in which a change is small.
        eps: the largest change in that norm.
    """

    norm: Norm
    eps: float

    @classmethod
    def of(cls, norm: str, eps: str | float) -> Threat:
        """Read a threat as the command line has it.

        Raises:
            UnknownNameError: no such norm.
            ValueError: eps is neither a number above 0 nor a fraction such as 8/255, or is so large that any
                image may become any other.

        >>> Threat.of("Linf", "51/255")
        Threat(norm='Linf', eps=0.2)
        """
        value = read_eps(norm, eps)
        return cls(norm=require_norm(norm), eps=value)

    def allows(self, images: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Return which changed images are images within eps of the originals, shape (n,)."""
        near = lengths(changed.double() - images.double(), self.norm) <= self.eps * (1 + ROUNDING) + 1e-7
        flat = changed.flatten(1)
        allowed: torch.Tensor = near & (flat >= 0).all(1) & (flat <= 1).all(1)  # False for NaN
        return allowed
