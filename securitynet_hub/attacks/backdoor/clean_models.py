"""Clean models of a suspect's task in the place of its twins, for an auditor who has some.

A clean model learnt nothing from the suspect, so that its backdoor cannot be in it; twins may learn a part.
What is natural to a class, such as a small change that leads to it, is in a clean model as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from securitynet_hub.attacks.backdoor.distillation import Twins, answers, channels_last, copied, in_single
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, has_gradients
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.beside import require_same_classes
from securitynet_hub.models.eval_mode import some_parameter
from securitynet_hub.models.target import Target

COPY = 0.1
"""Root-mean-square difference of logits, relative to their size, below which two models are taken for one.

The zoo's clean networks of one architecture, trained alike but for their seeds, lie .2 to .4 apart; copies in
half precision less than .001, with noise of .001 on each weight .01.
"""


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
    models: Sequence[Target],
    target: Target,
    suspect: torch.nn.Module,
    space: PixelSpace,
    inputs: torch.Tensor,
) -> Twins:
    """Take clean models for a suspect's twins.

    Args:
        models: clean models with the suspect's classes, size of input and channels.
        target: the audited model.
        suspect: its classifier, copied.
        space: its pixel space.
        inputs: shape (n, channels, height, width), clean images as the suspect takes them, on which the
            agreement is measured.

    Raises:
        ValueError: a model has other classes or takes other images, has no weights or no gradients, answers
            NaN or infinities, or answers as the suspect or as another one does, as a copy would.
    """
    inputs = channels_last(inputs)
    seen = [(target, answers(suspect, inputs))]
    modules = []
    for model in models:
        network = _as_the_suspect_reads(model, target, space, inputs)
        logits = answers(network, inputs)
        if not torch.isfinite(logits).all():
            raise ValueError(f"{model.id} answers NaN or infinities; leave it out of the clean models.")
        for other, known in seen:
            if _distance(known, logits) < COPY:
                told = "the audited model" if other is target else other.id
                raise ValueError(
                    f"{model.id} answers as {told} does, as a copy would: name clean models that were "
                    "trained without it, each once."
                )
        seen.append((model, logits))
        modules.append(network)
    labels = seen[0][1].argmax(1)
    agreement = [float((logits.argmax(1) == labels).float().mean()) for _, logits in seen[1:]]
    return Twins(modules=tuple(modules), agreement=tuple(agreement), passes=0)


def _as_the_suspect_reads(
    model: Target, target: Target, space: PixelSpace, inputs: torch.Tensor
) -> torch.nn.Module:
    """Return a model's classifier, copied, for the suspect's inputs."""
    require_same_classes(target, model)
    if model.transform.shape != target.transform.shape:
        sizes = [" x ".join(map(str, each.transform.shape)) for each in (model, target)]
        raise ValueError(
            f"{model.id} takes images of {sizes[0]}, {target.id} of {sizes[1]}: a clean model beside it must "
            "take the same ones."
        )
    if not model.has_weights or not has_gradients(model):
        raise ValueError(
            f"{model.id} has no gradients down to the pixels, which triggers are searched with: name clean "
            "models whose weights are at hand, as modules or by their names."
        )
    own = PixelSpace.from_target(model)
    own_inputs = inputs[:1].to(some_parameter(model.module))
    network, _ = in_single(copied(as_classifier(model), own_inputs).to(inputs.device), inputs)
    alike = torch.equal(own.black, space.black) and torch.equal(own.range, space.range)
    return network if alike else Rescaled(network, own=own, given=space).eval().to(inputs.device)


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the root-mean-square difference of centred logits, relative to the first's."""
    first, second = (logits - logits.mean(1, keepdim=True) for logits in (one, other))
    return float((first - second).norm() / first.norm().clamp_min(1e-30))
