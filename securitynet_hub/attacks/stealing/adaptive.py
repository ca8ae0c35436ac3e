"""Knockoff Nets' adaptive choice of queries: a gradient bandit over groups of images, in rounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.stealing.selection import Positions
from securitynet_hub.core.arrays import Scores
from securitynet_hub.statistics.posteriors import CLIP


class GroupBandit:
    """Learn which groups of a pool to ask about, from the rewards of earlier answers.

    The adaptive strategy of Orekondy et al. 2019 (Knockoff Nets, arXiv 1812.02766, section 4.1.2) on a flat
    set of groups. With H the preference of each group, pi = softmax(H) the probability of drawing it, N(a)
    the number of draws of group a, and r the reward of an image of group a:

        H(a) += (r - mean r) (1 - pi(a)) / N(a),   H(b) -= (r - mean r) pi(b) / N(a)   for every other b

    The reward of an answer y, with q the current surrogate's posteriors, is the mean of three rewards, each
    rescaled to 0..1 over its round (0 where it does not vary):

    - certainty: the difference of the two largest of y.
    - diversity: ``sum_k max(0, y_k - mean y_k)``, so that queries cover several classes.
    - loss: ``-sum_k y_k log q_k``, the surrogate's error.

    The paper updates after every query and takes means over the preceding queries; here both happen once for
    each round, with the means of the round, so that the target answers in batches. A group whose images have
    all been asked about is not drawn again. ``docs/stealing.md`` compares the strategy with random queries.

    Args:
        groups: the group of each image, integers, shape (n,).
        pool_size: n.
        seed: decides the draws.

    Raises:
        ValueError: groups are missing, no integers, or not one for each image.

    >>> bandit = GroupBandit([0] * 50 + [1] * 50, 100, seed=0)
    >>> asked = bandit.choose(20)
    >>> sure, unsure = np.eye(2), np.full((2, 2), 0.5)  # of images of group 1 the target is surer
    >>> bandit.learn(np.array([(sure if i >= 50 else unsure)[i % 2] for i in asked]), np.full((20, 2), 0.5))
    >>> bool(bandit.chances[1] > 0.5)
    True
    """

    def __init__(self, groups: npt.ArrayLike | None, pool_size: int, *, seed: int = 0) -> None:
        found = np.asarray(groups)
        if groups is None or found.shape != (pool_size,) or found.dtype.kind not in "iu":
            got = "none" if groups is None else f"{found.dtype} of {found.shape}"
            raise ValueError(
                f"the strategy 'adaptive' needs groups, {pool_size} integers, one for each image of the "
                f"pool; got {got}."
            )
        self._rng = np.random.default_rng(seed)
        _, membership = np.unique(found, return_inverse=True)
        order = self._rng.permutation(pool_size)
        self._left = [order[membership[order] == group].tolist() for group in range(membership.max() + 1)]
        self._preferences = np.zeros(len(self._left))
        self._drawn = np.zeros(len(self._left), np.int64)
        self._round: list[int] = []

    @property
    def chances(self) -> Scores:
        """The probability of drawing each group, ascending by group number; 0 where no image is left."""
        weights = np.exp(self._preferences - self._preferences.max()) * [len(left) > 0 for left in self._left]
        chances: Scores = weights / weights.sum()
        return chances

    def choose(self, n: int) -> Positions:
        """Draw the next n images, none that was drawn before."""
        self._round = []
        picked = np.empty(n, np.int64)
        for i in range(n):
            group = int(self._rng.choice(len(self._left), p=self.chances))
            picked[i] = self._left[group].pop()
            self._round.append(group)
        return picked

    def learn(self, answers: Scores, posteriors: Scores) -> None:
        """Update the preferences with the target's answers to the last round and the surrogate's posteriors.

        Args:
            answers: shape (n, classes), probabilities.
            posteriors: shape (n, classes), of the surrogate before this round.
        """
        advantages = reward(answers, posteriors)
        advantages -= advantages.mean()
        chances = self.chances
        for group, advantage in zip(self._round, advantages, strict=True):
            self._drawn[group] += 1
            step = advantage / self._drawn[group]
            self._preferences -= step * chances
            self._preferences[group] += step


def reward(answers: Scores, posteriors: Scores) -> Scores:
    """Return the mean of the three rescaled rewards of each answer of a round, shape (n,), in 0..1."""
    largest = np.partition(answers, -2, axis=1)
    certainty = largest[:, -1] - largest[:, -2]
    diversity = np.maximum(0, answers - answers.mean(0)).sum(1)
    loss = -(answers * np.log(np.maximum(posteriors, CLIP))).sum(1)
    mean: Scores = np.mean([_rescaled(part) for part in (certainty, diversity, loss)], axis=0)
    return mean


def _rescaled(values: Scores) -> Scores:
    spread = np.ptp(values)
    varies = spread > 1e-12 * np.abs(values).max()  # more than by rounding
    rescaled: Scores = (values - values.min()) / spread if varies else np.zeros_like(values)
    return rescaled
