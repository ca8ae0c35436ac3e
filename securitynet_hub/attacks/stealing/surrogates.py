"""Model stealing: train surrogates on what a black box answers, one afresh for each budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.stealing import selection
from securitynet_hub.attacks.stealing.adaptive import GroupBandit
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.objectives import LOSSES, objective
from securitynet_hub.attacks.stealing.selection import Positions, select
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import BudgetError, UnknownNameError, WeightsError
from securitynet_hub.data.pixels import Pixels, image_digests
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.trained import find_trained, keep_trained, network_hash
from securitynet_hub.engine.training import Recipe, build_seeded, describe_processes, train
from securitynet_hub.models.target import Preprocessing

STRATEGIES = (*selection.STRATEGIES, "adaptive")
"""Every strategy by its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """A network trained on what a black box answered to `budget` images of a pool.

    Attributes:
        budget: how many.
        queries: their positions in the pool, shape (budget,), in the order of choice.
        module: the network, on the CPU and in eval mode.
        transform: its preprocessing.
        path: the safetensors file that keeps its weights.
    """

    budget: int
    queries: Positions = field(repr=False)
    module: torch.nn.Module = field(repr=False)
    transform: Preprocessing = field(repr=False)
    path: Path

    def logits(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Return its logits, shape (n, classes), as `inference.predict_module`."""
        return predict_module(self.module, self.transform, pixels)


def steal(
    black_box: BlackBox,
    build: Callable[[], torch.nn.Module],
    pool: Pixels,
    recipe: Recipe,
    *,
    budgets: Sequence[int],
    folder: Path,
    strategy: str = "random",
    loss: str = "soft",
    temperature: float = 1.0,
    round_size: int = 500,
    groups: npt.ArrayLike | None = None,
    transform: Preprocessing | None = None,
    seed: int = 0,
) -> list[Surrogate]:
    """Train a surrogate for each budget of queries, each from its own initial weights.

    One sequence of queries serves all budgets: a surrogate is trained on the first `budget` of it. ``random``
    draws the whole sequence at once. Every other strategy goes on in rounds of `round_size`: a surrogate
    trained on all answers so far gives the posteriors by which the next are chosen. Those of
    `selection.select` draw the first round at random; ``adaptive`` draws groups of images, as
    `adaptive.GroupBandit` has learnt which pay. So a surrogate depends neither on the other budgets nor on
    their order, but for the rounding that a target's answers owe to the batch they were forwarded in.

    With y the answer, z the surrogate's logits and T the temperature, training minimises the mean over
    queries of, by `loss`,

    - ``soft``: ``-T^2 sum_i y_i^(1/T) / c log softmax(z / T)_i`` with c such that the weights sum to one: up
      to a constant the KL divergence from the answer (Hinton et al. 2015; with T = 1 Orekondy et al. 2019).
    - ``hard``: the cross-entropy with the answer's top class.
    - ``mse``: the mean over i of ``(z_i - log y_i)^2``, after each of the two was moved to a mean of 0 over
      the classes and y clipped at 1e-6. (ML-Doctor compares the logits with the posteriors themselves.)

    Every epoch of the recipe is run and the last weights are kept: nothing is chosen by any figure. A
    surrogate is written as soon as it is trained and found again by what decided it, and its training is
    kept after each epoch, so that the same call after an interruption goes on where it ended; with a cache
    the black box does so as well.

    Args:
        black_box: answers the queries, at most its budget.
        build: makes the surrogate with its initial weights.
        pool: images to choose from, shape (n, height, width, channels), uint8. None that the surrogates will
            be measured on: give the black box those as `held_out`.
        recipe: how each surrogate is trained; its seed decides initial weights, order and augmentation.
        budgets: how many images to ask about, from 0, for which the network stays untrained, to n.
        folder: where surrogates are kept, as safetensors.
        strategy: a name from `STRATEGIES`.
        loss: a name from `LOSSES`.
        temperature: of ``soft``.
        round_size: of the strategies other than ``random``.
        groups: of ``adaptive``: what the attacker knows of the pool, shape (n,), for example the labels of
            the public data set that it comes from.
        transform: the surrogate's preprocessing; the target's, unless given.
        seed: of the choice of queries.

    Returns:
        A surrogate for each budget, in the order of `budgets`.

    Raises:
        UnknownNameError: no such strategy or loss.
        BudgetError: a budget is above the black box's.
        ValueError: a budget is negative or above the pool, the temperature or `round_size` not above 0, or
            `groups` do not fit.
        WeightsError: the folder cannot be written.
    """
    require_plan(strategy, loss, temperature, round_size)
    _require_budgets(budgets, len(pool), black_box.budget)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"surrogates cannot be kept in {folder}: {error.strerror}.") from error
    trainer = _SurrogateTrainer(black_box, build, pool, recipe, folder, loss, temperature, transform)
    most = max(budgets, default=0)
    queries = (
        trainer.adapt(most, round_size, seed, groups)
        if strategy == "adaptive"
        else trainer.choose(most, strategy, round_size, seed)
    )
    # All at once: the batches must not follow the order of the budgets.
    answers = black_box.ask(pool[queries]) if most else np.empty((0, 0))
    return [trainer.surrogate(queries[:budget], answers[:budget]) for budget in budgets]


def require_plan(strategy: str, loss: str, temperature: float, round_size: int) -> None:
    """Refuse a way of choosing queries or of learning from the answers that `steal` does not know.

    Raises:
        UnknownNameError: no such strategy or loss; the closest names are given.
        ValueError: the temperature or `round_size` is not above 0.

    >>> require_plan("margin", "soft", temperature=1.0, round_size=50)
    """
    if strategy not in STRATEGIES:
        raise UnknownNameError("selection strategy", strategy, STRATEGIES)
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    if not (temperature > 0 and round_size > 0):
        raise ValueError(
            f"temperature and round_size must be above 0; got temperature={temperature!r}, "
            f"round_size={round_size!r}."
        )


@dataclass(frozen=True, eq=False)
class _SurrogateTrainer:
    """What stays the same for all surrogates of one call."""

    black_box: BlackBox
    build: Callable[[], torch.nn.Module]
    pool: Pixels
    recipe: Recipe
    folder: Path
    loss: str
    temperature: float
    own_transform: Preprocessing | None

    @property
    def transform(self) -> Preprocessing:
        return self.own_transform or self.black_box.target.transform

    def choose(self, n: int, strategy: str, round_size: int, seed: int) -> Positions:
        """Return the first n queries."""
        size = len(self.pool)
        first = n if strategy == "random" else min(n, round_size)
        queries = select("random", first, pool_size=size, seed=seed)
        while len(queries) < n:
            following = select(
                strategy,
                min(round_size, n - len(queries)),
                pool_size=size,
                chosen=queries,
                knowledge=self._posteriors(queries, self.pool),
                seed=seed,
            )
            queries = np.concatenate([queries, following])
        return queries

    def adapt(self, n: int, round_size: int, seed: int, groups: npt.ArrayLike | None) -> Positions:
        """Return the first n queries, each round of them of the groups that paid so far."""
        bandit = GroupBandit(groups, len(self.pool), seed=seed)
        queries = np.zeros(0, np.int64)
        while len(queries) < n:
            following = bandit.choose(min(round_size, n - len(queries)))
            answers = self.black_box.ask(self.pool[following])
            bandit.learn(answers, self._posteriors(queries, self.pool[following]))
            queries = np.concatenate([queries, following])
        return queries

    def _posteriors(self, queries: Positions, pixels: Pixels) -> Scores:
        """Ask a surrogate that knows the answers to these queries about images."""
        answers = self.black_box.ask(self.pool[queries]) if len(queries) else np.empty((0, 0))
        logits = torch.from_numpy(self.surrogate(queries, answers).logits(pixels))
        posteriors: Scores = logits.double().softmax(1).numpy()
        return posteriors

    def surrogate(self, queries: Positions, answers: Scores) -> Surrogate:
        """Train on the answers to these queries, or find the surrogate that was."""
        pixels = self.pool[queries]
        path = self.folder / f"{self._name(pixels, answers)}.safetensors"
        module = find_trained(self.build, path)
        if module is None:
            module = self._train(pixels, answers, path) if len(queries) else self._untrained()
            keep_trained(module, path)
        return Surrogate(
            budget=len(queries), queries=queries, module=module, transform=self.transform, path=path
        )

    def _train(self, pixels: Pixels, answers: Scores, path: Path) -> torch.nn.Module:
        wanted, loss = objective(self.loss, answers, self.temperature)
        progress = path.with_suffix(".progress")
        return train(self.build, self.transform(pixels), wanted, self.recipe, loss=loss, progress=progress)

    def _untrained(self) -> torch.nn.Module:
        return build_seeded(self.build, self.recipe.seed).eval()

    def _name(self, pixels: Pixels, answers: Scores) -> str:
        """Hash what decides a surrogate's weights."""
        decided: dict[str, Any] = {
            "queries": hashlib.sha256(b"".join(image_digests(pixels))).hexdigest(),
            "answers": hashlib.sha256(answers.astype("<f8").tobytes()).hexdigest(),
            "loss": [self.loss, self.temperature],
            "recipe": self.recipe.as_dict(),
            "transform": self.transform.as_dict(),
            "network": network_hash(self.build, self.recipe.seed),
            "processes": describe_processes(),
        }
        return hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _require_budgets(budgets: Sequence[int], pool_size: int, allowed: int) -> None:
    for budget in budgets:
        if not isinstance(budget, (int, np.integer)) or not 0 <= budget <= pool_size:
            raise ValueError(
                f"every budget must be a number of images in 0..{pool_size}, the size of the pool; got "
                f"{budget!r}."
            )
        if budget > allowed:
            raise BudgetError(
                f"a surrogate for {budget} queries was asked for; the black box answers {allowed}."
            )
