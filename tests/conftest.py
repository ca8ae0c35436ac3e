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
