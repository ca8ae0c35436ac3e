"""Every command and snippet in README and docs is understood by what it is told to; what is cheap is run."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from support.processes import run_python

from securitynet_hub.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
LEFT_OUT = {"sweep": ["--models", "zoo/*", "--attacks", "loss", "--out", "out"]}
"""What "..." stands for after a command."""

OTHERS = {"pip", "cd", "export", "git", "hf", "rsync"}
"""What needs no check: commands that are not ours."""


def blocks(text, *languages):
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands():
    """List every command of blocks and of the text, each with its page."""
    for name, path in PAGES.items():
        text = path.read_text(encoding="utf-8")
        lines = [
            line[2:] for block in blocks(text, "console") for line in _joined(block) if line.startswith("$ ")
        ]
        lines += [line for block in blocks(text, "sh", "bash") for line in _joined(block)]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        lines += [
            " ".join(code.split()) for code in re.findall(r"`((?:securitynet|make|python3?) [^`]+)`", prose)
        ]
        for line in lines:
            words = shlex.split(line, comments=True)
            if words:
                yield pytest.param(words, id=f"{name}: {line[:60]}")


def _joined(block):
    return block.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_understood(words):
    if "bash" in words:  # on each node: srun bash -c '...'
        words = shlex.split(words[words.index("-c") + 1])
    if (
        "-m" in words and words[words.index("-m") + 1] == "securitynet_hub"
    ):  # under accelerate launch, srun, ...
        words = ["securitynet", *words[words.index("-m") + 2 :]]
    elif "securitynet" in words:
        words = words[words.index("securitynet") :]
    tool, *arguments = words
    if tool == "securitynet":
        _check_command(arguments)
    elif tool == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    elif tool.startswith("python") and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), arguments[1]
    elif tool.startswith("python"):
        assert (ROOT / arguments[0]).is_file(), arguments[0]
    else:
        assert tool in OTHERS, f"no test knows what to do with {tool}"


def _check_command(arguments):
    if all(
        word.removeprefix("--").replace("-", "").isalpha() for word in arguments
    ):  # a mention, such as `securitynet publish dataset`
        with pytest.raises(SystemExit) as leave:
            build_parser().parse_args([*arguments, "--help"])
        assert leave.value.code == 0, f"there is no command {arguments[0]}"
        return
    if "..." in arguments:
        arguments = [word for word in arguments if word != "..."] + LEFT_OUT[arguments[0]]
    build_parser().parse_args(arguments)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{name} {place}")
        for name, path in PAGES.items()
        for place, code in enumerate(blocks(path.read_text(encoding="utf-8"), "python", "py"))
    ],
)
def test_snippets_are_python(code):
    compile(code, "<snippet>", "exec")


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{name} {place}")
        for name, path in PAGES.items()
        if name.startswith("docs/")
        for place, code in enumerate(blocks(path.read_text(encoding="utf-8"), "python"))
    ],
)
def test_snippets_of_docs_run(code, tmp_path):
    """A block of ``python`` runs as it stands; a block of ``py`` is a part of something."""
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_links_of_docs_lead_somewhere():
    for name, path in PAGES.items():
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{name}: {link}"
