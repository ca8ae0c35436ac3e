"""torchvision and timm, from the folder that the variable VISION names; without it nothing here is run.

torchvision's wheel is built for a torch with CUDA: beside another torch its library cannot be loaded, and its
import fails for want of two operators. With them declared its classifiers, which use none, work.
"""

import os
import sys

import pytest
import torch

FOLDER = os.environ.get("VISION")

if FOLDER is None:
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path.insert(0, FOLDER)
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


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


@pytest.fixture
def check_pictures():
    """Compare inputs with a publisher's: rounding differs by a grey level here and there, rarely by two."""

    def check(ours, theirs, std):
        levels = (ours - theirs).abs() * torch.tensor(std)[:, None, None] * 255
        assert levels.max() < 2.01
        assert (levels > 1.01).float().mean() < 1e-4
        assert (levels > 0.01).float().mean() < 0.02

    return check
