"""Keep the tests off the network and out of the caller's caches."""

import os
import tempfile

import pytest

# Before `datasets` and `huggingface_hub` read them, on import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="securitynet-tests-")
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory):
    """Run in another folder, so that processes the tests start import the installed package too."""
    os.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Run one command line in this process; give exit code, standard output and standard error."""
    from securitynet_hub.cli import main

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
