"""Warnings that point to the caller's line, however deep in the package they are raised."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

OWN = str(Path(__file__).parents[1])
"""The package's folder."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn as `warnings.warn`, from the line outside this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_passed_over(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_passed_over(filename: str) -> bool:
    return filename.startswith(OWN) or filename.endswith("contextlib.py")
