"""The corpus of hostile results files: Parquet that a stranger may put into a repository of results.

Each is small, or made of one page that is repeated; none does more than cost time and memory. Footers are
written by hand, as Arrow's writer would refuse them. (Apache Parquet, format/src/main/thrift/parquet.thrift.)
"""

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq

from securitynet_hub.annotations.schema import features
from securitynet_hub.records.rows import Result

BOOLEAN, I32, I64, BINARY, LIST, STRUCT = 1, 5, 6, 8, 9, 12
SCHEMA = features(Result).arrow_schema
OPTIONAL, GROUP_TEXT, UTF8 = 1, 6, 0


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def zigzag(number):
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def encoded(kind, value):
    if kind in (I32, I64):
        return zigzag(value)
    if kind == BINARY:
        return varint(len(value)) + value
    if kind == STRUCT:
        return value
    inner, items = value
    return listed(inner, len(items)) + b"".join(encoded(inner, item) for item in items)


def listed(inner, count):
    """The head of a list that claims so many items."""
    return bytes([min(count, 15) << 4 | inner]) + (varint(count) if count >= 15 else b"")


def fields(*members):
    """A struct of (id, type, value), in ascending order of ids."""
    out, last = b"", 0
    for number, kind, value in members:
        out += bytes([(number - last) << 4 | kind]) + encoded(kind, value)
        last = number
    return out + b"\0"


def element(name, children=None, kind=GROUP_TEXT):
    """A node of a schema: a group of so many children, or a column of texts."""
    if children is not None:
        return fields((3, I32, 0), (4, BINARY, name), (5, I32, children))
    return fields((1, I32, kind), (3, I32, OPTIONAL), (4, BINARY, name), (6, I32, UTF8))


def footer(schema, groups=(LIST, (STRUCT, [])), rows=0, extra=()):
    """A file's metadata around a list of nodes."""
    nodes = schema if isinstance(schema, bytes) else encoded(LIST, (STRUCT, schema))
    head = b"\x15" + zigzag(1) + b"\x19" + nodes + b"\x16" + zigzag(rows)
    groups = groups if isinstance(groups, bytes) else encoded(*groups)
    return head + b"\x19" + groups + b"".join(extra) + b"\0"


def file_of(metadata, body=b""):
    return b"PAR1" + body + metadata + struct.pack("<I", len(metadata)) + b"PAR1"


def table_of(columns, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def rows_of(texts, times=1, **options):
    """A shard with the right columns, of which all but the record are empty; each text so many times."""
    row = dict.fromkeys(SCHEMA.names) | {"schema_version": 1}
    row |= dict.fromkeys(("id", "unit", "kind", "attack", "target", "data", "created"), "x")
    rows = len(texts) * times
    columns = [pa.array([row[name]] * rows, SCHEMA.field(name).type) for name in SCHEMA.names[:-1]]
    places = pa.array([*range(len(texts))] * times, pa.int32())
    columns.append(pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string())))
    out = io.BytesIO()
    pq.write_table(pa.table(columns, SCHEMA.names), out, store_schema=False, **options)
    return out.getvalue()


def chunk(start, size, count):
    """A column's chunk at a place, of so many bytes and values."""
    data = fields(
        (1, I32, GROUP_TEXT), (2, LIST, (I32, [0])), (3, LIST, (BINARY, [b"id"])), (4, I32, 0),
        (5, I64, count), (6, I64, size), (7, I64, size), (9, I64, start),
    )  # fmt: skip
    return fields((2, I64, start), (3, STRUCT, data))


def hostile_results():
    """Yield the name and the content of each file."""
    leaf = element(b"id")
    yield "empty", b""
    yield "magic alone", b"PAR1PAR1"
    yield "no footer", b"PAR1" + struct.pack("<I", 10**9) + b"PAR1"
    yield "encrypted footer", b"PARE" + b"x" * 50 + struct.pack("<I", 20) + b"PARE"
    yield "footer of zeros", file_of(bytes(1000))
    yield "nodes one in another", file_of(footer(listed(STRUCT, 100_001) + element(b"a", 1) * 100_000 + leaf))
    yield (
        "a million columns",
        file_of(footer(listed(STRUCT, 10**6 + 1) + element(b"schema", 10**6) + leaf * 10**6)),
    )
    yield "columns that are not there", file_of(footer([element(b"schema", 2**31 - 1), leaf]))
    yield "a negative number of children", file_of(footer([element(b"schema", -5), leaf]))
    yield "a list that claims 2^60 nodes", file_of(footer(listed(STRUCT, 2**60) + leaf))
    yield "a text that claims 2^60 bytes", file_of(footer(listed(STRUCT, 1) + b"\x48" + varint(2**60)))
    yield "an endless number", file_of(b"\x15" + b"\xff" * 100_000)
    yield "structs one in another", file_of(footer([leaf], extra=[b"\x4c" + b"\x1c" * 1_000_000]))
    yield "a name of 30 MB", file_of(footer([element(b"schema", 1), element(b"x" * (30 << 20))]))
    group = fields((1, LIST, (STRUCT, [chunk(4, 10, 1)])), (2, I64, 10), (3, I64, 1))
    many = listed(STRUCT, 200_000) + group * 200_000
    yield "200,000 row groups", file_of(footer([element(b"schema", 1), leaf], many))
    far = fields((1, LIST, (STRUCT, [chunk(2**62, 2**62, 1)])), (2, I64, 10), (3, I64, 1))
    yield (
        "a chunk beyond the file",
        file_of(footer([element(b"schema", 1), leaf], (LIST, (STRUCT, [far])), rows=1)),
    )
    below = fields((1, LIST, (STRUCT, [chunk(-9, 9, 1)])), (2, I64, 10), (3, I64, 1))
    yield (
        "a chunk before the file",
        file_of(footer([element(b"schema", 1), leaf], (LIST, (STRUCT, [below])), rows=1)),
    )
    none = fields((1, LIST, (STRUCT, [fields((2, I64, 4))])), (2, I64, 10), (3, I64, 1))
    yield (
        "a chunk without metadata",
        file_of(footer([element(b"schema", 1), leaf], (LIST, (STRUCT, [none])), rows=1)),
    )
    yield "rows below zero", file_of(footer([element(b"schema", 1), leaf], rows=-1))
    yield "other columns", table_of({"a": [1]})
    yield "lists in lists", table_of({"a": pa.array([[[[[[[["x"]]]]]]]])})
    yield "columns of one name", table_of_twins()
    yield "integers for texts", table_of({name: [1] for name in SCHEMA.names})
    yield "metadata of 8 MB", with_metadata(b"x" * (8 << 20))
    whole = with_metadata(b"")
    place = whole.index(b"ARROW:schema") + 20
    yield "a schema of Arrow's that is none", whole[:place] + b"A" * 400 + whole[place + 400 :]
    yield "texts that unfold", rows_of(["[" * (1 << 18)], 900, compression="zstd", use_dictionary=False)
    yield "one text of 250 kB, 100,000 times", rows_of(["x" * 250_000], 100_000, compression="zstd")
    yield "deep JSON", rows_of([f"{'[' * 50_000}{number}" for number in range(60)])
    yield (
        "numbers that are none",
        rows_of(['{"schema_version": 1, "result": NaN}', '{"schema_version": Infinity}']),
    )
    yield "an integer of 200,000 digits", rows_of([f'{{"schema_version": {"9" * 200_000}}}'])
    yield "no records", rows_of(["", "null", "[]", "{}", '"x"', "1e999"])
    colliding = ",".join(str((2**61 - 1) * number) for number in range(12_000))
    yield "integers that collide", rows_of([record_text(f'{{"classes": [{colliding}]}}')])
    keys = ",".join(f'"{number}": 0' for number in range(20_000))
    yield "20,000 keys", rows_of([record_text(f"{{{keys}}}")])


def record_text(result):
    return (
        '{"schema_version": 1, "target": {"id": "x"}, "data": {}, "attack": {"name": "loss", "kind": '
        f'"membership-inference"}}, "result": {result}, "counts": {{}}, "timings": {{}}, "code": {{}}, '
        '"environment": {}, "created": "2026-01-31T12:00:00+00:00", "author": null, "id": "x", "unit": "x"}'
    )


def with_metadata(note):
    table = pa.table([pa.array([], field.type) for field in SCHEMA], SCHEMA)
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"note": note}), out)
    return out.getvalue()


def table_of_twins():
    out = io.BytesIO()
    pq.write_table(pa.table([pa.array(["x"]), pa.array(["y"])], names=["id", "id"]), out)
    return out.getvalue()
