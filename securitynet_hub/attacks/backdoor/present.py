"""What backdoor detection shows in a terminal and in a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.table import Table
from rich.text import Text

from securitynet_hub.attacks.backdoor.attack import Attack
from securitynet_hub.attacks.backdoor.kind import KIND
from securitynet_hub.attacks.backdoor.verdict import (
    FOREIGN,
    LOPSIDED,
    MIN_AGREEMENT,
    UNLIKE,
    load_calibration,
)
from securitynet_hub.attacks.present import (
    Column,
    Figures,
    Ground,
    Line,
    PageTable,
    Section,
    Summary,
    Verdict,
    measured,
    sentence,
)
from securitynet_hub.attacks.tables import Audited, auc_text, in_words, model_cell
from securitynet_hub.core.tables import plain_table
from securitynet_hub.plots.classes import PerClass, classes_plot
from securitynet_hub.plots.measured import Measured, percent, text_of
from securitynet_hub.plots.pictures import Picture, pictures_beside
from securitynet_hub.plots.plot import Plot, words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import figures_of, integers, interval, number
from securitynet_hub.records.record import Record

SHOWN = {"beside", "score", "suspect", "n_classes", "n_restarts", "smallest_class", "target_class"}
"""Figures of a detector that have a column of their own, or say no more than the record's settings."""

COARSE = 0.2
"""Widest interval of a share, or of an AUC, that still tells something."""

ABOVE = "clean images above; below, the same with"
"""What captions say of a picture with examples."""

LONGEST_NAME, LONGEST_TRIGGER = 40, 64
"""Characters of a class's name that are shown."""

MEANINGS = {
    "Probability of a backdoor": "How probable a backdoor is, if half of such networks had one; never surer "
    "than the networks allow by which it was calibrated.",
    "Anomaly index": "How far the smallest trigger lies below the median of all classes, in robust standard "
    "deviations. A class is flagged above 2. Clean networks are flagged, too, where their classes differ by "
    "nature.",
}


def tables(audited: Audited, width: int) -> Iterator[Table | Text]:
    """Yield the tables of an audit for a terminal: the verdict, then detectors of models and of images.

    On one model, the verdict in words comes first.
    """
    judged = [(row, [r for r in found if "verdict" in r.result]) for row, found in audited]
    if any(found for _, found in judged):
        if len(every := [record for _, found in judged for record in found]) == 1:
            said = combined_verdict(Entry(every[0], Path()))
            yield in_words(said.tone, said.title, said.text)
        yield _verdict_table(judged)
    rest = [(row, [r for r in found if "verdict" not in r.result]) for row, found in audited]
    for judges, table in ((None, _models_table), ("inputs", _images_table), ("training", _images_table)):
        part = [(row, [r for r in found if r.result.get("judges") == judges]) for row, found in rest]
        if any(found for _, found in part):
            yield table(part)


def _verdict_table(audited: Audited) -> Table:
    sorts = {bool(record.result.get("beside")) for _, records in audited for record in records}
    others = {True: "clean models", False: "clean twins of the model"}
    table = plain_table(
        f"Backdoor: all indicators together, against {' or '.join(others[sort] for sort in sorted(sorts))}",
        caption="Probability: if half of such networks were backdoored. As high: clean "
        "networks that score as high, this one counted. What it misses: docs/backdoors.md.",
    )
    table.add_column("model", overflow="fold", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for heading in ("probability", "as high", "class"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("most from", overflow="fold")
    for annotation, records in audited:
        for record in records:
            result = record.result
            evidence = [words_of(name) for name, value in result["evidence"].items() if value > 0]
            table.add_row(
                model_cell(annotation.id),
                str(result["verdict"]),
                probability_cell(result),
                f"{result['conformal_p']:.0%}",
                EACH if result.get("all_to_all") else str(result["suspect"]),
                ", ".join(evidence[:3]) or "-",
            )
    return table


def _models_table(audited: Audited) -> Table:
    table = plain_table(
        "Backdoor detection: which class a trigger would lead to",
        caption="Score: higher = more likely poisoned; comparable only within one detector on networks "
        "of one kind. Clean networks are flagged, too: docs/backdoors.md says how often.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("score", "suspect", "flagged"):
        table.add_column(heading, justify="right")
    for annotation, records in audited:
        for record in records:
            result = record.result
            table.add_row(
                model_cell(annotation.id),
                record.attack["name"],
                "-" if result["score"] is None else f"{result['score']:.2f}",
                "-" if result["suspect"] is None else str(result["suspect"]),
                ", ".join(map(str, result.get("flagged_classes", []))) or "-",
            )
    return table


def _images_table(audited: Audited) -> Table:
    inputs = any(record.result["judges"] == "inputs" for _, records in audited for record in records)
    table = plain_table(
        "Backdoored inputs: which images a detector flags"
        if inputs
        else "Poisoned training images: among those labelled with the target class",
        caption="Flagged: scores beyond those of 95 % of further clean images. AUC, and the share of "
        "poisoned images that pass, where it is known which are poisoned; an AUC of 0.5 is chance."
        if inputs
        else "AUC where it is known which are poisoned; 0.5 is chance, far below it the scores are reversed.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("images", *(("flagged",) if inputs else ()), "AUC", *(("pass",) if inputs else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, cells = record.result, []
            if inputs:
                missed = [
                    a["far"] for a in result.get("acceptance", []) if a["target_frr"] == result["target_frr"]
                ]
                flagged = "-" if result["threshold"] is None else str(result["n_flagged"])
                cells = [flagged, auc_text(result), f"{missed[0]:.0%}" if missed else "-"]
            table.add_row(
                model_cell(annotation.id),
                record.attack["name"],
                str(record.counts["images"]),
                *(cells or [auc_text(result)]),
            )
    return table


def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
    """Sum up the detectors on one model: its verdict, what judges the model, then what judges images."""
    of_images = [entry for entry in entries if "judges" in entry.record.result]
    together = [entry for entry in entries if isinstance(entry.record.result.get("verdict"), str)]
    together.sort(key=partial(_by, "probability"))
    of_model = [e for e in entries if "judges" not in e.record.result and e not in together]
    compared: dict[Column, Measured] = {}
    for entry in together:
        if probability := measured(entry, "probability"):
            column = f"{words_of(entry.attack)} probability"
            likely = Column(column, guessing=0.5, measure="probability of a backdoor", attack=entry.attack)
            compared.setdefault(likely, _resolved(probability, entry.record.result))
    for entry in sorted(entries, key=lambda entry: (_by("auc", entry), _by("probability", entry))):
        for name in ("anomaly_index", "score"):
            if found := measured(entry, name):
                column = f"{words_of(entry.attack)} {words_of(name)}"
                compared.setdefault(Column(column, attack=entry.attack), found)
                break
        if auc := measured(entry, "auc"):
            column = f"{words_of(entry.attack)} AUC"
            detection = Column(column, guessing=0.5, measure="AUC of detection", attack=entry.attack)
            compared.setdefault(detection, auc)
    return Summary(
        entries=entries,
        verdicts=[
            *map(combined_verdict, together),
            *([model_verdict(of_model)] if of_model else ()),
            *([images_verdict(of_images)] if of_images else ()),
        ],
        compared=compared,
        grounds=grounds(of_images),
        meanings=MEANINGS,
    )


def _by(name: str, entry: Entry) -> float:
    """Return what sorts entries by a figure, the largest first."""
    return -(number(entry.record.result.get(name)) or 0.0)


def grounds(entries: Sequence[Entry]) -> list[Ground]:
    """Say whether there were enough images to tell how well detectors of images do: by their intervals."""
    shares = [
        found for entry in entries for name in ("auc", "flagged_share") if (found := measured(entry, name))
    ]
    known = [(share.ci[1] - share.ci[0], share.ci) for share in shares if share.ci]
    if not known:
        return []
    width, (low, high) = max(known)
    images = max(number(entry.record.counts.get("images")) or 0.0 for entry in entries)
    text = f"{images:,.0f} images were judged; the widest interval of a figure is {low:.2f} to {high:.2f}."
    enough = width <= COARSE
    return [
        Ground(
            "Enough images for the detectors", enough, text if enough else f"{text} They are too few to tell."
        )
    ]


def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
    """Show each detector's figures, what it found for each class, and the triggers that it recovered."""
    table = PageTable(
        label=f"Backdoor detectors on {entries[0].model}",
        heading="detector",
        columns=[Column("score"), Column("suspected class"), Column("flagged"), Column("more", prose=True)],
        lines=[Line(words_of(entry.attack), _cells(entry), entry.attack) for entry in entries],
        caption="Scores: higher = more likely poisoned, and comparable only within one detector on networks "
        "of one kind.",
    )
    plots = [plot for entry in entries for plot in _plots(entry)]
    pictures = [picture for entry in entries for picture in _pictures(entry)]
    recovered = Figures(pictures=pictures, heading="Recovered triggers", small=True)
    return Section(title=KIND.title, parts=[table, Figures(plots=plots), recovered])


def frame(records: Sequence[Record]) -> dict[str, float | None]:
    """Return nothing: the annotations have no figure of any detector."""
    return {}


TITLES = {
    "backdoor": "Probably backdoored",
    "no sign": "No sign of a backdoor",
    "cannot tell": "Backdoor: cannot tell",
}
"""The title of each word of the combined verdict."""

EACH = "each its own"
"""What stands for the class that a backdoor leads to, where it leads each class to another one."""

MOST_BESIDE = 5
"""The most clean models beside a model that a table names."""

TELLING = 0.5
"""How much more a trigger leads on the model than on its twins to be told where the verdict cannot tell."""

SURE, DOUBTED = 0.95, "Perhaps backdoored"
"""The least probability of a backdoor that is an alarm, and the title of one that is less probable."""


UNLEARNT_MEANS = " (on clean networks it falls to a few percent, and an attacker's own trigger may stay)"
"""What is said beside what unlearning did: no figure of it parts backdoored networks from clean ones."""

EARLIER_AGREEMENT = 0.5
"""The agreement of each twin that was needed when records did not give this reason."""

SAME_REASON = 60
"""By how many of its first letters a reason is known, whatever an earlier version said after them."""

NO_STAND_IN = "do not stand for the model"
"""What every wording of the reason says."""


def combined_verdict(entry: Entry) -> Verdict:
    """Say what all indicators together say of a model, how certain that is, and which class it is about.

    A backdoor is an alarm where its probability is at least `SURE`: clean networks of kinds that calibration
    lacks are often accused with less. How bad it is, the trigger's success, is not measured: its severity is
    moderate, between a slight leak and a severe one.
    """
    result = entry.record.result
    word = str(result["verdict"])
    p_value = number(result.get("conformal_p"))
    accused = word == "backdoor"
    sure = accused and (number(result.get("probability")) or 0.0) >= SURE
    clauses = []
    if chance := probability_words(result):
        clauses.append(
            f"if half of such networks were backdoored, the probability that this one is would be {chance}"
        )
    if p_value is not None:
        kinds = load_calibration(beside=bool(result.get("beside"))).sizes[0]
        clauses.append(
            "none of the clean networks that calibrated the verdict scores as high "
            f"({percent(p_value)} with this one counted)"
            if p_value * (kinds + 1) < 1 + 1e-9
            else f"{percent(p_value)} of the clean networks that calibrated the verdict score as high, this "
            "one counted among them"
        )
    said_below = word == "cannot tell" and _lacks_stand_in(result)
    if (agreement := _agreement(result)) is not None and not said_below:
        clauses.append(f"{percent(agreement, 0)} of the clean images get its answer from {_others(result)}")
    if result.get("all_to_all") is True:
        clauses.append("no class stands out most: one change leads the images of each class to another one")
    elif type(most := result.get("suspect")) is int:
        names, second = class_names([entry]), _second(result)
        after = "" if second is None else f", class {_listed([second], names)} next"
        clauses.append(f"class {_listed([most], names)} stands out most{after}")
    named = [] if word == "no sign" else [*_strongest_trigger(result, least=0.0 if accused else TELLING)]
    unlearnt = _unlearning("it" if named else "the strongest trigger found", result)
    clauses.extend([*named, *(f"{said}{UNLEARNT_MEANS}" for said in unlearnt)])
    more = {
        "backdoor": "Ask who trained it, and do not deploy it before the class has been looked into."
        if sure
        else "Clean networks of other kinds than those that calibrated the verdict are accused like this, "
        f"too: {_second_look(result)} before anything follows from it.",
        "no sign": "That is no proof: weak and hidden backdoors are missed; see docs/backdoors.md.",
    }.get(word) or _why_open(result)
    title = TITLES.get(word, TITLES["cannot tell"]) if sure or not accused else DOUBTED
    return Verdict(
        tone="alarm" if sure else "open",
        title=title,
        text=f"{sentence(clauses)} {more}",
        short=title if accused else "",
        counted=accused,
        severity=2 if sure else 0,
    )


def probability_words(result: Mapping[str, Any]) -> str:
    """Write the probability of a backdoor with its interval, no more certain than the calibration allows.

    A score beyond those of all n kinds of clean calibration networks is reached by 1 in n + 1 further kinds,
    as far as these can tell (the conformal p-value). Even if all backdoored networks reached it, the
    probability of a backdoor at equal odds is then (n + 1) / (n + 2), as in Laplace's rule of succession.
    What a fitted curve says beyond that is extrapolated, and so is what it says below 1 / (n + 2) of n kinds
    of backdoored networks.

    >>> probability_words({"probability": 0.75, "probability_ci": [0.5, 1.0]}).replace("\u00a0", " ")
    '75.0 % (50.0 % to more than 98.3 %)'
    """
    return _probability(result, percent, "more than ", "less than ", " to ")


def probability_cell(result: Mapping[str, Any]) -> str:
    """Write the same for a narrow table.

    >>> probability_cell({"probability": 1.0, "probability_ci": [0.5, 1.0]})
    '>0.98 (0.50 to >0.98)'
    >>> probability_cell({"probability": 1.0, "probability_ci": [0.99, 1.0]})
    '>0.98'
    """
    return _probability(result, "{:.2f}".format, ">", "<", " to ")


def _resolved(probability: Measured, result: Mapping[str, Any]) -> Measured:
    """Return a probability that is no more certain than `resolvable` allows, for a bar."""
    least, most = resolvable(result)

    def within(share: float) -> float:
        return min(max(share, least), most)

    low, high = probability.ci or (probability.value, probability.value)
    return probability._replace(value=within(probability.value), ci=(within(low), within(high)))


def _probability(
    result: Mapping[str, Any], write: Callable[[float], str], above: str, below: str, to: str
) -> str:
    value, ends = number(result.get("probability")), interval(result.get("probability_ci"))
    if value is None:
        return ""
    least, most = resolvable(result)

    def written(share: float) -> str:
        return (
            f"{above}{write(most)}"
            if share >= most
            else f"{below}{write(least)}"
            if share <= least
            else write(share)
        )

    said, extent = written(value), [written(end) for end in ends or ()]
    return said if set(extent) <= {said} else f"{said} ({to.join(extent)})"


def resolvable(result: Mapping[str, Any]) -> tuple[float, float]:
    """Return the least and the largest probability that as many kinds of calibration networks can tell."""
    clean, backdoored = load_calibration(beside=bool(result.get("beside"))).sizes
    return 1 / (backdoored + 2), (clean + 1) / (clean + 2)


def _others(result: Mapping[str, Any]) -> str:
    """Name what the model was compared with."""
    number = result.get("beside")
    if not number:
        return "its clean twins"
    if type(number) is not int:  # in a stranger's record
        return "the clean models beside it"
    return "the clean model beside it" if number == 1 else f"the {number} clean models beside it"


def _second_look(result: Mapping[str, Any]) -> str:
    """Say how to see whether clean networks are accused alike."""
    if result.get("beside"):
        return "audit one of the clean models beside the others, too, and look at the pictures"
    return (
        "compare it with a clean network of the same kind by `--beside`, judge that network alone (if it "
        "is accused as well, nothing follows), look at the pictures (a strong change of the whole picture "
        "may be natural), and judge it again with another `--seed` (what stays may still be its own quirk)"
    )


def _strongest_trigger(result: Mapping[str, Any], least: float) -> Iterator[str]:
    """Say what the trigger does that the model obeys and its twins do not, if the record has it.

    Args:
        result: of the audit.
        least: how much more it leads on the model than on the twins, or it is not worth a word.
    """
    listed = result.get("triggers")
    best = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    success, of_twins = (number(best.get(name)) for name in ("success", "twin_success"))
    if success is not None and of_twins is not None and success - of_twins >= least:
        name = str(best.get("name"))[:LONGEST_TRIGGER]
        if result.get("all_to_all") is True:
            yield (
                f"the change that does so best ({name}) leads {percent(success)} of the images where it "
                f"leads most others of their class, and {percent(of_twins)} on {_others(result)}"
            )
            return
        yield (
            f"the strongest trigger found ({name}) leads {percent(success, 0)} of some 20 other images "
            f"there, and {percent(of_twins, 0)} on {_others(result)}"
        )


def _second(result: Mapping[str, Any]) -> int | None:
    """Return the class that comes second, if it would be suspected alone."""
    listed, classes = result.get("class_scores"), integers(result.get("classes"))
    scores = [s for s in map(number, listed) if s is not None] if isinstance(listed, list) else []
    if len(scores) < 2 or len(scores) != len(classes):
        return None
    place = sorted(range(len(scores)), key=lambda k: -scores[k])[1]
    return classes[place] if scores[place] > 0 else None


def _share(value: Any) -> float | None:
    """Return a number of 0 to 1, and None for anything else that a record may hold there."""
    known = number(value)
    return known if known is not None and 0 <= known <= 1 else None


def _shares(result: Mapping[str, Any]) -> list[float]:
    """Return the share of the images that get the model's answer from each twin, or model beside."""
    shares = result.get("twin_agreement")
    return [share for share in map(_share, shares) if share is not None] if isinstance(shares, list) else []


def _agreement(result: Mapping[str, Any]) -> float | None:
    """Return their mean; None where the record has none."""
    known = _shares(result)
    return sum(known) / len(known) if known else None


def _lacks_stand_in(result: Mapping[str, Any]) -> bool:
    """Whether there is no verdict because twins, or models beside, give too few of the model's answers."""
    known = _shares(result)
    if result.get("reason") is None:  # in an earlier record
        return bool(known) and min(known) < EARLIER_AGREEMENT
    return NO_STAND_IN in str(result["reason"])


def _why_open(result: Mapping[str, Any]) -> str:
    """Say why there is no verdict: the twins do not stand for the model, or the score lies between."""
    mean, reason = _agreement(result), str(result.get("reason"))
    for said in (FOREIGN, LOPSIDED, UNLIKE):
        if reason[:SAME_REASON] == said[:SAME_REASON]:
            return f"The reason: {said}."
    if _lacks_stand_in(result):
        # Records of other times needed more, or each of the twins
        enough = f"{percent(MIN_AGREEMENT, 0)} are" if mean is None or mean < MIN_AGREEMENT else "more were"
        share = "too few" if mean is None else f"only {percent(mean)}"
        return (
            f"The reason: {share} of the images get its answer from {_others(result)}, on average, and "
            f"{enough} needed before a comparison means anything. "
            + (
                "Do all have the same classes in one order?"
                if result.get("beside")
                else "More clean images of its domain may help."
            )
        )
    return (
        "The reason: its score lies between those of most clean and most backdoored networks. Another look, "
        "such as the single detectors (`--attacks backdoor-detection`), may tell."
    )


def model_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say which classes detectors flag or suspect; never that a model is clean, or certainly poisoned.

    Detectors flag clean models whose classes differ by nature, and miss backdoors: the only tone is "open".
    """
    clauses, every = [], set()
    named = class_names(entries)
    for entry in entries:
        name, result = words_of(entry.attack), entry.record.result
        flags, index = integers(result.get("flagged_classes")), number(result.get("anomaly_index"))
        every.update(flags)
        which = f" (anomaly index {index:.2f}; above 2 is flagged)" if index is not None else ""
        most = result.get("suspect")
        if flags:
            clauses.append(f"{name} flags class {_listed(flags, named)}{which}")
        elif "flagged_classes" in result or index is not None:
            clauses.append(f"{name} flags no class{which}")
        elif type(most) is int:
            clauses.append(f"{name} suspects class {_listed([most], named)} most")
        clauses.extend(_reach(name, result, named))
        clauses.extend(_unlearning(f"the trigger that {name} recovered", result))
    if not clauses:
        return Verdict(tone="open", title="Backdoor: not known", text="The records name no class.")
    title = (
        f"A detector flags class {_listed(sorted(every), named)}"
        if every
        else "Backdoor: no class is flagged"
    )
    proof = (
        "That is no proof: clean networks are flagged, too, where their classes differ by nature. Compare "
        "with clean models of the same kind."
        if every
        else "That is no proof: detectors miss backdoors."
    )
    return Verdict(
        tone="open",
        title=title,
        text=f"{sentence(clauses)} {proof}",
        short="A detector flags a class" if every else "",
        counted=True,
    )


def images_verdict(entries: Sequence[Entry]) -> Verdict:
    """Say which share of the images detectors flag, and how well they find poisoned ones if that is known."""
    clauses, alarming = [], False
    for entry in entries:
        name, result = words_of(entry.attack), entry.record.result
        auc, share = measured(entry, "auc"), measured(entry, "flagged_share")
        rate = number(result.get("target_frr"))
        if auc is not None:
            extent = f" ({auc.ci[0]:.2f} to {auc.ci[1]:.2f})" if auc.ci else ""
            clauses.append(f"{name} tells poisoned from clean images with an AUC of {auc.value:.2f}{extent}")
        elif share is not None and rate is not None and result.get("threshold") is not None:
            clean = f"it may flag {percent(rate)} of clean ones"
            clauses.append(f"{name} flags {percent(share.value)} of the images, while {clean}")
            alarming |= bool(share.ci and share.ci[0] > rate)
    if not clauses:
        text = "The records give neither an AUC nor a share of flagged images."
        return Verdict(tone="open", title="Poisoned images: not known", text=text)
    title = "Some images look poisoned" if alarming else "Poisoned images"
    return Verdict(tone="open", title=title, text=sentence(clauses))


def per_class(result: Mapping[str, Any], name: str) -> list[PerClass]:
    """Read what a detector found for each class: a list of numbers, or one such list for each restart.

    >>> per_class({"norms": [[3, 1], [4, None]]}, "norms")
    [PerClass(number=0, values=[3.0, 4.0]), PerClass(number=1, values=[1.0])]
    >>> per_class({"classes": [7, 9], "norms": [3, 1]}, "norms")[1], per_class({"norms": [1, "a"]}, "norms")
    (PerClass(number=9, values=[1.0]), [])
    """
    listed = result.get(name)
    rows = listed if isinstance(listed, list) and listed and isinstance(listed[0], list) else [listed]
    restarts = [row for row in rows if isinstance(row, list) and row]
    if len(restarts) < len(rows) or len({len(row) for row in restarts}) != 1:
        return []
    if any(value is not None and number(value) is None for row in restarts for value in row):
        return []
    classes, labels = len(restarts[0]), result.get("pair_classes" if name == "pair_sizes" else "classes")
    if not isinstance(labels, list) or integers(labels) != labels or len(labels) != classes:
        labels = list(range(classes))
    columns = zip(*restarts, strict=True)
    return [
        PerClass(label, [float(value) for value in column if value is not None])
        for label, column in zip(labels, columns, strict=True)
    ]


def _cells(entry: Entry) -> list[Measured | str | None]:
    result, named = entry.record.result, class_names([entry])
    score, suspect, flags = number(result.get("score")), result.get("suspect"), result.get("flagged_classes")
    more = (
        f"{words_of(name)} {text_of(value)}" for name, value, _ in figures_of(result) if name not in SHOWN
    )
    flagged = (_listed(integers(flags), named) or "none") if isinstance(flags, list) else "-"
    return [
        None if score is None else Measured(entry.model, score, None),
        EACH
        if result.get("all_to_all") is True
        else _listed([suspect], named)
        if type(suspect) is int
        else "-",
        flagged if result.get("verdict") is None else str(result["verdict"]),
        "; ".join([*_seed(entry), *_beside(entry), *more]),
    ]


def _seed(entry: Entry) -> Iterator[str]:
    """Name the seed, where it is not the one that an audit takes."""
    if type(seed := entry.record.attack.get("seed")) is int and seed:
        yield f"seed {seed}"


def _beside(entry: Entry) -> Iterator[str]:
    """Name the clean models that took the place of twins."""
    named = entry.record.attack.get("beside")
    if isinstance(named, list) and named:
        shown = [str(each)[:LONGEST_NAME] for each in named[:MOST_BESIDE]]
        more = f" and {len(named) - MOST_BESIDE} more" if len(named) > MOST_BESIDE else ""
        yield f"beside {', '.join(shown)}{more}"


def _plots(entry: Entry) -> Iterator[Plot]:
    """Draw what the detector found for each class; the classes that it flags or suspects are marked."""
    result = entry.record.result
    most = None if result.get("all_to_all") is True else result.get("suspect")
    marked = integers(result.get("flagged_classes")) or integers([most])
    own = KIND.attacks.get(entry.attack)
    words = {
        name: meaning
        for attack in (*KIND.attacks.values(), *([own] if own else ()))  # its own words come last: they hold
        for name, meaning in cast(Attack, attack).per_class.items()
    }
    for name, meaning in words.items():
        if values := per_class(result, name):
            yield classes_plot(entry.attack, values, meaning, marked)


def _pictures(entry: Entry) -> list[Picture]:
    """Read the pictures beside a record: recovered triggers, and any other."""
    said = [*_seed(entry), *(["beside clean models"] if entry.record.result.get("beside") else [])]
    run = f" ({', '.join(said)})" if said else ""

    def about(name: str) -> tuple[str, str]:
        if name == "rearranging":
            caption = f"Each class to another one{run}: {ABOVE} a plain change that does so."
            return f"Recovered by {words_of(entry.attack)}. {caption}", caption
        trigger = re.fullmatch(r"class-(\d+)-(mask|pattern|trigger|probe|shade|noise|faint|blocks)", name)
        if trigger is None:
            words = f"{words_of(entry.attack)}: {name or 'picture'}"
            return words, words
        label, part = trigger.groups()
        meaning = {
            "mask": "where the trigger covers the image: white fully, black not at all",
            "pattern": "what the trigger covers the image with",
            "trigger": "mask and pattern together",
            "probe": f"{ABOVE} the plain change that leads there best",
            "shade": f"{ABOVE} a smooth change that was searched for",
            "noise": f"{ABOVE} a faint change of every pixel that was searched for",
            "faint": f"{ABOVE} a faint change of every pixel that was searched for",
            "blocks": f"{ABOVE} a patch that was searched for",
        }[part]
        caption = f"Class {label}, {part}{run}: {meaning}."
        return f"Recovered by {words_of(entry.attack)}. {caption}", caption

    return pictures_beside(entry.path, about)


def _reach(name: str, result: Mapping[str, Any], named: Mapping[int, str]) -> Iterator[str]:
    """Name the class that is nearest from all others beyond what nature predicts, if pairs were searched."""
    near = result.get("reach_suspect")
    if type(near) is int:
        yield (
            f"of all classes, {name} leads images of all others most easily to class "
            f"{_listed([near], named)}, compared with what clean images and the ways back predict"
        )


def _unlearning(trigger: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Say what training against a trigger did, where it was tried."""
    names = "unlearning_success_before", "unlearning_success_after", "unlearning_agreement"
    before, after, kept = (_share(result.get(figure)) for figure in names)
    if before is not None and after is not None and kept is not None:
        yield (
            f"training against {trigger} takes its success from {percent(before)} to {percent(after)} and "
            f"keeps {percent(kept)} of the clean answers"
        )


def class_names(entries: Sequence[Entry]) -> dict[int, str]:
    """Return what records of one model call the classes that they flag or suspect, cut short."""
    found: dict[int, str] = {}
    for entry in entries:
        names = entry.record.result.get("class_names")
        for label, name in names.items() if isinstance(names, dict) else ():
            if label.isdecimal() and isinstance(name, str):
                found[int(label)] = name[:LONGEST_NAME]
    return found


def _listed(classes: Sequence[int], names: Mapping[int, str]) -> str:
    return ", ".join(f"{label} ({names[label]})" if label in names else str(label) for label in classes)
