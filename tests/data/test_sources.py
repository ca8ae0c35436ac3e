"""Sources of images: each through the model's own preprocessing at its own size, few in memory at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from securitynet_hub import AuditData, Split, audit, load_target
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict, predict_module
from securitynet_hub.models.network_size import at_one_size

N = 40
RESIZED = Transform(height=28, width=28, resize=32, mean=(0.286,), std=(0.353,))


class Drawn(ImageSource):
    """Grey images of many sizes, drawn from their row."""

    name, class_names = "drawn", tuple(map(str, range(10)))
    labels = np.arange(N) % 10
    sha256 = "0" * 64

    def read(self, row):
        rng = np.random.default_rng(row)
        return rng.integers(0, 256, (*rng.integers(28, 60, 2), 1), np.uint8)


@pytest.fixture(scope="module")
def target():
    return replace(load_target("zoo/fashion-mnist/cnn-clean/1"), transform=RESIZED)


@pytest.fixture(scope="module")
def data():
    return AuditData(images=Drawn(), split=Split(members=np.arange(20), nonmembers=np.arange(20, N)))


class TestPredicting:
    def test_each_image_goes_through_the_transform_at_its_own_size(self, target):
        images = [Drawn().read(row) for row in range(N)]
        inputs = torch.cat([RESIZED(image[None]) for image in images])
        with torch.inference_mode():
            expected = target.module(inputs).numpy()
        np.testing.assert_allclose(predict(target, Drawn()), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("workers", [1, 3, 50])
    def test_the_number_of_threads_changes_no_bit(self, target, workers):
        assert np.array_equal(predict(target, Drawn(), workers=workers), predict(target, Drawn()))

    def test_a_source_of_one_size_gives_what_its_array_gives(self, target):
        images, rest = at_one_size(Drawn(), RESIZED)
        pixels = images.array(np.arange(N))
        assert pixels.shape == (N, 28, 28, 1)
        of_array = predict_module(target.module, rest, pixels)
        assert np.array_equal(predict_module(target.module, rest, images), of_array)
        assert np.array_equal(predict(target, Drawn()), of_array), "resized on the way or before: the same"

    def test_rows_follow_a_selection(self, target):
        rows = np.array([7, 3, 30])
        assert np.allclose(predict(target, Drawn().select(rows)), predict(target, Drawn())[rows], atol=1e-5)

    def test_what_reading_raises_is_raised(self, target):
        class Broken(Drawn):
            def read(self, row):
                raise ValueError(f"image {row} is broken")

        with pytest.raises(ValueError, match="image 0 is broken"):
            predict(target, Broken())

    def test_an_image_that_no_transform_takes_is_named(self, target):
        fixed = replace(target, transform=replace(RESIZED, resize=None))
        with pytest.raises(ValueError, match=r"image 0 of drawn cannot be given to the model: .*\?size=28"):
            predict(fixed, Drawn())

    def test_few_images_are_read_ahead(self, target):
        read = []

        class Counted(Drawn):
            labels = np.zeros(2000, np.int64)

            def read(self, row):
                read.append(row)
                return super().read(row)

        seen = []
        predict(target, Counted(), batch_size=16, workers=2, on_batch=lambda size: seen.append(len(read)))
        assert seen[0] <= 16 * (1 + 1 + 2 + 1)
        assert sorted(read) == list(range(2000)), "each once"


def test_one_array_needs_one_size():
    with pytest.raises(ValueError, match=r"drawn has images of 3 sizes, such as"):
        Drawn().array(np.arange(3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")
def test_every_kind_of_attack_runs_on_images_of_many_sizes(target, data):
    quick = {
        "boundary": {"budget": 20},
        "model_stealing": {"recipe": {"epochs": 1}, "transfer": 4},
        "mm_bd": {"images_per_class": 1, "steps": 2},
    }
    attacks = ["loss", "translation", "boundary", "model_stealing", "mm_bd", "spectral_signatures"]
    known = {name: settings for name, settings in quick.items() if name in attacks}
    records = audit(target, attacks=attacks, data=data, settings=known, budgets=[5], num_images=10)
    for record in records:
        assert record.target["transform"]["resize"] == 32
        size = None if record.attack["name"] == "loss" else [28, 28, 1]
        assert record.data.get("pixels") == size, record.attack["name"]


def test_what_does_not_fit_into_memory_is_refused():
    class Vast(Drawn):
        shape = (10**6, 10**6, 3)

    with pytest.raises(ValueError, match=r"1 images of drawn take 3,000 GB as one array.*limit="):
        Vast().array(np.arange(1))
