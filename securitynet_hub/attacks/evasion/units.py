"""One unit of work: some images, attacked by some attacks one after the other, each until it is broken."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.core.arrays import Rows

TOGETHER = 32
"""Images that are attacked together. What attacks draw depends on it, so it is no setting of speed."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """An attack and its settings."""

    attack: Attack
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_settings(self) -> dict[str, Any]:
        """The settings with their defaults."""
        return {**self.attack.settings, **self.settings}

    @property
    def cost(self) -> int:
        """The most passes for one image."""
        return 1 if self.attack.cost is None else self.attack.cost(**self.all_settings) + 1


@dataclass(kw_only=True)
class Tally:
    """What one attack did.

    Attributes:
        n: images that it was tried on.
        broken: those of which it changed the answer.
        forwarded: images that it forwarded.
        gradients: images for which it took a gradient.
        seconds: how long it took.
    """

    n: int = 0
    broken: int = 0
    forwarded: int = 0
    gradients: int = 0
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Add what another did."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """An adversarial example: an image of shape (height, width, channels), 0 to 1, and the changed one."""

    row: int
    attack: str
    label: int
    predicted: int
    image: npt.NDArray[np.float32]
    changed: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """What a unit found.

    Attributes:
        rows: shape (n,): its images.
        right: shape (n,), whether the model is right on the unchanged image.
        broken_by: shape (n,): the place of the attack that changed the answer; -1 of an image that
            withstood all.
        tallies: what each attack did, and under the empty name what it took to ask about the images
            themselves.
        examples: one of the first attack that succeeded.
    """

    rows: Rows
    right: npt.NDArray[np.bool_]
    broken_by: npt.NDArray[np.int64]
    tallies: dict[str, Tally]
    examples: list[Example]

    @property
    def robust(self) -> npt.NDArray[np.bool_]:
        """Shape (n,), whether the model is right whatever the attacks did."""
        return self.right & (self.broken_by < 0)


def attack_unit(subject: Subject, planned: Sequence[Planned], rows: Rows) -> Done:
    """Attack some images with one attack after the other; an image that one has broken is left to no other.

    An image counts as broken by an attack if what the attack returns is allowed (`Threat.allows`) and the
    model answers it with another class than the right one. Images of one size are attacked together.
    """
    classifier = subject.classifier
    images, labels = subject.read(rows)
    right, broken_by = np.zeros(len(rows), np.bool_), np.full(len(rows), -1, np.int64)
    tallies: dict[str, Tally] = {"": Tally(), **{each.attack.name: Tally() for each in planned}}
    examples: list[Example] = []
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        by_shape[image.shape].append(place)
    with classifier.attacked():
        for places in map(np.array, by_shape.values()):
            pixels = classifier.as_pixels([images[place] for place in places])
            truth = torch.from_numpy(labels[places].astype(np.int64)).to(classifier.device)
            with _counted(subject, tallies[""]) as tally:
                withstands = classifier.labels(pixels) == truth
                tally.n += len(places)
            right[places] = withstands.cpu().numpy()
            for number, each in enumerate(planned):
                left = torch.nonzero(withstands).flatten()
                if not len(left):
                    break
                with _counted(subject, tallies[each.attack.name]) as tally:
                    changed = each.attack.run(
                        classifier,
                        pixels[left],
                        truth[left],
                        threat=subject.threat,
                        seed=subject.seed,
                        **each.settings,
                    ).detach()
                    answers = classifier.labels(changed)
                    broken = (answers != truth[left]) & subject.threat.allows(pixels[left], changed)
                    tally.n += len(left)
                    tally.broken += int(broken.sum())
                withstands[left[broken]] = False
                broken_by[places[left[broken].cpu().numpy()]] = number
                if bool(broken.any()) and not examples:
                    first = int(torch.nonzero(broken)[0])
                    place = int(left[first])
                    examples.append(
                        Example(
                            row=int(rows[places[place]]),
                            attack=each.attack.name,
                            label=int(truth[place]),
                            predicted=int(answers[first]),
                            image=_as_picture(pixels[place]),
                            changed=_as_picture(changed[first]),
                        )
                    )
    return Done(rows=np.asarray(rows), right=right, broken_by=broken_by, tallies=tallies, examples=examples)


class _counted:  # noqa: N801 (a context, written in lower case like those of contextlib)
    """Add the passes and the seconds of the block to a tally."""

    def __init__(self, subject: Subject, tally: Tally) -> None:
        self._classifier, self._tally = subject.classifier, tally

    def __enter__(self) -> Tally:
        self._before = self._classifier.forwarded, self._classifier.gradients, time.perf_counter()
        return self._tally

    def __exit__(self, *error: object) -> None:
        forwarded, gradients, began = self._before
        self._tally.forwarded += self._classifier.forwarded - forwarded
        self._tally.gradients += self._classifier.gradients - gradients
        self._tally.seconds += time.perf_counter() - began


def _as_picture(pixels: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(np.moveaxis(pixels.detach().cpu().numpy(), 0, -1)).astype(np.float32)
