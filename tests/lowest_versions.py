"""Print the lowest versions that the installed package allows, as pip constraints."""

import re
from importlib.metadata import requires

for requirement in requires("securitynet-hub") or []:
    lowest = re.match(r"([\w-]+)>=([\w.]+)", requirement)
    if lowest and "extra" not in requirement.replace('extra == "test"', ""):
        print("==".join(lowest.groups()))
