"""Results of membership inference, parsed: which figures there are, and what they must keep."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from securitynet_hub.attacks.checks import TOLERANCE, Figures, parse_result, require_intervals, whole, wilson
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import Count, Ends, Flag, Level, Number, Part, Positive, Rate


class TprAtFpr(Part):
    """The true-positive rate at the population's false-positive rate `target_fpr`.

    Records of older versions lack `tpr_at_threshold`: their `tpr` and `ci` are the rate at the sample's own
    threshold and Wilson's interval of it.
    """

    target_fpr: Rate
    tpr: Rate
    achieved_fpr: Rate
    ci: Ends
    threshold: Number | None = None
    resolvable: Flag | None = None
    tpr_at_threshold: Rate | None = None
    ci_at_threshold: Ends | None = None


class Accusations(Figures):
    """What the accusations at thresholds chosen beforehand are worth."""

    accuracy: Rate
    balanced_accuracy: Rate
    precision: Rate | None
    recall: Rate
    true_positives: Count
    false_positives: Count


class Measured(Figures):
    """How well scores tell members from non-members, all of them or those of one slice.

    With a the advantage, every ROC curve that lies a above the diagonal at most has
    ``a <= AUC <= 1/2 + a - a^2 / 2``. The AUC is a whole number of half pairs. A TPR at a threshold is a
    whole number of the members with Wilson's interval, and its FPR of the non-members, not above its target.
    The TPR at the population's rate f lies in its interval and at most a above f; it is resolvable from
    ``f n >= 1`` on.
    """

    auc: Rate
    auc_ci: Ends
    advantage: Rate
    advantage_ci: Ends
    tpr_at_fpr: Annotated[list[TprAtFpr], Field(max_length=1000)]
    n_members: Positive
    n_nonmembers: Positive
    confidence_level: Level

    @model_validator(mode="after")
    def _agree(self) -> Measured:
        advantage = self.advantage
        whole(
            2 * self.auc, self.n_members * self.n_nonmembers, "auc", "half pairs of a member and a non-member"
        )
        most = 0.5 + advantage - advantage**2 / 2
        if not advantage - TOLERANCE <= self.auc <= most + TOLERANCE:
            raise ValueError(
                f"auc should lie in {advantage:.6g}..{most:.6g} at this advantage; got {self.auc:.6g}"
            )
        for rate in self.tpr_at_fpr:
            self._check(rate)
        return self

    def _check(self, rate: TprAtFpr) -> None:
        own, own_ci, name = rate.tpr_at_threshold, rate.ci_at_threshold, "tpr_at_threshold"
        if own is None:  # a record of an older version
            own, own_ci, name = rate.tpr, rate.ci, "tpr"
        found = wilson(own, self.n_members, own_ci, name, self.confidence_level)
        whole(rate.achieved_fpr, self.n_nonmembers, "achieved_fpr", "non-members")
        gain = found / self.n_members - rate.achieved_fpr
        if rate.achieved_fpr > rate.target_fpr + TOLERANCE or gain > self.advantage + TOLERANCE:
            raise ValueError(
                f"a TPR of {own:.6g} at an FPR of {rate.achieved_fpr:.6g} does not go with the target "
                f"{rate.target_fpr:.6g} and the advantage {self.advantage:.6g}"
            )
        if rate.tpr_at_threshold is not None:
            self._check_estimate(rate)

    def _check_estimate(self, rate: TprAtFpr) -> None:
        require_intervals({"tpr": rate.tpr, "tpr_ci": rate.ci})
        if rate.tpr - rate.target_fpr > self.advantage + TOLERANCE:
            raise ValueError(
                f"a TPR of {rate.tpr:.6g} at an FPR of {rate.target_fpr:.6g} does not go with the advantage "
                f"{self.advantage:.6g}"
            )
        resolvable = rate.target_fpr * self.n_nonmembers >= 1 - TOLERANCE
        if rate.resolvable != resolvable or not (resolvable or rate.ci.low == 0):
            raise ValueError(
                f"an FPR of {rate.target_fpr:.6g} is {'' if resolvable else 'not '}resolvable with "
                f"{self.n_nonmembers:,} non-members, and where it is not the interval begins at 0"
            )


class BlindBaseline(Figures):
    """How well images alone, without the model, distinguish members from non-members."""

    auc: Rate
    auc_ci: Ends
    looked_at: list[str]
    n_members: Positive
    n_nonmembers: Positive
    confidence_level: Level
    differs: Flag


class Judged(Part):
    """The candidates of a list: what they are called, and a hash of all images and labels."""

    name: str
    sha256: str


class Listed(Part):
    """How many images an attack names as members, and how many of them are wrong at most.

    Where the candidates were the audit's own samples, or the record is of an older version, `images` is None.
    Each list's rate is ``fdr / attacks``, which the smallest p-value ``1 / (known_nonmembers + 1)`` reaches.
    """

    fdr: Rate
    attacks: Positive
    confidence_level: Level
    candidates: Positive
    known_nonmembers: Positive
    listed: Count
    at_most_wrong: Count
    wrong: Count | None = None
    shortest: Count
    differs: Flag = False
    images: Judged | None = None

    @model_validator(mode="after")
    def _agree(self) -> Listed:
        counts = (0, max(self.at_most_wrong, self.wrong or 0), self.listed, self.candidates)
        if sorted(counts) != list(counts):
            raise ValueError(
                f"{self.listed:,} of {self.candidates:,} candidates are listed, of these at most "
                f"{self.at_most_wrong:,} and in truth {self.wrong} wrongly: each should be within the last"
            )
        if self.listed and (
            self.differs or self.fdr * (self.known_nonmembers + 1) < self.attacks - TOLERANCE
        ):
            raise ValueError(
                f"{self.listed:,} are listed, although {self.known_nonmembers:,} known non-members that "
                f"{'differ' if self.differs else 'are so few'} cannot show a rate of {self.fdr:g}"
            )
        return self


class LiraEstimate(Figures):
    """The TPR that LiRA would reach at an FPR, estimated from the losses; not below the FPR, as guessing."""

    target_fpr: Rate
    tpr: Rate
    tpr_ci: Ends
    sampling_ci: Ends
    resolvable: Flag
    n_members: Positive
    n_nonmembers: Positive
    confidence_level: Level

    @model_validator(mode="after")
    def _agree(self) -> LiraEstimate:
        if self.tpr < self.target_fpr - TOLERANCE:
            raise ValueError(
                f"tpr should be at least the target_fpr {self.target_fpr:.6g}; got {self.tpr:.6g}"
            )
        return self


class Result(Measured):
    """The result of one attack, and what was measured beside it."""

    blind_baseline: BlindBaseline | None = None
    matched: dict[str, Any] | None = None
    lira_estimate: LiraEstimate | None = None

    accusations: Accusations | None = None
    slices: dict[str, Measured | None] | None = None
    tuned: dict[str, Number] | None = None
    listed: Listed | None = None
    comparison: dict[str, Any] | None = None
    epsilon_bound: dict[str, Any] | None = None


def parse(record: Record) -> Result:
    """Return the record's result.

    The ROC curve of `correctness` has one corner, so that its AUC is ``(1 + a) / 2``.

    Raises:
        ValueError: a figure lacks, is of another type or contradicts another one.
    """
    found = parse_result(Result, record)
    expected = (1 + found.advantage) / 2
    if record.attack["name"] == "correctness" and found.advantage and abs(found.auc - expected) > TOLERANCE:
        raise ValueError(
            f"the AUC of correctness should be (1 + {found.advantage:.6g}) / 2; got {found.auc:.6g}"
        )
    return found
