"""What the records of one model say about its membership leak, by rules.

In this order, the first that applies:

1. **cannot be judged**: the model is right near chance on its own training images, or far below what was
   published or expected, or names classes as others of them. Something is wrong with the classes' order, the
   preprocessing or the weights.
2. **withheld**: a classifier that never asks the model tells members from non-members (`blind_baseline`), or
   the classes have other shares among them.
3. **leak**: some attack's AUC lies above one half, or its TPR above the false-positive rate, corrected for
   all attacks and figures (Holm 1979).
4. **sign reversed**: none does, and some attack's AUC lies below one half, corrected likewise.
5. **cannot tell**: the samples are too few to find an AUC of 0.6 with a power of 80 %, or an AUC's own
   interval excludes one half and the corrected one does not.
6. **no leak found**: with the smallest leak that would have been found with a power of 80 %. No all-clear
   where the model is right on less than `UNEXPLAINED` of its training images and nothing is expected of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

from securitynet_hub.attacks.present import Tone
from securitynet_hub.records.figures import interval, mappings, number
from securitynet_hub.records.record import Record
from securitynet_hub.statistics.power import smallest_auc, smallest_tpr
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, wilson_interval

Finding = Literal["cannot be judged", "withheld", "leak", "sign reversed", "cannot tell", "no leak found"]
Severity = Literal["slight", "moderate", "severe"]

TONES: dict[Finding, Tone] = {"leak": "alarm", "no leak found": "calm"}
"""Tones of the findings; of all others `open`, and of a model that may be fed wrongly."""

SEVERITIES: tuple[Severity, ...] = ("slight", "moderate", "severe")

AUC_GRADES = (0.6, 0.75)
"""AUCs from which a leak is moderate, and severe."""

TPR_GRADES = ((0.02, 3.0), (0.1, 9.0))
"""TPRs, and multiples of the false-positive rate, from which a leak is moderate, and severe.

At nine times the rate, nine accusations in ten are right where members and non-members are equally many.
"""

COARSE = 0.6
"""The smallest AUC that an audit must be able to find before it may say that it found no leak."""

NEAR_CHANCE = 0.1
"""Part of the way from chance to perfection up to which a model counts as guessing."""

SURE = 0.999
"""Confidence level at which a model must be so poor."""


UNEXPLAINED = 0.75
"""Accuracy on its own training images below which a model of which nothing is expected may be fed wrongly."""


class Figure(NamedTuple):
    """An attack's figure, and how surely it differs from guessing.

    Attributes:
        attack: its name.
        fpr: the false-positive rate of a TPR; None for an AUC.
        value: the figure.
        ci: its own interval.
        p_value: of guessing or less, one-sided: of an AUC by its interval, of a TPR exactly, from the number
            of members above the non-members that may be accused.
        adjusted: `p_value` after Holm's correction for all figures.
        reversed: of an AUC, the p-value of guessing or more after Holm's correction for all AUCs; 1 of a TPR.
        sizes: numbers of members and of non-members.
    """

    attack: str
    fpr: float | None
    value: float
    ci: tuple[float, float] | None
    p_value: float
    adjusted: float = 1.0
    reversed: float = 1.0
    sizes: tuple[int, int] = (0, 0)

    @property
    def guessing(self) -> float:
        """The value of an attack that guesses."""
        return 0.5 if self.fpr is None else self.fpr

    @property
    def steady(self) -> bool:
        """Whether the interval begins above guessing, and above half of the figure.

        Of 83 % (4.6-89 %) only the lower end is known.
        """
        return self.ci is None or (self.ci[0] > self.guessing and self.ci[0] >= self.value / 2)

    @property
    def low(self) -> float:
        """Where the interval begins; the figure itself where there is none."""
        return self.value if self.ci is None else self.ci[0]

    @property
    def at_least(self) -> float:
        """The figure itself where it is steady, else its lower end."""
        return self.value if self.steady or self.ci is None else self.ci[0]

    @property
    def grade(self) -> int:
        """How severe a leak of this size, or of this size at least, is: the place in `SEVERITIES`."""
        if self.fpr is None:
            return sum(self.at_least >= least for least in AUC_GRADES)
        size = self.at_least
        return sum(size >= least and size >= times * self.fpr for least, times in TPR_GRADES)


class Poor(NamedTuple):
    """A model that is wrong too often to be judged: shares of right answers, None where not known."""

    status: Literal["near chance", "below expectation", "classes exchanged"]
    members_accuracy: float | None
    accuracy: float | None
    expected: float | None
    likely_reason: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is found, and by what.

    Attributes:
        finding: by the rules above.
        records: those that counted.
        figures: theirs, corrected, the surest first.
        alpha: the one-sided level at which a corrected figure differs from guessing.
        smallest: for None, the AUC, and for each false-positive rate of a TPR: the smallest leak that is
            found with a power of 80 % after the correction; None where none is.
    """

    finding: Finding
    records: tuple[Record, ...]
    figures: tuple[Figure, ...]
    alpha: float
    smallest: dict[float | None, float | None]

    @property
    def tone(self) -> Tone:
        """The tone of the finding: no all-clear for a model that may be fed wrongly."""
        if self.finding == "no leak found" and any(unexplained(each) is not None for each in self.records):
            return "open"
        return TONES.get(self.finding, "open")

    @property
    def strongest(self) -> dict[float | None, Figure]:
        """For the AUC (None) and each false-positive rate, the figure of the strongest attack."""
        return strongest(self.figures)

    @property
    def sure(self) -> dict[float | None, Figure]:
        """Of the figures that surely lie above guessing the worst of each sort.

        That is the one whose interval begins highest; how small its p-value is says nothing of the size. The
        worst sort comes first, of equally bad ones a steady figure.
        """
        found: dict[float | None, Figure] = {}
        for figure in self.figures:
            if figure.adjusted <= self.alpha:
                known = found.setdefault(figure.fpr, figure)
                found[figure.fpr] = max(known, figure, key=lambda each: (each.low, each.value))
        order = sorted(
            found, key=lambda fpr: (-found[fpr].grade, not found[fpr].steady, 1.0 if fpr is None else fpr)
        )
        return {fpr: found[fpr] for fpr in order}

    @property
    def reversed(self) -> list[Figure]:
        """The AUCs that lie below one half, the lowest first."""
        below = [figure for figure in self.figures if figure.reversed <= self.alpha]
        return sorted(below, key=lambda figure: figure.value)

    @property
    def severity(self) -> Severity | None:
        """How bad a leak is: how many members an attacker finds, and how surely; None without a leak."""
        if self.finding != "leak":
            return None
        return SEVERITIES[max(figure.grade for figure in self.sure.values())]

    def leaks(self, attack: str) -> bool:
        """Whether an attack's AUC lies above one half, corrected for all figures."""
        return any(f.attack == attack and f.fpr is None and f.adjusted <= self.alpha for f in self.figures)

    def is_reversed(self, attack: str) -> bool:
        """Whether an attack's AUC lies below one half, corrected for all AUCs."""
        return any(f.attack == attack for f in self.reversed)

    @property
    def rank(self) -> float:
        """How badly the model does, higher = worse, to sort models by: severity, then the AUC at least."""
        grade = 0 if self.severity is None else 1 + SEVERITIES.index(self.severity)
        aucs = [f.ci[0] if f.ci else f.value for f in self.figures if f.fpr is None]
        return grade + max(aucs, default=-1.0)


def judge(records: Sequence[Record]) -> Judgement:
    """Judge one model by its records of membership inference, whatever their age.

    Records whose model cannot be judged, or whose sides differ, count only if there are no others.

    Args:
        records: one for each attack, at least one.

    >>> result = {"auc": 0.9, "auc_ci": [0.85, 0.94], "n_members": 500, "n_nonmembers": 500}
    >>> record = Record(target={"id": "a"}, data={}, attack={"name": "loss"}, result=result, counts={},
    ...     timings={}, code={}, environment={})
    >>> found = judge([record])
    >>> found.finding, found.severity
    ('leak', 'severe')
    """
    valid = [record for record in records if not poor(record)]
    comparable = [record for record in valid if not differing(record)]
    chosen = comparable or valid or list(records)
    levels = [level for r in chosen if (level := number(r.result.get("confidence_level"))) and 0 < level < 1]
    alpha = (1 - min(levels, default=CONFIDENCE_LEVEL)) / 2
    figures = corrected(figure for record in chosen for figure in figures_of(record))
    smallest = smallest_leaks(figures, alpha)
    finding: Finding
    if not valid:
        finding = "cannot be judged"
    elif not comparable:
        finding = "withheld"
    elif any(figure.adjusted <= alpha for figure in figures):
        finding = "leak"
    elif any(figure.reversed <= alpha for figure in figures):
        finding = "sign reversed"
    elif uncertain(figures, smallest):
        finding = "cannot tell"
    else:
        finding = "no leak found"
    return Judgement(finding=finding, records=tuple(chosen), figures=figures, alpha=alpha, smallest=smallest)


def poor(record: Record) -> Poor | None:
    """Say whether a record's model is so often wrong that no figure describes it; None where it is not.

    By ``data["check"]`` where the record has it. Else by its counts of right answers: the 99.9 % interval of
    the accuracy on the model's own training images lies below a tenth of the way from chance to 1.
    """
    check = record.data.get("check")
    check = check if isinstance(check, dict) else {}
    likely = check.get("likely_reason")
    share, new, expected = (number(check.get(n)) for n in ("members_accuracy", "accuracy", "expected"))
    found = Poor("near chance", share, new, expected, likely if isinstance(likely, str) else "")
    if check.get("status") in ("near chance", "below expectation", "classes exchanged"):
        return found._replace(status=check["status"])
    members, right, classes = (
        number(value)
        for value in (
            record.counts.get("members"),
            record.counts.get("members_right"),
            record.target.get("num_classes"),
        )
    )
    if check or not members or right is None or not classes or classes < 2 or not 0 <= right <= members:
        return None
    chance = 1 / classes
    high = wilson_interval(int(right), int(members), confidence_level=SURE).high
    poor = high < chance + NEAR_CHANCE * (1 - chance)
    return found._replace(members_accuracy=right / members) if poor else None


def unexplained(record: Record) -> float | None:
    """Return a model's accuracy on its own training images if it is low and nobody said what to expect.

    Such a model is underfitted, or fed in another way than it was trained, which hides a leak.
    """
    check = record.data.get("check")
    if not isinstance(check, dict) or check.get("status") != "no expectation":
        return None
    share = number(check.get("members_accuracy"))
    return share if share is not None and share < UNEXPLAINED else None


def differing(record: Record) -> bool:
    """Say whether members and non-members of a record differ before any training."""
    blind = record.result.get("blind_baseline")
    if not isinstance(blind, dict):
        return False
    ci = interval(blind.get("auc_ci"))
    return blind.get("differs") is True or (ci is not None and ci[0] > 0.5)


def figures_of(record: Record) -> list[Figure]:
    """Return a record's AUC, and its TPR at each rate that its non-members resolve, uncorrected."""
    attack, result = str(record.attack.get("name", "unnamed")), record.result
    sizes = [number(result.get(name)) for name in ("n_members", "n_nonmembers")]
    level = number(result.get("confidence_level")) or CONFIDENCE_LEVEL
    m, n = (0 if size is None or not 0 < size < 1e12 else int(size) for size in sizes)
    found: list[Figure] = []
    auc, ci = number(result.get("auc")), interval(result.get("auc_ci"))
    if auc is not None and 0 <= auc <= 1:
        ci = ci if ci and 0 <= ci[0] <= auc <= ci[1] <= 1 and 0 < level < 1 else None
        above, below = (1.0, 1.0) if ci is None else _auc_p_values(auc, ci, level)
        found.append(Figure(attack, None, auc, ci, above, reversed=below, sizes=(m, n)))
    for rate in mappings(result.get("tpr_at_fpr")):
        fpr, tpr, achieved = (number(rate.get(name)) for name in ("target_fpr", "tpr", "achieved_fpr"))
        own = number(rate.get("tpr_at_threshold"))
        if not rate.get("resolvable") or fpr is None or tpr is None or not (0 < fpr < 1 and 0 <= tpr <= 1):
            continue
        p_value = 1.0
        if m and n and achieved is not None:
            p_value = _tpr_p_value((tpr if own is None else own) * m, achieved * n, m, n)
        ends = interval(rate.get("ci"))
        found.append(Figure(attack, fpr, tpr, ends, p_value, sizes=(m, n)))
    return found


def corrected(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Correct p-values for their number (Holm 1979); return the figures in their order, the surest first.

    >>> found = [Figure(name, None, 0.6, None, p) for name, p in (("a", 0.02), ("b", 0.01), ("c", 0.9))]
    >>> [(figure.attack, round(figure.adjusted, 3)) for figure in corrected(found)]
    [('b', 0.03), ('a', 0.04), ('c', 0.9)]
    """
    found = list(figures)
    aucs = [place for place, figure in enumerate(found) if figure.fpr is None]
    for place, p in zip(aucs, _holm([found[place].reversed for place in aucs]), strict=True):
        found[place] = found[place]._replace(reversed=p)
    adjusted = _holm([figure.p_value for figure in found])
    found = [figure._replace(adjusted=p) for figure, p in zip(found, adjusted, strict=True)]
    return tuple(
        sorted(found, key=lambda figure: (figure.adjusted, figure.p_value, -figure.value, figure.attack))
    )


def _auc_p_values(auc: float, ci: tuple[float, float], level: float) -> tuple[float, float]:
    """Return the p-values of an AUC of one half or less, and of one half or more.

    The interval's beta distribution is nearly normal on the logit scale, where half of its width is a normal
    quantile of standard errors: p-values of 0.001 and more are right to a tenth of themselves, smaller ones
    err to the large side. At an AUC of 1 the interval comes from the n ordered pairs whose chance is
    ``alpha/2`` at its low end.
    """
    if auc in (0, 1):
        end = ci[0] if auc else 1 - ci[1]
        if not 0 < end < 1:
            return 1.0, 1.0
        p = 0.5 ** (math.log((1 - level) / 2) / math.log(end))
        return (p, 1.0) if auc else (1.0, p)
    quantile, logits = NormalDist().inv_cdf((1 + level) / 2), [math.log(auc / (1 - auc))]
    for end in ci:
        if not 0 < end < 1:
            return 1.0, 1.0
        logits.append(math.log(end / (1 - end)))
    centre, low, high = logits
    widths = [max(width, 1e-12) / quantile for width in (centre - low, high - centre)]
    return NormalDist().cdf(-centre / widths[0]), NormalDist().cdf(centre / widths[1])


def _tpr_p_value(hits: float, false_alarms: float, members: int, nonmembers: int) -> float:
    """Return how likely so many members lie above all but a few non-members if both are alike.

    Above the highest but j of n non-members lies a share ``Beta(j + 1, n - j)`` of all, and so a
    beta-binomial number of m members.
    """
    above, accused = round(hits), round(false_alarms)
    if not 0 < above <= members or not 0 <= accused < nonmembers:
        return 1.0
    return _beta_binomial(above, accused, members, nonmembers)


@lru_cache(maxsize=4096)
def _beta_binomial(above: int, accused: int, members: int, nonmembers: int) -> float:
    """Return `_tpr_p_value` of counts in range; the same few return in many records."""
    from scipy.stats import betabinom  # slow to import

    return float(betabinom.sf(above - 1, members, accused + 1, nonmembers - accused))


def _holm(p_values: Sequence[float]) -> list[float]:
    adjusted, least = [1.0] * len(p_values), 0.0
    for place, row in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[row]))
        adjusted[row] = least
    return adjusted


def strongest(figures: Iterable[Figure]) -> dict[float | None, Figure]:
    """Return the surest figure of each sort: the AUC (None), then the TPR at each rate, the lowest first."""
    found: dict[float | None, Figure] = {}
    for figure in figures:
        known = found.setdefault(figure.fpr, figure)
        if (figure.p_value, -figure.value) < (known.p_value, -known.value):
            found[figure.fpr] = figure
    return {fpr: found[fpr] for fpr in sorted(found, key=lambda fpr: -1.0 if fpr is None else fpr)}


def smallest_leaks(
    figures: Sequence[Figure], alpha: float, sizes: tuple[int, int] | None = None
) -> dict[float | None, float | None]:
    """Return the smallest leak of each sort that is found with a power of 80 %, corrected for all figures.

    An attack judges `sizes` members and non-members; None stands for the sizes of the attack with the most
    samples. The result is empty where the records do not give these numbers.
    """
    members, nonmembers = sizes or max((figure.sizes for figure in figures), key=min, default=(0, 0))
    if not members or not nonmembers:
        return {}
    level = {"confidence_level": min(1 - 2 * alpha / len(figures), 1 - 1e-8)}
    return {
        fpr: smallest_auc(members, nonmembers, **level)
        if fpr is None
        else smallest_tpr(members, nonmembers, fpr, **level)
        for fpr in strongest(figures)
    }


def uncertain(figures: Sequence[Figure], smallest: dict[float | None, float | None]) -> bool:
    """Say whether figures without a sure leak leave open whether there is one.

    They do where no AUC has an interval, where one lies above one half if the choice of the attack is not
    paid for, or where an AUC of `COARSE` would not be found, or nobody knows whether it would.
    """
    lows = [figure.ci[0] for figure in figures if figure.fpr is None and figure.ci]
    return not lows or max(lows) > 0.5 or (smallest.get(None) or 1.0) > COARSE
