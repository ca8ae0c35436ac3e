"""Splits: which images a model was trained on and which it never saw."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Flags, Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Positions of members and non-members in one image set, without overlap and repeats.

    >>> split = Split(members=np.array([0, 2]), nonmembers=np.array([1]))
    >>> split.indices, split.is_member
    (array([0, 2, 1]), array([ True,  True, False]))
    """

    members: Rows = field(repr=False)
    nonmembers: Rows = field(repr=False)

    def __repr__(self) -> str:
        return f"Split({len(self.members):,} members, {len(self.nonmembers):,} non-members)"

    def __post_init__(self) -> None:
        for name in ("members", "nonmembers"):
            side = np.asarray(getattr(self, name))
            if side.ndim != 1 or side.dtype.kind not in "iu" or not len(side):
                raise ValueError(
                    f"{name} must be a non-empty list of positions; got {side.dtype} of {side.shape}."
                )
            if side.min() < 0:
                raise ValueError(f"{name} must hold positions of 0 and above; got {side.min()}.")
            object.__setattr__(self, name, side.astype(np.int64))
        positions, counts = np.unique(self.indices, return_counts=True)
        repeated = positions[counts > 1]
        if len(repeated):
            raise ValueError(
                "members and nonmembers must be disjoint, each position once; "
                f"{len(repeated)} position(s) come twice, the first is {repeated[0]}."
            )

    @property
    def indices(self) -> Rows:
        """All positions: members first, then non-members."""
        return np.concatenate([self.members, self.nonmembers])

    @property
    def is_member(self) -> Flags:
        """For each entry of `indices`, whether it is a member."""
        return np.arange(len(self.members) + len(self.nonmembers)) < len(self.members)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of both sets of positions, independent of their order."""
        content = [np.sort(side).tolist() for side in (self.members, self.nonmembers)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def require_within(self, size: int) -> None:
        """Refuse a split with positions outside an image set of ``size`` images."""
        if self.indices.max() >= size:
            raise ValueError(
                f"the split names position {self.indices.max()}, but there are only {size} images."
            )


def random_split(pool: npt.ArrayLike, num_members: int, *, seed: int) -> Split:
    """Draw ``num_members`` of the pool's positions at random as members; the rest are non-members.

    As the draw is random, members and non-members differ in nothing but the training.

    >>> split = random_split(range(10), 4, seed=0)
    >>> len(split.members), len(split.nonmembers)
    (4, 6)
    """
    shuffled = np.random.default_rng(seed).permutation(np.asarray(pool, dtype=np.int64))
    return Split(members=np.sort(shuffled[:num_members]), nonmembers=np.sort(shuffled[num_members:]))


def write_split(split: Split, path: Path) -> None:
    """Write a split as JSON: ``{"members": [...], "nonmembers": [...]}``."""
    content = {"members": split.members.tolist(), "nonmembers": split.nonmembers.tolist()}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_split(path: Path) -> Split:
    """Read a split that `write_split` wrote.

    Raises:
        ValueError: the file cannot be read or has another form; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Split(members=np.array(content["members"]), nonmembers=np.array(content["nonmembers"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a readable split: {error}") from error
