"""What a publisher is told, and what is left behind, where the Hub refuses: the table of docs/sharing.md.

Run ``python benchmarks/measure_hub_faults.py``, then ``make tables``. Each situation has a Hub of its own, as
the tests have; `tests/sharing/test_hub_faults.py` holds what the table says.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.hub_faults import SITUATIONS, happened
from tables import writing


def main():
    """Run every command in every situation."""
    columns = ["situation", "command", "what it says", "exit", "visible afterwards"]
    with writing("hub-faults", "python benchmarks/measure_hub_faults.py", columns) as row:
        for name, situation in SITUATIONS.items():
            for what in situation.commands:
                with tempfile.TemporaryDirectory() as folder:
                    said, *more = happened(name, what, Path(folder))
                    short = re.sub("[0-9a-f]{40}", "COMMIT", said).replace("|", " ").replace("`", "")
                    row(name, f"`{what}`", short, *more)


if __name__ == "__main__":
    os.environ.pop("HF_TOKEN", None)
    main()
