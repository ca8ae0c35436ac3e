"""The type of what names a model's weights: link, archive member and hash."""

from __future__ import annotations

from typing import Protocol


class WeightsSource(Protocol):
    """What fetching weights needs to know; annotations have these fields."""

    @property
    def id(self) -> str:
        """The name of the model, for error messages."""

    @property
    def weights_url(self) -> str | None:
        """The link: ``https:``, ``package:`` or ``file:``."""

    @property
    def weights_member(self) -> str | None:
        """The member of the zip archive at the link; None if the link leads to the weights file itself."""

    @property
    def weights_hash_kind(self) -> str | None:
        """Kind of the hash, or kinds joined by ``+``."""

    @property
    def weights_hash(self) -> str | None:
        """The hash, or hashes joined by ``+``."""
