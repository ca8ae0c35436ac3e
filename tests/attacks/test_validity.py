"""Data that are not the model's are noticed before the attacks, and what is wrong with them is named."""

import copy
import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from securitynet_hub import AuditData, LabelledImages
from securitynet_hub.annotations.schema import unlisted
from securitynet_hub.attacks.audit import audit
from securitynet_hub.attacks.membership.verdict import judge
from securitynet_hub.attacks.membership.wording import word
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.attacks.validity import BY_NAME, Validity, chance_of, is_near_chance
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.data.splits import Split
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.functions import black_box
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target

COLOURS = np.array([[230, 40, 40], [40, 60, 230], [40, 200, 60]])
NAMES = tuple(str(number) for number in range(15))


def coloured(count, seed):
    """Digits in three colours at three places of a wide picture: class = digit // 2 + 5 * colour."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    rows, places = rng.permutation(len(digits.images))[:count], rng.integers(0, 3, count)
    colours = rng.integers(0, 3, count)
    levels = np.zeros((count, 16, 48))
    for image, row, place in zip(levels, rows, places, strict=True):
        image[:, 16 * place : 16 * place + 16] = digits.images[row].repeat(2, 0).repeat(2, 1) / 16
    pixels = levels[..., None] * COLOURS[colours][:, None, None] + rng.normal(10, 8, (count, 16, 48, 3))
    return pixels.clip(0, 255).astype(np.uint8), digits.target[rows] // 2 + 5 * colours


@pytest.fixture(scope="module")
def subject():
    """A small network trained on whole, squashed colour pictures, and its data."""
    pixels, labels = coloured(1500, seed=0)
    transform = Transform(height=16, width=16, resize=(16, 16), mean=(0.4, 0.1, 0.7), std=(0.1, 0.3, 0.2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 4, stride=2, padding=1), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 4, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(32 * 16, 15),
        )  # fmt: skip
        inputs, classes = transform(pixels[:1100]), torch.from_numpy(labels[:1100])
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(12):
            for batch in torch.randperm(1100).split(64):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(network(inputs[batch]), classes[batch]).backward()
                optimiser.step()
    annotation = unlisted("test", "own", "colours", num_classes=15, architecture="cnn")
    target = Target(annotation=annotation, module=network, transform=transform, num_classes=15)
    images = LabelledImages(name="colours", pixels=pixels, labels=labels, class_names=NAMES)
    split = Split(members=np.arange(700, 1100), nonmembers=np.arange(1100, 1500))
    return target, AuditData(images=images, split=split)


def checked(target, data, attacks="loss", **options):
    """Audit; return the check, whether a warning came, and the records."""
    checks = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AccuracyWarning)
        records = audit(target, attacks=attacks, data=data, on_check=checks.append, **options)
    (check,) = checks
    for record in records:
        assert record.data["check"]["status"] == check.status
        assert record.data["check"]["likely_reason"] == check.likely_reason
    return check, [str(w.message) for w in caught if w.category is AccuracyWarning], records


def with_pixels(data, change):
    return replace(data, images=replace(data.images, pixels=np.ascontiguousarray(change(data.images.pixels))))


def with_labels(data, order, **changes):
    return replace(data, images=replace(data.images, labels=np.asarray(order)[data.images.labels], **changes))


def with_transform(target, **changes):
    other = copy.copy(target)
    object.__setattr__(other, "transform", replace(target.transform, **changes))
    return other


class TestCleanData:
    def test_without_an_expectation(self, subject):
        check, told, _ = checked(*subject)
        assert (check.status, check.likely_reason, check.expected, told) == ("no expectation", None, None, [])
        assert check.accuracy > 0.8
        assert check.accuracy_ci[0] < check.accuracy < check.accuracy_ci[1]
        assert (check.n, check.n_members) == (400, 400)
        assert check.members_accuracy >= check.accuracy

    def test_as_stated(self, subject):
        check, told, records = checked(*subject, expected_accuracy=0.9)
        assert (check.status, check.expected_by, told) == ("as expected", "given", [])
        assert "90.0% was expected: as expected." in check.sentence()
        assert records[0].data["check"]["expected"] == 0.9

    def test_a_model_that_is_right_on_members_alone_is_no_mistake(self, subject):
        """Overfitted on random labels: chance on others, but the data are the model's."""
        target, data = subject
        answers = target.module(target.transform(data.images.pixels)).argmax(1).numpy()
        labels = answers.copy()
        labels[data.split.nonmembers] = np.random.default_rng(0).integers(0, 15, 400)
        data = replace(data, images=replace(data.images, labels=labels))
        check, told, _ = checked(target, data)
        assert (check.status, check.members_accuracy, told) == ("no expectation", 1, [])

    def test_few_right_on_members_is_told_and_changes_no_verdict(self, subject):
        """Forgotten normalisation may leave a third right: far above chance, but hardly as it was trained."""
        target, data = subject
        labels = data.images.labels.copy()
        wrong = np.random.default_rng(0).random(len(labels)) < 0.7
        labels[wrong] = np.random.default_rng(1).integers(0, 15, int(wrong.sum()))
        data = replace(data, images=replace(data.images, labels=labels))
        check, told, records = checked(target, data)
        assert (check.status, check.likely_reason) == ("no expectation", None)
        few = f"ight on only {check.members_accuracy:.1%} of its training images: usually the preprocessing"
        assert [few in text for text in told] == [True]
        judgement = judge(records)
        assert judgement.finding != "cannot be judged"
        assert few.replace("%", "\u00a0%") in word(judgement).text
        meant, told, _ = checked(target, data, expected_accuracy=check.accuracy)
        assert (meant.status, told) == ("as expected", [])

    def test_exchanged_sides_are_told(self, subject):
        """Right on a third of the members and on all others: what it was trained on are the others."""
        target, data = subject
        labels = data.images.labels.copy()
        wrong = data.split.members[np.random.default_rng(0).random(len(data.split.members)) < 0.7]
        labels[wrong] = np.random.default_rng(1).integers(0, 15, len(wrong))
        check, told, records = checked(target, replace(data, images=replace(data.images, labels=labels)))
        assert check.status == "no expectation"
        for text in (*told, word(judge(records)).text):
            assert "members and non-members are probably exchanged" in text

    def test_the_zoo_is_as_published(self):
        target = load_target("zoo/fashion-mnist/cnn-clean/1")
        for attacks, options in [
            ("loss", {}),
            ("model_stealing", {"budgets": [5]}),
            ("mm_bd", {"settings": {"mm_bd": {"images_per_class": 2, "steps": 5}}}),
        ]:
            check, told, _ = checked(target, known_data(target.annotation), attacks, **options)
            assert (check.status, check.expected_by, told) == ("as expected", "published", [])

    def test_the_same_measurement_is_recognised_whatever_was_expected(self, subject):
        units = {checked(*subject, **known)[2][0].unit for known in ({}, {"expected_accuracy": 0.9})}
        assert len(units) == 1


LETTERS = tuple("qwertyuiopasdfg")
MIXED = tuple("qWeRtYuIoPaSdFg")
PERMUTED = np.random.default_rng(3).permutation(15)

PIXELS = {
    "the channels come in the order blue, green, red": lambda pixels: pixels[..., ::-1],
    "the grey levels are inverted": lambda pixels: 255 - pixels,
    "the images are upside down": lambda pixels: pixels[:, ::-1],
    "the pixels only reach 1 of 255": lambda pixels: (pixels > 127).astype(np.uint8),
    "the pixels only reach 63 of 255": lambda pixels: pixels // 4,
}
LABELS = {
    # Folders 0, 1, 10, ... are labelled as they are listed; the model counts them.
    "the model's classes are sorted as numbers, those of the data are not": {
        "order": [sorted(NAMES).index(name) for name in NAMES], "class_names": tuple(sorted(NAMES)),
    },
    "the model's classes are sorted by name, those of the data are not": {
        "order": [LETTERS.index(name) for name in sorted(LETTERS)], "class_names": LETTERS,
    },
    "the model's classes are sorted by name without regard to case, those of the data are not": {
        "order": [sorted(MIXED).index(name) for name in sorted(MIXED, key=str.lower)],
        "class_names": tuple(sorted(MIXED)),
    },
    "the labels are of classes sorted as text, the names are not": {
        "order": [sorted(NAMES).index(name) for name in NAMES], "class_names": LETTERS,
    },
    "the labels are counted from one": {"order": [*range(1, 15), 0], "class_names": LETTERS},
    "the classes are in another order than the model's, found by pairing labels with answers": {
        "order": PERMUTED, "class_names": LETTERS,
    },
}  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize("expected", [None, 0.9])
    @pytest.mark.parametrize("reason", PIXELS)
    def test_in_pixels(self, reason, expected, subject):
        target, data = subject
        check, told, _ = checked(target, with_pixels(data, PIXELS[reason]), expected_accuracy=expected)
        if expected is None and check.status == "no expectation":  # above chance: no reason is looked for
            assert (check.accuracy > 2 * check.chance, len(told)) == (True, check.is_low)
            return
        assert check.likely_reason == reason, check.sentence()
        assert check.status in ("near chance", "below expectation", "classes exchanged")
        assert reason in told[0]

    @pytest.mark.parametrize("expected", [None, 0.7])
    def test_two_classes_of_fifteen_that_changed_places(self, expected, subject):
        """What is left of the accuracy is far above chance, and may be what is expected."""
        target, data = subject
        order = np.arange(15)
        order[[3, 11]] = 11, 3
        check, told, records = checked(target, with_labels(data, order), expected_accuracy=expected)
        assert check.status == "classes exchanged"
        assert "in another order than the model's" in told[0]
        assert [check.class_order[label] for label in (3, 11, 4)] == [11, 3, 4]
        assert judge(records).finding == "cannot be judged"

    @pytest.mark.parametrize("reason", LABELS)
    def test_in_the_order_of_the_classes(self, reason, subject):
        target, data = subject
        if reason == "the labels are counted from one":  # there is no fifteenth class then
            known = [
                side[data.images.labels[side] < 14] for side in (data.split.members, data.split.nonmembers)
            ]
            data = replace(data, split=Split(members=known[0], nonmembers=known[1]))
        check, told, records = checked(target, with_labels(data, **LABELS[reason]), expected_accuracy=0.9)
        assert check.likely_reason == reason, check.sentence()
        named = np.array(check.class_order)[np.asarray(LABELS[reason]["order"])]
        assert named[:14].tolist() == list(range(14))  # what it names undoes it
        assert records[0].data["check"]["class_order"] == list(check.class_order)
        assert len(told) == 1
        remedy = "?classes=name" if reason == BY_NAME else "class_order"
        assert remedy in told[0]

    def test_in_how_they_get_to_the_networks_size(self, subject):
        target, data = subject
        check, _, _ = checked(with_transform(target, resize=18), data, expected_accuracy=0.9)
        assert check.likely_reason == "the whole picture is squashed to the network's size", check.sentence()


class TestServices:
    """Functions and services may charge for each question."""

    @pytest.fixture
    def service(self):
        """The zoo's own data, inverted, and a service that counts the pictures it is asked about."""
        target = load_target("zoo/fashion-mnist/cnn-clean/1")
        data, asked = known_data(target.annotation), []

        def answer(pixels):
            asked.append(len(pixels))
            with torch.inference_mode():
                return target.module(target.transform(255 - pixels)).softmax(1).numpy()

        return answer, data, asked

    def test_they_are_not_asked_again(self, service):
        answer, data, asked = service
        check, told, _ = checked(black_box(answer, num_classes=10), data)
        assert (check.status, check.likely_reason, len(told)) == ("near chance", None, 1)
        assert sum(asked) == 2000

    def test_a_budget_that_does_not_suffice_leaves_them_unchecked(self, service):
        answer, data, _ = service
        validity = Validity()
        validity.ask(black_box(answer, num_classes=10, budget=50), data)
        assert validity.check is None
        validity.ask(black_box(answer, num_classes=10, name="other", budget=100), data)
        assert (validity.check.n, validity.check.n_members) == (75, 25)


class TestCommandLine:
    MODEL = "zoo/fashion-mnist/cnn-overfitted-250/1"

    def test_it_says_before_the_attacks_what_it_found(self, run):
        code, out, err = run("audit", self.MODEL, "--attacks", "loss")
        assert code == 0
        text = " ".join(err.split())
        assert re.search(r"right on \S+ \[.*\] of 1,750 non-members and \S+ of 250 members; 73\.7% is", text)
        assert "published: as expected." in text
        assert out.startswith("Leaks membership")  # the figures begin with the verdict

    def test_what_is_wrong_goes_to_standard_error_too_and_into_the_record(self, run):
        code, out, err = run(
            "audit", self.MODEL, "--attacks", "loss", "--expected-accuracy", "0.99", "--json"
        )
        (record,) = json.loads(out)
        assert code == 0
        assert "99.0% was expected: below expectation. Check that the images are" in " ".join(err.split())
        assert record["data"]["check"]["status"] == "below expectation"

    @pytest.mark.parametrize("value", ["93", "-0.1", "nan"])
    def test_an_expectation_must_be_a_share(self, value, run):
        code, _, err = run("audit", self.MODEL, "--attacks", "loss", f"--expected-accuracy={value}")
        assert code == 2
        assert "must lie in 0..1" in err


def test_chance_by_hand():
    assert chance_of(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])) == pytest.approx((2 + 3) / 16)
    everything = np.zeros(300, np.int64)
    assert is_near_chance(np.arange(300) % 10, everything)  # it answers with one class
    assert not is_near_chance(everything, everything)
    assert not is_near_chance(np.arange(8), np.roll(np.arange(8), 1))  # too few to tell
    assert not is_near_chance(everything[:0], everything[:0])
