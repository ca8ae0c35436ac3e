"""Reports that people read: one self-contained HTML file for any records, and the study as a page.

``securitynet_hub.report(records)`` writes one; it is this room itself that is called, since a function of the
room's name would hide the modules in it.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, records: Any, out: Any = None, **options: Any) -> Any:
        from securitynet_hub.report.inline import report

        return report(records, out, **options)


sys.modules[__name__].__class__ = _Room
