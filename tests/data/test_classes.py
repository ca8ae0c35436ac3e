"""The classes of images among a model's: by name, by synset, by number, in order, or refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.subject import read_data
from securitynet_hub.data.classes import imagenet_synsets, match_classes

KNOWN = ("tench, Tinca tinca", "goldfish, Carassius auratus", "crane, bird", "crane, machine", "T-shirt/top")


def match(names, count=5, known=KNOWN):
    found = match_classes(names, count, known, data="images", model="m")
    return found.positions.tolist(), found.how


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["goldfish", "Tinca_tinca"], [1, 0]),
        (["t shirt top"], [4]),
        (["crane, machine", "bird"], [3, 2]),
        (list(KNOWN), [0, 1, 2, 3, 4]),
    ],
)
def test_by_name_whatever_case_marks_and_synonym(names, expected):
    assert match(names) == (expected, "by name")


def test_by_synset_for_imagenet_alone():
    synsets = imagenet_synsets()
    names = [synsets[999], synsets[3]]
    assert match(names, 1000, None) == ([999, 3], "by synset")
    with pytest.raises(ValueError, match="cannot be told"):
        match(names, 5, None)


def test_by_number_where_names_are_class_numbers():
    assert match(["0", "3"], 5, None) == ([0, 3], "by number")
    assert match(["1", "2", "3"], 3, None) == ([0, 1, 2], "in order"), "from 1 to the number of classes"
    with pytest.raises(ValueError, match="cannot be told"):
        match(["1", "7"], 5, None)


def test_in_order_where_all_are_there():
    assert match(["a", "b"], 2, None) == ([0, 1], "in order")


@pytest.mark.parametrize("names", [["crane"], ["goldfish", "shark"], ["goldfish", "tench", "a", "b", "c"]])
def test_what_cannot_be_told_is_refused(names):
    with pytest.raises(ValueError, match=r"cannot be told.*\?classes=order"):
        match(names)


@pytest.mark.parametrize("how", ["by name", "by number"])
def test_a_folder_with_some_classes_scores_as_they_do_among_all(tmp_path, how):
    """A model that is right about these images stays right about them."""
    images, target = load_images(), load_target("zoo/fashion-mnist/cnn-clean/1")
    target = replace(target, class_names=images.class_names)
    for label in (7, 9):
        name = str(label) if how == "by number" else images.class_names[label].lower().replace(" ", "_")
        for split, start in (("train", 0), ("test", 2000)):
            rows = start + np.flatnonzero(images.labels[start : start + 2000] == label)[:20]
            for row in rows:
                path = tmp_path / split / name / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(images.pixels[row, ..., 0]).save(path)
    (record,) = audit(target, attacks=["loss"], data=read_data(tmp_path, channels=1))
    assert record.counts["nonmembers_right"] >= 35
    assert record.data["classes"] == how
    for split in ("train", "test"):
        for path in list((tmp_path / split).iterdir()):
            path.rename(path.with_name(f"kind-{path.name}"))
    with pytest.raises(ValueError, match="cannot be told"):
        read_data(tmp_path, channels=1).matched_to(target)


def test_sorted_by_name_as_image_folder_does(tmp_path):
    """A network that ImageFolder trained on folders 1 to 10 answers 1 for the folder 10."""
    for more, split in enumerate(("train", "test")):
        for number in range(1, 11):
            folder = tmp_path / split / str(number)
            folder.mkdir(parents=True)
            Image.new("L", (4, 4), 10 * number + more).save(folder / "one.png")
    in_order = [str(number) for number in range(1, 11)]
    for classes, names in (("match", in_order), ("name", sorted(in_order))):
        images = read_data(tmp_path, channels=1, classes=classes).images
        assert images.class_names == tuple(names)
        shown = [str(int(images.read(row).mean()) // 10) for row in range(len(images.labels))]
        assert [images.class_names[label] for label in images.labels] == shown
    assert images.describe()["classes"] == "sorted by name"
    assert images.matched
