"""The pages in a real browser: nothing asked of a network, nothing beyond the edge, sorting, speed."""

from dataclasses import replace

import pytest
from support.audit_records import many_records
from support.browsers import running_browser
from support.drawn_records import measured
from support.report_pages import HOSTILE, Page, entries, record

from securitynet_hub import audit
from securitynet_hub.records.entries import read_entries
from securitynet_hub.reports.page import write_report
from securitynet_hub.reports.study import write_study
from securitynet_hub.sharing.export import to_html
from securitynet_hub.sharing.leaderboard import leaderboards

pytestmark = pytest.mark.slow

BEYOND = """() => [...document.querySelectorAll("body *")]
    .filter(element => !element.closest(".scroll, .skip"))
    .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(element => element.outerHTML.slice(0, 90))"""

# WCAG 2.2, 1.4.3: the contrast of every text with what lies behind it.
FAINT = """() => {
    const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(linear);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (!colour.endsWith(", 0)")) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const ratio = element => {
        const style = getComputedStyle(element);
        const ink = element.closest("svg") ? style.fill : style.color;
        const [one, other] = [luminance(ink), luminance(ground(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    };
    return [...document.querySelectorAll("main *, header *, footer *")]
        .filter(element => !element.closest("defs, style"))
        .filter(element => [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
        .filter(element => ratio(element) < 4.5).map(element => element.outerHTML.slice(0, 90));
}"""


# 1.4.11: what is drawn for itself, lines, bars and dots (areas behind them, grids and frames are not).
FAINT_MARKS = """() => {
    const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const parts = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const paper = parts(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll("svg path, svg use, svg line, svg circle")].filter(mark => {
        const style = getComputedStyle(mark);
        const ink = style.stroke !== "none" ? style.stroke : style.fill;
        if (ink === "none" || ink.startsWith("url") || mark.closest("defs") || style.opacity < 0.5
            || (style.stroke !== "none" ? style.strokeOpacity : style.fillOpacity) < 0.5) return false;
        const [one, other] = [luminance(parts(ink)), luminance(paper)];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 3;
    }).map(mark => mark.outerHTML.slice(0, 120));
}"""


# No label of a figure is cut off by the figure's edge.
CUT = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
    const edge = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 1
            || box.bottom > edge.bottom + 1;
    }).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def browser():
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def audited(real_audit, tmp_path_factory):
    """The page of a real audit: members, theft, detectors, with pictures."""
    page = tmp_path_factory.mktemp("audited") / "page.html"
    return write_report(read_entries([real_audit]), page, samples=real_audit / "samples")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Three models, one of them hostile, whose AUCs are 0.9, 0.1 and 0.25."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    aucs = {"lab/nine": 0.9, HOSTILE + "x" * 90: 0.1, "lab/quarter": 0.25}
    records = [
        record(id, result={"auc": auc, "auc_ci": [auc - 0.05, auc + 0.05]}) for id, auc in aucs.items()
    ]
    unmeasured = record("lab/unmeasured", attack="loss", result={"auc": 0.5, "auc_ci": [0.4, 0.6]})
    return write_report(entries(*records, unmeasured), out)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder / "study.html"


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A leaderboard of five models and a hostile one."""
    out = tmp_path_factory.mktemp("board") / "board.html"
    records = [measured(n, target=id) for n, id in enumerate([HOSTILE, *(f"lab/net-{n}" for n in range(5))])]
    out.write_text(to_html(leaderboards(records)), encoding="utf-8")
    return out


@pytest.fixture
def opened(browser, request):
    """Open a page; at the end, its console must be empty and nothing asked for but the file."""
    contexts, said, asked = [], [], []

    def at(path, width=1600, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asking: asked.append(asking.url))
        page.goto(path.as_uri())
        assert asked.pop(0) == path.as_uri()
        return page

    yield at
    assert said == []
    assert [url for url in asked if not url.startswith("data:image/png")] == []
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["report", "audited", "study", "board"])
def test_nothing_overflows_and_all_text_is_whole_and_legible(name, opened, request):
    page = opened(request.getfixturevalue(name))
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(BEYOND) == []
        assert page.evaluate(CUT) == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FAINT) == []
        assert page.evaluate(FAINT_MARKS) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")


def test_many_measures_fit_beside_one_another_and_tables_are_told_apart(opened, real_audit, tmp_path):
    """Five measures of two models, one of them attacked at two sizes, at 1,280 pixels."""
    found = [entry.record for entry in read_entries([real_audit])]
    id = found[0].target["id"]
    settings = {"common_corruptions": {"corruptions": ("contrast",), "severities": (1,)}}
    for eps in ("4/255", "8/255"):
        found += audit(
            id, attacks=["fgsm", "common_corruptions"], robust_images=6, eps=eps, settings=settings
        )
    other = {**found[0].target, "id": "module/0123456789ab/a-long-name-of-my-own", "weights_hash": "b" * 64}
    found += [replace(record, target=other) for record in found if record.target["id"] == id]
    page = opened(write_report(entries(*found), tmp_path / "many.html"), width=1280)
    heads = page.locator(".many thead th.m").all_inner_texts()
    assert len(heads) >= 5
    table = "[aria-label='Comparison of the models']"
    wide, room = page.eval_on_selector(table, "(box) => [box.scrollWidth, box.clientWidth]")
    assert wide <= room
    labels = page.eval_on_selector_all("[role=region]", "(all) => all.map((each) => each.ariaLabel)")
    assert len(labels) == len(set(labels))
    told = page.locator("details.model > summary").first.inner_text()
    assert "; " in told.replace("\n", " ")


def test_on_a_phone_all_figures_of_a_model_are_in_sight(opened, report):
    page = opened(report, width=390)
    page.get_by_text("Every figure of every model").click()
    for box in page.locator(".scroll:has(> .cards)").all():
        wide, room = box.evaluate("(box) => [box.scrollWidth, box.clientWidth]")
        assert wide <= room
        cell = box.locator("tbody td[data-value='0.9']").first
        label = cell.evaluate("(cell) => getComputedStyle(cell, '::before').content")
        assert "AUC" in label
        cell.scroll_into_view_if_needed()
        around = cell.bounding_box()
        assert 0 <= around["x"] < around["x"] + around["width"] <= 390


def test_without_scripts_the_page_is_whole(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{report.as_uri()}#model-2")
    assert page.locator("#model-2").is_visible()  # a link into what is folded opens it
    assert not page.locator("#model-1").is_visible()
    assert not page.get_by_role("searchbox").is_visible()  # no control that does nothing
    assert page.locator("th button").count() == 0
    page.locator("details.model summary").first.click()
    assert page.locator("#model-1").is_visible()
    context.close()


def test_sorting_and_searching_by_mouse_and_keyboard(opened, report):
    page = opened(report)
    page.get_by_text("Every figure of every model").click()
    table = page.locator("table.every")
    headings = table.locator("th[scope=col]").all_inner_texts()
    place = next(i for i, text in enumerate(headings, 1) if text.startswith("modified entropy AUC"))
    heading = table.locator(f"th:nth-child({place})").first

    def order():
        cells = table.locator(f"tbody tr > :nth-child({place})")
        return [text.split()[0] for text in cells.all_inner_texts()]

    heading.get_by_role("button").click()
    assert order() == ["0.100", "0.250", "0.900", "-"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert order() == ["0.900", "0.250", "0.100", "-"]  # what is missing stays last
    assert heading.get_attribute("aria-sort") == "descending"

    page.get_by_role("searchbox").fill("QUARTER")
    assert page.get_by_role("status").inner_text() == "1 of 4"
    assert page.locator("tbody tr:visible").count() == 2  # one in each table
    assert page.locator("details.model:visible").count() == 1
    page.get_by_role("button", name="Sign reversed").click()  # a finding shows its models
    assert page.get_by_role("status").inner_text() == "2 of 4"


def test_a_hostile_record_is_text(opened, report):
    page = opened(report)
    assert HOSTILE in page.inner_text("main")
    assert page.locator("main script, main img").count() == 0


def test_everything_is_reached_by_keyboard(opened, audited, report):
    """First the way past the heading; then every link, heading, field, fold, and part that scrolls."""
    for path in (audited, report):
        page = opened(path, width=360)
        reached = []
        for _ in range(150):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "[document.activeElement.tagName, document.activeElement.innerText, "
                "getComputedStyle(document.activeElement).outlineStyle]"
            )
            if focused[0] == "BODY":
                break
            assert focused[2] in ("solid", "auto"), focused
            reached.append(tuple(focused[:2]))
        assert reached[0] == ("A", "Skip to the content")
        assert len(reached) == page.evaluate(
            "[...document.querySelectorAll('a, button, input, summary, [tabindex=\"0\"]')]"
            ".filter(element => element.checkVisibility()).length"
        )


def test_every_picture_and_figure_says_what_it_shows(opened, audited, study):
    for path in (audited, study):
        found = opened(path).evaluate(
            "[...document.querySelectorAll('img, svg:not([aria-hidden])')]"
            ".map(figure => figure.alt || figure.getAttribute('aria-label') || '')"
        )
        assert len(found) > 8
        assert [text for text in found if len(text) < 30] == []


def test_prints_in_black_on_white_and_within_its_paper(opened, report, audited):
    for path in (report, audited):
        page = opened(path, width=718, scheme="dark")  # A4 less a centimetre on each side
        page.emulate_media(media="print", color_scheme="light")
        assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_five_hundred_records_make_a_page_of_a_few_megabytes(tmp_path, opened):
    records = many_records(500)
    path = write_report(entries(*records), tmp_path / "large.html")
    assert path.stat().st_size < 10e6
    page = opened(path)
    assert page.locator("#comparison ~ .scroll tbody tr").count() == 250
    assert page.evaluate("document.documentElement.scrollHeight") < 6000  # not 40 screens


def test_the_study_is_written_alike_twice(study, tmp_path, run):
    code, out, _ = run("study", "--out", tmp_path)
    assert (code, out.splitlines()[-1]) == (0, f"study: {tmp_path / 'study.html'}")
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(files) > 25
    for file in files:
        assert (tmp_path / file).read_bytes() == (study.parent / file).read_bytes(), file
    page = Page(study)
    assert page.text.count("REVERSES") == 2
    assert [tag for tag, _ in page.tags].count("script") == 1
