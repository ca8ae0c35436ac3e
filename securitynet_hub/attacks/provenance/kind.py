"""Provenance as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import Described, Kind, option
from securitynet_hub.attacks.provenance.null import NULLS, require_significance
from securitynet_hub.core.arrays import require_count
from securitynet_hub.core.atlas import EXTRACTION
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.records.figures import number

if TYPE_CHECKING:
    from securitynet_hub.models.target import Target

QUERIES = 500
"""Number of images that the models are asked about, unless another is asked for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of provenance.

    Attributes:
        reference: the model that the audited one may be derived from: a loaded target, or what `load_target`
            takes; a module is fed as the audited model is.
        beside: models, by their ids or as `torch.nn.Module`, that are known to be independent of the
            reference, best of the audited model's data set, architecture and recipe. Default for zoo models:
            the clean models of the reference's architecture and training images.
        independent: the same, loaded.
        null: ``reference`` ranks the similarity among those of the independent models to the reference,
            ``pairs`` among those of all pairs. ``auto`` is ``pairs`` where all independent models differ from
            the reference by their random numbers alone, as the zoo's do.
        queries: number of non-members that the models are asked about, drawn by the seed.
        significance: largest p-value that is called derived.
        power_copies: copies of the reference that are made to see whether they would be found.
    """

    reference: Target | str | None = option(
        None,
        "the model that the audited one may be derived from, as a model is named",
        metavar="MODEL",
    )
    beside: tuple[str, ...] = option(
        (),
        "models that are known to be independent of the reference, best of the audited model's data set and "
        "architecture; for zoo models the default is clean ones of the reference's architecture",
        metavar="MODEL",
        commands=("audit", "compare"),
    )
    null: str = option(
        "auto",
        "what a similarity is ranked among: 'reference', those of the independent models to the reference; "
        "'pairs', those of all pairs, which takes fewer models but supposes that the reference is like them",
        choices=("auto", "reference", "pairs"),
        commands=("audit", "compare"),
    )
    queries: int = option(
        QUERIES,
        "number of images that the models are asked about",
        metavar="N",
        commands=("audit", "compare"),
    )
    significance: float = option(
        0.05, "largest p-value at which a model is called derived", metavar="P", commands=("audit", "compare")
    )
    power_copies: tuple[str, ...] = ("quantised", "pruned", "fine-tuned")
    independent: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that no model and no images could make possible.

        >>> Options(queries=0)
        Traceback (most recent call last):
        ...
        ValueError: queries must be a count of 1 or more; got 0.
        """
        if self.null not in ("auto", *NULLS):
            raise UnknownNameError("null", self.null, ("auto", *NULLS))
        require_significance(self.significance)
        require_count(self.queries, "queries")


def describe(literal: Mapping[str, Any]) -> Described:
    """Say what a sign needs, as tables have it; those in answers come first, the one that joins them at the
    top.

    >>> describe({"needs": ("labels", "independent models")}).needs
    ('a reference', 'labels', 'independent models')
    """
    needs = tuple(literal.get("needs", ()))
    return Described(needs=("a reference", *needs), order=(bool(literal.get("weights")), len(needs)))


def lacking(result: Mapping[str, Any]) -> str:
    """Say what a result lacks whose p-value is 1 whatever was measured: independent models.

    >>> lacking({"p_value": 1.0, "smallest_p_value": 1.0, "n_needed": 19})
    'needs 19 independent models (--beside)'
    >>> lacking({"p_value": 1.0, "smallest_p_value": 0.002})
    ''
    """
    smallest, needed = number(result.get("smallest_p_value")), number(result.get("n_needed"))
    if smallest is None or smallest < 1 or not needed:  # orders of units need no models
        return ""
    return f"needs {needed:.0f} independent models (--beside)"


KIND = Kind(
    name="provenance",
    title="Provenance",
    package="securitynet_hub.attacks.provenance",
    order=5,
    question="whether the model is derived from another one, or independent",
    needs="the other model, images, and independent models",
    group="provenance",
    headline=("p_value",),
    falling=frozenset({"p_value"}),
    vacuous=lacking,
    options=Options,
    sizes=("n",),
    describe=describe,
    incidental=frozenset({"independent_sha256"}),
    incidental_counts=frozenset({"forwarded"}),
    compares="reference",
    atlas=(EXTRACTION,),
)
