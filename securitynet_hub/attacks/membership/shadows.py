"""Shadow models: networks like the target, each trained on a known part of a pool of samples.

Attacks that compare a target with models trained with, and without, a sample (LiRA, RMIA, Attack-R) use the
answers of shadow models. Every model is saved as soon as it is trained, under a hash of everything that
decided it, so that training can be interrupted, resumed and extended, and the models can be asked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.core.arrays import Labels, Scores
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.core.progress import tell
from securitynet_hub.data.augmentations import View, identity
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.engine.inference import predict_module, room_for
from securitynet_hub.engine.trained import find_trained, keep_trained, network_hash
from securitynet_hub.engine.training import Recipe, describe_processes, train
from securitynet_hub.models.network_size import at_one_size
from securitynet_hub.models.target import Preprocessing
from securitynet_hub.statistics.posteriors import log_sigmoid
from securitynet_hub.statistics.signals import logit_margin
from securitynet_hub.weights.hashes import file_digests

Masks = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

KEPT = ("logits", "margins")
"""What `train_shadows` can keep of the answers."""

LOGITS_BYTES = 1 << 30
"""Bytes of logits above which `train_shadows` keeps margins alone."""

MARGINS_BYTES = 1 << 28
"""Bytes of margins above which they lie in a temporary file."""

ROWS = 1 << 13
"""Samples whose logits are looked at together."""


def balanced_masks(num_models: int, num_samples: int, *, parts: int = 2, seed: int) -> Masks:
    """Choose the training samples of each model: every `parts` models divide the samples among themselves.

    With two parts each sample is in one of every two models, as in Carlini et al. 2022 (arXiv 2112.03570).
    A larger number of models only adds rows: the first rows stay the same.

    Args:
        num_models: number of models; at least `parts`, so that every sample is in one and out of another.
        num_samples: number of samples to choose from; the sizes of parts differ by at most one.
        parts: each model is trained on one part of this many.
        seed: decides the draw.

    Returns:
        Shape (num_models, num_samples), True where the sample is trained on.

    Raises:
        ValueError: there are fewer models or samples than parts, or fewer than two parts.

    >>> masks = balanced_masks(4, 100, seed=0)
    >>> set(masks.sum(0).tolist()), set(masks.sum(1).tolist())
    ({2}, {50})
    """
    if not 2 <= parts <= min(num_models, num_samples):
        raise ValueError(
            f"there must be at least two parts, and as many models and samples as parts; got {parts} parts, "
            f"{num_models} models and {num_samples} samples."
        )
    masks = np.zeros((num_models, num_samples), np.bool_)
    for model in range(num_models):
        block, part = divmod(model, parts)
        order = np.random.default_rng((seed, block)).permutation(num_samples)
        masks[model, np.array_split(order, parts)[part]] = True
    return masks


def fresh_samples(candidates: npt.ArrayLike, num_models: int, size: int, *, seed: int) -> Positions:
    """Draw further training samples for each model anew, for `train_shadows`.

    Shadow models that are trained on halves of one pool vary less than models whose training sets are drawn
    from all samples there are, as every two of them share a half of what they may contain. A statistic that
    adds up what single samples contribute, and a network's margin nearly does, has ``1 - n / N`` times the
    variance if the n training samples are drawn from a pool of N, instead of from all (Cochran 1977,
    Sampling Techniques, section 2.6). So a half of a pool shows each sample's leak up to sqrt 2 times as
    large, in deviations, as to an attacker who does not know the pool.

    Args:
        candidates: shape (k,), positions to draw from, none of them in the pool; the more, the better.
        num_models: number of models.
        size: number of samples to draw for each, without replacement.
        seed: decides the draw; a larger number of models only adds rows.

    Returns:
        Shape (num_models, size), positions.

    Raises:
        ValueError: there are fewer candidates than samples to draw.

    >>> drawn = fresh_samples(range(10, 100), 4, 30, seed=0)
    >>> drawn.shape, len(set(drawn[0].tolist())), int(drawn.min()) >= 10
    ((4, 30), 30, True)
    """
    positions = np.asarray(candidates)
    if not 0 <= size <= len(positions):
        raise ValueError(f"{size} samples cannot be drawn from {len(positions)} candidates.")
    rows = [
        np.random.default_rng((seed, model)).choice(positions, size, replace=False)
        for model in range(num_models)
    ]
    return np.stack(rows)


class KeptMargins(NamedTuple):
    """What is left of logits: the labels' logit margins, from which LiRA, RMIA and the like follow.

    Attributes:
        margins: shape (models, n, augmentations), floating-point; float64 gives the same scores to the bit as
            logits. A memory-mapped file is read a part at a time.
        labels: shape (n,).
        classes: number of classes.
        sha256: what `Shadows.sha256` would be of the logits; None where they were never known.
    """

    margins: npt.NDArray[Any]
    labels: Labels
    classes: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptNetworks:
    """The networks of shadow models, in files: they can be asked about further images.

    Attributes:
        build: makes a network with initial weights.
        transform: preprocessing of the networks.
        views: augmentations that they are asked about.
        files: of each network, its file and the sha256 that this must have.
    """

    build: Callable[[], torch.nn.Module] = field(repr=False)
    transform: Preprocessing
    views: Sequence[View] = field(repr=False)
    files: Sequence[tuple[Path, str]] = field(repr=False)

    def answers(self, images: ImageSource) -> npt.NDArray[np.float32]:
        """Return the networks' logits, shape (models, n, augmentations, classes).

        Raises:
            WeightsError: a file is missing, or is not the one that was kept.
        """
        images, transform = at_one_size(images, self.transform)
        pixels = images.array(np.arange(len(images)))
        found = []
        for path, sha256 in self.files:
            module = find_trained(self.build, path)
            if module is None or file_digests(path, {"sha256"})["sha256"] != sha256:
                raise WeightsError(
                    f"the shadow model {path} is gone, damaged or another one: train the shadow models again."
                )
            found.append(answers(module, transform, pixels, self.views))
        return np.stack(found)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Shadows:
    """The answers of shadow models for the samples of a pool.

    Attributes:
        images_sha256: hash of the image set.
        pool: shape (n,), positions in the image set.
        masks: shape (models, n), True where the model was trained on the sample.
        views: names of the augmentations that the models were asked about.
        logits: shape (models, n, augmentations, classes), float32; None where the margins alone were kept.
        kept: these margins.
        networks: the models themselves; None where their answers alone are known.
    """

    images_sha256: str
    views: tuple[str, ...]
    pool: npt.NDArray[np.int64] = field(repr=False)
    masks: Masks = field(repr=False)
    logits: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    kept: KeptMargins | None = field(default=None, repr=False)
    networks: KeptNetworks | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.logits is None) == (self.kept is None):
            raise ValueError("shadow models have either logits or kept margins.")
        if self.kept is not None:
            shape = (*self.masks.shape, len(self.views))
            found, labels = self.kept.margins.shape, self.kept.labels.shape
            if found != shape or labels != shape[1:2]:
                raise ValueError(
                    f"kept margins must have shape {shape}, of the masks and augmentations, and as many "
                    f"labels as samples; got {found} and {labels}."
                )

    def __repr__(self) -> str:
        models, samples = self.masks.shape
        return f"Shadows({models} models, {samples:,} images, {', '.join(self.views)})"

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        if self.kept is not None:
            return self.kept.classes
        assert self.logits is not None
        return int(self.logits.shape[-1])

    @cached_property
    def sha256(self) -> str:
        """Hash of the pool, the masks and the answers, for a record."""
        if self.kept is None:
            assert self.logits is not None
            return _begin_digest(self.pool, self.masks, self.logits.shape, self.logits).hexdigest()
        if self.kept.sha256 is not None:
            return self.kept.sha256
        digest = _begin_digest(self.pool, self.masks, self.kept.margins.shape)
        digest.update(self.kept.labels.astype("<i8").data)
        for own in self.kept.margins:
            digest.update(np.ascontiguousarray(own, "<f8").data)
        return digest.hexdigest()

    def margins(self, labels: npt.ArrayLike) -> Scores:
        """Return `signals.logit_margin` of every answer, shape (models, n, augmentations).

        They are computed once, and lie in a temporary file if they are many.

        Raises:
            ValueError: the margins alone were kept, and those of other labels.
        """
        given = np.asarray(labels)
        if self.kept is not None:
            if not np.array_equal(self.kept.labels, given):
                raise ValueError(
                    "of these shadow models the margins of the labels were kept alone, and the labels here "
                    "are others."
                )
            return self.kept.margins
        assert self.logits is not None
        known: tuple[npt.NDArray[Any], Scores] | None = self.__dict__.get("_margins")
        if known is None or not np.array_equal(known[0], given):
            found = _room(self.logits.shape[:-1])
            for own, logits in zip(found, self.logits, strict=True):
                own[:] = each_answer(logit_margin, logits, given)
            known = self.__dict__["_margins"] = given.copy(), found
        return known[1]

    def log_confidences(self, labels: npt.ArrayLike) -> Scores:
        """Return `signals.loss`, log p_y, of every answer, shape (models, n, augmentations)."""
        return log_sigmoid(np.asarray(self.margins(labels), np.float64))


def _begin_digest(
    pool: Positions, masks: Masks, shape: tuple[int, ...], *answers: npt.NDArray[Any]
) -> hashlib._Hash:
    digest = hashlib.sha256(repr((masks.shape, shape)).encode())
    for array in (pool.astype("<i8"), masks, *(each.astype("<f4", copy=False) for each in answers)):
        digest.update(np.ascontiguousarray(array).data)
    return digest


def _room(shape: tuple[int, ...]) -> Scores:
    """Return an array for margins, in memory or in a temporary file."""
    return room_for(shape, np.float64, most=MARGINS_BYTES)


def each_answer(signal: Callable[..., Scores], logits: npt.NDArray[Any], labels: npt.ArrayLike) -> Scores:
    """Apply a signal to logits of shape (..., n, augmentations, classes); labels have shape (n,)."""
    n, classes = logits.shape[-3], logits.shape[-1]
    per_row = np.broadcast_to(np.asarray(labels).reshape(n, 1), logits.shape[:-1]).reshape(-1)
    return signal(logits.reshape(-1, classes), per_row, from_logits=True).reshape(logits.shape[:-1])


def answers(
    module: torch.nn.Module, transform: Preprocessing, pixels: Pixels, views: Sequence[View] = (identity,)
) -> npt.NDArray[np.float32]:
    """Return a network's logits for every augmentation of every image, shape (n, augmentations, classes)."""
    return np.stack(_each_view(module, transform, pixels, views), axis=1)


def _each_view(
    module: torch.nn.Module, transform: Preprocessing, pixels: Pixels, views: Sequence[View]
) -> list[npt.NDArray[np.float32]]:
    return [predict_module(module, transform, view(pixels)) for view in views]


class _Keeping:
    """Takes the logits of one model after the other, and keeps them, or their margins alone.

    Args:
        pool: the samples' positions.
        masks: shape (models, n).
        labels: shape (n,).
        keep: what to keep; None for the logits unless they take more than `LOGITS_BYTES`.
    """

    def __init__(
        self, pool: Positions, masks: Masks, labels: Labels, keep: Literal["logits", "margins"] | None
    ) -> None:
        if keep not in (None, *KEPT):
            raise UnknownNameError("sort of answers to keep", keep, KEPT)
        self._pool, self._masks, self._labels, self._keep = pool, masks, labels, keep
        self._done, self._classes, self._digest = 0, 0, hashlib.sha256()
        self._room: npt.NDArray[Any] = np.empty(0)

    def add(self, each_view: Sequence[npt.NDArray[np.float32]]) -> None:
        """Take the logits of the next model, an array of shape (n, classes) for each augmentation."""
        shape = (*self._masks.shape, len(each_view), each_view[0].shape[1])
        if not self._done:
            self._keep = self._keep or (
                "logits" if 4 * np.prod(shape, dtype=float) <= LOGITS_BYTES else "margins"
            )
            self._room = _room(shape[:-1]) if self._keep == "margins" else np.empty(shape, np.float32)
            self._classes, self._digest = shape[-1], _begin_digest(self._pool, self._masks, shape)
        for start in range(0, len(self._labels), ROWS):
            part = slice(start, start + ROWS)
            found: npt.NDArray[Any] = np.stack([view[part] for view in each_view], 1)
            if self._keep == "margins":
                self._digest.update(found.astype("<f4", copy=False).data)
                found = each_answer(logit_margin, found, self._labels[part])
            self._room[self._done, part] = found
        self._done += 1

    def shadows(self, images_sha256: str, views: tuple[str, ...]) -> Shadows:
        """Return what was kept of all models."""
        margins = self._keep == "margins"
        kept = KeptMargins(self._room, self._labels, self._classes, self._digest.hexdigest())
        return Shadows(
            images_sha256=images_sha256,
            views=views,
            pool=self._pool,
            masks=self._masks.copy(),
            logits=None if margins else self._room,
            kept=kept if margins else None,
        )


def train_shadows(
    build: Callable[[], torch.nn.Module],
    images: ImageSource,
    pool: npt.ArrayLike,
    masks: Masks,
    recipe: Recipe,
    transform: Preprocessing,
    *,
    folder: Path,
    views: Sequence[View] = (identity,),
    fresh: Positions | None = None,
    keep: Literal["logits", "margins"] | None = None,
    on_model: Callable[[int], None] = lambda number: None,
) -> Shadows:
    """Train one model for each row of `masks`, or find it in `folder`, and ask each about the pool.

    A model is named by a hash of its images, members, recipe, preprocessing and first weights, and its file
    holds them (`read_decided`): the same call after an interruption goes on where it ended, and one with more
    rows trains only those.

    Args:
        build: makes the network with its initial weights.
        images: the image set that `pool` points into; images of many sizes are brought to the network's.
        pool: shape (n,), positions of the samples, each once.
        masks: shape (models, n), True where the model is trained on the sample, as from `balanced_masks`.
        recipe: how each model is trained; row k has the recipe's seed + k.
        transform: preprocessing of the network.
        folder: where the models are kept, as safetensors.
        views: augmentations that the models are asked about.
        fresh: shape (models, k), positions of further training samples of each model, as from
            `fresh_samples`; the models are not asked about these.
        keep: what to keep of the answers: the ``logits``, or the labels' ``margins`` alone, 8 bytes for each
            model, sample and augmentation, from which all our attacks follow to the bit. By default the
            logits, unless they take more than `LOGITS_BYTES`.
        on_model: called with the row's number after each model, for a progress bar.

    Raises:
        ValueError: pool, masks and fresh samples do not fit together, a row has no member, or positions
            repeat.
        UnknownNameError: there is nothing to keep of that name.
        WeightsError: the folder cannot be written.
    """
    positions = np.asarray(pool)
    fresh = np.empty((len(masks), 0), np.int64) if fresh is None else np.asarray(fresh)
    _require_fitting(positions, masks, len(images))
    _require_fresh(fresh, positions, len(masks), len(images))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"shadow models cannot be kept in {folder}: {error.strerror}.") from error
    networks = KeptNetworks(build=build, transform=transform, views=tuple(views), files=[])
    images, transform = at_one_size(images, transform)
    pixels = images.array(positions)
    kept = _Keeping(positions, masks, images.labels[positions].astype(np.int64), keep)
    files = []
    for number, mask in enumerate(masks):
        tell("reference models", number, len(masks))
        members = np.concatenate([positions[mask], fresh[number]])
        own = replace(recipe, seed=recipe.seed + number)
        decided = {
            "images": images.sha256,
            "members": members.tolist(),
            "recipe": own.as_dict(),
            "transform": transform.as_dict(),
            "network": network_hash(build, own.seed),
            "processes": describe_processes(),
        }
        name = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]
        path = folder / f"{name}.safetensors"
        module = find_trained(build, path)
        if module is None:
            own_pixels = pixels[mask]
            if fresh.shape[1]:
                own_pixels = np.concatenate([own_pixels, images.array(fresh[number])])
            inputs = transform(own_pixels)
            labels = torch.from_numpy(images.labels[members].astype(np.int64))
            module = train(build, inputs, labels, own)
            keep_trained(module, path, decided)
        kept.add(_each_view(module, transform, pixels, views))
        files.append((path, file_digests(path, {"sha256"})["sha256"]))
        on_model(number)
    tell("reference models", len(masks), len(masks))
    found = kept.shadows(images.sha256, tuple(view.__name__ for view in views))
    return replace(found, networks=replace(networks, files=tuple(files)))


def _require_fitting(positions: npt.NDArray[Any], masks: Masks, size: int) -> None:
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or len(np.unique(positions)) != len(positions):
        raise ValueError(
            f"pool must be positions in the image set, each once; got {positions.shape} of {positions.dtype}."
        )
    if len(positions) and not 0 <= positions.min() <= positions.max() < size:
        raise ValueError(f"pool must lie in 0..{size - 1}; got {positions.min()}..{positions.max()}.")
    if masks.dtype != np.bool_ or masks.ndim != 2 or masks.shape[1] != len(positions):
        raise ValueError(
            f"masks must be booleans of shape (models, {len(positions)}), one column for each sample of the "
            f"pool; got {masks.dtype} of {masks.shape}."
        )
    empty = np.flatnonzero(~masks.any(1))
    if len(empty):
        raise ValueError(f"every model needs a sample to be trained on; row {empty[0]} of masks has none.")


def _require_fresh(fresh: npt.NDArray[Any], positions: npt.NDArray[Any], models: int, size: int) -> None:
    if fresh.ndim != 2 or len(fresh) != models or fresh.dtype.kind not in "iu":
        raise ValueError(
            f"fresh must be positions of shape ({models}, k), one row for each model; got {fresh.dtype} of "
            f"{fresh.shape}."
        )
    if fresh.size and not 0 <= fresh.min() <= fresh.max() < size:
        raise ValueError(f"fresh must lie in 0..{size - 1}; got {fresh.min()}..{fresh.max()}.")
    again = np.intersect1d(fresh, positions)
    if len(again):
        raise ValueError(f"fresh samples must be outside the pool; image {again[0]} is in it.")
    ordered = np.sort(fresh, 1)
    twice = np.argwhere(ordered[:, 1:] == ordered[:, :-1])
    if len(twice):
        row, place = twice[0]
        raise ValueError(f"row {row} of fresh has image {ordered[row, place]} twice.")
