"""Networks in ONNX files, run by onnxruntime on the CPU. They only answer.

``onnx:<path>`` names a file, ``onnx:hf://<owner>/<name>[@<revision>]/<path>`` one of the Hub.

The bytes that are hashed and looked through (`weights.reading.onnx_walk`) are those that onnxruntime gets: no
other file is read, and no operator is loaded from outside. A graph is no code, but it may ask for more memory
or time than there is.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from securitynet_hub.annotations.schema import Annotation, plain_name, unlisted
from securitynet_hub.core.errors import MissingPackageError, ModelError, WeightsError
from securitynet_hub.data.per_image import as_preprocessing
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.class_count import tried_classes
from securitynet_hub.models.outputs import Classifier, Outputs, Reduce
from securitynet_hub.models.target import Target
from securitynet_hub.weights.fetch import fetch
from securitynet_hub.weights.hub import hub_snapshot
from securitynet_hub.weights.local import FILE_SCHEME
from securitynet_hub.weights.reading.onnx_walk import MAX_BYTES, OnnxFacts, read_onnx

HUB_SCHEME = "hf://"
HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:@((?:refs/(?:convert|pr)/)?[^/]+))?/(.+)")
"""A file of a repository, as huggingface_hub's file system spells it; a revision's slashes are ``%2F``."""

FINAL: dict[str, Outputs] = {
    "Softmax": "posteriors", "LogSoftmax": "log-posteriors", "Sigmoid": "posteriors", "ArgMax": "labels",
}  # fmt: skip
"""What a network answers with, by the operator that makes its output."""

TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}  # fmt: skip
"""The types of pixels that a network may take."""

RANGES: dict[str, dict[str, Any]] = {
    "NominalRange_0_255": {"factor": 255.0}, "Normalized_0_1": {}, "Normalized_1_1": {"half": True},
}  # fmt: skip
"""What ``Image.NominalPixelRange`` says of the values of pixels (onnx/docs/MetadataProps.md)."""


def annotate(
    reference: str,
    *,
    transform: Any = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    sha256: str | None = None,
    name: str | None = None,
) -> Annotation:
    """Describe the network in a file, which is hashed now and must have the same hash when it is read.

    Args:
        reference: path of the file; or ``hf://<owner>/<name>[@<revision>]/<path>``, a file of the Hub, which
            is downloaded and pinned to its commit.
        transform: the preprocessing; None to take it from the file's metadata.
        num_classes: number of classes; None to count the numbers that the network answers with.
        outputs: what it answers with; None for what the operator that makes the answer says.
        reduce: picks the answers out of a dictionary of the network's outputs.
        sha256: the hash that the file must have.
        name: what records call it; the file's name, unless given.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        WeightsError: as `read_onnx`, or the file cannot be downloaded or read, or has another hash.
        ModelError: it cannot forward images of this preprocessing.
        ValueError: its preprocessing is not known, or the file of the Hub is spelled in another way.
    """
    linked = _on_hub(reference, name) if reference.startswith(HUB_SCHEME) else None
    path = Path(reference).expanduser().resolve() if linked is None else _path(linked)
    content, digest = _read(path, sha256)
    module, preprocessing = _module(
        content, path.name, transform=transform, num_classes=num_classes, outputs=outputs, reduce=reduce
    )
    annotation = linked or unlisted(
        "onnx",
        digest[:12],
        plain_name(name or path.stem),
        architecture="onnx",
        num_classes=0,
        weights_url=f"{FILE_SCHEME}{path}",
    )
    return replace(
        annotation,
        num_classes=tried_classes(module, preprocessing, path.name),
        weights_hash_kind="sha256",
        weights_hash=digest,
    )


def load(
    annotation: Annotation,
    *,
    transform: Any = None,
    num_classes: int | None = None,
    outputs: Outputs | None = None,
    reduce: Reduce | None = None,
    **_: object,
) -> Target:
    """Return the target that `annotate` described."""
    path = _path(annotation)
    content, _digest = _read(path, annotation.weights_hash)
    module, preprocessing = _module(
        content,
        path.name,
        transform=transform,
        num_classes=annotation.num_classes,
        outputs=outputs,
        reduce=reduce,
    )
    return Target(
        annotation=annotation,
        module=module,
        transform=preprocessing,
        num_classes=annotation.num_classes,
        outputs=module.outputs or "logits",
    )


class OnnxNetwork(torch.nn.Module):
    """A session of onnxruntime behind the face of a module: inputs in, a dictionary of outputs out."""

    answers_only = True

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.input = session.get_inputs()[0]
        batch, *rest = self.input.shape
        self.batch = batch if isinstance(batch, int) else None
        self.channels_last = len(rest) == 3 and rest[0] not in (1, 3) and rest[-1] in (1, 3)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map inputs (n, channels, height, width) to the network's outputs by name."""
        values = inputs.cpu().numpy()
        if self.channels_last:
            values = np.moveaxis(values, 1, -1)
        if self.input.type == "tensor(uint8)":
            values = np.rint(values)
        values = np.ascontiguousarray(values, TYPES[self.input.type])
        size = self.batch or len(values)
        parts = [self._run(values[start : start + size], size) for start in range(0, len(values), size)]
        names = [output.name for output in self.session.get_outputs()]
        return {
            name: torch.from_numpy(np.concatenate([part[place] for part in parts])).to(inputs.device)
            for place, name in enumerate(names)
        }

    def _run(self, values: Any, size: int) -> list[Any]:
        """Forward a batch; one that is shorter than the network's own is filled up with its last image."""
        short = size - len(values)
        if short:
            values = np.concatenate([values, np.repeat(values[-1:], short, 0)])
        found = self.session.run(None, {self.input.name: values})
        return [output[: size - short] if output.ndim else output for output in found]


def _on_hub(reference: str, name: str | None) -> Annotation:
    """Describe a file of the Hub before it is read: its link, pinned to a commit, and the Hub's own hash.

    Raises:
        ValueError: the reference names no file of a repository.
        WeightsError: there is no such repository, revision or file, or the Hub cannot be reached.
    """
    found = HUB.fullmatch(reference)
    if found is None:
        raise ValueError(
            "a file of the Hub is named onnx:hf://OWNER/NAME/PATH, or onnx:hf://OWNER/NAME@REVISION/PATH; "
            f"got onnx:{reference}."
        )
    repo, revision, file = found[1], found[2] and unquote(found[2]), found[3]
    snapshot = hub_snapshot(repo, revision)
    kind, digest = snapshot.hash_of(file)
    owner, title = repo.split("/")
    return unlisted(
        "onnx",
        owner,
        f"{title}@{snapshot.commit[:12]}-{plain_name(name or str(PurePosixPath(file).with_suffix('')))}",
        upstream_name=repo,
        architecture="onnx",
        num_classes=0,
        weights_url=snapshot.url(file),
        weights_page=f"https://huggingface.co/{repo}",
        weights_hash_kind=kind,
        weights_hash=digest,
    )


def _path(annotation: Annotation) -> Path:
    """Return the path of the file that an annotation links to; one of the Hub is downloaded and verified."""
    url = annotation.weights_url or ""
    if url.startswith(FILE_SCHEME):
        return Path(url.removeprefix(FILE_SCHEME))
    return fetch(annotation, limit=MAX_BYTES)


def _read(path: Path, sha256: str | None) -> tuple[bytes, str]:
    """Return a file's bytes and their hash."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path.name} is larger than {MAX_BYTES:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise WeightsError(f"{path} has the sha256 {digest}; {sha256} was expected.")
    return content, digest


def _module(
    content: bytes,
    name: str,
    *,
    transform: Any,
    num_classes: int | None,
    outputs: Outputs | None,
    reduce: Reduce | None,
) -> tuple[Classifier, Any]:
    """Return the network behind a `Classifier`, and its preprocessing."""
    facts = read_onnx(content, name)
    network = OnnxNetwork(_session(content, name))
    preprocessing = _from_metadata(network, facts, name) if transform is None else as_preprocessing(transform)
    said = outputs or FINAL.get(facts.final, "logits")
    return Classifier(network, num_classes=num_classes, outputs=said, reduce=reduce), preprocessing


def _session(content: bytes, name: str) -> Any:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingPackageError(
            f"{name} is run by onnxruntime, which cannot be imported ({error}). "
            "pip install 'securitynet-hub[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each sort of failure
        raise ModelError(f"onnxruntime cannot load {name}: {' '.join(str(error).split())}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
        taken = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise ModelError(
            f"{name} must take one batch of images of four dimensions, float32, float64, float16 or uint8; "
            f"it takes {taken}."
        )
    return session


def _from_metadata(network: OnnxNetwork, facts: OnnxFacts, name: str) -> Transform:
    """Return the preprocessing that a file states: its input's shape and type, and the range of pixels."""
    shape = list(network.input.shape[1:])
    channels, height, width = shape[-1:] + shape[:-1] if network.channels_last else shape
    stated = facts.metadata.get("Image.NominalPixelRange", "")
    bgr = facts.metadata.get("Image.BitmapPixelFormat", "").startswith("Bgr")
    if network.input.type == "tensor(uint8)" and not stated:
        stated = "NominalRange_0_255"
    if not all(isinstance(side, int) for side in shape) or stated not in RANGES or bgr:
        raise ValueError(
            f"the preprocessing of {name} is not known: it takes {network.input.type} of "
            f"{network.input.shape}, and does not say what range its pixels have. Pass transform=Transform("
            "height=..., width=..., mean=..., std=...) (--transform height=224,width=224,...)."
        )
    settings = dict(RANGES[stated])
    half = (0.5,) * channels if settings.pop("half", False) else None
    return Transform(height=height, width=width, channels=channels, mean=half, std=half, **settings)
