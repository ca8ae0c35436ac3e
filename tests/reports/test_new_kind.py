"""A new kind of attack is one folder: its section, table and verdict appear in a report of nothing else."""

import csv
import io
import sys

import pytest
from support.report_pages import Page, entries, record

from securitynet_hub import attacks
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.reports.frames import record_frame
from securitynet_hub.reports.page import write_report

KIND = """
from dataclasses import dataclass

from securitynet_hub.attacks.kind import Kind


@dataclass(frozen=True, kw_only=True)
class Options:
    pass


KIND = Kind(
    name="model-inversion", title="Model inversion", package="securitynet_hub.attacks.inversion", order=9,
    question="what training images look like", needs="nothing", group="model-inversion", headline=("psnr",),
    options=Options, outcomes=frozenset({"seconds"}),
)
"""
PRESENT = """
from securitynet_hub.attacks.present import (
    Column, Figures, Line, PageTable, Section, Standing, Summary, Verdict, measured,
)
from securitynet_hub.plots.plot import Plot, drawing


def summarise(entries, samples):
    ordered = sorted(entries, key=lambda entry: -measured(entry, "psnr").value)
    best = measured(ordered[0], "psnr")
    return Summary(
        entries=ordered,
        verdicts=[Verdict(tone="alarm", title="Images can be rebuilt", text="By far.", counted=True)],
        severity=best.value,
        accuracy=0.75,
        images=1200,
        standings=[Standing(column="stealing_agreement", words="made-up figure", measured=best)],
        compared={Column("best PSNR", digits=1): best},
        meanings={"PSNR": "How alike two images are, in decibels."},
    )


def section(entries, samples):
    with drawing(3, 2) as (figure, _):
        pass
    table = PageTable(
        label="Inversion", heading="attack", columns=[Column("PSNR", digits=2), Column("remark", prose=True)],
        lines=[Line(e.attack, [measured(e, "psnr"), "<b>sharp</b>"]) for e in entries],
        caption="In decibels.", note="Higher is sharper.",
    )
    plot = Plot("psnr", "PSNR of every image, made up for a test", figure, {"psnr": [1]})
    return Section(
        title="Model inversion", parts=[table, Figures(plots=[plot], heading="How sharp")],
        missing=["the images need --samples."],
    )


def frame(records):
    return {"stealing_agreement": records[-1].result["psnr"] / 100, "test_accuracy": 0.75}
"""


@pytest.fixture
def inversion(tmp_path, monkeypatch):
    """Put the folder of a made-up kind beside the others."""
    folder = tmp_path / "kinds" / "inversion"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("kind", KIND), ("present", PRESENT)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(attacks, "__path__", [*attacks.__path__, str(folder.parent)])
    kinds.cache_clear()
    yield "model-inversion"
    kinds.cache_clear()
    for name in [name for name in sys.modules if name.startswith("securitynet_hub.attacks.inversion")]:
        del sys.modules[name]
    vars(attacks).pop("inversion", None)


def rebuilt(kind, id="lab/a", attack="descent", psnr=21.5, **settings):
    result = {"psnr": psnr, "psnr_ci": [psnr - 1, psnr + 1]}
    return record(id, attack=attack, kind=kind, result=result, data={"name": "cifar10"}, attack_more=settings)


def test_it_appears_in_a_report(tmp_path, inversion):
    records = [rebuilt(inversion), rebuilt(inversion, attack="diffusion", psnr=30.25)]
    records.append(record("lab/a", data={"name": "cifar10"}))
    out = tmp_path / "report.html"
    page = Page(write_report(entries(*records), out, data=tmp_path / "data"))
    headings = [text.strip() for text in page.texts]
    assert headings.index("Membership inference") < headings.index("Model inversion")
    assert (
        "In decibels. attack PSNR remark diffusion 30.25 (29.25 to 31.25) <b>sharp</b> descent" in page.text
    )
    assert "Higher is sharper." in page.text
    assert "How sharp" in page.text
    assert "Not shown: the images need --samples." in page.text
    assert "Images can be rebuilt By far." in page.text
    assert "test accuracy 0.750" in page.text
    assert "on 75.0% of 1,200 images that it was not trained on" in page.text
    assert "PSNR How alike two images are, in decibels." in page.text
    assert "Made-up figure, 30.250: higher than that of 100 %" in page.text.replace("\u00a0", " ")
    labels = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert "PSNR of every image, made up for a test" in labels
    (line,) = csv.DictReader(io.StringIO((tmp_path / "data" / "model-1-psnr.csv").read_text()))
    assert line == {"psnr": "1"}


def test_it_is_compared(tmp_path, inversion):
    records = [rebuilt(inversion), rebuilt(inversion, "lab/b", psnr=30.25), record("lab/c", result={})]
    page = Page(write_report(entries(*records), tmp_path / "report.html"))
    assert "Images can be rebuilt: 2 of 3 models" in page.text
    assert "best PSNR" in page.text
    places = [page.source.index(f'id="model-{n}" aria-label="lab/{x}"') for n, x in enumerate("cba", 1)]
    assert places == sorted(places)
    cells = [text.strip() for text in page.texts]
    assert "30.2" in cells  # to one decimal, half to even


def test_only_settings_tell_its_measurements_apart(tmp_path, inversion):
    again = [rebuilt(inversion, seconds=seconds, steps=5) for seconds in (1, 2)]
    page = Page(write_report(entries(*again, rebuilt(inversion, steps=9)), tmp_path / "report.html"))
    assert page.text.count("21.50 (20.50 to 22.50)") == 2


def test_its_records_extend_the_study(inversion):
    (row,) = record_frame([rebuilt(inversion, psnr=40.0)]).to_dict("records")
    assert (row["stealing_agreement"], row["test_accuracy"], row["dataset"]) == (0.4, 0.75, "CIFAR-10")
    annotated = record_frame([rebuilt(inversion, "zoo/fashion-mnist/cnn-clean/1")])
    assert annotated["test_accuracy"].item() != 0.75  # an annotation is trusted more than a few images


def test_without_the_folder_its_figures_are_listed(tmp_path):
    page = Page(write_report(entries(rebuilt("model-inversion")), tmp_path / "report.html"))
    assert "descent (model-inversion) figure value psnr 21.500 (20.500 to 22.500)" in page.text
