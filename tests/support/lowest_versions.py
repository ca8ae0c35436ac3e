"""Print the lowest versions that pyproject.toml allows, the test extra's included, as pip requirements.

``python lowest_versions.py torch==2.13.0`` takes that version of torch instead of its lowest.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def lowest_versions(overrides):
    """Map each dependency to the lowest version allowed."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lowest = dict(
        re.match(r"([\w-]+(?:\[[\w,-]+\])?)>=([\w.]+)", requirement).groups() for requirement in requirements
    )
    return lowest | dict(override.split("==") for override in overrides)


if __name__ == "__main__":
    print("\n".join("==".join(pair) for pair in lowest_versions(sys.argv[1:]).items()))
