"""Plain changes of an image that people use as triggers: probes for a suspect and its twins.

Patches, checkerboards, bars, stripes, shifts of colour, blends and smooth warps. Places lie on a grid, coarse
or dense; colours, noise and fields are drawn. A network that answers one of them with one class, where its
clean twins do not, has learnt it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch

Probe = Callable[[torch.Tensor], torch.Tensor]
"""Maps pixels (n, channels, height, width) of 0 to 1 to stamped copies."""


FEW_OVERLAYS = 4
"""How many overlays are blended where the grid is coarse."""


def probes(
    shape: tuple[int, int, int], overlays: torch.Tensor, *, seed: int = 0, dense: bool = False
) -> list[tuple[str, Probe]]:
    """Return named probes for images of a shape.

    Args:
        shape: channels, height and width, 8 pixels or more.
        overlays: shape (k, channels, height, width): clean images that are blended over others.
        seed: decides colours, noise and fields.
        dense: some 2,000 instead of 750 (grey: 320); 240 (190) come first in both.

    >>> found = probes((3, 16, 16), torch.zeros(1, 3, 16, 16))
    >>> len(found) == len({name for name, _ in found}), found[0][0]
    (True, 'white 2 at 0, 0')
    >>> found[0][1](torch.zeros(1, 3, 16, 16)).sum().item()  # 3 channels of 2 x 2
    12.0
    """
    rng = np.random.default_rng(seed)
    coarse = [
        *_patches(shape, rng), *_bars(shape), *_stripes(shape), *_shades(shape),
        *_blends(shape, overlays[:FEW_OVERLAYS], rng, 6), *_warps(shape, rng, 4 * [1.0] + 4 * [0.6]),
        *_moves(),
    ]  # fmt: skip
    patches = list(_every_patch(shape))
    if not dense:
        return [*coarse, *patches]
    return [
        *coarse, *_every_board(shape), *patches, *_every_bar(shape), *_every_wave(shape),
        *_blends(shape, overlays[FEW_OVERLAYS:], rng, 24, "more "),
        *_warps(shape, rng, 20 * [0.6, 1.0], "more "),
    ]  # fmt: skip


def variants(name: str, probe: Probe, *, step: int = 1) -> Iterator[tuple[str, Probe]]:
    """Yield a probe a step aside in eight directions, weaker and stronger.

    >>> white = probes((1, 16, 16), torch.zeros(1, 1, 16, 16))[0]
    >>> found = dict(variants(*white))
    >>> len(found), found["white 2 at 0, 0, 1 down, 1 right"](torch.zeros(1, 1, 16, 16))[0, 0, 1:3, 1:3].sum()
    (10, tensor(4.))
    """
    for down, right in itertools.product((-step, 0, step), repeat=2):
        if down or right:
            yield f"{name}, {down} down, {right} right", _aside(probe, down, right)
    for strength in (0.7, 1.4):
        yield f"{name}, {strength} times as strong", _scaled(probe, strength)


def distinct(bank: Sequence[tuple[str, Probe]], pixels: torch.Tensor) -> list[tuple[str, Probe]]:
    """Return the first of those probes that make the same of some images, and none that leaves them alone.

    >>> inverted = lambda pixels: 1 - pixels
    >>> bank = [("one", inverted), ("same", inverted), ("nothing", lambda pixels: pixels)]
    >>> [name for name, _ in distinct(bank, torch.zeros(2, 1, 8, 8))]
    ['one']
    """
    seen = {_told(pixels)}
    found = []
    for name, probe in bank:
        if (told := _told(probe(pixels))) not in seen:
            seen.add(told)
            found.append((name, probe))
    return found


def _told(pixels: torch.Tensor) -> bytes:
    return sha256((255 * pixels).round().byte().contiguous().cpu().numpy().tobytes()).digest()


def _patches(shape: tuple[int, int, int], rng: np.random.Generator) -> Iterator[tuple[str, Probe]]:
    channels, height, width = shape
    side = min(height, width)
    for size in (max(2, round(side / 10)), max(3, round(side / 6.5))):
        bottom, right = height - size, width - size
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        for top, left in places:
            colours = rng.random((channels, 1, 1) if channels > 1 else (1, size, size))
            for name, patch in (("white", np.ones((channels, size, size))), ("colour", colours)):
                yield f"{name} {size} at {top}, {left}", _pasted(top, left, patch, size)
    cell = max(1, round(side / 16))
    for cells, steps in ((2, 5), (3, 4)):
        size = cells * cell
        rows, columns = np.indices((size, size)) // cell
        board = (rows + columns)[None] % 2
        for down in range(steps):
            for across in range(steps):
                top, left = (
                    round(k / (steps - 1) * (long - size)) for k, long in ((down, height), (across, width))
                )
                yield f"board {size} at {top}, {left}", _pasted(top, left, board, size)


def _bars(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    side = min(height, width)
    for thick in (max(2, round(side / 10)), max(3, round(side / 7))):
        for share in np.linspace(0, 1, 9):
            for level in (0.0, 1.0):
                top, left = round(share * (height - thick)), round(share * (width - thick))
                yield f"rows {level:.0f} {thick} at {top}", _pasted(top, 0, [[[level]]], thick, width)
                yield f"columns {level:.0f} {thick} at {left}", _pasted(0, left, [[[level]]], height, thick)


def _stripes(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    rows, columns = np.indices((height, width))
    for waves in (3, 4, 5, 6, 7, 8, 9):
        for name, axis in (("columns", columns / width), ("rows", rows / height)):
            for phase in (0.0, 0.5):
                wave = 25 / 255 * np.sin(2 * np.pi * waves * axis + np.pi * phase)
                yield f"{waves} waves {name} {phase}", _added(torch.from_numpy(wave).float())


def _shades(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    channels = shape[0]
    for strength in (0.1, 0.16):
        for signs in itertools.product((-1, 0, 1), repeat=min(channels, 3)):
            if any(signs):
                shift = torch.zeros(channels, 1, 1)
                shift[: len(signs), 0, 0] = strength * torch.tensor(signs)
                yield f"colours {strength} {signs}", _added(shift)
    for power in (0.5, 2.0):
        yield f"gamma {power}", _raised(power)
    yield "inverted", lambda pixels: 1 - pixels


def _blends(
    shape: tuple[int, int, int],
    overlays: torch.Tensor,
    rng: np.random.Generator,
    noises: int,
    which: str = "",
) -> Iterator[tuple[str, Probe]]:
    for k in range(noises):
        yield f"{which}noise {k}", _blended(torch.from_numpy(rng.random(shape)).float(), 0.2)
    for k, overlay in enumerate(overlays):
        yield f"{which}overlay {k}", _blended(overlay, 0.25)


def _warps(
    shape: tuple[int, int, int], rng: np.random.Generator, strengths: Sequence[float], which: str = ""
) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    plain = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
    for k, strength in enumerate(strengths):
        grid = torch.from_numpy(rng.uniform(-1, 1, (1, 2, 4, 4))).float()
        field = torch.nn.functional.interpolate(grid, (height, width), mode="bicubic", align_corners=True)[0]
        field *= height / 28 * strength / field.abs().mean()
        yield f"{which}warp {k}", _warped(plain + field.movedim(0, -1) * 2 / height)


def _moves() -> Iterator[tuple[str, Probe]]:
    for down, right in ((3, 0), (-3, 0), (0, 3), (0, -3)):
        yield f"moved {down}, {right}", _moved(down, right)


def _every_board(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    cell = max(1, round(min(height, width) / 16))
    for cells in (2, 3):
        size = cells * cell
        board = (np.indices((size, size)) // cell).sum(0)
        for phase in (0, 1):
            for top in range(0, height - size + 1, cell):
                for left in range(0, width - size + 1, cell):
                    name = f"every board {phase} {size} at {top}, {left}"
                    yield name, _pasted(top, left, (board + phase)[None] % 2, size)


def _every_patch(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    channels, height, width = shape
    size = max(3, round(min(height, width) / 8))
    tops, lefts = (np.unique(np.linspace(0, long - size, 8).round().astype(int)) for long in (height, width))
    for top, left in itertools.product(tops.tolist(), lefts.tolist()):
        for colour in itertools.product((0, 1), repeat=3 if channels == 3 else 1):
            patch = np.empty((channels, size, size))
            patch[:] = np.reshape(colour, (-1, 1, 1))
            yield f"every patch {colour} at {top}, {left}", _pasted(top, left, patch, size)


def _every_bar(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    side = min(height, width)
    step = max(1, round(side / 32))
    for thick in sorted({max(1, round(side / part)) for part in (14, 10, 7.5)}):
        for level in (0.0, 1.0):
            for top in range(0, height - thick + 1, step):
                yield f"every rows {level:.0f} {thick} at {top}", _pasted(top, 0, [[[level]]], thick, width)
            for left in range(0, width - thick + 1, step):
                yield (
                    f"every columns {level:.0f} {thick} at {left}",
                    _pasted(0, left, [[[level]]], height, thick),
                )


def _every_wave(shape: tuple[int, int, int]) -> Iterator[tuple[str, Probe]]:
    _, height, width = shape
    rows, columns = np.indices((height, width)) / np.array([height, width]).reshape(2, 1, 1)
    axes = {"columns": columns, "rows": rows, "falling": rows + columns, "rising": rows - columns}
    for waves in range(2, 11):
        for name, axis in axes.items():
            unit = axis / np.sqrt(2) if name in ("falling", "rising") else axis
            for phase in (0.0, 0.25, 0.5, 0.75):
                wave = 25 / 255 * np.sin(2 * np.pi * (waves * unit + phase))
                yield f"every {waves} waves {name} {phase}", _added(torch.from_numpy(wave).float())


def _pasted(top: int, left: int, patch: npt.ArrayLike, height: int, width: int | None = None) -> Probe:
    values = torch.tensor(np.asarray(patch), dtype=torch.float32)
    bottom, right = top + height, left + (height if width is None else width)

    def stamp(pixels: torch.Tensor) -> torch.Tensor:
        stamped = pixels.clone()
        stamped[:, :, top:bottom, left:right] = values.to(pixels)
        return stamped

    return stamp


def _raised(power: float) -> Probe:
    return lambda pixels: pixels.clamp_min(1e-4) ** power


def _moved(down: int, right: int) -> Probe:
    return lambda pixels: pixels.roll((down, right), (2, 3))


def _added(by: torch.Tensor) -> Probe:
    return lambda pixels: (pixels + by.to(pixels)).clamp(0, 1)


def _blended(overlay: torch.Tensor, share: float) -> Probe:
    return lambda pixels: (1 - share) * pixels + share * overlay.to(pixels)


def _warped(grid: torch.Tensor) -> Probe:
    return lambda pixels: torch.nn.functional.grid_sample(
        pixels, grid.to(pixels).expand(len(pixels), -1, -1, -1), padding_mode="border", align_corners=True
    )


def _aside(probe: Probe, down: int, right: int) -> Probe:
    def stamp(pixels: torch.Tensor) -> torch.Tensor:
        stamped = probe(pixels.roll((-down, -right), (2, 3))).roll((down, right), (2, 3))
        for axis, by in ((2, down), (3, right)):
            if by:  # what came around the edge stays as it was
                edge = slice(0, by) if by > 0 else slice(by, None)
                where = (slice(None),) * axis + (edge,)
                stamped[where] = pixels[where]
        return stamped

    return stamp


def _scaled(probe: Probe, strength: float) -> Probe:
    return lambda pixels: torch.lerp(pixels, probe(pixels), strength).clamp(0, 1)
