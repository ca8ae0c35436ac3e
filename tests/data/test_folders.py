"""Folders of pictures as people have them: each is read right, or a sentence says why not."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from securitynet_hub import AuditData, audit, load_target
from securitynet_hub.attacks.subject import find_data, read_data
from securitynet_hub.core.errors import DataWarning, PictureError, SourceChangedError, UnknownNameError
from securitynet_hub.data.decoding import Decoding, decode

COUNT = iter(range(10**6))


def picture(path, size=(6, 8), mode="RGB", **saved):
    """Write a picture that no other one equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(next(COUNT)).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(levels).convert(mode).save(path, **saved)
    return levels


@pytest.fixture
def root(tmp_path):
    """Two classes, two pictures of each on each side."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(2):
                picture(tmp_path / "pets" / split / name / f"{number}.png")
    return tmp_path / "pets"


def sides(data):
    return len(data.split.members), len(data.split.nonmembers)


class TestSplits:
    @pytest.mark.parametrize("odd", ["test", "train", "eval", "validation", "testing"])
    def test_a_class_named_like_a_split_stays_a_class(self, root, odd):
        for split in ("train", "test"):
            picture(root / split / odd / "0.png")
        data = read_data(root)
        assert sides(data) == (5, 5)
        assert odd in data.images.class_names

    @pytest.mark.parametrize("there", ["val", "valid", "validation", "dev", "Val"])
    @pytest.mark.parametrize("asked", ["validation", "val", "dev"])
    def test_names_of_one_split_mean_the_same(self, root, there, asked):
        (root / "test").rename(root / there)
        assert sides(read_data(root, nonmembers=asked)) == (4, 4)

    def test_what_there_is_is_said(self, root):
        with pytest.raises(
            ValueError, match=r"no folder for the split 'val'; its folders are 'test', 'train'"
        ):
            AuditData.from_folder(root, nonmembers="val")
        for name in ("val", "dev"):
            picture(root / name / "cat" / "0.png")
        with pytest.raises(ValueError, match="several folders for the split 'validation'"):
            AuditData.from_folder(root, nonmembers="validation")

    def test_an_empty_side_and_missing_labels_are_said(self, root, tmp_path):
        for path in (root / "test").rglob("*.png"):
            path.unlink()
        with pytest.raises(ValueError, match="has no pictures in 'test'"):
            read_data(root)
        picture(tmp_path / "flat" / "train" / "0.png")
        picture(tmp_path / "flat" / "test" / "0.png")
        with pytest.raises(ValueError, match=r"need labels: a folder for each class.*0\.png"):
            AuditData.from_folder(tmp_path / "flat")
        with pytest.raises(ValueError, match="is not a folder"):
            AuditData.from_folder(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="there is no folder or table"):
            read_data(str(tmp_path / "nowhere"))

    def test_a_picture_beside_the_class_folders_is_refused(self, root):
        picture(root / "train" / "stray.png")
        with pytest.raises(ValueError, match=r"1 picture\(s\) lie in no class's folder.*stray\.png"):
            read_data(root)

    def test_classes_of_one_side_alone_are_refused(self, root):
        picture(root / "train" / "bird" / "0.png")
        with pytest.raises(ValueError, match=r"same classes.*only in 'train': bird"):
            read_data(root)

    def test_one_class_is_enough(self, tmp_path):
        for split in ("train", "test"):
            picture(tmp_path / split / "cat" / "0.png")
        assert read_data(tmp_path).images.class_names == ("cat",)


class TestPaths:
    def test_nesting_brackets_spaces_and_links(self, root, tmp_path):
        moved = tmp_path / "my [1] pets"
        root.rename(moved)
        picture(moved / "train" / "cat" / "a b" / "[2]" / "deep.jpg")
        picture(tmp_path / "elsewhere" / "linked.png")
        (moved / "train" / "dog" / "link.png").symlink_to(tmp_path / "elsewhere" / "linked.png")
        (moved / "train" / "dog" / "around").symlink_to(moved / "train" / "dog")
        assert sides(read_data(moved)) == (6, 4)

    def test_other_files_are_left_out_with_a_word_and_hidden_ones_without(self, root):
        (root / "train" / "cat" / ".DS_Store").write_text("x")
        assert sides(read_data(root)) == (4, 4)
        (root / "train" / "cat" / "Thumbs.db").write_text("x")
        with pytest.warns(DataWarning, match=r"1 file\(s\).*Thumbs\.db"):
            assert sides(read_data(root)) == (4, 4)

    def test_the_order_is_that_of_paths_whatever_the_disk(self, root, monkeypatch):
        expected = read_data(root)
        scandir = os.scandir
        with monkeypatch.context() as patch:

            class Backwards(list):
                def __enter__(self):
                    return self

                def __exit__(self, *error):
                    return None

            patch.setattr(os, "scandir", lambda path: Backwards(reversed(list(scandir(path)))))
            assert read_data(root).images.sha256 == expected.images.sha256


class TestPictures:
    @pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1", "LA"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_mode_becomes_what_pillow_makes_of_it(self, root, mode, channels):
        suffix = "tif" if mode == "CMYK" else "png"
        path = root / "train" / "cat" / f"odd.{suffix}"
        picture(path, mode=mode)
        data = read_data(root, channels=channels)
        with Image.open(path) as image:
            expected = np.array(image.convert("L" if channels == 1 else "RGB")).reshape(6, 8, channels)
        found = [data.images.read(row) for row in range(3)]
        assert any(np.array_equal(pixels, expected) for pixels in found)

    def test_the_first_frame_and_no_transparent_palette_warns(self, root):
        frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
        frames[0].save(root / "train" / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
        clear = Image.new("P", (8, 6))
        clear.info["transparency"] = bytes(range(256))
        clear.save(root / "train" / "cat" / "clear.png", transparency=bytes(range(256)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            images = read_data(root).images
            found = [images.read(row) for row in range(len(images))]
        assert any((pixels == (255, 0, 0)).all() for pixels in found)

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_an_orientation_is_not_applied_as_torchvision_and_timm_do_not(self, root, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = root / "train" / "cat" / "turned.jpg"
        picture(path, size=(10, 20), exif=exif)
        data = read_data(root)
        with Image.open(path) as image:
            stored = np.array(image)
        found = [data.images.read(row) for row in range(3)]
        assert any(np.array_equal(pixels, stored) for pixels in found)
        assert data.images.describe()["orientation"] == "as stored"

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_more_than_8_bits_are_refused_or_scaled_when_asked(self, root, dtype):
        ramp = np.linspace(0, 4095, 64).reshape(8, 8).astype(dtype)
        Image.fromarray(ramp).save(root / "train" / "cat" / "a ramp.tif")
        with pytest.raises(PictureError, match=r"a ramp\.tif has pixels of .*range=0-65535"):
            read_data(root)
        data = find_data(f"{root}?range=0-4095&channels=1")
        found = [data.images.read(row) for row in range(3)]
        expected = np.rint(ramp.astype(np.float64) * 255 / 4095).astype(np.uint8)
        assert any(np.array_equal(pixels[..., 0], expected) for pixels in found)
        assert data.images.describe()["range"] == [0, 4095]
        narrow = read_data(root, value_range=(0, 255))
        with pytest.raises(PictureError, match=r"values 0\.\.4095, outside of the range 0-255"):
            [narrow.images.read(row) for row in range(3)]

    def test_broken_files_are_named_or_skipped_and_counted(self, root):
        (root / "train" / "cat" / "text.png").write_text("no picture")
        with pytest.raises(PictureError, match=r"text\.png cannot be read as a picture.*broken=skip"):
            read_data(root)
        (root / "train" / "cat" / "text.png").unlink()
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(file, "JPEG")
        (root / "train" / "cat" / "cut.jpg").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
        data = read_data(root)
        with pytest.raises(PictureError, match=r"cut\.jpg cannot be read as a picture: .*truncated"):
            [data.images.read(row) for row in range(len(data.images))]
        with pytest.warns(DataWarning, match=r"1 of 9 pictures are left out.*cut\.jpg"):
            data = find_data(f"{root}?broken=skip")
        assert sides(data) == (4, 4)
        assert data.images.describe()["skipped"] == 1

    def test_a_picture_that_changes_while_it_is_audited_is_told(self, root):
        data = read_data(root)
        picture(root / "train" / "cat" / "0.png")
        with pytest.raises(SourceChangedError, match=r"0\.png has changed since this audit began"):
            data.images.read(0)

    def test_the_channels_that_a_model_takes_are_suggested(self, root):
        target = load_target("zoo/fashion-mnist/cnn-clean/1")
        with pytest.raises(ValueError, match=r"read with 3 channels, .*takes images of 1.*\?channels=1"):
            read_data(root, classes="match").matched_to(target)


class TestBothSides:
    @pytest.fixture
    def shared(self, root):
        (root / "test" / "dog" / "copy.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
        return root

    def test_an_audit_is_refused_and_the_picture_named(self, shared):
        data = read_data(shared, channels=1, size=28)
        with pytest.raises(ValueError, match=r"1 picture\(s\) of pets .* on both sides.*copy\.png.*overlap="):
            audit("zoo/fashion-mnist/cnn-clean/1", attacks=["loss"], data=data)

    @pytest.mark.parametrize(("overlap", "expected"), [("allow", (4, 5)), ("drop", (4, 4))])
    def test_they_are_counted(self, shared, overlap, expected):
        with pytest.warns(DataWarning, match=r"1 picture\(s\) of pets"):
            data = find_data(f"{shared}?overlap={overlap}")
        assert (sides(data), data.refusal) == (expected, None)
        assert data.images.describe()["on_both_sides"] == 1

    def test_unknown_answers_are_refused(self, root):
        with pytest.raises(UnknownNameError, match="drop"):
            read_data(root, overlap="dropped")
        with pytest.raises(UnknownNameError, match="skip"):
            read_data(root, broken="skipp")

    def test_arrays_are_compared_as_well(self):
        same = np.zeros((2, 4, 4, 1), np.uint8)
        data = AuditData.from_arrays((same, [0, 1]), (same[:1], [0]))
        assert data.refusal is not None
        with pytest.warns(DataWarning, match="left out"), pytest.raises(ValueError, match="nonmembers"):
            AuditData.from_arrays((same, [0, 1]), (same[:1], [0]), overlap="drop")


def test_numbered_folders_stand_in_the_numbers_order(tmp_path):
    for split in ("train", "test"):
        for name in range(12):
            picture(tmp_path / split / str(name) / "0.png")
    images = read_data(tmp_path).images
    assert images.class_names == tuple(map(str, range(12)))


def test_the_hash_is_of_the_bytes_the_labels_and_the_decoding(root, tmp_path):
    first = read_data(root)
    assert read_data(root).images.sha256 == first.images.sha256
    root.rename(tmp_path / "renamed")
    assert read_data(tmp_path / "renamed").images.sha256 == first.images.sha256, "wherever it lies"
    assert read_data(tmp_path / "renamed", channels=1).images.sha256 != first.images.sha256
    picture(tmp_path / "renamed" / "train" / "cat" / "0.png")
    assert read_data(tmp_path / "renamed").images.sha256 != first.images.sha256


def test_progress_is_reported(root):
    told = []
    read_data(root, on_progress=lambda *progress: told.append(progress))
    assert ("listing train", 4, None) in told
    assert told[-1] == ("reading images", 8, 8)


def test_arrays_of_more_than_8_bits_need_their_range():
    deep = np.array([0, 65535], np.uint16).reshape(2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"uint16; say what .* value_range=\(0, 65535\)\.$"):
        AuditData.from_arrays((deep, [0, 1]), (deep, [0, 1]))
    for values, told in (
        (torch.ones(2, 1, 1, 1), r"of float32; .* value_range=\(0\.0, 1\.0\)\.$"),
        (np.full((2, 1, 1, 1), -1.5), r"of float64; .* lie in -1\.5\.\.-1\.5; .* normalised"),
        (np.full((2, 1, 1, 1), 255), r"of int64; .* value_range=\(0, 255\)\.$"),
    ):
        with pytest.raises(ValueError, match=f"members has values {told}"):
            AuditData.from_arrays((values, [0, 1]), (values, [0, 1]))
    data = AuditData.from_arrays((deep[:1], [0]), (deep[1:], [1]), value_range=(0, 65535))
    assert data.images.pixels.ravel().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limits=3", "'limit'"),
        ("limit=x", "setting limit"),
        ("limit=", "needs a value"),
        ("range=5", "0-65535"),
    ],
)
def test_a_wrong_query_is_told(root, query, error):
    with pytest.raises(ValueError, match=error):
        find_data(f"{root}?{query}")


@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_colours_of_16_bits_are_refused_where_their_upper_half_is_not_the_picture(root, mode):
    """Pillow gives the upper 8 bits: 1000 of 4095 would be 3 of 255."""
    kinds = {"RGB": (2, 3), "LA": (4, 2), "RGBA": (6, 4)}
    colour, channels = kinds[mode]
    rows = b"".join(b"\0" + np.full((8, channels), 1000, ">u2").tobytes() for _ in range(6))
    size = struct.pack(">IIBBBBB", 8, 6, 16, colour, 0, 0, 0)
    parts = [(b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    path = root / "train" / "cat" / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(PictureError, match=r"deep\.png has colours of 16 bits"):
        find_data(str(root))
    with pytest.raises(PictureError, match="16 bits"):
        find_data(f"{root}?range=0-4095")
    assert decode(path.read_bytes(), "deep", Decoding(value_range=(0, 65535)))[..., 0].max() == 1000 >> 8


@pytest.mark.filterwarnings("ignore:. file:securitynet_hub.core.errors.DataWarning")
def test_what_never_ends_is_not_read(root):
    folder = root / "train" / "cat"
    (folder / "loop").symlink_to("loop")
    (folder.parent / "loop").symlink_to("loop")
    with pytest.warns(DataWarning, match="2 file"):
        assert sides(find_data(str(root))) == (4, 4)
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(PictureError, match=r"pipe\.png cannot be read: it is no regular file"):
        find_data(str(root))
    (folder / "pipe.png").unlink()
    (folder / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(PictureError, match=r"endless\.png cannot be read: it is no regular file"):
        find_data(str(root))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("size=100000", "1 to 8,192"),
        ("size=0", "1 to 8,192"),
        ("seed=-1&limit=1", "0 or more"),
        ("seed=all", "seed"),
    ],
)
def test_settings_without_sense_are_refused(root, setting, reason):
    with pytest.raises(ValueError, match=reason):
        find_data(f"{root}?{setting}")


def test_labels_of_arrays_are_whole_numbers_and_images_of_one_size():
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
    one, other = images[:2], images[2:]
    assert AuditData.from_arrays((one, [0.0, 1.0]), (other, [1, 0])).images.labels.tolist() == [0, 1, 1, 0]
    for wrong in ([0, 1.7], [0, np.nan], ["a", "b"]):
        with pytest.raises(ValueError, match="labels of members must be whole numbers"):
            AuditData.from_arrays((one, wrong), (other, [1, 0]))
    with pytest.raises(ValueError, match="999,999,999 is not below"):
        AuditData.from_arrays((one, [0, 999_999_999]), (other, [1, 0]))
    for wrong in (one[:, :1], one[:, :0]):
        with pytest.raises(ValueError, match="of one size"):
            AuditData.from_arrays((wrong, [0, 1]), (other, [1, 0]))
    with pytest.raises(ValueError, match="of one size"):
        AuditData.from_arrays((one[:, :0], [0, 1]), (other[:, :0], [1, 0]))
