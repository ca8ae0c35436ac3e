"""A kind's options are flags of the commands, whatever the kind."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from securitynet_hub.attacks import kind as kinds_of_attack
from securitynet_hub.attacks.kind import kinds, option
from securitynet_hub.cli import kind_flags
from securitynet_hub.cli.kind_flags import add_kind_flags, kind_options
from securitynet_hub.cli.parsing import Parser, Several


@dataclass(frozen=True, kw_only=True)
class Options:
    strength: "float" = option(0.5, "strength of the noise")
    radii: "tuple[float, ...]" = option((1.0, 2.0), "radii, one record each", commands=("audit", "sweep"))
    quick: "bool" = option(False, "stop at the first success")
    folder: "Path | None" = option(None, "folder for pictures", name="--pictures", metavar="DIR")
    steps: "int | None" = option(None, "number of steps")
    hidden: "int" = 3


@pytest.fixture
def commands(monkeypatch):
    """Return what parses the flags of a command where there is one kind of attack, a new one."""
    new = replace(kinds()["model-stealing"], name="noise", title="Noise", options=Options)
    monkeypatch.setattr(kind_flags, "kinds", lambda: {"noise": new})

    def parse(command, *words):
        parser = argparse.ArgumentParser()
        add_kind_flags(parser, command)
        return kind_options(parser.parse_args(words), command), parser.format_help()

    return parse


def test_defaults_are_those_of_the_fields(commands):
    chosen, _ = commands("audit")
    assert Options(**chosen) == Options()
    assert "hidden" not in chosen


def test_values_have_the_types_of_the_fields(commands):
    words = ("--strength", "2", "--radii", "3", "4.5", "--quick", "--pictures", "here", "--steps", "7")
    chosen, _ = commands("audit", *words)
    assert chosen == {
        "strength": 2.0, "radii": (3.0, 4.5), "quick": True, "folder": Path("here"), "steps": 7,
    }  # fmt: skip
    assert type(chosen["strength"]) is float
    assert commands("audit", "--steps", "0")[0]["steps"] is None


def test_a_command_has_the_flags_that_name_it(commands):
    assert commands("sweep", "--radii", "1")[0] == {"radii": (1.0,)}
    assert commands("leaderboard")[0] == {}


def test_an_option_of_two_kinds_is_one_flag_that_says_what_it_is_to_each(monkeypatch):
    made = [replace(kinds()["model-stealing"], name=n, title=n, options=Options) for n in ("One", "Two")]
    monkeypatch.setattr(kind_flags, "kinds", lambda: {kind.name: kind for kind in made})
    parser = argparse.ArgumentParser()
    add_kind_flags(parser, "audit")
    assert kind_options(parser.parse_args(["--strength", "2"]), "audit")["strength"] == 2.0
    assert "strength of the noise (default: 0.5); two: strength of the noise" in " ".join(
        parser.format_help().split()
    )


def test_models_that_a_flag_takes_are_not_the_audited_one():
    parser = Parser()
    parser.add_argument("id")
    parser.add_argument("--attacks", action=Several, read=str)
    add_kind_flags(parser, "audit")
    for words in (
        ["a/suspect", "--attacks", "twins", "--beside", "a/clean", "b/clean"],
        ["--attacks", "twins", "a/suspect", "--beside", "a/clean", "b/clean"],
    ):
        found = parser.parse_args(words)
        assert (found.id, list(found.beside)) == ("a/suspect", ["a/clean", "b/clean"])


def test_help_says_what_a_flag_is_and_its_default(commands):
    text = " ".join(commands("audit")[1].split())
    assert "noise: --strength" in text
    assert "strength of the noise (default: 0.5)" in text
    assert "radii, one record each (default: 1.0 2.0)" in text
    assert "--pictures DIR folder for pictures" in text


@pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
def test_the_options_of_every_kind_can_be_made_from_flags(kind):
    parser = argparse.ArgumentParser()
    add_kind_flags(parser, "audit")
    chosen = kind_options(parser.parse_args([]), "audit")
    assert kinds_of_attack.split_options(chosen)[kind.name] == kind.options()
