"""Extract a model by training surrogates on its answers, and compare each surrogate with it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.stealing.attack import Attack
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.extraction import (
    POOL_SIZE,
    find_network,
    find_queries,
    find_recipe,
    find_view,
)
from securitynet_hub.attacks.stealing.independent import measure_independent
from securitynet_hub.attacks.stealing.kind import BUDGETS, KIND
from securitynet_hub.attacks.stealing.measures import agreement_per_class, measure_stealing
from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.attacks.stealing.surrogate_files import save_surrogate
from securitynet_hub.attacks.stealing.surrogates import Surrogate, require_plan, steal
from securitynet_hub.attacks.stealing.transfer import (
    Method,
    TransferResult,
    measure_transfer,
    require_perturbation,
)
from securitynet_hub.attacks.subject import AuditData, at_one_size, describe_subject
from securitynet_hub.core.errors import GradientError
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """The settings of one extraction: what the attacker asks, sees and trains, and what is compared.

    Attributes:
        budgets: query budgets: how many images the attacker asks about; one surrogate is trained for each.
        seeds: each decides a choice of queries and a training.
        strategy: how queries are chosen; a name from `surrogates.STRATEGIES`.
        round_size: queries in one round of the strategies other than ``random``.
        groups: for ``adaptive``: what the attacker knows of each image of the pool, shape (n,), integers. The
            labels of the images of `data`, unless given.
        queries: the pool that queries are chosen from: images, shape (n, height, width, channels), uint8; or
            what `find_queries` takes. Default: all images of `data` but the non-members and copies of them.
        pool_size: size of a pool that `find_queries` makes.
        view: the format of the answers that the attacker sees: an `OutputFormat`, its fields, or its kind.
        surrogate: the network that is trained: the id of a model, or an `Architecture`; the target's own
            network, unless given. Images are resized for a network that takes another size.
        pretrained: whether the network named by `surrogate` keeps its weights, except the last layer's.
        recipe: how surrogates are trained, or the fields that differ from `RECIPE`; each seed replaces its
            seed.
        loss: a name from `objectives.LOSSES`.
        temperature: of the loss ``soft``.
        transfer: number of compared images on which adversarial examples are crafted; 0 for none.
        transfer_method: ``pgd`` or ``fgsm``, as `transfer.craft`.
        epsilon: largest change of a pixel in an adversarial example, in grey levels, 0..255.

    Raises:
        UnknownNameError: no such strategy, loss, method, format or field; the closest names are given.
        ValueError: a setting lies outside its range.

    >>> Extraction(view="label", recipe={"epochs": 5}).training.epochs
    5
    """

    budgets: Sequence[int] = BUDGETS
    seeds: Sequence[int] = (0,)
    strategy: str = "random"
    round_size: int = 500
    groups: npt.ArrayLike | None = field(default=None, repr=False)
    queries: str | Sequence[str] | Pixels | None = field(default=None, repr=False)
    pool_size: int = POOL_SIZE
    view: str | Mapping[str, Any] | OutputFormat = "posteriors"
    surrogate: str | Architecture | None = None
    pretrained: bool = False
    recipe: Mapping[str, Any] | Recipe = RECIPE
    loss: str = "soft"
    temperature: float = 1.0
    transfer: int = 200
    transfer_method: Method = "pgd"
    epsilon: int = 8

    def __post_init__(self) -> None:
        find_view(self.view)
        find_recipe(self.recipe, RECIPE)
        require_plan(self.strategy, self.loss, self.temperature, self.round_size)
        require_perturbation(self.transfer_method, self.epsilon)

    @property
    def output_format(self) -> OutputFormat:
        """The format of the target's answers."""
        return find_view(self.view)

    @property
    def training(self) -> Recipe:
        """How surrogates are trained."""
        return find_recipe(self.recipe, RECIPE)


def run(
    target: Target,
    data: AuditData,
    *,
    keep: str | Path | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
    on_record: Callable[[Record], object] = lambda record: None,
    **settings: Any,
) -> list[Record]:
    """Extract a model with each budget and seed, compare the surrogates with it, and return the records.

    The attacker of Tramer et al. 2016 (section 2) and Orekondy et al. 2019 (Knockoff Nets, section 4) sees
    nothing but answers. The headline figure, with t(x) and s(x) the labels of target and surrogate, is

        agreement = mean of 1[s(x) = t(x)],      higher = a closer copy,

    over the non-members of the split: neither network was trained on them, and no query may be among them,
    by position or by the hash of the pixels.

    Args:
        target: the model under attack.
        data: images and split.
        keep: folder for answers and surrogates, each with its model card; an interrupted extraction resumes
            from there. Default: a temporary folder.
        confidence_level: of every interval.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch of the evaluation.
        on_record: called with each record as soon as it is measured.
        settings: fields of `Extraction`.

    Returns:
        One record for each seed and budget, all budgets of a seed together. Its result is that of
        `measure_stealing`, with ``per_class``, ``calibration`` of surrogate and target, ``transfer``
        (None for a preprocessing without gradient), and ``independent``, that of `measure_independent`.

    Raises:
        UnknownNameError: no such setting, or as `Extraction`.
        ValueError: the pool is empty, a query is among the non-members, or as `Extraction` or `steal`.
        BudgetError: as `steal`.

    >>> from securitynet_hub import load_target
    >>> from securitynet_hub.attacks.subject import known_data
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> quick = {"recipe": {"epochs": 1}, "transfer": 0}
    >>> (record,) = run(target, known_data(target.annotation), budgets=[20], **quick)
    >>> record.counts["queries"], record.counts["evaluated"], 0 < record.result["agreement"] < 1
    (20, 1000, True)
    """
    ATTACK.require_settings(settings)
    extraction = Extraction(**settings)
    if target.labels_only:
        extraction = replace(extraction, view="label")
    data.require_classes_of(target)
    whole, original, (target, data) = target, data, at_one_size(target, data)
    pool = _find_pool(data, extraction)
    network = find_network(extraction.surrogate, extraction.pretrained, target, data)
    held_out = _answer_held_out(target, data, batch_size, on_batch)
    if data.validity is not None:
        data.validity.judge(whole, original, data.split.nonmembers, held_out.logits)
    independent = measure_independent(target, *held_out, batch_size=batch_size)
    records = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if keep is None else Path(keep)
        for seed in map(int, extraction.seeds):
            began = time.perf_counter()
            box = _black_box(target, extraction, held_out, folder, batch_size)
            surrogates = _query_and_train(box, network, pool, extraction, folder, seed)
            spent = time.perf_counter() - began
            for surrogate in surrogates:
                began = time.perf_counter()
                result = _compare(surrogate, target, held_out, extraction, seed, confidence_level)
                result["independent"] = independent
                record = Record(
                    **describe_subject(whole, data),
                    attack=_describe(surrogate, network, pool, extraction, seed, confidence_level),
                    result=result,
                    counts={
                        "queries": surrogate.budget,
                        "pool": len(pool.pixels),
                        "forwarded": box.forwarded,
                        "evaluated": len(held_out.pixels),
                    },
                    timings={"steal_all_budgets": spent, "compare": time.perf_counter() - began},
                )
                records.append(record)
                if keep is not None:
                    save_surrogate(surrogate, folder / "models" / surrogate.path.stem, record)
                on_record(record)
    return records


class _Pool(NamedTuple):
    """The images that queries are chosen from, what the attacker knows of them, and their name in records."""

    pixels: Pixels
    groups: npt.ArrayLike | None
    name: str | list[str] | None


class _HeldOut(NamedTuple):
    """The images on which target and surrogate are compared, and the target's logits for them."""

    pixels: Pixels
    labels: Labels
    logits: npt.NDArray[np.float32]


def _find_pool(data: AuditData, extraction: Extraction) -> _Pool:
    queries, groups = extraction.queries, extraction.groups
    if queries is None:
        pixels, labels = _unevaluated_images(data)
        pool = _Pool(pixels, labels if groups is None else groups, data.images.name)
    elif isinstance(queries, np.ndarray):
        pool = _Pool(queries, groups, None)
    else:
        name = queries if isinstance(queries, str) else list(queries)
        pool = _Pool(find_queries(name, data, extraction.pool_size), groups, name)
    if not len(pool.pixels):
        raise ValueError(
            f"there is nothing to ask about: every image of {data.images.name} is a non-member of the split, "
            "kept for the comparison. Pass queries=..., images of another origin."
        )
    return pool


def _unevaluated_images(data: AuditData) -> tuple[Pixels, Labels]:
    """Return all images but the non-members and copies of them, and their labels."""
    others = np.setdiff1d(np.arange(len(data.images)), data.split.nonmembers)
    kept = frozenset(image_digests(data.images.array(data.split.nonmembers)))
    pixels = data.images.array(others)
    unseen = np.array([digest not in kept for digest in image_digests(pixels)], np.bool_)
    return pixels[unseen], data.images.labels[others[unseen]].astype(np.int64)


def _answer_held_out(
    target: Target, data: AuditData, batch_size: int, on_batch: Callable[[int], None]
) -> _HeldOut:
    """Return the non-members with the target's logits; the auditor asks, outside the attacker's budget."""
    rows = data.split.nonmembers
    pixels, labels = data.images.array(rows), data.images.labels[rows].astype(np.int64)
    logits = predict(target, pixels, batch_size=batch_size, on_batch=on_batch)
    return _HeldOut(pixels, labels, logits)


def _black_box(
    target: Target, extraction: Extraction, held_out: _HeldOut, folder: Path, batch_size: int
) -> BlackBox:
    alone = describe_processes()["processes"] == 1  # processes that forward together cannot share a cache
    return BlackBox(
        target,
        budget=max(extraction.budgets, default=0),
        view=extraction.output_format,
        held_out=held_out.pixels,
        cache=folder / "answers.db" if alone else None,
        batch_size=batch_size,
    )


def _query_and_train(
    box: BlackBox, network: Architecture, pool: _Pool, extraction: Extraction, folder: Path, seed: int
) -> list[Surrogate]:
    return steal(
        box,
        network.build,
        pool.pixels,
        replace(extraction.training, seed=seed),
        budgets=extraction.budgets,
        folder=folder / "surrogates",
        strategy=extraction.strategy,
        loss=extraction.loss,
        temperature=extraction.temperature,
        round_size=extraction.round_size,
        groups=pool.groups,
        transform=network.transform,
        seed=seed,
    )


def _compare(
    surrogate: Surrogate,
    target: Target,
    held_out: _HeldOut,
    extraction: Extraction,
    seed: int,
    confidence_level: float,
) -> dict[str, Any]:
    """Return the result of a record: what surrogate and target answer to the images held out."""
    pixels, labels, answers = held_out
    own = surrogate.logits(pixels)
    sides = {"from_logits": True, "confidence_level": confidence_level}
    calibrated = {"surrogate": own, "target": answers}
    if target.labels_only:  # there is no more to compare
        del calibrated["target"]
        answers = answers.argmax(1)
    result: dict[str, Any] = dict(measure_stealing(own, labels, answers, **sides))  # type: ignore[arg-type]
    classes = agreement_per_class(own, labels, answers, **sides)  # type: ignore[arg-type]
    result["per_class"] = [each._asdict() for each in classes if each.n]
    result["calibration"] = {
        name: measure_calibration(outputs, labels, **sides)  # type: ignore[arg-type]
        for name, outputs in calibrated.items()
    }
    result["transfer"] = _transfer(
        surrogate,
        target,
        held_out,
        extraction.transfer,
        method=extraction.transfer_method,
        epsilon=extraction.epsilon,
        seed=seed,
        confidence_level=confidence_level,
    )
    return result


def _transfer(
    surrogate: Surrogate, target: Target, held_out: _HeldOut, count: int, **settings: Any
) -> TransferResult | None:
    """Measure the transfer on the same images for every surrogate; None for none, or without a gradient."""
    module, transform = surrogate.module, surrogate.transform
    if not (count > 0 and isinstance(transform, Transform)):
        return None
    chosen = np.random.default_rng(0).permutation(len(held_out.pixels))[:count]
    pixels, labels = held_out.pixels[chosen], held_out.labels[chosen]
    try:
        return measure_transfer(module, transform, target, pixels, labels, **settings)
    except GradientError:
        return None


def _describe(
    surrogate: Surrogate,
    network: Architecture,
    pool: _Pool,
    extraction: Extraction,
    seed: int,
    confidence_level: float,
) -> dict[str, Any]:
    """Return the attack of a record: its name and settings."""
    processes = describe_processes()["processes"]
    return {
        "name": NAME,
        "kind": KIND.name,
        "budget": surrogate.budget,
        "seed": seed,
        "strategy": extraction.strategy,
        "round_size": None if extraction.strategy == "random" else extraction.round_size,
        "loss": extraction.loss,
        "temperature": extraction.temperature,
        "view": extraction.output_format.as_dict(),
        "recipe": replace(extraction.training, seed=seed).as_dict(),
        "surrogate": network.name,
        "surrogate_parameters": sum(p.numel() for p in surrogate.module.parameters()),
        "surrogate_transform": surrogate.transform.as_dict(),
        "surrogate_sha256": hashlib.sha256(surrogate.path.read_bytes()).hexdigest(),
        "pool": pool.name,
        "queries_sha256": _sha256(pool.pixels[surrogate.queries]),
        "transfer": extraction.transfer,
        "confidence_level": confidence_level,
        **({} if processes == 1 else {"processes": processes}),
    }


def _sha256(pixels: Pixels) -> str:
    return hashlib.sha256(b"".join(image_digests(pixels))).hexdigest()


ATTACK = Attack(
    name=NAME,
    run=run,
    configured_by=Extraction,
    summary="how closely a surrogate trained on the model's answers copies it",
    formula="agreement: share of images that surrogate and model give the same label",
    source="Tramer et al. 2016; Orekondy et al. 2019",
    labels_suffice=True,
    column="stealing_agreement",
    ranked=True,
)
