"""Keep the tests off the network and out of the caller's caches; let those see torchvision that ask for it.

With the variable VISION, the folder that it names, with torchvision and timm, can be imported from.
torchvision's wheel is built for a torch with CUDA: beside another torch its library cannot be loaded, and its
import fails for want of two operators. With them declared its classifiers, which use none, work.
"""

import gc
import os
import signal
import sys
import tempfile

import hypothesis
import pytest

# Before `datasets` and `huggingface_hub` read them, on import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="securitynet-tests-")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes, or takes to be drawn, says how busy the machine is.
BUSY = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=BUSY)
hypothesis.settings.load_profile("patient")

# What is imported stays: Python need not look through it for garbage again and again, which takes longer than
# to build a network.
gc.set_threshold(10_000, 10, 10)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


if "VISION" in os.environ:
    import torch

    sys.path.insert(0, os.environ["VISION"])
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory):
    """Run in another folder, so that processes the tests start import the installed package too."""
    os.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Run one command line in this process; give exit code, standard output and standard error."""
    from securitynet_hub.cli.main import main

    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as leave:
            code = leave.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server in the Hub's place, asked by the real huggingface_hub, with an empty cache of its own."""
    from support.servers import running_server

    with running_server() as server:
        _point_clients_at(server.url(""), tmp_path / "home", monkeypatch)
        yield server


@pytest.fixture
def whole_hub(tmp_path, monkeypatch):
    """A Hub that takes commits and pull requests; alice of the organisation lab is logged in."""
    from huggingface_hub import constants
    from support.hub_server import running_hub

    with running_hub() as server:
        _point_clients_at(server.endpoint, tmp_path / "home", monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_alice_secret")
        yield server


def _point_clients_at(endpoint, home, monkeypatch):
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    if hasattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE"):  # huggingface_hub 0
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture(scope="session")
def short_recipes():
    """Train shadow models of the zoo for a fifth of their epochs, with its block."""
    from contextlib import contextmanager
    from dataclasses import replace

    from securitynet_hub.zoo import shadows
    from securitynet_hub.zoo.recipes import zoo_models

    def short():
        models = zoo_models()
        return [replace(m, recipe=replace(m.recipe, epochs=m.recipe.epochs // 5)) for m in models]

    @contextmanager
    def patched():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shadows, "zoo_models", short)
            yield

    return patched
