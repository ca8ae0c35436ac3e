"""Asking a black box beside a bare torch loop, and a whole theft beside ART's KnockoffNets.

Run with ``make bench``. What the black box adds is hashing, looking up and writing: some microseconds for
each image, which a network of ordinary size does not notice. ART is compared where it can be imported:
``pip install --no-deps --target FOLDER adversarial-robustness-toolbox==1.20.1 six``, FOLDER in PYTHONPATH.
"""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.surrogates import steal
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe, build_seeded
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.target import Target
from securitynet_hub.models.zoo_networks import NETWORKS

N, BATCH = 1024, 128
ROUNDS = 5


def network():
    """Six 3 x 3 convolutions on 32 x 32 images: about 39 million multiplications for each."""
    widths = (3, 32, 32, 64, 64, 128, 128)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=1 + (a != b and a > 3), padding=1), nn.ReLU())
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)).eval()


def test_asking_costs_little_beside_a_bare_loop(tmp_path):
    transform = Transform(height=32, width=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    annotation = find_annotation("zoo/fashion-mnist/cnn-clean/1")  # for its ten classes
    target = Target(annotation=annotation, module=network(), transform=transform, num_classes=10)
    pixels = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)
    ratios, of_processor = [], []
    for number in range(ROUNDS):
        start, busy = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            parts = (pixels[i : i + BATCH] for i in range(0, N, BATCH))
            bare = torch.cat([target.module(transform(part)).softmax(1) for part in parts]).numpy()
        between, busy_between = time.perf_counter(), time.process_time()
        box = BlackBox(target, budget=N, cache=tmp_path / f"{number}.db", batch_size=BATCH)
        asked = box.ask(pixels)
        end, busy_end = time.perf_counter(), time.process_time()
        np.testing.assert_allclose(asked, bare, rtol=1e-4, atol=1e-7)
        assert box.forwarded == N
        ratios.append((end - between) / (between - start))
        of_processor.append((busy_end - busy_between) / (busy_between - busy))
    start = time.perf_counter()
    BlackBox(target, budget=N, cache=tmp_path / "0.db").ask(pixels)
    cached = (time.perf_counter() - start) / N
    for name, found in (("by the clock", ratios), ("of the processor", of_processor)):
        print(f"\nasking / bare loop, {name}: median {np.median(found):.3f} of {np.round(found, 3).tolist()}")
    print(f"from the cache: {1e6 * cached:.0f} us per image")
    assert np.median(of_processor) < 1.1


BUDGET, EPOCHS, BATCH_FIT, RATE = 500, 10, 64, 1e-2
"""The rate is the best of 3e-3 and 1e-2 for both."""
SEEDS, DEFAULT_SEEDS = range(7), range(2)


def ours(target, pool, folder, seed):
    box = BlackBox(target, budget=BUDGET, view="label")
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_FIT, learning_rate=RATE, seed=seed)
    (found,) = steal(
        box, lambda: NETWORKS["cnn"](10), pool, recipe, budgets=[BUDGET], folder=folder / str(seed), seed=seed
    )
    return found.module


def art(target, inputs, seed, batch_size, rate):
    """Steal as ART does by default, from labels."""
    from art.attacks.extraction import KnockoffNets
    from art.estimators.classification import PyTorchClassifier

    def classifier(module):
        adam = torch.optim.Adam(module.parameters(), rate)
        return PyTorchClassifier(module, nn.CrossEntropyLoss(), (1, 28, 28), 10, adam, device_type="cpu")

    victim, thief = classifier(target.module), classifier(build_seeded(lambda: NETWORKS["cnn"](10), seed))
    np.random.seed(seed)
    sizes = {"batch_size_fit": batch_size, "batch_size_query": batch_size}
    attack = KnockoffNets(victim, **sizes, nb_epochs=EPOCHS, nb_stolen=BUDGET, verbose=False)
    return attack.extract(inputs, thieved_classifier=thief).model.eval()


def test_a_theft_beside_knockoff_nets(tmp_path):
    """The same target, pool, budget, network and epochs; labels alone, as ART's default has it.

    Ours hashes, counts and keeps each query and writes the weights in that time; ART does not.
    """
    pytest.importorskip("art")
    target, images = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images()
    pool, test = images.pixels[:2000], images.pixels[2000:]
    inputs, told = target.transform(pool).numpy(), predict(target, test).argmax(1)
    ways = {
        "ours": (SEEDS, lambda seed: ours(target, pool, tmp_path, seed)),
        f"ART, batches of {BATCH_FIT}": (SEEDS, lambda seed: art(target, inputs, seed, BATCH_FIT, RATE)),
        "ART, its default": (DEFAULT_SEEDS, lambda seed: art(target, inputs, seed, 1, 1e-3)),
    }
    for _, way in list(ways.values())[:2]:
        way(99)  # what is imported or set up once is nobody's cost
    seconds, agreement = {name: [] for name in ways}, {name: [] for name in ways}
    for seed in SEEDS:
        for name, (seeds, way) in ways.items():
            if seed in seeds:
                start = time.process_time()  # of the processor, so that what else runs matters little
                module = way(seed)
                seconds[name].append(time.process_time() - start)
                with torch.inference_mode():
                    agreement[name].append((module(target.transform(test)).argmax(1).numpy() == told).mean())
    print()
    for name, found in agreement.items():
        print(
            f"{name}: {np.median(seconds[name]):.2f} s, agreement {np.mean(found):.3f} +- "
            f"{np.std(found, ddof=1):.3f} over {len(found)} seeds"
        )
    own, tuned, default = (np.array(seconds[name]) for name in ways)
    ratios = np.median(default / own[: len(default)]), np.median(tuned / own)
    print(f"times as fast: {ratios[0]:.1f} the default, {ratios[1]:.2f} the tuned {np.round(tuned / own, 2)}")
    means = [np.mean(found) for found in agreement.values()]
    assert ratios[0] >= 10
    assert ratios[1] > 1
    assert means[0] >= max(means[1:]) - 0.01
