"""STRIP beside the Adversarial Robustness Toolbox's, on one network with the same images and 20 overlays.

Run with ``make bench``; skipped without ``adversarial-robustness-toolbox`` (``pip install --no-deps``, and
``six``, do). Both average image and overlay, in one thread; seconds are the processor's. Theirs blends and
asks image by image and takes the entropy over the overlays; ours asks in batches and takes it over the
classes, as the paper does.
"""

import time
import warnings

import numpy as np
import pytest
import torch

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.data.triggers import corner_patch
from securitynet_hub.statistics.rates import roc_auc

NUM_OVERLAYS, ROUNDS = 20, 5


def peer(target, clean):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed")
        from art.defences.transformer.poisoning import STRIP
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            model=torch.nn.Sequential(target.module, torch.nn.Softmax(1)),
            loss=torch.nn.CrossEntropyLoss(),
            input_shape=clean.shape[1:],
            nb_classes=target.num_classes,
            preprocessing=(
                np.array(target.transform.mean, np.float32),
                np.array(target.transform.std, np.float32),
            ),
            device_type="cpu",
        )
        defence = STRIP(classifier)(num_samples=NUM_OVERLAYS)
        defence.validation_data, defence.entropy_threshold = clean, 0.0
        return defence


def test_scoring_two_hundred_images():
    torch.set_num_threads(1)
    target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels[2000:]
    inputs, clean = np.concatenate([pixels[:100], corner_patch(pixels[100:200])]), pixels[1000:1020]
    theirs = peer(target, np.moveaxis(clean, -1, 1).astype(np.float32) / 255)
    scaled = np.moveaxis(inputs, -1, 1).astype(np.float32) / 255
    ratios = []
    for _ in range(ROUNDS):
        started = time.process_time()
        theirs.predict(scaled)
        middle = time.process_time()
        scores = strip_scores(target, inputs, clean=clean, num_overlays=NUM_OVERLAYS, weights=(0.5, 0.5))
        ended = time.process_time()
        ratios.append((middle - started) / (ended - middle))
    auc = roc_auc(scores, np.arange(200) >= 100)
    print(f"\nSTRIP, 200 images, 20 overlays: {ended - middle:.3f} s, AUC {auc:.3f}; peer / ours: median")
    print(f"{np.median(ratios):.1f} of {np.round(ratios, 1).tolist()}")
    assert np.median(ratios) >= 4
