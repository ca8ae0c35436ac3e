"""Files that are no PyTorch weights: what they are, told by their first bytes, and how to convert them."""

from __future__ import annotations

import pickletools
import struct
from contextlib import suppress

from securitynet_hub.core.text import printable
from securitynet_hub.weights.reading.globals import why_refused

_TO_ONNX = "convert the model to ONNX and audit that"

KERAS = f"is a model of Keras (.keras): {_TO_ONNX} (model.export(PATH, format='onnx'))"
NUMPY = (
    "is a NumPy archive (.npz): write it as safetensors (safetensors.numpy.save_file) under the names of the "
    "network's parameters"
)
SCRIPT = (
    "is TorchScript, a program: where you trust it, torch.save(torch.jit.load(PATH).state_dict(), NEW) keeps "
    "the weights alone"
)
_MEMBERS = {"metadata.json": KERAS, "config.json": KERAS, "model.weights.h5": KERAS}


def foreign(head: bytes) -> str:
    """Return what a file is that is neither safetensors nor torch's, by its first 512 bytes.

    >>> foreign(b"")
    'is empty'
    """
    member, danger = first_member(head), _danger(head)
    page = head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    packed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf"))
    looks = {
        "is empty": not head,
        "is a page of HTML, such as a server sends in place of a file": page,
        "is a Git LFS pointer, not the file that it points to": head.startswith(b"version https://git-lfs"),
        "is a tar archive (torch before 0.1.10 wrote such files)": head[257:262] == b"ustar",
        "is compressed": packed,
        f"is HDF5, such as Keras writes (.h5): {_TO_ONNX} (python -m tf2onnx.convert --keras PATH --output "
        "NEW)": head.startswith(b"\x89HDF"),
        f"is TFLite: {_TO_ONNX} (python -m tf2onnx.convert --tflite PATH --output NEW)": head[4:8] == b"TFL3",
        f"is a SavedModel of TensorFlow: {_TO_ONNX} (python -m tf2onnx.convert --saved-model FOLDER --output "
        "NEW)": head.startswith(b"\x08\x01\x12"),
        "is ONNX, a network with its weights, not weights for a network: name it as onnx:PATH": _is_onnx(
            head
        ),
        "is GGUF, a format of quantised language models": head.startswith(b"GGUF"),
        "is a NumPy array (.npy): torch.save it under the name of its parameter": head.startswith(
            b"\x93NUMPY"
        ),
        _MEMBERS.get(member or "", NUMPY): member is not None,
        f"is a pickle that torch.save did not write, and asks for {danger}: do not load it": bool(danger),
        "is a pickle that torch.save did not write: where you trust it, load it and torch.save the dict of "
        "tensors": head[:1] == b"\x80" and head[1:2] <= b"\x05",
    }
    return next((look for look, true in looks.items() if true), "is of no known format")


def _danger(head: bytes) -> str:
    r"""Return the first name that a pickle asks for in its first bytes and weights do not, empty for none.

    >>> _danger(b"\x80\x02cposix\nsystem\n.")
    "'posix.system'"
    """
    texts: list[str] = []
    with suppress(Exception):  # it breaks off, or is none
        for opcode, argument, _ in pickletools.genops(head if head[:1] == b"\x80" else b""):
            if opcode.name in ("BINUNICODE", "SHORT_BINUNICODE"):
                texts.append(str(argument))
            elif opcode.name in ("GLOBAL", "STACK_GLOBAL"):
                name = str(argument).replace(" ", ".") if argument else ".".join(texts[-2:])
                if why_refused(name):
                    return repr(printable(name))
    return ""


def is_other_archive(head: bytes) -> bool:
    """Return whether a zip archive is that of Keras or NumPy, by the name of its first member."""
    name = first_member(head)
    return name in _MEMBERS or (name is not None and name.endswith(".npy") and "/" not in name)


def first_member(head: bytes) -> str | None:
    """Return the name of a zip archive's first member, None if there is none."""
    if not head.startswith(b"PK\3\4") or len(head) < 30:
        return None
    (length,) = struct.unpack("<H", head[26:28])
    return head[30 : 30 + length].decode("utf-8", "replace")


def _is_onnx(head: bytes) -> bool:
    """Return whether a protobuf starts with a version of ONNX's format, and a producer or a graph."""
    return head[:1] == b"\x08" and 3 <= (head[1:2] or b"\0")[0] < 32 and head[2:3] in b'\x12\x1a"*2:B'
