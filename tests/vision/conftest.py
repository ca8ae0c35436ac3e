"""torchvision and timm; without the variable VISION (see the conftest above) nothing here is run."""

import os

import pytest
import torch

if "VISION" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def empty(monkeypatch):
    """Build networks without memory and without drawing their first weights, as neither is looked at."""
    from accelerate import init_empty_weights

    for name in dir(torch.nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)
    with init_empty_weights():
        yield


@pytest.fixture
def photographs():
    """Pictures of several shapes, smooth as photographs are, with noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    pictures = []
    for height, width in [(300, 400), (401, 263), (224, 224), (90, 75), (256, 600)]:
        i, j = np.mgrid[:height, :width]
        waves = [120 + 90 * np.sin(i / (7 + 3 * c)) * np.cos(j / (11 - 2 * c)) for c in range(3)]
        noisy = np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3))
        pictures.append(noisy.clip(0, 255).astype(np.uint8))
    return pictures
