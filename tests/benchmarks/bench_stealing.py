"""The cost of asking a black box beside a bare torch loop over the same network, images and batches.

Run with ``make bench``. What the black box adds is hashing, looking up and writing: some microseconds for
each image, which a network of ordinary size does not notice.
"""

import time
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from securitynet_hub.attacks.black_box import BlackBox
from securitynet_hub.targets import Target, find_annotation
from securitynet_hub.transforms import Transform

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
    ratios = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        with torch.inference_mode():
            parts = (pixels[i : i + BATCH] for i in range(0, N, BATCH))
            bare = torch.cat([target.module(transform(part)).softmax(1) for part in parts]).numpy()
        between = time.perf_counter()
        box = BlackBox(target, budget=N, cache=tmp_path / f"{number}.db", batch_size=BATCH)
        asked = box.ask(pixels)
        end = time.perf_counter()
        np.testing.assert_allclose(asked, bare, rtol=1e-4, atol=1e-7)
        assert box.forwarded == N
        ratios.append((end - between) / (between - start))
    start = time.perf_counter()
    BlackBox(target, budget=N, cache=tmp_path / "0.db").ask(pixels)
    cached = (time.perf_counter() - start) / N
    print(f"\nasking / bare loop: median {np.median(ratios):.3f} of {np.round(ratios, 3).tolist()}")
    print(f"from the cache: {1e6 * cached:.0f} us per image")
    assert np.median(ratios) < 1.1
