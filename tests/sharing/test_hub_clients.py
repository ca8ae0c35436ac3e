"""The Hub of our tests, used by clients that nobody here wrote, unchanged and with Xet as they come."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.drawn_records import measured
from support.hub_clients import OPERATIONS, contents, run_hf, run_node, run_python
from support.published_results import REPO, WHERE

from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing.fetching import fetch_results
from securitynet_hub.sharing.publishing import publish_records
from securitynet_hub.sharing.rows import results_shard

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload")

NODE_MODULES = "SECURITYNET_NODE_FOLDER"
"""Environment variable: a folder in which `npm install @huggingface/hub` ran."""


@pytest.fixture
def published(whole_hub):
    whole_hub.add("dataset", REPO, {f"{FOLDER}/first.parquet": results_shard([measured(100)])})
    return whole_hub


@pytest.mark.filterwarnings("ignore:.*Use XetSession:DeprecationWarning")  # by older huggingface_hub
def test_results_go_up_by_way_of_xet(published, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    record = measured(1)
    publish_records(REPO, [record])
    assert record in fetch_results(WHERE).records
    assert len(published.xet.xorbs) == 1
    assert not any(line.startswith("PUT /lfs/") for line in published.log)


def test_results_go_up_in_parts(published):
    published.multipart = 5000
    publish_records(REPO, [measured(n) for n in range(1, 20)])
    assert len(fetch_results(WHERE).records) == 20
    assert len(published.parts) > 1


@pytest.mark.slow
@pytest.mark.parametrize("xet", ["0", "1"], ids=["xet", "lfs"])
def test_huggingface_hub_does_all(whole_hub, tmp_path, xet):
    contents(tmp_path, 1 << 16)
    done = run_python(whole_hub, tmp_path, REPO, HF_HUB_DISABLE_XET=xet)
    assert {name: seen for name, (good, seen) in done.items() if not good} == {}
    assert set(done) == set(OPERATIONS)


@pytest.mark.exhaustive
def test_hf_does_all(whole_hub, tmp_path):
    hf = Path(sys.executable).with_name("hf")
    if not hf.exists():
        pytest.skip("the command hf is not installed beside this Python")
    contents(tmp_path)
    assert {
        name: seen for name, (good, seen) in run_hf(whole_hub, tmp_path, REPO, hf).items() if good is False
    } == {}


@pytest.mark.slow
def test_npms_client_does_all(whole_hub, tmp_path):
    folder = Path(os.environ.get(NODE_MODULES, "."))
    if shutil.which("node") is None or not (folder / "node_modules/@huggingface/hub").exists():
        pytest.skip(f"node, or {NODE_MODULES}/node_modules/@huggingface/hub, is not there")
    contents(tmp_path, 1 << 16)
    done = run_node(whole_hub, tmp_path, REPO, folder)
    assert {name: seen for name, (good, seen) in done.items() if not good} == {}
