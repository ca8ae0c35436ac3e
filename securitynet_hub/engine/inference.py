"""Batched forward passes through Accelerate: every requested image exactly once, on any device."""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from threadpoolctl import ThreadpoolController

from securitynet_hub.core.arrays import Rows, as_array, name_rows
from securitynet_hub.core.errors import ModelError, ProcessError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.stages import stage
from securitynet_hub.core.threads import Turns, in_threads, thread_budget, usable_cores
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.pixels import Labels, Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.engine.converted import Converted, converted
from securitynet_hub.engine.memory_format import put_channels_last, wants_channels_last
from securitynet_hub.engine.processes import broadcast, gather, init_processes, raise_together
from securitynet_hub.engine.soundness import Forward, as_classifier, require_sound
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.functions import Function
from securitynet_hub.models.target import Preprocessing, Target

BATCH_SIZE = 256

CPU_ELEMENTS = 1 << 21
"""Input elements that a CPU forwards at a time: 13 images of 3 x 224 x 224, whose activations fit its caches.

With 256 such images, the time per image is up to twice as long, and the memory ten times as large.
"""

PREPARED = 4
"""Largest number of batches that are prepared ahead of the device, each by its own thread."""


LOGITS_BYTES = 1 << 30
"""Bytes of outputs above which a process keeps them in a temporary file."""

GATHERED = 1 << 26
"""Bytes of outputs that each process hands to the others at a time."""

CHECKED = 1 << 16
"""Rows of outputs that are looked at together for what is not finite."""

READ_TOGETHER = 16
"""Images of a source that one thread reads at a time."""


def predict(
    target: Target,
    images: Pixels | ImageSource,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    on_batch: Callable[[int], None] = lambda size: None,
) -> npt.NDArray[np.float32]:
    """Return the target's logits, shape (n, classes), row i for image i, the same on every process.

    Each process forwards its share of the batches. The batches, and so the logits, do not depend on the
    number of processes. Rows are gathered with their positions and put into the images' order. Training flags
    and the random state are restored; the module stays on Accelerate's device.

    Images of a source are read by threads ahead of the model. Each goes through the target's own transform at
    its own size, and no more than two batches are in memory, whatever the number of images. The logits do not
    depend on the number of these threads. On a CPU they take turns with torch's or the engine's: no more run
    at once than `core.threads.thread_budget` allows.

    Mixed precision and compilation are those that Accelerate was launched with (``--mixed_precision bf16``,
    ``--dynamo_backend inductor``). A batch that does not fit into memory is forwarded in halves. On a CPU, a
    batch is forwarded in parts of at most `CPU_ELEMENTS`, because large ones are slower, and with the
    channels last in memory where that is faster (`engine.memory_format`); the module itself stays as it is.
    Another engine answers in torch's place where one was chosen (``--engine``, `engine.converted`).

    Args:
        target: the classifier; its transform is applied to the pixels.
        images: shape (n, height, width, channels), uint8; or a source of images of any size.
        batch_size: images in one forward pass, on each process.
        workers: threads that read images of a source; by default as many as the process may run. Torch uses
            no more than those either (`core.threads.thread_budget`), whatever `torch.set_num_threads` says.
        on_batch: called with the number of images after each batch of this process, for a progress bar.

    Raises:
        ValueError: there are no images, or the target does not accept their size.
        ModelError: the model gave NaN or infinite logits, or a wrong number of them.
        ProcessError: another process of the launch has ended. An error on one process is raised on all.
    """
    if isinstance(target.module, Function):
        return _asked(target.module, images, batch_size, on_batch)
    classifier = as_classifier(target)
    logits = predict_module(
        classifier,
        target.transform,
        images,
        batch_size=batch_size,
        workers=workers,
        on_batch=on_batch,
        engine=converted(target, classifier),
        on_first=lambda forward, inputs, answers: require_sound(target, forward, inputs, answers),
    )
    if logits.shape[1:] != (target.num_classes,):
        raise ModelError(
            f"{target.id} gave outputs of {logits.shape[1:]}, {target.num_classes} were expected."
        )
    return logits


def _asked(
    function: Function, images: Pixels | ImageSource, batch_size: int, on_batch: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    """Return a function's logits. The main process asks for all, so that nothing is asked twice."""
    if not len(images):
        raise ValueError("there are no images to predict.")
    found: list[npt.NDArray[np.float32]] = []
    failure: Exception | None = None
    if init_processes().is_main_process:
        try:
            for start in range(0, len(images), batch_size):
                rows = range(start, min(start + batch_size, len(images)))
                read = images.read if isinstance(images, ImageSource) else images.__getitem__
                found.append(function.ask([read(row) for row in rows]))
                on_batch(len(rows))
        except Exception as error:
            failure = error
    if failure := raise_together(failure):
        raise failure
    logits: npt.NDArray[np.float32] = broadcast(np.concatenate(found) if found else None)
    return logits


def predict_module(
    module: torch.nn.Module,
    transform: Preprocessing,
    images: Pixels | ImageSource,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    on_batch: Callable[[int], None] = lambda size: None,
    on_first: Callable[[Forward, torch.Tensor, torch.Tensor], None] = lambda forward, inputs, answers: None,
    engine: Converted | None = None,
) -> npt.NDArray[np.float32]:
    """Return the outputs of a module without annotation, as `predict` does for a target.

    `on_first` is called after the first batch of this process, with what forwards a batch, the inputs and the
    outputs. `engine` answers in the module's place where it can.
    """
    if not len(images):
        raise ValueError("there are no images to predict.")
    if isinstance(images, LabelledImages):
        images = images.pixels
    accelerator = init_processes()
    forward = _Forward(module, accelerator, engine)
    batches = np.split(np.arange(len(images)), range(batch_size, len(images), batch_size))
    share = np.array_split(np.arange(len(batches)), accelerator.num_processes)[accelerator.process_index]
    # A process without a batch repeats the first one, because all processes must take part in gathering.
    own = [batches[place] for place in share] or batches[:1]
    answers = _Answers(sum(map(len, own)))
    failure: Exception | None = None
    budget = thread_budget(_processes_here(accelerator))
    turns = Turns(max(budget, workers or 0))

    def beside() -> AbstractContextManager[None]:
        """Take the turns of the threads that torch or an engine starts beside this one."""
        threads = torch.get_num_threads() if accelerator.device.type == "cpu" else 1
        others = min(threads, turns.count) - 1  # the model's code may set more threads meanwhile
        return turns.taken(others, first=True) if others else nullcontext()

    with (
        plain_torch(),
        evaluating(module),
        torch.no_grad(),  # not inference mode: what a network keeps for later could have no gradient then
        accelerator.autocast(),
        _at_most(budget),
        turns.taken(),
    ):
        try:
            prepared = _prepared(images, transform, own, accelerator, workers, turns)
            while True:
                with stage("wait for images"):
                    inputs = next(prepared, None)
                if inputs is None:
                    break
                with beside(), stage("forward"):
                    found = forward(inputs).float()
                if answers.are_empty:
                    with beside(), stage("forward"):
                        on_first(forward, inputs, found)
                answers.add(found)
                on_batch(len(inputs))
        except ProcessError:
            raise
        except Exception as error:
            failure = error
    if failure := raise_together(failure):
        raise failure
    outputs = _gathered(accelerator, np.concatenate(own), answers, len(images))
    parts = (outputs[start : start + CHECKED] for start in range(0, len(outputs), CHECKED))
    finite = np.concatenate([np.isfinite(part).reshape(len(part), -1).all(1) for part in parts])
    broken = np.flatnonzero(~finite)
    if len(broken):
        raise ModelError(
            f"the model gave NaN or infinite outputs for {len(broken)} image(s), the first at {broken[0]}."
        )
    return outputs


class _Answers:
    """The outputs of one process: in memory, or in a temporary file if they are many.

    Their place is taken at once. Many small tensors between the images of a pass would leave holes in memory
    that no image fits into, and the process would grow with the number of images.

    Args:
        rows: number of images of this process.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._done = rows, 0
        self._all = torch.empty(0)
        self._on_disk: npt.NDArray[np.float32] | None = None

    @property
    def are_empty(self) -> bool:
        """Whether nothing was added yet."""
        return self._done == 0

    def add(self, answers: torch.Tensor) -> None:
        """Keep the outputs of the next batch."""
        if self.are_empty:
            shape = (self._rows, *answers.shape[1:])
            if 4 * math.prod(shape) > LOGITS_BYTES:
                self._on_disk = array_on_disk(shape, np.float32)
            else:
                self._all = answers.new_empty(shape)
        rows = slice(self._done, self._done + len(answers))
        if self._on_disk is None:
            self._all[rows] = answers
        else:
            self._on_disk[rows] = answers.cpu().numpy()
        self._done += len(answers)

    def array(self) -> npt.NDArray[np.float32]:
        """Return all outputs."""
        return self._all.cpu().numpy() if self._on_disk is None else self._on_disk

    def part(self, rows: slice, device: torch.device) -> torch.Tensor:
        """Return some of the outputs on a device."""
        found = self._all[rows] if self._on_disk is None else torch.from_numpy(np.array(self._on_disk[rows]))
        return found.to(device)


def room_for(shape: tuple[int, ...], dtype: npt.DTypeLike, *, most: int | None = None) -> npt.NDArray[Any]:
    """Return an array, in memory or, if it has more than `most` bytes (`LOGITS_BYTES`), in a temporary file.

    Raises:
        ModelError: there is no room for it.

    >>> type(room_for((2, 3), np.float32)), type(room_for((2, 3), np.float32, most=20))
    (<class 'numpy.ndarray'>, <class 'numpy.memmap'>)
    """
    large = np.dtype(dtype).itemsize * math.prod(shape) > (LOGITS_BYTES if most is None else most)
    return array_on_disk(shape, dtype) if large else np.empty(shape, dtype)


def array_on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of a temporary file, which is gone with the array.

    Raises:
        ModelError: there is no room for it.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    try:
        with tempfile.TemporaryFile(prefix="securitynet-outputs-") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would end the process later
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise ModelError(
            f"{size:,} bytes of outputs do not fit into {tempfile.gettempdir()}: {error.strerror or error}. "
            "Set TMPDIR to a folder with more room."
        ) from error


def _prepared(
    images: Pixels | ImageSource,
    transform: Preprocessing,
    batches: Sequence[Rows],
    accelerator: Accelerator,
    workers: int | None,
    turns: Turns,
) -> Iterator[torch.Tensor]:
    """Yield the network's inputs for each batch, on the device; the caller holds a turn."""
    if isinstance(images, ImageSource):
        device = accelerator.device
        if device.type == "cpu":  # the parts in which a CPU forwards them anyway
            most = max(1, CPU_ELEMENTS // math.prod(transform.shape))
            batches = [part for batch in batches for part in np.split(batch, range(most, len(batch), most))]
        threads = turns.count
        if device.type != "cpu":  # whose threads of torch have little to do, few as they may be
            threads = workers or max(1, usable_cores() // _processes_here(accelerator))
            turns.end()
        yield from _read(images, transform, batches, device, workers or threads, turns)
        return
    pixels = images

    def prepare(batch: Rows) -> torch.Tensor:
        with stage("transform"):
            return transform(pixels[batch[0] : batch[-1] + 1])  # a slice, which is not copied

    yield from _ahead(prepare, batches, accelerator.device)


def _processes_here(accelerator: Accelerator) -> int:
    """Count the processes of the launch on this machine, as its launcher announces them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))


def _read(
    images: ImageSource,
    transform: Preprocessing,
    batches: Sequence[Rows],
    device: torch.device,
    workers: int,
    turns: Turns,
) -> Iterator[torch.Tensor]:
    """Yield the inputs for each batch on the device, while threads read the images of the next ones.

    Beside the batch that is forwarded, at most one batch and one part for each thread are in memory.
    """

    def prepare(rows: Rows) -> torch.Tensor:
        with turns.taken():
            ready = transform_each(images, transform, rows, between=turns.pass_on)
        return ready.pin_memory() if device.type == "cuda" else ready

    parts = (
        rows for batch in batches for rows in np.split(batch, range(READ_TOGETHER, len(batch), READ_TOGETHER))
    )
    ahead = workers + -(-max(map(len, batches)) // READ_TOGETHER)
    prepared = in_threads(prepare, parts, threads=workers, ahead=ahead, on_start=_without_threads)
    with closing(prepared):
        try:
            for batch in batches:
                with turns.given():
                    ready = list(islice(prepared, -(-len(batch) // READ_TOGETHER)))
                yield torch.cat([part.to(device, non_blocking=True) for part in ready])
        finally:
            turns.end()  # or those that are being read would wait for a turn that the caller holds


def _without_threads() -> None:
    """Let torch start no threads from this one."""
    torch.get_num_threads()  # sets their number for this thread, which torch would do later otherwise
    _openmp().limit(limits=1)


@lru_cache(maxsize=1)
def _openmp() -> Any:
    return ThreadpoolController().select(user_api="openmp")


@contextmanager
def _at_most(threads: int) -> Iterator[None]:
    """Let torch use no more threads within the block."""
    before = torch.get_num_threads()
    if before > threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if before > threads:
            torch.set_num_threads(before)


def transform_each(
    images: ImageSource,
    transform: Preprocessing,
    rows: Rows,
    *,
    between: Callable[[], object] = lambda: None,
) -> torch.Tensor:
    """Return the network's inputs for images of a source, each transformed at its own size.

    Images of one size are transformed together, which is quicker for small ones.

    Args:
        images: the source.
        transform: the model's preprocessing.
        rows: which images.
        between: called after each image that was read, and after each transform.
    """
    read = []
    with stage("decode"):
        for row in rows:
            read.append(images.read(int(row)))
            between()
    with stage("transform"):
        return _transformed(images, transform, rows, read, between)


def _transformed(
    images: ImageSource,
    transform: Preprocessing,
    rows: Rows,
    read: Sequence[Pixels],
    between: Callable[[], object],
) -> torch.Tensor:
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(read):
        places.setdefault(image.shape, []).append(place)
    inputs: torch.Tensor | None = None
    for same in places.values():
        try:
            found = transform(np.stack([read[place] for place in same]))
        except ValueError as error:
            sides = transform.shape[:2]
            size = f"?size={sides[0]} (size={sides[0]})" if len(set(sides)) == 1 else "?size=SIDE (size=)"
            raise ValueError(
                f"image {rows[same[0]]} of {images.name} cannot be given to the model: {error} "
                f"Its preprocessing must resize (resize={','.join(map(str, sides))} in a transform of yours)"
                f", or {size} brings all images to one size first."
            ) from error
        between()
        if len(places) == 1:
            return found
        if inputs is None:
            inputs = found.new_empty((len(read), *found.shape[1:]))
        inputs[same] = found
    assert inputs is not None
    return inputs


class _Forward:
    """A module on the device, compiled if the launch asks for it, which forwards large batches in parts.

    On a CPU, parts have at most `CPU_ELEMENTS`; on other devices, a batch too large for the memory is halved.

    Accelerate's `find_executable_batch_size` would repeat the whole pass, with batches that differ between
    processes. Here each process keeps its batches, and the size that fits is remembered.
    """

    def __init__(
        self, module: torch.nn.Module, accelerator: Accelerator, engine: Converted | None = None
    ) -> None:
        self._engine = engine
        self._most: int | None = None
        self._elements: int | None = None
        self._device = accelerator.device
        self._call: Callable[[torch.Tensor], torch.Tensor] = module
        self._module: torch.nn.Module | None = None  # only of one whose inputs may be reordered
        self._untried: torch.nn.Module | None = None  # one that no input was seen of yet, on a GPU
        self._channels_last = False
        if hasattr(module, "hf_device_map"):  # `device_maps.place` has put it on devices already
            return
        if accelerator.device.type == "cpu":
            self._elements = CPU_ELEMENTS
            self._module = module
        module.to(accelerator.device)
        if accelerator.device.type == "cuda" and _is_for_images(module):
            self._untried = module
        dynamo = accelerator.state.dynamo_plugin
        if dynamo.backend != DynamoBackend.NO:
            self._call = torch.compile(module, **dynamo.to_kwargs())

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs for a batch."""
        if self._untried is not None:
            # The memory format that tensor cores need for convolutions; the module keeps it.
            self._channels_last = put_channels_last(self._untried, inputs[:1])
            self._untried = None
        if self._channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._most is None and self._elements is not None:
            self._most = max(1, self._elements // inputs[0].numel())
        if self._most is not None and len(inputs) > self._most:
            return torch.cat([self(part) for part in torch.split(inputs, self._most)])
        return self._whole(inputs) if self._engine is None else self._engine(inputs, self._whole)

    def _whole(self, inputs: torch.Tensor) -> torch.Tensor:
        """Forward a batch at once; on an accelerator that has not the memory, in halves."""
        if self._module is not None and wants_channels_last(self._module, self._call, inputs):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        try:
            return self._call(inputs)
        except RuntimeError as error:
            if len(inputs) == 1 or not should_reduce_batch_size(error):
                raise
        self._most = -(-len(inputs) // 2)
        clear_device_cache(garbage_collection=True)
        return self(inputs)


def _is_for_images(module: torch.nn.Module) -> bool:
    """Return whether no weight has more than four dimensions, so that all can be in channels_last format."""
    return all(parameter.ndim <= 4 for parameter in module.parameters())


def _ahead(
    prepare: Callable[[Rows], torch.Tensor],
    batches: Iterable[Rows],
    device: torch.device,
) -> Iterator[torch.Tensor]:
    """Yield batches on the device; threads prepare the next ones meanwhile."""
    if device.type == "cpu":  # preparing ahead would compete with the forward pass
        yield from map(prepare, batches)
        return

    def pinned(batch: Rows) -> torch.Tensor:
        ready = prepare(batch)
        return ready.pin_memory() if device.type == "cuda" else ready

    count = max(1, min(PREPARED, usable_cores() // 2))
    left = iter(batches)
    with ThreadPoolExecutor(count) as threads:
        upcoming = deque(threads.submit(pinned, batch) for batch in islice(left, count))
        while upcoming:
            ready = upcoming.popleft().result()
            upcoming.extend(threads.submit(pinned, batch) for batch in islice(left, 1))
            yield ready.to(device, non_blocking=True)


def _gathered(
    accelerator: Accelerator, positions: Rows, answers: _Answers, size: int
) -> npt.NDArray[np.float32]:
    """Return the rows of all processes in the images' order, shape (size, ...)."""
    if accelerator.num_processes == 1:
        return answers.array()
    device = accelerator.device
    shape = (size, *answers.part(slice(0, 0), device).shape[1:])
    failure: Exception | None = None
    try:
        outputs = room_for(shape, np.float32)
    except ModelError as error:
        failure = error
    if failure := raise_together(failure):
        raise failure
    missing = np.ones(size, np.bool_)
    most = int(gather(accelerator, torch.tensor([len(positions)], device=device)).max())
    step = max(1, GATHERED // (4 * math.prod(shape[1:])))
    for start in range(0, most, step):  # of each process the same part, shorter or empty at the end
        part = slice(start, start + step)
        places = gather(accelerator, torch.from_numpy(positions[part]).to(device), pad=-1).cpu().numpy()
        values = gather(accelerator, answers.part(part, device)).cpu().numpy()
        outputs[places[places >= 0]] = values[places >= 0]
        missing[places[places >= 0]] = False
    if missing.any():
        raise ModelError(f"{np.count_nonzero(missing)} of {size} images came back without an output.")
    return outputs


def ask(target: Target, pixels: Pixels, batch_size: int) -> Labels:
    """Return the predicted labels, shape (n,), for attacks that see only these."""
    labels: Labels = predict(target, pixels, batch_size=batch_size).argmax(1)
    return labels


def as_images(target: Target, pixels: Any, labels: Any) -> tuple[Pixels, Labels]:
    """Check images and labels against each other and the target, and return them as arrays.

    Raises:
        ValueError: there are none, their numbers differ, or they do not fit the target.
    """
    pixels, labels = as_array(pixels, "pixels"), as_array(labels, "labels")
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or not pixels.size:
        raise ValueError(f"pixels must be uint8 images, at least one; got {pixels.dtype} of {pixels.shape}.")
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(pixels)} integers, one for each image; got {labels.dtype} of "
            f"{labels.shape}."
        )
    strange = np.flatnonzero((labels < 0) | (labels >= target.num_classes))
    if len(strange):
        raise ValueError(
            f"labels must lie in 0..{target.num_classes - 1}; {name_rows(strange)} do not, the first is "
            f"{labels[strange[0]]}."
        )
    return pixels, labels.astype(np.int64)
