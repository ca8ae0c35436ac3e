"""Repositories in timm's form, served as the Hub does, beside what timm itself builds and answers."""

import io
import json
import logging
import warnings

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from timm.data import create_transform, resolve_data_config

from securitynet_hub import load_target
from securitynet_hub.core.errors import ModelError, UnknownNameError, WeightsError
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation, find_loader

COMMIT, MOVED = "0123456789" * 4, "abcdef0123" * 4

# Name, arguments and settings: a plain network; one whose image size is fixed and whose images are squashed;
# one with other channels of normalisation; one whose published files have older names.
NETWORKS = {
    "resnet10t": ({}, {"interpolation": "bilinear", "crop_pct": 0.95}),
    "test_vit": (
        {"img_size": 96},
        {"input_size": [3, 96, 96], "fixed_input_size": True, "crop_mode": "squash", "crop_pct": 0.9},
    ),
    "mobilenetv3_small_050": ({}, {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2], "crop_pct": 1.0}),
    "test_convnext": ({}, {"input_size": [3, 128, 128], "interpolation": "bicubic"}),
}


def network(name, **options):
    torch.manual_seed(1)
    made = timm.create_model(name, num_classes=7, **NETWORKS[name][0], **options)
    return made.eval()


def config(name, made, **changes):
    arguments, settings = NETWORKS[name]
    cfg = {
        key: value for key, value in made.pretrained_cfg.items() if key not in ("architecture", "label_names")
    }
    cfg |= {"hf_hub_id": "org/elsewhere", "url": "https://example.org/other.pth", "source": "url", **settings}
    known = {"architecture": name, "num_classes": 7, "pretrained_cfg": cfg | {"num_classes": 7}}
    return json.dumps(
        known | ({"model_args": arguments} if arguments else {}) | changes, default=list
    ).encode()


def saved(tensors, form="safetensors"):
    if form == "safetensors":
        from safetensors.torch import save

        return save({name: tensor.contiguous() for name, tensor in tensors.items()})
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    return buffer.getvalue()


def repository(name="resnet10t", made=None, **changes):
    made = made or network(name)
    return {"config.json": config(name, made, **changes), "model.safetensors": saved(made.state_dict())}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_repository_answers_as_timm_does(name, hub, photographs):
    made = network(name)
    files = repository(name, made)
    hub.serve_repository("org/net", COMMIT, files)
    target = load_target("timm:org/net")
    assert target.id == f"timm/org/net@{COMMIT[:12]}"
    assert (target.num_classes, target.annotation.architecture) == (7, name)
    settings = resolve_data_config({}, pretrained_cfg=json.loads(files["config.json"])["pretrained_cfg"])
    theirs = create_transform(**settings, is_training=False)
    assert target.transform.shape == (*settings["input_size"][1:], 3)
    for pixels in photographs:
        inputs = target.transform(pixels[None])
        assert torch.equal(inputs[0], theirs(Image.fromarray(pixels)))
        with torch.inference_mode():
            assert torch.equal(target.module(inputs), made(inputs))
    assert predict(target, photographs[0][None]).shape == (1, 7)
    json.dumps(target.transform.as_dict(), allow_nan=False)


def test_a_name_alone_is_timms_own(hub):
    hub.serve_repository("timm/resnet10t.c3_in1k", COMMIT, repository())
    assert load_target("timm:resnet10t.c3_in1k").id == f"timm/timm/resnet10t.c3_in1k@{COMMIT[:12]}"
    asked = len(hub.log)
    with pytest.raises(
        UnknownNameError, match=r"architecture in timm 'resnet10x'\. Did you mean .*'resnet10t'"
    ):
        load_target("timm:resnet10x.c3_in1k")
    assert len(hub.log) == asked


def test_one_in_memory_knows_its_preprocessing(photographs):
    made = network("resnet10t")
    target = load_target(made, name="mine")
    theirs = create_transform(**resolve_data_config({}, model=made), is_training=False)
    assert target.num_classes == 7
    for pixels in photographs:
        inputs = target.transform(pixels[None])
        assert torch.equal(inputs[0], theirs(Image.fromarray(pixels)))
        with torch.inference_mode():
            assert torch.equal(target.module(inputs), made(inputs))


def test_a_transform_of_torchvision_s_own_kind(photographs):
    made = network("resnet10t")
    theirs = create_transform(**resolve_data_config({}, model=made), is_training=False)
    target = load_target(made, transform=theirs)
    assert "Normalize" in target.transform.as_dict()["function"]
    assert target.transform.shape == load_target(made).transform.shape
    for pixels in photographs:
        assert torch.equal(target.transform(pixels[None])[0], theirs(Image.fromarray(pixels)))


def test_revisions_are_pinned(hub):
    files = repository()
    hub.serve_repository("org/net", COMMIT, files)
    annotation = find_annotation("timm:org/net")
    assert COMMIT in annotation.weights_url
    hub.serve_repository("org/net", MOVED, files, revisions=("main", "v2"))
    assert MOVED in find_annotation("timm:org/net@v2").weights_url
    load_target(annotation)
    assert not hub.asked(f"/org/net/resolve/{MOVED}/model.safetensors")


def test_offline_the_cache_answers(hub, photographs, monkeypatch):
    hub.serve_repository("org/net", COMMIT, repository())
    expected = predict(load_target("timm:org/net"), photographs[0][None])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.log)
    np.testing.assert_array_equal(
        predict(load_target(f"timm:org/net@{COMMIT}"), photographs[0][None]), expected
    )
    assert len(hub.log) == asked


def test_a_pickle_goes_through_the_guard(hub, tmp_path):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    made = network("resnet10t")
    files = {"config.json": config("resnet10t", made)}
    hub.serve_repository("org/net", COMMIT, files | {"pytorch_model.bin": saved(made.state_dict(), "pickle")})
    loaded = load_target("timm:org/net").module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in made.state_dict().items())
    hub.serve_repository("org/bad", MOVED, files | {"pytorch_model.bin": saved({"x": Hostile()}, "pickle")})
    with pytest.raises(WeightsError, match="refused"):
        load_target("timm:org/bad")
    assert not (tmp_path / "canary").exists()


def test_what_timm_translates_is_translated(hub):
    """ConvNeXt's own names, which timm's files once had, and a background class before the others."""
    made = network("test_convnext")
    tensors = {}
    for key, value in made.state_dict().items():
        first = value.new_zeros(1, *value.shape[1:])
        older = key.replace("head.norm.", "norm.").replace("head.fc.", "head.")
        tensors[older] = torch.cat([first, value]) if older in ("head.weight", "head.bias") else value
    settings = made.pretrained_cfg | {"num_classes": 7, "label_offset": 1, "classifier": "head.fc"}
    files = repository("test_convnext", made, pretrained_cfg=settings)
    hub.serve_repository("org/net", COMMIT, files | {"model.safetensors": saved(tensors)})
    loaded = load_target("timm:org/net").module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in made.state_dict().items())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("resnet10t", {"fc.bias": None}),
        ("resnet10t", {"stray": torch.zeros(1)}),
        ("resnet10t", {"fc.bias": torch.zeros(9)}),
        ("dla46x_c", {"fc.bias": None}),  # here timm itself takes what there is
        ("dla46x_c", {"stray": torch.zeros(1)}),
    ],
    ids=str,
)
def test_other_networks_weights_are_refused(name, changed, hub):
    made = timm.create_model(name, num_classes=7)
    tensors = {key: value for key, value in (made.state_dict() | changed).items() if value is not None}
    known = {"architecture": name, "num_classes": 7, "pretrained_cfg": {"hf_hub_id": "org/elsewhere"}}
    files = {"config.json": json.dumps(known).encode(), "model.safetensors": saved(tensors)}
    hub.serve_repository("org/net", COMMIT, files)
    with pytest.raises(WeightsError, match="the weights are not those of this network"):
        load_target("timm:org/net")


def test_an_empty_file_sends_timm_nowhere_else(hub):
    known = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": {"hf_hub_id": "org/elsewhere"}}
    files = {"config.json": json.dumps(known).encode(), "model.safetensors": saved({})}
    hub.serve_repository("org/net", COMMIT, files)
    hub.serve_repository("org/elsewhere", COMMIT, repository())
    with pytest.raises(WeightsError):
        load_target("timm:org/net")
    assert not any("elsewhere" in request.path for request in hub.log)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"architecture": "resnet10x"}, UnknownNameError, r"architecture in timm 'resnet10x'.*resnet10t"),
        ({"architecture": None}, UnknownNameError, "architecture in timm 'None'"),
        ({"num_classes": 0}, ModelError, "org/net classifies nothing: its configuration states 0 classes"),
        ({"model_args": {"colour": "red"}}, ModelError, "cannot be built by timm: .*'colour'"),
        ({"model_args": {"pretrained": True}}, ModelError, "cannot be built by timm"),
        ({"model_args": {"checkpoint_path": "/canary"}}, ModelError, "cannot be built by timm"),
        ({"model_args": 3}, ModelError, "is not one of timm's"),
        ({"pretrained_cfg": {"interpolation": "random"}}, ModelError, "got 'random'"),
        ({"pretrained_cfg": {"crop_pct": 0.01}}, ModelError, "sides must have 1 to 4,096 pixels"),
        ({"pretrained_cfg": {"mean": [0.5]}}, ModelError, "agree on the number of channels"),
        ({"pretrained_cfg": {"input_size": [3]}}, ModelError, "is not one of timm's"),
    ],
)
def test_configurations_that_cannot_be_used(changes, error, sentence, hub):
    hub.serve_repository("org/net", COMMIT, repository(**changes))
    with pytest.raises(error, match=sentence):
        load_target("timm:org/net")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff", b"null"])
def test_a_damaged_configuration(content, hub):
    hub.serve_repository("org/net", COMMIT, repository() | {"config.json": content})
    with pytest.raises(ModelError, match="the configuration of org/net is not one of timm's"):
        load_target("timm:org/net")


def test_unknown_repositories(hub):
    with pytest.raises(WeightsError, match="org/none cannot be downloaded from the Hub"):
        load_target("timm:org/none")
    hub.serve_repository("org/net", COMMIT, {"config.json": b"{}", "model.safetensors.index.json": b"{}"})
    with pytest.raises(WeightsError, match="is no index of weights in several files"):
        load_target("timm:org/net")


def test_the_size_of_validation_can_be_asked_for(hub, photographs):
    made = network("resnet10t")
    settings = {"test_input_size": [3, 256, 256], "test_crop_pct": 1.0, "crop_pct": 0.9}
    files = repository(made=made, pretrained_cfg=made.pretrained_cfg | {"num_classes": 7} | settings)
    hub.serve_repository("org/net", COMMIT, files)
    resolved = json.loads(files["config.json"])["pretrained_cfg"]
    for test_size, side in ((False, 176), (True, 256)):
        theirs = create_transform(
            **resolve_data_config({}, pretrained_cfg=resolved, use_test_size=test_size), is_training=False
        )
        transform = load_target("timm:org/net", test_size=test_size).transform
        assert transform.shape == (side, side, 3)
        assert torch.equal(transform(photographs[0][None])[0], theirs(Image.fromarray(photographs[0])))


def test_an_older_configuration_in_one_piece(hub, photographs):
    made = network("resnet10t")
    flat = {"architecture": "resnet10t", "num_classes": 7, "input_size": [3, 176, 176], "crop_pct": 0.9}
    files = repository(made=made) | {"config.json": json.dumps(flat).encode()}
    hub.serve_repository("org/net", COMMIT, files)
    target = load_target("timm:org/net")
    assert (target.num_classes, target.transform.shape, target.transform.resize) == (7, (176, 176, 3), 195)


def test_the_console_stays_clean_and_loggers_as_they_were(hub, capfd):
    logger = logging.getLogger("timm")
    before = (logger.level, logger.propagate, list(logger.handlers))
    hub.serve_repository("org/net", COMMIT, repository())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_target("timm:org/net")
    assert not [str(warning.message) for warning in caught if "timm" in str(warning.filename)]
    assert capfd.readouterr() == ("", "")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_the_loader_is_found():
    assert callable(find_loader("timm").annotate)
