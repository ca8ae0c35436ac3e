"""Images from the `datasets` library: real folders of real files."""

import datasets
import numpy as np
import pytest
from PIL import Image

from securitynet_hub.attacks.subject import read_data
from securitynet_hub.data.images import images_from, load_images

IMAGES = load_images()


def write(folder, positions, size=None):
    """Write images as PNG files below the name of their class."""
    for position in positions:
        path = folder / str(IMAGES.labels[position]) / f"{position:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(IMAGES.pixels[position][:, :, 0])
        (image if size is None else image.resize(size)).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    by_class = np.argsort(IMAGES.labels[:2000], kind="stable").reshape(10, 200)
    write(tmp_path / "images" / "train", by_class[:, :3].ravel())
    write(tmp_path / "images" / "test", by_class[:, 3:5].ravel())
    return tmp_path / "images"


class TestFolders:
    def test_every_image_keeps_its_pixels_label_and_side(self, folder):
        data = read_data(str(folder), channels=1)
        assert (len(data.split.members), len(data.split.nonmembers)) == (30, 20)
        assert data.images.class_names == tuple("0123456789")
        known = {pixels.tobytes(): label for pixels, label in zip(IMAGES.pixels, IMAGES.labels, strict=True)}
        found = [known[pixels.tobytes()] for pixels in data.images.pixels]
        assert np.array_equal(found, data.images.labels)
        assert data.images.pixels.shape == (50, 28, 28, 1)
        assert data.images.name == "images (train, test)", "not where the folder lies"

    def test_a_limit_draws_by_seed(self, folder):
        first, again, other = (read_data(str(folder), limit=10, seed=seed, channels=1) for seed in (0, 0, 1))
        assert (len(first.split.members), len(first.split.nonmembers)) == (10, 10)
        assert first.images.sha256 == again.images.sha256 != other.images.sha256

    def test_any_model_can_be_audited_on_them(self, folder, run):
        where = f"{folder}?limit=10&channels=1"
        code, shown, error = run("audit", "zoo/fashion-mnist/cnn-clean/1", "--data", where, "--json")
        assert code == 0, error
        assert '"n_members": 10' in shown
        code, _, error = run("audit", "zoo/fashion-mnist/cnn-clean/1", "--data", f"{folder}?limits=10")
        assert (code, "'limit'" in error) == (2, True)

    def test_another_size_is_resized_and_cut(self, folder):
        data = read_data(str(folder), size=14)
        assert data.images.pixels.shape == (50, 14, 14, 3)
        assert data.images.describe()["pixels"] == [14, 14, 3]
        assert len({data.images.sha256, read_data(str(folder)).images.sha256}) == 2, "other pixels"

    def test_a_missing_split_is_told(self, folder):
        with pytest.raises(ValueError, match="validation"):
            read_data(str(folder), nonmembers="validation")

    def test_splits_of_other_sizes_are_read_as_they_are(self, folder):
        by_class = np.argsort(IMAGES.labels[:2000], kind="stable").reshape(10, 200)
        write(folder / "validation", by_class[:, 7], size=(20, 24))
        data = read_data(str(folder), nonmembers="val", channels=1)
        assert data.images.shape is None
        assert data.images.read(data.split.nonmembers[0]).shape == (24, 20, 1)


class TestDatasets:
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "coarse": datasets.Value("int64"),
        }
    )

    def dataset(self, sizes, labels):
        images = [Image.new("RGB", size, (255, 0, 51)) for size in sizes]
        return datasets.Dataset.from_dict(
            {"img": images, "label": labels, "coarse": [0] * len(labels)}, features=self.features
        )

    def test_images_of_several_sizes_keep_theirs_unless_one_is_asked_for(self):
        mixed = self.dataset([(40, 20), (20, 30)], [0, 1])
        images = images_from(mixed, name="mixed")
        assert [images.read(row).shape for row in range(2)] == [(20, 40, 3), (30, 20, 3)]
        assert images_from(mixed, name="mixed", size=16).pixels.shape == (2, 16, 16, 3)

    def test_the_centre_is_cut_out(self):
        wide = np.zeros((10, 30, 3), np.uint8)
        wide[:, 10:20] = 200
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
        table = datasets.Dataset.from_dict(
            {"image": [Image.fromarray(wide)], "label": [0]}, features=features
        )
        assert (images_from(table, name="wide", size=10).pixels == 200).all()

    def test_columns_labels_and_kinds_are_checked(self):
        with pytest.raises(
            ValueError, match=r"column of ClassLabel; its columns are \{'n': 'Value'\}|of Image"
        ):
            images_from(datasets.Dataset.from_dict({"n": [1]}), name="numbers")
        with pytest.raises(ValueError, match=r"1 image\(s\) without a label"):
            images_from(self.dataset([(4, 4)] * 2, [0, None]), name="unlabelled")
        with pytest.raises(ValueError, match=r"1 image\(s\) without a label"):
            images_from(self.dataset([(4, 4)] * 2, [0, -1]), name="hidden")
