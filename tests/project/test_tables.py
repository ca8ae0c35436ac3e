"""Tables of measured figures are those of the kept results, each beside what measures it."""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))
KEPT = sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json"))


def page_name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TABLES["PAGES"], ids=page_name)
def test_a_page_has_the_kept_figures(path):
    page = path.read_text(encoding="utf-8")
    assert TABLES["filled"](page) == page, "`make tables` writes them"


@pytest.mark.parametrize("path", TABLES["PAGES"], ids=page_name)
def test_no_marker_is_without_its_other(path):
    page = path.read_text(encoding="utf-8")
    assert page.count("<!-- table:") == page.count("<!-- /table -->") == len(TABLES["TABLE"].findall(page))


def test_every_kept_result_has_one_table():
    named = [
        found["name"]
        for path in TABLES["PAGES"]
        for found in TABLES["TABLE"].finditer(path.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == KEPT
    assert KEPT


@pytest.mark.parametrize("name", KEPT)
def test_kept_results_say_what_measures_them_and_when(name):
    results = TABLES["read"](name)
    tool, *arguments = results.command.split()
    if arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file()
    elif arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1])
    else:
        assert tool in ("securitynet", "make")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", results.date)
    assert results.machine


def test_a_changed_figure_is_noticed():
    name = KEPT[0]
    page = f"<!-- table: {name} -->\n| 1 |\n<!-- /table -->\n"
    whole = TABLES["filled"](page)
    assert whole != page
    assert TABLES["filled"](whole) == whole
    with pytest.raises(ValueError, match="no results to write a table from"):
        TABLES["filled"](page.replace(name, "none"))
