"""Check before any attack that an audit's images, labels and preprocessing are those of the model.

Figures measured on other data describe nothing. The accuracy on images that the model was not trained on is
set beside the expected one; where it is far below, or no better than chance, what is often wrong is tried on
a few hundred images, and what fits is named. Nothing is ever changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from securitynet_hub.attacks.accuracy import published_accuracy, top_classes
from securitynet_hub.attacks.kind import BATCH_SIZE, CONFIDENCE_LEVEL
from securitynet_hub.core.arrays import Labels, Rows, require_share
from securitynet_hub.core.errors import AccuracyWarning, BudgetError, ModelError
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import Change, ImageSource
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.models.target import Preprocessing, Target
from securitynet_hub.statistics.rates import Interval, wilson_interval

if TYPE_CHECKING:
    from securitynet_hub.attacks.subject import AuditData

Status = Literal["as expected", "no expectation", "below expectation", "near chance", "classes exchanged"]
Right = npt.NDArray[np.bool_]
"""Whether the model's first class is the label, for each image."""

TOLERANCE = 0.1
"""Largest gap below a published accuracy that is as expected: another crop or resize costs up to 0.07."""

GIVEN_TOLERANCE = 0.05
"""The same for an accuracy that the user states, who knows how it was measured."""

SURE = 0.999
"""Confidence level at which a model must be below expectation, or an explanation better."""

HARDLY = 0.15
"""Share of the way from chance to perfection below which a model is near chance."""

PROBED = 300
"""Images on which explanations are tried."""

PAIRED = 4000
"""Images of which labels are paired with answers: the pairs of 21,000 classes would fill the memory."""

ASKED = 400
"""Images that are asked about where no attack has asked about the split's: three quarters non-members."""

FEWEST = 5
"""Images of a class that must be asked about before the model's name for it may be another."""

ALIKE = 0.02
"""Explanations whose accuracies differ by less are equally good: the more usual one is named."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether the data are the model's, as a record has it under ``data.check``.

    Attributes:
        accuracy: on the non-members that were asked about; None if there were none.
        accuracy_ci: Wilson's interval.
        n: number of these non-members.
        expected: the accuracy that was published or stated; None if there is none.
        expected_by: "published" or "given".
        members_accuracy: on the members that were asked about; None if there were none.
        n_members: number of these members.
        chance: the accuracy on the non-members if the answers had nothing to do with the images: the sum over
            classes of (share of labels) x (share of answers).
        status: "near chance" if it is hardly better than chance on members and on non-members; "below
            expectation" if the accuracy is clearly below the expected one; "classes exchanged" if it is not,
            but two or more classes are answered with one another's names, such as two that changed places.
        likely_reason: the explanation that was tried and fits; None if there was nothing to explain, or
            nothing fits.
        tried: accuracy with each explanation, and without any ("as it is"), on the same images.
        class_order: the model's class for each of the data's, where the reason is their order.
    """

    accuracy: float | None
    accuracy_ci: Interval | None
    n: int
    expected: float | None
    expected_by: Literal["published", "given"] | None
    members_accuracy: float | None
    n_members: int
    chance: float | None
    status: Status
    likely_reason: str | None = None
    tried: Mapping[str, float] | None = None
    class_order: tuple[int, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record; those about explanations only if some were tried."""
        fields = asdict(self)
        for name in ("tried", "class_order"):
            if fields[name] is None:
                del fields[name]
        return fields

    @property
    def is_doubtful(self) -> bool:
        """Whether figures measured on these data hardly describe the model."""
        return self.status in ("below expectation", "near chance", "classes exchanged")

    @property
    def is_low(self) -> bool:
        """Whether nothing is expected and fewer than half the members are right: usually loaded wrongly."""
        return self.status == "no expectation" and right_on_few(self.members_accuracy, self.n_members)

    def sentence(self) -> str:
        """Say in one or two sentences what was found."""
        if self.accuracy is None or self.accuracy_ci is None:
            return "no image that it was not trained on was asked about: its accuracy is unknown."
        low, high = self.accuracy_ci
        text = f"right on {self.accuracy:.1%} [{low:.1%}, {high:.1%}] of {self.n:,} non-members"
        if self.members_accuracy is not None:
            text += f" and {self.members_accuracy:.1%} of {self.n_members:,} members"
        if self.expected is not None:
            text += (
                f"; {self.expected:.1%} {'was expected' if self.expected_by == 'given' else 'is published'}"
            )
        if self.status == "no expectation":
            text += "; what is to be expected is not known."
            if self.is_low:
                text += (
                    f" Right on only {self.members_accuracy:.1%} of its training images: "
                    f"{usual_cause(self.members_accuracy, self.accuracy_ci)}. If it is meant to be so, pass "
                    "expected_accuracy (--expected-accuracy)."
                )
        else:
            text += f": {self.status}."
        if self.likely_reason is not None and self.tried is not None:
            before, after = self.tried[AS_IT_IS], self.tried[self.likely_reason]
            probed, asked = min(PROBED, self.n + self.n_members), self.n + self.n_members
            on = (
                f" of a subsample of {probed:,} images" if self.class_order is None and probed < asked else ""
            )
            text += f" Probably {self.likely_reason}: so {after:.1%}{on} are right instead of {before:.1%}."
            if self.likely_reason == BY_NAME:
                text += " classes=name (--data 'FOLDER?classes=name') takes class folders so."
            elif self.class_order is not None:
                text += " In the record, data.check.class_order has the model's class for each label."
        elif self.is_doubtful:
            text += (
                " Check that the images are of the model's data set, the order of their classes and the "
                f"preprocessing; {len(self.tried or {}) - 1} usual mistakes were tried, and none explains it."
            )
        return text


AS_IT_IS = "as it is"

SORTED = "the model's classes are sorted {}, those of the data are not"
BY_NAME = SORTED.format("by name")
"""What likely happens where ImageFolder trained a model on folders named by numbers, such as 1 to 10."""


class Validity:
    """The check of one audit, made once from the first answers that an attack asks for.

    Attributes:
        check: what was found; None until then.
    """

    def __init__(
        self,
        *,
        expected: float | None = None,
        confidence_level: float = CONFIDENCE_LEVEL,
        batch_size: int = BATCH_SIZE,
        seed: int = 0,
        on_check: Callable[[Check], object] = lambda check: None,
    ) -> None:
        """Prepare the check.

        Args:
            expected: accuracy on images that the model was not trained on; None for the published one.
            confidence_level: of the accuracy's interval.
            batch_size: images in one forward pass.
            seed: decides which images explanations are tried on.
            on_check: called with the check as soon as it is made.

        Raises:
            ValueError: the expected accuracy is no share.
        """
        if expected is not None:
            require_share(expected, "expected_accuracy")
        self.check: Check | None = None
        self._expected, self._level, self._on_check = expected, confidence_level, on_check
        self._batch_size, self._seed = batch_size, seed

    def ask(self, target: Target, data: AuditData) -> None:
        """Make the check from a few hundred images, unless it is made.

        A service is asked about a quarter as many; one whose budget does not suffice is not checked.
        """
        if self.check is None:
            quarter = ASKED // (4 if target.has_weights else 16)
            others = self._draw(data.split.nonmembers, 3 * quarter)
            rows = np.concatenate([others, self._draw(data.split.members, quarter)])
            with contextlib.suppress(BudgetError):
                self.judge(target, data, rows, self._answers(target, data, rows))

    def judge(self, target: Target, data: AuditData, rows: Rows, logits: npt.NDArray[np.float32]) -> None:
        """Make the check from answers that there are already, unless it is made.

        Args:
            target: the model.
            data: its images, as they are, and the split.
            rows: positions of the images that were asked about.
            logits: shape (len(rows), classes), the answers.
        """
        if self.check is not None:
            return
        check = self._measure(target, data, rows, logits)
        if check.status == "near chance" and not check.n_members and target.has_weights:
            more = self._draw(data.split.members, ASKED // 4)
            rows = np.concatenate([rows, more])
            logits = np.concatenate([logits, self._answers(target, data, more)])
            check = self._measure(target, data, rows, logits)
        # In any order, as pairing takes the first ones: members stand before non-members.
        order = np.random.default_rng(self._seed).permutation(len(rows))
        labels, answers = data.images.labels[rows[order]], top_classes(logits)[order]
        exchanged = None if check.is_doubtful else _exchanged(labels, answers, len(data.images.class_names))
        if exchanged is not None:
            check = replace(check, status="classes exchanged")
        if check.is_doubtful:
            check = self._explained(check, target, data, rows[order], answers, logits.shape[1])
        if exchanged is not None and check.likely_reason is None:
            check = replace(check, likely_reason=exchanged.reason, class_order=exchanged.class_order)
        self.check = check
        self._on_check(check)
        if check.is_doubtful or check.is_low:
            warn_caller(f"{target.id} is {check.sentence()}", AccuracyWarning)

    def _draw(self, rows: Rows, most: int) -> Rows:
        drawn = np.random.default_rng(self._seed).permutation(rows)[:most]
        return np.sort(drawn)

    def _answers(self, target: Target, data: AuditData, rows: Rows) -> npt.NDArray[np.float32]:
        images = data.images.select(rows)
        return predict_module(target.module, target.transform, images, batch_size=self._batch_size)

    def _measure(self, target: Target, data: AuditData, rows: Rows, logits: npt.NDArray[np.float32]) -> Check:
        labels, answers = data.images.labels[rows], top_classes(logits)
        member = np.isin(rows, data.split.members)
        right = answers == labels
        others = ~member
        n, hits = int(others.sum()), int(right[others].sum())
        stated = self._expected
        expected = published_accuracy(target.annotation) if stated is None else stated
        return Check(
            accuracy=hits / n if n else None,
            accuracy_ci=wilson_interval(hits, n, confidence_level=self._level) if n else None,
            n=n,
            expected=expected,
            expected_by=None if expected is None else "published" if stated is None else "given",
            members_accuracy=float(right[member].mean()) if member.any() else None,
            n_members=int(member.sum()),
            chance=chance_of(labels[others], answers[others]) if n else None,
            status=_status(
                hits,
                n,
                expected,
                TOLERANCE if stated is None else GIVEN_TOLERANCE,
                at_chance=is_near_chance(labels[others], answers[others])
                and (not member.any() or is_near_chance(labels[member], answers[member])),
            ),
        )

    def _explained(
        self,
        check: Check,
        target: Target,
        data: AuditData,
        rows: Rows,
        answers: Rows,
        num_classes: int,
    ) -> Check:
        """Try what is usually wrong; return the check with what fits best.

        A service or function that only answers is not asked again: its queries may cost something.
        """
        labels, names = data.images.labels[rows], data.images.class_names
        before = answers == labels
        found = list(_other_orders(names, labels, answers, num_classes))
        drawn = np.arange(len(rows))[:PROBED]
        images = data.images.select(rows[drawn])
        ways = _other_inputs(images, target.transform) if target.has_weights else ()
        for reason, change, transform in ways:
            try:
                changed = images if change is None else images.change(change, _shape_after(images, change))
                others = predict_module(target.module, transform, changed, batch_size=self._batch_size)
            except (ValueError, ModelError):  # such as a transposed image for a network of another shape
                continue
            found.append(_Explanation(reason, drawn, others.argmax(1) == labels[drawn]))
        found.append(_paired_order(labels, answers, len(names)))
        tried = {AS_IT_IS: float(before.mean())}
        tried |= {explanation.reason: float(explanation.right.mean()) for explanation in found}
        fitting = [
            explanation
            for explanation in found
            if _explains(before[explanation.rows], explanation.right, check.expected, len(found))
        ]
        best = max((e.right.mean() for e in fitting), default=0.0)
        chosen = next((e for e in fitting if e.right.mean() > best - ALIKE), None)
        if chosen is not None:
            tried[AS_IT_IS] = float(before[chosen.rows].mean())
        return replace(
            check,
            likely_reason=chosen.reason if chosen else None,
            tried=tried,
            class_order=chosen.class_order if chosen else None,
        )


def chance_of(labels: Labels, answers: Labels) -> float:
    """Return how often answers would be right that have nothing to do with the images.

    The sum over classes of (share of labels) x (share of answers): the agreement expected by chance of Cohen
    1960, "A coefficient of agreement for nominal scales".

    >>> chance_of(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    0.5
    """
    classes = int(max(labels.max(), answers.max())) + 1
    shares = [np.bincount(values, minlength=classes) / len(values) for values in (labels, answers)]
    return float(shares[0] @ shares[1])


def is_near_chance(labels: Labels, answers: Labels) -> bool:
    """Return whether a model is hardly better than chance, and so many were asked that it would show.

    With c = `chance_of` the answers, the 99.9 % Wilson interval of the accuracy must either end below
    c + `HARDLY` (1 - c), or reach down to c and end below the middle between c and 1.

    >>> is_near_chance(np.arange(200) % 10, np.arange(200) // 7 % 10)
    True
    >>> is_near_chance(np.array([0, 1]), np.array([1, 0]))  # too few to tell
    False
    """
    if not len(labels):
        return False
    chance = chance_of(labels, answers)
    low, high = wilson_interval(int((labels == answers).sum()), len(labels), confidence_level=SURE)
    return high < chance + HARDLY * (1 - chance) or (low <= chance and high < (1 + chance) / 2)


def usual_cause(members_accuracy: float | None, accuracy_ci: tuple[float, float] | None) -> str:
    """Say what is usually wrong with a model that is right on few of its training images.

    >>> usual_cause(0.4, (0.9, 1.0))
    'members and non-members are probably exchanged, as it is right on more of the others'
    """
    if accuracy_ci is not None and members_accuracy is not None and accuracy_ci[0] > members_accuracy + ALIKE:
        return "members and non-members are probably exchanged, as it is right on more of the others"
    return "usually the preprocessing is wrong"


def right_on_few(accuracy: float | None, n: int) -> bool:
    """Return whether a model is surely right on less than half of its members.

    The 99.9 % Wilson interval of the accuracy must end below one half.

    >>> right_on_few(0.29, 1000), right_on_few(0.29, 10), right_on_few(0.48, 1000)
    (True, False, False)
    """
    return accuracy is not None and wilson_interval(round(accuracy * n), n, confidence_level=SURE).high < 0.5


def _status(hits: int, n: int, expected: float | None, tolerance: float, *, at_chance: bool) -> Status:
    high = wilson_interval(hits, n, confidence_level=SURE).high if n else 1.0
    if expected is not None and high >= expected - tolerance:
        return "as expected"
    if at_chance:
        return "near chance"
    return "no expectation" if expected is None else "below expectation"


class _Explanation(NamedTuple):
    """A mistake, the places of the answers on which it was tried, and whether they would be right then."""

    reason: str
    rows: Rows
    right: Right
    class_order: tuple[int, ...] | None = None


def _explains(before: Right, after: Right, expected: float | None, tried: int) -> bool:
    """Return whether clearly more are right (McNemar's test), and half the gap to what is expected is gone.

    Where nothing is expected, it is the gap to perfection: a poor explanation of a poor model is none.
    """
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if not gained or binomtest(gained, gained + lost, alternative="greater").pvalue > (1 - SURE) / tried:
        return False
    goal = 1.0 if expected is None else expected
    return bool(after.mean() >= (before.mean() + goal) / 2)


def _other_orders(
    names: Sequence[str], labels: Labels, answers: Labels, classes: int
) -> Iterator[_Explanation]:
    """Yield usual orders of the classes; they need no further answers."""
    everywhere, count = np.arange(len(labels)), len(names)
    orders: dict[tuple[int, ...], str] = {tuple(range(count)): ""}

    def sorted_by(key: Callable[[int], Any], how: str) -> None:
        ranked = sorted(range(count), key=key)
        place = tuple(int(rank) for rank in np.argsort(ranked))
        orders.setdefault(place, SORTED.format(how))
        orders.setdefault(tuple(ranked), f"the labels are of classes sorted {how}, the names are not")

    sorted_by(lambda label: names[label], "by name")
    sorted_by(lambda label: names[label].casefold(), "by name without regard to case")
    if all(name.strip().isdecimal() for name in names):
        sorted_by(lambda label: int(names[label]), "as numbers")
        numbers = tuple(int(name) for name in names)
        for shift, what in ((0, "its number"), (1, "its number less one")):
            if min(numbers) - shift >= 0 and max(numbers) - shift < classes:
                mapped = tuple(number - shift for number in numbers)
                orders.setdefault(mapped, f"the name of a class is {what} in the model")
    sorted_by(str, "as text")
    orders.setdefault(tuple(label - 1 for label in range(count)), "the labels are counted from one")
    orders.setdefault(tuple(label + 1 for label in range(count)), "the model has a class before the data's")
    for order, reason in list(orders.items())[1:]:
        yield _Explanation(reason, everywhere, np.array(order)[labels] == answers, order)


def _paired_order(labels: Labels, answers: Labels, count: int) -> _Explanation:
    """Pair labels with answers one to one, so that most are right, whatever the order comes from.

    Each half of the images is judged by the pairs of the other. A label without a pair gets -1.
    """

    def paired(rows: Rows) -> npt.NDArray[np.int64]:
        asked, label = np.unique(labels[rows], return_inverse=True)
        given, answer = np.unique(answers[rows], return_inverse=True)
        together = np.zeros((len(asked), len(given)))
        np.add.at(together, (label, answer), 1)
        chosen, partners = linear_sum_assignment(together, maximize=True)
        order = np.full(count, -1)
        order[asked[chosen]] = given[partners]
        return order

    rows = np.arange(len(labels))[:PAIRED]
    right = np.zeros(len(rows), np.bool_)
    for start in (0, 1):
        right[start::2] = paired(rows[1 - start :: 2])[labels[rows[start::2]]] == answers[rows[start::2]]
    reason = "the classes are in another order than the model's, found by pairing labels with answers"
    return _Explanation(reason, rows, right, tuple(paired(rows).tolist()))


def _exchanged(labels: Labels, answers: Labels, count: int) -> _Explanation | None:
    """Return the order of the classes where some have one another's places in the model; None where none do.

    A class has another's place where more than half of its images get that name, four times as many as get
    their own, where that other class has lost its place, too, if it has images enough to tell, and where more
    are right so on images that the pairs were not found on (McNemar's test).
    """
    found = _paired_order(labels, answers, count)
    assert found.class_order is not None
    order = np.array(found.class_order)
    moved = []
    for label in np.flatnonzero((order >= 0) & (order != np.arange(count))):
        given = answers[labels == label]
        other, own = (given == order[label]).sum(), (given == label).sum()
        if len(given) >= FEWEST and 2 * other > len(given) and other > 4 * own:
            moved.append(label)
    few = np.flatnonzero(np.bincount(labels, minlength=count) < FEWEST)
    while lone := [label for label in moved if order[label] not in moved and order[label] not in few]:
        moved = [label for label in moved if label not in lone]
    rows = np.flatnonzero(np.isin(labels[found.rows], moved))
    before, after = (labels == answers)[found.rows][rows], found.right[rows]
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if not gained or binomtest(gained, gained + lost, alternative="greater").pvalue > 1 - SURE:
        return None
    return found


def _other_inputs(
    images: ImageSource, transform: Preprocessing
) -> Iterator[tuple[str, Change | None, Preprocessing]]:
    """Yield other ways to feed the images: the reason, a change of the pixels, the preprocessing."""
    some = [images.read(row) for row in range(min(len(images), 16))]
    if all(image.shape[-1] == 3 for image in some):
        yield "the channels come in the order blue, green, red", _swap_channels, transform
    yield "the grey levels are inverted", _invert, transform
    yield "rows and columns are exchanged", _transpose, transform
    yield "the images are upside down", _flip, transform
    top = max(int(image.max()) for image in some)
    if 0 < top < 128:
        yield f"the pixels only reach {top} of 255", _brighten(255 / top), transform
    if isinstance(transform, Transform):
        for reason, change, other in _other_transforms(some, transform):
            if other != transform:
                yield reason, change, other


def _other_transforms(
    images: Sequence[Pixels], transform: Transform
) -> Iterator[tuple[str, Change | None, Transform]]:
    """Yield other value ranges, other means and standard deviations, and other ways to the network's size."""
    channels = transform.shape[-1]
    plain = replace(transform, channels=channels, factor=1.0, mean=None, std=None)
    yield "the network takes pixels of 0 to 255", None, replace(plain, factor=255.0)
    if channels == 3 and images[0].shape[-1] == 3:
        mean = tuple(255 * value for value in IMAGENET_MEAN[::-1])
        yield (
            "the network takes pixels of 0 to 255 in the order blue, green, red, less their mean (Caffe)",
            _swap_channels,
            replace(plain, factor=255.0, mean=mean),
        )
    half = (0.5,) * channels
    yield "mean and std are wrong: none at all (pixels of 0 to 1) fits better than those given", None, plain
    yield (
        "mean and std are wrong: 0.5 (pixels of -1 to 1) fits better than those given",
        None,
        replace(plain, mean=half, std=half),
    )
    if channels == 3:
        imagenet = replace(plain, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        yield "mean and std are wrong: ImageNet's fit better than those given", None, imagenet
    # At the network's size: photographs as they are could fill the memory.
    pixels = np.concatenate([transform.crop(image[None]).reshape(-1, channels) for image in images]) / 255
    own = pixels.mean(0), pixels.std(0)
    if own[1].min() > 1 / 255:
        mean, std = (tuple(values.round(3).tolist()) for values in own)
        yield (
            f"mean and std are wrong: those of the images, {mean} and {std}, fit better than those given",
            None,
            replace(plain, mean=mean, std=std),
        )
    if transform.resize is not None:
        sides = (transform.height, transform.width)
        stretched = replace(transform, resize=sides, fit="stretch")
        yield "the whole picture is squashed to the network's size", None, stretched
        covering = replace(transform, resize=sides, fit="cover")
        yield "the shorter side is resized to the network's, without a margin", None, covering
        yield "the whole picture is fitted into the network's size", None, replace(covering, fit="contain")


def _shape_after(images: ImageSource, change: Change) -> tuple[int, ...] | None:
    if images.shape is None:
        return None
    height, width, channels = images.shape
    return (width, height, channels) if change is _transpose else images.shape


def _swap_channels(pixels: Pixels) -> Pixels:
    return pixels[..., ::-1]


def _invert(pixels: Pixels) -> Pixels:
    return 255 - pixels


def _transpose(pixels: Pixels) -> Pixels:
    return pixels.swapaxes(1, 2)


def _flip(pixels: Pixels) -> Pixels:
    return pixels[:, ::-1]


def _brighten(factor: float) -> Change:
    def brightened(pixels: Pixels) -> Pixels:
        stretched: Pixels = np.minimum(np.rint(pixels * factor), 255).astype(np.uint8)
        return stretched

    return brightened
