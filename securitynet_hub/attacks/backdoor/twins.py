"""One verdict on one model: the suspect against clean twins that it made itself.

Twins are distilled on the suspect's own answers to clean, unlabelled images (`distillation`), every indicator
compares suspect and twins class by class (`twin_indicators`), and a calibrated combination gives a p-value, a
probability and a class (`verdict`). That needs no clean model from outside, no label and no idea of the
attack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.clean_models import in_place_of_twins
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.distillation import (
    LARGE,
    copied,
    distil_twins,
    in_single,
    multiplications,
)
from securitynet_hub.attacks.backdoor.examples import Example, find_examples, find_rearranging
from securitynet_hub.attacks.backdoor.needs import (
    need,
    needs_classes,
    needs_flat_images,
    needs_pixel_space,
)
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.attacks.backdoor.probing import rearranged
from securitynet_hub.attacks.backdoor.twin_indicators import (
    find_leads,
    likely_classes,
    measure_indicators,
    search_blocks,
)
from securitynet_hub.attacks.backdoor.twin_panel import Panel
from securitynet_hub.attacks.backdoor.unlearning import Unlearning, as_figures, train_against
from securitynet_hub.attacks.backdoor.verdict import (
    FAITHLESS,
    FOREIGN,
    LEAST_VARIETY,
    STRANGE,
    Verdict,
    as_result,
    judge,
    load_calibration,
    variety,
)
from securitynet_hub.core.arrays import Scores, require_count, require_seed
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.target import Target

MIN_CLASSES = 4
"""Minimum number of classes: with fewer, there is nothing to compare a class with."""

MANY_CLASSES, LOOKED_AT = 64, 12
"""Number of classes above which only the second number of classes is compared: those that cheap indicators
suspect, and others beside them."""

MIN_IMAGES, MAX_IMAGES, SHOWN = 300, 2200, 200
"""Fewest and most clean images, and how many of them no twin learns from."""

MAX_IMAGES_LARGE = 1000
"""The most clean images for a large network (`distillation.LARGE`)."""

UNLEARNING_IMAGES, UNLEARNING_IMAGES_LARGE, UNLEARNING_BATCH = 1000, 400, 32
"""The most clean images for unlearning, of those that twins learn from, the same for a large network, and
images in one step. Half of them train, the others measure."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TwinFinding:
    """What the comparison with twins found.

    Attributes:
        verdict: all indicators together.
        indicators: for each indicator one value for each class.
        rearrangement: how much the best probe leads each class to another one, and on no twin; None for a
            network of many classes.
        scattered: whether that probe leads to many classes rather than to one.
        agreement: for each twin, the share of other clean images that get the suspect's class.
        agree: whether the twins stand for the suspect.
        varied: whether the suspect's answers to clean images are varied enough for a verdict.
        passes: images forwarded to train one twin.
        classes: the classes that were looked at.
        examples: triggers that lead the suspect, rather than its twins, to the suspected class, best first;
            of an all-to-all backdoor first the probe that leads each class to another one.
        unlearning: what training a copy of the suspect against the first of them does; None where it was not
            tried.
    """

    verdict: Verdict
    indicators: dict[str, Scores] = field(repr=False)
    rearrangement: float | None
    scattered: bool
    agreement: tuple[float, ...]
    agree: bool
    varied: bool
    passes: int
    classes: tuple[int, ...] = field(repr=False)
    examples: list[Example] = field(repr=False)
    unlearning: Unlearning | None = None


def compare_with_twins(
    target: Target,
    images: Pixels,
    *,
    beside: Sequence[Target] = (),
    number: int = 4,
    passes: int | None = None,
    unlearning_steps: int = 0,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> TwinFinding:
    """Distil twins of a model, compare it with them or with clean models, and give one verdict.

    Args:
        target: the classifier; it is left as it was.
        images: shape (n, height, width, channels), uint8: clean images of the model's domain, `MIN_IMAGES` or
            more, in random order. The last `SHOWN` are those that triggers are searched and judged on.
        beside: clean models of its classes and images, which take the place of twins.
        number: how many twins; triggers are searched with the first `twin_panel.SEARCHED`.
        passes: images forwarded to train each twin; None for what the network's size allows.
        unlearning_steps: steps of training a copy of the suspect, or of its last layers where twins share the
            rest, against the best trigger found, to see whether that takes away the trigger and nothing else
            (`train_against`); the verdict stays as it is. 0 for none.
        seed: decides what is drawn.
        on_step: called after each step, for a progress bar.

    Raises:
        ValueError: too few images or classes, a preprocessing that gradients cannot pass, a number, passes,
            unlearning_steps or seed that is no whole number, or models beside that it cannot be compared
            with.
        ModelError: the network cannot be copied, has no weights that decide its answers, answers NaN or
            infinities, or answers every image alike.

    >>> from securitynet_hub import load_images, load_target
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels[2000:2300]
    >>> found = compare_with_twins(target, pixels, number=1, passes=320)
    >>> found.verdict.suspect  # the class that the white corner leads to
    0
    """
    if len(images) < MIN_IMAGES:
        raise ValueError(f"twins need {MIN_IMAGES} clean images or more to learn from; got {len(images)}.")
    if target.num_classes < MIN_CLASSES:
        raise ValueError(f"a verdict compares {MIN_CLASSES} classes or more; got {target.num_classes}.")
    seed = require_seed(seed)
    number = require_count(number, "number")
    if unlearning_steps != 0:
        unlearning_steps = require_count(unlearning_steps, "unlearning_steps")
    space, classifier = PixelSpace.from_target(target), as_classifier(target)
    large = multiplications(classifier, network_inputs(target, images[:1])) > LARGE
    images = images[: MAX_IMAGES_LARGE if large else MAX_IMAGES]
    inputs = network_inputs(target, images)
    suspect, inputs = in_single(copied(classifier, inputs), inputs)
    learnt, others = inputs[:-SHOWN], inputs[-SHOWN:]
    twins = (
        in_place_of_twins(beside, target, suspect, space, others)
        if beside
        else distil_twins(suspect, learnt, others, number=number, passes=passes, seed=seed)
    )
    on_step()
    pixels = torch.tensor(images[-SHOWN:]).movedim(-1, 1).to(others) / 255
    panel = Panel.seat(suspect, twins, space, pixels, seed=seed)
    leads = find_leads(panel, away=target.num_classes > MANY_CLASSES)
    if target.num_classes > MANY_CLASSES:
        chosen = likely_classes(panel, leads, LOOKED_AT)
        panel = replace(panel, classes=torch.tensor(chosen, device=panel.classes.device))
        on_step()
    indicators, triggers, probed = measure_indicators(panel, leads, on_step=on_step)
    rearrangement, scattered, moved = None, False, None
    if target.num_classes <= MANY_CLASSES:
        moved = rearranged(panel, probed)
        rearrangement = float(moved.likeness[moved.best])
        scattered = bool(moved.scattered[moved.best])
    labels = panel.logits[0].argmax(1).cpu().numpy()
    varied = target.num_classes > MANY_CLASSES or variety(labels, target.num_classes) >= LEAST_VARIETY
    verdict = judge(
        indicators,
        rearrangement=rearrangement,
        scattered=scattered,
        agreement=twins.mean_agreement,
        agree=twins.agree,
        varied=varied,
        calibration=load_calibration(beside=bool(beside)),
    )
    place = verdict.suspect
    shown = {family: found.only(place) for family, found in triggers.items()}
    if beside and verdict.reason == FAITHLESS:
        verdict = replace(verdict, reason=STRANGE)
    if len(panel.classes) < target.num_classes and verdict.word == "no sign":
        verdict = replace(verdict, word="cannot tell", reason=FOREIGN)
    examples = [
        *([find_rearranging(panel, probed, moved)] if moved and verdict.all_to_all else []),
        *find_examples(panel, {**shown, "blocks": search_blocks(panel, place)}, probed, place),
    ]
    unlearning = None
    if unlearning_steps:
        label = None if examples[0].name == "rearranging" else int(panel.classes[place])
        part = suspect if twins.cut is None else twins.cut.tail
        unlearning = _unlearnt(panel, part, images[:-SHOWN], examples[0], label, unlearning_steps)
    return TwinFinding(
        verdict=verdict,
        indicators=indicators,
        rearrangement=rearrangement,
        scattered=scattered,
        agreement=twins.agreement,
        agree=twins.agree,
        varied=varied,
        passes=twins.passes,
        classes=tuple(panel.classes.tolist()),
        examples=examples,
        unlearning=unlearning,
    )


def _unlearnt(
    panel: Panel, part: torch.nn.Module, images: Pixels, trigger: Example, label: int | None, steps: int
) -> Unlearning:
    """Train a copy of the suspect, or of what follows its shared body, against a trigger."""
    most = UNLEARNING_IMAGES_LARGE if panel.large else UNLEARNING_IMAGES
    pixels = torch.tensor(images[:most]).movedim(-1, 1).to(panel.pixels) / 255
    with plain_torch(), torch.no_grad():
        clean, stamped = (
            torch.cat([panel.read(stamp(few)) for few in torch.split(pixels, 64)])
            for stamp in (lambda few: few, trigger.stamp)
        )
    return train_against(part, clean, stamped, label, steps=steps, batch_size=UNLEARNING_BATCH)


@need("300 clean images")
def needs_many_images(target: Target, inputs: DetectorInputs) -> str | None:
    """Require enough clean images to distil twins on."""
    count = 0 if inputs.clean is None else len(inputs.clean)
    return None if count >= MIN_IMAGES else f"it needs {MIN_IMAGES} clean images or more, and has {count}"


@need("weights that can be copied")
def needs_weights(target: Target, inputs: DetectorInputs) -> str | None:
    """Require a network with weights."""
    if target.has_weights and any(p.is_floating_point() and p.ndim > 1 for p in target.module.parameters()):
        return None
    return f"it makes copies of the network, and {target.id} has no weights"


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `compare_with_twins`; the score is the log-odds of its verdict.

    Twins start from shrunk and perturbed weights (Ash & Adams 2020, arXiv 1910.08475).

    ``S = log((mean over c of exp(k s_c) + exp(k s_0)) / 2) / k``, with the class scores s_c and the score s_0
    of an all-to-all backdoor of `verdict.judge`: a logistic combination of indicators that compare the
    suspect with twins distilled from it (Platt 1999; Vovk et al. 2005).
    """
    found = compare_with_twins(
        target, given(inputs.clean), beside=inputs.beside, seed=inputs.seed, **settings
    )
    figures = {
        **as_result(found.verdict),
        "twin_agreement": [float(share) for share in found.agreement],
        "passes": found.passes,
        **({"beside": len(inputs.beside)} if inputs.beside else {}),
        "classes": list(found.classes),
        "indicators": {name: _listed(values) for name, values in found.indicators.items()},
        **({} if found.rearrangement is None else {"rearrangement": found.rearrangement}),
        "triggers": [
            {"name": each.what or each.name, "success": each.success, "twin_success": each.twin_success}
            for each in found.examples
        ],
        **as_figures(found.unlearning),
    }
    suspect = found.classes[found.verdict.suspect]
    pictures = {
        each.name if each.name == "rearranging" else f"class-{suspect}-{each.name}": each.picture
        for each in found.examples
    }
    return Finding(
        score=figures.pop("score"),
        suspect=suspect,
        figures={**figures, "suspect": suspect},
        pictures=pictures,
    )


def _listed(values: Scores) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in np.asarray(values)]


ATTACK = Attack(
    name="twins",
    run=run,
    configured_by=compare_with_twins,
    summary="what the model does that clean copies distilled from it do not: one verdict",
    formula="log-odds of a calibrated combination of indicators",
    source="Platt 1999; Vovk et al. 2005; twins after Ash & Adams 2020",
    needs=(
        needs_classes(MIN_CLASSES),
        needs_flat_images,
        needs_weights,
        needs_many_images,
        needs_pixel_space,
    ),
    per_class={"class_scores": "log-odds of a backdoor"},
    many=MAX_IMAGES,
    compares=True,
    unused_beside=frozenset({"number", "passes"}),
)
