"""What clients that nobody here wrote do with the Hub of our tests: the table of docs/sharing.md.

Run ``python benchmarks/measure_hub_clients.py LOWEST NEWEST NODE``, then ``make tables``. LOWEST and NEWEST
are virtual environments with these huggingface_hub (and hf_xet, click), NODE is a folder in
which ``npm install @huggingface/hub`` ran.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.hub_clients import OPERATIONS, contents, run_hf, run_node, run_python
from support.hub_server import running_hub
from tables import writing

COMMAND = "python benchmarks/measure_hub_clients.py LOWEST NEWEST NODE"


def main():
    """Run every client on a Hub of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("lowest", "newest", "node"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    clients = {}
    for name in ("lowest", "newest"):
        python = getattr(options, name) / "bin/python"
        say = "import huggingface_hub; print(huggingface_hub.__version__)"
        version = subprocess.run(
            [python, "-c", say], capture_output=True, text=True, check=True
        ).stdout.strip()
        clients[f"huggingface_hub {version}"] = lambda *on, python=python: run_python(*on, python=python)
        if name == "newest":
            clients[f"{version}, Xet off"] = lambda *on, python=python: run_python(
                *on, python=python, HF_HUB_DISABLE_XET="1"
            )
        clients[f"hf {version}"] = lambda *on, python=python: run_hf(*on, hf=python.with_name("hf"))
    package = json.loads((options.node / "node_modules/@huggingface/hub/package.json").read_text())
    clients[f"@huggingface/hub {package['version']}"] = lambda *on: run_node(*on, options.node)
    done = {}
    for name, client in clients.items():
        with running_hub() as hub, tempfile.TemporaryDirectory() as home:
            hub.multipart = 1 << 20
            contents(Path(home))
            done[name] = client(hub, Path(home), "alice/probe")
    with writing("hub-clients", COMMAND, ["operation", *clients]) as row:
        for operation in OPERATIONS:
            row(operation, *(cell(*done[name][operation]) for name in clients))


def cell(good, seen):
    """Say what happened in a few words."""
    if good is None:
        return "no command"
    return (seen if seen.startswith("refused") else "yes") if good else f"**no**: {seen}"


if __name__ == "__main__":
    main()
