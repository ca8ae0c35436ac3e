"""What stands beside the weights is never made, called or imported; what would run code is refused there."""

import argparse
import enum
import functools
import json
import sys
import types
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from support.checkpoint_forms import TRANSFORM, Net, seeded
from support.hostile_safetensors import Canary
from torch import nn

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.models.loading import load_target
from securitynet_hub.weights.reading.checkpoints import judge, read_checkpoint
from securitynet_hub.weights.reading.pickle_walk import Inert

SOURCE = """
import enum
from pathlib import Path

def touch(*_, **__):
    Path(MARKER).touch()

class Made:
    def __new__(cls, *args):
        touch()
        return super().__new__(cls)

class Given:
    def __setstate__(self, state):
        touch()

class Reduced:
    def __reduce__(self):
        return touch, ("a",)

class ReducedLater:
    def __reduce__(self):
        return Plain, (), {}, iter([1]), iter([("a", 1)]), touch

class Plain(list):
    def __setitem__(self, key, value):
        touch()
    def append(self, value):
        touch()
    def extend(self, values):
        touch()

class Filled(dict):
    def __setitem__(self, key, value):
        touch()

class Hashed:
    def __hash__(self):
        touch()
        return 1
    def __eq__(self, other):
        touch()
        return True

class Member(enum.Enum):
    A = 1
    @classmethod
    def _missing_(cls, value):
        touch()
        return cls.A

class Module(__import__("torch").nn.Linear):
    def __setstate__(self, state):
        touch()
        super().__setstate__(state)
"""
"""The author's module: whatever is done with its classes touches a marker."""


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "canary"


@pytest.fixture
def lab(marker, monkeypatch):
    """The author's module, which can be imported here as it can on the author's machine."""
    module = types.ModuleType("my_lab_of_canaries")
    module.MARKER = str(marker)
    module.__file__ = "my_lab_of_canaries.py"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(SOURCE, vars(module))
    for value in list(vars(module).values()):
        if isinstance(value, type):
            value.__module__ = module.__name__
    return module


def list_of(lab):
    made = lab.Plain()
    list.append(made, 1)
    return made


def dict_of(lab):
    made = lab.Filled()
    dict.__setitem__(made, "a", 1)
    return made


def stray_member(lab):
    """Return a member of an enumeration that its class no longer has."""
    member = object.__new__(lab.Member)
    member._value_, member._name_ = 7, "B"
    return member


OBJECTS = {
    "__new__": lambda lab: lab.Made(),
    "__setstate__": lambda lab: with_state(lab.Given()),
    "__reduce__": lambda lab: lab.Reduced(),
    "state setter": lambda lab: lab.ReducedLater(),
    "append": list_of,
    "__setitem__": dict_of,
    "__hash__": lambda lab: {1: {lab.Hashed()}},
    "a key's __hash__": lambda lab: {(lab.Hashed(),): 1},
    "_missing_": stray_member,
    "a module's __setstate__": lambda lab: lab.Module(2, 2),
    "partial": lambda lab: functools.partial(lab.touch, 1),
    "default factory": lambda lab: defaultdict(lab.touch),
    "array of objects": lambda lab: np.array([lab.Reduced()], dtype=object),
    "in a Namespace": lambda lab: argparse.Namespace(a=[lab.Reduced()]),
}


def with_state(made):
    made.a = 1
    return made


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 5"])
@pytest.mark.parametrize("case", OBJECTS)
def test_nothing_beside_the_weights_is_made(case, form, lab, marker, tmp_path):
    net, path = seeded(Net), tmp_path / "model.pth"
    content = {"net": net.state_dict(), "beside": OBJECTS[case](lab)}
    torch.save(
        content, path,
        _use_new_zipfile_serialization=form != "legacy", pickle_protocol=5 if form == "protocol 5" else 2,
    )  # fmt: skip
    marker.unlink(missing_ok=True)
    torch.load(path, weights_only=False)
    assert marker.exists() == (case not in ("partial", "default factory")), "else this shows nothing"
    marker.unlink(missing_ok=True)
    assert judge(path).loadable
    beside = read_checkpoint(path)["beside"]
    assert isinstance(beside, (Inert, dict))
    target = load_target(f"file:{path}", module=seeded(Net, 1), transform=TRANSFORM)
    assert torch.equal(target.module.fc.weight, net.fc.weight)
    assert not marker.exists()


def test_modules_are_not_imported(tmp_path, monkeypatch):
    """An import runs code, too."""
    (tmp_path / "lab_on_disk.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("lab_on_disk")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lab_on_disk", module)
        module.Config = type("Config", (), {"__module__": "lab_on_disk"})
        torch.save({"net": Net().state_dict(), "config": module.Config()}, tmp_path / "model.pth")
    assert str(read_checkpoint(tmp_path / "model.pth")["config"]) == "lab_on_disk.Config"
    assert "lab_on_disk" not in sys.modules


class Call:
    """An object that its pickle makes by a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Ordered(OrderedDict):
    pass


class Colour(enum.Enum):
    RED = 1


def module_with(canary):
    net = Net()
    net.fc.note = canary
    return net


def tensor_with(canary):
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = canary  # stored beside the numbers
    return parameter


CANARIES = {
    "a Namespace": lambda c: {"args": argparse.Namespace(lr=0.1, run=c)},
    "a Namespace in a Namespace": lambda c: {"args": argparse.Namespace(more=argparse.Namespace(run=c))},
    "a tuple that is a key": lambda c: {"log": {(0, c): 1}},
    "a set": lambda c: {"seen": {1, c}},
    "an optimiser's state": lambda c: {"optimizer": {"state": {0: {"step": c}}, "param_groups": [{"lr": c}]}},
    "a list of logs": lambda c: {"log": [0.1] * 100 + [c]},
    "an array of objects": lambda c: {"scores": np.array([1, c], dtype=object)},
    "an OrderedDict's class": lambda c: {"more": Ordered(a=c)},
    "a partial": lambda c: {"schedule": functools.partial(print if c is None else len, c)},
    "a default factory": lambda c: {"meters": defaultdict(list, {"a": c})},
    "a module's attribute": lambda c: {"model": module_with(c)},
    "a tensor's attribute": lambda c: {"centre": tensor_with(c)},
    "eval": lambda c: {"best": Call(eval, f"__import__('os').system({c.__reduce__()[1][0]!r})")},
    "exec": lambda c: {"best": Call(exec, f"import os; os.system({c.__reduce__()[1][0]!r})")},
    "getattr": lambda c: {"best": Call(getattr, Call(__import__, "os"), "system")},
    "a nested pickle": lambda c: {"best": Call(torch.storage._load_from_bytes, b"x")},
    "a file that is opened": lambda c: {"best": Call(open, c.path, "w")},
    "a call by map": lambda c: {"best": Call(list, Call(map, len, [c]))},
}


@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 5"])
@pytest.mark.parametrize("case", CANARIES)
def test_code_beside_the_weights_is_refused(case, form, marker, tmp_path, run):
    path = tmp_path / "model.pth"
    content = {"state_dict": Net().state_dict(), **CANARIES[case](Canary(marker))}
    torch.save(
        content, path,
        _use_new_zipfile_serialization=form != "legacy", pickle_protocol=5 if form == "protocol 5" else 2,
    )  # fmt: skip
    verdict = judge(path)
    assert not verdict.safe
    assert "asks for" in verdict.reason
    with pytest.raises(WeightsError, match="is refused: its pickle asks for"):
        load_target(f"file:{path}", module=Net(), transform=TRANSFORM, key_prefix="state_dict")
    assert run("verify", path)[0] == 1
    assert not marker.exists()


def test_code_in_one_of_several_files_is_refused(marker, tmp_path, run):
    torch.save({"a": torch.ones(2)}, tmp_path / "model-1.bin")
    torch.save({"b": torch.ones(2), "c": Canary(marker)}, tmp_path / "model-2.bin")
    index = tmp_path / "model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.bin", "b": "model-2.bin"}}))
    code, out, _ = run("verify", index, "--json")
    assert code == 1
    assert "model-2.bin: its pickle asks for" in json.loads(out)[0]["reason"]
    assert not marker.exists()


def test_a_member_of_an_enumeration_as_python_3_11_wrote_it(tmp_path):
    torch.save({"net": Net().state_dict(), "colour": Call(getattr, Colour, "RED")}, tmp_path / "model.pth")
    assert judge(tmp_path / "model.pth").loadable
