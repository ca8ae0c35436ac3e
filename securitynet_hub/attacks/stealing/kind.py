"""Model stealing as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from dataclasses import dataclass

from securitynet_hub.attacks.kind import Kind, option
from securitynet_hub.core.atlas import EXTRACTION

BUDGETS = (100, 500)
"""Query budgets, unless others are asked for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of model stealing.

    Attributes:
        budgets: query budgets: numbers of images that the attacker asks about; one surrogate is trained for
        each.
    """

    budgets: tuple[int, ...] = option(
        BUDGETS,
        "query budgets of model_stealing, one surrogate each",
        metavar="N",
        commands=("audit", "sweep"),
    )


KIND = Kind(
    name="model-stealing",
    title="Model stealing",
    package="securitynet_hub.attacks.stealing",
    order=2,
    question="how well a copy agrees with the model, by the number of queries",
    needs="images to ask about, and others to compare on",
    group="model-stealing",
    headline=("agreement",),
    falling=frozenset({"kl", "total_variation"}),
    pooled=True,
    separate="budgets",
    options=Options,
    sizes=("n",),
    incidental=frozenset(
        {"surrogate_sha256", "queries_sha256", "surrogate_parameters", "surrogate_transform"}
    ),
    incidental_counts=frozenset({"forwarded"}),
    naming=frozenset({"surrogate"}),
    outcomes=frozenset({"surrogate_sha256"}),
    atlas=(EXTRACTION,),
)
