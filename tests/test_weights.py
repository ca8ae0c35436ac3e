import hashlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from securitynet_hub import images
from securitynet_hub.annotations import load_annotations
from securitynet_hub.errors import UnknownNameError, WeightsError
from securitynet_hub.images import LabelledImages, load_images
from securitynet_hub.weights import fetch, load_weights, verified_bytes

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


def test_other_formats_are_refused_even_with_the_right_hash(package):
    torch.save({"a": torch.zeros(1)}, package / "w.pt")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_weights(annotated(package, (package / "w.pt").read_bytes()))


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
        ({"weights_url": "package:no_such_package_here/w"}, "install it"),
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
    monkeypatch.setattr("securitynet_hub.weights.MAX_BYTES", 4)
    with pytest.raises(WeightsError, match="5 bytes; at most 4"):
        verified_bytes(path, "sha256", hashlib.sha256(b"12345").hexdigest())


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
