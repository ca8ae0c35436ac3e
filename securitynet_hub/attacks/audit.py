"""One model, one data set, some attacks: the audit, whatever the kinds of attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

from securitynet_hub.attacks.backdoor.audit import KIND as BACKDOOR_DETECTION
from securitynet_hub.attacks.backdoor.audit import audit_backdoors
from securitynet_hub.attacks.backdoor.examined import Inputs, read_inputs
from securitynet_hub.attacks.backdoor.registry import DETECTORS
from securitynet_hub.attacks.membership.audit import (
    CALIBRATION,
    MAX_QUERIES,
    NAMES,
    Settings,
    audit_membership,
)
from securitynet_hub.attacks.membership.measures import CONFIDENCE_LEVEL, TARGET_FPRS
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.stealing import audit as stealing
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.engine.inference import BATCH_SIZE
from securitynet_hub.models.loading import find_annotation, load_target
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record, require_writable, write_record
from securitynet_hub.statistics.signals import SIGNALS


def audit(
    target: str | Target,
    *,
    attacks: str | Iterable[str] = tuple(SIGNALS),
    data: AuditData | None = None,
    settings: Settings = MappingProxyType({}),
    class_wise: bool = False,
    slices: bool = False,
    shadows: Shadows | None = None,
    calibration: float = CALIBRATION,
    budgets: Sequence[int] = stealing.BUDGETS,
    inputs: Inputs | str | Path | None = None,
    seed: int = 0,
    max_queries: int = MAX_QUERIES,
    keep: str | Path | None = None,
    out: str | Path | None = None,
    samples: str | Path | None = None,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
    on_record: Callable[[Record], Path | None] = lambda record: None,
) -> list[Record]:
    """Audit a model; return one record for each attack, and for model stealing one for each budget.

    Args:
        target: an annotated model's id, or a loaded `Target`.
        attacks: names from `attack_names`; by default the metric-based ones of membership inference, which
            need nothing else. Those of `queries.QUERY_ATTACKS` see predicted labels alone and ask about
            images of their own making. ``model_stealing`` has more settings in `audit_stealing`.
            ``backdoor-detection`` stands for all detectors of `audit_backdoors` that apply to the model.
        data: images and split; models of the embedded zoo know theirs.
        settings: for each attack's name what to set, such as ``{"rmia": {"gamma": 1.0, "a": "tuned"}}``.
        class_wise: judge by one threshold for each class, fitted on the calibration samples; of the
            metric-based attacks alone.
        slices: measure every attack within each class, too: ``result["slices"]``, by class name, None where
            a class lacks members or non-members.
        shadows: shadow models' answers for every sample of the split, which LiRA, RMIA and others compare
            with. Samples of their pool beyond the split are the population, and must be unknown to the
            target. If they answered for several views of an image, LiRA and RMIA ask the target the same.
        calibration: share of the members and non-members that learned attacks are fitted on; they are
            measured on the others.
        budgets: of model stealing: how many images to ask about.
        inputs: images that detectors of backdoored inputs judge, or a folder with them, as `read_inputs`
            reads it; of a model whose trigger is known, images that it is stamped on, unless given.
        seed: of the draw of calibration samples and of what attacks draw.
        max_queries: the most images that one label-only attack may forward; one that might need more is
            refused before it begins.
        keep: folder for the answers and surrogates of model stealing, from which it goes on after an
            interruption; a temporary one, unless given.
        out: folder for the records; nothing is written without it.
        samples: folder for every sample's scores and pictures of the most exposed members, below the model's
            id; see `write_samples`. They show training images: mind whose they are.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch.
        on_record: called with each record as soon as it is measured and written; where it says into which
            file it wrote a record itself, the triggers that were recovered are written beside it.

    Raises:
        UnknownNameError: no such model, attack or setting; the closest names are given.
        WeightsError: the weights are missing or damaged.
        RecordError: the folder cannot take records.
        ValueError: no data is known for the target, it does not fit the model, or an attack lacks something
            or costs too much.

    >>> records = audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks=["modified_entropy"])
    >>> records[0].result["auc_ci"][0] > 0.5  # the overfitted model gives its members away
    True
    """
    attacks = [attacks] if isinstance(attacks, str) else list(dict.fromkeys(attacks))
    known = attack_names()
    if not attacks:
        raise ValueError(f"at least one attack is needed; there are {', '.join(known)}.")
    for name in attacks:
        if name not in known:
            raise UnknownNameError("attack", name, known)
    run = [*attacks, *(DETECTORS if BACKDOOR_DETECTION in attacks else ())]
    for name in settings:
        if name not in run:
            raise UnknownNameError("attack with settings among those to be run", name, run)
    for name in settings.get(stealing.NAME, {}):
        if name not in stealing.SETTINGS:
            raise UnknownNameError(f"setting of {stealing.NAME}", name, stealing.SETTINGS)
    folder = None if out is None else Path(out)
    if folder is not None:
        require_writable(folder)
    if not isinstance(target, (str, Target)):
        raise ValueError(f"target must be a model's id or a Target from load_target; got {target!r}.")
    # The data first: without it there is no need to download any weights.
    data = data or known_data(find_annotation(target) if isinstance(target, str) else target.annotation)
    if isinstance(target, str):
        target = load_target(target)

    def written(record: Record) -> Path | None:
        path = None if folder is None else write_record(record, folder)
        return on_record(record) or path

    records: list[Record] = []
    if membership := [name for name in attacks if name in NAMES]:
        records += audit_membership(
            target,
            data,
            membership,
            settings={name: own for name, own in settings.items() if name in NAMES},
            class_wise=class_wise,
            slices=slices,
            shadows=shadows,
            calibration=calibration,
            seed=seed,
            max_queries=max_queries,
            on_record=written,
            samples=samples,
            target_fprs=target_fprs,
            confidence_level=confidence_level,
            batch_size=batch_size,
            on_batch=on_batch,
        )
    if stealing.NAME in attacks:
        records += stealing.audit_stealing(
            target,
            data,
            keep=keep,
            on_record=written,
            confidence_level=confidence_level,
            batch_size=batch_size,
            on_batch=on_batch,
            **{"budgets": budgets, "seeds": [seed], **settings.get(stealing.NAME, {})},
        )
    detectors = [name for name in attacks if name in DETECTORS]
    if detectors or BACKDOOR_DETECTION in attacks:
        records += audit_backdoors(
            target,
            data,
            None if BACKDOOR_DETECTION in attacks else detectors,
            settings={name: own for name, own in settings.items() if name in DETECTORS},
            inputs=read_inputs(inputs, data.images.pixels.shape[1:])
            if isinstance(inputs, (str, Path))
            else inputs,
            seed=seed,
            confidence_level=confidence_level,
            on_record=written,
        )
    return records


def attack_names() -> tuple[str, ...]:
    """Return the name of every attack that `audit` knows."""
    return (*NAMES, stealing.NAME, BACKDOOR_DETECTION, *DETECTORS)
