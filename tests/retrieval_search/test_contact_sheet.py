"""Contact sheets: everything that was found is on them, the right answer is marked, and text stays in its place."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from train.retrieval.contact_sheet import RIGHT, Row, contact_sheet, fitted, wrapped

GREEN = tuple(int(RIGHT[i : i + 2], 16) for i in (1, 3, 5))
PAINTS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


def sheet_array(rows, **options):
    return np.asarray(contact_sheet(rows, **options))


def boxes(array, color):
    """Rows and columns at which a colour is found: (top, left, bottom, right), or None."""
    ys, xs = np.nonzero((array == np.array(color)).all(axis=-1))
    return None if len(ys) == 0 else (ys.min(), xs.min(), ys.max(), xs.max())


def row_of_paints(right=None):
    answers = [Image.new("RGB", (30, 40), paint) for paint in PAINTS]
    marks = [] if right is None else [place == right for place in range(4)]
    return Row(Image.new("RGB", (30, 40), "#ff00ff"), "is red", answers, marks, list("abcd"), [0.5] * 4)


def test_reference_comes_first_and_answers_follow_in_order():
    array = sheet_array([row_of_paints()])
    lefts = [boxes(array, color)[1] for color in ((255, 0, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))]
    assert lefts == sorted(lefts) and len(set(np.diff(lefts)[1:])) == 1


def test_only_the_right_answer_has_a_border_and_it_surrounds_it():
    assert boxes(sheet_array([row_of_paints()]), GREEN) is None
    array = sheet_array([row_of_paints(right=2)])
    top, left, bottom, right = boxes(array, GREEN)
    inner = boxes(array, (0, 0, 255))
    assert top < inner[0] and left < inner[1] and bottom > inner[2] and right > inner[3]
    assert right < boxes(array, (255, 255, 0))[1]


def test_pictures_are_shown_whole_in_their_proportions():
    row = Row(None, "wide", [Image.new("RGB", (400, 100), "#ff0000")])
    top, left, bottom, right = boxes(sheet_array([row], cell=200), (255, 0, 0))
    assert (right - left + 1) / (bottom - top + 1) == pytest.approx(4, rel=0.1)
    assert right - left + 1 >= 196


def test_sheet_grows_with_rows_and_columns_and_rows_may_be_short():
    one = contact_sheet([row_of_paints()])
    short = Row(None, "text alone", row_of_paints().answers[:1], note="right answer not among the first 1")
    two = contact_sheet([row_of_paints(), short])
    assert two.width == one.width and two.height > one.height + 168
    assert contact_sheet([short]).width < one.width
    assert contact_sheet([row_of_paints()], title="Queries").height > one.height


@pytest.mark.parametrize("text", ["red", "word " * 90, "unbroken" * 60, "", "ärmellos, größer, 日本"])
def test_text_of_any_length_stays_in_its_column(text):
    blank = sheet_array([Row(None, "x", [None] * 2)])
    array = sheet_array([Row(None, text, [None] * 2, note="a note that is also rather long " * 3)])
    assert array.shape == blank.shape
    differs = np.nonzero((array != blank).any(axis=-1))
    # Request column: after the reference cell (margin 20, cell 168, gap 13), 210 wide.
    assert differs[1].min() >= 200 and differs[1].max() <= 201 + 210
    assert differs[0].max() < blank.shape[0] - 20


def test_lines_fit_and_lose_no_word():
    font = ImageFont.load_default(14)
    text = "is red with shorter sleeves and a supercalifragilisticexpialidocious neckline"
    lines = wrapped(text, font, 120)
    assert all(font.getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_font_shrinks_before_text_is_cut():
    short_font, _ = fitted("is red", 200, 100, 20, 10)
    long_font, lines = fitted("is red with sleeves " * 5, 200, 100, 20, 10)
    assert short_font.size == 20 and 10 <= long_font.size < 20
    assert " ".join(lines).split() == ("is red with sleeves " * 5).split()
    _, cut = fitted("is red with sleeves " * 50, 200, 100, 20, 10)
    assert cut[-1].endswith("...")


def test_impossible_sheets_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
    with pytest.raises(ValueError, match="cells of 20 pixels"):
        contact_sheet([row_of_paints()], cell=20)


def test_files_are_drawn_as_a_viewer_shows_them(tmp_path):
    turned = Image.new("RGB", (80, 40), "#ff0000")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    row = Row(tmp_path / "turned.png", "", [str(tmp_path / "turned.png")])
    top, left, bottom, right = boxes(sheet_array([row])[:, :200], (255, 0, 0))
    assert (bottom - top) > 1.8 * (right - left)
    with pytest.raises((ValueError, FileNotFoundError), match="ghost.png"):
        contact_sheet([Row(None, "a", [tmp_path / "ghost.png"])])


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="1 right for 2 answers"):
        Row(None, "a", [None, None], [True])
