"""How large a report is and how long it takes to write and to open, by the number of records.

Run with ``make bench``; needs Chromium and playwright. A report of 500 records must stay below 10 MB and open
in less than 2 s: by the browser's clock, from the start of the navigation to the first frame after its load.
"""

import statistics
import time
from pathlib import Path

import pytest
from support.audit_records import many_records
from support.browsers import running_browser

from securitynet_hub.records.entries import Entry
from securitynet_hub.reports.page import write_report

OPENED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => {
    document.body.getBoundingClientRect();
    done(performance.now() / 1000);
})))"""


@pytest.mark.parametrize("count", [50, 500])
def test_a_report_of_many_records(count, tmp_path):
    entries = [Entry(record, Path("none.json")) for record in many_records(count)]
    started = time.process_time()
    path = write_report(entries, tmp_path / "report.html")
    written, size = time.process_time() - started, path.stat().st_size / 1e6
    took = []
    with running_browser() as browser:
        for _ in range(5):
            page = browser.new_page()
            page.goto(path.as_uri(), wait_until="load")
            took.append(page.evaluate(OPENED))
            page.close()
    opened = statistics.median(took)
    print(f"\n{count} records: {size:.2f} MB, written in {written:.1f} s, opened in {opened:.2f} s")
    assert size < 10
    assert opened < 2
