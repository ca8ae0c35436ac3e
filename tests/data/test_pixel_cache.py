"""The cache of decoded pictures: decoded once, by whomever; small when asked; never a reason to fail."""

import os

import numpy as np
import pytest

from securitynet_hub.core.errors import DataWarning
from securitynet_hub.data import pixel_cache
from securitynet_hub.data.decoding import Decoding, decode
from securitynet_hub.data.encoded import EncodedImages, inspect
from securitynet_hub.data.pixel_cache import cache_limit, cache_root, cached_pixels


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("SECURITYNET_IMAGE_CACHE", raising=False)


class Counted:
    """Ten pictures of two sizes; counts how often one is read."""

    def __init__(self, seed=0):
        from io import BytesIO

        from PIL import Image

        rng = np.random.default_rng(seed)
        self.files, self.reads = [], 0
        for row in range(10):
            file = BytesIO()
            Image.fromarray(rng.integers(0, 256, (20 + row % 2, 30, 3), np.uint8)).save(file, "PNG")
            self.files.append(file.getvalue())

    def __len__(self):
        return len(self.files)

    def content(self, row):
        self.reads += 1
        return self.files[row]

    def place(self, row):
        return f"picture {row}"


def images(store):
    return EncodedImages(
        name="counted",
        store=store,
        labels=np.zeros(len(store), np.int64),
        class_names=("a",),
        decoding=Decoding(),
        inspection=inspect(store, Decoding()),
    )


def test_each_picture_is_decoded_once_whoever_asks():
    store = Counted()
    first, second = images(store), images(store)
    store.reads = 0
    for source in (first, second, images(Counted())):
        for row in range(10):
            expected = decode(store.files[row], "", Decoding())
            assert np.array_equal(source.read(row), expected)
    assert store.reads == 10


def test_systems_that_lack_a_call_read_otherwise_or_keep_nothing(monkeypatch):
    sizes = np.array([[2, 2]])
    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    monkeypatch.delattr(os, "preadv", raising=False)  # macOS
    cache = cached_pixels("name", sizes, 1)
    cache.write(0, pixels)
    assert (cache.read(0) == pixels).all()
    monkeypatch.delattr(os, "pread")  # Windows
    assert cached_pixels("name", sizes, 1) is None


def test_a_damaged_entry_is_decoded_again():
    store = Counted()
    source = images(store)
    expected = source.read(3)
    (place,) = cache_root().iterdir()
    with (place / "pixels").open("r+b") as file:
        file.seek(0)
        file.write(bytes(20 * 30 * 3 * 10))
    assert np.array_equal(images(store).read(3), expected)


@pytest.mark.parametrize("stated", ["off", "10 KB"])
def test_nothing_is_kept_where_it_is_off_or_too_large(monkeypatch, stated):
    monkeypatch.setenv("SECURITYNET_IMAGE_CACHE", stated)
    store = Counted()
    source = images(store)
    store.reads = 0
    for _ in range(2):
        source.read(0)
    assert store.reads == 2
    assert not cache_root().exists() or not list(cache_root().iterdir())


def test_what_was_not_used_for_longest_makes_room(monkeypatch):
    monkeypatch.setenv("SECURITYNET_IMAGE_CACHE", "45KB")  # two sets of 18 KB
    for seed in (0, 1):
        images(Counted(seed)).read(0)
    by_age = sorted(cache_root().iterdir(), key=lambda place: place.stat().st_mtime)
    os.utime(by_age[0], (2**33, 2**33))  # used last, and not the other
    images(Counted(2)).read(0)
    left = set(cache_root().iterdir())
    assert by_age[0] in left
    assert by_age[1] not in left
    assert len(left) == 2


def test_a_full_disk_costs_only_the_cache(monkeypatch):
    store = Counted()
    source = images(store)
    source.read(0)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(DataWarning, match=r"not kept in .*No space left on device") as told:
        found = [source.read(row) for row in (1, 2, 1)]
    assert len(told) == 1
    for row, pixels in zip((1, 2, 1), found, strict=True):
        assert np.array_equal(pixels, decode(store.files[row], "", Decoding()))
    monkeypatch.setenv("HF_HOME", "/dev/null/nowhere")
    with pytest.warns(DataWarning, match="not kept"):
        assert cached_pixels("x", np.array([[1, 1]]), 1) is None


@pytest.mark.parametrize(
    ("stated", "expected"), [("5GB", 5 * 10**9), ("1.5 mb", 1_500_000), ("off", 0), ("7", 7)]
)
def test_sizes_are_read(monkeypatch, stated, expected):
    monkeypatch.setenv(pixel_cache.VARIABLE, stated)
    assert cache_limit() == expected


def test_another_size_is_refused(monkeypatch):
    monkeypatch.setenv(pixel_cache.VARIABLE, "much")
    with pytest.raises(ValueError, match="50GB, or off; got 'much'"):
        cache_limit()
