"""Learned membership attacks: a classifier of a model's answers, fitted on samples of known membership.

The classifier is fitted on calibration samples, of a shadow model or of the target itself, and scores the
other samples. Its features are those of SecurityNet's two learned attacks: all posteriors, or the three
largest, in descending order (Salem et al. 2019, arXiv 1806.01246, section III). Attacks that use labels add
the label's posterior and whether the prediction is right (Liu et al. 2022, ML-Doctor, arXiv 2102.02551).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.seeds import seeded
from securitynet_hub.statistics.posteriors import CLIP
from securitynet_hub.statistics.rates import split_scores
from securitynet_hub.statistics.signals import Outputs, correctness, entropy, loss

DECIMALS = 10
"""Decimals that log-odds are rounded to: equal samples must tie, but a matrix product's last bits depend on
the row's position."""

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 50, 128, 2e-3, 1e-2
"""How the networks are trained: AdamW, one-cycle learning rate."""

Membership = npt.NDArray[np.bool_]
LogOdds = Callable[[Scores], Scores]
"""From standardised features, shape (n, columns), to the log-odds of membership, shape (n,)."""


def posterior_features(
    outputs: Outputs,
    labels: Outputs | None,
    *,
    from_logits: bool,
    top: int | None = None,
) -> Scores:
    """Return the features of each sample, shape (n, columns), float64.

    The columns are log-posteriors in descending order, then, if labels are given, the label's log-posterior
    and 1 or 0 for a right or wrong prediction. Logarithms distinguish confident answers whose probabilities
    all round to 1.

    Args:
        outputs: shape (n, classes), logits or probabilities.
        labels: shape (n,), or None for an attacker who does not know them.
        from_logits: whether outputs are logits; nothing is guessed.
        top: number of the largest posteriors to use; None for all. Missing classes get a posterior of 1e-30.

    Raises:
        ValueError: as `signals.correctness`.

    >>> posterior_features([[0.2, 0.7, 0.1]], [1], from_logits=False, top=2).round(3)
    array([[-0.357, -1.609, -0.357,  1.   ]])
    """
    values = as_array(outputs, "outputs")
    entropy(values, np.zeros(len(values), int), from_logits=from_logits)  # for its checks
    rows = values.astype(np.float64)
    if from_logits:
        rows -= rows.max(1, keepdims=True)
        rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    else:
        rows = np.log(np.maximum(rows, CLIP))
    rows = -np.sort(-rows, axis=1)[:, :top]
    if top is not None and rows.shape[1] < top:
        rows = np.pad(rows, ((0, 0), (0, top - rows.shape[1])), constant_values=np.log(CLIP))
    rows = np.maximum(rows, np.log(CLIP))
    if labels is None:
        return rows
    signals = (loss, correctness)
    known = [signal(values, labels, from_logits=from_logits)[:, None] for signal in signals]
    return np.concatenate([rows, *known], axis=1)


@dataclass(frozen=True, kw_only=True)
class LearnedAttack:
    """A fitted attack: `score` gives the log-odds of membership, higher = more likely a member.

    Attributes:
        name: a name from `LEARNED`.
        n_members: number of members that it was fitted on.
        n_nonmembers: number of non-members that it was fitted on.
    """

    name: str
    n_members: int
    n_nonmembers: int
    _mean: Scores = field(repr=False)
    _scale: Scores = field(repr=False)
    _log_odds: LogOdds = field(repr=False)

    def score(self, outputs: Outputs, labels: Outputs | None, *, from_logits: bool) -> Scores:
        """Score samples that the attack was not fitted on, shape (n,).

        Raises:
            ValueError: as `posterior_features`, or the number of classes differs from the calibration's.
        """
        features = _features(self.name, outputs, labels, from_logits)
        if features.shape[1] != len(self._mean):
            raise ValueError(
                f"{self.name} was fitted on {len(self._mean)} features; these outputs have "
                f"{features.shape[1]}."
            )
        log_odds = self._log_odds((features - self._mean) / self._scale)
        return np.round(log_odds, DECIMALS)


def fit_learned_attack(
    name: str,
    outputs: Outputs,
    labels: Outputs | None,
    is_member: npt.ArrayLike,
    *,
    from_logits: bool,
    seed: int = 0,
) -> LearnedAttack:
    """Fit an attack on calibration samples whose membership is known.

    Features are standardised by the mean and deviation of these samples. The same arguments give the same
    attack; the global random state does not change.

    Args:
        name: a name from `LEARNED`.
        outputs: shape (n, classes), the answers of the model, or of a shadow model.
        labels: shape (n,); None, and not used, for the attacks whose name ends in ``unlabelled``.
        is_member: shape (n,), booleans or 0/1.
        from_logits: whether outputs are logits.
        seed: decides the network's initial weights and the order of its training.

    Raises:
        UnknownNameError: no such attack; the closest names are given.
        ValueError: as `posterior_features`, or members or non-members are missing.

    >>> rng = np.random.default_rng(0)
    >>> logits, labels = rng.normal(size=(400, 3)), rng.integers(0, 3, 400)
    >>> logits[np.arange(200), labels[:200]] += 4  # the first 200 are answered with more confidence
    >>> attack = fit_learned_attack("logistic", logits, labels, np.arange(400) < 200, from_logits=True)
    >>> bool(attack.score([[9.0, 0.0, 0.0]], [0], from_logits=True) > 0)
    True
    """
    if name not in LEARNED:
        raise UnknownNameError("learned attack", name, LEARNED)
    features = _features(name, outputs, labels, from_logits)
    ranking = split_scores(np.zeros(len(features)), is_member)  # for its checks
    membership = np.asarray(as_array(is_member, "is_member"), np.bool_)
    order = np.lexsort((membership, *features.T))  # the order of the samples must not matter
    features, membership = features[order], membership[order]
    mean, scale = features.mean(0), features.std(0)
    scale[scale < 1e-12] = 1
    return LearnedAttack(
        name=name,
        n_members=len(ranking.members),
        n_nonmembers=len(ranking.nonmembers),
        _mean=mean,
        _scale=scale,
        _log_odds=LEARNED[name].fit((features - mean) / scale, membership, seed),
    )


def _features(name: str, outputs: Outputs, labels: Outputs | None, from_logits: bool) -> Scores:
    kind = LEARNED[name]
    if kind.labelled and labels is None:
        raise ValueError(f"{name} needs labels; {name}_unlabelled works without them.")
    return posterior_features(
        outputs, labels if kind.labelled else None, from_logits=from_logits, top=kind.top
    )


def fit_binary_network(
    features: Scores,
    is_member: Membership,
    seed: int,
    *,
    hidden: tuple[int, int] = (64, 64),
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
) -> LogOdds:
    """Train a network with two hidden layers; return its log-odds of membership, as a function of features.

    Args:
        features: shape (n, columns), of samples whose membership is known.
        is_member: shape (n,).
        seed: decides the initial weights and the order of the samples.
        hidden: units of the hidden layers.
        batch: samples in a step.
        learning_rate: the highest.

    >>> log_odds = fit_binary_network(np.array([[0.0], [1.0]] * 200), np.array([False, True] * 200), 0)
    >>> bool(log_odds(np.array([[1.0]])) > log_odds(np.array([[0.0]])))
    True
    """
    # Not through `engine.training`: Accelerate would enlarge the batch by the number of processes.
    inputs, classes = torch.from_numpy(features), torch.from_numpy(is_member.astype(np.int64))
    with seeded(seed):
        network = torch.nn.Sequential(
            torch.nn.Linear(features.shape[1], hidden[0]), torch.nn.ReLU(),
            torch.nn.Linear(*hidden), torch.nn.ReLU(),
            torch.nn.Linear(hidden[1], 2),
        ).double()  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
        steps = EPOCHS * -(-len(inputs) // batch)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(inputs)), batch):
                optimizer.zero_grad()
                error = torch.nn.functional.cross_entropy(network(inputs[rows]), classes[rows])
                error.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                scheduler.step()

    def log_odds(standardised: Scores) -> Scores:
        with torch.inference_mode():
            logits: Scores = network(torch.from_numpy(standardised)).numpy()
        return logits[:, 1] - logits[:, 0]

    return log_odds


def _fit_logistic(
    features: Scores, is_member: npt.NDArray[np.bool_], seed: int
) -> Callable[[Scores], Scores]:
    from sklearn.linear_model import LogisticRegression

    fitted: Any = LogisticRegression(max_iter=1000).fit(features, is_member)
    return lambda standardised: np.asarray(fitted.decision_function(standardised), np.float64)


def _fit_boosting(
    features: Scores, is_member: npt.NDArray[np.bool_], seed: int
) -> Callable[[Scores], Scores]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    fitted: Any = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=8, random_state=seed % 2**32
    ).fit(features, is_member)
    return lambda standardised: np.asarray(fitted.decision_function(standardised), np.float64)


@dataclass(frozen=True)
class _Kind:
    fit: Callable[[Scores, Membership, int], LogOdds]
    top: int | None = None
    labelled: bool = True


LEARNED = {
    "mlp_full": _Kind(fit_binary_network),
    "mlp_top3": _Kind(fit_binary_network, top=3),
    "mlp_full_unlabelled": _Kind(fit_binary_network, labelled=False),
    "mlp_top3_unlabelled": _Kind(fit_binary_network, top=3, labelled=False),
    "logistic": _Kind(_fit_logistic),
    "boosting": _Kind(_fit_boosting),
}
"""Every learned attack by its public name; ``mlp_full`` and ``mlp_top3`` are SecurityNet's two."""


def learned_scores(name: str, inputs: MembershipInputs, rows: Rows) -> Scores:
    """Fit an attack on the calibration samples by `fit_learned_attack` and score the rows.

    The score is ``log P[member | features] - log P[non-member | features]`` of a classifier whose features
    are the sorted log-posteriors of a sample (Salem et al. 2019, arXiv 1806.01246, section III), with the
    label's log-posterior and correctness beside them where labels are used (Liu et al. 2022, arXiv
    2102.02551).

    >>> rng = np.random.default_rng(0)
    >>> logits, labels, members = rng.normal(size=(400, 3)), rng.integers(0, 3, 400), np.arange(400) < 200
    >>> logits[np.arange(200), labels[:200]] += 4  # the model is confident about its members
    >>> known = np.arange(400) % 2 == 0
    >>> inputs = MembershipInputs(
    ...     outputs=logits, labels=labels, is_member=members, from_logits=True, calibration=known
    ... )
    >>> scores = learned_scores("logistic", inputs, np.flatnonzero(~known))
    >>> bool(scores[:100].mean() > scores[100:].mean())  # odd rows: 100 members, then 100 non-members
    True
    """
    inputs.score("correctness")  # its errors name rows as the caller counts them
    outputs = as_array(inputs.first_view, "outputs")
    labels = np.zeros(len(outputs), np.int64) if inputs.labels is None else as_array(inputs.labels, "labels")
    known = inputs.calibrated_on
    attack = fit_learned_attack(
        name,
        outputs[known],
        labels[known],
        inputs.membership[known],
        from_logits=inputs.from_logits,
        seed=inputs.seed,
    )
    return attack.score(outputs[rows], labels[rows], from_logits=inputs.from_logits)


ATTACKS = (
    Attack(
        name="mlp_full",
        run=partial(learned_scores, "mlp_full"),
        summary="a network on all posteriors, p_y and correctness",
        formula="log-odds, a network on all posteriors, p_y and correctness",
        source="Liu et al. 2022",
        needs=("labels", "calibration"),
    ),
    Attack(
        name="mlp_top3",
        run=partial(learned_scores, "mlp_top3"),
        summary="a network on the three largest posteriors, p_y and correctness",
        formula="log-odds, a network on the three largest posteriors, p_y and correctness",
        source="Salem et al. 2019",
        needs=("labels", "calibration"),
    ),
    Attack(
        name="mlp_full_unlabelled",
        run=partial(learned_scores, "mlp_full_unlabelled"),
        summary="a network on all posteriors",
        formula="log-odds, a network on all posteriors alone",
        source="Salem et al. 2019",
        needs=("calibration",),
    ),
    Attack(
        name="mlp_top3_unlabelled",
        run=partial(learned_scores, "mlp_top3_unlabelled"),
        summary="a network on the three largest posteriors",
        formula="log-odds, a network on the three largest posteriors alone",
        source="Salem et al. 2019",
        needs=("calibration",),
    ),
    Attack(
        name="logistic",
        run=partial(learned_scores, "logistic"),
        summary="logistic regression on all posteriors, p_y and correctness",
        formula="log-odds, logistic regression on the features of `mlp_full`",
        source="a baseline",
        needs=("labels", "calibration"),
    ),
    Attack(
        name="boosting",
        run=partial(learned_scores, "boosting"),
        summary="boosted trees on all posteriors, p_y and correctness",
        formula="log-odds, boosted trees on the features of `mlp_full`",
        source="a baseline",
        needs=("labels", "calibration"),
    ),
)
