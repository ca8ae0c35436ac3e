"""The child process that opens a checked torch file, and how it reports what it found.

It runs as a program of its own: ``python -I quarantine.py JOB``, without this package, below limits of
memory, time and file size that it sets itself. It leaves the tensors' bytes in a safetensors file and the
structure around them in a JSON file, or one sentence that says what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TENSORS, STRUCTURE, REFUSAL = "tensors.safetensors", "structure.json", "refusal.txt"
REFUSED = 3
"""Exit status beside a refusal."""

CHUNK = 1 << 20


class RefusedError(Exception):
    """The file holds what is not accepted."""


def encode(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Turn nested dicts, lists and tuples into what JSON can hold; ``leaf`` does it for all else.

    >>> encode({"epoch": 3, "betas": (0.5, None)}, repr)
    {'dict': [['epoch', 3], ['betas', {'tuple': [0.5, None]}]]}
    """
    if isinstance(value, dict):
        return {"dict": [[key, encode(item, leaf)] for key, item in value.items()]}
    if type(value) is list:
        return [encode(item, leaf) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, leaf) for item in value]}
    return value if type(value) in (type(None), bool, int, float, str) else leaf(value)


def decode(content: Any, tensors: list[Any]) -> Any:
    """Undo :func:`encode`, with the tensors in the places of their numbers."""
    if isinstance(content, list):
        return [decode(item, tensors) for item in content]
    if not isinstance(content, dict):
        return content
    if "dict" in content:
        return {key: decode(item, tensors) for key, item in content["dict"]}
    if "tuple" in content:
        return tuple(decode(item, tensors) for item in content["tuple"])
    return tensors[content["tensor"]]


def require_finite(tensor: Any) -> None:
    """Refuse NaN, infinity, and bytes that are no truth values."""
    import torch

    flat = tensor.reshape(-1)
    if tensor.dtype is torch.bool:
        flat = flat.view(torch.uint8)
    for piece in flat.split(CHUNK):
        if tensor.dtype is torch.bool:
            good = bool((piece <= 1).all())
        elif tensor.is_floating_point() or tensor.is_complex():
            good = bool((piece.float() if piece.element_size() == 1 else piece).isfinite().all())
        else:
            return
        if not good:
            kind = "a byte that is no truth value" if tensor.dtype is torch.bool else "NaN or infinity"
            raise RefusedError(f"a tensor of shape {tuple(tensor.shape)} and {tensor.dtype} holds {kind}")


def bytes_of(tensor: Any) -> Any:
    """Return a tensor's elements as a flat tensor of bytes, whatever its dtype."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _limit(job: dict[str, Any]) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's clock remains
        return
    limits = {"RLIMIT_CPU": job["seconds"], "RLIMIT_FSIZE": job["file_bytes"], "RLIMIT_CORE": 0}
    with contextlib.suppress(OSError, IndexError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits["RLIMIT_AS"] = pages * resource.getpagesize() + job["memory"]
    for name, most in limits.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (most, most))


def _open(job: dict[str, Any]) -> None:
    import safetensors.torch
    import torch

    torch.set_num_threads(1)
    _limit(job)
    held = torch.load(job["path"], weights_only=True, mmap=job["mmap"], map_location="cpu")
    tensors: dict[Any, tuple[int, Any]] = {}

    def leaf(value: Any) -> Any:
        if type(value) in (torch.dtype, torch.device):
            return str(value)
        if not isinstance(value, torch.Tensor):
            raise RefusedError(f"it holds a {type(value).__name__}")
        value = value.detach()
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise RefusedError(f"it holds a tensor of layout {value.layout} on {value.device}")
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.stride()))
        key = (value.dtype, tuple(value.shape), *(place if value.numel() else (len(tensors),)))
        if key not in tensors:
            require_finite(value)
            tensors[key] = len(tensors), bytes_of(value)
        return {"tensor": tensors[key][0], "dtype": str(value.dtype), "shape": list(value.shape)}

    folder = Path(job["folder"])
    (folder / STRUCTURE).write_text(json.dumps(encode(held, leaf)), encoding="ascii")
    safetensors.torch.save_file(_apart(dict(tensors.values())), folder / TENSORS)


def _apart(contents: dict[int, Any]) -> dict[str, Any]:
    """Copy what lies in a storage met before, as safetensors refuses to write shared ones."""
    apart, met = {}, set()
    for number, content in contents.items():
        place = content.untyped_storage().data_ptr()
        apart[str(number)] = content.clone() if place in met else content
        met.add(place)
    return apart


def main(job: dict[str, Any]) -> int:
    """Do one job and return the exit status."""
    sys.path.extend(job["sys_path"])
    try:
        _open(job)
    except Exception as error:
        reason = (
            str(error) if isinstance(error, RefusedError) else f"torch.load: {error or type(error).__name__}"
        )
        (Path(job["folder"]) / REFUSAL).write_text(reason[:2000], encoding="utf-8")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
