"""Steal a model by training surrogates on its answers, and compare them with it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.accuracy import warn_of_low_accuracy
from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.stealing.attack import Attack
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.extraction import find_network, find_queries, find_recipe, find_view
from securitynet_hub.attacks.stealing.kind import BUDGETS, KIND
from securitynet_hub.attacks.stealing.measures import agreement_per_class, measure_stealing
from securitynet_hub.attacks.stealing.output_formats import OutputView
from securitynet_hub.attacks.stealing.surrogate_files import save_surrogate
from securitynet_hub.attacks.stealing.surrogates import Surrogate, steal
from securitynet_hub.attacks.stealing.transfer import Method, TransferResult, measure_transfer
from securitynet_hub.attacks.subject import AuditData, describe_subject
from securitynet_hub.data.pixels import Labels, Pixels, image_digests
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import BATCH_SIZE, predict
from securitynet_hub.engine.training import Recipe, describe_processes
from securitynet_hub.models.architectures import Architecture
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record
from securitynet_hub.statistics.calibration import measure_calibration

NAME = "model_stealing"
RECIPE = Recipe(epochs=100, batch_size=64, learning_rate=3e-3)
"""As many epochs as Knockoff Nets trains; AdamW in place of its SGD."""
POOL_SIZE = 1797
"""Images of another origin to choose queries from: as many as there are digits, the smallest source."""


def audit_stealing(
    target: Target,
    data: AuditData,
    *,
    budgets: Sequence[int] = BUDGETS,
    strategy: str = "random",
    surrogate: str | Architecture | None = None,
    pretrained: bool = False,
    seeds: Sequence[int] = (0,),
    view: str | Mapping[str, Any] | OutputView = "posteriors",
    loss: str = "soft",
    temperature: float = 1.0,
    recipe: Mapping[str, Any] | Recipe = RECIPE,
    queries: str | Iterable[str] | Pixels | None = None,
    pool_size: int = POOL_SIZE,
    groups: npt.ArrayLike | None = None,
    round_size: int = 500,
    transfer: int = 200,
    transfer_method: Method = "pgd",
    epsilon: int = 8,
    keep: str | Path | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
    on_record: Callable[[Record], object] = lambda record: None,
) -> list[Record]:
    """Steal a model with each budget and seed, compare the surrogates with it, and return the records.

    Target and surrogates are compared on the non-members of the split, which neither was trained on and no
    query may be among, by position and by the hash of the pixels.

    Args:
        target: the model to be stolen.
        data: images and split.
        budgets: how many images to ask about, each for a surrogate of its own.
        strategy: how they are chosen, as `surrogates.steal`.
        surrogate: the network that is trained: the target's own from scratch, unless the id of another model
            or an `Architecture` is given. Images are resized for one that takes another size.
        pretrained: whether the network named by `surrogate` keeps its weights, but for the last layer.
        seeds: each decides a choice of queries and a training.
        view: what the target's answers tell: an `OutputView`, its fields, or the name of one.
        loss: as `surrogates.steal`.
        temperature: likewise, of the loss.
        recipe: how surrogates are trained, or what differs from `RECIPE`; each seed takes the place of its
            own.
        queries: images to choose from, shape (n, height, width, channels), uint8; what `find_queries` takes
            for images of another origin; all images of `data` that are not among the non-members, unless
            given.
        pool_size: of queries of another origin.
        groups: as `surrogates.steal`; the labels of the images of `data`, unless given.
        round_size: as `surrogates.steal`.
        transfer: on so many of the images compared adversarial examples are crafted; 0 for none.
        transfer_method: ``pgd`` or ``fgsm``, as `transfer.craft`.
        epsilon: their largest change of a pixel, in grey levels.
        keep: folder for answers and surrogates, each with its model card: an audit that was interrupted goes
            on where it ended. A temporary one, unless given.
        confidence_level: of every interval.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch of the evaluation.
        on_record: called with each record as soon as it is measured.

    Returns:
        A record for each seed and budget, the budgets of a seed together. Its result is that of
        `measure_stealing`, with ``per_class``, ``calibration`` of both and ``transfer`` (None for a
        preprocessing without gradient).

    Raises:
        ValueError: there is nothing to ask about, a query is among the non-members, or as `steal`.
        BudgetError: as `steal`.
    """
    data.require_classes_of(target)
    evaluation = data.split.nonmembers
    pixels, labels = data.images.pixels[evaluation], data.images.labels[evaluation].astype(np.int64)
    pool, known = _other_images(data) if queries is None else (queries, None)
    if not isinstance(pool, np.ndarray):
        pool = find_queries(pool, data, pool_size)
    if not len(pool):
        raise ValueError(
            f"there is nothing to ask about: every image of {data.images.name} is a non-member of the split, "
            "kept for the comparison. Pass queries=..., images of another origin."
        )
    network = find_network(surrogate, pretrained, target, data)
    view, recipe = find_view(view), find_recipe(recipe, RECIPE)
    processes = describe_processes()["processes"]
    told = predict(target, pixels, batch_size=batch_size, on_batch=on_batch)
    warn_of_low_accuracy(target.annotation, int((told.argmax(1) == labels).sum()), len(labels))
    records = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if keep is None else Path(keep)
        for seed in map(int, seeds):
            began = time.perf_counter()
            box = BlackBox(
                target,
                budget=max(budgets, default=0),
                view=view,
                held_out=pixels,
                cache=folder / "answers.db" if processes == 1 else None,  # they forward together
                batch_size=batch_size,
            )
            own = replace(recipe, seed=seed)
            stolen = steal(
                box,
                network.build,
                pool,
                own,
                budgets=budgets,
                folder=folder / "surrogates",
                strategy=strategy,
                loss=loss,
                temperature=temperature,
                round_size=round_size,
                groups=known if groups is None else groups,
                transform=network.transform,
                seed=seed,
            )
            spent = time.perf_counter() - began
            for each in stolen:
                began = time.perf_counter()
                result = _compare(each, pixels, labels, told, confidence_level)
                result["transfer"] = _transfer(
                    each,
                    target,
                    pixels,
                    labels,
                    transfer,
                    method=transfer_method,
                    epsilon=epsilon,
                    seed=seed,
                    confidence_level=confidence_level,
                )
                record = Record(
                    **describe_subject(target, data),
                    attack={
                        "name": NAME,
                        "kind": KIND.name,
                        "budget": each.budget,
                        "seed": seed,
                        "strategy": strategy,
                        "round_size": None if strategy == "random" else round_size,
                        "loss": loss,
                        "temperature": temperature,
                        "view": view.as_dict(),
                        "recipe": own.as_dict(),
                        "surrogate": network.name,
                        "surrogate_parameters": sum(p.numel() for p in each.module.parameters()),
                        "surrogate_transform": each.transform.as_dict(),
                        "surrogate_sha256": hashlib.sha256(each.path.read_bytes()).hexdigest(),
                        "pool": data.images.name if queries is None else _named(queries),
                        "queries_sha256": _sha256(pool[each.queries]),
                        "transfer": transfer,
                        "confidence_level": confidence_level,
                        **({} if processes == 1 else {"processes": processes}),
                    },
                    result=result,
                    counts={
                        "queries": each.budget,
                        "pool": len(pool),
                        "forwarded": box.forwarded,
                        "evaluated": len(pixels),
                    },
                    timings={"steal_all_budgets": spent, "compare": time.perf_counter() - began},
                )
                records.append(record)
                if keep is not None:
                    save_surrogate(each, folder / "models" / each.path.stem, record)
                on_record(record)
    return records


def _other_images(data: AuditData) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Return all images but the non-members and copies of them, and their labels."""
    others = np.setdiff1d(np.arange(len(data.images)), data.split.nonmembers)
    kept = frozenset(image_digests(data.images.pixels[data.split.nonmembers]))
    digests = image_digests(data.images.pixels[others])
    positions = others[[digest not in kept for digest in digests]]
    return data.images.pixels[positions], data.images.labels[positions].astype(np.int64)


def _named(queries: str | Iterable[str] | Pixels) -> str | list[str] | None:
    """Return what named the queries, None of images that the caller brought."""
    if isinstance(queries, np.ndarray):
        return None
    return queries if isinstance(queries, str) else list(queries)


def _compare(
    surrogate: Surrogate,
    pixels: Pixels,
    labels: Labels,
    told: npt.NDArray[np.float32],
    confidence_level: float,
) -> dict[str, Any]:
    own = surrogate.logits(pixels)
    sides = {"from_logits": True, "confidence_level": confidence_level}
    result: dict[str, Any] = dict(measure_stealing(own, labels, told, **sides))  # type: ignore[arg-type]
    classes = agreement_per_class(own, labels, told, **sides)  # type: ignore[arg-type]
    result["per_class"] = [each._asdict() for each in classes if each.n]
    result["calibration"] = {
        name: measure_calibration(outputs, labels, **sides)  # type: ignore[arg-type]
        for name, outputs in (("surrogate", own), ("target", told))
    }
    return result


def _transfer(
    surrogate: Surrogate, target: Target, pixels: Pixels, labels: Labels, count: int, **settings: Any
) -> TransferResult | None:
    """Measure the transfer on images drawn once for all; None for none, or without a gradient."""
    if not (count > 0 and isinstance(surrogate.transform, Transform)):
        return None
    chosen = np.random.default_rng(0).permutation(len(pixels))[:count]
    module, transform = surrogate.module, surrogate.transform
    return measure_transfer(module, transform, target, pixels[chosen], labels[chosen], **settings)


def _sha256(pixels: Pixels) -> str:
    return hashlib.sha256(b"".join(image_digests(pixels))).hexdigest()


ATTACK = Attack(
    name=NAME,
    run=audit_stealing,
    summary="a copy trained on the model's answers",
    formula="agreement: share of images that copy and model answer alike",
    source="Tramer et al. 2016; Orekondy et al. 2019",
    column="stealing_agreement",
    ranked=True,
)
