"""Pages of fetched results in a real browser: what strangers wrote is shown, and does nothing."""

import pytest
from support.browsers import running_browser
from support.drawn_records import measured
from support.published_results import HOSTILE, REPO, changed

from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing.export import to_html
from securitynet_hub.sharing.leaderboard import leaderboards
from securitynet_hub.sharing.rows import results_shard
from securitynet_hub.sharing.validation import problems

pytestmark = pytest.mark.slow

TEXTS = [text for text in HOSTILE if text.isprintable() and len(text) <= 100]
AUTHOR = "</td></table></style></title><script>document.title='run'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    with running_browser() as found:
        yield found


def is_quiet(browser, path):
    """Open a page; tell whether nothing was run, said or asked for, and return its text."""
    page, happened = browser.new_page(), []
    for event in ("console", "pageerror", "dialog", "popup", "download"):
        page.on(event, lambda told, event=event: happened.append((event, str(told))))
    page.on("request", lambda asked: happened.append(("request", asked.url)))
    page.goto(path.as_uri())
    page.wait_for_timeout(100)
    assert happened == [("request", path.as_uri())]
    assert page.evaluate("document.querySelectorAll('iframe, object, embed, base, [onerror]').length") == 0
    text = page.inner_text("body")
    page.close()
    return text


def test_records_of_strangers_do_nothing_on_the_pages(browser, whole_hub, run, tmp_path):
    """They pass the validation: an author, a setting or a figure may have any name."""
    records = [
        changed(
            measured(n, target=f"lab/net-{n}", author=text[:100]),
            attack={text: text},
            result={text: 1.0, f"{text}_range": text},
            environment={text: text},
        )
        for n, text in enumerate([AUTHOR, *TEXTS])
    ]
    assert not any(map(problems, records))
    whole_hub.add("dataset", REPO, {f"{FOLDER}/strange.parquet": results_shard(records)})
    board, report = tmp_path / "board.html", tmp_path / "report.html"
    code, _, err = run("leaderboard", "--repo", REPO, "--format", "html", "--out", board)
    assert (code, err) == (0, "")
    text = is_quiet(browser, board)
    assert AUTHOR in text
    assert all(record.id in text for record in records)

    assert run("fetch", "results", "--repo", REPO, "--out", tmp_path / "results")[0] == 0
    assert run("report", tmp_path / "results", "--out", report)[0] == 0
    assert "lab/net-0" in is_quiet(browser, report)


@pytest.mark.parametrize("text", HOSTILE)
def test_even_what_validation_keeps_out_does_nothing(browser, tmp_path, text):
    record = changed(measured(1, target=text, author=text), data={"name": text}, attack={"name": text})
    (tmp_path / "board.html").write_text(to_html(leaderboards([record])), encoding="utf-8")
    assert record.id in is_quiet(browser, tmp_path / "board.html")
