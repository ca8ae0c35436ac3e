"""Print the lowest versions that the installed package allows, as pip constraints.

``python lowest_versions.py torch==2.13.0`` takes that version of torch instead of its lowest.
"""

import re
import sys
from importlib.metadata import requires

lowest = {}
for requirement in requires("securitynet-hub") or []:
    floor = re.match(r"([\w-]+)>=([\w.]+)", requirement)
    if floor and "extra" not in requirement.replace('extra == "test"', ""):
        lowest[floor[1]] = floor[2]
lowest |= dict(override.split("==") for override in sys.argv[1:])
print("\n".join(f"{name}=={version}" for name, version in lowest.items()))
