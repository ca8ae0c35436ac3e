"""A suspect and its twins before the same images, and what shared triggers make of them, class by class.

Every network has its own unit of logits: the median margin of its answers to clean images. A trigger found on
the suspect is judged on other images than those it was searched on, by the suspect and by each twin. What a
trigger does to the suspect and not to its twins is suspicious.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from securitynet_hub.attacks.backdoor.distillation import (
    LARGE,
    Twins,
    answers,
    channels_last,
    half_where_fast,
    multiplications,
)
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.attacks.backdoor.shared_triggers import LEARNING_RATE, Family, SharedTriggers
from securitynet_hub.attacks.backdoor.traced import fused
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import tell

SHARPNESS = 4.0
"""Logits per unit: the median clean margin counts as a posterior of 1 / (1 + exp(-4))."""

CAPS = 20.0, 8.0
"""Nats at which the suspect's and a twin's loss on one image stop counting."""

TWINS_WEIGHT = 0.5
"""What a twin's resistance to a trigger counts beside the suspect's obedience."""

SEARCHED = 2
"""How many twins a search and a first look use. The others are only shown what was found: a trigger that was
chosen because two twins happened not to obey it may lead them."""

Stamp = Callable[[torch.Tensor], torch.Tensor]
"""Maps pixels (n, channels, height, width) to stamped ones (triggers, n, channels, height, width)."""


class Responses(NamedTuple):
    """What networks make of one trigger for each class; both have the shape (networks, classes).

    Attributes:
        margins: mean margin of the class over the best other one, in the network's units, within -4 and 4.
        rates: share of the images that get the class.

    Both count images that the network itself puts into another class before they are stamped.
    """

    margins: torch.Tensor
    rates: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """A suspect and its twins.

    Attributes:
        networks: the suspect, then its twins; frozen, in eval mode. Where they share a body, these are what
            follows it.
        space: maps pixels of 0 to 1 to the networks' inputs.
        pixels: shape (n, channels, height, width), clean images that no twin learnt from.
        logits: shape (networks, n, classes), answers to them.
        units: shape (networks,), the median margin of these answers.
        classes: shape (k,), the classes to look at.
        body: what all networks have in common before they part; None where that is nothing.
        large: whether a pass takes so long that few images and classes must do.
        seed: decides what is drawn.
    """

    networks: tuple[torch.nn.Module, ...] = field(repr=False)
    space: PixelSpace
    pixels: torch.Tensor = field(repr=False)
    logits: torch.Tensor = field(repr=False)
    units: torch.Tensor
    classes: torch.Tensor
    body: torch.nn.Module | None = None
    large: bool = False
    seed: int = 0

    @classmethod
    def seat(
        cls,
        suspect: torch.nn.Module,
        twins: Twins,
        space: PixelSpace,
        pixels: torch.Tensor,
        *,
        classes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Panel:
        """Ask a suspect and its twins about clean pixels."""
        inputs = channels_last(space.inputs(pixels))
        read, body, own = inputs, None, suspect
        if twins.cut is not None:
            body, own = fused(twins.cut.body, inputs[:1]), twins.cut.tail
            read = channels_last(answers(body, inputs, keep=True))
        networks = tuple(fused(network, read[:2].float()) for network in (own, *twins.tails))
        logits = torch.stack([answers(network, read) for network in networks])
        largest = logits.topk(2, dim=2).values
        units = (largest[..., 0] - largest[..., 1]).median(1).values.clamp_min(1e-3)
        looked_at = torch.arange(logits.shape[2]) if classes is None else torch.tensor(list(classes))
        return cls(
            networks=networks,
            space=space,
            pixels=channels_last(pixels),
            logits=logits,
            units=units,
            classes=looked_at.to(pixels.device),
            body=body,
            large=multiplications(suspect, inputs[:1]) > LARGE,
            seed=seed % 2**63,  # torch takes no larger one
        )

    @property
    def searched(self) -> Panel:
        """The suspect and the twins that searches use."""
        count = 1 + SEARCHED
        return replace(
            self, networks=self.networks[:count], logits=self.logits[:count], units=self.units[:count]
        )

    def scaled(self, number: int, pixels: torch.Tensor) -> torch.Tensor:
        """Return a network's logits for pixels in its units, with gradients where they are wanted."""
        return self.answered(number, self.shown(pixels))

    def shown(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what all networks see of pixels: what their body makes of them, or the pixels themselves."""
        if self.body is None:
            return pixels
        with half_where_fast(pixels):
            seen: torch.Tensor = self.body(channels_last(self.space.inputs(pixels)))
        return seen

    def answered(self, number: int, seen: torch.Tensor) -> torch.Tensor:
        """Return a network's logits, in its units, for what `shown` gave."""
        read = seen if self.body is not None else channels_last(self.space.inputs(seen))
        with half_where_fast(read):
            logits: torch.Tensor = self.networks[number](read)
        return logits.float() / self.units[number]

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the networks read of pixels, float32, without gradients."""
        inputs = self.space.inputs(pixels)
        return inputs if self.body is None else answers(self.body, channels_last(inputs))

    def elsewhere(self, number: int, rows: torch.Tensor) -> torch.Tensor:
        """Return whether a network puts clean images into another class, shape (classes, rows), 0 or 1."""
        own = self.logits[number][rows].argmax(1)
        return (own != self.classes[:, None]).float()


def search(
    panel: Panel,
    family: Family,
    *,
    steps: int,
    images: int,
    pool: int,
    contrast: bool = False,
    who: int = 0,
) -> SharedTriggers:
    """Search one trigger of a family for each class: what the suspect obeys, and its twins resist.

    Adam lowers, for each class t and trigger s, over `images` images x of the pool drawn anew for each step,

        mean over x of [CE(f(s(x)), t) - w CE(g(s(x)), t)] + cost(s),

    f the suspect, g one of its twins in turn, w = `TWINS_WEIGHT` or 0 without contrast; losses are capped.
    Images that the suspect puts into t anyway do not count.

    Args:
        panel: suspect and twins.
        family: the family of triggers.
        steps: steps of Adam.
        images: images in one step.
        pool: the first so many images of the panel are searched on.
        contrast: whether the twins' resistance counts.
        who: the network whose obedience counts, 0 for the suspect.
    """
    generator = torch.Generator().manual_seed(panel.seed)
    number = len(panel.classes)
    channels, height, width = panel.pixels.shape[1:]
    found = SharedTriggers.drawn(family, number, (channels, height, width), generator)
    parameters = tuple(p.to(panel.pixels.device).requires_grad_() for p in found.parameters)
    found = SharedTriggers(family=family, parameters=parameters, shape=found.shape)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE[family], betas=(0.5, 0.9))
    labels = panel.classes.repeat_interleave(images)
    with plain_torch():
        for step in range(steps):
            tell("steps", step, steps)
            rows = torch.randperm(pool, generator=generator)[:images].to(panel.pixels.device)
            stamped = found.stamp(panel.pixels[rows]).flatten(0, 1)
            seen = panel.shown(stamped)
            loss = _capped(panel.answered(who, seen), labels, CAPS[0])
            if contrast:
                twin = 1 + step % (len(panel.networks) - 1)
                loss = loss - TWINS_WEIGHT * _capped(panel.answered(twin, seen), labels, CAPS[1])
            counted = panel.elsewhere(who, rows)
            mean = (loss.reshape(number, -1) * counted).sum(1) / counted.sum(1).clamp_min(1)
            optimizer.zero_grad()
            (mean + found.cost().to(mean)).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    frozen = tuple(p.detach() for p in parameters)
    return SharedTriggers(family=family, parameters=frozen, shape=found.shape)


def respond(panel: Panel, stamp: Stamp, rows: torch.Tensor) -> Responses:
    """Show images with one trigger for each class to all networks."""
    with plain_torch(), torch.no_grad():
        stamped = stamp(panel.pixels[rows]).flatten(0, 1)
        labels = panel.classes.repeat_interleave(len(rows))
        seen = torch.cat([panel.shown(part) for part in torch.split(stamped, 256)])
        margins, rates = [], []
        for number in range(len(panel.networks)):
            counted = panel.elsewhere(number, rows)
            total = counted.sum(1).clamp_min(1)
            scaled = torch.cat([panel.answered(number, part) for part in torch.split(seen, 256)])
            margin = class_margins(scaled, labels).clamp(-4, 4).reshape(counted.shape)
            margins.append((margin * counted).sum(1) / total)
            rates.append(((margin > 0) * counted).sum(1) / total)
    return Responses(torch.stack(margins), torch.stack(rates))


def class_margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each row's logit of its label less the largest other one, shape (n,).

    >>> class_margins(torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]), torch.tensor([1, 0])).tolist()
    [1.0, -2.0]
    """
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return logits.gather(1, labels[:, None])[:, 0] - others


def search_away(panel: Panel, family: Family, *, steps: int, images: int, pool: int) -> SharedTriggers:
    """Search one trigger that leads the suspect's images to any other class, and leaves the twins' in theirs.

    Adam lowers the mean of ``w CE(g(s(x)), own class by g) - CE(f(s(x)), own class by f)``, as `search` does.
    """
    generator = torch.Generator().manual_seed(panel.seed)
    channels, height, width = panel.pixels.shape[1:]
    found = SharedTriggers.drawn(family, 1, (channels, height, width), generator)
    parameters = tuple(p.to(panel.pixels.device).requires_grad_() for p in found.parameters)
    found = SharedTriggers(family=family, parameters=parameters, shape=found.shape)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE[family], betas=(0.5, 0.9))
    with plain_torch():
        for step in range(steps):
            rows = torch.randperm(pool, generator=generator)[:images].to(panel.pixels.device)
            stamped = found.stamp(panel.pixels[rows]).flatten(0, 1)
            twin = 1 + step % (len(panel.networks) - 1)
            own, its = (panel.logits[k][rows].argmax(1) for k in (0, twin))
            seen = panel.shown(stamped)
            away = _capped(panel.answered(0, seen), own, CAPS[1]).mean()
            stays = _capped(panel.answered(twin, seen), its, CAPS[0]).mean()
            optimizer.zero_grad()
            (TWINS_WEIGHT * stays - away + found.cost().sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return SharedTriggers(family=family, parameters=tuple(p.detach() for p in parameters), shape=found.shape)


def led_elsewhere(panel: Panel, triggers: SharedTriggers, rows: torch.Tensor) -> torch.Tensor:
    """Return the classes of images with one trigger, -1 where it changes nothing, shape (networks, rows)."""
    with plain_torch(), torch.no_grad():
        stamped = triggers.stamp(panel.pixels[rows]).flatten(0, 1)
        seen = panel.shown(stamped)
        found = torch.stack([panel.answered(k, seen).argmax(1) for k in range(len(panel.networks))])
    return found.where(found != panel.logits[:, rows].argmax(2), -1)


def _capped(logits: torch.Tensor, labels: torch.Tensor, cap: float) -> torch.Tensor:
    return cross_entropy(SHARPNESS * logits, labels, reduction="none").clamp_max(cap)
