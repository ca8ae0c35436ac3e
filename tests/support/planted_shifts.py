"""Ways in which two sets of images may differ before any training, and images to plant them in."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE = 64


def brightness(image):
    return (image * 0.85).astype(np.uint8)


def blur(image):
    return _pixels(_picture(image).filter(ImageFilter.GaussianBlur(0.8)), image)


def jpeg(image):
    file = io.BytesIO()
    _picture(image).save(file, "JPEG", quality=75)
    return _pixels(Image.open(file), image)


def crop(image):
    height, width = image.shape[:2]
    margin = round(height * 0.08)
    part = _picture(image).crop((margin, margin, width - margin, height - margin))
    return _pixels(part.resize((width, height), Image.Resampling.BILINEAR), image)


def noise(image):
    rng = np.random.default_rng(int(image.sum()))
    return np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def hue(image):
    turned = np.array(_picture(image).convert("HSV"))
    turned[..., 0] += 12
    return _pixels(Image.fromarray(turned, "HSV"), image)


def resolution(image):
    """Half the pixels: the image itself gets smaller."""
    height, width = image.shape[:2]
    size = (round(width * 0.75), round(height * 0.75))
    return _pixels(_picture(image).resize(size, Image.Resampling.BILINEAR), image)


def resampled(image):
    """Half the pixels, blown up to the old size."""
    size = image.shape[1::-1]
    return _pixels(_picture(resolution(image)).resize(size, Image.Resampling.BILINEAR), image)


def grey(image):
    return _pixels(_picture(image).convert("L"), image)


def border(image):
    framed = image.copy()
    framed[[0, -1]] = 0
    framed[:, [0, -1]] = 0
    return framed


SHIFTS = {
    function.__name__: function
    for function in (brightness, blur, jpeg, crop, noise, hue, resolution, resampled, grey, border)
}
"""Of one image; a mix of classes is a choice of images instead: `class_mix`."""

OF_COLOUR = {"hue", "grey"}


def class_mix(labels, members, nonmembers, rng):
    """Draw rows of both sides; members come nine times as often from the first half of the classes."""
    chances = np.where(labels < (labels.max() + 1) // 2, 9.0, 1.0)
    first = rng.choice(len(labels), members, replace=False, p=chances / chances.sum())
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, rng.choice(rest, nonmembers, replace=False)])


def photographs(side=SIDE):
    """Return squares cut side by side from photographs, and from which of them each is cut."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.data.__file__).parent
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg",
             "retina.jpg", "ihc.png", "motorcycle_left.png")  # fmt: skip
    pictures = [
        np.asarray(Image.open(folder / name).convert("RGB")) for name in names if (folder / name).is_file()
    ]
    squares, labels = [], []
    for label, picture in enumerate([*pictures, *load_sample_images().images]):
        height, width = (extent // side * side for extent in picture.shape[:2])
        cut = picture[:height, :width].reshape(height // side, side, width // side, side, 3).swapaxes(1, 2)
        # The black of a frame would be there many times.
        cut = [square for square in cut.reshape(-1, side, side, 3) if square.std() > 8]
        squares += cut
        labels += [label] * len(cut)
    return squares, np.array(labels)


def _picture(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _pixels(picture, like):
    pixels = np.asarray(picture.convert("L" if like.shape[-1] == 1 else "RGB"), np.uint8)
    return pixels.reshape(*pixels.shape[:2], like.shape[-1])
