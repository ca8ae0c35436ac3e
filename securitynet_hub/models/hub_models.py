"""Read the configurations of models on the Hub, and bound their numbers before a network is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.hub import HubFile, hub_file

MAX_CONFIG = 16 << 20
"""Largest size of a configuration in bytes; one with the names of 21,841 classes has two million."""


MAX_NUMBER, MAX_LAYERS = 100_000, 1000
"""Largest side, width or number of classes, and of layers; more could exhaust the memory."""


LAYERS = re.compile(r"(?:\w+_)?(?:layers|depths?|blocks|stages|repeats)")
"""The names of settings that count layers."""


SIDES, MAX_SIDE = re.compile(r"(?:image_|crop_)?size|height|width|(?:short|long)est_edge"), 4096
"""The names of settings that are sides of an image in pixels, and the largest one."""


LABELS = "label2id"
"""The setting whose keys are names of classes."""


def linked_file(annotation: Annotation) -> HubFile:
    """Return the Hub file to which an annotation links.

    Raises:
        WeightsError: the link does not lead to the Hub.
    """
    file = hub_file(annotation.weights_url or "")
    if file is None:
        raise WeightsError(
            f"{annotation.id} should link to a file of the Hub; it links to {annotation.weights_url}."
        )
    return file


def read_config(path: Path) -> dict[str, Any]:
    """Read an untrusted configuration: a JSON object with bounded numbers.

    Raises:
        ValueError: it is not a JSON object, or a number is too large.
    """
    with path.open("rb") as file:
        content = file.read(MAX_CONFIG + 1)
    if len(content) > MAX_CONFIG:
        raise ValueError(f"{path.name} has more than {MAX_CONFIG:,} bytes.")
    try:
        config = json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deep.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} holds a {type(config).__name__} where an object was expected.")
    todo: list[tuple[str, Any]] = [("", config)]
    while todo:
        name, value = todo.pop()
        most = MAX_LAYERS if LAYERS.fullmatch(name) else MAX_SIDE if SIDES.fullmatch(name) else MAX_NUMBER
        if isinstance(value, dict):
            todo.extend((name if name == LABELS else key, item) for key, item in value.items())
        elif isinstance(value, list):
            todo.extend((name, item) for item in value)
        elif isinstance(value, (int, float)) and abs(value) > most:
            shown = f"{value:g}" if abs(value) < 1e300 else "beyond 1e300"
            raise ValueError(
                f"{path.name} holds the number {shown}, {printable(name)}; at most {most:,} is accepted."
            )
    return config
