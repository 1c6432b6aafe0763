"""Drawing: a scene of shapes in body units, and the canvas that paints it.

Body units: a standing figure is 1000 high, x = 0 is its middle, y grows downwards. All painting is 8-bit integer work
of Pillow on a supersampled canvas, so that the same scene gives the same pixels everywhere.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]
Colour = tuple[int, int, int]

SHADE_GRID = 8  # shading is made on a grid this much coarser than the canvas: it is soft anyway


@cache
def _spline_basis(steps: int) -> tuple[tuple[float, float, float, float], ...]:
    """Catmull-Rom weights of four control points at `steps` positions between the middle two."""
    rows = []
    for k in range(steps):
        t = k / steps
        rows.append(
            (
                (-t + 2 * t**2 - t**3) / 2,
                (2 - 5 * t**2 + 3 * t**3) / 2,
                (t + 4 * t**2 - 3 * t**3) / 2,
                (-(t**2) + t**3) / 2,
            )
        )
    return tuple(rows)


def curve(*points: Point, steps: int = 6) -> list[Point]:
    """A smooth line through the points (both ends included)."""
    if len(points) < 3:
        return list(points)
    basis = _spline_basis(steps)
    chain = (points[0], *points, points[-1])
    line: list[Point] = []
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in zip(chain, chain[1:], chain[2:], chain[3:], strict=False):
        for wa, wb, wc, wd in basis:
            line.append((wa * ax + wb * bx + wc * cx + wd * dx, wa * ay + wb * by + wc * cy + wd * dy))
    line.append(points[-1])
    return line


def loop(*points: Point, steps: int = 6) -> list[Point]:
    """A smooth closed line through the points."""
    basis = _spline_basis(steps)
    count = len(points)
    line: list[Point] = []
    for k in range(count):
        (ax, ay), (bx, by) = points[k - 1], points[k]
        (cx, cy), (dx, dy) = points[(k + 1) % count], points[(k + 2) % count]
        for wa, wb, wc, wd in basis:
            line.append((wa * ax + wb * bx + wc * cx + wd * dx, wa * ay + wb * by + wc * cy + wd * dy))
    return line


def mirrored(right: list[Point]) -> list[Point]:
    """A symmetric outline from its right half, given from the top middle to the bottom middle."""
    return right + [(-x, y) for x, y in reversed(right)]


def flipped(points: list[Point]) -> list[Point]:
    """The same points on the other side of the body."""
    return [(-x, y) for x, y in points]


@dataclass
class Shape:
    """One thing to paint.

    Attributes:
        kind: "part" (filled outline), "line" or "disc".
        points: outline, polyline, or the centre of a disc.
        fill: "main", "second", "inside" (the shaded back of the cloth), "sleeve-left", "sleeve-right" or a colour.
        width: line width or disc radius in body units.
        tone: added to the colour of a line, in grey levels.
        shaded: whether the fill gets folds, rounding and fabric.
        puff: how far the rounding reaches from the edge, in body units.
        outlined: whether the edge is drawn.
        garment: False for the figure and its other clothes, which do not count for the frame.
    """

    kind: str
    points: list[Point]
    fill: str | Colour = "main"
    width: float = 3.0
    tone: int = 0
    shaded: bool = True
    puff: float = 26.0
    outlined: bool = True
    garment: bool = True


@dataclass
class Scene:
    """Shapes in painting order, and the points of interest of the garment."""

    shapes: list[Shape] = field(default_factory=list)
    focus: Point = (0.0, 300.0)
    is_garment: bool = True

    def part(self, points: list[Point], fill: str | Colour = "main", **options) -> None:
        """A filled outline; options are the fields of `Shape`."""
        self.shapes.append(Shape("part", points, fill, garment=self.is_garment, **options))

    def line(self, points: list[Point], width: float = 3.0, tone: int = -45, fill: str | Colour = "main") -> None:
        """A line; `tone` makes it darker or lighter than its fill."""
        self.shapes.append(Shape("line", points, fill, width, tone, garment=self.is_garment))

    def disc(self, centre: Point, radius: float, fill: str | Colour, tone: int = 0) -> None:
        """A filled circle."""
        self.shapes.append(Shape("disc", [centre], fill, radius, tone, garment=self.is_garment))

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the garment in body units."""
        points = [p for s in self.shapes if s.garment and s.kind != "disc" for p in s.points]
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Frame:
    """Where body units fall on the canvas: pixel = scale * turned(unit) + shift."""

    size: int
    scale: float
    shift_x: float
    shift_y: float
    lean: float = 0.0  # tangent of a small turn

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of one point."""
        return (
            int(np.floor(self.scale * (x - self.lean * y) + self.shift_x + 0.5)),
            int(np.floor(self.scale * (y + self.lean * x) + self.shift_y + 0.5)),
        )

    def pixels(self, points: list[Point]) -> list[tuple[int, int]]:
        """The pixels of many points."""
        scale, lean, dx, dy = self.scale, self.lean, self.shift_x + 1000.5, self.shift_y + 1000.5
        return [(int(scale * (x - lean * y) + dx) - 1000, int(scale * (y + lean * x) + dy) - 1000) for x, y in points]


def shifted(colour: Colour, tone: int) -> Colour:
    """A colour made darker (negative tone) or lighter, kept visible on its own ground.

    A dark line on black and a light one on white would vanish, so the direction turns round near the ends.
    """
    lightness = (299 * colour[0] + 587 * colour[1] + 114 * colour[2]) // 1000
    if tone < 0 and lightness < 62:
        tone = -tone * 3 // 4
    return tuple(min(max(c + tone, 0), 255) for c in colour)


def _rounding_table() -> list[int]:
    """From a blurred mask (0..255; 128 at the edge) to a signed shade around 128."""
    table = []
    for value in range(256):
        inside = min(max(value - 118, 0), 137)
        table.append(128 - (40 * (137 - inside)) // 137 + 10)
    return table


class Canvas:
    """A supersampled picture of premultiplied colour and its coverage.

    Args:
        frame: where body units fall.
        fills: pictures (size, size) of the cloths that shapes name, by name.
        bases: the plain colour under each cloth, for outlines and lines.
        texture: signed fabric texture, mode L around 128, or None.
        folds: signed soft light on the coarse grid, mode L around 128.
    """

    _rounding = _rounding_table()

    def __init__(self, frame: Frame, fills: dict, bases: dict[str, Colour], texture, folds) -> None:
        self.frame, self.fills, self.bases, self.texture, self.folds = frame, fills, bases, texture, folds
        size = frame.size
        self.colour = Image.new("RGB", (size, size))
        self.coverage = Image.new("L", (size, size))
        self._pen = ImageDraw.Draw(self.colour)
        self._coverage_pen = ImageDraw.Draw(self.coverage)
        self.line_width = max(1, round(size / 128))

    def paint(self, shape: Shape) -> None:
        """Put one shape on top of what is there."""
        if shape.kind == "part":
            self._part(shape)
        elif shape.kind == "line":
            width = max(1, round(shape.width * self.frame.scale))
            pixels = self.frame.pixels(shape.points)
            base = self.bases[shape.fill] if isinstance(shape.fill, str) else shape.fill
            self._pen.line(pixels, fill=shifted(base, shape.tone), width=width)
            self._coverage_pen.line(pixels, fill=255, width=width)
        else:
            (x, y), radius = self.frame.pixels(shape.points)[0], max(1, round(shape.width * self.frame.scale))
            base = self.bases[shape.fill] if isinstance(shape.fill, str) else shape.fill
            box = (x - radius, y - radius, x + radius, y + radius)
            self._pen.ellipse(box, fill=shifted(base, shape.tone))
            self._coverage_pen.ellipse(box, fill=255)

    def _part(self, shape: Shape) -> None:
        size, grid = self.frame.size, SHADE_GRID
        pixels = self.frame.pixels(shape.points)
        xs, ys = [p[0] for p in pixels], [p[1] for p in pixels]
        left, top = max(min(xs), 0) // grid * grid, max(min(ys), 0) // grid * grid
        right, bottom = min(-(-(max(xs) + 1) // grid) * grid, size), min(-(-(max(ys) + 1) // grid) * grid, size)
        if left >= right or top >= bottom:
            return
        box = (left, top, right, bottom)
        width, height = right - left, bottom - top
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=255)
        base = self.bases[shape.fill] if isinstance(shape.fill, str) else shape.fill
        if isinstance(shape.fill, str):
            paint = self.fills[shape.fill].crop(box)
        else:
            paint = Image.new("RGB", (width, height), shape.fill)
        if shape.shaded:
            small = mask.reduce(grid)
            reach = max(shape.puff * self.frame.scale / grid, 0.6)
            wide = Image.new("L", (small.width + 8, small.height + 8))
            wide.paste(small, (4, 4))
            wide = wide.filter(ImageFilter.BoxBlur(round(reach * 2) / 2)).crop(
                (4, 4, 4 + small.width, 4 + small.height)
            )
            shade = wide.point(self._rounding)
            coarse = tuple(v // grid for v in box)
            shade = ImageChops.add(shade, self.folds.crop(coarse), 1, -128)
            shade = shade.resize((width, height), Image.Resampling.BILINEAR)
            if self.texture is not None and isinstance(shape.fill, str):
                shade = ImageChops.add(shade, self.texture.crop(box), 1, -128)
            paint = ImageChops.add(paint, Image.merge("RGB", (shade, shade, shade)), 1, -128)
        self.colour.paste(paint, (left, top), mask)
        self.coverage.paste(255, (left, top), mask)
        if shape.outlined:
            edge = pixels + [pixels[0]]
            self._pen.line(edge, fill=shifted(base, -70), width=self.line_width)
            self._coverage_pen.line(edge, fill=255, width=self.line_width)
