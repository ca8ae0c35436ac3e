"""Verdicts in plain words: who can do what, how surely, and what cannot be said."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from securitynet_hub.attacks.membership.kind import KIND
from securitynet_hub.attacks.membership.tail import REFERENCES
from securitynet_hub.attacks.membership.verdict import (
    COARSE,
    Figure,
    Judgement,
    differing,
    poor,
    smallest_leaks,
    unexplained,
)
from securitynet_hub.attacks.present import Ground
from securitynet_hub.attacks.validity import right_on_few, usual_cause
from securitynet_hub.plots.measured import percent, share_with_interval
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.figures import interval, mappings, number
from securitynet_hub.records.record import Record

LOOKALIKES = 0.01
"""Share of the non-members up to which near duplicates pass for different images that look alike."""

ENOUGH_MODELS = 16
"""Reference models below which LiRA finds much less than with many: the table in docs/membership.md."""

UNSURE = 0.65
"""Upper end of the blind baseline's interval above which the sides are not called alike: too few images."""

SURELY_FED = 0.99
"""Share of its training images on which a model is right that is surely fed as it was trained."""


class Words(NamedTuple):
    """A verdict in words.

    Attributes:
        title: in a line.
        short: in a word or two.
        meaning: what the line means.
        points: what else was found; each can be read alone.
        basis: how sure all this is, and what it rests on.
    """

    title: str
    short: str
    meaning: str
    points: tuple[str, ...]
    basis: str

    @property
    def text(self) -> str:
        """All that there is to know beside the title."""
        return " ".join(filter(None, (self.meaning, *self.points, self.basis)))


def word(judgement: Judgement) -> Words:
    """Put a judgement in words."""
    title, *said = {
        "cannot be judged": _poor,
        "withheld": _withheld,
        "leak": _leak,
        "sign reversed": _reversed,
        "cannot tell": _uncertain,
        "no leak found": _nothing,
    }[judgement.finding](judgement)
    short = _capital(judgement.finding)
    if judgement.severity is not None:
        short = f"Leaks membership ({judgement.severity})"
    meaning, points, basis = (list(filter(None, sentences)) for sentences in said)
    return Words(title, short, " ".join(meaning), tuple(points), " ".join(basis))


def grounds(judgement: Judgement) -> list[Ground]:
    """Say whether members and non-members are alike without the model, and whether they are enough."""
    record = judgement.records[0]
    blind = record.result.get("blind_baseline")
    blind = blind if isinstance(blind, dict) else {}
    auc, ci = number(blind.get("auc")), interval(blind.get("auc_ci"))
    if auc is None:
        alike, seen = None, "Whether they differ before any training was not checked."
    else:
        alike = False if differing(record) else None if ci is not None and ci[1] > UNSURE else True
        seen = f"A classifier that never asks the model tells them apart with an AUC of {_numbers(auc, ci)}."
    found = [Ground("Members and non-members look alike", alike, seen)]
    if sizes := _sizes(judgement):
        smallest = judgement.smallest.get(None)
        could = "No leak" if smallest is None else f"An AUC of {smallest:.2f} or more"
        power = f"{could} would be found with 80\u00a0% power."
        enough = None not in judgement.smallest or (smallest or 1.0) <= COARSE
        silent = _silent(judgement)
        found.append(
            Ground(
                "Enough images",
                enough,
                " ".join(filter(None, (f"{sizes}.", power, _whose(judgement), silent))),
            )
        )
    return found


class LiraTpr(NamedTuple):
    """The TPR that LiRA is estimated to reach at a false-positive rate, and its interval."""

    fpr: float
    value: float
    ci: tuple[float, float]


Said = tuple[str, list[str], list[str], list[str]]
"""A title, and sentences for meaning, points and basis, of which empty ones are left out."""


def _poor(judgement: Judgement) -> Said:
    record = judgement.records[0]
    found = poor(record)
    assert found is not None
    if found.status == "below expectation" and found.accuracy is not None and found.expected is not None:
        new, expected = percent(found.accuracy), percent(found.expected)
        what = f"is right on {new} of new images, where {expected} are expected"
    elif found.status == "classes exchanged":
        what = "answers with the names of other classes, as if the classes had changed places"
    elif found.members_accuracy is not None:
        what = f"is right on only {percent(found.members_accuracy)} of its own training images"
    else:
        what = "is right too rarely"
    classes = number(record.target.get("num_classes"))
    likely = found.likely_reason.rstrip(".")
    reason = (
        f"Likely reason: {likely}."
        if likely
        else "Likely reason: the order of the classes, or the preprocessing (size, channels, mean, standard "
        "deviation), is not the model's own."
    )
    guessing = f"Guessing is right on {percent(1 / classes)}." if classes else ""
    meaning = [guessing, reason, "The attacks' figures do not describe the model."]
    return f"Cannot be judged: the model {what}", meaning, [], []


def _withheld(judgement: Judgement) -> Said:
    blind = judgement.records[0].result["blind_baseline"]
    auc, ci = number(blind.get("auc")), interval(blind.get("auc_ci"))
    p, looked = number(blind.get("class_balance_p_value")), blind.get("looked_at")
    title = "Withheld: members and non-members differ before any training; "
    seen = unbalanced = ""
    if auc is not None and ci is not None and ci[0] > 0.5:
        title += f"a classifier that never asks the model tells them apart with an AUC of {_numbers(auc, ci)}"
        seen = f"It looks at {', '.join(map(str, looked))}." if isinstance(looked, list) and looked else ""
        if p is not None and p < 0.01:
            unbalanced = f"The classes have other shares among members than among non-members (p = {p:.1g})."
    else:
        title += "the classes have other shares among members than among non-members"
        title += "" if p is None else f" (p = {p:.1g})"
    meaning = [
        seen,
        unbalanced,
        "An attack may have found that difference, so that its figures need not say anything about the "
        "training.",
    ]
    better = (
        "Better: take non-members that were collected, chosen and stored in the same way as the training "
        "images."
    )
    return title, meaning, [*_matched(judgement.records), better], _caveats(judgement.records)


def _matched(records: Sequence[Record]) -> list[str]:
    """Say what the strongest attack finds among images that look alike."""
    sentences = []
    for name, among in (
        ("overlap_weights", "Weighted so that both sides look alike to that classifier"),
        ("within_class", "Among images of one class"),
    ):
        found = []
        for record in records:
            matched = record.result.get("matched")
            part = matched.get(name) if isinstance(matched, dict) else None
            auc, ci = (
                (number(part.get("auc")), interval(part.get("auc_ci")))
                if isinstance(part, dict)
                else (None, None)
            )
            if auc is not None and ci is not None:
                found.append((ci[0], auc, ci, words_of(str(record.attack.get("name")))))
        if found:
            low, auc, ci, attack = max(found)
            means = "still above guessing" if low > 0.5 else "not surely above guessing"
            of = (
                f", the strongest of {len(found)} attacks (not corrected for that)," if len(found) > 1 else ""
            )
            sentences.append(f"{among}, the AUC of {attack}{of} is {_numbers(auc, ci)}: {means}.")
        elif name == "overlap_weights":
            sentences.append("Too few images of one side look like the other side's to match them.")
    return sentences


def _leak(judgement: Judgement) -> Said:
    sure, strongest = judgement.sure, judgement.strongest
    first, *others = sure.values()
    meaning, points = [_named(judgement, first)], []
    if first.fpr is None:
        meaning.append(f"Guessing does so in {percent(0.5, 0)}.")
    else:
        right = first.at_least / (first.at_least + first.fpr)
        share = percent(right, 0) if right < 0.99 else f"more than {percent(0.99, 0)}"
        share = share if first.steady or right >= 0.99 else f"at least {share}"
        meaning.append(
            f"Guessing would identify {_short_percent(first.fpr)}. Where members and non-members are equally "
            f"many, {share} of these accusations are right."
        )
    points += [_capital(f"{_says(other)}, by {words_of(other.attack)}.") for other in others]
    unsure = [one_in(fpr) for fpr in strongest if fpr is not None and fpr not in sure]
    if unsure:
        points.append(
            f"With {' or '.join(unsure)} wrongly accused, no attack that ran surely finds more than guessing."
        )
    if None in strongest and None not in sure:
        points.append(
            "Over all images, no attack surely ranks better than guessing: the AUC of "
            f"{words_of(strongest[None].attack)} is {_auc(strongest[None])}."
        )
    title = f"Leaks membership ({judgement.severity}): {_says(first)}"
    points.append(_estimate(judgement))
    return (
        title,
        meaning,
        [*points, _few_models(judgement, {figure.attack for figure in sure.values()})],
        [_correction(judgement), _turned(judgement), *_caveats(judgement.records)],
    )


def _named(judgement: Judgement, figure: Figure) -> str:
    """Name the attack of a figure, and why it is this one where another attack's figure is higher."""
    same = [each for each in judgement.figures if each.fpr == figure.fpr]
    best = max(same, key=lambda each: each.value)
    if best.value <= figure.value or percent(best.value) == percent(figure.value):
        return f"By {words_of(figure.attack)}."
    return (
        f"By {words_of(figure.attack)}, which surely finds the most: {words_of(best.attack)} has the higher "
        f"figure ({percent(best.value)}), but the interval of {words_of(figure.attack)} begins higher."
    )


def _reversed(judgement: Judgement) -> Said:
    lowest = judgement.reversed[0]
    title = f"Sign reversed: {words_of(lowest.attack)} ranks non-members above members, AUC {_auc(lowest)}"
    meaning = [
        _turned(judgement),
        "This is no all-clear: whoever turns the score round tells training images from others. Check that "
        "the lists of members and non-members are not swapped, and the order of the classes.",
    ]
    return title, meaning, [], [_correction(judgement), *_caveats(judgement.records)]


def _uncertain(judgement: Judgement) -> Said:
    with_ci = [f for f in judgement.figures if f.fpr is None and f.ci]
    estimate = [_estimate(judgement), _few_models(judgement)]
    basis = [_correction(judgement), *_caveats(judgement.records)]
    if not with_ci:
        lacks = "no AUC" if None not in judgement.strongest else "no interval of the AUC"
        return f"Cannot tell: the records state {lacks}", [], estimate, basis
    best, smallest, sizes = _best(judgement), judgement.smallest.get(None), _sizes(judgement)
    assert best.ci is not None
    ask = "`securitynet power` says how many images find a smaller leak."
    if best.ci[0] > 0.5:
        title = (
            f"Cannot tell: {words_of(best.attack)} looks better than guessing, AUC {_auc(best)}, but as the "
            f"best of {len(judgement.figures)} figures it may be luck"
        )
        compared = f"{sizes} were compared. {ask}" if sizes else ""
        return title, [_best_says(best), compared], estimate, basis
    if not sizes:
        title = "Cannot tell: the records do not say how many images were compared"
        return title, [_best_says(best), _left_open(judgement)], estimate, basis
    could = "no leak at all" if smallest is None else f"only an AUC of {smallest:.2f} or more"
    title = f"Cannot tell: {sizes} are too few; {could} would be found with 80\u00a0% power"
    return title, [_best_says(best), _whose(judgement), _left_open(judgement), ask], estimate, basis


def _nothing(judgement: Judgement) -> Said:
    smallest = judgement.smallest[None]
    sure = judgement.tone == "calm"
    title = f"No leak found{'' if sure else ', if it is fed as it was trained'}: an AUC of {smallest:.2f} or "
    title += "more would have been found with 80\u00a0% power"
    tails = [
        f"{percent(value)} of the training images while wrongly accusing {one_in(fpr)} non-members"
        for fpr, value in reversed(judgement.smallest.items())
        if fpr is not None and value is not None
    ]
    tail = f"So would an attacker who identifies {', or '.join(tails)}." if tails else ""
    best = f"{_best_says(_best(judgement))} {_left_open(judgement)}".strip()
    points = [best, _silent(judgement), _estimate(judgement) or _references(judgement)]
    points.append(_few_models(judgement))
    return title, [tail, _whose(judgement)], points, [_correction(judgement), *_caveats(judgement.records)]


def _whose(judgement: Judgement) -> str:
    """Say whose power a verdict states, where some attacks learn from a part of the images."""
    aucs = [figure for figure in judgement.figures if figure.fpr is None and all(figure.sizes)]
    if len({figure.sizes for figure in aucs}) < 2:
        return ""
    whole = max(aucs, key=lambda figure: min(figure.sizes))
    part = min(aucs, key=lambda figure: min(figure.sizes))
    smallest = smallest_leaks(judgement.figures, judgement.alpha, part.sizes).get(None)
    members, nonmembers = part.sizes
    could = "no leak" if smallest is None else f"an AUC of {smallest:.2f} or more"
    return (
        f"That is the power of attacks that judge all images, such as {words_of(whole.attack)}; those that "
        f"learn from a part of them, such as {words_of(part.attack)}, judge {members:,} members and "
        f"{nonmembers:,} non-members and find {could} with it."
    )


def _silent(judgement: Judgement) -> str:
    """Say of which attackers too few non-members tell nothing."""
    unresolved = {
        fpr
        for record in judgement.records
        for rate in mappings(record.result.get("tpr_at_fpr"))
        if not rate.get("resolvable") and (fpr := number(rate.get("target_fpr"))) and 0 < fpr < 1
    } - set(judgement.strongest)
    if not unresolved:
        return ""
    return (
        "There are too few non-members to say anything of an attacker who may wrongly accuse only "
        f"{' or '.join(map(one_in, sorted(unresolved)))}."
    )


def _says(figure: Figure) -> str:
    """Say in a clause what an attacker can do by a figure; at least, where too few samples say how much."""
    share = share_with_interval(figure.value, figure.ci)
    if not figure.steady and figure.ci is not None and figure.ci[0] > figure.guessing:
        low, high = map(percent, figure.ci)
        least = f"at least {low}" if low != percent(figure.guessing) else f"more than {low}"
        share = f"{least} (estimate {percent(figure.value)}, at most {high})"
    if figure.fpr is None:
        given = "given a training image and another image, an attacker picks the training image in"
        return f"{given} {share} of cases"
    who = f"an attacker who may wrongly accuse {one_in(figure.fpr)} non-members"
    return f"{who} identifies {share} of the training images"


def _best(judgement: Judgement) -> Figure:
    """Return the AUC whose interval begins highest."""
    aucs = [figure for figure in judgement.figures if figure.fpr is None and figure.ci]
    return max(aucs, key=lambda figure: (figure.ci or (0.0, 0.0), figure.attack))


def _best_says(best: Figure) -> str:
    return _capital(f"{_says(best)}, by {words_of(best.attack)}; guessing does so in {percent(0.5, 0)}.")


def _left_open(judgement: Judgement) -> str:
    high = max(
        (figure.ci[1] for figure in judgement.figures if figure.fpr is None and figure.ci), default=0.0
    )
    return f"A leak up to an AUC of {high:.3f} cannot be ruled out." if high > 0.5 else ""


def _caveats(records: Sequence[Record]) -> list[str]:
    """Return what a reader should know about all figures."""
    found = []
    blind, check = records[0].result.get("blind_baseline"), records[0].data.get("check")
    if not isinstance(blind, dict):
        found.append("Whether members and non-members differ before any training was not checked.")
    else:
        auc, ci = number(blind.get("auc")), interval(blind.get("auc_ci"))
        if auc is not None and not differing(records[0]):
            alike = "members and non-members look alike"
            if ci is not None and ci[1] > UNSURE:
                found.append(f"Whether {alike} without the model, so few images do not tell: ")
            else:
                found.append(f"Without the model, {alike}: ")
            found[-1] += f"AUC {_numbers(auc, ci)}."
        found.append(_duplicates(blind))
    if isinstance(check, dict) and check.get("status") == "no expectation":
        share, asked = number(check.get("members_accuracy")), int(number(check.get("n_members")) or 0)
        if share is not None and asked and right_on_few(share, asked):
            found.append(
                f"The model is right on only {percent(share)} of its training images: "
                f"{usual_cause(share, interval(check.get('accuracy_ci')))}; if it is meant to be so, say so "
                "by expected_accuracy (--expected-accuracy)."
            )
        elif share is not None and unexplained(records[0]) is not None:
            found.append(
                f"The model is right on only {percent(share)} of its training images: it is underfitted, or "
                "not fed as it was trained (preprocessing, order of the classes), which can hide a leak. "
                "Say what it should reach, such as expected_accuracy=0.9 (--expected-accuracy 0.9): the "
                "audit then looks for the mistake."
            )
        elif share is not None:
            lead = (
                ": say it by expected_accuracy (--expected-accuracy), and the audit looks for a mistake such "
                "as a wrong transform"
            )
            found.append(
                f"The model is right on {percent(share)} of its training images; what it should reach is "
                f"not known{lead if share < SURELY_FED else ''}."
            )
    return found


def _duplicates(blind: dict[str, Any]) -> str:
    """Say how many non-members are members, where that is more than a likeness."""
    twice = blind.get("duplicates")
    if not isinstance(twice, dict):
        return ""
    exact, near = (int(number(twice.get(name)) or 0) for name in ("exact", "near"))
    asked = int(number(blind.get("n_nonmembers")) or 0)
    if not exact and near <= LOOKALIKES * asked:
        return ""
    return (
        f"Of {asked:,} non-members looked at, {exact:,} are members, too, pixel by pixel, and {near:,} "
        "nearly: they lower every figure."
    )


def _correction(judgement: Judgement) -> str:
    figures, attacks = len(judgement.figures), len({figure.attack for figure in judgement.figures})
    if figures < 2:
        return ""
    of = "one attack" if attacks == 1 else f"{attacks} attacks"
    return f"Corrected for the choice among {figures} figures of {of} (Holm)."


def _turned(judgement: Judgement) -> str:
    """Say of scores with a reversed sign what they would find."""
    if not judgement.reversed:
        return ""
    lowest = judgement.reversed[0]
    ci = lowest.ci and (1 - lowest.ci[1], 1 - lowest.ci[0])
    more = f" (and {len(judgement.reversed) - 1} more)" if len(judgement.reversed) > 1 else ""
    return (
        f"The score of {words_of(lowest.attack)}{more} has its sign reversed: turned round, its AUC is "
        f"{_numbers(1 - lowest.value, ci)}."
    )


def _references(judgement: Judgement) -> str:
    """Say that stronger attacks were not run, where none with reference models was."""
    known = [KIND.attacks[name] for name in {f.attack for f in judgement.figures} if name in KIND.attacks]
    if not known or any("reference" in need for attack in known for need in attack.needs):
        return ""
    return "No attack with reference models was run; those find more."


def _few_models(judgement: Judgement, quoted: Set[str] | None = None) -> str:
    """Say that LiRA with few reference models is weak, where no other attack that has some is relied on.

    Args:
        judgement: of the records.
        quoted: the attacks that the verdict relies on; all of them by default.
    """
    relied = [
        (name, int(number(record.counts.get("shadow_models")) or 0))
        for record in judgement.records
        if (name := str(record.attack.get("name"))) in (quoted or (name,))
    ]
    models = max((count for _, count in relied), default=0)
    others = any(count and not name.startswith("lira") for name, count in relied)
    if others or not 0 < models < ENOUGH_MODELS:
        return ""
    return (
        f"With {models} reference models, LiRA is in a weak form: it usually finds more with "
        f"{ENOUGH_MODELS} to 64, and so does rmia_online with 2 to 8."
    )


def _estimate(judgement: Judgement) -> str:
    """Say what LiRA would probably find, where no attack with reference models was run."""
    found = lira_estimate(judgement.records)
    if found is None or not _references(judgement):
        return ""
    one, others = f"one of them (LiRA, {REFERENCES} models)", f"{one_in(found.fpr)} non-members"
    low, high = found.ci
    if low > found.fpr:
        share = share_with_interval(found.value, found.ci)
    elif high < 1:
        share = f"at most {percent(high)}, and perhaps hardly any,"
    else:
        return (
            "Stronger attacks, with reference models, were not run, and the losses alone do not tell how "
            f"many of the training images {one} would identify while wrongly accusing {others}."
        )
    return (
        f"Stronger attacks, with reference models, were not run: by the losses alone, {one} would identify "
        f"{share} of the training images while wrongly accusing {others}. That is an estimate."
    )


def lira_estimate(records: Sequence[Record]) -> LiraTpr | None:
    """Return the first estimate among records of what LiRA would find, where the members resolve it."""
    for record in records:
        stated = record.result.get("lira_estimate")
        if isinstance(stated, dict) and stated.get("resolvable") is True:
            fpr, value, ci = (
                number(stated.get("target_fpr")),
                number(stated.get("tpr")),
                interval(stated.get("tpr_ci")),
            )
            if fpr is not None and value is not None and ci is not None and 0 < fpr <= value <= 1:
                return LiraTpr(fpr, value, ci)
    return None


def _sizes(judgement: Judgement) -> str:
    members, nonmembers = max((figure.sizes for figure in judgement.figures), key=min, default=(0, 0))
    return f"{members:,} members and {nonmembers:,} non-members" if members and nonmembers else ""


def _auc(figure: Figure) -> str:
    return _numbers(figure.value, figure.ci)


def _numbers(value: float, ci: tuple[float, float] | None) -> str:
    return f"{value:.3f}" + (f" ({ci[0]:.3f}-{ci[1]:.3f})" if ci else "")


def _short_percent(share: float) -> str:
    return f"{100 * share:g}\u00a0%"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def one_in(fpr: float) -> str:
    """Write a false-positive rate as whom an attacker may wrongly accuse.

    >>> one_in(0.001), one_in(0.015).replace(chr(160), " ")
    ('1 in 1,000', '1.5 %')
    """
    times = 1 / fpr
    return f"1 in {round(times):,}" if abs(times - round(times)) < 1e-6 * times else _short_percent(fpr)
