"""A real audit, made once in a run of the tests: it takes seconds, and several modules look at it."""

import os

import pytest
from filelock import FileLock
from support.audit_records import write_audit


@pytest.fixture(scope="session")
def real_audit(tmp_path_factory):
    """The folder of its records, with its pictures in ``samples``; nobody writes into it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real-audit"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            write_audit(folder)
    return folder
