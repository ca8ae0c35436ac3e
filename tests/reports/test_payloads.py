"""Names of strangers in a real browser: nothing in them acts, even without the pages' own policy."""

import json
from urllib.parse import quote

import pytest
from support.browsers import running_browser
from support.drawn_records import measured
from support.payloads import PAYLOADS
from support.published_results import changed

from securitynet_hub.sharing.explorer.page import explorer_page
from securitynet_hub.sharing.export import to_html
from securitynet_hub.sharing.leaderboard import leaderboards


def strange(number, text):
    """Return a record with a payload wherever a record has a text."""
    record = measured(number, target=f"lab/{text}", author=text)
    return changed(
        record,
        data={"name": text, text: text},
        attack={text: text, "view": text},
        result={text: 0.5, f"{text}_ci": text},
        environment={text: text},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of all pages and pictures that are made of records with every payload."""
    import contextlib
    import io
    import warnings

    from securitynet_hub.cli.main import main

    folder = tmp_path_factory.mktemp("pages")
    records = [strange(number, text) for number, text in enumerate(PAYLOADS.values())]
    records += [
        changed(one, attack={"name": text})
        for one, text in zip(records, list(PAYLOADS.values())[::3], strict=False)
    ]
    (folder / "records").mkdir()
    for number, record in enumerate(records):
        (folder / "records" / f"{number}.json").write_text(json.dumps(record.as_dict()), encoding="utf-8")
    (folder / "board.html").write_text(to_html(leaderboards(records)), encoding="utf-8")
    (folder / "explorer.html").write_text(explorer_page(records), encoding="utf-8")
    words = ["report", folder / "records", "--out", folder / "report.html", "--data", folder / "data"]
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
        contextlib.suppress(SystemExit),
    ):
        warnings.simplefilter("ignore")
        main([*map(str, words)])
    return folder


@pytest.fixture(scope="module")
def browser():
    with running_browser() as found:
        yield found


SEEN = """() => [
    window.fired, document.title.includes('run'),
    [...document.querySelectorAll('*')].filter((one) => [...one.attributes].some(
        ({name, value}) => /^on/i.test(name) || (/^(href|src|action|xlink:href|srcdoc|data)$/i.test(name)
            && !/^(#|data:image|https:\\/\\/|[\\w.-]+$)/i.test(value)))
    ).map((one) => one.outerHTML.slice(0, 200)),
    document.querySelectorAll('iframe, object, embed, base, foreignObject, form[action], link').length,
]"""


def quiet(browser, addresses):
    """Open addresses one after the other, move and press; nothing may run, be asked for or be said."""
    context = browser.new_context(bypass_csp=True)
    page, happened = context.new_page(), []
    page.set_default_timeout(0)  # a busy machine takes its time
    for event in ("pageerror", "dialog", "popup", "download"):
        page.on(event, lambda told, event=event: happened.append((event, str(told))))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:image")) else happened.append(asked.url),
    )
    for address in addresses:
        page.goto("about:blank")
        page.goto(address)
        for _ in range(12):
            page.keyboard.press("Tab")
        page.mouse.move(300, 300)
        page.mouse.move(500, 420, steps=3)
        found = page.evaluate(SEEN)
        assert found == [None, False, [], 0], (address, found)
        assert [one for one in happened if not str(one).startswith(("file:", "data:image"))] == [], address
    context.close()


@pytest.mark.parametrize("name", ["image", "link element"])
def test_it_would_be_noticed(browser, tmp_path, name):
    (tmp_path / "page.html").write_text(f'<title>x</title><p title="{PAYLOADS[name]}">{PAYLOADS[name]}</p>')
    with pytest.raises(AssertionError):
        quiet(browser, [(tmp_path / "page.html").as_uri()])


def test_nothing_acts_on_pages_and_in_pictures(browser, written):
    pages = [written / name for name in ("board.html", "report.html")]
    pictures = sorted((written / "data").rglob("*.svg"))
    assert all(path.stat().st_size > 10_000 for path in pages)
    assert pictures
    quiet(browser, [path.as_uri() for path in (*pages, pictures[0])])


def test_nothing_acts_in_the_explorer_whatever_a_link_asks_it_for(browser, written):
    asked = {
        "q": "image", "dataset": "script", "x": "expression of Vega", "y": "field of Vega", "sort": "svg",
        "view": "link to a script", "id": "foreign object", "__proto__": "image", "toString": "image",
    }  # fmt: skip
    words = "&".join(f"{field}={quote(PAYLOADS[name])}" for field, name in asked.items())
    quiet(browser, [f"{(written / 'explorer.html').as_uri()}#{words}"])
