"""What is read from the literals as text is what the imported attacks say."""

import json
from dataclasses import replace

import pytest

from securitynet_hub.attacks import kind as kinds_of_attack
from securitynet_hub.attacks import listing
from securitynet_hub.attacks.backdoor.scale_up import ATTACK as SCALE_UP
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.listing import default_attacks, listed_attacks, read_literals

REGISTERED = {name: attack for kind in kinds().values() for name, attack in kind.attacks.items()}
LISTED = {attack.name: attack for attack in listed_attacks()}


def test_every_attack_is_listed_in_its_place():
    for kind in kinds().values():
        assert [attack.name for attack in listed_attacks() if attack.kind == kind.name] == list(kind.attacks)


@pytest.mark.parametrize("name", REGISTERED)
def test_the_text_says_what_the_object_says(name):
    listed, attack = LISTED[name], REGISTERED[name]
    fields = ("name", "kind", "summary", "formula", "source", "column", "shares_pass")
    assert {f: getattr(listed, f) for f in fields} == {f: getattr(attack, f) for f in fields}


@pytest.mark.parametrize("name", REGISTERED)
def test_every_need_has_a_word(name):
    """Names of fields and functions are for authors; a table for users has words."""
    assert all("_" not in need and need[0] != "<" for need in LISTED[name].needs)
    assert bool(LISTED[name].needs) >= bool(REGISTERED[name].needs)


def test_constants_of_the_file_stand_for_their_values_and_functions_for_their_text():
    text = (
        'LEAST = 4\nNAME = "x"\nATTACK = Attack(name=NAME, run=f, needs=(*MANY, g(LEAST), h), ranked=True)\n'
    )
    assert read_literals(text) == [
        {"name": "x", "run": "f", "needs": ("MANY", "g(4)", "h"), "ranked": True},
    ]
    assert read_literals("def run():\n    return 1\n") == []


def test_the_default_is_what_needs_only_answers_and_labels():
    own = {name: attack for name, attack in REGISTERED.items() if getattr(attack, "shares_pass", False)}
    assert default_attacks() == tuple(name for name, attack in own.items() if set(attack.needs) <= {"labels"})
    # The two that the paper's tables have are among them.
    assert {own[name].column for name in default_attacks()} >= {
        "mia_correctness_auc",
        "mia_modified_entropy_auc",
    }


def test_attacks_of_installed_packages_are_listed(monkeypatch):
    from dataclasses import replace

    class Point:
        name = value = "elsewhere:ATTACK"

        def load(self):
            return replace(SCALE_UP, name="scale_down")

    monkeypatch.setattr(kinds_of_attack, "entry_points", lambda group: [Point()])
    listed_attacks.cache_clear()
    try:
        found = {attack.name: attack for attack in listed_attacks()}
    finally:
        listed_attacks.cache_clear()
    assert found["scale_down"].kind == "backdoor-detection"
    assert found["scale_down"].needs == found["scale_up"].needs


def test_the_command_prints_them(run):
    code, out, _ = run("attacks", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == [attack.name for attack in listed_attacks()]
    code, out, _ = run("attacks")
    assert code == 0
    assert all(f"\n{name} " in out for name in LISTED)


class TestLiteralsOfAFile:
    """Detectors with needs of their own, and literals that lack a field."""

    OWN = """
@need("rows")
def needs_rows(target, inputs):
    return None


ATTACK = Attack(name="a", run=run, summary="b", source="c 2020, eq. 1", needs=(needs_rows,))
"""

    def test_a_need_of_its_own_has_the_words_that_it_is_decorated_with(self):
        (literal,) = read_literals(self.OWN)
        assert kinds()["backdoor-detection"].describe(literal).needs == ("rows",)

    def test_a_need_that_is_nowhere_is_named(self):
        (literal,) = read_literals(self.OWN.replace("def needs_rows", "def needs_lines"))
        with pytest.raises(ValueError, match="a detector needs needs_rows, which is neither in"):
            kinds()["backdoor-detection"].describe(literal)

    def test_a_field_that_is_missing_is_named_with_the_file(self, tmp_path, monkeypatch):
        folder = tmp_path / "kind_without_source"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "one.py").write_text('ATTACK = Attack(name="a", run=run, summary="b")\n')
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(
            listing, "kinds", lambda: {"x": replace(kinds()["model-stealing"], package="kind_without_source")}
        )
        listed_attacks.cache_clear()
        try:
            with pytest.raises(ValueError, match=r"one\.py: an attack's literal must say its source"):
                listed_attacks()
        finally:
            listed_attacks.cache_clear()
