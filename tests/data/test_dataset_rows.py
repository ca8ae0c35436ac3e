"""Data sets as they are: configurations, columns, kinds of labels, streams, archives, tables of paths."""

import io
import tarfile
import zipfile

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from securitynet_hub import AuditData
from securitynet_hub.attacks.subject import find_data, read_data
from securitynet_hub.core.errors import DataWarning, PictureError, UnknownNameError
from securitynet_hub.data.dataset_rows import encoded_bytes, is_of

SEED = iter(range(10**6))


def drawn(n):
    pixels = np.random.default_rng(next(SEED)).integers(0, 256, (n, 4, 5, 3), np.uint8)
    return [Image.fromarray(image) for image in pixels]


def table(labels, feature, **more):
    columns = {"image": drawn(len(labels)), "label": labels, **more}
    features = {"image": datasets.Image(), "label": feature}
    features |= {name: datasets.ClassLabel(names=["x", "y", "z"]) for name in more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


TWO = datasets.ClassLabel(names=["a", "b"])


def both(labels, feature=TWO, **more):
    return {split: table(labels, feature, **more) for split in ("train", "test")}


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class TestLabels:
    def test_classes_text_and_integers(self):
        data = AuditData.from_dataset(both([1, 0, 1]))
        assert (data.images.class_names, data.images.labels.tolist()) == (("a", "b"), [1, 0, 1] * 2)
        data = AuditData.from_dataset(both(["dog", "cat", "cat"], datasets.Value("string")))
        assert (data.images.class_names, data.images.labels[:3].tolist()) == (("cat", "dog"), [1, 0, 0])
        data = AuditData.from_dataset(both([4, 2, 4], datasets.Value("int64")))
        assert data.images.labels[:3].tolist() == [4, 2, 4], "class numbers"
        assert data.images.numbered

    def test_the_column_can_be_named_and_doubt_is_told(self):
        sets = {
            name: part.rename_column("label", "coarse") for name, part in both([0, 1], fine=[2, 1]).items()
        }
        assert AuditData.from_dataset(sets, label="fine").images.labels[:2].tolist() == [2, 1]
        with pytest.warns(DataWarning, match="'coarse' is taken"):
            assert AuditData.from_dataset(sets).images.class_names == ("a", "b")
        with pytest.raises(UnknownNameError, match="'fine'"):
            AuditData.from_dataset(sets, label="fin")
        with pytest.raises(UnknownNameError, match="split of dataset 'validation'"):
            AuditData.from_dataset(sets, nonmembers="validation", label="fine")

    def test_columns_of_other_kinds_are_refused(self):
        sets = both([0.5, 1.5], datasets.Value("float32"))
        with pytest.raises(ValueError, match="text or whole numbers as labels; it holds float"):
            AuditData.from_dataset(sets)
        with pytest.raises(ValueError, match="must hold pictures"):
            AuditData.from_dataset(sets, image="label")


class TestNamedSets:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
        root = tmp_path / "digits"
        text = "---\nconfigs:\n"
        for config in ("cropped", "full"):
            (root / config).mkdir(parents=True)
            text += f"- config_name: {config}\n  data_files:\n"
            for split in ("train", "test"):
                table([0, 1, 1], datasets.ClassLabel(names=["a", "b"])).to_parquet(
                    root / config / f"{split}.parquet"
                )
                text += f"  - split: {split}\n    path: {config}/{split}.parquet\n"
        (root / "README.md").write_text(text + "---\n")
        return root

    def test_a_config_and_a_part_of_a_split(self, root):
        data = find_data(f"{root}?config=full&members=train[:2]")
        assert (len(data.split.members), len(data.split.nonmembers)) == (2, 3)
        assert data.images.name == "digits:full (train[:2], test)"
        with pytest.raises(ValueError, match=r"available configs.*\?config=NAME"):
            find_data(str(root))
        with pytest.raises(ValueError, match="validation"):
            find_data(f"{root}?config=full&nonmembers=validation")

    def test_streaming_gives_the_same_images(self, root):
        stored = read_data(root, config="full")
        streamed = find_data(f"{root}?config=full&streaming=yes")
        assert streamed.images.sha256 == stored.images.sha256
        assert np.array_equal(streamed.images.pixels, stored.images.pixels)

    def test_what_changed_on_disk_is_read_anew(self, root):
        """The `datasets` library itself would return the old images from its cache."""
        first = read_data(root, config="full")
        table([0, 1, 1], TWO).to_parquet(root / "full" / "train.parquet")
        assert read_data(root, config="full").images.sha256 != first.images.sha256

    def test_a_folder_of_save_to_disk(self, tmp_path):
        datasets.DatasetDict(both([0, 1])).save_to_disk(tmp_path / "saved")
        assert len(read_data(tmp_path / "saved").images) == 4
        with pytest.raises(UnknownNameError, match="'test'"):
            read_data(tmp_path / "saved", nonmembers="tests")


class TestStreams:
    def test_a_draw_from_a_stream_is_one_from_all_of_it(self):
        sets = {
            name: part.to_iterable_dataset()
            for name, part in both(list(range(3)) * 20, datasets.ClassLabel(names=["a", "b", "c"])).items()
        }
        draws = [AuditData.from_dataset(sets, limit=10, seed=seed) for seed in range(3)]
        assert all(len(data.images) == 20 for data in draws)
        assert len({data.images.sha256 for data in draws}) == 3
        again = AuditData.from_dataset(sets, limit=10, seed=0)
        assert again.images.sha256 == draws[0].images.sha256
        whole = AuditData.from_dataset(sets, limit=None)
        known = {
            pixels.tobytes(): label
            for pixels, label in zip(whole.images.pixels, whole.images.labels, strict=True)
        }
        for row in range(20):
            assert known[draws[0].images.read(row).tobytes()] == draws[0].images.labels[row]

    def test_a_draw_knows_the_classes_of_the_whole_stream(self):
        sets = both([f"kind {number}" for number in range(30)], datasets.Value("string"))
        streams = {name: part.to_iterable_dataset() for name, part in sets.items()}
        images = AuditData.from_dataset(streams, limit=3).images
        assert len(images.class_names) == 30
        assert images.class_names == AuditData.from_dataset(sets).images.class_names

    def test_files_of_a_stream_are_read_where_they_lie(self, tmp_path):
        """A stream names files by links, also such as lie inside of archives."""
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("in/0.png", png(drawn(1)[0]))
            expected = archive.read("in/0.png")
        assert encoded_bytes({"bytes": None, "path": f"zip://in/0.png::{tmp_path}/a.zip"}, "x") == expected
        with pytest.raises(PictureError, match=r"row 3 cannot be read: zip://in/1\.png::"):
            encoded_bytes({"bytes": None, "path": f"zip://in/1.png::{tmp_path}/a.zip"}, "row 3")


class TestReach:
    """A stranger's table names pictures by their paths: others than its own are not read."""

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_table_that_names_a_file_of_this_machine(self, streaming, tmp_path):
        (tmp_path / "private.png").write_bytes(png(drawn(1)[0]))
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "own.png").write_bytes(png(drawn(1)[0]))
        features = datasets.Features({"image": datasets.Image(decode=False), "label": TWO})
        for split, name in (("train", "set/own.png"), ("test", "set/../private.png")):
            rows = {"image": [{"bytes": None, "path": f"{tmp_path}/{name}"}] * 2, "label": [0, 1]}
            table = datasets.Dataset.from_dict(rows, features=features).cast_column("image", datasets.Image())
            table.to_parquet(tmp_path / "set" / f"{split}-0.parquet")
        with pytest.raises(ValueError, match=r"private\.png, which is none of"):
            AuditData.from_dataset(str(tmp_path / "set"), streaming=streaming).images.read(2)

    @pytest.mark.parametrize(
        "path",
        [
            "http://127.0.0.1/0.png",
            "zip://0.png::http://127.0.0.1/a.zip",
            "file:///etc/hostname",
            "/etc/hostname",
            "hf://datasets/owner/private/0.png",
            "hf://datasets/owner/set@main/../../private/0.png",
            "a.png",
            "zip://hostname::/etc/a.zip",
            "simplecache::hf://datasets/owner/set@main/0.png",
        ],
    )
    def test_addresses_that_are_none_of_a_data_set(self, path):
        assert not is_of("owner/set", path)

    def test_its_own(self, tmp_path):
        assert is_of("owner/set", "hf://datasets/Owner/set@main/a/0.png")
        assert is_of("mnist", "zip://a/0.png::hf://datasets/ylecun/mnist@main/a.zip")
        assert is_of("owner/set", f"{datasets.config.EXTRACTED_DATASETS_PATH}/0123/0.png")
        assert is_of(str(tmp_path), f"zip://a/0.png::{tmp_path}/a.zip")
        assert is_of(str(tmp_path), f"{tmp_path}/a/0.png")


class TestArchives:
    @pytest.fixture
    def root(self, tmp_path):
        for split in ("train", "val"):
            for part in range(2):
                with tarfile.open(tmp_path / f"{split}-{part:04}.tar", "w") as tar:
                    for number, image in enumerate(drawn(3)):
                        for suffix, content in (("png", png(image)), ("cls", str(number * 2).encode())):
                            entry = tarfile.TarInfo(f"s{number:03}.{suffix}")
                            entry.size = len(content)
                            tar.addfile(entry, io.BytesIO(content))
        return tmp_path

    def test_each_sample_has_its_picture_and_its_label(self, root):
        data = find_data(f"{root}?nonmembers=validation")
        assert (len(data.split.members), len(data.split.nonmembers)) == (6, 6)
        assert data.images.labels[:6].tolist() == [0, 2, 4] * 2
        with tarfile.open(root / "train-0001.tar") as tar:
            expected = tar.extractfile("s002.png").read()
        with Image.open(io.BytesIO(expected)) as image:
            assert np.array_equal(data.images.read(5), np.array(image))

    def test_what_is_wrong_is_said(self, root):
        with pytest.raises(ValueError, match=r"no archives of the split 'test'.*it has 4"):
            read_data(root)
        with tarfile.open(root / "test-0.tar", "w") as tar:
            entry = tarfile.TarInfo("alone.png")
            tar.addfile(entry, io.BytesIO())
        with pytest.raises(ValueError, match=r"have no label beside them, such as alone\.png"):
            read_data(root)
        (root / "test-0.tar").write_bytes(b"\x1f\x8b not a tar file")
        with pytest.raises(ValueError, match=r"test-0\.tar cannot be read as a tar file"):
            read_data(root)


class TestTables:
    @pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
    def test_paths_labels_and_splits(self, tmp_path, suffix):
        rows = []
        for number, image in enumerate(drawn(6)):
            (tmp_path / "images").mkdir(exist_ok=True)
            image.save(tmp_path / "images" / f"{number}.png")
            rows.append((f"images/{number}.png", "ab"[number % 2], ("train", "valid")[number // 3]))
        frame = pd.DataFrame(rows, columns=["path", "label", "split"])
        place = tmp_path / f"list.{suffix}"
        if suffix == "parquet":
            frame.to_parquet(place)
        else:
            frame.to_csv(place, index=False, sep="\t" if suffix == "tsv" else ",")
        data = read_data(place, nonmembers="val")
        assert (data.images.class_names, data.images.labels.tolist()) == (("a", "b"), [0, 1, 0, 1, 0, 1])
        with Image.open(tmp_path / "images" / "4.png") as image:
            assert np.array_equal(data.images.read(4), np.array(image))
        with pytest.raises(UnknownNameError, match=r"split of .* 'test'"):
            read_data(place)
        frame.rename(columns={"path": "where"}).to_csv(tmp_path / "other.csv")
        with pytest.raises(ValueError, match="column 'image' or 'path'"):
            read_data(tmp_path / "other.csv")
        assert len(read_data(tmp_path / "other.csv", image="where", nonmembers="dev").images) == 6
        frame.drop(columns="split").to_csv(tmp_path / "whole.csv")
        with pytest.raises(
            ValueError, match=r"column 'split'; .* train in it says .* trained on, test which"
        ):
            read_data(tmp_path / "whole.csv")

    def test_names_of_classes_are_not_missing_and_ids_are_no_classes(self, tmp_path):
        for number, image in enumerate(drawn(4)):
            image.save(tmp_path / f"{number}.png")

        def written(labels, head="path,label,split", end=""):
            rows = [f"{n}.png,{label},{('train', 'test')[n // 2]}{end}" for n, label in enumerate(labels)]
            (tmp_path / "list.CSV").write_text("\n".join([head, *rows]) + "\n")
            return tmp_path / "list.CSV"

        assert read_data(written(["NA", "None", "NA", "US"])).images.class_names == ("NA", "None", "US")
        with pytest.raises(ValueError, match="without a label"):
            read_data(written(["", 1, 0, 1]))
        with pytest.raises(
            ValueError, match=r"the column 'label' of .* 4,000,000,000 is not below 1,000,000"
        ):
            read_data(written([0, 4_000_000_000, 0, 1]))
        (tmp_path / "list.CSV").write_text("path,label,split\n0.png,a\n1.png,b,test\n")
        with pytest.raises(UnknownNameError, match="split of"):
            read_data(tmp_path / "list.CSV")


class TestOddForms:
    def test_formatted_sets_are_read_as_they_are_stored(self):
        for kind, labels in ((datasets.Value("int64"), [0, 1]), (datasets.Value("string"), ["a", "b"])):
            for form in ("numpy", "torch"):
                sets = {name: part.with_format(form) for name, part in both(labels, kind).items()}
                images = AuditData.from_dataset(sets).images
                assert images.labels.tolist() == [0, 1, 0, 1]
                assert {type(name) for name in images.class_names} == {str}

    def test_what_is_no_data_set_is_said(self):
        with pytest.raises(ValueError, match="dictionary of splits such as a DatasetDict; got a Dataset"):
            AuditData.from_dataset(both([0, 1])["train"])
        with pytest.raises(ValueError, match="train must be a data set; got a list"):
            AuditData.from_dataset({"train": [1], "test": [2]})

    def test_large_numbers_are_no_classes(self):
        with pytest.raises(ValueError, match="1,000,000,000 is not below"):
            AuditData.from_dataset(both([0, 10**9], datasets.Value("int64")))

    def test_archives_that_break_off_and_odd_labels(self, tmp_path):
        def written(split, content, name="0.cls"):
            with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
                for own, raw in (("0.png", png(drawn(1)[0])), (name, content)):
                    entry = tarfile.TarInfo(own)
                    entry.size = len(raw)
                    tar.addfile(entry, io.BytesIO(raw))

        written("test", b"1")
        written("train", b"9" * 30)
        with pytest.raises(ValueError, match="is not below 1,000,000"):
            read_data(tmp_path)
        written("train", b"[" * 200_000, "0.json")
        with pytest.raises(ValueError, match="no label beside them"):
            read_data(tmp_path)
        written("train", b"1")
        whole = (tmp_path / "train-0.tar").read_bytes()
        (tmp_path / "train-0.tar").write_bytes(whole[:1500])
        with pytest.raises(ValueError, match="breaks off"):
            read_data(tmp_path)
