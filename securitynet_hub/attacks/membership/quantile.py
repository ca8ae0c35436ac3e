"""The quantile-regression attack: is the signal higher than for similar non-members?

Bertran et al. (2023), arXiv 2307.03694. A regression, fitted on non-members, predicts the distribution of the
target's signal from features of the sample; it needs no shadow model. Signals are oriented higher = more
likely a member; the authors use the hinge ``z_y - max_{i != y} z_i`` of the logits. Features may be any
array: embeddings or logits of the target or of another model, or the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import require_disjoint
from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.core.seeds import seeded
from securitynet_hub.statistics.signals import Outputs

BATCH = 128
SMALLEST_LOG_SCALE = -7.0
"""Smallest log of the normal's deviation, in units of the signals' deviation. Without it a network that fits
a few samples perfectly would drive the likelihood to infinity."""


def gaussian_quantile_scores(
    features: Outputs,
    signals: Outputs,
    calibration_features: Outputs,
    calibration_signals: Outputs,
    *,
    hidden: Sequence[int] = (64,),
    epochs: int = 100,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    seed: int = 0,
    ids: Outputs | None = None,
    calibration_ids: Outputs | None = None,
) -> Scores:
    """Score ``(signal - mu(x)) / sigma(x)``, where a network learns mu and log sigma on non-members.

    From Bertran et al. 2023, arXiv 2307.03694. The network minimises the mean of
    ``log sigma + (signal - mu)^2 / (2 sigma^2)``, the negative log-likelihood, with AdamW in batches of 128.
    Features and signals are standardised by the calibration samples.

    Args:
        features: shape (n, d), of the samples to score.
        signals: shape (n,).
        calibration_features: shape (m, d), of non-members only.
        calibration_signals: shape (m,).
        hidden: widths of the hidden layers; () is a linear model.
        epochs: passes over the calibration samples.
        learning_rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        seed: decides the initial weights and the batches; the global random state does not change.
        ids: shape (n,), a unique identifier of each sample.
        calibration_ids: shape (m,), likewise; if both are given, they must not overlap.

    Returns:
        Shape (n,), float64, higher = more likely a member.

    Raises:
        ValueError: an input is empty, not finite or misaligned, or a sample is in both groups.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 1))
    >>> h = 3 * x[:, 0] + rng.normal(size=400)  # hard and easy samples, of one spread
    >>> scores = gaussian_quantile_scores([[-1.0], [1.0]], [0.0, 0.0], x, h, hidden=(), learning_rate=0.02)
    >>> bool(scores[0] > 2), bool(scores[1] < -2)
    (True, True)
    """
    require_disjoint(ids, calibration_ids, ("ids", "calibration_ids"))
    x, h, fit_x, fit_h = _check(features, signals, calibration_features, calibration_signals)
    centre, scale = fit_x.mean(0), _deviation(fit_x)
    x, fit_x = (x - centre) / scale, (fit_x - centre) / scale
    middle, spread = fit_h.mean(), _deviation(fit_h)
    with seeded(seed):
        network = _network(fit_x.shape[1], hidden)
        _train(network, fit_x, (fit_h - middle) / spread, epochs, learning_rate, weight_decay)
        with torch.no_grad():
            mu, log_sigma = _moments(network, torch.from_numpy(x))
    scores: Scores = ((h - middle) / spread - mu.numpy()) / np.exp(log_sigma.numpy())
    return scores


def pinball_quantile_scores(
    features: Outputs,
    signals: Outputs,
    calibration_features: Outputs,
    calibration_signals: Outputs,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    ids: Outputs | None = None,
    calibration_ids: Outputs | None = None,
    **settings: Any,
) -> Scores:
    """Score ``signal - q(x)``, where q(x) is the 1 - alpha quantile of the signal for similar non-members.

    From Bertran et al. 2023, arXiv 2307.03694. The attacker accuses a sample if its score is above 0, and so
    accuses at most a share alpha of the non-members: one half of the calibration samples, drawn by the seed,
    fits q, and q is moved up to the conformal quantile of the other half (Romano, Patterson & Candes 2019,
    arXiv 1905.03222), because trees alone accuse too many. Arguments as for `gaussian_quantile_scores` and
    `conditional_quantiles`.

    Raises:
        ValueError: as `gaussian_quantile_scores`, or there are fewer than 2 / alpha calibration samples.

    >>> fit_x, fit_h = np.zeros((400, 1)), np.arange(400.0)
    >>> scores = pinball_quantile_scores([[0.0], [0.0]], [399.0, 300.0], fit_x, fit_h, alpha=0.05)
    >>> scores > 0
    array([ True, False])
    """
    require_disjoint(ids, calibration_ids, ("ids", "calibration_ids"))
    x, h, fit_x, fit_h = _check(features, signals, calibration_features, calibration_signals)
    half = np.random.default_rng(seed).permutation(len(fit_h)) < len(fit_h) // 2
    held_out = np.count_nonzero(~half)
    place = math.ceil((1 - alpha) * (held_out + 1))
    if place > held_out:
        raise ValueError(
            f"to accuse at most {alpha:g} of the non-members takes {math.ceil(2 / alpha)} calibration "
            f"samples; got {len(fit_h)}."
        )
    asked = np.concatenate([x, fit_x[~half]])
    quantiles = conditional_quantiles(asked, fit_x[half], fit_h[half], [1 - alpha], seed=seed, **settings)[
        :, 0
    ]
    shift = np.sort(fit_h[~half] - quantiles[len(x) :])[place - 1]
    scores: Scores = h - quantiles[: len(x)] - shift
    return scores


def conditional_quantiles(
    features: Outputs,
    calibration_features: Outputs,
    calibration_signals: Outputs,
    levels: Sequence[float],
    *,
    seed: int = 0,
    **settings: Any,
) -> Scores:
    """Predict quantiles of the signal of non-members from their features, with boosted trees.

    Each level minimises its pinball loss ``max(level (h - q), (level - 1) (h - q))``. Levels are fitted
    one by one, so that their predictions may cross; each sample's predictions are sorted (Chernozhukov et al.
    2010).

    Args:
        features: shape (n, d), of the samples to predict for.
        calibration_features: shape (m, d), of non-members only.
        calibration_signals: shape (m,).
        levels: rising, strictly between 0 and 1.
        seed: decides what the trees draw.
        settings: of `sklearn.ensemble.HistGradientBoostingRegressor`, such as ``max_iter``.

    Returns:
        Shape (n, levels), rising along each row.

    Raises:
        ValueError: an input is empty, not finite or misaligned, or levels are out of range or order.

    >>> conditional_quantiles([[0.0]], np.zeros((99, 1)), np.arange(99.0), [0.25, 0.75])
    array([[24.5, 73.5]])
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import

    rising = all(low < high for low, high in pairwise([0.0, *levels, 1.0]))
    if not len(levels) or not rising:
        raise ValueError(f"levels must rise strictly between 0 and 1; got {list(levels)}.")
    x = _features(features, "features")
    _, _, fit_x, fit_h = _check(x, np.zeros(len(x)), calibration_features, calibration_signals)
    columns = [
        HistGradientBoostingRegressor(
            loss="quantile", quantile=level, early_stopping=False, random_state=seed % 2**32, **settings
        )
        .fit(fit_x, fit_h)
        .predict(x)
        for level in levels
    ]
    return np.sort(np.stack(columns, 1), 1).astype(np.float64)


def _network(inputs: int, hidden: Sequence[int]) -> torch.nn.Sequential:
    widths = [inputs, *hidden]
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(widths):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    last = torch.nn.Linear(widths[-1], 2)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(*layers, last).double()


def _train(
    network: torch.nn.Sequential, x: Scores, h: Scores, epochs: int, learning_rate: float, weight_decay: float
) -> None:
    inputs, targets = torch.from_numpy(x), torch.from_numpy(h)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(inputs)), BATCH):
            mu, log_sigma = _moments(network, inputs[batch])
            loss = (log_sigma + ((targets[batch] - mu) * torch.exp(-log_sigma)) ** 2 / 2).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _moments(network: torch.nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mu, log_sigma = network(x).unbind(1)
    return mu, log_sigma.clamp(min=SMALLEST_LOG_SCALE)


def _check(
    features: Outputs, signals: Outputs, calibration_features: Outputs, calibration_signals: Outputs
) -> tuple[Scores, Scores, Scores, Scores]:
    """Return float64 copies; the order of the calibration samples does not depend on the order given."""
    x, fit_x = _features(features, "features"), _features(calibration_features, "calibration_features")
    if x.shape[1] != fit_x.shape[1]:
        raise ValueError(
            "features and calibration_features must have as many columns; got "
            f"{x.shape[1]} and {fit_x.shape[1]}."
        )
    h, fit_h = (
        _signals(signals, len(x), "signals"),
        _signals(calibration_signals, len(fit_x), "calibration_signals"),
    )
    order = np.lexsort((*fit_x.T, fit_h))
    return x, h, fit_x[order], fit_h[order]


def _features(values: Outputs, name: str) -> Scores:
    array = as_array(values, name)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{name} must be numbers of shape (samples, features), at least one; got {array.shape}."
        )
    require_finite(array, name)
    return array.astype(np.float64)


def _signals(values: Outputs, n: int, name: str) -> Scores:
    array = as_array(values, name)
    if array.shape != (n,):
        raise ValueError(f"{name} must hold {n} signals, one for each row of features; got {array.shape}.")
    require_finite(array, name)
    return array.astype(np.float64)


def _deviation(values: npt.NDArray[np.float64]) -> Any:
    """Return standard deviations down the rows, 1 where nothing varies."""
    deviation = values.std(0)
    return np.where(deviation > 0, deviation, 1)


def run_quantile(
    function: Callable[..., Scores], inputs: MembershipInputs, rows: Rows, **settings: Any
) -> Scores:
    """Run an attack that is fitted on the features and hinges of the known non-members."""
    features, hinge = as_array(inputs.features, "features"), inputs.score("hinge")
    if len(features) != len(hinge):
        raise ValueError(f"features must have one row for each of {len(hinge)} samples; got {len(features)}.")
    known = inputs.outsiders
    return function(features[rows], hinge[rows], features[known], hinge[known], seed=inputs.seed, **settings)


ATTACKS = (
    Attack(
        name="quantile",
        run=partial(run_quantile, gaussian_quantile_scores),
        summary="margin relative to what is normal for such an image",
        formula="(hinge - mu(x)) / sigma(x), fitted on non-members",
        source="Bertran et al. 2023",
        needs=("labels", "features", "calibration"),
        configured_by=gaussian_quantile_scores,
    ),
    Attack(
        name="pinball",
        run=partial(run_quantile, pinball_quantile_scores),
        summary="margin above a high quantile for such an image",
        formula="hinge - its 1 - alpha quantile among non-members alike",
        source="Bertran et al. 2023",
        needs=("labels", "features", "calibration"),
        configured_by=pinball_quantile_scores,
    ),
)
