"""Outlines of shoes, bags, hats and scarves, each in its own units (about 400 wide)."""

from .canvas import Scene, curve, loop
from .details import add_bow, add_graphic, add_pocket
from .garment import Garment

_SOLE = (244, 242, 236)
_GUM = (150, 104, 66)
_STEEL = (176, 180, 188)
_GOLD = (214, 184, 98)


def _shoe(scene: Scene, g: Garment, dx: float, dy: float) -> None:
    """One shoe from the side, the toe to the right."""
    rise = {"flat": 0.0, "low": 26.0, "high": 74.0}[g.heel]

    def at(points):
        # The heel lifts the back of the foot: x from -200 (heel) to 200 (toe).
        return [(x + dx, y + dy - rise * max(0.0, (70.0 - x) / 270.0)) for x, y in points]

    trim = "second" if g.detail == "contrast trim" else None
    shape = g.silhouette
    if g.heel != "flat":
        wide = 34 if shape != "pump" else 20
        back = -196.0
        top = 86 + dy - rise * 0.97
        scene.part(
            [
                (back + dx, top),
                (back + wide * 2.2 + dx, top + 8 - rise * 0.12),
                (back + wide * 1.5 + dx, 112 + dy),
                (back + 6 + dx, 112 + dy),
            ],
            trim or ("main" if shape == "pump" else _GUM),
            puff=8,
        )
    if shape == "sneaker":
        upper = curve(
            (-196, 80), (-190, 0), (-176, -62), (-92, -74), (-40, -60), (30, -10), (120, 14), (190, 40), (204, 84)
        )
        sole = at(curve((-206, 74), (-60, 80), (100, 80), (212, 66))) + at(curve((214, 108), (60, 112), (-206, 112)))
        scene.part(at(upper), "main", puff=20)
        scene.part(at(curve((120, 16), (186, 40), (204, 82), (150, 84), (112, 60))), trim or _SOLE, puff=8)
        scene.part(at(curve((-194, 60), (-190, -20), (-150, -20), (-140, 60))), trim or "main", puff=8)
        scene.part(sole, _SOLE, puff=6)
        scene.line(at([(-204, 96), (210, 94)]), 4, -40, trim or _SOLE)
    elif shape == "boot":
        upper = curve((-186, 84), (-184, -40), (-176, -190)) + curve(
            (-66, -190), (-62, -60), (20, -14), (130, 14), (196, 50), (202, 88)
        )
        scene.part(at(upper), "main", puff=22)
        scene.part(at([(-178, -196), (-64, -196), (-64, -170), (-178, -170)]), trim or "main", puff=6)
        scene.part(
            at(curve((-194, 82), (0, 88), (208, 84)) + [(210, 108), (60, 108), (-60, 104), (-194, 108)]), _GUM, puff=6
        )
        if g.detail == "fringe":
            for k in range(9):
                scene.line(at([(-176 + 13 * k, -170), (-178 + 13 * k, -112)]), 5, -55)
    elif shape == "pump":
        upper = curve((-196, 84), (-196, 20), (-182, -18)) + curve(
            (-150, 30), (-60, 56), (20, 20), (80, 14), (150, 44), (206, 84)
        )
        scene.part(at(upper), "main", puff=16)
        scene.part(
            at(curve((-194, 84), (0, 86), (208, 84)) + [(208, 98), (60, 98), (-80, 94), (-194, 96)]),
            trim or _GUM,
            puff=4,
        )
    else:
        upper = curve((-196, 84), (-196, 10), (-180, -26)) + curve(
            (-120, 6), (-50, 14), (0, -26), (70, -16), (140, 16), (200, 52), (206, 86)
        )
        scene.part(at(upper), "main", puff=18)
        scene.part(at(curve((-4, -26), (40, -26), (66, 14), (40, 40), (0, 20))), "main", puff=10)
        scene.part(
            at(curve((-200, 82), (0, 88), (208, 84)) + [(208, 108), (60, 108), (-60, 104), (-200, 108)]),
            trim or _GUM,
            puff=6,
        )
    lace_x, lace_y = (-60, -66) if shape == "sneaker" else (-64, -60)
    if g.closure == "laces":
        for k in range(5):
            x, y = lace_x + 30 * k, lace_y + (15 if shape == "sneaker" else 12) * k
            scene.line(
                at([(x - 16, y + 26), (x + 12, y - 2)]),
                9,
                0,
                _SOLE if g.colour not in ("white", "cream") else (70, 70, 78),
            )
    elif g.closure == "buckle":
        y = {"sneaker": -30, "boot": -60, "pump": -6, "loafer": 4}[shape]
        x0, x1 = {"sneaker": (-150, 10), "boot": (-184, -50), "pump": (-180, 20), "loafer": (-20, 60)}[shape]
        scene.line(at(curve((x0, y), ((x0 + x1) / 2, y - 14), (x1, y + 8))), 20, -40)
        scene.part(at([(x1 - 36, y - 22), (x1 - 4, y - 16), (x1 - 6, y + 18), (x1 - 38, y + 12)]), _GOLD, puff=4)
    elif g.closure == "zip":
        scene.line(at([(-120, -170), (-112, 60)]), 9, 0, (110, 112, 120))
        scene.line(at([(-120, -170), (-112, 60)]), 3, 0, (232, 232, 236))
    if g.detail == "bow":
        add_bow(scene, *at([(90 if shape == "pump" else 34, 10)])[0], 30)
    elif g.detail == "tassel":
        _tassel(scene, *at([(44, 12)])[0], 0.8)
    if g.graphic not in (None, "none"):
        add_graphic(scene, g.graphic, *at([(-66, 26)])[0], 34)


def _tassel(scene: Scene, x: float, y: float, size: float = 1.0) -> None:
    scene.disc((x, y), 11 * size, "bow", -30)
    scene.part(
        [
            (x - 9 * size, y + 8 * size),
            (x + 9 * size, y + 8 * size),
            (x + 17 * size, y + 64 * size),
            (x - 17 * size, y + 64 * size),
        ],
        "bow",
        puff=8,
    )
    for k in (-1, 0, 1):
        scene.line([(x + 4 * k * size, y + 16 * size), (x + 9 * k * size, y + 62 * size)], 2.4, -40, "bow")


def _bag(scene: Scene, g: Garment, back: bool) -> None:
    trim = g.detail == "contrast trim"
    if g.silhouette == "tote":
        rise = {"short": 120, "long": 215}[g.strap]
        for width, shade in ((22, -75), (14, -8)):
            handle = curve((-92, -90), (-86, -90 - rise * 0.8), (0, -94 - rise), (86, -90 - rise * 0.8), (92, -90))
            scene.line(handle, width, shade, "second" if trim else "main")
        scene.part([(-160, -100), (160, -100), (178, 190), (-178, 190)], "main", puff=34)
        scene.part([(-161, -104), (161, -104), (163, -74), (-163, -74)], "second" if trim else "main", puff=8)
        places = [(0.0, 30.0)] if g.pockets == 1 else [(-74.0, 30.0), (74.0, 30.0)]
        if not back:
            for x, y in places[: g.pockets]:
                add_pocket(scene, x, y + 26, 104, 104)
            if g.graphic not in (None, "none"):
                add_graphic(scene, g.graphic, 0, -8 if g.pockets else 50, 42)
            if g.detail == "tassel":
                _tassel(scene, 120, -70, 1.3)
            elif g.detail == "bow":
                add_bow(scene, 0, -76, 44)
    elif g.silhouette == "backpack":
        rise = {"short": 58, "long": 120}[g.strap]
        for width, shade in ((24, -75), (15, -15)):
            scene.line(curve((-40, -170), (-34, -170 - rise), (34, -170 - rise), (40, -170)), width, shade)
            for side in (-1, 1):
                scene.line(curve((side * 120, -90), (side * 190, 20), (side * 150, 170)), width + 4, shade)
        scene.part(
            loop((-140, -110), (-70, -180), (70, -180), (140, -110), (152, 120), (120, 190), (-120, 190), (-152, 120)),
            "main",
            puff=34,
        )
        if back:
            return
        if g.closure == "zip":
            scene.line(curve((-128, -40), (-110, -130), (0, -150), (110, -130), (128, -40)), 8, 0, (120, 122, 130))
            scene.line(curve((-128, -40), (-110, -130), (0, -150), (110, -130), (128, -40)), 3, 0, (230, 230, 235))
        else:
            scene.part(
                curve((-140, -118), (0, -186), (140, -118)) + curve((132, -20), (0, 16), (-132, -20)),
                "second" if trim else "main",
                puff=20,
            )
            scene.part([(-16, -30), (16, -30), (14, 34), (-14, 34)], _GOLD, puff=5)
        if trim:
            scene.part([(-151, 150), (151, 150), (128, 188), (-128, 188)], "second", puff=10)
        for x in ([0] if g.pockets == 1 else [-66, 66])[: g.pockets]:
            add_pocket(scene, float(x), 44.0, 120 if g.pockets == 1 else 104, 100)
        if g.detail == "tassel":
            _tassel(scene, 108, -60, 1.4)
    else:
        if g.strap != "none":
            rise = {"short": 90, "long": 230}[g.strap]
            wide = {"short": 80, "long": 150}[g.strap]
            handle = curve(
                (-wide, -84),
                (-wide * 0.9, -84 - rise * 0.8),
                (0, -88 - rise),
                (wide * 0.9, -84 - rise * 0.8),
                (wide, -84),
            )
            for width, shade in ((18, -75), (10, -12)):
                scene.line(handle, width, shade)
        scene.part(curve((-170, -90), (0, -96), (170, -90)) + curve((196, 120), (0, 134), (-196, 120)), "main", puff=30)
        if back:
            return
        if g.closure == "buckle":
            scene.part(
                curve((-172, -94), (0, -100), (172, -94)) + curve((150, 10), (0, 52), (-150, 10)),
                "second" if trim else "main",
                puff=20,
            )
            scene.part([(-22, 14), (22, 14), (20, 56), (-20, 56)], _GOLD, puff=6)
        elif g.closure == "zip":
            scene.line([(-150, -56), (150, -56)], 10, 0, (120, 122, 130))
            scene.line([(-150, -56), (150, -56)], 4, 0, (232, 232, 236))
        if trim and g.closure != "buckle":
            scene.part([(-190, 84), (190, 84), (196, 120), (0, 132), (-196, 120)], "second", puff=10)
        if g.detail == "tassel":
            _tassel(scene, 130, -60, 1.5)
        elif g.detail == "bow":
            add_bow(scene, 0, -30 if g.closure != "buckle" else -50, 46)


def _hat(scene: Scene, g: Garment, back: bool) -> None:
    if g.silhouette == "beanie":
        rise = 170 if g.length == "waist" else 236
        lean = 0 if g.length == "waist" else 44
        scene.part(
            curve(
                (-150, 70),
                (-146, -40),
                (-90, -rise + 34),
                (lean, -rise),
                (96 + lean * 0.6, -rise + 50),
                (146, -40),
                (150, 70),
            ),
            "main",
            puff=34,
        )
        scene.part(
            curve((-156, 40), (0, 54), (156, 40)) + curve((154, 108), (0, 122), (-154, 108)),
            "second" if g.detail == "contrast trim" else "main",
            puff=14,
        )
        for k in range(-5, 6):
            scene.line([(27 * k, 50), (27 * k, 112)], 4, -34)
        if g.detail == "pompom":
            scene.part(
                loop(
                    *[
                        (lean + 46 * a, -rise - 22 + 46 * b)
                        for a, b in ((0, -1), (0.8, -0.7), (1, 0.1), (0.6, 0.9), (-0.5, 0.9), (-1, 0.1), (-0.7, -0.8))
                    ]
                ),
                "bow",
                puff=14,
            )
    elif g.silhouette == "cap":
        crown = curve((-140, 50), (-132, -50), (-70, -124), (0, -136), (80, -118), (132, -40), (140, 50))
        scene.part(crown, "main", puff=30)
        for x in (-70, 0, 70):
            scene.line(curve((x * 0.2, -134), (x * 0.9, -60), (x, 46)), 2.6, -34)
        scene.disc((0, -136), 10, "second" if g.detail == "contrast trim" else "main", -40)
        if back:
            scene.part(curve((-60, 50), (0, -14), (60, 50)), "inside", puff=8)
        else:
            fill = "second" if g.detail == "contrast trim" else "main"
            scene.part(
                curve((-146, 44), (0, 22), (146, 44)) + curve((176, 92), (90, 122), (0, 128), (-90, 122), (-176, 92)),
                fill,
                puff=14,
            )
            if g.graphic not in (None, "none"):
                add_graphic(scene, g.graphic, 0, -42, 40)
    else:
        reach = {"slim": 190.0, "regular": 245.0, "loose": 310.0}[g.fit]
        deep = 0.24 * reach
        scene.part(
            loop(
                (-reach, 60),
                (-reach * 0.6, 60 - deep),
                (0, 60 - deep * 1.1),
                (reach * 0.6, 60 - deep),
                (reach, 60),
                (reach * 0.62, 60 + deep),
                (0, 60 + deep * 1.3),
                (-reach * 0.62, 60 + deep),
            ),
            "main",
            puff=24,
        )
        scene.part(
            curve(
                (-128, 62), (-116, -60), (-64, -112), (0, -118), (64, -112), (116, -60), (128, 62), (0, 82), (-128, 62)
            ),
            "main",
            puff=28,
        )
        if g.detail == "band":
            scene.part(curve((-128, 20), (0, 38), (128, 20)) + curve((129, 62), (0, 82), (-129, 62)), "second", puff=8)
        elif g.detail == "bow":
            add_bow(scene, 70, 44, 44)
        else:
            scene.line(curve((-128, 56), (0, 76), (128, 56)), 5, -45)


def _scarf(scene: Scene, g: Garment) -> None:
    if g.silhouette == "scarf":
        length = {"hip": 200.0, "thigh": 290.0, "knee": 390.0}[g.length]
        for side, extra in ((1, -40.0), (-1, 0.0)):
            end = 60.0 + length + extra
            scene.part([(side * 6, 0), (side * 96, -6), (side * 104, end), (side * 12, end + 6)], "main", puff=18)
            if g.detail == "contrast trim":
                scene.part(
                    [(side * 12, end - 44), (side * 103, end - 48), (side * 104, end), (side * 12, end + 6)],
                    "second",
                    puff=8,
                )
            elif g.detail == "fringe":
                for k in range(8):
                    x = side * (16 + 12 * k)
                    scene.line([(x, end), (x + side * 2, end + 44)], 6, -25)
            elif g.detail == "pompom":
                for x in (24, 92):
                    scene.part(
                        loop(*[(side * x + 24 * a, end + 20 + 24 * b) for a, b in ((0, -1), (1, 0), (0, 1), (-1, 0))]),
                        "bow",
                        puff=10,
                    )
        scene.part(loop((-118, -20), (-60, -92), (60, -92), (118, -20), (70, 44), (0, 60), (-70, 44)), "main", puff=24)
        scene.part(loop((-62, -40), (0, -66), (62, -40), (0, -16)), "inside", puff=12)
        scene.line(curve((-100, 6), (-20, 30), (60, 14)), 3, -44)
        return
    wide = {"cropped": 150.0, "waist": 215.0}[g.length]
    tall = wide * 1.05
    outline = (
        curve((-wide, -60), (0, -40), (wide, -60))
        + curve((wide, -60), (wide * 0.5, tall * 0.5), (0, tall))
        + curve((0, tall), (-wide * 0.5, tall * 0.5), (-wide, -60))
    )
    scene.part(outline, "main", puff=22)
    if g.detail == "contrast trim":
        edge = curve((wide, -60), (wide * 0.5, tall * 0.5), (0, tall), (-wide * 0.5, tall * 0.5), (-wide, -60))
        scene.line(edge, 18, 0, "second")
    elif g.detail == "fringe":
        for k in range(-7, 8):
            x = wide * k / 8
            y = tall - abs(k) / 8 * (tall + 50)
            scene.line([(x, y - 4), (x * 1.06, y + 38)], 6, -25)
    for side in (-1, 1):
        scene.part([(side * (wide - 20), -62), (side * (wide + 60), -100), (side * (wide + 70), -52)], "main", puff=8)
    scene.line(curve((-wide * 0.7, -30), (0, 10), (wide * 0.7, -30)), 3, -36)
    scene.line(curve((-wide * 0.5, 10), (0, 60), (wide * 0.5, 10)), 3, -30)


def draw_accessory(scene: Scene, g: Garment, back: bool, worn: bool) -> None:
    """Add a shoe pair, bag, hat or scarf in its own units, its middle near the origin."""
    scene.focus = (0.0, 0.0)
    if g.category == "shoes":
        if not worn:
            _shoe(scene, g, 26.0, -120.0)
        _shoe(scene, g, -20.0, 60.0)
    elif g.category == "bag":
        _bag(scene, g, back)
    elif g.category == "hat":
        _hat(scene, g, back)
    else:
        _scarf(scene, g)
