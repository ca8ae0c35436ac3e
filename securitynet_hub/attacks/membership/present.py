"""What membership inference shows in a terminal and in a report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.attacks.membership.kind import KIND
from securitynet_hub.attacks.membership.member_lists import SHOWN as PICTURED
from securitynet_hub.attacks.membership.member_lists import NamedMembers, describe
from securitynet_hub.attacks.membership.samples import most_exposed
from securitynet_hub.attacks.membership.tail import REFERENCES
from securitynet_hub.attacks.membership.verdict import SEVERITIES, Judgement, judge
from securitynet_hub.attacks.membership.wording import (
    grounds,
    lira_estimate,
    one_in,
    word,
)
from securitynet_hub.attacks.present import (
    Column,
    Figures,
    Line,
    PageTable,
    Section,
    Standing,
    Summary,
    Verdict,
    measured,
)
from securitynet_hub.attacks.tables import COLOURS, Audited, annotated, auc_text, in_words, model_cell, short
from securitynet_hub.core.arrays import Flags, Scores
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.terms import TERMS, terms_in
from securitynet_hub.core.text import printable, printable_markup
from securitynet_hub.plots.measured import Measured, percent, share_with_interval
from securitynet_hub.plots.pictures import Picture, read_picture
from securitynet_hub.plots.plot import Plot, words_of
from securitynet_hub.plots.roc import roc_curve, roc_plot
from securitynet_hub.plots.scores import scores_plot
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import interval, mappings, number
from securitynet_hub.records.record import Record
from securitynet_hub.statistics.pairing import PairedFigure, figure_correlations
from securitynet_hub.statistics.rates import roc_auc

if TYPE_CHECKING:
    import pandas as pd

ESTIMATED = "LiRA, estimated"
"""Heading of the line for what LiRA would find."""

SHOWN = 6
"""Attacks in one ROC figure: the strongest."""

SAME = 1e-9
"""Largest difference of a record's AUC from that of the scores of its samples."""

JARGON = ("TPR", "FPR", "Holm", "LiRA", "RMIA")
"""Terms that a terminal explains below the table where the verdict uses them."""

CORRECTNESS = "correctness"
"""The attack whose AUC gives the overfit gap: gap = 2 AUC - 1, exactly, on the same samples."""

MEANINGS = {
    "AUC": "The chance that an attack scores a random member above a random non-member. 0.5: on average this "
    "ranking is no better than guessing; it may still find some members (see TPR at a low FPR). 1 is "
    "certainty; clearly below 0.5 the score has its sign reversed.",
    "Verdict": "A leak is found where an AUC lies above 0.5, or a TPR above its FPR, corrected for all "
    "attacks and figures that were tried. Severity is another matter: slight, moderate (an AUC of 0.6, or "
    "2\u00a0% of the members found at a third of that FPR) or severe (0.75, or 10\u00a0% at a ninth).",
    **{term: f"{TERMS[term][0].upper()}{TERMS[term][1:]}." for term in ("Holm", "LiRA")},
    "Blind baseline": "How well images alone distinguish members from non-members. Where they do, "
    "the two differ before any training, and the verdict is withheld.",
    "Advantage": "The largest excess of members found over non-members accused. Being a maximum, it is a "
    "little above zero even for guessing.",
    "TPR at a low FPR": "The share of members found (true-positive rate) where that share of all non-members "
    "is wrongly accused (false-positive rate): what an attacker gains if false accusations must be rare.",
}


def tables(audited: Audited, width: int) -> Iterator[Table | Text]:
    """Yield the verdicts of an audit for a terminal of so many columns, then AUC by model and attack."""
    judgements = {row.id: judge(records) for row, records in audited if records}
    yield from _verdicts(judgements)
    names = list(dict.fromkeys(record.attack["name"] for _, records in audited for record in records))
    fitting = max(1, (width - 44) // 18)
    if len(judgements) == 1 and len(names) > fitting:
        (audit,) = (each for each in audited if each[1])
        yield from _one_model(*audit, judgements[audit[0].id])
    else:
        for start in range(0, len(names), fitting):
            yield _auc_table(audited, names[start : start + fitting], judgements)
    yield from _terms(judgements)


def _terms(judgements: Mapping[str, Judgement]) -> Iterator[Text]:
    """Yield a line that explains the words of the verdict on one model, and its attack."""
    if len(judgements) != 1:
        return
    ((_, judgement),) = judgements.items()
    told = {"AUC": TERMS["AUC"]}
    told |= {term: meaning for term, meaning in terms_in(word(judgement).text).items() if term in JARGON}
    quoted = [figure.attack for figure in judgement.sure.values() if figure.attack in KIND.attacks]
    told |= {words_of(name): KIND.attacks[name].summary for name in quoted}
    said = ". ".join(f"{term}: {meaning}" for term, meaning in told.items())
    yield Text(f"{printable(said, limit=4000)}. `securitynet explain` explains more.", "dim")


def _verdicts(judgements: Mapping[str, Judgement]) -> Iterator[Table | Text]:
    """Yield the verdict on one model in full, those on several in a table."""
    if len(judgements) == 1:
        ((id, judgement),) = judgements.items()
        words = word(judgement)
        yield in_words(judgement.tone, words.title, words.text)
        return
    table = plain_table("Membership inference: verdicts", caption="An audit of one model says more.")
    estimates = {id: lira_estimate(judgement.records) for id, judgement in judgements.items()}
    known = [found for found in estimates.values() if found]
    fpr = f"{one_in(known[0].fpr)} accused" if known else ""
    for heading in ("model", "verdict", *([f"LiRA would find\n(estimate, {fpr})"] if known else [])):
        table.add_column(heading, overflow="fold")
    for id, judgement in judgements.items():
        found = estimates[id]
        share = share_with_interval(found.value, found.ci) if found else "-"
        verdict = Text(word(judgement).short, COLOURS[judgement.tone])
        table.add_row(model_cell(id), verdict, *([share] if known else []))
    yield table


CAPTION = (
    "0.5: on average no better than guessing. Red: above 0.5, yellow: below 0.5 (sign reversed), "
    "corrected for all attacks. Gap: train - test accuracy."
)


def _one_model(
    annotation: Annotation, records: Sequence[Record], judgement: Judgement
) -> Iterator[Table | Text]:
    """Yield a line for each attack on one model, the highest AUC first; with words wider than the table."""
    found = sorted(records, key=lambda record: -(number(record.result.get("auc")) or 0.0))
    first = records[0]
    about = f"{_counts(first)} members/non-members, accuracy gap {_gap(annotation, first)}"
    level = first.result["confidence_level"]
    title = f"Membership inference on {short(annotation.id)}: AUC and its {level:.0%} interval, {about}"
    yield Text(printable(title), "italic")
    table = plain_table("", caption="")
    table.add_column("attack", overflow="fold")
    table.add_column("AUC", justify="right", no_wrap=True)
    for record in found:
        table.add_row(printable_markup(record.attack["name"]), _auc(record, judgement, beside=first))
    yield table
    yield Text(CAPTION, "dim italic")


def _auc_table(audited: Audited, names: list[str], judgements: Mapping[str, Judgement]) -> Table:
    measured = [(row, {r.attack["name"]: r for r in records}) for row, records in audited if records]
    level = next(iter(measured[0][1].values())).result["confidence_level"]
    table = plain_table(
        f"Membership inference: AUC and its {level:.0%} interval",
        caption=CAPTION,
    )
    table.add_column("model", overflow="fold")
    for heading in ("members/\nnon-\nmembers", "acc.\ngap", *(f"{name}\nAUC" for name in names)):
        table.add_column(heading.replace("_", " "), justify="right", no_wrap=True)
    for annotation, records in measured:
        first = next(iter(records.values()))
        table.add_row(
            model_cell(annotation.id),
            _counts(first),
            _gap(annotation, first),
            *(
                _auc(records[name], judgements[annotation.id], beside=first) if name in records else "-"
                for name in names
            ),
        )
    return table


def _counts(record: Record) -> str:
    """Write on how many members and non-members a record's figures are."""
    return f"{record.result['n_members']}/{record.result['n_nonmembers']}"


def _gap(annotation: Annotation, record: Record) -> str:
    """Return the annotated gap between training and test accuracy, else the one that was measured."""
    counts = record.counts
    if annotation.overfit_gap is not None or "members_right" not in counts:
        return annotated(annotation, "overfit_gap")
    members, nonmembers = (counts[f"{side}_right"] / counts[side] for side in ("members", "nonmembers"))
    return f"{members - nonmembers:.3f}"


def _auc(record: Record, judgement: Judgement, *, beside: Record) -> str:
    """Write an AUC, in colour where it surely differs from one half and describes the model.

    Where it is over other numbers of members and non-members than the record `beside`, these stand below it.
    """
    text, name, counts = auc_text(record.result), record.attack["name"], _counts(record)
    if counts != _counts(beside):
        text += f"\nof {counts}"
    if judgement.finding in ("cannot be judged", "withheld"):
        return f"[dim]{text}[/dim]"
    if judgement.leaks(name):
        return f"[red]{text}[/red]"
    return f"[yellow]{text}[/yellow]" if judgement.is_reversed(name) else text


def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
    """Sum up the attacks on one model, the strongest first."""
    ordered = sorted(entries, key=lambda entry: (-strength(entry), entry.attack))
    judgement = judge([entry.record for entry in ordered])
    describes = judgement.finding not in ("cannot be judged", "withheld")
    accuracy, images = _accuracy(ordered, samples)
    return Summary(
        entries=ordered,
        verdicts=[verdict(judgement)],
        severity=judgement.rank,
        accuracy=accuracy,
        images=images,
        gap=_gap_from([entry.record for entry in ordered]),
        standings=[s for entry in ordered if (s := _standing(entry))] if describes else [],
        compared=_compared(ordered, judgement),
        grounds=grounds(judgement),
        meanings=MEANINGS,
    )


def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
    """Show ROC curves, scores, the most exposed members, and each attack's figures."""
    found = {entry.attack: rows for entry in entries if (rows := _scored(entry, samples)) is not None}
    plots, pictures = _score_figures(found, entries[0].model, samples) if found else ([], [])
    return Section(
        title=KIND.title,
        parts=[Figures(plots=plots, pictures=pictures), _table(entries), *_lists(entries, samples)],
        missing=_missing([entry.attack for entry in entries], list(found)),
    )


def _missing(attacks: Sequence[str], drawn: Sequence[str]) -> list[str]:
    """Say which attacks the figures of single samples lack, and why."""
    if not drawn:
        return [
            "ROC curve, score distributions and most exposed samples need every sample's score: audit with "
            "--samples DIR and pass the same --samples DIR to this report; several may be given."
        ]
    lacking = ", ".join(words_of(name) for name in dict.fromkeys(attacks) if name not in drawn)
    weaker = ", ".join(map(words_of, drawn[SHOWN:]))
    reasons = {
        lacking: "no folder of --samples has the scores of their records",
        weaker: f"only the {SHOWN} strongest attacks are drawn",
    }
    return [f"ROC curves of {names}: {reason}." for names, reason in reasons.items() if names]


def frame(records: Sequence[Record]) -> dict[str, float | None]:
    """Return the AUCs that SecurityNet gives, too, and the gap that follows from correctness or counts."""
    columns: dict[str, float | None] = {}
    for record in records:
        column, auc = _column(str(record.attack.get("name"))), number(record.result.get("auc"))
        if column is not None and auc is not None:
            columns[column] = auc
    return columns | {"overfit_gap": _gap_from(records[::-1])}


def list_tables(lists: Sequence[NamedMembers], most: int = 20) -> Iterator[Table | Text]:
    """Yield each attack's member list for a terminal: what it is worth, and the first images."""
    for named in lists:
        yield Text(printable(describe(words_of(named.attack), named.result), limit=1000))
        count = len(named.rows)
        if not count:
            continue
        rest = f"{count - most:,} more" if count > most else ""
        caption = f"{rest}; all stand in the folder of --samples." if rest else ""
        table = plain_table(f"{words_of(named.attack)}: named as members", caption=caption)
        table.add_column("", justify="right")
        table.add_column("image", overflow="fold")
        for heading in ("score", "p-value", "at most\nwrong\nup to here"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in named.table.head(min(most, count)).itertuples():
            figures = f"{row.score:.4g}", f"{row.p_value:.2g}", f"{row.at_most_wrong:,}"
            table.add_row(f"{row.rank:,}", printable_markup(row.file), *figures)
        yield table


def verdict(judgement: Judgement) -> Verdict:
    """Put a judgement in words for a page."""
    words, severity = word(judgement), judgement.severity
    return Verdict(
        tone=judgement.tone,
        title=words.title,
        text=words.meaning,
        short=words.short,
        counted=True,
        severity=0 if severity is None else 1 + SEVERITIES.index(severity),
        points=words.points,
        basis=words.basis,
    )


def strength(entry: Entry) -> float:
    """Return how high an attack's AUC is at least: the lower end of its interval; -1 without an AUC."""
    auc = measured(entry, "auc")
    return -1.0 if auc is None else auc.ci[0] if auc.ci else auc.value


def correlations(records: Sequence[Record], by: str, samples: Path) -> Scores:
    """Return how far the errors of a figure are shared by models that were measured on the same images.

    Args:
        records: one of each model, of one attack on the same images.
        by: name of the figure; of others than ``auc``, ``advantage`` and ``tpr@RATE`` nothing is known.
        samples: folder in which audits wrote the scores of single images. A file counts only if its scores
            give the record's AUC: another audit's may lie there.

    Returns:
        Shape (records, records); NaN for a pair of which one has no such file, or that were not measured on
        the same images and members.

    Raises:
        RecordError: a file is damaged, or is no table of scores.
    """
    found = np.full((len(records), len(records)), np.nan)
    rate = re.fullmatch(r"tpr@(.+)", by)
    if by not in ("auc", "advantage") and not rate:
        return found
    groups: dict[bytes, list[tuple[int, Scores, Flags]]] = {}
    for place, record in enumerate(records):
        kept = _kept_scores(record, samples)
        if not isinstance(kept, str):
            groups.setdefault(kept.same, []).append((place, kept.scores, kept.members))
    for alike in groups.values():
        if len(alike) > 1:
            places, each = [place for place, *_ in alike], np.stack([own for _, own, _ in alike])
            figure: PairedFigure = "tpr" if rate else "auc" if by == "auc" else "advantage"
            fpr = float(rate[1]) if rate else 0.0
            found[np.ix_(places, places)] = figure_correlations(each, alike[0][2], figure, fpr=fpr)
    return found


def unpaired(records: Sequence[Record], by: str, samples: Path) -> str:
    """Say why models are not compared image by image; empty where all of them are. Arguments as above."""
    if by not in ("auc", "advantage") and not by.startswith("tpr@"):
        return f"{by} is compared by its intervals only"
    kept = [_kept_scores(record, samples) for record in records]
    reasons = Counter(found for found in kept if isinstance(found, str))
    groups = Counter(found.same for found in kept if not isinstance(found, str))
    told = [f"{count} of {len(records)} {reason}" for reason, count in reasons.most_common()]
    if len(groups) > 1:
        told.append(f"{sum(groups.values())} were measured on {len(groups)} different sets of members")
    return "; ".join(told)


class _Kept(NamedTuple):
    """The scores behind a record, and what tells its images and members from others."""

    same: bytes
    scores: Scores
    members: Flags


def _kept_scores(record: Record, samples: Path) -> _Kept | str:
    """Return the scores that a record's figures are of, or why there are none."""
    table, attack = scores_table(samples, str(record.target["id"])), str(record.attack["name"])
    if table is None or "position" not in table:
        return f"have no scores below {printable(samples)}"
    if attack not in table:
        return f"have scores of other attacks only below {printable(samples)}"
    rows = table[table[attack].notna()].sort_values("position")
    scores, members = rows[attack].to_numpy(np.float64), rows["is_member"].to_numpy(np.bool_)
    auc = number(record.result.get("auc"))
    if auc is None or not members.any() or members.all() or abs(roc_auc(scores, members) - auc) > SAME:
        return f"have scores of another audit below {printable(samples)}"
    return _Kept(rows["position"].to_numpy(np.int64).tobytes() + members.tobytes(), scores, members)


def scores_table(samples: Path, model: str) -> pd.DataFrame | None:
    """Read the scores of single samples that an audit wrote into a folder; None where there are none.

    Raises:
        RecordError: the file is damaged, or is no such table.
    """
    folder = _folder(samples, model)
    path = folder / "scores.parquet" if folder else None
    if path is None or not path.is_file():
        return None
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is not a table of scores: {error}") from error
    if "is_member" not in table or table["is_member"].dtype != bool:
        raise RecordError(f"{path} is not a table of scores: it has no column is_member of booleans.")
    return table


def _scored(entry: Entry, samples: Sequence[Path]) -> pd.DataFrame | None:
    """Return the rows of single samples that give a record's AUC, of the first folder that has them.

    Another audit's may lie there, too: of other images, or with other settings.
    """
    auc = number(entry.record.result.get("auc"))
    for folder in samples:
        table = scores_table(folder, entry.model)
        if auc is None or table is None or entry.attack not in table:
            continue
        rows = table[table[entry.attack].notna()]
        scores, is_member = rows[entry.attack].to_numpy(), rows["is_member"].to_numpy(np.bool_)
        if scores.dtype.kind not in "fiub" or not is_member.any() or is_member.all():
            continue
        if abs(roc_auc(scores.astype(np.float64), is_member) - auc) <= SAME:
            return rows
    return None


def _accuracy(entries: Sequence[Entry], samples: Sequence[Path]) -> tuple[float | None, int | None]:
    """Return the model's accuracy on non-members, and their number where an audit counted right answers."""
    for entry in entries:
        right, asked = (number(entry.record.counts.get(n)) for n in ("nonmembers_right", "nonmembers"))
        if right is not None and asked:
            return right / asked, int(asked)
    for entry in entries:
        if entry.attack == CORRECTNESS and (rows := _scored(entry, samples)) is not None:
            return number(float(rows.loc[~rows["is_member"], CORRECTNESS].mean())), None
    return None, None


def _gap_from(records: Sequence[Record]) -> float | None:
    """Return the overfit gap by the first AUC of correctness, else by the counts of right answers."""
    aucs = (number(r.result.get("auc")) for r in records if r.attack.get("name") == CORRECTNESS)
    gaps = (members - rest for r in records for members, rest in _right(r))
    return next((2 * auc - 1 for auc in aucs if auc is not None), next(gaps, None))


def _right(record: Record) -> Iterator[tuple[float, float]]:
    """Yield the shares of members and of non-members that the model answers right, where an audit counted."""
    names = ("members", "members_right", "nonmembers", "nonmembers_right")
    members, right, others, others_right = (number(record.counts.get(name)) for name in names)
    if members and others and right is not None and others_right is not None:
        yield right / members, others_right / others


def _column(attack: str) -> str | None:
    """Return the column of the annotations that holds SecurityNet's own figure for an attack."""
    return KIND.attacks[attack].column if attack in KIND.attacks else None


def _standing(entry: Entry) -> Standing | None:
    column, auc = _column(entry.attack), measured(entry, "auc")
    if column is None or auc is None:
        return None
    images = sum(int(number(entry.record.result.get(f"n_{side}")) or 0) for side in ("members", "nonmembers"))

    def sizes(peers: pd.DataFrame) -> list[str]:
        most = peers["mia_members"].max()  # NaN where none is known
        if not images or not most > 0:
            return []
        return [
            f"This model's figure is over {images:,} images, the public models' over up to "
            f"{int(most):,} members and as many non-members."
        ]

    words = f"AUC of {words_of(entry.attack)}"
    # The AUC of correctness is (1 + gap) / 2: among models of a similar gap its place would be a circle.
    across_data = entry.attack != CORRECTNESS
    return Standing(column=column, words=words, measured=auc, across_data=across_data, caveats=sizes)


def by_auc(entries: Sequence[Entry]) -> list[Entry]:
    """Return records by the AUC that a reader sees, the highest first."""
    return sorted(entries, key=lambda entry: -(number(entry.record.result.get("auc")) or 0.0))


def _table(entries: Sequence[Entry]) -> PageTable:
    entries = by_auc(entries)
    results = [entry.record.result for entry in entries]
    rates = [_rates(result) for result in results]
    estimate = lira_estimate([entry.record for entry in entries])
    fprs = sorted({fpr for found in rates for fpr in found} | ({estimate.fpr} if estimate else set()))
    lines = [
        Line(
            words_of(entry.attack),
            [measured(entry, "auc"), measured(entry, "advantage")]
            + [_rate(entry, found.get(fpr)) for fpr in fprs],
            entry.attack,
        )
        for entry, found in zip(entries, rates, strict=True)
    ]
    notes = _unresolved({entry.attack: found for entry, found in zip(entries, rates, strict=True)})
    if estimate:
        shown = Measured(entries[0].model, estimate.value, estimate.ci)
        cells = [shown if fpr == estimate.fpr else None for fpr in fprs]
        lines.append(Line(ESTIMATED, [None, None, *cells]))
        notes.append(
            f"{ESTIMATED}: what LiRA with {REFERENCES} reference models would find, by this model's losses "
            "alone; the interval covers the error that this estimate had on networks where LiRA was run."
        )
        counts = {
            int(number(e.record.counts.get("shadow_models")) or 0) for e in entries if e.attack == "lira"
        }
        if run := counts - {0, REFERENCES}:
            notes.append(f"The LiRA that was run had {' or '.join(map(str, sorted(run)))}.")
    return PageTable(
        label=f"Membership inference against {entries[0].model}",
        heading="attack",
        columns=[Column(n) for n in ("AUC", "advantage", *(f"TPR at {100 * fpr:g} % FPR" for fpr in fprs))],
        lines=lines,
        caption=_sizes(results),
        note=" ".join(notes),
    )


def _lists(entries: Sequence[Entry], samples: Sequence[Path]) -> Iterator[PageTable | Figures]:
    """Yield what attacks name as members: the counts, and pictures where an audit wrote them."""
    found = [(entry, listed) for entry in entries if (listed := entry.record.result.get("listed"))]
    if not found:
        return
    differing = [describe(words_of(entry.attack), each) for entry, each in found if each.get("differs")]
    columns = [
        "candidates",
        "named",
        "of these wrong, at most",
        "wrong on average, at most",
        "wrong in truth",
    ]
    yield PageTable(
        label=f"Images named as members of {entries[0].model}",
        heading="attack",
        columns=[Column(name) for name in columns],
        lines=[Line(words_of(entry.attack), _counted(listed), entry.attack) for entry, listed in found],
        caption=" ".join(["Images that each attack names as members of the training set.", *differing]),
    )
    pictures: list[Picture] = []
    for entry, listed in found:
        if listed["listed"]:
            text = describe(words_of(entry.attack), listed)
            text += f" The first {PICTURED} are shown." if listed["listed"] > PICTURED else ""
            pictures += _pictures(samples, entry.model, f"members-{entry.attack}.png", text, text)
    yield Figures(pictures=pictures, heading="Named as members")


def _counted(listed: Mapping[str, Any]) -> list[str | None]:
    wrong, share = listed.get("wrong"), listed["fdr"] / listed["attacks"]
    counts = [f"{listed[name]:,}" for name in ("candidates", "listed", "at_most_wrong")]
    return [*counts, percent(share, 1), None if wrong is None else f"{wrong:,}"]


def _unresolved(rates: Mapping[str, Mapping[float, Mapping[str, Any]]]) -> list[str]:
    """Say of which attacks too few non-members resolve a false-positive rate; of none, if of all."""
    few: dict[tuple[str, ...], list[float]] = {}
    for fpr in sorted({fpr for found in rates.values() for fpr in found}):
        met = {name: found[fpr] for name, found in rates.items() if fpr in found}
        names = tuple(name for name, rate in met.items() if not rate.get("resolvable"))
        if names:
            few.setdefault(names, []).append(fpr)
    sentences = []
    for names, fprs in few.items():
        of = f" of {', '.join(map(words_of, names))}" if len(names) < len(rates) else ""
        at = ", ".join(f"{100 * fpr:g} %" for fpr in fprs)
        sentences.append(f"Too few non-members{of} to resolve {at}: only the upper ends there say anything.")
    return sentences


def _compared(ordered: Sequence[Entry], judgement: Judgement) -> dict[Column, Measured]:
    """Return AUCs, and TPRs at the rates that are resolved, by column: of each the worst first."""
    found: dict[Column, Measured] = {}
    for entry in by_auc(ordered):
        if auc := measured(entry, "auc"):
            name = f"{words_of(entry.attack)} AUC"
            found.setdefault(Column(name, guessing=0.5, measure="AUC", attack=entry.attack), auc)
    rates = [(figure.fpr, figure) for figure in judgement.figures if figure.fpr is not None]
    for fpr, figure in sorted(rates, key=lambda pair: (pair[0], -pair[1].value, -pair[1].low)):
        measure = f"TPR at {100 * fpr:g}\u00a0% FPR"
        name = f"{words_of(figure.attack)} {measure}"
        column = Column(name, guessing=fpr, measure=measure, attack=figure.attack)
        found.setdefault(column, Measured(ordered[0].model, figure.value, figure.ci))
    return found


def _rates(result: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """Return what a record gives at each false-positive rate."""
    rates = mappings(result.get("tpr_at_fpr"))
    return {float(rate["target_fpr"]): rate for rate in rates if number(rate.get("target_fpr")) is not None}


def _rate(entry: Entry, rate: dict[str, Any] | None) -> Measured | None:
    value = number(rate.get("tpr")) if rate else None
    return None if rate is None or value is None else Measured(entry.model, value, interval(rate.get("ci")))


def _sizes(results: Sequence[dict[str, Any]]) -> str:
    pairs = {(number(r.get("n_members")), number(r.get("n_nonmembers"))) for r in results}
    known = sorted((int(m), int(n)) for m, n in pairs if m is not None and n is not None)
    levels = sorted({level for r in results if (level := number(r.get("confidence_level"))) is not None})
    over = " or ".join(f"{members:,} members against {rest:,} non-members" for members, rest in known)
    at = " and ".join(percent(level, 0) for level in levels)
    return f"{over or 'Unknown numbers of images'}; intervals at {at or 'an unknown level'}."


def _score_figures(
    found: Mapping[str, pd.DataFrame], model: str, samples: Sequence[Path]
) -> tuple[list[Plot], list[Picture]]:
    curves = {name: roc_curve(rows[name], rows["is_member"]) for name, rows in list(found.items())[:SHOWN]}
    # Two distinct scores, such as those of correctness, are no distribution and rank no sample.
    strongest = next((name for name, rows in found.items() if rows[name].nunique() > 2), next(iter(found)))
    rows = found[strongest]
    scores, is_member = rows[strongest].to_numpy(float), rows["is_member"].to_numpy(bool)
    plots = [roc_plot(curves), scores_plot(strongest, scores, is_member)]
    classes = rows["label"].to_numpy()[most_exposed(scores, is_member)] if "label" in rows else ()
    caption = f"The members with the highest scores by {words_of(strongest)}, the highest first, row by row."
    labels = f" Their classes: {', '.join(map(str, classes))}." if len(classes) else ""
    return plots, _pictures(samples, model, f"exposed-{strongest}.png", caption + labels, caption)


def _pictures(samples: Sequence[Path], model: str, name: str, alt: str, caption: str) -> list[Picture]:
    """Return the picture of that name beside a model's scores, of the first folder that has it."""
    if Path(name).name != name:
        return []
    folders = (folder for each in samples if (folder := _folder(each, model)))
    found = (read_picture(folder / name, alt, caption) for folder in folders)
    return [picture for picture in found if picture][:1]


def _folder(samples: Path, model: str) -> Path | None:
    """Return a model's folder below `samples`; None where its name would lead out of that folder."""
    folder = (samples / model).resolve()
    return folder if folder.is_relative_to(samples.resolve()) else None
