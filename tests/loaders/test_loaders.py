"""Each source's networks are its publisher's, and load checkpoints in its publisher's form.

The checkpoints are given to `load_target` in place of `load_weights`: how files are had, verified and read is
tested with the weights.
"""

import math
import sys
import types
import zlib
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from securitynet_hub.loaders import pytorchcv, robust_models_transfer
from support.published_checkpoints import REFERENCES, reference_name, undrawn

from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import MissingPackageError, ModelError, UnknownNameError, WeightsError
from securitynet_hub.models import loading as targets
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.loading import find_loader, known_loaders, load_target
from securitynet_hub.models.resnets import torchvision_resnet

ROWS = load_annotations()
EXTENDED = load_annotations("extended")


def rows_of(source):
    return [row for row in ROWS.values() if row.source == source]


def filling(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    n = math.prod(shape)
    waves = torch.sin(0.37 * torch.arange(n).double() + zlib.crc32(name.encode()) % 1000 / 1000).reshape(
        shape
    )
    if len(shape) > 1:
        return waves * math.sqrt(2 / (n // shape[0]))
    if name.endswith("running_var"):
        return 1 + 0.5 * waves**2
    return 0.05 * waves if name.endswith(("running_mean", "bias")) else 1 + 0.1 * waves


def published(row, tensors):
    """Put tensors into the nesting that the row's publisher uses."""
    return {"net": tensors} if row.source == "medmnist" else tensors


@pytest.fixture
def give(monkeypatch):
    """Let `load_target` find this checkpoint."""
    return lambda checkpoint: monkeypatch.setattr(targets, "load_weights", lambda row: checkpoint)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_every_source_has_a_loader():
    sources = {row.source for config in ("models", "zoo") for row in load_annotations(config).values()}
    assert sources <= set(known_loaders())
    for source in known_loaders():
        loader = find_loader(source)
        assert callable(loader.build if source in sources else getattr(loader, "build", None) or loader.load)


class TestReferences:
    """AdversaryLossLandscape's two networks and MedMNIST's eight."""

    def test_every_row_has_one(self):
        rows = [*rows_of("medmnist"), *rows_of("adversary_loss_landscape")]
        assert len(rows) == 246
        assert {reference_name(row) for row in rows} == set(REFERENCES)

    @pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=pytest.mark.slow if n[-2:] in ("5D", "3D", "cs") else ()) for n in REFERENCES],
    )
    def test_names_shapes_and_outputs_are_the_authors(self, name, give, float64):
        reference = REFERENCES[name]
        precise = "resnet50-3D" not in name and "resnet50-acs" not in name  # their layers are resnet18's
        row = next(r for r in ROWS.values() if r.source in name and reference_name(r) == name)
        row = replace(row, num_classes=len(reference["output"]))
        shapes = reference["state_dict"]
        tensors = {key: filling(key, shape) for key, shape in shapes.items()}
        give(published(row, tensors))
        with undrawn():
            module = load_target(row).module.double()
        module.load_state_dict(tensors)  # without rounding to the float32 in which networks are loaded
        assert {key: list(value.shape) for key, value in module.state_dict().items()} == shapes
        assert sum(p.numel() for p in module.parameters()) == reference["parameters"]
        shape = reference["input_shape"]
        inputs = (0.5 + 0.5 * torch.sin(0.011 * torch.arange(math.prod(shape)))).reshape(1, *shape)
        with torch.inference_mode():
            outputs = (module(inputs) if precise else module.float()(inputs.float()))[0]
        assert outputs.tolist() == pytest.approx(reference["output"], abs=1e-6 if precise else 1e-4)

    @pytest.mark.parametrize("source", ["medmnist", "adversary_loss_landscape"])
    def test_every_row_builds_and_loads_its_publishers_form(self, source, give):
        """On torch's meta device: names, shapes and counts are checked, no numbers are moved.

        Rows that differ in their files alone get one network; `test_hosted` builds that of each.
        """
        rows = rows_of(source)
        assert len(rows) == {"medmnist": 174, "adversary_loss_landscape": 72}[source]
        for row in {(reference_name(row), row.num_classes, row.image_size): row for row in rows}.values():
            with torch.device("meta"):
                tensors = OrderedDict(
                    (key, torch.empty(shape))
                    for key, shape in REFERENCES[reference_name(row)]["state_dict"].items()
                )
                for key in ("linear.weight", "linear.bias", "classifier.weight", "classifier.bias"):
                    if key in tensors:
                        tensors[key] = torch.empty(row.num_classes, *tensors[key].shape[1:])
                for key in tensors:
                    if key.endswith("num_batches_tracked"):
                        tensors[key] = torch.tensor(0)
                give(published(row, tensors))
                target = load_target(row)
            assert target.num_classes == row.num_classes, row.id
            assert target.transform.shape == (*[row.image_size] * row.input_dims, 3), row.id
            assert not any(part.training for part in target.module.modules())

    def test_preprocessing_is_the_publishers(self):
        def transform(id):
            return find_loader(ROWS[id].source).build(ROWS[id])[1]

        black = np.zeros((1, 28, 28, 28, 1), np.uint8)
        for name, top in (("adrenal", 0.5), ("vessel", 0.5), ("organ", 1), ("nodule", 1), ("synapse", 1)):
            volumes = transform(f"medmnist/{name}mnist3d/resnet18-3d/1")(np.concatenate([black, black + 255]))
            assert (volumes.min(), volumes.max()) == (0, top)
        grey = np.stack([np.zeros((28, 28, 1), np.uint8), np.full((28, 28, 1), 255, np.uint8)])
        images = transform("medmnist/pathmnist/resnet18-28/1")(grey)
        assert (images.min(), images.max()) == (-1, 1)

    def test_large_images_have_torchvisions_layout(self, give):
        rows = [row for row in EXTENDED.values() if row.source == "medmnist" and row.image_size == 224]
        assert len(rows) == 66
        for row in {(row.architecture, row.num_classes): row for row in rows}.values():
            with torch.device("meta"):
                give({"net": torchvision_resnet(row.architecture, row.num_classes).state_dict()})
                assert load_target(row).transform.shape == (224, 224, 3)
        row = next(row for row in rows if row.architecture == "resnet18" and row.num_classes == 9)
        tensors = torchvision_resnet("resnet18", 9).state_dict()
        give({"net": tensors})
        target = load_target(row)
        assert {"fc.bias", "layer2.0.downsample.0.weight", "conv1.weight"} <= set(tensors)
        inputs = target.transform(np.zeros((2, 28, 28, 3), np.uint8))
        with torch.inference_mode():
            assert target.module(inputs).shape == (2, 9)


class TestMismatches:
    ROW = next(row for row in rows_of("adversary_loss_landscape") if row.architecture == "cifar10_vgg")

    @pytest.fixture
    def tensors(self):
        return find_loader(self.ROW.source).build(self.ROW)[0].state_dict()

    def test_counters_of_old_files_may_be_missing(self, tensors, give):
        give({key: value for key, value in tensors.items() if "num_batches" not in key})
        assert load_target(self.ROW).num_classes == 10

    def test_missing_and_unexpected_keys_are_named(self, tensors, give):
        tensors = dict(tensors)
        tensors["fc.bias"] = tensors.pop("classifier.bias")
        give(tensors)
        with pytest.raises(
            WeightsError, match=r"missing: classifier\.bias; not the network's: fc\.bias\.$"
        ) as caught:
            load_target(self.ROW)
        assert str(caught.value).startswith(self.ROW.id)

    def test_many_are_counted(self, give):
        give({})
        with pytest.raises(WeightsError, match=r"feature_extractor\.0\.weight, .* and 75 more; .*: none\.$"):
            load_target(self.ROW)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            (
                torch.zeros(11),
                r"classifier\.bias is floating-point \(11,\) instead of floating-point \(10,\)",
            ),
            (torch.zeros(1, 10), r"\(1, 10\) instead of"),
            (torch.zeros(10, dtype=torch.int64), r"int64 \(10,\) instead of floating-point"),
            (torch.zeros(10, dtype=torch.complex64), r"complex64 \(10,\) instead of"),
        ],
    )
    def test_shapes_and_kinds_must_match(self, tensors, give, wrong, told):
        give(dict(tensors) | {"classifier.bias": wrong})
        with pytest.raises(WeightsError, match=told):
            load_target(self.ROW)

    def test_another_precision_is_converted(self, tensors, give):
        give({key: v.double() if v.is_floating_point() else v for key, v in tensors.items()})
        assert {p.dtype for p in load_target(self.ROW).module.parameters()} == {torch.float32}

    def test_prefixes_are_taken_off_every_key(self, tensors, give):
        row = replace(self.ROW, weights_key_prefix="module.")
        wrapped = {f"module.{key}": value for key, value in tensors.items()}
        give(wrapped)
        assert torch.equal(load_target(row).module.classifier.bias, tensors["classifier.bias"])
        give(wrapped | {"epoch": torch.tensor(3)})
        assert load_target(row).notes == ("Ignored beside the weights: epoch.",)

    def test_a_nested_dict_must_be_there(self, tensors, give):
        row = replace(self.ROW, weights_key_prefix="net")
        give({"net": tensors, "epoch": torch.tensor(3)})
        assert load_target(row).num_classes == 10
        for checkpoint in ({"state": tensors}, {"net": torch.zeros(1)}):
            give(checkpoint)
            with pytest.raises(WeightsError, match=r"should lie under 'net'; there are (state|net)\.$"):
                load_target(row)

    def test_only_tensors_of_the_network_are_taken(self, tensors, give):
        give({**tensors, "optimizer": {"lr": torch.tensor(0.1)}})
        assert torch.equal(load_target(self.ROW).module.classifier.bias, tensors["classifier.bias"])

    def test_a_network_of_another_size_is_refused(self, tensors, give, monkeypatch):
        loader = find_loader(self.ROW.source)
        monkeypatch.setattr(
            loader, "build", lambda row, build=loader.build: build(replace(row, num_classes=9))
        )
        give(dict(tensors) | {"classifier.bias": torch.zeros(9), "classifier.weight": torch.zeros(9, 256)})
        with pytest.raises(ValueError, match="annotated with 10 classes; the loader built 9"):
            load_target(self.ROW)


def wrapped_by_robustness(row, tensors):
    """Nest tensors as robustness 1.2.1 saves them: normalisers, the attacker's copy, the training's state."""
    prefix = row.weights_key_prefix or "module.model.model."
    attacker = prefix.replace("module.", "module.attacker.", 1)
    normaliser = {
        "new_mean": torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1),
        "new_std": torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1),
    }
    model = OrderedDict((f"module.normalizer.{key}", value) for key, value in normaliser.items())
    model |= {f"{prefix}{key}": value for key, value in tensors.items()}
    model |= {f"module.attacker.normalize.{key}": value for key, value in normaliser.items()}
    model |= {f"{attacker}{key}": value for key, value in tensors.items()}
    return {"model": model, "optimizer": {"state": {}}, "schedule": None, "epoch": 90, "amp": None}


class TestRobustModels:
    ROW = next(row for row in rows_of("robust_models_transfer") if row.architecture == "resnet18")

    @pytest.fixture
    def tensors(self):
        return torchvision_resnet("resnet18", 1000).state_dict()

    @pytest.fixture
    def torchvision(self, monkeypatch):
        """Stand in for torchvision.models with networks that have only a head."""

        def make(*, weights, num_classes):
            assert weights is None
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, num_classes))

        models = types.ModuleType("torchvision.models")
        for name in ("densenet161", "mnasnet1_0", "mobilenet_v2", "shufflenet_v2_x1_0", "vgg16_bn"):
            setattr(models, name, make)
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.models", models)

    @pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
    def test_every_row_builds_and_loads_its_publishers_form(self, give, torchvision):
        rows = rows_of("robust_models_transfer")
        assert len(rows) == 20
        further = [row for row in EXTENDED.values() if row.source == "robust_models_transfer"]
        assert len(further) == 67
        for row in {(row.architecture, row.weights_key_prefix): row for row in further}.values():
            with torch.device("meta"):
                names = robust_models_transfer.build(row)[0].state_dict()
            # One number in every place: no memory, and the copies can be compared.
            tensors = {key: torch.zeros((), dtype=v.dtype).expand(v.shape) for key, v in names.items()}
            give(wrapped_by_robustness(row, tensors))
            with torch.device("meta"):
                target = load_target(row)
            assert target.num_classes == 1000
            assert (target.transform.resize, target.transform.shape) == (256, (224, 224, 3))

    def test_the_numbers_arrive(self, tensors, give):
        give(wrapped_by_robustness(self.ROW, tensors))
        loaded = load_target(self.ROW).module.state_dict()
        assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("module.attacker.model.fc.bias", torch.ones(1000), r"not a copy of the model's: fc\.bias"),
            ("module.attacker.model.extra", torch.ones(1), "not a copy of the model's: extra"),
            ("module.normalizer.new_mean", torch.full((3, 1, 1), 0.5), r"new_mean is \[0\.5"),
            ("module.attacker.normalize.new_std", torch.ones(3, 1, 1), r"new_std is \[1\.0"),
            ("module.normalizer.new_std", torch.tensor(0.229), "new_std is"),
            ("module.normalizer.other", torch.ones(1), r"belong neither .*: module\.normalizer\.other"),
            ("epoch", torch.ones(1), "belong neither .*: epoch"),
        ],
    )
    def test_what_differs_is_refused(self, tensors, give, key, value, told):
        checkpoint = wrapped_by_robustness(self.ROW, tensors)
        checkpoint["model"][key] = value
        give(checkpoint)
        with pytest.raises(WeightsError, match=told):
            load_target(self.ROW)

    def test_without_a_normaliser_the_input_cannot_be_checked(self, tensors, give):
        checkpoint = wrapped_by_robustness(self.ROW, tensors)
        del checkpoint["model"]["module.normalizer.new_mean"]
        give(checkpoint)
        with pytest.raises(WeightsError, match=r"no module\.normalizer\.new_mean"):
            load_target(self.ROW)

    def test_no_model_at_all(self, give):
        give({"state_dict": {}})
        with pytest.raises(WeightsError, match="no 'model' in the checkpoint: state_dict"):
            load_target(self.ROW)

    def test_without_torchvision_the_error_says_so(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.setitem(sys.modules, "torchvision.models", None)
        row = next(row for row in rows_of("robust_models_transfer") if row.architecture == "vgg16_bn")
        with pytest.raises(MissingPackageError, match=r"vgg16_bn is defined in torchvision.*pytorch\.org"):
            robust_models_transfer.build(row)

    @pytest.mark.parametrize(
        ("name", "parameters"),  # as torchvision's documentation states them
        [
            ("resnet18", 11_689_512),
            ("resnet50", 25_557_032),
            ("resnext50_32x4d", 25_028_904),
            ("wide_resnet50_2", 68_883_240),
        ],
    )
    def test_residual_networks_are_torchvisions_size(self, name, parameters):
        with torch.device("meta"):
            assert sum(p.numel() for p in torchvision_resnet(name, 1000).parameters()) == parameters

    @pytest.mark.parametrize(
        ("name", "same"),
        [("resnet18", "resnet18"), ("resnet50", "resnet50b"), ("resnext50_32x4d", "resnext50_32x4d")],
    )
    def test_they_compute_what_pytorchcvs_do(self, name, same):
        """The same networks under other names, their tensors in the same order."""
        pytest.importorskip("pytorchcv")
        ours, theirs = torchvision_resnet(name, 10).eval(), pytorchcv.constructor(same)(num_classes=10).eval()
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        inputs = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            stages = theirs.features[:-1](inputs).mean((2, 3))  # its pooling is for 224 pixels
            assert torch.allclose(theirs.output(stages), ours(inputs), atol=1e-5)


class TestPytorchcv:
    ROWS = rows_of("pytorchcv")

    @pytest.fixture
    def installed(self):
        pytest.importorskip("pytorchcv")

    @pytest.fixture
    def absent(self, monkeypatch):
        monkeypatch.setattr(pytorchcv, "find_spec", lambda name: None)
        pytorchcv.defining_modules.cache_clear()
        yield
        pytorchcv.defining_modules.cache_clear()

    def test_without_it_the_error_has_the_command(self, absent):
        with pytest.raises(MissingPackageError, match=r"pip install --no-deps pytorchcv$"):
            load_target("pytorchcv/cifar10/resnet20")

    def check(self, rows):
        """Build each and run it on torch's meta device: shapes alone."""
        for row in rows:
            with torch.device("meta"), torch.no_grad():
                module, transform = pytorchcv.build(row)
                height, width, channels = transform.shape
                outputs = module.eval()(torch.empty(1, channels, height, width))
            assert sum(p.numel() for p in module.parameters()) == row.num_parameters, row.id
            assert module.in_size == (height, width) == (row.image_size, row.image_size), row.id
            assert outputs.shape == (1, row.num_classes), row.id
            assert count_classes(module) == row.num_classes, row.id

    def test_one_of_each_family_is_as_published(self, installed):
        rows = sorted(self.ROWS, key=lambda row: -row.num_parameters)
        self.check({row.family: row for row in rows}.values())  # the smallest

    @pytest.mark.exhaustive
    def test_every_row_is_as_published(self, installed):
        assert len(self.ROWS) == 263
        assert all(row.num_parameters for row in self.ROWS)
        self.check(self.ROWS)

    @pytest.mark.parametrize("id", ["pytorchcv/cifar10/resnet20", "pytorchcv/imagenet-1k/resnet18_wd4"])
    def test_loads_its_publishers_form(self, installed, give, id):
        published = {
            key: value
            for key, value in pytorchcv.build(ROWS[id])[0].state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        give(published)
        target = load_target(id)
        loaded = target.module.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in published.items())
        with torch.inference_mode():
            inputs = target.transform(np.zeros((1, *target.transform.shape), np.uint8))
            assert target.module(inputs).shape == (1, target.num_classes)

    def test_sizes_and_preprocessing(self, installed):
        def transform(id):
            with torch.device("meta"):
                return pytorchcv.build(EXTENDED[id])[1]

        svhn, large = transform("pytorchcv/svhn/resnet20"), transform("pytorchcv/imagenet-1k/resnesta269")
        assert (svhn.shape, svhn.resize, svhn.mean) == ((32, 32, 3), None, (0.4914, 0.4822, 0.4465))
        assert (large.shape, large.resize, large.interpolation) == ((320, 320, 3), 366, "bilinear")
        assert transform("pytorchcv/imagenet-1k/resnet18").resize == 256
        assert transform("pytorchcv/imagenet-1k/resnesta200").shape == (256, 256, 3)
        assert transform("pytorchcv/cub-200-2011/resnet18").std == (0.229, 0.224, 0.225)
        for name in ("efficientnet_b0c", "efficientnet_edge_small_b"):  # timm's tf_efficientnet_b0.ap, ..._es
            assert transform(f"pytorchcv/imagenet-1k/{name}").mean == (0.5, 0.5, 0.5)

    def test_unknown_networks_get_the_closest(self, installed):
        with pytest.raises(
            UnknownNameError, match=r"network in pytorchcv 'resnet21_cifar10'.*resnet20_cifar10"
        ):
            pytorchcv.constructor("resnet21_cifar10")

    def test_another_size_is_refused(self, installed):
        with pytest.raises(ModelError, match=r"images of 64 x 64; pytorchcv builds it for \(32, 32\)"):
            pytorchcv.build(replace(ROWS["pytorchcv/cifar10/resnet20"], image_size=64))

    def test_a_size_is_needed(self, installed):
        with pytest.raises(ModelError, match="no image_size"):
            pytorchcv.build(replace(self.ROWS[0], image_size=None))
