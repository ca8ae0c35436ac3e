"""Neural Cleanse beside a faithful loop over classes, and its cost at 10, 100 and 1,000 classes.

Run with ``make bench``. The loop is what other implementations do: one class after the other, stamped images
through autograd and torch's Adam, success and norm read back after every step. Same network, same images,
same schedule, one thread. Processor time is compared, which other work on the machine disturbs less.

At equal steps a network of this size spends its time in convolutions: what is saved is a pass for each class,
and layouts and gradients that suit few channels. What makes the search fast is that classes end when they are
done.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.inversion import measure_inversion
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST, neural_cleanse
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace
from securitynet_hub.attacks.backdoor.schedule import Progress
from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.target import Target

torch.set_num_threads(1)
keep_freed_memory()  # as the command line does; for the peer, too
PIXELS = load_images().pixels[2000:2020]
MODELS = ("cnn-corner-patch/7", "bn-cnn-corner-patch/7")
STEPS, ROUNDS = 40, 3


def loop(target, pixels, schedule):
    """Return the norm of every class's smallest trigger, one class after the other."""
    space, x = PixelSpace.from_target(target), torch.tensor(pixels).movedim(-1, 1).float() / 255
    channels, *sides = x.shape[1:]
    norms = []
    with frozen(target.module):
        predicted = target.module(space.inputs(x)).argmax(1)
        for label in range(target.num_classes):
            images, progress, arm = x[predicted != label], Progress(schedule, 1), np.array([0])
            goals = torch.full((len(images),), label)
            drawn = torch.from_numpy(np.random.default_rng(0).random((1, 1 + channels, *sides))).float()
            theta = torch.atanh((drawn - 0.5) * (2 - 1e-7)).requires_grad_()
            optimizer = torch.optim.Adam([theta], lr=schedule.learning_rate, betas=schedule.betas)
            done = False
            while not done:
                trigger = torch.tanh(theta) / (2 - 1e-7) + 0.5
                mask, pattern = trigger[:, :1], trigger[:, 1:]
                logits = target.module(space.inputs((1 - mask) * images + mask * pattern))
                error = nn.functional.cross_entropy(logits, goals)
                (error + float(progress.cost[0]) * mask.sum()).backward()
                optimizer.step()
                optimizer.zero_grad()
                rate = np.array([(logits.argmax(1) == goals).double().mean().item()])
                norm = np.array([mask.sum().item()])
                better = progress.candidates(arm, rate, norm)
                done = progress.update(arm, rate, norm, better)[0]
            norms.append(progress.best[0])
    return np.where(np.isfinite(norms), norms, np.nan)


def timed(function):
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


def test_at_equal_steps_and_with_early_stopping():
    full = replace(FAST, steps=STEPS, stop_patience=None)
    ratios = []
    for name in MODELS:
        target = load_target(f"zoo/fashion-mnist/{name}")
        loop(target, PIXELS, replace(full, steps=2))  # torch imports what its optimisers need
        rounds = []
        for _ in range(ROUNDS):
            theirs, slow = timed(lambda target=target: loop(target, PIXELS, full))
            ours, fast = timed(
                lambda target=target: neural_cleanse(target, PIXELS, restarts=1, schedule=full)
            )
            rounds.append(slow / fast)
        np.testing.assert_allclose(ours.norms[0], theirs, rtol=0.01)
        ratios.append(np.median(rounds))
        print(f"\n{name}, loop / ours at {STEPS} equal steps: {np.round(rounds, 2).tolist()}")
    assert min(ratios) >= 2
    long, ratios = replace(FAST, steps=1000, stop_patience=None), []
    for name in MODELS[:1]:
        target = load_target(f"zoo/fashion-mnist/{name}")
        theirs, slow = timed(lambda target=target: loop(target, PIXELS, long))
        ours, fast = timed(lambda target=target: neural_cleanse(target, PIXELS, restarts=1))
        expected, found = measure_inversion(theirs), ours.measure()
        assert expected["flagged_classes"] == found["flagged_classes"]
        assert expected["smallest_class"] == found["smallest_class"]
        ratios.append(slow / fast)
        print(f"loop of 1,000 steps / ours with early stopping: {slow / fast:.2f}, same verdict")
    assert min(ratios) > 5


def network(classes):
    """Two strided convolutions on 32 x 32 images, and a head for so many classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 3 * 3, classes),
    )  # fmt: skip


def test_cost_grows_clearly_slower_than_the_number_of_classes():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    seconds = {}
    for classes in (10, 100, 1000):
        annotation = replace(find_annotation("zoo/fashion-mnist/cnn-clean/1"), num_classes=classes)
        transform = Transform(height=32, width=32, channels=3)
        target = Target(
            annotation=annotation, module=network(classes), transform=transform, num_classes=classes
        )
        schedule = replace(FAST, stop_patience=None)  # so that nothing but the number of classes differs
        found, seconds[classes] = timed(
            lambda target=target, schedule=schedule: neural_cleanse(
                target, images, restarts=1, schedule=schedule
            )
        )
        print(f"\n{classes} classes: {seconds[classes]:.1f} s, {len(found.classes)} to the end")
    assert seconds[100] / seconds[10] < 5
    assert seconds[1000] / seconds[10] < 25
