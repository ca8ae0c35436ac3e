"""The explorer in a real browser: what it shows, how it is sifted, that nothing in a name acts."""

import csv
import json
from dataclasses import replace

import pytest
from support.browsers import running_browser

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.verdicts import verdicts
from securitynet_hub.cli.main import main
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record
from securitynet_hub.reports.models import describe
from securitynet_hub.sharing.explorer.page import _interval, explorer_data, explorer_page
from securitynet_hub.sharing.leaderboard import leaderboards

HOSTILE = '</script><img src=x onerror="document.title=1">=1+1'


def measured(id, auc, *, created="2026-01-01T00:00:00+00:00"):
    """Return a record of 500 members and 500 others, as `audit` writes it, with this AUC."""
    return Record(
        target={"id": id, "weights_hash": None},
        data={"name": "pictures", "sha256": "0" * 64},
        attack={"kind": "membership-inference", "name": "loss", "from_logits": True},
        result={
            "auc": auc,
            "auc_ci": [auc - 0.02, auc + 0.02],
            "n_members": 500,
            "n_nonmembers": 500,
            "confidence_level": 0.95,
        },
        counts={},
        timings={},
        created=created,
        author=HOSTILE,
    )


@pytest.fixture(scope="module")
def records():
    return [
        measured("pytorchcv/cifar10/resnet20", 0.6),
        measured("pytorchcv/cifar10/resnet56", 0.7),
        measured(f"mine/{HOSTILE}", 0.61),
    ]


@pytest.fixture(scope="module")
def address(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(explorer_page(records), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with running_browser() as found:
        yield found


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda request: page.faults.append(request.url) if request.url.startswith("http") else None
    )
    page.goto(address)
    yield page
    assert page.faults == []
    assert page.title() == "SecurityNet explorer"
    page.close()


def shown_ids(page):
    return page.eval_on_selector_all("#grid tbody a", "links => links.map(link => link.title)")


def test_filters_sorting_and_permalinks(page, browser):
    total = len(load_annotations("extended")) + len(load_annotations("zoo")) + 1
    assert page.inner_text("#count").startswith(f"{total:,} of {total:,} models")
    assert 0 < page.locator("#grid tbody tr").count() < 80  # only what is in sight exists
    page.select_option("[name=dataset]", "CIFAR-10")
    page.fill("[name=q]", "resnet20")
    page.click("#grid thead button:has-text('test accuracy')")
    rows = {
        id: row.test_accuracy
        for id, row in load_annotations("extended").items()
        if row.dataset == "CIFAR-10" and "resnet20" in f"{id} {row.architecture}"
    }
    best = sorted((id for id in rows if rows[id] is not None), key=lambda id: -rows[id])
    assert shown_ids(page)[: len(best)] == best
    other = browser.new_page()
    other.goto(page.url)
    assert shown_ids(other)[: len(best)] == best
    other.close()
    page.click("#models .filters button")
    page.locator("#count", has_text=f"{total:,} of").wait_for()


def test_points_are_selected_and_written_to_csv(page, tmp_path):
    page.wait_for_selector("#plot canvas")
    box = page.locator("#plot .points").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] * 0.5, steps=3)
    page.mouse.up()
    page.locator("#count", has_text="selected").wait_for()
    with page.expect_download() as found:
        page.click("#csv")
    found.value.save_as(tmp_path / "shown.csv")
    with (tmp_path / "shown.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    low, high, bottom, top = (
        float(end)
        for end in page.evaluate("new URLSearchParams(location.hash.slice(1)).get('box')").split(",")
    )
    wanted = {
        id
        for id, row in load_annotations("extended").items()
        if row.trusted("overfit_gap") is not None
        and row.trusted("mia_modified_entropy_auc") is not None
        and low <= row.overfit_gap <= high
        and bottom <= row.mia_modified_entropy_auc <= top
    }
    assert {row["id"] for row in rows} == wanted
    assert wanted


def test_a_model_its_results_and_its_board(page, address):
    page.goto(f"{address}#view=model&id=pytorchcv/cifar10/resnet20")
    text = page.inner_text("#model")
    assert "auc 0.600 (0.580 to 0.620)" in text
    assert "train-accuracy-on-subset: The train accuracy is over" in text
    page.goto(f"{address}#view=boards")
    rows = page.eval_on_selector_all(
        "#board tbody tr", "rows => rows.map(r => r.cells[0].textContent + r.cells[1].textContent)"
    )
    assert rows[0] == "1pytorchcv/cifar10/resnet56"
    assert rows[1].startswith("2-3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_has_no_overflow(browser, address, scheme):
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for view in ("", "#view=boards", "#view=model&id=pytorchcv/cifar10/resnet20"):
        page.goto(address + view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
    page.close()


def test_keys_reach_the_table_and_sort_it(page):
    page.focus("#grid thead button >> nth=0")
    page.keyboard.press("Enter")
    assert page.get_attribute("#grid thead th >> nth=0", "aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert page.get_attribute("#grid thead th >> nth=0", "aria-sort") == "descending"


def test_without_scripts_all_models_stand_there(browser, address):
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert page.locator("#plain tbody tr").count() >= len(load_annotations("extended")) + 3
    assert page.is_visible("text=medmnist/adrenalmnist3d/resnet18-acs/1")
    page.close()


def test_distrusted_figures_are_in_no_plot_and_intervals_hold_their_figure(records):
    found = explorer_data(records, [])
    rows = load_annotations("extended")
    for figure in found["figures"]:
        for i, id in enumerate(rows):
            if figure["name"] in ("train_accuracy", "overfit_gap", "mia_modified_entropy_auc"):
                assert (figure["values"][i] is None) == (rows[id].trusted(figure["name"]) is None)
        for value, ends in zip(figure["values"], figure["ends"] or [], strict=False):
            assert ends is None or ends[0] - 1e-4 <= value <= ends[1] + 1e-4, figure["name"]
    json.dumps(found, allow_nan=False)


def test_intervals_of_annotated_figures_are_those_of_the_papers():
    row = replace(
        load_annotations("extended")["pytorchcv/cifar10/resnet20"],
        **{"train_accuracy": 56 / 70, "train_eval_size": 70, "test_accuracy": 48 / 80, "test_eval_size": 80},
        overfit_gap=0.2,
        mia_modified_entropy_auc=0.5,
        mia_members=500,
        mia_nonmembers=500,
    )
    # Newcombe (1998, table II, method 10, contrast a): 56/70 less 48/80
    assert _interval(row, "overfit_gap") == pytest.approx((0.0524, 0.3339), abs=5e-5)
    sd = (0.25 + 2 * 499 * (1 / 3 - 0.25)) ** 0.5 / 500  # Hanley & McNeil (1982) at 1/2: Q1 = Q2 = 1/3
    assert _interval(row, "mia_modified_entropy_auc") == pytest.approx(
        (0.5 - 1.96 * sd, 0.5 + 1.96 * sd), abs=1e-5
    )


def test_boards_that_differ_are_columns_that_differ(records):
    more = [*records, replace(records[0], attack={**records[0].attack, "budget": 3})]
    found = explorer_data(more, leaderboards(more))["figures"]
    words = [figure["words"] for figure in found if "from records" in figure["words"]]
    assert len(set(words)) == 2


OWN = "module/0123456789ab/mine"


def of_own_model(record, **more):
    """Return the record as one of a model that no table has, with the check that went before it."""
    return replace(
        record,
        target={"id": OWN, "weights_hash": None, "num_classes": 10},
        attack={"kind": "membership-inference", "name": "modified_entropy", "from_logits": True},
        data={
            "name": "pictures",
            "sha256": "0" * 64,
            "check": {"status": "no expectation", "accuracy": 48 / 80, "n": 80, "members_accuracy": 56 / 70,
                      "n_members": 70},
        },
        **more,
    )  # fmt: skip


def test_own_models_stand_where_the_public_ones_do_and_the_zoo_has_its_columns(records):
    own = of_own_model(records[0])
    found = explorer_data([own], [])
    place = [model[0] for model in found["models"]].index(OWN)
    figures = {figure["name"]: figure for figure in found["figures"]}
    gap, auc = figures["overfit_gap"], figures["mia_modified_entropy_auc"]  # the axes of the first plot
    assert gap["values"][place] == pytest.approx(0.2)
    assert gap["ends"][place] == pytest.approx([0.0524, 0.3339], abs=5e-5)  # Newcombe (1998, table II)
    assert auc["values"][place] == 0.6
    assert auc["ends"][place] == pytest.approx([0.58, 0.62])
    zoo = load_annotations("zoo")["zoo/fashion-mnist/cnn-corner-patch/7"]
    row = found["models"][[model[0] for model in found["models"]].index(zoo.id)]
    names = [column["name"] for column in found["columns"]]
    assert row[names.index("trigger")] == zoo.trigger
    assert row[names.index("target_class")] == zoo.target_class
    assert set(map(len, found["models"])) == {len(names)}


def test_accuracies_and_verdicts_are_those_of_a_report(records, tmp_path):
    """The check asked about 80 images, an attack counted 400 right of 500: the latter stands on both."""
    counts = {"members": 500, "members_right": 450, "nonmembers": 500, "nonmembers_right": 400}
    id, own = OWN, of_own_model(records[0], counts=counts)
    found = explorer_data([own], [])
    place = [model[0] for model in found["models"]].index(id)
    figures = {figure["name"]: figure for figure in found["figures"]}
    shown = [figures[name]["values"][place] for name in ("train_accuracy", "test_accuracy", "overfit_gap")]
    assert shown == pytest.approx([0.9, 0.8, 0.1])
    model = describe(id, [Entry(own, tmp_path)])
    assert (model.accuracy, model.images, model.gap) == (0.8, 500, pytest.approx(0.1))
    (said,) = found["verdicts"][id]
    (verdict,) = verdicts([own])[id]
    assert [said["title"], said["text"]] == [
        text.replace("\xa0", " ") for text in (verdict.title, verdict.whole)
    ]


def test_a_models_page_opens_with_its_verdict_in_words(page, records):
    (verdict,) = verdicts(records[:1])["pytorchcv/cifar10/resnet20"]
    page.goto(page.url.split("#")[0] + "#view=model&id=pytorchcv/cifar10/resnet20")
    page.wait_for_selector("#model .verdict")
    shown = page.inner_text("#model .verdict").replace("\xa0", " ")
    assert shown.startswith(verdict.title.replace("\xa0", " "))
    assert verdict.whole.replace("\xa0", " ") in shown


def test_the_models_of_the_page_add_up(page, records):
    listed = len(load_annotations("extended")) + len(load_annotations("zoo"))
    added = f"{len(load_annotations('extended')) - len(load_annotations('models'))} added to them"
    parts = (
        f"{len(load_annotations('models'))} of SecurityNet, {added}, {len(load_annotations('zoo'))} of the"
    )
    assert (
        f"{listed:,} annotated image classifiers ({parts} embedded zoo), 1 further model of shared results"
        in page.inner_text("body")
    )
    page.locator("#count", has_text=f"{listed + 1:,} of {listed + 1:,} models").wait_for()


def test_points_are_drawn_before_their_intervals(page):
    """With intervals there is more ink than without, and it is there in the end."""
    page.wait_for_selector("#plot canvas")
    ink = """() => { const canvas = document.querySelector("#plot canvas.points");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let found = 0; for (let i = 3; i < data.length; i += 4) found += data[i] > 0; return found; }"""
    page.wait_for_timeout(500)
    both = page.evaluate(ink)
    page.uncheck("[name=intervals]")
    page.wait_for_timeout(300)
    points = page.evaluate(ink)
    page.check("[name=intervals]")
    page.wait_for_timeout(500)
    assert page.evaluate(ink) == both > points > 0


def test_a_point_is_named_under_the_pointer_and_leads_to_its_model(page):
    page.fill("[name=q]", "resnet56 cifar-10")
    page.uncheck("[name=intervals]")
    page.wait_for_timeout(300)
    darkest = """() => { const canvas = document.querySelector("#plot canvas.points");
      const box = canvas.getBoundingClientRect();
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let best = 3; for (let i = 3; i < data.length; i += 4) if (data[i] > data[best]) best = i;
      const at = (best - 3) / 4, scale = box.width / canvas.width;
      return [box.left + scale * (at % canvas.width), box.top + scale * Math.floor(at / canvas.width)]; }"""
    x, y = page.evaluate(darkest)
    page.mouse.move(x, y)
    id, across, up = page.inner_text("#tip").split("\n")
    assert "resnet56" in id
    row = load_annotations("extended")[id]
    assert f"{row.overfit_gap:.3f}" in across
    assert f"{row.mia_modified_entropy_auc:.3f}" in up
    page.mouse.click(x, y)
    page.wait_for_selector(f"#model h2:text-is('{id}')")


def test_the_command(tmp_path, capsys):
    main(["explore", "--out", str(tmp_path / "page.html")])
    assert "page.html" in capsys.readouterr().out
    assert "connect-src" not in (text := (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "default-src 'none'" in text
