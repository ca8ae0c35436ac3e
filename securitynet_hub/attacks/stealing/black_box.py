"""A target behind a query interface: it answers queries up to a budget and counts every image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from securitynet_hub.attacks.stealing.output_formats import Kind, OutputFormat
from securitynet_hub.core.arrays import Scores, name_rows
from securitynet_hub.core.errors import BudgetError
from securitynet_hub.core.kept_answers import Answers, Logits
from securitynet_hub.core.progress import tell
from securitynet_hub.data.pixels import Pixels, image_digests
from securitynet_hub.engine.inference import BATCH_SIZE, predict
from securitynet_hub.engine.network_digest import network_digest
from securitynet_hub.models.target import Target


class BlackBox:
    """A target that answers queries and counts them.

    The **budget** limits the number of distinct images that the attacker asks about: an attacker need not ask
    twice. An answer from the cache counts as a query, so that an attack that is interrupted and repeated
    costs the same budget. The budget belongs to this object, that is, to one attack.

    `forwarded` counts the images that this object sent through the network: the queries that were not in the
    cache. Each of several distributed processes counts the images of all processes, without those repeated to
    even out the last batch.

    Args:
        target: the model under attack. Do not change it afterwards.
        budget: maximum number of distinct images, 0 or more.
        view: the format of the answers: an `OutputFormat`, or the kind of one that needs no parameter.
        held_out: images kept for evaluation; queries among them are refused.
        cache: a file that keeps the logits for every process, network and format. Each batch is on disk
            before the next one is forwarded, and a process waits for batches that another one is forwarding.
            None keeps the logits in memory.
        batch_size: images in one forward pass.

    Raises:
        ValueError: the budget is no count, or distributed processes that forward together share a cache:
            fill it with one process first.
        SecurityNetError: the cache cannot be used.

    >>> from securitynet_hub import load_images, load_target
    >>> box = BlackBox(load_target("zoo/fashion-mnist/cnn-clean/1"), budget=3, view="label")
    >>> box.ask(load_images().pixels[[0, 1, 0]]).argmax(1)
    array([9, 7, 9])
    >>> box.asked, box.forwarded, box.remaining
    (2, 2, 1)
    """

    def __init__(
        self,
        target: Target,
        *,
        budget: int,
        view: Kind | OutputFormat = "posteriors",
        held_out: Pixels | None = None,
        cache: Path | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        if not isinstance(budget, (int, np.integer)) or isinstance(budget, bool) or budget < 0:
            raise ValueError(f"budget must be a whole number of images, 0 or more; got {budget!r}.")
        if cache and _num_processes() > 1:
            raise ValueError(
                "distributed processes, which forward together, cannot share a cache of answers, for which "
                "they would wait in turn. Fill it with one process first, or give none."
            )
        self.target, self.budget = target, int(budget)
        self.view = view if isinstance(view, OutputFormat) else OutputFormat(view)
        self.forwarded = 0
        self._batch_size = batch_size
        self._held_out = frozenset(() if held_out is None else image_digests(held_out))
        self._asked: set[bytes] = set()
        self._answers = Answers(cache, network_digest(target))

    @property
    def asked(self) -> int:
        """Number of distinct images that were asked about."""
        return len(self._asked)

    @property
    def remaining(self) -> int:
        """Number of distinct images that may still be asked about."""
        return self.budget - self.asked

    def ask(self, pixels: Pixels) -> Scores:
        """Return the answers to images, shape (n, classes), each row a distribution.

        A request that cannot be answered whole is refused whole, before anything is forwarded.

        Args:
            pixels: shape (n, height, width, channels), uint8.

        Raises:
            BudgetError: more new images than the budget has left.
            ValueError: no images, images held out, or of a size that the target does not take.
            ModelError: as `inference.predict`.
        """
        digests = image_digests(pixels)
        _require_not_held_out(digests, self._held_out)
        new = len(set(digests) - self._asked)
        if new > self.remaining:
            raise BudgetError(
                f"{new} new images were asked for, with {self.remaining} of a budget of {self.budget} left. "
                "None was forwarded."
            )
        rows = sorted(dict(zip(digests, range(len(digests)), strict=True)).values())  # each image once
        logits: dict[bytes, Logits] = {}
        for start in range(0, len(rows), self._batch_size):
            part = {digests[row]: row for row in rows[start : start + self._batch_size]}
            logits |= self._answer(part, pixels)
            self._asked |= part.keys()
        if not logits:
            raise ValueError("there are no images to ask about.")
        return self.view(np.stack([logits[digest] for digest in digests]), pixels)

    def _answer(self, part: dict[bytes, int], pixels: Pixels) -> dict[bytes, Logits]:
        """Look up the images of one batch, at the positions that `part` gives; forward those not known."""
        known = self._answers.known(part)
        if len(known) == len(part):
            return known
        with self._answers.exclusive():
            known |= self._answers.known(part.keys() - known.keys())  # another process may have been here
            missing = [digest for digest in part if digest not in known]
            if missing:
                images = pixels[[part[digest] for digest in missing]]
                found = predict(self.target, images, batch_size=self._batch_size, on_batch=self._count)
                self._answers.keep(missing, found)
                known |= zip(missing, found, strict=True)
        return known

    def _count(self, images: int) -> None:
        self.forwarded += images
        tell("queries", self.forwarded, self.budget)


def _num_processes() -> int:
    """Count the processes that forward together; before they meet, by what their launcher announces."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_disjoint(queries: Pixels, held_out: Pixels) -> None:
    """Refuse queries that are among the images kept for evaluation, by the hash of their pixels.

    Positions in a data set are not enough: it may hold an image twice. Changed copies are not found.

    Args:
        queries: shape (n, height, width, channels), uint8.
        held_out: shape (m, height, width, channels), uint8.

    Raises:
        ValueError: some queries are; the message names their positions.

    >>> images = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1, 1)
    >>> require_disjoint(images[:2], images[2:])
    >>> require_disjoint(images[:2], images[1:])
    Traceback (most recent call last):
    ...
    ValueError: queries and images held out must be disjoint; 1 row(s) (1) of the queries are held out.
    """
    _require_not_held_out(image_digests(queries), frozenset(image_digests(held_out)))


def _require_not_held_out(digests: list[bytes], held_out: frozenset[bytes]) -> None:
    rows = np.flatnonzero([digest in held_out for digest in digests])
    if len(rows):
        raise ValueError(
            f"queries and images held out must be disjoint; {name_rows(rows)} of the queries are held out."
        )
