import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.processes import run_python

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import ModelError, UnknownNameError, WeightsError
from securitynet_hub.data.images import load_images
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine import inference
from securitynet_hub.engine.inference import CPU_ELEMENTS, _ahead, predict
from securitynet_hub.models.loading import find_annotation, known_loaders, load_target
from securitynet_hub.models.target import Target

ID = "zoo/fashion-mnist/bn-cnn-overfitted-500/1"
PIXELS = load_images().pixels


@pytest.fixture
def target():
    return load_target(ID)


class TestTargets:
    def test_loads_in_eval_mode_with_provenance(self, target):
        assert not any(part.training for part in target.module.modules())
        assert target.annotation == load_annotations("zoo")[ID]
        assert "zoo" in known_loaders()

    def test_unknown_models_get_the_closest(self):
        with pytest.raises(UnknownNameError, match="bn-cnn-overfitted-500/1"):
            load_target("zoo/fashion-mnist/bn-cnn-overfited-500/1")

    def test_a_source_without_a_loader_says_so(self):
        with pytest.raises(UnknownNameError, match=r"loader for source 'zoos'.*'zoo'"):
            load_target(replace(find_annotation(ID), source="zoos"))

    def test_both_collections_are_found(self):
        assert find_annotation("pytorchcv/cifar10/resnet20").source == "pytorchcv"
        assert find_annotation(ID).source == "zoo"

    def test_a_wrong_class_count_is_refused(self, target):
        with pytest.raises(ValueError, match="annotated with 10 classes; the loader built 11"):
            replace(target, num_classes=11)

    def test_a_wrong_architecture_does_not_load(self):
        annotation = replace(find_annotation(ID), architecture="cnn")
        with pytest.raises(WeightsError, match=r"missing: .*; not the network's: .*"):
            load_target(annotation)

    def test_the_transform_scales_and_normalises_each_channel(self):
        transform = Transform(height=1, width=2, mean=(0.0, 0.5), std=(1.0, 0.25))
        pixels = np.array([[[[0, 255], [51, 0]]]], np.uint8)
        expected = [[[[0.0, 0.2]], [[2.0, -2.0]]]]
        assert torch.allclose(transform(pixels), torch.tensor(expected))

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((2, 28, 28, 3), np.uint8),
            np.zeros((2, 28, 28, 1)),
            np.zeros((28, 28, 1), np.uint8),
        ],
    )
    def test_the_transform_refuses_other_images(self, target, pixels):
        with pytest.raises(ValueError, match=r"takes uint8 images .*\(28, 28, 1\)"):
            target.transform(pixels)


class Fewest(torch.nn.Module):
    """Answers only where torch may use no more than two threads."""

    def forward(self, inputs):
        assert torch.get_num_threads() <= 2
        return inputs.new_zeros(len(inputs), 10)


class TestPredict:
    def test_many_outputs_lie_on_disk(self, target, monkeypatch):
        expected = predict(target, PIXELS[:100], batch_size=7)
        monkeypatch.setattr(inference, "LOGITS_BYTES", 1000)
        found = predict(target, PIXELS[:100], batch_size=7)
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, expected)

        def full(*arguments):
            raise OSError(28, "full")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ModelError, match=r"4,000 bytes of outputs do not fit into .*: full"):
            predict(target, PIXELS[:100])

    def test_equals_a_bare_loop(self, target):
        with torch.inference_mode():
            expected = target.module(target.transform(PIXELS[:100])).numpy()
        np.testing.assert_allclose(predict(target, PIXELS[:100]), expected, rtol=1e-5, atol=1e-5)

    def test_row_i_is_image_i_whatever_the_batches(self, target):
        reference = predict(target, PIXELS[:50], batch_size=50)
        assert np.array_equal(predict(target, PIXELS[:50][::-1], batch_size=50)[::-1], reference)
        for batch_size in (1, 7, 49):
            found = predict(target, PIXELS[:50], batch_size=batch_size)
            np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5)

    def test_leaves_flags_random_state_and_pixels_as_they_were(self, target):
        target.module[1].train()
        flags = [part.training for part in target.module.modules()]
        statistics = target.module[1].running_mean.clone()
        states = torch.get_rng_state(), np.random.get_state()[1].copy()
        pixels = PIXELS[:64].copy()
        predict(target, pixels, batch_size=10)
        assert [part.training for part in target.module.modules()] == flags
        assert torch.equal(target.module[1].running_mean, statistics)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.array_equal(np.random.get_state()[1], states[1])
        assert np.array_equal(pixels, PIXELS[:64])

    def test_reports_every_image_once(self, target):
        seen = []
        predict(target, PIXELS[:25], batch_size=10, on_batch=seen.append)
        assert seen == [10, 10, 5]

    def test_a_batch_beyond_memory_is_forwarded_in_halves(self, target):
        class Small(torch.nn.Module):
            def forward(self, inputs):
                tried.append(len(inputs))
                if len(inputs) > 7:
                    raise RuntimeError("CUDA out of memory. Tried to allocate 2 TiB.")
                sizes.append(len(inputs))
                return target.module(inputs)

        sizes, seen, tried = [], [], []
        small = replace(target, module=Small())
        predict(small, PIXELS[:1])  # from its first batch, some images are forwarded again
        sizes.clear()
        tried.clear()
        found = predict(small, PIXELS[:40], batch_size=20, on_batch=seen.append)
        assert np.array_equal(found, predict(target, PIXELS[:40], batch_size=5))
        assert (sizes, seen) == ([5] * 8, [20, 20])
        assert len(tried) == 8 + 2  # what fits is remembered

    @pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU takes a batch whole")
    def test_a_processor_takes_large_images_a_few_at_a_time(self, target):
        class Mean(torch.nn.Module):
            def forward(self, inputs):
                sizes.append(len(inputs))
                return -inputs.mean((2, 3)).repeat(1, 5)[:, :10]

        sizes, seen = [], []
        large = Transform(height=224, width=224, channels=3)
        pixels = np.random.default_rng(0).integers(0, 256, (30, 224, 224, 3), np.uint8)
        wide = replace(target, module=Mean(), transform=large)
        found = predict(wide, pixels, batch_size=20, on_batch=seen.append)
        assert max(sizes) * 3 * 224 * 224 <= CPU_ELEMENTS
        assert (sizes, seen) == ([13, 7, 8, 8, 10], [20, 10])  # of the first batch, some are forwarded again
        np.testing.assert_allclose(found[:, :3], -pixels.mean((1, 2)) / 255, rtol=1e-5)

    def test_other_failures_are_not_taken_for_a_lack_of_memory(self, target):
        """A smaller batch would pass, so that trying again in halves would hide the fault."""

        class Picky(torch.nn.Module):
            def forward(self, inputs):
                tried.append(len(inputs))
                if len(inputs) > 4:
                    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
                return target.module(inputs)

        tried = []
        with pytest.raises(RuntimeError, match="shapes cannot"):
            predict(replace(target, module=Picky()), PIXELS[:16], batch_size=16)
        assert tried == [16]

    def test_batches_are_prepared_while_the_device_works(self):
        moved = list(_ahead(torch.ones, range(1, 20), torch.device("meta")))  # a device that is not the CPU
        assert [(batch.shape, batch.device.type) for batch in moved] == [((n,), "meta") for n in range(1, 20)]

    def test_what_fails_while_it_is_prepared_is_raised(self):
        def prepare(n):
            raise ValueError("no image")

        with pytest.raises(ValueError, match="no image"):
            list(_ahead(prepare, range(9), torch.device("meta")))

    def test_nan_outputs_are_named(self, target):
        with torch.no_grad():
            target.module[-1].bias[3] = float("nan")
        with pytest.raises(ModelError, match=r"NaN or infinite outputs for 5 image\(s\), the first at 0"):
            predict(target, PIXELS[:5])

    def test_the_wrong_number_of_outputs_is_refused(self, target):
        module = torch.nn.Sequential(target.module, torch.nn.Linear(10, 9))
        liar = Target(annotation=target.annotation, module=module, transform=target.transform, num_classes=10)
        with pytest.raises(ModelError, match=r"with \(5, 9\); logits of shape \(5, 10\)"):
            predict(liar, PIXELS[:5])

    @pytest.mark.parametrize("fails", ["", "read", "forward"])
    def test_threads_that_read_and_those_of_the_network_take_turns(self, target, monkeypatch, fails):
        """With two threads allowed and two of torch, nothing is read while the network runs."""
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        reading, seen, alone, inner = [], [], [], set()

        class Images(ImageSource):
            name, sha256, class_names, labels = "made", "0", ("a",), np.zeros(90, np.int64)

            def read(self, row):
                if fails == "read" and row == 60:
                    raise OSError("gone")
                reading.append(row)
                seen.append(len(reading))
                inner.add(torch.get_num_threads())
                time.sleep(0.0005)
                reading.remove(row)
                return np.full((28, 28, 1), row, np.uint8)

        class Network(torch.nn.Module):
            def forward(self, inputs):
                alone.append(not reading)
                if fails == "forward" and len(alone) > 6:
                    raise OSError("gone")
                return inputs.mean((1, 2, 3))[:, None] * torch.ones(10)

        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            asked = replace(target, module=Network())
            if fails:
                with pytest.raises(OSError, match="gone"):
                    predict(asked, Images(), batch_size=20)
            else:
                expected = predict(asked, np.stack([Images().read(row) for row in range(90)]), batch_size=20)
                del seen[:], alone[:]
                np.testing.assert_array_equal(predict(asked, Images(), batch_size=20), expected)
                assert max(seen) == 2
            assert torch.get_num_threads() == 2
            torch.set_num_threads(3)  # more than are allowed
            predict(replace(target, module=Fewest()), Images().read(0)[None])
            assert torch.get_num_threads() == 3
            # Whoever sets more on the way must not wait for turns that there are not.
            pixels = np.zeros((3, 28, 28, 1), np.uint8)
            predict(target, pixels, batch_size=1, on_batch=lambda size: torch.set_num_threads(4))
        finally:
            torch.set_num_threads(before)
        assert all(alone)
        assert max(seen) <= 2
        assert 1 in inner

    def test_no_images_is_refused(self, target):
        with pytest.raises(ValueError, match="no images"):
            predict(target, PIXELS[:0])


@pytest.mark.slow
def test_mixed_precision_and_compilation_are_those_of_the_launch(target, tmp_path):
    """bfloat16 keeps 8 bits of a number; what is compared is that the setting reaches the network."""
    script = (
        "import sys, numpy as np, torch\n"
        "from securitynet_hub import load_images, load_target\n"
        "from securitynet_hub.engine.inference import predict\n"
        f"np.save(sys.argv[1], predict(load_target({ID!r}), load_images().pixels[:64]))\n"
    )
    exact = predict(target, PIXELS[:64])

    def launched(**environment):
        path = tmp_path / "logits.npy"
        done = run_python("-c", script, path, env=os.environ | environment)
        assert done.returncode == 0, done.stderr
        return np.load(path)

    rounded = launched(ACCELERATE_MIXED_PRECISION="bf16")
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.02 * np.abs(exact).max())
    compiled = launched(ACCELERATE_DYNAMO_BACKEND="EAGER")
    np.testing.assert_allclose(compiled, exact, rtol=1e-4, atol=1e-5)


class TestMemoryFormat:
    """On a CPU, what convolves colour images gets their channels last; the answers stay."""

    SHAPE = Transform(height=32, width=32, mean=(0.5,) * 3, std=(0.5,) * 3)

    class Network(torch.nn.Module):
        def __init__(self, *layers, flatten=torch.nn.Flatten):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), *layers)
            self.head = torch.nn.Sequential(flatten(), torch.nn.Linear(8 * 15 * 15, 5))
            self.orders = []

        def forward(self, inputs):
            self.orders.append(inputs.is_contiguous(memory_format=torch.channels_last))
            return self.head(self.body(inputs))

    class View(torch.nn.Module):
        def forward(self, inputs):
            return inputs.view(len(inputs), -1)

    class Raw(torch.nn.Module):
        """Reads the memory in the order in which it lies: what a new order would change."""

        def forward(self, inputs):
            return inputs.as_strided((len(inputs), 8 * 15 * 15), (8 * 15 * 15, 1))

    def predict(self, network):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
        network.eval()
        with torch.inference_mode():
            expected = network(self.SHAPE(pixels)).numpy()
        strides = [parameter.stride() for parameter in network.parameters()]
        network.orders.clear()
        found = inference.predict_module(network, self.SHAPE, pixels)
        assert [parameter.stride() for parameter in network.parameters()] == strides
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        return network.orders

    def test_channels_are_last_and_answers_the_same(self):
        assert self.predict(self.Network(torch.nn.BatchNorm2d(8), torch.nn.ReLU()))[-1]

    @pytest.mark.parametrize("flatten", [View, Raw])
    def test_a_network_that_the_order_would_break_keeps_its_own(self, flatten):
        assert not self.predict(self.Network(flatten=flatten))[-1]

    def test_what_normalises_over_the_last_axis_keeps_its_order(self):
        assert self.predict(self.Network(torch.nn.LayerNorm([8, 15, 15]))) == [False]

    def test_a_network_is_tried_once(self):
        network = self.Network()
        assert len(self.predict(network)) == 3  # two images in both orders, then all
        assert self.predict(network) == [True]

    def test_a_network_that_counts_images_and_channels_together_keeps_its_order(self):
        """Of one image ``view`` does so in either order."""

        class Merging(self.Network):
            def forward(self, inputs):
                n, channels, height, width = inputs.shape
                inputs.view(n * channels, 1, height, width)
                return super().forward(inputs)

        assert not self.predict(Merging())[-1]

    @pytest.mark.parametrize("refused", ["a batch of one", "another order"])
    def test_a_network_that_refuses_what_it_is_tried_with_answers_the_rest(self, refused):
        class Refusing(self.Network):
            def forward(self, inputs):
                assert len(inputs) > 1 if refused == "a batch of one" else inputs.is_contiguous()
                return super().forward(inputs)

        self.predict(Refusing())

    @pytest.mark.filterwarnings("error")
    def test_a_network_that_writes_into_its_inputs_reads_each_image_once(self):
        class Writing(self.Network):
            def forward(self, inputs):
                return super().forward(inputs.sub_(0.5).div_(0.25))

        self.predict(writing := Writing())
        pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
        plain = self.Network().eval()
        plain.load_state_dict(writing.state_dict())
        network = load_target(writing, transform=self.SHAPE, num_classes=5, outputs="logits")
        with torch.inference_mode():
            expected = plain((self.SHAPE(pixels) - 0.5) / 0.25).numpy()
        np.testing.assert_allclose(inference.predict(network, pixels), expected, rtol=0, atol=1e-5)
