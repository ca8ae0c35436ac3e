"""SecurityNet's statements, each derived again (Zhang et al. 2024, arXiv 2310.12665)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from securitynet_hub.study.estimates import (
    adjusted_difference,
    correlations,
    mean_difference,
    paired_difference,
)
from securitynet_hub.study.findings import Finding, Row, warn_if_reversed
from securitynet_hub.study.frames import AUDITED, annotation_frame, column_words, complete

if TYPE_CHECKING:
    import pandas as pd

BENCHMARK, SECURITY = "benchmark", "security"
STEALING = ("stealing_accuracy", "stealing_agreement")
LEAK, GAP, ACCURACY = "mia_modified_entropy_auc", "overfit_gap", "test_accuracy"
DATASETS = ("CIFAR-10", "CIFAR-100", "CUB-200-2011", "ImageNet-1k", "SVHN")
"""The data sets of the benchmark models."""

Sign = Literal[-1, 0, 1]
Groups = dict[tuple[str, str], Sign]


def derive_findings(measured: pd.DataFrame | None = None) -> list[Finding]:
    """Derive every finding from the annotations; further models make groups of their own.

    The same input gives the same findings, figure by figure. Each interval is at 95 % on its own: one in
    twenty misses on average.

    Args:
        measured: further models in the columns of `annotation_frame`, as a report makes them of records.

    >>> found = {finding.name: finding.verdict for finding in derive_findings()}
    >>> found["out-of-distribution-queries"], found["backdoor-detection"]
    ('reproduced', 'not checkable')
    """
    import pandas as pd

    frame = annotation_frame()
    if measured is not None and len(measured):
        frame = pd.concat([frame, measured], ignore_index=True)
    return [
        _stealing_falls(frame),
        _stealing_of_weak_models(frame),
        _birds_are_hard(frame),
        _experiments_mislead(frame),
        _larger_copies(frame),
        _strange_queries(frame),
        _leak_grows(frame),
        _security_leaks_less(frame),
        _metadata(frame),
        Finding(
            name="learned-membership-attacks",
            title="Membership inference by neural networks",
            reported="Attacks that learn from shadow models' posteriors were run on the public models.",
            computed="Nothing: the release has no figure of these attacks.",
        ),
        Finding(
            name="backdoor-detection",
            title="Backdoor detection",
            reported="Neural Cleanse, STRIP and NEO raise few false alarms and flag no public model.",
            computed="Nothing: the release has no figure of any detector.",
        ),
    ]


def _stealing_falls(frame: pd.DataFrame) -> Finding:
    groups: Groups = {(BENCHMARK, dataset): -1 for dataset in DATASETS}
    return Finding(
        name="stealing-and-accuracy",
        title="Model stealing against target accuracy",
        reported="Within a benchmark data set, the more accurate a model, the worse its stolen copy.",
        computed="Correlation of the stolen copy's accuracy and agreement with the target's test accuracy.",
        rows=_by_group(frame, STEALING, ACCURACY, groups),
        caveats=(
            "Most of MedMNIST's data sets have six models: their intervals contain nearly everything.",
            "The attack was run once for each model; its settings were not released.",
        ),
        relations=tuple((y, ACCURACY) for y in STEALING),
    )


def _stealing_of_weak_models(frame: pd.DataFrame) -> Finding:
    groups: Groups = {(SECURITY, "CIFAR-10"): 1}
    rows = [_relation(frame, *group, y, ACCURACY, sign) for group, sign in groups.items() for y in STEALING]
    return Finding(
        name="stealing-of-weak-models",
        title="Model stealing of security researchers' models",
        reported="Among security research models, weak for their data set, the relation turns positive.",
        computed="The same correlation among the security research models on CIFAR-10 (accuracy .68 to .82).",
        rows=tuple(rows),
        caveats=(
            "24 architectures with three seeds each: 72 rows, but not 72 independent models.",
            "The copy's accuracy is bounded by the target's, which by itself makes the relation positive "
            "where copies are faithful. Agreement has no such bound.",
        ),
    )


def _birds_are_hard(frame: pd.DataFrame) -> Finding:
    birds, others = (
        frame[(frame["purpose"] == BENCHMARK) & (frame["dataset"] == dataset)]
        for dataset in ("CUB-200-2011", "ImageNet-1k")
    )
    rows = []
    for column in STEALING:
        ours, theirs = complete(birds, [column]), complete(others, [column])
        pairs = ours.rows.merge(theirs.rows, on="architecture", suffixes=("", "_other"))
        unpaired = len(ours.rows) - len(pairs)
        left_out = ours.left_out | ({"no such architecture on ImageNet-1k": unpaired} if unpaired else {})
        estimates = paired_difference(pairs[column].astype(float), pairs[f"{column}_other"].astype(float))
        rows.append(
            Row(
                group="benchmark, same architectures",
                quantity=f"{column_words(column)}: CUB-200-2011 - ImageNet-1k",
                n=len(pairs),
                left_out=left_out,
                estimates=estimates,
                expected=-1,
            )
        )
    return Finding(
        name="cub-is-hard-to-steal",
        title="CUB-200-2011 is harder to steal",
        reported="Models of CUB-200-2011 are much harder to steal than the same architectures on other data.",
        computed="Mean difference over architectures that have weights for CUB-200-2011 and for ImageNet-1k.",
        rows=tuple(rows),
        caveats=("ImageNet-1k is the only other data set with these architectures in the release.",),
    )


def _experiments_mislead(frame: pd.DataFrame) -> Finding:
    rows = []
    for column in STEALING:
        for easy in ("CIFAR-10", "SVHN"):
            ours = complete(_group(frame, BENCHMARK, easy), [column])
            for hard in ("CIFAR-100", "CUB-200-2011", "ImageNet-1k"):
                theirs = complete(_group(frame, BENCHMARK, hard), [column])
                rows.append(
                    Row(
                        group=f"benchmark, {easy} and {hard}",
                        quantity=f"{column_words(column)}: {easy} - {hard}",
                        n=len(ours.rows) + len(theirs.rows),
                        left_out=_sum(ours.left_out, theirs.left_out),
                        estimates=mean_difference(
                            ours.rows[column].astype(float), theirs.rows[column].astype(float)
                        ),
                        expected=1,
                    )
                )
    return Finding(
        name="experiments-mislead",
        title="Experiment data sets and hard ones",
        reported="An attack that works on the usual experiment data sets need not work on harder ones.",
        computed="Model stealing: mean on CIFAR-10 and on SVHN minus the mean on three harder data sets.",
        rows=tuple(rows),
        caveats=("Which data sets count as hard is this study's reading: those with 100 classes and more.",),
    )


def _larger_copies(frame: pd.DataFrame) -> Finding:
    return Finding(
        name="larger-surrogates",
        title="A larger surrogate",
        reported="A larger surrogate network does not steal better.",
        computed="Mean over models of the WideResNet copy's figure minus the usual copy's.",
        rows=_changed(frame, "wrn", ("CIFAR-10", "CIFAR-100", "SVHN")),
        caveats=("That the columns `Wrn ...` are a WideResNet's is inferred from their names.",),
    )


def _strange_queries(frame: pd.DataFrame) -> Finding:
    return Finding(
        name="out-of-distribution-queries",
        title="Out-of-distribution queries",
        reported="Queries from another distribution make worse copies.",
        computed="Mean over models of the figure with ImageNet queries minus that with the usual queries.",
        rows=_changed(frame, "imagenet", ("CIFAR-10", "CIFAR-100", "CUB-200-2011", "SVHN")),
        caveats=("That the columns `ImgNet ...` are of ImageNet queries is inferred from their names.",),
    )


def _leak_grows(frame: pd.DataFrame) -> Finding:
    groups: Groups = {
        (BENCHMARK, "CIFAR-10"): 0,
        (BENCHMARK, "CUB-200-2011"): 0,
        (BENCHMARK, "ImageNet-1k"): 1,
        (SECURITY, "CIFAR-10"): 1,
        (SECURITY, "ImageNet-1k"): 1,
    }
    return Finding(
        name="membership-and-overfitting",
        title="Membership inference against the overfit gap",
        reported="Membership inference grows with the overfit gap, over all models, on ImageNet and among "
        "security models; not within CIFAR-10, CUB-200-2011 or SVHN.",
        computed="Correlation of the AUC of modified entropy with train accuracy - test accuracy.",
        rows=_by_group(frame, (LEAK,), GAP, groups, pooled=1),
        caveats=(
            "SVHN cannot be checked: its train accuracies are a placeholder, so its gaps are left out.",
            "The AUC of correctness is not used: it is (1 + gap) / 2 by definition.",
            "That no relation was found within a data set does not prove that there is none.",
        ),
        relations=((LEAK, GAP),),
    )


def _security_leaks_less(frame: pd.DataFrame) -> Finding:
    kept = complete(frame[(frame["dataset"] == "CIFAR-10") & (frame["purpose"] != AUDITED)], [LEAK, GAP])
    bounds = kept.rows.groupby("purpose")[GAP].agg(["min", "max"]).astype(float)
    low, high = float(bounds["min"].max()), float(bounds["max"].min())
    shared = kept.rows[kept.rows[GAP].astype(float).between(low, high)]
    outside = len(kept.rows) - len(shared)
    return Finding(
        name="security-models-leak-less",
        title="Security models at the same overfit gap",
        reported="On CIFAR-10, security research models leak less by modified entropy at the same gap.",
        computed="Difference in AUC, security - benchmark, in a linear regression on the gap, among models "
        f"whose gap lies where both kinds have some ({low:.3f} to {high:.3f}).",
        rows=(
            Row(
                group="benchmark and security, CIFAR-10",
                quantity="modified entropy AUC: security - benchmark",
                n=len(shared),
                left_out=kept.left_out | ({"gap that only one kind has": outside} if outside else {}),
                estimates=adjusted_difference(
                    shared[LEAK].astype(float), shared["purpose"] == SECURITY, shared[GAP].astype(float)
                ),
                expected=-1,
            ),
        ),
        caveats=(
            "The two kinds differ in more than their purpose: the security models are much less accurate.",
        ),
    )


def _metadata(frame: pd.DataFrame) -> Finding:
    rows = [
        _relation(frame, BENCHMARK, dataset, y, x, None)
        for y in ("stealing_agreement", LEAK)
        for x in ("paper_year", "paper_num_authors", "num_parameters")
        for dataset in DATASETS
    ]
    return Finding(
        name="metadata",
        title="Year, authors and size",
        reported="The models are annotated with their papers' venue, year, countries and authors.",
        computed="Correlation of stealing agreement and membership inference with year and number of authors "
        "of the architecture's paper and with the number of parameters.",
        rows=tuple(rows),
        caveats=(
            "What the authors report on these is not in the release; there is nothing to compare with.",
            "There are thirty correlations: one or two exclude zero by chance.",
            "The columns describe the architecture's paper, not the people who trained the weights.",
        ),
    )


def _by_group(
    frame: pd.DataFrame, ys: Sequence[str], x: str, groups: Groups, pooled: Sign | None = None
) -> tuple[Row, ...]:
    """Relate each y with x in every group that can have a relation, then over all of them, with a warning."""
    rows: list[Row] = []
    for y in ys:
        inside = [
            _relation(frame, purpose, dataset, y, x, groups.get((purpose, dataset)))
            for purpose, dataset in sorted(map(tuple, frame[["purpose", "dataset"]].drop_duplicates().values))
        ]
        inside = [row for row in inside if row.n]
        over_all = _row(frame[frame["purpose"] != AUDITED], "all data sets pooled", y, x, pooled)
        ours = tuple(row for row in inside if row.group.startswith((BENCHMARK, SECURITY)))
        rows += [*inside, replace(over_all, warning=warn_if_reversed(over_all, ours))]
    return tuple(rows)


def _relation(frame: pd.DataFrame, purpose: str, dataset: str, y: str, x: str, expected: Sign | None) -> Row:
    return _row(_group(frame, purpose, dataset), f"{purpose}, {dataset}", y, x, expected)


def _row(rows: pd.DataFrame, group: str, y: str, x: str, expected: Sign | None) -> Row:
    kept = complete(rows, [y, x])
    return Row(
        group=group,
        quantity=f"{column_words(y)} ~ {column_words(x)}",
        n=len(kept.rows),
        left_out=kept.left_out,
        estimates=correlations(kept.rows[x].astype(float), kept.rows[y].astype(float)),
        expected=expected,
    )


def _changed(frame: pd.DataFrame, change: str, datasets: Sequence[str]) -> tuple[Row, ...]:
    """Compare each model's figures under a changed attack with those of the usual one."""
    rows = []
    for column in STEALING:
        for dataset in datasets:
            kept = complete(_group(frame, BENCHMARK, dataset), [column, f"{change}_{column}"])
            changed, usual = (kept.rows[name].astype(float) for name in (f"{change}_{column}", column))
            rows.append(
                Row(
                    group=f"benchmark, {dataset}",
                    quantity=f"{column_words(f'{change}_{column}')} - {column_words(column)}",
                    n=len(kept.rows),
                    left_out=kept.left_out,
                    estimates=paired_difference(changed, usual),
                    expected=-1,
                )
            )
    return tuple(rows)


def _group(frame: pd.DataFrame, purpose: str, dataset: str) -> pd.DataFrame:
    return frame[(frame["purpose"] == purpose) & (frame["dataset"] == dataset)]


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in {**one, **other}}
