"""Run the notebooks of docs/notebooks, and keep what they show: ``run_notebooks.py NOTEBOOK ...``.

What a bar of progress leaves behind, and what goes to standard error, is left out.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


def stays(output: dict[str, Any]) -> bool:
    """Return whether an output is shown to readers."""
    data = output.get("data", {})
    return (
        output.get("name") != "stderr"
        and data.get("text/html") != ""
        and "application/vnd.jupyter.widget-view+json" not in data
    )


def renew(path: Path) -> None:
    """Run a notebook in a new kernel and an empty folder, and write it again."""
    notebook = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, kernel_name="python3", timeout=1800, resources=where, record_timing=False
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = list(filter(stays, cell.outputs))
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(Path(name))
