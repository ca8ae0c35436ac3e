"""Neural Cleanse beside TrojanZoo's, as installed, at equal steps.

Skipped where TrojanZoo or torchvision cannot be imported; to run it, after ``make test-vision``, which brings
the latter::

    pip install --no-deps --target FOLDER trojanzoo==2.0.3
    VISION=$PWD/.venv/vision PYTHONPATH=FOLDER pytest benchmarks/bench_trojanzoo.py -s

Same networks, same images, every class, Adam's steps of one pass over all images each, no early end, one
thread, rounds in turn, time of the processor. The claim is about what a step costs. What comes out is only
printed: TrojanZoo's learning rate falls to 0, each of its classes starts elsewhere and with the last one's
cost, and it keeps the smallest mask, whether that succeeds or not.

TrojanZoo wants an attack to inspect. Its own watermark plays it; the zoo's network, frozen, plays its model.
"""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST, neural_cleanse
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.models.eval_mode import frozen

PIXELS = load_images().pixels[2000:2020]
MODELS = ("cnn-corner-patch/7", "bn-cnn-corner-patch/7")
SCHEDULE, ROUNDS = replace(FAST, stop_patience=None), 3


@pytest.fixture
def trojanvision(monkeypatch):
    colours = pytest.importorskip("matplotlib")
    pytest.importorskip("matplotlib.cm")
    # matplotlib 3.9 took it away, and TrojanZoo 2.0.3 takes it on import.
    monkeypatch.setattr(colours.cm, "get_cmap", colours.colormaps.get_cmap, raising=False)
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    package = pytest.importorskip("trojanvision", reason="trojanzoo is not installed")
    torch.set_num_threads(1)
    return package


class Model:
    """What TrojanZoo's search asks of a model, with the preprocessing behind it; it counts its passes."""

    def __init__(self, target):
        self.module, self.space, self.num_classes = (
            target.module,
            PixelSpace.from_target(target),
            target.num_classes,
        )
        self.passes = 0

    def __call__(self, pixels):
        self.passes += 1
        return self.module(self.space.inputs(pixels))

    def get_data(self, data):
        return data

    def loss(self, _input, label, _output):
        return nn.functional.cross_entropy(_output, label)


def inspection(trojanvision, model, pixels, steps):
    """Return TrojanZoo's Neural Cleanse with our schedule's constants and no early end."""
    mark = trojanvision.marks.Watermark(
        data_shape=list(pixels.shape[1:]), mark_height=pixels.shape[2], mark_width=pixels.shape[3]
    )
    data = [(pixels, torch.zeros(len(pixels), dtype=torch.long))]  # labels it reads the shape of
    return trojanvision.defenses.NeuralCleanse(
        attack=SimpleNamespace(mark=mark, add_mark=mark.add_mark, name="none"),
        original=True,
        model=model,
        dataset=SimpleNamespace(loader={"train": data}),
        defense_remask_epoch=steps,
        defense_remask_lr=SCHEDULE.learning_rate,
        cost=SCHEDULE.first_cost,
        nc_cost_multiplier=SCHEDULE.multiplier,
        nc_patience=SCHEDULE.patience,
        nc_asr_threshold=SCHEDULE.success_threshold,
        nc_early_stop_threshold=np.inf,  # no norm is idle
    )


def search(defense, num_classes):
    """Return what TrojanZoo keeps for each class, shape (classes, channels + 1, ...), the mask last."""
    return torch.stack([defense.optimize_mark(label, verbose=False)[0] for label in range(num_classes)])


def success_rates(model, pixels, triggers):
    """Return the share of the images that are not of the class already that each trigger turns."""
    rates = []
    with torch.no_grad():
        predicted = model(pixels).argmax(1)
        for label, trigger in enumerate(triggers):
            stamped = torch.lerp(pixels, trigger[:-1], trigger[-1:])
            rates.append((model(stamped).argmax(1) == label)[predicted != label].double().mean().item())
    return np.array(rates)


def timed(function):
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # TrojanZoo's
@pytest.mark.parametrize("name", MODELS)
def test_at_equal_steps(trojanvision, name):
    target = load_target(f"zoo/fashion-mnist/{name}")
    pixels = torch.tensor(PIXELS).movedim(-1, 1).float() / 255
    steps, ratios = SCHEDULE.steps, []
    torch.manual_seed(0)
    with frozen(target.module):
        search(inspection(trojanvision, Model(target), pixels, 2), 2)  # imports what torch's optimisers need
        for _ in range(ROUNDS):
            model = Model(target)
            defense = inspection(trojanvision, model, pixels, steps)
            theirs, slow = timed(lambda defense=defense: search(defense, target.num_classes))
            assert model.passes == steps * target.num_classes
            ours, fast = timed(lambda: neural_cleanse(target, PIXELS, restarts=1, schedule=SCHEDULE))
            assert ours.steps.tolist() == [[steps] * target.num_classes]
            ratios.append(slow / fast)
        pattern, mask = (torch.from_numpy(array[0]) for array in (ours.patterns, ours.masks))
        mine = torch.cat([pattern.movedim(-1, 1), mask[:, None]], 1)
        print(f"\n{name}, TrojanZoo / ours at {steps} equal steps: {np.round(ratios, 2).tolist()}")
        print(f"  last round: {slow:.2f} s / {fast:.2f} s")
        for who, triggers in (("TrojanZoo", theirs), ("ours", mine)):
            norms, rates = triggers[:, -1].double().sum((1, 2)), success_rates(model, pixels, triggers)
            print(f"  norms of {who}: {np.round(norms.numpy(), 1).tolist()}")
            print(f"  success of {who}: {np.round(rates, 2).tolist()}")
    assert (rates[np.isfinite(ours.norms[0])] >= SCHEDULE.success_threshold).all()
    assert np.median(ratios) >= 2
