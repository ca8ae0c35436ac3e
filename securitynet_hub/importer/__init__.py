"""Build the Hub dataset from the upstream Markdown tables: `python -m securitynet_hub.importer`."""

from securitynet_hub.importer.dataset import build, diff
from securitynet_hub.importer.tables import ImportProblemsError, Problem

__all__ = ["ImportProblemsError", "Problem", "build", "diff"]
