"""A checked torch file loaded by a child process, of which only safetensors and JSON come back."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import safetensors
import torch

from securitynet_hub import quarantine
from securitynet_hub.errors import WeightsError
from securitynet_hub.views import View


def load_apart(path: Path, announced: str, views: list[View], *, size: int, mmap: bool) -> dict[str, Any]:
    """Let a child process load the file; take its tensors if they are the announced ones.

    Raises:
        WeightsError: the child refused the file, was ended, or found something else than was announced.
    """
    total = sum(view.bytes for view in views)
    seconds = 60 + (size + total) // (20 << 20)
    with tempfile.TemporaryDirectory(prefix="securitynet-") as name:
        folder = Path(name)
        job = {
            "path": str(Path(path).absolute()),
            "folder": name,
            "mmap": mmap,
            "memory": (1 << 30) + 2 * size + 3 * total,
            "seconds": seconds,
            "file_bytes": (16 << 20) + 2 * total + len(announced),
            "sys_path": sorted({str(_home(module)) for module in ("torch", "safetensors", "numpy")}),
        }
        status = _run(job, folder, timeout=2 * seconds)
        if status == quarantine.REFUSED:
            raise WeightsError((folder / quarantine.REFUSAL).read_text("utf-8").rstrip("."))
        if status:
            what = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            last = (folder / "stderr").read_text("utf-8", "replace").strip()[-300:]
            raise WeightsError(f"the process that loaded it was ended {what} {last}".strip())
        if (folder / quarantine.STRUCTURE).read_text("ascii") != announced:
            raise WeightsError("torch.load finds another structure in it than its opcodes describe")
        tensors = []
        with safetensors.safe_open(folder / quarantine.TENSORS, "pt") as content:
            for number, view in enumerate(views):
                raw = content.get_tensor(str(number)).clone()
                tensors.append(raw.view(getattr(torch, view.dtype)).reshape(view.shape))
    result: dict[str, Any] = quarantine.decode(json.loads(announced), tensors)
    return result


def _run(job: dict[str, Any], folder: Path, timeout: float) -> int:
    """Run the child in an empty folder, with no input and little of our environment; return its status."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    try:
        with (folder / "stderr").open("wb") as errors:
            return subprocess.run(
                [sys.executable, "-I", quarantine.__file__, json.dumps(job)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=timeout,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"loading it took more than {timeout:.0f} s") from error


def _home(module: str) -> Path:
    """Return the folder that a package is imported from."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise WeightsError(f"the package {module!r} is needed to read it")
    return Path(found.origin).parents[1]
