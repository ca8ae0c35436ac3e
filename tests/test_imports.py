"""Imports only point down: a module may import those of lower rooms, never of higher ones."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up; modules of one line do not import one another.
ROOMS = [
    {
        "errors",
        "flags",
        "memory",
        "metric_files",
        "posteriors",
        "randomness",
        "resnets",
        "splits",
        "statistics",
        "transforms",
    },
    {
        "annotations",
        "bootstrap",
        "cache",
        "comparison",
        "hashes",
        "optional",
        "processes",
        "records",
        "tensors",
        "triggers",
    },
    {"results", "surrogate_files", "views", "web", "zip_layout"},
    {"downloads", "importer", "pickles", "registration", "remote", "shards", "signals", "storages"},
    {"archives", "checkpoints", "hub_files"},
    {"local_files"},
    {"weights"},
    {"calibration", "targets", "images"},
    {"architectures", "device_maps", "inference", "training"},
    {"attacks"},
    {"evaluation", "zoo"},
    {"loaders", "metrics"},
    {"audits"},
    {"auditing"},
    {"sharing", "study", "sweeps"},
    {"report"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
ONLY_THERE = {
    "accelerate": {"device_maps", "inference", "processes", "training"},
    "evaluate": {"evaluation", "metrics"},
    "huggingface_hub": {"hub_files", "sharing", "surrogate_files", "weights"},
    "requests": {"web", "downloads", "remote", "archives", "weights"},
}


def sources():
    folders = ("securitynet_hub", "metrics", "loaders")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "securitynet_hub" else parts[0]


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


def test_every_metric_folder_is_packaged():
    listed = set(re.findall(r'"securitynet_hub\.metrics\.(\w+)"', (ROOT / "pyproject.toml").read_text()))
    assert listed == {path.parent.name for path in (ROOT / "metrics").glob("*/*.py")}
