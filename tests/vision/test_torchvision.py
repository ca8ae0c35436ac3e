"""Every row whose network is torchvision's, beside what torchvision itself builds, loads and answers.

The weights are drawn at random, not the publishers': no download is shown here.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from securitynet_hub.loaders import robust_models_transfer
from securitynet_hub.loaders import torchvision as loader
from torchvision.models import WeightsEnum, get_weight

from securitynet_hub import load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import ModelError, UnknownNameError, WeightsError
from securitynet_hub.engine import inference
from securitynet_hub.engine.inference import predict
from securitynet_hub.models import loading as targets
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.resnets import TORCHVISION

EXTENDED = load_annotations("extended")
ROWS = [row for row in EXTENDED.values() if row.source == "torchvision"]
ROBUST = [
    row
    for row in EXTENDED.values()
    if row.source == "robust_models_transfer" and row.architecture not in TORCHVISION
]


def of(name):
    return EXTENDED[f"torchvision/imagenet-1k/{name}"]


def with_weights(row, tensors, monkeypatch):
    """Let torchvision load these in place of the published weights, as it does when asked for them."""
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **options: copy(tensors))
    weights = get_weight(row.upstream_name)
    return torchvision.models.get_model(row.architecture, weights=weights).eval()


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_every_row_is_what_torchvision_builds_for_its_weights(empty, monkeypatch):
    assert len(ROWS) == 114
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *args, **options: None)
    for row in ROWS:
        module, transform = loader.build(row)
        assert shapes(module) == shapes(with_weights(row, {}, monkeypatch)), row.id
        assert sum(p.numel() for p in module.parameters()) == row.num_parameters, row.id
        assert count_classes(module) == row.num_classes, row.id
        assert transform.shape == (row.image_size, row.image_size, 3), row.id
        weights = get_weight(row.upstream_name)
        assert (weights.url, str(weights)) == (row.weights_url, row.upstream_name)


def published(row):
    """Draw weights, and give them the names of the published file."""
    torch.manual_seed(0)
    arguments = {"aux_logits": True} if row.architecture == "googlenet" else {}
    network = torchvision.models.get_model(
        row.architecture, weights=None, **loader.IMPLIED.get(row.architecture, {}) | arguments
    )
    tensors = network.state_dict()
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            tensor.uniform_(1, 2)
    if row.architecture.startswith("densenet"):  # from before batches were counted
        pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
        return {
            pattern.sub(r"\1.\2", n): t for n, t in tensors.items() if not n.endswith("num_batches_tracked")
        }
    if row.architecture.startswith("vit_"):
        older = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
        return {re.sub(r"\.mlp\.\d\.", lambda m: older[m[0]], n): t for n, t in tensors.items()}
    return tensors  # with the versions of its layers, which MNASNet asks for


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def hosted(row, content, server):
    url = server.serve(f"/{row.architecture}.pth", content)
    return replace(
        row, weights_url=url, weights_hash=hashlib.sha256(content).hexdigest(), weights_hash_kind="sha256"
    )


# The smallest of each family: those whose weights have old names, or whose network depends on them, first.
HOSTED = [
    "DenseNet121_Weights.IMAGENET1K_V1",
    "MNASNet0_5_Weights.IMAGENET1K_V1",
    "GoogLeNet_Weights.IMAGENET1K_V1",
]
FAMILIES = [
    "DenseNet121_Weights.IMAGENET1K_V1",
    "ViT_B_16_Weights.IMAGENET1K_V1",
    "GoogLeNet_Weights.IMAGENET1K_V1",
    "Inception_V3_Weights.IMAGENET1K_V1",
    "MNASNet0_5_Weights.IMAGENET1K_V1",
    "MobileNet_V2_Weights.IMAGENET1K_V2",
    "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
    "EfficientNet_B0_Weights.IMAGENET1K_V1",
    "EfficientNet_V2_S_Weights.IMAGENET1K_V1",
    "RegNet_X_400MF_Weights.IMAGENET1K_V2",
    "RegNet_Y_400MF_Weights.IMAGENET1K_V1",
    "ResNet18_Weights.IMAGENET1K_V1",
    "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1",
    "SqueezeNet1_1_Weights.IMAGENET1K_V1",
    "Swin_T_Weights.IMAGENET1K_V1",
    "Swin_V2_T_Weights.IMAGENET1K_V1",
    "MaxVit_T_Weights.IMAGENET1K_V1",
    "ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    "AlexNet_Weights.IMAGENET1K_V1",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_answers_as_in_torchvision(name, monkeypatch, photographs):
    row, tensors = of(name), published(of(name))
    monkeypatch.setattr(targets, "load_weights", lambda row: tensors)
    target = load_target(row)
    inputs = target.transform(photographs[0][None])
    network = with_weights(row, tensors, monkeypatch)
    with torch.inference_mode():
        assert torch.equal(target.module(inputs), network(inputs))


@pytest.mark.parametrize("name", HOSTED)
def test_a_published_file_answers_as_in_torchvision(name, hub, monkeypatch, photographs):
    row, tensors = of(name), published(of(name))
    target = load_target(hosted(row, saved(tensors), hub))
    network = with_weights(row, tensors, monkeypatch)
    theirs = get_weight(name).transforms()(Image.fromarray(photographs[0]))
    with torch.inference_mode():
        expected = network(theirs[None]).numpy()
    found = predict(target, photographs[0][None])
    # With the channels last in memory, only the order of sums differs.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    monkeypatch.setattr(inference, "wants_channels_last", lambda *_: False)
    np.testing.assert_array_equal(predict(target, photographs[0][None]), expected)


@pytest.mark.parametrize(
    "name",
    [
        "AlexNet_Weights.IMAGENET1K_V1",
        "ResNet50_Weights.IMAGENET1K_V2",
        "Swin_T_Weights.IMAGENET1K_V1",
        "EfficientNet_V2_L_Weights.IMAGENET1K_V1",
    ],
)
def test_preprocessing_is_torchvisions(name, empty, photographs):
    transform, theirs = loader.build(of(name))[1], get_weight(name).transforms()
    for pixels in photographs:
        assert torch.equal(transform(pixels[None])[0], theirs(Image.fromarray(pixels)))


class TestWhatIsRefused:
    ROW = of("SqueezeNet1_1_Weights.IMAGENET1K_V1")

    def test_weights_of_another_network(self, monkeypatch):
        tensors = published(of("SqueezeNet1_0_Weights.IMAGENET1K_V1"))
        monkeypatch.setattr(targets, "load_weights", lambda row: tensors)
        with pytest.raises(WeightsError, match="not those of this network"):
            load_target(self.ROW)

    @pytest.mark.parametrize(
        "change", [{"num_classes": 10}, {"image_size": 225}, {"num_parameters": 7}, {"num_parameters": None}]
    )
    def test_a_row_that_torchvision_contradicts(self, change, empty):
        with pytest.raises(ModelError, match=r"torchvision states \(1000, 224, 1235496\)"):
            loader.build(replace(self.ROW, **change))

    @pytest.mark.parametrize("name", ["SqueezeNet1_1_Weights.IMAGENET1K_V9", "Squeeze_Weights.IMAGENET1K_V1"])
    def test_weights_that_this_torchvision_does_not_know(self, name, empty):
        with pytest.raises(ModelError, match=rf"torchvision 0\.28\.0\S* does not know {name}"):
            loader.build(replace(self.ROW, upstream_name=name))

    def test_an_unknown_id_gets_the_closest(self):
        with pytest.raises(UnknownNameError, match=r"Did you mean .*SqueezeNet1_1_Weights\.IMAGENET1K_V1"):
            load_target("torchvision/imagenet-1k/SqueezeNet1_1_Weights.IMAGENET1K_V2")


class TestRobustModels:
    def test_ten_rows_take_their_networks_from_torchvision(self):
        names = {"densenet161", "mobilenet_v2", "shufflenet_v2_x1_0", "vgg16_bn", "mnasnet"}
        assert {row.architecture for row in ROBUST} == names
        assert len(ROBUST) == 10

    def test_every_one_is_what_torchvision_builds(self, empty):
        for row in ROBUST:
            name = robust_models_transfer.CONSTRUCTORS.get(row.architecture, row.architecture)
            built = torchvision.models.get_model(name, weights=None)
            assert shapes(robust_models_transfer.build(row)[0]) == shapes(built), row.id

    @pytest.mark.parametrize(
        "row", {row.architecture: row for row in ROBUST}.values(), ids=lambda r: r.architecture
    )
    def test_robustness_form_loads(self, row, monkeypatch):
        network, transform = robust_models_transfer.build(row)
        prefix = row.weights_key_prefix or "module.model.model."
        places = (prefix, prefix.replace("module.", "module.attacker.", 1))
        tensors = network.state_dict()
        model = {place + name: tensor for place in places for name, tensor in tensors.items()}
        for place in robust_models_transfer.NORMALISERS:
            model[f"{place}new_mean"] = torch.tensor(robust_models_transfer.MEAN)[:, None, None]
            model[f"{place}new_std"] = torch.tensor(robust_models_transfer.STD)[:, None, None]
        checkpoint = {"model": model, "optimizer": {"state": {}}, "schedule": None, "epoch": 90}
        monkeypatch.setattr(targets, "load_weights", lambda row: checkpoint)
        target = load_target(row)
        inputs = transform(np.zeros((1, 256, 300, 3), np.uint8))
        with torch.inference_mode():
            assert torch.equal(target.module(inputs), network.eval()(inputs))
        assert target.num_classes == 1000


def test_a_torchvision_for_another_torch_is_told_each_time():
    """In a process where the operators are not declared, so that the import fails as it does for users."""
    code = """
from securitynet_hub.core.errors import MissingPackageError
from securitynet_hub.core.optional import import_network
for module in ("torchvision.models", "torchvision.models", "timm", "timm"):
    try:
        import_network(module, "resnet18")
    except MissingPackageError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.count("(operator torchvision::nms does not exist)") == 4, done.stderr
    assert done.stdout.count("nstall the torchvision that goes with your torch") == 4
