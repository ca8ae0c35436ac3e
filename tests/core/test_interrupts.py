"""An interrupt ends the work; it is never written down as what is wrong with a file or a model."""

import random
import signal

import pytest
import safetensors.torch
import torch

from securitynet_hub.core.interrupts import heed_interrupts, raise_if_interrupted
from securitynet_hub.weights.reading.checkpoints import judge, read_checkpoint


@pytest.fixture
def _handlers():
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_error_that_came_of_an_interrupt_is_one(number):
    """A library in another language may catch what a callback raises, and report an error of its own."""
    heed_interrupts()
    raise_if_interrupted(ValueError("nothing has arrived yet"))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        raise_if_interrupted(ValueError("the library's own error"))
    heed_interrupts()
    raise_if_interrupted(ValueError("a new start"))


@pytest.mark.usefixtures("_handlers")
def test_an_ignored_interrupt_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    heed_interrupts()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("how", ["cause", "context", "text"])
def test_an_interrupt_within_an_error_is_found(how):
    error = RuntimeError("the file is damaged")
    if how == "cause":
        error.__cause__ = KeyboardInterrupt()
    elif how == "context":
        error.__context__ = ValueError("in between")
        error.__context__.__context__ = KeyboardInterrupt()
    else:
        error = RuntimeError("Error while reading: KeyboardInterrupt: ")
    with pytest.raises(KeyboardInterrupt):
        raise_if_interrupted(error)


def is_interrupted(path, verb, seconds):
    """Read again and again until an interrupt arrives; return whether it did."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        for _ in range(1000):
            assert getattr(verb(path), "safe", True)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("verb", [read_checkpoint, judge])
def test_reading_passes_an_interrupt_on(form, verb, tmp_path):
    """Wherever it arrives: one after another, over the time that a file takes."""
    path, tensors = tmp_path / "model", {f"layer{n}": torch.rand(20, 20) for n in range(20)}
    if form == "safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")

    def ring(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    draw = random.Random(0)
    try:
        # Python itself may lose one, within a destructor.
        assert sum(is_interrupted(path, verb, draw.uniform(1e-5, 4e-3)) for _ in range(100)) > 90
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
