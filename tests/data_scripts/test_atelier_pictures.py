"""Atelier's pictures: always the same, different where garments differ, and no use to whoever sees colour alone."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from data_scripts.atelier.canvas import shifted
from data_scripts.atelier.cloth import texture
from data_scripts.atelier.contact_sheet import contact_sheet
from data_scripts.atelier.designs import make_design, make_garment
from data_scripts.atelier.garment import Garment
from data_scripts.atelier.render import VIEWS, main_view, render
from data_scripts.atelier.vocabulary import FABRICS, PATTERNS

SEED = 7
# sha256 of the pixels after a JPEG round trip, on the tested versions of constraints.txt (Pillow 13, numpy 2.4).
PINNED = {
    (0, "front"): "e8a5409950048979",
    (25, "front"): "dde4f7adee55b81b",
    (40, "back"): "84b71cfdc16cc553",
    (61, "figure"): "196e77ef0df7f272",
    (75, "detail"): "8aa9d83fbd4fdf72",
    (1000, "front"): "00acc234a87b496e",
}


def _digest(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, subsampling=0)
    return hashlib.sha256(np.asarray(Image.open(buffer).convert("RGB")).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("index", "view"), list(PINNED))
def test_decoded_pixels_are_pinned(index, view):
    assert _digest(render(make_garment(SEED, index), SEED, view, 96)) == PINNED[index, view]


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    garments = [make_garment(SEED, i) for i in (3, 40, 77)]
    forwards = [render(g, SEED, "front", 48).tobytes() for g in garments]
    texture.cache_clear()
    backwards = [render(g, SEED, "front", 48).tobytes() for g in reversed(garments)][::-1]
    assert forwards == backwards


def test_views_takes_and_seeds_give_other_photographs():
    garment = make_garment(SEED, 5)
    pictures = [render(garment, SEED, view, 48).tobytes() for view in VIEWS]
    pictures += [render(garment, SEED, "front", 48, take=1).tobytes(), render(garment, SEED + 1, "front", 48).tobytes()]
    assert len(set(pictures)) == len(pictures)


def test_every_subcategory_pattern_and_view_can_be_drawn():
    seen = {}
    for number in range(700):
        garment = make_design(SEED, number)[0]
        seen.setdefault(garment.subcategory, garment)
    for place, garment in enumerate(seen.values()):
        picture = render(garment, SEED, VIEWS[place % len(VIEWS)], 32)
        assert picture.size == (32, 32) and picture.mode == "RGB"
        assert np.asarray(picture, dtype=np.float32).std() > 4
    tee = next(g for g in seen.values() if g.subcategory == "basic tee")
    row = tee.as_row() | {"detail": "none", "colour": "red"}
    looks = set()
    for name in PATTERNS:
        worn = Garment.from_row(row | {"pattern": name, "second_colour": None if name == "solid" else "cream"})
        looks.add(render(worn, SEED, "front", 64).tobytes())
    assert len(looks) == len(PATTERNS)


@pytest.mark.parametrize("fabric", FABRICS)
def test_fabrics_are_signed_grain_that_keeps_the_colour(fabric):
    grain = np.asarray(texture(fabric, 192, 2), dtype=np.float64)
    assert abs(grain.mean() - 128) < 8 and grain.std() > 0.5


# Attribute, two values, sub-category on which the difference must show.
_CHANGES = [
    ("colour", "red", "navy", "pullover"), ("sleeve", "short", "long", "basic tee"),
    ("neckline", "crew", "v-neck", "basic tee"),
    ("length", "cropped", "hip", "basic tee"), ("fit", "slim", "loose", "basic tee"),
    ("buttons", 3, 7, "button-down shirt"),
    ("pockets", 0, 2, "button-down shirt"), ("graphic", "star", "heart", "graphic tee"),
    ("detail", "none", "belt", "a-line dress"),
    ("sleeve_style", "regular", "bell", "blouse"), ("heel", "flat", "high", "pumps"),
    ("strap", "short", "long", "tote bag"),
    ("fabric", "denim", "leather", "trucker jacket"), ("closure", "zip", "buckle", "backpack"),
    ("second_colour", "white", "green", "hawaiian shirt"),
]  # fmt: skip


@pytest.mark.parametrize(("attribute", "one", "other", "kind"), _CHANGES, ids=[c[0] for c in _CHANGES])
def test_a_person_can_see_every_attribute(attribute, one, other, kind):
    garment = next(g for g in map(lambda n: make_design(SEED, n)[0], range(900)) if g.subcategory == kind)
    row = garment.as_row()
    if attribute in ("sleeve_style", "buttons"):
        row |= {"sleeve": "long", "sleeve_style": "regular"}
    if attribute == "graphic":
        row |= {"second_colour": "cream", "colour": "navy"}
    first, second = (
        np.asarray(render(Garment.from_row(row | {attribute: value}), SEED, "front", 128), dtype=np.float32)
        for value in (one, other)
    )
    changed = np.abs(first - second).max(axis=-1) > 24
    assert changed.mean() > 0.004, f"{attribute}: only {changed.sum()} pixels changed"


def test_mean_colour_does_not_find_the_target():
    designs = [make_design(SEED, n) for n in (0, 4, 7, 11, 14, 18, 21, 25)]
    gallery = [g for d in designs for g in d]
    means = np.stack(
        [np.asarray(render(g, SEED, main_view(g, SEED, 0.15), 48), dtype=np.float32).mean(axis=(0, 1)) for g in gallery]
    )
    distance = ((means[:, None] - means[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    order = distance.argsort(axis=1, kind="stable")
    design = np.array([g.design_id for g in gallery])
    colour = np.array([g.colour for g in gallery])
    assert (design[order[:, 0]] == design).mean() < 0.45
    # Even the colour word is seldom right: backdrops, second colours and light move the mean.
    assert (colour[order[:, 0]] == colour).mean() < 0.5
    ranks = [list(order[0 + 18 * d]).index(18 * d + 7) for d in range(len(designs))]
    assert np.mean(np.array(ranks) < 1) < 0.4


def test_lines_stay_visible_on_black_and_white():
    assert shifted((247, 247, 245), -45) == (202, 202, 200)
    assert min(shifted((38, 38, 43), -45)) > 43


def test_unknown_views_and_sizes_are_refused():
    garment = make_garment(SEED, 0)
    with pytest.raises(ValueError, match="'side'.*front, back"):
        render(garment, SEED, "side")
    with pytest.raises(ValueError, match="15.*16 to 2048"):
        render(garment, SEED, "front", 15)


def test_contact_sheet_shows_garments_and_triplets(tmp_path):
    path = contact_sheet(tmp_path / "new" / "sheet.png", SEED, size=32, columns=12)
    with Image.open(path) as sheet:
        assert sheet.width > 400 and sheet.height > 300
        assert len(sheet.convert("RGB").resize((200, 200)).getcolors(40_000)) > 500
