"""A finding: what its authors report, the figures computed for it, and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from securitynet_hub.statistics.rates import Interval
from securitynet_hub.study.estimates import Estimate

Answer = Literal["yes", "no", "undecided"]
Verdict = Literal["reproduced", "partly reproduced", "not reproduced", "not checkable"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The statistics of one group of models.

    Attributes:
        group: the models, like "benchmark, CIFAR-10".
        quantity: what is compared, like "stealing agreement ~ test accuracy".
        n: models in it.
        left_out: how many more were left out, by reason.
        estimates: the statistics; none where there are too few models, or they are all alike.
        expected: the sign that the authors report for this group; 0: no relation; None: they report nothing.
        warning: why not to read this row alone, or empty.
    """

    group: str
    quantity: str
    n: int
    left_out: dict[str, int] = field(default_factory=dict)
    estimates: tuple[Estimate, ...] = ()
    expected: Literal[-1, 0, 1] | None = None
    warning: str = ""

    @property
    def answer(self) -> Answer | None:
        """Say whether the figures agree with what is reported; None where nothing is.

        "yes": every estimate has the reported sign and an interval at least excludes zero. "no": every
        estimate has the other sign and an interval excludes zero. Where no relation is reported, "yes":
        every interval contains zero; "no": none does. Else "undecided".

        >>> falls = Estimate("r", -0.5, Interval(-0.7, -0.2)), Estimate("rho", -0.2, Interval(-0.5, 0.1))
        >>> [Row(group="", quantity="", n=9, estimates=falls, expected=sign).answer for sign in (-1, 1, 0)]
        ['yes', 'no', 'undecided']
        """
        if self.expected is None or not self.estimates:
            return None
        clear = [not _contains_zero(estimate.ci) for estimate in self.estimates]
        if self.expected == 0:
            return "no" if all(clear) else "undecided" if any(clear) else "yes"
        signs = {(estimate.value * self.expected > 0) for estimate in self.estimates}
        if len(signs) > 1 or not any(clear):
            return "undecided"
        return "yes" if signs == {True} else "no"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statement of SecurityNet's authors and what the released figures say about it.

    Attributes:
        name: a short name, for files and links.
        title: a heading.
        reported: what the authors report.
        computed: what is computed here, and how.
        rows: the groups.
        caveats: what a reader should know.
        relations: pairs of columns, y and x, that show the finding when they are plotted.
    """

    name: str
    title: str
    reported: str
    computed: str
    rows: tuple[Row, ...] = ()
    caveats: tuple[str, ...] = ()
    relations: tuple[tuple[str, str], ...] = ()

    @property
    def answers(self) -> list[Answer]:
        """List the answers of the groups that the authors report on."""
        return [row.answer for row in self.rows if row.answer is not None]

    @property
    def verdict(self) -> Verdict:
        """Judge: "reproduced" if every such group says yes, "not reproduced" if none does, else "partly"."""
        if not self.answers:
            return "not checkable"
        agreeing = self.answers.count("yes")
        if agreeing == len(self.answers):
            return "reproduced"
        return "partly reproduced" if agreeing else "not reproduced"

    @property
    def reason(self) -> str:
        """Say in a sentence what the verdict is based on."""
        if not self.answers:
            missing = (
                "no reported figure to compare these with" if self.rows else "no figure to check this with"
            )
            return f"The release has {missing}."
        return (
            f"{self.answers.count('yes')} of {len(self.answers)} figures agree, "
            f"{self.answers.count('no')} contradict, {self.answers.count('undecided')} are undecided."
        )


def warn_if_reversed(pooled: Row, parts: tuple[Row, ...]) -> str:
    """Warn about a pooled figure: it is an artefact where its sign differs from the signs within groups."""
    signs = [part.estimates[0].value > 0 for part in parts if part.estimates]
    if not pooled.estimates or not signs:
        return ""
    against = sum(sign != (pooled.estimates[0].value > 0) for sign in signs)
    if not against:
        return "Pooled over data sets: mixes differences between data sets with those within."
    return (
        f"REVERSES: the sign is the opposite in {against} of {len(signs)} benchmark and security groups. "
        "Pooled, it shows how data sets differ, not how models of one do. Do not quote it."
        if against > len(signs) / 2
        else "Pooled over data sets: mixes their differences with those within; the sign is the opposite in "
        f"{against} of {len(signs)} benchmark and security groups."
    )


def _contains_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high
