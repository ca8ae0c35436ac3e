"""Fuzz the readers of untrusted files: whatever comes, a sentence or content, within the stated costs.

``python fuzz/readers.py READER [--seconds 600] [--seed 0]``; ``make fuzz`` runs every reader. An input that
breaks a rule is written to ``fuzz/found/READER/`` and the run fails; once mended, it moves to
``fuzz/seeds/READER/``, which a test reads for good. With ``--atheris`` the inputs are those of Atheris (pip
install atheris), which follows the branches that they take; without it, mutations of the corpora.
"""

import argparse
import hashlib
import io
import json
import random
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

if "--atheris" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["securitynet_hub.weights"]):
        import securitynet_hub.weights.reading.onnx_walk
        import securitynet_hub.weights.signature  # noqa: F401

import numpy as np
import safetensors.numpy
import torch

from securitynet_hub.core.errors import NoWeightsError, WeightsError
from securitynet_hub.weights import signature
from securitynet_hub.weights.reading import pickle_walk
from securitynet_hub.weights.reading.checkpoints import judge, judge_parts
from securitynet_hub.weights.reading.onnx_walk import read_onnx
from securitynet_hub.weights.reading.safetensors_layout import read_header
from securitynet_hub.weights.shards import read_index

SEEDS, FOUND = Path(__file__).parent / "seeds", Path(__file__).parent / "found"
SECONDS, SECONDS_EACH = 2.0, 40e-6
"""Seconds of processor time that an input may take, and that each of its bytes adds."""

FOLDER = tempfile.TemporaryDirectory()


class Broken(Exception):
    """A reader broke a rule."""


def require(true, what):
    if not true:
        raise Broken(what)


def pickle(data):
    """A pickle is followed to its end or refused; no step makes more than it may."""
    found = pickle_walk.walk(data)
    require(0 < found.end <= len(data), "it ends outside the pickle")


def checkpoint(data):
    """A file that is loadable is so by its parts, too; what its parts refuse is refused."""
    path = Path(FOLDER.name) / "x"
    path.write_bytes(data)
    whole, parts = judge(path), judge_parts(io.BytesIO(data), len(data))
    require(whole.safe or whole.reason, "it is refused without a reason")
    if parts is not None and not parts.safe:
        require(not whole.safe, f"its parts are refused ({parts.reason}), the whole is not")
    if whole.loadable:
        require(parts is None or parts.loadable, f"it is loadable, its parts are not ({parts})")


def archive(data):
    """The same for a torch archive around a pickle, whose directory and checksums are right."""
    checkpoint(zipped(data))


def safetensors_(data):
    """What is read as safetensors, the library reads, too, with the same names and shapes."""
    try:
        header = read_header(io.BytesIO(data), len(data))
    except struct.error as error:  # judge asks only for files of nine bytes and more
        require(len(data) < 9, f"a header raised {error}")
        return
    known = dict(safetensors.deserialize(bytes(data)))
    require(known.keys() == header.tensors.keys(), "the library finds other names")
    for name, view in header.tensors.items():
        require(tuple(known[name]["shape"]) == view.shape, f"the library finds another shape of {name!r}")


def onnx(data):
    """ONNX is read to its end or refused."""
    read_onnx(data, "x.onnx")


def index(data):
    """An index of shards names files beside it, or is refused."""
    path = Path(FOLDER.name) / "x.index.json"
    path.write_bytes(data)
    for name in read_index(path):
        require("/" not in name and not name.startswith("."), f"it names {name!r}")


def signed(data):
    """A signature is refused or parsed; a statement lists files of the folder."""
    payload = signature._payload(data, lambda chain, value, encoded: None)
    for name in signature._pieces(signature._statement(payload)):
        require(not name.startswith("/") and ".." not in name.split("/"), f"it lists {name!r}")


READERS = {
    "pickle": pickle,
    "checkpoint": checkpoint,
    "archive": archive,
    "safetensors": safetensors_,
    "onnx": onnx,
    "index": index,
    "signature": signed,
}


def zipped(pickled):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        for name, content in {"data.pkl": pickled, "version": b"3\n", "data/0": bytes(64)}.items():
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return body.getvalue()


def check(reader, data):
    """Read an input; raise `Broken` if the reader breaks a rule."""
    began = time.process_time()
    try:
        READERS[reader](data)
    except (WeightsError, NoWeightsError) as error:
        require(str(error), "it is refused without a sentence")
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    taken, allowed = time.process_time() - began, SECONDS + SECONDS_EACH * len(data)
    require(taken <= allowed, f"it took {taken:.1f} s; {allowed:.1f} are allowed")


def saved(value, **options):
    body = io.BytesIO()
    torch.save(value, body, **options)
    return body.getvalue()


def seeds(reader):
    """Return kept inputs, and good and hostile files of the reader's form."""
    found = [path.read_bytes() for path in sorted((SEEDS / reader).glob("*.bin"))]
    net = {"net": torch.nn.Linear(2, 2).state_dict(), "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    legacy = saved(net, _use_new_zipfile_serialization=False)
    if reader in ("pickle", "archive"):
        from support.random_pickles import random_pickle
        from weights.test_checkpoints import PICKLES

        found += [content for content, _ in PICKLES.values()]
        found += [random_pickle(seed, 60) for seed in range(50)]
        found.append(zipfile.ZipFile(io.BytesIO(saved(net))).read("archive/data.pkl"))
    if reader == "checkpoint":
        from support.hostile_files import hostile_files

        found += [content for name, content in hostile_files() if not name.startswith("cost:")]
        found += [saved(net), legacy, saved(torch.nn.Linear(2, 2)), safetensors.numpy.save({"a": np.ones(3)})]
    if reader == "safetensors":
        from support.hostile_safetensors import SAFETENSORS

        found += [case() if callable(case) else case for case, *_ in SAFETENSORS.values()]
        found += [safetensors.numpy.save({"a": np.ones((2, 3)), "b": np.zeros(0, np.int8)}, {"x": "y"})]
    if reader == "onnx":
        from support.onnx_files import linear

        found += [linear(np.ones((3, 4), np.float32), np.ones(3, np.float32), shape=(1, 2, 2))]
    if reader == "index":
        found += [
            json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.bin"}, "metadata": {}}).encode()
        ]
    if reader == "signature":
        found += [path.read_bytes() for path in (ROOT / "tests/weights/signed").glob("*.sig")]
    return [content for content in found if len(content) < 20_000]


NUMBERS = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
PIECES = {
    "pickle": [
        b"(",
        b".",
        b"}",
        b"]",
        b"\x85",
        b"R",
        b"b",
        b"\x93",
        b"q\0",
        b"h\0",
        b"\x94",
        b"\x81",
        b"Q",
        b"2",
    ],
    "text": [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"1e999", b"null", b"-1", b"\xff", b"NaN"],
}


def mutated(content, others, dice):
    """Return a changed copy: bytes flipped, cut, repeated, exchanged, or replaced by telling values."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
        place = dice.randrange(len(data) + 1)
        length = min(dice.choice((1, 1, 2, 4, 8, 32, 200)), len(data) - place)
        kind = dice.randrange(8)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length] * dice.choice((1, 2, 50))
        elif kind == 3:
            other = dice.choice(others)
            start = dice.randrange(len(other) + 1)
            data[place : place + dice.choice((0, length))] = other[start : start + dice.choice((1, 8, 100))]
        elif kind == 4:
            form, top = dice.choice((("<B", 255), ("<H", 65535), ("<I", 2**32 - 1), ("<Q", 2**64 - 1)))
            packed = struct.pack(form, dice.choice(NUMBERS) & top)
            data[place : place + len(packed)] = packed
        elif kind == 5:
            data[place:place] = dice.choice(PIECES["pickle"])
        elif kind == 6:
            data[place : place + dice.choice((0, 1))] = dice.choice(PIECES["text"])
        else:
            data[place : place + length] = dice.randbytes(length)
    return bytes(data[: 1 << 20])


def repaired(data):
    """Return an archive with the checksums that its members have now, so that more than one check is met."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = [(info, file.fp.seek(info.header_offset)) for info in file.infolist()]
        data = bytearray(data)
        for info, place in members:
            start = place + 30 + sum(struct.unpack_from("<HH", data, place + 26))
            crc = struct.pack("<L", zlib.crc32(data[start : start + info.file_size]))
            data = data.replace(struct.pack("<L", info.CRC), crc)
        return bytes(data)
    except Exception:  # it is broken beyond that
        return data


def run(reader, seconds, seed):
    """Read mutations until the time is over; return how many, and those that broke a rule."""
    dice, known = random.Random(seed), seeds(reader)
    broken, count, end = {}, 0, time.monotonic() + seconds
    for content in known:
        try_(reader, content, broken)
    while time.monotonic() < end and len(broken) < 20:
        data = mutated(dice.choice(known), known, dice)
        if reader == "checkpoint" and dice.random() < 0.5:
            data = repaired(data)
        try_(reader, data, broken)
        count += 1
    return count, broken


def try_(reader, data, broken):
    try:
        check(reader, data)
    except Broken as error:
        what = str(error)[:60]
        if what not in broken:
            broken[what] = data
            folder = FOUND / reader
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin").write_bytes(data)
            print(f"{reader}: {error}"[:500], file=sys.stderr)


def with_atheris(reader, seconds):
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(seeds(reader)):
            (Path(folder) / str(number)).write_bytes(content)
        options = [sys.argv[0], folder, f"-max_total_time={seconds}", "-max_len=65536"]
        atheris.Setup(options, lambda data: check(reader, data))
        atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    options = parser.parse_args()
    if options.atheris:
        with_atheris(options.reader, options.seconds)
        return
    count, broken = run(options.reader, options.seconds, options.seed)
    print(f"{options.reader}: {count:,} inputs, {len(broken)} rules broken", flush=True)
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
