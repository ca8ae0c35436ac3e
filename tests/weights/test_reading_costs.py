"""Reading a hostile file costs time and memory that are linear in its size, and bounded."""

import pickletools  # noqa: F401  (the reader imports it for a refusal, which takes memory once)
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.random_pickles import ATOMS, doubled, random_pickle, repeated

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading import pickle_walk
from securitynet_hub.weights.reading.layout import Storage, View
from securitynet_hub.weights.reading.pickle_walk import BYTES_EACH, walk

LINES_EACH = 120
"""Lines of Python that one byte of a pickle makes the reader run, at most."""

READER = str(Path(pickle_walk.__file__).parent)


def cost(pickled):
    """Return how many lines a walk runs, the largest memory that it takes, and whether it is refused."""
    lines = 0

    def within(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return within

    def called(frame, event, argument):
        return within if frame.f_code.co_filename.startswith(READER) else None

    tracemalloc.start()
    before = sys.gettrace()
    sys.settrace(called)
    try:
        walk(pickled)
        refused = False
    except WeightsError:
        refused = True
    finally:
        sys.settrace(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return lines, peak, refused


def require_linear(pickled):
    lines, peak, refused = cost(pickled)
    assert lines <= 10_000 + LINES_EACH * len(pickled)
    assert peak <= (64 << 10) + BYTES_EACH * len(pickled)
    return refused


def test_pickles_at_random_cost_no_more_than_their_size_allows():
    refused = [require_linear(random_pickle(seed)) for seed in range(60)]
    assert sum(refused) > 0


def test_every_opcode_costs_no_more_than_its_size_allows():
    for piece in ATOMS:
        require_linear(repeated(piece + b"\x94", 60))
        require_linear(doubled(piece, 60))


@pytest.mark.parametrize(
    ("name", "pickled"),
    [
        ("a list in many lists", doubled(b"]", 300)),
        ("a dict in many lists", doubled(b"}", 300)),
        (
            "one list of pairs, called often",
            b"\x80\x04ccollections\nOrderedDict\n\x94](" + b"K\1N\x86" * 300 + b"e\x85\x94("
            + b"h\0h\1R" * 300 + b"t.",
        ),
        (
            "one list of names in many modules",
            b"\x80\x04ctorch.nn.modules.linear\nLinear\n\x94}\x94c__builtin__\nset\n](" + b"N" * 300
            + b"e\x85R\x94(" + b"h\0)\x81}(X\x0b\0\0\0_parametersh\1X\x08\0\0\0_buffersh\1"
            b"X\x08\0\0\0_modulesh\1"
            b"X\x1b\0\0\0_non_persistent_buffers_seth\2ub" * 200 + b"t.",
        ),
    ],
    ids=lambda value: value if type(value) is str else "",
)  # fmt: skip
def test_what_is_used_often_is_not_copied_often(name, pickled):
    require_linear(pickled)


def test_the_budget_is_one_for_all_pickles_of_a_file():
    budget = pickle_walk.Budget()
    budget.steps = 10
    walk(b"\x80\x02(NNt.", budget=budget)
    with pytest.raises(WeightsError, match="opcodes"):
        walk(b"\x80\x02(NNt.", budget=budget)


def test_what_is_held_is_bounded():
    budget = pickle_walk.Budget()
    budget.held = 10_000
    with pytest.raises(WeightsError, match="bytes of values"):
        walk(repeated(b"\x8f", 60), budget=budget)


def test_texts_beyond_the_bound_are_not_kept():
    budget = pickle_walk.Budget()
    budget.texts = 5
    kept = walk(b"\x80\x02(X\x03\0\0\0abcX\x03\0\0\0abct.", budget=budget).value
    assert kept[0] == "abc"
    assert str(kept[1]) == "str"


def colliding(shape, tries=1 << 20):
    """Return other pairs with the hash of one: two rounds of xxHash, of which CPython's tuples are made.

    A round adds number * P2, rotates by 31 bits and multiplies by P1. So for any first number there is one
    second number that leads to the same hash; one of 65,536 is small enough to be a size.
    """
    p1, p2, p5 = (np.uint64(p) for p in (11400714785074694791, 14029467366897019727, 2870177450012600261))

    def turned(lanes):
        return (lanes << np.uint64(31)) | (lanes >> np.uint64(33))

    with np.errstate(over="ignore"):
        first = np.arange(tries, dtype=np.uint64)
        after = turned(p5 + np.append(first, np.uint64(shape[0])) * p2) * p1
        wanted = after[-1] + np.uint64(shape[1]) * p2
        second = (wanted - after[:-1]) * np.uint64(pow(int(p2), -1, 1 << 64))
    fits = second < 1 << 48
    return [(int(a), int(b)) for a, b in zip(first[fits], second[fits], strict=True)]


def test_sizes_that_collide_do_not_make_descriptions_collide():
    pairs = colliding((1, 2))
    assert len(pairs) > 4
    assert {hash(pair) for pair in pairs} == {hash((1, 2))}
    storage = Storage("0", "float32", 0)
    assert len({hash(View(storage, "float32", 0, (0, *pair), (1, 1, 1))) for pair in pairs}) == len(pairs)
