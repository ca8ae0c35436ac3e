"""Clean models of a suspect's task in the place of its twins, for an auditor who has some.

A clean model learnt nothing from the suspect, so that its backdoor cannot be in it; twins may learn a part.
What is natural to a class, such as a small change that leads to it, is in a clean model as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from securitynet_hub.attacks.backdoor.distillation import Twins, answers, channels_last, copied
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, has_gradients
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.beside import require_same_classes
from securitynet_hub.models.state_digest import state_digest
from securitynet_hub.models.target import Target


class Rescaled(torch.nn.Module):
    """A network that reads what another one does: pixels with that one's means and deviations.

    >>> black, white = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    >>> own, given = PixelSpace(black=black, range=2 * white), PixelSpace(black=black, range=white)
    >>> Rescaled(torch.nn.Identity(), own=own, given=given)(white).item()
    2.0
    """

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: torch.nn.Module, *, own: PixelSpace, given: PixelSpace) -> None:
        super().__init__()
        self.network = network
        factor = own.range / given.range
        self.register_buffer("factor", factor.float())
        self.register_buffer("offset", (own.black - factor * given.black).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's answers to what it would have read of the same pixels."""
        found: torch.Tensor = self.network(inputs * self.factor + self.offset)
        return found


def in_place_of_twins(
    models: Sequence[Target], suspect: Target, space: PixelSpace, inputs: torch.Tensor
) -> Twins:
    """Take clean models for a suspect's twins.

    Args:
        models: clean models with the suspect's classes, size of input and channels.
        suspect: the audited model.
        space: its pixel space.
        inputs: shape (n, channels, height, width), clean images as the suspect takes them, on which the
            agreement is measured.

    Raises:
        ValueError: a model has other classes or takes other images, has no weights or no gradients, is named
            twice, or is the suspect itself.
    """
    seen = {state_digest(suspect.module): suspect.id}
    modules = []
    for model in models:
        require_same_classes(suspect, model)
        if model.transform.shape != suspect.transform.shape:
            sizes = [" x ".join(map(str, each.transform.shape)) for each in (model, suspect)]
            raise ValueError(
                f"{model.id} takes images of {sizes[0]}, {suspect.id} of {sizes[1]}: a clean model beside it "
                "must take the same ones."
            )
        if not model.has_weights or not has_gradients(model):
            raise ValueError(f"{model.id} has no gradients down to the pixels, which a clean model needs.")
        if (digest := state_digest(model.module)) in seen:
            same = seen[digest]
            told = "the audited model's own weights" if same == suspect.id else f"the same weights as {same}"
            raise ValueError(f"{model.id} has {told}: name clean models that are others.")
        seen[digest] = model.id
        own, network = PixelSpace.from_target(model), copied(as_classifier(model))
        alike = torch.equal(own.black, space.black) and torch.equal(own.range, space.range)
        network = network if alike else Rescaled(network, own=own, given=space).eval()
        modules.append(network.to(inputs.device))
    inputs = channels_last(inputs)
    known = answers(copied(as_classifier(suspect)), inputs).argmax(1)
    agreement = [float((answers(module, inputs).argmax(1) == known).float().mean()) for module in modules]
    return Twins(modules=tuple(modules), agreement=tuple(agreement), passes=0)
