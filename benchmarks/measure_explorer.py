"""How long the explorer's reader waits on a page of 6,081 models, 5,000 of them a reader's own.

``python benchmarks/measure_explorer.py FOLDER`` writes such a page into the folder, opens it in Chromium, and
prints, for each thing a reader does, the milliseconds of the page's main thread until the answer is on the
screen, and until nothing is left to draw. That is processor time, on which a busy machine tells less than on
the clock's. It runs for some minutes; ``--rounds`` says how often each is done, of which the median counts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from securitynet_hub.records.record import Record
from securitynet_hub.sharing.explorer.page import explorer_page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browsers import running_browser
from tables import writing

MODELS = 5000
SHOWN = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
TURNED = "await new Promise(done => addEventListener('hashchange', done, {once: true}));"
ACTIONS = {
    "search": """const box = document.querySelector("[name=q]"); box.value = ROUND % 2 ? "m1" : "m12";
        box.dispatchEvent(new Event("input", {bubbles: true}));""",
    "search over": """const box = document.querySelector("[name=q]"); box.value = "";
        box.dispatchEvent(new Event("input", {bubbles: true}));""",
    "sort": 'document.querySelectorAll("#grid thead button")[6 + ROUND % 2].click();',
    "scroll": 'document.getElementById("grid").scrollTop = 9000 * (1 + ROUND);',
    "another axis": """const axis = document.querySelector(ROUND % 2 ? "[name=y]" : "[name=x]");
        const others = {overfit_gap: "test_accuracy", test_accuracy: "overfit_gap",
            mia_modified_entropy_auc: "train_accuracy", train_accuracy: "mia_modified_entropy_auc"};
        axis.value = others[axis.value];
        axis.dispatchEvent(new Event("input", {bubbles: true}));""",
    "intervals off": 'document.querySelector("[name=intervals]").click();',
    "intervals on": 'document.querySelector("[name=intervals]").click();',
    "the board of 5,000": f'location.hash = "#view=boards"; {TURNED}',
    "more of it": 'document.querySelector("#board > button").click();',
    "back to the models": f'location.hash = "#view=models"; {TURNED}',
}  # fmt: skip


def records() -> list[Record]:
    """Make a record for each of 5,000 models, with two accuracies and an AUC, all with intervals."""
    draw = Random(0)
    found = []
    for number in range(MODELS):
        train, gap, auc = 0.9 + 0.1 * draw.random(), 0.4 * draw.random(), 0.5 + 0.3 * draw.random()
        check = {"members_accuracy": train, "accuracy": train - gap, "n_members": 1000, "n": 500}
        found.append(
            Record(
                target={"id": f"file/m{number}/net", "weights_hash": None, "num_classes": 10},
                data={"name": "pictures", "sha256": "0" * 64, "check": check},
                attack={"kind": "membership-inference", "name": "modified_entropy", "from_logits": True},
                result={
                    "auc": auc,
                    "auc_ci": [auc - 0.02, auc + 0.02],
                    "n_members": 1000,
                    "n_nonmembers": 500,
                    "confidence_level": 0.95,
                },
                counts={},
                timings={},
                code={"version": "1"},
                environment={},
                created="2026-01-01T00:00:00+00:00",
                author="a",
            )
        )
    return found


def measure(page: Any, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Do every action so often; return the main thread's seconds until shown and drawn, and the clock's."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ACTIONS}
    for number in range(rounds):
        for name, action in ACTIONS.items():
            before = busy()
            clock = page.evaluate(
                f"async () => {{ const at = performance.now(); {action.replace('ROUND', str(number))} {SHOWN}"
                " return performance.now() - at; }"
            )
            shown = busy()
            page.evaluate(
                f"async () => {{ {SHOWN} await new Promise(done => setTimeout(done, 400)); {SHOWN} }}"
            )
            found[name].append((shown - before, busy() - before, clock / 1000))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    file = given.folder / "explorer.html"
    file.write_text(explorer_page(records()), encoding="utf-8")
    columns = [
        "what the reader does",
        "until shown, ms",
        "until all is drawn, ms",
        "by the clock until shown, ms",
    ]
    with running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(600_000)
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("#plot canvas")
        page.wait_for_timeout(2000)
        with writing("explorer", "python benchmarks/measure_explorer.py FOLDER", columns) as row:
            for name, each in measure(page, given.rounds).items():
                row(name, *(f"{1000 * median(values):.0f}" for values in zip(*each, strict=True)))
