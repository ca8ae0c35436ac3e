"""Model stealing: train surrogates on a black box's answers, each budget's from scratch."""

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
from securitynet_hub.core.progress import tell
from securitynet_hub.data.pixels import Pixels, image_digests
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.trained import find_trained, keep_trained, network_hash
from securitynet_hub.engine.training import Recipe, build_seeded, describe_processes, train
from securitynet_hub.models.target import Preprocessing

STRATEGIES = (*selection.STRATEGIES, "adaptive")
"""Every strategy by its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """A network trained on a black box's answers to `budget` images of a pool.

    Attributes:
        budget: number of queries.
        queries: positions in the pool, shape (budget,), in the order of choice.
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

    One sequence of queries serves all budgets: each surrogate is trained on its first `budget` queries.
    ``random`` draws the whole sequence at once. Every other strategy works in rounds of `round_size`: a
    surrogate trained on all answers so far gives the posteriors that choose the next queries. The strategies
    of `selection.select` draw the first round at random; ``adaptive`` draws groups of images by the rewards
    that `adaptive.GroupBandit` has learnt. A surrogate thus depends neither on the other budgets nor on their
    order, except for rounding: a target's answers depend slightly on the batch in which it forwards an image.

    With y the answer, z the surrogate's logits and T the temperature, training minimises the mean over
    queries of

    - ``soft``: ``-T^2 sum_i y_i^(1/T) / c log softmax(z / T)_i`` with c such that the weights sum to one: up
      to a constant the KL divergence from the answer (Hinton et al. 2015; with T = 1 Orekondy et al. 2019).
    - ``hard``: the cross-entropy with the answer's top class.
    - ``mse``: the mean over i of ``(z_i - log y_i)^2``, after both are shifted to a mean of 0 over the
      classes and y is clipped at 1e-6. (ML-Doctor compares the logits with the posteriors themselves.)

    Training runs every epoch of the recipe and keeps the last weights: no figure chooses anything. A
    surrogate is written as soon as it is trained and found again by everything that decides it, and its
    progress is kept after each epoch, so that the same call resumes after an interruption; a black box with a
    cache does so as well.

    Args:
        black_box: answers the queries, up to its budget.
        build: returns the surrogate's network with its initial weights.
        pool: images to choose from, shape (n, height, width, channels), uint8. Pass the images on which the
            surrogates will be measured to the black box as `held_out`: none of them may be in the pool.
        recipe: how each surrogate is trained; its seed decides initial weights, order and augmentation.
        budgets: numbers of queries, 0 to n; with a budget of 0 the network stays untrained.
        folder: folder for the surrogates, as safetensors.
        strategy: a name from `STRATEGIES`.
        loss: a name from `LOSSES`.
        temperature: temperature of ``soft``.
        round_size: queries in one round of the strategies other than ``random``.
        groups: for ``adaptive``: what the attacker knows of the pool, shape (n,), for example the labels of
            the public data set that it comes from.
        transform: the surrogate's preprocessing; the target's, unless given.
        seed: decides the choice of queries.

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
    surrogates = []
    for number, budget in enumerate(budgets):
        tell("surrogates", number, len(budgets))
        surrogates.append(trainer.surrogate(queries[:budget], answers[:budget]))
    tell("surrogates", len(budgets), len(budgets))
    return surrogates


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
    """Trains the surrogates of one call of `steal`."""

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
        """Return the first n queries, each round from the groups with the best rewards so far."""
        bandit = GroupBandit(groups, len(self.pool), seed=seed)
        queries = np.zeros(0, np.int64)
        while len(queries) < n:
            following = bandit.choose(min(round_size, n - len(queries)))
            answers = self.black_box.ask(self.pool[following])
            bandit.learn(answers, self._posteriors(queries, self.pool[following]))
            queries = np.concatenate([queries, following])
        return queries

    def _posteriors(self, queries: Positions, pixels: Pixels) -> Scores:
        """Return the posteriors of a surrogate trained on the answers to these queries."""
        answers = self.black_box.ask(self.pool[queries]) if len(queries) else np.empty((0, 0))
        logits = torch.from_numpy(self.surrogate(queries, answers).logits(pixels))
        posteriors: Scores = logits.double().softmax(1).numpy()
        return posteriors

    def surrogate(self, queries: Positions, answers: Scores) -> Surrogate:
        """Return the surrogate trained on the answers to these queries, from its file if there is one."""
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
        """Hash everything that decides a surrogate's weights."""
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
