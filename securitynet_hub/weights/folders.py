"""The weights files of a folder or a repository, by the ends of their names."""

from __future__ import annotations

import os
from pathlib import Path

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.shards import INDEX_END

ENDS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".keras", ".onnx", ".npz")
"""Ends of names of files that may hold weights."""

MAX_FILES = 1000
"""Most files of one folder or repository that are judged."""


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
        found += [Path(place) / name for name in sorted(files) if name.endswith((*ENDS, INDEX_END))]
        if len(found) > MAX_FILES:
            raise WeightsError(f"{folder} has more than the {MAX_FILES:,} weights files that are judged.")
    return found
