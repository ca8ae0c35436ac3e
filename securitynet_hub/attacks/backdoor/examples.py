"""What the suspected trigger looks like: clean images, and below them the same with the trigger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from securitynet_hub.attacks.backdoor.probes import Probe
from securitynet_hub.attacks.backdoor.probing import LAST, Probed, Rearranged, stamp_of, trigger_likeness
from securitynet_hub.attacks.backdoor.shared_triggers import Family, SharedTriggers
from securitynet_hub.attacks.backdoor.twin_panel import Panel
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.data.pixels import Pixels

SHOWN = 6
"""The most images in a picture."""

WIDEST, ROW = 112, 400
"""Width in pixels to which images are reduced in a picture, and of a row of them: pages show small files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One trigger that leads to the suspected class.

    Attributes:
        name: the family of a trigger that was searched, ``probe``, or ``rearranging``: the probe that leads
            each class to another one.
        what: the probe's name; empty for a family.
        success: share of the judged images that the suspect puts into the class with the trigger, of those
            that it puts elsewhere without; with ``rearranging`` into the class that most others of its class
            are put into.
        twin_success: the same of the twins, their mean.
        picture: shape (2 height, images * width, channels), uint8: clean images above, stamped ones below,
            reduced by a whole number where they are wide; images of the class itself come last.
        stamp: stamps the trigger on pixels (n, channels, height, width) of 0 to 1.
    """

    name: str
    what: str = ""
    success: float
    twin_success: float
    picture: Pixels = field(repr=False)
    stamp: Probe = field(repr=False)


def find_examples(
    panel: Panel, triggers: Mapping[Family, SharedTriggers], probed: Probed, place: int
) -> list[Example]:
    """Show the triggers of each family and the best probe for one class, the best first.

    Best is what the suspect obeys and its twins do not. Success is counted on images that no search saw.

    Args:
        panel: suspect and twins.
        triggers: for each family one trigger, which was searched for the class.
        probed: the closer look at probes.
        place: the class's place among the panel's classes.
    """
    rows = torch.arange(len(panel.pixels))[-LAST:].to(panel.pixels.device)
    name, probe = probed.bank[int(trigger_likeness(panel, probed)[:, place].argmax())]
    found = [_example(panel, rows, place, "probe", probe, what=name)]
    found += [_example(panel, rows, place, family, stamp_of(trigger)) for family, trigger in triggers.items()]
    return sorted(found, key=lambda example: example.twin_success - example.success)


def find_rearranging(panel: Panel, probed: Probed, found: Rearranged) -> Example:
    """Show the probe that acts most as the trigger of an all-to-all backdoor, of what `rearranged` found."""
    name, probe = probed.bank[found.best]
    pixels = panel.pixels[-LAST:]
    return Example(
        name="rearranging",
        what=name,
        success=float(found.led[found.best]),
        twin_success=float(found.followed[found.best]),
        picture=_picture(pixels, probe(pixels)),
        stamp=probe,
    )


def _example(
    panel: Panel, rows: torch.Tensor, place: int, name: str, stamp: Probe, what: str = ""
) -> Example:
    label = int(panel.classes[place])
    with plain_torch(), torch.no_grad():
        stamped = stamp(panel.pixels[rows])
        seen = panel.shown(stamped)
        rates = []
        for number in range(len(panel.networks)):
            counted = panel.elsewhere(number, rows)[place].bool()
            led = panel.answered(number, seen).argmax(1) == label
            rates.append(float(led[counted].float().mean()) if bool(counted.any()) else 0.0)
    order = panel.elsewhere(0, rows)[place].argsort(descending=True, stable=True)
    return Example(
        name=name,
        what=what,
        success=rates[0],
        twin_success=sum(rates[1:]) / len(rates[1:]),
        picture=_picture(panel.pixels[rows][order], stamped[order]),
        stamp=stamp,
    )


def _picture(pixels: torch.Tensor, stamped: torch.Tensor) -> Pixels:
    """Draw clean images, and the same with a trigger below."""
    factor = -(-stamped.shape[-1] // WIDEST)
    count = max(1, min(SHOWN, ROW * factor // stamped.shape[-1]))
    both = torch.cat([pixels[:count], stamped[:count]]).clamp(0, 1)
    levels = (255 * torch.nn.functional.avg_pool2d(both, factor)).round().to(torch.uint8)
    levels = levels.reshape(2, count, *levels.shape[1:]).permute(0, 3, 1, 4, 2)
    picture: Pixels = levels.flatten(2, 3).flatten(0, 1).cpu().numpy()
    return picture
