"""Photographs of many sizes through a model's preprocessing here and through its publisher's own code.

``python benchmarks/measure_preprocessing.py`` writes the table of docs/data.md. It needs torchvision and
timm; with the variable VISION they are imported from that folder, as by the tests. EfficientNet-Lite0 has its
real weights, those of the other networks are drawn at random: the question is what they are fed and answer.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from tables import writing

from securitynet_hub import AuditData, load_annotations, load_target
from securitynet_hub.data.images import square
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.models.loading import find_loader

NAMES = (
    "astronaut", "brick", "camera", "cat", "cell", "chelsea", "clock", "coffee", "coins", "colorwheel",
    "grass", "gravel", "horse", "hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon",
    "page", "retina", "rocket", "text",
)  # fmt: skip
FORMATS = (("jpg", {"quality": 92}), ("png", {}), ("webp", {"quality": 90}))
SIDE = 256
"""Side of the squares that all images were brought to before each model's own preprocessing."""


def photographs():
    """Yield the pictures that scikit-image and scikit-learn carry."""
    for name in NAMES:
        try:
            yield np.asarray(getattr(skimage.data, name)())
        except (ModuleNotFoundError, ConnectionError, OSError):  # not in the wheel
            continue
    yield from load_sample_images().images


def written(folder):
    """Write each picture into a folder of class 0; return the files in their order."""
    files = []
    for number, pixels in enumerate(photographs()):
        suffix, options = FORMATS[number % len(FORMATS)]
        path = folder / ("train" if number % 2 else "test") / "0" / f"{number:03}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels)
        (picture.convert("RGB") if suffix == "jpg" and picture.mode == "RGBA" else picture).save(
            path, **options
        )
        files.append(path)
    return files


def networks():
    """Yield a name, a network, the preprocessing here and the publisher's: a picture to a tensor."""
    import timm
    import torchvision.transforms as steps
    import transformers
    from timm.data import create_transform, resolve_data_config
    from torchvision.models import get_weight
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    torch.manual_seed(0)
    lite = load_target("package/imagenet-1k/efficientnet_lite0")
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    theirs = [steps.Resize(256, steps.InterpolationMode.BICUBIC), steps.CenterCrop(224), steps.ToTensor()]
    theirs = steps.Compose([*theirs, steps.Normalize(mean, std)])
    yield "EfficientNet-Lite0", lite.module, lite.transform, theirs
    row = load_annotations("extended")["torchvision/imagenet-1k/ResNet18_Weights.IMAGENET1K_V1"]
    module, transform = find_loader("torchvision").build(row)
    yield "torchvision ResNet-18", module, transform, get_weight(row.upstream_name).transforms()
    for name in (
        "mobilenetv3_small_050.lamb_in1k",
        "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
        "test_vit3.r160_in1k",
    ):
        module = timm.create_model(name, pretrained=False)
        settings = resolve_data_config({}, model=module)
        transform = find_loader("timm").preprocessing(settings, name)
        yield f"timm `{name}`", module, transform, create_transform(**settings, is_training=False)
    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    for name, config, settings in (
        ("ViT", transformers.ViTConfig(**small), {"image_processor_type": "ViTImageProcessor"}),
        (
            "ConvNeXt-384",
            transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
        ),
    ):
        loader = importlib.import_module("securitynet_hub.loaders.transformers")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "preprocessor_config.json").write_text(json.dumps(settings))
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        model = transformers.AutoModelForImageClassification.from_config(config)
        yield (
            f"transformers {name}",
            loader.Logits(model),
            loader.Processor(processor, (224, 224, 3)),
            lambda picture, processor=processor: processor(images=picture, return_tensors="pt")[
                "pixel_values"
            ][0],
        )


def main():
    columns = [
        "network", "photographs", "inputs equal", "logits equal",
        f"brought to squares of {SIDE} first: grey levels off, mean", "top class changes",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        images = AuditData.from_folder(folder, classes="order").images
        files = [path for path in files if "train" in path.parts] + [
            path for path in files if "test" in path.parts
        ]
        with writing("preprocessing", "python benchmarks/measure_preprocessing.py", columns) as row:
            for name, module, transform, theirs in networks():
                module.eval()
                pictures = [Image.open(path).convert("RGB") for path in files]
                inputs = [transform(images.read(place)[None]) for place in range(len(images))]
                expected = [theirs(picture)[None] for picture in pictures]
                logits = predict_module(module, transform, images, batch_size=1)
                with torch.inference_mode():
                    answers = np.concatenate([module(tensor).numpy() for tensor in expected])
                squares = [transform(square(np.asarray(picture)[None], SIDE)) for picture in pictures]
                spread = max(float(tensor.max() - tensor.min()) for tensor in expected)
                off = np.mean([float((a - b).abs().mean()) for a, b in zip(squares, expected, strict=True)])
                with torch.inference_mode():
                    changed = np.concatenate([module(tensor).numpy() for tensor in squares])
                row(
                    name,
                    str(len(pictures)),
                    f"{sum(map(torch.equal, inputs, expected))} of {len(inputs)}",
                    f"{(logits == answers).all(1).sum()} of {len(logits)}",
                    f"{off / spread * 255:.1f}",
                    f"{(changed.argmax(1) != answers.argmax(1)).sum()}",
                )


if __name__ == "__main__":
    if "VISION" in os.environ:
        sys.path.insert(0, os.environ["VISION"])
        OPERATORS = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    main()
