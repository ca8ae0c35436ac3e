"""Networks in ONNX files: the right answers, and more than a graph of ONNX's own refused."""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from securitynet_hub.loaders import onnx as loader
from support import onnx_files as files

from securitynet_hub import audit, load_target
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core.errors import MissingPackageError, ModelError, WeightsError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
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
        target = load_target(write(build(**options)), transform=transform)
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
        target = load_target(write(build(final=final)), transform=PLAIN, **more)
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
        target = load_target(write(build(metadata={"Image.NominalPixelRange": stated})))
        expected = scale(np.moveaxis(PIXELS, -1, 1).reshape(7, -1).astype(float)) @ WEIGHTS + BIAS
        np.testing.assert_allclose(predict(target, PIXELS), expected, rtol=1e-3, atol=1e-2)

    def test_a_preprocessing_that_is_not_known(self, write):
        with pytest.raises(ValueError, match=r"preprocessing of net.onnx is not known.*--transform"):
            load_target(write(build()))
        bgr = {"Image.NominalPixelRange": "Normalized_0_1", "Image.BitmapPixelFormat": "Bgr8"}
        with pytest.raises(ValueError, match=r"is not known"):
            load_target(write(build(metadata=bgr)))

    def test_an_audit(self, tmp_path, run):
        data = known_data(load_target("zoo/fashion-mnist/cnn-clean/1").annotation)
        pixels = data.images.pixels.reshape(4000, -1)[:500] / 255
        one_hot = np.eye(10)[data.images.labels[:500]]
        weights = np.linalg.lstsq(pixels.T @ pixels + np.eye(784), pixels.T @ one_hot, rcond=None)[0]
        (tmp_path / "net.onnx").write_bytes(files.linear(9 * weights, np.zeros(10), shape=(1, 28, 28)))
        transform = Transform(height=28, width=28, channels=1)
        target = load_target(f"onnx:{tmp_path / 'net.onnx'}", transform=transform)
        (record,) = audit(target, attacks="loss", data=data)
        assert record.target["weights_hash"] == target.annotation.weights_hash
        with pytest.raises(ValueError, match=r"needs the model's weights"):
            audit(target, attacks="neuron_noise", data=data)

    def test_the_hash_must_be_the_stated_one(self, write):
        place = write(build())
        with pytest.raises(WeightsError, match="was expected"):
            load_target(place, transform=PLAIN, sha256="0" * 64)
        annotation = load_target(place, transform=PLAIN).annotation
        write(build(final="Softmax"))
        with pytest.raises(WeightsError, match="was expected"):
            load_target(annotation, transform=PLAIN)

    def test_a_file_that_onnxruntime_refuses(self, write):
        wrong = files.model(files.graph(
            [files.node("Nothing", ["image"], ["z"])], [],
            [files.value("image", 1, SHAPE)], [files.value("z", 1, SHAPE)],
        ))  # fmt: skip
        with pytest.raises(ModelError, match="onnxruntime cannot load net"):
            load_target(write(wrong), transform=PLAIN)


COMMIT, MOVED = "0123456789" * 4, "abcdef0123" * 4
PLACE = f"/org/net/resolve/{COMMIT}/onnx/model.onnx"


class TestOnTheHub:
    @pytest.fixture(autouse=True)
    def _needed(self):
        pytest.importorskip("onnxruntime")

    @pytest.fixture
    def served(self, hub):
        """A repository with one file; its later commit has another."""
        contents = {MOVED: build(final="Softmax"), COMMIT: build()}
        hub.serve_repository("org/net", MOVED, {"onnx/model.onnx": contents[MOVED]}, ("v2", "refs%2Fpr%2F1"))
        hub.serve_repository("org/net", COMMIT, {"onnx/model.onnx": contents[COMMIT]})
        return contents

    @pytest.mark.parametrize(
        ("revision", "commit"),
        [("", COMMIT), ("@main", COMMIT), ("@v2", MOVED), (f"@{MOVED}", MOVED), ("@refs/pr/1", MOVED)],
    )
    def test_it_answers_as_the_same_file_on_a_disk(self, served, write, revision, commit):
        target = load_target(f"onnx:hf://org/net{revision}/onnx/model.onnx", transform=PLAIN)
        local = load_target(write(served[commit]), transform=PLAIN)
        np.testing.assert_array_equal(predict(target, PIXELS), predict(local, PIXELS))
        assert target.outputs == local.outputs
        known = target.annotation
        assert known.id == f"onnx/org/net@{commit[:12]}-onnx-model"
        assert known.weights_url == f"https://huggingface.co/org/net/resolve/{commit}/onnx/model.onnx"
        assert (known.weights_hash_kind, known.weights_hash) == ("sha256", local.annotation.weights_hash)

    def test_a_small_file_with_a_hash_of_git(self, hub):
        hub.serve_repository("org/net", COMMIT, {"a %41.txt": build()})
        routes = hub.routes
        routes[f"/org/net/resolve/{COMMIT}/a%20%2541.txt"] = routes[f"/org/net/resolve/{COMMIT}/a %41.txt"]
        known = load_target("onnx:hf://org/net/a %41.txt", transform=PLAIN, name="mine").annotation
        assert known.id == f"onnx/org/net@{COMMIT[:12]}-mine"
        assert (known.weights_hash_kind, known.weights_hash) == ("sha256", sha256(build()).hexdigest())

    def test_offline_the_cache_answers(self, hub, served, monkeypatch):
        place = f"onnx:hf://org/net@{COMMIT}/onnx/model.onnx"
        expected = predict(load_target(place, transform=PLAIN), PIXELS)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        asked = len(hub.log)
        np.testing.assert_array_equal(predict(load_target(place, transform=PLAIN), PIXELS), expected)
        with pytest.raises(WeightsError, match=r"has no b.onnx in the cache.*files: onnx/model.onnx"):
            load_target(f"onnx:hf://org/net@{COMMIT}/b.onnx", transform=PLAIN)
        assert len(hub.log) == asked

    def test_a_replaced_file_is_refused(self, hub, served):
        hub.routes[PLACE].content = build(final="Softmax")
        with pytest.raises(WeightsError, match="was expected"):
            load_target("onnx:hf://org/net/onnx/model.onnx", transform=PLAIN)

    def test_a_damaged_one_in_the_cache_is_downloaded_again(self, hub, served):
        annotation = find_annotation("onnx:hf://org/net/onnx/model.onnx", transform=PLAIN)
        (cached,) = Path(constants.HF_HUB_CACHE).rglob("model.onnx")
        cached.resolve().write_bytes(build(final="Softmax"))
        target = load_target(annotation, transform=PLAIN)
        np.testing.assert_allclose(predict(target, PIXELS), LOGITS, rtol=1e-4, atol=1e-4)

    def test_the_hash_must_be_the_stated_one(self, served):
        with pytest.raises(WeightsError, match="was expected"):
            load_target("onnx:hf://org/net/onnx/model.onnx", transform=PLAIN, sha256="0" * 64)


def test_what_is_too_large_is_not_downloaded(hub, monkeypatch):
    hub.serve_repository("org/net", COMMIT, {"onnx/model.onnx": build()})
    monkeypatch.setattr(loader, "MAX_BYTES", 100)
    with pytest.raises(WeightsError, match="at most 100 are accepted"):
        load_target("onnx:hf://org/net/onnx/model.onnx", transform=PLAIN)
    assert not list(Path(constants.HF_HUB_CACHE).rglob("model.onnx"))


@pytest.mark.parametrize(
    "name", ["hf://org", "hf://org/net", "hf://org/net@v2", "hf://org/net/", "hf:///net/a"]
)
def test_another_spelling_is_refused(name):
    with pytest.raises(ValueError, match=r"named onnx:hf://OWNER/NAME/PATH"):
        load_target(f"onnx:{name}", transform=PLAIN)


def test_a_file_that_the_repository_has_not(hub):
    hub.serve_repository("org/net", COMMIT, {"b.onnx": build(), "a.onnx": build()})
    with pytest.raises(
        WeightsError, match=f"org/net at {COMMIT} has no c.onnx. Its .onnx files: a.onnx, b.onnx"
    ):
        load_target("onnx:hf://org/net/c.onnx", transform=PLAIN)


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
        load_target(write(content), transform=PLAIN)


def test_a_file_of_the_hub_is_looked_through_too(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    hub.serve_repository("org/net", COMMIT, {"net.onnx": build(nodes=[STRANGE])})
    with pytest.raises(WeightsError, match=r"Run of 'my.ops'"):
        load_target("onnx:hf://org/net/net.onnx", transform=PLAIN)


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
        load_target(write(build()), transform=PLAIN)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        load_target(f"onnx:{tmp_path / 'none.onnx'}", transform=PLAIN)
