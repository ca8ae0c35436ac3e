import hashlib
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from support.hostile_safetensors import SAFETENSORS
from support.servers import running_server

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.core.files import verified_bytes
from securitynet_hub.data import images
from securitynet_hub.data.images import LabelledImages, load_images
from securitynet_hub.models import loading as targets
from securitynet_hub.models.loading import find_loader, load_target
from securitynet_hub.models.state import load_state
from securitynet_hub.weights.fetch import fetch, load_weights
from securitynet_hub.weights.reading.checkpoints import judge
from securitynet_hub.weights.tensors import flatten, nest

ANNOTATION = next(iter(load_annotations("zoo").values()))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package whose folder the test may fill."""
    folder = tmp_path / "shipped_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shipped_weights", raising=False)
    return folder


def annotated(package, content):
    (package / "w.safetensors").write_bytes(content)
    return replace(
        ANNOTATION,
        weights_url="package:shipped_weights/w.safetensors",
        weights_hash=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache of the test's own, and the network allowed."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "home"


@pytest.fixture
def server(home):
    with running_server() as running:
        yield running


def hosted(server, content):
    url = server.serve("/w.safetensors", content)
    return replace(ANNOTATION, weights_url=url, weights_hash=hashlib.sha256(content).hexdigest())


def test_whole_files_are_read(package):
    tensors = {"a": torch.arange(3.0)}
    loaded = load_weights(annotated(package, safetensors.torch.save(tensors)))
    assert torch.equal(loaded["a"], tensors["a"])


def test_one_flipped_bit_is_found_anywhere(package):
    content = safetensors.torch.save({"a": torch.arange(3.0)})
    annotation = annotated(package, content)
    for position in (0, 20, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (package / "w.safetensors").write_bytes(damaged)
        with pytest.raises(WeightsError, match="damaged or was replaced"):
            load_weights(annotation)


@pytest.mark.parametrize("case", ["one name twice", "cut", "huge header", "a pickle as the body"])
def test_bad_files_are_refused_even_with_the_right_hash(case, package):
    annotation = annotated(package, SAFETENSORS[case][0])
    with pytest.raises(WeightsError, match="is refused: ") as refusal:
        load_weights(annotation)
    assert str(refusal.value).endswith(f" is refused: {judge(package / 'w.safetensors').reason}.")


@pytest.mark.parametrize("case", SAFETENSORS)
def test_downloaded_safetensors_are_judged_as_verify_judges_them(case, server, tmp_path):
    content, sentence = SAFETENSORS[case]
    (tmp_path / "here").write_bytes(content)
    verdict = judge(tmp_path / "here")
    assert re.search(sentence, verdict.reason)
    with pytest.raises(WeightsError) as refusal:
        load_weights(hosted(server, content))
    assert str(refusal.value).endswith(f"w.safetensors is refused: {verdict.reason}.")


class TestStored:
    """The tensors that the first load leaves in the cache."""

    def test_they_need_the_file_no_more(self, server, home):
        tensors = {"a": torch.arange(3.0), "b.c": torch.tensor(7), "none": torch.empty(0)}
        annotation = hosted(server, safetensors.torch.save(tensors))
        first = load_weights(annotation)
        for path in home.rglob("w.safetensors"):
            path.unlink()
        sent = server.sent
        again = load_weights(annotation)
        assert server.sent == sent
        assert first.keys() == again.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for found in (first, again) for key in tensors)

    def test_writing_to_them_leaves_the_cache_as_it_was(self, server):
        annotation = hosted(server, safetensors.torch.save({"a": torch.arange(3.0)}))
        load_weights(annotation)
        one, other = load_weights(annotation), load_weights(annotation)
        one["a"][0] = 9
        assert other["a"].tolist() == load_weights(annotation)["a"].tolist() == [0, 1, 2]

    def test_damaged_ones_are_made_again(self, server, home):
        annotation = hosted(server, safetensors.torch.save({"a": torch.arange(3.0)}))
        load_weights(annotation)
        (stored,) = home.rglob("tensors.safetensors")
        whole = stored.read_bytes()
        for position in (0, 20, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[position] ^= 1
            stored.write_bytes(damaged)
            assert load_weights(annotation)["a"].tolist() == [0, 1, 2]
            assert stored.read_bytes() == whole


class Versioned(torch.nn.Linear):
    """A layer that reads only files that state their version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version") != 2:
            raise ValueError("no version is stated")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class TestState:
    def test_first_weights_are_not_drawn(self, monkeypatch):
        """They are replaced at once; whatever is no weight is drawn as ever."""
        row, built = load_annotations()["medmnist/bloodmnist/resnet18-28/1"], []
        loader = find_loader(row.source)

        def build(annotation, make=loader.build):
            module, transform = make(annotation)
            built.extend([not module.conv1.weight.any(), bool(torch.empty(100).normal_().any())])
            return module, transform

        state = loader.build(row)[0].state_dict()
        monkeypatch.setattr(loader, "build", build)
        monkeypatch.setattr(
            targets, "load_weights", lambda annotation: {"net/" + k: v for k, v in state.items()}
        )
        loaded = load_target(row).module.state_dict()
        assert built == [True, True]
        assert all(torch.equal(loaded[key], value) for key, value in state.items())

    def test_drawing_until_it_fits_comes_to_an_end(self):
        with targets._SkipInit():
            layer = torch.nn.Linear(20, 20)
            torch.nn.init.trunc_normal_(layer.weight, mean=1.0, std=1.0, a=0.5, b=3.0)
        assert layer.weight.min() >= 0.5

    def test_layers_see_the_version_of_their_own_format(self):
        network, weight = torch.nn.Sequential(Versioned(2, 2)), torch.ones(2, 2)
        tensors = {"0.weight": weight, "0.bias": torch.zeros(2)}
        with pytest.raises(ValueError, match="no version"):
            network.load_state_dict(tensors)
        load_state(network, tensors, name="x")
        assert torch.equal(network[0].weight, weight)

    def test_the_count_of_batches_alone_may_be_missing(self):
        network = torch.nn.BatchNorm1d(2)
        tensors = {key: torch.full((2,), 3.0) for key in ("weight", "bias", "running_mean", "running_var")}
        load_state(network, tensors, name="x")
        assert network.running_var.tolist() == [3, 3]
        assert network.num_batches_tracked == 0
        del tensors["running_var"]
        with pytest.raises(WeightsError, match="missing: running_var"):
            load_state(network, tensors, name="x")

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"more": torch.ones(1)}, "not the network's: more"),
            ({"bias": torch.ones(1)}, r"bias is floating-point \(1,\) instead of floating-point \(2,\)"),
            ({"bias": torch.ones(2).long()}, r"bias is int64 \(2,\) instead of"),
        ],
    )
    def test_other_tensors_are_refused_and_nothing_is_changed(self, changes, sentence):
        network = torch.nn.Linear(3, 2)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with pytest.raises(WeightsError, match=sentence):
            load_state(network, {"weight": torch.ones(2, 3), "bias": torch.ones(2)} | changes, name="x")
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    def test_the_network_stays_as_it_was_built(self):
        """Precision, ties, memory format and gradients are the module's, not the file's."""
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.Conv2d(3, 3, 3))
        network.to(memory_format=torch.channels_last)
        network[1].weight = network[0].weight
        network[0].bias.requires_grad_(False)
        tensors = {key: torch.full_like(value, 2).half() for key, value in network.state_dict().items()}
        caller_s = {key: value.clone() for key, value in tensors.items()}
        load_state(network, tensors, name="x")
        assert network[1].weight is network[0].weight
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert [p.requires_grad for p in network.parameters()] == [True, False, True]
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        with torch.no_grad():
            network[0].weight.zero_()
        assert all(torch.equal(tensors[key], value) for key, value in caller_s.items())


@pytest.mark.parametrize("inner", ["../secret", "../../etc/passwd", "/etc/passwd", "a/../../x"])
def test_links_cannot_leave_their_package(package, inner):
    with pytest.raises(WeightsError, match="outside the package"):
        fetch(replace(ANNOTATION, weights_url=f"package:shipped_weights/{inner}"))


def test_symlinks_cannot_leave_their_package(package, tmp_path):
    (tmp_path / "outside").write_bytes(b"secret")
    (package / "w.safetensors").symlink_to(tmp_path / "outside")
    with pytest.raises(WeightsError, match="outside the package"):
        fetch(replace(ANNOTATION, weights_url="package:shipped_weights/w.safetensors"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights_url": "https://example.org/w.pth"}, "HF_HUB_OFFLINE forbids"),
        ({"weights_url": None}, "has no link"),
        ({"weights_url": "package:no_such_package_here/w"}, "is not installed. Install it"),
        ({"weights_url": "package:securitynet_hub/zoo/none.safetensors"}, "cannot be read"),
        ({"weights_hash": None}, "must come with a sha256"),
        ({"weights_hash_kind": "md5"}, "must come with a sha256"),
    ],
)
def test_what_cannot_be_had_says_why(changes, sentence):
    with pytest.raises(WeightsError, match=sentence):
        load_weights(replace(ANNOTATION, **changes))


def test_large_files_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(b"12345")
    monkeypatch.setattr("securitynet_hub.core.files.MAX_BYTES", 4)
    with pytest.raises(WeightsError, match="5 bytes; at most 4"):
        verified_bytes(path, hashlib.sha256(b"12345").hexdigest())


class TestImages:
    def test_the_packaged_subset_is_balanced_and_real(self):
        shipped = load_images("fashion_mnist_4k")
        assert shipped.pixels.shape == (4000, 28, 28, 1)
        for half in (shipped.labels[:2000], shipped.labels[2000:]):
            assert np.bincount(half).tolist() == [200] * 10
        distinct = {pixels.tobytes() for pixels in shipped.pixels}
        assert len(distinct) == 4000
        # Fashion-MNIST's published mean and standard deviation: 0.2860, 0.3530.
        assert shipped.pixels.mean() / 255 == pytest.approx(0.2860, abs=0.01)
        assert shipped.pixels.std() / 255 == pytest.approx(0.3530, abs=0.01)

    def test_shared_arrays_cannot_be_written(self):
        with pytest.raises(ValueError, match="read-only"):
            load_images().pixels[0] = 0

    def test_unknown_names_get_the_closest(self):
        with pytest.raises(UnknownNameError, match="fashion_mnist_4k"):
            load_images("fashion_mnist")

    def test_a_damaged_file_is_found(self, tmp_path, monkeypatch):
        (tmp_path / "fashion_mnist_4k").mkdir()
        (tmp_path / "fashion_mnist_4k" / "images.npz").write_bytes(b"PK")
        monkeypatch.setattr(images, "FOLDER", tmp_path)
        load_images.cache_clear()
        with pytest.raises(WeightsError, match="damaged"):
            load_images("fashion_mnist_4k")

    @pytest.mark.parametrize(
        ("pixels", "labels", "sentence"),
        [
            (np.zeros((2, 4, 4), np.uint8), [0, 1], "pixels must be uint8 of shape"),
            (np.zeros((2, 4, 4, 1)), [0, 1], "pixels must be uint8"),
            (np.zeros((2, 4, 4, 1), np.uint8), [0], "2 integers"),
            (np.zeros((2, 4, 4, 1), np.uint8), [0.0, 1.0], "2 integers"),
            (np.zeros((2, 4, 4, 1), np.uint8), [0, 2], r"0\.\.1"),
        ],
    )
    def test_malformed_sets_are_refused(self, pixels, labels, sentence):
        with pytest.raises(ValueError, match=sentence):
            LabelledImages(name="x", pixels=pixels, labels=np.array(labels), class_names=("a", "b"))

    def test_the_hash_covers_pixels_labels_and_shape(self):
        def digest(pixels, labels):
            return LabelledImages(
                name="x", pixels=pixels, labels=np.array(labels), class_names=("a", "b")
            ).sha256

        base = np.zeros((2, 4, 4, 1), np.uint8)
        other = base.copy()
        other[1, 3, 3] = 1
        hashes = [
            digest(base, [0, 1]), digest(other, [0, 1]), digest(base, [1, 1]),
            digest(base.reshape(2, 2, 8, 1), [0, 1]),
        ]  # fmt: skip
        assert len(set(hashes)) == 4


def test_names_with_slashes_are_kept():
    nested = {"a/b": {"~c": torch.ones(1)}, "a": {"b": torch.zeros(1)}}
    assert nest(flatten(nested)).keys() == nested.keys()
    assert torch.equal(nest(flatten(nested))["a/b"]["~c"], torch.ones(1))
    with pytest.raises(WeightsError, match="one on the way to it"):
        nest({"a": torch.ones(1), "a/b": torch.ones(1)})


def test_one_tensor_of_the_network_cannot_be_two():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    network[1].weight = network[0].weight
    state = {key: value.clone() for key, value in network.state_dict().items()}
    load_state(network, state, name="tied")
    state["1.weight"] += 1
    with pytest.raises(WeightsError, match="are one tensor of the network, but differ"):
        load_state(network, state, name="tied")
