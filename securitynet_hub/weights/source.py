"""Where a model's weights are and how they are checked, whoever says so."""

from __future__ import annotations

from typing import Protocol


class WeightsSource(Protocol):
    """What fetching weights needs to know; an annotation says it, among much else."""

    @property
    def id(self) -> str:
        """The model's name, for errors."""

    @property
    def weights_url(self) -> str | None:
        """The link: ``https:``, ``package:`` or ``file:``."""

    @property
    def weights_member(self) -> str | None:
        """Which member of the zip archive that the link leads to; None if it leads to the file."""

    @property
    def weights_hash_kind(self) -> str | None:
        """Kind of the hash, or kinds joined by ``+``."""

    @property
    def weights_hash(self) -> str | None:
        """The hash, or hashes joined by ``+``."""
