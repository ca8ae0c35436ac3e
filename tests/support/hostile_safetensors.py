"""Damaged and hostile safetensors, each with the reason why it is refused."""

import json
import os
import pickle
import struct


class Canary:
    """An object whose pickle runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"echo alive > {self.path}",)


def safe(header, body=bytes(16)):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


SAFETENSORS = {
    "huge header": (struct.pack("<Q", 1 << 62) + b"{}", "header would have"),
    "header beyond the end": (struct.pack("<Q", 1000) + b"{}", "header would have"),
    "header of 17 MiB": (safe(b'{"' + b"a" * (17 << 20) + b'":1}'), "header would have"),
    "overlapping": (safe({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)), "not whole"),
    "a hole": (safe({"a": entry(), "b": entry(offsets=(20, 36))}, bytes(36)), "not whole"),
    "offsets backwards": (safe({"a": entry(offsets=(16, 0))}), "not whole"),
    "another dtype": (safe({"a": entry("F64")}), "not whole"),
    "no dtype": (safe({"a": entry("PICKLE")}), "not whole"),
    "shape too large": (safe({"a": entry(shape=(1 << 40, 1 << 40))}), "not whole"),
    "negative shape": (safe({"a": entry(shape=(-4,))}), "not whole"),
    "10^12 elements": (safe({"a": entry(shape=(10**6, 10**6))}), "not whole"),
    "no JSON": (safe(b"{not JSON}"), "not whole"),
    "no UTF-8": (safe(b'{"\xff":1}'), "not whole"),
    "deep JSON": (safe(b'{"a":' * 10_000), "not whole"),
    "a pickle behind the header": (safe({"a": entry()}) + pickle.dumps(Canary("../canary")), "not whole"),
    "a pickle as the body": (safe({}, pickle.dumps(Canary("../canary"))), "not whole"),
    "one name twice": (
        safe(
            b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
        ),
        "not whole.*a name occurs twice",
    ),
    "shape that is no count": (safe({"a": entry(shape=(4.0,))}), "not whole.*no counts"),
    "shape of truth values": (safe({"a": entry(shape=(4, True))}), "not whole.*no counts"),
    "more in an entry": (safe({"a": entry() | {"code": "x"}}), "not whole.*not described"),
    "metadata that is no text": (
        safe({"__metadata__": {"a": 1}, "b": entry()}),
        "not whole.*no map of texts",
    ),
    "NaN in the header": (safe({"a": entry(shape=(float("nan"),))}), "not whole.*NaN"),
    "UTF-16": (safe('{"a":1}'.encode("utf-16-be")), "no known format"),
    "half a letter": (safe({"\ud800": entry()}), "not whole.*no text"),
    "cut": (safe({"a": entry()}, bytes(15)), "not whole"),
    "a name that steers the terminal": (safe({"\x1b[2J\n": entry(offsets=(0, 12))}), "not whole"),
    "a third truth value": (safe({"a": entry("BOOL", (16,))}, b"\x07" * 16), "no truth value"),
}

NOT_FINITE = {
    "NaN": (safe({"a": entry()}, struct.pack("<4f", 1, 2, 3, float("nan"))), "NaN or infinity: 'a'"),
    "infinity": (safe({"a": entry()}, struct.pack("<4f", 1, float("inf"), 3, 4)), "NaN or infinity"),
    "NaN in float8": (safe({"a": entry("F8_E4M3", (16,))}, b"\x7f" * 16), "NaN or infinity"),
}
"""Safetensors that are whole, but whose numbers cannot be weights."""
