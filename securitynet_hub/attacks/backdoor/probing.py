"""Plain probes before a suspect and its twins: many on a few images first, then the best on many others.

A probe that leads the suspect's images to one class, leaves its twins' where they are and moves few to any
other class is a trigger or close to one. A strong change that throws every network's images about is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from securitynet_hub.attacks.backdoor.probes import Probe, probes
from securitynet_hub.attacks.backdoor.twin_panel import Panel
from securitynet_hub.core.plain_torch import plain_torch

OVERLAYS = slice(84, 100)
"""The panel's images that probes blend over others."""

FIRST = slice(100, 110)
"""The panel's images of the first look; the closer look takes no image of these, nor of the last ones."""

LAST = 24
"""How many of the panel's images no look takes: triggers are judged on them."""

KEPT = 6, 200
"""The most probes kept by each of two rules for each class, and for all classes together."""

LEAST_MOVED = 0.05
"""A share of moved images below which a probe's aim cannot be told."""

MOVED_WEIGHT = 0.5
"""What images that a probe moves on the twins, or on the suspect to other classes, count against it."""

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """Probes, and the classes that networks give to images with them.

    Attributes:
        bank: the probes by their names.
        rows: which of the panel's images were shown.
        answered: shape (networks, probes, rows), the suspect first; its twins may be left out.
    """

    bank: Sequence[tuple[str, Probe]] = field(repr=False)
    rows: torch.Tensor = field(repr=False)
    answered: torch.Tensor = field(repr=False)


def look_first(panel: Panel, *, twins: bool) -> Probed:
    """Show every probe on a few images to the suspect, and to its twins where they are wanted."""
    channels, height, width = panel.pixels.shape[1:]
    bank = probes((channels, height, width), panel.pixels[OVERLAYS], seed=panel.seed, dense=not panel.large)
    rows = torch.arange(len(panel.pixels), device=panel.pixels.device)[FIRST]
    return show(panel, bank, rows[:6] if panel.large else rows, twins=twins)


def look_closer(panel: Panel, first: Probed) -> Probed:
    """Show each class's best probes of a first look on many other images to all networks.

    Kept for each class are those that lead most images to it, and those that do so although what they lead to
    other classes counts against them.
    """
    led, moved = shares(panel, first)[0], moves(panel, first)[0]
    most, total = KEPT
    number = max(2, min(most, total // led.shape[1]))
    aimed = led - MOVED_WEIGHT * (moved[:, None] - led)
    places = [
        values.argsort(dim=0, descending=True, stable=True)[:number].flatten() for values in (led, aimed)
    ]
    kept = sorted(set(torch.cat(places).tolist()))
    taken = {*first.rows.tolist(), *range(len(panel.pixels))[OVERLAYS]}
    free = [row for row in range(len(panel.pixels) - LAST) if row not in taken]
    rows = torch.tensor(free[:: 6 if panel.large else 2], device=panel.pixels.device)
    return show(panel, [first.bank[place] for place in kept], rows)


def show(
    panel: Panel, bank: Sequence[tuple[str, Probe]], rows: torch.Tensor, *, twins: bool = True
) -> Probed:
    """Show images with each of some probes to the suspect, and to its twins unless they are not wanted."""
    pixels = panel.pixels[rows]
    networks = range(len(panel.networks) if twins else 1)
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
    own = panel.logits[: len(probed.answered), probed.rows].argmax(2)
    return (probed.answered != own[:, None]).float().mean(2)


def trigger_likeness(panel: Panel, probed: Probed) -> torch.Tensor:
    """Return how much each probe acts as a trigger for each class, shape (probes, classes).

    With s and t the shares of the images that it leads to the class on the suspect and on the twin that it
    leads most, and m and n those that it takes out of their class on the suspect and on the mean twin,

        (s - t) min(1, s / m) - n / 2.

    A trigger that works always and alone has 1, a change of nothing 0.
    """
    led, moved = shares(panel, probed), moves(panel, probed)
    aim = (led[0] / moved[0, :, None].clamp_min(LEAST_MOVED)).clamp(max=1)
    found: torch.Tensor = (led[0] - led[1:].amax(0)) * aim - MOVED_WEIGHT * moved[1:].mean(0)[:, None]
    return found


def _stamped(bank: Sequence[tuple[str, Probe]], pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield images with every probe, about as many at a time."""
    size = max(1, BATCH_SIZE // len(pixels))
    for start in range(0, len(bank), size):
        yield torch.cat([probe(pixels) for _, probe in bank[start : start + size]])
