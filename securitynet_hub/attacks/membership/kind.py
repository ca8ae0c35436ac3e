"""Membership inference as a kind of attack: its name, its headline figure, its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import Described, Kind, option
from securitynet_hub.core.arrays import is_real, shortened
from securitynet_hub.core.atlas import MEMBERSHIP

if TYPE_CHECKING:
    from securitynet_hub.attacks.membership.member_lists import NamedMembers
    from securitynet_hub.attacks.membership.shadows import Shadows
    from securitynet_hub.data.sources import ImageSource
    from securitynet_hub.models.target import Target

FDR = 0.1
"""False-discovery rate of member lists."""


def require_fdr(fdr: float) -> None:
    """Refuse a false-discovery rate outside 0..1.

    >>> require_fdr(2)
    Traceback (most recent call last):
    ...
    ValueError: the false-discovery rate (--fdr) must lie between 0 and 1; got 2.
    """
    if not (is_real(fdr) and 0 < fdr < 1):
        raise ValueError(f"the false-discovery rate (--fdr) must lie between 0 and 1; got {shortened(fdr)}.")


TARGET_FPRS = (0.001, 0.01)
"""False-positive rates at which the true-positive rate is given."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen for membership inference.

    Attributes:
        class_wise: use one threshold for each class, fitted on the calibration samples; metric-based attacks
            only.
        slices: measure within each class, too: ``result["slices"]``, by class name, None where a class lacks
            members or non-members.
        max_queries: the most images that one label-only attack may forward; an attack that might need more is
            refused before it begins.
        shadows: reference models' answers for every sample of the split; or how many reference models to
            train, where the target's training can be repeated here. Samples of their pool beyond the split
            are the population, and must be unknown to the target. They are asked about candidates, too; where
            an attack needs models trained with each image, their number must be given, and some are trained
            on each candidate.
        views: names of augmentations that LiRA and RMIA ask about, where reference models are trained.
        base: the public model that the target was fine-tuned from: a loaded target, or what `load_target`
            takes; `base_calibration` asks it about the same images. The attack named ``base`` does not.
        samples: folder for every sample's scores and for pictures of the members with the highest scores,
            below the model's id. They show training images: mind whose they are.
        list_members: name the images that each attack finds to be members; the counts are
            ``result["listed"]``, the list itself goes to `on_list` and to `samples`.
        fdr: false-discovery rate of the lists, all attacks' together.
        candidates: images of unknown membership to name members among, or where they are, as
            `candidates.find_candidates` takes them; by default the members and half of the non-members.
        on_list: called with each attack's `NamedMembers`.
        calibration: share of the members and non-members that learned attacks are fitted on; they are
            measured on the rest.
        target_fprs: false-positive rates at which to give the true-positive rate.
    """

    class_wise: bool = option(False, "judge by one threshold for each class (metric-based attacks)")
    slices: bool = option(False, "measure within each class, too")
    max_queries: int = option(
        1_000_000, "most images that one label-only attack may forward (default: a million)", metavar="N"
    )
    shadows: Shadows | int | None = option(
        None,
        "number of reference models to train for the attacks that compare with them: for zoo models of 250 "
        "to 1,000 members, and for file: models with --recipe; they are cached for later runs",
        metavar="N",
    )
    views: tuple[str, ...] = option(
        ("identity",),
        "augmentations of an image that LiRA and RMIA ask about: identity first, then mirror, shift_up, "
        "shift_down, shift_left, shift_right",
        metavar="VIEW",
    )
    base: Target | str | None = option(
        None,
        "public model that the target was fine-tuned from, as the target is named (file:WEIGHTS in the "
        "target's own network); base_calibration compares with it, and trains no network. The attack named "
        "base has nothing to do with it: that one compares with reference models (--shadows)",
        metavar="MODEL",
        name=("--base-model", "--base"),
    )
    samples: Path | None = option(
        None,
        "folder for all scores of membership attacks and for pictures of the members with the highest "
        "scores; a later audit of the same images adds to it",
        metavar="DIR",
        idle="no attack on membership is run, and only these score single images: nothing is added there",
    )
    list_members: bool = option(
        False,
        "name the images that each attack finds to be members, wrongly in no more than --fdr of the cases on "
        "average; several attacks share that rate, so name one with --attacks for a long list",
    )
    fdr: float = option(FDR, "false-discovery rate of --list-members", metavar="RATE")
    candidates: ImageSource | str | None = option(
        None,
        "images of unknown membership to name members among: a folder of pictures (FOLDER/CLASS/* for "
        "attacks that need labels), a table or a data set with ?split=NAME (default: the members and half of "
        "the non-members of the data, whose truth is then counted beside)",
        metavar="REFERENCE",
    )
    on_list: Callable[[NamedMembers], object] | None = None
    calibration: float = 0.5
    target_fprs: tuple[float, ...] = TARGET_FPRS

    def __post_init__(self) -> None:
        """Refuse a rate that no model and no images could make possible."""
        require_fdr(self.fdr)


NEEDS = {
    "labels": "label",
    "calibration": "known members and non-members",
    "features": "images",
    "penultimate": "features of the last layer",
    "base_features": "the base model",
    "reference_outputs": "reference models",
    "population_outputs": "population",
}
"""What the fields of `MembershipInputs` are called in tables; others come along with these."""


def describe(literal: Mapping[str, Any]) -> Described:
    """Say what a membership attack needs, as tables have it.

    Attacks on answers come first, then those with reference models, then those by queries.

    >>> describe({"needs": ("labels", "reference_outputs", "reference_in"), "min_references": (2, 2)}).needs
    ('label', 'reference models trained with and without the sample')
    """
    needs, (seen, _) = literal.get("needs", ()), literal.get("min_references", (0, 0))
    words = [NEEDS[need] for need in needs if need in NEEDS]
    if seen:
        words[words.index(NEEDS["reference_outputs"])] += " trained with and without the sample"
    if literal.get("alternatives"):
        words[-1] += " or " + " and ".join(NEEDS[need] for need in literal["alternatives"])
    asks = literal.get("cost") is not None
    if asks:
        words.append("queries of its own")
    references = any("reference" in need for need in needs)
    beyond_labels = [need for need in needs if need != "labels"]
    order = (asks, references, sum(literal.get("min_references", (0, 0))), len(beyond_labels))
    return Described(needs=tuple(words), shares_pass=not asks, order=order)


KIND = Kind(
    name="membership-inference",
    title="Membership inference",
    package="securitynet_hub.attacks.membership",
    order=1,
    question="which images were training members, with a score",
    needs="images of which some were trained on",
    group="all",
    headline=("auc",),
    options=Options,
    sizes=("n_members", "n_nonmembers"),
    describe=describe,
    atlas=(MEMBERSHIP,),
    incidental=frozenset({"target_fprs", "starts", "shadows_sha256", "base"}),
    incidental_counts=frozenset(
        {"forwarded", "fewest_in", "fewest_out", "most_for_one_sample", "members_right", "nonmembers_right"}
    ),
)
