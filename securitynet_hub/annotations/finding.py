"""Find annotations: of one model by its id, wherever the tables have it; of models by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import Annotation, load_annotations
from securitynet_hub.core.errors import UnknownNameError

MODEL_CONFIGS = ("extended", "zoo")
"""Where to look for a model: `extended` holds all of `models`."""

WEIGHTS = (".bin", ".ckpt", ".h5", ".onnx", ".pkl", ".pt", ".pth", ".safetensors")
"""What names of weights files end in."""


def find_listed(id: str) -> Annotation:
    """Return the annotation of a model of the tables: a public model, or one of the embedded zoo.

    Raises:
        UnknownNameError: no such model; the closest ids are given.

    >>> find_listed("zoo/fashion-mnist/cnn-clean/1").num_classes
    10
    """
    known: list[str] = []
    for config in MODEL_CONFIGS:
        annotations = load_annotations(config)
        if id in annotations:
            annotation: Annotation = annotations[id]
            return annotation
        known += annotations
    raise UnknownNameError("model", id, known, lead=_lead(id))


def _lead(id: str) -> str:
    """Say how a model that is not of the tables would be named."""
    if id.startswith((".", "/", "~")) or id.lower().endswith(WEIGHTS):
        return f"There is no file or folder {id} here, either; weights of your own are named file:WEIGHTS."
    if id.count("/") == 1:
        return f"A model of the Hugging Face Hub is named transformers:{id} or timm:{id}."
    return ""


def filter_annotations(
    rows: Sequence[Annotation], columns: Mapping[str, str | None], flags: Sequence[str] = ()
) -> list[Annotation]:
    """Return the rows that have these values and all of these flags.

    Args:
        rows: annotations.
        columns: for a column's name the value to have, upper case and punctuation aside: CIFAR-10, cifar10
            and cifar_10 are one; None for any.
        flags: names of flags.

    Raises:
        UnknownNameError: no row has such a value, or there is no such flag; the closest ones are given.

    >>> len(filter_annotations(list(load_annotations().values()), {"dataset": "svhn"}))
    40
    """
    found = list(rows)
    for name, wanted in columns.items():
        if wanted is None:
            continue
        known = {_folded(getattr(row, name)): getattr(row, name) for row in rows}
        if _folded(wanted) not in known:
            raise UnknownNameError(name, wanted, known.values())
        found = [row for row in found if _folded(getattr(row, name)) == _folded(wanted)]
    for flag in flags:
        if flag not in FLAGS:
            raise UnknownNameError("flag", flag, FLAGS)
        found = [row for row in found if flag in row.flags]
    return found


def _folded(name: str) -> str:
    """Return a name's letters and digits alone, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
