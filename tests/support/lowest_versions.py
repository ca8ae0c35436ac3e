"""Print the lowest versions that the installed package allows, as pip constraints.

``python lowest_versions.py torch==2.13.0`` takes that version of torch instead of its lowest.
"""

import re
import sys
from importlib.metadata import requires


def lowest_versions(overrides):
    """Map each dependency, the test extra's included, to the lowest version allowed."""
    lowest = {}
    for requirement in requires("securitynet-hub"):
        floor = re.match(r"([\w-]+)>=([\w.]+)", requirement)
        if floor and "extra" not in requirement.replace('extra == "test"', ""):
            lowest[floor[1]] = floor[2]
    return lowest | dict(override.split("==") for override in overrides)


if __name__ == "__main__":
    print("\n".join("==".join(pair) for pair in lowest_versions(sys.argv[1:]).items()))
