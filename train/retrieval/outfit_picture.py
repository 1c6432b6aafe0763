"""A picture of an outfit: its items in a row on white, names below, the items that were asked with framed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from data_scripts.images import open_image
from train.retrieval.contact_sheet import FAINT, INK, LINE, PAPER, Picture, wrapped
from train.retrieval.index import as_shown

FRAME = "#0969da"
CAPTION_LINES = 2
MOST_IN_A_ROW = 8


@dataclass
class Tile:
    """One item.

    Attributes:
        picture: picture, its file or its bytes; None draws an empty place with a question mark.
        caption: name of the item, cut after two lines. note: a fainter line under it, its category for instance.
        framed: whether it was asked with.
    """

    picture: Picture | bytes | None
    caption: str = ""
    note: str = ""
    framed: bool = False


def outfit_picture(
    rows: Sequence[tuple[str, Sequence[Tile]]], title: str = "", note: str = "", cell: int = 240
) -> Image.Image:
    """Draw rows of items under each other.

    Args:
        rows: a heading ("" for none) and the items of each row; rows of more than eight items are broken evenly.
        title, note: above everything; the note is smaller.
        cell: width and height of a picture in pixels, at least 64.

    Returns:
        An RGB picture.

    Raises:
        ValueError: no items, a cell too small to be read, or a file that is no picture.
    """
    if not any(tiles for _, tiles in rows):
        raise ValueError("an outfit's picture needs at least one item")
    if cell < 64:
        raise ValueError(f"cells of {cell} pixels cannot be read; use 64 or more")
    broken = [(head if not n else "", part) for head, tiles in rows for n, part in enumerate(_broken(list(tiles)))]
    margin, gap = round(cell * 0.14), round(cell * 0.1)
    size = max(11, round(cell * 0.065))
    fonts = {name: ImageFont.load_default(max(10, round(size * k))) for name, k in _SIZES.items()}
    widest = max(len(tiles) for _, tiles in broken)
    width = max(2 * margin + widest * (cell + gap) - gap, round(2.6 * cell))
    heads = [
        (wrapped(text, fonts[f], width - 2 * margin), f) for text, f in ((title, "title"), (note, "small")) if text
    ]
    top = margin + sum(len(lines) * _height(fonts[f]) for lines, f in heads) + (gap if heads else 0)
    below = CAPTION_LINES * _height(fonts["text"]) + _height(fonts["small"]) + round(cell * 0.05)
    row_height = cell + below + gap
    height = top + len(broken) * row_height + sum(_height(fonts["text"]) + gap // 2 for head, _ in broken if head)
    sheet = Image.new("RGB", (width, height + margin - gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = margin
    for lines, f in heads:
        for line in lines:
            draw.text((margin, y), line, INK if f == "title" else FAINT, fonts[f])
            y += _height(fonts[f])
    y = top
    for head, tiles in broken:
        if head:
            draw.text((margin, y), wrapped(head, fonts["text"], width - 2 * margin)[0], FAINT, fonts["text"])
            y += _height(fonts["text"]) + gap // 2
        for place, tile in enumerate(tiles):
            _draw_tile(sheet, draw, fonts, tile, margin + place * (cell + gap), y, cell)
        y += row_height
    return sheet


_SIZES = {"title": 1.5, "text": 1.0, "small": 0.85, "mark": 4.0}


def _broken(tiles: list[Tile]) -> list[list[Tile]]:
    """Rows of nearly equal length, none longer than fits."""
    count = -(-len(tiles) // MOST_IN_A_ROW)
    each = -(-len(tiles) // max(1, count))
    return [tiles[start : start + each] for start in range(0, len(tiles), max(1, each))]


def _draw_tile(sheet, draw, fonts, tile: Tile, left: int, top: int, cell: int) -> None:
    border, frame = max(3, round(cell * 0.018)), round(cell * 0.035)
    if tile.picture is None:
        draw.rounded_rectangle((left, top, left + cell - 1, top + cell - 1), frame, outline=LINE, width=border)
        middle = (left + (cell - fonts["mark"].getlength("?")) / 2, top + (cell - _height(fonts["mark"])) / 2)
        draw.text(middle, "?", LINE, fonts["mark"])
    else:
        image = as_shown(tile.picture if isinstance(tile.picture, Image.Image) else open_image(tile.picture))
        room = cell - 2 * frame
        scale = min(room / image.width, room / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(image, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
        if tile.framed:
            draw.rounded_rectangle((left, top, left + cell - 1, top + cell - 1), frame, outline=FRAME, width=border)
    y = top + cell + round(cell * 0.02)
    lines = wrapped(tile.caption, fonts["text"], cell)
    if len(lines) > CAPTION_LINES:
        cut = lines[CAPTION_LINES - 1]
        while cut and fonts["text"].getlength(cut + "...") > cell:
            cut = cut[:-1]
        lines = [*lines[: CAPTION_LINES - 1], cut.rstrip() + "..."]
    for line in lines:
        draw.text((left + (cell - fonts["text"].getlength(line)) / 2, y), line, INK, fonts["text"])
        y += _height(fonts["text"])
    if note := wrapped(tile.note, fonts["small"], cell)[:1]:
        color = FRAME if tile.framed else FAINT
        draw.text((left + (cell - fonts["small"].getlength(note[0])) / 2, y), note[0], color, fonts["small"])


def _height(font: ImageFont.ImageFont) -> int:
    ascent, descent = font.getmetrics()
    return round((ascent + descent) * 1.12)
