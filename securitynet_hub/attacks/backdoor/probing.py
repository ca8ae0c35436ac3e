"""Plain probes before a suspect and its twins: many on a few images first, then the best on many others.

A probe that leads the suspect's images to one class, leaves its twins' where they are and moves few to any
other class is a trigger or close to one. A strong change that throws every network's images about is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from securitynet_hub.attacks.backdoor.probes import Probe, distinct, probes, variants
from securitynet_hub.attacks.backdoor.shared_triggers import SharedTriggers
from securitynet_hub.attacks.backdoor.twin_panel import Panel
from securitynet_hub.core.plain_torch import plain_torch

OVERLAYS = slice(84, 100)
"""The panel's images that probes blend over others."""

FIRST = slice(100, 110)
"""The panel's images of the first look; the closer look takes no image of these, nor of the last ones."""

LAST = 24
"""How many of the panel's images no look takes: triggers are judged on them."""

KEPT = 6, 200
"""The most probes kept for each class, and for all classes together."""

REFINED, REFINED_MOVING = (3, 100), 8
"""Of how many probes variants are tried: for each class and for all together, and of those that move most."""

KEPT_MOVING = 32
"""How many probes are kept that move images of the suspect, and not of its twins, wherever to."""

LEAST_MOVED = 0.05
"""A share of moved images below which a probe's aim cannot be told."""

MOVED_WEIGHT = 0.5
"""What images that a probe moves on the twins count against it."""

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """Probes, and the classes that networks give to images with them.

    Attributes:
        bank: the probes by their names.
        rows: which of the panel's images were shown.
        answered: shape (networks, probes, rows), the suspect first.
    """

    bank: Sequence[tuple[str, Probe]] = field(repr=False)
    rows: torch.Tensor = field(repr=False)
    answered: torch.Tensor = field(repr=False)


def look_first(panel: Panel) -> Probed:
    """Show every probe on a few images to the suspect and the twins that searches use."""
    channels, height, width = panel.pixels.shape[1:]
    bank = probes((channels, height, width), panel.pixels[OVERLAYS], seed=panel.seed, dense=not panel.large)
    rows = torch.arange(len(panel.pixels), device=panel.pixels.device)[FIRST]
    bank = distinct(bank, panel.pixels[rows[:4]])
    return show(panel.searched, bank, rows[:6] if panel.large else rows)


def look_closer(panel: Panel, first: Probed) -> Probed:
    """Show the best probes of a first look, and the best of their variants, on many other images to all.

    Kept are those that act most as a trigger for each class, and those that move most images of the suspect
    alone, wherever to. Variants are shown on the images of the first look before any is chosen.
    """
    classes = len(panel.classes)
    (most, total), (refined, in_all) = KEPT, REFINED
    refined = 1 if panel.large else max(1, min(refined, in_all // classes))
    side = min(panel.pixels.shape[2:])
    searched = panel.searched
    around = [
        changed
        for place in _best(searched, first, refined, 0 if panel.large else REFINED_MOVING)
        for changed in variants(*first.bank[place], step=max(1, round(side / 32)))
    ]
    few = panel.pixels[first.rows[:4]]
    more = show(searched, distinct([*first.bank, *around], few)[len(first.bank) :], first.rows)
    seen = Probed(
        bank=[*first.bank, *more.bank],
        rows=first.rows,
        answered=torch.cat([first.answered, more.answered], 1),
    )
    kept = _best(searched, seen, max(2, min(most, total // classes)), KEPT_MOVING)
    taken = {*first.rows.tolist(), *range(len(panel.pixels))[OVERLAYS]}
    free = [row for row in range(len(panel.pixels) - LAST) if row not in taken]
    chosen = free[::6] if panel.large else [row for place, row in enumerate(free) if place % 3 < 2]
    rows = torch.tensor(chosen, device=panel.pixels.device)
    return show(panel, [seen.bank[place] for place in kept], rows)


def _best(panel: Panel, probed: Probed, number: int, moving: int) -> list[int]:
    """Return the places of so many probes for each class, and of those that move the suspect most."""
    likeness, moved = trigger_likeness(panel, probed), moves(panel, probed)
    best = likeness.argsort(dim=0, descending=True, stable=True)[:number].flatten()
    apart = (moved[0] - moved[1:].mean(0)).argsort(descending=True, stable=True)[:moving]
    return sorted({*best.tolist(), *apart.tolist()})


def show(panel: Panel, bank: Sequence[tuple[str, Probe]], rows: torch.Tensor) -> Probed:
    """Show images with each of some probes to all networks."""
    pixels = panel.pixels[rows]
    networks = range(len(panel.networks))
    with plain_torch(), torch.no_grad():
        found = [
            torch.stack([panel.answered(number, seen).argmax(1) for number in networks])
            for part in _stamped(bank, pixels)
            for seen in [panel.shown(part)]
        ]
    return Probed(bank=bank, rows=rows, answered=torch.cat(found, 1).reshape(len(networks), len(bank), -1))


def shares(panel: Panel, probed: Probed) -> torch.Tensor:
    """Count where probes lead.

    Returns:
        Shape (networks, probes, classes): the share of the images that a network puts into the class with the
        probe, of those that it puts into another class without.
    """
    counts = []
    for number, found in enumerate(probed.answered):
        elsewhere = panel.elsewhere(number, probed.rows)
        led = (found[:, None] == panel.classes[:, None]).float()
        counts.append((led * elsewhere).sum(2) / elsewhere.sum(1).clamp_min(1))
    return torch.stack(counts)


def moves(panel: Panel, probed: Probed) -> torch.Tensor:
    """Return the share of the images that each probe takes out of their class, shape (networks, probes)."""
    own = panel.logits[:, probed.rows].argmax(2)
    return (probed.answered != own[:, None]).float().mean(2)


def trigger_likeness(panel: Panel, probed: Probed) -> torch.Tensor:
    """Return how much each probe acts as a trigger for each class, shape (probes, classes).

    With s and t the shares of the images that it leads to the class on the suspect and on the twin that it
    leads most, and m and n those that it takes out of their class on the suspect and on the mean twin,

        (s - t) min(1, s / m) - n / 2.

    A trigger that works always and alone has 1, a change of nothing 0.
    """
    led = shares(panel, probed)
    return _likeness(led[0], led[1:].amax(0), moves(panel, probed))


def stamp_of(trigger: SharedTriggers) -> Probe:
    """Return one searched trigger as a probe."""
    return lambda pixels: trigger.stamp(pixels)[0]


def show_triggers(panel: Panel, triggers: SharedTriggers, rows: torch.Tensor) -> Probed:
    """Show images with each class's searched trigger to all networks."""
    places = range(len(panel.classes))
    bank = [(f"{triggers.family} {place}", stamp_of(triggers.only(place))) for place in places]
    return show(panel, bank, rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rearranged:
    """What probes do to the classes of images, as an all-to-all backdoor does it.

    Attributes:
        likeness: shape (probes,), how much each acts as the trigger of one.
        led: shape (probes,), the share of images that a probe leads where it leads most of their class.
        followed: the same share on the worst twin.
        scattered: shape (probes,), whether no class is that of more than half of the classes led so.
    """

    likeness: torch.Tensor = field(repr=False)
    led: torch.Tensor = field(repr=False)
    followed: torch.Tensor = field(repr=False)
    scattered: torch.Tensor = field(repr=False)

    @property
    def best(self) -> int:
        """The place of the probe that acts most as a trigger."""
        return int(self.likeness.argmax())


def rearranged(panel: Panel, probed: Probed) -> Rearranged:
    """Count how much each probe leads every class to another one of its own.

    An image counts if the suspect, with the probe, gives it another class than without, and that class is the
    one that the probe leads most of the *other* images of its class to; a twin follows if it gives the image
    that same class. The likeness is the formula of `trigger_likeness` with these shares as s and t.
    """
    own = panel.logits[:, probed.rows].argmax(2)
    classes = panel.logits.shape[2]
    found = probed.answered[0]
    moved = found != own[0]
    led = torch.nn.functional.one_hot(found, classes) * moved[..., None]
    of_class = torch.nn.functional.one_hot(own[0], classes)
    aim = votes_of_class(own[0], led)
    hits = moved & (found == aim)
    follows = (probed.answered[1:] == aim) & (own[1:, None] != aim)
    share, followed = hits.float().mean(1), follows.float().mean(2).amax(0)
    aims = torch.einsum("pr,prk,rs->psk", hits.float(), led.float(), of_class.float()) > 0
    of_aim, leading = aims.any(2), aims.float().sum(1)
    return Rearranged(
        likeness=_likeness(share, followed, moves(panel, probed)),
        led=share,
        followed=followed,
        scattered=(of_aim.sum(1) > 0) & (2 * leading.amax(1) <= of_aim.sum(1)),
    )


def votes_of_class(own: torch.Tensor, led: torch.Tensor) -> torch.Tensor:
    """Return the class that most *other* images of each image's class are led to, -1 where none is led.

    Args:
        own: shape (rows,), each image's class without a probe.
        led: shape (probes, rows, classes), 1 where a probe leads an image to another class.

    Returns:
        Shape (probes, rows).

    >>> led = torch.nn.functional.one_hot(torch.tensor([2, 2, 2, 1]), 3)
    >>> votes_of_class(torch.tensor([0, 0, 0, 2]), led[None]).tolist()  # of class 2 there is no other image
    [[2, 2, 2, -1]]
    """
    of_class = torch.nn.functional.one_hot(own, led.shape[2])
    votes = torch.einsum("prk,rs->psk", led.float(), of_class.float())[:, own] - led
    most, aim = votes.max(2)
    return aim.where(most > 0, -1)


def _likeness(led: torch.Tensor, followed: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Return ``(s - t) min(1, s / m) - n / 2`` for each probe, and each class if there are any."""
    own, of_twins = (part.reshape(-1, *(1 for _ in led.shape[1:])) for part in (moved[0], moved[1:].mean(0)))
    aim = (led / own.clamp_min(LEAST_MOVED)).clamp(max=1)
    return (led - followed) * aim - MOVED_WEIGHT * of_twins


def _stamped(bank: Sequence[tuple[str, Probe]], pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield images with every probe, about as many at a time."""
    size = max(1, BATCH_SIZE // len(pixels))
    for start in range(0, len(bank), size):
        yield torch.cat([probe(pixels) for _, probe in bank[start : start + size]])
