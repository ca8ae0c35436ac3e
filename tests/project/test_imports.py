"""Imports only point down: a module may import those of lower floors, never of higher ones."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the ground up; rooms of one floor do not import one another.
FLOORS = [
    {"core"},
    {"annotations", "data", "evaluation", "statistics", "weights"},
    {"models", "pages", "plots", "records"},
    {"engine", "loaders", "study"},
    {"attacks"},
    {"importer", "metrics", "reports", "sharing", "sweeps", "zoo"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
LOOSE = {"__init__.py", "__main__.py", "evaluation.py"}
ONLY_THERE = {
    "accelerate": {"engine"},
    "evaluate": {"evaluation", "metrics"},
    "huggingface_hub": {"attacks", "sharing", "weights"},
    "requests": {"weights"},
}


def sources():
    folders = ("securitynet_hub", "metrics", "loaders")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "securitynet_hub" else parts[0]


def kind(path_or_name):
    """Return the kind of attack whose folder a module lies in, None for other modules."""
    parts = path_or_name.split(".")
    return (
        parts[2] if parts[:2] == ["securitynet_hub", "attacks"] and parts[2:] and parts[2] in KINDS else None
    )


KINDS = {path.parent.name for path in (ROOT / "securitynet_hub/attacks").glob("*/__init__.py")}


def imported(path):
    """List the absolute names a file imports, those for type checkers alone left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name"
            if node.module == "securitynet_hub":
                yield from (f"securitynet_hub.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    here = room(path)
    assert here in LEVEL, f"{here} has no place among the rooms"
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package != "securitynet_hub":
            assert here in ONLY_THERE.get(package, {here}), f"{here} imports {package}"
            continue
        there = rest.split(".")[0]
        allowed = there == here or LEVEL[there] < LEVEL[here]
        assert allowed, f"{here} imports {there}, which is not below it"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_kinds_of_attack_do_not_import_one_another(path):
    own = kind(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is not None:
        assert {kind(name) for name in imported(path)} <= {own, None}


def test_rooms_that_serve_every_kind_of_attack_name_none():
    from securitynet_hub.attacks.kind import kinds

    for path in sources():
        if room(path) in ("sharing", "records", "importer"):
            named = [name for name in kinds() if name in path.read_text(encoding="utf-8")]
            assert not named, f"{path} names {named}; ask the registry instead"


def test_there_is_no_circle():
    """The folders of one room may not import in a circle either."""
    names = {
        ".".join(["securitynet_hub", *path.relative_to(ROOT).with_suffix("").parts]).replace(
            "securitynet_hub.securitynet_hub", "securitynet_hub"
        ): path
        for path in sources()
    }
    below = {name: [other for other in imported(path) if other in names] for name, path in names.items()}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name in done:
            return
        open_.append(name)
        for other in below[name]:
            visit(other)
        open_.pop()
        done.add(name)

    for name in names:
        visit(name)


def test_only_the_doors_lie_outside_the_rooms():
    assert {path.name for path in (ROOT / "securitynet_hub").glob("*.py")} == LOOSE


def test_a_checkout_offers_nothing_but_the_package():
    """The repository's own folders are no modules of the package."""
    code = (
        "import importlib.util as u; print([u.find_spec(f'securitynet_hub.{n}') for n in ('tests', 'docs')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[None, None]"


def test_every_metric_folder_is_packaged():
    listed = set(re.findall(r'"securitynet_hub\.metrics\.(\w+)"', (ROOT / "pyproject.toml").read_text()))
    assert listed == {path.parent.name for path in (ROOT / "metrics").glob("*/*.py")}
