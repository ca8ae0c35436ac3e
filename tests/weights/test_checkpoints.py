"""Files that must be refused, written here one by one, and files that must come back bit for bit."""

import io
import json
import os
import pickle
import pickletools
import re
import resource
import stat
import struct
import sys
import tarfile
import tempfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_safetensors import SAFETENSORS, Canary, entry, safe
from torch import nn

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.models.state import choose_state
from securitynet_hub.weights.reading import checkpoints
from securitynet_hub.weights.reading import pickle_walk as pickles
from securitynet_hub.weights.reading.checkpoints import judge, read_checkpoint
from securitynet_hub.weights.reading.layout import ITEM_SIZES
from securitynet_hub.weights.reading.pickle_walk import Inert
from securitynet_hub.weights.reading.zip_layout import read_archive

KIB = 1 if sys.platform == "darwin" else 1024
SLACK = 300 << 20
"""Bytes of memory that refusing a file may take."""


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path, monkeypatch):
    """No test may run the canary or leave a file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    yield
    assert not (tmp_path / "canary").exists()
    # torch makes this one where a process takes its first step of an optimiser.
    assert not [each for each in folder.iterdir() if not each.name.startswith("torchinductor_")]


@pytest.fixture
def nothing_made(monkeypatch):
    """What is refused is refused before any tensor of a pickle is made, and in little memory."""
    monkeypatch.setattr(checkpoints, "build_tensors", lambda *_: pytest.fail("tensors were made"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB < before * KIB + SLACK


def refuse(path, reason, **options):
    """Check that both verbs refuse a file for a reason, and name the file."""
    with pytest.raises(WeightsError) as refusal:
        read_checkpoint(path, **options)
    assert str(refusal.value).startswith(f"{path} is refused: ")
    assert str(refusal.value).endswith(".")
    assert str(refusal.value).isprintable()
    verdict = judge(path, **options)
    assert not verdict.safe
    assert re.search(reason, verdict.reason)  # not in the whole message, which has the path
    assert (verdict.tensors, verdict.parameters) == (0, 0)


# Pickles, opcode by opcode.

PROTO = b"\x80\x02"
MANY = 100_000


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def find(module, name):
    return f"c{module}\n{name}\n".encode()


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(count=4, key="0", kind="FloatStorage", module="torch", tail=b""):
    parts = text("storage"), find(module, kind), text(key), text("cpu"), integer(count)
    return b"(" + b"".join(parts) + tail + b"tQ"


NO_HOOKS = find("collections", "OrderedDict") + b")R"


def tensor(shape=(4,), stride=(1,), offset=0, held=None, hooks=NO_HOOKS, tail=b""):
    view = (held or storage()) + integer(offset) + numbers(*shape) + numbers(*stride)
    return find("torch._utils", "_rebuild_tensor_v2") + b"(" + view + b"\x89" + hooks + tail + b"tR"


def named(value, name="weight"):
    return PROTO + b"}" + text(name) + value + b"s."


def call(module, name, *arguments):
    return named(find(module, name) + b"(" + b"".join(arguments) + b"tR")


COMMAND = text("echo alive > ../canary")
RUN = find("os", "system") + COMMAND + b"\x85R"


def doubled(levels):
    """A list that holds the one before twice, again and again: 2**levels values in a few bytes."""
    value = b"]q\x00"
    for level in range(levels):
        value += b"]q" + bytes([level + 1]) + b"(" + b"h" + bytes([level]) + b"h" + bytes([level]) + b"e"
    return value


def nested_key(depth):
    return b"}" + b"N" + b"\x85" * depth + b"Ns"


CALLED = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("pty", "spawn"),
    ("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "compile"),
    ("builtins", "__import__"), ("builtins", "open"), ("builtins", "map"), ("importlib", "import_module"),
    ("runpy", "run_path"), ("operator", "attrgetter"), ("webbrowser", "open"), ("pickle", "loads"),
    ("codecs", "decode"), ("torch", "load"), ("torch.hub", "load"), ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"), ("torch._utils", "x._rebuild_tensor_v2"), ("torch", "os"),
    ("torch.nn.modules.module", "functools"), ("torch._inductor.codecache", "compile_file"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"), ("torch.utils.collect_env", "run"),
    ("torch.fx.graph_module", "reduce_graph_module"), ("numpy.testing._private.utils", "runstring"),
    ("numpy", "load"), ("dill._dill", "_create_function"), ("cloudpickle.cloudpickle", "_make_function"),
    ("pip", "main"), ("joblib", "load"), ("hydra.utils", "instantiate"), ("sympy", "sympify"),
    ("transformers", "pipeline"), ("huggingface_hub", "hf_hub_download"),
    ("my_lab", "os.system"), ("my_lab.os", "system"),
    ("my_lab.tools", "exec"), ("my_lab", "Net.__init__.__globals__"), ("collections", "_sys"),
    ("urllib.request", "urlopen"), ("shutil", "rmtree"), ("ctypes", "CDLL"), ("logging.config", "listen"),
    ("__main__", "eval"), ("pandas", "read_pickle"), ("types", "FunctionType"), ("marshal", "loads"),
]  # fmt: skip

DESCRIBING = [
    ("functools", "partial"), ("_codecs", "encode"), ("builtins", "set"), ("__builtin__", "frozenset"),
    ("torch.serialization", "_get_layout"), ("torch", "Tensor"), ("torch.nn.modules.linear", "Linear"),
    ("torch.nn.parameter", "Parameter"), ("torch.optim.sgd", "SGD"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_qtensor"), ("numpy.core.multiarray", "_reconstruct"), ("numpy", "dtype"),
    ("collections", "defaultdict"), ("argparse", "Namespace"), ("pathlib", "PosixPath"),
    ("my_lab.nets", "Net"), ("exceptions", "ValueError"), ("numpy.ma", "MaskedArray"),
    ("__main__", "Config"), ("omegaconf.dictconfig", "DictConfig"), ("my_lab", "make_schedule"),
]  # fmt: skip
"""What only describes data, or is the author's own: nobody imports or calls it."""

PICKLES = {
    **{f"global {m}.{n}": (call(m, n, COMMAND), f"{m}.{n}'".replace(".", r"\.")) for m, n in CALLED},
    **{f"{m}.{n}, not called": (named(find(m, n)), f"asks for '{m}") for m, n in CALLED},
    "getattr of a text": (call("builtins", "getattr", COMMAND, COMMAND), "asks for an attribute of a str"),
    "getattr of a module": (
        call("builtins", "getattr", find("my_lab", "tools"), text("run")),
        "asks for an attribute of a global 'my_lab.tools'",
    ),
    "getattr of what is private": (
        call("builtins", "getattr", find("my_lab", "Net"), text("__init__")),
        "asks for an attribute of a global 'my_lab.Net'",
    ),
    "call of what a call gave": (named(find("my_lab", "make") + b")R)R"), "calls a Inert"),
    "call of a member": (
        named(find("builtins", "getattr") + find("my_lab", "Net") + text("run") + b"\x86R)R"),
        "calls a Inert",
    ),
    "command in a Namespace": (
        named(find("argparse", "Namespace") + b")\x81}" + text("a") + RUN + b"sb"),
        r"asks for 'os\.system'",
    ),
    "command as an argument": (
        call("functools", "partial", find("os", "system"), COMMAND), r"asks for 'os\.system'"
    ),
    "command that rebuilds a tensor": (
        call("torch._tensor", "_rebuild_from_type_v2", find("os", "system"), b"N(", COMMAND, b"t}"),
        r"asks for 'os\.system'",
    ),
    "command in a tuple that is a key": (
        named(b"}" + find("os", "system") + COMMAND + b"\x85R" + b"\x85Ns"), r"asks for 'os\.system'"
    ),
    "command in an OrderedDict's pairs": (
        named(find("collections", "OrderedDict") + b"]" + text("a") + RUN + b"\x86a\x85R"),
        r"asks for 'os\.system'",
    ),
    "command in a set": (
        named(find("__builtin__", "set") + b"]" + find("nt", "system") + b"a\x85R"), r"asks for 'nt\.system'"
    ),
    "command thrown away": (named(find("os", "system") + COMMAND + b"\x85R0N"), r"asks for 'os\.system'"),
    "command in a module's state": (
        named(
            find("torch.nn.modules.linear", "Linear") + b")\x81}(" + text("_parameters") + b"}"
            + text("_modules") + b"}" + text("_buffers") + b"}" + text("a") + RUN + b"s" + b"ub"
        ),
        r"asks for 'os\.system'",
    ),
    "a module's class that is a command": (
        named(b"(" + text("module") + find("os", "system") + text("net.py") + text("source") + b"tQ"),
        r"asks for 'os\.system'",
    ),
    "nested pickle": (call("torch.storage", "_load_from_bytes", b"C\x03abc"), "_load_from_bytes"),
    "name in full width": (named(b"c\xef\xbd\x8fs\nsystem\n" + COMMAND + b"\x85R"), "malformed"),
    "name with a blank": (named(find("my lab", "x")), "no proper name"),
    "name of a text": (named(text("a") + b"N\x93"), "without a name"),
    **{
        f"reduce, protocol {protocol}": (pickle.dumps({"a": Canary("../canary")}, protocol), "its pickle")
        for protocol in range(6)
    },
    "bytearray of 2 GiB": (call("builtins", "bytearray", integer(2 << 30)), "reserves 2,147,483,648 bytes"),
    "STACK_GLOBAL": (named(text("os") + text("system") + b"\x93" + COMMAND + b"\x85R"), r"for 'os\.system'"),
    "INST": (named(b"(" + COMMAND + b"ios\nsystem\n"), "INST"),
    "OBJ": (named(b"(" + find("os", "system") + COMMAND + b"o"), r"asks for 'os\.system'"),
    "BUILD on a dict": (named(b"}}" + text("__setstate__") + COMMAND + b"sb"), "sets the state of a dict"),
    "BUILD of methods": (named(NO_HOOKS + b"}" + text("items") + COMMAND + b"sb"), "sets the state"),
    "BUILD on a class": (named(find("collections", "OrderedDict") + b"}b"), "sets the state of a global"),
    "EXT1": (named(b"\x82\x01"), "EXT1"),
    "EXT2": (named(b"\x83\x01\x00"), "EXT2"),
    "EXT4": (named(b"\x84\x01\x00\x00\x00"), "EXT4"),
    "PERSID": (named(b"Pos.system\n"), "PERSID"),
    "persistent text": (named(text("storage") + b"Q"), "persistent id"),
    "persistent module": (
        named(b"(" + text("module") + find("torch", "FloatStorage") + text("0") * 2 + b"K\x01tQ"),
        "persistent id",
    ),
    "persistent class": (named(storage(kind="Size")), "of torch.Size"),
    "persistent view": (named(storage(tail=b"(" + text("1") + b"K\0K\1t")), "persistent id"),
    "negative storage": (named(tensor(held=storage(-4))), "storage of -4 elements"),
    "vast storage": (named(tensor(held=storage(1 << 60))), "elements of torch.FloatStorage"),
    "storage told twice": (
        PROTO + b"}(" + text("a") + tensor() + text("b") + tensor(held=storage(kind="IntStorage")) + b"u.",
        "twice, differently",
    ),
    "call of a text": (named(COMMAND + b")R"), "calls a str"),
    "call of a dtype": (named(find("torch", "float32") + b")R"), "calls a global 'torch.float32'"),
    "call with a list": (named(find("collections", "OrderedDict") + b"]R"), "calls a global"),
    "OrderedDict of texts": (named(find("collections", "OrderedDict") + text("ab") + b"\x85R"), "no pairs"),
    "Counter of a text": (named(find("collections", "Counter") + text("ab") + b"\x85R"), "no counts"),
    "deep tuples": (named(b"N" + b"\x85" * MANY), "levels of nesting"),
    "deep lists": (named(b"]" * MANY + b"a" * (MANY - 1)), "levels of nesting"),
    "deep marks": (named(b"(" * MANY), "empty stack"),
    "doubling lists": (named(b"(" + doubled(40) + b"t"), "grows beyond"),
    "list in itself": (named(b"]q\x00h\x00a"), "holds itself"),
    "dict in itself": (PROTO + b"}q\x00" + text("a") + b"h\x00s.", "holds itself"),
    "LONG4 of 2 GiB": (named(b"\x8b" + struct.pack("<i", (1 << 31) - 1)), "LONG4"),
    "INT": (named(b"I1" + b"0" * 5000 + b"\n"), "opcode INT"),
    "BINUNICODE of 4 GiB": (named(b"X\xff\xff\xff\xff"), "breaks off"),
    "BINUNICODE8": (named(b"\x8d" + struct.pack("<Q", 1 << 62)), "breaks off"),
    "BINBYTES8": (named(b"\x8e" + struct.pack("<Q", 1 << 62)), "breaks off"),
    "FRAME": (PROTO + b"\x95" + struct.pack("<Q", 1 << 62) + b"}.", "frame that is longer"),
    "BYTEARRAY8": (named(b"\x96" + struct.pack("<Q", 1 << 62)), "breaks off"),
    "ADDITEMS to a list": (named(b"](N\x90"), "no set"),
    "NEWOBJ of a text": (named(COMMAND + b")\x81"), "makes an object of a str"),
    "NEWOBJ_EX without keywords": (named(find("my_lab", "Net") + b")N\x92"), "no keywords"),
    "protocol 6": (b"\x80\x06}.", "protocol 6|was expected|magic"),
    "too many opcodes": (PROTO + b"(" + b"N" * pickles.MAX_STEPS, "more than 600,000 opcodes"),
    "no such memo": (named(b"j\xff\xff\xff\xff"), "malformed"),
    "no such opcode": (named(b"\xff"), r"opcode b'\\xff'"),
    "takes too much": (PROTO + b"R.", "empty stack"),
    "no end": (PROTO + b"}", "breaks off|in the middle"),
    "an open group": (PROTO + b"(}.", "inside a group"),
    "two values": (PROTO + b"}}.", "malformed"),
    "odd items": (PROTO + b"}(" + text("a") + b"u.", "malformed"),
    "item of a list": (named(b"]K\0Ns"), "no dict"),
    "append to a dict": (named(b"}Na"), "no list"),
    "a byte that is no UTF-8": (named(b"X\1\0\0\0\xff"), "malformed"),
    "global without an end": (PROTO + b"c" + b"a" * 1000, "global without an end"),
    "junk behind the pickle": (named(tensor()) + b"junk", "behind its end|protocol first"),
    "a list": (PROTO + b"].", "holds a list|to no tensor|list of storages"),
    "numbered values": (PROTO + b"}K\1Ns.", "not a dict of named values|to no tensor|list of storages"),
    "10^12 elements on one": (named(tensor((10**6, 10**6), (0, 0), held=storage(4))), "tensors would take"),
    "outside its storage": (named(tensor((5,), (1,))), "outside its storage"),
    "offset outside": (named(tensor((1,), (1,), 4)), "outside its storage"),
    "negative offset": (named(tensor((1,), (1,), -1)), "what is no size"),
    "negative stride": (named(tensor((4,), (-1,), 3)), "what is no size"),
    "more strides than sizes": (named(tensor((4,), (1, 1))), "with strides"),
    "windows that multiply": (named(tensor((1 << 20, 1 << 20), (0, 0))), "tensors would take"),
    "wide OrderedDict": (
        named(
            find("collections", "OrderedDict") + b"]q\0(]q\1(" + b"N" * 20_000 + b"e" + b"h\1" * 20_000
            + b"e\x85R"
        ),
        "no pairs",
    ),
    "70 dimensions": (named(tensor((1,) * 70, (1,) * 70)), "no short tuple"),
    "hooks": (named(tensor(hooks=b"}K\0" + find("torch", "Size") + b"s")), "hooks"),
    "tensor of no storage": (named(tensor(held=b"N")), "no storage"),
    "untyped": (named(tensor(held=storage(16, kind="UntypedStorage", module="torch.storage"))), "no storage"),
    "device of bytes": (call("torch", "device", b"N"), "torch.device"),
}  # fmt: skip


KNOWN_OPCODES = set(
    b"\x80\x95c\x93R\x81\x92bQ(01N\x88\x89KMJG\x8aX\x8c\x8dUTBC\x8e\x96]})\x8f\x90\x91t\x85\x86\x87aesuqr\x94hj."
)
"""What protocols 2 to 5 write; every other opcode that a pickle can have must be refused."""

OTHER_OPCODES = [op for op in pickletools.opcodes if ord(op.code) not in KNOWN_OPCODES]


def zipped(pickled, storages=None, **members):
    """A zip archive as torch.save writes it, around any pickle."""
    content = {"data.pkl": pickled, "version": b"3\n", "byteorder": b"little"}
    content |= {
        f"data/{key}": raw for key, raw in ({"0": bytes(16)} if storages is None else storages).items()
    }
    return archive([(f"archive/{name}", raw) for name, raw in (content | members).items()])


def archive(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as file:
        warnings.simplefilter("ignore")  # duplicate names
        for name, raw in members:
            file.writestr(zipfile.ZipInfo(name), raw, compress_type=compression)
    return buffer.getvalue()


KEYS = b"](" + text("0") + b"e"


def legacy(pickled, storages=None, count=4, keys=KEYS):
    system = b"}" + text("little_endian") + b"\x88s"
    head = [b"\x8a\x0a" + checkpoints.MAGIC.to_bytes(10, "little"), b"M" + struct.pack("<H", 1001), system]
    raw = bytes(4 * count) if storages is None else storages
    parts = [*(PROTO + part + b"." for part in head), pickled.replace(b"tQ", b"NtQ"), PROTO + keys + b"."]
    return b"".join(parts) + struct.pack("<q", count) + raw


class TestPickles:
    @pytest.mark.usefixtures("nothing_made")
    @pytest.mark.parametrize("container", [zipped, legacy])
    @pytest.mark.parametrize("case", PICKLES)
    def test_refused(self, case, container, tmp_path):
        pickled, reason = PICKLES[case]
        path = tmp_path / "model.pth"
        path.write_bytes(container(pickled))
        refuse(path, reason)

    @pytest.mark.usefixtures("nothing_made")
    @pytest.mark.parametrize("container", [zipped, legacy])
    @pytest.mark.parametrize("opcode", OTHER_OPCODES, ids=lambda opcode: opcode.name)
    def test_every_other_opcode_is_refused_by_its_name(self, opcode, container, tmp_path):
        path = tmp_path / "model.pth"
        path.write_bytes(container(PROTO + b"}K\x01" + opcode.code.encode("latin-1") + bytes(16) + b"."))
        refuse(path, f"has the opcode {opcode.name}, which torch.save does not write")

    def test_the_canary_would_sing(self, tmp_path):
        """Else the tests above would show nothing."""
        pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
        assert (tmp_path / "canary").exists()
        (tmp_path / "canary").unlink()

    @pytest.mark.usefixtures("nothing_made")
    @pytest.mark.parametrize("protocol", range(6))
    def test_a_bare_pickle_is_no_checkpoint(self, protocol, tmp_path):
        path = tmp_path / "model.pth"
        path.write_bytes(pickle.dumps(Canary(tmp_path / "canary"), protocol))
        refuse(path, "was expected" if protocol else "no known format")

    @pytest.mark.parametrize("container", [zipped, legacy])
    @pytest.mark.parametrize(("module", "name"), DESCRIBING)
    def test_names_that_describe_stay_names(self, module, name, container, tmp_path):
        path = tmp_path / "model.pth"
        pickled = PROTO + b"}(" + text("weight") + tensor() + text("a") + find(module, name)
        path.write_bytes(container(pickled + COMMAND + b"\x85R" + text("b") + find(module, name) + b"u."))
        found = read_checkpoint(path)
        assert [type(found[key]) for key in "ab"] == [Inert, Inert]
        assert str(found["b"]) == f"{module}.{name}"
        assert judge(path).names == (f"{module}.{name}",)
        assert judge(path).loadable

    def test_code_in_an_object_of_dill_is_refused(self, tmp_path):
        dill = pytest.importorskip("dill")
        torch.save({"a": lambda: 0}, tmp_path / "model.pth", pickle_module=dill)
        refuse(tmp_path / "model.pth", "dill")

    @pytest.mark.parametrize("container", [zipped, legacy])
    @pytest.mark.parametrize(
        "key",
        [
            nested_key(40)[1:-2], b"G" + struct.pack(">d", 0.5), b"N", integer(1 << 61), b"\x88",
            b"\x8a\xff" + b"\1" * 255,
        ],
        ids=["nested tuples", "float", "None", "collides", "True", "255 bytes"],
    )  # fmt: skip
    def test_keys_that_could_be_costly_are_not_hashed(self, key, container, tmp_path):
        path = tmp_path / "model.pth"
        path.write_bytes(container(PROTO + b"}(" + text("w") + tensor() + text("a") + b"}" + key + b"Nsu."))
        found = read_checkpoint(path)
        assert [type(key) for key in found["a"]] == [Inert]
        assert judge(path).loadable

    @pytest.mark.usefixtures("nothing_made")
    def test_views_may_not_multiply(self, tmp_path):
        views = b"".join(text(str(n)) + tensor((20_000,), (1,), n, held=storage(21_000)) for n in range(1000))
        path = tmp_path / "model.pth"
        path.write_bytes(zipped(PROTO + b"}(" + views + b"u.", {"0": bytes(84_000)}))
        refuse(path, "its tensors would take 80,000,000 bytes")

    @settings(max_examples=300)
    @given(st.data())
    def test_nonsense_is_refused_or_read_as_torch_does(self, data):
        """Whatever the bytes, the answer is what torch reads or a WeightsError, nothing else."""
        good = bytearray(named(tensor()))
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        agree_with_torch(zipped(bytes(good), {"0": bytes(range(16))}))


def agree_with_torch(raw):
    """Check that torch reads the same from a file as we do, where it reads it at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        path.write_bytes(raw)
        try:
            found = read_checkpoint(path)
        except WeightsError:
            return
        try:
            whole = torch.load(path, weights_only=True, map_location="cpu")
        except Exception:
            return
    same(found, whole)


# Archives, byte by byte.

GOOD = named(tensor())
ZEROS = bytes(1 << 26)


def patched(raw, *edits):
    """Replace the bytes at (marker, distance) pairs; the distance counts from the last such marker."""
    raw = bytearray(raw)
    for marker, distance, new in edits:
        at = raw.rindex(marker) + distance
        raw[at : at + len(new)] = new
    return bytes(raw)


def with_central(name, **changes):
    """Rewrite fields of one member's entry in the directory."""
    raw = bytearray(zipped(GOOD))
    at = raw.rindex(b"archive/" + name.encode()) - 46
    assert raw[at : at + 4] == b"PK\1\2"
    for field, (distance, form) in {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<L"),
                                    "size": (24, "<L"), "packed": (20, "<L"), "attributes": (38, "<L"),
                                    "offset": (42, "<L"), "comment": (32, "<H")}.items():  # fmt: skip
        if field in changes:
            struct.pack_into(form, raw, at + distance, changes[field])
    return bytes(raw)


def with_local(name, distance, new):
    raw = bytearray(zipped(GOOD))
    at = raw.index(b"archive/" + name.encode()) - 30
    raw[at + distance : at + distance + len(new)] = new
    return bytes(raw)


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


def with_junk_before_the_directory(raw):
    """Junk that no member covers, all offsets right: torch and zipfile read such a file."""
    first = raw.index(b"PK\1\2")
    (told,) = struct.unpack("<L", raw[-6:-2])
    assert told == first
    junk = b"#!/bin/sh\n" * 10
    whole = raw[:first] + junk + raw[first:-6] + struct.pack("<L", first + len(junk)) + raw[-2:]
    assert torch.load(io.BytesIO(whole), weights_only=True)["weight"].tolist() == [0] * 4
    return whole


ARCHIVES = {
    "zip bomb": (
        lambda: archive([("archive/data.pkl", GOOD), ("archive/data/0", ZEROS)], zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "deflated": (lambda: with_central("data.pkl", method=8), "is compressed"),
    "encrypted": (lambda: with_central("data.pkl", flags=1), "encrypted"),
    "encrypted within": (lambda: with_local("data.pkl", 6, b"\1\0"), "described differently"),
    "strong encryption": (lambda: with_central("data.pkl", flags=64), "flags"),
    "symlink": (lambda: with_central("data/0", attributes=(stat.S_IFLNK | 0o777) << 16), "is a link"),
    "folder": (lambda: with_central("data/0", attributes=0x10), "is a link or a folder"),
    "member twice": (
        lambda: archive([(f"archive/{n}", GOOD) for n in ("data.pkl", "version", "data.pkl")]),
        "occurs twice",
    ),
    "two on the same bytes": (lambda: with_central("data/0", offset=0), "overlaps"),
    "one in another": (lambda: with_central("data/0", offset=40), "overlaps"),
    "offset outside": (lambda: with_central("data/0", offset=1 << 30), "overlaps"),
    "size into the next": (lambda: with_central("data.pkl", size=1000, packed=1000), "described differently"),
    "two sizes": (lambda: with_central("data.pkl", size=1 << 31), "two sizes"),
    "wrong name within": (lambda: with_local("data.pkl", 30, b"Archive"), "described differently"),
    "wrong size within": (lambda: with_local("data.pkl", 22, b"\1"), "described differently"),
    "wrong CRC within": (lambda: with_local("data.pkl", 14, b"\1\2\3\4"), "described differently"),
    "method within": (lambda: with_local("data.pkl", 8, b"\x08"), "described differently"),
    "no header within": (lambda: with_local("data.pkl", 0, b"PK\1\1"), "no header"),
    "wrong CRC": (
        lambda: patched(zipped(GOOD), (b"archive/data/0", -46 + 16, b"\1\2\3\4")),
        "described differently",
    ),
    "comment of a member": (lambda: with_central("data/0", comment=3), "comment|damaged"),
    "junk before": (lambda: b"PKjunk" + zipped(GOOD), "junk before"),
    "junk behind": (lambda: zipped(GOOD) + b"junk", "junk behind"),
    "comment": (lambda: patched(zipped(GOOD), (b"PK\5\6", 20, b"\4\0")) + b"PK\5\6", "junk|missing"),
    "an archive in the comment": (lambda: zipped(GOOD) + zipped(GOOD), "junk before"),
    "junk before the directory": (
        lambda: with_junk_before_the_directory(zipped(GOOD)),
        "100 unknown bytes before the directory",
    ),
    "bytes between": (
        lambda: (lambda raw, at: raw[:at] + b"junk" + raw[at:])(zipped(GOOD), zipped(GOOD).index(b"PK\1\2")),
        "junk",
    ),
    "another count": (lambda: patched(zipped(GOOD), (b"PK\5\6", 8, b"\3\0\3\0")), "damaged directory"),
    "65,535 members": (lambda: patched(zipped(GOOD), (b"PK\5\6", 8, b"\xff\xff\xff\xff")), "damaged"),
    "two counts": (lambda: patched(zipped(GOOD), (b"PK\5\6", 8, b"\3\0")), "several disks"),
    "disks": (lambda: patched(zipped(GOOD), (b"PK\5\6", 4, b"\1\0")), "several disks"),
    "wrong directory": (lambda: patched(zipped(GOOD), (b"PK\5\6", 16, b"\1\0")), "junk before"),
    "path up": (lambda: zipped(GOOD, **{"../evil": b""}), "none that torch.save"),
    "path up and in": (lambda: zipped(GOOD, **{"data/../../evil": b""}), "none that torch.save"),
    "top folder up": (lambda: archive([("../data.pkl", GOOD), ("../version", b"3")]), "leads out"),
    "absolute": (lambda: archive([("/data.pkl", GOOD), ("/version", b"3")]), "leads out"),
    "backslash": (lambda: archive([("a\\..\\b/data.pkl", GOOD)]), "leads out"),
    "no folder": (lambda: archive([("data.pkl", GOOD), ("version", b"3")]), "none that torch.save"),
    "two folders": (lambda: archive([("a/data.pkl", GOOD), ("b/version", b"3")]), "several folders"),
    "long name": (lambda: archive([("a" * 1000 + "/data.pkl", GOOD)]), "no proper name|a directory of"),
    "unknown member": (lambda: zipped(GOOD, **{"evil.py": b""}), "none that torch.save"),
    "TorchScript": (lambda: zipped(GOOD, **{"code/__torch__.py": b"def f(): pass"}), "TorchScript"),
    "constants": (lambda: zipped(GOOD, **{"constants.pkl": b""}), "TorchScript"),
    "no pickle": (lambda: archive([("archive/version", b"3")]), "no member 'data.pkl'"),
    "no version": (lambda: archive([("archive/data.pkl", GOOD)]), "no member 'version'"),
    "big-endian": (lambda: zipped(GOOD, byteorder=b"big"), "little-endian"),
    "storage missing": (lambda: zipped(GOOD, {}), "storage '0' has no bytes"),
    "storage too small": (lambda: zipped(GOOD, {"0": bytes(15)}), "has 15 bytes, 16 were announced"),
    "storage too large": (lambda: zipped(GOOD, {"0": bytes(17)}), "has 17 bytes"),
    "storage of nobody": (lambda: zipped(GOOD, {"0": bytes(16), "1": b"x"}), "belongs to no tensor"),
    "empty archive": (lambda: archive([]), "no member"),
    "first bytes only": (lambda: b"PK\3\4", "breaks off"),
}  # fmt: skip


@pytest.mark.usefixtures("nothing_made")
class TestArchives:
    @pytest.mark.parametrize("case", ARCHIVES)
    def test_refused(self, case, tmp_path):
        build, reason = ARCHIVES[case]
        path = tmp_path / "model.pt"
        path.write_bytes(build())
        refuse(path, reason)

    def test_vast_member(self, tmp_path):
        """A pickle larger than is read, in a sparse file."""
        path = tmp_path / "model.pt"
        path.write_bytes(zipped(GOOD))
        refuse(path, "at most 100 are read", max_bytes=100)


def reread(folder, raw):
    """Read a file of those bytes."""
    path = folder / "model.pth"
    path.write_bytes(raw)
    return read_checkpoint(path)


def test_beyond_four_gigabytes(tmp_path):
    """The fields of 64 bits, as torch writes them, around few bytes."""
    content = {"archive/data.pkl": GOOD, "archive/data/0": bytes(16), "archive/version": b"3\n"}
    raw, directory = b"", b""
    for name, body in content.items():
        crc, size = zlib.crc32(body), len(body)
        common = struct.pack("<4H", 0x808, 0, 0, 0)
        at, extra = len(raw), struct.pack("<HHQQQ", 1, 24, size, 0, len(raw))
        raw += b"PK\3\4\0\0" + common + struct.pack("<3L2H", 0, 0, 0, len(name), len(extra))
        raw += name.encode() + extra + body + struct.pack("<4sLQQ", b"PK\7\x08", crc, size, size)
        full, extra = 0xFFFFFFFF, struct.pack("<HHQQQ", 1, 24, size, size, at)
        sizes = struct.pack("<3L2H", crc, full, full, len(name), len(extra))
        directory += b"PK\1\2\0\0\0\0" + common + sizes + bytes(10) + struct.pack("<L", full)
        directory += name.encode() + extra
    numbers = (3, 3, len(directory), len(raw))
    end = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 0x31E, 45, 0, 0, *numbers)
    end += b"PK\6\7" + struct.pack("<LQL", 0, len(raw) + len(directory), 1)
    end += b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 3, 3, full, full, 0)
    whole, wide = raw + directory + end, struct.pack("<2L", full, full)
    assert reread(tmp_path, whole)["weight"].tolist() == [0] * 4
    for old, new, reason in (
        (wide + end[-2:], struct.pack("<2L", full, 7) + end[-2:], "two end records that disagree"),
        (struct.pack("<Q", 44), struct.pack("<Q", 45), "64-bit end record"),
        (
            directory,
            directory.replace(struct.pack("<2L", full, full), struct.pack("<2L", 5, 5)),
            "64-bit sizes",
        ),
    ):
        assert whole.count(old) == 1
        with pytest.raises(WeightsError, match=reason):
            reread(tmp_path, whole.replace(old, new))


def test_every_flipped_byte_and_every_cut(tmp_path):
    """In pickle and tensors none passes; elsewhere what passes, like a date, changes nothing."""
    torch.save({"weight": torch.arange(20.0), "n": 1}, tmp_path / "whole.pt")
    raw = (tmp_path / "whole.pt").read_bytes()
    whole = reread(tmp_path, raw)
    members = read_archive(io.BytesIO(raw), len(raw))
    content = {at for member in members.values() for at in range(member.start, member.end)}
    for at in range(len(raw)):
        with pytest.raises(WeightsError):
            reread(tmp_path, raw[:at])
        for bit in (0, 7):
            broken = bytearray(raw)
            broken[at] ^= 1 << bit
            try:
                found = reread(tmp_path, bytes(broken))
            except WeightsError:
                continue
            assert at not in content, at
            same(found, whole)


# The format before zip.

LEGACIES = {
    "another magic number": (lambda: legacy(GOOD).replace(b"\x6c\xfc\x9c", b"\x6c\xfc\x9d", 1), "magic"),
    "another version": (lambda: legacy(GOOD).replace(b"M\xe9\x03", b"M\xea\x03", 1), "version"),
    "big-endian": (lambda: legacy(GOOD).replace(b"\x88", b"\x89", 1), "little-endian"),
    "junk behind": (lambda: legacy(GOOD) + b"x", "its storages end at"),
    "cut": (lambda: legacy(GOOD)[:-1], "its storages end at"),
    "a pickle behind": (lambda: legacy(GOOD) + pickle.dumps(Canary("../canary")), "its storages end at"),
    "count too large": (lambda: legacy(GOOD, bytes(16), count=5), "announced size"),
    "negative count": (lambda: legacy(GOOD, bytes(16), count=-1), "announced size"),
    "other keys": (lambda: legacy(GOOD, keys=b"](" + text("1") + b"e"), "list of storages"),
    "a key twice": (lambda: legacy(GOOD, keys=b"](" + text("0") * 2 + b"e"), "list of storages"),
    "no keys": (lambda: legacy(GOOD, keys=b"N"), "list of storages"),
    "only a head": (lambda: legacy(GOOD)[:30], "breaks off"),
}


@pytest.mark.usefixtures("nothing_made")
class TestLegacy:
    @pytest.mark.parametrize("case", LEGACIES)
    def test_refused(self, case, tmp_path):
        build, reason = LEGACIES[case]
        (tmp_path / "model.pth").write_bytes(build())
        refuse(tmp_path / "model.pth", reason)

    def test_untyped(self, tmp_path):
        """What torch writes here, torch itself cannot read."""
        path = tmp_path / "model.pth"
        value = {"a": torch.ones(3, dtype=torch.uint16)}
        torch.save(value, path, _use_new_zipfile_serialization=False)
        refuse(path, "no stated dtype")


def test_every_cut_of_a_legacy_file(tmp_path):
    raw = legacy(GOOD)
    assert reread(tmp_path, raw)["weight"].tolist() == [0] * 4
    for at in range(len(raw)):
        with pytest.raises(WeightsError):
            reread(tmp_path, raw[:at])


# Safetensors.


class TestSafetensors:
    @pytest.mark.parametrize("case", SAFETENSORS)
    def test_refused(self, case, tmp_path):
        raw, reason = SAFETENSORS[case]
        (tmp_path / "model.safetensors").write_bytes(raw)
        refuse(tmp_path / "model.safetensors", reason)

    def test_too_many(self, tmp_path):
        entries = ",".join(f'"{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for n in range(100_001))
        (tmp_path / "many").write_bytes(safe(f"{{{entries}}}".encode(), b""))
        refuse(tmp_path / "many", "names 100,001 tensors")

    def test_every_cut(self, tmp_path):
        raw = safe({"a": entry()}, struct.pack("<4f", 1, 2, 3, 4))
        path = tmp_path / "model.safetensors"
        path.write_bytes(raw)
        assert read_checkpoint(path)["a"].tolist() == [1, 2, 3, 4]
        for at in range(len(raw)):
            path.write_bytes(raw[:at])
            with pytest.raises(WeightsError):
                read_checkpoint(path)

    @pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
    def test_read_whatever_its_name(self, name, tmp_path):
        whole = {
            "w": torch.randn(3, 4),
            "h": torch.randn(5).half(),
            "n": torch.tensor(3),
            "e": torch.empty(0),
        }
        safetensors.torch.save_file(whole, tmp_path / name)
        same(read_checkpoint(tmp_path / name), dict(sorted(whole.items())))
        assert judge(tmp_path / name)[:5] == (True, "safetensors", None, 4, 18)


# What is no weights file at all.


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("storages", "tensors", "pickle"):
            file.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


FILES = {
    "npz": (npz(), "NumPy archive"),
    "npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "NumPy array"),
    "Keras": (archive([("metadata.json", b"{}"), ("model.weights.h5", b"")]), "Keras .*ONNX"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "is ONNX.*onnx:PATH"),
    "TFLite": (b"\x1c\0\0\0TFL3", "is TFLite.*ONNX"),
    "SavedModel": (b"\x08\x01\x12\x05", "SavedModel.*ONNX"),
    "GGUF": (b"GGUF\3\0\0\0", "GGUF"),
    "empty": (b"", "is empty"),
    "HTML": (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", "page of HTML"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "page of HTML"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "Git LFS pointer"),
    "tar": (tar(), "tar archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), "is compressed"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(30), "HDF5"),
    "text": (b"weights", "no known format"),
    "zeros": (bytes(1000), "no known format"),
    "JSON": (b'{"error": "not found"}', "no known format"),
}


@pytest.mark.usefixtures("nothing_made")
class TestFiles:
    @pytest.mark.parametrize("case", FILES)
    def test_refused(self, case, tmp_path):
        raw, reason = FILES[case]
        (tmp_path / "model.pth").write_bytes(raw)
        refuse(tmp_path / "model.pth", reason)

    def test_no_file_at_all(self, tmp_path):
        refuse(tmp_path / "none.pth", "cannot be opened")
        refuse(tmp_path, "not a regular file|cannot be opened")

    def test_a_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        refuse(tmp_path / "pipe", "not a regular file")

    def test_a_device_is_not_read(self):
        refuse(Path("/dev/zero"), "not a regular file")

    def test_too_large(self, tmp_path):
        """A sparse file of a terabyte costs nothing."""
        with (tmp_path / "vast.pth").open("wb") as file:
            file.truncate(1 << 40)
        refuse(tmp_path / "vast.pth", "1,099,511,627,776 bytes; at most")


def test_links(tmp_path):
    """A link to a file is followed, as caches use them; a circle is refused."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse(tmp_path / "loop", "cannot be opened")
    (tmp_path / "model.safetensors").write_bytes(safe({"a": entry()}))
    (tmp_path / "link").symlink_to(tmp_path / "model.safetensors")
    assert judge(tmp_path / "link").safe


@pytest.mark.parametrize("change", ["touched", "longer", "replaced"])
@pytest.mark.parametrize("container", ["zip", "safetensors"])
def test_a_file_that_changes_while_it_is_read_is_refused(change, container, tmp_path, monkeypatch):
    """Even where what was read is whole: nobody can say which of the two files it was."""
    path = tmp_path / "model"
    path.write_bytes(zipped(GOOD) if container == "zip" else safe({"a": entry()}))
    before = path.stat()

    def meanwhile():
        if change == "touched":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        elif change == "longer":
            with path.open("ab") as file:
                file.write(b"x")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        else:
            copy = path.with_name("copy")
            copy.write_bytes(path.read_bytes())
            os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
            copy.replace(path)

    module, name = (zlib, "crc32") if container == "zip" else (json, "loads")
    original = getattr(module, name)
    done = []

    def slow(*arguments, **options):
        found = original(*arguments, **options)
        if not done:
            done.append(meanwhile())
        return found

    monkeypatch.setattr(module, name, slow)
    # Not `refuse`: after the change the same file is at rest again.
    with pytest.raises(WeightsError, match="was changed while it was read"):
        read_checkpoint(path)
    assert done


# What must come back, and what only the tensors show.


def same(found, whole, place="checkpoint"):
    """Compare bit for bit; ordered dicts come back as dicts, parameters as tensors."""
    if isinstance(whole, torch.Tensor):
        assert type(found) is torch.Tensor, place
        assert (found.dtype, found.shape) == (whole.dtype, whole.shape), place
        raw = [t.detach().clone(memory_format=torch.contiguous_format).reshape(-1) for t in (found, whole)]
        assert torch.equal(*(t.view(torch.uint8) for t in raw)), place
    elif isinstance(whole, dict):
        assert type(found) is dict, place
        assert list(found) == list(whole), place
        for key in whole:
            same(found[key], whole[key], f"{place}[{key!r}]")
    elif isinstance(whole, (list, tuple)):
        assert isinstance(found, list if isinstance(whole, list) else tuple), place
        assert len(found) == len(whole), place
        for number, value in enumerate(whole):
            same(found[number], value, f"{place}[{number}]")
    elif isinstance(whole, (torch.dtype, torch.device)):
        assert found == str(whole), place
    else:
        assert (type(found), found) == (type(whole), whole), place


@pytest.fixture(scope="module")
def training_state():
    """Return what a training script saves: networks, optimisers, schedulers, numbers, every dtype."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)
    )
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    adam, sgd = torch.optim.AdamW(net.parameters()), torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    schedules = [
        torch.optim.lr_scheduler.MultiStepLR(sgd, [3, 5, 5]),
        torch.optim.lr_scheduler.StepLR(sgd, 2),
        torch.optim.lr_scheduler.LambdaLR(sgd, lambda epoch: 1.0),
    ]
    adam.step()
    sgd.step()
    flat = torch.randn(12)
    modules = [
        nn.MultiheadAttention(8, 2),
        nn.LSTM(3, 4, 2),
        nn.Embedding(5, 3),
        nn.GroupNorm(2, 4),
        nn.PReLU(),
    ]
    return {
        "net": net.state_dict(),
        "state_dict": OrderedDict((f"module.{k}", v) for k, v in net.state_dict().items()),
        "half": {k: v.half() for k, v in net.state_dict().items()},
        "bfloat16": {k: v.bfloat16() for k, v in net.state_dict().items()},
        "modules": [module.state_dict() for module in modules],
        "optimizer": adam.state_dict(),
        "sgd": sgd.state_dict(),
        "schedules": [schedule.state_dict() for schedule in schedules],
        "epoch": 3, "best": 0.75, "loss": float("inf"),
        "arch": "cnn \u00e9 \u4e16", "amp": None, "done": True,
        "seed": -(1 << 62), "zero": 0, "tuple": (1, (2.5, "x"), [], {}, ()), "classes": {0: "cat", -1: "dog"},
        "size": torch.Size([2, 3]), "dtype": torch.bfloat16, "device": torch.device("cuda", 1),
        "parameter": nn.Parameter(torch.randn(3)),
        "requires_grad": torch.randn(3, requires_grad=True),
        "tied": flat, "tied too": flat, "matrix": flat.view(3, 4), "transposed": flat.view(3, 4).t(),
        "part": flat[2:5], "steps": flat[::3], "column": flat.view(3, 4)[:, 1:2],
        "scalar": torch.tensor(2.5), "empty": torch.empty(0), "none by seven": torch.empty(0, 7),
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "dtypes": {name: torch.arange(6).to(getattr(torch, name)) for name in OLD},
        "extremes": torch.tensor([3.4e38, 3.4e38, -1e-45, -0.0]),
        "half extremes": torch.full((4,), 65504.0).half(),
    }  # fmt: skip


NEW = {name for name in ITEM_SIZES if name.startswith(("uint", "float8"))} - {"uint8"}
OLD = sorted(set(ITEM_SIZES) - NEW)


class TestBenign:
    @pytest.mark.parametrize("modern", [True, False])
    def test_comes_back_bit_for_bit(self, modern, training_state, tmp_path):
        whole = dict(training_state)
        if modern:
            whole["new"] = {name: torch.arange(6).to(getattr(torch, name)) for name in sorted(NEW)}
        torch.save(whole, tmp_path / "model.pth", _use_new_zipfile_serialization=modern)
        found = read_checkpoint(tmp_path / "model.pth")
        same(found, whole)
        same(found, torch.load(tmp_path / "model.pth", weights_only=True))
        assert found["tied"] is found["tied too"]
        found["tied"][0] = 7
        assert found["matrix"][0, 0] != 7

    def test_dill_and_a_repacked_archive(self, tmp_path):
        """Entries beyond the weights pass if their opcodes do."""
        dill = pytest.importorskip("dill")
        whole = {
            "model": nn.Linear(2, 3).state_dict(),
            "schedule": {"lr_lambdas": [None]},
            "epoch": 9,
            "amp": None,
        }
        torch.save(whole, tmp_path / "dill.ckpt", pickle_module=dill)
        with zipfile.ZipFile(tmp_path / "dill.ckpt") as file:
            members = [(name, file.read(name)) for name in file.namelist()]
        (tmp_path / "again.ckpt").write_bytes(archive(members))
        same(read_checkpoint(tmp_path / "again.ckpt"), whole)

    def test_cuda_tensors_come_to_the_cpu(self, tmp_path):
        pickled = named(tensor()).replace(text("cpu"), text("cuda:3"))
        (tmp_path / "model.pth").write_bytes(legacy(pickled, struct.pack("<4f", 1, 2, 3, 4)))
        found = read_checkpoint(tmp_path / "model.pth")
        same(found, {"weight": torch.tensor([1.0, 2, 3, 4])})

    @settings(max_examples=100)
    @given(st.data())
    def test_views_of_a_storage(self, data):
        """Slices, transposed, several to a storage: as they were, and as torch reads them."""
        sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
        dtype = data.draw(st.sampled_from(OLD))
        whole = torch.arange(int(np.prod(sizes))).to(getattr(torch, dtype)).reshape(sizes)
        views = {"0": whole}
        for key in "123":
            view = whole.permute(data.draw(st.permutations(range(len(sizes)))))
            for dim, size in enumerate(view.shape):
                start = data.draw(st.integers(0, size))
                view = view.narrow(dim, start, data.draw(st.integers(0, size - start)))
            views[key] = view[:: data.draw(st.integers(1, 3))]
        buffer = io.BytesIO()
        torch.save(views, buffer, _use_new_zipfile_serialization=data.draw(st.booleans()))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pth"
            path.write_bytes(buffer.getvalue())
            found = read_checkpoint(path, max_bytes=1 << 20)
        same(found, views)
        agree_with_torch(buffer.getvalue())


SEEDS = {
    "zipped": torch.save,
    "legacy": lambda whole, file: torch.save(whole, file, _use_new_zipfile_serialization=False),
    "safetensors": lambda whole, file: file.write(safetensors.torch.save(whole["net"])),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_state_of_an_optimiser_alone_is_no_network(legacy, tmp_path):
    net = nn.Linear(2, 3)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    path = tmp_path / "optimizer.pt"
    for content, where in (
        (adam.state_dict(), "state/0"),
        ({"optimizer": adam.state_dict()}, "optimizer/state/0"),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        verdict = judge(path)
        assert (verdict.safe, verdict.loadable, verdict.weights) == (True, False, "")
        assert verdict.reason == (
            f"it holds the state of an optimiser or the like (under {where!r}), and no weights of a network"
        )
    torch.save({"optimizer": adam.state_dict(), "net": net.state_dict()}, path)
    assert (judge(path).loadable, judge(path).weights) == (True, "net")


EDITS = {
    "flip": lambda raw, at, value: raw[:at] + bytes([raw[at] ^ (1 << value % 8)]) + raw[at + 1 :],
    "set": lambda raw, at, value: raw[:at] + bytes([value]) + raw[at + 1 :],
    "drop": lambda raw, at, value: raw[:at] + raw[at + value :],
    "insert": lambda raw, at, value: raw[:at] + bytes([value]) * (1 + value % 9) + raw[at:],
    "repeat": lambda raw, at, value: raw[:at] + raw[at : at + value] * 2 + raw[at + value :],
    "widen": lambda raw, at, value: raw[:at] + struct.pack("<Q", 1 << value % 64) + raw[at + 8 :],
}


@pytest.fixture(scope="module", params=SEEDS)
def seed(request):
    """Return a whole file of one of the three formats."""
    net, buffer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), io.BytesIO()
    optimizer = {
        "state": {0: {"momentum_buffer": torch.ones(2)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    half, tied = torch.ones(3).half(), torch.arange(12.0)
    whole = {
        "net": net.state_dict(),
        "optimizer": optimizer,
        "half": half,
        "tied": [tied, tied.view(3, 4).t()],
    }
    SEEDS[request.param](whole, buffer)
    return buffer.getvalue()


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(EDITS)), st.integers(0), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_changed_files_are_refused_or_read_as_torch_does(seed, edits):
    """A zip's checksums find nearly all; in the other two formats much passes, and must be the same."""
    for kind, at, value in edits:
        seed = EDITS[kind](seed, at % (len(seed) or 1), value) or b"\0"
    agree_with_torch(seed)


class TestTensors:
    @pytest.mark.parametrize("container", [legacy, zipped])
    @pytest.mark.parametrize(
        ("kind", "raw", "reason"),
        [
            ("BoolStorage", b"\0\1\7\1", "no truth value"),
        ],
    )
    def test_bad_values(self, container, kind, raw, reason, tmp_path):
        pickled = named(tensor(held=storage(kind=kind)))
        (tmp_path / "model.pth").write_bytes(container(pickled, {"0": raw} if container is zipped else raw))
        refuse(tmp_path / "model.pth", reason)

    def test_bad_truth_values_between_others(self, tmp_path):
        """A strided copy would make proper truth values of them."""
        held = storage(kind="BoolStorage")
        (tmp_path / "model.pth").write_bytes(zipped(named(tensor((2,), (2,), 0, held)), {"0": b"\1\1\7\1"}))
        refuse(tmp_path / "model.pth", "no truth value")

    def test_empty_and_of_a_vast_shape(self, tmp_path):
        (tmp_path / "model.pth").write_bytes(zipped(named(tensor((0, 1 << 47, 1 << 47), (1, 1, 1)))))
        refuse(tmp_path / "model.pth", "cannot be built")

    def test_no_unpickler_runs(self, tmp_path, monkeypatch):
        torch.save({"a": torch.ones(2)}, tmp_path / "model.pth")
        for module in (pickle, torch.serialization.pickle, torch._weights_only_unpickler):
            monkeypatch.setattr(module, "Unpickler", lambda *_, **__: pytest.fail("an unpickler was made"))
        assert read_checkpoint(tmp_path / "model.pth")["a"].tolist() == [1, 1]


def named_by(keys):
    """A file in the format before zip, whose storages are named by anything."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
    return b"".join(pickle.dumps(part, protocol=2) for part in (*head, {}, keys))


def test_a_list_of_storages_that_would_be_long_to_print_is_refused(tmp_path):
    text = "x" * 60_000
    (tmp_path / "w.pth").write_bytes(named_by([[text] * 20_000]))
    tracemalloc.start()
    with pytest.raises(WeightsError, match="list of storages"):
        read_checkpoint(tmp_path / "w.pth")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_list_that_many_calls_copy_is_refused():
    pairs = pickle.dumps([[i, i] for i in range(20_000)], protocol=2)[:-1]
    calls = b"q\xf0" + b"ccollections\nOrderedDict\nh\xf0\x85R" * 300 + b"."
    with pytest.raises(WeightsError, match="grows beyond"):
        pickles.walk(pairs + calls)


def test_a_list_that_holds_one_long_list_many_times_is_refused_at_once():
    """Looking into the long list for each of its names would take hours."""
    many = 100_000
    pickled = PROTO + b"}(" + text("x") + b"]q\x00(" + b"N" * many + b"e" + text("y") + b"]("
    with pytest.raises(WeightsError, match="grows beyond"):
        pickles.walk(pickled + b"h\x00" * many + b"eu.")


def test_a_key_of_many_parts_is_compared_in_little_time():
    keys = {f"{number}.{'a.' * 30_000}weight": torch.zeros(1, 1) for number in range(50)}
    with pytest.raises(WeightsError, match="missing: bias") as refusal:
        choose_state(nn.Linear(1, 1), {"net": keys}, None, name="x")
    assert len(str(refusal.value)) < 5000


def test_a_key_with_a_slash_can_be_chosen():
    net = nn.Linear(1, 1)
    other = {name: value + 1 for name, value in net.state_dict().items()}
    saved = {"a/b": dict(net.state_dict()), "c": other}
    with pytest.raises(WeightsError, match="key_prefix='a/b'"):
        choose_state(net, saved, None, name="x")
    assert torch.equal(choose_state(net, saved, "a/b", name="x").tensors["bias"], net.bias)


def test_one_tensor_under_many_names_is_refused(tmp_path):
    tensor = torch.zeros(100_000)
    torch.save({str(i): tensor for i in range(2)}, tmp_path / "tied.pth")
    assert len(read_checkpoint(tmp_path / "tied.pth")) == 2
    torch.save({str(i): tensor for i in range(500)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="its tensors would take"):
        read_checkpoint(tmp_path / "w.pth")
