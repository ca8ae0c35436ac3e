"""Parts that many records share are read once; what is accepted is what a plain reading accepts."""

import json
import random
import re

import pytest
from support.plain_records import make

from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.parts import Parsed, Parts, read_part
from securitynet_hub.records.record import parse_record

RESULT = {"z": 1, "a": [0.1, -0.0, 1e-300, None, True, '\u00e9\U0001f600"\\,\n'], "deep": {"b": {"c": [[]]}}}


def written(**settings):
    return json.dumps(make(**settings).as_dict(), indent=1) + "\n"


def plain(text):
    """The record, or None where it is refused."""
    try:
        return parse_record(text, "x")
    except RecordError:
        return None


@pytest.fixture
def text():
    return written(result=RESULT, data={"name": "d", "check": {"status": "as expected"}})


def test_a_record_and_its_texts_are_those_of_a_plain_reading(text):
    parts = Parts()
    for _ in range(2):
        record, shared, own = parts.parse(text)
        assert record == plain(text)
        assert (record.id, record.unit) == (plain(text).id, plain(text).unit)
        assert json.dumps(record.as_dict()) == json.dumps(plain(text).as_dict())
        of_any_layout = Parsed.of_record(record)
        for texts in ((*shared, own), (*of_any_layout.shared, of_any_layout.own)):
            read = {name: value for part in texts for name, value in read_part(part).items()}
            assert {**read, "created": record.created} == record.content()
            assert "created" not in read


def test_fields_are_shared(text):
    parts = Parts()
    one, other = parts.parse(text).record, parts.parse(written(result={"z": 2}, author="b")).record
    assert one.environment is other.environment
    assert one.result != other.result


def test_what_is_laid_out_in_another_way_is_left_to_a_plain_reading(text):
    for layout in ({}, {"indent": 2}, {"indent": 0}, {"separators": (",", ":"), "indent": 1}):
        laid = json.dumps(json.loads(text), **layout)
        found = Parts().parse(laid)
        assert found is None or found.record == plain(laid)
        assert plain(laid) is not None


def changes(text, rng):
    """Yield records that were damaged on purpose and by chance, many with hashes that fit."""
    content = json.loads(text)
    del content["id"], content["unit"]
    for name in content:
        for value in (None, 3, "x", [], {}, {"a": 10**400}, {"a": float("nan")}, {"a": "\ud800"}, True):
            changed = make(result=RESULT)
            object.__setattr__(changed, name, value)
            try:
                yield json.dumps(changed.as_dict(), indent=1)
            except (ValueError, TypeError, AttributeError):
                yield json.dumps({"id": "a", "unit": "b", **changed.content()}, indent=1)
    deep = {}
    for _ in range(19):
        deep = {"a": deep}
    yield written(result=deep)
    yield written(result={"a": deep})
    yield written(counts={"a": 2}).replace('"a": 2', '"a": 2.0')
    yield text.replace(' "data": {', ' "target": {"id": "twice"},\n "data": {')
    yield text.replace(' "z": 1', ' "z": 1,\n "y": 2')
    yield text.replace("{", "{ ", 1)
    yield text.replace("schema", "\\u0073chema")
    for _ in range(300):
        at = rng.randrange(len(text))
        yield text[:at] + rng.choice(["", *'{}[]",:0 \n\\']) + text[at + 1 :]
    lines = text.splitlines(keepends=True)
    for _ in range(100):
        one, other = rng.sample(range(len(lines)), 2)
        mixed = list(lines)
        mixed[one], mixed[other] = mixed[other], mixed[one]
        yield "".join(mixed)


def test_nothing_is_accepted_that_a_plain_reading_refuses(text):
    parts, accepted = Parts(), 0
    parts.parse(text)  # what is known already hides nothing
    for changed in changes(text, random.Random(0)):
        found = parts.parse(changed)
        if found is not None:
            accepted += 1
            assert found.record == plain(changed), changed
    assert accepted  # the deepest that is allowed, at least
    assert re.match("[0-9a-f]{16}$", parts.parse(text).record.id)
