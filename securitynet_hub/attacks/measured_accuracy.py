"""A model's accuracy as its audits measured it: one rule for every page that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from securitynet_hub.attacks.present import Summary
from securitynet_hub.records.figures import number
from securitynet_hub.records.record import Record


class Share(NamedTuple):
    """A share of so many images; None where it is not known."""

    value: float | None = None
    images: int | None = None


class Accuracies(NamedTuple):
    """What audits measured of one model.

    Attributes:
        test: accuracy on images that it was not trained on.
        train: accuracy on images that it was trained on.
        pair: both accuracies in the one audit that asked about most images, the training images' first.
        gap: accuracy on training images less accuracy on other images.
    """

    test: Share
    train: Share
    pair: tuple[Share, Share] | None
    gap: float | None


def measured_accuracies(summaries: Iterable[Summary], records: Iterable[Record]) -> Accuracies:
    """Return a model's accuracies and their gap; of several audits that of most images counts.

    An attack counts right answers, and so does the check that goes before all attacks; the one that asked
    about most images is the most precise. The gap is of two accuracies of one audit.

    Args:
        summaries: what each kind of attack says of the model.
        records: the model's.
    """
    kept = list(summaries)
    known = list(records)
    pairs = [pair for record in known for pair in (_counted(record), _checked(record)) if pair is not None]
    tests = [Share(summary.accuracy, summary.images or 0) for summary in kept]
    tests += [test for _, test in pairs]
    trains = [train for train, _ in pairs]
    both = [pair for pair in pairs if pair[0].value is not None and pair[1].value is not None]
    pair = max(both, key=lambda each: sum(share.images or 0 for share in each), default=None)
    gaps = [summary.gap for summary in kept if summary.gap is not None]
    if pair is not None and pair[0].value is not None and pair[1].value is not None:
        gaps = [pair[0].value - pair[1].value]
    return Accuracies(_largest(tests), _largest(trains), pair, gaps[0] if gaps else None)


def _largest(shares: Iterable[Share]) -> Share:
    known = [share for share in shares if share.value is not None]
    return max(known, key=lambda each: each.images or 0, default=Share())


def _counted(record: Record) -> tuple[Share, Share] | None:
    """Return the accuracies by an attack's own counts of right answers."""
    names = ("members", "members_right", "nonmembers", "nonmembers_right")
    members, right, others, others_right = (number(record.counts.get(name)) for name in names)
    if not members or not others or right is None or others_right is None:
        return None
    return Share(right / members, int(members)), Share(others_right / others, int(others))


def _checked(record: Record) -> tuple[Share, Share] | None:
    """Return the accuracies by the check of images, labels and preprocessing."""
    check = record.data.get("check")
    if not isinstance(check, Mapping):
        return None
    train, test = (
        Share(number(check.get(name)), int(number(check.get(count)) or 0))
        for name, count in (("members_accuracy", "n_members"), ("accuracy", "n"))
    )
    return train, test
