"""A picture of search answers: one row per query, reference and request on the left, answers on the right."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from data_scripts.images import open_image
from train.retrieval.index import as_shown

PAPER, INK, FAINT, LINE = "#ffffff", "#1f2328", "#6e7781", "#d8dee4"
RIGHT, RIGHT_TINT, BAND = "#1a7f37", "#e6f4ea", "#f6f8fa"


Picture = Image.Image | str | os.PathLike


@dataclass
class Row:
    """One query and what was found for it.

    Attributes:
        reference: the reference picture or its file, None for a query of text alone.
        text: the request, "" for a query of a picture alone.
        answers: pictures or their files, best first; None draws an empty frame.
        right: whether each answer is one that was looked for; empty when that is not known.
        labels: a line under each answer, its id for instance; may be empty.
        scores: cosine similarity of each answer, drawn beside its label; may be empty.
        note: a line under the request: that the right answer is missing, for instance.

    Raises:
        ValueError: lists of other lengths than `answers`.
    """

    reference: Picture | None
    text: str
    answers: Sequence[Picture | None]
    right: Sequence[bool] = ()
    labels: Sequence[str] = ()
    scores: Sequence[float] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("right", "labels", "scores"):
            count = len(getattr(self, name))
            if count not in (0, len(self.answers)):
                raise ValueError(f"{count} {name} for {len(self.answers)} answers; give one for each, or none")


def contact_sheet(rows: Sequence[Row], title: str = "", cell: int = 168) -> Image.Image:
    """Draw the rows under each other.

    Args:
        rows: queries with their answers; rows with fewer answers leave places empty.
        title: heading of the sheet.
        cell: width and height of a picture in pixels, at least 64.

    Returns:
        An RGB picture.

    Raises:
        ValueError: no rows, a cell too small to be read, or a file that is no picture.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    if cell < 64:
        raise ValueError(f"cells of {cell} pixels cannot be read; use 64 or more")
    layout = _Layout(cell, max(len(row.answers) for row in rows), bool(title))
    sheet = Image.new("RGB", (layout.width, layout.top + layout.row_height * len(rows) + layout.margin), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        text = _shortened(title, layout.title_font, layout.width - 2 * layout.margin)
        draw.text((layout.margin, layout.margin), text, INK, layout.title_font)
    _column_heads(draw, layout)
    for number, row in enumerate(rows):
        _draw_row(sheet, draw, layout, row, layout.top + number * layout.row_height)
    return sheet


class _Layout:
    """Every measure of a sheet, from the size of a picture."""

    def __init__(self, cell: int, answers: int, has_title: bool) -> None:
        self.cell, self.answers = cell, answers
        self.margin, self.gap = round(cell * 0.12), round(cell * 0.08)
        self.text_width = round(cell * 1.25)
        size = max(11, round(cell * 0.085))
        self.font, self.small = ImageFont.load_default(size), ImageFont.load_default(max(10, round(size * 0.82)))
        self.title_font = ImageFont.load_default(round(size * 1.5))
        self.label_height = _line_height(self.small) + 4
        self.row_height = cell + self.label_height + 2 * self.gap
        self.heads = self.margin + (_line_height(self.title_font) + self.gap if has_title else 0)
        self.top = self.heads + _line_height(self.small) + self.gap
        self.request_left = self.margin + cell + self.gap
        self.answers_left = self.request_left + self.text_width + 2 * self.gap
        self.width = self.answers_left + answers * (cell + self.gap) - self.gap + self.margin

    def answer_left(self, place: int) -> int:
        return self.answers_left + place * (self.cell + self.gap)


def _column_heads(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    heads = [(layout.margin, "reference"), (layout.request_left, "request")]
    heads += [(layout.answer_left(place), f"{place + 1}") for place in range(layout.answers)]
    for left, name in heads:
        draw.text((left, layout.heads), name, FAINT, layout.small)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, layout: _Layout, row: Row, top: int) -> None:
    draw.line((layout.margin, top, layout.width - layout.margin, top), LINE)
    top += layout.gap
    if row.reference is None:
        _empty(draw, layout, layout.margin, top, "text only")
    else:
        _paste(sheet, draw, row.reference, layout.margin, top, layout.cell)
    _request(draw, layout, row, top)
    for place in range(len(row.answers)):
        _draw_answer(sheet, draw, layout, row, place, top)


def _draw_answer(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, layout: _Layout, row: Row, place: int, top: int
) -> None:
    cell, left = layout.cell, layout.answer_left(place)
    right = bool(row.right) and row.right[place]
    if right:
        border = max(3, round(cell * 0.025))
        outer = (left - border - 1, top - border - 1, left + cell + border, top + cell + layout.label_height)
        draw.rounded_rectangle(outer, radius=border, fill=RIGHT_TINT, outline=RIGHT, width=border)
    if row.answers[place] is None:
        _empty(draw, layout, left, top, "no picture")
    else:
        _paste(sheet, draw, row.answers[place], left, top, cell)
    # Adding zero turns "-0.00" into "0.00".
    score = f"{round(row.scores[place], 2) + 0.0:.2f}" if row.scores else ""
    score_width = layout.small.getlength(score)
    label = _shortened(row.labels[place], layout.small, cell - score_width - 6) if row.labels else ""
    draw.text((left + 2, top + cell + 2), label, RIGHT if right else FAINT, layout.small)
    draw.text((left + cell - score_width - 2, top + cell + 2), score, FAINT, layout.small)


def _request(draw: ImageDraw.ImageDraw, layout: _Layout, row: Row, top: int) -> None:
    """The text in the largest size in which it fits its column, cut only when the smallest is too large as well."""
    note = wrapped(row.note, layout.small, layout.text_width) if row.note else []
    room = layout.cell - len(note) * _line_height(layout.small) - (layout.gap if note else 0)
    text, color = (row.text, INK) if row.text else ("more like this", FAINT)
    font, lines = fitted(text, layout.text_width, room, round(layout.font.size * 1.2), round(layout.small.size))
    y = top
    for line in lines:
        draw.text((layout.request_left, y), line, color, font)
        y += _line_height(font)
    y += layout.gap if note else 0
    for line in note:
        draw.text((layout.request_left, y), line, FAINT, layout.small)
        y += _line_height(layout.small)


def fitted(
    text: str, width: float, height: float, largest: int, smallest: int
) -> tuple[ImageFont.ImageFont, list[str]]:
    """The largest font, and the lines, with which a text fills at most `width` x `height` pixels."""
    for size in range(largest, smallest - 1, -1):
        font = ImageFont.load_default(size)
        lines = wrapped(text, font, width)
        if len(lines) * _line_height(font) <= height:
            return font, lines
    room = max(1, int(height // _line_height(font)))
    return font, [*lines[: room - 1], _shortened(lines[room - 1] + " ...", font, width)]


def wrapped(text: str, font: ImageFont.ImageFont, width: float) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces, and inside words that are wider than a line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}".strip()
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width:
            # How many letters fit, by bisection: the width grows with each.
            fits = bisect_right(range(1, len(word)), width, key=lambda count, word=word: font.getlength(word[:count]))
            lines.append(word[: max(1, fits)])
            word = word[max(1, fits) :]
        line = word
    return [*lines, line] if line else lines


def _shortened(text: str, font: ImageFont.ImageFont, width: float) -> str:
    """The text, or as much of its beginning as fits before three dots."""
    if font.getlength(text) <= width:
        return text
    fits = bisect_right(range(1, len(text)), width, key=lambda count: font.getlength(text[:count] + "..."))
    return text[:fits].rstrip(" .") + "..."


def _line_height(font: ImageFont.ImageFont) -> int:
    ascent, descent = font.getmetrics()
    return round((ascent + descent) * 1.12)


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, left: int, top: int, cell: int) -> None:
    """The whole picture, as large as it fits, in the middle of a light frame."""
    image = as_shown(picture if isinstance(picture, Image.Image) else open_image(picture))
    scale = min(cell / image.width, cell / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=BAND)
    sheet.paste(image, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=LINE)


def _empty(draw: ImageDraw.ImageDraw, layout: _Layout, left: int, top: int, text: str) -> None:
    cell = layout.cell
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=BAND, outline=LINE)
    middle = (left + (cell - layout.small.getlength(text)) / 2, top + (cell - _line_height(layout.small)) / 2)
    draw.text(middle, text, FAINT, layout.small)
