"""The first line of a report, from audits of models that leak, that do not, and that cannot be judged."""

import copy
import re

import numpy as np
import pytest
import torch
from support.planted_shifts import SHIFTS
from support.report_pages import Page, entries

import securitynet_hub as hub
from securitynet_hub.attacks.membership.verdict import judge
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import AccuracyWarning
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.splits import Split
from securitynet_hub.reports.page import write_report

OVERFITTED = "zoo/fashion-mnist/cnn-overfitted-500/1"
CLEAN = "zoo/fashion-mnist/cnn-clean/1"
ATTACKS = ["loss", "correctness"]


@pytest.fixture(scope="module")
def images():
    return hub.load_images()


def first_line(records, tmp_path):
    page = Page(write_report(entries(*records), tmp_path / "report.html")).source
    found = page[page.index('class="findings"') :]
    return re.sub(r"(<[^>]+>|\s)+", " ", found[: found.index("</ol>")]).replace("\u00a0", " ")


def changed(images, rows, change):
    """Return the images, those of some rows changed."""
    pixels = images.pixels.copy()
    for row in rows:
        pixels[row] = change(pixels[row])
    return LabelledImages(
        name=images.name, pixels=pixels, labels=images.labels, class_names=images.class_names
    )


def permuted(id, order):
    """Return a target whose classes stand in another order: the last layer's rows change places."""
    target = copy.deepcopy(hub.load_target(id))
    last = [module for module in target.module.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.copy_(last.weight[order])
        last.bias.copy_(last.bias[order])
    return target


def test_a_leak(tmp_path):
    line = first_line(hub.audit(OVERFITTED, attacks=ATTACKS), tmp_path)
    assert "Leaks membership (moderate): given a training image and another image, an attacker picks" in line


@pytest.mark.parametrize("order", [[*range(1, 10), 0], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
def test_permuted_classes(tmp_path, order):
    with pytest.warns(AccuracyWarning):
        records = hub.audit(permuted(OVERFITTED, order), attacks=ATTACKS)
    assert judge(records).finding == "cannot be judged"
    line = first_line(records, tmp_path)
    assert "Cannot be judged: the model is right on" in line
    assert "Leaks" not in line
    assert "No leak" not in line


@pytest.mark.parametrize("shift", ["brightness", "jpeg"])
def test_images_that_no_network_saw_but_that_differ(tmp_path, images, shift):
    """Two halves of the test images, one stored in another way: the attacks find that, the page says so."""
    drawn = np.random.default_rng(0).permutation(np.arange(2000, 4000))
    split = Split(members=drawn[:1000], nonmembers=drawn[1000:])
    change = (lambda image: (image * 0.75).astype(np.uint8)) if shift == "brightness" else SHIFTS[shift]
    records = hub.audit(
        CLEAN, attacks=["loss", "entropy"],
        data=AuditData(images=changed(images, split.nonmembers, change), split=split),
    )  # fmt: skip
    assert all(record.result["blind_baseline"]["auc"] > 0.99 for record in records)
    page = Page(write_report(entries(*records), tmp_path / "report.html"))
    assert (
        "Withheld: members and non-members differ before any training; a classifier that never asks"
        in page.text
    )
    assert "higher than that of" not in page.text  # no percentile either
    assert "Where this model stands" not in page.text


def test_the_same_images_undisturbed_show_no_leak(tmp_path, images):
    drawn = np.random.default_rng(0).permutation(np.arange(2000, 4000))
    data = AuditData(images=images, split=Split(members=drawn[:1000], nonmembers=drawn[1000:]))
    line = first_line(hub.audit(CLEAN, attacks=["loss", "entropy"], data=data), tmp_path)
    assert "No leak found: an AUC of 0.54" in line
    assert "would have been found with 80 % power" in line


@pytest.mark.parametrize("count", [10, 14])
def test_few_samples(tmp_path, images, count):
    drawn = np.random.default_rng(1).permutation(np.arange(2000, 4000))
    data = AuditData(images=images, split=Split(members=drawn[:count], nonmembers=drawn[count : 2 * count]))
    line = first_line(hub.audit(CLEAN, attacks=["loss"], data=data), tmp_path)
    assert f"Cannot tell: {count} members and {count} non-members are too few" in line


def test_swapped_lists(tmp_path, images):
    """Members listed as non-members: the score ranks the wrong way round."""
    data = known_data(hub.load_target(OVERFITTED).annotation)
    swapped = AuditData(
        images=data.images, split=Split(members=data.split.nonmembers, nonmembers=data.split.members)
    )
    line = first_line(hub.audit(OVERFITTED, attacks=["loss"], data=swapped), tmp_path)
    assert "Sign reversed: loss ranks non-members above members, AUC 0." in line
