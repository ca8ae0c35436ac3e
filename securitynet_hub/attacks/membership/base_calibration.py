"""Calibration by the base model: does a fine-tuned target know a sample better than a probe of its base?

Many published models were fine-tuned from a public one. Whoever has that base can say how hard a sample is
for a model that starts from it and does not see the sample: a linear probe on the base's features says so,
fitted to the target's classes on the other samples. This is the difficulty calibration of Watson et al.
(2022), arXiv 2111.08440, with a probe in place of reference models, so that no network is trained. Probe and
regression, both in their leave-one-out form, are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.core.arrays import Labels, Scores, as_array, require_finite
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.engine.features import predict_with_features, without_features
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.beside import load_beside
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.signals import Outputs, logit_margin

PENALTIES = tuple(10.0**power for power in range(-6, 3))
"""Penalties of the ridge regression that are tried, relative to the features' mean squared singular value."""

TAIL = 0.01
"""Share of the probe's margins, at either end, that are moved to where the rest ends."""

FEWEST = 10
"""Smallest number of samples that probe and regression are fitted to."""

OWN_BASE = (
    "A base whose network is another one is named module:FILE.py:FACTORY, where the factory returns the "
    "network with its weights, and its Transform."
)
"""How to name a base of one's own."""

LOGITS = (0.1, 200.0)
"""Smallest and largest number by which the probe's shares are multiplied to become logits."""


def base_calibrated_scores(signals: Outputs, base_features: Outputs, labels: Outputs) -> Scores:
    """Score each sample by how far the target's signal exceeds what the base's features lead one to expect.

    After Watson et al. 2022, arXiv 2111.08440: ``s_i = signal(x_i) - E[signal | m_i]``.

    Here m_i is the logit margin that a linear probe of the base gives to the label of x_i, and the
    expectation is a cubic in m, fitted by least squares. Neither the probe nor the cubic that judge x_i are
    fitted to x_i: both are linear smoothers ``f = H y``, whose prediction for i without i is ``y_i - (y_i -
    f_i) / (1 - H_ii)`` (Allen 1974, Technometrics 16:125). Membership is not used; other members among the
    samples make the expectation a little too high, so that scores stay low.

    The probe is a ridge regression of the one-hot labels. Its penalty has the smallest squared leave-one-out
    error of `PENALTIES`, and its predictions are multiplied by the number that gives their softmax the
    smallest leave-one-out log-loss. Equal samples, of equal features and label, count once.

    Args:
        signals: shape (n,), higher = more likely a member, such as `signals.loss`.
        base_features: shape (n, d), of the same samples: what the base's last layer reads, or its logits. The
            base must not have been trained on the samples, or on all of them alike.
        labels: shape (n,), integers, the target's classes.

    Returns:
        Shape (n,), float64, higher = more likely a member. The order of samples does not matter.

    Raises:
        ValueError: an input is not finite or misaligned, or there are fewer than `FEWEST` samples.

    Example: features say which class a sample is, but for the last one, which the target knows all the same.

    >>> labels = np.arange(24) % 2
    >>> features = np.stack([labels + np.linspace(0, 0.3, 24), 1 - labels], 1)
    >>> features[-1] = features[-2]
    >>> int(base_calibrated_scores(np.full(24, -0.1) - 0.01 * labels, features, labels).argmax())
    23
    """
    target, features, classes = _check(signals, base_features, labels)
    # Each different sample once, in an order that does not depend on that of the samples.
    keys = [row.tobytes() + bytes(label.data) for row, label in zip(features, classes, strict=True)]
    _, first, places = np.unique(np.array(keys, object), return_index=True, return_inverse=True)
    known = np.bincount(places, target) / np.bincount(places)
    margins = probe_margins(features[first], classes[first])
    low, high = np.quantile(margins, [TAIL, 1 - TAIL])
    cut = np.clip(margins, low, high)
    unit = (cut - cut.mean()) / (cut.std() or 1.0)
    powers = np.stack([unit, unit**2, unit**3], 1)
    expected = _left_out(*_orthogonal(powers), known[:, None], 0.0)[:, 0]
    scores: Scores = target - expected[places]
    return scores


def probe_margins(features: Scores, labels: Labels) -> Scores:
    """Return the logit margin that a linear probe, fitted to all other samples, gives to each label.

    See `base_calibrated_scores`. With one class alone all margins are 0.

    >>> features = np.repeat([[0.0], [1.0]], 6, 0) + np.linspace(0, 0.1, 12)[:, None]
    >>> margins = probe_margins(features, np.repeat([0, 1], 6))
    >>> bool((margins > 1).all())
    True
    """
    from scipy.optimize import minimize_scalar  # slow to import
    from scipy.special import log_softmax

    classes, own = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        return np.zeros(len(labels))
    one_hot = (labels[:, None] == classes).astype(np.float64)
    basis, squares = _orthogonal(features)
    tried = (_left_out(basis, squares, one_hot, penalty) for penalty in PENALTIES)
    shares = min(tried, key=lambda found: float(np.square(found - one_hot).sum()))

    def log_loss(log_scale: float) -> float:
        logs = log_softmax(np.exp(log_scale) * shares, axis=1)
        return -float(logs[np.arange(len(own)), own].mean())

    scale = np.exp(minimize_scalar(log_loss, bounds=np.log(LOGITS), method="bounded").x)
    return logit_margin(scale * shares, own, from_logits=True)


def _orthogonal(columns: Scores) -> tuple[Scores, Scores]:
    """Return an orthonormal basis of the centred columns, shape (n, rank), and squared singular values."""
    centred = columns - columns.mean(0)
    wide = centred.shape[1] > len(centred)
    squares, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = squares > max(squares[-1], 0) * len(centred) * np.finfo(np.float64).eps
    squares, vectors = squares[kept], vectors[:, kept]  # none, if all rows are equal
    return vectors if wide else centred @ (vectors / np.sqrt(squares)), squares


def _left_out(basis: Scores, squares: Scores, targets: Scores, penalty: float) -> Scores:
    """Return the prediction of each row of `targets` by a regression on all other rows, with an intercept."""
    shares = squares / (squares + penalty * squares.sum() / max(1, len(squares)))
    mean = targets.mean(0)
    fitted = mean + basis @ (shares[:, None] * (basis.T @ (targets - mean)))
    leverage = 1 / len(targets) + np.square(basis) @ shares
    left_out: Scores = targets - (targets - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]
    return left_out


def _check(signals: Outputs, base_features: Outputs, labels: Outputs) -> tuple[Scores, Scores, Labels]:
    target, features, classes = (
        as_array(values, name)
        for values, name in ((signals, "signals"), (base_features, "base_features"), (labels, "labels"))
    )
    if target.ndim != 1 or features.ndim != 2 or not features.size or classes.shape != target.shape:
        raise ValueError(
            "signals and labels must have shape (n,), and base_features (n, d); got "
            f"{target.shape}, {classes.shape} and {features.shape}."
        )
    if len(features) != len(target) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"base_features and labels must have one row for each of {len(target)} samples, and labels be "
            f"integers; got {len(features)} rows, and labels of {classes.dtype}."
        )
    if len(target) < FEWEST:
        raise ValueError(f"calibration by a base model takes {FEWEST} samples at least; got {len(target)}.")
    require_finite(target, "signals")
    require_finite(features, "base_features")
    return target.astype(np.float64), features.astype(np.float64), classes.astype(np.int64)


def find_base(base: Target | str, target: Target) -> Target:
    """Return the base model, loaded.

    A file of weights, ``file:PATH``, fills the target's own network, with the target's preprocessing.

    Raises:
        ValueError: it is the target itself, or cannot be loaded by its name alone.
        UnknownNameError: there is no such model.
        WeightsError: its weights are missing or damaged, or do not fit the target's network.
    """
    try:
        found = load_beside(base, target)
    except UnknownNameError:
        raise
    except WeightsError as error:
        raise WeightsError(f"{error} {OWN_BASE}") from error
    except ValueError as error:
        raise ValueError(f"the base model cannot be loaded: {error} {OWN_BASE}") from error
    own, others = (each.annotation.weights_hash for each in (target, found))
    if found is target or found.module is target.module or (own is not None and own == others):
        raise ValueError(
            f"the base model must be another model than the target {target.id}: the public one that the "
            f"target was fine-tuned from; got {found.id}, which has the same weights."
        )
    return found


def describe_features(base: Target, images: ImageSource, **settings: Any) -> npt.NDArray[np.float32]:
    """Return what the base's last layer reads for each image; its logits if no such layer can be looked at.

    Args:
        base: the base model, with its own preprocessing.
        images: any images; their labels are not looked at.
        settings: of `predict`.
    """
    if without_features(base):
        return predict(base, images, **settings)
    return predict_with_features(base, images, **settings)[1]


def run_base_calibration(inputs: MembershipInputs, rows: Rows) -> Scores:
    """Run `base_calibrated_scores` on the losses."""
    assert inputs.base_features is not None
    assert inputs.labels is not None
    return base_calibrated_scores(inputs.score("loss"), inputs.base_features, inputs.labels)[rows]


ATTACK = Attack(
    name="base_calibration",
    run=run_base_calibration,
    summary="loss relative to what a probe of the public base model leads one to expect",
    formula="log p_y - E[log p_y | margin of a linear probe of the base, fitted to other samples]",
    source="after Watson et al. 2022",
    needs=("labels", "base_features"),
    configured_by=base_calibrated_scores,
)
