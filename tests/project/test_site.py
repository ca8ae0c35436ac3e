"""The site is whole without building it: every page has its place, every link between pages holds."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import securitynet_hub as hub

ROOT = Path(__file__).parents[2]
SITE = runpy.run_path(str(ROOT / "docs/site_pages.py"))


class Loader(yaml.SafeLoader):
    """Reads the settings' references to the environment as nothing."""


Loader.add_constructor("!ENV", lambda loader, node: "")
SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
SOURCES = {name: ROOT / source for source, name in SITE["PAGES"].items()} | {
    path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*.md")
}

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def pages(part):
    """Yield every page that the navigation names."""
    for entry in part if isinstance(part, list) else part.values() if isinstance(part, dict) else [part]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages(entry)


def slug(heading):
    """Return the anchor of a heading."""
    text = re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def test_the_navigation_has_every_page_once():
    named = list(pages(SETTINGS["nav"]))
    notebooks = {f"notebooks/{path.name}" for path in NOTEBOOKS}
    assert sorted(named) == sorted({*SOURCES, *notebooks})


@pytest.mark.parametrize("name", SOURCES)
def test_links_between_pages_hold(name):
    source = SOURCES[name].relative_to(ROOT).as_posix()
    text = SITE["rewritten"](SOURCES[name].read_text(encoding="utf-8"), source, None)
    text = SITE["CODE"].sub("", text)
    for _, _, address in SITE["LINK"].findall(text):
        place, _, anchor = address.partition("#")
        if "://" in place or place.startswith("mailto:"):
            continue
        page = SOURCES.get(place or name)
        assert page or (ROOT / "docs" / place).is_file(), f"{source}: {address}"
        if anchor and page:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{source}: {address}"


def test_every_public_name_is_in_the_reference():
    named = re.findall(r"^::: (\S+)$", SOURCES["api.md"].read_text(encoding="utf-8"), re.MULTILINE)
    homes = {name: getattr(hub, name) for name in hub.__all__}
    for name, found in homes.items():
        names = (name, getattr(found, "__name__", name), *vars(found).get("__all__", ()))  # or its other name
        assert any(path.rpartition(".")[2] in names or
                   path.startswith(f"securitynet_hub.{name}") for path in named), name  # fmt: skip
    for path in named:
        module, _, name = path.rpartition(".")
        try:
            found = __import__(module, fromlist=[name])
        except ModuleNotFoundError:
            pytest.fail(f"there is no {module}")
        assert hasattr(found, name) or __import__(path, fromlist=["_"])


def test_a_page_for_a_package_index_stands_alone():
    address = "https://example.org/o/n"
    text = SITE["absolute"]((ROOT / "README.md").read_text(encoding="utf-8"), "README.md", address, "v1")
    links = [link for _, _, link in SITE["LINK"].findall(SITE["CODE"].sub("", text))]
    assert links
    assert [link for link in links if "://" not in link] == []
    assert f"{address}/raw/v1/docs/gallery/overview.png" in links


def test_pages_show_their_examples_as_code():
    pytest.importorskip("griffe")
    fenced = runpy.run_path(str(ROOT / "docs/site_docstrings.py"))["fenced"]
    assert fenced("A.\n\n>>> 1\n1\n\nB.").count("```") == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_shown_as_they_ran(path):
    cells = [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output["output_type"] != "error" for cell in cells for output in cell["outputs"])
    assert path.stat().st_size < 400_000


RUN = """
import json, os, sys
import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

kernel, shown = KernelManager(kernel_name="python3"), {}
for path in sys.argv[1:]:
    notebook = nbformat.read(path, 4)
    notebook.cells[0] = nbformat.v4.new_code_cell("%reset -f")
    NotebookClient(notebook, km=kernel, timeout=300).execute(cleanup_kc=False)
    shown[path] = [cell.get("outputs", []) for cell in notebook.cells[1:]]
kernel.shutdown_kernel(now=True)
json.dump(shown, open("shown.json", "w"))
"""


def kinds_of(outputs):
    """Return what sorts of output a cell gave; a bar of progress has vanished, what it stood in is empty."""
    return [
        sorted(set(each.get("data", {})) - {"image/jpeg"})  # beside a PNG of the same
        for each in outputs
        if each.get("name") != "stderr" and each.get("data", {}).get("text/html") != ""
    ]


@pytest.mark.slow
def test_notebooks_run(tmp_path):
    """In one kernel, whose imports take longer than what they do: every cell gives what it gave."""
    for name in ("ipykernel", "nbclient"):
        pytest.importorskip(name)
    program = [sys.executable, "-c", RUN, *map(str, NOTEBOOKS)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = json.loads((tmp_path / "shown.json").read_text(encoding="utf-8"))
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"][1:]
        for cell, outputs in zip(cells, shown[str(path)], strict=True):
            assert kinds_of(cell.get("outputs", [])) == kinds_of(outputs), "".join(cell["source"])
