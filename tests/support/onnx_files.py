"""ONNX files built by hand: nested messages of numbered fields (onnx.proto), as the format defines them."""

import numpy as np

FLOAT, UINT8, INT64 = 1, 2, 7
KINDS = {"float32": FLOAT, "uint8": UINT8, "int64": INT64}


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, array, *, external=False):
    array = np.ascontiguousarray(array)
    head = (
        b"".join(field(1, side) for side in array.shape) + field(2, KINDS[str(array.dtype)]) + field(8, name)
    )
    if external:
        return head + field(13, field(1, "location") + field(2, "elsewhere.bin")) + field(14, 1)
    return head + field(9, array.tobytes())


def attribute(name, value):
    if isinstance(value, bytes):  # a graph
        return field(1, name) + field(6, value) + field(20, 5)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + b"".join(field(8, each) for each in value) + field(20, 7)


def node(operator, inputs, outputs, *, domain="", **attributes):
    content = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    content += field(4, operator) + b"".join(field(5, attribute(*pair)) for pair in attributes.items())
    return content + (field(7, domain) if domain else b"")


def value(name, kind, shape):
    sides = b"".join(field(1, field(1, s) if isinstance(s, int) else field(2, s)) for s in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))


def graph(nodes, tensors, inputs, outputs):
    parts = {1: nodes, 5: tensors, 11: inputs, 12: outputs}
    return field(2, "net") + b"".join(field(n, each) for n, several in parts.items() for each in several)


def model(content, metadata=(), opset=13):
    opsets = field(8, field(1, "") + field(2, opset)) + field(8, field(1, "strange") + field(2, 1))
    entries = b"".join(field(14, field(1, key) + field(2, text)) for key, text in dict(metadata).items())
    return field(1, 8) + opsets + field(7, content) + entries


def linear(weights, bias, *, batch="n", layout="nchw", kind=FLOAT, final=None, metadata=(), **more):
    """A linear classifier of images: flatten, product, sum, and perhaps a last operator."""
    channels, height, width = more.pop("shape")
    sides = (batch, channels, height, width) if layout == "nchw" else (batch, height, width, channels)
    nodes, last = [], "image"
    if kind != FLOAT:
        nodes.append(node("Cast", [last], ["float"], to=FLOAT))
        last = "float"
    if layout != "nchw":
        nodes.append(node("Transpose", [last], ["turned"], perm=[0, 3, 1, 2]))
        last = "turned"
    nodes += [node("Flatten", [last], ["flat"], axis=1), node("Gemm", ["flat", "w", "b"], ["z"])]
    name, out_kind, out = "z", FLOAT, (batch, len(bias))
    if final is not None:
        options = (
            {"axis": 1, "keepdims": 0} if final == "ArgMax" else {} if final == "Sigmoid" else {"axis": 1}
        )
        nodes.append(node(final, ["z"], ["y"], **options))
        name, out_kind, out = ("y", INT64, (batch,)) if final == "ArgMax" else ("y", FLOAT, out)
    nodes += more.pop("nodes", [])
    tensors = [tensor("w", weights.astype(np.float32), **more), tensor("b", bias.astype(np.float32))]
    content = graph(nodes, tensors, [value("image", kind, sides)], [value(name, out_kind, out)])
    return model(content, metadata)
