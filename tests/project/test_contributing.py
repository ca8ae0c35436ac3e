"""CONTRIBUTING.md: each example is written where it says in a copy of the checkout, and its commands run."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.processes import run_python

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


STEPS = """
import contextlib, doctest, importlib, io, json, sys
from securitynet_hub.cli.main import main

def printed(arguments):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            main(arguments)
        except SystemExit as leave:
            assert not leave.code, (arguments, leave.code)
    return output.getvalue()

examples, commands = json.load(sys.stdin)
for path in examples:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert not doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed, path
json.dump([printed(arguments) for arguments in commands], sys.stdout)
"""


def run(checkout, code, content=""):
    environment = os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"}
    done = run_python("-c", code, cwd=checkout, env=environment, input=content)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_are_all_that_it_takes(checkout):
    """All in one copy and one process, because each process takes seconds to import what it needs."""
    sections = [section for section in SECTIONS.values() if files(section) and commands(section)]
    examples = {path: text for section in sections for path, text in files(section).items()}
    write(checkout, examples)
    asked = [command for section in sections for command in commands(section)]
    shown = [["attacks"], ["leaderboard", "--records", "records"]]
    tried = [path for path, text in examples.items() if ">>>" in text]
    *printed, attacks, board = json.loads(run(checkout, STEPS, json.dumps([tried, asked + shown])))
    for command, text in zip(asked, printed, strict=True):
        assert text.strip() or command[0] == "report"
    for section in sections:
        (name,) = {
            name
            for text in files(section).values()
            for name in re.findall(r'^    name="(\w+)",$', text, re.MULTILINE)
        }
        assert name in attacks
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
    assert "annotated network" in run(checkout, code)
