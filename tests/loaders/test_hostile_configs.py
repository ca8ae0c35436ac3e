"""Whatever a configuration says, it ends in a network of a moderate size or in a sentence, within bounds."""

import json
import random
import resource
import time

import pytest
import transformers
from safetensors.torch import save_file
from securitynet_hub.loaders import transformers as loader

from securitynet_hub.core.errors import ModelError, WeightsError
from securitynet_hub.models import building

TYPES = sorted({config.model_type for config in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING})
SETTINGS = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
VALUES = (
    0, 1, -1, 2, 7, 97, 1000, 4096, 99_999, -100_000, 10**30, -(10**400), 0.5, 1e-300, 1e300, float("nan"),
    float("inf"), "", "x", "../x", "1000", None, True, [], {}, [1000] * 20, [1] * 1000, [[4096] * 9] * 9,
    [-1], [0], ["x"] * 50, [None], {"a": {"b": [1000] * 30}}, {str(n): n for n in range(2000)},
    {"model_type": "vit", "num_hidden_layers": 1000}, {"model_type": "resnet", "depths": [1000] * 50},
    {"model_type": "x"},
)  # fmt: skip
MEMORY = 2 << 30


def written(folder, config, settings=SETTINGS):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    save_file({}, folder / "model.safetensors")
    return str(folder)


def hostile(dice, kind):
    """Return a default configuration of a model type with up to four settings replaced."""
    config = transformers.AutoConfig.for_model(kind).to_dict() | {"num_labels": 5}
    for _ in range(dice.choice((1, 1, 2, 4))):
        config[dice.choice(sorted(config))] = dice.choice(VALUES)
    settings = dict(SETTINGS)
    if dice.random() < 0.3:
        name = dice.choice(("size", "crop_size", "image_mean", "resample", "do_resize", "rescale_factor"))
        settings[name] = dice.choice(VALUES)
    return config | {"model_type": kind}, settings


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(building, "MAX_PARAMETERS", 200_000_000)
    monkeypatch.setattr(loader, "MAX_SECONDS", 10.0)
    monkeypatch.setattr(loader, "MAX_MEMORY", MEMORY)


def peak():
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def outcome(folder, config, settings):
    """Return "built" or the reason, how long it took, and how many bytes the largest process grew by."""
    before, began = peak(), time.process_time()
    try:
        network, _ = loader.build(loader.annotate(written(folder, config, settings)))
        told = "built"
        del network
    except (ModelError, WeightsError) as error:
        told = str(error)
    return told, time.process_time() - began, 1024 * (peak() - before)


def require_bounded(folder, seed, kind):
    config, settings = hostile(random.Random(f"{seed} {kind}"), kind)
    told, seconds, grown = outcome(folder, config, settings)
    assert 0 < len(told) < 6000
    assert seconds < 20, (told, config)
    assert grown < MEMORY + (1 << 30), (told, config)


@pytest.mark.parametrize("kind", ["resnet", "swin", "convnext", "vit"])
def test_hostile_configurations(kind, tmp_path):
    require_bounded(tmp_path / "0", 0, kind)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", TYPES)
def test_hostile_configurations_of_every_model_type(kind, tmp_path):
    for seed in range(15):
        require_bounded(tmp_path / str(seed), seed, kind)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "resnet", "depths": [1000] * 50, "hidden_sizes": [8] * 50}, "more modules than"),
        ({"model_type": "vit", "num_hidden_layers": 1000, "hidden_size": 12_000}, "more parameters than"),
        ({"model_type": "vit", "image_size": 4096, "patch_size": 1}, "more"),
        ({"model_type": "swin", "window_size": 1500, "image_size": 3000}, "bytes of memory|more"),
        ({"model_type": "vit", "num_hidden_layers": "x" * 1000}, "cannot be used"),
    ],
)
def test_costly_configurations_are_refused_with_the_figure(config, reason, tmp_path):
    told, seconds, grown = outcome(tmp_path / "0", config, SETTINGS)
    assert told != "built"
    assert any(part in told for part in reason.split("|"))
    assert (seconds < 20, grown < MEMORY + (1 << 30)) == (True, True)
