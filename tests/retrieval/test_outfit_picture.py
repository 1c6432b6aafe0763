"""Pictures of outfits: items in order, what was given is framed, nothing leaves its place."""

import numpy as np
import pytest
from PIL import Image

from train.retrieval.outfit_picture import FRAME, Tile, outfit_picture

PAINTS = ("#ff0000", "#00ff00", "#ff00ff", "#ffff00")
BLUE = tuple(int(FRAME[i : i + 2], 16) for i in (1, 3, 5))


def tiles(count, framed=()):
    return [Tile(Image.new("RGB", (30, 40), PAINTS[k % 4]), f"item {k}", "kind", k in framed) for k in range(count)]


def box(picture, color):
    ys, xs = np.nonzero((np.asarray(picture) == np.array(color)).all(axis=-1))
    return None if len(ys) == 0 else (ys.min(), xs.min(), ys.max(), xs.max())


def colors():
    return [tuple(int(paint[i : i + 2], 16) for i in (1, 3, 5)) for paint in PAINTS]


def test_items_stand_in_order_on_white_and_only_the_given_one_is_framed():
    picture = outfit_picture([("", tiles(4, framed=[2]))], "title", "note")
    assert all(picture.getpixel(corner) == (255, 255, 255) for corner in ((0, 0), (picture.width - 1, 0)))
    boxes = [box(picture, color) for color in colors()]
    assert [b[1] for b in boxes] == sorted(b[1] for b in boxes) and len({b[0] for b in boxes}) == 1
    frame = box(picture, BLUE)
    assert frame[1] < boxes[2][1] and frame[3] > boxes[2][3] and boxes[1][3] < frame[1] < frame[3] < boxes[3][1]
    assert box(outfit_picture([("", tiles(4))]), BLUE) is None


def test_long_rows_are_broken_evenly_and_several_rows_stand_under_each_other():
    one, many = outfit_picture([("", tiles(5))]), outfit_picture([("", tiles(10))])
    assert many.width == one.width and many.height > 1.7 * one.height
    two = outfit_picture([("above", tiles(1)), ("below", [Tile(Image.new("RGB", (9, 9), "#00ffff"))])])
    assert box(two, (0, 255, 255))[0] > box(two, (255, 0, 0))[2]


def test_captions_of_any_length_stay_under_their_item():
    short = outfit_picture([("", [Tile(Image.new("RGB", (30, 40), "red"), ""), Tile(None)])])
    long = outfit_picture([("", [Tile(Image.new("RGB", (30, 40), "red"), "word " * 60, "kind " * 60), Tile(None)])])
    differs = np.nonzero((np.asarray(short) != np.asarray(long)).any(axis=-1))
    assert short.size == long.size and len(differs[0])
    assert differs[1].max() < 34 + 240 and differs[0].min() > 34 + 240 and differs[0].max() < short.height - 10


def test_impossible_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one item"):
        outfit_picture([("", [])])
    with pytest.raises(ValueError, match="cells of 20"):
        outfit_picture([("", tiles(1))], cell=20)
    with pytest.raises(FileNotFoundError, match="ghost"):
        outfit_picture([("", [Tile(tmp_path / "ghost.png")])])
