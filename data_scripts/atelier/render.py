"""From a garment to its picture: front, back, detail, or worn by a figure."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .accessories import draw_accessory
from .canvas import SHADE_GRID, Canvas, Frame, Scene, Shape
from .cloth import cloth, folds, texture
from .designs import PICTURE_STREAM, VIEW_STREAM, generator
from .details import BELT_DARK, BELT_LIGHT
from .figure import draw_figure, draw_foot
from .garment import Garment
from .lower import draw_lower
from .upper import draw_upper
from .vocabulary import COLOURS, luminance

VIEWS = ("front", "back", "detail", "figure")
_SMALL = ("shoes", "bag", "hat", "scarf")
_DIRECTIONAL = ("horizontal stripes", "vertical stripes", "gingham", "plaid", "zigzag")
_ARM_TURN = 20  # degrees between a hanging sleeve and the body
_FOLD_STRENGTH = {"satin": 22, "linen": 18, "leather": 14, "nylon": 16, "wool": 8, "knit": 7, "denim": 12}
_BACKDROPS = (
    ((250, 250, 250), (232, 233, 236)), ((247, 244, 240), (226, 219, 210)), ((238, 243, 247), (208, 218, 228)),
    ((246, 238, 238), (226, 208, 208)), ((238, 244, 236), (210, 222, 206)), ((228, 228, 230), (186, 188, 194)),
    ((250, 246, 226), (228, 220, 188)), ((234, 230, 244), (204, 198, 222)), ((206, 200, 194), (162, 154, 148)),
    ((178, 186, 196), (136, 146, 158)),
)  # fmt: skip


def _supersampling(size: int) -> int:
    """Canvas pixels per picture pixel: more for small pictures, where every edge counts."""
    return 3 if size <= 160 else 2


def _scene(g: Garment, view: str, rng: np.random.Generator) -> Scene:
    scene = Scene()
    back, worn = view == "back", view == "figure"
    if g.category in _SMALL:
        if worn and g.category == "shoes":
            draw_foot(scene, rng)
        elif worn:
            draw_figure(scene, g, rng, back)
            piece = Scene()
            draw_accessory(piece, g, back, worn)
            _place(scene, piece, *_WORN_AT[g.silhouette])
            return scene
        draw_accessory(scene, g, back, worn)
        return scene
    if worn:
        draw_figure(scene, g, rng, back)
    (draw_lower if g.slot == "bottom" else draw_upper)(scene, g, back, worn)
    return scene


# Scale and place of an accessory on the figure, in body units.
_WORN_AT = {
    "tote": (0.36, 214, 610), "backpack": (0.42, 60, 310), "handbag": (0.3, 214, 570), "beanie": (0.36, 0, 36),
    "cap": (0.36, 0, 40),
    "sunhat": (0.4, 0, 30), "scarf": (0.62, 0, 204), "bandana": (0.34, 0, 206),
}  # fmt: skip


def _place(scene: Scene, piece: Scene, scale: float, dx: float, dy: float) -> None:
    for s in piece.shapes:
        points = [(x * scale + dx, y * scale + dy) for x, y in s.points]
        scene.shapes.append(
            Shape(s.kind, points, s.fill, s.width * scale, s.tone, s.shaded, s.puff * scale, s.outlined)
        )
    scene.focus = (dx, dy)


def _frame(scene: Scene, g: Garment, view: str, rng: np.random.Generator, size: int) -> Frame:
    """Fit the garment in the picture, with a little chance in size, place and turn."""
    left, top, right, bottom = scene.bounds()
    fill = 0.80 + 0.08 * float(rng.random())
    if view == "figure":
        left, right = min(left, -120.0), max(right, 120.0)
        top, bottom = min(top - 30.0, 0.0 if top < 420 else top - 60), bottom + 50.0
        if g.category == "shoes":
            left, top, right, bottom = -260.0, -330.0, 250.0, 190.0
        elif g.category in ("hat", "scarf"):
            top, bottom = min(-20.0, top - 20), max(320.0, bottom + 30)
        fill = 0.92
    elif view == "detail":
        fx, fy = scene.focus
        half = 0.27 * max(right - left, bottom - top)
        fx += (float(rng.random()) - 0.5) * 0.3 * half
        fy += (float(rng.random()) - 0.5) * 0.3 * half
        left, top, right, bottom = fx - half, fy - half, fx + half, fy + half
        fill = 1.0
    scale = fill * size / max(right - left, bottom - top)
    spare_x, spare_y = size - scale * (right - left), size - scale * (bottom - top)
    share_x, share_y = 0.5 + 0.4 * (float(rng.random()) - 0.5), 0.5 + 0.5 * (float(rng.random()) - 0.5)
    lean = 0.05 * (float(rng.random()) - 0.5) if view != "figure" else 0.0
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    return Frame(
        size,
        scale,
        spare_x * share_x - scale * (left - lean * middle_y),
        spare_y * share_y - scale * (top + lean * middle_x),
        lean,
    )


def _backdrop(rng: np.random.Generator, size: int) -> Image.Image:
    """A studio wall in one of many tints, lit from somewhere."""
    light, dark = _BACKDROPS[int(rng.integers(len(_BACKDROPS)))]
    tint = rng.integers(-7, 8, 3)
    share = rng.integers(0, 18, (4, 4, 1)) + 24 * np.arange(4)[:, None, None]  # darker towards the floor
    wall = (np.array(light) * (100 - share) + np.array(dark) * share) // 100 + tint  # (4, 4, 3)
    small = Image.fromarray(wall.clip(0, 255).astype(np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def _fills(g: Garment, frame: Frame, rng: np.random.Generator, scene: Scene) -> tuple[dict, dict]:
    """The cloths that the shapes name, and the plain colour under each."""
    jitter = rng.integers(-6, 7, 3)  # no two dye lots are equal
    first = tuple(min(max(int(c + j), 0), 255) for c, j in zip(COLOURS[g.colour], jitter, strict=True))
    if g.second_colour is not None:
        second = COLOURS[g.second_colour]
    else:
        step = 62 if luminance(g.colour) < 120 else -58
        second = tuple(min(max(c + step, 0), 255) for c in first)
    inside = tuple(c * 72 // 100 for c in first) if luminance(g.colour) > 60 else tuple(c + 26 for c in first)
    belt = BELT_LIGHT if luminance(g.colour) < 120 else BELT_DARK
    offset = (float(rng.random()), float(rng.random()))
    _, top, _, bottom = scene.bounds()
    split_at = (
        20.0
        if g.category == "shoes"
        else top + (0.52 if g.category not in ("trousers", "skirt") else 0.45) * (bottom - top)
    )
    zoom = 1.35 if g.category in ("shoes", "bag", "hat", "scarf") and frame.scale < 0.9 * frame.size / 300 else 1.0
    used = {s.fill for s in scene.shapes if isinstance(s.fill, str)}
    body = cloth(g.pattern, first, second, frame, offset, split_at, zoom, sideways=g.category == "shoes")
    bases = {"main": first, "second": second, "inside": inside, "belt": belt, "bow": second, "print": second,
             "sleeve-left": first, "sleeve-right": first}  # fmt: skip
    fills = {"main": body}
    for name in used - {"main"}:
        if name.startswith("sleeve"):
            fills[name] = body
            if g.pattern in _DIRECTIONAL:
                turn = _ARM_TURN if name == "sleeve-right" else -_ARM_TURN
                fills[name] = body.rotate(turn, Image.Resampling.NEAREST, fillcolor=first)
        else:
            fills[name] = Image.new("RGB", (frame.size, frame.size), bases[name])
    return fills, bases


def render(g: Garment, seed: int, view: str = "front", size: int = 128, take: int = 0) -> Image.Image:
    """The picture of one garment.

    The same arguments always give the same pixels; nothing depends on what was drawn before.

    Args:
        g: the garment.
        seed: the world's seed.
        view: one of `VIEWS`.
        size: side of the square picture in pixels, 16 or larger.
        take: another number is another photograph of the same view: other light, place and backdrop.
    Returns:
        RGB picture (size, size).
    Raises:
        ValueError: unknown view, or a size out of range.
    """
    if view not in VIEWS:
        raise ValueError(f"view {view!r} is unknown; choose one of {', '.join(VIEWS)}")
    if not 16 <= size <= 2048:
        raise ValueError(f"image size {size} is out of range; choose 16 to 2048 pixels")
    rng = generator(seed, PICTURE_STREAM, (g.index * len(VIEWS) + VIEWS.index(view)) * 16 + take)
    ss = _supersampling(size)
    grid = SHADE_GRID
    side = -(-size * ss // grid) * grid
    scene = _scene(g, view, rng)
    frame = _frame(scene, g, view, rng, size * ss)
    frame = Frame(side, frame.scale, frame.shift_x, frame.shift_y, frame.lean)
    fills, bases = _fills(g, frame, rng, scene)
    step = max(1, round(ss * size / 190 * (2 if view == "detail" else 1)))
    canvas = Canvas(
        frame, fills, bases, texture(g.fabric, side, step), folds(rng, side, grid, _FOLD_STRENGTH.get(g.fabric, 11))
    )
    for shape in scene.shapes:
        canvas.paint(shape)
    colour = canvas.colour.crop((0, 0, size * ss, size * ss)).reduce(ss)
    coverage = canvas.coverage.crop((0, 0, size * ss, size * ss)).reduce(ss)
    backdrop = _backdrop(rng, size)

    shade = (
        coverage.resize((size // 2, size // 2))
        .filter(ImageFilter.BoxBlur(size / 40))
        .resize((size, size), Image.Resampling.BILINEAR)
    )
    depth = 30 + int(rng.integers(0, 25))
    moved = Image.new("L", (size, size))  # the shadow falls a little to one side and down
    moved.paste(shade, (int(rng.integers(-2, 4)) * size // 128, (2 + int(rng.integers(0, 3))) * size // 96))
    backdrop.paste((58, 54, 60), (0, 0), moved.point([v * depth // 100 for v in range(256)]))
    clear = ImageChops.invert(coverage)
    picture = ImageChops.add(ImageChops.multiply(backdrop, Image.merge("RGB", (clear, clear, clear))), colour)
    gain, lift = 92 + int(rng.integers(0, 17)), int(rng.integers(-8, 9))
    return picture.point([min(max(v * gain // 100 + lift, 0), 255) for v in range(256)] * 3)


def main_view(g: Garment, seed: int, figure_share: float, take: int = 0) -> str:
    """The view a shop would put first: laid out, or on a figure for a share of the garments."""
    rng = generator(seed, VIEW_STREAM, g.index * 16 + take)
    return "figure" if float(rng.random()) < figure_share else "front"
