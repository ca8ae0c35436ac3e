"""Networks in ONNX files: the right answers, and more than a graph of ONNX's own refused."""

import sys

import numpy as np
import pytest
from support import onnx_files as files

import securitynet_hub as hub
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core.errors import MissingPackageError, ModelError, WeightsError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict
from securitynet_hub.weights.reading.onnx_walk import read_onnx

SHAPE = (3, 4, 5)
RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.normal(size=(60, 3)), RNG.normal(size=3)
PIXELS = RNG.integers(0, 256, (7, 4, 5, 3), np.uint8)
PLAIN = Transform(height=4, width=5, channels=3)
LOGITS = (np.moveaxis(PIXELS, -1, 1).reshape(7, -1) / 255) @ WEIGHTS + BIAS


def build(**options):
    weights = WEIGHTS / 255 if options.get("kind") == files.UINT8 else WEIGHTS
    return files.linear(weights, BIAS, shape=SHAPE, **options)


@pytest.fixture
def write(tmp_path):
    def written(content):
        (tmp_path / "net.onnx").write_bytes(content)
        return f"onnx:{tmp_path / 'net.onnx'}"

    return written


def softmax(z):
    exp = np.exp(z - z.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _needed(self):
        pytest.importorskip("onnxruntime")

    @pytest.mark.parametrize(
        "options",
        [{}, {"batch": 1}, {"batch": 4}, {"layout": "nhwc"}, {"kind": files.UINT8}],
        ids=str,
    )
    def test_they_are_those_of_the_network(self, write, options):
        transform = Transform(height=4, width=5, channels=3, factor=255) if "kind" in options else PLAIN
        target = hub.load_target(write(build(**options)), transform=transform)
        np.testing.assert_allclose(predict(target, PIXELS), LOGITS, rtol=1e-4, atol=1e-4)
        assert not target.has_weights
        assert target.annotation.weights_hash_kind == "sha256"
        assert target.id == f"onnx/{target.annotation.weights_hash[:12]}/net"

    @pytest.mark.parametrize(
        ("final", "outputs"),
        [("Softmax", "posteriors"), ("LogSoftmax", "log-posteriors"), ("ArgMax", "labels"), (None, "logits")],
    )
    def test_the_last_operator_says_what_they_are(self, write, final, outputs):
        more = {"num_classes": 3} if final == "ArgMax" else {}
        target = hub.load_target(write(build(final=final)), transform=PLAIN, **more)
        assert target.outputs == outputs
        found = softmax(predict(target, PIXELS))
        assert np.array_equal(found.argmax(1), LOGITS.argmax(1))
        if final != "ArgMax":
            np.testing.assert_allclose(found, softmax(LOGITS), rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize(
        ("stated", "scale"),
        [("NominalRange_0_255", lambda x: x), ("Normalized_0_1", lambda x: x / 255),
         ("Normalized_1_1", lambda x: x / 127.5 - 1)],
    )  # fmt: skip
    def test_the_file_may_state_the_range_of_its_pixels(self, write, stated, scale):
        target = hub.load_target(write(build(metadata={"Image.NominalPixelRange": stated})))
        expected = scale(np.moveaxis(PIXELS, -1, 1).reshape(7, -1).astype(float)) @ WEIGHTS + BIAS
        np.testing.assert_allclose(predict(target, PIXELS), expected, rtol=1e-3, atol=1e-2)

    def test_a_preprocessing_that_is_not_known(self, write):
        with pytest.raises(ValueError, match=r"preprocessing of net.onnx is not known.*--transform"):
            hub.load_target(write(build()))
        bgr = {"Image.NominalPixelRange": "Normalized_0_1", "Image.BitmapPixelFormat": "Bgr8"}
        with pytest.raises(ValueError, match=r"is not known"):
            hub.load_target(write(build(metadata=bgr)))

    def test_an_audit(self, tmp_path, run):
        data = known_data(hub.load_target("zoo/fashion-mnist/cnn-clean/1").annotation)
        pixels = data.images.pixels.reshape(4000, -1)[:500] / 255
        one_hot = np.eye(10)[data.images.labels[:500]]
        weights = np.linalg.lstsq(pixels.T @ pixels + np.eye(784), pixels.T @ one_hot, rcond=None)[0]
        (tmp_path / "net.onnx").write_bytes(files.linear(9 * weights, np.zeros(10), shape=(1, 28, 28)))
        transform = Transform(height=28, width=28, channels=1)
        target = hub.load_target(f"onnx:{tmp_path / 'net.onnx'}", transform=transform)
        (record,) = hub.audit(target, attacks="loss", data=data)
        assert record.target["weights_hash"] == target.annotation.weights_hash
        with pytest.raises(ValueError, match=r"needs the model's weights"):
            hub.audit(target, attacks="neuron_noise", data=data)

    def test_the_hash_must_be_the_stated_one(self, write):
        place = write(build())
        with pytest.raises(WeightsError, match="was expected"):
            hub.load_target(place, transform=PLAIN, sha256="0" * 64)
        annotation = hub.load_target(place, transform=PLAIN).annotation
        write(build(final="Softmax"))
        with pytest.raises(WeightsError, match="was expected"):
            hub.load_target(annotation, transform=PLAIN)

    def test_a_file_that_onnxruntime_refuses(self, write):
        wrong = files.model(files.graph(
            [files.node("Nothing", ["image"], ["z"])], [],
            [files.value("image", 1, SHAPE)], [files.value("z", 1, SHAPE)],
        ))  # fmt: skip
        with pytest.raises(ModelError, match="onnxruntime cannot load net"):
            hub.load_target(write(wrong), transform=PLAIN)


BODY = files.graph([files.node("Identity", ["a"], ["b"])], [], [], [files.value("b", 1, (1,))])
STRANGE = files.node("Run", ["z"], ["q"], domain="my.ops")
HOSTILE = {
    "external data": (build(external=True), "in other files"),
    "an operator from outside": (build(nodes=[STRANGE]), "Run of 'my.ops'"),
    "one in a subgraph": (
        build(nodes=[files.node("If", ["z"], ["q"], then_branch=files.graph(
            [STRANGE], [], [], []))]),
        "Run of 'my.ops'",
    ),
    "external data in a subgraph": (
        build(nodes=[files.node("If", ["z"], ["q"], then_branch=files.graph(
            [], [files.tensor("t", np.zeros(2, np.float32), external=True)], [], []))]),
        "in other files",
    ),
    "a loop": (build(nodes=[files.node("Loop", ["z"], ["q"], body=BODY)]), "a Loop, which may run"),
    "no graph": (files.field(1, 8), "no graph"),
    "nothing": (b"", "no graph"),
    "a pickle": (b"\x80\x04\x95.", "ONNX file"),
    "cut off": (build()[:200], "ONNX file"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused_before_any_runtime_sees_it(name, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    content, told = HOSTILE[name]
    with pytest.raises(WeightsError, match=told):
        hub.load_target(write(content), transform=PLAIN)


@pytest.mark.slow
def test_deep_and_long_files_are_refused():
    deep = BODY
    for _ in range(20):
        deep = files.graph([files.node("If", ["z"], ["q"], then_branch=deep)], [], [], [])
    with pytest.raises(WeightsError, match="messages within one another"):
        read_onnx(files.model(deep), "deep.onnx")
    many = files.graph([files.node("Relu", ["z"], ["q"])] * 50_001, [], [], [])
    with pytest.raises(WeightsError, match="more than 50,000 nodes"):
        read_onnx(files.model(many), "long.onnx")


def test_what_is_read_of_a_file():
    facts = read_onnx(build(final="Softmax", metadata={"a": "b"}), "net.onnx")
    assert (facts.nodes, facts.final, facts.metadata) == (3, "Softmax", {"a": "b"})


def test_a_missing_package_is_said(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'securitynet-hub\[onnx\]'"):
        hub.load_target(write(build()), transform=PLAIN)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        hub.load_target(f"onnx:{tmp_path / 'none.onnx'}", transform=PLAIN)
