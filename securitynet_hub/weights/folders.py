"""The weights files of a folder or a repository, by the ends of their names."""

from __future__ import annotations

import os
from pathlib import Path

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.shards import is_index

ENDS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib"),
    *(".h5", ".keras", ".onnx", ".npz"),
)
"""Ends of names of files that may hold weights, in small letters."""

MAX_FILES = 1000
"""Most files of one folder or repository that are judged."""


def may_hold_weights(name: str) -> bool:
    """Return whether a file's name ends as one of weights, in letters of any case: loaders mind none.

    >>> may_hold_weights("a/net.PTH"), may_hold_weights("a/net.txt")
    (True, False)
    """
    return name.lower().endswith(ENDS)


def weights_files(folder: Path) -> list[Path]:
    """Return the files below a folder that may hold weights, sorted; links to folders are not followed.

    Raises:
        WeightsError: there are more than `MAX_FILES`, or a folder cannot be read.
    """

    def give_up(error: OSError) -> None:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}.") from error

    found = []
    for place, folders, files in os.walk(folder, onerror=give_up):
        folders.sort()
        found += [Path(place) / name for name in sorted(files) if may_hold_weights(name) or is_index(name)]
        if len(found) > MAX_FILES:
            raise WeightsError(f"{folder} has more than the {MAX_FILES:,} weights files that are judged.")
    return found
