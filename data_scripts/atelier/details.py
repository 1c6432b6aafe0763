"""Small things sewn on: buttons, zips, pockets, belts, bows, ruffles, prints."""

from .canvas import Scene, curve, loop
from .garment import Garment
from .vocabulary import COLOURS

_METAL = (214, 184, 98)
_STEEL = (176, 180, 188)
BELT_DARK, BELT_LIGHT = (86, 58, 42), (206, 160, 108)
PEARL, HORN, AMBER = (250, 248, 240), (46, 40, 42), (226, 160, 40)
_BUTTONS = (PEARL, HORN, AMBER)


def button_colour(g: Garment) -> tuple[int, int, int]:
    """The button that shows best on the cloth, whichever of its colours is below."""
    below = [COLOURS[g.colour]] + ([COLOURS[g.second_colour]] if g.second_colour else [])
    return max(_BUTTONS, key=lambda b: min(sum(abs(u - v) for u, v in zip(b, c, strict=True)) for c in below))


def add_buttons(
    scene: Scene, g: Garment, x: float, top: float, bottom: float, count: int, belt_y: float | None = None
) -> None:
    """A column of buttons, evenly spaced; one that a belt at `belt_y` would hide moves beside it and still counts."""
    colour = button_colour(g)
    for k in range(count):
        y = top if count == 1 else top + (bottom - top) * k / (count - 1)
        if belt_y is not None and abs(y - belt_y) < 27:
            y = belt_y - 25 if y <= belt_y else belt_y + 30
        scene.disc((x, y), 9.5, colour, 50 if colour == HORN else -60)
        scene.disc((x, y), 7.6, colour)
        scene.disc((x - 1.5, y - 2), 2.0, colour, 110 if colour == HORN else -90)


def add_zip(scene: Scene, top: float, bottom: float) -> None:
    """A zip down the middle, its pull at the top."""
    scene.line([(0, top), (0, bottom)], 9, 0, (120, 122, 130))
    scene.line([(0, top), (0, bottom)], 3.4, 0, (228, 229, 234))
    scene.part([(-6, top + 8), (6, top + 8), (5, top + 30), (-5, top + 30)], _STEEL, puff=4)


def add_pocket(scene: Scene, x: float, y: float, width: float, height: float, flap: bool = False) -> None:
    """A patch pocket with its top edge at y."""
    w = width / 2
    scene.part(
        [(x - w, y), (x + w, y), (x + w, y + height * 0.82), (x, y + height), (x - w, y + height * 0.82)],
        "main",
        puff=8,
    )
    if flap:
        scene.part(
            [(x - w - 3, y - 4), (x + w + 3, y - 4), (x + w + 3, y + 14), (x, y + 22), (x - w - 3, y + 14)],
            "main",
            puff=6,
        )
    else:
        scene.line([(x - w, y + 9), (x + w, y + 9)], 2.4, -45)


def add_belt(scene: Scene, half: float, y: float, buckle: bool = True) -> None:
    """A belt of half-width `half` with its middle at y."""
    scene.part(
        curve((-half, y - 11), (0, y - 7), (half, y - 11)) + curve((half, y + 11), (0, y + 15), (-half, y + 11)),
        "belt",
        puff=8,
    )
    if buckle:
        scene.part([(-17, y - 14), (17, y - 14), (17, y + 20), (-17, y + 20)], _METAL, puff=5)
        scene.part([(-9, y - 6), (9, y - 6), (9, y + 12), (-9, y + 12)], "belt", shaded=False, outlined=False)


def add_bow(scene: Scene, x: float, y: float, size: float) -> None:
    """A tied bow about 2.5 sizes wide."""
    s = size
    for side in (-1, 1):
        scene.part([(x, y), (x + side * s * 0.5, y + s * 1.5), (x + side * s * 0.95, y + s * 1.35)], "bow", puff=8)
        scene.part(
            loop(
                (x, y), (x + side * s * 0.9, y - s * 0.55), (x + side * s * 1.25, y), (x + side * s * 0.9, y + s * 0.5)
            ),
            "bow",
            puff=10,
        )
    scene.disc((x, y), s * 0.26, "bow", -40)


def ruffle(scene: Scene, left: float, right: float, y: float, height: float, waves: int) -> None:
    """A gathered strip with its seam at y and a wavy lower edge."""
    step = (right - left) / waves
    lower = []
    for k in range(waves):
        x = right - k * step
        lower += [(x, y + height), (x - step / 2, y + height + 9)]
    lower.append((left, y + height))
    scene.part([(left, y), (right, y)] + curve(*lower, steps=3), "main", puff=10)
    for k in range(1, waves):
        scene.line([(left + k * step, y + height - 2), (left + (k + 0.12) * step, y + height * 0.3)], 2.6, -40)


def add_graphic(scene: Scene, name: str, x: float, y: float, r: float) -> None:
    """A flat print in the second colour, about 2r wide."""
    options = {"shaded": False, "outlined": False}
    if name == "star":
        star = []
        for k, (ux, uy) in enumerate(_STAR):
            reach = r * (1.15 if k % 2 == 0 else 0.48)
            star.append((x + ux * reach, y + uy * reach))
        scene.part(star, "print", **options)
    elif name == "heart":
        half = curve((0, -0.35), (0.3, -0.85), (0.8, -0.75), (0.95, -0.25), (0.55, 0.4), (0, 1.0))
        right = [(x + ux * r, y + uy * r) for ux, uy in half]
        scene.part(right + [(2 * x - px, py) for px, py in reversed(right)], "print", **options)
    elif name == "sun":
        for ux, uy in _STAR[::2] + [(-a, -b) for a, b in _STAR[::2]]:
            scene.line(
                [(x + ux * r * 0.72, y + uy * r * 0.72), (x + ux * r * 1.2, y + uy * r * 1.2)], r * 0.17, 0, "print"
            )
        scene.disc((x, y), r * 0.56, "print")
    elif name == "wave":
        for k in (-1, 0, 1):
            yy = y + k * r * 0.55
            points = curve(*[(x + (i - 3) * r * 0.42, yy + (-0.16 if i % 2 else 0.16) * r) for i in range(7)], steps=4)
            scene.line(points, r * 0.22, 0, "print")
    elif name == "lettering":
        w, h, gap = r * 0.42, r * 0.75, r * 0.62
        for k, strokes in enumerate(_LETTERS):
            left = x + (k - 2) * gap + (gap - w) / 2 - gap * 0.0
            for stroke in strokes:
                scene.line([(left + ux * w, y - h / 2 + uy * h) for ux, uy in stroke], r * 0.16, 0, "print")


_STAR = [
    (0.0, -1.0), (0.588, -0.809), (0.951, -0.309), (0.951, 0.309), (0.588, 0.809), (0.0, 1.0), (-0.588, 0.809),
    (-0.951, 0.309), (-0.951, -0.309), (-0.588, -0.809),
]  # fmt: skip
# M, O, D, E as strokes in a unit box
_LETTERS = (
    (((0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)),),
    (((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),),
    (((0, 0), (0.6, 0), (1, 0.3), (1, 0.7), (0.6, 1), (0, 1), (0, 0)),),
    (((1, 0), (0, 0), (0, 1), (1, 1)), ((0, 0.5), (0.8, 0.5))),
)
