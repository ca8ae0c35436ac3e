"""The answers of the target and of shadow models for the samples of an audit and for a population."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.base_calibration import describe_features
from securitynet_hub.attacks.membership.candidates import Candidates, image_digest
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.model_answers import ModelAnswers
from securitynet_hub.attacks.membership.reference_models import ModelCounts
from securitynet_hub.attacks.membership.shadows import Shadows, each_answer
from securitynet_hub.attacks.subject import AuditData, at_one_size
from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.data.augmentations import VIEWS, View, identity
from securitynet_hub.data.features import grid_means, image_features
from securitynet_hub.engine.features import predict_with_features
from securitynet_hub.engine.inference import predict, room_for
from securitynet_hub.engine.processes import multiply, share_out
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.signals import logit_margin

STREAM = 19
"""Tells the draw of models that candidates are compared with from other draws by the same seed."""

CHUNK = 1024
"""Images of which features are computed at a time."""


class Pool(NamedTuple):
    """Shadow models, and the places of an audit's samples in the shadow models' pool.

    Attributes:
        shadows: the shadow models' answers for their pool.
        samples: places of the audit's samples in the pool, in the split's order.
        outside: places of the pool's other samples, which serve as the population.
    """

    shadows: Shadows
    samples: npt.NDArray[np.int64]
    outside: npt.NDArray[np.int64]

    @property
    def counts(self) -> ModelCounts:
        """The number of models, and the smallest numbers trained with, and without, any one sample."""
        masks = self.shadows.masks
        inside = masks.sum(0, dtype=np.int32)[self.samples]
        return ModelCounts(len(masks), int(inside.min()), len(masks) - int(inside.max()))

    @property
    def population(self) -> npt.NDArray[np.int64]:
        """Positions of the population in the image set."""
        return self.shadows.pool[self.outside]

    @property
    def views(self) -> list[View]:
        """The augmentations that the shadow models were asked about; the target must be asked about the same.

        Raises:
            ValueError: the package does not know one of them.
        """
        unknown = [name for name in self.shadows.views if name not in VIEWS]
        if unknown:
            raise ValueError(
                "the target must be asked about the same augmentations as the shadow models; "
                f"{unknown[0]!r} is none of {', '.join(VIEWS)}. Compute the answers yourself, and run the "
                "attack with securitynet_hub.attacks.membership.running.run_attack."
            )
        return [VIEWS[name] for name in self.shadows.views]

    def inputs(
        self, outputs: npt.NDArray[Any], labels: Labels, pool_labels: Labels, *, views: bool
    ) -> dict[str, Any]:
        """Return the shadow models' part of the inputs, for every augmentation or only for the first.

        Args:
            outputs: the target's answers for the population.
            labels: labels of the population.
            pool_labels: labels of the whole pool.
            views: whether all augmentations are compared.
        """
        shadows, masks = self.shadows, self.shadows.masks

        def answers(places: Rows) -> ModelAnswers:
            return ModelAnswers(
                lambda: shadows.margins(pool_labels),
                places,
                shape=(len(masks), len(shadows.views), shadows.num_classes),
                views=views,
                logits=shadows.logits,
            )

        known: dict[str, Any] = {
            "reference_outputs": answers(self.samples),
            "reference_in": masks[:, self.samples],
        }
        if len(self.outside):
            known |= {
                "population_outputs": outputs,
                "population_labels": labels,
                "population_ids": self.population,
                "reference_population_outputs": answers(self.outside),
                "reference_population_in": masks[:, self.outside],
            }
        return known


def find_pool(shadows: Shadows, data: AuditData) -> Pool:
    """Find the split's samples in the shadow models' pool.

    Raises:
        ValueError: the shadow models answered for other images, not for the unchanged images first, or not
            for all samples of the split.
    """
    if shadows.images_sha256 != data.images.sha256 or shadows.views[0] != identity.__name__:
        raise ValueError(
            f"the shadow models must have answered for {data.images.name} as it is (sha256 "
            f"{data.images.sha256[:12]}); they answered for {shadows.images_sha256[:12]}, and their first "
            f"augmentation is {shadows.views[0]!r}."
        )
    order, indices = np.argsort(shadows.pool), data.split.indices
    samples = order[np.searchsorted(shadows.pool, indices, sorter=order).clip(max=len(order) - 1)]
    unknown = indices[shadows.pool[samples] != indices]
    if len(unknown):
        raise ValueError(
            f"the shadow models must answer for every sample of the split; {len(unknown)} are not in their "
            f"pool, the first is image {unknown[0]}."
        )
    return Pool(shadows, samples, np.setdiff1d(np.arange(len(shadows.pool)), samples))


def ask_about(shadows: Shadows, data: AuditData, candidates: Candidates, *, seed: int) -> Shadows:
    """Ask kept shadow models about candidates; return them with the candidates in their pool.

    No model was trained on a candidate, unless its image is one of the pool. As many models as for a known
    image are compared with it all the same: those that were trained on a non-member, drawn for each
    candidate, are left out, so that scores of candidates vary as those of known non-members do.

    Args:
        shadows: models that answered for the samples of the audit.
        data: the audit's own data.
        candidates: the images that the models are asked about.
        seed: decides the draw.

    Raises:
        ValueError: the models' answers were kept alone, or they are not for the samples of the audit.
        WeightsError: a model's file is missing or damaged.
    """
    own, asked = find_pool(shadows, data), candidates.beside(data)
    if shadows.networks is None:
        raise ValueError(
            "of these shadow models the answers alone are known, not those for the candidates: pass what "
            "train_shadows returned in this process, or the number of models, shadows=N (--shadows N)."
        )
    places = np.arange(len(data.images), len(asked.images))
    further = {image_digest(data.images, int(shadows.pool[row])): row for row in own.outside}
    copies = [further.get(image_digest(candidates.images, row)) for row in range(len(places))]
    nonmembers = own.samples[~data.split.is_member]
    drawn = np.random.default_rng([STREAM, seed]).choice(nonmembers, len(places))
    masks = shadows.masks[:, drawn]
    for place, row in enumerate(copies):
        if row is not None and shadows.masks[:, row].any():
            masks[:, place] = shadows.masks[:, row]
    kept = np.setdiff1d(np.arange(len(shadows.pool)), [row for row in copies if row is not None])
    known: dict[str, Any] = {}
    answered = shadows.networks.answers(candidates.images)
    if shadows.logits is not None:
        known["logits"] = np.concatenate([shadows.logits[:, kept], answered], 1)
    elif shadows.kept is not None:
        labels = candidates.images.labels
        margins = each_answer(logit_margin, answered, labels)
        known["kept"] = shadows.kept._replace(
            margins=np.concatenate([shadows.kept.margins[:, kept], margins], 1),
            labels=np.append(shadows.kept.labels[kept], labels),
            sha256=None,
        )
    return replace(
        shadows,
        images_sha256=asked.images.sha256,
        pool=np.append(shadows.pool[kept], places),
        masks=np.hstack([shadows.masks[:, kept], masks]),
        **known,
    )


class Answers(NamedTuple):
    """The inputs of an audit's attacks, and what the forward pass took.

    Attributes:
        inputs: what every attack on answers is given.
        logits: shape (samples, classes), the target's logits for the unchanged images, in the split's order.
        forwarded: number of images that the target was asked about.
        seconds: duration of the forward pass.
    """

    inputs: MembershipInputs
    logits: npt.NDArray[np.float32]
    forwarded: int
    seconds: float


def forward(
    target: Target,
    data: AuditData,
    pool: Pool | None,
    *,
    views: bool,
    features: bool,
    penultimate: bool,
    base: Target | None = None,
    calibration: Any,
    seed: int,
    batch_size: int,
    on_batch: Callable[[int], None],
) -> Answers:
    """Ask the target once about every sample and the population; combine its answers with the pool's.

    Args:
        target: the model under attack.
        data: images, and the split whose samples are scored.
        pool: the shadow models, if there are any.
        views: whether to ask about every augmentation that the shadow models were asked about, or only about
            the unchanged image.
        features: whether to compute `image_features` of the samples, too.
        penultimate: whether to keep what the target's last layer reads for each sample, too.
        base: the public model that the target was fine-tuned from, to be asked about the samples, too.
        calibration: share of the samples whose membership the attacker knows, or which ones they are.
        seed: decides everything that attacks draw.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch.
    """
    began = time.perf_counter()
    indices = data.split.indices
    n, own = len(indices), data.images.select(indices)
    several = pool is not None and views and len(pool.shadows.views) > 1
    positions = indices if pool is None else np.concatenate([indices, pool.population])
    if several:  # shadow models were asked about augmentations of images of one size
        target, data = at_one_size(target, data)
    images, labels = data.images.select(positions), data.images.labels[positions].astype(np.int64)
    asking: dict[str, Any] = {"batch_size": batch_size, "on_batch": on_batch}
    asked = pool.views if pool is not None and several else [identity]
    logits, layer = np.empty(0, np.float32), None
    for place, view in enumerate(asked):
        changed = images.change(view, images.shape)
        if penultimate and layer is None:
            answers, layer = predict_with_features(target, changed, **asking)
        else:
            answers = predict(target, changed, **asking)
        if not several:
            logits = answers
            continue
        if not place:
            logits = room_for((len(answers), len(asked), answers.shape[1]), np.float32)
        logits[:, place] = answers
    pool_labels = labels if pool is None else data.images.labels[pool.shadows.pool].astype(np.int64)
    inputs = MembershipInputs(
        outputs=logits[:n],
        labels=labels[:n],
        is_member=data.split.is_member,
        from_logits=True,
        calibration=calibration,
        seed=seed,
        ids=indices,
        features=_features(target, data, labels[:n]) if features else None,
        penultimate=None if layer is None else layer[:n],
        base_features=None if base is None else describe_features(base, own, **asking),
        **({} if pool is None else pool.inputs(logits[n:], labels[n:], pool_labels, views=several)),
        share=share_out,
        multiply=multiply,
    )
    unchanged = logits[:n, 0] if several else logits[:n]
    return Answers(inputs, unchanged, len(positions) * len(asked), time.perf_counter() - began)


def _features(target: Target, data: AuditData, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Describe every sample by its image, at one size, a few of them in memory at a time."""
    _, sized = at_one_size(target, data)
    rows = data.split.indices
    grids = [
        grid_means(sized.images.array(rows[start : start + CHUNK])) for start in range(0, len(rows), CHUNK)
    ]
    return image_features(np.concatenate(grids), labels)
