"""How much a newcomer reads and types: words, lines of glue, and the size of a report.

``make demo && python benchmarks/measure_face.py`` counts, and opens the demo's report in Chromium. What it is
compared with was counted by hand in a walk through commit d34eeab.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browsers import running_browser
from tables import writing

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "records" / "report.html"
GLUE = {
    "load": ("transform =", 5),
    "membership inference": ("records = hub.audit", 8),
    "reference models and an attack with them": ("shadows", 13),
    "model stealing": ("model_stealing", 9),
    "backdoors": ("twins", 8),
    "comparison of two models": ("hub.compare_leakage", 30),
    "report": ("hub.report", 1),
}
"""For each task on one's own network: what its lines in the tutorial hold, and how many it took before."""


def lines_of(code: str, part: str) -> int:
    """Count the tutorial's lines that do a task."""
    return sum(part in line and "print(hub.to_frame" not in line for line in code.splitlines())


def heights(page_file: Path) -> list[int]:
    """Measure how tall a page is at 1,280 and at 390 pixels of width."""
    found = []
    with running_browser() as browser:
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(page_file.resolve().as_uri())
            found.append(int(page.evaluate("document.documentElement.scrollHeight")))
    return found


if __name__ == "__main__":
    report = Path(sys.argv[1]) if len(sys.argv) > 1 else REPORT
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    typed = "\n".join(re.findall(r"^```py\n(.*?)```", tutorial, re.DOTALL | re.MULTILINE))
    with writing("face", "python benchmarks/measure_face.py", ["what", "before", "now"]) as row:
        row("words of the README", "3,299", f"{len((ROOT / 'README.md').read_text('utf-8').split()):,}")
        words = sum(len(page.read_text("utf-8").split()) for page in (ROOT / "docs").glob("*.md"))
        row("words of all other pages for users", "11,974", f"{words:,}")
        for task, (part, before) in GLUE.items():
            row(f"lines for one's own network: {task}", str(before), str(lines_of(typed, part)))
        for width, before, height in zip(("1,280", "390"), (20146, 36576), heights(report), strict=True):
            row(f"height of the report of 44 models, {width} pixels wide", f"{before:,}", f"{height:,}")
