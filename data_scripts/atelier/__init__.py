"""Atelier: a whole fashion world made from one seed, offline.

Garments are drawn, described, compared in words and written to disk in the official FashionIQ and CIRR layouts, so that
every loader, program and protocol of the project runs on them as on the real data. See ``python -m data_scripts.atelier
--help`` and the README of this folder.
"""

from .build import build_world
from .designs import DESIGN_SIZE, make_design, make_garment
from .garment import Garment
from .layouts import WorldSettings
from .render import VIEWS, render

__all__ = [
    "DESIGN_SIZE",
    "VIEWS",
    "Garment",
    "WorldSettings",
    "build_world",
    "make_design",
    "make_garment",
    "render",
]
