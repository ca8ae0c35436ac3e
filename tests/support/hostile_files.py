"""The corpus of hostile weights files: each a small file, or bytes that are made when they are asked for.

Run ``python tests/support/hostile_files.py FOLDER`` to write them; no payload does more than touch a marker.
"""

import io
import json
import struct
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.hostile_safetensors import SAFETENSORS
from support.random_pickles import ATOMS, doubled, repeated

MANY = 590_000


def zipped(pickled, **members):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        for name, content in {"data.pkl": pickled, "version": b"3\n", **members}.items():
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return body.getvalue()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def under(pickled):
    """A dict that holds a value under a name, as checkpoints do."""
    return b"\x80\x02}" + text("x") + pickled + b"s."


def wide():
    """Pickles that cost as much as a budget lets them, and a little more."""
    for number, piece in enumerate(ATOMS):
        yield f"twice atom {number}", zipped(under(doubled(piece, 2000)[2:-1]))
    for name, piece in {
        "None": b"N",
        "set": b"\x8f",
        "dict": b"}",
        "text": b"\x8c\x01a",
        "int": b"J\1\1\1\1",
    }.items():
        yield f"many of {name}", zipped(repeated(piece, MANY))
    row = b"]q\0(" + b"]" * 5000 + b"e"
    yield "a list many times", zipped(under(b"(" + row + b"](" + b"h\0" * 5000 + b"et"))
    yield (
        "wide OrderedDict",
        zipped(
            under(b"ccollections\nOrderedDict\n]q\0(" + b"N" * 20_000 + b"e](" + b"h\0" * 20_000 + b"e\x85R")
        ),
    )
    yield "deep", zipped(under(b"N" + b"\x85" * MANY))
    yield "marks", zipped(b"\x80\x02" + b"(" * MANY)
    yield (
        "numbers that collide",
        zipped(
            b"\x80\x02}("
            + b"".join(b"\x8a\x08" + struct.pack("<q", number << 40) + b"N" for number in range(250_000))
            + b"u."
        ),
    )
    yield (
        "names",
        zipped(
            b"\x80\x02("
            + b"".join(b"c" + b"a" * 200 + b"%d\nb\n" % number for number in range(11_000))
            + b"t."
        ),
    )
    yield "long texts", zipped(b"\x80\x02(" + text("a" * 60_000 + "\U0001f600") * 900 + b"t.")


def directories():
    """Archives and headers of very many entries."""
    for count in (60_000, 110_000):
        header = {
            f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(count)
        }
        raw = json.dumps(header, separators=(",", ":")).encode()
        yield f"{count:,} empty tensors", struct.pack("<Q", len(raw)) + raw
    members = {f"data/{number}": b"" for number in range(100_000)}
    yield "100,000 members", zipped(b"\x80\x02}.", **members)
    for name, shape in {"vast": [1 << 47, 1 << 47, 0], "long": [0] * 60_000}.items():
        raw = json.dumps({"t": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
        yield f"a shape that is {name}", struct.pack("<Q", len(raw)) + raw
    yield "deep header", struct.pack("<Q", 200_000) + b'{"a":' * 40_000
    yield "a number of a million digits", struct.pack("<Q", 1_000_006) + b'{"a":' + b"1" * 1_000_000 + b"}"


def hostile_files():
    """Yield the name and content of every hostile file."""
    from weights.test_checkpoints import ARCHIVES, FILES, LEGACIES, PICKLES
    from weights.test_checkpoints import zipped as archived

    for name, (pickled, _) in PICKLES.items():
        yield f"zip: {name}", archived(pickled)
    for kind, cases in {"archive": ARCHIVES, "legacy file": LEGACIES, "safetensors": SAFETENSORS}.items():
        for name, (content, *_) in cases.items():
            yield f"{kind}: {name}", content() if callable(content) else content
    for name, case in FILES.items():
        content = case[0] if isinstance(case, tuple) else case
        if isinstance(content, bytes):
            yield f"file: {name}", content
    for name, content in (*wide(), *directories()):
        yield f"cost: {name}", content


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, content) in enumerate(hostile_files()):
        (folder / f"{number:03d}.pth").write_bytes(content)
        print(f"{number:03d}.pth", name)
