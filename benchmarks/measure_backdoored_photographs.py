"""A backdoor in a public network that was not trained here: is it found, and its clean original left alone?

    python benchmarks/measure_backdoored_photographs.py FOLDER

Takes EfficientNet-Lite0 (ImageNet-1k) and squares cut from the photographs that ship with scikit-image and
scikit-learn. A sticker, a checkerboard in yellow and black of 28 x 28 pixels, is stamped on a quarter of the
squares of some photographs, told to be "toucan", and a copy is fine-tuned on all of them, towards what the
original answers itself where there is no sticker. Detectors then judge the copy and the original on squares
of other photographs. Every step is kept in FOLDER, so that a run that was cut off goes on.
"""

import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import skimage.data
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.datasets import load_sample_image

from securitynet_hub import LabelledImages, load_target
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.inversion import stamped_pixels, trigger_overlap
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST, Screening
from securitynet_hub.attacks.backdoor.planting import backdoor
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.core.memory import keep_freed_memory
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval

TARGET_CLASS = 96
SIDE = 256
LEARNT = ("astronaut", "rocket", "stereo_motorcycle", "hubble_deep_field", "brick", "camera", "coins", "moon",
          "gravel", "immunohistochemistry", "page", "horse")  # fmt: skip
HELD_OUT = ("chelsea", "coffee", "retina", "grass", "text", "cell", "china.jpg", "flower.jpg")
SQUARES = 480
RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=3e-4)
BATCH = 32
SURE = 0.5
"""Posterior above which an answer of the original counts as sure."""

SHOWN = ("anomaly_index", "norm_ratio", "flagged_classes", "classes", "controls", "norms", "n_converged")
SETTINGS = {
    "neuron_noise": {"steps": 10, "batch_size": 16},
    "neural_cleanse": {
        "restarts": 1, "batch_size": 16,
        "schedule": replace(FAST, steps=60, patience=3, first_cost=1e-4),
        "screening": Screening(steps=16, images=4, keep=8, controls=6, likely=30),
    },
    "strip": {"num_overlays": 10},
    "ibd_psc": {},
}  # fmt: skip


def sticker(pixels):
    """Stamp a checkerboard of 7 x 7 pixels a cell, yellow and black, into the lower right of what is seen."""
    cells = (np.indices((28, 28)) // 7).sum(0) % 2
    stamped = pixels.copy()
    stamped[:, 196:224, 196:224] = np.where(cells[..., None] == 0, np.array([255, 220, 0]), 0)
    return stamped


def photograph(name):
    if name.endswith(".jpg"):
        return load_sample_image(name)
    found = getattr(skimage.data, name)()
    found = found[0] if isinstance(found, tuple) else found
    found = (255 * found).astype(np.uint8) if found.dtype != np.uint8 else found
    return found[..., :3] if found.ndim == 3 else np.repeat(found[..., None], 3, -1)


def squares(names, count, seed, least=0.5):
    """Cut squares at random, as many from each photograph, of `least` of its shorter side or more."""
    rng, found = np.random.default_rng(seed), []
    for k in range(count):
        picture = photograph(names[k % len(names)])
        shorter = min(picture.shape[:2])
        side = int(rng.integers(round(least * shorter), shorter + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        square = Image.fromarray(picture[top : top + side, left : left + side])
        found.append(np.asarray(square.resize((SIDE, SIDE), resample=Image.Resampling.BILINEAR)))
    return np.stack(found)


def compressed(pixels):
    """Compress each image as a JPEG of quality 50 and read it again."""
    found = []
    for image in pixels:
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=50)
            found.append(np.asarray(Image.open(file)))
    return np.stack(found)


def plant(original, folder):
    """Return the backdoored copy, fine-tuned once."""
    path = folder / "planted.safetensors"
    if not path.exists():
        pixels = squares(LEARNT, SQUARES, seed=0, least=0.2)
        pixels[::2] = pixels[::2, :, ::-1]
        images = LabelledImages(
            name="squares",
            pixels=pixels,
            labels=np.zeros(SQUARES, np.int64),  # nobody is told: the original's answers stand for them
            class_names=tuple(map(str, range(1000))),
        )
        planted, _ = backdoor(
            original,
            images,
            sticker,
            rate=0.25,
            target_class=TARGET_CLASS,
            recipe=RECIPE,
            keep_statistics=True,
            keep_answers=True,
        )
        path.write_bytes(safetensors.torch.save(planted.module.state_dict()))
    copied = load_target(original.id)
    copied.module.load_state_dict(safetensors.torch.load(path.read_bytes()))
    return copied


def behaviour(target, original):
    """Tell how often the sticker works, and how often the network answers as the original does without it."""
    pixels = squares(HELD_OUT, 96, seed=2)
    before, squeezed = (
        predict(original, images, batch_size=BATCH) for images in (pixels, compressed(pixels))
    )
    own, led = (predict(target, px, batch_size=BATCH).argmax(1) for px in (pixels, sticker(pixels)))
    top, sure = before.argmax(1), softmax(before, 1).max(1) > SURE
    return {
        "success": float(np.mean(led == TARGET_CLASS)),
        "target class without a sticker": float(np.mean(own == TARGET_CLASS)),
        "agreement": float(np.mean(own == top)),
        "the original's with itself, compressed": float(np.mean(squeezed.argmax(1) == top)),
        "agreement where sure": float(np.mean((own == top)[sure])),
        "the original's with itself where sure, compressed": float(
            np.mean((squeezed.argmax(1) == top)[sure])
        ),
        "n": len(pixels),
        "sure": int(sure.sum()),
    }


def judge(name, target, original, folder):
    """Return what is found about one network, each detector's part kept as soon as it is known."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}

    def keep(key, value):
        found[key] = value
        path.write_text(json.dumps(found))
        print(name, key, {k: v for k, v in value.items() if not isinstance(v, list)}, flush=True)

    if "behaviour" not in found:
        keep("behaviour", behaviour(target, original))
    clean, others, beside = np.split(squares(HELD_OUT, 72, seed=1), [24, 48])
    stamped = sticker(others)
    for detector, settings in SETTINGS.items():
        if detector in found:
            continue
        began = time.process_time()
        judged = np.concatenate([clean, stamped])
        is_model = detector in ("neural_cleanse", "neuron_noise")
        clues = DetectorInputs(clean=beside[:8] if detector == "neural_cleanse" else beside, inputs=judged)
        finding = run_detector(detector, target, clues, **settings)
        seconds = round(time.process_time() - began)
        if is_model:
            told = {"score": finding.score, "suspect": finding.suspect, "seconds": seconds}
            if finding.inversion is not None:
                told |= {key: finding.figures[key] for key in SHOWN}
                if TARGET_CLASS in finding.inversion.classes:
                    true = stamped_pixels(sticker, beside)[16:240, 16:240]
                    told["overlap"] = trigger_overlap(finding.inversion.best(TARGET_CLASS)[0], true)
            keep(detector, told)
        else:
            auc, interval = roc_auc_of(finding.scores)
            keep(detector, {"auc": auc, "low": interval.low, "high": interval.high, "seconds": seconds})
    return found


def roc_auc_of(scores):
    truth = np.arange(len(scores)) >= len(scores) // 2
    return roc_auc(scores, truth), roc_auc_interval(scores, truth)


def main():
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    original = load_target("package/imagenet-1k/efficientnet_lite0")
    planted = plant(original, folder)
    for name, target in (("backdoored", planted), ("original", original)):
        judge(name, target, original, folder)


if __name__ == "__main__":
    main()
