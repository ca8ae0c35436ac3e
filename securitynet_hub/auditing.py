"""One model, one data set, some attacks: the audit, whatever the kinds of attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from securitynet_hub.attacks.membership import CONFIDENCE_LEVEL, TARGET_FPRS
from securitynet_hub.attacks.shadows import Shadows
from securitynet_hub.attacks.suite import ATTACKS
from securitynet_hub.audits import stealing
from securitynet_hub.audits.membership import CALIBRATION, audit_membership
from securitynet_hub.audits.subject import AuditData, known_data
from securitynet_hub.errors import UnknownNameError
from securitynet_hub.inference import BATCH_SIZE
from securitynet_hub.records import Record, require_writable
from securitynet_hub.signals import SIGNALS
from securitynet_hub.targets import Target, find_annotation, load_target

KNOWN_ATTACKS = (*ATTACKS, stealing.NAME)
"""Every attack that `audit` runs, by its name."""


def audit(
    target: str | Target,
    *,
    attacks: str | Iterable[str] = tuple(SIGNALS),
    data: AuditData | None = None,
    shadows: Shadows | None = None,
    calibration: float = CALIBRATION,
    budgets: Sequence[int] = stealing.BUDGETS,
    seed: int = 0,
    keep: str | Path | None = None,
    out: str | Path | None = None,
    samples: str | Path | None = None,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> list[Record]:
    """Audit a model; return one record for each attack, and for model stealing one for each budget.

    Args:
        target: an annotated model's id, or a loaded `Target`.
        attacks: names from `ATTACKS`, or ``model_stealing``; by default the metric-based ones of membership
            inference, which need nothing else. `audits.stealing.audit_stealing` has more settings.
        data: images and split; models of the embedded zoo know theirs.
        shadows: shadow models' answers for every sample of the split, which LiRA, RMIA and others compare
            with. Samples of their pool beyond the split are the population, and must be unknown to the
            target.
        calibration: share of the members and non-members that learned attacks are fitted on; they are
            measured on the others.
        budgets: of model stealing: how many images to ask about.
        seed: of the draw of calibration samples and of what attacks draw.
        keep: folder for the answers and surrogates of model stealing, from which it goes on after an
            interruption; a temporary one, unless given.
        out: folder for the records; nothing is written without it.
        samples: folder for every sample's scores and pictures of the most exposed members, below the model's
            id; see `write_samples`. They show training images: mind whose they are.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch.

    Raises:
        UnknownNameError: no such model or attack; the closest names are given.
        WeightsError: the weights are missing or damaged.
        RecordError: the folder cannot take records.
        ValueError: no data is known for the target, or it does not fit the model.

    >>> records = audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks=["modified_entropy"])
    >>> records[0].result["auc_ci"][0] > 0.5  # the overfitted model gives its members away
    True
    """
    attacks = [attacks] if isinstance(attacks, str) else list(dict.fromkeys(attacks))
    if not attacks:
        raise ValueError(f"at least one attack is needed; there are {', '.join(KNOWN_ATTACKS)}.")
    for name in attacks:
        if name not in KNOWN_ATTACKS:
            raise UnknownNameError("attack", name, KNOWN_ATTACKS)
    if out is not None:
        require_writable(Path(out))
    if not isinstance(target, (str, Target)):
        raise ValueError(f"target must be a model's id or a Target from load_target; got {target!r}.")
    # The data first: without it there is no need to download any weights.
    data = data or known_data(find_annotation(target) if isinstance(target, str) else target.annotation)
    if isinstance(target, str):
        target = load_target(target)
    records: list[Record] = []
    membership = [name for name in attacks if name in ATTACKS]
    if membership:
        records += audit_membership(
            target,
            data,
            membership,
            shadows=shadows,
            calibration=calibration,
            seed=seed,
            out=out,
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
            budgets=budgets,
            seeds=[seed],
            keep=keep,
            out=out,
            confidence_level=confidence_level,
            batch_size=batch_size,
            on_batch=on_batch,
        )
    return records
