"""Where torchvision is missing, as it is for these tests, the errors say what to install."""

import sys

import pytest
from securitynet_hub.loaders import robust_models_transfer

from securitynet_hub import load_target
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.core.errors import MissingPackageError, UnknownNameError


@pytest.fixture(autouse=True)
def absent(monkeypatch):
    for name in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, name, None)


def test_its_own_classifiers_need_it():
    with pytest.raises(
        MissingPackageError,
        match=r"alexnet is defined in torchvision, .*Install the torchvision .* https://pytorch\.org/get-started",
    ):
        load_target("torchvision/imagenet-1k/AlexNet_Weights.IMAGENET1K_V1")


@pytest.mark.parametrize("reference", ["resnet18.a1_in1k", "resnet18.a1_in1k@main"])
def test_timm_is_asked_before_the_hub(reference, hub):
    with pytest.raises(
        MissingPackageError, match=r"resnet18 is defined in timm, .*pip install timm, and install"
    ):
        load_target(f"timm:{reference}")
    assert not hub.log


def test_unknown_ids_need_nothing():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*AlexNet_Weights\.IMAGENET1K_V1"):
        load_target("torchvision/imagenet-1k/AlexNet_Weights.IMAGENET1K_V2")


def test_residual_networks_are_built_without_it():
    rows = load_annotations("extended").values()
    row = next(
        row for row in rows if row.source == "robust_models_transfer" and row.architecture == "resnet18"
    )
    module, _ = robust_models_transfer.build(row)
    assert sum(p.numel() for p in module.parameters()) == 11_689_512
