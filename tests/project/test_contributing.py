"""CONTRIBUTING.md: each example is written where it says in a copy of the checkout, and its commands run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
UNCOPIED = shutil.ignore_patterns("__pycache__")
SECTIONS = {section.split("\n")[0].strip(): section for section in PAGE.split("\n## ")[1:]}


def files(section):
    """Return the examples of a section by the path that their first line names."""
    blocks = re.findall(r"```python\n# file: (\S+)\n(.*?)```", section, re.DOTALL)
    return dict(blocks)


def commands(section):
    (*lines,) = re.findall(r"^\$ (securitynet .*)$", section, re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def checkout(tmp_path):
    """A copy of the code, where nothing that is written changes the original."""
    for folder in ("securitynet_hub", "loaders", "metrics"):
        shutil.copytree(ROOT / folder, tmp_path / folder, copy_function=os.link, ignore=UNCOPIED)
    return tmp_path


def write(checkout, examples):
    for path, text in examples.items():
        assert not (checkout / path).exists(), f"{path} is an example of something new"
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text(text, encoding="utf-8")


def run(checkout, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "title", [title for title, section in SECTIONS.items() if files(section) and commands(section)]
)
def test_an_example_is_all_that_it_takes(title, checkout):
    examples = files(SECTIONS[title])
    write(checkout, examples)
    for path, text in examples.items():
        if ">>>" in text:
            run(checkout, "-m", "doctest", "-o", "NORMALIZE_WHITESPACE", path)
    for command in commands(SECTIONS[title]):
        printed = run(checkout, "-m", "securitynet_hub", *command)
        assert printed.strip() or command[0] == "report"
    (name,) = {
        name for text in examples.values() for name in re.findall(r'^    name="(\w+)",$', text, re.MULTILINE)
    }
    assert name in run(checkout, "-m", "securitynet_hub", "attacks")
    board = run(checkout, "-m", "securitynet_hub", "leaderboard", "--records", "records")
    assert name.replace("_", r"\_") in board or name in board


def test_the_examples_keep_the_house_rules():
    """Lines fit, and the function of each attack gives its formula."""
    for path, text in files(PAGE).items():
        assert max(map(len, text.splitlines())) <= 110, path
        if "ATTACK = Attack(" in text:
            assert re.search(r"``[^`]+``", text), path


def test_an_example_of_a_loader_is_all_that_it_takes(checkout):
    (section,) = (section for title, section in SECTIONS.items() if "source of models" in title)
    write(checkout, files(section))
    code = (
        "from securitynet_hub.models.loading import find_loader; print(find_loader('my_lab').build.__doc__)"
    )
    assert "annotated network" in run(checkout, "-c", code)
