"""The tutorial's network, and what the README says of it: every line in one process, as a reader types it."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## My model\n")[2]
MOST_LINES = {"audit": 1, "base_online": 2, "model_stealing": 1, "twins": 1, "compare": 1, "report": 1}
"""Lines of glue that each task may take on a network of one's own."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning"),
]


def blocks(text):
    return re.findall(r"^```py\n(.*?)```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """The names that a reader has at the end of the tutorial, in the folder that they worked in."""
    before, names = Path.cwd(), {}
    os.chdir(tmp_path_factory.mktemp("tutorial"))
    for code in blocks(TUTORIAL):
        exec(code, names)
    yield names
    os.chdir(before)


def test_the_tutorial_ends_with_results(typed):
    assert [record.result["auc"] > 0.5 for record in typed["records"]]
    (strong,), (stolen,), (hidden,) = typed["strong"], typed["stolen"], typed["hidden"]
    assert strong.result["auc"] > typed["records"][-1].result["auc"]
    assert stolen.result["n"] == 300
    assert hidden.attack["name"] == "twins"
    stated = re.search(r"(\w+ \w+ of a backdoor)\n    If half", TUTORIAL)[1]
    assert f"  {stated}\n" in typed["hidden"].verdict
    assert Path("own.html").stat().st_size > 10_000


def test_the_readme_s_lines_give_its_output(typed, capsys):
    code = blocks(README)[0]
    exec(code, typed)
    printed, stated = capsys.readouterr().out, re.search(r"```\n\n```\n(.*?)```", README, re.DOTALL)[1]

    number, name = r"\d+(?:[.,]\d+)*", r"/\w{12}/"

    def words(text):
        return re.sub(number, "#", re.sub(name, "", " ".join(text.split())))

    def shares(text):
        return [float(found) for found in re.findall(rf"({number}) %", re.sub(name, "", text))]

    assert words(printed) == words(stated)
    assert shares(printed) == pytest.approx(shares(stated), abs=2)  # processors round otherwise


def test_one_s_own_network_takes_few_lines():
    lines = [line for code in blocks(TUTORIAL)[1:] for line in code.splitlines() if "hub." in line]
    lines = [line for line in lines if "to_frame(" not in line]
    found = {task: [line for line in lines if task in line] for task in MOST_LINES}
    found["base_online"] = [line for line in lines if "shadows" in line]
    found["audit"] = [line for line in lines if line.startswith("records =")]
    assert {task: len(own) for task, own in found.items()} == MOST_LINES
