"""The corpus's image sets: training, auditor's and test images of each part, drawn or read from ``ASSETS``.

``ASSETS`` is a folder that anyone can fill:

- ``fashion-mnist/``: the four ``*-ubyte.gz`` files of Fashion-MNIST (MIT), on Debian from the package
  ``dataset-fashion-mnist``.
- ``fonts/``: the files that `FONTS` names, at any depth. Debian has them in fonts-cabin, fonts-cantarell,
  fonts-century-catalogue, fonts-comfortaa, fonts-courier-prime, fonts-crosextra-caladea,
  fonts-crosextra-carlito, fonts-dejavu-core, fonts-dejavu-extra, fonts-dosis, fonts-ebgaramond,
  fonts-freefont-ttf, fonts-gfs-didot, fonts-gfs-neohellenic, fonts-goudybookletter, fonts-hack,
  fonts-inconsolata, fonts-junicode, fonts-jura, fonts-lato, fonts-liberation, fonts-linuxlibertine,
  fonts-oldstandard, fonts-open-sans, fonts-play, fonts-quicksand, fonts-roboto-slab and
  fonts-yanone-kaffeesatz.
- ``package/``: ``npm pack emoji-datasource-google@16.0.0``, unpacked (pictures: Noto, Apache-2.0); of it,
  ``emoji.json`` and ``img/google/64/`` are read.

The photographs behind the glyphs are those inside the packages scikit-image and scikit-learn. None of these
images ships with this package.
"""

from __future__ import annotations

import colorsys
import gzip
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from securitynet_hub.core.arrays import Labels
from securitynet_hub.core.files import atomic_path
from securitynet_hub.data.images import FASHION_MNIST_CLASSES, LabelledImages
from securitynet_hub.data.pixels import Pixels, to_pixels
from securitynet_hub.data.transforms import Transform

PARTS = ("design", "calibration", "test")
"""Disjoint sets of seeds: to design detectors on, to calibrate them, and to judge them once."""

SIZES = {"train": 10_000, "audit": 3_000, "test": 2_000}
"""Images of each part: to draw training images from, for the auditor (who has no labels), and for figures."""

FONTS = (
    "Cabin-Regular.otf", "Cabin-Bold.otf", "Cabin-Italic.otf", "Cantarell-Regular.otf",
    "Cantarell-ExtraBold.otf", "Century-Catalogue.ttf", "Comfortaa-Bold.ttf", "Comfortaa-Regular.ttf",
    "Courier Prime.otf", "Courier Prime Bold.otf", "Courier Prime Sans.otf", "Caladea-Regular.ttf",
    "Caladea-BoldItalic.ttf", "Carlito-Regular.ttf", "Carlito-BoldItalic.ttf", "DejaVuSans.ttf",
    "DejaVuSans-BoldOblique.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf",
    "DejaVuSerifCondensed-Italic.ttf", "Dosis-Medium.otf", "Dosis-ExtraBold.otf", "EBGaramond12-Regular.otf",
    "EBGaramond12-Bold.otf", "FreeMono.ttf", "FreeMonoBoldOblique.ttf", "FreeSans.ttf", "FreeSansBold.ttf",
    "FreeSerif.ttf", "FreeSerifBoldItalic.ttf", "GFSDidot.otf", "GFSDidotBold.otf", "GFSNeohellenic.otf",
    "GFSNeohellenicBold.otf", "GoudyBookletter1911.otf", "Hack-Regular.ttf", "Hack-BoldItalic.ttf",
    "Inconsolata.otf", "JunicodeTwoBeta-Regular.otf", "JunicodeTwoBeta-Bold.otf",
    "JunicodeTwoBeta-CondensedMedium.otf", "Jura-Regular.otf", "Jura-Bold.otf", "Lato-Regular.ttf",
    "Lato-Black.ttf", "Lato-Italic.ttf", "LiberationMono-Regular.ttf", "LiberationMono-Bold.ttf",
    "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSansNarrow-Bold.ttf",
    "LiberationSerif-Regular.ttf", "LiberationSerif-BoldItalic.ttf", "LinBiolinum_R.otf",
    "LinBiolinum_RB.otf", "LinLibertine_R.otf", "LinLibertine_RBI.otf", "OldStandard-Regular.ttf",
    "OldStandard-Bold.ttf", "OpenSans-Regular.ttf", "OpenSans-ExtraBold.ttf", "OpenSans-CondBold.ttf",
    "Play-Regular.ttf", "Play-Bold.ttf", "Quicksand-Regular.ttf", "Quicksand-Bold.ttf",
    "RobotoSlab-Regular.otf", "RobotoSlab-Bold.otf", "YanoneKaffeesatz-Regular.otf",
    "YanoneKaffeesatz-Bold.otf",
)  # fmt: skip
"""File names of the glyphs' fonts."""

PHOTOGRAPHS = {
    "skimage": (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
        "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
        "rocket.jpg",
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
}  # fmt: skip
"""Photographs inside installed packages, by package."""

GLYPHS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabdeghnrt"
"""The 43 glyphs: without I, O and the small letters that many fonts draw like another of these."""

EMOJI_CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "faces": (("Smileys & Emotion", "face-"), ("Smileys & Emotion", "cat-face")),
    "hearts": (("Smileys & Emotion", "heart"),),
    "hands": (("People & Body", "hand"),),
    "people": (("People & Body", "person"), ("People & Body", "family")),
    "animals": (("Animals & Nature", "animal-"),),
    "food": (("Food & Drink", "food-"), ("Food & Drink", "drink")),
    "vehicles": (("Travel & Places", "transport-"),),
    "clocks": (("Travel & Places", "time"),),
    "symbols": (("Symbols", ""),),
    "flags": (("Flags", ""),),
}
"""The emoji classes: categories and the beginnings of subcategories in ``emoji.json``."""

UPRIGHT = ("clocks", "symbols", "flags")
"""Emoji classes whose pictures are not mirrored."""


Draw = Callable[[Path, int, dict[str, int]], dict[str, tuple[Pixels, Labels]]]
"""Makes pixels and labels of each side from the folder of assets, a part's number and the sides' sizes."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """One of the corpus's image sets.

    Attributes:
        name: its name in the table.
        class_names: one name for each class.
        transform: the preprocessing of every network that was trained on it.
        draw: makes the images of one part from the folder of assets and a seed.
    """

    name: str
    class_names: tuple[str, ...] = field(repr=False)
    transform: Transform
    draw: Draw = field(repr=False)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one set and part: no image is in two of these.

    Attributes:
        train: each network's training images are drawn from these.
        audit: held by the auditor, as clean images without labels (the labels are there for checks).
        test: accuracy and attack success are measured on these.
    """

    train: LabelledImages
    audit: LabelledImages
    test: LabelledImages


def draw_images(
    name: str, part: str, assets: Path, kept: Path, sizes: dict[str, int] | None = None
) -> Images:
    """Return the images of a set and part; draw them and keep them as a file in `kept` at the first call.

    Args:
        name: one of `IMAGE_SETS`.
        part: one of `PARTS`; it decides the seed.
        assets: the folder that the module's docstring describes; not read if the file is there.
        kept: folder of the files ``<name>-<part>.npz``.
        sizes: number of training, auditor's and test images, by default `SIZES`.

    Raises:
        FileNotFoundError: an asset is missing; the message names it.
    """
    images = IMAGE_SETS[name]
    path = kept / f"{name}-{part}.npz"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        drawn = images.draw(assets, PARTS.index(part), sizes or SIZES)
        arrays = {f"{side}_{kind}": value for side, pair in drawn.items()
                  for kind, value in zip(("pixels", "labels"), pair, strict=True)}  # fmt: skip
        with atomic_path(path, fsync=False) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    with np.load(path) as found:
        return Images(
            **{
                side: LabelledImages(
                    name=f"{name}-{part}-{side}",
                    pixels=found[f"{side}_pixels"],
                    labels=found[f"{side}_labels"],
                    class_names=images.class_names,
                )
                for side in ("train", "audit", "test")
            }
        )


def images_digest(images: Images) -> str:
    """Return the sha256 of all pixels and labels of a set and part, in the order train, audit, test."""
    digest = hashlib.sha256()
    for side in (images.train, images.audit, images.test):
        digest.update(side.pixels.tobytes() + side.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def draw_fashion(assets: Path, seed: int, sizes: dict[str, int]) -> dict[str, tuple[Pixels, Labels]]:
    """Draw images of Fashion-MNIST; the parts (`seed` 0, 1, 2) and the three sides share none.

    Raises:
        ValueError: the files hold too few images for three parts of these sizes.
    """
    folder = assets / "fashion-mnist"
    pixels, labels = [], []
    for part in ("train", "t10k"):
        with gzip.open(_found(folder / f"{part}-images-idx3-ubyte.gz")) as file:
            pixels.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1))
        with gzip.open(_found(folder / f"{part}-labels-idx1-ubyte.gz")) as file:
            labels.append(np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64))
    every, truth = np.concatenate(pixels), np.concatenate(labels)
    total = sum(sizes.values())
    if len(every) < len(PARTS) * total:
        raise ValueError(f"{len(PARTS)} parts of {total} images need more than the {len(every)} in {folder}.")
    rows = np.random.default_rng(0).permutation(len(every))[seed * total : (seed + 1) * total]
    sides = np.split(rows, np.cumsum(list(sizes.values()))[:-1])
    return {name: (every[side], truth[side]) for name, side in zip(sizes, sides, strict=True)}


def draw_glyphs(num_classes: int, font_files: tuple[str, ...] = FONTS) -> Draw:
    """Return what draws the first `num_classes` of `GLYPHS` over crops of photographs, 32 x 32 in colour."""

    def draw(assets: Path, seed: int, sizes: dict[str, int]) -> dict[str, tuple[Pixels, Labels]]:
        photographs, fonts = _photographs(), _fonts(assets, font_files)
        drawn = {}
        for number, (name, size) in enumerate(sizes.items()):
            rng = np.random.default_rng([num_classes, seed, number])
            labels = rng.permutation(np.arange(size) % num_classes).astype(np.int64)
            pixels = np.stack([_glyph(GLYPHS[c], fonts, photographs, rng) for c in labels])
            drawn[name] = pixels, labels
        return drawn

    return draw


def draw_emoji(assets: Path, seed: int, sizes: dict[str, int]) -> dict[str, tuple[Pixels, Labels]]:
    """Draw emoji of varied size and place on plain colours, 32 x 32; variants of a sign lie on one side."""
    rng = np.random.default_rng([99, seed])
    folder = assets / "package"
    entries = json.loads(_found(folder / "emoji.json").read_text(encoding="utf-8"))
    families: list[list[list[str]]] = []
    for rules in EMOJI_CLASSES.values():
        families.append(
            [
                [entry["image"], *(v["image"] for v in entry.get("skin_variations", {}).values())]
                for entry in entries
                if any(
                    entry["category"] == one and entry["subcategory"].startswith(two) for one, two in rules
                )
            ]
        )
    shares = {"train": 0.7, "audit": 0.15, "test": 0.15}
    sides: dict[str, list[list[list[str]]]] = {name: [] for name in sizes}
    for family in families:
        order = rng.permutation(len(family))
        cuts = np.cumsum([round(shares[name] * len(family)) for name in sizes])[:-1]
        for name, chosen in zip(sizes, np.split(order, cuts), strict=True):
            sides[name].append([family[i] for i in chosen])
    pictures: dict[str, Image.Image] = {}
    drawn = {}
    for name, size in sizes.items():
        labels = rng.permutation(np.arange(size) % len(families)).astype(np.int64)
        rows = []
        for label in labels:
            signs = sides[name][label]
            variants = signs[rng.integers(len(signs))]
            file = variants[rng.integers(len(variants))]
            if file not in pictures:
                with Image.open(_found(folder / "img" / "google" / "64" / file)) as picture:
                    pictures[file] = picture.convert("RGBA")
            mirror = list(EMOJI_CLASSES)[label] not in UPRIGHT and rng.random() < 0.5
            rows.append(_emoji(pictures[file], mirror, rng))
        drawn[name] = np.stack(rows), labels
    return drawn


def _colour(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.random(), rng.random()))


def _glyph(
    sign: str,
    fonts: list[list[ImageFont.FreeTypeFont]],
    photographs: list[Pixels],
    rng: np.random.Generator,
) -> Pixels:
    """Draw one sign in a random font, size, place, slant and colour over a crop of a photograph."""
    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.integers(12, 64))
    top, left = (int(rng.integers(0, length - side + 1)) for length in photograph.shape[:2])
    crop = Image.fromarray(photograph[top : top + side, left : left + side]).resize((32, 32), 2)
    behind = np.asarray(crop, np.float64)
    sizes = fonts[rng.integers(len(fonts))]
    font = sizes[rng.integers(len(sizes))]
    canvas = Image.new("L", (64, 64))
    ImageDraw.Draw(canvas).text((32, 32), sign, fill=255, font=font, anchor="mm")
    box = canvas.getbbox() or (16, 16, 48, 48)
    middle = (box[0] + box[2]) / 2 + rng.uniform(-3, 3), (box[1] + box[3]) / 2 + rng.uniform(-3, 3)
    angle = np.deg2rad(rng.uniform(-12, 12))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    moved = (cos, -sin, middle[0] - 16 * cos + 16 * sin, sin, cos, middle[1] - 16 * sin - 16 * cos)
    mask = np.asarray(canvas.transform((32, 32), Image.Transform.AFFINE, moved, 2), np.float64)[..., None]
    colour = _colour(rng)
    while abs((colour - behind.mean((0, 1))).mean()) < 75:  # a sign that can be seen
        colour = _colour(rng)
    return to_pixels(behind + mask / 255 * (colour - behind))


def _emoji(picture: Image.Image, mirror: bool, rng: np.random.Generator) -> Pixels:
    size = int(rng.integers(24, 33))
    small = picture.resize((size, size), Image.Resampling.BOX)
    levels = np.asarray(small, np.float64)
    if mirror:
        levels = levels[:, ::-1]
    canvas = np.broadcast_to(_colour(rng), (32, 32, 3)).copy()
    top, left = rng.integers(0, 33 - size, 2)
    window = canvas[top : top + size, left : left + size]
    window += levels[..., 3:] / 255 * (levels[..., :3] - window)
    return to_pixels(canvas)


def _fonts(assets: Path, names: tuple[str, ...]) -> list[list[ImageFont.FreeTypeFont]]:
    there = {path.name: path for path in sorted((assets / "fonts").rglob("*.[ot]tf"))}
    missing = [name for name in names if name not in there]
    if missing:
        raise FileNotFoundError(
            f"{assets / 'fonts'} lacks {len(missing)} of {len(names)} fonts: {', '.join(missing[:5])}. See "
            "securitynet_hub.zoo.corpus.images for the packages that hold them."
        )
    return [[ImageFont.truetype(there[name], size) for size in range(22, 33, 2)] for name in names]


def _photographs() -> list[Pixels]:
    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"the glyphs' photographs lie in {package}: pip install scikit-image scikit-learn."
            )
        folder = Path(spec.origin).parent / ("data" if package == "skimage" else "datasets/images")
        for name in names:
            with Image.open(_found(folder / name)) as photograph:
                found.append(np.asarray(photograph.convert("RGB")))
    return found


def _found(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing. The docstring of securitynet_hub.zoo.corpus.images says where to get it."
        )
    return path


GREY = Transform(height=28, width=28, mean=(0.2860,), std=(0.3530,))
COLOUR = Transform(height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

IMAGE_SETS = {
    images.name: images
    for images in (
        ImageSet(name="fashion", class_names=FASHION_MNIST_CLASSES, transform=GREY, draw=draw_fashion),
        ImageSet(name="glyphs10", class_names=tuple(GLYPHS[:10]), transform=COLOUR, draw=draw_glyphs(10)),
        ImageSet(name="glyphs43", class_names=tuple(GLYPHS), transform=COLOUR, draw=draw_glyphs(43)),
        ImageSet(name="emoji", class_names=tuple(EMOJI_CLASSES), transform=COLOUR, draw=draw_emoji),
    )
}
"""Every image set by its name."""
