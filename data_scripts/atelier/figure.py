"""The body a garment is shown on: a faceless flat figure with neutral clothes under what it models."""

import numpy as np

from .canvas import Colour, Scene, curve, flipped, loop, mirrored
from .garment import Garment

SKINS: tuple[Colour, ...] = (
    (246, 214, 188),
    (232, 190, 156),
    (208, 158, 120),
    (168, 116, 82),
    (122, 80, 56),
    (88, 58, 44),
)
HAIRS: tuple[Colour, ...] = (
    (40, 32, 30),
    (84, 54, 36),
    (150, 102, 58),
    (212, 172, 104),
    (160, 74, 44),
    (186, 186, 190),
)
NEUTRALS: tuple[Colour, ...] = (
    (236, 235, 231),
    (196, 198, 202),
    (120, 124, 132),
    (70, 74, 84),
    (214, 202, 184),
    (92, 108, 138),
)


def draw_figure(scene: Scene, g: Garment, rng: np.random.Generator, back: bool) -> None:
    """Add the figure and the plain clothes it needs beside the garment; none of it counts for the frame."""
    scene.is_garment = False
    skin = SKINS[int(rng.integers(len(SKINS)))]
    hair = HAIRS[int(rng.integers(len(HAIRS)))]
    plain = NEUTRALS[int(rng.integers(len(NEUTRALS)))]
    long_hair = rng.random() < (0.7 if g.wearer == "women" else 0.25)
    if long_hair:
        scene.part(mirrored(curve((0, 10), (50, 26), (64, 90), (66, 190), (40, 214), (0, 200))), hair, puff=14)
    for turn in (lambda p: p, flipped):
        arm = curve(
            (96, 198), (126, 224), (166, 336), (206, 470), (214, 512), (200, 516), (186, 474), (142, 344), (88, 262)
        )
        scene.part(turn(arm), skin, puff=14)
        scene.part(turn(loop((196, 492), (216, 506), (216, 540), (200, 544), (190, 520))), skin, puff=8)
        leg = curve((2, 540), (104, 500), (96, 620), (78, 745), (74, 830), (56, 945)) + curve(
            (34, 945), (28, 830), (30, 740), (2, 560)
        )
        scene.part(turn(leg), skin, puff=16)
        scene.part(turn(curve((30, 940), (58, 940), (64, 966), (62, 984), (24, 984))), plain, puff=8)
    body = curve((0, 150), (28, 152), (34, 176), (106, 200), (96, 262), (76, 396), (104, 500), (90, 560), (0, 570))
    scene.part(mirrored(body), skin, puff=20)
    if g.slot in ("top", "outer", "head", "neck", "bag"):
        leg = (
            [(0, 396), (80, 396)]
            + curve((82, 400), (108, 500), (98, 735), (84, 935))
            + curve((34, 938), (20, 735), (5, 584))
        )
        for turn in (lambda p: p, flipped):
            scene.part(turn(leg), plain, puff=18)
    if g.slot in ("bottom", "outer", "head", "neck", "bag"):
        tee = (
            curve((0, 214), (26, 206), (46, 178))
            + [(108, 200), (146, 300), (104, 318), (96, 280)]
            + curve((96, 280), (80, 396), (88, 430))
            + [(0, 432)]
        )
        light = tuple(min(c + 40, 250) for c in plain)
        scene.part(mirrored(tee), light, puff=20)
    scene.part(
        loop((0, 22), (38, 40), (46, 88), (32, 134), (0, 152), (-32, 134), (-46, 88), (-38, 40)),
        skin if not back else hair,
        puff=14,
    )
    if not back:
        fringe = curve((-48, 92), (-50, 44), (-20, 14), (20, 14), (50, 44), (48, 92)) + curve(
            (48, 92), (36, 58), (0, 46), (-36, 60), (-48, 92)
        )
        scene.part(fringe, hair, puff=8)
    elif long_hair:
        scene.part(mirrored(curve((0, 12), (50, 30), (62, 100), (60, 196), (0, 206))), hair, puff=12)
    scene.is_garment = True


def draw_foot(scene: Scene, rng: np.random.Generator) -> None:
    """A lower leg from the side, for shoes."""
    scene.is_garment = False
    skin = SKINS[int(rng.integers(len(SKINS)))]
    scene.part(
        curve((-190, -420), (-214, -260), (-170, -60), (-160, 60))
        + curve((40, 60), (-40, -60), (-72, -250), (-60, -420)),
        skin,
        puff=26,
    )
    scene.is_garment = True
