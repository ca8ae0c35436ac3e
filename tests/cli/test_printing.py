"""What strangers name cannot steer the terminal: no control character but a line break is printed."""

import argparse
import io
import logging
import sys
import time
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from rich.progress import Progress
from rich.text import Text
from support.plain_records import make
from support.servers import running_server

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.cli.main import build_parser
from securitynet_hub.core.printing import PlainConsole, PlainStream, plain_streams
from securitynet_hub.core.text import printable, printable_markup
from securitynet_hub.records.record import write_record

CLEAR = "\x1b[2J"
LINK = "\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\"
HOSTILE = f"{CLEAR}\x1b]0;title\x07\r\b\x9b2J\u202e\u2028[bold]x{LINK}\x9d8;;y\x9c"


@pytest.fixture
def run_safely(run, monkeypatch):
    """Run one command line; fail if it prints a control character; give its exit code and all it printed."""

    monkeypatch.setenv("COLUMNS", "1000")

    def command(*arguments):
        code, out, err = run(*arguments)
        strange = {letter for letter in out + err if not letter.isprintable() and letter != "\n"}
        assert strange == set()
        return code, out + err

    return command


@pytest.mark.parametrize(
    "name", [CLEAR, f"owner/{HOSTILE}", f"file:{CLEAR}", f"{CLEAR}:x", f"zoo/{'x' * 9999}"]
)
@pytest.mark.parametrize("command", ["show", "audit"])
def test_unknown_models(run_safely, command, name):
    code, printed = run_safely(command, name)
    assert code in (1, 2)
    assert len(printed) < 6000
    if not name.startswith(("file:", "zoo/")):
        assert r"\x1b[2J" in printed


@pytest.mark.parametrize("option", ["--dataset", "--flag"])
def test_unknown_filters(run_safely, option):
    assert run_safely("list", option, HOSTILE)[0] == 2


@pytest.mark.parametrize("column", ["dataset", "architecture", "paper_url", "weights_url", "id"])
def test_values_of_an_annotation(run_safely, monkeypatch, column):
    row = next(iter(load_annotations("extended").values()))
    row = replace(row, **{column: HOSTILE})
    monkeypatch.setattr("securitynet_hub.models.loading.find_annotation", lambda _: row)
    code, printed = run_safely("show", "file:any")  # of an open source, whose loader describes it
    assert code == 0
    assert r"\x1b[2J\x1b]0;title\x07\r\x08\x9b2J\u202e\u2028[bold]x" in printed.replace("\n", "")


@pytest.mark.parametrize("name", [f"{CLEAR}.pt", "\x1b]0;title\x07.pt", "line\nbreak.pt", "[red]x[!red].pt"])
def test_names_of_files(run_safely, tmp_path, name):
    good, bad, absent = tmp_path / name, tmp_path / f"bad{name}", tmp_path / f"absent{name}"
    safetensors.torch.save_file({"a": torch.ones(2)}, good)
    bad.write_text("no weights")
    code, printed = run_safely("verify", good, bad, absent)
    assert code == 1
    assert printed.count("refused") == 2
    assert printed.count(printable(name)) >= 3


def test_names_inside_a_file(run_safely, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr(HOSTILE, b"")
    code, printed = run_safely("verify", tmp_path / "x.pt")
    assert code == 1
    assert "refused" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_a_name_that_is_no_utf_8(run_safely, tmp_path):
    code, printed = run_safely("verify", str(tmp_path / "x\udcff.pt"))
    assert code == 1
    assert r"\udcff" in printed


def test_markup_of_others_is_shown_not_obeyed():
    assert printable_markup("[red]x") == r"\[red]x"


def test_long_text_is_cut():
    assert printable("x" * 400) == "x" * 300 + "..."
    assert len(printable("\x1b" * 10**7, limit=50)) == 53


def commands():
    """Return each command's parser by its name."""
    (choices,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return choices


def takes_text(action):
    return action.nargs != 0 and action.choices is None and not isinstance(action, argparse._HelpAction)


def as_words(action, text):
    """Return the words that give an argument a value: one that it allows, or the text."""
    value = [str(next(iter(action.choices)))] if action.choices is not None else [text]
    return [*action.option_strings[-1:], *value]


def command_lines():
    """Give every argument of every command a hostile value, one by one, and all that must be there."""
    for name, parser in commands().items():
        needed = [action for action in parser._actions if action.required]
        needed += [group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required]
        for action in filter(takes_text, parser._actions):
            others = [other for other in needed if other is not action]
            exclusive = any(action in group._group_actions for group in parser._mutually_exclusive_groups)
            others = [o for o in others if not (exclusive and o.option_strings and not o.required)]
            positional = [o for o in others if not o.option_strings]
            flagged = [o for o in others if o.option_strings]
            words = [word for other in positional for word in as_words(other, HOSTILE)]
            words += as_words(action, HOSTILE) + [w for other in flagged for w in as_words(other, HOSTILE)]
            yield pytest.param([name, *words], id=f"{name} {action.dest}")


@pytest.mark.parametrize("words", [*command_lines()])
def test_every_argument_of_every_command(run_safely, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [f"http://example.invalid/{HOSTILE}"]  # in the place of the publishers of the weights
    monkeypatch.setattr("securitynet_hub.importer.links.links_of", lambda annotations: asked)
    code, printed = run_safely(*words)
    assert code in (0, 1, 2)
    assert "Traceback" not in printed


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A folder of records whose every text is hostile."""
    folder = tmp_path_factory.mktemp("records")
    told = {"name": HOSTILE, "kind": "membership-inference", HOSTILE: HOSTILE}
    data = {"name": HOSTILE, "sha256": HOSTILE}
    target = {"id": "evil", "weights_hash": HOSTILE, HOSTILE: HOSTILE}
    result = {"auc": 0.5, "auc_ci": [0.4, 0.6], HOSTILE: HOSTILE}
    for number in range(2):
        record = make(target=target, data=data, attack=told, result=result, author=f"{HOSTILE}{number}")
        write_record(record, folder, name=f"a{number}")
    (folder / f"{CLEAR}.json").write_text(f'{{"{CLEAR}')
    return folder


@pytest.mark.filterwarnings("default")  # a damaged record is told by one
@pytest.mark.parametrize(
    "words",
    [
        ("leaderboard", "--records"),
        ("leaderboard", "--format", "csv", "--records"),
        ("leaderboard", "--format", "html", "--records"),
        ("report", "--out", "page.html"),
        ("report", "--out", "page.html", "--data", "data"),
        ("bom",),
        ("publish", "records", "--repo", "a/b", "--records"),
        pytest.param(("study", "--out", "study", "--records"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_records_of_strangers(run_safely, records, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, printed = run_safely(*words, records)
    assert "Traceback" not in printed
    assert printed


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
def test_names_of_classes(run_safely, tmp_path):
    for side in ("train", "test"):
        for name in (CLEAR, "\x9b2J\u202e", "[link=x]y"):
            (tmp_path / side / name).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / side / name / f"{CLEAR}.png")
    code, printed = run_safely("data", tmp_path)
    assert code == 0, printed
    assert r"\x1b[2J" in printed


def test_whoever_writes_to_the_streams_is_filtered(capsys):
    with plain_streams(), warnings.catch_warnings():
        warnings.simplefilter("always")
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE])
        warnings.warn(HOSTILE, stacklevel=1)
        handler = logging.StreamHandler()
        handler.emit(logging.makeLogRecord({"msg": HOSTILE}))
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert {letter for letter in text if not letter.isprintable()} == {"\n"}
        assert r"\x1b]8;;" in text


def test_only_a_bar_moves_and_only_on_standard_error():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for bars, moved in ((True, "\n\x1b[A\ra\\rb\\x1b[Ac"), (False, "\n\\x1b[A\\ra\\rb\\x1b[Ac")):
        stream = PlainStream(Terminal(), bars=bars)
        for text in ("\n\x1b[A", "\ra\rb", "\x1b[Ac"):
            stream.write(text)
        assert stream.unfiltered.getvalue() == moved


def test_in_a_terminal_only_colours_and_the_bars_own_moves_are_sent():
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, width=4000, highlight=False)
    console.print(Text(HOSTILE, style="red link https://example.org"))
    with Progress(console=console, auto_refresh=False, redirect_stdout=False) as bars:
        bars.add_task(Text(HOSTILE).plain.replace("[", r"\["), total=2)
    written = file.getvalue()
    assert "\x1b[31m" in written  # it is red
    for sequence in (CLEAR, "\x1b]", "\x07", "\b", "\x9b", "\x9d", "\u202e", "example.org\x1b\\"):
        assert sequence not in written


def test_links_and_what_servers_answer(run_safely, tmp_path, monkeypatch):
    with running_server() as server:
        asked = [
            server.serve("/a", first=[(403, {"X": "1"})] * 9),
            f"{server.url('/')}{HOSTILE}",
            server.serve("/b", redirect=f"/{CLEAR}"),
            f"http://example.invalid/{HOSTILE}",
        ]
        monkeypatch.setattr("securitynet_hub.importer.links.links_of", lambda annotations: asked)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        for more in ((), ("--json",)):
            code, printed = run_safely("check-links", "--out", tmp_path / "links.tsv", *more)
            assert code == 0, printed
            assert "example.invalid" in printed
