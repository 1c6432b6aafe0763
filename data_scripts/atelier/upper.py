"""Outlines of everything that hangs from the shoulders: shirts, tops, sweaters, jackets, coats, dresses, jumpsuits."""

from .canvas import Point, Scene, curve, flipped, loop, mirrored
from .details import add_belt, add_bow, add_buttons, add_graphic, add_pocket, add_zip, ruffle
from .garment import Garment
from .lower import draw_legs, draw_skirt

NECK_Y = 176.0
HEM = {"cropped": 372.0, "waist": 430.0, "hip": 508.0, "thigh": 612.0, "knee": 735.0, "midi": 850.0, "maxi": 945.0}
SLEEVE_REACH = {"cap": 0.13, "short": 0.34, "elbow": 0.52, "three-quarter": 0.76, "long": 1.0}
ARM = (0.36, 0.933)  # direction of a hanging arm
ARM_LENGTH = 296.0
_EASE = {"slim": 0.0, "regular": 14.0, "loose": 36.0, None: 10.0}
_OUTER = ("jacket", "coat")
_BARE = ("straps", "sweetheart", "halter", "off-shoulder")
_SEPARATE_SKIRT = ("skater", "tiered", "a-line")
_FLARE = {"sheath": -0.04, "slip": 0.16, "coat": 0.12, "tunic": 0.14, "tee": 0.03, "a-line": 0.2}


class _Cut:
    """Measures of one garment: half-widths by height, neck and shoulder."""

    def __init__(self, g: Garment, back: bool) -> None:
        self.ease = _EASE[g.fit] + (12.0 if g.category in _OUTER else 0.0) + (10.0 if g.silhouette == "puffer" else 0.0)
        boxy = g.silhouette in (
            "tee",
            "shirt",
            "polo",
            "sweater",
            "bomber",
            "jacket",
            "puffer",
            "coat",
            "blouse",
            "tunic",
        )
        self.armpit = 92.0 + self.ease
        self.waist = (84.0 if boxy else 70.0) + self.ease * (1.1 if boxy else 0.8)
        self.hip = (96.0 if boxy else 103.0) + self.ease
        self.flare = _FLARE.get(g.silhouette, 0.02)
        self.shoulder = (108.0 + 0.5 * self.ease, 200.0 + 0.15 * self.ease)
        self.bare = g.neckline in _BARE and not back or g.neckline in ("straps", "sweetheart", "halter", "off-shoulder")
        self.sleeved = g.sleeve not in (None, "sleeveless")
        self.hem = HEM[g.length] if g.length else HEM["hip"]

    def half(self, y: float) -> float:
        for (y0, w0), (y1, w1) in (
            ((268.0, self.armpit), (396.0, self.waist)),
            ((396.0, self.waist), (500.0, self.hip)),
        ):
            if y <= y1:
                return w0 + (w1 - w0) * max(y - y0, 0.0) / (y1 - y0)
        return self.hip + self.flare * (y - 500.0)

    def side(self, bottom: float) -> list[Point]:
        """The right side seam from under the arm to the bottom."""
        heights = [y for y in (268.0, 330.0, 396.0, 450.0, 500.0, 620.0, 760.0) if y < bottom - 18.0] + [bottom]
        return curve(*[(self.half(y), y) for y in heights], steps=3)


def _neckline(g: Garment, back: bool) -> list[Point]:
    """The right half of the neckline, from the middle to the shoulder."""
    y = NECK_Y
    if back and g.neckline not in ("boat",):
        return curve((0, y + 15), (26, y + 12), (46, y + 2))
    return {
        "crew": curve((0, y + 38), (25, y + 31), (42, y + 14), (47, y + 2)),
        "v-neck": [(0, y + 112), (48, y + 2)],
        "scoop": curve((0, y + 96), (32, y + 84), (52, y + 46), (58, y + 5)),
        "square": [(0, y + 74), (58, y + 74), (58, y + 5)],
        "boat": curve((0, y + 25), (46, y + 22), (86, y + 12)),
        "turtleneck": curve((0, y + 16), (22, y + 12), (40, y)),
        "collar": [(0, y + 62), (42, y + 1)],
        "band collar": [(0, y + 40), (40, y + 1)],
        "lapel": [(0, y + 158), (46, y + 1)],
        "hood": curve((0, y + 52), (26, y + 42), (46, y + 2)),
        "sweetheart": curve((0, y + 74), (22, y + 54), (46, y + 46), (56, y + 5)),
    }[g.neckline]


def _torso(g: Garment, cut: _Cut, bottom: float, back: bool) -> tuple[list[Point], list[Point]]:
    """Right half outline of the body and the neckline it starts with."""
    side = cut.side(bottom)
    neck = g.neckline
    if neck == "sweetheart" and not cut.sleeved:
        top = curve((0, 262), (20, 238), (48, 224), (76, 236), (cut.armpit, 262))
        if back:
            top = [(0, 262), (cut.armpit, 262)]
        return top + side[1:], top
    if neck == "straps":
        top = curve((0, 268), (34, 254), (66, 226)) if not back else [(0, 268), (66, 262)]
        return top + curve((66, 226), (78, 250), (cut.armpit, 284))[1:] + side[1:], top
    if neck == "halter":
        top = [(0, NECK_Y + 70), (30, NECK_Y - 6)] if not back else [(0, 300), (cut.armpit, 292)]
        if back:
            return top + side[1:], top
        return top + [(48, NECK_Y - 6)] + curve((48, NECK_Y - 6), (58, 232), (cut.armpit, 288))[1:] + side[1:], top
    if neck == "off-shoulder":
        top = curve((0, 252), (60, 248), (cut.armpit + 18, 236))
        return top + [(cut.armpit, 276)] + side[1:], top
    neckline = _neckline(g, back)
    if cut.sleeved:
        sx, sy = cut.shoulder
        armhole = curve(_on_shoulder(cut, neckline, sx - 9), (sx - 14, sy + 34), (cut.armpit, 270))
    else:
        wide = max(neckline[-1][0] + 22, 84 + 0.3 * cut.ease)
        armhole = curve((wide, 192), (wide - 8, 230), (cut.armpit, 282))
    return neckline + armhole + side[1:], neckline


def _on_shoulder(cut: _Cut, neckline: list[Point], x: float) -> Point:
    """The point of the shoulder seam above x."""
    (nx, ny), (sx, sy) = neckline[-1], cut.shoulder
    return x, ny + (sy - ny) * (x - nx) / (sx - nx)


def _sleeve(g: Garment, cut: _Cut) -> tuple[list[Point], list[Point]]:
    """Right sleeve outline and the line of its cuff."""
    reach = ARM_LENGTH * SLEEVE_REACH[g.sleeve]
    sx, sy = cut.shoulder
    if g.neckline == "off-shoulder":
        sx, sy = cut.armpit + 16, 238.0
        reach = max(reach - 40.0, 30.0)
    dx, dy = ARM
    nx, ny = dy, -dx
    loose = 0.35 * cut.ease
    wide_top = 40.0 + loose
    base = 26.0 + loose + (1.0 - SLEEVE_REACH[g.sleeve]) * 14.0
    end = {"regular": base, "bell": base + 16.0 + 0.12 * reach, "puff": base - 2.0, None: base}[g.sleeve_style]
    bulge = 30.0 if g.sleeve_style == "puff" else 5.0
    cx, cy = sx - 14.0 + dx * reach, sy + 18.0 + dy * reach
    outer_end, inner_end = (cx + nx * end, cy + ny * end), (cx - nx * end, cy - ny * end)

    start = [(sx - 22, sy - 2)]
    if g.neckline != "off-shoulder":
        start = [_on_shoulder(cut, [(47.0, NECK_Y + 2)], sx - 26), (sx - 4, sy - 1), (sx + 13 + 0.2 * bulge, sy + 18)]

    def along(share: float, out: float) -> Point:
        return sx - 14.0 + dx * reach * share + nx * out, sy + 18.0 + dy * reach * share + ny * out

    if g.sleeve_style == "bell":
        outer = curve(*start, along(0.4, wide_top * 0.86), along(0.7, base + 3), outer_end)
        inner = curve(inner_end, along(0.7, -base - 1), (cut.armpit - 4, 274))
    else:
        outer = curve(*start, along(0.22, wide_top * 0.8 + bulge * 0.8), along(0.55, base + bulge), outer_end)
        inner = curve(inner_end, along(0.55, -base - bulge * 0.7), (cut.armpit - 4, 274))
    if g.sleeve == "cap":
        outer = curve(*start[:2], outer_end)
        inner = [inner_end, (cut.armpit - 2, 262)]
    outline = outer + inner + [(sx - 40, 240)]
    return outline, [outer_end, inner_end]


def _draw_sleeves(scene: Scene, g: Garment, cut: _Cut) -> None:
    outline, cuff = _sleeve(g, cut)
    for name, turn in (("sleeve-right", lambda p: p), ("sleeve-left", flipped)):
        scene.part(turn(outline), name, puff=18)
        if g.silhouette == "puffer" and g.sleeve == "long":
            for share in (0.2, 0.4, 0.6, 0.8):
                x, y = (
                    cut.shoulder[0] - 14 + ARM[0] * ARM_LENGTH * share,
                    cut.shoulder[1] + 18 + ARM[1] * ARM_LENGTH * share,
                )
                scene.line(turn(curve((x - 36, y + 8), (x, y + 4), (x + 40, y - 16))), 4, -40)
        (ax, ay), (bx, by) = cuff
        width = 14 if g.category in ("sweater", "jacket") or g.silhouette == "bomber" else 7
        back_x, back_y = ARM[0] * width, ARM[1] * width
        if g.detail == "contrast trim":
            scene.part(
                turn(
                    [(ax, ay), (bx, by), (bx - back_x * 1.1, by - back_y * 1.1), (ax - back_x * 1.1, ay - back_y * 1.1)]
                ),
                "second",
            )
        elif g.sleeve_style == "puff" or g.category in ("sweater", "jacket", "shirt"):
            scene.line(turn([(ax - back_x, ay - back_y), (bx - back_x, by - back_y)]), 3, -45)
        if g.sleeve_style == "puff":
            for k in (0.25, 0.5, 0.75):
                x, y = ax + (bx - ax) * k, ay + (by - ay) * k
                scene.line(turn([(x - back_x, y - back_y), (x - back_x * 3.2, y - back_y * 3.2)]), 3, -35)


def _draw_inside(scene: Scene, neckline: list[Point], g: Garment) -> None:
    """The back of the cloth that shows in the neck of a laid-out garment."""
    right = [(0.0, NECK_Y + 13.0), *curve((20, NECK_Y + 11), (neckline[-1][0], neckline[-1][1]))]
    hole = right + list(reversed(neckline))
    hole = hole + [(-x, y) for x, y in reversed(hole)]
    scene.part(hole, "inside", outlined=False, puff=10)
    scene.part(
        [(-9, NECK_Y + 18), (9, NECK_Y + 18), (9, NECK_Y + 30), (-9, NECK_Y + 30)],
        (236, 234, 226),
        shaded=False,
        outlined=False,
    )


def _draw_hood(scene: Scene, g: Garment, back: bool) -> None:
    if back:
        scene.part(loop((0, 150), (62, 166), (66, 216), (0, 262), (-66, 216), (-62, 166)), "main", puff=22)
        scene.line(curve((0, 152), (4, 200), (0, 258)), 3, -40)
        return
    scene.part(mirrored(curve((0, 104), (44, 112), (66, 150), (62, 196), (30, 226), (0, 236))), "main", puff=14)
    scene.part(mirrored(curve((0, 126), (30, 132), (44, 160), (40, 200), (0, 228))), "inside", puff=12)


def _draw_collar(scene: Scene, g: Garment, back: bool) -> None:
    fill = "second" if g.detail == "contrast trim" else "main"
    y = NECK_Y
    if g.neckline == "turtleneck":
        scene.part(
            mirrored(curve((0, y - 44), (36, y - 46), (42, y - 40), (46, y + 6), (24, y + 20), (0, y + 24))),
            fill,
            puff=14,
        )
        scene.line(curve((-43, y - 12), (0, y - 6), (43, y - 12)), 3, -30)
    elif g.neckline == "band collar":
        if back:
            scene.part(mirrored([(0, y - 10), (40, y - 14), (44, y + 8), (0, y + 18)]), fill, puff=8)
            return
        for turn in (lambda p: p, flipped):
            scene.part(
                turn(curve((3, y + 48), (26, y + 30), (42, y + 4)) + curve((40, y - 16), (22, y + 12), (3, y + 26))),
                fill,
                puff=6,
            )
    elif g.neckline == "collar":
        if back:
            scene.part(
                mirrored(curve((0, y - 12), (38, y - 12), (56, y + 22), (30, y + 30), (0, y + 32))), fill, puff=10
            )
            return
        for turn in (lambda p: p, flipped):
            scene.part(turn([(0, y + 58), (36, y - 14), (44, y - 8), (64, y + 30), (30, y + 70)]), fill, puff=8)
    elif g.neckline == "lapel":
        if back:
            scene.part(mirrored(curve((0, y - 14), (38, y - 12), (52, y + 18), (0, y + 28))), fill, puff=8)
            return
        for turn in (lambda p: p, flipped):
            scene.part(
                turn([(0, y + 160), (40, y - 10), (52, y + 2), (72, y + 62), (52, y + 72), (62, y + 92)]), fill, puff=10
            )
            scene.part(turn([(38, y - 14), (50, y - 6), (74, y + 50), (44, y + 60), (30, y + 30)]), fill, puff=8)


def _trim(scene: Scene, g: Garment, cut: _Cut, neckline: list[Point], bottom: float) -> None:
    if g.detail != "contrast trim":
        return
    if g.neckline not in ("collar", "lapel", "turtleneck", "band collar"):
        scene.line(neckline, 10, 0, "second")
        scene.line(flipped(neckline), 10, 0, "second")
    half = cut.half(bottom)
    if g.silhouette != "skater":
        scene.part([(-half, bottom - 15), (half, bottom - 15), (half, bottom), (-half, bottom)], "second", puff=8)


def _pockets(scene: Scene, g: Garment, cut: _Cut, bottom: float) -> None:
    if not g.pockets:
        return
    if g.subcategory == "hoodie":
        y = min(bottom - 14, 440.0)
        scene.part([(-40, y - 66), (40, y - 66), (68, y - 22), (68, y), (-68, y), (-68, y - 22)], "main", puff=10)
        return
    chest = [(50.0, 262.0), (-50.0, 262.0)]
    low = min(bottom - 74.0, 440.0)
    hips = [(0.55 * cut.half(low), low), (-0.55 * cut.half(low), low)]
    order = (
        hips + chest
        if g.category in ("jacket", "coat", "dress", "jumpsuit", "sweater") or g.subcategory == "tunic"
        else chest + hips
    )
    if g.pockets in (1, 3) and order is not chest:
        order = [chest[0]] + hips + [chest[1]] if g.category in ("jacket", "coat") else order
    for x, y in order[: g.pockets]:
        hip = y > 300
        add_pocket(scene, x, y, 56 if hip else 44, 58 if hip else 48, flap=g.category in ("jacket", "coat"))


def _belt_y(bottom: float, separate: bool) -> float:
    return 400.0 if bottom > 420 or separate else bottom - 26.0


def _belt(scene: Scene, cut: _Cut, bottom: float, separate: bool, buckle: bool) -> None:
    """A belt at the waist, or just above the hem of what ends there."""
    y = _belt_y(bottom, separate)
    add_belt(scene, cut.waist if separate else cut.half(y), y, buckle)


def draw_upper(scene: Scene, g: Garment, back: bool, worn: bool) -> None:
    """Add a garment that hangs from the shoulders.

    Args:
        scene: receives the shapes.
        g: the garment.
        back: seen from behind: no closure, pockets, print.
        worn: on a figure, whose neck shows instead of the inside of the cloth.
    """
    cut = _Cut(g, back)
    shape = g.silhouette
    separate = g.category in ("dress", "jumpsuit") and (shape in _SEPARATE_SKIRT or g.category == "jumpsuit")
    bottom = 402.0 if separate else cut.hem
    opens = g.closure in ("buttons", "zip") and g.category in ("shirt", "jacket", "coat", "sweater", "dress")
    right, neckline = _torso(g, cut, bottom, back)
    if g.neckline == "hood" and not back and not worn:
        _draw_hood(scene, g, back)
    elif g.neckline == "hood" and not back:
        scene.part(mirrored(curve((0, 150), (40, 150), (66, 172), (60, 214), (0, 240))), "main", puff=12)
        scene.part(
            mirrored(curve((0, 162), (34, 160), (48, 178), (40, 206), (0, 232))),
            (226, 184, 152),
            shaded=False,
            outlined=False,
        )
    elif not worn and not back and not cut.bare:
        _draw_inside(scene, neckline, g)
    elif not worn and not back and g.neckline == "sweetheart" and cut.sleeved:
        _draw_inside(scene, neckline, g)
    if g.neckline == "straps":
        for turn in (lambda p: p, flipped):
            scene.part(
                turn(curve((70, 236), (66, 200), (53, 170)) + curve((46, 171), (58, 202), (61, 236))), "main", puff=3
            )
    if g.neckline == "halter" and back:
        for turn in (lambda p: p, flipped):
            strap = curve((46, 170), (62, 220), (72, 300)) + curve((62, 300), (52, 220), (36, 172))
            scene.part(turn(strap), "main", puff=3)
    if g.neckline == "halter":
        scene.part(
            curve((-49, NECK_Y - 4), (0, NECK_Y - 32), (49, NECK_Y - 4))
            + curve((38, NECK_Y - 4), (0, NECK_Y - 18), (-38, NECK_Y - 4)),
            "inside",
            puff=4,
        )
    if cut.sleeved:
        _draw_sleeves(scene, g, cut)
    if separate:
        if g.category == "jumpsuit":
            draw_legs(scene, g, back, waist=cut.waist - 2, part_of_suit=True)
        else:
            draw_skirt(scene, g, cut.waist, 398.0, cut.hem, back)
    hem = curve((cut.half(bottom), bottom), (0.5 * cut.half(bottom), bottom + 6), (0, bottom + 7))[1:]
    if shape in ("shirt", "blouse") and g.category in ("shirt", "top"):
        hem = curve((cut.half(bottom), bottom - 22), (0.7 * cut.half(bottom), bottom - 6), (0, bottom + 8))[1:]
        right = [p for p in right if p[1] < bottom - 22]
    scene.part(mirrored(right + hem), "main")
    scene.focus = (0.0, 262.0)
    if shape == "puffer":
        for y in range(250 if cut.sleeved else 296, int(bottom) - 20, 44):
            half = cut.half(y) - 4
            scene.line(curve((-half, y - 4), (0, y + 6), (half, y - 4)), 4, -42)
    elif not separate and g.category not in ("shirt", "jacket") and shape != "slip":
        half = cut.half(bottom - 12) - 3
        scene.line(curve((-half, bottom - 12), (0, bottom - 6), (half, bottom - 12)), 2.4, -32)
    if shape == "bomber" or (g.category == "sweater" and not separate):
        half = cut.half(bottom - 22) - 1
        scene.line(curve((-half, bottom - 22), (0, bottom - 16), (half, bottom - 22)), 3, -45)
        for k in range(-6, 7):
            x = k / 6.5 * half
            scene.line([(x, bottom - 18), (x, bottom)], 2, -26)
    if g.neckline == "off-shoulder":
        reach = cut.armpit + 20
        ruffle(scene, -reach, reach, 240, 44, 9)
    if g.neckline in ("crew", "scoop", "boat", "v-neck", "square") and g.detail != "contrast trim":
        inner = [(x * 1.0 + 6 * (1 if x > 1 else 0), y + 9) for x, y in neckline]
        scene.line(inner, 2.2, -35)
        scene.line(flipped(inner), 2.2, -35)
    _trim(scene, g, cut, neckline, bottom)
    if shape == "shirt" and back or (g.category == "jacket" and back):
        scene.line(curve((-cut.shoulder[0] + 6, 236), (0, 244), (cut.shoulder[0] - 6, 236)), 2.6, -38)
        scene.line([(0, 246), (0, bottom - 4)], 2.2, -24)
    if back:
        if g.neckline == "hood":
            _draw_hood(scene, g, True)
        else:
            _draw_collar(scene, g, True)
        if g.detail == "belt":
            _belt(scene, cut, bottom, separate, buckle=False)
        return
    if g.neckline == "lapel" and not worn:
        y = NECK_Y
        scene.part([(0, y + 158), (42, y + 4), (0, y + 14), (-42, y + 4)], "inside", outlined=False)
    top = neckline[0][1]
    end = bottom - 10.0
    if opens:
        if g.closure == "zip":
            add_zip(scene, top, bottom)
        elif shape == "polo":
            scene.part([(-11, top), (11, top), (11, top + 78), (-11, top + 78)], "main", puff=6)
            end = top + 66
        else:
            edge = 0 if g.category == "sweater" or g.neckline == "lapel" else 13
            scene.line([(-edge, top + 4), (-edge, bottom + 4)], 2.6, -52)
            if g.category == "sweater":
                for x in (-12, 12):
                    scene.line([(x, top - 8), (x, bottom + 4)], 2.2, -38)
            if edge:
                scene.line([(edge, top + 4), (edge, bottom + 4)], 2.6, -34)
        if separate and g.closure == "buttons":
            scene.line([(-13, 400), (-13, cut.hem)], 2.4, -40)
            end = cut.hem - 60.0
    elif g.closure == "zip":
        add_zip(scene, top, min(top + 150, bottom))
    if g.neckline == "hood":
        for x in (-16, 16):
            scene.line(
                [(x, top + 2), (x * 1.15, top + 56)],
                4,
                0,
                (240, 238, 230) if g.colour not in ("white", "cream") else (90, 90, 96),
            )
    _draw_collar(scene, g, False)
    _pockets(scene, g, cut, bottom if not separate else 520)
    if g.closure == "buttons":
        start = top + (24 if g.neckline != "lapel" else 6)
        if g.category == "jumpsuit":
            end = 372.0
        if g.neckline == "lapel":
            end = min(end, start + 46.0 * g.buttons)
        belt_y = _belt_y(bottom, separate) if g.detail == "belt" else None
        add_buttons(scene, g, 0.0, start, max(end - 8, start + 1), g.buttons, belt_y)
    if g.graphic not in (None, "none"):
        add_graphic(scene, g.graphic, 0, min(max(302.0, top + 58.0), bottom - 50.0), 44)
    if g.detail == "belt":
        _belt(scene, cut, bottom, separate, buckle=True)
    elif g.detail == "bow":
        add_bow(scene, 0, top + 10 if not g.neckline == "v-neck" else top + 4, 34)
    elif g.detail == "ruffles" and not separate:
        half = cut.half(bottom)
        ruffle(scene, -half - 4, half + 4, bottom - 20, 40, 8)
