"""Outlines of what hangs from the waist: skirts, trousers, shorts, and the legs of a jumpsuit."""

from .canvas import Point, Scene, curve, flipped, mirrored
from .details import add_belt, add_bow, add_buttons, add_pocket, add_zip, ruffle
from .garment import Garment

WAIST_Y = 396.0
HEM = {"thigh": 590.0, "knee": 735.0, "midi": 850.0, "maxi": 945.0}
_FLARE = {"pencil": -0.02, "a-line": 0.3, "skater": 0.52, "tiered": 0.36, "pleated": 0.28}


def _wavy(left: float, right: float, y: float, waves: int, depth: float) -> list[Point]:
    """A hem from right to left."""
    step = (right - left) / waves
    points = [(right, y - depth * 0.6)]
    for k in range(waves):
        x = right - (k + 0.5) * step
        points += [(x, y + depth), (x - step / 2, y - depth * 0.1)]
    points[-1] = (left, y - depth * 0.6)
    return curve(*points, steps=3)


def _skirt_half(shape: str, waist: float, top: float, y: float) -> float:
    if shape == "pencil":
        hip = waist + 30.0
        return waist + (hip - waist) * min((y - top) / 100.0, 1.0) + _FLARE["pencil"] * max(y - top - 100.0, 0.0)
    grow = min((y - top) / 90.0, 1.0) * 24.0
    return waist + grow + _FLARE[shape] * (y - top)


def draw_skirt(scene: Scene, g: Garment, waist: float, top: float, hem: float, back: bool) -> None:
    """A skirt from a waist of half-width `waist` at height `top` down to `hem`; part of a dress or on its own."""
    shape = g.silhouette
    if shape == "tiered":
        tiers = 3
        for k in reversed(range(tiers)):
            y0, y1 = top + (hem - top) * k / tiers, top + (hem - top) * (k + 1) / tiers
            w0, w1 = _skirt_half(shape, waist, top, y0), _skirt_half(shape, waist, top, y1) + 8
            outline = [(-w0, y0 - 4), (w0, y0 - 4)] + _wavy(-w1, w1, y1, 5 + 2 * k, 6)
            scene.part(outline, "main")
            for j in range(1, 6 + 2 * k):
                x = -w0 + 2 * w0 * j / (6 + 2 * k)
                scene.line([(x, y0 + 2), (x * 1.06, y0 + 0.34 * (y1 - y0))], 2.2, -36)
        return
    heights = [top, top + 40.0, top + 100.0, (top + hem) / 2 + 60.0, hem]
    heights = [y for y in heights[:-1] if y < hem - 12.0] + [hem]
    side = curve(*[(_skirt_half(shape, waist, top, y), y) for y in heights], steps=4)
    half = side[-1][0]
    waves = {"pencil": 1, "a-line": 4, "skater": 6, "pleated": 12}[shape]
    depth = {"pencil": 3, "a-line": 5, "skater": 9, "pleated": 4}[shape]
    scene.part([(-x, y) for x, y in reversed(side)] + side[:-1] + _wavy(-half, half, hem, waves, depth), "main")
    if shape == "pleated":
        for k in range(1, 12):
            x = -1 + 2 * k / 12
            scene.line([(x * (waist + 2), top + 8), (x * half, hem)], 2.6, -46)
            scene.line([(x * (waist + 2) + 3, top + 20), (x * half + 5, hem)], 2.2, 30)
    elif shape in ("skater", "a-line"):
        for k in range(1, waves):
            x = -1 + 2 * k / waves
            scene.line(
                curve((x * half, hem - 4), (x * (half * 0.6 + waist * 0.3), (top + hem) / 2), (x * waist, top + 40)),
                2.6,
                -28,
            )
    elif back:
        scene.line([(0, hem - 70), (0, hem)], 3, -50)
    if g.detail == "ruffles":
        ruffle(scene, -half - 6, half + 6, hem - 26, 44, 10)
    if g.detail == "contrast trim":
        scene.part([(-half, hem - 24), (half, hem - 24)] + _wavy(-half, half, hem, waves, depth), "second", puff=8)


def draw_waist(scene: Scene, g: Garment, half: float, back: bool) -> None:
    """Waistband, fastening and what hangs on it."""
    y = WAIST_Y
    scene.part([(-half, y - 12), (half, y - 12), (half + 2, y + 12), (-half - 2, y + 12)], "main", puff=8)
    if back:
        if g.detail == "belt":
            add_belt(scene, half + 2, y, buckle=False)
        return
    if g.detail == "belt":
        add_belt(scene, half + 2, y)
    elif g.detail == "bow":
        add_bow(scene, 0, y, 32)
    if g.closure == "tie":
        scene.line(curve((-6, y), (-14, y + 34), (-10, y + 72)), 5, 0, (244, 242, 236))
        scene.line(curve((6, y), (13, y + 30), (12, y + 64)), 5, 0, (244, 242, 236))


def draw_lower(scene: Scene, g: Garment, back: bool, worn: bool) -> None:
    """A skirt, trousers or shorts on their own."""
    del worn
    scene.focus = (0.0, 452.0)
    if g.category != "skirt":
        draw_legs(scene, g, back, waist=84.0)
        return
    waist, hem = 82.0, HEM[g.length]
    draw_skirt(scene, g, waist, WAIST_Y + 8, hem, back)
    draw_waist(scene, g, waist, back)
    if back:
        return
    if g.closure == "zip":
        add_zip(scene, WAIST_Y + 14, WAIST_Y + 110)
    elif g.closure == "buttons":
        scene.line([(-12, WAIST_Y + 12), (-12, hem - 4)], 2.6, -44)
        add_buttons(scene, g, 0, WAIST_Y + 34, hem - 44, g.buttons)
    for x in (-62, 62)[: g.pockets or 0]:
        add_pocket(scene, x, WAIST_Y + 46, 50, 56)


def draw_legs(scene: Scene, g: Garment, back: bool, waist: float, part_of_suit: bool = False) -> None:
    """Trousers, shorts, or the lower half of a jumpsuit."""
    hem = HEM[g.length]
    shape = g.silhouette
    ease = {"slim": 0.0, "regular": 12.0, "loose": 32.0, None: 10.0}[g.fit]
    share = (hem - 560.0) / 385.0
    middle = 54.0 + 0.5 * ease * share + 8.0
    end = {"slim": 26.0, "regular": 38.0, "loose": 62.0, None: 38.0}[g.fit] + (1.0 - share) * 24.0
    if shape == "flared":
        end = 64.0 + ease
    if shape == "joggers":
        end = 24.0 + 0.3 * ease + (1.0 - share) * 22.0
    knee_y = min(735.0, (560.0 + hem) / 2)
    knee = 40.0 + 0.75 * ease + (6.0 if shape == "joggers" else 0.0) - (8.0 if shape == "flared" else 0.0)
    outer = curve((waist, WAIST_Y), (104 + 0.5 * ease, 500), (62 + knee, knee_y), (middle + end, hem), steps=5)
    inner = curve((middle - end, hem + 2), (max(60 - knee, 7), knee_y), (5, 584), steps=5)
    leg = [(0, WAIST_Y)] + outer + inner + [(0, 574)]
    for turn in (flipped, lambda p: p):
        scene.part(turn(leg), "main", puff=22)
        cuff = [(middle + end, hem - 22), (middle - end, hem - 22)]
        if g.detail == "contrast trim":
            scene.part(turn([(middle + end, hem), (middle - end, hem), cuff[1], cuff[0]]), "second", puff=6)
        elif shape == "joggers":
            scene.line(turn(cuff), 3.2, -48)
        else:
            scene.line(turn([(middle + end - 2, hem - 11), (middle - end + 2, hem - 11)]), 2.2, -36)
        if g.detail == "ruffles":
            ruffle(
                scene,
                *sorted((turn([(middle + end + 4, 0)])[0][0], turn([(middle - end - 2, 0)])[0][0])),
                hem - 22,
                30,
                5,
            )
        if g.fabric == "wool" or g.subcategory == "chinos":
            scene.line(turn(curve((52, 450), (58, knee_y), (middle, hem - 14))), 2.2, -26)
    scene.part(mirrored([(0, WAIST_Y), (10, WAIST_Y), (10, 560), (0, 572)]), "main", shaded=True, outlined=False)
    scene.line([(0, WAIST_Y + 10), (0, 574)], 2.6, -44)
    if not part_of_suit:
        draw_waist(scene, g, waist, back)
    if back:
        if g.pockets:
            for x in (-54, 54):
                add_pocket(scene, x, 446, 52, 54)
        return
    if not part_of_suit:
        scene.line(curve((14, WAIST_Y + 12), (16, 470), (2, 512)), 2.6, -40)
        if g.closure == "zip":
            add_zip(scene, WAIST_Y + 14, 500)
        elif g.closure == "buttons":
            add_buttons(scene, g, 0, WAIST_Y, WAIST_Y + 34.0 * (g.buttons - 1) + 0.1, g.buttons)
    pockets = g.pockets or 0
    if pockets >= 2:
        for turn in (flipped, lambda p: p):
            scene.line(turn(curve((50, WAIST_Y + 14), (58, 448), (98 + 0.45 * ease, 474))), 4, -58)
    if pockets >= 4:
        for turn in (1, -1):
            add_pocket(scene, turn * 84.0, 540 if hem < 640 else 596, 46, 60, flap=True)
