"""Image sets unlike the corpus's, for kinds of networks that the verdict was not made on.

Each is drawn from seeds, from pictures inside scikit-learn and scikit-image, or from the folder ASSETS that
`securitynet_hub.zoo.corpus.images` describes. A set has three sides: images to train on, the auditor's, and
images to test on.
"""

import gzip
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from securitynet_hub.data.pixels import to_pixels
from securitynet_hub.data.transforms import Transform

SIDES = {"train": 4000, "audit": 1400, "test": 800}
"""Images of each side."""

PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "moon",
    "rocket",
    "retina",
    "china.jpg",
    "flower.jpg",
)
UPRIGHT = ("astronaut", "chelsea", "coffee", "rocket", "china.jpg", "flower.jpg")

DrawOne = Callable[[int, str, np.random.Generator], np.ndarray]
"""Draws an image of a class for a side: levels of 0 to 255, shape (side, side, channels)."""


@dataclass(frozen=True)
class ImageSet:
    """Its shape, number of classes, and what makes `DrawOne` from the folder of assets."""

    side: int
    channels: int
    num_classes: int
    make: Callable[[Path], DrawOne]
    audit: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, self.channels

    @property
    def transform(self) -> Transform:
        return Transform(
            height=self.side, width=self.side, mean=(0.5,) * self.channels, std=(0.25,) * self.channels
        )


def draw_set(name: str, assets: Path, kept: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pixels and labels of each side; draw them at the first call and keep them as a file."""
    path, images = kept / f"{name}.npz", IMAGE_SETS[name]
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        draw, arrays = images.make(assets), {}
        for number, (side, size) in enumerate(SIDES.items()):
            rng = np.random.default_rng([*name.encode(), number])
            count = images.audit or size if side == "audit" else size
            labels = rng.permutation(np.arange(count) % images.num_classes)
            arrays[f"{side}_pixels"] = np.stack([to_pixels(draw(int(c), side, rng)) for c in labels])
            arrays[f"{side}_labels"] = labels.astype(np.int64)
        np.savez(path, **arrays)
    with np.load(path) as found:
        return {side: (found[f"{side}_pixels"], found[f"{side}_labels"]) for side in SIDES}


def _paint(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    return tuple(int(v) for v in rng.integers(low, high, 3))


def _two_paints(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return two colours that differ enough to be told apart."""
    while True:
        one, two = _paint(rng), _paint(rng)
        if abs(np.mean(one) - np.mean(two)) > 60:
            return one, two


def _scaled(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), np.float64)


def _noisy(levels: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    return levels + rng.normal(0, spread, levels.shape)


def _ring(n: int, radius: float, turn: float, x: float, y: float, inner: float = 1.0) -> list:
    """Return the corners of a polygon, every second one at `inner` of the radius."""
    angles = turn + 2 * np.pi * np.arange(n) / n
    radii = radius * np.where(np.arange(n) % 2, inner, 1.0)
    return [(x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]


def shapes(assets: Path) -> DrawOne:
    """Nine filled figures of any two colours, moved and turned a little."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, front = _two_paints(rng)
        picture = Image.new("RGB", (64, 64), behind)
        pen, r = ImageDraw.Draw(picture), rng.uniform(12, 24)
        x, y = 32 + rng.uniform(-6, 6), 32 + rng.uniform(-6, 6)
        turn = rng.uniform(-0.4, 0.4)
        if c == 0:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=front)
        elif c == 1:
            pen.ellipse((x - r, y - r, x + r, y + r), outline=front, width=int(r * 0.4))
        elif c in (2, 3):
            pen.polygon(_ring(c + 1, r, turn - np.pi / (2 if c == 2 else 4), x, y), fill=front)
        elif c == 4:
            pen.polygon(_ring(10, r * 1.2, turn - np.pi / 2, x, y, 0.4), fill=front)
        elif c == 5:
            pen.polygon(_ring(8, r * 1.2, turn, x, y, 0.3), fill=front)
        elif c == 6:
            pen.line([(x - r, y), (x + r, y + 10 * turn)], fill=front, width=int(r * 0.5))
        elif c == 7:
            pen.pieslice((x - r, y - r, x + r, y + r), 200 + 30 * turn, 340 + 30 * turn, fill=front)
        else:
            for dx, dy in ((-1, -1), (1, 1), (-1, 1), (1, -1)):
                pen.rectangle(
                    (x + dx * r * 0.6 - 4, y + dy * r * 0.6 - 4, x + dx * r * 0.6 + 4, y + dy * r * 0.6 + 4),
                    fill=front,
                )
        return _noisy(_scaled(picture, 32), rng, 12)

    return draw


def digits(assets: Path) -> DrawOne:
    """scikit-learn's handwritten digits, 8 x 8, doubled, moved, stretched in contrast, with some noise."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    parts = dict(zip(SIDES, np.split(order, [1000, 1400]), strict=True))

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        rows = parts[side][data.target[parts[side]] == c]
        levels = ndimage.zoom(data.images[rows[rng.integers(len(rows))]] / 16, 2, order=1)
        levels = ndimage.shift(levels, rng.uniform(-1.5, 1.5, 2), order=1)
        return _noisy(255 * levels[..., None] * rng.uniform(0.6, 1.1), rng, 15)

    return draw


@lru_cache
def _photograph(name: str) -> Image.Image:
    import skimage.data
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image(name) if "." in name else getattr(skimage.data, name)()
    return Image.fromarray(np.asarray(pixels, np.uint8)).convert("RGB")


def _crop(name: str, low: int, high: int, side: int, rng: np.random.Generator) -> Image.Image:
    photograph = _photograph(name)
    size = int(rng.integers(low, min(high, *photograph.size)))
    left, top = (int(rng.integers(0, length - size + 1)) for length in photograph.size)
    return photograph.crop((left, top, left + size, top + size)).resize((side, side), 2)


def photographs(assets: Path) -> DrawOne:
    """Squares cut from 14 photographs, mirrored or not: which photograph is it?"""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        levels = np.asarray(_crop(PHOTOGRAPHS[c], 48, 160, 32, rng), np.float64)
        return levels[:, :: rng.choice([-1, 1])] * rng.uniform(0.8, 1.2)

    return draw


def turns(assets: Path) -> DrawOne:
    """Squares of 48 x 48 from six photographs, turned by 0, 90, 180 or 270 degrees: by how much?"""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        levels = np.asarray(_crop(UPRIGHT[rng.integers(len(UPRIGHT))], 150, 290, 48, rng), np.float64)
        return np.rot90(levels[:, :: rng.choice([-1, 1])], c)

    return draw


@lru_cache
def _fashion(assets: Path) -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(assets / "fashion-mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(assets / "fashion-mnist" / "train-labels-idx1-ubyte.gz") as file:
        return pixels, np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)


def fashion(classes: tuple[int, ...], tinted: bool = False) -> Callable[[Path], DrawOne]:
    """Some classes of Fashion-MNIST, as they are or in colour over another colour, 32 x 32."""

    def make(assets: Path) -> DrawOne:
        pixels, labels = _fashion(assets)
        rows = {c: np.flatnonzero(labels == c) for c in classes}
        ends = {"train": (0, 4000), "audit": (4000, 5000), "test": (5000, 6000)}

        def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
            image = pixels[rows[classes[c]][rng.integers(*ends[side])]]
            if not tinted:
                return image[..., None].astype(np.float64)
            share = np.pad(image, 2)[..., None] / 255
            behind, front = _two_paints(rng)
            return share * np.array(front) + (1 - share) * np.array(behind)

        return draw

    return make


def textures(assets: Path) -> DrawOne:
    """Eight textures in two random colours."""
    rows, columns = np.indices((32, 32)) / 32.0

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        white = rng.normal(size=(32, 32))
        phase, f = rng.uniform(0, 2 * np.pi), rng.uniform(3, 6)
        if c == 0:
            field = ndimage.gaussian_filter(white, 3, mode="wrap")
        elif c == 1:
            field = ndimage.gaussian_filter(white, (0.3, 4), mode="wrap")
        elif c == 2:
            field = ndimage.gaussian_filter(white, (4, 0.3), mode="wrap")
        elif c == 3:
            field = np.sin(2 * np.pi * f * rows + phase) * np.sin(2 * np.pi * f * columns + phase)
        elif c == 4:
            field = np.sin(2 * np.pi * f * np.hypot(rows - rng.random(), columns - rng.random()) + phase)
        elif c == 5:
            field = ndimage.maximum_filter(rng.random((32, 32)) > 0.98, 3).astype(float)
        elif c == 6:
            field = rng.normal(size=(8, 8)).repeat(4, 0).repeat(4, 1)
        else:
            field = np.abs(ndimage.gaussian_filter(white, 1.5, mode="wrap"))
        low, high = np.quantile(field, [0.02, 0.98])
        share = np.clip((field - low) / max(high - low, 1e-9), 0, 1)[..., None]
        one, two = _two_paints(rng)
        return _noisy(share * np.array(one) + (1 - share) * np.array(two), rng, 10)

    return draw


def counts(assets: Path) -> DrawOne:
    """One to six bright discs that do not touch, on grey: how many?"""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        picture = Image.new("L", (96, 96), int(rng.integers(0, 70)))
        pen, places = ImageDraw.Draw(picture), []
        while len(places) < c + 1:
            place = rng.uniform(14, 82, 2)
            if rng.random() < 0.02:
                places = []  # there may be no room left
            if all(np.hypot(*(place - other)) > 26 for other in places):
                places.append(place)
        for x, y in places:
            r = rng.uniform(8, 11)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(150, 256)))
        return _noisy(_scaled(picture, 24)[..., None], rng, 6)

    return draw


def _emoji(assets: Path, sorts: Sequence[str], each: int) -> list[list[Image.Image]]:
    """Open the first so many emoji of each sort."""
    folder = assets / "package"
    entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))

    def opened(file: str) -> Image.Image:
        with Image.open(folder / "img" / "google" / "64" / file) as picture:
            return picture.convert("RGBA")

    files = [[e["image"] for e in entries if e["subcategory"] == name][:each] for name in sorts]
    return [[opened(file) for file in part] for part in files]


def signs(assets: Path) -> DrawOne:
    """Twenty emoji, one a class, turned, scaled, and over a plain colour."""
    wanted = (
        "animal-mammal",
        "animal-bird",
        "animal-bug",
        "food-fruit",
        "food-vegetable",
        "plant-flower",
        "sport",
        "tool",
        "musical-instrument",
        "clothing",
    )
    pictures = list(itertools.chain(*_emoji(assets, wanted, 2)))

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        size = int(rng.integers(20, 33))
        turned = pictures[c].rotate(rng.uniform(-30, 30), resample=2).resize((size, size), 2)
        canvas = Image.new("RGB", (32, 32), _paint(rng))
        canvas.paste(turned, tuple(int(v) for v in rng.integers(0, 33 - size, 2)), turned)
        return _noisy(np.asarray(canvas, np.float64), rng, 12)

    return draw


FACES = (
    "DejaVuSans.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSans-Bold.ttf",
    "FreeSans.ttf",
    "FreeSerif.ttf",
    "FreeMono.ttf",
    "LiberationSans-Regular.ttf",
    "LiberationSerif-Bold.ttf",
    "LiberationMono-Regular.ttf",
    "FreeSerifItalic.ttf",
)


@lru_cache
def _fonts(assets: Path) -> list[ImageFont.FreeTypeFont]:
    there = {path.name: path for path in sorted((assets / "fonts").rglob("*.ttf"))}
    return [ImageFont.truetype(there[name], size) for name in FACES for size in (34, 40, 46)]


def letters(alphabet: str, side: int, coloured: bool) -> Callable[[Path], DrawOne]:
    """Letters of ten fonts, dark on light paper, or of one colour over a change from one to another."""

    def make(assets: Path) -> DrawOne:
        fonts = _fonts(assets)

        def draw(c: int, which: str, rng: np.random.Generator) -> np.ndarray:
            canvas = Image.new("L", (64, 64))
            at = tuple(32 + rng.uniform(-5, 5, 2))
            font = fonts[rng.integers(len(fonts))]
            ImageDraw.Draw(canvas).text(at, alphabet[c], fill=255, font=font, anchor="mm")
            share = _scaled(canvas.rotate(rng.uniform(-10, 10)), side)[..., None] / 255
            if not coloured:
                paper, ink = rng.uniform(180, 255), rng.uniform(0, 90)
                return _noisy(paper + share * (ink - paper), rng, 8)
            one, two = _two_paints(rng)
            ramp = np.linspace(0, 1, side)[:, None, None]
            behind = np.array(one) + 0.5 * ramp * (rng.uniform(0, 255, 3) - np.array(one))
            return behind + share * (np.array(two) - behind)

        return draw

    return make


def stripes(assets: Path) -> DrawOne:
    """Stripes in one of twelve directions, of any width and phase, in noise."""
    rows, columns = np.indices((16, 16)) / 16.0

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        angle = np.pi * (c + rng.uniform(-0.3, 0.3)) / 12
        along = np.cos(angle) * columns + np.sin(angle) * rows
        wave = np.sin(2 * np.pi * rng.uniform(2.5, 5) * along + rng.uniform(0, 2 * np.pi))
        return _noisy((128 + rng.uniform(40, 110) * wave)[..., None], rng, 20)

    return draw


def scenes(assets: Path) -> DrawOne:
    """Landscapes of 64 x 64: by day, at sunset, by night, in rain."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        top = ((70, 130, 220), (90, 40, 110), (5, 5, 35), (90, 95, 105))[c]
        low = ((170, 210, 245), (250, 140, 60), (25, 30, 70), (140, 145, 150))[c]
        ramp = np.linspace(0, 1, 64)[:, None, None]
        sky = np.broadcast_to((1 - ramp) * np.array(top) + ramp * np.array(low), (64, 64, 3))
        picture = Image.fromarray(to_pixels(sky + rng.uniform(-40, 40, 3)))
        pen, x, y, r = ImageDraw.Draw(picture), *rng.uniform(8, 56, 2), rng.uniform(4, 8)
        if c < 3 and rng.random() < 0.7:
            glow = ((255, 240, 120), (255, 90, 40), (235, 235, 215))[c]
            pen.ellipse((x - r, y / 2 - r, x + r, y / 2 + r), fill=glow)
        for place in rng.uniform(0, 64, (30, 2)):
            if c == 3:
                pen.line([tuple(place), (place[0] - 2, place[1] + 6)], fill=(200, 205, 215))
        hill = 40 + rng.uniform(0, 12) + rng.uniform(2, 7) * np.sin(np.arange(64) / rng.uniform(5, 14))
        dark = (0.9, 0.6, 0.25, 0.6)[c]
        land = tuple(int(dark * v) for v in (rng.integers(30, 120), rng.integers(60, 160), 40))
        pen.polygon([(0, 64), *enumerate(hill), (63, 64)], fill=land)
        return _noisy(np.asarray(picture, np.float64) * rng.uniform(0.7, 1.2), rng, 14)

    return draw


def boards(assets: Path) -> DrawOne:
    """Forty-three road signs of our own: 4 outlines, 4 colours, and up to 3 symbols in them."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        outline, colour, symbol = c % 4, c // 4 % 4, c // 16
        picture = Image.new("RGB", (96, 96), _paint(rng))
        pen = ImageDraw.Draw(picture)
        x, y, r = *(48 + rng.uniform(-8, 8, 2)), rng.uniform(26, 38)
        fill = ((200, 30, 30), (30, 70, 190), (235, 200, 30), (240, 240, 240))[colour]
        if outline == 0:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        else:
            corners = (3, 4, 8)[outline - 1]
            pen.polygon(_ring(corners, r * 1.1, -np.pi / 2 + (outline == 3) * np.pi / 8, x, y), fill=fill)
        ink, s = (20, 20, 20) if colour > 1 else (250, 250, 250), r * 0.4
        if symbol == 0:
            pen.line([(x - s, y), (x + s, y)], fill=ink, width=int(s * 0.7))
        elif symbol == 1:
            pen.line([(x, y - s), (x, y + s)], fill=ink, width=int(s * 0.7))
        else:
            pen.ellipse((x - s, y - s, x + s, y + s), fill=ink)
        levels = _scaled(picture.rotate(rng.uniform(-8, 8)), 32) * rng.uniform(0.5, 1.1)
        return _noisy(levels, rng, 10)

    return draw


def curves(assets: Path) -> DrawOne:
    """Bright Lissajous curves of eight pairs of frequencies."""
    pairs = ((1, 2), (1, 3), (2, 3), (1, 1), (2, 1), (3, 1), (3, 2), (3, 4))

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        a, b = pairs[c]
        t = np.linspace(0, 2 * np.pi, 120)
        phase = rng.uniform(0.25, 0.75) * np.pi / 2
        x = 48 + rng.uniform(26, 42) * np.sin(a * t + phase) + rng.uniform(-5, 5)
        y = 48 + rng.uniform(26, 42) * np.sin(b * t) + rng.uniform(-5, 5)
        picture = Image.new("L", (96, 96), int(rng.integers(0, 60)))
        lines = list(zip(x.tolist(), y.tolist(), strict=True))
        ImageDraw.Draw(picture).line(lines, fill=int(rng.integers(140, 256)), width=int(rng.integers(4, 8)))
        return _noisy(_scaled(picture, 32)[..., None], rng, 10)

    return draw


def polygons(assets: Path) -> DrawOne:
    """Triangles, squares, pentagons and hexagons, filled or in outline, in any colours."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, front = _two_paints(rng)
        picture = Image.new("RGB", (96, 96), behind)
        corners = _ring(3 + c % 4, rng.uniform(24, 42), rng.uniform(0, 7), *(48 + rng.uniform(-8, 8, 2)))
        if c < 4:
            ImageDraw.Draw(picture).polygon(corners, fill=front)
        else:
            ImageDraw.Draw(picture).line([*corners, *corners[:2]], fill=front, width=7)
        return _noisy(_scaled(picture, 32), rng, 10)

    return draw


def segments(assets: Path) -> DrawOne:
    """Digits of seven segments, slanted, of any thickness and brightness."""
    lit = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
    ends = {
        "a": ((0, 0), (1, 0)),
        "b": ((1, 0), (1, 1)),
        "c": ((1, 1), (1, 2)),
        "d": ((0, 2), (1, 2)),
        "e": ((0, 1), (0, 2)),
        "f": ((0, 0), (0, 1)),
        "g": ((0, 1), (1, 1)),
    }

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        picture = Image.new("L", (80, 80), int(rng.integers(0, 110)))
        pen, s, slant = ImageDraw.Draw(picture), rng.uniform(20, 28), rng.uniform(-0.3, 0.3)
        x0, y0 = rng.uniform(18, 34), rng.uniform(8, 18)
        level, width = int(rng.integers(160, 256)), int(rng.integers(4, 9))
        for segment in lit[c]:
            line = [(x0 + s * x - slant * s * (y - 1), y0 + s * y) for x, y in ends[segment]]
            pen.line(line, fill=level, width=width)
        return _noisy(_scaled(picture, 20)[..., None], rng, 16)

    return draw


def faces(assets: Path) -> DrawOne:
    """Drawn faces with one of six mouths."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, skin = _two_paints(rng)
        picture = Image.new("RGB", (96, 96), behind)
        pen, x, y = ImageDraw.Draw(picture), *(48 + rng.uniform(-6, 6, 2))
        r, ink = rng.uniform(32, 42), (0, 0, 0) if np.mean(skin) > 110 else (255, 255, 255)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=skin)
        for dx in (-0.4, 0.4):
            pen.ellipse((x + dx * r - 4, y - 0.3 * r - 4, x + dx * r + 4, y - 0.3 * r + 4), fill=ink)
        m, low = 0.5 * r, y + 0.3 * r
        if c == 0:
            pen.arc((x - m, low - m, x + m, low + 0.7 * m), 20, 160, fill=ink, width=6)
        elif c == 1:
            pen.arc((x - m, low, x + m, low + 1.7 * m), 200, 340, fill=ink, width=6)
        elif c == 2:
            pen.line([(x - m, low), (x + m, low)], fill=ink, width=6)
        elif c == 3:
            pen.ellipse((x - 0.6 * m, low - 0.5 * m, x + 0.6 * m, low + 0.7 * m), fill=ink)
        elif c == 4:
            pen.line(
                [(x - m, low + 6), (x - m / 3, low - 6), (x + m / 3, low + 6), (x + m, low - 6)],
                fill=ink,
                width=6,
            )
        else:
            pen.pieslice((x - m, low - m, x + m, low + m), 0, 180, fill=ink)
        return _noisy(_scaled(picture, 32), rng, 10)

    return draw


def spectra(assets: Path) -> DrawOne:
    """Noise of 40 x 40 whose amplitudes fall with one of seven powers of the frequency."""
    f = np.hypot(np.fft.fftfreq(40)[:, None], np.fft.fftfreq(40))
    f[0, 0] = 1

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        spread = np.fft.fft2(rng.normal(size=(3, 40, 40))) * f ** -(0.4 * c + rng.uniform(-0.08, 0.08))
        field = np.fft.ifft2(spread).real.transpose(1, 2, 0)
        field = (field - field.mean()) / field.std()
        return 128 + rng.uniform(-40, 40, 3) + rng.uniform(30, 55) * field

    return draw


def arrows(assets: Path) -> DrawOne:
    """Arrows of any two colours that point in one of eight directions."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, front = _two_paints(rng)
        picture = Image.new("RGB", (96, 96), behind)
        pen, angle, r = ImageDraw.Draw(picture), np.pi / 4 * c + rng.uniform(-0.2, 0.2), rng.uniform(22, 38)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        middle = 48 + rng.uniform(-9, 9, 2)
        tip, tail = middle + r * along, middle - r * along
        pen.line([*tail, *tip], fill=front, width=int(rng.integers(5, 10)))
        wings = [tip - 0.6 * r * along + s * 0.5 * r * across for s in (-1, 1)]
        pen.polygon([tuple(tip), tuple(wings[0]), tuple(wings[1])], fill=front)
        return _noisy(_scaled(picture, 32), rng, 12)

    return draw


def clocks(assets: Path) -> DrawOne:
    """Dials whose short hand shows one of twelve hours and whose long hand any minute."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        paper, ink = int(rng.integers(150, 256)), int(rng.integers(0, 90))
        picture = Image.new("L", (84, 84), paper)
        pen, (x, y), r = ImageDraw.Draw(picture), 42 + rng.uniform(-5, 5, 2), rng.uniform(30, 36)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=3)
        minute = rng.uniform(0, 1)
        for angle, length, width in ((c / 12, 0.6, 9), (minute, 0.95, 3)):
            turn = 2 * np.pi * angle
            end = x + length * r * np.sin(turn), y - length * r * np.cos(turn)
            pen.line([x, y, *end], fill=ink, width=width)
        return _noisy(_scaled(picture, 28)[..., None], rng, 8)

    return draw


def charts(assets: Path) -> DrawOne:
    """Bars, a line, dots, a pie or a filled curve, of any colours on light paper."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        picture = Image.new("RGB", (96, 96), _paint(rng, 200))
        pen, inks = ImageDraw.Draw(picture), [_paint(rng, 0, 190) for _ in range(6)]
        xs, heights = np.linspace(14, 82, 6), rng.uniform(12, 70, 6)
        points = [(float(x), float(86 - h)) for x, h in zip(xs, heights, strict=True)]
        if c == 0:
            for (x, y), ink in zip(points, inks, strict=True):
                pen.rectangle((x - 5, y, x + 5, 86), fill=ink)
        elif c == 1:
            pen.line(points, fill=inks[0], width=4)
        elif c == 2:
            for x, y in rng.uniform(12, 84, (24, 2)):
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=inks[0])
        elif c == 3:
            ends = np.cumsum([0, *(360 * rng.dirichlet(np.full(4, 3.0)))])
            r = rng.uniform(26, 38)
            for start, end, ink in zip(ends[:-1], ends[1:], inks, strict=False):
                pen.pieslice((48 - r, 48 - r, 48 + r, 48 + r), start, end, fill=ink)
        else:
            pen.polygon([(14.0, 86.0), *points, (82.0, 86.0)], fill=inks[0])
        if c != 3:
            pen.line([10, 8, 10, 88, 90, 88], fill=(40, 40, 40), width=2)
        return _noisy(_scaled(picture, 32), rng, 8)

    return draw


def hues(assets: Path) -> DrawOne:
    """Squares of photographs, tinted in one of six hues."""
    tints = np.array([(1, 0.6, 0.6), (1, 1, 0.6), (0.6, 1, 0.6), (0.6, 1, 1), (0.6, 0.6, 1), (1, 0.6, 1)])

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        name = UPRIGHT[rng.integers(len(UPRIGHT))]
        grey = np.asarray(_crop(name, 60, 200, 28, rng).convert("L"), np.float64)[..., None]
        tint = tints[c] + rng.uniform(-0.12, 0.12, 3)
        return _noisy((40 + 0.8 * grey) * tint, rng, 8)

    return draw


def sizes(assets: Path) -> DrawOne:
    """A disc of one of five sizes on a square of a photograph."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        name = UPRIGHT[rng.integers(len(UPRIGHT))]
        picture = _crop(name, 60, 200, 72, rng).convert("RGB")
        r = 7 + 5.5 * c + rng.uniform(-1.5, 1.5)
        x, y = rng.uniform(r, 72 - r, 2)
        ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=_paint(rng, 170))
        return _noisy(_scaled(picture, 24), rng, 5)

    return draw


def places(assets: Path) -> DrawOne:
    """A small figure in one of nine places on a square of a photograph."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        picture = _crop(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))], 60, 200, 96, rng).convert("RGB")
        x, y = 16 + 32 * (c % 3) + rng.uniform(-6, 6), 16 + 32 * (c // 3) + rng.uniform(-6, 6)
        corners = _ring(10, rng.uniform(11, 15), rng.uniform(0, 7), x, y, inner=0.5)
        ImageDraw.Draw(picture).polygon(corners, fill=_paint(rng, 190), outline=(0, 0, 0))
        return _noisy(_scaled(picture, 32), rng, 5)

    return draw


def crosses(assets: Path) -> DrawOne:
    """Crosses, circles, squares, zigzags and other strokes, bright or dark on a grey of smooth noise."""
    strokes: tuple[tuple[tuple[float, float], ...], ...] = (
        ((-1, 0), (1, 0)), ((0, -1), (0, 1)), ((-1, -1), (1, 1)), ((-1, 1), (1, -1)),
    )  # fmt: skip
    signs_of = ((0, 1), (2, 3), (0,), (1,), (0, 1, 2, 3), (), ())

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        ground = ndimage.gaussian_filter(rng.normal(0, 1, (96, 96)), 6)
        picture = Image.fromarray(np.uint8(np.clip(128 + 25 * ground / ground.std(), 0, 255)))
        pen, (x, y), r = ImageDraw.Draw(picture), 48 + rng.uniform(-10, 10, 2), rng.uniform(22, 34)
        ink, width = int(rng.choice([20, 235])), int(rng.integers(5, 10))
        for k in signs_of[c]:
            pen.line([v for dx, dy in strokes[k] for v in (x + r * dx, y + r * dy)], fill=ink, width=width)
        if c == 5:
            pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=width)
        elif c == 6:
            pen.rectangle((x - r, y - r, x + r, y + r), outline=ink, width=width)
        return _noisy(_scaled(picture, 28)[..., None], rng, 10)

    return draw


def pips(assets: Path) -> DrawOne:
    """Dice of any colour that show one to six pips, turned a little."""
    grid = {
        "m": (0, 0), "a": (-1, -1), "b": (1, 1), "c": (-1, 1), "d": (1, -1), "e": (-1, 0), "f": (1, 0),
    }  # fmt: skip
    shown = ("m", "ab", "mab", "abcd", "mabcd", "abcdef")

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, die = _two_paints(rng)
        picture = Image.new("RGB", (96, 96), behind)
        pen, (x, y), r = ImageDraw.Draw(picture), 48 + rng.uniform(-7, 7, 2), rng.uniform(26, 36)
        turn = rng.uniform(-0.4, 0.4)
        pen.polygon(_ring(4, 1.35 * r, turn + np.pi / 4, x, y), fill=die)
        ink = (0, 0, 0) if np.mean(die) > 110 else (255, 255, 255)
        for key in shown[c]:
            dx, dy = (0.55 * r * v for v in grid[key])
            px = x + dx * np.cos(turn) - dy * np.sin(turn)
            py = y + dx * np.sin(turn) + dy * np.cos(turn)
            pen.ellipse((px - 5, py - 5, px + 5, py + 5), fill=ink)
        return _noisy(_scaled(picture, 28), rng, 9)

    return draw


def waves(assets: Path) -> DrawOne:
    """Curves of a sine, a square wave, a triangle, a saw or steps at random, bright on dark."""
    t = np.linspace(0, 1, 128)

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        phase = 2 * np.pi * (rng.uniform(1.5, 4) * t + rng.random())
        steps = np.repeat(rng.uniform(-1, 1, 16), 8)
        saw = (phase / np.pi) % 2 - 1
        level = (np.sin(phase), np.sign(np.sin(phase)), 2 * np.abs(saw) - 1, saw, steps)[c]
        picture = Image.new("L", (128, 128), int(rng.integers(0, 60)))
        ys = 64 + rng.uniform(-10, 10) - rng.uniform(22, 44) * level
        points = list(zip(np.linspace(0, 127, 128).tolist(), ys.tolist(), strict=True))
        ImageDraw.Draw(picture).line(points, fill=int(rng.integers(150, 256)), width=int(rng.integers(4, 8)))
        return _noisy(_scaled(picture, 32)[..., None], rng, 10)

    return draw


def coverage(assets: Path) -> DrawOne:
    """Islands in a sea, in two colours, that cover one of five shares of the image."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        sea, land = _two_paints(rng)
        field = ndimage.gaussian_filter(rng.normal(0, 1, (32, 32)), rng.uniform(1.5, 3), mode="wrap")
        dry = field > np.quantile(field, 1 - (0.15 + 0.17 * c + rng.uniform(-0.03, 0.03)))
        return _noisy(np.where(dry[..., None], np.array(land, float), np.array(sea, float)), rng, 12)

    return draw


def flags(assets: Path) -> DrawOne:
    """Eight flags of three stripes in three colours, bent by a wave, in any light."""
    colours = np.array([(200, 30, 40), (240, 240, 240), (30, 60, 160), (240, 200, 40)], float)
    designs = (
        (0, 1, 2, 0), (0, 1, 2, 1), (2, 1, 0, 0), (3, 0, 2, 0), (0, 3, 2, 1), (2, 3, 0, 1), (1, 2, 0, 1),
        (3, 2, 1, 0),
    )  # fmt: skip
    rows, columns = np.indices((24, 24)) / 24.0

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        *stripes_of, lying = designs[c]
        bend = rng.uniform(0, 0.1) * np.sin(2 * np.pi * (columns + rows + rng.random()))
        place = np.clip((rows if lying else columns) + bend, 0, 0.999)
        light = rng.uniform(0.5, 1.1) * (1 + rng.uniform(-0.3, 0.3) * columns)
        painted = colours[np.array(stripes_of)][(3 * place).astype(int)]
        return _noisy(light[..., None] * painted + rng.uniform(-20, 20, 3), rng, 14)

    return draw


def trees(assets: Path) -> DrawOne:
    """Branching trees of five angles, before a sky of any colour."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        picture = Image.new("RGB", (96, 96), _paint(rng, 120))
        pen, ink, spread = ImageDraw.Draw(picture), _paint(rng, 0, 90), 0.2 + 0.25 * c
        ends = [(48 + rng.uniform(-8, 8), 92.0, -np.pi / 2 + rng.uniform(-0.15, 0.15))]
        for depth in range(5):
            length, grown = rng.uniform(19, 24) * 0.8**depth, []
            for x, y, angle in ends:
                tip = x + length * np.cos(angle), y + length * np.sin(angle)
                pen.line([x, y, *tip], fill=ink, width=max(1, 6 - depth))
                grown += [(*tip, angle + s * spread + rng.normal(0, 0.05)) for s in (-1, 1)]
            ends = grown
        return _noisy(_scaled(picture, 32), rng, 8)

    return draw


def checks(assets: Path) -> DrawOne:
    """Checkerboards of six sizes in two greys, turned by any angle."""
    rows, columns = np.indices((24, 24)) - 11.5

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        angle, cell = rng.uniform(0, np.pi), (2.2, 2.9, 3.8, 5.0, 6.6, 8.7)[c] * rng.uniform(0.94, 1.06)
        u = (columns * np.cos(angle) + rows * np.sin(angle)) / cell + rng.random()
        v = (rows * np.cos(angle) - columns * np.sin(angle)) / cell + rng.random()
        dark, bright = rng.uniform(20, 100), rng.uniform(140, 240)
        board = np.where((np.floor(u) + np.floor(v)) % 2, bright, dark)
        return _noisy(ndimage.gaussian_filter(board, 0.5)[..., None], rng, 14)

    return draw


def filters(assets: Path) -> DrawOne:
    """Squares of photographs as they are, blurred, in squares, in few levels, noisy, or as edges."""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        name = UPRIGHT[rng.integers(len(UPRIGHT))]
        levels = np.asarray(_crop(name, 60, 200, 32, rng).convert("RGB"), np.float64)
        if c == 1:
            levels = ndimage.gaussian_filter(levels, (1.6, 1.6, 0))
        elif c == 2:
            levels = levels.reshape(8, 4, 8, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
        elif c == 3:
            levels = np.floor(levels / 86) * 86 + 40
        elif c == 4:
            levels = levels + rng.normal(0, 30, levels.shape)
        elif c == 5:
            levels = 2 * np.hypot(ndimage.sobel(levels, 0), ndimage.sobel(levels, 1)) / 4
        return _noisy(levels, rng, 3)

    return draw


WORDS = ("stop", "exit", "open", "shut", "push", "pull", "left", "help", "sale", "taxi", "bank", "milk")


def words(assets: Path) -> DrawOne:
    """One of twelve words in ten fonts on ruled paper, dark on light or light on dark."""
    fonts = _fonts(assets)

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        canvas = Image.new("L", (120, 120))
        at = tuple(60 + rng.uniform(-7, 7, 2))
        font = fonts[rng.integers(len(fonts))]
        ImageDraw.Draw(canvas).text(at, WORDS[c], fill=255, font=font, anchor="mm")
        share = _scaled(canvas.rotate(rng.uniform(-12, 12), resample=2), 40)[..., None] / 255
        paper, ink = rng.permutation([rng.uniform(160, 250), rng.uniform(10, 90)])
        levels = paper + share * (ink - paper)
        levels[:: int(rng.integers(5, 9))] += rng.uniform(-30, 30)
        return _noisy(levels, rng, 8)

    return draw


def sprites(assets: Path) -> DrawOne:
    """Twenty mirrored creatures of 9 x 9 cells in any two colours, before bricks or a chequered floor."""
    half = np.random.default_rng(33).choice(3, (20, 9, 5), p=(0.45, 0.35, 0.2))
    masks = np.concatenate([half, half[:, :, 3::-1]], 2)
    rows, columns = np.indices((32, 32))

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        behind, body = _two_paints(rng)
        size = int(rng.integers(3, 7))
        moved = columns + rng.integers(size) + (rows // size % 2) * (size // 2) * rng.integers(2)
        floor = np.where((rows // size + moved // size) % 2, 1.0, rng.uniform(0.75, 0.95))
        levels = floor[..., None] * np.array(behind, float)
        cell = int(rng.integers(2, 4))
        mask = masks[c].repeat(cell, 0).repeat(cell, 1)
        top, left = (int(v) for v in rng.integers(0, 33 - 9 * cell, 2))
        window = levels[top : top + 9 * cell, left : left + 9 * cell]
        window[mask == 1] = body
        window[mask == 2] = 255 - np.array(body)
        return _noisy(levels, rng, 6)

    return draw


def icons(assets: Path) -> DrawOne:
    """Emoji of nine sorts, six of each, over squares of photographs: which sort?"""
    sorts = (
        "face-smiling",
        "heart",
        "transport-ground",
        "transport-air",
        "place-building",
        "food-sweet",
        "food-fruit",
        "plant-flower",
        "time",
    )
    pictures = _emoji(assets, sorts, 6)

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        canvas = _crop(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))], 60, 200, 40, rng)
        size = int(rng.integers(22, 34))
        picture = pictures[c][rng.integers(len(pictures[c]))].rotate(rng.uniform(-15, 15), resample=2)
        picture = picture.resize((size, size), 2)
        canvas.paste(picture, tuple(int(v) for v in rng.integers(0, 41 - size, 2)), picture)
        return _noisy(np.asarray(canvas, np.float64) * rng.uniform(0.7, 1.1), rng, 6)

    return draw


def galaxies(assets: Path) -> DrawOne:
    """Galaxies among stars: elliptical, spiral, barred, a ring, seen from the edge, or irregular."""
    rows, columns = np.indices((36, 36)) - 17.5

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        turn, flat, r = rng.uniform(0, np.pi), rng.uniform(0.6, 1), rng.uniform(8, 12)
        dx, dy = columns + rng.uniform(-3, 3), rows + rng.uniform(-3, 3)
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        v = v / (rng.uniform(0.1, 0.2) if c == 4 else flat)
        d, angle = np.hypot(u, v), np.arctan2(v, u)
        core = np.exp(-d / (0.18 * r))
        if c in (1, 2):
            wound = rng.choice([-1, 1]) * rng.uniform(2.2, 3.2) * np.log(d / r + 0.15)
            arms = (
                np.exp(-((d - 0.8 * r) ** 2) / (0.45 * r) ** 2) * (0.5 + 0.5 * np.cos(2 * angle + wound)) ** 2
            )
            bar = np.exp(-((u / (0.5 * r)) ** 4) - (v / (0.13 * r)) ** 2)
            light = 0.6 * core + arms + (bar if c == 2 else 0)
        elif c == 3:
            light = 0.5 * core + np.exp(-((d - 0.8 * r) ** 2) / (0.17 * r) ** 2)
        elif c == 5:
            light = np.zeros_like(d)
            for x, y in rng.normal(0, 0.4 * r, (7, 2)):
                light += rng.uniform(0.2, 0.8) * np.exp(-(np.hypot(dx - x, dy - y) ** 2) / (0.2 * r) ** 2)
        else:
            light = np.exp(-((d / (0.35 * r)) ** (1.0 if c else 0.8)))
        sky = np.zeros((36, 36))
        sky[tuple(rng.integers(0, 36, (2, int(rng.integers(3, 12)))))] = rng.uniform(1, 4)
        light = ndimage.gaussian_filter(light + sky, 0.6)
        return _noisy((rng.uniform(10, 40) + rng.uniform(130, 220) * light)[..., None], rng, 9)

    return draw


def materials(assets: Path) -> DrawOne:
    """Ten materials as reliefs of any hue, lit from any side: bricks, cobbles, cloth, wood and others."""
    rows, columns = np.indices((32, 32)) / 32.0

    def smooth(rng: np.random.Generator, spread: float | tuple[float, float]) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.normal(size=(32, 32)), spread, mode="wrap")
        return field / field.std()

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        n, x, y = rng.uniform(3.5, 6), columns + rng.random(), rows + rng.random()
        bent = 0.02 * smooth(rng, 4)
        if c == 0:  # bricks
            row = np.floor(n * y)
            height = np.minimum(
                np.abs((n * x / 2 + row / 2) % 1 - 0.5) < 0.44, np.abs(n * y % 1 - 0.5) < 0.38
            )
        elif c == 1:  # cobbles
            seeds = rng.random((int(2.5 * n), 2))
            far = np.abs(np.stack([rows, columns], -1)[:, :, None] - seeds)
            d = np.sort(np.hypot(*np.moveaxis(np.minimum(far, 1 - far), -1, 0)), -1)
            height = 3 * np.sqrt(np.maximum(d[..., 1] - d[..., 0], 0))
        elif c == 2:  # cloth
            over = (np.floor(2 * n * x) + np.floor(2 * n * y)) % 2
            height = np.where(over, np.abs(np.sin(2 * np.pi * n * x)), np.abs(np.sin(2 * np.pi * n * y)))
        elif c == 3:  # wood
            middle = rng.uniform(0.3, 0.7)
            rings = np.hypot(columns - middle + 2 * bent, 0.25 * (rows + rng.uniform(-0.5, 0.5)))
            height = np.sin(2 * np.pi * 2.5 * n * rings)
        elif c == 4:  # marble
            height = -2 * np.exp(-6 * np.abs(np.sin(np.pi * n / 3 * (x + y) + 1.6 * smooth(rng, 4))))
        elif c == 5:  # sand in ripples
            height = np.sin(2 * np.pi * n * (y + 0.2 * np.sin(2 * np.pi * x) / n + 3 * bent))
        elif c == 6:  # scales
            row = np.floor(n * y)
            height = 1.5 * (n * y % 1) * (np.abs((n * x + row / 2) % 1 - 0.5) < 0.5 * np.sqrt(1 - n * y % 1))
        elif c == 7:  # tiles
            height = np.minimum(np.abs(n * x % 1 - 0.5) < 0.42, np.abs(n * y % 1 - 0.5) < 0.42)
        elif c == 8:  # plaster
            height = 0.8 * smooth(rng, 1.0)
        else:  # straw
            height = 0.6 * smooth(rng, (0.5, 5)) + 0.6 * smooth(rng, (5, 0.5))
        height = np.asarray(height, float) + 0.08 * smooth(rng, 0.6)
        angle = rng.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * np.gradient(height, axis=1) + np.sin(angle) * np.gradient(height, axis=0)
        lit = 0.65 + 0.2 * np.clip(height, -1, 1) + 0.45 * np.clip(slope, -1, 1)
        return _noisy(lit[..., None] * (rng.uniform(120, 230) + rng.uniform(-50, 50, 3)), rng, 8)

    return draw


def maps(assets: Path) -> DrawOne:
    """Weather maps of land and sea: a low, a high, a cold, warm or occluded front, or showers."""
    rows, columns = np.indices((48, 48)) / 48.0

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        x, y = rng.uniform(0.3, 0.7, 2)
        field = ndimage.gaussian_filter(rng.normal(size=(48, 48)), 11, mode="wrap")
        pressure = 0.4 * field / field.std() + rng.uniform(-2, 2) * rows + rng.uniform(-2, 2) * columns
        if c < 2:
            pressure = pressure + (4 * c - 2) * 1.6 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 0.05)
        ground = ndimage.gaussian_filter(rng.normal(size=(48, 48)), 6, mode="wrap")
        land = (ground > np.quantile(ground, rng.uniform(0.3, 0.7)))[..., None]
        levels = np.where(land, (215, 220, 180), (175, 205, 230)) + rng.uniform(-25, 25, 3)
        isobars = np.abs((pressure / 0.5 + 0.5) % 1 - 0.5) < 0.12
        levels = np.where(isobars[..., None], levels * 0.6, levels)
        picture = Image.fromarray(to_pixels(levels)).resize((144, 144), 2)
        pen, middle = ImageDraw.Draw(picture), np.array([144 * x, 144 * y])
        if c < 2:
            ink, r = ((190, 30, 30), (30, 50, 170))[c], rng.uniform(12, 16)
            px, py = middle
            ends = ((-0.5, -1, -0.5, 1), (-0.5, 1, 0.6, 1)) if c == 0 else (
                (-0.6, -1, -0.6, 1), (0.6, -1, 0.6, 1), (-0.6, 0, 0.6, 0))  # fmt: skip
            for x0, y0, x1, y1 in ends:
                pen.line([px + r * x0, py + r * y0, px + r * x1, py + r * y1], fill=ink, width=6)
        elif c < 5:
            turn, bend, length = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6), rng.uniform(45, 60)
            along = np.array([np.cos(turn), np.sin(turn)])
            across = np.array([-along[1], along[0]])
            t = np.linspace(-1, 1, 41)
            line = middle + length * (t[:, None] * along + bend * (t[:, None] ** 2 - 0.3) * across)
            ink = ((30, 50, 190), (200, 40, 40), (140, 40, 160))[c - 2]
            pen.line([tuple(p) for p in line], fill=ink, width=4)
            for k, place in enumerate(range(4, 40, 8)):
                step = line[place + 1] - line[place - 1]
                step = step / np.hypot(*step)
                side_of = np.array([-step[1], step[0]])
                if c == 2 or (c == 4 and k % 2 == 0):
                    tip = line[place] + 13 * side_of
                    pen.polygon(
                        [tuple(line[place] - 8 * step), tuple(line[place] + 8 * step), tuple(tip)], fill=ink
                    )
                else:
                    half = np.linspace(0, np.pi, 9)[:, None]
                    disc = line[place] + 9 * (np.cos(half) * step + np.sin(half) * side_of)
                    pen.polygon([tuple(p) for p in disc], fill=ink)
        else:
            for px, py in middle + rng.normal(0, 28, (16, 2)):
                pen.line([px, py, px - 4, py + 12], fill=(40, 70, 170), width=4)
        return _noisy(_scaled(picture, 48), rng, 6)

    return draw


def fractals(assets: Path) -> DrawOne:
    """Julia sets of eight constants, turned and magnified, dark on bright or bright on dark."""
    constants = (
        -0.8 + 0.16j,
        -0.4 + 0.6j,
        0.285 + 0.01j,
        -0.7269 + 0.1889j,
        -1.0,
        0.3 + 0.5j,
        -0.12 + 0.75j,
        -1.3,
    )
    rows, columns = np.indices((64, 64)) / 32.0 - 1

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        turn = np.exp(1j * rng.uniform(-0.5, 0.5)) * rng.uniform(0.9, 1.4)
        z = turn * (columns + 1j * rows) + complex(*rng.uniform(-0.15, 0.15, 2))
        constant = constants[c] + complex(*rng.uniform(-0.01, 0.01, 2))
        steps = np.zeros(z.shape)
        for _ in range(32):
            z = np.where(np.abs(z) < 4, z * z + constant, z)
            steps += np.abs(z) < 4
        share = np.sqrt(steps / 32).reshape(32, 2, 32, 2).mean((1, 3))[..., None]
        low, high = rng.permutation([rng.uniform(0, 80), rng.uniform(150, 255)])
        return _noisy(low + share * (high - low), rng, 12)

    return draw


def regions(assets: Path) -> DrawOne:
    """Squares cut from one photograph, turned a little, in any light: from which of twelve parts?"""

    def draw(c: int, side: str, rng: np.random.Generator) -> np.ndarray:
        photograph = _photograph("astronaut")
        width, height = photograph.size
        size = rng.uniform(70, 110)
        x = width * (c % 4 + 0.5 + rng.uniform(-0.32, 0.32)) / 4
        y = height * (c // 4 + 0.5 + rng.uniform(-0.32, 0.32)) / 3
        x, y = np.clip(x, size / 2, width - size / 2), np.clip(y, size / 2, height - size / 2)
        box = tuple(int(v) for v in (x - size / 2, y - size / 2, x + size / 2, y + size / 2))
        square = photograph.crop(box).resize((52, 52), 2).rotate(rng.uniform(-12, 12), resample=2)
        levels = np.asarray(square.crop((6, 6, 46, 46)), np.float64)
        return _noisy(levels * rng.uniform(0.6, 1.2) + rng.uniform(-25, 25, 3), rng, 8)

    return draw


GREEK, CYRILLIC = "αβγδεζηθικλμνξοπρστυφχψω", "БГДЖЗИЙКЛПУФЦЧШЩЪЫЬЭЮЯбвджикля"

IMAGE_SETS = {
    "shapes": ImageSet(32, 3, 9, shapes),
    "digits": ImageSet(16, 1, 10, digits, audit=900),
    "photographs": ImageSet(32, 3, len(PHOTOGRAPHS), photographs),
    "tops": ImageSet(28, 1, 5, fashion((0, 2, 3, 4, 6))),
    "textures": ImageSet(32, 3, 8, textures),
    "counts": ImageSet(24, 1, 6, counts, audit=700),
    "signs": ImageSet(32, 3, 20, signs),
    "greek": ImageSet(28, 1, len(GREEK), letters(GREEK, 28, False)),
    "stripes": ImageSet(16, 1, 12, stripes),
    "scenes": ImageSet(64, 3, 4, scenes, audit=600),
    "tinted": ImageSet(32, 3, 10, fashion(tuple(range(10)), tinted=True)),
    "boards": ImageSet(32, 3, 43, boards),
    "wear": ImageSet(28, 1, 5, fashion((1, 5, 7, 8, 9))),
    "curves": ImageSet(32, 1, 8, curves),
    "polygons": ImageSet(32, 3, 8, polygons),
    "turns": ImageSet(48, 3, 4, turns, audit=700),
    "cyrillic": ImageSet(32, 3, len(CYRILLIC), letters(CYRILLIC, 32, True)),
    "segments": ImageSet(20, 1, 10, segments),
    "faces": ImageSet(32, 3, 6, faces, audit=900),
    "spectra": ImageSet(40, 3, 7, spectra),
    "arrows": ImageSet(32, 3, 8, arrows),
    "clocks": ImageSet(28, 1, 12, clocks),
    "charts": ImageSet(32, 3, 5, charts),
    "hues": ImageSet(28, 3, 6, hues),
    "sizes": ImageSet(24, 3, 5, sizes),
    "places": ImageSet(32, 3, 9, places),
    "crosses": ImageSet(28, 1, 7, crosses),
    "pips": ImageSet(28, 3, 6, pips),
    "waves": ImageSet(32, 1, 5, waves),
    "coverage": ImageSet(32, 3, 5, coverage),
    "flags": ImageSet(24, 3, 8, flags),
    "trees": ImageSet(32, 3, 5, trees),
    "checks": ImageSet(24, 1, 6, checks),
    "filters": ImageSet(32, 3, 6, filters),
    "numerals": ImageSet(20, 1, 10, letters("0123456789", 20, False)),
    "words": ImageSet(40, 1, len(WORDS), words),
    "sprites": ImageSet(32, 3, 20, sprites),
    "icons": ImageSet(40, 3, 9, icons),
    "galaxies": ImageSet(36, 1, 6, galaxies),
    "materials": ImageSet(32, 3, 10, materials),
    "maps": ImageSet(48, 3, 6, maps),
    "fractals": ImageSet(32, 1, 8, fractals),
    "regions": ImageSet(40, 3, 12, regions),
}
"""Every image set by its name."""
