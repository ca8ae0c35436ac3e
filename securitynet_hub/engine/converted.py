"""Networks converted for a faster engine, which answers in torch's place once it was seen to answer the same.

Only answers are asked of an engine. Gradients, features and training stay with torch. A network is converted
once for each hash of its weights, printed form, preprocessing and precision, and kept in the cache. Some
batches of each process are answered by both: the first, second, fourth, eighth and so on, and those
whose inputs lie outside the range of what was compared before. An engine that is further from torch than
rounding is not used any more, and a warning says so.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import shutil
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.core.cache_folder import package_cache
from securitynet_hub.core.errors import EngineWarning
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.stages import stage
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.engine.engine_choice import TORCH, describe_engine, find_engine
from securitynet_hub.engine.network_digest import network_digest
from securitynet_hub.engine.processes import find_precision, init_processes
from securitynet_hub.models.outputs import Classifier
from securitynet_hub.models.target import Target

Values = npt.NDArray[np.float32]
Ask = Callable[[Values], Values]
"""Maps a batch of inputs to what the network answers."""

Plain = Callable[[torch.Tensor], torch.Tensor]

SAME, SAME_NARROW = 1e-4, 5e-2
"""Largest difference from torch's logits in float32, in units of the largest or of one: float32, bfloat16."""

TIMES_NARROW, SPREAD = 2.0, 4.0
"""How far an engine in bfloat16 may lie from float32, in units of how far torch's own bfloat16 does.

How much rounding to 8 bits changes a network's answers depends on the network: from .3 % of the largest logit
to 9 % among 13 that were looked at. Torch's own bfloat16 rounds the same weights and inputs, at other places,
so it shows how much. The root of the mean square over all images compared so far may be 2 + 4 / sqrt(images)
times as large. Networks converted well had 0.6 to 1.8 times for 16 images or more, and at most 3.9 for one.
Of wrong ones a changed bias had 1.2 to 2.9 over all images, weights in 8 bits 1.4 to 5.7, another epsilon of
BatchNorm 1.0 to 6.2 and weights larger by 2 % 18 and more: what rounding hides is not found. In one batch the
largest difference may be twice torch's, or `SAME_NARROW`.
"""

ROUNDED = 2.0**-7
"""What is allowed in any case, in units of the logits: inputs, weights and answers are rounded by 2**-9."""

MOVED = 2e-3
"""Share of images with another top class above which a warning says so: correctness' AUC may move by it."""


class Runtime(NamedTuple):
    """How an engine converts a network into a folder, and loads it from there.

    Attributes:
        convert: of a network that maps a batch to one tensor, a batch, and the folder.
        load: of the folder, whether to compute in bfloat16, and the number of threads.
        narrow: whether the engine computes in bfloat16 on a CPU.
    """

    convert: Callable[[torch.nn.Module, torch.Tensor, Path], None]
    load: Callable[[Path, bool, int], Ask]
    narrow: bool


class NoEngineError(Exception):
    """Why an engine does not answer for a network, as the end of a sentence."""


BEYOND = 0.05
"""Share of the range of inputs compared so far by which others may lie outside without being compared."""


@dataclass
class _State:
    """What answers for a network.

    Attributes:
        digest: of the network.
        ask: the engine; None where torch answers.
        batches: how many it was asked.
        low: the smallest input that was compared with torch.
        high: the largest.
        images: how many were compared in bfloat16.
        moved: how many of these have another top class than torch finds in float32; -1 once that was told.
        squares: sums over these images of the squares of the engine's distance from float32, of the distance
            of torch's own bfloat16, and of the logits.
    """

    digest: bytes
    ask: Ask | None = None
    batches: int = 0
    low: float = math.inf
    high: float = -math.inf
    images: int = 0
    moved: int = 0
    squares: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def is_new(self, inputs: torch.Tensor) -> bool:
        """Count a batch; return whether it is one of those to be compared, and then widen the range."""
        self.batches += 1
        low, high = (float(end) for end in inputs.aminmax())
        slack = BEYOND * max(self.high - self.low, 0.0)
        known = self.low - slack <= low and high <= self.high + slack
        if known and self.batches & (self.batches - 1):  # no power of two
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        return True


_STATES: weakref.WeakKeyDictionary[torch.nn.Module, dict[str, _State]] = weakref.WeakKeyDictionary()
"""What answers for each network asked, by engine and precision."""


def engine_of(target: Target) -> str | None:
    """Return the engine that answers for a target in this process, with its version; None for torch."""
    state = _STATES.get(target.module, {}).get(_name())
    return None if state is None or state.ask is None else describe_engine()


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Answers for a target by the chosen engine.

    Attributes:
        target: the model.
        classifier: turns what the network answers into logits.
    """

    target: Target
    classifier: Classifier

    def __call__(self, inputs: torch.Tensor, plain: Plain) -> torch.Tensor:
        """Return the logits for a batch; where the engine does not answer for the network, those of torch."""
        known = _STATES.setdefault(self.target.module, {})
        state = known.get(_name())
        try:
            if state is None or state.digest != self._digest:  # new, or trained on since it was asked
                state = known[_name()] = _State(self._digest)
                with stage("convert network"):
                    state.ask = self._prepare(inputs)
            if state.ask is None:
                return plain(inputs)
            found = self._answer(state.ask, inputs)
            if state.is_new(inputs):
                self._compare(state, found, plain, inputs)
            return found
        except NoEngineError as reason:
            earlier = f", batch {state.batches} of this process" if state and state.batches > 1 else ""
            known[_name()] = _State(self._digest)
            warn_caller(
                f"torch answers for {self.target.id}, not {find_engine()}, which {reason}{earlier}.",
                EngineWarning,
            )
            return plain(inputs)

    @cached_property
    def _digest(self) -> bytes:
        return network_digest(self.target)

    def _answer(self, ask: Ask, inputs: torch.Tensor) -> torch.Tensor:
        values = np.ascontiguousarray(inputs.numpy(), np.float32)
        try:
            return self.classifier.read(torch.from_numpy(ask(values)), len(inputs)).float()
        except Exception as error:
            raise NoEngineError(f"fails to answer ({type(error).__name__}: {error})") from error

    def _prepare(self, inputs: torch.Tensor) -> Ask:
        """Convert the network where it was not converted before, and load it."""
        runtime, narrow = RUNTIMES[find_engine()], _precision() == "bf16"
        types = {p.dtype for p in self.target.module.parameters() if p.is_floating_point()}
        if types - {torch.float32}:
            raise NoEngineError(f"is used for networks in float32, and this one is in {min(map(str, types))}")
        if _precision() not in ("no", "bf16"):
            raise NoEngineError(f"is not used with the precision {_precision()}")
        if narrow and not runtime.narrow:
            raise NoEngineError("does not compute in bfloat16 on a CPU")
        digest = self._digest.hex()[:32]
        place = package_cache() / "engines" / f"{find_engine()}-{digest}-{_version()}"
        threads = torch.get_num_threads()
        if place.exists():
            with contextlib.suppress(Exception):
                return runtime.load(place, narrow, threads)
            shutil.rmtree(place, ignore_errors=True)  # emptied or damaged: it is made again
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(place) as part:
                part.mkdir()
                _converting(runtime, _OneAnswer(self.classifier), inputs, part)
            return runtime.load(place, narrow, threads)
        except Exception as error:  # each engine has its own, and convertible networks no definition
            text = " ".join(str(error).split())[:300]
            raise NoEngineError(f"cannot take the network ({type(error).__name__}: {text})") from error

    def _compare(self, state: _State, found: torch.Tensor, plain: Plain, inputs: torch.Tensor) -> None:
        narrow = _precision() == "bf16"
        with torch.autocast("cpu", enabled=False):
            expected = plain(inputs).float()
        if found.shape != expected.shape:
            shapes = tuple(found.shape), tuple(expected.shape)
            raise NoEngineError("answers in the shape {}, torch in {}".format(*shapes))
        scale = max(1.0, float(expected.abs().max()))
        most = scale * (SAME_NARROW if narrow else SAME)
        if narrow:  # networks that bfloat16 changes more are changed by torch's, too
            own = plain(inputs).float() - expected
            most = max(most, TIMES_NARROW * float(own.abs().max()))
        apart = float((found - expected).abs().max())
        if not apart <= most:
            raise NoEngineError(f"is {apart:.2g} from torch's logits, whose largest is {scale:.3g}")
        best = expected.gather(1, found.argmax(1, keepdim=True))[:, 0]
        if bool((expected.max(1).values - best > (most if narrow else 0)).any()):
            raise NoEngineError("finds another top class than torch")
        if narrow:
            self._compare_narrow(state, found, own, expected)

    def _compare_narrow(
        self, state: _State, found: torch.Tensor, own: torch.Tensor, expected: torch.Tensor
    ) -> None:
        """Compare over all images so far how far the engine and torch's bfloat16 lie from float32."""
        state.images += len(found)
        engine, torchs, logits = (
            before + float(each.double().square().sum())
            for before, each in zip(state.squares, (found - expected, own, expected), strict=True)
        )
        state.squares = engine, torchs, logits
        times = TIMES_NARROW + SPREAD / math.sqrt(state.images)
        if not math.sqrt(engine) <= max(times * math.sqrt(torchs), ROUNDED * math.sqrt(logits)):
            apart = math.sqrt(engine / torchs) if torchs else math.inf
            raise NoEngineError(
                f"in bfloat16 is {apart:.1f} times as far from float32 as torch's bfloat16 is, over "
                f"{state.images} images"
            )
        if state.moved < 0:
            return
        state.moved += int((found.argmax(1) != expected.argmax(1)).sum())
        if state.moved > MOVED * state.images:
            warn_caller(
                f"in bfloat16, {find_engine()} finds another top class than torch in float32 for "
                f"{state.moved} of the first {state.images} images of {self.target.id} that were compared. "
                "Figures that count top classes, such as the AUC of correctness, may differ by as much; "
                "without --mixed_precision bf16 they do not.",
                EngineWarning,
            )
            state.moved = -1


def converted(target: Target, classifier: Classifier) -> Converted | None:
    """Return what answers for a target by the chosen engine; None where torch does.

    Functions, networks that an engine runs already and models spread over devices are left alone.

    >>> from securitynet_hub.engine.soundness import as_classifier
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> converted(target, as_classifier(target)) is None
    True
    """
    if find_engine() == TORCH or not target.has_weights or hasattr(classifier, "hf_device_map"):
        return None
    if init_processes().device.type != "cpu" or "," in find_precision():  # an accelerator, a compiler
        return None
    return Converted(target=target, classifier=classifier)


def _precision() -> str:
    return find_precision()


def _name() -> str:
    return f"{find_engine()} {_precision()}"


@lru_cache(maxsize=1)
def _version() -> str:
    """Return the versions of the engine and of torch, which decide how a network is converted."""
    return f"{describe_engine()}-torch-{torch.__version__}".replace(" ", "-").replace("+", "-")


class _OneAnswer(torch.nn.Module):
    """A classifier's network, whose answer is one tensor of any batch size."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.reduce = classifier.network, classifier.reduce

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        answer = self.network(inputs)
        if self.reduce is not None:
            answer = self.reduce(answer)
        if isinstance(answer, torch.Tensor):
            return answer
        logits = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
        if not isinstance(logits, torch.Tensor):
            raise TypeError(f"it answers with {type(answer).__name__}: pass reduce= to pick one tensor")
        return logits


def _converting(runtime: Runtime, module: torch.nn.Module, inputs: torch.Tensor, place: Path) -> None:
    """Convert a network as it is in eval mode, in float32, with gradients off."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        example = torch.empty(min(len(inputs), 2), *inputs.shape[1:])
        example.copy_(inputs[: len(example)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about shapes that stay as they are
            runtime.convert(module.eval(), example, place)


def _to_openvino(module: torch.nn.Module, example: torch.Tensor, place: Path) -> None:
    openvino: Any = importlib.import_module("openvino")
    shape = openvino.PartialShape([-1, *example.shape[1:]])
    model = openvino.convert_model(module, example_input=example, input=[shape])
    openvino.save_model(model, place / "model.xml", compress_to_fp16=False)


def _by_openvino(place: Path, narrow: bool, threads: int) -> Ask:
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if narrow else "f32",  # or a CPU may choose bfloat16 by itself
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # or several processes would take the same cores
    }
    request = core.compile_model(core.read_model(place / "model.xml"), "CPU", settings).create_infer_request()

    def ask(values: Values) -> Values:
        request.infer({0: values})
        return np.array(request.get_output_tensor(0).data, np.float32)

    return ask


def _to_onnx(module: torch.nn.Module, example: torch.Tensor, place: Path) -> None:
    torch.onnx.export(
        module,
        (example,),
        str(place / "model.onnx"),
        input_names=["inputs"],
        output_names=["answers"],
        dynamic_axes={"inputs": {0: "n"}, "answers": {0: "n"}},
        opset_version=17,
        dynamo=False,  # the newer exporter takes ten times as long, and fixes a batch of one
    )


def _by_onnxruntime(place: Path, narrow: bool, threads: int) -> Ask:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores, too
    session = onnxruntime.InferenceSession(
        str(place / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )

    def ask(values: Values) -> Values:
        found: Values = session.run(None, {"inputs": values})[0]
        return found

    return ask


RUNTIMES = {
    "openvino": Runtime(_to_openvino, _by_openvino, narrow=True),
    "onnxruntime": Runtime(_to_onnx, _by_onnxruntime, narrow=False),
}
