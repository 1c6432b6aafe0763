"""Cloth: two-colour patterns, the texture of fabrics, and the soft light of folds."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .canvas import Colour, Frame

#: Size of a pattern's repeat in body units.
_PITCH = {
    "horizontal stripes": 34.0, "vertical stripes": 30.0, "diagonal stripes": 34.0, "polka dots": 36.0, "gingham": 34.0,
    "plaid": 62.0, "floral": 52.0, "zigzag": 40.0, "argyle": 56.0, "animal print": 40.0, "color block": 1000.0,
}  # fmt: skip


def _mix(first: Colour, second: Colour, share: int) -> Colour:
    """`share` hundredths of the second colour."""
    return tuple((a * (100 - share) + b * share) // 100 for a, b in zip(first, second, strict=True))


def cloth(
    pattern: str,
    first: Colour,
    second: Colour,
    frame: Frame,
    offset: tuple[float, float],
    split_at: float,
    zoom: float = 1.0,
    sideways: bool = False,
) -> Image.Image:
    """A canvas full of patterned cloth.

    Args:
        pattern: a key of `vocabulary.PATTERNS`.
        first, second: ground and figure colour.
        frame: where body units fall; the pattern keeps its size on the body.
        offset: where the repeat starts, as fractions of it.
        split_at: height in body units at which a colour block changes; a place across when `sideways`.
        zoom: larger repeats for accessories, which are shown closer.
        sideways: a colour block changes from left to right (shoes) instead of from top to bottom.
    Returns:
        RGB picture of the frame's size.
    """
    size = frame.size
    picture = Image.new("RGB", (size, size), first)
    if pattern == "solid":
        return picture
    pen = ImageDraw.Draw(picture)
    if pattern == "color block":
        across, down = frame.pixel(split_at, 0)[0], frame.pixel(0, split_at)[1]
        corner = (max(across, 0), 0) if sideways else (0, max(down, 0))
        if max(corner) < size:
            pen.rectangle((*corner, size, size), fill=second)
        return picture
    pitch = max(_PITCH[pattern] * zoom * frame.scale, 6.0)
    left = frame.shift_x % pitch + (offset[0] - 2) * pitch
    top = frame.shift_y % pitch + (offset[1] - 2) * pitch
    count = int(size / pitch) + 4
    xs = [left + k * pitch for k in range(count)]
    ys = [top + k * pitch for k in range(count)]
    _PAINTERS[pattern](picture, pen, xs, ys, pitch, first, second)
    return picture


def _horizontal(picture, pen, xs, ys, pitch, first, second) -> None:
    for y in ys:
        pen.rectangle((0, int(y), picture.width, int(y + 0.46 * pitch)), fill=second)


def _vertical(picture, pen, xs, ys, pitch, first, second) -> None:
    for x in xs:
        pen.rectangle((int(x), 0, int(x + 0.4 * pitch), picture.height), fill=second)


def _diagonal(picture, pen, xs, ys, pitch, first, second) -> None:
    size = picture.width
    step, start = pitch * 1.4, xs[0] - size
    for k in range(int(2 * size / step) + 6):
        x = int(start + k * step)
        wide = int(step * 0.42)
        pen.polygon([(x, size), (x + wide, size), (x + wide + size, 0), (x + size, 0)], fill=second)


def _dots(picture, pen, xs, ys, pitch, first, second) -> None:
    radius = int(0.24 * pitch)
    for row, y in enumerate(ys):
        for x in xs:
            cx, cy = int(x + (row % 2) * pitch / 2), int(y)
            pen.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=second)


def _gingham(picture, pen, xs, ys, pitch, first, second) -> None:
    half, size = int(0.5 * pitch), picture.width
    middle = _mix(first, second, 50)
    for y in ys:
        pen.rectangle((0, int(y), size, int(y) + half), fill=middle)
    for x in xs:
        pen.rectangle((int(x), 0, int(x) + half, size), fill=middle)
    for x in xs:
        for y in ys:
            pen.rectangle((int(x), int(y), int(x) + half, int(y) + half), fill=second)


def _plaid(picture, pen, xs, ys, pitch, first, second) -> None:
    size = picture.width
    band, thin = int(0.42 * pitch), max(int(0.07 * pitch), 1)
    light, deep = _mix(first, second, 45), _mix(first, second, 78)
    lines = _mix(second, (255, 255, 255) if sum(second) < 380 else (20, 20, 24), 55)
    for y in ys:
        pen.rectangle((0, int(y), size, int(y) + band), fill=light)
    for x in xs:
        pen.rectangle((int(x), 0, int(x) + band, size), fill=light)
    for x in xs:
        for y in ys:
            pen.rectangle((int(x), int(y), int(x) + band, int(y) + band), fill=deep)
    for y in ys:
        middle = int(y + 0.71 * pitch)
        pen.rectangle((0, middle, size, middle + thin), fill=second)
        pen.rectangle((0, int(y) + band // 2, size, int(y) + band // 2 + thin), fill=lines)
    for x in xs:
        middle = int(x + 0.71 * pitch)
        pen.rectangle((middle, 0, middle + thin, size), fill=second)
        pen.rectangle((int(x) + band // 2, 0, int(x) + band // 2 + thin, size), fill=lines)


def _floral(picture, pen, xs, ys, pitch, first, second) -> None:
    """Five petals, a heart and two leaves, pasted from stamps."""
    petal = pitch * 0.2
    side = int(pitch)
    heart = (250, 214, 92) if sum(second) < 640 else (236, 160, 60)
    leaf = _mix(first, (60, 120, 70), 62)
    stamps = []
    for turned in (0, 1):
        stamp = Image.new("L", (side, side))
        draw = ImageDraw.Draw(stamp)
        circle = _PENTAGON if turned == 0 else tuple((-y, x) for x, y in _PENTAGON)
        for dx, dy in circle:
            cx, cy = side / 2 + dx * petal, side / 2 + dy * petal
            draw.ellipse(
                (int(cx - petal * 0.82), int(cy - petal * 0.82), int(cx + petal * 0.82), int(cy + petal * 0.82)),
                fill=255,
            )
        stamps.append(stamp)
    core = max(int(petal * 0.5), 1)
    for row, y in enumerate(ys):
        for column, x in enumerate(xs):
            px, py = int(x + (row % 2) * pitch / 2 + ((row * 7 + column * 3) % 5 - 2) * pitch * 0.04), int(y)
            cx, cy = px + side // 2, py + side // 2
            reach = int(pitch * 0.46)
            pen.ellipse((cx + core, cy + reach // 2, cx + reach, cy + reach // 2 + core * 2), fill=leaf)
            pen.ellipse((cx - reach, cy - reach // 2 - core, cx - core, cy - reach // 2 + core), fill=leaf)
            picture.paste(second, (px, py), stamps[(row + column) % 2])
            pen.ellipse((cx - core, cy - core, cx + core, cy + core), fill=heart)


_PENTAGON = ((0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309))


def _zigzag(picture, pen, xs, ys, pitch, first, second) -> None:
    rise, wide = pitch * 0.42, pitch * 0.4
    for y in ys:
        upper = []
        for x in xs:
            upper += [(int(x), int(y + rise)), (int(x + pitch / 2), int(y))]
        lower = [(x, int(v + wide)) for x, v in reversed(upper)]
        pen.polygon(upper + lower, fill=second)


def _argyle(picture, pen, xs, ys, pitch, first, second) -> None:
    lines = _mix(first, (255, 255, 255) if sum(first) < 400 else (30, 30, 36), 55)
    thin = max(int(pitch * 0.04), 1)
    for y in ys[::2]:
        for x in xs:
            cx, cy = int(x), int(y)
            half, tall = int(pitch / 2), int(pitch)
            pen.polygon([(cx, cy - tall), (cx + half, cy), (cx, cy + tall), (cx - half, cy)], fill=second)
    for y in ys[::2]:
        for x in xs:
            cx, cy, half, tall = int(x), int(y), int(pitch / 2), int(pitch)
            pen.line([(cx - half, cy - tall), (cx + half, cy + tall)], fill=lines, width=thin)
            pen.line([(cx + half, cy - tall), (cx - half, cy + tall)], fill=lines, width=thin)


def _animal(picture, pen, xs, ys, pitch, first, second) -> None:
    """Leopard: a darker heart with a broken ring of blots, no two alike."""
    core = _mix(first, second, 34)
    for row, y in enumerate(ys):
        for column, x in enumerate(xs):
            number = (row * 5 + column * 3) % 7
            cx = x + (row % 2) * pitch / 2 + (number - 3) * pitch * 0.06
            cy = y + ((row + column * 2) % 5 - 2) * pitch * 0.07
            reach = pitch * (0.24 + 0.02 * (number % 4))
            blot = pitch * (0.115 + 0.012 * (number % 3))
            pen.ellipse((int(cx - reach), int(cy - reach * 0.8), int(cx + reach), int(cy + reach * 0.8)), fill=core)
            for k, (dx, dy) in enumerate(_PENTAGON):
                if k == number % 5:
                    continue  # the ring is open somewhere
                bx, by = cx + dx * reach, cy + dy * reach * 0.85
                wide = blot * (1.25 if k % 2 else 0.95)
                pen.ellipse((int(bx - wide), int(by - blot), int(bx + wide), int(by + blot)), fill=second)


_PAINTERS = {
    "horizontal stripes": _horizontal, "vertical stripes": _vertical, "diagonal stripes": _diagonal,
    "polka dots": _dots,
    "gingham": _gingham, "plaid": _plaid, "floral": _floral, "zigzag": _zigzag, "argyle": _argyle,
    "animal print": _animal,
}  # fmt: skip


@lru_cache(maxsize=64)
def texture(fabric: str, size: int, step: int) -> Image.Image | None:
    """Signed grain of a fabric, mode L around 128, one per process and size.

    Args:
        fabric: one of `vocabulary.FABRICS`.
        size: pixels of the canvas.
        step: pixels of one thread; a closer view has larger threads.
    """
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    rng = np.random.Generator(np.random.PCG64(11))
    coarse = rng.integers(-8, 9, (size // (2 * step) + 2, size // (2 * step) + 2))
    noise = np.repeat(np.repeat(coarse, 2 * step, 0), 2 * step, 1)[:size, :size]
    if fabric == "denim":
        grain = np.where((x + y) // step % 3 == 0, 22, -8) + noise
    elif fabric == "knit":
        column = x // (2 * step) % 2
        row = (y + np.where(column == 0, x, -x) % (2 * step)) // (2 * step) % 2
        grain = np.where(row == 0, 20, -18) + np.where(x % (2 * step) < 1, -20, 0)
    elif fabric == "wool":
        grain = noise * 2 + np.where((x * 7 + y * 13) // step % 11 == 0, 12, 0)
    elif fabric == "corduroy":
        place = x % (4 * step)
        grain = np.where(place < step, -34, np.where(place < 2 * step, 4, np.where(place < 3 * step, 22, 2)))
    elif fabric == "linen":
        rows = np.repeat(rng.integers(-12, 13, size // step + 2), step)[:size]
        columns = np.repeat(rng.integers(-12, 13, size // step + 2), step)[:size]
        grain = rows[:, None] + columns[None, :]
    elif fabric == "satin":
        place = (3 * x + 2 * y) % (60 * step)
        grain = np.where(place < 30 * step, place, 60 * step - place) * 56 // (30 * step) - 22
    elif fabric == "leather":
        place = (2 * x + y) % (90 * step)
        grain = np.where(place < 12 * step, 44, np.where(place < 18 * step, 18, -6))
    elif fabric == "nylon":
        place = (x + 2 * y) % (40 * step)
        grain = np.where(place < 6 * step, 18, 0)
    else:  # cotton: nearly smooth
        grain = noise // 2
    picture = Image.fromarray((128 + grain).clip(0, 255).astype(np.uint8))
    if fabric in ("leather", "nylon", "satin", "wool"):
        picture = picture.filter(ImageFilter.BoxBlur(2 * step))
    return picture


def folds(rng: np.random.Generator, size: int, grid: int, strength: int) -> Image.Image:
    """Signed soft light over the canvas on the coarse grid: a lit side, and a few creases that differ per garment.

    Args:
        rng: the picture's generator.
        size: pixels of the canvas.
        grid: pixels per cell.
        strength: contrast of the creases in grey levels.
    """
    cells = size // grid
    light = int(rng.integers(-12, 13))
    side = Image.linear_gradient("L").rotate(90).resize((cells, cells), Image.Resampling.BILINEAR)
    table = [128 + light - (2 * light * v) // 255 for v in range(256)]
    base = side.point(table)
    creases = Image.new("L", (cells, cells), 128)
    pen = ImageDraw.Draw(creases)
    for _ in range(7):
        x, y = int(rng.integers(cells // 5, cells * 4 // 5)), int(rng.integers(cells // 6, cells))
        dx, dy = int(rng.integers(-cells // 8, cells // 8 + 1)), int(rng.integers(cells // 8, cells // 3))
        tone = int(rng.integers(strength // 2, strength + 1))
        pen.line([(x, y), (x + dx, y + dy)], fill=128 - tone, width=1)
        pen.line([(x + 1, y), (x + dx + 1, y + dy)], fill=128 + tone, width=1)
    creases = creases.filter(ImageFilter.BoxBlur(0.7))
    return ImageChops.add(base, creases, 1, -128)
