"""What membership attacks find on fine-tuned models whose base is public: tables of ``docs/membership.md``.

Run with ``python benchmarks/findings_finetuned.py FOLDER EMOJI FASHION``, some minutes of one core. EMOJI has
the folders ``google`` and ``twitter`` with the npm packages emoji-datasource-google and
emoji-datasource-twitter 16.0.0, FASHION the four files of Fashion-MNIST; FOLDER keeps the networks, so that
it goes on after an interruption.

- ``hands``: a base trained on the emoji of one hand (Noto), nine categories, fine-tuned on the other hand's
  (Twemoji).
- ``classes``: a base trained on five classes of Fashion-MNIST, fine-tuned on the other five.

Networks are fine-tuned each on a half of a pool; twelve of them are the target, one after another, and the
sixteen of other halves are its shadow models, fine-tuned from the same base. Pictures that occur twice in the
pool are not judged.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from findings_membership import cells
from PIL import Image
from tables import writing
from torch import nn

from securitynet_hub.attacks.membership.base_calibration import base_calibrated_scores
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.population import difficulty_calibrated_scores
from securitynet_hub.attacks.membership.shadows import balanced_masks, train_shadows
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.data.pixels import image_digests
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.trained import find_trained, keep_trained
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.statistics.signals import SIGNALS
from securitynet_hub.zoo.train import _read_idx

COMMAND = "python benchmarks/findings_finetuned.py FOLDER EMOJI FASHION"
MODELS, TARGETS, FPRS = 18, 12, (0.05, 0.01)
BASE = Recipe(epochs=20, batch_size=64, learning_rate=3e-3, weight_decay=0.01, augment="shift", seed=5)
TUNING = Recipe(epochs=20, batch_size=50, learning_rate=2e-3, seed=100)


def network(channels, classes):
    """Three strided convolutions with BatchNorm, 96 features, a linear head."""

    def block(before, after):
        return nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()

    return nn.Sequential(
        *block(channels, 24),
        *block(24, 48),
        *block(48, 96),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, classes),
    )


def emoji(folder, hand):
    signs = json.loads((folder / hand / "emoji.json").read_text())
    signs = [
        s for s in signs if s["category"] != "Component" and s["has_img_google"] and s["has_img_twitter"]
    ]
    names = sorted({s["category"] for s in signs})
    pixels = []
    for sign in signs:
        with Image.open(folder / hand / "img" / hand / "64" / sign["image"]) as file:
            image = file.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            pixels.append(
                np.asarray(Image.alpha_composite(white, image).convert("RGB").resize((32, 32), Image.BOX))
            )
    labels = np.array([names.index(s["category"]) for s in signs])
    return LabelledImages(
        name=f"emoji-{hand}", pixels=np.stack(pixels), labels=labels, class_names=tuple(names)
    )


def fashion(folder):
    pixels, labels = _read_idx(folder, "train")
    found = []
    for part, (classes, each) in enumerate([(range(5), 600), (range(5, 10), 120)]):
        rows = np.concatenate([np.flatnonzero(labels == c)[:each] for c in classes])
        own = LabelledImages(
            name=f"fashion-{part}",
            pixels=pixels[rows],
            labels=labels[rows] - 5 * part,
            class_names=FASHION_MNIST_CLASSES[5 * part : 5 * part + 5],
        )
        found.append(own)
    return found


def base_of(images, transform, folder):
    def build():
        return network(images.pixels.shape[-1], len(images.class_names))

    path = folder / "base.safetensors"
    module = find_trained(build, path)
    if module is None:
        folder.mkdir(parents=True, exist_ok=True)
        module = train(
            build, transform(images.pixels), torch.from_numpy(images.labels.astype(np.int64)), BASE
        )
        keep_trained(module, path, {"recipe": BASE.as_dict()})
    return module


def tuned(images, base, transform, folder):
    classes = len(images.class_names)

    def build():
        own = network(images.pixels.shape[-1], classes)
        known = {k: v for k, v in base.state_dict().items() if not k.startswith("11.")}
        own.load_state_dict(known, strict=False)
        return own

    masks = balanced_masks(MODELS, len(images), seed=0)
    return train_shadows(
        build,
        images,
        np.arange(len(images)),
        masks,
        TUNING,
        transform,
        folder=folder,
        on_model=lambda number: print(
            f"  {folder.name}: {number + 1} of {MODELS}", file=sys.stderr, flush=True
        ),
    )


def judged(shadows, features, images):
    """Return a function from an attack's name to the figures of each target."""
    digests = image_digests(images.pixels)
    times = Counter(digests)
    rows = np.array([row for row, digest in enumerate(digests) if times[digest] == 1])
    labels, masks, logits = images.labels[rows], shadows.masks[:, rows], shadows.logits[:, rows, 0]
    loss, margin, entropy = (
        np.stack([SIGNALS[name](own, labels, from_logits=True) for own in logits])
        for name in ("loss", "logit_margin", "modified_entropy")
    )

    def attack(name, target):
        others = np.flatnonzero(np.arange(MODELS) // 2 != target // 2)
        beside = loss[target], loss[others], masks[others]
        margins = margin[target], margin[others], masks[others]
        return {
            "loss": lambda: loss[target],
            "modified_entropy": lambda: entropy[target],
            "base_calibration": lambda: base_calibrated_scores(loss[target], features[rows], labels),
            "difficulty_calibration": lambda: difficulty_calibrated_scores(*beside),
            "lira_offline": lambda: lira_scores(*margins, mode="offline", variance="bayesian"),
            "lira": lambda: lira_scores(*margins, variance="bayesian"),
        }[name]()

    def found(name):
        results = [
            measure_membership(attack(name, target), masks[target], target_fprs=FPRS)
            for target in range(TARGETS)
        ]
        return [[r["auc"], *(rate["tpr_at_threshold"] for rate in r["tpr_at_fpr"])] for r in results]

    print(f"{len(rows)} of {len(images.labels)} pictures are judged", file=sys.stderr)
    return found


ATTACKS = {
    "loss": "",
    "modified_entropy": "",
    "base_calibration": "the base",
    "difficulty_calibration": "16 shadow models",
    "lira_offline": "16 shadow models",
    "lira": "16 shadow models",
}
"""What each attack needs beside the target's answers."""


def main(folder, emoji_folder, fashion_folder):
    torch.set_num_threads(1)
    pairs = {
        "classes": fashion(fashion_folder),
        "hands": (emoji(emoji_folder, "google"), emoji(emoji_folder, "twitter")),
    }
    columns = ["attack", "needs", "AUC", *(f"TPR at {100 * rate:g} % FPR" for rate in FPRS)]
    for name, (first, second) in pairs.items():
        mean, spread = (getattr(first.pixels, kind)((0, 1, 2)) / 255 for kind in ("mean", "std"))
        side = first.pixels.shape[1]
        transform = Transform(
            height=side, width=side, mean=tuple(map(float, mean)), std=tuple(map(float, spread))
        )
        base = base_of(first, transform, folder / name)
        shadows = tuned(second, base, transform, folder / name)
        right = shadows.logits[:, :, 0].argmax(-1) == second.labels
        inside, outside = right[shadows.masks].mean(), right[~shadows.masks].mean()
        print(f"{name}: accuracy {inside:.3f} on members, {outside:.3f} on others of the pool")
        found = judged(shadows, predict_module(base[:-1], transform, second.pixels), second)
        with writing(f"membership-tuned-{name}", COMMAND, columns) as write:
            for attack, needs in ATTACKS.items():
                write(f"`{attack}`", needs, *cells(found(attack)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
