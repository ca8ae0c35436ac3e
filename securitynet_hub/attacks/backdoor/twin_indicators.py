"""What sets a suspect apart from its twins, class by class: the indicators behind the verdict.

Each indicator is one number for each class, higher = more suspicious. Most are differences between the
suspect and the mean of its twins, so that what is natural to a class cancels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from securitynet_hub.attacks.backdoor.feature_shift import feature_shifts
from securitynet_hub.attacks.backdoor.last_layer import aversions
from securitynet_hub.attacks.backdoor.probing import (
    LAST,
    Probed,
    look_closer,
    look_first,
    shares,
    show_triggers,
    trigger_likeness,
)
from securitynet_hub.attacks.backdoor.shared_triggers import Family, SharedTriggers
from securitynet_hub.attacks.backdoor.twin_panel import (
    Panel,
    Responses,
    led_elsewhere,
    respond,
    search,
    search_away,
)
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import tell
from securitynet_hub.models.head import find_head
from securitynet_hub.models.last_layer import WithFeatures, find_last_layer

CONTRASTED: tuple[Family, ...] = ("shade", "faint")
"""Families whose triggers are searched such that the suspect obeys them and its twins resist."""

POOL = 40
"""How many of the panel's images triggers are searched on."""

AWAY: tuple[Family, ...] = ("noise", "blocks")

INDICATORS = {
    "noise_norm": "margin of the suspect's additive trigger, less that of the twins' own ones",
    "noise_transfer": "margin of the suspect's additive trigger on the suspect, less that on the twins",
    "noise_exchange": "the same, less what the twins' triggers gain on the twins over the suspect",
    "shade_contrast": "margin of a smooth trigger that twins should resist, on the suspect",
    "shade_gap": "the same, less that on the twins",
    "faint_trigger": "how much a faint trigger that twins should resist acts as one on the suspect alone",
    "probe": "how much the best probe acts as a trigger for the class on the suspect, and not on the twins",
}
"""Every indicator: what it is, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Leads:
    """Where probes and triggers that are meant for no class lead, for all classes at once.

    Attributes:
        probed: every probe on a few images.
        away: for each family of `AWAY`, the classes (networks, images) of images with a trigger that leads
            the suspect's images elsewhere, -1 where it changes nothing; empty where every class is looked at.
    """

    probed: Probed = field(repr=False)
    away: dict[Family, torch.Tensor] = field(repr=False)


def find_leads(panel: Panel, *, away: bool = False) -> Leads:
    """Show every probe, and search for triggers that lead away from each image's class if that is wanted."""
    device, searched = panel.pixels.device, panel.searched
    others = torch.arange(88, 112 if panel.large else 152, device=device)
    images = 12 if panel.large else 24
    found = {
        family: led_elsewhere(
            searched, search_away(searched, family, steps=15, images=images, pool=80), others
        )
        for family in (AWAY if away else ())
    }
    return Leads(probed=look_first(panel), away=found)


def measure_indicators(
    panel: Panel, leads: Leads, *, on_step: Callable[[], None] = lambda: None
) -> tuple[dict[str, Scores], dict[Family, SharedTriggers], Probed]:
    """Measure every indicator for the panel's classes; return triggers and probes as well.

    Args:
        panel: suspect and twins.
        leads: what `find_leads` gave.
        on_step: called after each step, for a progress bar.

    Returns:
        For each of `INDICATORS` an array of one number for each class, the triggers found with contrast, and
        the closer look at the probes.
    """
    searched, few, pool = panel.searched, len(panel.classes) <= 12 and not panel.large, POOL
    images = 2 if panel.large else 8 if few else 3
    shown = torch.arange(pool, pool + (24 if few else 10), device=panel.pixels.device)
    twins = range(1, len(searched.networks))
    found: dict[str, torch.Tensor] = {}
    done, parts = itertools.count(), 2 + len(CONTRASTED)

    def advance() -> None:
        on_step()
        tell("indicators", next(done), parts)

    tell("indicators", next(done), parts)

    own = [search(searched, "noise", steps=12, images=images, pool=pool, who=k) for k in (0, *twins)]
    seen = [respond(searched, triggers.stamp, shown) for triggers in own]
    found["noise_norm"] = seen[0].margins[0] - _mean(seen[k].margins[k] for k in twins)
    found["noise_transfer"] = _gap(seen[0])
    found["noise_exchange"] = _gap(seen[0]) - _mean(seen[k].margins[k] - seen[k].margins[0] for k in twins)
    advance()

    contrasted = {}
    for family in CONTRASTED:
        contrasted[family] = search(searched, family, steps=15, images=images, pool=pool, contrast=True)
        advance()
    responses = respond(searched, contrasted["shade"].stamp, shown)
    found["shade_contrast"], found["shade_gap"] = responses.margins[0], _gap(responses)
    unseen = torch.arange(pool, len(panel.pixels) - LAST, device=panel.pixels.device)
    faint = show_triggers(panel, contrasted["faint"], unseen[::4] if panel.large else unseen)
    found["faint_trigger"] = trigger_likeness(panel, faint).diagonal()

    probed = look_closer(panel, leads.probed)
    found["probe"] = trigger_likeness(panel, probed).amax(0)
    advance()

    arrays = {name: values.double().cpu().numpy() for name, values in found.items()}
    return {name: arrays[name] for name in INDICATORS if name in arrays}, contrasted, probed


def likely_classes(panel: Panel, leads: Leads, number: int) -> list[int]:
    """Choose classes of a large network to look at: half that cheap indicators point to, half at random.

    The cheap ones look at all classes at once: where probes and triggers that are meant for no class lead the
    suspect and not its twins, the energy of a shared change of features, and the last layer's aversion.

    Args:
        panel: suspect and twins, with all classes.
        leads: what `find_leads` gave.
        number: how many classes.
    """
    total = panel.logits.shape[2]
    led_by_probes = shares(panel, leads.probed)
    ranks = [(led_by_probes[0] - led_by_probes[1:].amax(0)).amax(0).argsort(descending=True)]
    led = torch.zeros(total)
    for found in leads.away.values():
        counts = torch.stack([torch.bincount(own[own >= 0].cpu(), minlength=total) for own in found]).float()
        led = led.maximum(counts[0] - counts[1:].mean(0))
    ranks.append(led.argsort(descending=True))
    if (energies := _feature_shifts(panel.searched, 8, steps=12)) is not None:
        apart = _mean(energies[1:]) - energies[0]
        ranks += [apart.argsort(descending=True), energies[0].argsort()]
    if (rows_of := _aversions(panel)) is not None:
        ranks.append(rows_of.argsort(descending=True))
    chosen: list[int] = []
    for place in range(total):
        for rank in ranks:
            if len(chosen) < number // 2 and int(rank[place]) not in chosen:
                chosen.append(int(rank[place]))
    drawn = np.random.default_rng(panel.seed).permutation(np.setdiff1d(np.arange(total), chosen))
    return sorted([*chosen, *drawn[: number - len(chosen)].tolist()])


def search_blocks(panel: Panel, place: int) -> SharedTriggers:
    """Search a patch that leads the suspect, rather than its twins, to one of the panel's classes."""
    alone = replace(panel.searched, classes=panel.classes[place : place + 1])
    images = 2 if panel.large else 8
    return search(alone, "blocks", steps=15, images=images, pool=POOL, contrast=True)


def _gap(responses: Responses) -> torch.Tensor:
    return responses.margins[0] - responses.margins[1:].mean(0)


def _mean(values: Any) -> torch.Tensor:
    return torch.stack(list(values)).mean(0)


def _feature_shifts(panel: Panel, pool: int, steps: int = 60) -> list[torch.Tensor] | None:
    """Return each network's energies of shared changes of features; None where there is no last layer."""
    pixels = panel.pixels[:pool]
    inputs = panel.read(pixels)
    channels, *sides = inputs.shape[1:]
    shifts = []
    for number, network in enumerate(panel.networks):
        layer = find_last_layer(network, (*sides, channels))
        if layer is None:
            return None
        part = network.get_submodule(layer)
        weight, bias = part.weight.detach().float().flatten(1), part.bias  # type: ignore[operator]
        if weight.shape[0] != panel.logits.shape[2]:
            return None
        with plain_torch(), torch.no_grad():
            features = WithFeatures(network, layer)(inputs)[:, weight.shape[0] :].float()
        offset = bias.detach().float() if isinstance(bias, torch.Tensor) else None
        unit = float(panel.units[number])
        shifts.append(feature_shifts(features, weight, offset, unit, classes=panel.classes, steps=steps))
    return shifts


def _aversions(panel: Panel) -> torch.Tensor | None:
    channels, *sides = panel.read(panel.pixels[:1]).shape[1:]
    weights = find_head(panel.networks[0], (*sides, channels), panel.logits.shape[2])
    if weights is None:
        return None
    found: Scores = aversions(weights.numpy())
    return torch.from_numpy(np.asarray(found)).to(panel.classes.device)[panel.classes]
