"""The quick way to canonical text gives what the plain way gives, or refuses alike."""

import json
import random
import struct

import pytest
from pydantic_core import from_json

from securitynet_hub.core.digest import canonical, canonical_of_read

TEXTS = ("", "a", "\x7f", "\x1f", "\\", '"', "/", "\u2028", "\u00e9", "e5", "1e-5,", "NaN", "</b>", "0.00001")


def numbers(draw):
    """Yield floats of all sizes: round ones, random bits, and those about which writers of JSON differ."""
    for exponent in range(-30, 30):
        for digits in (1, 5, 9.5, draw.random(), 1.234567890123456):
            yield float(f"{digits}e{exponent}")
    for _ in range(20_000):
        (number,) = struct.unpack("d", draw.randbytes(8))
        if number - number == 0:
            yield number
        yield draw.uniform(-1, 1) * 10.0 ** draw.randint(-8, 20)
    yield from (0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 1e23, 123456789012345680.0)


def value(draw, depth=0):
    kind = draw.randrange(4 if depth > 4 else 6)
    if kind == 4:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 5:
        return {draw.choice(TEXTS) + str(draw.randrange(9)): value(draw, depth + 1) for _ in range(4)}
    whole = draw.choice((0, -1, 2**63, -(10**30), draw.getrandbits(20)))
    return (draw.uniform(-1, 1), whole, draw.choice(TEXTS), draw.choice((None, True, False)))[kind]


def test_every_number_is_written_alike():
    for number in numbers(random.Random(0)):
        assert canonical_of_read([number]) == canonical([number])


def test_every_value_is_written_alike():
    draw = random.Random(1)
    for _ in range(2000):
        read = from_json(json.dumps(value(draw)))
        assert canonical_of_read(read) == canonical(read)


@pytest.mark.parametrize("text", ["[1e400]", "[-1e999]", '{"a": {"b": [1e999]}}'])
def test_what_json_has_no_word_for_is_refused_alike(text):
    for write in (canonical, canonical_of_read):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(json.loads(text))
