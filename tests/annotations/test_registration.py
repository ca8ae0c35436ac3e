"""`load_dataset("securitynet")`: offline, from any directory, and without harm if it cannot be."""

import os
import sys
from types import ModuleType

import pytest
from support.processes import run_python

from securitynet_hub.annotations import registration
from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.core.errors import UnknownNameError


@pytest.fixture
def run(tmp_path):
    """Return a function that runs code elsewhere, offline, with empty caches and strict warnings."""
    paths = [os.path.abspath(entry) for entry in sys.path if entry]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "home"),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(code):
        done = run_python("-W", "error", "-c", code, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run.folder = folder
    return run


def test_the_name_loads_in_every_way(run):
    lines = run("""
import securitynet_hub
from datasets import (
    get_dataset_config_names, get_dataset_default_config_name, get_dataset_split_names,
    load_dataset, load_dataset_builder,
)
print(load_dataset("securitynet")["train"].num_rows)
print(load_dataset("securitynet", "projects", split="train[:7]").num_rows)
print(load_dataset("securitynet", "extended", split="train").num_rows)
print(next(iter(load_dataset("securitynet", split="train", streaming=True)))["id"])
print(load_dataset("securitynet", split="train", num_proc=2, keep_in_memory=True).num_rows)
print(get_dataset_config_names("securitynet")[:2])
print(get_dataset_split_names("securitynet", "models"))
print(get_dataset_default_config_name("securitynet"))
print(load_dataset_builder("securitynet").dataset_name)
""")
    assert lines == [
        "529", "7", "1037", "medmnist/adrenalmnist3d/resnet18-acs/1", "529", "['models', 'projects']",
        "['train']", "models", "securitynet",
    ]  # fmt: skip


def test_data_loader_workers_read_it(run):
    lines = run("""
import securitynet_hub
from datasets import load_dataset
from torch.utils.data import DataLoader
rows = load_dataset("securitynet", split="train").select_columns(["id", "num_classes"])
print(sum(len(batch["id"]) for batch in DataLoader(rows, batch_size=100, num_workers=2)))
""")
    assert lines == ["529"]


def test_importing_the_package_does_not_import_datasets(run):
    lines = run("""
import sys
import securitynet_hub
print("datasets" in sys.modules)
import datasets.load
print(datasets.load.dataset_module_factory.__securitynet__)
print(any("securitynet_hub" in type(finder).__module__ for finder in sys.meta_path))
""")
    assert lines == ["False", "True", "False"]


def test_it_works_when_datasets_came_first_and_registers_once(run):
    lines = run("""
import datasets
factory = datasets.load.dataset_module_factory
import securitynet_hub
from securitynet_hub.annotations import registration
registration.register()
registration.register()
print(datasets.load.dataset_module_factory.__wrapped__ is factory)
print(datasets.inspect.dataset_module_factory.__wrapped__ is factory)
print(datasets.load_dataset("securitynet", split="train").num_rows)
""")
    assert lines == ["True", "True", "529"]


def test_a_local_folder_of_that_name_wins(run):
    folder = run.folder / "securitynet"
    folder.mkdir()
    (folder / "mine.csv").write_text("a\n1\n2\n")
    lines = run("""
import securitynet_hub
from datasets import load_dataset
print(load_dataset("securitynet", split="train").column_names)
""")
    assert lines == ["['a']"]


def test_other_names_go_through_untouched():
    seen = []
    module = ModuleType("datasets")
    for name in ("load", "inspect"):
        place = ModuleType(name)
        place.dataset_module_factory = lambda path, *args, **kwargs: seen.append((path, args, kwargs))
        setattr(module, name, place)
    registration.patch(module)
    module.load.dataset_module_factory("user/other", 1, revision="main")
    module.inspect.dataset_module_factory(path="securitynet_2")
    assert seen == [("user/other", (1,), {"revision": "main"}), ("securitynet_2", (), {})]


def test_a_datasets_without_the_function_gets_one_clear_warning():
    module = ModuleType("datasets")
    module.load, module.inspect = ModuleType("load"), ModuleType("inspect")
    module.__version__ = "99.0"
    with pytest.warns(UserWarning, match=r"datasets 99\.0.*load_annotations") as caught:
        registration.patch(module)
    assert len(caught) == 1
    assert str(HUB_DATASET) in str(caught[0].message)
    assert not hasattr(module.load, "dataset_module_factory")


@pytest.mark.parametrize(
    "probe",
    ["accelerate.utils.is_datasets_available()", "importlib.util.find_spec('datasets')"],
)
def test_looking_whether_datasets_is_there_does_not_undo_it(run, probe):
    lines = run(f"""
import securitynet_hub
import importlib.util
import accelerate.utils
{probe}
from datasets import load_dataset
print(load_dataset("securitynet", split="train").num_rows)
""")
    assert lines == ["529"]


def test_the_data_set_says_what_it_is():
    from datasets import load_dataset

    info = load_dataset("securitynet", "zoo", split="train").info
    assert "public image classifiers" in info.description
    assert "USENIX Security 2024" in info.citation
    assert (info.license, info.homepage) == ("MIT", "https://arxiv.org/abs/2310.12665")


def test_the_name_in_another_case_leads_to_the_right_one(tmp_path, monkeypatch):
    from datasets import load_dataset

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'securitynet'"):
        load_dataset("SecurityNet")
