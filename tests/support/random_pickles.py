"""Pickles of every opcode that the reader knows, made at random, so that most of them are well formed."""

import random
import struct

GLOBALS = [
    b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"cargparse\nNamespace\n", b"ctorch\nSize\n",
    b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"c__builtin__\nset\n",
    b"ctorch.nn.modules.linear\nLinear\n",
]  # fmt: skip

ATOMS = [
    b"N", b"\x88", b"\x89", b"K\x07", b"M\x07\x01", b"J\x07\x01\x01\x01", b"G" + bytes(8), b"\x8a\x01\x07",
    b"\x8a\x08" + b"\x11" * 8, b"\x8c\x01a", b"X\x02\0\0\0ab", b"\x8d" + struct.pack("<Q", 1) + b"a",
    b"U\x01a", b"T\x01\0\0\0a", b"B\x01\0\0\0a", b"C\x01a", b"\x8e" + struct.pack("<Q", 1) + b"a",
    b"\x96" + struct.pack("<Q", 1) + b"a", b"]", b"}", b")", b"\x8f", b"\x95" + bytes(8) + b"N",
    b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93", *GLOBALS,
]  # fmt: skip
PUT, GET = [b"q", b"\x94"], b"h"
ONE = [b"\x85", b"a", b"R", b"\x81", b"b", b"\x86", b"s", b"\x87", b"\x92", b"Q", b"0"]
GROUPED = [b"t", b"e", b"u", b"\x90", b"\x91", b"1"]


def random_pickle(seed, length=300):
    """Values that are kept, repeated, put into one another and passed to calls."""
    dice = random.Random(seed)
    favourites = [*dice.sample(ATOMS, 6), b"]", b"}"]
    pickled, kept, groups = [b"\x80\x04]"], 0, 0
    for _ in range(length):
        kind = dice.random()
        if kind < 0.1:
            pickled.append(PUT[0] + bytes([kept]) if dice.random() < 0.5 or kept else b"\x94")
            kept = min(kept + 1, 200)
        elif kind < 0.4 and kept:
            pickled.append(GET + bytes([dice.randrange(kept)]))
        elif kind < 0.5:
            pickled.append(b"(")
            groups += 1
        elif kind < 0.6 and groups:
            pickled.append(dice.choice(GROUPED))
            groups -= 1
        elif kind < 0.7:
            pickled.append(dice.choice(ONE))
        else:
            pickled.append(dice.choice(favourites) * dice.choice((1, 1, 1, 20)))
    return b"".join(pickled) + b"t" * groups + b"\x85."


def repeated(opcode, times):
    """One piece of a pickle again and again, in a list."""
    return b"\x80\x04](" + opcode * times + b"e."


def doubled(piece, times):
    """A long list of one piece, which a list holds as many times."""
    return b"\x80\x04]\x94(" + piece * times + b"e](" + b"h\0" * times + b"e\x86."
