"""Pictures of many sizes in files of many formats and modes."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image

SIZES = [
    (1, 1), (1, 7), (2, 3), (5, 5), (28, 28), (31, 32), (32, 32), (33, 32), (64, 48), (90, 500),
    (500, 90), (97, 101), (150, 150), (175, 181), (200, 300), (223, 225),
    (224, 224), (225, 223), (231, 232), (232, 400),
    (240, 240), (255, 256), (256, 256), (257, 255), (288, 384),
    (333, 500), (400, 600), (501, 377), (600, 400), (640, 427),
]  # fmt: skip
"""Height and width."""

FORMS = [
    ("RGB", "JPEG", {"quality": 90}), ("L", "PNG", {}), ("P", "PNG", {}), ("CMYK", "JPEG", {}),
    ("RGBA", "PNG", {}),
    ("RGB", "WEBP", {"quality": 80}), ("LA", "PNG", {}),
    ("RGBA", "WEBP", {"lossless": True}), ("1", "PNG", {}),
    ("L", "JPEG", {"quality": 75}), ("RGB", "PNG", {}),
]  # fmt: skip
"""Mode, format and options of the file; sizes and forms have no common divisor."""


def drawn(height, width):
    """A smooth picture with noise and edges."""
    rng = np.random.default_rng(height * 1000 + width)
    i, j = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(i / (7 + 3 * c)) * np.cos(j / (11 - 2 * c)) for c in range(3)]
    noisy = (
        np.stack(waves, -1)
        + rng.normal(0, 25, (height, width, 3))
        + 80 * ((i // 16 + j // 24) % 2)[..., None]
    )
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def opened(height, width, mode, form, options):
    file = io.BytesIO()
    drawn(height, width).convert(mode).save(file, form, **options)
    return Image.open(io.BytesIO(file.getvalue()))


@lru_cache(maxsize=1)
def pictures():
    """Return a picture of each size as a publisher's pipeline has it, which turns every mode to RGB."""
    return [opened(*size, *FORMS[place % len(FORMS)]).convert("RGB") for place, size in enumerate(SIZES)]
